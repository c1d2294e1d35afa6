"""A free-flying hand that shows how things are done: seen, never felt. It holds a box between thumb and fingers.

Its frame: in the middle between the fingertips' ends, z up, the fingers facing each other along y.
"""

from __future__ import annotations

from assets.asset import Body, Geom, turn_z_onto

REACH = 0.085  # of the fingers down the sides of what they hold [m]

_FINGER, _PALM = 0.013, 0.022  # radius of a finger, half thickness of the palm [m]


def hand(name: str, span: float, look: str = "yellow") -> Body:
    """A hand whose fingers are `span` [m] apart."""
    y, top = span / 2 + _FINGER, REACH + _PALM
    across = turn_z_onto((0, 1, 0))
    geoms = [
        Geom(f"{name}_palm", "box", (0.055, 0.050, _PALM), (0, 0, top), look=look),
        Geom(f"{name}_wrist", "cylinder", (0.030, 0.070), (0, 0, top + _PALM + 0.070), look="plastic_black"),
    ]
    # Four fingers on one side, the thumb on the other.
    for part, x, side in (*((f"finger{k}", 0.030 * (k - 1.5), 1) for k in range(4)), ("thumb", 0.0, -1)):
        radius = _FINGER if side > 0 else 1.3 * _FINGER
        geoms.append(Geom(f"{name}_{part}_down", "capsule", (radius, REACH / 2), (x, side * y, REACH / 2), look=look))
        size, at = (radius, (y - 0.03) / 2), (x, side * (y + 0.03) / 2, top)
        geoms.append(Geom(f"{name}_{part}_across", "capsule", size, at, across, look=look))
    return Body(name=name, geoms=tuple(geoms))
