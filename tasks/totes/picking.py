"""Picking a part out of the tote and bringing it into the bin; what slips away is tried again, another part first."""

from __future__ import annotations

import numpy as np

from assets.combi_tool import LENGTH, STROKE
from assets.tote_cell import BIN, BIN_WALL, TABLE
from sim.totes import SIZES
from tasks.totes import grasps
from tasks.totes.arm import CLOSE_PERIODS, LAG, OPEN_PERIODS, OVER, Arm, Script
from tasks.totes.cell import BIN_AT, TABLE_AT
from tasks.totes.motion import HEIGHT, OVERLAP, Obstacle, Path
from tasks.totes.task import IN_BIN, IN_TOTE
from tasks.totes.variants import cavity

HANGS = 0.13  # [m] that a held part may hang below the fingertips, with some room
SQUEEZE = 0.014  # [m] narrower than a part the fingers are told to go: they press until the servo has closed in on it
LIFTED = 0.02  # [m] by which a tote, or another part, has come up with a part
SPOTS = [(x, y) for x in (-0.16, 0.0, 0.16) for y in (-0.09, 0.09)]  # where parts go, in the bin's frame [m]
ABOVE = 0.03  # [m] over a part that is to be drawn aside, from where on the fingers come down slowly
MOST_NUDGES = 3  # drags in a row, before a grasp that may well slip is tried
MOST_RETURNS = 2  # times that a part is put back because it slips, or because another one comes up with it
MISFIT = 0.005  # [m] from the width that a part was thought to have where it is held
SLIP = 0.0008  # [m] by which the fingers close further on a part that slips
STILL_OVER = 0.06  # [rad, m] from where it was taken, a part that slips is put back
NEAR = 0.10  # [m] between parts' middles, from above, of which one may lie on the other
HASTE = 0.75  # share of the speed limits with a part between the fingers
CAREFUL = 0.45  # the same with a part that may slip, or while one is put back or drawn aside
STANDS = 0.030  # [m] by which fingertips that are let down slowly lag where they stand on something


def pick(arm: Arm) -> Script:
    """Grasp a part and bring it into the bin; what slips away is tried again later."""
    arm.suction = False
    daring = arm.nudged >= MOST_NUDGES
    chosen = _reachable_grasp(arm, daring)
    if chosen is None:
        arm.nudged += 1
        yield from _nudge(arm)
        return
    arm.nudged = 0
    grasp, path = chosen
    failures = arm.failed.get(grasp.slot, 0)
    arm.opening = grasp.opening
    yield from arm.follow(path)
    yield from arm.wait(LAG)
    arm.opening = max(grasp.width - SQUEEZE, 0.0)
    yield from arm.wait(CLOSE_PERIODS)
    careful = daring or failures or _beneath(arm, grasp.slot) or abs(arm.fingers - grasp.width) > MISFIT
    spot, haste = _drop_place(arm), CAREFUL if careful else HASTE
    carry = arm.hop(spot, arm.travel - OVER + HANGS + OVERLAP, haste)
    if carry is None:
        carry = arm.line(arm.raised(arm.travel))
    stands, low, heights, grip = float(arm.tote[2]), arm.tool.copy(), arm.parts[:, 5].copy(), arm.fingers

    def fails() -> bool:
        """The part is lost or slips, another one or the tote comes along: it is put back as long as that can be.

        What slips, or brings another one, only at first, or it would never be taken.
        """
        over = np.abs(arm.tool[:2] - low[:2]).max() < STILL_OVER
        doubtful = failures < MOST_RETURNS and (arm.fingers < grip - SLIP or _stowaway(arm, grasp.slot, heights))
        return not arm.pinching or (over and (doubtful or arm.tote[2] > stands + LIFTED))

    failed = yield from arm.follow(carry, until=fails)
    if failed and arm.pinching:
        yield from arm.follow(arm.line(low, CAREFUL))
        yield from arm.wait(LAG)
    elif not failed:
        arm.opening = min(arm.fingers + 0.03, STROKE)
        yield from arm.wait(OPEN_PERIODS)
        return
    arm.failed[grasp.slot] = failures + 1
    arm.opening = STROKE
    yield from arm.wait(OPEN_PERIODS)
    yield from arm.follow(arm.line(arm.raised(arm.travel)))


def _beneath(arm: Arm, slot: int) -> bool:
    """Say whether other parts may lie on the one in `slot`, and fly if it is lifted in haste."""
    away = arm.parts[:, 3:6] - arm.parts[slot, 3:6]
    near = (arm.parts[:, 0] == IN_TOTE) & (away[:, 0] ** 2 + away[:, 1] ** 2 < NEAR**2)
    return bool((near & (away[:, 2] > 0.015)).any())


def _stowaway(arm: Arm, slot: int, heights: np.ndarray) -> bool:
    """Say whether another part comes up with the one in `slot`; `heights` are from before [m]."""
    gained = arm.parts[:, 5] - heights
    comes = (arm.parts[:, 0] != IN_BIN) & (gained > np.maximum(LIFTED, 0.6 * gained[slot]))
    comes[slot] = False
    return bool(comes.any())


def _reachable_grasp(arm: Arm, daring: bool) -> tuple[grasps.Grasp, Path] | None:
    """Return the best grasp that the arm gets to without touching anything, and its way there."""
    there = np.flatnonzero(arm.parts[:, 0] == IN_TOTE)
    index = (arm.parts[there, 1] * SIZES + arm.parts[there, 2]).astype(np.int64)
    position, rotation = arm.parts[there, 3:6], arm.parts[there, 6:10]
    found = grasps.grasps(index, position, rotation, there, arm.cavity(), count=12, daring=daring)
    obstacles = _obstacles(arm)
    for grasp in _fresh_first(arm, found):
        goal = arm.motion.at(grasp.position, grasp.yaw, arm.tool)
        path = arm.hop(goal, arm.travel)
        if path is not None and arm.motion.clear(path, obstacles, grasp.opening):
            return grasp, path
    return None


def _fresh_first(arm: Arm, found: list[grasps.Grasp]) -> list[grasps.Grasp]:
    """Order grasps: those of parts that never failed first, and of one that did each time another grasp."""
    of_slot: dict[int, list[grasps.Grasp]] = {}
    for grasp in found:
        of_slot.setdefault(grasp.slot, []).append(grasp)
    ranked = []
    for order, (slot, theirs) in enumerate(of_slot.items()):
        failures = arm.failed.get(slot, 0)
        ranked += [((failures, (k - failures) % len(theirs), order), g) for k, g in enumerate(theirs)]
    return [grasp for _, grasp in sorted(ranked, key=lambda entry: entry[0])]


def _obstacles(arm: Arm) -> list[Obstacle]:
    """Return what the arm must not touch: the table, and the walls of tote and bin."""
    (length, width), floor, rim = cavity(arm.kind)
    boxes = _well(arm.in_tote((0.0, 0.0, (floor + rim) / 2)), arm.tote_yaw, (length, width, rim - floor), 0.016)
    bin_middle = arm.layout.station(BIN_AT, arm.layout.bin_floor + BIN[2] / 2)
    boxes += _well(bin_middle, BIN_AT, BIN, BIN_WALL)
    table = arm.layout.station(TABLE_AT, arm.layout.table_height - 0.015)
    boxes.append(Obstacle(table, TABLE_AT, np.array([TABLE[0] / 2, TABLE[1] / 2, 0.015])))
    return boxes


def _drop_place(arm: Arm) -> np.ndarray:
    """Return where over the bin to let go: over the lowest of a few spots."""
    middle = arm.layout.station(BIN_AT, arm.layout.bin_floor)
    binned = arm.parts[arm.parts[:, 0] == IN_BIN, 3:6]
    c, s = np.cos(BIN_AT), np.sin(BIN_AT)
    best, lowest = middle, np.inf
    for x, y in SPOTS:
        at = middle + np.array([c * x - s * y, s * x + c * y, 0.0])
        close = binned[np.sqrt(((binned[:, :2] - at[:2]) ** 2).sum(1)) < 0.13]
        heap = len(close) * 0.02 + (close[:, 2].max() - middle[2] if len(close) else 0.0)
        if heap < lowest - 1e-9:
            best, lowest = at, heap
    height = middle[2] + float(np.clip(lowest + 0.16, 0.20, BIN[2] + 0.05))
    return arm.motion.at(np.array([best[0], best[1], height]), BIN_AT, arm.tool, half_turns=True)


def _nudge(arm: Arm) -> Script:
    """Nothing can be grasped: draw a part away from the wall, then look again."""
    there = np.flatnonzero(arm.parts[:, 0] == IN_TOTE)
    index = (arm.parts[there, 1] * SIZES + arm.parts[there, 2]).astype(np.int64)
    found = grasps.nudge(index, arm.parts[there, 3:6], arm.parts[there, 6:10], there, arm.cavity(), arm.drags)
    if found is None:
        yield from arm.follow(arm.line(arm.raised(arm.travel)))
        arm.nudged = MOST_NUDGES  # there is nothing to draw at either
        return
    arm.drags += 1
    start, end = found
    arm.opening = 0.0
    yaw = grasps.drag_yaw(start, end)
    touching = arm.motion.at(start, yaw, arm.tool)
    above = touching.copy()
    above[HEIGHT] += ABOVE
    # Gently: a part that is hit at its edge flies out of the tote.
    yield from arm.follow(arm.hop(above, arm.travel))
    yield from arm.follow(arm.line(touching, CAREFUL), until=lambda: _held_up(arm) > STANDS)
    yield from arm.wait(LAG)
    # What stands higher than expected is not pressed on any harder.
    aside = arm.motion.at(end, yaw, arm.tool)
    aside[HEIGHT] = max(aside[HEIGHT], arm.tool[HEIGHT] + _held_up(arm) - grasps.PRESS)
    yield from arm.follow(arm.line(aside, CAREFUL))
    yield from arm.follow(arm.line(arm.raised(arm.travel)))
    arm.opening = STROKE


def _held_up(arm: Arm) -> float:
    """Return how far above where they were sent the fingertips are [m]."""
    position, rotation = arm.motion.kinematics.flange_pose(arm._state[None, :6])
    tip = position[0, 2] + LENGTH * rotation[0, 2, 2] + arm.layout.base_height
    return float(tip - arm.tool[HEIGHT])


def _well(middle: np.ndarray, yaw: float, inside: tuple[float, float, float], thick: float) -> list[Obstacle]:
    """Return the four walls around an open box of the given inner size, its cavity's middle at `middle` [m]."""
    length, width, height = inside
    c, s = np.cos(yaw), np.sin(yaw)
    walls = []
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        along, across = x * (length + thick) / 2, y * (width + thick) / 2
        half = (thick / 2, width / 2, height / 2) if x else (length / 2, thick / 2, height / 2)
        at = middle + np.array([c * along - s * across, s * along + c * across, 0.0])
        walls.append(Obstacle(at, yaw, np.array(half)))
    return walls
