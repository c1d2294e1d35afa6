"""Carrying a tote: gripping it, by suction or by its rim, and setting it down, on the pile of empties for one."""

from __future__ import annotations

import numpy as np

from assets import folding_tote, totes
from assets.combi_tool import PAD_HEIGHT, PAD_REACH, STROKE
from assets.tote_cell import BIN
from sim.totes import FOLDING
from tasks.totes.arm import CLOSE_PERIODS, LAG, OPEN_PERIODS, Answer, Arm, Script
from tasks.totes.cell import PILE_AT, TABLE_AT
from tasks.totes.motion import HEADING, HEIGHT, PITCH, SWING, TURN, nearest
from tasks.totes.variants import cavity

SEAL_PERIODS = 8  # that the vacuum may take
CARRY = 0.55  # share of the speed limits with a tote in hand
GENTLE = 0.20  # share while it is set down
PINCH_DEEP = 0.036  # [m] of the fingers below a rim
HOLD_LOW = 0.065  # [m] of the vacuum pad's middle below a rim
TALL = 0.2  # [m] totes higher than this are held by the vacuum pad on a wall, lower ones pinched by the rim


def stack(arm: Arm) -> Script:
    """Take the empty tote up and set it onto the pile."""
    goal = np.array([arm.of("pile.x"), arm.of("pile.y"), arm.of("pile.top")])
    placed = np.sqrt(((arm.tote - goal) ** 2).sum()) < 0.05
    if placed:
        yield from arm.follow(arm.line(arm.raised(arm.travel)))
        yield from arm.wait(2)
        return
    if not (yield from take_tote(arm, PILE_AT)):
        return
    offset, turned = grip(arm)
    goals = []
    for _ in range(4):  # averaged: the nest leaves little room
        goals.append([*(arm.of(f"pile.{k}") for k in ("x", "y", "top", "yaw"))])
        yield
    x, y, z, yaw = np.mean(goals, axis=0).tolist()
    yaw = nearest(yaw, arm.tool[HEADING] - TABLE_AT, np.pi)
    yield from set_tote(arm, np.array([x, y, z]), yaw, offset, turned)


def take_tote(arm: Arm, towards: float) -> Answer:
    """Grip the tote to carry it towards a heading, lift it a little, and say whether it is held."""
    if arm.kind == FOLDING:
        yield from _suck_top(arm)
    elif arm.height > TALL:
        yield from _suck_side(arm, towards)
    else:
        yield from _pinch_rim(arm)
    held = arm.holding or arm.pinching
    if not held:
        arm.suction, arm.opening = False, STROKE if arm.kind != FOLDING else 0.0
        yield from arm.wait(OPEN_PERIODS)
        yield from arm.follow(arm.line(arm.raised(arm.travel)))
        return False
    yield from arm.follow(arm.line(arm.raised(arm.tool[HEIGHT] + 0.04), GENTLE))
    yield from arm.wait(LAG)
    return True


def _suck_top(arm: Arm) -> Script:
    """Press the vacuum pad onto the topmost wall of the folded tote, the tool lying flat, and draw."""
    arm.opening = 0.0
    first = int(arm.of("tote.fold_first"))
    upper = -1.0 if first == 0 else 1.0
    top = folding_tote.hinge_heights(first).max() + folding_tote.wall_table(first).panel_half[2].min()
    for attempt in range(3):
        pose = _flat_pose(arm, arm.in_tote((0.0, upper * (0.080 - 0.01 * attempt), float(top))), arm.tote_yaw)
        above = pose.copy()
        above[HEIGHT] += 0.25
        if arm.tool[PITCH] < 1.0:
            yield from arm.follow(arm.line(arm.raised(arm.travel)))
            yield from arm.follow(arm.motion.swing(arm.tool, above, arm.joints))
        else:
            yield from arm.follow(arm.hop(above, above[HEIGHT]))
        yield from arm.wait(1)
        yield from arm.follow(arm.line(pose, 0.6))
        if (yield from _draw(arm)):
            return


def _draw(arm: Arm) -> Answer:
    """Come to rest against what is to be held, draw, and say whether it is."""
    yield from arm.wait(LAG)
    arm.suction = True
    yield from arm.wait(SEAL_PERIODS, until=lambda: arm.holding)
    # The vacuum builds up.
    yield from arm.wait(3)
    arm.suction = arm.holding
    return arm.holding


def _flat_pose(arm: Arm, lips: np.ndarray, out: float) -> np.ndarray:
    """Return the tool pose that lies flat, pointing along `out` [rad], its lips on the point `lips` from above."""
    along = np.array([np.cos(out), np.sin(out), 0.0])
    tips = lips + np.array([0.0, 0.0, PAD_REACH]) + PAD_HEIGHT * along
    return arm.motion.pitched(tips, out, -np.pi / 2, np.pi / 2, arm.tool)


def _suck_side(arm: Arm, towards: float) -> Script:
    """Press the vacuum pad against a long wall from outside, high up, the tool hanging beside the tote.

    On the way to the heading `towards` the tool follows the tote: what it hangs down below would hit a high pile.
    """
    arm.opening = 0.0
    width = totes.size(totes.KINDS[arm.kind])[1]
    behind = -1.0 if towards > TABLE_AT else 1.0
    for side in (behind, -behind):
        # The tool's y looks at the wall: along +y of the tote from its -y side.
        yaw = arm.tote_yaw + (np.pi if side < 0 else 0.0)
        tip = (0.0, side * (width / 2 + PAD_REACH), arm.height - HOLD_LOW - PAD_HEIGHT)
        beside = arm.motion.at(arm.in_tote((0.0, tip[1] + side * 0.05, tip[2])), yaw, arm.tool)
        touching = arm.motion.at(arm.in_tote((0.0, tip[1] - side * 0.002, tip[2])), yaw, arm.tool)
        path = arm.hop(beside, arm.travel + 0.12)
        if path is None:
            continue
        yield from arm.follow(path)
        yield from arm.wait(1)
        yield from arm.follow(arm.line(touching, 0.4))
        if (yield from _draw(arm)):
            return
        yield from arm.follow(arm.line(beside, 0.5))


def _pinch_rim(arm: Arm) -> Script:
    """Close the fingers on the middle of a long wall's rim."""
    arm.opening = 0.06
    (_, width), _, rim = cavity(arm.kind)
    outer = totes.size(totes.KINDS[arm.kind])[1]
    for side in (-1.0, 1.0):
        point = arm.in_tote((0.0, side * (width + outer) / 4, rim - PINCH_DEEP))
        pose = arm.motion.at(point, arm.tote_yaw + np.pi / 2, arm.tool, half_turns=True)
        path = arm.hop(pose, arm.travel)
        if path is None:
            continue
        yield from arm.follow(path)
        yield from arm.wait(LAG)
        arm.opening = 0.0
        yield from arm.wait(CLOSE_PERIODS)
        return


def grip(arm: Arm) -> tuple[np.ndarray, float]:
    """Return where the held tote is, seen from the tool: (3,) [m] from the fingertips, turned back by the tool's
    heading, and its heading against the tool's [rad]."""
    tips = arm.motion.tips(arm.tool[None])[0]
    plane = float(arm.tool[HEADING] + arm.tool[SWING])
    away = arm.tote - tips
    c, s = np.cos(plane), np.sin(plane)
    return np.array([c * away[0] + s * away[1], c * away[1] - s * away[0], away[2]]), arm.tote_yaw - plane


def tool_for(arm: Arm, tote: np.ndarray, yaw: float, offset: np.ndarray, turned: float) -> np.ndarray:
    """Return the tool pose that holds the tote at a place, turned by `yaw`; grip as `_grip` gives it."""
    plane = yaw - turned
    c, s = np.cos(plane), np.sin(plane)
    tips = tote - np.array([c * offset[0] - s * offset[1], s * offset[0] + c * offset[1], offset[2]])
    pose = arm.motion.pitched(tips, plane, arm.tool[TURN], arm.tool[PITCH], arm.tool)
    return pose


def set_tote(arm: Arm, place: np.ndarray, yaw: float, offset: np.ndarray, turned: float) -> Script:
    """Carry the held tote over a place, lower it, and let go."""
    over = tool_for(arm, place + np.array([0.0, 0.0, 0.03]), yaw, offset, turned)
    clear = max(float(place[2]), arm.layout.bin_floor + BIN[2], arm.layout.table_height) + 0.06
    top = max(clear - float(offset[2]), over[HEIGHT])
    yield from arm.follow(arm.hop(over, top, CARRY), until=lambda: lost_tote(arm))
    yield from arm.wait(LAG)
    down = tool_for(arm, place + np.array([0.0, 0.0, 0.0005]), yaw, offset, turned)
    yield from arm.follow(arm.line(down, GENTLE), until=lambda: lost_tote(arm))
    yield from arm.wait(LAG + 1)
    yield from _let_go(arm)


def lost_tote(arm: Arm) -> bool:
    """Say whether neither suction nor fingers hold anything any more."""
    return not arm.holding and not arm.pinching


def _let_go(arm: Arm) -> Script:
    pinched = not arm.suction
    arm.suction = False
    if pinched:
        arm.opening = 0.06
    yield from arm.wait(OPEN_PERIODS + 1)
    if not pinched and arm.tool[PITCH] < 0.1:
        # Away from the wall first.
        away = arm.tool.copy()
        axes = arm.motion.rotations(arm.tool[None])[0]
        tips = arm.motion.tips(arm.tool[None])[0] - 0.05 * axes[:, 1]
        away = arm.motion.at(tips, float(np.arctan2(axes[1, 0], axes[0, 0])), arm.tool)
        yield from arm.follow(arm.line(away, 0.6))
    yield from arm.follow(arm.line(arm.raised(arm.tool[HEIGHT] + 0.15)))
