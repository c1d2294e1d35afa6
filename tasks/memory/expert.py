"""The expert of the bench tasks: an arm that lifts things by suction and sets them down, driven by a task's script.

It sees only the observation that any policy sees. A script is a generator that yields once a control period; it is
read from top to bottom in each task's own file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from assets.gripper import LENGTH
from tasks.memory.cell import BenchLayout
from tasks.memory.task import CARTON, STATE_NAMES
from tasks.totes.motion import HEIGHT, Motion, Path

Script = Generator[None, None, None]
Answer = Generator[None, None, bool]  # a script that says how it went

OVER = 0.08  # [m] between the lips and what they pass over
MIDDLE = (-0.25, 0.0, 0.40)  # [m] in the bench's frame, where the lips wait: out of the cameras' way
LAG = 2  # periods that the arm needs to come to rest where it was sent
SEAL_PERIODS, RELEASE_PERIODS = 6, 2  # how long to wait for a seal, and for the cups to let go
CARRY = 0.9  # share of the speed limits while something is carried
LET_GO = 0.002  # [m] above its support at which it is let go
_HOLDING = STATE_NAMES.index("suction.holding")


class Arm:
    """Its memory lasts an episode. Scripts move it: each `yield` is a control period, after which it has seen anew."""

    def __init__(self, motion: Motion, layout: BenchLayout, known: Sequence[str]):
        """Drive the arm of `motion`; `known` are the names of what it may know beside the cartons' poses."""
        self.motion, self.layout = motion, layout
        self._known = {name: k for k, name in enumerate(known)}
        self.joints, self.tool, self.suction = motion.home_joints.copy(), motion.home.copy(), False

    def see(self, state: np.ndarray, surroundings: np.ndarray) -> None:
        """Take in one world's observation."""
        self._state, self._scene = state, surroundings[: len(self._known)]
        self.cartons = surroundings[len(self._known) :].reshape(-1, len(CARTON))

    def of(self, name: str) -> float:
        """Return a number of what it may know."""
        return float(self._scene[self._known[name]])

    @property
    def holding(self) -> bool:
        """Whether the cups hold something."""
        return bool(self._state[_HOLDING] > 0.5)

    def wait(self, periods: int) -> Script:
        """Stay for so many periods."""
        for _ in range(periods):
            yield

    def follow(self, path: Path | None, until: Callable[[], bool] = lambda: False) -> Script:
        """Go along a path to its end, or until something happens; where the arm cannot go, look again."""
        if path is None:
            yield
            return
        for tool, joints in zip(path.tool, path.joints, strict=True):
            self.tool, self.joints = tool, joints
            yield
            if until():
                return

    def hop(self, goal: np.ndarray, top: float, speed: float = 1.0) -> Path | None:
        """Return the way up to the height `top` [m], across and down to a pose; None where the arm cannot go."""
        return self.motion.path(self.motion.hop(self.tool, goal, top, speed), self.joints)

    def raised(self, by: float, speed: float = 1.0) -> Path | None:
        """Return the way straight up `by` so much [m]."""
        goal = self.tool.copy()
        goal[HEIGHT] += by
        return self.motion.path(self.motion.straight(self.tool, goal, speed), self.joints)

    def at(self, point: np.ndarray, yaw: float) -> np.ndarray:
        """Return the tool pose with the lips at `point` (3,) [m]; the pad's length lies along `yaw` [rad], either way.

        Of the two it is the one nearer to the world's x, so that the wrist camera sees all from the same side.
        """
        return self.motion.at(point, yaw, self.motion.at(point, 0.0, self.motion.home), half_turns=True)

    def middle(self, rests: int) -> Script:
        """Go back to the middle and rest there for so many periods."""
        goal = self.at(self.layout.on_bench(np.array(MIDDLE)), 0.0)
        yield from self.follow(self.hop(goal, float(self.tool[HEIGHT])))
        yield from self.wait(rests)

    def pick(self, slot: int) -> Answer:
        """Take a carton by the middle of its top; say whether it is held. It is not raised yet."""
        x, y, top, yaw = self.cartons[slot].tolist()
        goal = self.at(np.array([x, y, top]), yaw)
        yield from self.follow(self.hop(goal, top + OVER))
        yield from self.wait(LAG)  # what the cups take hold of while they move is torn off again
        self.suction = True
        for _ in range(SEAL_PERIODS):
            yield
            if self.holding:
                return True
        self.suction = False
        yield from self.follow(self.raised(OVER))
        return False

    def place(self, goal: np.ndarray, top: float) -> Script:
        """Carry what is held over the height `top` [m] to a tool pose, set it down and let go."""
        down = goal.copy()
        down[HEIGHT] += LET_GO
        yield from self.follow(self.hop(down, top, CARRY), until=lambda: not self.holding)
        yield from self.wait(LAG)
        self.suction = False
        yield from self.wait(RELEASE_PERIODS)


class BenchExpert:
    """Runs a script in each world (fits the `Policy` contract)."""

    def __init__(self, layout: BenchLayout, nworld: int, known: Sequence[str], script: Callable[[Arm], Script]):
        """Drive `nworld` arms of one layout; `known` are the names of what they may know."""
        self._motion = Motion(layout.arm, layout.base_height, LENGTH)
        self._layout, self._known, self._script = layout, known, script
        self._arms = [self._fresh() for _ in range(nworld)]

    def _fresh(self) -> tuple[Arm, Script]:
        arm = Arm(self._motion, self._layout, self._known)
        return arm, _endless(self._script(arm))

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start afresh in the worlds `ids`, from home."""
        for i in ids:
            self._arms[i] = self._fresh()

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the next action chunk (n, 1, 7): joint targets [rad] and suction."""
        action = np.empty((len(ids), 1, 7))
        for k, i in enumerate(ids):
            arm, script = self._arms[i]
            arm.see(observation["state"][k].astype(np.float64), observation["environment_state"][k].astype(np.float64))
            next(script)
            action[k, 0] = *arm.joints, float(arm.suction)
        return action


def _endless(script: Script) -> Script:
    """Run a script, then hold still."""
    yield from script
    while True:
        yield
