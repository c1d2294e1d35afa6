"""The tote expert: picks or pours, looks, folds and stacks, in all worlds at once.

It sees only the observation that any policy sees. Each arm runs a script, read from top to bottom below: a generator
that yields once a control period. Which part of it runs is decided by the stage that the observation shows; what failed
is tried again, another part first.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from assets import folding_tote, totes
from assets.combi_tool import LENGTH, PAD_HEIGHT, PAD_REACH, STROKE
from assets.tote_cell import BIN, BIN_WALL, TABLE
from sim.cell import PERIOD
from sim.latches import FLAT
from sim.rotations import yaw_of
from sim.totes import FOLDING, SIZES
from tasks.totes import grasps
from tasks.totes.cell import BIN_AT, PILE_AT, TABLE_AT, ToteLayout
from tasks.totes.motion import HEADING, HEIGHT, OVERLAP, PITCH, SWING, TURN, Motion, Obstacle, Path, nearest
from tasks.totes.task import IN_BIN, IN_TOTE, PART_NAMES, SCENE_NAMES, STATE_NAMES
from tasks.totes.variants import BREAK_DOWN, CHECK, DECANT, STACK, cavity

Script = Generator[None, None, None]

OVER = 0.12  # [m] between the fingertips and what they pass over
HANGS = 0.13  # [m] that a held part may hang below the fingertips, with some room
STOPPING = (0.6, 0.9)  # of a path's next step: where it goes on to when it is broken off, not to stop dead
LAG = 2  # periods that the arm needs to come to rest where it was sent
CLOSE_PERIODS, OPEN_PERIODS, SEAL_PERIODS = 5, 2, 8
SQUEEZE = 0.014  # [m] narrower than a part the fingers are told to go: they press until the servo has closed in on it
LIFTED = 0.02  # [m] by which a tote, or another part, has come up with a part
HELD = 0.003  # [m] fingers further apart than they were told to be have something between them
SPOTS = [(x, y) for x in (-0.16, 0.0, 0.16) for y in (-0.09, 0.09)]  # where parts go, in the bin's frame [m]
FINGER = 0.012  # [m] half width of the closed fingers, across
FROM_TOP = 0.040  # [m] below its top edge a wall is pushed
PUSH_SPEED = 0.16  # [m/s] of the fingertips along a wall's arc
BREAK_SPEED = 0.05  # [m/s] while the latch breaks loose
PAST_FLAT = np.deg2rad(1.5)  # a wall is pushed this much past flat [rad]
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
CARRY = 0.55  # share of the speed limits with a tote in hand
GENTLE = 0.20  # share while it is set down
PINCH_DEEP = 0.036  # [m] of the fingers below a rim
HOLD_LOW = 0.065  # [m] of the vacuum pad's middle below a rim
TIP_ANGLE = np.deg2rad(142.0)  # how far a tote is tipped to pour it out
SLIDING = np.deg2rad([8.0, 48.0])  # between these angles parts begin to slide [rad]:
TIP_SLOW, TIP_FAST = np.deg2rad(10.0), np.deg2rad(35.0)  # slowly there, or their impact tears the tote off [rad/s]
TALL = 0.2  # [m] totes higher than this are held by the vacuum pad on a wall, lower ones pinched by the rim


class ToteExpert:
    """Acts on the observation of `tasks.totes.task` (fits the `Policy` contract)."""

    def __init__(self, layout: ToteLayout, nworld: int):
        """Drive `nworld` arms of one layout."""
        self._motion = Motion(layout.arm, layout.base_height)
        self._layout = layout
        self._arms = [_Arm(self._motion, layout) for _ in range(nworld)]

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start afresh in the worlds `ids`, from home."""
        for i in ids:
            self._arms[i] = _Arm(self._motion, self._layout)

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the next action chunk (n, 1, 8): joint targets [rad], suction, opening of the fingers [m]."""
        action = np.empty((len(ids), 1, 8))
        for k, i in enumerate(ids):
            arm = self._arms[i]
            arm.see(observation["state"][k].astype(np.float64), observation["environment_state"][k].astype(np.float64))
            next(arm.script)
            action[k, 0] = *arm.joints, float(arm.suction), arm.opening
        return action


class _Arm:
    """One arm: what it sees, what it last commanded, and its script."""

    def __init__(self, motion: Motion, layout: ToteLayout):
        self.motion, self.layout = motion, layout
        self.joints, self.tool = motion.home_joints.copy(), motion.home.copy()
        self.suction, self.opening = False, STROKE
        self.failed: dict[int, int] = {}  # slot: how often its grasp failed
        self.poured = False
        self.nudged, self.drags = 0, 0  # drags in a row, and in all
        self.script = self._work()

    # ---- what is seen ----------------------------------------------------------------------------------------------

    def see(self, state: np.ndarray, surroundings: np.ndarray) -> None:
        """Take in one world's observation."""
        self._state, self._scene = state, surroundings[: len(SCENE_NAMES)]
        self.parts = surroundings[len(SCENE_NAMES) :].reshape(-1, len(PART_NAMES))

    def _of(self, name: str) -> float:
        return float(self._scene[_SCENE[name]])

    @property
    def stage(self) -> int:
        """The stage that the world is in."""
        return int(self._of("stage"))

    @property
    def kind(self) -> int:
        """Index of the tote's kind."""
        return int(self._of("tote.kind"))

    @property
    def tote(self) -> np.ndarray:
        """The middle of the tote's underside (3,) [m]."""
        return self._scene[_SCENE["tote.x"] : _SCENE["tote.x"] + 3]

    @property
    def tote_yaw(self) -> float:
        """The tote's heading, of its two the one that points away from the arm [rad]."""
        return float(yaw_of(self._scene[_SCENE["tote.qw"] : _SCENE["tote.qw"] + 4]))

    @property
    def walls(self) -> np.ndarray:
        """The angles of the folding tote's walls (4,) [rad]."""
        at = _SCENE[f"tote.{folding_tote.WALLS[0]}.angle"]
        return self._scene[at : at + 4]

    @property
    def fingers(self) -> float:
        """How far the fingers are apart [m]."""
        return float(self._state[_STATE["gripper.opening"]])

    @property
    def pinching(self) -> bool:
        """Whether the fingers hold something."""
        return self.fingers > self.opening + HELD

    @property
    def holding(self) -> bool:
        """Whether the vacuum pad holds something."""
        return bool(self._state[_STATE["suction.holding"]] > 0.5)

    @property
    def height(self) -> float:
        """Height of the tote with its walls as they are [m]."""
        if self.kind != FOLDING:
            return totes.size(totes.KINDS[self.kind])[2]
        return folding_tote.SIZE[2] if self.walls.min() < FLAT / 2 else folding_tote.FOLDED_HEIGHT

    def in_tote(self, point: tuple[float, float, float]) -> np.ndarray:
        """Return a point of the tote's frame in the world (3,) [m]."""
        c, s = np.cos(self.tote_yaw), np.sin(self.tote_yaw)
        return self.tote + np.array([c * point[0] - s * point[1], s * point[0] + c * point[1], point[2]])

    # ---- the script ------------------------------------------------------------------------------------------------

    def _work(self) -> Script:
        yield from self._wait(1)
        while True:
            left = (self.parts[:, 0] == IN_TOTE).any()
            if self.stage in (DECANT, CHECK) and left:
                if self._of("decant.pour") > 0.5 and not self.poured:
                    yield from self._pour()
                else:
                    yield from self._pick()
            elif self.stage == CHECK:
                yield from self._look()
            elif self.stage == BREAK_DOWN:
                yield from self._fold()
            elif self.stage == STACK:
                yield from self._stack()
            else:
                yield from self._wait(1)

    def _wait(self, periods: int, until: Callable[[], bool] = lambda: False) -> Script:
        for _ in range(periods):
            if until():
                return
            yield

    def _follow(self, path: Path | None, until: Callable[[], bool] = lambda: False) -> Generator[None, None, bool]:
        """Go along a path until something happens, and say whether it did."""
        if path is None:
            yield  # nowhere to go: look again
            return False
        for k, (tool, joints) in enumerate(zip(path.tool, path.joints, strict=True)):
            self.tool, self.joints = tool, joints
            yield
            if until():
                for share in STOPPING if k + 1 < len(path.tool) else ():
                    self.tool = tool + share * (path.tool[k + 1] - tool)
                    self.joints = joints + share * (path.joints[k + 1] - joints)
                    yield
                return True
        return False

    def _hop(self, goal: np.ndarray, top: float, speed: float = 1.0) -> Path | None:
        return self.motion.path(self.motion.hop(self.tool, goal, top, speed), self.joints)

    def _line(self, goal: np.ndarray, speed: float = 1.0) -> Path | None:
        return self.motion.path(self.motion.straight(self.tool, goal, speed), self.joints)

    def _raised(self, height: float) -> np.ndarray:
        goal = self.tool.copy()
        goal[HEIGHT] = max(height, self.tool[HEIGHT])
        return goal

    @property
    def _travel(self) -> float:
        """A height of the fingertips that passes over tote, bin and pile [m]."""
        bin_rim = self.layout.bin_floor + BIN[2]
        return max(float(self.tote[2]) + self.height, bin_rim) + OVER

    # ---- decanting -------------------------------------------------------------------------------------------------

    def _pick(self) -> Script:
        """Grasp a part and bring it into the bin; what slips away is tried again later."""
        self.suction = False
        daring = self.nudged >= MOST_NUDGES
        chosen = self._reachable_grasp(daring)
        if chosen is None:
            self.nudged += 1
            yield from self._nudge()
            return
        self.nudged = 0
        grasp, path = chosen
        failures = self.failed.get(grasp.slot, 0)
        self.opening = grasp.opening
        yield from self._follow(path)
        yield from self._wait(LAG)
        self.opening = max(grasp.width - SQUEEZE, 0.0)
        yield from self._wait(CLOSE_PERIODS)
        careful = daring or failures or self._beneath(grasp.slot) or abs(self.fingers - grasp.width) > MISFIT
        spot, haste = self._drop_place(), CAREFUL if careful else HASTE
        carry = self._hop(spot, self._travel - OVER + HANGS + OVERLAP, haste)
        if carry is None:
            carry = self._line(self._raised(self._travel))
        stands, low, heights, grip = float(self.tote[2]), self.tool.copy(), self.parts[:, 5].copy(), self.fingers

        def fails() -> bool:
            """The part is lost or slips, another one or the tote comes along: it is put back as long as that can be.

            What slips, or brings another one, only at first, or it would never be taken.
            """
            over = np.abs(self.tool[:2] - low[:2]).max() < STILL_OVER
            doubtful = failures < MOST_RETURNS and (self.fingers < grip - SLIP or self._stowaway(grasp.slot, heights))
            return not self.pinching or (over and (doubtful or self.tote[2] > stands + LIFTED))

        failed = yield from self._follow(carry, until=fails)
        if failed and self.pinching:
            yield from self._follow(self._line(low, CAREFUL))
            yield from self._wait(LAG)
        elif not failed:
            self.opening = min(self.fingers + 0.03, STROKE)
            yield from self._wait(OPEN_PERIODS)
            return
        self.failed[grasp.slot] = failures + 1
        self.opening = STROKE
        yield from self._wait(OPEN_PERIODS)
        yield from self._follow(self._line(self._raised(self._travel)))

    def _beneath(self, slot: int) -> bool:
        """Say whether other parts may lie on the one in `slot`, and fly if it is lifted in haste."""
        away = self.parts[:, 3:6] - self.parts[slot, 3:6]
        near = (self.parts[:, 0] == IN_TOTE) & (away[:, 0] ** 2 + away[:, 1] ** 2 < NEAR**2)
        return bool((near & (away[:, 2] > 0.015)).any())

    def _stowaway(self, slot: int, heights: np.ndarray) -> bool:
        """Say whether another part comes up with the one in `slot`; `heights` are from before [m]."""
        gained = self.parts[:, 5] - heights
        comes = (self.parts[:, 0] != IN_BIN) & (gained > np.maximum(LIFTED, 0.6 * gained[slot]))
        comes[slot] = False
        return bool(comes.any())

    def _reachable_grasp(self, daring: bool) -> tuple[grasps.Grasp, Path] | None:
        """Return the best grasp that the arm gets to without touching anything, and its way there."""
        there = np.flatnonzero(self.parts[:, 0] == IN_TOTE)
        index = (self.parts[there, 1] * SIZES + self.parts[there, 2]).astype(np.int64)
        position, rotation = self.parts[there, 3:6], self.parts[there, 6:10]
        found = grasps.grasps(index, position, rotation, there, self._cavity(), count=12, daring=daring)
        obstacles = self._obstacles()
        for grasp in self._fresh_first(found):
            goal = self.motion.at(grasp.position, grasp.yaw, self.tool)
            path = self._hop(goal, self._travel)
            if path is not None and self.motion.clear(path, obstacles, grasp.opening):
                return grasp, path
        return None

    def _fresh_first(self, found: list[grasps.Grasp]) -> list[grasps.Grasp]:
        """Order grasps: those of parts that never failed first, and of one that did each time another grasp."""
        of_slot: dict[int, list[grasps.Grasp]] = {}
        for grasp in found:
            of_slot.setdefault(grasp.slot, []).append(grasp)
        ranked = []
        for order, (slot, theirs) in enumerate(of_slot.items()):
            failures = self.failed.get(slot, 0)
            ranked += [((failures, (k - failures) % len(theirs), order), g) for k, g in enumerate(theirs)]
        return [grasp for _, grasp in sorted(ranked, key=lambda entry: entry[0])]

    def _cavity(self) -> grasps.Cavity:
        (length, width), floor, rim = cavity(self.kind)
        z = float(self.tote[2])
        return grasps.Cavity(self.tote[:2].copy(), self.tote_yaw, (length / 2, width / 2), z + floor, z + rim)

    def _obstacles(self) -> list[Obstacle]:
        """Return what the arm must not touch: the table, and the walls of tote and bin."""
        (length, width), floor, rim = cavity(self.kind)
        boxes = _well(self.in_tote((0.0, 0.0, (floor + rim) / 2)), self.tote_yaw, (length, width, rim - floor), 0.016)
        bin_middle = self.layout.station(BIN_AT, self.layout.bin_floor + BIN[2] / 2)
        boxes += _well(bin_middle, BIN_AT, BIN, BIN_WALL)
        table = self.layout.station(TABLE_AT, self.layout.table_height - 0.015)
        boxes.append(Obstacle(table, TABLE_AT, np.array([TABLE[0] / 2, TABLE[1] / 2, 0.015])))
        return boxes

    def _drop_place(self) -> np.ndarray:
        """Return where over the bin to let go: over the lowest of a few spots."""
        middle = self.layout.station(BIN_AT, self.layout.bin_floor)
        binned = self.parts[self.parts[:, 0] == IN_BIN, 3:6]
        c, s = np.cos(BIN_AT), np.sin(BIN_AT)
        best, lowest = middle, np.inf
        for x, y in SPOTS:
            at = middle + np.array([c * x - s * y, s * x + c * y, 0.0])
            close = binned[np.sqrt(((binned[:, :2] - at[:2]) ** 2).sum(1)) < 0.13]
            heap = len(close) * 0.02 + (close[:, 2].max() - middle[2] if len(close) else 0.0)
            if heap < lowest - 1e-9:
                best, lowest = at, heap
        height = middle[2] + float(np.clip(lowest + 0.16, 0.20, BIN[2] + 0.05))
        return self.motion.at(np.array([best[0], best[1], height]), BIN_AT, self.tool, half_turns=True)

    def _nudge(self) -> Script:
        """Nothing can be grasped: draw a part away from the wall, then look again."""
        there = np.flatnonzero(self.parts[:, 0] == IN_TOTE)
        index = (self.parts[there, 1] * SIZES + self.parts[there, 2]).astype(np.int64)
        found = grasps.nudge(index, self.parts[there, 3:6], self.parts[there, 6:10], there, self._cavity(), self.drags)
        if found is None:
            yield from self._follow(self._line(self._raised(self._travel)))
            self.nudged = MOST_NUDGES  # there is nothing to draw at either
            return
        self.drags += 1
        start, end = found
        self.opening = 0.0
        yaw = grasps.drag_yaw(start, end)
        touching = self.motion.at(start, yaw, self.tool)
        above = touching.copy()
        above[HEIGHT] += ABOVE
        # Gently: a part that is hit at its edge flies out of the tote.
        yield from self._follow(self._hop(above, self._travel))
        yield from self._follow(self._line(touching, CAREFUL), until=lambda: self._held_up() > STANDS)
        yield from self._wait(LAG)
        # What stands higher than expected is not pressed on any harder.
        aside = self.motion.at(end, yaw, self.tool)
        aside[HEIGHT] = max(aside[HEIGHT], self.tool[HEIGHT] + self._held_up() - grasps.PRESS)
        yield from self._follow(self._line(aside, CAREFUL))
        yield from self._follow(self._line(self._raised(self._travel)))
        self.opening = STROKE

    def _held_up(self) -> float:
        """Return how far above where they were sent the fingertips are [m]."""
        position, rotation = self.motion.kinematics.flange_pose(self._state[None, :6])
        tip = position[0, 2] + LENGTH * rotation[0, 2, 2] + self.layout.base_height
        return float(tip - self.tool[HEIGHT])

    def _look(self) -> Script:
        """Hold the camera over the tote until it has seen the whole floor."""
        self.opening, self.suction = STROKE, False
        over = self.in_tote((0.0, 0.0, self.height + 0.22))
        goal = self.motion.at(over, self.tote_yaw, self.tool, half_turns=True)
        yield from self._follow(self._hop(goal, self._travel), until=lambda: self.stage != CHECK)
        yield from self._wait(12, until=lambda: self.stage != CHECK)

    # ---- folding ---------------------------------------------------------------------------------------------------

    def _fold(self) -> Script:
        """Push the next wall in turn over and down: the short ones, the long one that lies below, then the other."""
        if self.kind != FOLDING:
            yield from self._wait(1)  # nothing to fold: the next stage comes
            return
        lower = int(self._of("tote.fold_first"))
        order = (0, 1, 2 + lower, 3 - lower)
        standing = [wall for wall in order if self.walls[wall] < FLAT - np.deg2rad(3.0)]
        if not standing:
            yield from self._follow(self._line(self._raised(self._travel)))
            yield from self._wait(2)
            return
        self.opening, self.suction = 0.0, False
        arc, yaw = self._arc(standing[0])
        goal = self.motion.at(arc[0], yaw, self.tool)
        top = float(self.tote[2]) + folding_tote.SIZE[2] + 0.08
        yield from self._follow(self._hop(goal, top))
        yield from self._wait(LAG)
        push = np.stack([self.motion.at(point, yaw, self.tool) for point in arc])
        yield from self._follow(self.motion.path(push, self.joints))
        yield from self._wait(LAG)
        yield from self._follow(self._line(self._raised(self.tool[HEIGHT] + 0.05)))

    def _arc(self, wall: int) -> tuple[np.ndarray, float]:
        """Return the fingertips' way (k, 3) [m] that folds a wall, a point a period, and the tool's heading [rad]."""
        table = folding_tote.wall_table(int(self._of("tote.fold_first")))
        hinge, thick = table.body[wall], 2.0 * table.panel_half[wall].min()
        outward = np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)][wall])
        radius = folding_tote.SIZE[2] - float(hinge[2]) - FROM_TOP
        # Slowly while the latch breaks, then faster.
        start, slow, end = float(self.walls[wall]) - np.deg2rad(6.0), np.deg2rad(8.0), FLAT + PAST_FLAT
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
        points = np.stack([self.in_tote(tuple(point)) for point in local])
        heading = self.tote_yaw + np.arctan2(outward[1], outward[0])
        # The tool's y, and the vacuum pad with it, looks outward.
        return points, float(np.arctan2(np.cos(heading), -np.sin(heading)))

    # ---- carrying a tote -------------------------------------------------------------------------------------------

    def _stack(self) -> Script:
        """Take the empty tote up and set it onto the pile."""
        goal = np.array([self._of("pile.x"), self._of("pile.y"), self._of("pile.top")])
        placed = np.sqrt(((self.tote - goal) ** 2).sum()) < 0.05
        if placed:
            yield from self._follow(self._line(self._raised(self._travel)))
            yield from self._wait(2)
            return
        if not (yield from self._take_tote(PILE_AT)):
            return
        offset, turned = self._grip()
        goals = []
        for _ in range(4):  # averaged: the nest leaves little room
            goals.append([*(self._of(f"pile.{k}") for k in ("x", "y", "top", "yaw"))])
            yield
        x, y, z, yaw = np.mean(goals, axis=0).tolist()
        yaw = nearest(yaw, self.tool[HEADING] - TABLE_AT, np.pi)
        yield from self._set_tote(np.array([x, y, z]), yaw, offset, turned)

    def _take_tote(self, towards: float) -> Generator[None, None, bool]:
        """Grip the tote to carry it towards a heading, lift it a little, and say whether it is held."""
        if self.kind == FOLDING:
            yield from self._suck_top()
        elif self.height > TALL:
            yield from self._suck_side(towards)
        else:
            yield from self._pinch_rim()
        held = self.holding or self.pinching
        if not held:
            self.suction, self.opening = False, STROKE if self.kind != FOLDING else 0.0
            yield from self._wait(OPEN_PERIODS)
            yield from self._follow(self._line(self._raised(self._travel)))
            return False
        yield from self._follow(self._line(self._raised(self.tool[HEIGHT] + 0.04), GENTLE))
        yield from self._wait(LAG)
        return True

    def _suck_top(self) -> Script:
        """Press the vacuum pad onto the topmost wall of the folded tote, the tool lying flat, and draw."""
        self.opening = 0.0
        first = int(self._of("tote.fold_first"))
        upper = -1.0 if first == 0 else 1.0
        top = folding_tote.hinge_heights(first).max() + folding_tote.wall_table(first).panel_half[2].min()
        for attempt in range(3):
            pose = self._flat_pose(self.in_tote((0.0, upper * (0.080 - 0.01 * attempt), float(top))), self.tote_yaw)
            above = pose.copy()
            above[HEIGHT] += 0.25
            if self.tool[PITCH] < 1.0:
                yield from self._follow(self._line(self._raised(self._travel)))
                yield from self._follow(self.motion.swing(self.tool, above, self.joints))
            else:
                yield from self._follow(self._hop(above, above[HEIGHT]))
            yield from self._wait(1)
            yield from self._follow(self._line(pose, 0.6))
            if (yield from self._draw()):
                return

    def _draw(self) -> Generator[None, None, bool]:
        """Come to rest against what is to be held, draw, and say whether it is."""
        yield from self._wait(LAG)
        self.suction = True
        yield from self._wait(SEAL_PERIODS, until=lambda: self.holding)
        # The vacuum builds up.
        yield from self._wait(3)
        self.suction = self.holding
        return self.holding

    def _flat_pose(self, lips: np.ndarray, out: float) -> np.ndarray:
        """Return the tool pose that lies flat, pointing along `out` [rad], its lips on the point `lips` from above."""
        along = np.array([np.cos(out), np.sin(out), 0.0])
        tips = lips + np.array([0.0, 0.0, PAD_REACH]) + PAD_HEIGHT * along
        return self.motion.pitched(tips, out, -np.pi / 2, np.pi / 2, self.tool)

    def _suck_side(self, towards: float) -> Script:
        """Press the vacuum pad against a long wall from outside, high up, the tool hanging beside the tote.

        On the way to the heading `towards` the tool follows the tote: what it hangs down below would hit a high pile.
        """
        self.opening = 0.0
        width = totes.size(totes.KINDS[self.kind])[1]
        behind = -1.0 if towards > TABLE_AT else 1.0
        for side in (behind, -behind):
            # The tool's y looks at the wall: along +y of the tote from its -y side.
            yaw = self.tote_yaw + (np.pi if side < 0 else 0.0)
            tip = (0.0, side * (width / 2 + PAD_REACH), self.height - HOLD_LOW - PAD_HEIGHT)
            beside = self.motion.at(self.in_tote((0.0, tip[1] + side * 0.05, tip[2])), yaw, self.tool)
            touching = self.motion.at(self.in_tote((0.0, tip[1] - side * 0.002, tip[2])), yaw, self.tool)
            path = self._hop(beside, self._travel + 0.12)
            if path is None:
                continue
            yield from self._follow(path)
            yield from self._wait(1)
            yield from self._follow(self._line(touching, 0.4))
            if (yield from self._draw()):
                return
            yield from self._follow(self._line(beside, 0.5))

    def _pinch_rim(self) -> Script:
        """Close the fingers on the middle of a long wall's rim."""
        self.opening = 0.06
        (_, width), _, rim = cavity(self.kind)
        outer = totes.size(totes.KINDS[self.kind])[1]
        for side in (-1.0, 1.0):
            point = self.in_tote((0.0, side * (width + outer) / 4, rim - PINCH_DEEP))
            pose = self.motion.at(point, self.tote_yaw + np.pi / 2, self.tool, half_turns=True)
            path = self._hop(pose, self._travel)
            if path is None:
                continue
            yield from self._follow(path)
            yield from self._wait(LAG)
            self.opening = 0.0
            yield from self._wait(CLOSE_PERIODS)
            return

    def _grip(self) -> tuple[np.ndarray, float]:
        """Return where the held tote is, seen from the tool: (3,) [m] from the fingertips, turned back by the tool's
        heading, and its heading against the tool's [rad]."""
        tips = self.motion.tips(self.tool[None])[0]
        plane = float(self.tool[HEADING] + self.tool[SWING])
        away = self.tote - tips
        c, s = np.cos(plane), np.sin(plane)
        return np.array([c * away[0] + s * away[1], c * away[1] - s * away[0], away[2]]), self.tote_yaw - plane

    def _tool_for(self, tote: np.ndarray, yaw: float, offset: np.ndarray, turned: float) -> np.ndarray:
        """Return the tool pose that holds the tote at a place, turned by `yaw`; grip as `_grip` gives it."""
        plane = yaw - turned
        c, s = np.cos(plane), np.sin(plane)
        tips = tote - np.array([c * offset[0] - s * offset[1], s * offset[0] + c * offset[1], offset[2]])
        pose = self.motion.pitched(tips, plane, self.tool[TURN], self.tool[PITCH], self.tool)
        return pose

    def _set_tote(self, place: np.ndarray, yaw: float, offset: np.ndarray, turned: float) -> Script:
        """Carry the held tote over a place, lower it, and let go."""
        over = self._tool_for(place + np.array([0.0, 0.0, 0.03]), yaw, offset, turned)
        clear = max(float(place[2]), self.layout.bin_floor + BIN[2], self.layout.table_height) + 0.06
        top = max(clear - float(offset[2]), over[HEIGHT])
        lost = self._lost_tote
        yield from self._follow(self._hop(over, top, CARRY), until=lost)
        yield from self._wait(LAG)
        down = self._tool_for(place + np.array([0.0, 0.0, 0.0005]), yaw, offset, turned)
        yield from self._follow(self._line(down, GENTLE), until=lost)
        yield from self._wait(LAG + 1)
        yield from self._let_go()

    def _lost_tote(self) -> bool:
        return not self.holding and not self.pinching

    def _let_go(self) -> Script:
        pinched = not self.suction
        self.suction = False
        if pinched:
            self.opening = 0.06
        yield from self._wait(OPEN_PERIODS + 1)
        if not pinched and self.tool[PITCH] < 0.1:
            # Away from the wall first.
            away = self.tool.copy()
            axes = self.motion.rotations(self.tool[None])[0]
            tips = self.motion.tips(self.tool[None])[0] - 0.05 * axes[:, 1]
            away = self.motion.at(tips, float(np.arctan2(axes[1, 0], axes[0, 0])), self.tool)
            yield from self._follow(self._line(away, 0.6))
        yield from self._follow(self._line(self._raised(self.tool[HEIGHT] + 0.15)))

    # ---- pouring ---------------------------------------------------------------------------------------------------

    def _pour(self) -> Script:
        """Hold the tote by a wall, tip it over the bin until it is empty, and set it back on the table."""
        self.poured = True
        home, home_yaw = self.tote.copy(), self.tote_yaw
        if not (yield from self._take_tote(BIN_AT)):
            return
        offset, turned = self._grip()
        middle = self.layout.station(BIN_AT, 0.0)
        length, _, height = totes.size(totes.KINDS[self.kind])
        half = 0.5 * float(np.hypot(length, height))
        middle[2] = self.layout.bin_floor + BIN[2] + half + 0.05
        # The tote's middle is what stays over the bin's; `offset` counts to its underside.
        lifted = offset + np.array([0.0, 0.0, self.height / 2])
        over = self._tool_for(middle, BIN_AT, lifted, turned)
        top = max(self._travel - float(offset[2]), over[HEIGHT])
        yield from self._follow(self._hop(over, top, CARRY), until=self._lost_tote)
        tip = self._tipping(middle, lifted)
        path = self.motion.path(tip, self.joints)
        if path is not None:
            yield from self._follow(path, until=self._lost_tote)
            yield from self._wait(6)
            yield from self._shake()
            back = self.motion.path(path.tool[::-1], self.joints)
            yield from self._follow(back, until=self._lost_tote)
        yield from self._set_tote(home, nearest(home_yaw, TABLE_AT, np.pi), offset, turned)

    def _tipping(self, middle: np.ndarray, lifted: np.ndarray) -> np.ndarray:
        """Return tool poses (k, 6) that turn the held tote over, its middle staying where it is."""
        pitch, rate = [0.0], 0.0
        while pitch[-1] < TIP_ANGLE:
            sliding = SLIDING[0] < pitch[-1] < SLIDING[1]
            wanted = min(TIP_SLOW if sliding else TIP_FAST, max(1.5 * (TIP_ANGLE - pitch[-1]), 0.05))
            rate += float(np.clip(wanted - rate, -0.15, 0.06))
            pitch.append(min(pitch[-1] + rate * PERIOD, TIP_ANGLE))
        plane = float(self.tool[HEADING] + self.tool[SWING])
        c, s = np.cos(plane), np.sin(plane)
        poses = []
        for angle in pitch:
            # In the plane of pitching, up leans towards the arm as down goes away from it.
            out = np.cos(angle) * lifted[0] - np.sin(angle) * lifted[2]
            up = np.sin(angle) * lifted[0] + np.cos(angle) * lifted[2]
            away = np.array([c * out - s * lifted[1], s * out + c * lifted[1], up])
            poses.append(self.motion.pitched(middle - away, plane, self.tool[TURN], float(angle), self.tool))
        return np.stack(poses)

    def _shake(self) -> Script:
        """Rock the tipped tote a little, so that what sticks comes out."""
        for sign in (-1.0, 1.0, -1.0, 1.0):
            goal = self.tool.copy()
            goal[PITCH] += sign * np.deg2rad(7.0)
            yield from self._follow(self._line(goal), until=self._lost_tote)


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


_SCENE = {name: i for i, name in enumerate(SCENE_NAMES)}
_STATE = {name: i for i, name in enumerate(STATE_NAMES)}
