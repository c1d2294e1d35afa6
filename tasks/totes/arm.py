"""One arm of the tote expert: what it sees, what it last commanded, and the moves that its scripts are made of."""

from __future__ import annotations

from collections.abc import Callable, Generator

import numpy as np

from assets import folding_tote, totes
from assets.combi_tool import STROKE
from assets.tote_cell import BIN
from sim.latches import FLAT
from sim.rotations import yaw_of
from sim.totes import FOLDING
from tasks.totes.cell import ToteLayout
from tasks.totes.clutter import Cavity
from tasks.totes.motion import HEIGHT, Motion, Path
from tasks.totes.task import PART_NAMES, SCENE_NAMES, STATE_NAMES
from tasks.totes.variants import cavity

Script = Generator[None, None, None]
Answer = Generator[None, None, bool]  # a script that says how it went

OVER = 0.12  # [m] between the fingertips and what they pass over
STOPPING = (0.6, 0.9)  # of a path's next step: where it goes on to when it is broken off, not to stop dead
LAG = 2  # periods that the arm needs to come to rest where it was sent
CLOSE_PERIODS, OPEN_PERIODS = 5, 2  # that the fingers take
HELD = 0.003  # [m] fingers further apart than they were told to be have something between them

_SCENE = {name: i for i, name in enumerate(SCENE_NAMES)}
_STATE = {name: i for i, name in enumerate(STATE_NAMES)}


class Arm:
    """Its memory lasts an episode. Scripts move it: each `yield` is a control period, after which it has seen anew."""

    def __init__(self, motion: Motion, layout: ToteLayout):
        self.motion, self.layout = motion, layout
        self.joints, self.tool = motion.home_joints.copy(), motion.home.copy()
        self.suction, self.opening = False, STROKE
        self.failed: dict[int, int] = {}  # slot: how often its grasp failed
        self.poured = False
        self.nudged, self.drags = 0, 0  # drags in a row, and in all

    def see(self, state: np.ndarray, surroundings: np.ndarray) -> None:
        """Take in one world's observation."""
        self._state, self._scene = state, surroundings[: len(SCENE_NAMES)]
        self.parts = surroundings[len(SCENE_NAMES) :].reshape(-1, len(PART_NAMES))

    def of(self, name: str) -> float:
        """Return a number of the cell's that is seen, by its name in SCENE_NAMES."""
        return float(self._scene[_SCENE[name]])

    @property
    def stage(self) -> int:
        """The stage that the world is in."""
        return int(self.of("stage"))

    @property
    def kind(self) -> int:
        """Index of the tote's kind."""
        return int(self.of("tote.kind"))

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

    def cavity(self) -> Cavity:
        """Return the inside of the tote as it stands."""
        (length, width), floor, rim = cavity(self.kind)
        z = float(self.tote[2])
        return Cavity(self.tote[:2].copy(), self.tote_yaw, (length / 2, width / 2), z + floor, z + rim)

    @property
    def travel(self) -> float:
        """A height of the fingertips that passes over tote, bin and pile [m]."""
        bin_rim = self.layout.bin_floor + BIN[2]
        return max(float(self.tote[2]) + self.height, bin_rim) + OVER

    def wait(self, periods: int, until: Callable[[], bool] = lambda: False) -> Script:
        """Stay for so many periods, or until something happens."""
        for _ in range(periods):
            if until():
                return
            yield

    def follow(self, path: Path | None, until: Callable[[], bool] = lambda: False) -> Answer:
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

    def hop(self, goal: np.ndarray, top: float, speed: float = 1.0) -> Path | None:
        """Return the way up to the height `top`, across and down to a pose; None where the arm cannot go."""
        return self.motion.path(self.motion.hop(self.tool, goal, top, speed), self.joints)

    def line(self, goal: np.ndarray, speed: float = 1.0) -> Path | None:
        """Return the straight way to a pose."""
        return self.motion.path(self.motion.straight(self.tool, goal, speed), self.joints)

    def raised(self, height: float) -> np.ndarray:
        """Return the present pose, raised to a height [m]."""
        goal = self.tool.copy()
        goal[HEIGHT] = max(height, self.tool[HEIGHT])
        return goal
