"""Checkpoints: a folder with the weights (safetensors) and what they are (YAML). It appears whole or not at all.

save(folder, module.state_dict(), {"kind": "idm", "config": {...}, ...})
checkpoint = load(folder, "idm")
module.load_state_dict(checkpoint.weights)
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from assets.errors import InputError

FORMAT = 1
KINDS = ("tokenizer", "video", "idm", "baseline", "probe")
WEIGHTS, ABOUT = "weights.safetensors", "checkpoint.yaml"
LAST = "last"  # where training keeps its newest


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was loaded.

    Attributes:
        folder: where it lies.
        kind: one of `KINDS`.
        weights: by name.
        about: config, statistics, embodiments, views, rate, provenance: whatever was saved.
        hash: SHA-256 of the weights.
    """

    folder: Path
    kind: str
    weights: dict[str, Tensor]
    about: dict[str, Any]
    hash: str


def save(
    folder: Path | str,
    weights: Mapping[str, Tensor],
    about: Mapping[str, Any],
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a checkpoint, in place of the one that is there; killed at any moment, one of the two can be loaded.

    Args:
        folder: where to.
        weights: by name, finite.
        about: plain values, "kind" among them; arrays and tensors become lists.
        extra: more files, by name: what is needed to go on training.

    Raises:
        InputError: weights that are not finite, an unknown kind, values that YAML has no form for, a full disk.
    """
    folder = Path(folder)
    if about.get("kind") not in KINDS:
        raise InputError(f"{folder}: a checkpoint of kind {about.get('kind')!r}; known are {', '.join(KINDS)}")
    _check_finite(folder, weights)
    data = save_tensors({name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()})
    described = {"format": FORMAT, "sha256": hashlib.sha256(data).hexdigest(), **_plain(about)}
    try:
        text = yaml.safe_dump(described, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    except yaml.YAMLError as error:
        raise InputError(f"{folder}: {str(error).splitlines()[0]}; only plain values can be kept") from error
    aside, old = folder.with_name(folder.name + ".tmp"), _old(folder)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, content in {WEIGHTS: data, ABOUT: text.encode(), **(extra or {})}.items():
            with (aside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(folder, old)  # from here to the next line, `load` takes the old one
        os.rename(aside, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise InputError(f"{folder}: cannot be written ({error.strerror}); free some space or name another") from error
    _sync(folder.parent)
    return folder


def load(folder: Path | str, kind: str | None = None) -> Checkpoint:
    """Read a checkpoint, or the newest one in a training's folder; of a `kind`, if one is given.

    Raises:
        InputError: it is missing, damaged, of another kind or a later format, or its weights are not finite.
    """
    folder = find(folder)
    try:
        about = yaml.safe_load((folder / ABOUT).read_text())
        version, found, digest = about["format"], about["kind"], about["sha256"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{folder / ABOUT}: is damaged or no checkpoint's; take another checkpoint") from error
    if version != FORMAT:
        raise InputError(f"{folder}: a checkpoint of format {version}, this reads {FORMAT}; train it again")
    if kind is not None and found != kind:
        raise InputError(f"{folder}: is a checkpoint of kind {found!r}, wanted is {kind!r}")
    try:
        data = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise InputError(f"{folder / WEIGHTS}: is damaged or another checkpoint's; restore it or take another")
        weights = load_tensors(data)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS}: is missing or damaged; take another checkpoint") from error
    _check_finite(folder, weights)
    return Checkpoint(folder, found, weights, about, digest)


def find(folder: Path | str) -> Path:
    """The folder of a checkpoint: this one, a training's newest, or what an interrupted `save` left.

    Raises:
        InputError: there is none.
    """
    folder = Path(folder)
    for place in (folder, _old(folder), folder / LAST, _old(folder / LAST)):
        if (place / ABOUT).is_file():
            return place
    what = f"holds no {ABOUT}" if folder.exists() else "no such folder"
    raise InputError(f"{folder}: {what}; a checkpoint's folder is wanted, as palletlab train writes it")


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _check_finite(folder: Path, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{folder}: weight {name!r} is not finite; take an earlier checkpoint")


def _plain(value: Any) -> Any:
    """Tuples, arrays, tensors, paths and data classes as what YAML knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic | Tensor):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return str(value) if isinstance(value, Path | str) else value


def _sync(folder: Path) -> None:
    """Flush a folder's entries, so that the renames outlast a power failure."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
