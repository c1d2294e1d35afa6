"""Rigid totes RL-KLT 6280, 6147, 4280 and 3147 (VDA 4500), and the folding tote 6410 folded into a pack.

A tote's frame: origin in the middle of its footprint at the underside of its foot, x along its length, y along its
width, z up. Outer sizes, inner length and width, stacking pitch and grip holes are the standard's; floor heights are
round estimates that give about its inner heights; tare weights are estimates, and knobs.

All kinds consist of the same boxes (`BOXES`), so that one body of a compiled scene can be any kind: `box_table` and
`inertia_table` say what to write into it. Walls are as thick as the real ones with their ribs and rim, 16 to 25 mm:
thin plates would sink into each other in a pile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assets import folding_tote
from assets.asset import Body, Geom, Vec3, boxes_inertia, inertia_tuple
from assets.errors import InputError, unknown

Array = NDArray[np.float64]

KINDS = ("6280", "6147", "4280", "3147", "6410")

# A short wall is four boxes around its grip hole, left at +y. The folded pack uses the same places: the long walls are
# its long panels (b on top), "under" is the flange at that end with its tongue, "left" and "right" are its corner
# posts, "over" is the curb below the hinge of the long wall of the same letter.
BOXES = (
    "foot",
    "floor",
    "long_a",
    "long_b",
    *(f"short_{end}_{part}" for end in "ab" for part in ("under", "over", "left", "right")),
)

# What a suction cup may hold; the other faces have holes, ribs or steps.
WALLS = {kind: ("long_b",) if kind == "6410" else ("long_a", "long_b") for kind in KINDS}
TARE = {"6280": 2.9, "6147": 1.9, "4280": 1.8, "3147": 0.75, "6410": folding_tote.TARE}  # [kg]

NEST = 0.015  # by which a rigid tote sinks into the rim of the one below [m]
PLAY = 0.0025  # between foot and rim, a side [m]
# Totes stand on the rims of the long walls; short walls and floor leave this gap to the next tote [m]. If they touched
# too, their edges would meet the edges of the long walls, and such contacts push sideways: the stack would catch.
STEP = 0.001
HOLE_BELOW_RIM = 0.035  # top edge of a grip hole [m]

# Outer length, width, height; length and width inside; height of the floor's top; width and height of a grip hole [m].
_RIGID: dict[str, tuple[Vec3, tuple[float, float], float, tuple[float, float]]] = {
    "6280": ((0.594, 0.396, 0.280), (0.544, 0.364), 0.023, (0.120, 0.040)),
    "6147": ((0.594, 0.396, 0.147), (0.544, 0.364), 0.022, (0.120, 0.040)),
    "4280": ((0.396, 0.297, 0.280), (0.346, 0.265), 0.023, (0.120, 0.040)),
    "3147": ((0.297, 0.198, 0.147), (0.247, 0.162), 0.020, (0.090, 0.030)),
}


def size(kind: str) -> Vec3:
    """Outer length, width and height [m]; the 6410's are those of the folded pack."""
    _check(kind)
    if kind == "6410":
        return *folding_tote.SIZE[:2], folding_tote.FOLDED_HEIGHT
    return _RIGID[kind][0]


def inner(kind: str) -> tuple[Vec3, float]:
    """The cavity's length, width and height up to the rim, and the height of the floor's top [m].

    In a stack the foot of the next tote takes `NEST` of the height. InputError for the folded 6410, which has none.
    """
    _check(kind)
    if kind == "6410":
        raise InputError("tote '6410' is a folded pack without a cavity: for the open tote see assets.folding_tote")
    (_, _, height), (length, width), floor, _ = _RIGID[kind]
    return (length, width, height - floor), floor


def pitch(kind: str) -> float:
    """Height by which each further tote of a kind raises a stack [m]."""
    return size(kind)[2] - (folding_tote.NEST if kind == "6410" else NEST)


def stack_height(kind: str, count: int) -> float:
    """Height of a stack of `count` totes of one kind [m]; 0 for none."""
    if count < 0:
        raise InputError(f"a stack of {count} totes: the count must not be negative")
    return size(kind)[2] + (count - 1) * pitch(kind) if count else 0.0


def box_table(kind: str) -> tuple[Array, Array]:
    """Half extents and positions [m] of the boxes in the order `BOXES`, each (12, 3)."""
    _check(kind)
    return _folded_boxes() if kind == "6410" else _rigid_boxes(kind)


def inertia_table(kind: str) -> tuple[Array, Array]:
    """Centre of mass [m], (3,), and moments of inertia along the tote's axes [kg m^2], (3,), of a tote of 1 kg.

    The material is spread evenly over the boxes. The folded pack's only product of inertia, a few per cent of the
    moments, is left out.
    """
    center, moments = boxes_inertia(*box_table(kind))
    return center, moments.diagonal().copy()


def rigid_tote(name: str, kind: str) -> Body:
    """A free tote: one of the RL-KLT, or the folded 6410 as one piece. Its geoms are called `{name}_{box}`."""
    half, position = (a.tolist() for a in box_table(kind))
    center, moments = inertia_table(kind)
    look = "tote_grey" if kind == "6410" else "tote_blue"
    return Body(
        name=name,
        mass=TARE[kind],
        center_of_mass=tuple(center.tolist()),
        inertia=inertia_tuple(np.diag(TARE[kind] * moments)),
        free=True,
        geoms=tuple(
            Geom(f"{name}_{part}", "box", tuple(half[i]), tuple(position[i]), surface="plastic", look=look)
            for i, part in enumerate(BOXES)
        ),
    )


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise unknown("kind of tote", kind, KINDS)


def _boxes(corners: dict[str, tuple[Vec3, Vec3]]) -> tuple[Array, Array]:
    """Boxes between opposite corners, as half extents and positions in the order `BOXES`."""
    low, high = (np.array([corners[name][i] for name in BOXES]) for i in (0, 1))
    return np.abs(high - low) / 2, (low + high) / 2


def _rigid_boxes(kind: str) -> tuple[Array, Array]:
    (length, width, height), inside, floor, hole = _RIGID[kind]
    x, y = length / 2, width / 2
    u, v = inside[0] / 2, inside[1] / 2
    corners: dict[str, tuple[Vec3, Vec3]] = {
        # As thick as can be: out of a thin floor, what sinks in deep is pushed through.
        "foot": ((PLAY - u, PLAY - v, 0), (u - PLAY, v - PLAY, floor)),
        "floor": ((-u, -v, NEST + STEP), (u, v, floor - STEP)),
        "long_a": ((-x, v, NEST), (x, y, height)),
        "long_b": ((-x, -v, NEST), (x, -y, height)),
    }
    side, top = hole[0] / 2, height - HOLE_BELOW_RIM
    bottom = top - hole[1]
    for end, s in (("a", 1), ("b", -1)):
        corners[f"short_{end}_under"] = (s * u, -v, NEST + STEP), (s * x, v, bottom)
        corners[f"short_{end}_over"] = (s * u, -v, top), (s * x, v, height - STEP)
        corners[f"short_{end}_left"] = (s * u, side, bottom), (s * x, v, top)
        corners[f"short_{end}_right"] = (s * u, -v, bottom), (s * x, -side, top)
    return _boxes(corners)


def _folded_boxes() -> tuple[Array, Array]:
    """The folding tote with all walls flat, long_a folded first; with long_b first it is turned by half a turn."""
    half, position = folding_tote.base_table(0)
    walls = folding_tote.wall_table(0)
    low, high = position - half, position + half
    base = {name: (low[i].copy(), high[i].copy()) for i, name in enumerate(folding_tote.BASE)}
    # The short panels lie on the floor: one block with it.
    short_top = float(walls.body[0, 2] + walls.panel_half[0, 0])
    base["floor"][1][2] = short_top
    corners = {"foot": base["foot"], "floor": base["floor"]}
    for i, wall, sign in ((2, "long_a", 1), (3, "long_b", -1)):
        # A quarter turn about its hinge lays the panel's height along the width, inwards.
        reach, thickness = walls.panel_half[i, 2], walls.panel_half[i, 1]
        extent = np.array([walls.panel_half[i, 0], reach, thickness])
        middle = walls.body[i] - np.array([0, sign * walls.panel_position[i, 2], 0])
        corners[wall] = middle - extent, middle + extent
    for end in "ab":
        curb = base[f"curb_long_{end}"]
        curb[0][2] = short_top
        corners[f"short_{end}_over"] = curb
        corners[f"short_{end}_under"] = base[f"end_{end}"]
        for side in ("left", "right"):
            corners[f"short_{end}_{side}"] = base[f"post_{end}_{side}"]
    return _boxes({name: (tuple(a.tolist()), tuple(b.tolist())) for name, (a, b) in corners.items()})
