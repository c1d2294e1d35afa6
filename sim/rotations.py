"""Quaternions (wxyz) on arrays, elementwise, so that a result never depends on how many worlds run beside it."""

from __future__ import annotations

import numpy as np

CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


def _parts(a: np.ndarray) -> list[np.ndarray]:
    """Return the elements of the last axis, each an array (...)."""
    a = np.asarray(a)
    return [a[..., k] for k in range(a.shape[-1])]


def _joined(*parts: np.ndarray) -> np.ndarray:
    """Return arrays of one shape as the last axis of one array."""
    out = np.empty((*parts[0].shape, len(parts)))
    for k, part in enumerate(parts):
        out[..., k] = part
    return out


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product a*b, (..., 4)."""
    aw, ax, ay, az = _parts(a)
    bw, bx, by, bz = _parts(b)
    return _joined(
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


def conjugate(q: np.ndarray) -> np.ndarray:
    """Return the inverse of unit quaternions, (..., 4)."""
    return np.asarray(q) * CONJUGATE


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    w, x, y, z = _parts(q)
    vx, vy, vz = _parts(v)
    tx, ty, tz = 2.0 * (y * vz - z * vy), 2.0 * (z * vx - x * vz), 2.0 * (x * vy - y * vx)
    return _joined(
        vx + w * tx + (y * tz - z * ty),
        vy + w * ty + (z * tx - x * tz),
        vz + w * tz + (x * ty - y * tx),
    )


def yaw_quaternion(yaw: np.ndarray) -> np.ndarray:
    """Return the rotation about z by `yaw` [rad], (..., 4)."""
    half = np.asarray(yaw) / 2.0
    zero = np.zeros_like(half)
    return _joined(np.cos(half), zero, zero, np.sin(half))


def yaw_of(q: np.ndarray) -> np.ndarray:
    """Return the heading of the rotated x axis in the horizontal plane [rad], (...)."""
    w, x, y, z = _parts(q)
    return np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle of the rotation from a to b [rad], (...)."""
    w, x, y, z = _parts(multiply(conjugate(a), b))
    return 2.0 * np.arctan2(np.sqrt(x * x + y * y + z * z), np.abs(w))
