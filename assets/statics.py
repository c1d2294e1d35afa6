"""Statics of a tree of bodies with joints: where they are, what torque gravity asks for, what inertia a joint feels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.asset import Body, Frame, inertia_matrix, rotation_matrix
from assets.errors import InputError, unknown

GRAVITY = 9.81  # [m/s^2], downwards along the root's z

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Placed:
    """A body, its origin [m], (3,), and rotation, (3, 3), in the root's frame, and the joints that move it."""

    body: Body
    position: Matrix
    rotation: Matrix
    moved_by: tuple[int, ...]


def place_bodies(root: Body, joint_positions: Sequence[float]) -> list[Placed]:
    """All bodies of the tree at the given joint positions [rad], parents first, in the frame of the root's parent."""
    count = len(root.joints())
    if len(joint_positions) != count:
        raise InputError(f"{root.name!r} has {count} joints, {len(joint_positions)} positions were given")
    placed: list[Placed] = []
    joints_seen = 0

    def visit(body: Body, position: Matrix, rotation: Matrix, moved_by: tuple[int, ...]) -> None:
        nonlocal joints_seen
        position = position + rotation @ np.array(body.position)
        rotation = rotation @ rotation_matrix(body.quaternion)
        if body.joint is not None:
            half = joint_positions[joints_seen] / 2
            x, y, z = (float(a * np.sin(half)) for a in body.joint.axis)
            rotation = rotation @ rotation_matrix((float(np.cos(half)), x, y, z))
            moved_by = (*moved_by, joints_seen)
            joints_seen += 1
        placed.append(Placed(body, position, rotation, moved_by))
        for child in body.children:
            visit(child, position, rotation, moved_by)

    visit(root, np.zeros(3), np.eye(3), ())
    return placed


def gravity_torques(root: Body, joint_positions: Sequence[float], frame: str, payload: float) -> Matrix:
    """Torque each joint must hold against gravity [N m], (joints,), with a point mass `payload` [kg] at `frame`."""
    placed = place_bodies(root, joint_positions)
    torques = np.zeros(len(joint_positions))
    for joint, axis, origin in _axes(placed):
        for mass, center, _, moved_by in _masses(placed, frame, payload):
            if joint in moved_by:
                torques[joint] += mass * GRAVITY * np.cross(axis, center - origin)[2]
    return torques


def joint_inertias(root: Body, joint_positions: Sequence[float], frame: str, payload: float) -> Matrix:
    """Inertia about each joint's axis of all that it moves, armature aside [kg m^2], (joints,)."""
    placed = place_bodies(root, joint_positions)
    inertias = np.zeros(len(joint_positions))
    for joint, axis, origin in _axes(placed):
        for mass, center, inertia, moved_by in _masses(placed, frame, payload):
            if joint in moved_by:
                arm = np.cross(axis, center - origin)
                inertias[joint] += axis @ inertia @ axis + mass * (arm @ arm)
    return inertias


def _axes(placed: list[Placed]) -> list[tuple[int, Matrix, Matrix]]:
    """Each joint's number, axis and origin in the root's frame."""
    return [(p.moved_by[-1], p.rotation @ np.array(p.body.joint.axis), p.position) for p in placed if p.body.joint]


def _masses(placed: list[Placed], frame: str, payload: float) -> list[tuple[float, Matrix, Matrix, tuple[int, ...]]]:
    """Mass, centre, inertia about it and the moving joints of every body, and of the payload."""
    masses = [
        (
            p.body.mass,
            p.position + p.rotation @ np.array(p.body.center_of_mass),
            p.rotation @ inertia_matrix(p.body.inertia) @ p.rotation.T,
            p.moved_by,
        )
        for p in placed
    ]
    holder, held = _find(placed, frame)
    masses.append(
        (payload, holder.position + holder.rotation @ np.array(held.position), np.zeros((3, 3)), holder.moved_by)
    )
    return masses


def _find(placed: list[Placed], name: str) -> tuple[Placed, Frame]:
    for p in placed:
        for frame in p.body.frames:
            if frame.name == name:
                return p, frame
    raise unknown("frame", name, [f.name for p in placed for f in p.body.frames])
