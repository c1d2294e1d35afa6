"""How well a task's expert does.

Palletizing: orders of 12 to 24 cartons, every pallet, both stability tests. Tote breakdown: the whole work, and each of
its stages alone; walls are folded where there are some, on folding totes.

The bars hold under the nominal variation, what a well-kept cell sees. The variation `wide`, for training policies that
are to stand a real cell, is printed beside it for the whole work: there even a perfect expert meets loads that no
placing can make stable.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import crew
from benchmarks.common import Figure, add_draws, add_task, arguments, publish, sized, variation_with
from sim.totes import FOLDING
from tasks.evaluation import cause_of
from tasks.figures import success_interval
from tasks.simulation import Settings

WHOLE = "whole"  # all stages in one go


@dataclasses.dataclass(frozen=True)
class Work:
    """What is asked of an expert.

    Attributes:
        things: least share of things where they belong, if there is a bar.
        episodes: least share of episodes fully successful.
        knobs: drawn otherwise than the variation has it.
        handles: whether this work brings things where they belong at all.
    """

    things: float | None
    episodes: float
    knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    handles: bool = True


WORKS = {
    "palletizing": {WHOLE: Work(0.99, 0.95)},
    "tote_breakdown": {
        WHOLE: Work(None, 0.90),
        "decant": Work(None, 0.97),
        "check": Work(None, 0.97, handles=False),
        "break_down": Work(None, 0.97, {"tote.kind": FOLDING}, handles=False),
        "stack": Work(None, 0.97, handles=False),
    },
}


def share(name: str, successes: int, n: int, bar: float | None) -> Figure:
    """Return a share with its exact 95 % interval (Clopper-Pearson)."""
    low, high = success_interval(successes, n)
    return Figure(name, successes / n, "of 1", bar, f"{successes} of {n}", low=low, high=high)


def judged(
    task: str, stage: str, variation: str, draws: int, seed: int, count: Any
) -> tuple[list[Figure], dict[str, Any]]:
    """Run a task's expert over so many draws of a variation; return figures and details.

    Args:
        task: name of the family.
        stage: of the task, or WHOLE.
        variation: its name; the bars hold for the nominal one.
        draws: how many.
        seed: of the variation.
        count: a distribution of the number of things; None for the variation's own.
    """
    settings, work = Settings(task), WORKS[task][stage]
    family = settings.family
    things, says = f"{family.thing}s", variation if stage == WHOLE else f"{variation}, {stage} alone"
    knobs = dict(work.knobs) | ({family.count: count} if count else {})
    drawn = variation_with(variation, knobs, task).sample(seed, np.arange(draws))
    rows, refused = crew.prepare(family.only_stage(drawn, None if stage == WHOLE else stage), settings)
    outcomes = crew.run(rows, settings, "expert")
    run, seconds = sum(o.things for o in outcomes), sum(o.seconds for o in outcomes)
    left = int(drawn[family.count].sum()) - run
    causes = Counter(cause for o in outcomes for cause in {cause_of(r) for r in o.reasons})
    barred = variation == "nominal"
    successes, given_up = sum(o.success for o in outcomes), sum(o.broken is not None for o in outcomes)
    bar = work.episodes if barred else None
    figures = [
        share(f"{says}: episodes fully successful", successes, len(outcomes), bar),
        Figure(f"{says}: time an episode", seconds / max(len(outcomes), 1), "s"),
        Figure(f"{says}: worlds given up", float(given_up), "worlds"),
    ]
    if work.handles:
        done, bar = sum(o.done for o in outcomes), work.things if barred else None
        figures[:1] = [share(f"{says}: {things} where they belong", done, run, bar), figures[0]]
        figures += [
            Figure(f"{says}: time a {family.thing}", seconds / max(run, 1), "s"),
            Figure(f"{says}: {things} left out", float(left), things, None, "when preparing; they are reported"),
        ]
    figures += [Figure(f"{says}: failed: {cause}", float(n), "episodes") for cause, n in causes.most_common()]
    details = {"refused": refused, "episodes": [dataclasses.asdict(o) for o in outcomes if not o.success]}
    return figures, details


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("expert", "A task's expert over the nominal and the wide variation.")
    add_task(parser, WORKS)
    parser.add_argument("--stage", help="only this stage of the task, or `whole`; all by default")
    add_draws(parser)
    given = parser.parse_args(words)
    works = WORKS[given.task]
    if given.stage is not None and given.stage not in works:
        parser.error(f"--stage {given.stage}: {given.task} has {', '.join(works)}")
    draws = given.draws or sized(given, 200, 8 if given.task == "palletizing" else 4, 1)
    count = {"constant": 3 if given.task == "palletizing" else 1} if given.tiny else None
    figures, details = [], {}
    for stage in works if given.stage is None else (given.stage,):
        for variation in ("nominal",) if given.tiny or stage != WHOLE else ("nominal", "wide"):
            few = draws if variation == "nominal" else max(draws // 4, 1)
            found, details[f"{variation} {stage}"] = judged(given.task, stage, variation, few, given.seed, count)
            figures += found
    setting = f"{given.task}, {draws} draws (palletizing: orders, all their pallets), seed {given.seed}"
    publish("expert", given, figures, setting, details)


if __name__ == "__main__":
    main()
