"""The robot arms: Universal Robots UR10e and UR20, from their published figures.

Kinematics, masses, inertias and limits: Universal Robots ROS 2 description (config/ur10e, config/ur20; BSD-3); the
base's mass is marked "might be incorrect" there, which does not matter for an arm that stands still. Armature, damping,
friction and servo gains are not published: the values here are estimates for harmonic drives of that size, and knobs.

The base frame is the one the controller calls "base": with all joints at zero the arm lies stretched out along its -x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.arm_shape import ArmShape, link_geoms
from assets.asset import IDENTITY, Body, Frame, Inertia, Joint, Quat, Vec3, inertia_matrix, inertia_tuple, rpy
from assets.asset import rotation_matrix as matrix
from assets.errors import unknown
from assets.statics import joint_inertias

LINKS = ("base", "shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3")
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
FLANGE = "flange"

# Natural frequency of the joint servos [rad/s], critically damped: an estimate. It stays far from the limit of a 2 ms
# step (2 / 0.002 = 1000 rad/s) even where a light pose has a fraction of the inertia that the gains are made for.
SERVO_FREQUENCY = 70.0


@dataclass(frozen=True)
class Arm:
    """A six-axis arm.

    Attributes:
        name: key in `ARMS`.
        body: tree of the base and six links (`LINKS`); its last link carries the frame `flange`, z out of the flange.
        home: joint positions at rest, tool pointing down, the arm turned towards its base's +x [rad].
        payload: what it may carry, gripper included [kg].
        reach: from the shoulder axis to the wrist's centre, as published [m].
    """

    name: str
    body: Body
    home: tuple[float, ...]
    payload: float
    reach: float
    flange: str = FLANGE

    @property
    def joints(self) -> tuple[Joint, ...]:
        """The joints, from the base to the flange."""
        return self.body.joints()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Their names, from the base to the flange."""
        return tuple(j.name for j in self.joints)

    @property
    def limits(self) -> NDArray[np.float64]:
        """Lowest and highest joint positions [rad], (6, 2)."""
        return np.array([j.range for j in self.joints])


@dataclass(frozen=True)
class _Figures:
    """An arm's published figures; lists run from the base or the first joint on, units as in the module's source."""

    d1: float
    a2: float
    a3: float
    d4: float
    d5: float
    d6: float
    masses: tuple[float, ...]
    centers_of_mass: tuple[Vec3, ...]
    inertias: tuple[Inertia, ...]
    velocity_limits: tuple[float, ...]  # [deg/s]
    torque_limits: tuple[float, ...]
    payload: float
    reach: float
    armature: tuple[float, ...]  # estimate: rotor and wave generator of the size, times the ratio 101 squared
    damping: tuple[float, ...]  # estimate: at full speed about a tenth of the torque limit
    friction: tuple[float, ...]  # estimate: 2 to 4 % of the torque limit
    shape: ArmShape


# The source states links 1, 4 and 5's inertia in the link's frame turned by this roll.
_INERTIA_ROLL = (math.pi / 2, 0.0, 0.0, math.pi / 2, -math.pi / 2, 0.0)

_UR10E = _Figures(
    d1=0.1807, a2=-0.6127, a3=-0.57155, d4=0.17415, d5=0.11985, d6=0.11655,
    masses=(4.0, 7.369, 13.051, 3.989, 2.1, 1.98, 0.615),
    centers_of_mass=(
        (0.021, -0.027, 0.0), (-0.2327, 0.0, 0.158), (-0.33155, 0.0, 0.068),
        (0.0, -0.018, 0.007), (0.0, 0.018, -0.007), (0.0, 0.0, -0.026),
    ),
    inertias=(
        (0.03408, 0.00002, -0.00425, 0.03529, 0.00008, 0.02156),
        (0.02814, 0.00005, -0.01561, 0.77068, 0.00002, 0.76943),
        (0.01014, 0.00008, 0.00916, 0.30928, 0.0, 0.30646),
        (0.00296, -0.00001, 0.0, 0.00222, -0.00024, 0.00258),
        (0.00296, -0.00001, 0.0, 0.00222, -0.00024, 0.00258), (0.00040, 0.0, 0.0, 0.00041, 0.0, 0.00034),
    ),
    velocity_limits=(120, 120, 180, 180, 180, 180),
    torque_limits=(330, 330, 150, 56, 56, 56),
    payload=12.5, reach=1.30,
    armature=(1.5, 1.5, 0.8, 0.2, 0.2, 0.2),
    damping=(14.0, 14.0, 6.0, 2.0, 2.0, 2.0),
    friction=(9.0, 9.0, 5.0, 2.0, 2.0, 2.0),
    shape=ArmShape(
        foot=0.095, base_top=0.090, shoulder=0.0755, elbow=0.062, wrist=0.046,
        upper_arm=0.056, forearm=0.047, shoulder_offset=0.1762, elbow_offset=0.0393,
    ),
)  # fmt: skip

_UR20 = _Figures(
    d1=0.2363, a2=-0.862, a3=-0.7287, d4=0.201, d5=0.1593, d6=0.1543,
    masses=(4.0, 16.343, 29.632, 7.879, 3.054, 3.126, 0.926),
    centers_of_mass=(
        (0.0, -0.0062, -0.061), (-0.3394, 0.0, 0.2098), (-0.4053, 0.0, 0.0604),
        (0.0, -0.0393, -0.0026), (0.0, 0.0379, -0.0024), (0.0, 0.0, -0.0293),
    ),
    inertias=(
        (0.08866, -0.00011, -0.00011, 0.07632, 0.00720, 0.08418),
        (0.14670, 0.00019, -0.05163, 4.66590, 0.00004, 4.63480),
        (0.02612, -0.00005, -0.02898, 0.75763, -0.00001, 0.75327),
        (0.00555, -0.00001, -0.00002, 0.00537, 0.00036, 0.00402),
        (0.00586, -0.00001, -0.00002, 0.00578, -0.00037, 0.00427), (0.00092, 0.0, 0.0, 0.00091, 0.0, 0.00117),
    ),
    velocity_limits=(120, 120, 150, 210, 210, 210),
    torque_limits=(738, 738, 433, 107, 107, 107),
    payload=20.0, reach=1.75,
    armature=(4.0, 4.0, 2.0, 0.4, 0.4, 0.4),
    damping=(30.0, 30.0, 16.0, 3.0, 3.0, 3.0),
    friction=(20.0, 20.0, 12.0, 3.5, 3.5, 3.5),
    shape=ArmShape(
        foot=0.1225, base_top=0.120, shoulder=0.100, elbow=0.082, wrist=0.058,
        upper_arm=0.072, forearm=0.060, shoulder_offset=0.260, elbow_offset=0.043,
    ),
)  # fmt: skip

# The tool points down where the second to fourth joints add up to -90 degrees and the fifth is at -90.
_HOME = (math.pi, -1.85, 2.1, -math.pi / 2 + 1.85 - 2.1, -math.pi / 2, 0.0)


def ur10e() -> Arm:
    """Universal Robots UR10e: 12.5 kg, 1.30 m."""
    return _arm("ur10e", _UR10E)


def ur20() -> Arm:
    """Universal Robots UR20: 20 kg, 1.75 m."""
    return _arm("ur20", _UR20)


ARMS: dict[str, Callable[[], Arm]] = {"ur10e": ur10e, "ur20": ur20}


def arm_named(name: str) -> Arm:
    """The arm of that name; InputError that names the nearest ones if there is none."""
    if name not in ARMS:
        raise unknown("arm", name, ARMS)
    return ARMS[name]()


def _arm(name: str, figures: _Figures) -> Arm:
    passive = _tree(figures, ((0.0, 0.0),) * 6)
    # Gains for the inertia each joint feels at home with half the payload; a heavier pose is slower, a lighter faster.
    felt = joint_inertias(passive, _HOME, FLANGE, figures.payload / 2) + figures.armature
    gains = tuple((float(SERVO_FREQUENCY**2 * i), float(2 * SERVO_FREQUENCY * i)) for i in felt)
    return Arm(name, _tree(figures, gains), _HOME, figures.payload, figures.reach)


def _tree(f: _Figures, gains: tuple[tuple[float, float], ...]) -> Body:
    """The bodies, built from the flange back to the base; `gains` are each joint's servo stiffness and damping."""
    positions: tuple[Vec3, ...] = (
        (0, 0, 0), (0, 0, f.d1), (0, 0, 0), (f.a2, 0, 0), (f.a3, 0, f.d4), (0, -f.d5, 0), (0, f.d6, 0),
    )  # fmt: skip
    quarter, back = rpy(math.pi / 2, 0, 0), rpy(math.pi / 2, math.pi, math.pi)
    turns: tuple[Quat, ...] = (IDENTITY, IDENTITY, quarter, IDENTITY, IDENTITY, quarter, back)
    geoms = link_geoms(f.shape, f.d1, f.a2, f.a3, f.d4, f.d5, f.d6)
    child: Body | None = None
    for i in range(6, 0, -1):
        roll = matrix(rpy(_INERTIA_ROLL[i - 1], 0, 0))
        joint = Joint(
            name=JOINTS[i - 1],
            axis=(0, 0, 1),
            range=(-math.pi, math.pi) if i == 3 else (-2 * math.pi, 2 * math.pi),
            velocity_limit=math.radians(f.velocity_limits[i - 1]),
            torque_limit=f.torque_limits[i - 1],
            armature=f.armature[i - 1],
            damping=f.damping[i - 1],
            friction=f.friction[i - 1],
            stiffness=gains[i - 1][0],
            servo_damping=gains[i - 1][1],
        )
        child = Body(
            name=LINKS[i],
            position=positions[i],
            quaternion=turns[i],
            mass=f.masses[i],
            center_of_mass=f.centers_of_mass[i - 1],
            inertia=inertia_tuple(roll @ inertia_matrix(f.inertias[i - 1]) @ roll.T),
            joint=joint,
            geoms=geoms[i],
            frames=(Frame(FLANGE),) if i == 6 else (),
            children=(child,) if child else (),
        )
    assert child is not None
    radius, height = f.shape.foot, f.shape.base_top
    across = f.masses[0] * (3 * radius**2 + height**2) / 12
    return Body(
        name=LINKS[0],
        mass=f.masses[0],
        center_of_mass=(0, 0, height / 2),
        inertia=(across, 0, 0, across, 0, f.masses[0] * radius**2 / 2),
        geoms=geoms[0],
        children=(child,),
    )
