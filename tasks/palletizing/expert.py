"""The palletizing expert: closed-form inverse kinematics and jerk-limited motion, in all worlds at once.

It sees only the observation that any policy sees. The tool hangs straight down; its motion is planned in four
coordinates that fit the cell (heading and distance from the arm's axis, height, turn of the tool) by Ruckig, one
segment per phase, and turned into joint targets by closed-form inverse kinematics for all worlds together.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import ruckig

from assets.kinematics import Kinematics
from sim.cartons import LARGEST_CARTON
from sim.cell import PERIOD
from tasks.palletizing.cell import BELT_HEIGHT, STOP, TOOL_LENGTH, Layout
from tasks.palletizing.task import STATE_NAMES, SURROUNDINGS_NAMES

WAIT, APPROACH, DESCEND, GRIP, LIFT, TRANSFER, LOWER, SET_DOWN, RELEASE, RETREAT = range(10)

# Coordinates: heading [rad], distance [m], height [m] of the lips' centre, turn of the tool against the heading [rad].
MAX_VELOCITY = np.array([1.5, 0.9, 0.9, 2.2])
MAX_ACCELERATION = np.array([2.8, 2.2, 2.6, 6.0])
MAX_JERK = np.array([14.0, 14.0, 18.0, 40.0])
MAX_SHARE = 0.9  # of the joints' speed limits
GENTLE = 0.30  # share of the height limits while a carton is set down
EMPTY = 1.25  # share of the limits while nothing is carried
NEAR = 0.04  # [m] above its place, from where on a carton is set down gently
HOVER = 0.10  # [m] over a carton before going down on it
CLEAR = 0.05  # [m] between what is carried and the load below
OVER_BELT = BELT_HEIGHT + LARGEST_CARTON[2] + 0.06  # [m] the lips pass over any carton on the conveyor
GRIP_PERIODS, RELEASE_PERIODS = 8, 2  # how long to wait for a seal, and for the cups to let go
LAG = 0.15  # [s] how long the arm takes to come to rest where it was sent
TOUCH = 25.0  # [N] upward force that says the carton stands
LET_GO = 0.003  # [m] above its support at which a carton is let go


@dataclasses.dataclass
class _Work:
    """What each world's expert is doing: phase, periods in it, joints last commanded, suction."""

    phase: np.ndarray
    ticks: np.ndarray
    joints: np.ndarray
    tool: np.ndarray  # (n, 4) where the tool was last commanded, in expert coordinates
    grip: np.ndarray  # (n,) yaw of the tool minus yaw of the carton, as gripped [rad]
    suction: np.ndarray


class PalletizingExpert:
    """Acts on the observation of `tasks.palletizing.task` (fits the `Policy` contract)."""

    def __init__(self, layout: Layout, nworld: int):
        """Drive `nworld` arms of one layout."""
        self.layout = layout
        self.arm = layout.arm
        self.kinematics = Kinematics(self.arm)
        self._state = {n: i for i, n in enumerate(STATE_NAMES)}
        self._seen = {n: i for i, n in enumerate(SURROUNDINGS_NAMES)}
        home = np.array(self.arm.home)
        position, rotation = self.kinematics.flange_pose(home[None])
        at = position[0] + rotation[0, :, 2] * TOOL_LENGTH + np.array([0, 0, layout.base_height])
        yaw = np.arctan2(rotation[0, 1, 0], rotation[0, 0, 0])
        heading = np.arctan2(at[1], at[0])
        self._home_joints = home
        self._joint_step = MAX_SHARE * PERIOD * np.array([j.velocity_limit for j in self.arm.body.joints()])
        self._home_tool = np.array([heading, np.hypot(at[0], at[1]), at[2], _wrap(yaw - heading)])
        self.neutral = self._home_tool[3]
        n = nworld
        self.work = _Work(
            phase=np.full(n, WAIT),
            ticks=np.zeros(n, dtype=np.int64),
            joints=np.tile(home, (n, 1)),
            tool=np.tile(self._home_tool, (n, 1)),
            grip=np.zeros(n),
            suction=np.zeros(n, dtype=bool),
        )
        self._segments: list[ruckig.Trajectory | None] = [None] * n
        self._planner = ruckig.Ruckig(4)

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start afresh in the worlds `ids`, from home."""
        w = self.work
        w.phase[ids], w.ticks[ids], w.suction[ids] = WAIT, 0, False
        w.joints[ids], w.tool[ids] = self._home_joints, self._home_tool
        for i in ids:
            self._segments[i] = None

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the next action chunk (n, 1, 7): joint targets [rad] and suction, for the worlds `ids`."""
        state = observation["state"].astype(np.float64)
        seen = observation["environment_state"].astype(np.float64)
        for k, i in enumerate(ids):
            self._decide(int(i), state[k], seen[k])
        w = self.work
        for i in ids:
            segment = self._segments[i]
            if segment is not None:
                w.ticks[i] += 1
                w.tool[i] = segment.at_time(min(w.ticks[i] * PERIOD, segment.duration))[0]
        lips, yaw = self._lips(w.tool[ids])
        joints, ok = self.kinematics.solve_tool_down(lips, yaw, w.joints[ids], TOOL_LENGTH)
        # Where the tool cannot go the arm waits; the time limit ends such an episode.
        w.joints[ids] = np.where(ok[:, None], joints, w.joints[ids])
        return np.concatenate([w.joints[ids], w.suction[ids, None].astype(float)], axis=1)[:, None, :]

    # ---- one world's decisions -------------------------------------------------------------------------------------

    def _decide(self, i: int, state: np.ndarray, seen: np.ndarray) -> None:
        w, s = self.work, self._seen
        phase = int(w.phase[i])
        arrived = self._arrived(i)
        holding = state[self._state["suction.holding"]] > 0.5
        if phase in (LIFT, TRANSFER, LOWER, SET_DOWN) and not holding:
            # Lost on the way: let go, rise and look for the next one.
            w.suction[i] = False
            self._go(i, RETREAT, self._above(w.tool[i], self._travel_height(seen)))
            return
        if phase in (LOWER, SET_DOWN) and -state[self._state["tool.force_z"]] > TOUCH:
            arrived = True
        if phase == WAIT and seen[s["carton.ready"]] > 0.5 and arrived:
            over = self._over_carton(i, seen)
            self._go(i, APPROACH, over)
        elif phase == WAIT and arrived and self._segments[i] is not None:
            self._segments[i] = None
        elif phase == APPROACH and arrived:
            down = self._over_carton(i, seen)
            down[2] = seen[s["carton.top"]]
            self._go(i, DESCEND, down)
        elif phase == DESCEND and arrived:
            w.suction[i] = True
            self._stay(i, GRIP)
        elif phase == GRIP:
            if holding:
                w.grip[i] = self._placing_turn(i, seen)
                self._go(i, LIFT, self._above(w.tool[i], self._carry_height(seen)))
            elif w.ticks[i] >= GRIP_PERIODS:
                w.suction[i] = False
                up = self._above(w.tool[i], w.tool[i, 2] + HOVER)
                self._go(i, WAIT, up)
            else:
                w.ticks[i] += 1
        elif phase == LIFT and arrived:
            self._go(i, TRANSFER, self._over_target(i, seen, self._carry_height(seen)))
        elif phase == TRANSFER and arrived:
            self._go(i, LOWER, self._over_target(i, seen, self._place_height(seen) + NEAR))
        elif phase == LOWER and arrived:
            self._go(i, SET_DOWN, self._over_target(i, seen, self._place_height(seen)), gentle=True)
        elif phase == SET_DOWN and arrived:
            w.suction[i] = False
            self._stay(i, RELEASE)
        elif phase == RELEASE:
            w.ticks[i] += 1
            if w.ticks[i] >= RELEASE_PERIODS:
                self._go(i, RETREAT, self._above(w.tool[i], self._travel_height(seen)))
        elif phase == RETREAT and arrived:
            self._go(i, WAIT, self._waiting_place(seen))

    def _arrived(self, i: int) -> bool:
        segment = self._segments[i]
        lag = LAG if self.work.phase[i] in (DESCEND, TRANSFER, SET_DOWN) else 0.0
        return segment is None or self.work.ticks[i] * PERIOD >= segment.duration + lag

    def _stay(self, i: int, phase: int) -> None:
        w = self.work
        w.phase[i], w.ticks[i], self._segments[i] = phase, 0, None

    def _go(self, i: int, phase: int, goal: np.ndarray, gentle: bool = False) -> None:
        """Plan a segment from where the tool was last commanded, at rest, to `goal`, at rest.

        Near the column a joint would have to turn faster than it can; such a segment takes longer.
        """
        w = self.work
        pace = 1.0 if w.suction[i] else EMPTY
        limit = pace * np.array([1.0, 1.0, GENTLE if gentle else 1.0, 1.0])
        segment = self._segment(w.tool[i], goal, limit)
        hurry = self._hurry(segment, w.joints[i])
        if hurry > 1.0:
            segment = self._segment(w.tool[i], goal, limit, 1.0 / hurry)
        w.phase[i], w.ticks[i], self._segments[i] = phase, 0, segment

    def _segment(self, start: np.ndarray, goal: np.ndarray, limit: np.ndarray, speed: float = 1.0) -> ruckig.Trajectory:
        """Plan from rest to rest; `limit` (4,) cuts speed and acceleration, `speed` runs all of it slower."""
        problem = ruckig.InputParameter(4)
        problem.current_position, problem.target_position = start.tolist(), goal.tolist()
        problem.max_velocity = (MAX_VELOCITY * limit * speed).tolist()
        problem.max_acceleration = (MAX_ACCELERATION * limit * speed**2).tolist()
        problem.max_jerk = (MAX_JERK * speed**3).tolist()
        segment = ruckig.Trajectory(4)
        self._planner.calculate(problem, segment)
        return segment

    def _hurry(self, segment: ruckig.Trajectory, joints: np.ndarray) -> float:
        """Return the greatest joint speed of a segment that begins at `joints`, as a share of what the joints allow."""
        times = np.minimum(np.arange(int(segment.duration / PERIOD) + 2) * PERIOD, segment.duration)
        lips, yaw = self._lips(np.array([segment.at_time(t)[0] for t in times]))
        solutions = self.kinematics.tool_down_solutions(lips, yaw, np.tile(joints, (len(times), 1)), TOOL_LENGTH)
        away = np.abs(solutions[0] - joints).max(axis=1)
        if np.isnan(away).all():
            return 1.0
        path = solutions[:, int(np.nanargmin(away))]
        step = np.diff(path, axis=0)
        step -= 2 * np.pi * np.round(step / (2 * np.pi))
        return float(np.nanmax(np.abs(step) / self._joint_step, initial=1.0))

    def _lips(self, tool: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the lips' positions in the arm's base frame [m], (n, 3), and the tool's yaw [rad], of tools (n, 4)."""
        heading, distance, height, turn = tool.T
        lips = np.stack(
            [distance * np.cos(heading), distance * np.sin(heading), height - self.layout.base_height], axis=1
        )
        return lips, heading + turn

    # ---- where to go -----------------------------------------------------------------------------------------------

    @staticmethod
    def _above(tool: np.ndarray, height: float) -> np.ndarray:
        goal = tool.copy()
        goal[2] = max(height, tool[2])
        return goal

    def _safe_height(self, seen: np.ndarray, below: float) -> float:
        """Height of the lips at which something reaching `below` under them passes over the load [m]."""
        return float(seen[self._seen["load.top"]] + below + CLEAR)

    def _travel_height(self, seen: np.ndarray) -> float:
        """Height of the lips at which the empty gripper passes over the load and over any carton that waits [m]."""
        return max(self._safe_height(seen, 0.0), OVER_BELT)

    def _carry_height(self, seen: np.ndarray) -> float:
        s = self._seen
        over_belt = seen[s["carton.top"]] + CLEAR + 0.02
        height = float(seen[s["carton.height"]])
        here = float(seen[s["target.support"]]) + 2.0 * CLEAR + height
        return max(self._safe_height(seen, height), over_belt, here, BELT_HEIGHT + height + 0.09)

    def _place_height(self, seen: np.ndarray) -> float:
        """Height of the lips at which the carton stands, all but [m]."""
        return float(seen[self._seen["target.support"]] + seen[self._seen["carton.height"]] + LET_GO)

    def _over_carton(self, i: int, seen: np.ndarray) -> np.ndarray:
        s = self._seen
        x, y, yaw = seen[s["carton.x"]], seen[s["carton.y"]], seen[s["carton.yaw"]]
        heading = np.arctan2(y, x)
        turn = _nearest(yaw - heading, self.neutral, np.pi)
        return np.array([heading, np.hypot(x, y), seen[s["carton.top"]] + HOVER, turn])

    def _placing_turn(self, i: int, seen: np.ndarray) -> float:
        """Yaw of the tool minus yaw of the carton, as gripped [rad]."""
        w = self.work
        return float(w.tool[i, 0] + w.tool[i, 3] - seen[self._seen["carton.yaw"]])

    def _over_target(self, i: int, seen: np.ndarray, height: float) -> np.ndarray:
        s = self._seen
        x, y = seen[s["target.x"]], seen[s["target.y"]]
        heading = np.arctan2(y, x)
        yaw = seen[s["target.yaw"]] + self.work.grip[i]
        return np.array([heading, np.hypot(x, y), height, _nearest(yaw - heading, self.neutral, np.pi)])

    def _waiting_place(self, seen: np.ndarray) -> np.ndarray:
        """Over the conveyor's end, above anything that comes."""
        x, y = STOP[0] - 0.25, STOP[1]
        heading = np.arctan2(y, x)
        turn = _nearest(-heading, self.neutral, np.pi)
        return np.array([heading, np.hypot(x, y), OVER_BELT, turn])


def _wrap(angle: float) -> float:
    return float(np.arctan2(np.sin(angle), np.cos(angle)))


def _nearest(angle: float, to: float, period: float) -> float:
    """The angle equal to `angle` up to whole periods that lies nearest to `to`."""
    return float(to + (angle - to) - period * np.round((angle - to) / period))
