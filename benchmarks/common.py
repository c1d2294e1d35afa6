"""What every benchmark shares: arguments, the table it prints, and the same as JSON.

A benchmark measures its subject and its baseline in the same run, alternating, and reports their ratio: machines differ
and are busy with other things, ratios mostly hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from sim.knobs import Rows
from sim.variations import Variation
from tasks.palletizing.variants import Planner, plan_rows
from tasks.simulation import Settings, versions

ROOT = Path(__file__).parents[1]
SLOTS = 24
Size = TypeVar("Size")


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of a benchmark's table.

    Attributes:
        name: what was measured.
        value: the measured value.
        unit: of the value.
        bar: least (or, with `most`, greatest) value wanted; None for figures without a bar.
        baseline: what it is compared with, in words.
        most: whether the bar is an upper one.
        low, high: an interval, where there is one; its meaning stands with the benchmark.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    baseline: str = ""
    most: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return bool(self.value <= self.bar if self.most else self.value >= self.bar)


@dataclasses.dataclass
class Spent:
    """A stopwatch: seconds of the clock and of the processor inside its `with` blocks."""

    wall: float = 0.0
    cpu: float = 0.0

    def __enter__(self) -> None:
        """Start."""
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        """Stop and add."""
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def arguments(name: str, says: str) -> argparse.ArgumentParser:
    """Return the parser of the benchmark `name` with what all of them take; add what is its own."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=says)
    parser.add_argument("--quick", action="store_true", help="a minute's version")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "benchmarks" / f"{name}.json", help="JSON file")
    # For the tests of the benchmarks themselves: as little as still runs through everything.
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    return parser


def sized(given: argparse.Namespace, full: Size, quick: Size, tiny: Size) -> Size:
    """Return one of three sizes, by the arguments."""
    return tiny if given.tiny else quick if given.quick else full


def publish(
    name: str, given: argparse.Namespace, figures: Sequence[Figure], setting: str, details: dict[str, Any] | None = None
) -> None:
    """Print the figures as a table and write them, with `details`, as JSON."""
    table = Table(title=f"{name}: {setting}")
    for column in ("figure", "measured", "bar", "", "baseline"):
        table.add_column(column, overflow="fold")
    for f in figures:
        measured = f"{f.value:.4g} {f.unit}"
        if f.low is not None and f.high is not None:
            measured += f" ({f.low:.4g} … {f.high:.4g})"
        bar = "" if f.bar is None else f"{'≤' if f.most else '≥'} {f.bar:g} {f.unit}"
        table.add_row(f.name, measured, bar, {True: "met", False: "MISSED", None: ""}[f.met], f.baseline)
    Console(width=140).print(table)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": name,
        "setting": setting,
        "size": "tiny" if given.tiny else "quick" if given.quick else "full",
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": versions(),
        "figures": [dataclasses.asdict(f) | {"met": f.met} for f in figures],
        "details": details or {},
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n")
    Console(width=140).print(f"written: {given.out}")


def ratio(name: str, subject: Sequence[float], reference: Sequence[float], bar: float | None, baseline: str) -> Figure:
    """Return the ratio of two speeds measured in alternating blocks of equal work: that of the total times.

    The interval given with it holds the middle half of the blocks' own ratios: what noise and phases of work do.

    Args:
        name: of the figure.
        subject: speed of the subject in each block.
        reference: speed of the baseline in the same block.
        bar: least ratio wanted, if any.
        baseline: what the reference is.
    """
    ours, theirs = np.asarray(subject), np.asarray(reference)
    low, high = np.quantile(ours / theirs, [0.25, 0.75])
    value = (1.0 / theirs).sum() / (1.0 / ours).sum()
    return Figure(name, float(value), "x", bar, baseline, low=float(low), high=float(high))


def over_all(speeds: Sequence[float]) -> float:
    """Return the speed over all blocks of equal work: their harmonic mean."""
    return float(1.0 / (1.0 / np.asarray(speeds)).mean())


def add_task(parser: argparse.ArgumentParser, known: Iterable[str]) -> None:
    """Add the argument `--task`, one of the families that the benchmark knows what to do with."""
    parser.add_argument("--task", choices=sorted(known), default="palletizing", help="task family")


def add_draws(parser: argparse.ArgumentParser) -> None:
    """Add the arguments `--draws` and `--seed`."""
    parser.add_argument("--draws", type=int, help="variants (palletizing: orders) to draw, instead of the size's own")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")


def variation_with(base: str, changed: dict[str, Any], task: str = "palletizing") -> Variation:
    """Return a variation of `conf/variation/<task>` with some knobs (dotted names) drawn otherwise."""
    says = yaml.safe_load((ROOT / "conf" / "variation" / task / f"{base}.yaml").read_text()) or {}
    for name, value in changed.items():
        *path, last = name.split(".")
        inside = says
        for key in path:
            inside = inside.setdefault(key, {})
        inside[last] = value
    return Variation.parse(base, says, Settings(task).knobs)


def full_pallets(pallets: int, standing: int) -> Rows:
    """Return planned rows, one a pallet: 24 cartons each under the nominal variation, `standing` of them in place.

    The cartons are of the smaller kind, for 24 of the nominal sizes fill two pallets or three.
    """
    size = {"uniform": [[0.27, 0.18, 0.16], [0.34, 0.24, 0.16]]}
    variation = variation_with("nominal", {"carton.count": SLOTS, "carton.size": size, "pallet.prefill": standing})
    planner = Planner(Settings().layout)
    rows: list[Rows] = []
    number = 0
    while len(rows) < pallets:
        planned = plan_rows(variation.sample(0, [number]), planner, SLOTS, first_only=True)
        if int(planned["carton.count"][0]) == SLOTS:
            rows.append(planned)
        number += 1
    columns = {name: np.concatenate([r[name] for r in rows]) for name in rows[0].columns}
    return Rows(rows[0].knobs, columns, 0, np.concatenate([r.numbers for r in rows]))


def filled_totes(number: int) -> Rows:
    """Return prepared rows of tote breakdown under the nominal variation, the first `number` of seed 0."""
    settings = Settings("tote_breakdown")
    drawn = variation_with("nominal", {}, settings.task).sample(0, range(number))
    return settings.family.prepare(drawn, settings.layout, settings.slots)
