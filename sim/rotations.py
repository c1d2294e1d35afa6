"""Quaternions (wxyz) on arrays, elementwise, so that a result never depends on how many worlds run beside it."""

from __future__ import annotations

import numpy as np


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product a*b, (..., 4)."""
    aw, ax, ay, az = np.moveaxis(np.asarray(a), -1, 0)
    bw, bx, by, bz = np.moveaxis(np.asarray(b), -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: np.ndarray) -> np.ndarray:
    """Return the inverse of unit quaternions, (..., 4)."""
    return np.asarray(q) * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    w, x, y, z = np.moveaxis(np.asarray(q), -1, 0)
    vx, vy, vz = np.moveaxis(np.asarray(v), -1, 0)
    tx, ty, tz = 2.0 * (y * vz - z * vy), 2.0 * (z * vx - x * vz), 2.0 * (x * vy - y * vx)
    return np.stack(
        [
            vx + w * tx + (y * tz - z * ty),
            vy + w * ty + (z * tx - x * tz),
            vz + w * tz + (x * ty - y * tx),
        ],
        axis=-1,
    )


def yaw_quaternion(yaw: np.ndarray) -> np.ndarray:
    """Return the rotation about z by `yaw` [rad], (..., 4)."""
    half = np.asarray(yaw) / 2.0
    zero = np.zeros_like(half)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=-1)


def yaw_of(q: np.ndarray) -> np.ndarray:
    """Return the heading of the rotated x axis in the horizontal plane [rad], (...)."""
    w, x, y, z = np.moveaxis(np.asarray(q), -1, 0)
    return np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle of the rotation from a to b [rad], (...)."""
    w, x, y, z = np.moveaxis(multiply(conjugate(a), b), -1, 0)
    return 2.0 * np.arctan2(np.sqrt(x * x + y * y + z * z), np.abs(w))
