"""Trainings and closed loops for `benchmarks.studies`: the ordinary commands, each in a process of its own.

All that is made lies in one folder, and what is there already is not made again: a study that was interrupted goes on
where it stopped. A training is counted in minutes of the clock on this computer.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT

# Of the minutes that direct video action has in all. A baseline has as many: what is left beside its tokenizer.
SHARES = {"tokenizer": 0.15, "video": 0.6, "idm": 0.25}
HEADS = ("tokens", "flow", "fast")


@dataclasses.dataclass(frozen=True)
class Loop:
    """What a policy did on the held-out variants.

    Attributes:
        success: (n,) by variant.
        figure: the success rate as `palletlab evaluate` says it: value, low, high.
    """

    success: np.ndarray
    figure: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where a study is made, and from what.

    Attributes:
        folder: for everything that is trained and rolled out.
        data: datasets.
        variants: table of held-out variants.
        settings: overrides of every training, e.g. a smaller recipe.
        driving: overrides of every closed loop.
    """

    folder: Path
    data: tuple[Path, ...]
    variants: Path
    settings: tuple[str, ...] = ()
    driving: tuple[str, ...] = ()

    def dva(self, name: str, minutes: float, *more: str, **parts: Path) -> Path:
        """Return the folder of a trained tokenizer, video model and inverse model; `parts` are taken as they are."""
        folder = self.folder / name
        made = {"tokenizer": parts.get("tokenizer") or folder / "tokenizer"}
        if "tokenizer" not in parts:
            self.train("tokenizer", made["tokenizer"], minutes * SHARES["tokenizer"], *more)
        if "video" not in parts:
            self.train("video", folder / "video", minutes * SHARES["video"], f"tokenizer={made['tokenizer']}", *more)
        self.train("idm", folder / "idm", minutes * SHARES["idm"], f"video={folder / 'video'}", *more)
        return folder

    def baseline(self, name: str, minutes: float, head: str, tokenizer: Path, *more: str) -> Path:
        """Return the folder of a trained baseline, whose tokenizer counts towards its minutes."""
        folder = self.folder / name
        rest = minutes * (1.0 - SHARES["tokenizer"])
        self.train("baseline", folder, rest, f"head={head}", f"tokenizer={tokenizer}", *more)
        return folder

    def train(self, kind: str, folder: Path, minutes: float, *more: str) -> None:
        """Train, or go on, or find that it is done."""
        if (folder / "result.json").is_file():
            return
        if (folder / "config.yaml").is_file():
            palletlab("train", "--resume", str(folder))
            return
        data = "data=[" + ",".join(str(path) for path in self.data) + "]"
        words = [word for word in (*self.settings, *more) if word.startswith("data=")] or [data]
        rest = [word for word in (*self.settings, *more) if not word.startswith("data=")]
        palletlab("train", kind, *words[-1:], f"training.{kind}.minutes={minutes:g}", *rest, f"out={folder}")

    def drive(self, policy: str, checkpoint: Path, name: str, *more: str) -> Loop:
        """Let a policy drive on the held-out variants."""
        out = self.folder / "driven" / name
        if not (out / "result.json").is_file():
            shutil.rmtree(out, ignore_errors=True)
            given = f"policy={policy}", f"checkpoint={checkpoint}", f"variants={self.variants}"
            palletlab("evaluate", *given, *self.driving, *more, f"out={out}")
        found = json.loads((out / "result.json").read_text())
        success = {episode["variant"]: episode["success"] for episode in found["episodes"]}
        return Loop(np.array([success[k] for k in sorted(success)], bool), found["figures"]["success"])


def palletlab(*words: str) -> None:
    """Run a command; its lines go where ours go.

    Raises:
        RuntimeError: it failed.
    """
    run = subprocess.run([sys.executable, "-m", "palletlab", *words], cwd=ROOT, check=False)
    if run.returncode:
        raise RuntimeError(f"palletlab {' '.join(words)} ended with {run.returncode}")


def difference(ours: np.ndarray, theirs: np.ndarray, draws: int = 10_000) -> tuple[float, float, float]:
    """Return by how much one success rate is above another on the same variants, with a 95 % bootstrap interval."""
    gain = ours.astype(float) - theirs.astype(float)
    picks = np.random.default_rng(0).integers(len(gain), size=(draws, len(gain)))
    low, high = np.quantile(gain[picks].mean(1), [0.025, 0.975])
    return float(gain.mean()), float(low), float(high)


def hours_of(data: Sequence[Path]) -> float:
    """Return how many hours of episodes there are in the datasets."""
    total = 0.0
    for path in data:
        info = json.loads((path / "meta" / "info.json").read_text())
        total += info["total_frames"] / info["fps"] / 3600.0
    return total
