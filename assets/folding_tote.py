"""The folding tote 6410: 600 x 400 x 280 mm with its walls up, 94.5 mm high folded, inside 535 x 357 x 257 mm.

Outer, inner and folded sizes are the maker's; hinge heights and tare are not published: estimates, and knobs.

Its frame is that of every tote: origin in the middle of the footprint at the underside of the foot, x along its
length, z up. Four walls hang on hinges: at 0 they stand, at a right angle they lie flat inside. The short walls lie on
the floor beside each other, the long walls one above the other on top of them, so they fold in that order only: a short
wall that still stands is in the way of the long ones, and the long wall of the lower hinge cannot lie down onto the
other one.

Walls and base are bodies joined by a hinge and do not collide with each other; the hinges' stops hold the walls up and
flat. Folded totes stack: the end flanges stand on the corner posts of the tote below, the foot goes down between its
flanges, and a tongue at each end goes between its posts.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from assets.asset import Body, Geom, Joint, Vec3, boxes_inertia, inertia_tuple, turn_z_onto
from assets.errors import InputError

Array = NDArray[np.float64]

SIZE: Vec3 = (0.600, 0.400, 0.280)  # with its walls up [m]
INNER: Vec3 = (0.535, 0.357, 0.257)  # [m]
FOLDED_HEIGHT = 0.0945  # [m]
NEST = 0.004  # by which it sinks into the folded one below [m]
FLOOR_TOP = SIZE[2] - INNER[2]  # [m]
TARE = 3.0  # [kg], an estimate: totes of this kind weigh 2.5 to 3.5 kg

WALLS = ("short_a", "short_b", "long_a", "long_b")  # at +x, -x, +y, -y
FLAT = math.pi / 2  # angle of a folded wall [rad]
FOLD_LIMIT = FLAT + 0.002  # the hinge's stop [rad]: half a millimetre lower at a wall's far edge
BASE = (
    "foot",
    "floor",
    "end_a",
    "end_b",
    "post_a_left",
    "post_a_right",
    "post_b_left",
    "post_b_right",
    *(f"curb_{wall}" for wall in WALLS),
)

_FLANGE = 0.0105  # thickness of the end flanges [m]
_POST_FROM = 0.150  # the corner posts begin here, in y [m]
_PLAY = 0.002  # [m] a side, between what nests and between the walls' ends
_LAYER_GAP = 0.0008  # between walls that lie on each other [m]: more, and the top one reaches the next tote's foot
_LAST_FREE = 0.0005  # [m] below the next tote's foot
_PANEL_FROM = 0.012  # a panel begins this far from its hinge [m]
# Thickness of the walls and distance of their middle plane, in which the hinge lies, from the tote's [m].
_THICK_SHORT = 0.022
_THICK_LONG = (SIZE[1] - INNER[1]) / 2
_AT_SHORT, _AT_LONG = INNER[0] / 2 + _THICK_SHORT / 2, INNER[1] / 2 + _THICK_LONG / 2
_AXES: tuple[Vec3, ...] = ((0, -1, 0), (0, 1, 0), (1, 0, 0), (-1, 0, 0))


class WallTable(NamedTuple):
    """What depends on which long wall folds first; every array is (4, 3), in the order `WALLS`, in metres.

    Attributes:
        body: the wall bodies' origins, on their hinges, in the tote's frame.
        panel_half, panel_position: the panels, in their wall's frame.
        curb_half, curb_position: the curbs below the hinges, in the tote's frame.
    """

    body: Array
    panel_half: Array
    panel_position: Array
    curb_half: Array
    curb_position: Array


def hinge_heights(first: int) -> Array:
    """Heights of the hinges [m], (4,), if of the long walls `first` folds first: 0 long_a, 1 long_b."""
    if first not in (0, 1):
        raise InputError(f"folding tote: the long wall that folds first is 0 (long_a) or 1 (long_b), not {first!r}")
    short = FLOOR_TOP + _THICK_SHORT / 2 + 0.0005
    lower = short + _THICK_SHORT / 2 + _LAYER_GAP + _THICK_LONG / 2
    upper = lower + _THICK_LONG + _LAYER_GAP
    return np.array([short, short, *((lower, upper) if first == 0 else (upper, lower))])


def wall_table(first: int) -> WallTable:
    """Where walls and curbs are if of the long walls `first` folds first (see `hinge_heights`)."""
    heights = hinge_heights(first)
    body = np.array([(_AT_SHORT, 0, 0), (-_AT_SHORT, 0, 0), (0, _AT_LONG, 0), (0, -_AT_LONG, 0)])
    body[:, 2] = heights
    # The short walls stand between the long ones, the long ones between the end flanges.
    short, long = INNER[1] / 2 - _PLAY, SIZE[0] / 2 - _FLANGE - _PLAY
    half = np.array([(_THICK_SHORT / 2, short, 0)] * 2 + [(long, _THICK_LONG / 2, 0)] * 2)
    panel_half, panel_position = half.copy(), np.zeros((4, 3))
    panel_half[:, 2] = (SIZE[2] - heights - _PANEL_FROM) / 2
    panel_position[:, 2] = (SIZE[2] - heights + _PANEL_FROM) / 2
    curb_half, curb_position = half.copy(), body.copy()
    top = heights - 0.001
    curb_half[:, 2] = (top - FLOOR_TOP) / 2
    curb_position[:, 2] = (top + FLOOR_TOP) / 2
    return WallTable(body, panel_half, panel_position, curb_half, curb_position)


def base_table(first: int) -> tuple[Array, Array]:
    """Half extents and positions [m], each (12, 3), of the base's boxes in the order `BASE`."""
    x, y = SIZE[0] / 2, SIZE[1] / 2
    inside = x - _FLANGE
    # The floor begins above the posts' tops: level with them, its edge would catch on theirs when stacked.
    floor = NEST + 0.002
    boxes = [_between((-inside + _PLAY, -y + _PLAY, 0), (inside - _PLAY, y - _PLAY, floor))]
    boxes.append(_between((-inside, -y, floor), (inside, y, FLOOR_TOP)))
    tongue, low = _POST_FROM - _PLAY, FOLDED_HEIGHT - NEST - _LAST_FREE
    boxes += [_between((s * inside, -tongue, 0), (s * x, tongue, low)) for s in (1, -1)]
    boxes += [
        _between((s * inside, t * _POST_FROM, NEST), (s * x, t * y, FOLDED_HEIGHT)) for s in (1, -1) for t in (1, -1)
    ]
    table = wall_table(first)
    half, position = (np.array(a) for a in zip(*boxes, strict=True))
    return np.concatenate([half, table.curb_half]), np.concatenate([position, table.curb_position])


def _between(low: Vec3, high: Vec3) -> tuple[Array, Array]:
    """Half extents and centre of the box between two opposite corners."""
    a, b = np.array(low), np.array(high)
    return np.abs(b - a) / 2, (a + b) / 2


def mass_table(first: int) -> tuple[Array, Array, Array]:
    """Mass, centre and inertia of base and walls, in the order base, *`WALLS`, for a tote of 1 kg.

    Returns:
        Masses [kg], (5,), shared out by volume; centres of mass in body axes [m], (5, 3); moments of inertia about
        them along body axes [kg m^2], (5, 3). The base's only product of inertia, below 3 % of them, is left out.
    """
    half, position = base_table(first)
    walls = wall_table(first)
    panels = zip(walls.panel_half, walls.panel_position, strict=True)
    bodies = [(half, position), *((h[None], p[None]) for h, p in panels)]
    volume = np.array([h.prod(axis=1).sum() for h, _ in bodies])
    mass = volume / volume.sum()
    center, moments = (np.array(a) for a in zip(*(boxes_inertia(h, p) for h, p in bodies), strict=True))
    return mass, center, mass[:, None] * moments.diagonal(axis1=1, axis2=2)


def folding_tote(name: str, first: int = 0) -> Body:
    """A free folding tote with its walls up.

    Its walls are bodies `{name}_{wall}`, each with a hinge of the same name: 0 upright, positive inwards, without a
    servo. Friction in the hinges, about a quarter of a lying wall's weight, keeps a wall standing that nothing pushes.

    Args:
        name: prefix of all names in it.
        first: which long wall folds first: 0 long_a, 1 long_b.
    """
    half, position = base_table(first)
    table = wall_table(first)
    mass, center, inertia = mass_table(first)

    def box(part: str, half: Array, position: Array, look: str) -> Geom:
        size, place = half.tolist(), position.tolist()
        return Geom(f"{name}_{part}", "box", tuple(size), tuple(place), surface="plastic", look=look)

    walls = []
    for i, wall in enumerate(WALLS):
        # The barrel is only seen: it closes the slot between curb and panel.
        along = (0.0, 1.0, 0.0) if i < 2 else (1.0, 0.0, 0.0)
        thickness, length = table.panel_half[i, [0, 1]] if i < 2 else table.panel_half[i, [1, 0]]
        barrel = (float(thickness) - 0.001, float(length))
        joint = Joint(f"{name}_{wall}", _AXES[i], (0.0, FOLD_LIMIT), 10.0, 0.0, damping=0.02, friction=0.12)
        walls.append(
            Body(
                name=f"{name}_{wall}",
                position=tuple(table.body[i].tolist()),
                mass=TARE * float(mass[i + 1]),
                center_of_mass=tuple(center[i + 1].tolist()),
                inertia=inertia_tuple(np.diag(TARE * inertia[i + 1])),
                joint=joint,
                geoms=(
                    box(f"{wall}_panel", table.panel_half[i], table.panel_position[i], "tote_wall"),
                    Geom(f"{name}_{wall}_barrel", "cylinder", barrel, quaternion=turn_z_onto(along), look="tote_grey"),
                ),
            )
        )
    return Body(
        name=name,
        mass=TARE * float(mass[0]),
        center_of_mass=tuple(center[0].tolist()),
        inertia=inertia_tuple(np.diag(TARE * inertia[0])),
        free=True,
        geoms=tuple(box(part, half[i], position[i], "tote_grey") for i, part in enumerate(BASE)),
        children=tuple(walls),
    )
