"""`palletlab generate`: a table of planned variants and a contact sheet of their finished loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.console import Console

from palletlab import config as settings
from palletlab.report import contact_sheet, png_bytes
from palletlab.run_folder import run_folder, write_result
from sim.knobs import Rows
from tasks.durable import write_file
from tasks.packing.orders import Order
from tasks.packing.plans import Plan
from tasks.simulation import Settings, Simulation

SHEET_SIZE, SHEET_COLUMNS, SHEET_MOST = 320, 4, 24


def run(arguments: list[str]) -> int:
    """Draw, plan, write; print where everything is."""
    config = settings.load("generate", arguments)
    console = Console()
    with console.status("drawing and planning"):
        rows, order, plan = settings.rows_of(config)
    with run_folder("generate", config) as folder:
        write_variants(folder, rows, order, plan)
        say_plan(console, rows, order, plan)
        if config.sheet:
            with console.status("rendering the contact sheet"):
                sheet = sheet_of(rows, settings.settings_of(config, rows.knobs.axes["slot"]))
            write_file(folder / "sheet.png", png_bytes(sheet))
        write_result(folder, {"variants": len(rows), "cartons": int(rows["carton.count"].sum())})
    console.print(f"{len(rows)} variants, one a pallet: {folder / 'variants.parquet'}")
    console.print(str(folder))
    return 0


def write_variants(folder: Path, rows: Rows, order: Order | None, plan: Plan | None) -> None:
    """Write variants.parquet and, for an order, plan.json."""
    rows.to_parquet(folder / "variants.parquet")
    if order is not None and plan is not None:
        write_file(folder / "plan.json", json.dumps({"order": order.name, **plan.to_dict()}, indent=1).encode())


def say_plan(console: Console, rows: Rows, order: Order | None, plan: Plan | None) -> None:
    """Report which cartons stand on which pallet, and those that stand on none."""
    if order is None or plan is None:
        further = int((rows["plan.pallet"] > 0).sum())
        orders = len(np.unique(rows.numbers // 100))
        console.print(
            f"{orders} orders, {int(rows['carton.count'].sum())} cartons, {len(rows)} pallets ({further} further ones)"
        )
        return
    for number, pallet in enumerate(plan.pallets, 1):
        mass = sum(order.cartons[p.carton].mass for p in pallet)
        console.print(
            f"order {order.name}, pallet {number}: {len(pallet)} of {len(order.cartons)} cartons, {mass:.1f} kg"
        )
    for carton, reason in plan.unplaced:
        console.print(f"carton {carton + 1} ({order.cartons[carton].article}) stands on no pallet: {reason}")


def sheet_of(rows: Rows, scene: Settings, size: int = SHEET_SIZE) -> np.ndarray:
    """Return a contact sheet: the first variants' cells with their finished loads, as planned."""
    shown = rows.take(np.arange(min(len(rows), SHEET_MOST)))
    shown = shown.replaced(pallet__prefill=shown["carton.count"])
    simulation = Simulation(Settings(scene.layout, scene.slots, ("cell",), size), len(shown))
    ids = np.arange(len(shown))
    simulation.task.apply(shown, ids)
    pictures = simulation.render(ids)["cell"]
    simulation.close()
    return contact_sheet(pictures, captions_of(shown), SHEET_COLUMNS)


def captions_of(rows: Rows) -> list[str]:
    """Return a line for each variant."""
    return [f"variant {n}: {int(c)} cartons" for n, c in zip(rows.numbers, rows["carton.count"], strict=True)]
