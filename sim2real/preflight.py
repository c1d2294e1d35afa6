"""What is looked at before an arm may move: the right robot, in the right state, with nobody else at its registers."""

from __future__ import annotations

import time

import numpy as np

from assets.errors import InputError
from sim2real.dashboard import Dashboard
from sim2real.limits import Limits
from sim2real.recorder import Recorder, check_registers
from sim2real.recording import STOPPED, safety_words
from sim2real.rtde import RobotMode
from sim2real.safety import LAG, STATE_AGE, Check, mode_word

OLDEST = (5, 11)  # controller software that ur-rtde's script and servoJ at 500 Hz are known to work with
RETRIES = 3
PAYLOAD_TOLERANCE = 0.1  # [kg]


def model_fits(model: str, arm: str) -> bool:
    """Say whether the dashboard's `model` is the arm: it says "UR10" for a UR10e."""
    return model.lower().removesuffix("e") == arm.lower().removesuffix("e")


def preflight(recorder: Recorder, dashboard: Dashboard, limits: Limits, arm: str, payload: float) -> list[Check]:
    """Look at everything; return what was found.

    Args:
        recorder: of the controller.
        dashboard: of the same.
        limits: that the arm must lie within.
        arm: name of the arm that the settings name.
        payload: mass that the controller must have been told [kg].

    Raises:
        InputError: the dashboard does not answer.
    """
    state = recorder.latest
    version = recorder.version
    mode, safety = int(state["mode"]), int(state["safety"])
    model = dashboard.model
    age = recorder.controller_clock - float(state["time"])
    taken = _registers(recorder.host)
    where = limits.outside(state["position"][None])
    away = float(np.abs(state["position"] - state["target"]).max())
    speed, scaling = float(np.abs(state["velocity"]).max()), float(state["speed_scaling"])
    return [
        Check("robot model", model_fits(model, arm), f"{model}, robot.arm is {arm}"),
        Check("software", version[:2] >= OLDEST, f"{'.'.join(map(str, version))}, at least 5.11 is needed"),
        Check("safety", not safety & STOPPED, f"{safety_words(safety)}; only a person who has looked clears a stop"),
        Check("robot mode", mode == RobotMode.RUNNING, f"{mode_word(mode)}, must be running: powered, brakes released"),
        Check("control", dashboard.remote, "the pendant must be in remote control"),
        Check(
            "payload",
            abs(recorder.payload - payload) <= PAYLOAD_TOLERANCE,
            f"the controller was told {recorder.payload:.2f} kg, robot.payload is {payload:.2f} kg",
        ),
        Check("speed", scaling > 0.99, f"the speed slider is at {100 * scaling:.0f} %, must be at 100"),
        Check("state", age < STATE_AGE and recorder.lag < LAG, f"the newest is {1e3 * age:.0f} ms old"),
        Check("standstill", speed < 0.02 and away < limits.start_distance, f"the arm moves at {speed:.2f} rad/s"),
        Check("workspace", not where, where or "the arm is inside"),
        Check("registers", not taken, taken or "free"),
    ]


def _registers(host: str) -> str:
    """Say who has our registers, "" if nobody; a connection that has just ended may still count for a moment."""
    taken = ""
    for _ in range(RETRIES):
        try:
            taken = check_registers(host)
        except InputError as error:
            return str(error)
        if not taken:
            break
        time.sleep(0.1)
    return taken
