"""Trials: which there are, in which order, and what came of each, kept the moment it has ended.

Every policy runs on every variant. Variants come one after another; which policy goes first is drawn anew for each, so
that a cell that warms up or wears favours none. Whoever stands beside the robot sees a code that is drawn for each
trial and says nothing of the policy. All of it follows from the seed: an interrupted session finds its order again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from assets.errors import InputError
from sim.variations import stream
from tasks.durable import remove_temporaries, write_file

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that reads like another
CODE_LENGTH = 4


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial: its place in the session, the code that stands for its policy, the policy, the row of the variant."""

    number: int
    code: str
    policy: str
    row: int


def schedule(policies: Sequence[str], rows: int, seed: int) -> tuple[Trial, ...]:
    """Return the trials of every policy on so many variants, in the order in which they are run."""
    trials, codes = [], set()
    for row in range(rows):
        rng = stream(seed, row, "trials")
        for k in rng.permutation(len(policies)):
            code = ""
            while not code or code in codes:
                code = "".join(LETTERS[j] for j in rng.integers(len(LETTERS), size=CODE_LENGTH))
            codes.add(code)
            trials.append(Trial(len(trials), code, policies[int(k)], row))
    return tuple(trials)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one trial, on a robot or simulated.

    Attributes:
        success: as the task judges it.
        reasons: what is wrong, one line each.
        placed: (n,) whether each carton is where it belongs.
        seconds: how long the work took.
        tool: where the lips were at every control period [m], (T, 3), in the world.
        cartons: where the cartons ended, before the load was tested: x, y, z [m], yaw [rad], (n, 4); NaN if unknown.
        events: what happened, see `tasks.task.Task`.
        broken: why nothing can be said of it (simulated only), or None.
    """

    success: bool
    reasons: tuple[str, ...]
    placed: tuple[bool, ...]
    seconds: float
    tool: np.ndarray
    cartons: np.ndarray
    events: tuple[Mapping[str, Any], ...]
    broken: str | None = None

    def to_json(self, **more: Any) -> bytes:
        """Return it as JSON, lengths to a tenth of a millimetre; `more` entries go along."""
        values = dataclasses.asdict(self) | {"tool": _listed(self.tool), "cartons": _listed(self.cartons)}
        return json.dumps(values | more, allow_nan=False).encode()

    @staticmethod
    def read(path: Path) -> Outcome:
        """Read what `to_json` wrote.

        Raises:
            InputError: the file is damaged.
        """
        try:
            values = json.loads(path.read_text())
            return Outcome(
                success=bool(values["success"]),
                reasons=tuple(values["reasons"]),
                placed=tuple(map(bool, values["placed"])),
                seconds=float(values["seconds"]),
                tool=np.array(values["tool"], np.float64).reshape(-1, 3),
                cartons=np.array(values["cartons"], np.float64).reshape(-1, 4),
                events=tuple(values["events"]),
                broken=values["broken"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: no trial as a validation writes it ({error}); remove it to repeat it") from None


class Cell(Protocol):
    """Where a trial is run: one cell with an arm, real or simulated."""

    @property
    def what(self) -> str:
        """What it is, for the report, e.g. "stand-in, not hardware"."""
        ...

    @property
    def resets_itself(self) -> bool:
        """Whether it clears and loads itself; otherwise an operator is asked to."""
        ...

    def check(self, predicted: Iterable[Outcome]) -> None:
        """Raise InputError when its limits forbid what the simulated runs of the trials did."""
        ...

    def run(self, trial: Trial) -> Outcome:
        """Run one trial; InputError where it cannot be begun or brought to an end."""
        ...

    def close(self) -> None:
        """Leave the cell."""
        ...


class Journal:
    """What has been done of a session, in its folder: a file for every trial that ended, one line for each begun."""

    def __init__(self, folder: Path):
        """Keep the trials in `folder`; what was half written there goes."""
        self.folder = folder
        if folder.is_dir():
            remove_temporaries(folder)

    def begin(self, trial: Trial) -> None:
        """Note that a trial begins: one that is begun and never ends is told in the report."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._begun.open("a") as file:
            file.write(f"{trial.number}\n")
            file.flush()

    def end(self, trial: Trial, outcome: Outcome) -> Outcome:
        """Keep what came of a trial, whole or not at all, and return that. It names the code, not the policy."""
        if self._file(trial).exists():
            raise InputError(f"{self._file(trial)} exists already: trial {trial.number} has been run")
        write_file(self._file(trial), outcome.to_json(trial=trial.number, code=trial.code))
        return Outcome.read(self._file(trial))

    def ended(self, trials: Sequence[Trial]) -> dict[int, Outcome]:
        """Return what came of those of the trials that have ended, by number."""
        return {t.number: Outcome.read(self._file(t)) for t in trials if self._file(t).exists()}

    def interrupted(self) -> int:
        """Return how often a trial was begun that did not end then."""
        if not self._begun.exists():
            return 0
        begun = [int(line) for line in self._begun.read_text().split()]
        return len(begun) - sum((self.folder / f"{number:05d}.json").exists() for number in set(begun))

    @property
    def _begun(self) -> Path:
        return self.folder / "begun.txt"

    def _file(self, trial: Trial) -> Path:
        return self.folder / f"{trial.number:05d}.json"


def _listed(values: np.ndarray) -> list[list[float | None]]:
    return [[None if not np.isfinite(v) else round(float(v), 4) for v in row] for row in values]
