"""Poses as a UR controller speaks of them: x, y, z [m] and a rotation vector [rad], in the base's frame.

Forward kinematics in plain floats: at 500 Hz for one arm, arrays of six cost more than they save.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from assets.kinematics import Kinematics

Array = NDArray[np.float64]


def flange(kinematics: Kinematics, q: Sequence[float]) -> tuple[Array, Array]:
    """Position [m], (3,), and rotation, (3, 3), of the flange at joint positions `q` [rad]."""
    k = kinematics
    c1, s1 = math.cos(q[0]), math.sin(q[0])
    q23 = q[1] + q[2]
    q234 = q23 + q[3]
    c, s = math.cos(q234), math.sin(q234)
    c5, s5, c6, s6 = math.cos(q[4]), math.sin(q[4]), math.cos(q[5]), math.sin(q[5])
    # In the plane of the upper arm and forearm: along (horizontal, turned by the first joint), up, and across it.
    along = k.a2 * math.cos(q[1]) + k.a3 * math.cos(q23)
    up = k.d1 + k.a2 * math.sin(q[1]) + k.a3 * math.sin(q23)
    out = np.array([c1, s1, 0.0])
    across = np.array([s1, -c1, 0.0])
    vertical = np.array([0.0, 0.0, 1.0])
    x4, y4 = out * c + vertical * s, vertical * c - out * s
    x5, z5 = x4 * c5 + across * s5, across * c5 - x4 * s5  # across the fifth link, and out of the flange
    position = out * along + vertical * up + across * k.d4 - y4 * k.d5 + z5 * k.d6
    x6 = x5 * c6 + y4 * s6
    y6 = y4 * c6 - x5 * s6
    return position, np.stack([x6, y6, z5], axis=1)


def tip(position: Array, rotation: Array, offset: Array) -> tuple[Array, Array]:
    """The pose of a frame at `offset`, (3,) [m] in the flange's axes, with the flange's orientation."""
    return position + rotation @ offset, rotation


def to_vector(position: Array, rotation: Array) -> list[float]:
    """A pose as the six numbers that go over the wire."""
    return [*position.tolist(), *rotation_vector(rotation).tolist()]


def from_vector(pose: Sequence[float]) -> tuple[Array, Array]:
    """Position and rotation, (3, 3), of a pose's six numbers."""
    return np.array(pose[:3], np.float64), rotation_of(np.array(pose[3:6], np.float64))


def rotation_vector(rotation: Array) -> Array:
    """The rotation vector [rad], (3,), of a matrix (3, 3)."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def rotation_of(vector: Array) -> Array:
    """The matrix (3, 3) of a rotation vector [rad], (3,)."""
    angle = float(np.sqrt(vector @ vector))
    quaternion, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle if angle > 0 else np.array([1.0, 0.0, 0.0]), angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def joints_for(kinematics: Kinematics, pose: Sequence[float], offset: Array, near: Sequence[float]) -> Array | None:
    """The joint positions nearest to `near` that bring the tip to `pose`; None out of reach."""
    position, rotation = from_vector(pose)
    found = kinematics.inverse((position - rotation @ offset)[None], rotation[None], np.array(near)[None])[0]
    away = np.abs(found - np.array(near)).max(axis=1)
    if np.isnan(away).all():
        return None
    return found[int(np.nanargmin(away))]


def line(
    kinematics: Kinematics, start: Sequence[float], pose: Sequence[float], offset: Array, step: float = 0.002
) -> tuple[Array, float] | None:
    """Joint positions along the straight line of the tip from joint positions `start` to `pose`.

    Returns:
        positions (n, 6) [rad], evenly spaced, every `step` [m] or closer, and the line's length [m] (a turn in place
        counts half a metre per radian); None where the line leaves the reach or jumps between configurations.
    """
    at, turned = flange(kinematics, list(start))
    at, _ = tip(at, turned, offset)
    goal, goal_turn = from_vector(pose)
    turn = rotation_vector(goal_turn @ turned.T)
    length = max(float(np.sqrt((goal - at) @ (goal - at))), 0.5 * float(np.sqrt(turn @ turn)))
    count = max(2, int(np.ceil(length / step)) + 1)
    share = np.linspace(0.0, 1.0, count)
    rotations = np.stack([rotation_of(turn * s) @ turned for s in share])
    positions = at + share[:, None] * (goal - at) - rotations @ offset
    found = kinematics.inverse(positions, rotations, np.tile(np.array(start), (count, 1)))
    near = np.abs(found[0] - np.array(start)).max(axis=1)
    if np.isnan(near).all():
        return None
    path = found[:, int(np.nanargmin(near))]
    if np.isnan(path).any() or np.abs(np.diff(path, axis=0)).max() > 0.1 or np.nanmin(near) > 0.01:
        return None
    return path, length
