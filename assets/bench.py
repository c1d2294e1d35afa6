"""A work bench: a wooden top, painted grey, on four legs, with places marked on it. It stands fixed.

Its frame: in the middle of its top, z up, x away from the arm.
"""

from __future__ import annotations

from collections.abc import Sequence

from assets.asset import Body, Geom
from assets.errors import InputError

TOP = (0.74, 1.44)  # depth and length of the top [m]
MARK = (0.29, 0.23)  # outer size of a mark [m]: cartons are a little smaller

_SLAB, _LEG, _LINE, _PROUD = 0.036, 0.03, 0.012, 0.0006  # thickness of top, legs, lines; how far a line stands out [m]


def bench(height: float, marks: Sequence[tuple[float, float]] = ()) -> Body:
    """A bench with its top `height` [m] above the floor and a frame drawn around each of the places `marks` [m]."""
    if not 0.2 <= height <= 1.2:
        raise InputError(f"bench: a top {height} m above the floor; it must lie between 0.2 and 1.2 m")
    x, y = TOP[0] / 2, TOP[1] / 2
    leg = (height - _SLAB) / 2
    geoms = [Geom("bench_top", "box", (x, y, _SLAB / 2), (0, 0, -_SLAB / 2), surface="wood", look="steel")]
    for end, u in (("front", 1), ("back", -1)):
        for side, v in (("left", 1), ("right", -1)):
            at = (u * (x - 0.05), v * (y - 0.05), -_SLAB - leg)
            geoms.append(
                Geom(f"bench_leg_{end}_{side}", "box", (_LEG, _LEG, leg), at, surface="wood", look="pallet_wood")
            )
    for k, (u, v) in enumerate(marks):
        along, across = MARK[0] / 2, MARK[1] / 2
        for side, sign in (("a", 1), ("b", -1)):
            size, at = (along, _LINE / 2, _PROUD), (u, v + sign * (across - _LINE / 2), 0)
            geoms.append(Geom(f"mark{k}_long_{side}", "box", size, at, look="white"))
            size, at = (_LINE / 2, across, _PROUD), (u + sign * (along - _LINE / 2), v, 0)
            geoms.append(Geom(f"mark{k}_short_{side}", "box", size, at, look="white"))
    return Body(name="bench", geoms=tuple(geoms))
