"""Where two fingers that come straight from above can take a part out of a tote.

The planner sees what a depth camera with known CAD models gives: which part of the pool lies where, a little wrong. All
of it works on samples of the parts' surfaces in the frame of the tote's cavity. Since the tool comes and leaves straight
up, a volume of the tool is free where nothing in its footprint is higher than its underside: one map of heights, that
also says whose they are, answers for fingers, palm and vacuum pad; walls are compared exactly.

Steps: widths of every part seen along `HEADINGS` closing directions, on parallel lines and at several depths; room for
the fingers, then for palm and vacuum pad; contact of the pads; the best of different parts first.

All sums are elementwise: a result never depends on what else is computed beside it.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from assets.combi_tool import FINGER_FREE, FINGER_PAD, PAD, PAD_HEIGHT, PAD_REACH, PALM, STROKE
from assets.errors import InputError
from assets.parts import pool
from assets.parts.base import sample
from sim.rotations import multiply, rotate, yaw_quaternion

Array = np.ndarray

HEADINGS = 12  # closing directions over half a turn, the first across the part's length
OFFSETS = 0.011 * np.arange(-3, 4)  # of the grip line from the part's centre of mass [m]
DEPTHS = (0.012, 0.022, 0.032, 0.045, 0.070, 0.105)  # of the tips below the part's highest point [m]
NARROWEST, WIDEST = 0.004, 0.076  # [m] what the fingers take
SLACKS = (0.014, 0.008)  # [m] opening beyond the width: the first for which there is room
FLOOR_GAP, BOTTOM_GAP = 0.0015, 0.001  # of the tips above the tote's floor and above the part's lowest point [m]
WALL_GAP = 0.0025  # between tool and walls [m]
PALM_GAP = 0.005  # between what is below palm or vacuum pad, and them [m]
LEAST_OVERLAP = 0.012  # of pads and part in height [m], less only for flat parts
LEAST_NORMAL = 0.72  # cosine between a side's mean normal and the closing axis: the part may turn until they agree
FARTHEST = 0.0075  # of the contact from the pad's middle line, and of one side's from the other's [m]
LOWEST = 0.002  # mean height of the contact above the tips [m]
LEAST_POINTS = 4  # samples that touch on a side
LEAST_QUALITY = -0.5  # see `_contacts`
MOST_SQUEEZE = 0.30  # length of the mean of both sides' normals: beyond, the part slips out as from a wedge

FINGER = 0.021  # thickness of a finger, pad and link [m]
FINGERTIPS = (0.022, 0.011)  # half extents of the closed fingertips [m]
PUSH = 0.050  # length of a drag [m]
PRESS = 0.002  # [m] how far below the surface the tips of a drag are sent

_SAMPLES, _CONTACT = 2048, 2  # samples of a part; for contacts every so many-th is taken
_CELL = 0.0025  # of the map of heights [m]; it is widened by a cell, which samples 4 mm apart leave no hole in
_BORDER = 0.06  # [m] of the map around the cavity: parts may lean out over the rim
_STEP = 0.005  # height of a slice of a part [m]
_DRAG_POINTS = 16  # for drags every so many-th of the contacts' samples is taken
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
class Grasp:
    """A way to take a part.

    Attributes:
        slot: of the part.
        position: of the point between the fingertips, world [m], (3,).
        yaw: heading of the tool's x axis, along which the fingers close, about the world's z [rad]. The tool points
            down: its y axis, where the vacuum pad looks, is (sin yaw, -cos yaw, 0).
        opening: between the pads before they close [m].
        width: between the pads when they hold the part [m].
        score: higher is better.
    """

    slot: int
    position: Array
    yaw: float
    opening: float
    width: float
    score: float


def grasps(
    index: Array, position: Array, quaternion: Array, slots: Array, cavity: Cavity, count: int = 8
) -> list[Grasp]:
    """Return up to `count` grasps, best first: first one for each of different parts, then alternatives.

    Args:
        index: of each part in the pool, (k,).
        position: of the parts, world [m], (k, 3).
        quaternion: of the parts, (k, 4).
        slots: by which the parts are called in the answer, (k,).
        cavity: of the tote in which they lie.
        count: how many grasps at most.

    Returns:
        Nothing if no part can be taken. InputError if the shapes do not fit together.
    """
    scene = _scene(index, position, quaternion, slots, cavity)
    if scene is None:
        return []
    lines = _widths(scene)
    lines = _contacts(scene, _with_room_above(scene, _with_room_for_fingers(scene, lines)))
    return _best(scene, lines, slots, count)


def nudge(index: Array, position: Array, quaternion: Array, slots: Array, cavity: Cavity) -> tuple[Array, Array] | None:
    """Return start and end (3,) of the closed fingertips [m] for a drag that makes room, or None; arguments as above.

    The tips touch a part from above, pressed on by `PRESS`, and draw it towards the tote's middle, straight. Its heading
    is that of `drag_yaw`. The part that finds most room there is chosen.
    """
    scene = _scene(index, position, quaternion, slots, cavity)
    return None if scene is None else _best_drag(scene)


def drag_yaw(start: Array, end: Array) -> float:
    """Return the tool's yaw [rad] for a drag: the vacuum pad looks ahead, so the tool's slim side is at the wall."""
    return float(np.arctan2(end[0] - start[0], start[1] - end[1]))


# ---- the scene: samples of all parts, and the map of heights --------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Scene:
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

    def fits(self, lines: _Lines, under: Array, along: Array | float, low: Array | float, high: Array | float) -> Array:
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


def _scene(index: Array, position: Array, quaternion: Array, slots: Array, cavity: Cavity) -> _Scene | None:
    index, slots = np.asarray(index, np.int64), np.asarray(slots)
    position, quaternion = np.asarray(position, np.float64), np.asarray(quaternion, np.float64)
    k = len(index)
    if index.shape != (k,) or slots.shape != (k,) or position.shape != (k, 3) or quaternion.shape != (k, 4):
        raise InputError(
            f"{k} parts need slots ({k},), positions ({k}, 3) and quaternions ({k}, 4), "
            f"not {slots.shape}, {position.shape} and {quaternion.shape}"
        )
    if k and not (0 <= index.min() and index.max() < len(pool())):
        raise InputError(f"part {index.max()} is not in the pool: its parts are 0 to {len(pool()) - 1}")
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
    fewer = np.ascontiguousarray(points[:, :, ::_CONTACT])
    normals = turned(np.stack([s[1][:, ::_CONTACT] for s in surfaces]))
    scene = _Scene(
        cavity, center, fewer, normals, spread, points[2].min(1), points[2].max(1), np.zeros(k), highest, second
    )
    part = np.broadcast_to(np.arange(k)[:, None], fewer.shape[1:])
    above = scene.others(part, fewer[0], fewer[1]) > fewer[2] + 0.004
    up = normals[2] > 0.3
    return dataclasses.replace(scene, covered=(above & up).sum(1) / np.maximum(up.sum(1), 1))


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


# ---- grip lines: where the fingers could close ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Lines:
    """Candidates, arrays (n,): the part, the number of the heading, its cosine and sine, the point between the tips.

    `overlap` is the height that pads and part share, `lever` the distance from the centre of mass to the grip, `side`
    is +1 where the vacuum pad looks along (-sin, cos), else -1, `quality` how good the contact is.
    """

    part: Array
    heading: Array
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

    def where(self, good: Array, **changed: Array) -> _Lines:
        """Return the good ones, with some arrays changed."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | changed
        return _Lines(**{name: array[good] for name, array in arrays.items()})


def _widths(scene: _Scene) -> _Lines:
    """All lines along which a part is neither too wide nor too thin."""
    x, y, z = scene.points
    k = len(x)
    cx, cy = scene.center[:, 0], scene.center[:, 1]
    dx, dy = x - cx[:, None], y - cy[:, None]
    # The fingers close first across the direction in which the part is longest, seen from above.
    length = 0.5 * np.arctan2(2 * scene.spread[2], scene.spread[0] - scene.spread[1])
    angle = length[:, None] + np.pi / 2 + np.arange(HEADINGS) * np.pi / HEADINGS
    cos, sin = np.cos(angle), np.sin(angle)
    along = dx[:, None, :] * cos[:, :, None] + dy[:, None, :] * sin[:, :, None]
    across = dy[:, None, :] * cos[:, :, None] - dx[:, None, :] * sin[:, :, None]

    # Extents along the closing axis in strips half a pad wide and slices _STEP high; then over pads of both.
    lowest = np.maximum(scene.bottom + BOTTOM_GAP, FLOOR_GAP)
    strip = FINGER_PAD[1] / 2
    strips = len(OFFSETS) + 1
    slices = int(0.15 / _STEP) + 1
    column = np.floor(across / strip).astype(np.int64) + strips // 2
    row = np.floor((z - lowest[:, None]) / _STEP).astype(np.int64)[:, None, :]
    good = (column >= 0) & (column < strips) & (row >= 0) & (row < slices)
    family = np.arange(k * HEADINGS).reshape(k, HEADINGS, 1)
    cell = ((family * strips + column) * slices + row)[good]
    right, left = (np.full(k * HEADINGS * strips * slices, -np.inf) for _ in range(2))
    np.maximum.at(right, cell, along[good])
    np.maximum.at(left, cell, -along[good])
    shape = (k, HEADINGS, strips, slices)
    right, left = (np.maximum(e[:, :, :-1], e[:, :, 1:]) for e in (right.reshape(shape), left.reshape(shape)))
    filled = np.isfinite(right)
    summit = (np.where(filled, np.arange(slices) + 1, 0)).max(axis=3) * _STEP  # (k, headings, offsets)
    high = int(np.ceil(FINGER_PAD[2] / _STEP))
    right, left = (_over(e, high) for e in (right, left))

    level = np.rint((scene.top - lowest)[:, None] / _STEP - np.array(DEPTHS) / _STEP).astype(np.int64)
    level = np.clip(level, 0, slices - 1)
    fresh = np.concatenate([np.full((k, 1), True), level[:, 1:] < level[:, :-1]], axis=1)
    at = np.broadcast_to(level[:, None, None, :], (k, HEADINGS, len(OFFSETS), len(DEPTHS)))
    right, left = (np.take_along_axis(e, at, axis=3) for e in (right, left))
    with np.errstate(invalid="ignore"):
        width, middle = right + left, (right - left) / 2
    overlap = np.minimum(summit[..., None] - at * _STEP, FINGER_PAD[2])
    needed = np.minimum(LEAST_OVERLAP, 0.5 * (scene.top - scene.bottom))
    good = (width >= NARROWEST) & (width <= WIDEST) & fresh[:, None, None, :]
    good &= overlap >= needed[:, None, None, None]
    # What is below the palm must be the others' only.
    tip = lowest[:, None] + level * _STEP
    good &= (scene.top[:, None] <= tip + FINGER_FREE - PALM_GAP)[:, None, None, :]
    part, heading, offset, depth = np.nonzero(good)
    cos, sin = cos[part, heading], sin[part, heading]
    shift, width, middle = OFFSETS[offset], width[good], middle[good]
    return _Lines(
        part=part,
        heading=heading,
        cos=cos,
        sin=sin,
        x=cx[part] + middle * cos - shift * sin,
        y=cy[part] + middle * sin + shift * cos,
        tip=tip[part, depth],
        width=width,
        opening=width,
        overlap=overlap[good],
        lever=np.sqrt(shift * shift + middle * middle),
        side=np.ones(len(part)),
        quality=np.zeros(len(part)),
    )


def _over(values: Array, count: int) -> Array:
    """The maximum over `count` values from each one on, along the last axis."""
    out = values.copy()
    for shift in range(1, count):
        out[..., :-shift] = np.maximum(out[..., :-shift], values[..., shift:])
    return out


# ---- room, contact and choice ---------------------------------------------------------------------------------------


def _grid(low: float, high: float, spacing: float = 0.0065) -> Array:
    return np.linspace(low, high, int(np.ceil((high - low) / spacing)) + 1)


def _free(scene: _Scene, lines: _Lines, under: Array, along: Array, across: Array) -> Array:
    """Whether others stay below `under` (n,) at points (n, m) or (m,) along and across each line's closing axis."""
    cos, sin = lines.cos[:, None], lines.sin[:, None]
    x = lines.x[:, None] + along * cos - across * sin
    y = lines.y[:, None] + along * sin + across * cos
    part = np.broadcast_to(lines.part[:, None], x.shape)
    return (scene.others(part, x, y) < under[:, None]).all(axis=1)


def _box(along: Array, across: Array) -> tuple[Array, Array]:
    a, b = np.meshgrid(along, across, indexing="ij")
    return a.ravel(), b.ravel()


def _with_room_for_fingers(scene: _Scene, lines: _Lines) -> _Lines:
    half = FINGER_PAD[1] / 2
    # Nothing else between the pads: first, since the opening does not matter much for it.
    part, across = _box(np.linspace(-1, 1, 13), _grid(-half, half))
    between = _free(scene, lines, lines.tip, part * (lines.width[:, None] / 2 + SLACKS[1] / 2), across)
    lines = lines.where(between)
    into, across = _box(_grid(0, FINGER), _grid(-half, half))
    into, across = np.concatenate([into, -into]), np.concatenate([across, across])
    sign = np.repeat([1.0, -1.0], len(into) // 2)
    found = np.full(len(lines.part), np.nan)
    for slack in SLACKS:
        opening = np.minimum(lines.width + slack, STROKE)
        free = scene.fits(lines, lines.tip, opening / 2 + FINGER, -half, half)
        free &= np.isnan(found)
        some = lines.where(free)
        at = into + sign * opening[free][:, None] / 2
        good = _free(scene, some, some.tip - 0.001, at, across)
        found[np.flatnonzero(free)[good]] = opening[free][good]
    return lines.where(np.isfinite(found), opening=found)


def _with_room_above(scene: _Scene, lines: _Lines) -> _Lines:
    """Palm and vacuum pad; of the two sides where the vacuum pad may be, the one that looks towards the middle."""
    lines = lines.where(_palm_is_free(scene, lines))
    inward = np.where(lines.x * lines.sin - lines.y * lines.cos >= 0, 1.0, -1.0)
    first = _pad_is_free(scene, lines, inward)
    second = _pad_is_free(scene, lines, -inward)
    return lines.where(first | second, side=np.where(first, inward, -inward))


def _palm_is_free(scene: _Scene, lines: _Lines) -> Array:
    under = lines.tip + FINGER_FREE
    x, y = PALM[0] / 2, PALM[1] / 2
    free = scene.fits(lines, under, x, -y, y)
    return free & _free(scene, lines, under - PALM_GAP, *_box(_grid(-x, x), _grid(-y, y)))


def _pad_is_free(scene: _Scene, lines: _Lines, side: Array) -> Array:
    under = lines.tip + PAD_HEIGHT - PAD[1] / 2
    reach, x = side * PAD_REACH, PAD[0] / 2
    free = scene.fits(lines, under, x, np.minimum(0, reach), np.maximum(0, reach))
    along, across = _box(_grid(-x, x), _grid(PALM[1] / 2, PAD_REACH))
    return free & _free(scene, lines, under - PALM_GAP, along, side[:, None] * across)


def _contacts(scene: _Scene, lines: _Lines) -> _Lines:
    """Lines whose both sides give the pads a good hold."""
    x, y, z = (v[lines.part] for v in scene.points)
    nx, ny, nz = (v[lines.part] for v in scene.normals)
    cos, sin, tip, half = (v[:, None] for v in (lines.cos, lines.sin, lines.tip, lines.width / 2))
    dx, dy = x - lines.x[:, None], y - lines.y[:, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    beside = np.abs(across) <= FINGER_PAD[1] / 2
    slab = beside & (z >= tip) & (z <= tip + FINGER_PAD[2])
    band = np.minimum(0.003, 0.3 * half)
    sides = []
    for sign in (1.0, -1.0):
        depth = (half - sign * along) / band
        # What touches first counts most; faces along the closing axis are not touched.
        touch = slab & (depth < 1.0) & (sign * (nx * cos + ny * sin) > 0.2)
        weight = np.where(touch, (1.0 - depth) ** 2, 0.0)
        total = np.maximum(np.add.reduce(weight, axis=1), 1e-9)
        means = [np.add.reduce(weight * v, axis=1) / total for v in (nx, ny, nz, across, z)]
        mx, my, mz = means[:3]
        # The direction of the mean: a gear's teeth cancel out across it.
        size = np.maximum(np.sqrt(mx * mx + my * my + mz * mz), 1e-9)
        sides.append((mx / size, my / size, mz / size, means[3], means[4], touch.sum(1)))
    (x1, y1, u1, a1, z1, n1), (x2, y2, u2, a2, z2, n2) = sides
    facing = np.minimum(x1 * lines.cos + y1 * lines.sin, -x2 * lines.cos - y2 * lines.sin)
    squeeze = np.sqrt((x1 + x2) ** 2 + (y1 + y2) ** 2 + (u1 + u2) ** 2) / 2
    skew = np.sqrt((a1 - a2) ** 2 + (z1 - z2) ** 2)
    # Above the pads the fingers are thinner by a pad's thickness: what is wider would meet them first.
    bulge = (beside & (z > tip + FINGER_PAD[2]) & (np.abs(along) > half + FINGER_PAD[0] - 0.002)).any(1)
    number, low, aside = np.minimum(n1, n2), (z1 + z2) / 2 - lines.tip, np.abs(a1 + a2) / 2
    good = (facing >= LEAST_NORMAL) & (squeeze <= MOST_SQUEEZE) & (number >= LEAST_POINTS) & ~bulge
    good &= (skew <= FARTHEST) & (aside <= FARTHEST) & (low >= LOWEST)
    quality = (
        0.55 * np.log(np.maximum(number, 1))
        - 620.0 * np.maximum(0.006 - low, 0.0)
        - 340.0 * aside
        - 1.5 * squeeze
        + 24.0 * lines.overlap
        - 18.0 * lines.lever
    )
    return lines.where(good & (quality >= LEAST_QUALITY), quality=quality)


def _best(scene: _Scene, lines: _Lines, slots: Array, count: int) -> list[Grasp]:
    """The best lines: of every part and heading the best, of all parts the best first."""
    score = (
        lines.quality + 8.0 * scene.top[lines.part] - 3.0 * scene.covered[lines.part]
    )
    order = np.argsort(-score, kind="stable")
    seen: dict[int, set[int]] = {}
    ranked: list[tuple[int, int]] = []
    for i in order.tolist():
        headings = seen.setdefault(int(lines.part[i]), set())
        if len(headings) < count and lines.heading[i] not in headings:
            ranked.append((len(headings), i))
            headings.add(int(lines.heading[i]))
    ranked.sort(key=lambda entry: entry[0])
    cavity = scene.cavity
    out = []
    for _, i in ranked[:count]:
        point = rotate(yaw_quaternion(np.array(cavity.yaw)), np.array([lines.x[i], lines.y[i], lines.tip[i]]))
        # The tool's y axis is (sin, -cos): where the vacuum pad is on the other side, the tool is turned by half a turn.
        sign = -lines.side[i]
        yaw = np.arctan2(sign * lines.sin[i], sign * lines.cos[i]) + cavity.yaw
        out.append(
            Grasp(
                slot=int(slots[lines.part[i]]),
                position=point + np.array([*cavity.middle, cavity.floor]),
                yaw=float((yaw + np.pi) % (2 * np.pi) - np.pi),
                opening=float(lines.opening[i]),
                width=float(lines.width[i]),
                score=float(score[i]),
            )
        )
    return out


# ---- drags ----------------------------------------------------------------------------------------------------------


def _best_drag(scene: _Scene) -> tuple[Array, Array] | None:
    part, point = np.nonzero(scene.normals[2][:, ::_DRAG_POINTS] > 0.9)
    x, y, z = (v[part, _DRAG_POINTS * point] for v in scene.points)
    angle = np.arange(8) * (np.pi / 4)
    part, x, y, z = (np.repeat(v, len(angle)) for v in (part, x, y, z))
    angle = np.tile(angle, len(part) // len(angle))
    ahead_x, ahead_y = np.cos(angle), np.sin(angle)
    # The vacuum pad looks ahead: the tool's x axis is to the right of the way, and the pad at -1 across.
    zero = np.zeros(len(part))
    lines = _Lines(part, zero, ahead_y, -ahead_x, x, y, z - PRESS, zero, zero, zero, zero, zero + 1, zero)
    own = part
    inward = -(scene.center[own, 0] * ahead_x + scene.center[own, 1] * ahead_y)
    lines = lines.where(inward > 0.5 * PUSH, quality=inward)
    along, across = _box(_grid(-FINGERTIPS[0], FINGERTIPS[0]), _grid(-FINGERTIPS[1], FINGERTIPS[1]))
    for way in (0.0, PUSH / 2, PUSH):
        moved = dataclasses.replace(lines, x=lines.x - lines.sin * way, y=lines.y + lines.cos * way)
        free = scene.fits(moved, moved.tip, FINGERTIPS[0], -FINGERTIPS[1], FINGERTIPS[1])
        free &= _free(scene, moved, moved.tip, along, across)
        lines = lines.where(free & _palm_is_free(scene, moved) & _pad_is_free(scene, moved, moved.side))
    if not len(lines.part):
        return None
    # Room for the part itself: how much of it would meet something on its way.
    x, y, z = (v[lines.part][:, ::_DRAG_POINTS] for v in scene.points)
    own = np.broadcast_to(lines.part[:, None], x.shape)
    blocked = np.zeros(x.shape, bool)
    for way in (PUSH / 2, PUSH):
        at_x, at_y = x - way * lines.sin[:, None], y + way * lines.cos[:, None]
        blocked |= scene.others(own, at_x, at_y) > z + 0.002
    reach = np.sqrt((lines.x - scene.center[lines.part, 0]) ** 2 + (lines.y - scene.center[lines.part, 1]) ** 2)
    score = lines.quality - 0.3 * blocked.sum(1) / blocked.shape[1] - reach - 0.3 * scene.covered[lines.part]
    i = int(np.argmax(score))
    tips = np.array([[lines.x[i], lines.y[i], lines.tip[i]]] * 2)
    tips[1, :2] += PUSH * np.array([-lines.sin[i], lines.cos[i]])
    start, end = rotate(yaw_quaternion(np.array(scene.cavity.yaw)), tips) + np.array(
        [*scene.cavity.middle, scene.cavity.floor]
    )
    return start, end
