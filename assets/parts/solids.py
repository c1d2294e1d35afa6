"""Solids that parts are built from: thin helpers over manifold3d, whose `+` and `-` unite and cut. All in metres.

What is seen is smooth (48 sides a turn); what collides is convex with few vertices (`prism`, `ring_pieces`, `piece`),
its corners moved out so far that areas match those of the round shape. Give pieces sharp edges and few corners, also
where the look has them broken: of a face with many corners an engine keeps four contacts, on which a part may rock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from manifold3d import CrossSection

from assets.proxies.solids import Points, Solid

Point = tuple[float, float, float]
Profile = Sequence[tuple[float, float]]

SIDES = 48
# Turns that lay local z along the named axis [degrees about x, y, z].
_TURNS = {"x": (0.0, 90.0, 0.0), "y": (-90.0, 0.0, 0.0), "z": (0.0, 0.0, 0.0)}


def box(size: Point, position: Point = (0, 0, 0)) -> Solid:
    """A box of full edge lengths `size`, centred at `position`."""
    return Solid.cube(size, True).translate(position)


def cylinder(
    radius: float, length: float, position: Point = (0, 0, 0), axis: str = "z", top: float = -1.0, sides: int = SIDES
) -> Solid:
    """A cylinder centred at `position`; a cone's frustum where `top`, the radius at its far end, is given."""
    return Solid.cylinder(length, radius, top, sides, True).rotate(_TURNS[axis]).translate(position)


def turned(profile: Profile, sides: int = SIDES) -> Solid:
    """What a lathe makes: the closed `profile` of (radius, height), counter-clockwise, turned about z."""
    return Solid.revolve(CrossSection([np.array(profile)]), sides)


def extruded(outline: Points | Profile, height: float, top: float = 1.0) -> Solid:
    """The outline (n, 2), counter-clockwise, along z, centred; its far end scaled by `top` (a casting's draft)."""
    return Solid.extrude(CrossSection([np.array(outline)]), height, 0, 0.0, (top, top)).translate((0, 0, -height / 2))


def circle(radius: float, sides: int = SIDES, start: float = 0.0) -> Points:
    """Corners (sides, 2) of a regular polygon whose corners lie at `radius`, the first at angle `start` [rad]."""
    angles = start + 2 * np.pi * np.arange(sides) / sides
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def rounded(length: float, width: float, radius: float, steps: int = 6) -> Points:
    """Outline (4 (steps + 1), 2) of a rectangle with rounded corners; `steps=1` chamfers them."""
    corners = []
    for quarter, (x, y) in enumerate(((1, 1), (-1, 1), (-1, -1), (1, -1))):
        angles = np.pi / 2 * (quarter + np.arange(steps + 1) / steps)
        center = (x * (length / 2 - radius), y * (width / 2 - radius))
        corners.append(center + radius * np.stack([np.cos(angles), np.sin(angles)], 1))
    return np.concatenate(corners)


def chamfered(outline: Points, height: float, edge: float) -> Solid:
    """The convex outline along z, centred, its end faces' rims broken by a chamfer of `edge`."""
    inner = CrossSection([outline]).offset(-edge).to_polygons()[0]
    return piece(layer(inner, height / 2), layer(outline, height / 2 - edge), mirrored=True)


def layer(outline: Points, z: float) -> Points:
    """The outline (n, 2) as points (n, 3) at height z."""
    return np.column_stack([outline, np.full(len(outline), z)])


def piece(*points: Points | Iterable[Point], mirrored: bool = False) -> Solid:
    """The convex hull of all the points (k, 3); with `mirrored` of their mirror images in z = 0 as well."""
    every = np.concatenate([np.asarray(p, dtype=np.float64).reshape(-1, 3) for p in points])
    return Solid.hull_points(np.concatenate([every, every * (1, 1, -1)]) if mirrored else every)


def even(sides: int) -> float:
    """Distance of a regular polygon's corners from its middle at which its area is that of the unit circle."""
    return float(np.sqrt(2 * np.pi / (sides * np.sin(2 * np.pi / sides))))


def prism(radius: float, length: float, position: Point = (0, 0, 0), axis: str = "z", sides: int = 12) -> Solid:
    """A cylinder's convex piece: a prism of the same volume, standing on a flat when it lies."""
    outline = circle(radius * even(sides), sides, np.pi / sides)
    return extruded(outline, length).rotate(_TURNS[axis]).translate(position)


def spindle(profile: Profile, sides: int = 12) -> Solid:
    """The convex piece of a turned body: hull of regular polygons, one at each (radius, height) of the profile."""
    return piece(*(layer(circle(radius * even(sides), sides, np.pi / sides), z) for radius, z in profile))


def ring_pieces(outer: Profile, bore: Profile, count: int, steps: int = 3) -> tuple[Solid, ...]:
    """A ring as `count` convex sectors.

    Args:
        outer: (radius, height) along its outside, convex.
        bore: the same along its inside, bottom and top. Each sector has a flat there, so that the bore is a polygon
            of `count` sides and of the round bore's area.
        count: of sectors.
        steps: facets of a sector's outside.
    """
    half = np.pi / count
    angles = np.linspace(-half, half, steps + 1)
    wide, narrow = even(count * steps), even(count)
    points = [(r * wide * np.cos(a), r * wide * np.sin(a), z) for r, z in outer for a in angles]
    points += [(r * narrow * np.cos(a), r * narrow * np.sin(a), z) for r, z in bore for a in (-half, half)]
    sector = piece(points)
    return tuple(sector.rotate((0, 0, 360.0 * k / count)) for k in range(count))
