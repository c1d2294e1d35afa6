"""`palletlab generate`: a table of variants, ready to run, and a contact sheet of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from palletlab import config as settings
from palletlab.orders import Planned
from palletlab.report import contact_sheet, png_bytes
from palletlab.run_folder import run_folder, write_result
from sim.knobs import Rows
from tasks.durable import write_file
from tasks.simulation import Settings, Simulation
from tasks.task import TaskFamily

SHEET_SIZE, SHEET_COLUMNS, SHEET_MOST = 320, 4, 24


def run(arguments: list[str]) -> int:
    """Draw, prepare, write; print where everything is."""
    config = settings.load("generate", arguments)
    console = Console()
    with console.status("drawing and planning"):
        rows, planned = settings.rows_of(config)
    scene = settings.settings_of(config, rows.knobs.axes["slot"])
    with run_folder("generate", config) as folder:
        write_variants(folder, rows, planned)
        say_rows(console, rows, planned, scene.family)
        if config.sheet:
            with console.status("rendering the contact sheet"):
                sheet = sheet_of(rows, scene)
            write_file(folder / "sheet.png", png_bytes(sheet))
        write_result(folder, {"variants": len(rows), f"{scene.family.thing}s": _things(rows, scene.family)})
    console.print(f"{len(rows)} variants: {folder / 'variants.parquet'}")
    console.print(str(folder))
    return 0


def write_variants(folder: Path, rows: Rows, planned: Planned | None) -> None:
    """Write variants.parquet and, for an order, plan.json."""
    rows.to_parquet(folder / "variants.parquet")
    if planned is not None:
        write_file(folder / "plan.json", json.dumps(planned.to_dict(), indent=1).encode())


def say_rows(console: Console, rows: Rows, planned: Planned | None, task: TaskFamily) -> None:
    """Report how much there is to do."""
    if planned is not None:
        planned.say(console)
    else:
        console.print(f"{len(rows)} variants of {task.name} with {_things(rows, task)} {task.thing}s in all")


def _things(rows: Rows, task: TaskFamily) -> int:
    return int(rows[task.count].sum())


def sheet_of(rows: Rows, scene: Settings, size: int = SHEET_SIZE) -> np.ndarray:
    """Return a contact sheet of the first variants, as the task family has them pictured."""
    shown = scene.family.pictured(rows.take(np.arange(min(len(rows), SHEET_MOST))))
    simulation = Simulation(dataclasses.replace(scene, cameras=("cell",), image_size=size), len(shown))
    ids = np.arange(len(shown))
    simulation.task.apply(shown, ids)
    pictures = simulation.render(ids)["cell"]
    simulation.close()
    return contact_sheet(pictures, scene.family.captions(shown), SHEET_COLUMNS)
