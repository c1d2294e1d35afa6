"""Whole orders: planned, executed by the expert in simulation, and judged pallet by pallet.

With a file of BED-BPP orders (`--orders`) every order is stacked by our own plan; with plans of that benchmark
(`--plans`) also by those, as far as a cell can follow them. Without files the bundled example runs. Every carton has to
end on a pallet, or be named with the reason why it cannot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import crew
from benchmarks.common import ROOT, Figure, arguments, publish
from sim.knobs import Rows
from tasks.families import variation_named
from tasks.packing.benchmark_plans import read_bedbpp_plans
from tasks.packing.orders import Order, read_orders
from tasks.packing.plans import Plan
from tasks.palletizing.variants import Planner, rows_of_order
from tasks.simulation import Settings

EXAMPLE = ROOT / "conf" / "orders" / "example.json"


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("orders", "Whole orders, executed.")
    parser.add_argument("--orders", type=Path, default=EXAMPLE, help="orders, BED-BPP JSON or CSV")
    parser.add_argument("--plans", type=Path, help="plans for them, BED-BPP JSON")
    given = parser.parse_args(words)
    orders = read_orders(given.orders)
    plans = read_bedbpp_plans(given.plans) if given.plans else {}
    if given.quick or given.tiny:
        orders = dict(list(orders.items())[:1])
    if given.tiny:
        orders = {name: Order(name, order.cartons[:2]) for name, order in orders.items()}
    planner = Planner(Settings().layout)
    figures, details = [], {}
    for name, order in orders.items():
        planner.check(order)
        found, details[f"{name}, our plan"] = executed(f"{name}, our plan", order, planner.plan(order), {})
        figures += found
        if name in plans:
            followed = planner.follow(plans[name], order)
            label = f"{name}, its BED-BPP plan"
            found, details[label] = executed(label, order, followed.plan, dict(followed.moved))
            figures += found
    publish("orders", given, figures, f"{given.orders.name}, nominal variation, executed by the expert", details)


def executed(label: str, order: Order, plan: Plan, moved: dict[int, str]) -> tuple[list[Figure], dict[str, Any]]:
    """Run all pallets of a planned order; return figures and details.

    Args:
        label: what to call it.
        order: the order.
        plan: where its cartons go.
        moved: cartons that do not stand where a given plan had them, and why.
    """
    cartons = len(order.cartons)
    slots = max(len(pallet) for pallet in plan.pallets)
    variation = variation_named("nominal", Settings(slots=cartons).knobs, "palletizing")
    rows: Rows = rows_of_order(order, plan, variation, 0, 1, slots)
    outcomes = crew.run(rows, Settings(slots=slots), "expert", worlds=1)
    for outcome, pallet in zip(outcomes, plan.pallets, strict=True):
        said = "success" if outcome.success else "; ".join(outcome.reasons) or f"broken: {outcome.broken}"
        head = f"{label}, pallet {outcome.variant + 1}: {len(pallet)} cartons in {outcome.seconds:.0f} s"
        Console(width=140).print(f"{head}: {said}")
    accounted = sum(len(p) for p in plan.pallets) + len(plan.unplaced)
    figures = [
        Figure(f"{label}: cartons on a pallet or reported", accounted / cartons, "of 1", 1, f"{cartons} cartons"),
        Figure(f"{label}: pallets", float(len(plan.pallets)), "pallets", None, f"{len(plan.unplaced)} on none"),
        Figure(f"{label}: placed within tolerance", float(sum(o.done for o in outcomes)), "cartons"),
        Figure(f"{label}: pallets fully successful", float(sum(o.success for o in outcomes)), "pallets"),
    ]
    if moved:
        figures.append(Figure(f"{label}: moved to further pallets", float(len(moved)), "cartons"))
    details = {
        "pallets": [dataclasses.asdict(o) for o in outcomes],
        "unplaced": [[carton, why] for carton, why in plan.unplaced],
        "moved": [[carton, why] for carton, why in moved.items()],
    }
    return figures, details


if __name__ == "__main__":
    main()
