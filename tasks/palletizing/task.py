"""The palletizing task: cartons arrive on the conveyor, the arm puts each where its plan says.

One instance runs all worlds at once; arrays have the world as first axis. Slot k of a world is the k-th carton to be
placed. Judging the finished load stands in `tasks.palletizing.judge`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.cartons import carton_mass, carton_size
from sim.cell import PERIOD, Cell, CellState
from sim.knobs import Rows
from sim.rotations import yaw_of
from sim.scene import STILL
from sim.suction import BREAK_REASONS, FREE
from sim.variations import stream
from tasks.palletizing.cell import BELT_HEIGHT, DECK_HEIGHT, PALLET_YAW, STOP, Layout
from tasks.task import Verdict

# What has become of a carton.
PARKED, ARRIVING, READY, HELD, RELEASED, LOST = range(6)

ENTRY = 1.30  # [m] how far upstream of the stop a carton enters
EYE = 0.06  # [m] the light barrier's distance from the stop: the belt halts when a carton reaches it
SETTLE = 8  # periods between the last release and the verdict
SECONDS_PER_CARTON, SECONDS_EXTRA = 14.0, 15.0  # time limit
POSITION_TOLERANCE = 0.015  # [m] of a carton from its plan
LIFTED = 0.10  # [m] above the belt: the next carton may come

STATE_NAMES = (
    *(f"joint{i}.{what}" for what in ("position", "velocity", "torque") for i in range(6)),
    *(f"tool.force_{a}" for a in "xyz"),
    *(f"tool.torque_{a}" for a in "xyz"),
    "suction.vacuum",
    "suction.sealed",
    "suction.holding",
)
SURROUNDINGS_NAMES = (
    "carton.ready", "carton.x", "carton.y", "carton.top", "carton.yaw",
    "carton.length", "carton.width", "carton.height", "carton.mass",
    "target.x", "target.y", "target.support", "target.yaw",
    "load.top", "load.remaining",
)  # fmt: skip
ACTION_NAMES = (*(f"joint{i}.position" for i in range(6)), "suction")
INSTRUCTION = "Stack every carton that arrives on the conveyor onto the pallet as planned."


@dataclasses.dataclass
class PalletizingState:
    """Where each world's work stands.

    Attributes:
        status: (n, slots) PARKED … LOST.
        fed: (n,) slots that have entered so far (prefilled ones included).
        current: (n,) the slot being worked on, or `count` when all are done.
        idle: (n,) periods since the last carton was let go.
        period: (n,) control periods since the reset.
        running: (n,) whether the belt runs.
        press: (n, slots) greatest force with which the tool pressed each carton down [N].
    """

    status: np.ndarray
    fed: np.ndarray
    current: np.ndarray
    idle: np.ndarray
    period: np.ndarray
    running: np.ndarray
    press: np.ndarray


@dataclasses.dataclass(frozen=True)
class TaskState:
    """The complete state of some worlds of the task: what `Palletizing.save` returns and `restore` takes.

    Attributes:
        cell: physics, suction and servo.
        work: the arrays of `PalletizingState`, by name.
        events: of each world.
        random: state of each world's sensor noise.
    """

    cell: CellState
    work: dict[str, np.ndarray]
    events: list[list[dict]]
    random: list[Mapping[str, Any]]


class Palletizing:
    """Palletizing in many worlds."""

    def __init__(self, cell: Cell, layout: Layout):
        """Work in `cell`, laid out as `layout` says."""
        n, slots = cell.worlds.nworld, cell.scene.slots
        self.cell, self.layout = cell, layout
        self.state = PalletizingState(
            status=np.full((n, slots), PARKED),
            fed=np.zeros(n, dtype=np.int64),
            current=np.zeros(n, dtype=np.int64),
            idle=np.zeros(n, dtype=np.int64),
            period=np.zeros(n, dtype=np.int64),
            running=np.zeros(n, dtype=bool),
            press=np.zeros((n, slots)),
        )
        self.count = np.zeros(n, dtype=np.int64)
        self.size = np.zeros((n, slots, 3))  # true sizes [m]
        self.mass = np.zeros((n, slots))  # true masses [kg]
        self.stated_mass = np.zeros((n, slots))
        self.strength = np.zeros((n, slots))  # compression that crushes [N]
        self.test_direction = np.zeros(n)  # [rad]
        self.target = np.zeros((n, slots, 3))  # planned centre of the base, world frame [m]
        self.target_yaw = np.zeros((n, slots))
        self.arrival = np.zeros((n, slots, 2))  # offset [m], turn [rad]
        self.belt_speed = np.zeros(n)
        self.noise = np.zeros((n, 4))  # sensor noise: joint, torque, carton position, carton yaw
        self.events: list[list[dict]] = [[] for _ in range(n)]
        self._belt = int(cell.scene.surfaces["belt"][0])
        self._random: list[np.random.Generator] = [stream(0, 0, "sensor") for _ in range(n)]
        self._measured_size = np.zeros((n, slots, 3))

    # ---- life of a world -------------------------------------------------------------------------------------------

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Start the worlds `ids` on new rows: arm at home, prefilled cartons on the pallet, the first one coming."""
        self.cell.apply(rows, ids)
        s = self.state
        s.status[ids], s.idle[ids], s.period[ids], s.running[ids], s.press[ids] = PARKED, 0, 0, False, 0.0
        self.count[ids] = rows["carton.count"].astype(np.int64)
        self.size[ids] = carton_size(rows)
        self.mass[ids], self.stated_mass[ids] = carton_mass(rows), rows["carton.mass"]
        self.strength[ids], self.test_direction[ids] = rows["carton.strength"], rows["test.direction"]
        self.target[ids] = self.layout.pallet_to_world(rows["plan.position"])
        self.target_yaw[ids] = rows["plan.yaw"] + PALLET_YAW
        self.arrival[ids, :, 0] = rows["carton.arrival_offset"]
        self.arrival[ids, :, 1] = rows["carton.arrival_yaw"]
        self.belt_speed[ids] = rows["conveyor.speed"]
        for k, name in enumerate(("joint_position", "joint_torque", "carton_position", "carton_yaw")):
            self.noise[ids, k] = rows[f"sensor.{name}_noise"]
        for k, i in enumerate(ids):
            self.events[i] = []
            self._random[i] = stream(rows.seed, int(rows.numbers[k]), "sensor")
            # What the infeed's gauge reads of each carton stays the same while the carton is here.
            slots = self.size.shape[1]
            noise = self._random[i].standard_normal((slots, 3)) * self.noise[i, 2]
            self._measured_size[i] = self.size[i] + noise
        self._prefill(rows["pallet.prefill"].astype(np.int64), ids)
        self._feed(ids)
        self.cell.worlds.forward(ids)

    def _prefill(self, how_many: np.ndarray, ids: np.ndarray) -> None:
        s = self.state
        s.fed[ids] = s.current[ids] = how_many
        for k in range(int(how_many.max(initial=0))):
            here = ids[how_many > k]
            slot = np.full(len(here), k)
            at = self.target[here, k].copy()
            # Stand on what is really below: sizes deviate from the order.
            at[:, 2] = self._support(here, slot) + self.size[here, k, 2] / 2
            self.cell.put(slot, at, self.target_yaw[here, k], here)
            s.status[here, k] = RELEASED

    def _feed(self, ids: np.ndarray) -> None:
        """Let the next carton onto the conveyor where the conveyor is empty."""
        s = self.state
        on_belt = ((s.status[ids] == ARRIVING) | (s.status[ids] == READY)).any(1)
        held_low = self._held_height(ids) < BELT_HEIGHT + LIFTED
        due = ids[~on_belt & ~held_low & (s.fed[ids] < self.count[ids])]
        if not len(due):
            return
        slot = s.fed[due]
        half = self.size[due, slot] / 2
        position = np.stack(
            [
                STOP[0] - ENTRY + np.zeros(len(due)),
                STOP[1] + np.clip(self.arrival[due, slot, 0], -0.27 + half[:, 1], 0.27 - half[:, 1]),
                BELT_HEIGHT + half[:, 2],
            ],
            axis=1,
        )
        self.cell.put(slot, position, self.arrival[due, slot, 1], due)
        s.status[due, slot] = ARRIVING
        s.fed[due] += 1
        self._run_belt(due, True)

    def _run_belt(self, ids: np.ndarray, on: bool) -> None:
        self.state.running[ids] = on
        self.cell.worlds.field("geom_surfacevel")[ids, self._belt, 0] = self.belt_speed[ids] if on else STILL

    def _held_height(self, ids: np.ndarray) -> np.ndarray:
        """Height of the bottom of the held carton [m], infinite where none is held."""
        held = self.cell.suction.state.held[ids]
        slot = np.maximum(held, 0)
        position, _ = self.cell.poses(ids)
        row = np.arange(len(ids))
        bottom = position[row, slot, 2] - self.size[ids, slot, 2] / 2
        return np.where(held == FREE, np.inf, bottom)

    # ---- one control period ----------------------------------------------------------------------------------------

    def advance(self, action: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Run one period with `action` (n, 7): joint targets [rad], suction on above 0.5. Return the reward (n,).

        The reward is 1 for each carton let go within 15 mm of its place, minus 1 for each lost, minus a hundredth per
        second.
        """
        s = self.state
        before = s.status[ids].copy()
        self.cell.advance(action[:, :6], action[:, 6] > 0.5, ids)
        s.period[ids] += 1
        self._stop_belt(ids)
        self._follow_cartons(ids)
        self._feed(ids)
        done = s.current[ids] >= self.count[ids]
        s.idle[ids] = np.where(done, s.idle[ids] + 1, 0)
        changed = before != s.status[ids]
        position, _ = self.cell.poses(ids)
        goal = self.target[ids] + self.size[ids] * np.array([0.0, 0.0, 0.5])
        near = ((position - goal) ** 2).sum(-1) < POSITION_TOLERANCE**2
        reward = (changed & (s.status[ids] == RELEASED) & near).sum(1) - (changed & (s.status[ids] == LOST)).sum(1)
        return reward - 0.01 * PERIOD

    def _stop_belt(self, ids: np.ndarray) -> None:
        """Halt the belt when the carton reaches the light barrier; it is ready once it stands still."""
        s = self.state
        on_belt = (s.status[ids] == ARRIVING) | (s.status[ids] == READY)
        here = ids[on_belt.any(1)]
        if not len(here):
            return
        slot = np.argmax(on_belt[on_belt.any(1)], axis=1)
        row = np.arange(len(here))
        position, quaternion = self.cell.poses(here)
        yaw = yaw_of(quaternion[row, slot])
        half = self.size[here, slot] / 2
        front = position[row, slot, 0] + np.abs(np.cos(yaw)) * half[:, 0] + np.abs(np.sin(yaw)) * half[:, 1]
        reached = front >= STOP[0] - EYE
        self._run_belt(here[reached & s.running[here]], False)
        dofs = self.cell.scene.slot_dofs[slot]
        speed = np.abs(self.cell.worlds.qvel[here[:, None], dofs[:, None] + np.arange(6)]).max(1)
        fallen = position[row, slot, 2] < BELT_HEIGHT - 0.05
        still = reached & (speed < 0.01) & ~fallen & (s.status[here, slot] == ARRIVING)
        s.status[here[still], slot[still]] = READY
        self._log(here[still], slot[still], "arrived")
        self._lose(here[fallen], slot[fallen], "fell off the conveyor")

    def _follow_cartons(self, ids: np.ndarray) -> None:
        s, suction = self.state, self.cell.suction.state
        held = suction.held[ids]
        row = np.arange(len(ids))
        slot = np.maximum(held, 0)
        known = (held != FREE) & (s.status[ids, slot] != LOST)
        taken = known & (s.status[ids, slot] != HELD)
        off_belt = s.status[ids, slot] <= READY
        s.status[ids[taken], slot[taken]] = HELD
        self._log(ids[taken], slot[taken], "attached")
        # Whoever takes a carton off the belt finds it halted; one taken from the pallet leaves the belt alone.
        self._run_belt(ids[taken & off_belt], False)
        press = np.maximum(-suction.wrench[ids, 2], 0.0)
        s.press[ids, slot] = np.where(held != FREE, np.maximum(s.press[ids, slot], press), s.press[ids, slot])
        was_held = s.status[ids] == HELD
        was_held[row, slot] &= held == FREE
        for k, j in zip(*np.nonzero(was_held), strict=True):
            world = int(ids[k])
            broken = int(suction.broken_by[world])
            here = (np.array([world]), np.array([j]))
            if broken and self._on_belt(*here)[0]:
                # It has hardly left the belt: it can be taken again.
                s.status[world, j] = READY
                self._log(*here, f"fell back: {BREAK_REASONS[broken]}")
            elif broken:
                self._lose(*here, BREAK_REASONS[broken])
            else:
                s.status[world, j] = RELEASED
                self._log(np.array([world]), np.array([j]), "released")
        # The work goes on with the first carton that is neither let go nor lost.
        open_slots = (s.status[ids] < RELEASED) & (np.arange(self.size.shape[1]) < self.count[ids, None])
        s.current[ids] = np.where(open_slots.any(1), np.argmax(open_slots, axis=1), self.count[ids])

    def _on_belt(self, ids: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """Return (n,) whether the carton is over the belt, no higher than a hand's breadth."""
        position = self.cell.poses(ids)[0][np.arange(len(ids)), slot]
        bottom = position[:, 2] - self.size[ids, slot, 2] / 2
        beside = (np.abs(position[:, 1] - STOP[1]) < 0.27) & (position[:, 0] < STOP[0])
        return beside & (np.abs(bottom - BELT_HEIGHT) < LIFTED)

    def _lose(self, ids: np.ndarray, slot: np.ndarray, why: str) -> None:
        self.state.status[ids, slot] = LOST
        self._log(ids, slot, f"lost: {why}")

    def _log(self, ids: np.ndarray, slot: np.ndarray, what: str) -> None:
        for i, j in zip(ids, slot, strict=True):
            time = round(float(self.state.period[i]) * PERIOD, 3)
            self.events[i].append({"time": time, "carton": int(j), "event": what})

    def finished(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) whether all cartons are let go and settled, and whether the time is up."""
        s = self.state
        limit = (SECONDS_PER_CARTON * (self.count[ids]) + SECONDS_EXTRA) / PERIOD
        done = s.idle[ids] >= SETTLE
        return done, (s.period[ids] >= limit) & ~done

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return what is to be done in each world: always the same."""
        return [INSTRUCTION] * len(ids)

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`; those whose loads were tested are spent."""
        from tasks.palletizing.judge import Judge  # which builds upon this module

        return list(Judge(self)(ids))

    def save(self, ids: np.ndarray) -> TaskState:
        """Return the complete state of the worlds `ids`: physics, suction, work and random numbers to come."""
        return TaskState(
            cell=self.cell.save(ids),
            work={f.name: getattr(self.state, f.name)[ids].copy() for f in dataclasses.fields(self.state)},
            events=[[dict(event) for event in self.events[i]] for i in ids],
            random=[self._random[i].bit_generator.state for i in ids],
        )

    def restore(self, state: TaskState, ids: np.ndarray) -> None:
        """Put worlds that run the same rows back into a saved state; they go on bit for bit as they did from there."""
        self.cell.restore(state.cell, ids)
        for name, value in state.work.items():
            getattr(self.state, name)[ids] = value
        for k, i in enumerate(ids.tolist()):
            self.events[i] = [dict(event) for event in state.events[k]]
            self._random[i].bit_generator.state = state.random[k]

    # ---- what the policy sees --------------------------------------------------------------------------------------

    def observe(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return `state` (n, 27), named by STATE_NAMES, and `environment_state` (n, 15), by SURROUNDINGS_NAMES.

        Readings carry the sensor noise of each world. `carton.*` is what a camera and a gauge at the infeed see of the
        carton being worked on; `target.support` is the height on which it will stand, seen from above.
        """
        s, suction = self.state, self.cell.suction.state
        position, velocity, torque = self.cell.joints(ids)
        noise = np.stack([self._random[i].standard_normal(18) for i in ids])
        position = position + noise[:, :6] * self.noise[ids, 0:1]
        torque = torque + noise[:, 6:12] * self.noise[ids, 1:2]
        tool = np.stack(
            [
                suction.vacuum[ids],
                suction.sealed[ids] / len(self.cell.suction.cups.positions),
                suction.held[ids] != FREE,
            ],
            axis=1,
        )
        state = np.concatenate([position, velocity, torque, suction.wrench[ids], tool], axis=1)

        row = np.arange(len(ids))
        slot = np.minimum(s.current[ids], self.count[ids] - 1)
        poses, quaternions = self.cell.poses(ids)
        at = poses[row, slot] + noise[:, 12:15] * self.noise[ids, 2:3]
        yaw = yaw_of(quaternions[row, slot]) + noise[:, 15] * self.noise[ids, 3]
        working = s.current[ids] < self.count[ids]
        size = self._measured_size[ids, slot]
        support = self._support(ids, slot) + noise[:, 16] * self.noise[ids, 2]
        surroundings = np.stack(
            [
                (working & (s.status[ids, slot] == READY)).astype(float),
                at[:, 0],
                at[:, 1],
                at[:, 2] + self.size[ids, slot, 2] / 2,
                yaw,
                size[:, 0],
                size[:, 1],
                size[:, 2],
                self.stated_mass[ids, slot],
                self.target[ids, slot, 0],
                self.target[ids, slot, 1],
                support,
                self.target_yaw[ids, slot],
                self._load_top(ids),
                (self.count[ids] - s.current[ids]).astype(float),
            ],
            axis=1,
        )
        return {"state": state.astype(np.float32), "environment_state": surroundings.astype(np.float32)}

    def _on_pallet(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tops [m] (n, slots) of the cartons let go, -inf for others, and their positions (n, slots, 3)."""
        position, _ = self.cell.poses(ids)
        top = position[..., 2] + self.size[ids, :, 2] / 2
        return np.where(self.state.status[ids] == RELEASED, top, -np.inf), position

    def _load_top(self, ids: np.ndarray) -> np.ndarray:
        top, _ = self._on_pallet(ids)
        return np.maximum(top.max(1), DECK_HEIGHT)

    def _support(self, ids: np.ndarray, slot: np.ndarray) -> np.ndarray:
        """Return the height [m] on which the carton in `slot` will stand: the highest thing below its planned base."""
        top, position = self._on_pallet(ids)
        span = self.footprint(self.target_yaw[ids, slot], self.size[ids, slot])
        other = self.footprint(self.target_yaw[ids], self.size[ids])
        apart = np.abs(position[..., :2] - self.target[ids, slot, None, :2]) - (other + span[:, None]) / 2
        below = np.asarray((apart < -0.02).all(-1))
        row = np.arange(len(ids))
        below[row, slot] = False
        return np.maximum(np.where(below, top, -np.inf).max(1), DECK_HEIGHT)

    @staticmethod
    def footprint(yaw: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Return extents along world x and y [m], (..., 2), of cartons whose yaw is a multiple of 90 degrees."""
        across = np.abs(np.cos(yaw)) < 0.5
        return np.stack(
            [np.where(across, size[..., 1], size[..., 0]), np.where(across, size[..., 0], size[..., 1])], axis=-1
        )
