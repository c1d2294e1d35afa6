"""`palletlab demo`: variants, rollouts, a dataset, an evaluation, and a page about it all; of both tasks.

First comes the task that the settings name, by default palletizing an order, then the smaller part that `also` says, in
a folder inside the first one's. The pages link to each other. Last, an arm is identified: a stand-in, not hardware.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from assets.errors import InputError
from palletlab import config as settings
from palletlab.commands.evaluate import say
from palletlab.commands.generate import SHEET_COLUMNS, SHEET_MOST, say_rows, sheet_of, write_variants
from palletlab.commands.identify import run as identify
from palletlab.commands.rollout import go
from palletlab.orders import Planned
from palletlab.report import demo_page, png_bytes
from palletlab.run_folder import run_folder, write_result
from sim.knobs import Rows
from sim2real.standin.launch import launched
from tasks.dataset.reader import open_dataset
from tasks.durable import write_file
from tasks.evaluation import evaluate
from tasks.simulation import Settings

PAGE = "demo.html"
ARM = "arm"  # folder of the identification
STAND_IN = "127.0.0.83"  # a loopback address that nothing else is likely to use


@dataclasses.dataclass(frozen=True)
class Part:
    """One task of the demo, ready to run."""

    config: DictConfig
    scene: Settings
    rows: Rows
    planned: Planned | None

    @property
    def title(self) -> str:
        """The task's name in words."""
        return self.scene.task.replace("_", " ").capitalize()


def run(arguments: list[str]) -> int:
    """Run the whole job, small."""
    began = time.monotonic()
    console = Console()
    configs = [settings.load("demo", arguments)]
    if configs[0].also is not None:
        other = settings.load("demo", [str(argument) for argument in configs[0].also])
        if other.task.name != configs[0].task.name:
            configs.append(other)
    for config in configs:
        settings.settings_of(config)
    with console.status("drawing and planning"):
        parts = [_part(config) for config in configs]
    results = []
    with run_folder("demo", parts[0].config) as folder:
        places = [folder, *(folder / part.scene.task for part in parts[1:])]
        results.append(_show(console, parts[0], folder, _links(parts, places, 0)))
        for number, part in enumerate(parts[1:], 1):
            part.config.out = str(places[number])
            with run_folder("demo", part.config) as place:
                results.append(_show(console, part, place, _links(parts, places, number)))
        identified = _identify(console, folder, configs[0])
    for result in results:
        say(console, result)
    console.print(f"\nThat took {time.monotonic() - began:.0f} s. Everything is in {folder}:", highlight=False)
    for name, what in (
        (PAGE, "one page about it all: open it in a browser"),
        ("dataset", "the rollouts, a LeRobotDataset v3"),
        ("variants.parquet", "a row of knobs for every variant"),
        *([("plan.json", "where each carton stands")] if parts[0].planned is not None else []),
        ("result.json", "the figures"),
        *((part.scene.task, f"the same for {part.title.lower()}") for part in parts[1:]),
        *([(ARM, "a stand-in arm identified: its curves beside the model's, before and after")] if identified else []),
    ):
        console.print(f"  {folder / name}  {what}", highlight=False, soft_wrap=True)
    console.print("\nTry next:", highlight=False)
    for part, place in zip(parts, places, strict=True):
        for command in _commands(part, place):
            console.print(f"  {command}", highlight=False, soft_wrap=True)
    return 0


def _identify(console: Console, folder: Path, config: DictConfig) -> bool:
    """Identify a stand-in arm's joints in a few seconds of motion; say whether that was possible here."""
    if config.identify is None:
        return False
    told = [*map(str, config.identify), f"robot.host={STAND_IN}", "robot.log=''", "move=true", f"out={folder / ARM}"]
    try:
        # What it prints is on its page, too: here the tasks' figures come next.
        with (
            console.status("identifying a stand-in arm"),
            launched(STAND_IN, seed=settings.whole(config, "seed", 0)),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            _patiently(lambda: identify(told))
    except InputError as error:
        console.print(f"no identification: {error}", highlight=False, soft_wrap=True)
        return False
    return True


def _patiently(work: Callable[[], object], tries: int = 3) -> None:
    """Do it again where it fails: the arm is stopped when this computer is too busy to watch it, and that may pass."""
    for left in reversed(range(tries)):
        try:
            work()
            return
        except InputError:
            if not left:
                raise


def _part(config: DictConfig) -> Part:
    rows, planned = settings.rows_of(config)
    return Part(config, settings.settings_of(config, rows.knobs.axes["slot"]), rows, planned)


def _links(parts: list[Part], places: list[Path], here: int) -> dict[str, str]:
    """Return where the pages of the other parts are, as seen from that of one, by title."""
    return {
        part.title: Path(os.path.relpath(place / PAGE, places[here])).as_posix()
        for part, place in zip(parts, places, strict=True)
        if place != places[here]
    }


def _commands(part: Part, folder: Path) -> list[str]:
    task, root = part.scene.family, folder / "dataset"
    return [
        f"palletlab view {root}",
        f"palletlab rollout --replay {root} episode=0",
        f"palletlab evaluate task={task.name} count=8 variation.{task.count}=6",
    ]


def _show(console: Console, part: Part, folder: Path, links: Mapping[str, str]) -> dict[str, Any]:
    """Roll out and evaluate one task; write its page and everything that goes with it into `folder`."""
    began, task = time.monotonic(), part.scene.family
    say_rows(console, part.rows, part.planned, task)
    write_variants(folder, part.rows, part.planned)
    sheet = None
    if part.scene.cameras:
        with console.status("rendering the contact sheet"):
            sheet = sheet_of(part.rows, part.scene)
        write_file(folder / "sheet.png", png_bytes(sheet))
    go(part.config, part.rows, folder, resuming=False)
    result = evaluate(open_dataset(folder / "dataset"))
    demo_page(
        folder / PAGE,
        title=f"Demo: {part.title.lower()}",
        planned=part.planned,
        sheet=sheet,
        captions=task.captions(part.rows)[:SHEET_MOST],
        columns=SHEET_COLUMNS,
        dataset=folder / "dataset",
        result=result,
        commands=_commands(part, folder),
        links=links,
    )
    result["seconds"] = round(time.monotonic() - began, 1)
    write_result(folder, result)
    return result
