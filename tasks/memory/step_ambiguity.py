"""Step ambiguity: the same picture comes before and after a step, and what is to be done next is not the same.

Two cartons stand on the bench. The left one is to be lifted and set back a number of times, the arm returning to the
middle after each; then the right one is to be taken up. In the middle all looks and reads the same after each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.errors import InputError
from assets.gripper import Cups
from sim.cell import Cell
from sim.knobs import Knob, Knobs, Rows
from sim.suction import FREE
from tasks import figures
from tasks.memory.cell import BenchLayout, bench_knobs, bench_scene
from tasks.memory.expert import Arm, BenchExpert, Script
from tasks.memory.task import (
    ACTION_NAMES,
    RAISED,
    STATE_NAMES,
    BenchTask,
    BenchVerdict,
    Work,
    action_bounds,
    carton_names,
)
from tasks.task import TaskFamily, Verdict

LEFT, RIGHT = 0, 1  # slots
PLACES = np.array([(0.0, 0.27, 0.0), (0.0, -0.27, 0.0)])  # of the cartons in the bench's frame [m]
MOST = 3  # repetitions
BACK, STANDS = 0.05, 0.01  # [m] from where it stood, and above the bench, at which a carton has been set back
SECONDS = 30.0
TIMES = ("once", "twice", "three times")
INSTRUCTIONS = tuple(
    f"Lift the carton at the arm's left {times}, then take up the one at its right." for times in TIMES
)

# What the expert may know: how often the left carton is to be lifted, and how often it has been.
KNOWN = ("repeat.count", "repeat.done")

STEP_KNOBS = (
    Knob("carton.count", "1", 2, 2, 2, "cartons on the bench", integer=True),
    Knob("repeat.count", "1", 1, MOST, 2, "how often the left carton is to be lifted and set back", integer=True),
)


@dataclasses.dataclass
class StepWork(Work):
    """Where each world's work stands.

    Attributes:
        lifted: (n,) whether the left carton is off the bench.
        done: (n,) how often it has been lifted and set back.
        taken: (n,) whether the right one has been taken up.
    """

    lifted: np.ndarray
    done: np.ndarray
    taken: np.ndarray


class StepAmbiguity(BenchTask):
    """Lifting and setting back in many worlds."""

    state: StepWork

    def __init__(self, cell: Cell, layout: BenchLayout):
        """Work in `cell`, laid out as `layout` says."""
        n = cell.worlds.nworld
        still, no = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
        super().__init__(
            cell, layout, StepWork(still.copy(), still + FREE, no.copy(), still.copy(), no.copy()), SECONDS
        )
        self.repeat = still.copy()
        self.start = np.zeros((n, 2, 3))  # [m] where the cartons' undersides were

    def _put(self, rows: Rows, ids: np.ndarray) -> None:
        s = self.state
        s.lifted[ids], s.done[ids], s.taken[ids] = False, 0, False
        self.repeat[ids] = rows["repeat.count"].astype(np.int64)
        self.start[ids] = self.layout.on_bench(PLACES)
        self.start[ids, :, :2] += rows["carton.position"][:, :2]
        for slot in (LEFT, RIGHT):
            self._stand(slot, self.start[ids, slot], rows["carton.yaw"][:, slot], ids)

    def _follow(self, before: np.ndarray, ids: np.ndarray) -> np.ndarray:
        s, away = self.state, self._bases(ids)[:, :2] - self.start[ids]
        up = away[..., 2] > RAISED
        s.lifted[ids] |= up[:, LEFT] & (s.held[ids] == LEFT)
        # Anywhere on the bench: a carton that is set down askew has been lifted too.
        back = s.lifted[ids] & (s.held[ids] != LEFT) & (np.abs(away[:, LEFT, 2]) < STANDS)
        s.lifted[ids] &= ~back
        s.done[ids] += back
        taken = up[:, RIGHT] & (s.held[ids] == RIGHT) & ~s.taken[ids]
        s.taken[ids] |= taken
        right = back & (s.done[ids] <= self.repeat[ids])
        return 0.25 * right + (taken & (s.done[ids] == self.repeat[ids]))

    def _known(self, ids: np.ndarray) -> np.ndarray:
        return np.stack([self.repeat[ids], self.state.done[ids]], axis=1)

    def _done(self, ids: np.ndarray) -> np.ndarray:
        # Once too often cannot be made good.
        return self.state.taken[ids] | (self.state.done[ids] > self.repeat[ids])

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return what is to be done: how often, but not how often it has been done."""
        return [INSTRUCTIONS[k - 1] for k in self.repeat[ids].tolist()]

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`: lifted as often as asked, set back, the other one taken."""
        away = self._bases(ids)[:, :2] - self.start[ids]
        verdicts: list[Verdict] = []
        for k, i in enumerate(ids.tolist()):
            done, wanted = int(self.state.done[i]), int(self.repeat[i])
            off = float(np.sqrt((away[k, LEFT] ** 2).sum()))
            reasons = []
            if done != wanted:
                often = "often" if done > wanted else "seldom"
                reasons.append(f"carton {LEFT} lifted too {often} ({done} of {wanted})")
            if off > BACK:
                reasons.append(f"carton {LEFT} off by {1000 * off:.0f} mm")
            if not self.state.taken[i]:
                reasons.append(f"carton {RIGHT} not taken up")
            verdicts.append(BenchVerdict(not reasons, tuple(reasons), {"done": done, "wanted": wanted, "off": off}))
        return verdicts


# ---- the expert -----------------------------------------------------------------------------------------------------

LIFT, RESTS = 0.12, 8  # [m] how far the carton is lifted; periods of rest in the middle


def _script(arm: Arm) -> Script:
    """Lift the left carton and set it back as often as asked, resting in the middle after each; then take the right."""
    yield from arm.middle(RESTS)
    while arm.of("repeat.done") < arm.of("repeat.count"):
        if (yield from arm.pick(LEFT)):
            stood = arm.tool.copy()
            yield from arm.follow(arm.raised(LIFT), until=lambda: not arm.holding)
            yield from arm.place(stood, float(arm.tool[2]))
        yield from arm.middle(RESTS)
    while True:
        if (yield from arm.pick(RIGHT)):
            yield from arm.follow(arm.raised(LIFT))
            yield from arm.wait(RESTS)


# ---- the family -----------------------------------------------------------------------------------------------------


def _knobs(slots: int) -> Knobs:
    return bench_knobs(slots, *STEP_KNOBS)


def _prepare(drawn: Rows, layout: BenchLayout, slots: int, *, first_only: bool = False) -> Rows:
    """Return the rows as they are; InputError where the scene has fewer than two cartons."""
    if slots < 2:
        raise InputError(f"step_ambiguity: there are two cartons, the scene has {slots} slot: set task.slots=2")
    return drawn


def _expert(layout: BenchLayout, nworld: int) -> BenchExpert:
    """Lifts one carton as often as asked, rests in between, takes up the other."""
    return BenchExpert(layout, nworld, KNOWN, _script)


def by_chance(repeat: int) -> float:
    """Return the best success without a memory.

    After each of n lifts the same is seen: one who then goes on to the right carton with the chance p succeeds with
    (1 - p)^(n - 1) p, at best with p = 1/n. The rest before the first lift counts as known: the arm comes to it from
    elsewhere, and joint friction lets its torques read 1 N m otherwise.
    """
    return (1.0 - 1.0 / repeat) ** (repeat - 1) / repeat


def _figures(metadata: Sequence[Mapping[str, Any]]) -> dict[str, figures.Figure]:
    return {"best_without_memory": figures.mean([by_chance(m["verdict"]["wanted"]) for m in metadata], "1")}


FAMILY = TaskFamily(
    name="step_ambiguity",
    environment="StepAmbiguity",
    says="lift a carton and set it back so many times, then take up another one",
    thing="carton",
    count="carton.count",
    slots=2,
    instructions=INSTRUCTIONS,
    layout=BenchLayout,
    cups=Cups,
    state_names=STATE_NAMES,
    action_names=ACTION_NAMES,
    surroundings_names=lambda slots: (*KNOWN, *carton_names(slots)),
    action_bounds=action_bounds,
    knobs=_knobs,
    scene=bench_scene,
    make=StepAmbiguity,
    prepare=_prepare,
    policies={"expert": _expert},
    figures=_figures,
    pieces=lambda metadata: (int(metadata["verdict"]["success"]), 1),
    captions=lambda rows: [
        f"variant {n}: left carton {TIMES[int(k) - 1]}" for n, k in zip(rows.numbers, rows["repeat.count"], strict=True)
    ],
    pictured=lambda rows: rows,
)
