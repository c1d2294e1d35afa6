"""What a UR arm looks like, and where it may hit something: tubes and joint housings, drawn from primitives.

Every joint is a pair of housings that meet half way between two links' planes, with a dark ring at the seam and a blue
cap at the outer end. Each link collides by a few capsules that its drawing covers. Those of links that share a joint
overlap, and engines leave out such pairs; the standing foot and the shoulder, a pair engines do check, stay apart.

Radii and tube offsets are read off data sheets and models by eye: good to a centimetre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.asset import Geom, Vec3, turn_z_onto

SEAM = 0.004  # half length of a seam's ring [m]
CAP = 0.010  # length of a blue cap [m]


@dataclass(frozen=True)
class ArmShape:
    """Radii [m] of the foot, of the housings at shoulder, elbow and wrists, and of the two tubes; offsets of the tubes.

    Attributes:
        base_top: height at which the shoulder turns on the base.
        shoulder_offset: of the upper arm's tube from the arm's middle plane, along the shoulder lift axis.
        elbow_offset: of the forearm's tube, likewise.
    """

    foot: float
    base_top: float
    shoulder: float
    elbow: float
    wrist: float
    upper_arm: float
    forearm: float
    shoulder_offset: float
    elbow_offset: float


def link_geoms(
    s: ArmShape, d1: float, a2: float, a3: float, d4: float, d5: float, d6: float
) -> tuple[tuple[Geom, ...], ...]:
    """The geoms of the base and the six links, each in its link's frame; lengths are the arm's DH parameters [m]."""
    upper, lower = s.shoulder_offset, s.elbow_offset
    shoulder_seam, elbow_seam = upper / 2, (upper + lower) / 2
    wrist_1_seam, wrist_2_seam, wrist_3_seam = (lower - d4) / 2, d5 / 2, d6 / 2
    r, e, w = s.shoulder, s.elbow, s.wrist

    base = _Link("base")
    base.tube((0, 0, 0), (0, 0, 0.022), s.foot, "arm_metal")
    base.tube((0, 0, 0.022), (0, 0, s.base_top - SEAM), r)
    base.seam((0, 0, s.base_top), (0, 0, 1), r)
    base.collide_cylinder((0, 0, 0), (0, 0, s.base_top - SEAM), r + 0.004)

    shoulder = _Link("shoulder")
    shoulder.tube((0, 0, s.base_top - d1 + SEAM), (0, 0, 0), r)
    shoulder.ball((0, 0, 0), r)
    shoulder.tube((0, 0, 0), (0, -shoulder_seam + SEAM, 0), r)
    shoulder.cap((0, 0.55 * r, 0), (0, r + 0.004, 0), 0.72 * r)
    shoulder.seam((0, -shoulder_seam, 0), (0, 1, 0), r)
    shoulder.collide((0, 0, 0), (0, -shoulder_seam, 0), r)

    arm = _Link("upper_arm")
    arm.tube((0, 0, shoulder_seam + SEAM), (0, 0, upper + 0.75 * r), r)
    arm.cap((0, 0, upper + 0.75 * r), (0, 0, upper + 0.75 * r + CAP), 0.93 * r)
    arm.tube((0, 0, upper), (a2, 0, upper), s.upper_arm)
    arm.tube((-0.5 * r, 0, upper), (-1.25 * r, 0, upper), s.upper_arm + 0.004, "arm_metal")
    arm.tube((a2, 0, elbow_seam + SEAM), (a2, 0, upper + 0.85 * e), e)
    arm.cap((a2, 0, upper + 0.85 * e), (a2, 0, upper + 0.85 * e + CAP), 0.93 * e)
    arm.seam((a2, 0, elbow_seam), (0, 0, 1), e)
    arm.collide((0, 0, upper - 0.2 * r), (0, 0, upper + 0.1 * r), r)
    arm.collide((0, 0, upper), (a2, 0, upper), s.upper_arm)
    arm.collide((a2, 0, elbow_seam + 0.7 * e), (a2, 0, upper + 0.1 * e), e)

    forearm = _Link("forearm")
    forearm.tube((0, 0, lower - 0.85 * e), (0, 0, elbow_seam - SEAM), e)
    forearm.cap((0, 0, lower - 0.85 * e), (0, 0, lower - 0.85 * e - CAP), 0.93 * e)
    forearm.tube((0, 0, lower), (a3, 0, lower), s.forearm)
    forearm.tube((-0.5 * e, 0, lower), (-1.3 * e, 0, lower), s.forearm + 0.004, "arm_metal")
    forearm.tube((a3, 0, lower - 0.95 * w), (a3, 0, d4 + wrist_1_seam - SEAM), w)
    forearm.cap((a3, 0, lower - 0.95 * w), (a3, 0, lower - 0.95 * w - 0.8 * CAP), 0.92 * w)
    forearm.collide((0, 0, lower), (0, 0, elbow_seam - 0.7 * e), e)
    forearm.collide((0, 0, lower), (a3, 0, lower), s.forearm)

    wrist_1 = _Link("wrist_1")
    wrist_1.seam((0, 0, wrist_1_seam), (0, 0, 1), w)
    wrist_1.tube((0, 0, wrist_1_seam + SEAM), (0, 0, 1.05 * w), w)
    wrist_1.cap((0, 0, 1.05 * w), (0, 0, 1.05 * w + 0.8 * CAP), 0.92 * w)
    wrist_1.tube((0, 0, 0), (0, -wrist_2_seam + SEAM, 0), w)
    wrist_1.collide((0, 0, wrist_1_seam + w), (0, 0, 0.2 * w), w)

    wrist_2 = _Link("wrist_2")
    wrist_2.seam((0, 0, -wrist_2_seam), (0, 0, 1), w)
    wrist_2.tube((0, 0, -wrist_2_seam + SEAM), (0, 0, 1.05 * w), w)
    wrist_2.cap((0, 0, 1.05 * w), (0, 0, 1.05 * w + 0.8 * CAP), 0.92 * w)
    wrist_2.tube((0, 0, 0), (0, wrist_3_seam - SEAM, 0), w)
    wrist_2.collide((0, 0, -wrist_2_seam + w), (0, 0, 0.2 * w), w)

    wrist_3 = _Link("wrist_3")
    wrist_3.seam((0, 0, -wrist_3_seam), (0, 0, 1), w)
    wrist_3.tube((0, 0, -wrist_3_seam + SEAM), (0, 0, -0.008), 0.98 * w)
    wrist_3.tube((0, 0, -0.008), (0, 0, 0), 0.8 * w, "arm_metal")
    wrist_3.collide((0, 0, -1.02 * w), (0, 0, -0.94 * w), 0.94 * w)

    return tuple(tuple(link.geoms) for link in (base, shoulder, arm, forearm, wrist_1, wrist_2, wrist_3))


class _Link:
    """Collects the geoms of one link and numbers them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.geoms: list[Geom] = []

    def tube(self, start: Vec3, end: Vec3, radius: float, look: str = "arm_grey") -> None:
        self._along("cylinder", start, end, radius, None, look)

    def cap(self, start: Vec3, end: Vec3, radius: float) -> None:
        self.tube(start, end, radius, "arm_blue")

    def seam(self, center: Vec3, axis: Vec3, radius: float) -> None:
        middle, reach = np.array(center), SEAM * np.array(axis)
        self.tube(_vec3(middle - reach), _vec3(middle + reach), radius + 0.001, "arm_metal")

    def ball(self, center: Vec3, radius: float) -> None:
        self.geoms.append(Geom(self._next(), "sphere", (radius,), center, look="arm_grey"))

    def collide(self, start: Vec3, end: Vec3, radius: float) -> None:
        self._along("capsule", start, end, radius, "metal", "arm_grey")

    def collide_cylinder(self, start: Vec3, end: Vec3, radius: float) -> None:
        self._along("cylinder", start, end, radius, "metal", "arm_grey")

    def _along(self, kind: str, start: Vec3, end: Vec3, radius: float, surface: str | None, look: str) -> None:
        a, b = np.array(start), np.array(end)
        size = (radius, float(np.linalg.norm(b - a)) / 2)
        hidden = surface is not None
        turn = turn_z_onto(_vec3(b - a))
        self.geoms.append(Geom(self._next(), kind, size, _vec3((a + b) / 2), turn, surface, look, hidden))

    def _next(self) -> str:
        return f"{self.name}_{len(self.geoms)}"


def _vec3(values: NDArray[np.float64]) -> Vec3:
    x, y, z = values.tolist()
    return x, y, z
