"""Furniture of the tote cell: the table on which a tote is emptied, the bin for its parts, the dolly for empty totes.

All of it stands fixed. Table and dolly have their frame in the middle of their top, z up; the bin in the middle of its
floor's underside.
"""

from __future__ import annotations

from assets.asset import Body, Geom, Vec3
from assets.errors import InputError

TABLE = (0.56, 0.34)  # length and width of the top [m]: large totes stand out a little, a gripper hangs beside them
DOLLY = (0.62, 0.42)  # of its platform [m]: a tote of 600 x 400 mm with a centimetre around
BIN: Vec3 = (0.62, 0.44, 0.30)  # inside [m]
BIN_WALL = 0.020  # thickness of its walls and floor [m]

_SLAB = 0.030  # thickness of tops [m]
_WHEEL = 0.040  # radius [m]


def table(height: float) -> Body:
    """A table on one column, its top with an anti-slip mat `height` [m] above the ground."""
    if not 0.1 <= height <= 1.5:
        raise InputError(f"table: a top {height} m above the ground; it must lie between 0.1 and 1.5 m")
    x, y = TABLE[0] / 2, TABLE[1] / 2
    foot = 0.020
    column = (height - _SLAB - foot) / 2
    return Body(
        name="table",
        geoms=(
            _slab("table_top", x, y),
            _edge("table", x, y),
            _box("table_column", (0.06, 0.06, column), (0, 0, -_SLAB - column), "metal", "steel"),
            _box("table_foot", (0.22, 0.18, foot / 2), (0, 0, foot / 2 - height), "metal", "arm_metal"),
        ),
    )


def dolly(height: float) -> Body:
    """A dolly, its platform with an anti-slip mat `height` [m] above the ground, its wheels locked."""
    if not 0.12 <= height <= 1.0:
        raise InputError(f"dolly: a platform {height} m above the ground; it must lie between 0.12 and 1 m")
    x, y = DOLLY[0] / 2, DOLLY[1] / 2
    leg = (height - _SLAB) / 2
    legs: list[Geom] = []
    for end, u in (("front", 1), ("back", -1)):
        for side, v in (("left", 1), ("right", -1)):
            at_x, at_y, name = u * (x - 0.06), v * (y - 0.06), f"dolly_{{}}_{end}_{side}"
            legs.append(_box(name.format("leg"), (0.02, 0.02, leg), (at_x, at_y, -_SLAB - leg), "metal", "steel"))
            wheel = (_WHEEL, 0.012)
            place: Vec3 = (at_x, at_y + v * 0.032, _WHEEL - height)
            turn = (0.5**0.5, 0.5**0.5, 0.0, 0.0)  # its axle along y
            legs.append(Geom(name.format("wheel"), "cylinder", wheel, place, turn, look="gripper_dark"))
    return Body(name="dolly", geoms=(_slab("dolly_top", x, y), _edge("dolly", x, y), *legs))


def bin_box() -> Body:
    """An open bin for parts; it takes what totes of 600 x 400 mm hold."""
    x, y = BIN[0] / 2, BIN[1] / 2
    wall, high = BIN_WALL / 2, (BIN[2] + BIN_WALL) / 2
    places: tuple[tuple[str, Vec3, Vec3], ...] = (
        # Down into its stand: nothing is pushed through a thick floor.
        ("floor", (x, y, 0.04), (0, 0, 2 * wall - 0.04)),
        ("front", (wall, y + BIN_WALL, high), (x + wall, 0, high)),
        ("back", (wall, y + BIN_WALL, high), (-x - wall, 0, high)),
        ("left", (x, wall, high), (0, y + wall, high)),
        ("right", (x, wall, high), (0, -y - wall, high)),
    )
    return Body(name="bin", geoms=tuple(_box(f"bin_{n}", s, p, "plastic", "bin_green") for n, s, p in places))


def _box(name: str, half: Vec3, position: Vec3, surface: str, look: str) -> Geom:
    return Geom(name, "box", half, position, surface=surface, look=look)


def _slab(name: str, x: float, y: float) -> Geom:
    """A top of half extents x and y, covered by a mat."""
    return _box(name, (x, y, _SLAB / 2), (0, 0, -_SLAB / 2), "mat", "mat")


def _edge(name: str, x: float, y: float) -> Geom:
    """A frame around the top that is only seen, just below the mat."""
    depth = _SLAB - 0.004
    return Geom(f"{name}_edge", "box", (x + 0.001, y + 0.001, depth / 2), (0, 0, -0.004 - depth / 2), look="aluminium")
