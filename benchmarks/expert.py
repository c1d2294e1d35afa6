"""How well a task's expert does. Palletizing: orders of 12 to 24 cartons, every pallet, both stability tests.

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
from benchmarks.common import Figure, add_task, arguments, publish, sized, variation_with
from tasks.evaluation import cause_of
from tasks.figures import success_interval
from tasks.simulation import Settings

BARS = {"palletizing": (0.99, 0.95)}  # of things where they belong, and of episodes


def share(name: str, successes: int, n: int, bar: float | None) -> Figure:
    """Return a share with its exact 95 % interval (Clopper-Pearson)."""
    low, high = success_interval(successes, n)
    return Figure(name, successes / n, "of 1", bar, f"{successes} of {n}", low=low, high=high)


def judged(
    task: str, variation: str, draws: int, seed: int, count: Any, barred: bool
) -> tuple[list[Figure], dict[str, Any]]:
    """Run a task's expert over so many draws of a variation; return figures and details."""
    settings = Settings(task)
    family = settings.family
    things = f"{family.thing}s"
    drawn = variation_with(variation, {family.count: count} if count else {}, task).sample(seed, np.arange(draws))
    rows, refused = crew.prepare(drawn, settings)
    outcomes = crew.run(rows, settings, "expert")
    run = sum(o.things for o in outcomes)
    left = int(drawn[family.count].sum()) - run
    causes = Counter(cause for o in outcomes for cause in {cause_of(r) for r in o.reasons})
    bars = BARS[task] if barred else (None, None)
    figures = [
        share(f"{variation}: {things} where they belong", sum(o.done for o in outcomes), run, bars[0]),
        share(f"{variation}: episodes fully successful", sum(o.success for o in outcomes), len(outcomes), bars[1]),
        Figure(f"{variation}: time a {family.thing}", sum(o.seconds for o in outcomes) / max(run, 1), "s"),
        Figure(f"{variation}: {things} left out", float(left), things, None, "when preparing; they are reported"),
        Figure(f"{variation}: worlds given up", float(sum(o.broken is not None for o in outcomes)), "worlds"),
    ]
    figures += [Figure(f"{variation}: failed: {cause}", float(n), "episodes") for cause, n in causes.most_common()]
    details = {"refused": refused, "episodes": [dataclasses.asdict(o) for o in outcomes if not o.success]}
    return figures, details


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("expert", "A task's expert over the nominal and the wide variation.")
    add_task(parser)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    given = parser.parse_args(words)
    orders = sized(given, 200, 8, 1)
    count = {"constant": 3} if given.tiny else None
    figures, details = [], {}
    for variation in ("nominal",) if given.tiny else ("nominal", "wide"):
        few = orders if variation == "nominal" else max(orders // 4, 1)
        found, details[variation] = judged(given.task, variation, few, given.seed, count, variation == "nominal")
        figures += found
    setting = f"{given.task}, {orders} draws (palletizing: orders, all their pallets), seed {given.seed}"
    publish("expert", given, figures, setting, details)


if __name__ == "__main__":
    main()
