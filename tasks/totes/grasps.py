"""Where two fingers that come straight from above can take a part out of a tote, or at least draw one aside.

Steps: widths of every part seen along `HEADINGS` closing directions, on parallel lines and at several depths; room for
the fingers, then for palm and vacuum pad (see `clutter`); contact of the pads; the best of different parts first.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from assets.combi_tool import FINGER_FREE, FINGER_PAD, FINGER_THICKNESS, STROKE
from sim.rotations import rotate, yaw_quaternion
from tasks.totes.clutter import (
    PALM_GAP,
    Array,
    Cavity,
    Clutter,
    Lines,
    clutter,
    footprint,
    grid,
    is_free,
    pad_is_free,
    palm_is_free,
)

HEADINGS = 12  # closing directions over half a turn, the first across the part's length
OFFSETS = 0.011 * np.arange(-3, 4)  # of the grip line from the part's centre of mass [m]
DEPTHS = (0.012, 0.022, 0.032, 0.045, 0.070, 0.105)  # of the tips below the part's highest point [m]
NARROWEST, WIDEST = 0.004, 0.076  # [m] what the fingers take
SLACKS = (0.014, 0.008)  # [m] opening beyond the width: the first for which there is room
FLOOR_GAP, BOTTOM_GAP = 0.0015, 0.0015  # of the tips above the tote's floor and above the part's lowest point [m]
TIP_GAP = 0.0005  # between the tips and others' parts below them [m]
LEAST_OVERLAP = 0.012  # of pads and part in height [m], less only for flat parts
LEAST_NORMAL = 0.72  # cosine between a side's mean normal and the closing axis: the part may turn until they agree
FARTHEST = 0.0075  # of the contact from the pad's middle line, and of one side's from the other's [m]
LOWEST = 0.002  # mean height of the contact above the tips [m]
LEAST_POINTS = 4  # samples that touch on a side
DARING_NORMAL, DARING_POINTS = 0.4, 2  # what is tried where nothing better is left
LEAST_QUALITY = -0.5  # see `_contacts`
MOST_SQUEEZE = 0.30  # length of the mean of both sides' normals: beyond, the part slips out as from a wedge

FINGERTIPS = (FINGER_THICKNESS, FINGER_PAD[1] / 2)  # half extents of the closed fingertips [m]
PUSH = 0.050  # length of a drag [m]
DRAGS = 5  # so many different ones are tried in turn
PRESS = 0.002  # [m] how far below the surface the tips of a drag are sent

_STEP = 0.005  # height of a slice of a part [m]
_DRAG_POINTS = 16  # for drags every so many-th of the samples is taken


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
    index: Array, position: Array, quaternion: Array, slots: Array, cavity: Cavity, count: int = 8, daring: bool = False
) -> list[Grasp]:
    """Return up to `count` grasps, best first: first one for each of different parts, then alternatives.

    Args:
        index: of each part in the pool, (k,).
        position: of the parts, world [m], (k, 3).
        quaternion: of the parts, (k, 4).
        slots: by which the parts are called in the answer, (k,).
        cavity: of the tote in which they lie.
        count: how many grasps at most.
        daring: also what may well slip: worth a try where there is nothing better.

    Returns:
        Nothing if no part can be taken. InputError if the shapes do not fit together.
    """
    there = clutter(index, position, quaternion, slots, cavity)
    if there is None:
        return []
    lines = _deepest(_with_room_for_fingers(there, _widths(there)))
    # What lies above costs the most to look at, and contact sorts most out.
    lines = _with_room_above(there, _contacts(there, lines, daring))
    return _best(there, lines, slots, count)


def nudge(
    index: Array, position: Array, quaternion: Array, slots: Array, cavity: Cavity, turn: int = 0
) -> tuple[Array, Array] | None:
    """Return start and end (3,) of the closed fingertips [m] for a drag that makes room, or None; arguments as above.

    The tips touch a part from above, pressed on by `PRESS`, and draw it straight towards the tote's middle. Its
    heading is that of `drag_yaw`. The part that finds most room there is chosen; with `turn` the next best ones are, in
    turn, since a drag that did not help will not help again.
    """
    there = clutter(index, position, quaternion, slots, cavity)
    return None if there is None else _best_drag(there, turn)


def drag_yaw(start: Array, end: Array) -> float:
    """Return the tool's yaw [rad] for a drag: the vacuum pad looks ahead, so the tool's slim side is at the wall."""
    return float(np.arctan2(end[0] - start[0], start[1] - end[1]))


# ---- grip lines: where the fingers could close ----------------------------------------------------------------------


def _widths(there: Clutter) -> Lines:
    """All lines along which a part is neither too wide nor too thin."""
    x, y, z = there.points
    k = len(x)
    cx, cy = there.center[:, 0], there.center[:, 1]
    dx, dy = x - cx[:, None], y - cy[:, None]
    # The fingers close first across the direction in which the part is longest, seen from above.
    length = 0.5 * np.arctan2(2 * there.spread[2], there.spread[0] - there.spread[1])
    angle = length[:, None] + np.pi / 2 + np.arange(HEADINGS) * np.pi / HEADINGS
    cos, sin = np.cos(angle), np.sin(angle)
    along = dx[:, None, :] * cos[:, :, None] + dy[:, None, :] * sin[:, :, None]
    across = dy[:, None, :] * cos[:, :, None] - dx[:, None, :] * sin[:, :, None]

    # Extents along the closing axis in strips half a pad wide and slices _STEP high; then over pads of both.
    lowest = np.maximum(there.bottom + BOTTOM_GAP, FLOOR_GAP)
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

    level = np.rint((there.top - lowest)[:, None] / _STEP - np.array(DEPTHS) / _STEP).astype(np.int64)
    level = np.clip(level, 0, slices - 1)
    fresh = np.concatenate([np.full((k, 1), True), level[:, 1:] < level[:, :-1]], axis=1)
    at = np.broadcast_to(level[:, None, None, :], (k, HEADINGS, len(OFFSETS), len(DEPTHS)))
    right, left = (np.take_along_axis(e, at, axis=3) for e in (right, left))
    with np.errstate(invalid="ignore"):
        width, middle = right + left, (right - left) / 2
    overlap = np.minimum(summit[..., None] - at * _STEP, FINGER_PAD[2])
    needed = np.minimum(LEAST_OVERLAP, 0.5 * (there.top - there.bottom))
    good = (width >= NARROWEST) & (width <= WIDEST) & fresh[:, None, None, :]
    good &= overlap >= needed[:, None, None, None]
    # What is below the palm must be the others' only.
    tip = lowest[:, None] + level * _STEP
    good &= (there.top[:, None] <= tip + FINGER_FREE - PALM_GAP)[:, None, None, :]
    part, heading, offset, depth = np.nonzero(good)
    family = (part * HEADINGS + heading) * len(OFFSETS) + offset
    cos, sin = cos[part, heading], sin[part, heading]
    shift, width, middle = OFFSETS[offset], width[good], middle[good]
    return Lines(
        part=part,
        heading=heading,
        family=family,
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


def _with_room_for_fingers(there: Clutter, lines: Lines) -> Lines:
    half = FINGER_PAD[1] / 2
    # Nothing else between the pads: first, since the opening does not matter much for it.
    part, across = footprint(np.linspace(-1, 1, 13), grid(-half, half))
    between = is_free(there, lines, lines.tip, part * (lines.width[:, None] / 2 + SLACKS[1] / 2), across)
    lines = lines.where(between)
    into, across = footprint(grid(0, FINGER_THICKNESS), grid(-half, half))
    into, across = np.concatenate([into, -into]), np.concatenate([across, across])
    sign = np.repeat([1.0, -1.0], len(into) // 2)
    found = np.full(len(lines.part), np.nan)
    for slack in SLACKS:
        opening = np.minimum(lines.width + slack, STROKE)
        free = there.fits(lines, lines.tip, opening / 2 + FINGER_THICKNESS, -half, half)
        free &= np.isnan(found)
        some = lines.where(free)
        at = into + sign * opening[free][:, None] / 2
        good = is_free(there, some, some.tip - TIP_GAP, at, across)
        found[np.flatnonzero(free)[good]] = opening[free][good]
    return lines.where(np.isfinite(found), opening=found)


def _deepest(lines: Lines) -> Lines:
    """Of lines that differ in depth only, the two deepest, and all where the pads' full height holds the part."""
    n = len(lines.family)
    last = lines.family != np.append(lines.family[1:], -1)[:n]
    return lines.where(last | np.append(last[1:], True)[:n] | (lines.overlap > FINGER_PAD[2] - 0.001))


def _with_room_above(there: Clutter, lines: Lines) -> Lines:
    """Palm and vacuum pad; of the two sides where the vacuum pad may be, the one that looks towards the middle."""
    lines = lines.where(palm_is_free(there, lines))
    inward = np.where(lines.x * lines.sin - lines.y * lines.cos >= 0, 1.0, -1.0)
    first = pad_is_free(there, lines, inward)
    second = pad_is_free(there, lines, -inward)
    return lines.where(first | second, side=np.where(first, inward, -inward))


def _contacts(there: Clutter, lines: Lines, daring: bool) -> Lines:
    """Lines whose both sides give the pads a good hold.

    `quality` is a logistic regression on 317 picks in simulation, of lines that this and the limits above had not
    sorted out: many samples that touch, in the middle of the pads and not at their tips' edge, near the part's centre.
    """
    cos, sin, half = (v[:, None] for v in (lines.cos, lines.sin, lines.width / 2))
    band = np.minimum(0.003, 0.3 * half)
    dx, dy = there.points[0][lines.part] - lines.x[:, None], there.points[1][lines.part] - lines.y[:, None]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    near = (np.abs(across) <= FINGER_PAD[1] / 2) & (np.abs(along) >= half - band)
    # From here on only what is near the pads' faces, in one row for all lines.
    line, sample = np.nonzero(near)
    along, across = along[near], across[near]
    part, cos, sin, half, band = (v[line] for v in (lines.part, lines.cos, lines.sin, half[:, 0], band[:, 0]))
    up = there.points[2][part, sample] - lines.tip[line]
    nx, ny, nz = (v[part, sample] for v in there.normals)
    sign = np.sign(along)
    # Faces along the closing axis are not touched; what touches first counts most.
    touches = (up >= 0) & (up <= FINGER_PAD[2]) & (sign * (nx * cos + ny * sin) > 0.2)
    weight = np.where(touches, (1.0 - (half - np.abs(along)) / band) ** 2, 0.0)

    def total(values: Array) -> Array:
        return np.bincount(line, values, len(lines.part))

    sides = []
    for on in (along > 0, along < 0):
        share = np.where(on, weight, 0.0)
        whole = np.maximum(total(share), 1e-9)
        mx, my, mz, middle, low = (total(share * v) / whole for v in (nx, ny, nz, across, up))
        # The direction of the mean: a gear's teeth cancel out across it.
        size = np.maximum(np.sqrt(mx * mx + my * my + mz * mz), 1e-9)
        sides.append((mx / size, my / size, mz / size, middle, low, total(on & touches)))
    (x1, y1, u1, a1, z1, n1), (x2, y2, u2, a2, z2, n2) = sides
    facing = np.minimum(x1 * lines.cos + y1 * lines.sin, -x2 * lines.cos - y2 * lines.sin)
    squeeze = np.sqrt((x1 + x2) ** 2 + (y1 + y2) ** 2 + (u1 + u2) ** 2) / 2
    skew = np.sqrt((a1 - a2) ** 2 + (z1 - z2) ** 2)
    number, low, aside = np.minimum(n1, n2), (z1 + z2) / 2, np.abs(a1 + a2) / 2
    # Above the pads the fingers are thinner by a pad's thickness: what is wider would meet them first.
    bulge = total((up > FINGER_PAD[2]) & (np.abs(along) > half + FINGER_PAD[0] - 0.002)) > 0
    good = (facing >= LEAST_NORMAL) & (squeeze <= MOST_SQUEEZE) & (number >= LEAST_POINTS) & ~bulge
    good &= (skew <= FARTHEST) & (aside <= FARTHEST)
    # Where a part reaches below the tips, they must hold it well above their edge: it slips down over a round flank.
    good &= low >= LOWEST + np.clip(lines.tip - there.bottom[lines.part] - 0.002, 0.0, 0.006)
    quality = (
        0.55 * np.log(np.clip(number, 1, 20))
        - 620.0 * np.maximum(0.006 - low, 0.0)
        - 340.0 * aside
        - 1.5 * squeeze
        + 24.0 * lines.overlap
        - 25.0 * lines.lever
    )
    if daring:
        return lines.where((facing >= DARING_NORMAL) & (number >= DARING_POINTS) & ~bulge, quality=quality)
    return lines.where(good & (quality >= LEAST_QUALITY), quality=quality)


def _best(there: Clutter, lines: Lines, slots: Array, count: int) -> list[Grasp]:
    """The best lines: of every part and heading the best, of all parts the best first."""
    score = lines.quality + 8.0 * there.top[lines.part] - 3.0 * there.covered[lines.part]
    order = np.argsort(-score, kind="stable")
    seen: dict[int, set[int]] = {}
    ranked: list[tuple[int, int]] = []
    for i in order.tolist():
        headings = seen.setdefault(int(lines.part[i]), set())
        if len(headings) < count and lines.heading[i] not in headings:
            ranked.append((len(headings), i))
            headings.add(int(lines.heading[i]))
    ranked.sort(key=lambda entry: entry[0])
    cavity = there.cavity
    out = []
    for _, i in ranked[:count]:
        point = rotate(yaw_quaternion(np.array(cavity.yaw)), np.array([lines.x[i], lines.y[i], lines.tip[i]]))
        # The tool's y axis is (sin, -cos): with the vacuum pad on the other side the tool is turned by half a turn.
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


def _best_drag(there: Clutter, turn: int) -> tuple[Array, Array] | None:
    part, point = np.nonzero(there.normals[2][:, ::_DRAG_POINTS] > 0.9)
    x, y, z = (v[part, _DRAG_POINTS * point] for v in there.points)
    angle = np.arange(8) * (np.pi / 4)
    part, x, y, z = (np.repeat(v, len(angle)) for v in (part, x, y, z))
    angle = np.tile(angle, len(part) // len(angle))
    ahead_x, ahead_y = np.cos(angle), np.sin(angle)
    # The vacuum pad looks ahead: the tool's x axis is to the right of the way, and the pad at -1 across.
    zero = np.zeros(len(part))
    lines = Lines(part, zero, zero, ahead_y, -ahead_x, x, y, z - PRESS, zero, zero, zero, zero, zero + 1, zero)
    own = part
    inward = -(there.center[own, 0] * ahead_x + there.center[own, 1] * ahead_y)
    lines = lines.where(inward > 0.5 * PUSH, quality=inward)
    along, across = footprint(grid(-FINGERTIPS[0], FINGERTIPS[0]), grid(-FINGERTIPS[1], FINGERTIPS[1]))
    for way in (0.0, PUSH / 2, PUSH):
        moved = dataclasses.replace(lines, x=lines.x - lines.sin * way, y=lines.y + lines.cos * way)
        free = there.fits(moved, moved.tip, FINGERTIPS[0], -FINGERTIPS[1], FINGERTIPS[1])
        free &= is_free(there, moved, moved.tip, along, across)
        lines = lines.where(free & palm_is_free(there, moved) & pad_is_free(there, moved, moved.side))
    if not len(lines.part):
        return None
    # Room for the part itself: how much of it would meet something on its way.
    x, y, z = (v[lines.part][:, ::_DRAG_POINTS] for v in there.points)
    own = np.broadcast_to(lines.part[:, None], x.shape)
    blocked = np.zeros(x.shape, bool)
    for way in (PUSH / 2, PUSH):
        at_x, at_y = x - way * lines.sin[:, None], y + way * lines.cos[:, None]
        blocked |= there.others(own, at_x, at_y) > z + 0.002
    reach = np.sqrt((lines.x - there.center[lines.part, 0]) ** 2 + (lines.y - there.center[lines.part, 1]) ** 2)
    score = lines.quality - 0.3 * blocked.sum(1) / blocked.shape[1] - reach - 0.3 * there.covered[lines.part]
    way = lines.part * 8 + np.rint(np.arctan2(-lines.sin, lines.cos) / (np.pi / 4)).astype(np.int64)
    order = np.argsort(-score, kind="stable")
    _, first = np.unique(way[order], return_index=True)
    best = order[np.sort(first)][:DRAGS]
    i = int(best[turn % len(best)])
    tips = np.array([[lines.x[i], lines.y[i], lines.tip[i]]] * 2)
    tips[1, :2] += PUSH * np.array([-lines.sin[i], lines.cos[i]])
    start, end = rotate(yaw_quaternion(np.array(there.cavity.yaw)), tips) + np.array(
        [*there.cavity.middle, there.cavity.floor]
    )
    return start, end
