"""A checkpoint that nobody trained: its policy nods with the joints, more in a brighter picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from assets.errors import InputError
from policies.data.view import View
from policies.dva.leapfrog import Question, Rhythm
from policies.dva.load import Summary
from policies.dva.policy import Cell, DVAPolicy, Senses
from policies.embodiment import ACTION, STATE, Embodiment
from tasks.palletizing.task import INSTRUCTION

VIEWS = (View("cell", (0.1, 0.1, 0.9, 0.9), 16),)


def write(folder: Path, hash: str = "abc123") -> Path:
    folder.mkdir(parents=True)
    (folder / "fake.json").write_text(json.dumps({"hash": hash}))
    return folder


def summary(folder: Path) -> Summary:
    if not (folder / "fake.json").exists():
        raise InputError(f"{folder}: no such folder")
    return Summary(("cell",), json.loads((folder / "fake.json").read_text())["hash"])


class Nodder:
    def __init__(self, rhythm: Rhythm) -> None:
        self.rhythm = rhythm

    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        return [self._chunk(question) for question in questions]

    def forget(self, world: int) -> None: ...

    def _chunk(self, question: Question) -> np.ndarray:
        last = question.in_flight[-1, -1] if len(question.in_flight) else question.led[-1, -1]
        step = 0.02 * question.pictures["cell"][-1].mean() / 255 * (-1) ** (question.newest // 4)
        count = self.rhythm.chunk * self.rhythm.stride
        chunk = last + step * np.arange(1, count + 1)[:, None] * (np.arange(len(last)) < 6)
        return chunk.astype(np.float32).reshape(self.rhythm.chunk, self.rhythm.stride, -1)


def load(folder: Path, cell: Cell, nworld: int, chunk: int = 4, lead: int = 4, steps: int = 1) -> DVAPolicy:
    summary(folder)
    rhythm = Rhythm(1, chunk, lead, cell.period)
    features = {
        key: {"names": list(names), "shape": [len(names)]}
        for key, names in ((STATE, cell.state_names), (ACTION, cell.action_names))
    }
    body = Embodiment.of({"robot_type": cell.robot, "features": features})
    return DVAPolicy(Nodder(rhythm), rhythm, Senses.of(cell, VIEWS, body, (INSTRUCTION,)), nworld)
