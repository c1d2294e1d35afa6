"""The `Robot` contract: what a simulated, a stand-in and a real arm have in common.

Observations and actions are flat dictionaries of numbers, as in LeRobot's `Robot`, under the names of the tasks' states
and actions: `joint0.position` … `joint5.position` [rad], `joint0.velocity` [rad/s], `joint0.torque` [N m],
`tool.force_x` [N], `tool.torque_x` [N m], `suction.vacuum`, `suction.holding` (0 … 1), `gripper.opening` [m]; actions
`joint0.position` …, `suction` (on above 0.5), `gripper.opening`.

An arm begins in a dry run: everything is worked out, checked and logged, nothing is sent. `arm` ends that, after its
checks. Both are the caller's explicit steps:

    robot = robot_named("ur", host="127.0.0.2", arm="ur20")
    robot.connect()
    robot.arm()                 # InputError, one line, if anything is not as it should be
    robot.approach(targets[0])  # slowly, in joint space
    recording = robot.play(targets)
    robot.disconnect()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assets.errors import unknown

if TYPE_CHECKING:
    from sim2real.limits import Limits
    from sim2real.recording import Recording

JOINTS = 6
RATE = 500.0  # [Hz] of the controller
KINDS = ("sim", "ur")

JOINT_TARGETS = tuple(f"joint{i}.position" for i in range(JOINTS))
ARM_STATES = (
    *(f"joint{i}.{what}" for what in ("position", "velocity", "torque") for i in range(JOINTS)),
    *(f"tool.{what}_{a}" for what in ("force", "torque") for a in "xyz"),
)


class Robot(Protocol):
    """An arm that can be watched and driven."""

    @property
    def name(self) -> str:
        """Name of the arm, a key of `assets.arms.ARMS`."""
        ...

    @property
    def source(self) -> str:
        """What it is: "simulation", "stand-in, not hardware", or model and serial number of a real one."""
        ...

    @property
    def limits(self) -> Limits:
        """What every motion must keep to; plan within these."""
        ...

    @property
    def observation_features(self) -> dict[str, type]:
        """Names and types of what `observe` returns; known before connecting."""
        ...

    @property
    def action_features(self) -> dict[str, type]:
        """Names and types of what `act` takes; known before connecting."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether there is a robot at the other end."""
        ...

    def connect(self) -> None:
        """Reach the robot, begin to watch it, in a dry run; InputError when it does not answer or is another one."""
        ...

    def arm(self) -> None:
        """End the dry run: check everything that can be checked, then let motions through; InputError otherwise."""
        ...

    def observe(self) -> dict[str, float]:
        """Return the newest reading."""
        ...

    def act(self, action: Mapping[str, float]) -> dict[str, float]:
        """Move towards `action` in the coming control period of 0.1 s; return what was really sent, after all limits.

        Waits while an earlier action has not begun, so that calling it in a loop gives 10 Hz.
        """
        ...

    def approach(self, joints: np.ndarray) -> None:
        """Move slowly to `joints` (6,) [rad], straight in joint space, and stand still there."""
        ...

    def play(self, targets: np.ndarray, rate: float = RATE) -> Recording:
        """Run joint targets (k, 6) [rad] at the controller's `rate` [Hz], and return what was recorded meanwhile.

        Checked as a whole before anything moves: InputError for targets that break a limit or begin away from where the
        arm is (use `approach`).
        """
        ...

    def stop(self) -> None:
        """Stop the arm; it has to be armed again."""
        ...

    def disconnect(self) -> None:
        """Stop and let go; may be called at any time."""
        ...


def robot_named(kind: str, **settings: Any) -> Robot:
    """Return the robot of a kind ("sim", "ur") with its settings (`conf/robot/<kind>.yaml`), not yet connected."""
    if kind == "ur":
        from sim2real.ur import UrRobot, UrSettings

        return UrRobot(UrSettings.parse(settings))
    if kind == "sim":
        from sim2real.simulated import SimRobot, SimSettings

        return SimRobot(SimSettings.parse(settings))
    raise unknown("kind of robot", kind, KINDS)
