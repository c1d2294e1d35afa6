"""Inspected tote: the arm looks into closed totes one after the other, then opens the one that held the part.

Two to four totes stand in a row, each closed by a flat carton. A red part lies in one of them. Lifting a lid and moving
it aside brings the wrist camera over the open tote. When all have been looked into and closed again, the next lid that
is taken off is the choice: by then nothing that can be seen or felt says where the part is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets import totes
from assets.asset import Body, Geom
from assets.errors import InputError
from assets.gripper import Cups
from sim.apply import block
from sim.cell import Cell
from sim.knobs import Knob, Knobs, Rows
from sim.rotations import rotate, yaw_quaternion
from sim.scene import PARKING, Placed, Scene
from sim.suction import FREE
from tasks import figures
from tasks.memory.cell import BenchLayout, bench_knobs, bench_scene
from tasks.memory.expert import CARRY, Arm, BenchExpert, Script
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

KIND = "3147"  # the tote, 300 x 200 x 147 mm
MOST, PITCH = 4, 0.28  # totes in the row, and how far they are apart [m]
LOOK_PERIODS = 3  # that the wrist camera has to be over an open tote
CAMERA_OVER = 0.12  # [m] from the tote's middle, seen from above, at which it still looks in
ASIDE, COVERS = 0.13, 0.025  # [m] from the tote's middle at which a lid leaves the inside open, and still closes it
SITS = 0.01  # [m] above the rim at which a lid still closes it
SECONDS = 30.0
INSTRUCTION = "Look into every tote, then take the lid off the one that holds the red part."

# What the expert may know: how many totes there are, which one holds the part, which to look into next (-1: none).
KNOWN = ("tote.count", "part.tote", "look.next")

INSPECTION_KNOBS = (
    # The cartons of this task are lids.
    Knob("carton.size", "m", (0.30, 0.20, 0.025), (0.32, 0.225, 0.04), (0.31, 0.21, 0.03),
         "length, width, thickness of the lid", ("slot", 3)),
    Knob("carton.mass", "kg", 0.2, 1.0, 0.4, "mass of the lid", ("slot",)),
    Knob("carton.position", "m", -0.01, 0.01, 0.0, "shift of the lid on its tote", ("slot", 2)),
    Knob("carton.yaw", "rad", -0.04, 0.04, 0.0, "turn of the lid on its tote", ("slot",)),
    Knob("tote.count", "1", 2, MOST, 3, "totes in the row", integer=True),
    Knob("tote.position", "m", -0.015, 0.015, 0.0, "shift of the tote in its row", ("slot", 2)),
    Knob("surface.cardboard_plastic.friction", "1", 0.2, 0.9, 0.5,
         "friction between lid and tote, where it exceeds that between cartons"),
    Knob("part.place", "1", 0.0, 1.0, 0.0, "which tote holds the part, as a share of the row"),
    Knob("part.position", "1", -1.0, 1.0, 0.0, "where it lies, as a share of the room there is", (2,)),
    Knob("part.yaw", "rad", -np.pi, np.pi, 0.0, "how it is turned"),
    Knob("look.backwards", "index", 0, 1, 0, "in which order the expert looks: from the right, from the left",
         integer=True),
)  # fmt: skip

_PART = (0.11, 0.07, 0.045)  # [m]
_ROOM = np.array(totes.inner(KIND)[0][:2]) / 2 - 0.07  # [m] for its middle in the tote


def part_tote(rows: Rows) -> np.ndarray:
    """Return which tote holds the part (n,)."""
    count = rows["tote.count"]
    return np.minimum(rows["part.place"] * count, count - 1).astype(np.int64)


def _tote(k: int) -> Body:
    return dataclasses.replace(totes.rigid_tote(f"tote{k}", KIND), free=False)


def _part() -> Body:
    x, y, z = (edge / 2 for edge in _PART)
    return Body("part", geoms=(Geom("part_block", "box", (x, y, z), (0, 0, z), look="plastic_red"),))


def _scene(layout: BenchLayout, slots: int) -> Scene:
    away = (*PARKING, 0.0)
    return bench_scene(
        layout, slots, furniture=(*(Placed(_tote(k), away) for k in range(slots)), Placed(_part(), away))
    )


@dataclasses.dataclass
class InspectionWork(Work):
    """Where each world's inspection stands.

    Attributes:
        looked: (n, slots) periods for which the wrist camera was over the open tote.
        inspected: (n,) whether all have been looked into and closed again.
        chosen: (n,) the tote that was opened after that, or FREE.
    """

    looked: np.ndarray
    inspected: np.ndarray
    chosen: np.ndarray


class Inspection(BenchTask):
    """Inspecting totes in many worlds."""

    thing = "tote"
    state: InspectionWork

    def __init__(self, cell: Cell, layout: BenchLayout):
        """Work in `cell`, laid out as `layout` says."""
        n, slots = cell.worlds.nworld, cell.scene.slots
        still = np.zeros(n, dtype=np.int64)
        state = InspectionWork(
            period=still.copy(),
            held=still + FREE,
            looked=np.zeros((n, slots), dtype=np.int64),
            inspected=np.zeros(n, dtype=bool),
            chosen=still + FREE,
        )
        super().__init__(cell, layout, state, SECONDS)
        model = cell.scene.model
        names = [f"tote{k}" for k in range(slots)]
        self._totes, self._part = np.array([model.body(name).id for name in names]), model.body("part").id
        self.count, self.part, self.backwards = still.copy(), still.copy(), np.zeros(n)
        self.tote = np.zeros((n, slots, 2))  # [m] middles of the totes
        self.rim = layout.bench_height + totes.size(KIND)[2]  # [m]

    def _fix(self, rows: Rows, ids: np.ndarray) -> None:
        worlds, slots = self.cell.worlds, np.arange(self.slots)
        self.count[ids], self.part[ids] = rows["tote.count"].astype(np.int64), part_tote(rows)
        self.backwards[ids] = rows["look.backwards"]
        there = slots < self.count[ids, None]
        row = (slots - (self.count[ids, None] - 1) / 2) * PITCH
        at = self.layout.on_bench(np.stack([0.0 * row, row, 0.0 * row], axis=2))
        at[..., :2] += rows["tote.position"]
        self.tote[ids] = at[..., :2]
        worlds.field("body_pos")[np.ix_(ids, self._totes)] = np.where(there[..., None], at, [*PARKING, 0.0])
        floor = self.layout.on_bench(np.zeros((len(ids), 3)))
        floor[:, :2] = self.tote[ids, self.part[ids]] + rows["part.position"] * _ROOM
        floor[:, 2] += totes.inner(KIND)[1]
        worlds.field("body_pos")[ids, self._part] = floor
        worlds.field("body_quat")[ids, self._part] = yaw_quaternion(rows["part.yaw"])
        friction = rows["surface.cardboard_plastic.friction"][:, None]
        worlds.field("geom_friction")[block(ids, self.cell.scene.surfaces["plastic"], [0])] = friction[..., None]

    def _put(self, rows: Rows, ids: np.ndarray) -> None:
        s = self.state
        s.looked[ids], s.inspected[ids], s.chosen[ids] = 0, False, FREE
        for k in range(self.slots):
            here = self.count[ids] > k
            base = self.tote[ids[here], k] + rows["carton.position"][here, k]
            base = np.concatenate([base, np.full((len(base), 1), self.rim)], axis=1)
            self._stand(k, base, rows["carton.yaw"][here, k], ids[here])

    def _follow(self, before: np.ndarray, ids: np.ndarray) -> np.ndarray:
        s, row = self.state, np.arange(len(ids))
        base, there = self._bases(ids), np.arange(self.slots) < self.count[ids, None]
        aside = self._aside(base, ids)
        camera = np.sqrt(((self._camera(ids)[:, None] - self.tote[ids]) ** 2).sum(2))
        news = s.looked[ids] < LOOK_PERIODS
        s.looked[ids] += there & (aside > ASIDE) & (camera < CAMERA_OVER)
        news &= s.looked[ids] >= LOOK_PERIODS
        for k, slot in zip(*np.nonzero(news), strict=True):
            self._log(int(ids[k]), int(slot), "looked into")
        s.inspected[ids] |= ((self._closed(ids) & (s.looked[ids] >= LOOK_PERIODS)) | ~there).all(1)
        # From then on the next lid that goes up is the choice.
        held = np.maximum(s.held[ids], 0)
        up = (s.held[ids] != FREE) & (base[row, held, 2] > self.rim + RAISED)
        chooses = s.inspected[ids] & up & (s.chosen[ids] == FREE)
        s.chosen[ids] = np.where(chooses, held, s.chosen[ids])
        return 0.1 * news.sum(1) + (chooses & (held == self.part[ids]))

    def _aside(self, base: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return how far the lids are from the middles of their totes, seen from above (n, slots) [m]."""
        return np.sqrt(((base[..., :2] - self.tote[ids]) ** 2).sum(2))

    def _closed(self, ids: np.ndarray) -> np.ndarray:
        """Say (n, slots) whether the lids lie on their totes and cover them."""
        base, in_hand = self._bases(ids), np.arange(self.slots) == self.state.held[ids, None]
        return (self._aside(base, ids) < COVERS) & (np.abs(base[..., 2] - self.rim) < SITS) & ~in_hand

    def _camera(self, ids: np.ndarray) -> np.ndarray:
        """Return where the wrist camera is, seen from above (n, 2) [m]."""
        worlds, scene = self.cell.worlds, self.cell.scene
        at, turn = worlds.xpos[ids, scene.tool_body], worlds.xquat[ids, scene.tool_body]
        return (at + rotate(turn, scene.model.cam_pos[scene.cameras["wrist"]]))[:, :2]

    def _known(self, ids: np.ndarray) -> np.ndarray:
        left = (self.state.looked[ids] < LOOK_PERIODS) & (np.arange(self.slots) < self.count[ids, None])
        last, first = self.slots - 1 - np.argmax(left[:, ::-1], axis=1), np.argmax(left, axis=1)
        coming = np.where(left.any(1), np.where(self.backwards[ids] > 0.5, last, first), -1)
        return np.stack([self.count[ids], self.part[ids], coming], axis=1)

    def _done(self, ids: np.ndarray) -> np.ndarray:
        return self.state.chosen[ids] != FREE

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return the one instruction for each world."""
        return [INSTRUCTION] * len(ids)

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`: the right tote was opened after all had been inspected."""
        verdicts: list[Verdict] = []
        for i in ids.tolist():
            chosen, part, inspected = (int(a[i]) for a in (self.state.chosen, self.part, self.state.inspected))
            seen = self.state.looked[i, : self.count[i]] >= LOOK_PERIODS
            closed = self._closed(np.array([i]))[0, : self.count[i]]
            reasons = [f"tote {k} not looked into" for k in np.flatnonzero(~seen)]
            if not inspected:
                reasons += [f"tote {k} not closed again" for k in np.flatnonzero(seen & ~closed)]
            if chosen == FREE:
                reasons.append(f"tote {part} not chosen")
            elif chosen != part:
                reasons.append(f"tote {chosen} chosen, which is empty")
            found = {"chosen": chosen, "part": part, "looked": int(seen.sum())}
            verdicts.append(BenchVerdict(not reasons, tuple(reasons), found))
        return verdicts


# ---- the expert -----------------------------------------------------------------------------------------------------

LIFT, SIDEWAYS = 0.10, 0.17  # [m] how far a lid goes up and aside, so that the wrist camera sees past it
LOOKS, RESTS = 3, 8  # periods over an open tote, and in the middle before the choice


def _script(arm: Arm) -> Script:
    """Look into every tote, go to the middle, rest there, and open the one that holds the part."""
    yield from arm.wait(1)
    while arm.of("look.next") >= 0:
        yield from _look_into(arm, int(arm.of("look.next")))
    yield from arm.middle(RESTS)
    while True:
        if (yield from arm.pick(int(arm.of("part.tote")))):
            yield from arm.follow(arm.raised(2.0 * LIFT))
            yield from arm.wait(LOOKS)


def _look_into(arm: Arm, k: int) -> Script:
    """Lift a lid, hold it beside the tote, so that the camera is over it, and set it back."""
    if not (yield from arm.pick(k)):
        return
    closed = arm.tool.copy()
    axes = arm.motion.rotations(closed[None])[0]
    # The camera hangs behind the pad, against the tool's y.
    beside = arm.motion.tips(closed[None])[0] + SIDEWAYS * axes[:, 1] + np.array([0.0, 0.0, LIFT])
    yaw = float(np.arctan2(axes[1, 0], axes[0, 0]))
    goal = arm.motion.at(beside, yaw, arm.tool)
    yield from arm.follow(arm.hop(goal, float(goal[2]), CARRY), until=lambda: not arm.holding)
    yield from arm.wait(LOOKS)
    yield from arm.place(closed, float(goal[2]))


# ---- the family -----------------------------------------------------------------------------------------------------


def _knobs(slots: int) -> Knobs:
    return bench_knobs(slots, *INSPECTION_KNOBS)


def _prepare(drawn: Rows, layout: BenchLayout, slots: int, *, first_only: bool = False) -> Rows:
    """Return the rows as they are; InputError where a row has more totes than the scene."""
    most = int(drawn["tote.count"].max(initial=0))
    if most > slots:
        raise InputError(f"inspected_tote: a row has {most} totes, the scene has {slots}: set task.slots={most}")
    return drawn


def _expert(layout: BenchLayout, nworld: int) -> BenchExpert:
    """Looks into every tote, rests, opens the one that holds the part."""
    return BenchExpert(layout, nworld, KNOWN, _script)


def _figures(metadata: Sequence[Mapping[str, Any]]) -> dict[str, figures.Figure]:
    return {
        "chosen_by_chance": figures.mean([1.0 / m["row"]["tote.count"] for m in metadata], "1"),
        "looked_into": figures.mean([m["verdict"]["looked"] / m["row"]["tote.count"] for m in metadata], "1"),
    }


FAMILY = TaskFamily(
    name="inspected_tote",
    environment="InspectedTote",
    says="look into closed totes, then open the one that held the part",
    thing="tote",
    count="tote.count",
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
    make=Inspection,
    prepare=_prepare,
    policies={"expert": _expert},
    figures=_figures,
    pieces=lambda metadata: (int(metadata["verdict"]["success"]), 1),
    captions=lambda rows: [
        f"variant {n}: part in tote {k} of {int(c)}"
        for n, k, c in zip(rows.numbers, part_tote(rows), rows["tote.count"], strict=True)
    ],
    pictured=lambda rows: rows,
)
