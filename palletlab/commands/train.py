"""`palletlab train tokenizer|video|idm|baseline`: networks from datasets; --resume goes on where a training stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress

from assets.errors import InputError, unknown
from palletlab import config as settings
from palletlab.run_folder import run_folder, write_result

WHOLE = (0.0, 0.0, 1.0, 1.0)
KINDS = ("tokenizer", "video", "idm", "baseline")


def run(arguments: list[str]) -> int:
    """Train, or go on with a training."""
    if "--resume" in arguments:
        rest = [a for a in arguments if a != "--resume"]
        if len(rest) != 1 or "=" in rest[0]:
            raise InputError("--resume wants the folder of a training and nothing else")
        return _resume(Path(rest[0]))
    if not arguments or "=" in arguments[0]:
        raise InputError(f"say what to train: palletlab train {'|'.join(KINDS)} data=[FOLDER]")
    kind, *overrides = arguments
    if kind not in KINDS:
        raise unknown("kind of training", kind, KINDS)
    config = settings.load("train", overrides)
    config.kind = kind
    config.data = _paths(config.data)
    for name in ("tokenizer", "video", "start"):
        config[name] = None if config[name] is None else str(Path(str(config[name])).resolve())
    if int(os.environ.get("RANK", "0")):  # under torchrun the first process keeps the folder
        _train(config, _told(config), False)
        return 0
    with run_folder("train", config) as folder:
        _finish(folder, _train(config, folder, False))
    return 0


def _resume(folder: Path) -> int:
    if not (folder / "config.yaml").is_file():
        raise InputError(f"{folder} holds no training: config.yaml is missing")
    config = OmegaConf.load(folder / "config.yaml")
    if not isinstance(config, DictConfig) or config.get("kind") not in KINDS:
        raise InputError(f"{folder} is the folder of another command, not of a training")
    _finish(folder, _train(config, folder, True))
    return 0


def _told(config: DictConfig) -> Path:
    if config.out is None:
        raise InputError("several processes want to be told where to keep what they train: out=FOLDER")
    return Path(str(config.out))


def _paths(data: Any) -> list[str]:
    if data is None:
        raise InputError("there is nothing to train on: data=[FOLDER, ...] names datasets or videos")
    return [str(Path(str(path)).resolve()) for path in ([data] if isinstance(data, str) else data)]


def _train(config: DictConfig, folder: Path, resume: bool) -> dict[str, Any]:
    """Train as the settings say, in this process; several of them share the work under torchrun."""
    from policies.data.windows import Batches, Sampler, Windows
    from policies.training import TrainSettings, train
    from policies.workshop import Share, episodes_of, learner_of, prepared_of

    how: Any = OmegaConf.to_container(OmegaConf.merge(config.how, config.training[config.kind]))
    length, batch = _whole(how, "length"), _whole(how, "batch")
    try:
        told = TrainSettings(**how, seed=settings.whole(config, "seed", 0), device=str(config.device))
    except TypeError as error:
        raise InputError(f"training.{config.kind}: {error}") from None
    recipe = _recipe(config)
    hours = None if config.hours is None else float(config.hours)
    share = Share(bool(config.successes), hours, float(config.held_out), told.seed)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if batch % world:
        raise InputError(f"training.{config.kind}.batch = {batch} is not shared out evenly among {world} processes")
    with Progress(transient=True, disable=rank > 0) as bar:
        lines: dict[str, Any] = {}

        def says(what: str, done: int, total: int) -> None:
            line = lines.setdefault(what, bar.add_task(Path(what).name, total=total) if what not in lines else 0)
            bar.update(line, completed=done, total=total)

        prepared = prepared_of(config.data, recipe, bool(config.actions), says)
        mine, kept = episodes_of(prepared, share)
        learner, prepared, numbers = learner_of(config.kind, recipe, prepared, mine, length, says)
    windows = Windows(prepared, length, mine, **numbers)
    if rank == 0:
        _say(prepared, mine, kept, windows)
    tests = []
    if any(len(k) for k in kept) and config.tests:
        unseen = Windows(prepared, length, kept, texts=windows.texts, embodiments=windows.embodiments)
        few = min(batch // world, len(unseen))
        draws = np.random.default_rng(0).permutation(len(unseen))[: few * settings.whole(config, "tests", 0)]
        tests = [unseen.batch(part) for part in np.array_split(draws, max(len(draws) // few, 1))]
    sampler = Sampler(len(windows), batch // world, told.seed, rank, world)
    with Batches(windows, sampler, settings.whole(config, "threads", 1)) as batches:
        return train(learner, batches, told, folder, resume, tests)


def _recipe(config: DictConfig) -> Any:
    from policies.data.view import View
    from policies.workshop import Recipe

    def plain(key: str) -> Any:
        return OmegaConf.to_container(config[key])

    def folder(key: str) -> Path | None:
        return None if config[key] is None else Path(str(config[key]))

    try:
        views = tuple(View(**{**view, "crop": tuple(view.get("crop", WHOLE))}) for view in plain("views"))
    except (TypeError, AttributeError) as error:
        raise InputError(f"views: each wants a camera, and may have a crop and a size ({error})") from None
    return Recipe(
        views, float(config.rate), plain("autoencoder"), plain("transformer"), plain("inverse"), str(config.head),
        folder("tokenizer"), folder("video"), folder("start"),
    )  # fmt: skip


def _whole(how: dict[str, Any], name: str) -> int:
    value = how.pop(name, None)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"training: {name} = {value} must be a whole number, at least 1")
    return value


def _say(prepared: list[Any], mine: list[np.ndarray], kept: list[np.ndarray], windows: Any) -> None:
    hours = sum(float(np.diff(p.starts)[m].sum()) / p.rate for p, m in zip(prepared, mine, strict=True)) / 3600
    Console().print(
        f"{sum(map(len, mine))} episodes, {hours:.2f} h, {len(windows)} windows of {windows.length} pictures; "
        f"{sum(map(len, kept))} episodes kept for tests",
        highlight=False,
    )


def _finish(folder: Path, result: Mapping[str, Any]) -> None:
    write_result(folder, {key: value for key, value in result.items() if key != "checkpoint"})
    loss = f"loss {result['loss']:.4f}" + (f", on tests {result['test_loss']:.4f}" if "test_loss" in result else "")
    print(f"{result['step']} steps in {result['seconds'] / 60:.1f} min, {loss}")
    print(folder)
