"""Folding the walls of a folding tote: the closed fingertips push each along its arc, in the tote's order."""

from __future__ import annotations

import numpy as np

from assets import folding_tote
from sim.latches import FLAT
from sim.totes import FOLDING
from tasks.totes.arm import LAG, Arm, Script
from tasks.totes.motion import HEIGHT

FINGER = 0.012  # [m] half width of the closed fingers, across
FROM_TOP = 0.040  # [m] below its top edge a wall is pushed
PUSH_SPEED = 0.16  # [m/s] of the fingertips along a wall's arc
BREAK_SPEED = 0.05  # [m/s] while the latch breaks loose
PAST_FLAT = np.deg2rad(1.5)  # a wall is pushed this much past flat [rad]


def fold(arm: Arm) -> Script:
    """Push the next wall in turn over and down: the short ones, the long one that lies below, then the other."""
    if arm.kind != FOLDING:
        yield from arm.wait(1)  # nothing to fold: the next stage comes
        return
    lower = int(arm.of("tote.fold_first"))
    order = (0, 1, 2 + lower, 3 - lower)
    standing = [wall for wall in order if arm.walls[wall] < FLAT - np.deg2rad(3.0)]
    if not standing:
        yield from arm.follow(arm.line(arm.raised(arm.travel)))
        yield from arm.wait(2)
        return
    arm.opening, arm.suction = 0.0, False
    arc, yaw = _arc(arm, standing[0])
    goal = arm.motion.at(arc[0], yaw, arm.tool)
    top = float(arm.tote[2]) + folding_tote.SIZE[2] + 0.08
    yield from arm.follow(arm.hop(goal, top))
    yield from arm.wait(LAG)
    push = np.stack([arm.motion.at(point, yaw, arm.tool) for point in arc])
    yield from arm.follow(arm.motion.path(push, arm.joints))
    yield from arm.wait(LAG)
    yield from arm.follow(arm.line(arm.raised(arm.tool[HEIGHT] + 0.05)))


def _arc(arm: Arm, wall: int) -> tuple[np.ndarray, float]:
    """Return the fingertips' way (k, 3) [m] that folds a wall, a point a period, and the tool's heading [rad]."""
    table = folding_tote.wall_table(int(arm.of("tote.fold_first")))
    hinge, thick = table.body[wall], 2.0 * table.panel_half[wall].min()
    outward = np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)][wall])
    radius = folding_tote.SIZE[2] - float(hinge[2]) - FROM_TOP
    # Slowly while the latch breaks, then faster.
    start, slow, end = float(arm.walls[wall]) - np.deg2rad(6.0), np.deg2rad(8.0), FLAT + PAST_FLAT
    angles = [start]
    while angles[-1] < end:
        loose = max(angles[-1] - slow, 0.0)
        speed = min(PUSH_SPEED, BREAK_SPEED + 0.6 * loose * radius)
        speed = min(speed, max(BREAK_SPEED, 1.5 * (end - angles[-1]) * radius))
        angles.append(min(angles[-1] + speed / radius * 0.1, end))
    turn = np.array(angles)
    # A ball of the fingers' half width rolls over the wall's outer face; the fingertips are its lowest point.
    off = thick / 2 + FINGER
    out = off * np.cos(turn) - radius * np.sin(turn)
    up = radius * np.cos(turn) + off * np.sin(turn) - FINGER
    level = hinge[:2] @ outward
    side = hinge[:2] - level * outward
    local = np.concatenate([side + (level + out)[:, None] * outward, (hinge[2] + up)[:, None]], axis=1)
    points = np.stack([arm.in_tote(tuple(point)) for point in local])
    heading = arm.tote_yaw + np.arctan2(outward[1], outward[0])
    # The tool's y, and the vacuum pad with it, looks outward.
    return points, float(np.arctan2(np.cos(heading), -np.sin(heading)))
