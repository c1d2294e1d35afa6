"""What a controller can be doing: each motion gives the next joint target, 2 ms after the last."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim2real.standin.plant import PERIOD

Array = NDArray[np.float64]


class Motion(Protocol):
    """A motion under way."""

    @property
    def done(self) -> bool:
        """Whether the target stands where it was to get."""
        ...

    def step(self, target: Array, speed: float) -> Array:
        """The target after `target`, at the speed slider's `speed`, 0 to 1."""
        ...


class Path:
    """Along joint positions (n, 6), evenly spaced over a `length`, with trapezoidal speed."""

    def __init__(self, positions: Array, length: float, velocity: float, acceleration: float) -> None:
        """`velocity` and `acceleration` in the unit of `length`, per second."""
        self._positions, self._length = positions, length
        self._velocity, self._acceleration = max(velocity, 1e-3), max(acceleration, 1e-2)
        self._gone, self._speed = 0.0, 0.0

    @property
    def done(self) -> bool:
        """Whether the end is reached."""
        return self._gone >= self._length

    def step(self, target: Array, speed: float) -> Array:
        """The next position on the path."""
        left = max(self._length - self._gone, 0.0)
        allowed = min(self._velocity * speed, float(np.sqrt(2 * self._acceleration * left)))
        change = self._acceleration * PERIOD
        self._speed = min(max(allowed, self._speed - change), self._speed + change)
        self._gone += max(self._speed * PERIOD, 1e-7)
        if left < 1e-6 or self._gone > self._length:
            self._gone = self._length
        at = (self._gone / self._length if self._length > 0 else 1.0) * (len(self._positions) - 1)
        before = min(int(at), len(self._positions) - 2)
        return self._positions[before] + (at - before) * (self._positions[before + 1] - self._positions[before])


def joint_path(start: Array, goal: Array, velocity: float, acceleration: float, limit: Array) -> Path:
    """A straight line in joint space.

    `velocity` [rad/s] and `acceleration` are those of the joint with farthest to go; none turns faster than its `limit`
    [rad/s], (6,).
    """
    way = np.abs(goal - start)
    farthest = float(way.max())
    allowed = float((limit * farthest / np.maximum(way, 1e-9)).min())
    return Path(np.stack([start, goal]), farthest, min(velocity, allowed), acceleration)


class Speed:
    """Constant joint velocities, reached with a given acceleration, for a time or until something else is asked for."""

    def __init__(self, now: Array, wanted: Array, acceleration: float, time: float = 0.0) -> None:
        """From velocities `now` to `wanted` [rad/s], (6,); `time` 0 means on and on."""
        self._now, self.wanted, self.acceleration = now, wanted, max(acceleration, 1e-2)
        self._left = time if time > 0 else np.inf

    @property
    def done(self) -> bool:
        """Whether the time is over, or standstill was wanted and is reached."""
        return self._left <= 0 or not (self.wanted.any() or self._now.any())

    def step(self, target: Array, speed: float) -> Array:
        """The next target."""
        self._left -= PERIOD
        change = self.acceleration * PERIOD
        self._now = self._now + np.clip(self.wanted * speed - self._now, -change, change)
        return target + self._now * PERIOD


def stop(now: Array, deceleration: float) -> Speed:
    """Slow down from joint velocities `now` [rad/s], (6,)."""
    return Speed(now, np.zeros(6), deceleration)


class Servo:
    """Follow targets as they come; none of them faster than the joints may turn."""

    def __init__(self, goal: Array, limit: Array) -> None:
        """Start with `goal` [rad]; `limit` [rad/s], (6,)."""
        self.goal, self._step = goal, limit * PERIOD

    @property
    def done(self) -> bool:
        """Never: it goes on until it is stopped."""
        return False

    def step(self, target: Array, speed: float) -> Array:
        """The goal, or the way to it that the joints can go in a period."""
        return target + np.clip(self.goal - target, -self._step, self._step)
