"""What sleeping gains: settled cartons cost nothing until something touches them.

The same rows run twice at the same time, in alternating blocks: with sleeping and without. Each world holds a pallet of
24 cartons on which the expert sets down the last ones, so the gain is that of the real task: arm, conveyor, suction,
observations and expert included, cartons woken whenever a new one touches down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmarks.common import SLOTS, Figure, arguments, full_pallets, over_all, publish, ratio, sized
from sim.knobs import Rows
from tasks.palletizing.expert import PalletizingExpert
from tasks.simulation import Settings, Simulation

BAR = 3.0
STANDING = 20  # of 24 cartons
SETTLE = 20  # periods before the clock starts


class Side:
    """One of the two: a simulation and its expert."""

    def __init__(self, rows: Rows, worlds: int, sleeping: bool):
        """Start `worlds` worlds on `rows`, in turn."""
        settings = Settings(slots=SLOTS)
        self.ids = np.arange(worlds)
        self.simulation = Simulation(settings, worlds, sleeping=sleeping)
        self.expert = PalletizingExpert(settings.layout, worlds)
        self.simulation.task.apply(rows.take(self.ids % len(rows)), self.ids)
        self.expert.reset(self.ids, self.ids)

    def block(self, periods: int) -> float:
        """Run `periods` control periods; return physics steps per second."""
        task = self.simulation.task
        begin = time.perf_counter()
        for _ in range(periods):
            action = self.expert.act(task.observe(self.ids), self.ids)[:, 0]
            task.advance(action, self.ids)
        spent = time.perf_counter() - begin
        return periods * self.simulation.cell.substeps * len(self.ids) / spent

    def placed(self) -> int:
        """Return how many cartons were set down in all worlds."""
        return sum(e["event"] == "released" for events in self.simulation.task.events for e in events)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("sleeping", "Sleeping on against sleeping off, on pallets of 24 cartons.").parse_args(words)
    worlds, blocks, periods = sized(given, 16, 8, 1), sized(given, 30, 10, 2), sized(given, 10, 10, 2)
    rows = full_pallets(sized(given, 8, 4, 1), STANDING)
    asleep, awake = Side(rows, worlds, sleeping=True), Side(rows, worlds, sleeping=False)
    for side in (asleep, awake):
        side.block(SETTLE)
    on, off = zip(*[(asleep.block(periods), awake.block(periods)) for _ in range(blocks)], strict=True)
    figures = [
        ratio("gain from sleeping", on, off, BAR, "the same rows with sleeping off"),
        Figure("sleeping on", over_all(on), "physics steps/s"),
        Figure("sleeping off", over_all(off), "physics steps/s"),
        Figure("cartons set down meanwhile, on", float(asleep.placed()), "cartons"),
        Figure("cartons set down meanwhile, off", float(awake.placed()), "cartons"),
    ]
    seconds = blocks * periods / 10
    setting = f"{worlds} worlds, 24 cartons, expert places the last {SLOTS - STANDING}, {seconds:g} s simulated"
    publish("sleeping", given, figures, setting, {"on": on, "off": off})


if __name__ == "__main__":
    main()
