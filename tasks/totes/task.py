"""The tote task: parts go from the tote into the bin, the empty tote is looked into, folded, and stacked on the pile.

One instance runs all worlds at once; arrays have the world as first axis. The four stages follow each other when the
world says that one is done, not when a policy believes so: a part found during the check sends the work back. A row's
knobs `stage.first` and `stage.last` run any stage alone. Judging the outcome stands in `tasks.totes.judge`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from assets import folding_tote, totes
from assets.combi_tool import LENGTH
from assets.tote_cell import BIN
from sim.cell import PERIOD, Cell, CellState
from sim.knobs import Rows
from sim.latches import FLAT
from sim.rotations import conjugate, multiply, rotate, yaw_of, yaw_quaternion
from sim.suction import FREE
from sim.totes import FOLDING, PILE, Totes
from sim.variations import stream
from tasks.task import Verdict
from tasks.totes.cell import BIN_AT, PILE_AT, TABLE_AT, ToteLayout
from tasks.totes.variants import (
    BREAK_DOWN,
    CHECK,
    DECANT,
    STACK,
    cavity,
    in_cavity,
    place_in_tote,
    tote_slot,
)

# Where a part is.
ABSENT, IN_TOTE, OUT, IN_BIN, LOST = range(5)

SECONDS_PER_PART, SECONDS_EXTRA = 16.0, 90.0  # time limit
SETTLE = 8  # periods between the end of the work and the verdict
DROPPED_AFTER = 8  # periods that a part lies still, where it should not, before it counts as dropped
LOOK_PERIODS = 5  # how long the camera has to look into the tote
LOOK_NEAR, LOOK_LOW, LOOK_HIGH = 0.08, 0.05, 0.60  # [m] of the fingertips beside the tote's middle and above its rim
STILL = 0.03  # [m/s]
FLAT_TOLERANCE = np.deg2rad(5.0)
DONE = STACK + 1  # the stage of a world whose work is done

INSTRUCTIONS = (
    "Take every part out of the tote and put it into the bin.",
    "Look into the tote and make sure that it is empty.",
    "Fold the walls of the empty tote down, the short ones first.",
    "Stack the empty tote on the pile.",
)
STATE_NAMES = (
    *(f"joint{i}.{what}" for what in ("position", "velocity", "torque") for i in range(6)),
    *(f"tool.force_{a}" for a in "xyz"),
    *(f"tool.torque_{a}" for a in "xyz"),
    "suction.vacuum",
    "suction.sealed",
    "suction.holding",
    "gripper.opening",
)
ACTION_NAMES = (*(f"joint{i}.position" for i in range(6)), "suction", "gripper.opening")
SCENE_NAMES = (
    "stage", "decant.pour", "tote.kind", "tote.fold_first",
    "tote.x", "tote.y", "tote.z", "tote.qw", "tote.qx", "tote.qy", "tote.qz",
    *(f"tote.{wall}.angle" for wall in folding_tote.WALLS),
    "pile.count", "pile.x", "pile.y", "pile.top", "pile.yaw",
)  # fmt: skip
PART_NAMES = ("where", "family", "size", "x", "y", "z", "qw", "qx", "qy", "qz")


def surroundings_names(slots: int) -> tuple[str, ...]:
    """Return the names of the numbers in `environment_state`."""
    return SCENE_NAMES + tuple(f"part{i}.{name}" for i in range(slots) for name in PART_NAMES)


@dataclasses.dataclass
class ToteState:
    """Where each world's work stands.

    Attributes:
        stage: (n,) DECANT … STACK, or DONE.
        where: (n, slots) ABSENT … LOST.
        still: (n, slots) periods that a part has been lying still where it should not.
        looked: (n,) periods that the camera has looked into the empty tote.
        flat: (n,) periods that all walls have been flat.
        idle: (n,) periods since the work is done.
        period: (n,) control periods since the reset.
    """

    stage: np.ndarray
    where: np.ndarray
    still: np.ndarray
    looked: np.ndarray
    flat: np.ndarray
    idle: np.ndarray
    period: np.ndarray


@dataclasses.dataclass(frozen=True)
class TaskState:
    """The complete state of some worlds of the task: what `ToteBreakdown.save` returns and `restore` takes."""

    cell: CellState
    work: dict[str, np.ndarray]
    last: np.ndarray
    events: list[list[dict[str, Any]]]
    random: list[Mapping[str, Any]]


class ToteBreakdown:
    """Tote breakdown in many worlds."""

    def __init__(self, cell: Cell, layout: ToteLayout):
        """Work in `cell`, laid out as `layout` says."""
        goods = cell.scene.scene.goods
        assert isinstance(goods, Totes)
        n, self.slots = cell.worlds.nworld, goods.parts
        self.cell, self.layout, self.goods = cell, layout, goods
        self.state = ToteState(
            stage=np.zeros(n, dtype=np.int64),
            where=np.zeros((n, self.slots), dtype=np.int64),
            still=np.zeros((n, self.slots), dtype=np.int64),
            looked=np.zeros(n, dtype=np.int64),
            flat=np.zeros(n, dtype=np.int64),
            idle=np.zeros(n, dtype=np.int64),
            period=np.zeros(n, dtype=np.int64),
        )
        self.kind = np.zeros(n, dtype=np.int64)  # index into totes.KINDS
        self.tote = np.zeros(n, dtype=np.int64)  # slot of the tote that is worked on
        self.count = np.zeros(n, dtype=np.int64)  # parts that the job has
        self.first, self.last = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)  # stages
        self.pour = np.zeros(n)
        self.fold_first = np.zeros(n)
        self.parts = np.zeros((n, self.slots, 2))  # family and size
        self.empties = np.zeros(n, dtype=np.int64)  # on the pile at the start
        self.pile_at = np.zeros((n, 2))  # middle of the pile's place [m]
        self.pile_yaw = np.zeros(n)
        self.test_direction = np.zeros(n)  # [rad]
        self.noise = np.zeros((n, 6))  # joint, torque, part position, part rotation, tote position, tote yaw
        self.events: list[list[dict[str, Any]]] = [[] for _ in range(n)]
        self._random: list[np.random.Generator] = [stream(0, 0, "sensor") for _ in range(n)]
        self._last = np.zeros((n, 3))  # where the fingertips were a period ago [m]
        self._gripper = int(cell.scene.ids(mujoco.mjtObj.mjOBJ_BODY, ["gripper"])[0])

    # ---- life of a world -------------------------------------------------------------------------------------------

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Start the worlds `ids` on new rows: arm at home, the tote on its table as the first stage wants it."""
        self.cell.apply(rows, ids)
        s = self.state
        s.where[ids], s.still[ids] = ABSENT, 0
        s.looked[ids], s.flat[ids], s.idle[ids], s.period[ids] = 0, 0, 0, 0
        self.kind[ids] = rows["tote.kind"].astype(np.int64)
        self.tote[ids] = tote_slot(self.goods, self.kind[ids])
        self.first[ids], self.last[ids] = (rows[f"stage.{k}"].astype(np.int64) for k in ("first", "last"))
        s.stage[ids] = self.first[ids]
        self.pour[ids], self.fold_first[ids] = rows["decant.pour"], rows["tote.fold_first"]
        self.parts[ids] = np.stack([rows["part.family"], rows["part.size"]], axis=-1)
        self.empties[ids] = rows["pile.count"].astype(np.int64)
        self.test_direction[ids] = rows["test.direction"]
        for k, name in enumerate(
            ("joint_position", "joint_torque", "part_position", "part_rotation", "tote_position", "tote_yaw")
        ):
            self.noise[ids, k] = rows[f"sensor.{name}_noise"]
        for k, i in enumerate(ids):
            self.events[i] = []
            self._random[i] = stream(rows.seed, int(rows.numbers[k]), "sensor")
        self._put_pile(rows, ids)
        self._put_tote(rows, ids)
        self.cell.worlds.forward(ids)
        self._last[ids] = self.fingertips(ids)
        self._log_stage(ids)

    def _put_pile(self, rows: Rows, ids: np.ndarray) -> None:
        place = self.layout.station(PILE_AT, self.layout.dolly_height)
        self.pile_at[ids] = place[:2] + _turned(rows["pile.position"], PILE_AT)
        self.pile_yaw[ids] = PILE_AT + rows["pile.yaw"]
        for level in range(PILE):
            here = ids[self.empties[ids] > level]
            height = self.layout.dolly_height + level * _PITCH[self.kind[here]]
            at = np.concatenate([self.pile_at[here], height[:, None]], axis=1)
            self.cell.put(np.full(len(here), self.goods.pile[level]), at, self.pile_yaw[here], here)

    def _put_tote(self, rows: Rows, ids: np.ndarray) -> None:
        place = self.layout.station(TABLE_AT, self.layout.table_height)
        at = place + np.concatenate([_turned(rows["tote.position"], TABLE_AT), np.zeros((len(ids), 1))], axis=1)
        yaw = TABLE_AT + rows["tote.yaw"]
        self.cell.put(self.tote[ids], at, yaw, ids)
        folded = ids[(self.kind[ids] == FOLDING) & (self.first[ids] == STACK)]
        self.cell.worlds.qpos[np.ix_(folded, self.cell.latches.qpos)] = FLAT
        self.cell.latches.update(ids)
        # The parts of a job that begins later are in the bin already, out of sight, but for those overlooked.
        decants, checks = self.first[ids] == DECANT, self.first[ids] == CHECK
        count = rows["part.count"].astype(np.int64)
        left = np.minimum(rows["check.left_over"].astype(np.int64), count)
        self.count[ids] = np.where(decants, count, np.where(checks, left, 0))
        position, rotation = place_in_tote(rows["fill.position"], rows["fill.rotation"], at, yaw)
        for slot in range(int(self.count[ids].max(initial=0))):
            there = self.count[ids] > slot
            here = ids[there]
            self.cell.put(np.full(len(here), slot), position[there, slot], rotation[there, slot], here)
            self.state.where[here, slot] = IN_TOTE

    # ---- one control period ----------------------------------------------------------------------------------------

    def advance(self, action: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Run one period with `action` (n, 8): joint targets [rad], suction on above 0.5, opening of the fingers [m].

        The reward (n,) is 1 for each part that comes into the bin and -1 for each that leaves it or is dropped, a half
        for each wall that comes to lie flat, 2 for a stacked tote, minus a hundredth per second.
        """
        s = self.state
        before, flat, done = s.where[ids].copy(), self._walls_flat(ids), s.stage[ids] == DONE
        self.cell.advance(action[:, :6], action[:, 6] > 0.5, ids, action[:, 7])
        s.period[ids] += 1
        self._follow_parts(ids)
        self._follow_stages(ids)
        self._last[ids] = self.fingertips(ids)
        s.idle[ids] = np.where(s.stage[ids] == DONE, s.idle[ids] + 1, 0)
        now = s.where[ids]
        gain = ((now == IN_BIN).sum(1) - (before == IN_BIN).sum(1)) - ((now == LOST).sum(1) - (before == LOST).sum(1))
        gain = gain + 0.5 * (self._walls_flat(ids).sum(1) - flat.sum(1))
        stacked = (s.stage[ids] == DONE) & ~done & (self.last[ids] == STACK)
        return gain + 2.0 * stacked - 0.01 * PERIOD

    def _follow_parts(self, ids: np.ndarray) -> None:
        s = self.state
        before = s.where[ids]
        position, _ = self.cell.poses(ids)
        parts = position[:, : self.slots]
        inside = in_cavity(self._in_tote(ids, parts), self.kind[ids])
        now = np.where(inside, IN_TOTE, np.where(self._in_bin(parts), IN_BIN, OUT))
        dofs = self.cell.scene.slot_dofs[: self.slots, None] + np.arange(3)
        speed = np.sqrt((self.cell.worlds.qvel[ids[:, None, None], dofs[None]] ** 2).sum(-1))
        away = parts - self.fingertips(ids)[:, None, :]
        lies = (now == OUT) & (speed < STILL) & (np.sqrt((away**2).sum(-1)) > 0.12)
        s.still[ids] = np.where(lies, s.still[ids] + 1, 0)
        dropped = (now == OUT) & ((s.still[ids] >= DROPPED_AFTER) | (parts[..., 2] < 0.06))
        now = np.where(dropped | (before == LOST), LOST, now)
        now = np.where(before == ABSENT, ABSENT, now)
        s.where[ids] = now
        for k, slot in zip(*np.nonzero(now != before), strict=True):
            why = _EVENTS.get((int(before[k, slot]), int(now[k, slot])))
            if why:
                low = parts[k, slot, 2] < 0.06
                self._log(int(ids[k]), why + (": on the floor" if low else ": beside the tote") * (why == "lost"), slot)

    def _follow_stages(self, ids: np.ndarray) -> None:
        s = self.state
        before = s.stage[ids].copy()
        left = ((s.where[ids] == IN_TOTE) | (s.where[ids] == OUT)).any(1)
        s.stage[ids] = np.where((before == CHECK) & left & (self.first[ids] == DECANT), DECANT, s.stage[ids])
        s.looked[ids] = np.where((before == CHECK) & ~left & self._looks_in(ids), s.looked[ids] + 1, 0)
        s.flat[ids] = np.where((before == BREAK_DOWN) & self._walls_flat(ids).all(1), s.flat[ids] + 1, 0)
        over = (before == DECANT) & ~left
        over |= (before == CHECK) & (s.looked[ids] >= LOOK_PERIODS)
        over |= (before == BREAK_DOWN) & ((self.kind[ids] != FOLDING) | (s.flat[ids] >= LOOK_PERIODS))
        over |= (before == STACK) & self._stacked(ids)
        s.stage[ids] = np.where(over, np.where(before >= self.last[ids], DONE, before + 1), s.stage[ids])
        self._log_stage(ids[s.stage[ids] != before])

    def fingertips(self, ids: np.ndarray) -> np.ndarray:
        """Return the point between the fingertips (n, 3) [m]."""
        worlds = self.cell.worlds
        turn = worlds.xquat[ids, self._gripper]
        return worlds.xpos[ids, self._gripper] + rotate(turn, np.array([0.0, 0.0, LENGTH]))

    def tote_pose(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return position (n, 3) [m] and quaternion (n, 4) of the tote that is worked on."""
        position, rotation = self.cell.poses(ids)
        row = np.arange(len(ids))
        return position[row, self.tote[ids]], rotation[row, self.tote[ids]]

    def stack_goal(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the tote belongs on the pile as it stands: its underside's middle (n, 3) [m], heading (n,)."""
        position, rotation = self.cell.poses(ids)
        row, below = np.arange(len(ids)), self.goods.pile[np.maximum(self.empties[ids] - 1, 0)]
        some = self.empties[ids] > 0
        floor = np.concatenate([self.pile_at[ids], np.full((len(ids), 1), self.layout.dolly_height)], axis=1)
        top = position[row, below] + rotate(rotation[row, below], _UP * _PITCH[self.kind[ids]][:, None])
        return np.where(some[:, None], top, floor), np.where(some, yaw_of(rotation[row, below]), self.pile_yaw[ids])

    def walls(self, ids: np.ndarray) -> np.ndarray:
        """Return the walls' angles (n, 4) [rad], 0 upright; 0 for a tote that does not fold."""
        return np.where(self.kind[ids, None] == FOLDING, self.cell.latches.angles(ids), 0.0)

    def _walls_flat(self, ids: np.ndarray) -> np.ndarray:
        return self.walls(ids) > FLAT - FLAT_TOLERANCE

    def _in_tote(self, ids: np.ndarray, points: np.ndarray) -> np.ndarray:
        position, rotation = self.tote_pose(ids)
        return rotate(conjugate(rotation)[:, None, :], points - position[:, None, :])

    def _in_bin(self, points: np.ndarray) -> np.ndarray:
        local = _turned(points[..., :2] - self.layout.station(BIN_AT, 0.0)[:2], -BIN_AT)
        beside = (np.abs(local) < np.array(BIN[:2]) / 2).all(-1)
        floor = self.layout.bin_floor
        return beside & (points[..., 2] > floor - 0.01) & (points[..., 2] < floor + BIN[2])

    def _looks_in(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) whether the tool hangs still over the tote's middle, so that its camera sees the whole floor."""
        tips, (tote, _) = self.fingertips(ids), self.tote_pose(ids)
        away = tips - tote
        above = away[:, 2] - _RIM[self.kind[ids]]
        down = rotate(self.cell.worlds.xquat[ids, self._gripper], _UP)[:, 2] < -0.98
        near = (np.sqrt(away[:, 0] ** 2 + away[:, 1] ** 2) < LOOK_NEAR) & (above > LOOK_LOW) & (above < LOOK_HIGH)
        moved = tips - self._last[ids]
        return near & down & (np.sqrt((moved**2).sum(-1)) < STILL * PERIOD)

    def _stacked(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) whether the tote rests on the pile, let go."""
        position, _ = self.tote_pose(ids)
        goal, _ = self.stack_goal(ids)
        away = position - goal
        near = (np.abs(away[:, 2]) < 0.03) & (np.sqrt(away[:, 0] ** 2 + away[:, 1] ** 2) < 0.10)
        dofs = self.cell.scene.slot_dofs[self.tote[ids], None] + np.arange(6)
        slow = np.abs(self.cell.worlds.qvel[ids[:, None], dofs]).max(1) < STILL
        free = (self.cell.suction.state.held[ids] == FREE) & ~self._pinched(ids)
        return near & slow & free

    def _pinched(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) whether the fingers have something between them, at the tote."""
        local = self._in_tote(ids, self.fingertips(ids)[:, None, :])[:, 0]
        size = _SIZE[self.kind[ids]]
        at_tote = (np.abs(local[:, :2]) < size[:, :2] / 2 + 0.02).all(1) & (local[:, 2] < size[:, 2])
        opening = self.cell.finger_opening(ids)
        return at_tote & (opening > 0.003) & (self.cell.opening[ids] < opening - 0.003)

    def _log(self, world: int, what: str, part: int) -> None:
        time = round(float(self.state.period[world]) * PERIOD, 3)
        self.events[world].append({"time": time, "part": int(part), "event": what})

    def _log_stage(self, ids: np.ndarray) -> None:
        for i in ids:
            stage = int(self.state.stage[i])
            time = round(float(self.state.period[i]) * PERIOD, 3)
            what = "all done" if stage == DONE else INSTRUCTIONS[stage]
            self.events[i].append({"time": time, "stage": stage, "event": what})

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return the sentence of each world's stage; the last one's where all is done."""
        return [INSTRUCTIONS[int(k)] for k in np.minimum(self.state.stage[ids], self.last[ids])]

    def finished(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) whether the work is done and all has settled, and whether the time is up."""
        s = self.state
        limit = (SECONDS_PER_PART * self.count[ids] + SECONDS_EXTRA) / PERIOD
        done = s.idle[ids] >= SETTLE
        return done, (s.period[ids] >= limit) & ~done

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`; those whose stacks were tested are spent."""
        from tasks.totes.judge import judge  # which builds upon this module

        return list(judge(self, ids))

    def save(self, ids: np.ndarray) -> TaskState:
        """Return the complete state of the worlds `ids`: physics, tool, work and random numbers to come."""
        return TaskState(
            cell=self.cell.save(ids),
            work={f.name: getattr(self.state, f.name)[ids].copy() for f in dataclasses.fields(self.state)},
            last=self._last[ids].copy(),
            events=[[dict(event) for event in self.events[i]] for i in ids],
            random=[self._random[i].bit_generator.state for i in ids],
        )

    def restore(self, state: TaskState, ids: np.ndarray) -> None:
        """Put worlds that run the same rows back into a saved state; they go on bit for bit as they did from there."""
        self.cell.restore(state.cell, ids)
        for name, value in state.work.items():
            getattr(self.state, name)[ids] = value
        self._last[ids] = state.last
        for k, i in enumerate(ids.tolist()):
            self.events[i] = [dict(event) for event in state.events[k]]
            self._random[i].bit_generator.state = state.random[k]

    # ---- what the policy sees --------------------------------------------------------------------------------------

    def observe(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return `state` (n, 28), named by STATE_NAMES, and `environment_state`, by `surroundings_names`.

        Readings carry the sensor noise of each world. Poses are what cameras with known shapes give.
        """
        return {
            "state": self._robot(ids).astype(np.float32),
            "environment_state": self._surroundings(ids).astype(np.float32),
        }

    def _robot(self, ids: np.ndarray) -> np.ndarray:
        suction = self.cell.suction.state
        position, velocity, torque = self.cell.joints(ids)
        noise = np.stack([self._random[i].standard_normal(12) for i in ids])
        tool = np.stack(
            [
                suction.vacuum[ids],
                suction.sealed[ids] / len(self.cell.suction.cups.positions),
                suction.held[ids] != FREE,
                self.cell.finger_opening(ids),
            ],
            axis=1,
        )
        position = position + noise[:, :6] * self.noise[ids, 0:1]
        torque = torque + noise[:, 6:] * self.noise[ids, 1:2]
        return np.concatenate([position, velocity, torque, suction.wrench[ids], tool], axis=1)

    def _surroundings(self, ids: np.ndarray) -> np.ndarray:
        n, slots = len(ids), self.slots
        noise = np.stack([self._random[i].standard_normal((slots + 2, 6)) for i in ids])
        position, rotation = self.cell.poses(ids)
        parts = position[:, :slots] + noise[:, :slots, :3] * self.noise[ids, 2, None, None]
        turned = _wobbled(rotation[:, :slots], noise[:, :slots, 3:] * self.noise[ids, 3, None, None])
        there = self.state.where[ids] != ABSENT
        seen = np.concatenate([self.state.where[ids][..., None], self.parts[ids], parts, turned], axis=-1)
        seen = np.where(there[..., None], seen, 0.0).reshape(n, -1)
        tote, turn = self.tote_pose(ids)
        tote = tote + noise[:, -2, :3] * self.noise[ids, 4, None]
        heading = noise[:, -2, 3] * self.noise[ids, 5]
        turn = multiply(yaw_quaternion(heading), turn)
        goal, yaw = self.stack_goal(ids)
        goal = goal + noise[:, -1, :3] * self.noise[ids, 4, None]
        yaw = yaw + noise[:, -1, 3] * self.noise[ids, 5]
        job = [self.state.stage[ids], self.pour[ids], self.kind[ids], self.fold_first[ids]]
        pile = [self.empties[ids], goal[:, 0], goal[:, 1], goal[:, 2], yaw]
        return np.concatenate(
            [np.stack(job, axis=1), tote, turn, self.walls(ids), np.stack(pile, axis=1), seen], axis=1
        )


_EVENTS = {
    (IN_TOTE, OUT): "attached: taken out",
    (OUT, IN_TOTE): "fell back into the tote",
    (OUT, IN_BIN): "released: in the bin",
    (IN_TOTE, IN_BIN): "released: in the bin",
    (IN_BIN, OUT): "left the bin",
    (OUT, LOST): "lost",
    (IN_TOTE, LOST): "lost",
    (IN_BIN, LOST): "lost",
}
_UP = np.array([0.0, 0.0, 1.0])
_PITCH = np.array([totes.pitch(kind) for kind in totes.KINDS])
_RIM = np.array([cavity(kind)[2] for kind in range(len(totes.KINDS))])
_SIZE = np.array([totes.size(kind) for kind in totes.KINDS])


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Turn points (..., 2) about the origin."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)


def _wobbled(rotation: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Turn quaternions (..., 4) by small rotation vectors (..., 3) [rad]."""
    small = np.concatenate([np.ones((*vector.shape[:-1], 1)), vector / 2], axis=-1)
    small /= np.sqrt((small * small).sum(-1, keepdims=True))
    return multiply(small, rotation)
