"""What the bench tasks share: rows, one control period, what a policy sees, events, save and restore.

A task adds where things stand at the start (`_put`), what comes of a period (`_follow`), what the expert may know
(`_known`), when it ends and the verdict. What a policy sees of the robot is what it sees when palletizing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.cartons import carton_size
from sim.cell import PERIOD, Cell, CellState
from sim.knobs import Rows
from sim.rotations import yaw_of
from sim.suction import BREAK_REASONS, FREE
from sim.variations import stream
from tasks.memory.cell import BenchLayout
from tasks.palletizing.task import ACTION_NAMES, STATE_NAMES
from tasks.task import Verdict

__all__ = ["ACTION_NAMES", "STATE_NAMES", "BenchTask", "BenchVerdict", "Work", "action_bounds", "carton_names"]

RAISED = 0.06  # [m] above where it stood: a carton is off the ground
CARTON = ("x", "y", "top", "yaw")  # what is seen of each carton [m, m, m, rad]
TIME_COST = 0.001  # of the reward, a period

Saved = tuple[CellState, dict[str, np.ndarray], list[list[dict[str, Any]]], list[Mapping[str, Any]]]


def carton_names(slots: int) -> tuple[str, ...]:
    """Return the names of what is seen of the cartons."""
    return tuple(f"carton{k}.{what}" for k in range(slots) for what in CARTON)


def action_bounds(layout: BenchLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest action (7,): joints [rad], suction."""
    low, high = np.array([joint.range for joint in layout.arm.body.joints()]).T
    return np.append(low, 0.0), np.append(high, 1.0)


@dataclasses.dataclass
class Work:
    """Where each world's work stands; a task has further arrays in a class of its own.

    Attributes:
        period: (n,) control periods since the reset.
        held: (n,) slot of the carton in hand, or FREE.
    """

    period: np.ndarray
    held: np.ndarray


@dataclasses.dataclass(frozen=True)
class BenchVerdict:
    """What is said of one finished episode; `found` are the numbers behind it, by name."""

    success: bool
    reasons: tuple[str, ...]
    found: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"success": self.success, "reasons": list(self.reasons), **self.found}


class BenchTask:
    """One of the bench tasks in many worlds (fits the `Task` contract)."""

    thing = "carton"  # what a slot stands for, in events

    def __init__(self, cell: Cell, layout: BenchLayout, state: Work, seconds: float):
        """Work in `cell`, laid out as `layout` says, for `seconds` at most; `state` holds an entry for each world."""
        n, slots = cell.worlds.nworld, cell.scene.slots
        self.cell, self.layout, self.state, self.slots = cell, layout, state, slots
        self.limit = round(seconds / PERIOD)
        self.size = np.zeros((n, slots, 3))  # true sizes [m]
        self.events: list[list[dict[str, Any]]] = [[] for _ in range(n)]
        self._noise = np.zeros((n, 4))  # joint [rad], torque [N m], carton position [m], carton yaw [rad]
        self._random = [stream(0, 0, "sensor") for _ in range(n)]

    # ---- what each task says for itself ----------------------------------------------------------------------------

    def _fix(self, rows: Rows, ids: np.ndarray) -> None:
        """Write into the model what a row says of things that are not goods.

        Before the reset: where things stand that never move is looked at no more by the engine after it.
        """

    def _put(self, rows: Rows, ids: np.ndarray) -> None:
        """Set everything where it is at the start, and what the task remembers of its work."""
        raise NotImplementedError

    def _follow(self, before: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Look at what came of a period; `before` (n,) is what was held before it. Return the reward (n,)."""
        raise NotImplementedError

    def _known(self, ids: np.ndarray) -> np.ndarray:
        """Return what the expert may know beside the cartons' poses (n, numbers)."""
        raise NotImplementedError

    def _done(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) whether the work has come to its end, good or bad."""
        raise NotImplementedError

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return what is to be done in each world."""
        raise NotImplementedError

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`."""
        raise NotImplementedError

    # ---- life of a world -------------------------------------------------------------------------------------------

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Start the worlds `ids` on new rows: arm at home, everything in its place."""
        self.size[ids] = carton_size(rows)
        self._fix(rows, ids)
        self.cell.apply(rows, ids)
        for k, name in enumerate(("joint_position", "joint_torque", "carton_position", "carton_yaw")):
            self._noise[ids, k] = rows[f"sensor.{name}_noise"]
        for k, i in enumerate(ids):
            self.events[i] = []
            self._random[i] = stream(rows.seed, int(rows.numbers[k]), "sensor")
        self.state.period[ids], self.state.held[ids] = 0, FREE
        self._put(rows, ids)
        self.cell.worlds.forward(ids)

    def advance(self, action: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Run one period with `action` (n, 7): joint targets [rad], suction on above 0.5. Return the reward (n,)."""
        s, suction = self.state, self.cell.suction.state
        self.cell.advance(action[:, :6], action[:, 6] > 0.5, ids)
        s.period[ids] += 1
        before, now = s.held[ids], suction.held[ids]
        s.held[ids] = now
        for k in np.flatnonzero(before != now):
            i, broken = int(ids[k]), int(suction.broken_by[ids[k]])
            if before[k] != FREE:
                self._log(i, int(before[k]), f"lost: {BREAK_REASONS[broken]}" if broken else "released")
            if now[k] != FREE:
                self._log(i, int(now[k]), "attached")
        return self._follow(before, ids) - TIME_COST

    def finished(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) whether the work has come to its end, and whether the time is up."""
        done = self._done(ids)
        return done, (self.state.period[ids] >= self.limit) & ~done

    def observe(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return `state` (n, 27), named by STATE_NAMES, and `environment_state`: what is known, then the poses.

        Readings carry the sensor noise of each world.
        """
        suction, slots = self.cell.suction.state, self.slots
        position, velocity, torque = self.cell.joints(ids)
        noise = np.stack([self._random[i].standard_normal(12 + 4 * slots) for i in ids])
        position = position + noise[:, :6] * self._noise[ids, 0:1]
        torque = torque + noise[:, 6:12] * self._noise[ids, 1:2]
        sealed = suction.sealed[ids] / len(self.cell.suction.cups.positions)
        tool = np.stack([suction.vacuum[ids], sealed, suction.held[ids] != FREE], axis=1)
        state = np.concatenate([position, velocity, torque, suction.wrench[ids], tool], axis=1)

        at, turn = self.cell.poses(ids)
        pose = np.concatenate([at, yaw_of(turn)[..., None]], axis=2)
        pose[..., 2] += self.size[ids, :, 2] / 2
        pose += noise[:, 12:].reshape(len(ids), slots, 4) * self._noise[ids][:, None, [2, 2, 2, 3]]
        seen = np.concatenate([self._known(ids), pose.reshape(len(ids), -1)], axis=1)
        return {"state": state.astype(np.float32), "environment_state": seen.astype(np.float32)}

    def save(self, ids: np.ndarray) -> Saved:
        """Return the complete state of the worlds `ids`; rows bring back all else."""
        work = {name: values[ids].copy() for name, values in vars(self.state).items()}
        events = [[dict(event) for event in self.events[i]] for i in ids]
        return self.cell.save(ids), work, events, [self._random[i].bit_generator.state for i in ids]

    def restore(self, state: Saved, ids: np.ndarray) -> None:
        """Put worlds that run the same rows back into a saved state; they go on from there bit for bit."""
        cell, work, events, random = state
        self.cell.restore(cell, ids)
        for name, values in work.items():
            getattr(self.state, name)[ids] = values
        for k, i in enumerate(ids.tolist()):
            self.events[i] = [dict(event) for event in events[k]]
            self._random[i].bit_generator.state = random[k]

    # ---- for the tasks ---------------------------------------------------------------------------------------------

    def _stand(self, slot: int, base: np.ndarray, yaw: np.ndarray, ids: np.ndarray) -> None:
        """Stand the carton `slot` with the middle of its underside at `base` (n, 3) [m], turned by `yaw` (n,) [rad]."""
        at = base + self.size[ids, slot] * np.array([0.0, 0.0, 0.5])
        self.cell.put(np.full(len(ids), slot), at, yaw, ids)

    def _bases(self, ids: np.ndarray) -> np.ndarray:
        """Return the middles of the cartons' undersides, as long as they stand upright (n, slots, 3) [m]."""
        return self.cell.poses(ids)[0] - self.size[ids] * np.array([0.0, 0.0, 0.5])

    def _log(self, world: int, slot: int, what: str) -> None:
        time = round(float(self.state.period[world]) * PERIOD, 3)
        self.events[world].append({"time": time, self.thing: slot, "event": what})
