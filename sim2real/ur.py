"""A Universal Robots arm behind the `Robot` contract, through the client library ur-rtde (extra `[ur]`).

ur-rtde uploads its control script and carries joint targets and outputs; everything that is believed about the robot's
state comes from our own recorder. The same works on a real controller, on URSim and on the stand-in: only the address
differs. Read `sim2real.safety` for what this may and may not be relied on for.
"""

from __future__ import annotations

import atexit
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from assets.arms import arm_named
from assets.errors import InputError
from assets.gripper import MASS as TOOL_MASS
from sim2real.dashboard import Dashboard
from sim2real.limits import Limits
from sim2real.motion import approach_path
from sim2real.outputs import Tool, ToolWiring, actions_of
from sim2real.preflight import model_fits, preflight
from sim2real.realtime import hurry
from sim2real.recorder import Recorder, brake
from sim2real.recording import Recording
from sim2real.robot import ARM_STATES, JOINT_TARGETS, RATE
from sim2real.safety import Check, Safety, State
from sim2real.servo_loop import ACTION_PERIOD, ServoLoop
from sim2real.settings import ArmSettings, parsed
from sim2real.ur_client import UrClient

WATCHDOG = 20.0  # [Hz] the controller stops the arm by itself when targets come more rarely
REST = 0.2  # [s] recorded before and after a motion
SETTLING, STANDING = 1.0, 0.01  # [s] that an arm is given to come to rest, [rad/s] at which it has
TAIL = 0.3  # [s] of log after a stop


@dataclasses.dataclass(frozen=True)
class UrSettings(ArmSettings):
    """Settings of a UR arm (`conf/robot/ur.yaml`).

    Attributes:
        host: address of its controller.
        payload: mass of the tool, as set in the controller's installation [kg].
        payload_center: its centre of mass in the flange's axes [m].
        tool: what hangs on which input and output.
        log: folder for the logs, one file for each connection; "" for none.
        lookahead: of servoJ [s], 0.03 … 0.2.
        gain: of servoJ, 100 … 2000.
        think_time: what a policy is given to find its next action [s]: the arm acts on a state that is this old.
    """

    host: str = "192.168.56.101"
    payload: float = TOOL_MASS
    payload_center: tuple[float, float, float] = (0.0, 0.0, 0.101)
    tool: ToolWiring = dataclasses.field(default_factory=ToolWiring)
    log: str = "outputs/robot_logs"
    lookahead: float = 0.03
    gain: float = 1000.0
    think_time: float = 0.05

    @staticmethod
    def parse(values: Mapping[str, Any]) -> UrSettings:
        """Return the settings from plain values; InputError names a wrong one."""
        given = dict(values)
        tool = given.pop("tool", None) or {}
        if not isinstance(tool, Mapping):
            raise InputError(f"robot.tool = {tool} must name inputs and outputs, e.g. {{vacuum_output: 0}}")
        settings = dataclasses.replace(parsed(UrSettings, given), tool=parsed(ToolWiring, tool))
        arm = arm_named(settings.arm)
        for name, low, high in (
            ("lookahead", 0.03, 0.2),
            ("gain", 100.0, 2000.0),
            ("think_time", 0.0, ACTION_PERIOD),
            ("payload", 0.0, arm.payload),
        ):
            if not low <= getattr(settings, name) <= high:
                raise InputError(f"robot.{name} = {getattr(settings, name)} must lie in {low:g} … {high:g}")
        return settings


class UrRobot:
    """One UR arm (see `sim2real.robot.Robot`).

    Attributes:
        recorder, loop: of the present connection, None without one.
        log: file of the last connection's log, None if none was asked for.
    """

    def __init__(self, settings: UrSettings) -> None:
        """Take the settings; nothing is connected yet."""
        self.settings = settings
        self.name = settings.arm
        self.limits: Limits = settings.limits()
        self.safety = Safety(self._told)
        self.source = "not connected"
        self.log: Path | None = None
        self._arm = arm_named(settings.arm)
        self._tool = Tool(settings.tool)
        self.recorder: Recorder | None = None
        self._dashboard: Dashboard | None = None
        self.loop: ServoLoop | None = None
        self._client: UrClient | None = None

    @property
    def observation_features(self) -> dict[str, type]:
        """Joints, tool force, and what the tool tells."""
        return dict.fromkeys((*ARM_STATES, *self.settings.tool.states), float)

    @property
    def action_features(self) -> dict[str, type]:
        """Joint targets, and what the tool can be told."""
        return dict.fromkeys((*JOINT_TARGETS, *self.settings.tool.actions), float)

    @property
    def is_connected(self) -> bool:
        """Whether the controller is being watched."""
        return self.safety.state is not State.DISCONNECTED

    @property
    def state(self) -> State:
        """Where the arm stands, as far as this program may move it."""
        return self.safety.state

    def connect(self) -> None:
        """Watch and log the controller, in a dry run.

        Raises:
            InputError: it does not answer, or is of another model.
        """
        if self.is_connected:
            raise InputError(f"the robot at {self.settings.host} is connected already")
        # Not the loop's thread alone: it waits for any other that holds Python's lock and is kept waiting itself.
        hurry()
        recorder = Recorder(self.settings.host)
        try:
            dashboard = Dashboard(self.settings.host)
            model = dashboard.model
            if not model_fits(model, self.name):
                raise InputError(f"the robot at {self.settings.host} is a {model}, but robot.arm is {self.name}")
            self.source = dashboard.source
            if self.settings.log:
                self.log = _log_file(Path(self.settings.log), self.name)
                recorder.log_to(self.log, self._about(recorder, dashboard))
        except InputError:
            recorder.close()
            raise
        self.recorder, self._dashboard = recorder, dashboard
        atexit.register(self.disconnect)  # a program that ends by an error lets go of the arm too
        self.safety.connected()
        self.loop = ServoLoop(recorder, self.safety, self.limits, self._arm, lambda: brake(self.settings.host))

    def preflight(self) -> list[Check]:
        """Return what is looked at before arming, and what was found."""
        recorder, dashboard, _ = self._parts("preflight")
        return preflight(recorder, dashboard, self.limits, self.name, self.settings.payload)

    def arm(self) -> None:
        """End the dry run: take control of the arm, and hold it where it is.

        Raises:
            InputError: a check of `preflight` fails, ur-rtde is not installed or cannot take control.
        """
        recorder, _, loop = self._parts("arm")
        if self.safety.state is State.FAULT:
            self.safety.require("arm")
        if self.safety.moving_allowed:
            return
        self._let_go()  # of what an earlier arming has left: its registers count as taken
        _settle(recorder)
        checks = self.preflight()
        if not all(check.right for check in checks):
            self.safety.arm(checks)  # says which
        self._client = UrClient(self.settings.host, self.settings.lookahead, self.settings.gain)
        if not self._client.watch(WATCHDOG):
            self._let_go()
            raise InputError(f"the controller at {self.settings.host} did not take its watchdog: not armed")
        # Attached first: the loop sends from the moment that the state says so, and the watchdog is not kept waiting.
        loop.attach(self._client)
        self.safety.arm(checks)

    def observe(self) -> dict[str, float]:
        """Return the newest state; InputError when it is too old to be one."""
        recorder, _, _ = self._parts("observe")
        state = recorder.latest
        age = time.monotonic() - float(state["received"])
        if recorder.lost or age > 0.5:
            raise InputError(f"the robot at {self.settings.host} is silent: {recorder.lost or f'for {age:.1f} s'}")
        values = np.concatenate([state[name] for name in ("position", "velocity", "torque", "tcp_force")])
        tool = self._tool.read(int(state["outputs"]), int(state["inputs"]), state["analog"])
        return dict(zip(ARM_STATES, values.tolist(), strict=True)) | tool

    def act(self, action: Mapping[str, float]) -> dict[str, float]:
        """Move towards `action` in the coming period of 0.1 s; return what was sent, or would be in a dry run.

        What is no number stops the arm, as does a target outside joint ranges or workspace.
        """
        _, _, loop = self._parts("act")
        self.safety.require("act")
        try:
            target, rest = actions_of(action, self.action_features)
            sent = loop.act(target, lambda last, before: self._allowed(target, last, before), self.settings.think_time)
        except InputError as error:
            self.safety.stop(str(error))
            raise
        done = self._tool.cut(rest)
        if self.safety.moving_allowed and self._client is not None:
            self._tool.write(self._client, done)
        return dict(zip(JOINT_TARGETS, sent.tolist(), strict=True)) | done

    def approach(self, joints: np.ndarray) -> None:
        """Move slowly to `joints` (6,) [rad] and stand still there."""
        _, _, loop = self._parts("approach")
        self.safety.require("approach")
        loop.play(approach_path(loop.held, joints, self.limits, RATE))

    def play(self, targets: np.ndarray, rate: float = RATE) -> Recording:
        """Run joint targets (k, 6) [rad]; return what was recorded, from shortly before to shortly after.

        In a dry run nothing is sent, and the recording says so: what was asked for, and an arm that stands.
        """
        recorder, _, loop = self._parts("play")
        self.safety.require("play")
        if rate != RATE:
            raise InputError(f"rate = {rate} Hz: the controller takes targets at {RATE:g}")
        targets = np.asarray(targets, np.float64)
        self.limits.check_path(targets, rate)
        self.limits.check_start(targets[0], loop.held)
        recorder.keep()
        try:
            time.sleep(REST)
            loop.play(targets)
            time.sleep(REST)
        finally:
            recording = recorder.kept(self.source, self.name)
        self.safety.require("the motion was cut short")
        return recording

    def carry(self, mass: float, center: tuple[float, float, float] = (0.0, 0.0, 0.3)) -> None:
        """Tell the controller what the tool holds, for it to carry the weight.

        Args:
            mass: of what is held [kg]; 0 when it was let go.
            center: its centre in the flange's axes [m].
        """
        self._parts("carry")
        total = self.settings.payload + mass
        if not (mass >= 0.0 and total <= self._arm.payload):
            raise InputError(
                f"{mass} kg and the tool's {self.settings.payload} kg: the {self.name} carries {self._arm.payload} kg"
            )
        shares = np.array([self.settings.payload, mass]) / max(total, 1e-9)
        middle = shares @ np.array([self.settings.payload_center, center])
        if self.safety.moving_allowed and self._client is not None:
            self._client.payload(total, middle.tolist())

    def stop(self) -> None:
        """Stop the arm; its tool stays as it is. `arm` ends it."""
        moving = self.safety.moving_allowed
        self.safety.stop("asked to")
        if moving and self.loop is not None:
            self.loop.halted.wait(2.0)

    def disconnect(self) -> None:
        """Stop the arm, let go of it and end the log; may be called at any time and again."""
        recorder, dashboard, loop = self.recorder, self._dashboard, self.loop
        if recorder is None or dashboard is None or loop is None:
            return
        stopped = self.safety.moving_allowed
        self.stop()
        if stopped or self.safety.state is State.FAULT:
            time.sleep(TAIL)  # the log shows the arm come to rest
        loop.close()
        self._let_go()
        self.safety.disconnected()
        dashboard.close()
        recorder.close()
        self.recorder = self._dashboard = self.loop = None
        atexit.unregister(self.disconnect)

    def __enter__(self) -> UrRobot:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def _allowed(self, target: np.ndarray, last: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Return the target cut to the limits; InputError when it lies where the arm must not be."""
        sent = self.limits.cut(target, last, before, ACTION_PERIOD)
        where = self.limits.outside(sent[None])
        if where:
            raise InputError(f"the action would bring {where}")
        return sent

    def _parts(self, what: str) -> tuple[Recorder, Dashboard, ServoLoop]:
        if self.recorder is None or self._dashboard is None or self.loop is None:
            raise InputError(f"{what}: the robot at {self.settings.host} is not connected: call connect first")
        return self.recorder, self._dashboard, self.loop

    def _about(self, recorder: Recorder, dashboard: Dashboard) -> dict[str, str]:
        return {
            "source": self.source,
            "arm": self.name,
            "rate": repr(RATE),
            "host": self.settings.host,
            "model": dashboard.model,
            "serial": dashboard.serial,
            "software": dashboard.software,
            "settings": str(dataclasses.asdict(self.settings)),
            "targets": "repeated by the controller" if recorder.repeats else "timed by the host",
        }

    def _told(self, state: State, reason: str) -> None:
        if self.recorder is not None:
            self.recorder.event(state.value, reason)

    def _let_go(self) -> None:
        """End the client's process. What the controller still runs for it stops by the watchdog."""
        client, self._client = self._client, None
        if self.loop is not None:
            self.loop.detach()
        if client is not None:
            client.kill()


def _settle(recorder: Recorder) -> None:
    """Wait a moment for fresh states of a standing arm; what came while this program was busy was late by its fault."""
    deadline = time.monotonic() + SETTLING
    while time.monotonic() < deadline:
        if recorder.fresh and np.abs(recorder.latest["velocity"]).max() < STANDING:
            return
        time.sleep(0.005)


def _log_file(folder: Path, arm: str) -> Path:
    """Return a name in `folder` that no file has."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    path, number = folder / f"{stamp}_{arm}.mcap", 1
    while path.exists():
        number += 1
        path = folder / f"{stamp}_{arm}_{number}.mcap"
    return path
