"""Pouring a rigid tote out: it is held by a wall, tipped over the bin until it is empty, and set back."""

from __future__ import annotations

import numpy as np

from assets import totes
from assets.tote_cell import BIN, BIN_WALL
from sim.cell import PERIOD
from tasks.totes.arm import Arm, Script
from tasks.totes.carrying import CARRY, grip, lost_tote, set_tote, take_tote, tool_for
from tasks.totes.cell import BIN_AT, TABLE_AT
from tasks.totes.motion import HEADING, HEIGHT, PITCH, SWING, TURN, Obstacle, Path, nearest

TIP_ANGLE = np.deg2rad(142.0)  # how far a tote is tipped to pour it out
SLIDING = np.deg2rad([8.0, 48.0])  # between these angles parts begin to slide [rad]:
TIP_SLOW, TIP_FAST = np.deg2rad(10.0), np.deg2rad(35.0)  # slowly there, or their impact tears the tote off [rad/s]
RISING = np.deg2rad(60.0)  # from this angle on the tote rises
RISES = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35)  # [m]


def pour(arm: Arm) -> Script:
    """Hold the tote by a wall, tip it over the bin until it is empty, and set it back on the table."""
    arm.poured = True
    home, home_yaw = arm.tote.copy(), arm.tote_yaw
    if not (yield from take_tote(arm, BIN_AT)):
        return
    offset, turned = grip(arm)
    middle = arm.layout.station(BIN_AT, 0.0)
    length, _, height = totes.size(totes.KINDS[arm.kind])
    half = 0.5 * float(np.hypot(length, height))
    middle[2] = arm.layout.bin_floor + BIN[2] + half + 0.05
    # The tote's middle is what stays over the bin's; `offset` counts to its underside.
    lifted = offset + np.array([0.0, 0.0, arm.height / 2])
    over = tool_for(arm, middle, BIN_AT, lifted, turned)
    top = max(arm.travel - float(offset[2]), over[HEIGHT])
    yield from arm.follow(arm.hop(over, top, CARRY), until=lambda: lost_tote(arm))
    path = _tipping(arm, middle, lifted)
    if path is not None:
        yield from arm.follow(path, until=lambda: lost_tote(arm))
        yield from arm.wait(6)
        yield from _shake(arm)
        back = arm.motion.path(path.tool[::-1], arm.joints)
        yield from arm.follow(back, until=lambda: lost_tote(arm))
    yield from set_tote(arm, home, nearest(home_yaw, TABLE_AT, np.pi), offset, turned)


def _tipping(arm: Arm, middle: np.ndarray, lifted: np.ndarray) -> Path | None:
    """Return the way that turns the held tote over; None where the arm cannot go.

    The tote's middle stays where it is while parts slide out, and rises after that as far as the wrist, which comes to
    hang below it, needs to pass the bin.
    """
    inside = arm.layout.station(BIN_AT, arm.layout.bin_floor + BIN[2] / 2)
    box = Obstacle(inside, BIN_AT, np.array([BIN[0], BIN[1], BIN[2]]) / 2 + BIN_WALL)
    for rise in RISES:
        path = arm.motion.path(_tipped(arm, middle, lifted, rise), arm.joints)
        if path is not None and arm.motion.clear(path, [box]):
            return path
    return None


def _tipped(arm: Arm, middle: np.ndarray, lifted: np.ndarray, rise: float) -> np.ndarray:
    """Return tool poses (k, 6) that turn the held tote over and raise its middle by `rise` [m] meanwhile."""
    pitch, rate = [0.0], 0.0
    while pitch[-1] < TIP_ANGLE:
        sliding = SLIDING[0] < pitch[-1] < SLIDING[1]
        wanted = min(TIP_SLOW if sliding else TIP_FAST, max(1.5 * (TIP_ANGLE - pitch[-1]), 0.05))
        rate += float(np.clip(wanted - rate, -0.15, 0.06))
        pitch.append(min(pitch[-1] + rate * PERIOD, TIP_ANGLE))
    plane = float(arm.tool[HEADING] + arm.tool[SWING])
    c, s = np.cos(plane), np.sin(plane)
    poses = []
    for angle in pitch:
        # In the plane of pitching, up leans towards the arm as down goes away from it.
        out = np.cos(angle) * lifted[0] - np.sin(angle) * lifted[2]
        up = np.sin(angle) * lifted[0] + np.cos(angle) * lifted[2]
        away = np.array([c * out - s * lifted[1], s * out + c * lifted[1], up])
        share = float(np.clip((angle - RISING) / (TIP_ANGLE - RISING), 0.0, 1.0))
        raised = middle + np.array([0.0, 0.0, rise * share * share * (3.0 - 2.0 * share)])
        poses.append(arm.motion.pitched(raised - away, plane, arm.tool[TURN], float(angle), arm.tool))
    return np.stack(poses)


def _shake(arm: Arm) -> Script:
    """Rock the tipped tote a little, so that what sticks comes out."""
    for sign in (-1.0, 1.0, -1.0, 1.0):
        goal = arm.tool.copy()
        goal[PITCH] += sign * np.deg2rad(7.0)
        yield from arm.follow(arm.line(goal), until=lambda: lost_tote(arm))
