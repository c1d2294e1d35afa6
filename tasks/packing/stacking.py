"""What a load may look like: the rules of stacking, examined for many positions of a carton at once.

A load is described in the pallet frame (origin at the centre of the deck's top, x along its length) by the corners of
its cartons, which stand axis-aligned.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_EPSILON = 1e-6  # [m], forgives rounding
_MAX_DEPTH = 12  # cartons above each other
_ANGLES = np.arange(24) * (2 * np.pi / 24)
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


@dataclass(frozen=True)
class Rules:
    """The hard rules of stacking.

    Attributes:
        pallet_size: length and width of the deck [m].
        height_limit: highest top of a carton above the floor, the pallet included [m].
        deck_height: height of the deck above the floor [m].
        gap: least distance between side-by-side cartons, so that an arm can insert one from above [m].
        overhang: how far a carton may stick out of the deck [m].
        support: least supported share of a carton's base area.
        level: tops that differ by no more than this carry a carton together [m].
        mass_ratio: a carton weighs at most this many times as much as each carton that it stands on: heavier below.
        center_margin: how far inside its support polygon the centre of a carton lies [m].
        slenderness: for every joint below a carton, twice the height of the centre of mass of the pile above it over
            the joint's width is at most this (for an even pile that is height over width; one that is heavier below
            may be higher). A carton on the deck itself may be as slender as it is.
        gripper: length (along the carton's), width and height of the box that the gripper takes up on its top [m].
        column: width and depth of the column above the gripper that the arm takes up [m].
        gripper_clearance: distance of gripper and arm from taller neighbours [m].
    """

    pallet_size: tuple[float, float] = (1.2, 0.8)
    height_limit: float = 1.4
    deck_height: float = 0.144
    gap: float = 0.012
    overhang: float = 0.0
    support: float = 0.75
    level: float = 0.001
    mass_ratio: float = 1.15
    center_margin: float = 0.01
    slenderness: float = 2.2
    gripper: tuple[float, float, float] = (0.26, 0.16, 0.20)
    column: tuple[float, float] = (0.20, 0.20)
    gripper_clearance: float = 0.005


@dataclass(frozen=True)
class Findings:
    """How C positions of one carton fare against the rules; every array has the shape (C,).

    Attributes:
        overhang: farthest that the carton sticks out of the deck [m].
        top: height of the carton's top above the deck [m].
        gap: smallest distance to a carton beside it; negative: overlap; inf: none [m].
        covered: a placed carton is above, so that this one cannot come in from above.
        gripper_hits: the gripper or the arm above it would hit a taller neighbour.
        support: supported share of the base.
        centered: the centre lies over the support polygon.
        mass_ratio: mass over that of the lightest supporter; 0 on the deck.
        slenderness: of the pile that the carton completes.
        widths: smallest width of the contact below the carton along x and y [m], shape (C, 2).
        extra: how much wider along x and y all supporters together are than the main one [m], shape (C, 2).
        main: index of the supporter with the largest contact, -1 on the deck.
        ok: all rules are kept.
    """

    overhang: Floats
    top: Floats
    gap: Floats
    covered: Bools
    gripper_hits: Bools
    support: Floats
    centered: Bools
    mass_ratio: Floats
    slenderness: Floats
    widths: Floats
    extra: Floats
    main: NDArray[np.int64]
    ok: Bools


class Load:
    """The cartons on one pallet: corners `low` and `high` [m], shape (n, 3), and `mass` [kg], shape (n,)."""

    def __init__(self, capacity: int, rules: Rules) -> None:
        """An empty pallet with room in memory for `capacity` cartons."""
        self.rules = rules
        self.count = 0
        self._low = np.zeros((capacity, 3))
        self._high = np.zeros((capacity, 3))
        self._mass = np.zeros(capacity)
        # The joints below each carton down to the deck: height, width along x and y, mass of the pile above and its
        # first moment (mass times height). Unused ones are wide.
        self._joints = np.zeros((capacity, _MAX_DEPTH, 5))
        self._joints[:, :, 1:4] = 1e9
        self._depth = np.zeros(capacity, dtype=np.int64)

    @property
    def low(self) -> Floats:
        """Lower corners [m], shape (n, 3)."""
        return self._low[: self.count]

    @property
    def high(self) -> Floats:
        """Upper corners [m], shape (n, 3)."""
        return self._high[: self.count]

    @property
    def mass(self) -> Floats:
        """Masses [kg], shape (n,)."""
        return self._mass[: self.count]

    def add(self, low: Floats, size: Floats, mass: float, findings: Findings, index: int) -> None:
        """Add a carton at lower corner `low` with extents `size` [m], as the row `index` of `findings` found it."""
        n = self.count
        self._low[n], self._high[n], self._mass[n] = low, low + size, mass
        main = int(findings.main[index])
        if main >= 0:
            depth = min(int(self._depth[main]), _MAX_DEPTH - 1)
            self._joints[n, :depth] = self._joints[main, :depth]
            self._joints[n, :depth, 1:3] += findings.extra[index]
            self._joints[n, :depth, 3:] += (mass, mass * (low[2] + size[2] / 2))
            self._depth[n] = depth
        self._joints[n, self._depth[n]] = (low[2], *findings.widths[index], mass, mass * (low[2] + size[2] / 2))
        self._depth[n] += 1
        self.count += 1

    def worst_joint(self, axis: int, widening: Floats) -> Floats:
        """Slenderness along x or y of the pile that ends with each carton, shape (n,).

        Args:
            axis: 0 for x, 1 for y.
            widening: width of what braces each carton, added to that of every joint below it [m], shape (n,).
        """
        joints = self._joints[: self.count]
        heights = 2 * (joints[..., 4] / joints[..., 3] - joints[..., 0])
        return (heights / (joints[..., 1 + axis] + widening[:, None])).max(axis=1)

    def admissible(self, low: Floats, size: Floats, mass: float, along_x: Bools) -> tuple[NDArray[np.int64], Findings]:
        """Indices of the positions that keep all rules, and the findings for just those.

        Cheap rules are examined first, for speed.

        Args:
            low: lower corners [m], shape (C, 3).
            size: extents along x, y, z [m], shape (C, 3).
            mass: of the carton [kg].
            along_x: whether its length lies along x, shape (C,).
        """
        rules, deck = self.rules, np.array(self.rules.pallet_size) / 2 + self.rules.overhang + _EPSILON
        high = low + size
        inside = (low[:, :2] >= -deck).all(axis=1) & (high[:, :2] <= deck).all(axis=1)
        inside &= high[:, 2] <= rules.height_limit - rules.deck_height + _EPSILON
        index = np.flatnonzero(inside)
        if self.count and index.size:
            lo, hi, margin = low[index, None], high[index, None], rules.gap - _EPSILON
            overlap = np.minimum(hi[..., :2], self.high[:, :2]) - np.maximum(lo[..., :2], self.low[:, :2])
            beside = (overlap[..., 0] > -margin) & (overlap[..., 1] > -margin)
            hit = (beside & (self.high[:, 2] > lo[..., 2] + rules.level)).any(axis=1)
            touching = (np.abs(self.high[:, 2] - lo[..., 2]) <= rules.level) & (overlap > 0).all(axis=2)
            area = (touching * overlap[..., 0] * overlap[..., 1]).sum(axis=1)
            base = size[index, 0] * size[index, 1]
            supported = (lo[:, 0, 2] < _EPSILON) | (area >= (rules.support - _EPSILON) * base)
            index = index[~hit & supported]
        found = self.examine(low[index], size[index], mass, along_x[index])
        return index[found.ok], _select(found, found.ok)

    def examine(self, low: Floats, size: Floats, mass: float, along_x: Bools) -> Findings:
        """Examine C positions of a carton.

        Args:
            low: lower corners [m], shape (C, 3).
            size: extents along x, y, z [m], shape (C, 3).
            mass: of the carton [kg].
            along_x: whether its length lies along x, shape (C,).
        """
        rules, high = self.rules, low + size
        deck = np.array(rules.pallet_size) / 2
        overhang = np.maximum(np.maximum(-deck - low[:, :2], high[:, :2] - deck).max(axis=1), 0.0)
        lo, hi = low[:, None], high[:, None]
        shared_low, shared_high = np.maximum(lo[..., :2], self.low[:, :2]), np.minimum(hi[..., :2], self.high[:, :2])
        overlap = shared_high - shared_low  # (C, n, 2), negative: a distance
        distance = -overlap.min(axis=2)
        level = rules.level
        taller = self.high[:, 2] > lo[..., 2] + level
        same_height = taller & (self.low[:, 2] < hi[..., 2] - level)
        gap = np.where(same_height, distance, np.inf).min(axis=1, initial=np.inf)
        covered = (taller & ~same_height & (distance < rules.gap - _EPSILON)).any(axis=1)
        # Support
        on_deck = low[:, 2] < _EPSILON
        touching = (np.abs(self.high[:, 2] - lo[..., 2]) <= level) & (overlap > _EPSILON).all(axis=2)
        touching &= ~on_deck[:, None]
        contact = np.where(touching, overlap[..., 0] * overlap[..., 1], 0.0)
        base = size[:, 0] * size[:, 1]
        on_deck_low, on_deck_high = np.maximum(low[:, :2], -deck), np.minimum(high[:, :2], deck)
        deck_area = np.maximum(on_deck_high - on_deck_low, 0.0).prod(axis=1)
        support = np.where(on_deck, deck_area, contact.sum(axis=1)) / base
        ratio = np.where(touching, mass / self.mass, 0.0).max(axis=1, initial=0.0)
        span_low = np.where(touching[..., None], shared_low, np.inf).min(axis=1, initial=np.inf)
        span_high = np.where(touching[..., None], shared_high, -np.inf).max(axis=1, initial=-np.inf)
        span_low = np.where(on_deck[:, None], on_deck_low, span_low)
        span_high = np.where(on_deck[:, None], on_deck_high, span_high)
        center = (low + high)[:, :2] / 2
        centered = self._over_support(center, shared_low, shared_high, touching, span_low, span_high)
        widths = np.maximum(span_high - span_low, _EPSILON)
        # Slenderness of the pile above every joint between the carton and the deck
        slenderness = (size[:, 2:] / widths).max(axis=1)
        main = np.full(len(low), -1)
        extra = np.zeros((len(low), 2))
        if self.count:
            several = np.where(touching[..., None], self.high[:, :2], -np.inf).max(axis=1)
            several -= np.where(touching[..., None], self.low[:, :2], np.inf).min(axis=1)
            main = np.where(touching.any(axis=1), contact.round(9).argmax(axis=1), -1)
            extra = np.where(main[:, None] >= 0, several - (self.high - self.low)[main, :2], 0.0)
            joints = self._joints[: self.count][main]
            moment = joints[..., 4] + mass * (high[:, None, 2] - size[:, None, 2] / 2)
            heights = 2 * (moment / (joints[..., 3] + mass) - joints[..., 0])
            piles = heights[..., None] / (joints[..., 1:3] + extra[:, None])
            slenderness = np.where(main >= 0, np.maximum(slenderness, piles.max(axis=(1, 2))), slenderness)
        hits = self._gripper_hits(center, high[:, 2], along_x)
        ok = (overhang <= rules.overhang + _EPSILON) & (gap >= rules.gap - _EPSILON) & ~covered & ~hits & centered
        ok &= (high[:, 2] <= rules.height_limit - rules.deck_height + _EPSILON) & (support >= rules.support - _EPSILON)
        ok &= (ratio <= rules.mass_ratio + _EPSILON) & (on_deck | (slenderness <= rules.slenderness + _EPSILON))
        return Findings(
            overhang, high[:, 2], gap, covered, hits, support, centered, ratio, slenderness, widths, extra, main, ok
        )

    def _over_support(
        self, center: Floats, low: Floats, high: Floats, touching: Bools, span_low: Floats, span_high: Floats
    ) -> Bools:
        """Whether centres (C, 2) lie within the convex hull of the contacts, by its extent in 24 directions."""
        margin = self.rules.center_margin
        ends = np.minimum(center - span_low, span_high - center)
        inside: Bools = np.asarray(ends.min(axis=1) >= margin)
        shared = np.flatnonzero(inside & (touching.sum(axis=1) > 1))
        if shared.size:
            corners = np.where(_DIRECTIONS[:, None, None] > 0, high[shared], low[shared])  # (24, S, n, 2)
            reach = (corners * _DIRECTIONS[:, None, None]).sum(axis=3)
            farthest = np.where(touching[shared], reach, -np.inf).max(axis=2)
            inside[shared] = (farthest >= (_DIRECTIONS @ center[shared].T) + margin).all(axis=0)
        return inside

    def _gripper_hits(self, center: Floats, top: Floats, along_x: Bools) -> Bools:
        """Whether the gripper on the top (C,) of a carton, or the column above it, hits a taller placed carton."""
        rules = self.rules
        length, width, height = rules.gripper
        half = np.where(along_x[:, None], (length, width), (width, length)) / 2
        hits = np.zeros(len(center), dtype=np.bool_)
        for extent, bottom in ((half, top), (np.array(rules.column) / 2, top + height)):
            reach = extent + rules.gripper_clearance - _EPSILON
            near = (center - reach)[:, None] < self.high[:, :2]
            near &= (center + reach)[:, None] > self.low[:, :2]
            hits = hits | (near.all(axis=2) & (self.high[:, 2] > bottom[:, None] + rules.level)).any(axis=1)
        return hits


def _select(found: Findings, keep: Bools) -> Findings:
    return Findings(**{name: value[keep] for name, value in vars(found).items()})
