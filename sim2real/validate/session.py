"""A session: every policy on every variant, predicted in simulation, then run on a robot, kept and compared.

A session lives in a folder. What has ended is never run again; killed at any moment, it goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from assets.errors import InputError
from sim.knobs import Rows
from sim.variations import Variation
from sim2real.validate.policies import policy_named
from sim2real.validate.sequential import Finding, compare
from sim2real.validate.simulated import Runs, predict, with_cell
from sim2real.validate.trials import Cell, Journal, Outcome, Trial, schedule
from tasks.simulation import Settings

Ask = Callable[[str], None]
"""Shows the operator what to do and returns once it is done."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a session does.

    Attributes:
        settings: task, layout, slots.
        policies: names, see `sim2real.validate.policies`.
        rows: the trials' variants, ready to run, in cells drawn from `variation`.
        variation: what the prediction draws its cells from.
        seed: of order, codes and repeated predictions.
        repeats: simulated runs of each trial, each in a cell drawn anew.
        margin: by how much real success may differ from the predicted and still count as the same.
        stop_early: end once the test has decided for every policy.
    """

    settings: Settings
    policies: tuple[str, ...]
    rows: Rows
    variation: Variation
    seed: int = 0
    repeats: int = 1
    margin: float = 0.2
    stop_early: bool = True

    def check(self) -> None:
        """Raise InputError for a session that cannot be held."""
        if not self.policies:
            raise InputError("policies = [] names no policy")
        if len(set(self.policies)) < len(self.policies):
            raise InputError(f"policies = {list(self.policies)} names a policy twice")
        for name in self.policies:
            policy_named(name, self.settings, 1)
        if not len(self.rows):
            raise InputError("there are no variants to run")
        if not 0.0 < self.margin < 1.0:
            raise InputError(f"margin = {self.margin} must lie between 0 and 1")
        if self.repeats < 1:
            raise InputError(f"repeats = {self.repeats} must be at least 1")


class Session:
    """A session in a folder."""

    def __init__(self, plan: Plan, folder: Path):
        """Begin, or go on with, the session in `folder`.

        Raises:
            InputError: it cannot be held as planned.
        """
        plan.check()
        self.plan = plan
        self.trials = schedule(plan.policies, len(plan.rows), plan.seed)
        self.journal = Journal(folder / "trials")
        self._simulated = folder / "simulated"
        self.outcomes = self.journal.ended(self.trials)

    def predict(self, workers: int, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Make the simulated runs that are missing."""
        plan, n = self.plan, len(self.plan.rows)
        cells = [plan.rows] + [
            # A repeat's seed must not be that of another session's trials.
            with_cell(plan.rows, plan.variation, plan.seed + 1_000_003 * r)
            for r in range(1, plan.repeats)
        ]
        every = [(p, r, i) for r in range(plan.repeats) for p in plan.policies for i in range(n)]
        columns = {k: np.concatenate([cells[r][k][[i]] for _, r, i in every]) for k in plan.rows.columns}
        numbers = np.array([plan.rows.numbers[i] for _, _, i in every])
        rows = Rows(plan.rows.knobs, columns, plan.rows.seed, numbers)
        files = tuple(self._file(p, r, i) for p, r, i in every)
        predict(Runs(plan.settings, tuple(p for p, _, _ in every), rows, files), workers, report)

    def run(self, cell: Cell, ask: Ask, report: Callable[[Trial, Outcome], None] = lambda trial, outcome: None) -> None:
        """Run the trials that are left on a robot, in order; `report` hears of each that ended.

        Raises:
            InputError: the robot or its cell fails; what has ended is kept.
        """
        every = ((p, row) for p in self.plan.policies for row in range(len(self.plan.rows)))
        cell.check(o for p, row in every for o in self.simulated(p, row) if o.broken is None)
        for trial in self.trials:
            if trial.number % len(self.plan.policies) == 0 and self._settled(trial.row):
                return
            if trial.number in self.outcomes:
                continue
            if not cell.resets_itself:
                ask(self.prompt(trial))
            self.journal.begin(trial)
            outcome = cell.run(trial)
            self.outcomes[trial.number] = self.journal.end(trial, outcome)
            report(trial, self.outcomes[trial.number])

    def prompt(self, trial: Trial) -> str:
        """Return what the operator has to do before a trial; it names no policy."""
        row = self.plan.rows.take([trial.row])
        n = int(row["carton.count"][0])
        sizes, masses = row["carton.size"][0, :n], row["carton.mass"][0, :n]
        listed = "; ".join(
            f"{k + 1}: {1000 * a:.0f} x {1000 * b:.0f} x {1000 * c:.0f} mm, {m:.1f} kg"
            for k, ((a, b, c), m) in enumerate(zip(sizes.tolist(), masses.tolist(), strict=True))
        )
        return (
            f"Trial {trial.number + 1} of {len(self.trials)}, code {trial.code}. Clear pallet and conveyor. "
            f"Have these cartons ready, in this order: {listed}. Leave the cell and close it."
        )

    # ---- what came of it ---------------------------------------------------------------------------------------------

    def real(self) -> np.ndarray:
        """Return success in each trial on the robot (policies, variants), NaN where it has not been run."""
        found = np.full((len(self.plan.policies), len(self.plan.rows)), np.nan)
        for trial in self.trials:
            if trial.number in self.outcomes:
                found[self.plan.policies.index(trial.policy), trial.row] = self.outcomes[trial.number].success
        return found

    def predicted(self) -> np.ndarray:
        """Return the share of simulated runs that succeeded (policies, variants), NaN where none can be used."""
        found = np.full((len(self.plan.policies), len(self.plan.rows)), np.nan)
        for k, policy in enumerate(self.plan.policies):
            for row in range(len(self.plan.rows)):
                runs = [o.success for o in self.simulated(policy, row) if o.broken is None]
                found[k, row] = np.mean(runs) if runs else np.nan
        return found

    def simulated(self, policy: str, row: int) -> list[Outcome]:
        """Return the simulated runs of a trial that have been made."""
        files = [self._file(policy, r, row) for r in range(self.plan.repeats)]
        return [Outcome.read(file) for file in files if file.exists()]

    def findings(self) -> dict[str, Finding]:
        """Return what the sequential test says of each policy."""
        return {policy: self._finding(k, len(self.plan.rows)) for k, policy in enumerate(self.plan.policies)}

    def _finding(self, policy: int, rows: int) -> Finding:
        difference = (self.real() - self._predicted)[policy, :rows]
        return compare(difference[np.isfinite(difference)], self.plan.margin)

    def _settled(self, rows: int) -> bool:
        """Say whether the test has decided for every policy on the first `rows` variants, and this ends the session."""
        found = range(len(self.plan.policies))
        return self.plan.stop_early and all(self._finding(k, rows).decision != "open" for k in found)

    @functools.cached_property
    def _predicted(self) -> np.ndarray:
        """The predictions, read once: they are there before the first trial and do not change."""
        return self.predicted()

    def _file(self, policy: str, repeat: int, row: int) -> Path:
        return self._simulated / policy / f"{row:05d}-{repeat}.json"
