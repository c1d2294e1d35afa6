"""What every motion must keep to: joints, speeds, accelerations, workspace. Pure geometry, and not safety-rated."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from assets.arms import Arm
from assets.errors import InputError
from assets.kinematics import Kinematics

Array = NDArray[np.float64]

COMMISSIONING_SPEED = 0.25  # [m/s] at the tool and the elbow: what ISO 10218-1 allows with a person near
TIME_TO_FULL_SPEED = 0.1  # [s] accelerations are unpublished: no joint is asked for full speed sooner than this
STEP_SLACK = 1.05  # over what the speed limit gives in a controller period, for rounding
SHARES = np.linspace(1.0, 0.0, 21)  # of a step, tried from the whole one down
SAMPLES = 5  # along a step, at which speeds are looked at


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of one arm with its tool; positions and box in the arm's base frame.

    Attributes:
        kinematics: of the arm.
        position: lowest and highest joint positions [rad], (6, 2).
        velocity: of the joints [rad/s], (6,).
        acceleration: of the joints [rad/s2], (6,).
        tcp_speed: of the tool's tip, the elbow and every other link's end [m/s].
        box: lowest and highest corner of where links and tool may be [m], (2, 3).
        tool_length: from the flange to the tool's tip [m].
        start_distance: how far a motion's first target may be from where the arm is [rad].
    """

    kinematics: Kinematics
    position: Array
    velocity: Array
    acceleration: Array
    tcp_speed: float
    box: Array
    tool_length: float
    start_distance: float = 0.02

    @staticmethod
    def of(arm: Arm, tool_length: float, tcp_speed: float, box: Array, position: Array | None = None) -> Limits:
        """Return the limits that follow from an arm's published figures.

        Args:
            arm: the arm.
            tool_length: from the flange to the tool's tip [m].
            tcp_speed: greatest speed of tool and elbow [m/s]; raise it above `COMMISSIONING_SPEED` knowingly.
            box: lowest and highest corner of the workspace [m], (2, 3).
            position: narrower joint ranges [rad], (6, 2), if any.

        Raises:
            InputError: a limit is no positive number, an empty box, or ranges beyond the arm's own.
        """
        if not (np.isfinite(tcp_speed) and 0.0 < tcp_speed <= 5.0):
            raise InputError(f"robot.tcp_speed = {tcp_speed} m/s must lie in 0 … 5")
        if box.shape != (2, 3) or not (np.isfinite(box).all() and (box[1] > box[0]).all()):
            raise InputError(f"robot.box = {box.tolist()} must be two corners [m], each number of the second greater")
        own = arm.limits
        position = own if position is None else position
        if position.shape != (6, 2) or not (position[:, 1] > position[:, 0]).all():
            raise InputError("robot.joint_range must be six pairs of a lowest and a highest position [rad]")
        if (position[:, 0] < own[:, 0]).any() or (position[:, 1] > own[:, 1]).any():
            raise InputError(f"robot.joint_range goes beyond the {arm.name}'s own {own.round(3).tolist()} rad")
        velocity = np.array([joint.velocity_limit for joint in arm.joints])
        return Limits(Kinematics(arm), position, velocity, velocity / TIME_TO_FULL_SPEED, tcp_speed, box, tool_length)

    def points(self, joints: Array) -> Array:
        """Return the points (k, m, 3) [m] that are watched at joints (k, 6): ends of the links, then the tool's tip."""
        ends, _ = self.kinematics.link_capsules(joints)
        position, rotation = self.kinematics.flange_pose(joints)
        tip = position + rotation[:, :, 2] * self.tool_length
        return np.concatenate([ends.reshape(len(joints), -1, 3), tip[:, None]], axis=1)

    def speeds(self, path: Array, rate: float) -> Array:
        """Return the speed (k - 1,) [m/s] of the fastest watched point between samples (k, 6) at `rate` [Hz]."""
        moved = np.diff(self.points(path), axis=0)
        return np.sqrt((moved * moved).sum(-1)).max(axis=1) * rate

    def outside(self, joints: Array) -> str:
        """Say which joint or link is where it must not be, at the first of joints (k, 6) where one is; "" if none."""
        low, high = self.position.T
        wrong = (joints < low - 1e-9) | (joints > high + 1e-9)
        if wrong.any():
            k, j = np.argwhere(wrong)[0]
            return f"joint {j} at {joints[k, j]:.3f} rad, outside {low[j]:.3f} … {high[j]:.3f}"
        points = self.points(joints)
        # The links have a thickness; the tool's tip is a point.
        radius = np.append(np.repeat(self.kinematics.radii, 2), 0.0)[:, None]
        wrong = (points - radius < self.box[0]) | (points + radius > self.box[1])
        if wrong.any():
            k, which, axis = np.argwhere(wrong)[0]
            name = "the tool" if which == points.shape[1] - 1 else f"the {self.kinematics.capsule_links[which // 2]}"
            return (
                f"{name} at {'xyz'[axis]} = {points[k, which, axis]:.3f} m, outside the workspace box "
                f"{self.box[0, axis]:g} … {self.box[1, axis]:g} m"
            )
        return ""

    def check_path(self, path: Array, rate: float, what: str = "the motion") -> None:
        """Check a motion from rest to rest, (k, 6) [rad] at `rate` [Hz], as a whole.

        Raises:
            InputError: the first limit that it breaks, and when.
        """
        if path.ndim != 2 or path.shape[1] != 6 or not len(path):
            raise InputError(f"{what} must have shape (k, 6), not {path.shape}")
        bad = ~np.isfinite(path).all(axis=1)
        if bad.any():
            raise InputError(f"{what} holds a target that is not a finite number at {np.argmax(bad) / rate:.3f} s")
        padded = np.concatenate([path[:1], path[:1], path, path[-1:], path[-1:]])
        step = np.diff(padded, axis=0)
        for values, limit, name in (
            (step * rate, self.velocity, "rad/s"),
            (np.diff(step, axis=0) * rate * rate, self.acceleration, "rad/s2"),
        ):
            over = np.abs(values) > limit * (1.0 + 1e-6) + 1e-9
            if over.any():
                k, j = np.argwhere(over)[0]
                end = "" if 2 <= k < len(path) else ", for it must begin and end at rest"
                raise InputError(
                    f"{what} asks joint {j} for {values[k, j]:.2f} {name} at {k / rate:.3f} s, "
                    f"limit {limit[j]:.2f}{end}"
                )
        where = self.outside(path)
        if where:
            raise InputError(f"{what} would bring {where}")
        speed = self.speeds(path, rate) if len(path) > 1 else np.zeros(1)
        if speed.max() > self.tcp_speed * (1.0 + 1e-6):
            k = int(np.argmax(speed))
            raise InputError(
                f"{what} moves tool or elbow at {speed[k]:.3f} m/s at {k / rate:.3f} s, limit {self.tcp_speed:g}: "
                "slow it down, or raise robot.tcp_speed knowingly"
            )

    def check_start(self, first: Array, present: Array) -> None:
        """Check that a motion begins where the arm is, both (6,) [rad]; InputError otherwise."""
        away = np.abs(first - present)
        j = int(np.argmax(away))
        if not away[j] <= self.start_distance:
            raise InputError(
                f"the first target is {away[j]:.3f} rad from where joint {j} is, allowed are {self.start_distance:g}: "
                "approach it first"
            )

    def cut(self, target: Array, last: Array, before: Array, period: float) -> Array:
        """Return the target (6,) [rad] for the control `period` [s] after `last`, cut to the limits.

        `before` is the target that preceded `last`. Joint range, speed and acceleration cut each joint; tool and elbow
        speed shorten the whole step, so that the arm keeps its direction. A shorter step is always allowed: the
        accelerations suffice to stop within a period.
        """
        step, previous = np.clip(target, *self.position.T) - last, last - before
        reach, change = self.velocity * period, self.acceleration * period * period
        step = np.clip(step, -reach, reach)
        step = np.clip(step, np.minimum(previous - change, 0.0), np.maximum(previous + change, 0.0))
        # What is left of the last step's speed when the period begins cannot be helped: speeds along the new one count.
        # Shares of it are tried from a little above the one that would do if the arm kept its shape on the way.
        allowed = self.tcp_speed / max(float(self._speed(last[None], step[None] / period)[0]), 1e-9)
        shares = SHARES * min(1.0, 1.2 * allowed)
        velocity = np.repeat(shares[:, None] * step / period, SAMPLES, axis=0)
        at = last + velocity * np.tile(np.linspace(-0.5, 0.5, SAMPLES), len(shares))[:, None] * period
        fits = self._speed(at, velocity).reshape(len(shares), SAMPLES).max(axis=1) <= self.tcp_speed
        return last + shares[int(np.argmax(fits))] * step

    def _speed(self, joints: Array, velocity: Array) -> Array:
        """Return the speed of the fastest watched point (k,) [m/s] at joints and joint velocities (k, 6)."""
        tick = 1e-4
        moved = self.points(joints + tick * velocity) - self.points(joints)
        return np.sqrt((moved * moved).sum(-1)).max(axis=1) / tick
