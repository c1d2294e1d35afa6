"""How long a person waits for `palletlab --help`, and what the packages cost to import."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, Figure, arguments, publish, sized

BAR = 0.5  # [s]
MODULES = ("palletlab.cli", "assets.arms", "sim.scene", "tasks.packing.planner", "tasks.simulation", "tasks.env")


def seconds(command: list[str], runs: int) -> list[float]:
    """Return how long each run of a command took, its output thrown away."""
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begin)
    return taken


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("startup", "The command line's answer and import times.").parse_args(words)
    runs = sized(given, 10, 10, 2)
    program = Path(sys.executable).with_name("palletlab")
    helped = seconds([str(program), "--help"], runs)
    bare = seconds([sys.executable, "-c", ""], runs)
    says = f"median of {runs} runs"
    figures = [
        Figure("palletlab --help", float(np.median(helped)), "s", BAR, says, True, min(helped), max(helped)),
        Figure("python alone", float(np.median(bare)), "s", None, says),
    ]
    for module in MODULES:
        taken = seconds([sys.executable, "-c", f"import {module}"], sized(given, 5, 3, 1))
        figures.append(Figure(f"import {module}", float(np.median(taken)), "s", None, "python's own start included"))
    publish("startup", given, figures, "the installed command, files cached", {"help": helped})


if __name__ == "__main__":
    main()
