"""Whether the arm can set a carton down at its place: for the planner, which asks before it settles on a placement.

The carton comes down from above, hanging straight under the tool with its length along the tool's x axis. It can be
placed if, all the way down, the arm reaches in the configuration (shoulder, elbow, wrist) of home, and if links and
gripper stay clear of the load, the pallet, the carried carton and the arm's own column.

Cartons stand square on the pallet, so in the pallet's frame everything but the arm is an axis-aligned box, and the
distance from a link's capsule to a box is exact: along the capsule's axis the squared distance is convex, and bisection
on its slope finds the nearest point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assets.arms import Arm
from assets.gripper import LENGTH, PAD, Cups
from assets.kinematics import Kinematics
from assets.pallet import SIZE as PALLET_SIZE
from tasks.packing.orders import Carton
from tasks.packing.plans import Placement

Floats = NDArray[np.float64]

CLEARANCE = 0.020  # kept by links and gripper housing [m]
CUP_CLEARANCE = 0.005  # kept by the cups, which are soft and pass close by neighbours of the same height [m]
NEARBY = 0.30  # the carton is carried in over whatever is this near to its place [m]
CARRY = 0.05  # height of its base above that [m]
APPROACH = (0.0, 0.05, 0.15)  # heights above the place that are looked at in any case [m]

# Half extents, middle's height above the lips [m] and clearance of the gripper's two boxes: the cups, which sink their
# lips into the carton by a few millimetres, and all that is above them.
_CUPS_TOP, _LIPS = 0.053, 0.004
_LIP_RADIUS = Cups().radius
_CUPS_HALF = np.append(np.abs(Cups().positions).max(axis=0) + _LIP_RADIUS, (_CUPS_TOP - _LIPS) / 2)
_HOUSING_HALF = np.array([PAD[0] / 2, PAD[1] / 2, (LENGTH - _CUPS_TOP) / 2])
GRIPPER_BOXES = (
    ("cups", _CUPS_HALF, (_CUPS_TOP + _LIPS) / 2, CUP_CLEARANCE),
    ("gripper", _HOUSING_HALF, (LENGTH + _CUPS_TOP) / 2, CLEARANCE),
)


class Reach:
    """An arm beside a pallet. Call it to ask whether a carton can be placed, `explain` to hear why not."""

    def __init__(
        self,
        arm: Arm,
        *,
        base_height: float,
        pallet_position: tuple[float, float, float],
        pallet_yaw: float,
        tool_length: float = LENGTH,
        column_radius: float = 0.15,
    ) -> None:
        """Set the arm up at the world's origin.

        Args:
            arm: the arm; its base's axes are the world's.
            base_height: of the arm's base above the floor [m].
            pallet_position: of the pallet's frame (middle of the deck's top) in the world [m].
            pallet_yaw: of the pallet's x axis about the world's z [rad].
            tool_length: from the flange to the cups' lips [m].
            column_radius: of what the arm stands on, up to its shoulder [m].
        """
        self._kinematics = Kinematics(arm)
        self._home = np.array(arm.home)
        # Column of the solutions that has the arm's shoulder, elbow and wrist as they are at home: an arm that works
        # from home never leaves it.
        at_home = self._kinematics.inverse(*self._kinematics.flange_pose(self._home[None]), self._home[None])[0]
        self._configuration = int(np.nanargmin(np.abs(at_home - self._home).max(axis=1)))
        self._tool_length = tool_length
        self._pallet = np.array(pallet_position) - np.array([0, 0, base_height])
        self._yaw = pallet_yaw
        self._cos, self._sin = np.cos(pallet_yaw), np.sin(pallet_yaw)
        moving = [i for i, link in enumerate(self._kinematics.capsule_links) if link != "shoulder"]
        self._moving = np.array(moving)
        self._radii = self._kinematics.radii[moving]
        self._links = [self._kinematics.capsule_links[i] for i in moving]
        # The column and shoulder as a box in the pallet's frame, from the floor up.
        column = self._to_pallet(np.zeros((1, 3)))[0]
        top = column[2] + self._kinematics.d1 + 0.1
        floor = -pallet_position[2]
        half = column_radius * (abs(self._cos) + abs(self._sin))
        self._column = (
            np.array([[column[0], column[1], (top + floor) / 2]]),
            np.array([[half, half, (top - floor) / 2]]),
        )

    def __call__(self, carton: Carton, placement: Placement, placed: Sequence[tuple[Carton, Placement]]) -> bool:
        """Whether `carton` can be placed there when the cartons `placed` stand on the pallet already."""
        return self._obstacle(carton, placement, placed) is None

    def explain(self, carton: Carton, placement: Placement, placed: Sequence[tuple[Carton, Placement]]) -> str:
        """Why `carton` cannot be placed there, in words; "reachable" if it can."""
        return self._obstacle(carton, placement, placed) or "reachable"

    def _obstacle(self, carton: Carton, placement: Placement, placed: Sequence[tuple[Carton, Placement]]) -> str | None:
        center, half = _box(carton, placement)
        centers, halves, names = _load(placed)
        rises = _rises(center, half, centers[1:], halves[1:])
        # Waypoints from the top down to the place, in the pallet's frame.
        tips = np.tile(center + np.array([0, 0, half[2]]), (len(rises), 1))
        tips[:, 2] += rises
        solutions = self._kinematics.tool_down_solutions(
            self._to_base(tips),
            np.full(len(rises), placement.yaw + self._yaw),
            np.tile(self._home, (len(rises), 1)),
            self._tool_length,
        )
        q = solutions[:, self._configuration]
        reached = ~np.isnan(q[:, 0])
        if not reached.all():
            return f"the arm does not reach {rises[np.argmin(reached)]:.2f} m above the place"
        for name, extent, above, clearance in GRIPPER_BOXES:
            box = extent[[1, 0, 2]] if _turned(placement) else extent
            hit = _first_overlap(tips + np.array([0, 0, above]), box, centers, halves, clearance)
            if hit is not None:
                return f"the {name} would come within {1000 * clearance:.0f} mm of {names[hit]}"
        bodies = tips - np.array([0, 0, half[2]])
        if _first_overlap(bodies, half, *self._column, CLEARANCE) is not None:
            return f"the carton would come within {1000 * CLEARANCE:.0f} mm of the arm's column"
        return self._link_obstacle(q, bodies, half, centers, halves, names)

    def _link_obstacle(
        self, q: Floats, bodies: Floats, half: Floats, centers: Floats, halves: Floats, names: list[str]
    ) -> str | None:
        """What the links come too close to at waypoints q (n, 6) while the carried carton is at `bodies` (n, 3)."""
        ends, _ = self._kinematics.link_capsules(q)
        ends = self._to_pallet(ends[:, self._moving])
        count = len(q)
        # Per waypoint: the load, the pallet and the carried carton.
        middle = np.concatenate((np.broadcast_to(centers, (count, *centers.shape)), bodies[:, None]), axis=1)
        extent = np.concatenate((halves, half[None]))
        low = np.minimum(ends[:, :, 0], ends[:, :, 1])[:, :, None] - extent
        high = np.maximum(ends[:, :, 0], ends[:, :, 1])[:, :, None] + extent
        reach = (self._radii + CLEARANCE)[:, None, None]
        near = ((middle[:, None] > low - reach) & (middle[:, None] < high + reach)).all(axis=3)
        waypoint, link, box = np.nonzero(near)
        if not len(waypoint):
            return None
        distance = segment_box_distance(
            ends[waypoint, link, 0] - middle[waypoint, box],
            ends[waypoint, link, 1] - middle[waypoint, box],
            extent[box],
        )
        gap = distance - self._radii[link]
        worst = int(np.argmin(gap))
        if gap[worst] >= CLEARANCE:
            return None
        name = [*names, "the carried carton"][box[worst]]
        part = self._links[link[worst]].replace("_", " ")
        return f"the {part} would come within {1000 * max(gap[worst], 0):.0f} mm of {name}"

    def _to_base(self, points: Floats) -> Floats:
        x, y, z = points.T
        return np.stack((self._cos * x - self._sin * y, self._sin * x + self._cos * y, z), axis=1) + self._pallet

    def _to_pallet(self, points: Floats) -> Floats:
        x, y, z = np.moveaxis(points - self._pallet, -1, 0)
        return np.stack((self._cos * x + self._sin * y, self._cos * y - self._sin * x, z), axis=-1)


def segment_box_distance(start: Floats, end: Floats, half: Floats) -> Floats:
    """Distances from segments to boxes centred on the origin [m], (n,); 0 where a segment meets its box.

    Args:
        start: of the segments, relative to the boxes' centres [m], (n, 3).
        end: of the segments, likewise, (n, 3).
        half: half extents of the boxes [m], (n, 3).
    """
    along = end - start
    low, high = np.zeros(len(start)), np.ones(len(start))
    for _ in range(20):
        middle = (low + high) / 2
        point = start + middle[:, None] * along
        outside = point - np.clip(point, -half, half)
        rising = (outside * along).sum(axis=1) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    point = start + low[:, None] * along
    other = start + high[:, None] * along
    return np.minimum(
        np.linalg.norm(point - np.clip(point, -half, half), axis=1),
        np.linalg.norm(other - np.clip(other, -half, half), axis=1),
    )


def _turned(placement: Placement) -> bool:
    return abs(np.sin(placement.yaw)) > 0.5


def _box(carton: Carton, placement: Placement) -> tuple[Floats, Floats]:
    """Centre and half extents of a placed carton in the pallet's frame [m]."""
    length, width, height = carton.size
    half = np.array([width, length, height] if _turned(placement) else [length, width, height]) / 2
    return np.array(placement.position) + np.array([0, 0, half[2]]), half


def _load(placed: Sequence[tuple[Carton, Placement]]) -> tuple[Floats, Floats, list[str]]:
    """Centres and half extents [m] of the pallet and the cartons on it, (1 + n, 3), and their names."""
    boxes = [_box(*one) for one in placed]
    pallet = np.array(PALLET_SIZE) / 2
    centers = np.array([(0, 0, -pallet[2]), *(c for c, _ in boxes)], dtype=np.float64)
    halves = np.array([pallet, *(h for _, h in boxes)], dtype=np.float64)
    return centers, halves, ["the pallet", *(f"carton {p.carton} ({c.article})" for c, p in placed)]


def _rises(center: Floats, half: Floats, centers: Floats, halves: Floats) -> Floats:
    """Heights of the waypoints above the place, the highest first [m]."""
    top = APPROACH[-1]
    if len(centers):
        apart = (np.abs(centers - center) - halves - half)[:, :2].max(axis=1)
        near = apart < NEARBY
        if near.any():
            top = max(top, float((centers + halves)[near, 2].max() - (center - half)[2]) + CARRY)
    more = np.arange(APPROACH[-1], top, 0.15)[1:]
    return np.array(sorted({*APPROACH, *more.tolist(), top}, reverse=True))


def _first_overlap(positions: Floats, half: Floats, centers: Floats, halves: Floats, clearance: float) -> int | None:
    """Number of a box from which a box of half extents `half` at one of `positions` (n, 3) is not `clearance` apart."""
    apart = (np.abs(positions[:, None] - centers) - halves - half).max(axis=2)
    hits = np.nonzero((apart < clearance).any(axis=0))[0]
    return int(hits[0]) if len(hits) else None
