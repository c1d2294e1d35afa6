"""How well the expert does: orders of 12 to 24 cartons, every pallet of each, judged with both stability tests.

The bars hold under the nominal variation, what a well-kept cell sees. The variation `wide`, for training policies that
are to stand a real cell, is printed beside it: there even a perfect expert meets loads that no placing can make stable.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import crew
from benchmarks.common import SLOTS, Figure, arguments, publish, sized, variation_with
from tasks.evaluation import cause_of, success_interval
from tasks.simulation import Settings

CARTONS, PALLETS = 0.99, 0.95  # the bars


def share(name: str, successes: int, n: int, bar: float | None) -> Figure:
    """Return a share with its exact 95 % interval (Clopper-Pearson)."""
    low, high = success_interval(successes, n)
    return Figure(name, successes / n, "of 1", bar, f"{successes} of {n}", low=low, high=high)


def judged(variation: str, orders: int, seed: int, count: Any, barred: bool) -> tuple[list[Figure], dict[str, Any]]:
    """Run the expert over `orders` orders of a variation; return figures and details."""
    settings = Settings(slots=SLOTS)
    drawn = variation_with(variation, {"carton.count": count} if count else {}).sample(seed, np.arange(orders))
    rows, refused = crew.plan(drawn, settings)
    outcomes = crew.run(rows, settings, "expert")
    cartons, moved = sum(o.cartons for o in outcomes), sum(o.cartons - o.prefilled for o in outcomes)
    unplanned = int(drawn["carton.count"].sum()) - cartons
    causes = Counter(cause for o in outcomes for cause in {cause_of(r) for r in o.reasons})
    bars = (CARTONS, PALLETS) if barred else (None, None)
    figures = [
        share(f"{variation}: cartons within tolerance", sum(o.placed for o in outcomes), cartons, bars[0]),
        share(f"{variation}: pallets fully successful", sum(o.success for o in outcomes), len(outcomes), bars[1]),
        Figure(f"{variation}: time a carton", sum(o.seconds for o in outcomes) / max(moved, 1), "s"),
        Figure(f"{variation}: cartons on no pallet", float(unplanned), "cartons", None, "planner; they are reported"),
        Figure(f"{variation}: worlds given up", float(sum(o.broken is not None for o in outcomes)), "worlds"),
    ]
    figures += [Figure(f"{variation}: failed: {cause}", float(n), "pallets") for cause, n in causes.most_common()]
    details = {"refused": refused, "episodes": [dataclasses.asdict(o) for o in outcomes if not o.success]}
    return figures, details


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("expert", "The expert over orders of the nominal and the wide variation.")
    parser.add_argument("--seed", type=int, default=0, help="of the orders")
    given = parser.parse_args(words)
    orders = sized(given, 200, 8, 1)
    count = {"constant": 3} if given.tiny else None
    figures, details = [], {}
    for variation in ("nominal",) if given.tiny else ("nominal", "wide"):
        few = orders if variation == "nominal" else max(orders // 4, 1)
        found, details[variation] = judged(variation, few, given.seed, count, variation == "nominal")
        figures += found
    publish(
        "expert", given, figures, f"{orders} orders of 12 to 24 cartons, all their pallets, seed {given.seed}", details
    )


if __name__ == "__main__":
    main()
