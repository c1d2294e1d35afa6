"""Whether the arm may move: a state machine, and the watch that ends motion.

This is software on an ordinary computer. It is NOT safety-rated and replaces no safety function of the robot: the
controller's own limits, its emergency stop and a risk assessment protect people. What is here keeps mistakes in
programs and policies from reaching the arm, and stops it early when something looks wrong.

    DISCONNECTED -> DRY_RUN -> ARMED <-> RUNNING -> STOPPED | FAULT

A connection begins in a dry run, in which everything runs but nothing is sent. `arm` ends it, after its checks.
STOPPED (the arm slows down and stands) may be armed again. A FAULT makes the controller brake as after a collision, and
ends only with the connection. The program never unlocks a protective stop: a person who has looked at the arm does.
"""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections.abc import Callable, Sequence

import numpy as np

from assets.errors import InputError
from sim2real.recording import STOPPED, safety_words
from sim2real.rtde import RobotMode

STATE_AGE = 0.040  # [s] oldest state that motion may go on with
LAG = 0.040  # [s] by which packets may come later than the fastest ones did
HEARTBEAT = 0.040  # [s] between two turns of the servo loop
FOLLOWING_ERROR = 0.35  # [rad] between sent and measured; a joint at full speed trails by about 0.2
FROZEN = 0.040  # [s] with nothing changed in the state although it says that the arm moves, or the target moved by
FROZEN_MOTION, FROZEN_SPEED = 0.010, 0.02  # [rad], [rad/s]
STALE_ACTION = 0.2  # [s] an action that has waited longer for its turn is refused


class State(enum.Enum):
    """Where the arm stands, as far as this program may move it."""

    DISCONNECTED = "disconnected"
    DRY_RUN = "dry run"
    ARMED = "armed"
    RUNNING = "running"
    STOPPED = "stopped"
    FAULT = "fault"


# From each state, the states that may follow. Every state may end in DISCONNECTED.
_FOLLOW = {
    State.DISCONNECTED: {State.DRY_RUN},
    State.DRY_RUN: {State.ARMED, State.FAULT},
    State.ARMED: {State.RUNNING, State.STOPPED, State.FAULT},
    State.RUNNING: {State.ARMED, State.STOPPED, State.FAULT},
    State.STOPPED: {State.ARMED, State.FAULT},
    State.FAULT: set(),
}


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing looked at before arming: what, whether it is right, and what was found and wanted."""

    name: str
    right: bool
    says: str


class Safety:
    """The state machine; may be used from several threads. `told` hears of every change: (state, reason)."""

    def __init__(self, told: Callable[[State, str], None] = lambda state, reason: None) -> None:
        """Begin disconnected."""
        self.state = State.DISCONNECTED
        self.reason = ""
        self._told = told
        self._lock = threading.RLock()

    @property
    def moving_allowed(self) -> bool:
        """Whether targets may be sent."""
        return self.state in (State.ARMED, State.RUNNING)

    def connected(self) -> None:
        """There is a robot: dry run."""
        self._go(State.DRY_RUN, "connected")

    def arm(self, checks: Sequence[Check]) -> None:
        """End the dry run; InputError naming every check that failed."""
        wrong = [check for check in checks if not check.right]
        if wrong:
            raise InputError("not armed: " + "; ".join(f"{check.name}: {check.says}" for check in wrong))
        self._go(State.ARMED, f"{len(checks)} checks passed")

    def run(self) -> None:
        """A motion begins; InputError when the arm is not armed."""
        if self.state is not State.RUNNING:
            self._go(State.RUNNING, "moving")

    def rest(self) -> None:
        """The motion has ended as planned: still armed."""
        with self._lock:
            if self.state is State.RUNNING:
                self._go(State.ARMED, "at rest")

    def stop(self, reason: str) -> None:
        """Motion was ended on purpose, or by a refused command; nothing is broken."""
        with self._lock:
            if self.moving_allowed:
                self._go(State.STOPPED, reason)

    def fault(self, reason: str) -> bool:
        """Something is wrong; return whether this is news. The first reason stays."""
        with self._lock:
            if self.state in (State.FAULT, State.DISCONNECTED):
                return False
            self._go(State.FAULT, reason)
            return True

    def disconnected(self) -> None:
        """The robot is let go, from whatever state."""
        with self._lock:
            if self.state is not State.DISCONNECTED:
                self.state = State.DISCONNECTED
                self._told(self.state, "")

    def require(self, what: str) -> None:
        """Raise InputError, with what to do about it, when motion is out of the question."""
        if self.state is State.DISCONNECTED:
            raise InputError(f"{what}: the robot is not connected: call connect first")
        if self.state is State.FAULT:
            raise InputError(f"{what}: fault: {self.reason}: look at the arm, disconnect and connect again")
        if self.state is State.STOPPED:
            raise InputError(f"{what}: stopped: {self.reason}: arm again when it is safe")

    def _go(self, state: State, reason: str) -> None:
        with self._lock:
            if state not in _FOLLOW[self.state]:
                self.require(f"cannot go on to {state.value}")
                raise InputError(f"cannot go from {self.state.value} to {state.value}: arm the robot first")
            self.state, self.reason = state, reason
            self._told(state, reason)


@dataclasses.dataclass(frozen=True)
class Sight:
    """What the watch sees of the robot at one moment.

    Attributes:
        now: host's monotonic clock [s].
        received: when the newest state came, on that clock [s].
        lag: how much later it came than the fastest ones [s].
        safety, mode: of the newest state.
        position, velocity: of the newest state [rad], [rad/s], (6,).
        readings: everything measured in it, as bytes: whether anything changes.
        lost: why no more state can come, "" if it can.
        running: whether the controller runs the program that takes our targets.
    """

    now: float
    received: float
    lag: float
    safety: int
    mode: int
    position: np.ndarray
    velocity: np.ndarray
    readings: bytes
    lost: str
    running: bool


class Watch:
    """Looks at every turn whether motion may go on; pure, but for remembering since when nothing has changed."""

    def __init__(self) -> None:
        """Begin afresh."""
        self._readings = b""
        self._since = 0.0
        self._target_then = np.zeros(6)

    def look(self, sight: Sight, sent: np.ndarray | None) -> str:
        """Return what is wrong, in one line, or "". `sent` is the joint target last sent (6,) [rad], if any."""
        if sight.lost:
            return f"connection lost: {sight.lost}"
        if sight.safety & STOPPED:
            return f"the controller stopped the arm: {safety_words(sight.safety)}"
        if sight.mode != RobotMode.RUNNING:
            return f"the robot is no longer running (mode {mode_word(sight.mode)})"
        age = sight.now - sight.received
        if age > STATE_AGE:
            return f"no state of the robot for {1e3 * age:.0f} ms (allowed are {1e3 * STATE_AGE:.0f})"
        if sight.lag > LAG:
            return f"the robot's state comes {1e3 * sight.lag:.0f} ms late (allowed are {1e3 * LAG:.0f})"
        if sent is None:
            return ""
        if not sight.running:
            return "the controller no longer runs the program that takes our targets"
        error = np.abs(sent - sight.position)
        j = int(error.argmax())
        if not error[j] <= FOLLOWING_ERROR:
            return f"joint {j} is {error[j]:.2f} rad from its target (allowed are {FOLLOWING_ERROR})"
        return self._frozen(sight, sent)

    def _frozen(self, sight: Sight, sent: np.ndarray) -> str:
        if sight.readings != self._readings:
            self._readings, self._since, self._target_then = sight.readings, sight.received, sent
        still = sight.received - self._since
        moving = np.abs(sight.velocity).max() > FROZEN_SPEED or np.abs(sent - self._target_then).max() > FROZEN_MOTION
        if still >= FROZEN and moving:
            return f"the robot's state is frozen: nothing in it has changed for {1e3 * still:.0f} ms of motion"
        return ""


def mode_word(mode: int) -> str:
    """Return a robot mode in words."""
    try:
        return RobotMode(mode).name.lower().replace("_", " ")
    except ValueError:
        return str(mode)
