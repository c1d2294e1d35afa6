"""Joint paths of the contact experiments: straight lines of the tool, and straining what it holds."""

from __future__ import annotations

import itertools

import numpy as np

from assets.arms import Arm
from assets.errors import InputError
from sim2real.limits import Limits
from sim2real.robot import RATE
from sim2real.sidechannel import Places

TEAR_TIME, RELIEF = 5.0, 5  # [s]; so many times faster back
TORQUE_SHARE = 0.9  # of a joint's torque that tearing may ask for
ACCELERATION = 0.5  # [m/s2] of the tool
CALM = 0.8  # of the speed limit


class Paths:
    """Joint paths through points given in the world: tool straight down, one configuration of the arm throughout."""

    def __init__(self, arm: Arm, limits: Limits, places: Places, stiffness: np.ndarray):
        """Plan for an arm whose gains are `stiffness` (6,) times the nominal ones."""
        self.arm, self.limits, self.places = arm, limits, places
        self._gains = stiffness * [joint.stiffness for joint in arm.joints]
        self._down = np.array([0.0, 0.0, places.base_height])
        x, y, z = places.pallet
        self._home = (x - 0.1, y, z + 0.60, 0.0)
        seed = np.array([[np.pi, -1.85, 2.1, -np.pi / 2 - 0.25, -np.pi / 2, 0.0]])
        tip = np.array([self._home[:3]]) - self._down
        solutions = limits.kinematics.tool_down_solutions(tip, np.zeros(1), seed, limits.tool_length)[0]
        away = np.where(np.isnan(solutions), np.inf, np.abs(solutions - seed)).sum(1)
        self._column = int(np.argmin(away))
        if not np.isfinite(away[self._column]):
            raise InputError(f"the arm does not reach over the middle of the pallet at {places.pallet} m")
        self.ready = solutions[self._column]

    @property
    def calm_speed(self) -> float:
        """Speed of the tool on its way from place to place [m/s]."""
        return CALM * self.limits.tcp_speed

    def through(
        self,
        points: list[tuple[float, float, float, float]],
        speed: float,
        from_ready: bool = False,
        to_ready: bool = False,
    ) -> np.ndarray:
        """Return joint targets (k, 6) that run through points (x, y, z, yaw), at rest in each.

        Args:
            points: in the world [m], [rad].
            speed: of the tool's tip [m/s]; slower where tool or elbow would be too fast.
            from_ready, to_ready: whether to begin and to end in the ready pose.
        """
        legs = [(a, b, speed) for a, b in itertools.pairwise(points)]
        if from_ready:
            legs.insert(0, (self._home, points[0], self.calm_speed))
        if to_ready:
            legs.append((points[-1], self._home, self.calm_speed))
        parts = [self._line(np.array(a), np.array(b), v) for a, b, v in legs]
        path = np.concatenate(parts)
        self.limits.check_path(path, RATE, "a motion of the contact experiments")
        return path

    def strain(self, joints: np.ndarray, wrench: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return joint targets that strain what the tool's tip holds, others that let go again, and the final wrench.

        The tip stands still; the targets run ahead of `joints` (6,) by what makes the servos give `wrench` (6,), force
        [N] and torque [N m] in base axes: growing to it within `TEAR_TIME`, or to what the joints can give. What really
        acted, the flange's sensor says; but with wrong gains, bending also drags, and slips before it peels.
        """
        tick = 1e-6
        moved = joints + tick * np.concatenate([np.zeros((1, 6)), np.eye(6)])
        position, rotation = self.limits.kinematics.flange_pose(moved)
        tip = position + rotation[:, :, 2] * self.limits.tool_length
        turned = (rotation[1:] - rotation[0]) @ rotation[0].T / tick
        twist = np.stack([turned[:, 2, 1], turned[:, 0, 2], turned[:, 1, 0]], axis=1)
        torque = np.concatenate([(tip[1:] - tip[0]) / tick, twist], axis=1) @ wrench
        allowed = TORQUE_SHARE * np.array([joint.torque_limit for joint in self.arm.joints])
        share = min(1.0, float((allowed / np.maximum(np.abs(torque), 1e-9)).min()))
        torque, wrench = share * torque, share * wrench
        ahead = torque / self._gains
        x = np.linspace(0.0, 1.0, round(TEAR_TIME * RATE))
        motion = joints + (x * x * (3.0 - 2.0 * x))[:, None] * ahead
        relief = motion[::-RELIEF]
        for path in (motion, relief):
            self.limits.check_path(path, RATE, "a motion of the contact experiments")
        return motion, relief, wrench

    def _line(self, a: np.ndarray, b: np.ndarray, speed: float) -> np.ndarray:
        length = max(float(np.sqrt(((b - a)[:3] ** 2).sum())), 0.3 * abs(float(b[3] - a[3])), 1e-6)
        for _ in range(8):
            share = _trapezoid(length, speed, ACCELERATION)[:, None] / length
            points = a + share * (b - a)
            path = self._solve(points[:, :3] - self._down, _tool_down(points[:, 3]))
            fastest = float(self.limits.speeds(path, RATE).max()) / (0.95 * self.limits.tcp_speed)
            rate = np.abs(np.diff(path, axis=0)).max(0) * RATE / (0.9 * self.limits.velocity)
            over = max(fastest, float(rate.max()))
            if over <= 1.0:
                return path
            speed /= over * 1.05
        return path

    def _solve(self, tip: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        flange = tip - rotation[:, :, 2] * self.limits.tool_length
        seed = np.broadcast_to(self.ready, (len(tip), 6))
        path = self.limits.kinematics.inverse(flange, rotation, seed)[:, self._column]
        bad = np.isnan(path).any(1)
        if bad.any():
            where = (tip[int(np.argmax(bad))] + self._down).round(3).tolist()
            raise InputError(f"the contact experiments need the tool at {where} m, which the arm does not reach")
        return path


def _tool_down(yaw: np.ndarray) -> np.ndarray:
    """Rotations (k, 3, 3) of a tool that points down, its x axis at `yaw` (k,) [rad]."""
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.zeros((len(yaw), 3, 3))
    rotation[:, 0, 0], rotation[:, 1, 0] = c, s
    rotation[:, 0, 1], rotation[:, 1, 1] = s, -c
    rotation[:, 2, 2] = -1.0
    return rotation


def _trapezoid(length: float, speed: float, acceleration: float) -> np.ndarray:
    """Return how far (k,) a motion from rest to rest has come, at `RATE`."""
    speed = min(speed, float(np.sqrt(length * acceleration)))
    ramp = speed / acceleration
    total = length / speed + ramp
    steps = int(np.ceil(total * RATE)) + 1
    t = np.linspace(0.0, total, steps)
    rising, falling = 0.5 * acceleration * t * t, length - 0.5 * acceleration * (total - t) ** 2
    return np.where(t < ramp, rising, np.where(t > total - ramp, falling, speed * (t - ramp / 2)))
