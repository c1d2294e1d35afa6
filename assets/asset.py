"""What an asset is: a tree of bodies made of primitives, with masses, joints and named frames. Free of any engine.

SI units, radians, quaternions wxyz. A geom with a `surface` collides, one without is only seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError, unknown

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]
Inertia = tuple[float, float, float, float, float, float]

IDENTITY: Quat = (1.0, 0.0, 0.0, 0.0)
GEOM_SIZES = {"box": 3, "cylinder": 2, "capsule": 2, "sphere": 1, "mesh": 0}
JOINT_KINDS = ("hinge", "slide")


@dataclass(frozen=True)
class Geom:
    """A primitive, placed in its body.

    Attributes:
        name: unique within an asset.
        kind: "box" (size: three half extents), "cylinder" or "capsule" (radius, half length, along local z; a
            capsule's half length leaves its caps out), "sphere" (radius) or "mesh" (no size: the mesh of that name).
        size: [m], as said above.
        position: centre in the body's frame [m].
        quaternion: orientation in the body's frame, wxyz.
        surface: name in `assets.materials`; None: visual only, never collides.
        look: name in `assets.looks`.
        hidden: a collision proxy that the visual geoms cover: not to be drawn.
        mesh: name of a mesh of the scene, for the kind "mesh"; where it collides, the engine takes its convex hull.
    """

    name: str
    kind: str
    size: tuple[float, ...]
    position: Vec3 = (0.0, 0.0, 0.0)
    quaternion: Quat = IDENTITY
    surface: str | None = None
    look: str = "grey"
    hidden: bool = False
    mesh: str = ""

    def __post_init__(self) -> None:
        if self.kind not in GEOM_SIZES:
            raise unknown(f"kind of geom in {self.name!r}", self.kind, GEOM_SIZES)
        if len(self.size) != GEOM_SIZES[self.kind]:
            raise InputError(
                f"geom {self.name!r}: a {self.kind} has {GEOM_SIZES[self.kind]} sizes, {len(self.size)} were given"
            )
        if not all(math.isfinite(s) and s > 0 for s in self.size):
            raise InputError(f"geom {self.name!r}: size {self.size} must be positive and finite [m]")


@dataclass(frozen=True)
class Joint:
    """A hinge or a slide through its body's origin, driven by a position servo where it has a stiffness.

    Units are those of a hinge; for a slide read m for rad and N for N m.

    Attributes:
        name: unique within an asset.
        axis: unit vector in the body's frame.
        range: lowest and highest position [rad].
        velocity_limit: [rad/s].
        torque_limit: [N m], either way.
        armature: inertia of rotor and gear as felt at the joint [kg m^2].
        damping: viscous friction [N m s/rad].
        friction: Coulomb friction [N m].
        stiffness: the servo's gain on position error [N m/rad].
        servo_damping: the servo's gain on velocity [N m s/rad].
        kind: "hinge" or "slide".
        mimics: name of the joint whose position it copies; it has no servo of its own then.
    """

    name: str
    axis: Vec3
    range: tuple[float, float]
    velocity_limit: float
    torque_limit: float
    armature: float = 0.0
    damping: float = 0.0
    friction: float = 0.0
    stiffness: float = 0.0
    servo_damping: float = 0.0
    kind: str = "hinge"
    mimics: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in JOINT_KINDS:
            raise unknown(f"kind of joint {self.name!r}", self.kind, JOINT_KINDS)
        if self.mimics is not None and self.stiffness != 0:
            raise InputError(f"joint {self.name!r} mimics {self.mimics!r}: it cannot have a servo of its own")


@dataclass(frozen=True)
class Frame:
    """A named frame on a body, for tools, sensors and targets."""

    name: str
    position: Vec3 = (0.0, 0.0, 0.0)
    quaternion: Quat = IDENTITY


@dataclass(frozen=True)
class Body:
    """A rigid body and what hangs on it.

    Attributes:
        name: unique within an asset.
        position: origin in the parent's frame [m].
        quaternion: orientation in the parent's frame, wxyz.
        mass: [kg]; 0 for a body that never moves.
        center_of_mass: in body axes [m].
        inertia: xx, xy, xz, yy, yz, zz about the centre of mass, in body axes [kg m^2].
        joint: how it moves against its parent; None: fixed to it.
        free: it floats freely in the world (only for the root of an asset, and without a joint).
        geoms, frames, children: what it consists of.
    """

    name: str
    position: Vec3 = (0.0, 0.0, 0.0)
    quaternion: Quat = IDENTITY
    mass: float = 0.0
    center_of_mass: Vec3 = (0.0, 0.0, 0.0)
    inertia: Inertia = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    joint: Joint | None = None
    free: bool = False
    geoms: tuple[Geom, ...] = ()
    frames: tuple[Frame, ...] = ()
    children: tuple[Body, ...] = ()

    def __post_init__(self) -> None:
        if self.free and self.joint is not None:
            raise InputError(f"body {self.name!r}: it is either free or has a joint, not both")
        if not math.isfinite(self.mass) or self.mass < 0:
            raise InputError(f"body {self.name!r}: mass {self.mass} kg must be positive, or 0 if it never moves")
        if self.mass > 0:
            low, middle, high = np.linalg.eigvalsh(inertia_matrix(self.inertia))
            if low <= 0 or low + middle < high * (1 - 1e-6):
                raise InputError(
                    f"body {self.name!r}: inertia {self.inertia} belongs to no real body: its principal "
                    f"moments {low:.3g}, {middle:.3g}, {high:.3g} must be positive, the two smaller adding up to the "
                    f"largest or more"
                )

    def walk(self) -> Iterator[Body]:
        """This body and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> Body:
        """The body of that name in this tree; InputError if there is none."""
        for body in self.walk():
            if body.name == name:
                return body
        raise unknown("body", name, [b.name for b in self.walk()])

    def joints(self) -> tuple[Joint, ...]:
        """The joints of this tree, parents first."""
        return tuple(b.joint for b in self.walk() if b.joint is not None)

    def total_mass(self) -> float:
        """Mass of the whole tree [kg]."""
        return sum(b.mass for b in self.walk())

    def attach(self, parent: str, child: Body) -> Body:
        """This tree with `child` hung onto its body `parent` (the tool on an arm's last link, say)."""
        self.find(parent)
        return self._attach(parent, child)

    def _attach(self, parent: str, child: Body) -> Body:
        children = tuple(c._attach(parent, child) for c in self.children)
        return replace(self, children=(*children, child) if self.name == parent else children)


def inertia_matrix(inertia: Inertia) -> NDArray[np.float64]:
    """Six moments (xx, xy, xz, yy, yz, zz) as a symmetric matrix, (3, 3)."""
    xx, xy, xz, yy, yz, zz = inertia
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def inertia_tuple(matrix: NDArray[np.float64]) -> Inertia:
    """A symmetric matrix (3, 3) as six moments (xx, xy, xz, yy, yz, zz)."""
    xx, xy, xz, yy, yz, zz = (float(matrix[i, j]) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
    return xx, xy, xz, yy, yz, zz


def box_inertia(size: Vec3, mass: float) -> Inertia:
    """Inertia of a solid box of full edge lengths `size` [m] about its centre."""
    x, y, z = (s * s for s in size)
    return mass * (y + z) / 12, 0.0, 0.0, mass * (x + z) / 12, 0.0, mass * (x + y) / 12


def boxes_inertia(
    half: NDArray[np.float64], position: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre of mass [m], (3,), and inertia about it [kg m^2], (3, 3), of 1 kg spread over boxes of one density.

    Args:
        half: half extents [m], (n, 3).
        position: centres [m], (n, 3).
    """
    mass = half.prod(axis=1) / half.prod(axis=1).sum()
    center = mass @ position
    moments = np.zeros((3, 3))
    for m, h, d in zip(mass, half, position - center, strict=True):
        moments += m * (np.diag(h @ h - h * h) / 3 + d @ d * np.eye(3) - np.outer(d, d))
    return center, moments


def rpy(roll: float, pitch: float, yaw: float) -> Quat:
    """The quaternion (wxyz) of fixed-axis roll, pitch, yaw as URDF means them [rad]."""
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    cp, sp = math.cos(pitch / 2), math.sin(pitch / 2)
    cy, sy = math.cos(yaw / 2), math.sin(yaw / 2)
    return (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )


def rotation_matrix(quaternion: Quat) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of a unit quaternion wxyz."""
    w, x, y, z = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def turn_z_onto(direction: Vec3) -> Quat:
    """The shortest turn (wxyz) that lays local z along `direction`: for cylinders and capsules along an axis."""
    x, y, z = (d / math.dist(direction, (0, 0, 0)) for d in direction)
    if z < -1 + 1e-12:
        return 0.0, 1.0, 0.0, 0.0
    w = math.sqrt((1 + z) / 2)
    return w, -y / (2 * w), x / (2 * w), 0.0
