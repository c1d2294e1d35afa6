"""Parts of free form, whose collision pieces CoACD makes: casting, bagged part, star knob.

Run `python -m assets.parts` after a change here: it decomposes them again and writes the pieces to `free_form.json`.
"""

from __future__ import annotations

import numpy as np

from assets.parts.base import MAX_HULLS, Shape, family
from assets.parts.solids import box, cylinder, extruded, piece, rounded, turned
from assets.proxies.gate import Limits
from assets.proxies.solids import Points, Solid

# Closer than the default: the pieces are made once, not whenever somebody brings a mesh, so time is no object. And few
# corners, since a face of many rocks on the few contacts that an engine keeps of it.
CLOSE = Limits(missing_volume=0.06, hulls=MAX_HULLS, vertices=40)


@family("casting", surface="metal", look="cast_iron", density=7200.0, limits=CLOSE)
def casting(size: int) -> Shape:
    """A pillow block's housing as cast: a foot with two ears, a boss with a blind seat, two ribs, an oiler's boss."""
    scale = (0.80, 0.90, 1.0)[size]
    foot = extruded(rounded(0.110, 0.034, 0.010), 0.012, top=0.96).translate((0, 0, 0.006))
    boss = cylinder(0.026, 0.032, (0, 0, 0.034), axis="y") + box((0.046, 0.030, 0.034), (0, 0, 0.017))
    ribs = piece(
        [
            (x, y, z)
            for y in (-0.004, 0.004)
            for x, z in ((-0.044, 0.010), (0.044, 0.010), (0.018, 0.040), (-0.018, 0.040))
        ]
    )
    solid = foot + boss + ribs + cylinder(0.006, 0.012, (0, 0, 0.061), top=0.005)
    for side in (-1, 1):
        solid -= cylinder(0.015, 0.008, (0, side * 0.016, 0.034), axis="y")
        solid -= extruded(rounded(0.012, 0.008, 0.0039), 0.06).translate((side * 0.041, 0, 0))
    return Shape(solid.scale((scale, scale, scale)))


@family("bag", surface="plastic", look="clear_bag", density=2000.0, limits=CLOSE)
def bag(size: int) -> Shape:
    """A stand-in for small hardware in a plastic bag: a rigid, lumpy pillow with flat sealed ends."""
    length, width, thick = (0.085, 0.100, 0.115)[size], (0.050, 0.056, 0.062)[size], (0.028, 0.032, 0.036)[size]

    def crumple(points: Points) -> Points:
        x, y, z = points.T
        # From the ball to a pillow: a squarer outline, and ends that flatten into a seal.
        x, y = np.sign(x) * np.abs(x) ** 0.75, np.sign(y) * np.abs(y) ** 0.8
        lumps = (
            0.10 * np.sin(4.1 * x + 1.3 * size + 0.6) * np.cos(3.3 * y + 0.4)
            + 0.07 * np.sin(7.3 * x - 5.1 * y + 1.7 * size)
            + 0.05 * np.cos(9.7 * y + 6.1 * x + 2.3 * np.sign(z))
        )
        fullness = (1 - 0.55 * np.abs(x) ** 3) * (1 + 1.6 * lumps)
        return np.stack([length / 2 * x, width / 2 * y * (1 + 0.25 * lumps), thick / 2 * z * fullness], 1)

    return Shape(Solid.sphere(1.0, 56).warp_batch(crumple))


@family("knob", surface="plastic", look="gripper_dark", density=1900.0, limits=CLOSE)
def knob(size: int) -> Shape:
    """A star knob: five lobes on a hub with a threaded steel insert."""
    r, height = (0.026, 0.029, 0.032)[size], (0.034, 0.037, 0.040)[size]
    rim = 0.016
    star = turned(
        [
            (0.0, 0.0),
            (0.80 * r, 0.0),
            (0.95 * r, 0.003),
            (r, 0.5 * rim),
            (0.94 * r, rim - 0.003),
            (0.75 * r, rim),
            (0.0, rim + 0.002),
        ],
        sides=80,
    )

    def lobes(points: Points) -> Points:
        x, y, z = points.T
        angle, far = np.arctan2(y, x), np.hypot(x, y) / r
        swell = 1 + 0.13 * np.cos(5 * angle) * far**2 - 0.07 * far**2
        return np.stack([x * swell, y * swell, z], 1)

    hub = cylinder(0.52 * r, height - rim, (0, 0, -(height - rim) / 2 + 0.001))
    hub -= cylinder(0.24 * r, 0.006, (0, 0, -(height - rim)))
    return Shape(star.warp_batch(lobes) + hub)
