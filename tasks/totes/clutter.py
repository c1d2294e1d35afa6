"""Parts in a tote as a grasp planner sees them, and whether volumes of a tool that comes from above are free.

What is known is what a depth camera with known CAD models gives: which part of the pool lies where, a little wrong. All
of it becomes samples of the parts' surfaces in the frame of the tote's cavity, and one map of heights. Since the tool
comes and leaves straight up, a volume of it is free where nothing in its footprint is higher than its underside. The
map also says whose the heights are; walls are compared exactly.

All sums are elementwise: a result never depends on what else is computed beside it.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from assets.combi_tool import FINGER_FREE, PAD, PAD_HEIGHT, PAD_REACH, PALM
from assets.errors import InputError
from assets.parts import pool
from assets.parts.base import sample
from sim.rotations import multiply, rotate, yaw_quaternion

Array = np.ndarray

WALL_GAP = 0.0025  # between tool and walls [m]
PALM_GAP = 0.005  # between what is below palm or vacuum pad, and them [m]

_SAMPLES, _KEPT = 2048, 2  # samples of a part for the map; of these every so many-th is kept
_CELL = 0.0025  # of the map of heights [m]; it is widened by a cell, which samples 4 mm apart leave no hole in
_BORDER = 0.06  # [m] of the map around the cavity: parts may lean out over the rim
_OWNERS = 1024  # a cell of the map holds height [10 um] times this plus the part's number


@dataclasses.dataclass(frozen=True)
class Cavity:
    """The inside of an open tote: an upright box, turned about the vertical.

    Attributes:
        middle: of it, seen from above, world [m], (2,).
        yaw: heading of its length about the world's z [rad].
        half: half its length and half its width [m].
        floor, rim: heights of floor and rim, world [m].
    """

    middle: Array
    yaw: float
    half: tuple[float, float]
    floor: float
    rim: float


@dataclasses.dataclass(frozen=True)
class Lines:
    """Candidates, arrays (n,): the part, the number of the heading, its cosine and sine, the point between the tips.

    `family` is the same for lines that differ in depth only; these follow each other, the deepest last. `overlap` is
    the height that pads and part share, `lever` the distance from the centre of mass to the grip, `side` is +1 where
    the vacuum pad looks along (-sin, cos), else -1, `quality` how good the contact is.
    """

    part: Array
    heading: Array
    family: Array
    cos: Array
    sin: Array
    x: Array
    y: Array
    tip: Array
    width: Array
    opening: Array
    overlap: Array
    lever: Array
    side: Array
    quality: Array

    def where(self, good: Array, **changed: Array) -> Lines:
        """Return the good ones, with some arrays changed."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | changed
        return Lines(**{name: array[good] for name, array in arrays.items()})


@dataclasses.dataclass(frozen=True)
class Clutter:
    """Parts in the cavity's frame: its middle at the floor, x along its length, z up.

    Attributes:
        cavity: where they lie.
        center: centres of mass (k, 3).
        points, normals: samples for contacts, x, y and z first: (3, k, n).
        spread: second moments of the parts' volumes, seen from above: xx, yy and xy, (3, k).
        bottom, top: lowest and highest point of each part (k,).
        covered: share of each part's upper side that has others above (k,).
        highest, second: the map; `second` is the highest of what belongs to another part than `highest`.
    """

    cavity: Cavity
    center: Array
    points: Array
    normals: Array
    spread: Array
    bottom: Array
    top: Array
    covered: Array
    highest: Array
    second: Array

    @property
    def rim(self) -> float:
        """Height of the rim above the floor [m]."""
        return self.cavity.rim - self.cavity.floor

    def others(self, part: Array, x: Array, y: Array) -> Array:
        """Return the highest point [m] at (x, y) of what is not `part`, all arrays of one shape."""
        i, j = _cells(x, y, self.cavity)
        found = self.highest[i, j]
        return _height(np.where(found % _OWNERS == part, self.second[i, j], found))

    def fits(self, lines: Lines, under: Array, along: Array | float, low: Array | float, high: Array | float) -> Array:
        """Return whether a box, `along` to either side and from `low` to `high` across, clears the walls (n,)."""
        middle, half = (low + high) / 2, (high - low) / 2
        x, y = lines.x - lines.sin * middle, lines.y + lines.cos * middle
        cos, sin = np.abs(lines.cos), np.abs(lines.sin)
        a, b = self.cavity.half
        inside = np.abs(x) + cos * along + sin * half <= a - WALL_GAP
        inside &= np.abs(y) + sin * along + cos * half <= b - WALL_GAP
        return inside | (under >= self.rim + PALM_GAP)


@functools.lru_cache(maxsize=256)
def _surface(index: int) -> tuple[Array, Array]:
    """Samples of a pool part and its normals, x, y and z first: (3, n)."""
    points, normals = sample(pool()[index].visual, _SAMPLES)
    return np.ascontiguousarray(points.T), np.ascontiguousarray(normals.T)


def clutter(index: Array, position: Array, quaternion: Array, slots: Array, cavity: Cavity) -> Clutter | None:
    """Return the parts as `Clutter`, None without any; arguments and errors as of `tasks.totes.grasps.grasps`."""
    index, slots = np.asarray(index, np.int64), np.asarray(slots)
    position, quaternion = np.asarray(position, np.float64), np.asarray(quaternion, np.float64)
    k = len(index)
    if index.shape != (k,) or slots.shape != (k,) or position.shape != (k, 3) or quaternion.shape != (k, 4):
        raise InputError(
            f"{k} parts need slots ({k},), positions ({k}, 3) and quaternions ({k}, 4), "
            f"not {slots.shape}, {position.shape} and {quaternion.shape}"
        )
    if k and (index.min() < 0 or index.max() >= len(pool())):
        raise InputError(
            f"parts {index.min()} to {index.max()} are not all in the pool, which has 0 to {len(pool()) - 1}"
        )
    if k >= _OWNERS:
        raise InputError(f"{k} parts: a tote holds fewer than {_OWNERS}")
    if k == 0:
        return None
    back = yaw_quaternion(np.full(k, -cavity.yaw))
    center = rotate(back, position - np.array([*cavity.middle, cavity.floor]))
    x, y, z = (rotate(multiply(back, quaternion), np.eye(3)[axis]) for axis in range(3))

    def turned(local: Array) -> Array:
        return np.stack(
            [x[:, i, None] * local[:, 0] + y[:, i, None] * local[:, 1] + z[:, i, None] * local[:, 2] for i in range(3)]
        )

    inertia = np.array([pool()[i].inertia for i in index.tolist()])
    moments = np.maximum(np.add.reduce(inertia, axis=1)[:, None] / 2 - inertia, 0.0)
    axes = (x, y, z)
    spread = np.stack(
        [sum(moments[:, a] * axes[a][:, i] * axes[a][:, j] for a in range(3)) for i, j in ((0, 0), (1, 1), (0, 1))]
    )
    surfaces = [_surface(i) for i in index.tolist()]
    points = turned(np.stack([s[0] for s in surfaces])) + center.T[:, :, None]
    highest, second = _map(points, cavity)
    fewer = np.ascontiguousarray(points[:, :, ::_KEPT])
    normals = turned(np.stack([s[1][:, ::_KEPT] for s in surfaces]))
    clutter = Clutter(
        cavity, center, fewer, normals, spread, points[2].min(1), points[2].max(1), np.zeros(k), highest, second
    )
    part = np.broadcast_to(np.arange(k)[:, None], fewer.shape[1:])
    above = clutter.others(part, fewer[0], fewer[1]) > fewer[2] + 0.004
    up = normals[2] > 0.3
    return dataclasses.replace(clutter, covered=(above & up).sum(1) / np.maximum(up.sum(1), 1))


def _cells(x: Array, y: Array, cavity: Cavity) -> tuple[Array, Array]:
    """Cells of the map at (x, y); what is outside comes to the outermost ones, which are empty."""
    rows, columns = _shape(cavity)
    i = np.floor((x + (cavity.half[0] + _BORDER)) / _CELL).astype(np.int64)
    j = np.floor((y + (cavity.half[1] + _BORDER)) / _CELL).astype(np.int64)
    return np.clip(i, 0, rows - 1), np.clip(j, 0, columns - 1)


def _shape(cavity: Cavity) -> tuple[int, int]:
    rows, columns = (int(np.ceil(2 * (half + _BORDER) / _CELL)) for half in cavity.half)
    return rows, columns


def _height(cell: Array) -> Array:
    """The height [m] that a cell of the map holds; an empty one is far down."""
    return (cell // _OWNERS) * 1e-5 - 1.0


def _map(points: Array, cavity: Cavity) -> tuple[Array, Array]:
    """Highest point and highest point of another part in each cell and the eight around it."""
    k = points.shape[1]
    owner = np.arange(k)[:, None]
    key = np.maximum(np.rint((points[2] + 1.0) * 1e5).astype(np.int64), 0) * _OWNERS + owner
    i, j = _cells(points[0], points[1], cavity)
    shape = _shape(cavity)
    inner = (i > 1) & (i < shape[0] - 2) & (j > 1) & (j < shape[1] - 2)
    cell, key = (i * shape[1] + j)[inner], key[inner]
    empty = np.full(shape[0] * shape[1], _OWNERS - 1)
    highest, second = empty.copy(), empty.copy()
    np.maximum.at(highest, cell, key)
    below = highest[cell] % _OWNERS != key % _OWNERS
    np.maximum.at(second, cell[below], key[below])
    highest, second = highest.reshape(shape), second.reshape(shape)
    for axis in (0, 1):
        one = _higher(highest, second, np.roll(highest, 1, axis), np.roll(second, 1, axis))
        highest, second = _higher(*one, np.roll(highest, -1, axis), np.roll(second, -1, axis))
    return highest, second


def _higher(a1: Array, a2: Array, b1: Array, b2: Array) -> tuple[Array, Array]:
    """Highest, and highest of another owner, of two such pairs."""
    swap = b1 > a1
    top, other = np.where(swap, b1, a1), np.where(swap, a1, b1)
    next_of_top, next_of_other = np.where(swap, b2, a2), np.where(swap, a2, b2)
    same = other % _OWNERS == top % _OWNERS
    return top, np.maximum(next_of_top, np.where(same, next_of_other, other))


# ---- volumes of the tool -----------------------------------------------------------------------------------------


def grid(low: float, high: float, spacing: float = 0.0065) -> Array:
    """Return places from `low` to `high` [m], closer together than the map's cells reach."""
    return np.linspace(low, high, int(np.ceil((high - low) / spacing)) + 1)


def is_free(clutter: Clutter, lines: Lines, under: Array, along: Array, across: Array) -> Array:
    """Whether others stay below `under` (n,) at points (n, m) or (m,) along and across each line's closing axis."""
    cos, sin = lines.cos[:, None], lines.sin[:, None]
    x = lines.x[:, None] + along * cos - across * sin
    y = lines.y[:, None] + along * sin + across * cos
    part = np.broadcast_to(lines.part[:, None], x.shape)
    return np.logical_and.reduce(clutter.others(part, x, y) < under[:, None], axis=1)


def footprint(along: Array, across: Array) -> tuple[Array, Array]:
    """Return all pairs of places along and across, (m,) each."""
    a, b = np.meshgrid(along, across, indexing="ij")
    return a.ravel(), b.ravel()


def palm_is_free(clutter: Clutter, lines: Lines) -> Array:
    """Return for which lines (n,) the palm meets neither walls nor others."""
    under = lines.tip + FINGER_FREE
    x, y = PALM[0] / 2, PALM[1] / 2
    free = clutter.fits(lines, under, x, -y, y)
    return free & is_free(clutter, lines, under - PALM_GAP, *footprint(grid(-x, x), grid(-y, y)))


def pad_is_free(clutter: Clutter, lines: Lines, side: Array) -> Array:
    """Return for which lines (n,) the vacuum pad on `side` (as `Lines.side`) meets neither walls nor others."""
    under = lines.tip + PAD_HEIGHT - PAD[1] / 2
    reach, x = side * PAD_REACH, PAD[0] / 2
    free = clutter.fits(lines, under, x, np.minimum(0, reach), np.maximum(0, reach))
    along, across = footprint(grid(-x, x), grid(PALM[1] / 2, PAD_REACH))
    return free & is_free(clutter, lines, under - PALM_GAP, along, side[:, None] * across)
