"""Slow motions from one pose of the arm to another, straight in joint space, from rest to rest."""

from __future__ import annotations

import numpy as np

from assets.errors import InputError
from sim2real.limits import Array, Limits

CALM = 0.5  # of what the limits allow
LOOKS = 41  # poses along the way at which speeds are looked at
# Greatest slope and curvature of the quintic that starts and ends with neither.
SLOPE, CURVATURE = 1.875, 5.7735


def approach_path(start: Array, goal: Array, limits: Limits, rate: float, share: float = CALM) -> Array:
    """Return joint targets (k, 6) [rad] at `rate` [Hz] from `start` to `goal`, both (6,), within a share of the limits.

    Raises:
        InputError: `goal` is no six numbers, or the way breaks a joint's range or the workspace box.
    """
    goal = np.asarray(goal, np.float64)
    if goal.shape != (6,) or not np.isfinite(goal).all():
        raise InputError(f"the pose to approach must be six finite joint positions [rad], not {goal.tolist()}")
    away = np.abs(goal - start)
    way = start + np.linspace(0.0, 1.0, LOOKS)[:, None] * (goal - start)
    length = float(limits.speeds(way, LOOKS - 1.0).max())  # [m] per whole way, of the fastest point where it is fastest
    seconds = max(
        SLOPE * float((away / limits.velocity).max()) / share,
        SLOPE * length / limits.tcp_speed / share,
        float(np.sqrt(CURVATURE * (away / limits.acceleration).max() / share)),
        0.1,
    )
    x = np.arange(1, int(np.ceil(seconds * rate)) + 1) / np.ceil(seconds * rate)
    path = start + (x**3 * (10.0 - 15.0 * x + 6.0 * x * x))[:, None] * (goal - start)
    limits.check_path(path, rate, "the way to the first pose")
    return path
