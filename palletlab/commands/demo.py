"""`palletlab demo`: an order becomes a plan, variants, rollouts, a dataset, an evaluation, and one page about it."""

from __future__ import annotations

import time

from rich.console import Console

from assets.errors import InputError
from palletlab import config as settings
from palletlab.commands.evaluate import say
from palletlab.commands.generate import SHEET_COLUMNS, SHEET_MOST, captions_of, say_plan, sheet_of, write_variants
from palletlab.commands.rollout import go
from palletlab.report import demo_page, plan_boxes, png_bytes
from palletlab.run_folder import run_folder, write_result
from tasks.dataset.reader import open_dataset
from tasks.durable import write_file
from tasks.evaluation import evaluate


def run(arguments: list[str]) -> int:
    """Run the whole job, small."""
    began = time.monotonic()
    console = Console()
    config = settings.load("demo", arguments)
    settings.settings_of(config, 1)
    with console.status("planning the order"):
        rows, order, plan = settings.rows_of(config)
    if order is None or plan is None:
        raise InputError("the demo wants an order: order=FILE")
    with run_folder("demo", config) as folder:
        say_plan(console, rows, order, plan)
        write_variants(folder, rows, order, plan)
        scene = settings.settings_of(config, rows.knobs.axes["slot"])
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
            "palletlab evaluate count=8 variation.carton.count=6",
        ]
        demo_page(
            folder / "demo.html",
            title=f"Palletizing order {order.name}",
            order=order,
            pallets=plan_boxes(order, plan),
            sheet=sheet,
            captions=captions_of(rows)[:SHEET_MOST],
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
        ("plan.json", "where each carton stands"),
        ("result.json", "the figures"),
    ):
        console.print(f"  {folder / name}  {what}", highlight=False, soft_wrap=True)
    console.print("\nTry next:", highlight=False)
    for command in commands:
        console.print(f"  {command}", highlight=False, soft_wrap=True)
    return 0
