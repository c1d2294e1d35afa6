"""Shown arrangement: a free-flying hand puts cartons onto marked places; then the arm does the same with its own.

The hand and its cartons are pictures without weight. They are gone before the arm is to act: where its cartons belong
is said by the demonstration alone, which is part of the episode's video. Which arrangements are drawn is the
variation's: some that training never shows are kept for the variation `unseen`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np

from assets.carton import PARTS, carton, carton_geoms
from assets.errors import InputError
from assets.gripper import Cups
from assets.hand import hand
from sim.cartons import TEMPLATE_SIZE
from sim.cell import Cell
from sim.knobs import Knob, Knobs, Rows
from sim.scene import PARKING, Placed, Scene
from sim.suction import FREE
from tasks import figures
from tasks.memory.cell import BenchLayout, bench_knobs, bench_scene
from tasks.memory.demonstration import demonstration
from tasks.memory.expert import Arm, BenchExpert, Script
from tasks.memory.task import ACTION_NAMES, STATE_NAMES, BenchTask, BenchVerdict, Work, action_bounds, carton_names
from tasks.task import TaskFamily, Verdict

MOST = 2  # cartons
# In the bench's frame [m]: the places around the square, where the arm's cartons start, where the hand's do.
PLACES = np.array([(-0.16, 0.13, 0.0), (0.16, 0.13, 0.0), (0.16, -0.13, 0.0), (-0.16, -0.13, 0.0)])
OWN = np.array([(0.15, -0.43, 0.0), (-0.15, -0.43, 0.0)])
SHOWN = OWN * np.array([1.0, -1.0, 1.0])
# The places of the first and the second carton. Opposite ones (1, 5, 6, 10) are those that `unseen` draws.
ARRANGEMENTS = np.array(list(itertools.permutations(range(len(PLACES)), MOST)))
TINTS = np.array([(0.45, 0.75, 1.0), (1.0, 0.62, 0.35)])  # of the cardboard, so that the cartons can be told apart
SPAN = 0.225  # [m] between the hand's fingers
TOLERANCE = 0.03  # [m] from the middle of its place
SETTLE = 5  # periods after the last one is let go
SECONDS = 40.0
INSTRUCTION = "Put the cartons where the hand has shown."

# What the expert may know: whether the demonstration is over, how many cartons there are, where they belong.
KNOWN = ("shown.over", "carton.count", *(f"goal{k}.{axis}" for k in range(MOST) for axis in "xy"))

SHOWN_KNOBS = (
    Knob("carton.count", "1", 1, MOST, 2, "cartons to be put in their places", integer=True),
    Knob("shown.arrangement", "index", 0, len(ARRANGEMENTS) - 1, 0,
         "where the first and the second carton go, of four places around a square: "
         + ", ".join(f"{a}{b}" for a, b in ARRANGEMENTS), integer=True),
    Knob("shown.pace", "1", 0.7, 1.5, 1.0, "speed of the demonstration over the usual one"),
)  # fmt: skip


def _scene(layout: BenchLayout, slots: int) -> Scene:
    away = (*PARKING, 0.0)
    replicas = []
    for k in range(min(slots, MOST)):
        # The same carton, only seen, in the colours of the arm's.
        body = carton(f"shown{k}", TEMPLATE_SIZE, 1.0, look=f"carton{k}")
        seen = tuple(dataclasses.replace(geom, surface=None) for geom in body.geoms)
        replicas.append(Placed(dataclasses.replace(body, geoms=seen, free=False, mass=0.0), away))
    marks = tuple((float(x), float(y)) for x, y, _ in PLACES)
    return bench_scene(layout, slots, marks, moved=(Placed(hand("hand", SPAN), away), *replicas))


@dataclasses.dataclass
class ShownWork(Work):
    """Where each world's work stands.

    Attributes:
        moved: (n, slots) whether a carton has been taken up.
        idle: (n,) periods since all have been moved and let go.
    """

    moved: np.ndarray
    idle: np.ndarray


class ShownArrangement(BenchTask):
    """Doing as shown in many worlds."""

    state: ShownWork

    def __init__(self, cell: Cell, layout: BenchLayout):
        """Work in `cell`, laid out as `layout` says."""
        n, slots = cell.worlds.nworld, cell.scene.slots
        still = np.zeros(n, dtype=np.int64)
        state = ShownWork(still.copy(), still + FREE, np.zeros((n, slots), dtype=bool), still.copy())
        super().__init__(cell, layout, state, SECONDS)
        self.count = still.copy()
        self.goal = np.zeros((n, MOST, 3))  # [m] middles of the places where the cartons belong
        self.arrangement = still.copy()
        self._film: list[np.ndarray] = [np.zeros((0, 1 + MOST, 3)) for _ in range(n)]
        replicas = min(slots, MOST)
        names = [f"shown{k}_{part}" for k in range(replicas) for part in PARTS]
        self._replicas, self._geoms = replicas, cell.scene.ids(mujoco.mjtObj.mjOBJ_GEOM, names)

    def _fix(self, rows: Rows, ids: np.ndarray) -> None:
        """Give the hand's cartons the sizes of the arm's."""
        half, middle = carton_geoms(self.size[ids, : self._replicas].reshape(-1, 3))
        for name, values in (("geom_size", half), ("geom_pos", middle)):
            self.cell.worlds.field(name)[np.ix_(ids, self._geoms)] = values.reshape(len(ids), -1, 3)

    def _put(self, rows: Rows, ids: np.ndarray) -> None:
        s, layout = self.state, self.layout
        s.moved[ids], s.idle[ids] = False, 0
        self.count[ids], self.arrangement[ids] = rows["carton.count"], rows["shown.arrangement"]
        self.goal[ids] = layout.on_bench(PLACES)[ARRANGEMENTS[self.arrangement[ids]]]
        for slot in range(MOST):
            here = self.count[ids] > slot
            base = np.tile(layout.on_bench(OWN[slot]), (int(here.sum()), 1))
            base[:, :2] += rows["carton.position"][here, slot]
            self._stand(slot, base, rows["carton.yaw"][here, slot], ids[here])
        for i, pace in zip(ids.tolist(), rows["shown.pace"], strict=True):
            few = self.count[i]
            starts, heights = layout.on_bench(SHOWN[:few]), self.size[i, :few, 2]
            self._film[i] = demonstration(starts, self.goal[i, :few], heights, float(pace))
        self._show(ids)

    def _show(self, ids: np.ndarray) -> None:
        """Put the hand and its cartons where the demonstration has them now; away once it is over."""
        worlds = self.cell.worlds
        worlds.mocap_pos[ids] = [*PARKING, 0.0]
        for i in ids.tolist():
            if not self._over(i):
                film = self._film[i][self.state.period[i]].copy()
                film[1:, 2] += self.size[i, : len(film) - 1, 2] / 2
                worlds.mocap_pos[i, : len(film)] = film

    def _over(self, world: int) -> bool:
        return int(self.state.period[world]) >= len(self._film[world])

    def _follow(self, before: np.ndarray, ids: np.ndarray) -> np.ndarray:
        self._show(ids)
        s = self.state
        slots = np.arange(self.slots)
        s.moved[ids] |= slots == s.held[ids, None]
        all_moved = (s.moved[ids] | (slots >= self.count[ids, None])).all(1)
        s.idle[ids] = np.where(all_moved & (s.held[ids] == FREE), s.idle[ids] + 1, 0)
        # For a carton that has just been let go.
        put = np.flatnonzero((before != FREE) & (s.held[ids] == FREE))
        reward = np.zeros(len(ids))
        reward[put] = self._off(ids[put])[np.arange(len(put)), before[put]] < TOLERANCE
        return reward

    def _off(self, ids: np.ndarray) -> np.ndarray:
        """Return how far the cartons are from where they belong (n, slots) [m]; infinite for spare ones."""
        off = np.full((len(ids), self.slots), np.inf)
        away = self._bases(ids)[:, :MOST] - self.goal[ids, : self.slots]
        off[:, :MOST] = np.sqrt((away**2).sum(2))
        return np.where(np.arange(self.slots) < self.count[ids, None], off, np.inf)

    def _known(self, ids: np.ndarray) -> np.ndarray:
        over = np.array([self._over(i) for i in ids.tolist()], dtype=float)
        goals = self.goal[ids, :, :2].reshape(len(ids), -1)
        return np.concatenate([over[:, None], self.count[ids, None], goals], axis=1)

    def _done(self, ids: np.ndarray) -> np.ndarray:
        return self.state.idle[ids] >= SETTLE

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return the one instruction for each world."""
        return [INSTRUCTION] * len(ids)

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`: every carton is in the place that was shown."""
        off, places = self._off(ids), self.layout.on_bench(PLACES)
        base = self._bases(ids)
        verdicts: list[Verdict] = []
        for k, i in enumerate(ids.tolist()):
            reasons, count = [], int(self.count[i])
            for slot in range(count):
                other = np.sqrt(((places - base[k, slot]) ** 2).sum(1)).min() < TOLERANCE
                if self.state.held[i] == slot:
                    reasons.append(f"carton {slot} not let go")
                elif not self.state.moved[i, slot]:
                    reasons.append(f"carton {slot} not moved")
                elif off[k, slot] > TOLERANCE:
                    where = "in another place" if other else f"off by {1000 * off[k, slot]:.0f} mm"
                    reasons.append(f"carton {slot} {where}")
            placed = int((off[k, :count] <= TOLERANCE).sum())
            found = {"arrangement": int(self.arrangement[i]), "count": count, "placed": placed}
            verdicts.append(BenchVerdict(not reasons, tuple(reasons), found))
        return verdicts


# ---- the expert -----------------------------------------------------------------------------------------------------

RESTS = 10  # periods in the middle after the demonstration
CLEAR = 0.06  # [m] between what is carried and what stands on the bench


def _script(arm: Arm) -> Script:
    """Watch, rest, then put each carton into its place."""
    yield from arm.wait(1)
    while arm.of("shown.over") < 0.5:
        yield from arm.wait(1)
    yield from arm.middle(RESTS)
    waiting = list(range(int(arm.of("carton.count"))))
    while waiting:
        slot = waiting[0]
        if (yield from arm.pick(slot)):
            top = float(arm.tool[2])
            place = np.array([arm.of(f"goal{slot}.x"), arm.of(f"goal{slot}.y"), top])
            over = 2.0 * float(arm.cartons[:, 2].max()) - arm.layout.bench_height + CLEAR
            yield from arm.place(arm.at(place, 0.0), over)
            if abs(arm.cartons[slot][0] - place[0]) + abs(arm.cartons[slot][1] - place[1]) < TOLERANCE:
                waiting.pop(0)
    yield from arm.follow(arm.raised(2.0 * CLEAR))


# ---- the family -----------------------------------------------------------------------------------------------------


def _knobs(slots: int) -> Knobs:
    return bench_knobs(slots, *SHOWN_KNOBS)


def _prepare(drawn: Rows, layout: BenchLayout, slots: int, *, first_only: bool = False) -> Rows:
    """Return the rows with their cartons tinted; InputError where a row has more cartons than the scene."""
    most = int(drawn["carton.count"].max(initial=0))
    if most > slots:
        raise InputError(f"shown_arrangement: a row has {most} cartons, the scene has {slots}: set task.slots={most}")
    tint = TINTS[np.arange(slots) % MOST]
    return drawn.replaced(carton__color=np.maximum(drawn["carton.color"] * tint, 0.05))


def _expert(layout: BenchLayout, nworld: int) -> BenchExpert:
    """Watches, rests, puts each carton into its place."""
    return BenchExpert(layout, nworld, KNOWN, _script)


def _figures(metadata: Sequence[Mapping[str, Any]]) -> dict[str, figures.Figure]:
    ways = {1: 1.0 / len(PLACES), 2: 1.0 / len(ARRANGEMENTS)}
    placed = [m["verdict"]["placed"] for m in metadata]
    return {
        "by_chance": figures.mean([ways[m["verdict"]["count"]] for m in metadata], "1"),
        "in_their_places": figures.share(sum(placed), sum(m["verdict"]["count"] for m in metadata)),
    }


FAMILY = TaskFamily(
    name="shown_arrangement",
    environment="ShownArrangement",
    says="put cartons where a free-flying hand has shown",
    thing="carton",
    count="carton.count",
    slots=MOST,
    instructions=(INSTRUCTION,),
    layout=BenchLayout,
    cups=Cups,
    state_names=STATE_NAMES,
    action_names=ACTION_NAMES,
    surroundings_names=lambda slots: (*KNOWN, *carton_names(slots)),
    action_bounds=action_bounds,
    knobs=_knobs,
    scene=_scene,
    make=ShownArrangement,
    prepare=_prepare,
    policies={"expert": _expert},
    figures=_figures,
    pieces=lambda metadata: (metadata["verdict"]["placed"], metadata["verdict"]["count"]),
    captions=lambda rows: [
        f"variant {n}: {int(c)} carton{'s' * (int(c) > 1)}, arrangement {int(a)}"
        for n, c, a in zip(rows.numbers, rows["carton.count"], rows["shown.arrangement"], strict=True)
    ],
    pictured=lambda rows: rows,
)
