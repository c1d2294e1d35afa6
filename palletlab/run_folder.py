"""A run's folder: outputs/<command>/<date>_<time>/ with its settings, versions, result, and whatever it makes."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from assets.errors import InputError
from tasks.durable import write_file


@contextlib.contextmanager
def run_folder(command: str, config: DictConfig) -> Iterator[Path]:
    """Make the folder that `out` names, or a new one by date and time, and write the settings into it.

    Where the run then fails for its input or a full disk, the folder goes again, unless it holds finished episodes.

    Raises:
        InputError: `out` exists and is not empty; nothing is ever overwritten.
    """
    if config.get("out") is not None:
        folder = Path(str(config.out))
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists already: choose another out=, or remove it; nothing is overwritten")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder = _dated(Path("outputs") / command)
    try:
        _describe(folder, command, config)
        yield folder
    except (InputError, OSError):
        if not any((folder / "dataset").glob("data/*/*.parquet")):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _describe(folder: Path, command: str, config: DictConfig) -> None:
    from tasks.simulation import versions

    record = {"command": command, "python": platform.python_version(), "versions": versions()}
    write_file(folder / "config.yaml", OmegaConf.to_yaml(config).encode())
    write_file(folder / "run.json", json.dumps(record, indent=1).encode())


def _dated(parent: Path) -> Path:
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in ("", *(f"-{k}" for k in range(2, 100))):
        folder = parent / f"{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise InputError(f"{parent / stamp} and its successors exist already: choose out=")


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write result.json, whole or not at all."""
    write_file(folder / "result.json", json.dumps(result, indent=1).encode())
