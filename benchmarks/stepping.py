"""What the full environment costs over bare physics.

The environment (observations with noise, reward, suction, conveyor or latches, resets, verdicts) steps full pallets, or
filled totes, under random smooth joint targets; a bare `mujoco.batch.Batch` of the same model, rows and threads steps
the same worlds. Each block begins with both in the same state, bit for bit, with the same goods asleep, and both get
the same joint commands. The worlds stand at different points of their episodes, so that resets come as often as they do
in a long run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mujoco.batch import MODEL_FIELDS, Batch

from benchmarks.common import (
    SLOTS,
    Figure,
    Spent,
    add_task,
    arguments,
    filled_totes,
    full_pallets,
    over_all,
    publish,
    ratio,
    sized,
)
from sim.cell import PERIOD, Cell
from sim.knobs import Rows
from tasks.env import TaskVectorEnv
from tasks.palletizing import task as palletizing
from tasks.rollout import RANDOM, make_policy
from tasks.totes import task as totes

BAR = 0.85
STANDING = 22  # of 24 cartons
SECONDS = {  # of an episode at most: for each thing, and beside
    "palletizing": (palletizing.SECONDS_PER_CARTON, palletizing.SECONDS_EXTRA),
    "tote_breakdown": (totes.SECONDS_PER_PART, totes.SECONDS_EXTRA),
}
STATE = ("time", "qpos", "qvel", "qacc_warmstart", "ctrl", "eq_active")


class Bare:
    """A batch with nothing around it, whose worlds are put into the state of a cell's."""

    def __init__(self, cell: Cell, nthread: int):
        """Make a batch like the one under `cell`."""
        self._cell = cell
        self.batch = Batch(cell.scene.model, cell.worlds.nworld, nthread, persistent=True)
        self._state = {name: self.batch.bind(name) for name in STATE}
        self.ctrl = self._state["ctrl"]

    def follow(self) -> None:
        """Take over the rows and the state of the cell's worlds; both go on from there, equal bit for bit."""
        ids = np.arange(self._cell.worlds.nworld)
        theirs = self._cell.worlds.batch  # pyright: ignore[reportAttributeAccessIssue]
        for name in MODEL_FIELDS:
            values = theirs.expanded(name)
            if values is not None:
                self.batch.expand(name)[:] = values
        self.batch.reset()
        self._cell.worlds.save(ids)  # leaves the worlds themselves in the saved state, awake
        for name, mine in self._state.items():
            mine[:] = theirs.bind(name)
        self.batch.forward()


class Stepping:
    """The environment and the bare batch, ready to be timed block by block."""

    def __init__(self, task: str, worlds: int, rows: Rows, nthread: int = 0):
        """Make both with `worlds` worlds of a task, which take `rows` in turn."""
        self.env = TaskVectorEnv(worlds, task=task, variants=rows, nthread=nthread)
        self.simulation = self.env.simulation
        self.cell = self.simulation.cell
        self.policy = make_policy(RANDOM, self.env.settings, worlds)
        self.ids = np.arange(worlds)
        self.env.reset()
        self.policy.reset(self.ids, self.ids)
        each, beside = SECONDS[task]
        limit = (each * rows[self.env.settings.family.count][self.ids % len(rows)] + beside) / PERIOD
        self.simulation.task.state.period[:] = limit * self.ids / worlds
        self.bare = Bare(self.cell, nthread)
        self.resets = 0

    def actions(self, periods: int) -> list[np.ndarray]:
        """Return the actions of the next periods; drawn beforehand, they cost neither side anything."""
        return [self.policy.act({}, self.ids)[:, 0] for _ in range(periods)]

    def warm_up(self, periods: int) -> None:
        """Let the load settle and the arms get going."""
        for action in self.actions(periods):
            self.env.step(action)

    def block(self, periods: int) -> tuple[Spent, Spent]:
        """Run both for `periods` control periods; return what environment and bare batch spent on them."""
        self.bare.follow()
        # The first period is not timed: everything is awake after taking over a state.
        actions = self.actions(periods + 1)
        environment, bare, commands = Spent(), Spent(), []
        for k, action in enumerate(actions):
            with environment if k else Spent():
                _, _, terminated, truncated, _ = self.env.step(action)
            commands.append(self.cell.worlds.ctrl.copy())
            self.resets += int((terminated | truncated).sum())
        for k, command in enumerate(commands):
            with bare if k else Spent():
                self.bare.ctrl[:] = command
                self.bare.batch.step(nstep=self.cell.substeps)
        return environment, bare


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("stepping", "The full environment against bare Batch stepping.")
    add_task(parser, SECONDS)
    given = parser.parse_args(words)
    worlds, blocks, periods = sized(given, 64, 64, 2), sized(given, 16, 5, 2), sized(given, 30, 8, 2)
    number = sized(given, 8, 4, 1)
    if given.task == "palletizing":
        rows, holding = full_pallets(number, STANDING), f"{STANDING} of {SLOTS} cartons standing"
    else:
        rows = filled_totes(number)
        holding = f"{rows['part.count'].mean():.1f} parts in a tote"
    stepping = Stepping(given.task, worlds, rows)
    stepping.warm_up(sized(given, 50, 20, 2))
    pairs = [stepping.block(periods) for _ in range(blocks)]
    steps = worlds * periods * stepping.cell.substeps
    environment, bare = ([steps / side.wall for side in sides] for sides in zip(*pairs, strict=True))
    our_cpu, bare_cpu = ([steps / side.cpu for side in sides] for sides in zip(*pairs, strict=True))
    baseline = "bare mujoco.batch.Batch.step(nstep=50)"
    figures = [
        ratio("environment over bare stepping", environment, bare, BAR, baseline),
        ratio("the same in processor time", our_cpu, bare_cpu, None, f"{baseline}; blind to other processes"),
        Figure("environment", over_all(environment), "physics steps/s"),
        Figure("bare batch", over_all(bare), "physics steps/s"),
    ]
    setting = f"{given.task}, {worlds} worlds, {holding}, {blocks} alternating blocks of {periods * PERIOD:g} s"
    publish("stepping", given, figures, setting, {"environment": environment, "bare": bare, "resets": stepping.resets})


if __name__ == "__main__":
    main()
