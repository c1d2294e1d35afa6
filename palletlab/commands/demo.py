"""`palletlab demo`: variants, rollouts, a dataset, an evaluation, and one page about it all; palletizing an order."""

from __future__ import annotations

import time

from rich.console import Console

from palletlab import config as settings
from palletlab.commands.evaluate import say
from palletlab.commands.generate import SHEET_COLUMNS, SHEET_MOST, say_rows, sheet_of, write_variants
from palletlab.commands.rollout import go
from palletlab.report import demo_page, png_bytes
from palletlab.run_folder import run_folder, write_result
from tasks.dataset.reader import open_dataset
from tasks.durable import write_file
from tasks.evaluation import evaluate


def run(arguments: list[str]) -> int:
    """Run the whole job, small."""
    began = time.monotonic()
    console = Console()
    config = settings.load("demo", arguments)
    settings.settings_of(config)
    with console.status("drawing and planning"):
        rows, planned = settings.rows_of(config)
    with run_folder("demo", config) as folder:
        scene = settings.settings_of(config, rows.knobs.axes["slot"])
        task = scene.family
        say_rows(console, rows, planned, task)
        write_variants(folder, rows, planned)
        sheet = None
        if scene.cameras:
            with console.status("rendering the contact sheet"):
                sheet = sheet_of(rows, scene)
            write_file(folder / "sheet.png", png_bytes(sheet))
        go(config, rows, folder, resuming=False)
        root = folder / "dataset"
        result = evaluate(open_dataset(root))
        commands = [
            f"palletlab view {root}",
            f"palletlab rollout --replay {root} episode=0",
            f"palletlab evaluate task={task.name} count=8 variation.{task.count}=6",
        ]
        demo_page(
            folder / "demo.html",
            title=f"Demo: {task.name.replace('_', ' ')}",
            planned=planned,
            sheet=sheet,
            captions=task.captions(rows)[:SHEET_MOST],
            columns=SHEET_COLUMNS,
            dataset=root,
            result=result,
            commands=commands,
        )
        result["seconds"] = round(time.monotonic() - began, 1)
        write_result(folder, result)
    say(console, result)
    console.print(f"\nThat took {result['seconds']:.0f} s. Everything is in {folder}:", highlight=False)
    for name, what in (
        ("demo.html", "one page about it all: open it in a browser"),
        ("dataset", "the rollouts, a LeRobotDataset v3"),
        ("variants.parquet", "a row of knobs for every variant"),
        *([("plan.json", "where each carton stands")] if planned is not None else []),
        ("result.json", "the figures"),
    ):
        console.print(f"  {folder / name}  {what}", highlight=False, soft_wrap=True)
    console.print("\nTry next:", highlight=False)
    for command in commands:
        console.print(f"  {command}", highlight=False, soft_wrap=True)
    return 0
