"""Motion of the tote expert: tool paths in coordinates that fit the cell, checked for reach, speed and collisions.

A tool pose is six numbers: heading and distance of the fingertips from the arm's axis, their height above the floor,
the tool's turn about its own axis, its pitch (0 straight down, a right angle: straight away from the arm), and the
swing of the plane in which it is pitched against the heading. A path is planned whole, sampled once a control period,
and turned into joints by closed-form inverse kinematics; what the arm cannot follow is no path.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import ruckig

from assets.arms import Arm
from assets.combi_tool import FINGER_FREE, FINGER_THICKNESS, LENGTH, PAD_HEIGHT, PAD_REACH
from assets.kinematics import Kinematics
from sim.cell import PERIOD

HEADING, DISTANCE, HEIGHT, TURN, PITCH, SWING = range(6)

# Units as above: rad, m, m, rad, rad, rad.
MAX_VELOCITY = np.array([1.7, 1.0, 1.0, 2.6, 1.3, 1.3])
MAX_ACCELERATION = np.array([4.0, 3.0, 3.5, 9.0, 3.0, 3.0])
MAX_JERK = np.array([25.0, 22.0, 28.0, 70.0, 20.0, 20.0])
MAX_SHARE = 0.9  # of the joints' speed limits
WINDING = 4.4  # [rad] that the tool may be turned from home
OVERLAP = 0.08  # [m] below its top a hop begins to go across; [s] of going across left when it comes down


@dataclasses.dataclass(frozen=True)
class Path:
    """A motion of the tool, a row for each control period.

    Attributes:
        tool: (k, 6) tool poses.
        joints: (k, 6) [rad].
    """

    tool: np.ndarray
    joints: np.ndarray


@dataclasses.dataclass(frozen=True)
class Obstacle:
    """A box that stands upright: middle [m], heading [rad], half sizes [m]."""

    middle: np.ndarray
    yaw: float
    half: np.ndarray


class Motion:
    """Plans paths of one arm's tool."""

    def __init__(self, arm: Arm, base_height: float, tool_length: float = LENGTH):
        """Plan for an arm whose base stands `base_height` [m] above the floor, its tool's tip `tool_length` [m] away.

        `clear` knows the shape of the combination tool alone.
        """
        self.arm, self.base_height, self.tool_length = arm, base_height, tool_length
        self.kinematics = Kinematics(arm)
        self.step = MAX_SHARE * PERIOD * np.array([j.velocity_limit for j in arm.body.joints()])
        self.home_joints = np.array(arm.home)
        self.home = self._home()
        self._planner = {n: ruckig.Ruckig(n) for n in (1, 6)}

    def _home(self) -> np.ndarray:
        position, rotation = self.kinematics.flange_pose(self.home_joints[None])
        tip = position[0] + rotation[0, :, 2] * self.tool_length
        heading = float(np.arctan2(tip[1], tip[0]))
        turn = float(np.arctan2(rotation[0, 1, 0], rotation[0, 0, 0])) - heading
        height = tip[2] + self.base_height
        return np.array([heading, np.hypot(tip[0], tip[1]), height, wrapped(turn), 0.0, 0.0])

    # ---- poses -----------------------------------------------------------------------------------------------------

    def at(self, point: np.ndarray, yaw: float, near: np.ndarray, half_turns: bool = False) -> np.ndarray:
        """Return the tool pose straight down with the fingertips at `point` (3,) [m] and the tool's x along `yaw`.

        The turn is the one nearest to that of the pose `near`; with `half_turns` the tool may be the other way round.
        """
        heading = nearest(float(np.arctan2(point[1], point[0])), near[HEADING], 2 * np.pi)
        turn = self._unwound(nearest(yaw - heading, near[TURN], np.pi if half_turns else 2 * np.pi))
        return np.array([heading, np.hypot(point[0], point[1]), point[2], turn, 0.0, 0.0])

    def pitched(self, point: np.ndarray, direction: float, turn: float, pitch: float, near: np.ndarray) -> np.ndarray:
        """Return the tool pose with the fingertips at `point`, pitched in the vertical plane of heading `direction`."""
        heading = nearest(float(np.arctan2(point[1], point[0])), near[HEADING], 2 * np.pi)
        turn = self._unwound(nearest(turn, near[TURN], 2 * np.pi))
        return np.array([heading, np.hypot(point[0], point[1]), point[2], turn, pitch, wrapped(direction - heading)])

    def _unwound(self, turn: float) -> float:
        """Turn back a whole turn before the wrist comes to its stop."""
        away = turn - self.home[TURN]
        return turn - 2 * np.pi * np.sign(away) * (abs(away) > WINDING)

    @staticmethod
    def tips(tool: np.ndarray) -> np.ndarray:
        """Return the fingertips (k, 3) [m] of tool poses (k, 6)."""
        heading, distance, height = tool[:, HEADING], tool[:, DISTANCE], tool[:, HEIGHT]
        return np.stack([distance * np.cos(heading), distance * np.sin(heading), height], axis=1)

    @staticmethod
    def rotations(tool: np.ndarray) -> np.ndarray:
        """Return the tool's axes as columns (k, 3, 3) for tool poses (k, 6)."""
        plane = tool[:, HEADING] + tool[:, SWING]
        yaw = plane + tool[:, TURN]
        zero = np.zeros(len(tool))
        down = np.stack([zero, zero, zero - 1.0], axis=1)
        x = np.stack([np.cos(yaw), np.sin(yaw), zero], axis=1)
        y = np.stack([np.sin(yaw), -np.cos(yaw), zero], axis=1)
        out = np.stack([np.cos(plane), np.sin(plane), zero], axis=1)
        c, s = np.cos(tool[:, PITCH])[:, None], np.sin(tool[:, PITCH])[:, None]

        def pitched(v: np.ndarray) -> np.ndarray:
            """Turn down towards out, and out towards up."""
            along, low = (v * out).sum(1, keepdims=True), (v * down).sum(1, keepdims=True)
            return v + (along * c + low * s - along) * out + (low * c - along * s - low) * down

        return np.stack([pitched(x), pitched(y), pitched(down)], axis=2)

    # ---- paths -----------------------------------------------------------------------------------------------------

    def straight(self, start: np.ndarray, goal: np.ndarray, speed: float = 1.0) -> np.ndarray:
        """Return poses (k, 6) from rest to rest, all coordinates together; `speed` is a share of the limits."""
        return self._sampled(self._segment(start, goal, speed), 0.0)

    def hop(self, start: np.ndarray, goal: np.ndarray, top: float, speed: float = 1.0) -> np.ndarray:
        """Return poses (k, 6) that rise to the height `top` [m], go across and come down, blended."""
        top = max(top, start[HEIGHT], goal[HEIGHT])
        up = self._segment(start[HEIGHT : HEIGHT + 1], np.array([top]), speed)
        down = self._segment(np.array([top]), goal[HEIGHT : HEIGHT + 1], speed)
        level_start, level_goal = start.copy(), goal.copy()
        level_start[HEIGHT] = level_goal[HEIGHT] = top
        across = self._segment(level_start, level_goal, speed)
        go = _time_left(up, OVERLAP)
        come = go + max(across.duration - OVERLAP, 0.0)
        end = max(come + down.duration, go + across.duration, up.duration)
        times = np.arange(1, int(np.ceil(end / PERIOD - 1e-9)) + 1) * PERIOD
        tool = np.stack([across.at_time(float(np.clip(t - go, 0.0, across.duration)))[0] for t in times])
        rise = np.array([up.at_time(float(min(t, up.duration)))[0][0] for t in times])
        fall = np.array([down.at_time(float(np.clip(t - come, 0.0, down.duration)))[0][0] for t in times])
        tool[:, HEIGHT] = rise + fall - top
        return tool

    def path(self, tool: np.ndarray, joints: np.ndarray) -> Path | None:
        """Return the path along poses (k, 6) for an arm that stands at `joints` (6,); None where it cannot follow.

        A path on which a joint would have to turn faster than it may is run slower.
        """
        for _ in range(3):
            solved = self._solved(tool, joints)
            if solved is None:
                return None
            steps = np.abs(np.diff(np.concatenate([joints[None], solved]), axis=0)) / self.step
            hurry = float(steps.max())
            if hurry <= 1.0:
                return Path(tool, solved)
            if steps[0].max() > 3.0:
                return None  # another configuration of the arm
            tool = _slower(tool, hurry)
        return None

    def _solved(self, tool: np.ndarray, joints: np.ndarray) -> np.ndarray | None:
        """Return joints (k, 6) in the configuration that the arm is in, or None out of its reach."""
        rotation = self.rotations(tool)
        flange = self.tips(tool) - self.tool_length * rotation[:, :, 2] - np.array([0.0, 0.0, self.base_height])
        found = self.kinematics.inverse(flange, rotation, np.tile(joints, (len(tool), 1)))
        away = np.abs(found[0] - joints).max(axis=1)
        if np.isnan(away).all():
            return None
        chosen = found[:, int(np.nanargmin(away))]
        if np.isnan(chosen).any():
            return None
        # Without whole turns between neighbours.
        chosen = np.unwrap(np.concatenate([joints[None], chosen]), axis=0)[1:]
        low, high = np.array([j.range for j in self.arm.body.joints()]).T
        return chosen if ((chosen >= low) & (chosen <= high)).all() else None

    def swing(self, tool: np.ndarray, goal: np.ndarray, joints: np.ndarray) -> Path | None:
        """Return the path, straight in joint space, to a pose in which the wrist is above the tool; None out of reach.

        For a tool that lies flat this is the configuration in which nothing of the arm hangs below it.
        """
        rotation = self.rotations(goal[None])
        flange = self.tips(goal[None]) - self.tool_length * rotation[:, :, 2] - np.array([0.0, 0.0, self.base_height])
        found = self.kinematics.inverse(flange, rotation, joints[None])[0]
        fifth = -np.sin(found[:, 5]) * rotation[0, 2, 0] - np.cos(found[:, 5]) * rotation[0, 2, 1]
        elbow = -np.sin(found[:, 1])
        good = ~np.isnan(elbow) & (fifth < 0.0) & (elbow > 0.0)
        if not good.any():
            return None
        target = found[good][int(np.argmin(np.abs(found[good] - joints).max(axis=1)))]
        problem, segment = ruckig.InputParameter(6), ruckig.Trajectory(6)
        problem.current_position, problem.target_position = joints.tolist(), target.tolist()
        problem.max_velocity = (0.7 * self.step / PERIOD).tolist()
        problem.max_acceleration, problem.max_jerk = [3.5] * 6, [20.0] * 6
        self._planner[6].calculate(problem, segment)
        solved = self._sampled(segment, 0.0)
        share = (1.0 + np.arange(len(solved)))[:, None] / len(solved)
        return Path(tool + (goal - tool) * share, solved)

    def _segment(self, start: np.ndarray, goal: np.ndarray, speed: float) -> ruckig.Trajectory:
        n = len(start)
        limits = slice(HEIGHT, HEIGHT + 1) if n == 1 else slice(None)
        problem, found = ruckig.InputParameter(n), ruckig.Trajectory(n)
        problem.current_position, problem.target_position = start.tolist(), goal.tolist()
        problem.max_velocity = (MAX_VELOCITY[limits] * speed).tolist()
        problem.max_acceleration = (MAX_ACCELERATION[limits] * speed**2).tolist()
        problem.max_jerk = (MAX_JERK[limits] * speed**3).tolist()
        self._planner[n].calculate(problem, found)
        return found

    @staticmethod
    def _sampled(segment: ruckig.Trajectory, start: float) -> np.ndarray:
        count = max(1, int(np.ceil((segment.duration - start) / PERIOD - 1e-9)))
        return np.array([segment.at_time(min(start + (k + 1) * PERIOD, segment.duration))[0] for k in range(count)])

    # ---- collisions ------------------------------------------------------------------------------------------------

    def clear(self, path: Path, obstacles: list[Obstacle], opening: float = 0.0) -> bool:
        """Say whether arm and tool, as spheres, stay out of all obstacles along the path."""
        if not obstacles:
            return True
        spheres, radii = self._spheres(path, opening)
        for box in obstacles:
            local = spheres - box.middle
            c, s = np.cos(box.yaw), np.sin(box.yaw)
            x, y = c * local[..., 0] + s * local[..., 1], c * local[..., 1] - s * local[..., 0]
            out = np.maximum(np.abs(np.stack([x, y, local[..., 2]], axis=-1)) - box.half, 0.0)
            if ((out * out).sum(-1) < radii * radii).any():
                return False
        return True

    def _spheres(self, path: Path, opening: float) -> tuple[np.ndarray, np.ndarray]:
        """Return spheres that cover arm and tool: centres (k, m, 3) [m] and radii (m,) [m]."""
        ends, thick = self.kinematics.link_capsules(path.joints)
        # The first links stand over the pedestal, where nothing else is.
        ends, thick = ends[:, 2:], np.asarray(thick)[2:]
        share = np.linspace(0.0, 1.0, 7)[:, None]
        links = ends[:, :, None, 0] * (1.0 - share) + ends[:, :, None, 1] * share
        links = links.reshape(len(ends), -1, 3) + np.array([0.0, 0.0, self.base_height])
        places, radii = _tool_spheres(opening)
        axes, tips = self.rotations(path.tool), self.tips(path.tool)
        tool = tips[:, None, :] + sum(places[None, :, k, None] * axes[:, None, :, k] for k in range(3))
        return np.concatenate([links, tool], axis=1), np.concatenate([np.repeat(thick, 7), radii])


def _tool_spheres(opening: float) -> tuple[np.ndarray, np.ndarray]:
    """Return spheres that cover the tool: centres in the tool's axes from the fingertips (m, 3), and radii (m,)."""
    spheres = [((0.0, 0.0, z), 0.040) for z in np.linspace(-LENGTH + 0.04, -FINGER_FREE - 0.07, 5)]
    spheres += [((x, 0.0, -FINGER_FREE - 0.021), 0.034) for x in (-0.048, -0.016, 0.016, 0.048)]
    spheres += [
        ((side * (opening / 2 + FINGER_THICKNESS / 2), 0.0, z), 0.010)
        for side in (-1, 1)
        for z in np.arange(0.008 - FINGER_FREE, -0.01, 0.016)
    ]
    spheres += [
        ((x, PAD_REACH - 0.024, z - PAD_HEIGHT), 0.028)
        for x, z in itertools.product((-0.055, 0.0, 0.055), (-0.032, 0.032))
    ]
    centres, radii = zip(*spheres, strict=True)
    return np.array(centres), np.array(radii)


def _time_left(segment: ruckig.Trajectory, left: float) -> float:
    """Return when a motion along one axis has no more than `left` to go [s]."""
    goal = segment.at_time(segment.duration)[0][0]
    times = np.arange(0.0, segment.duration + 0.02, 0.02)
    close = [t for t in times if abs(segment.at_time(min(t, segment.duration))[0][0] - goal) <= left]
    return float(min(close[0], segment.duration)) if close else float(segment.duration)


def _slower(tool: np.ndarray, factor: float) -> np.ndarray:
    """Run the same poses in more time."""
    count = int(np.ceil(len(tool) * factor * 1.02)) + 1
    old, new = np.arange(len(tool)), np.linspace(0.0, len(tool) - 1.0, count)
    return np.stack([np.interp(new, old, tool[:, k]) for k in range(tool.shape[1])], axis=1)


def wrapped(angle: float) -> float:
    """Return the angle in -pi … pi."""
    return float(np.arctan2(np.sin(angle), np.cos(angle)))


def nearest(angle: float, to: float, period: float) -> float:
    """Return the angle equal to `angle` up to whole periods that lies nearest to `to`."""
    return float(angle - period * np.round((angle - to) / period))
