"""The text service of the controller's pendant, port 29999: a line asks, a line answers.

Source: Universal Robots, Dashboard Server guide for e-Series. A protective stop can be unlocked here, by a person. What
no real pendant answers as this one does is "get variable what": that it is a stand-in.
"""

from __future__ import annotations

from sim2real.rtde import RobotMode
from sim2real.standin import WHAT
from sim2real.standin.controller import EMERGENCY, NORMAL, PAUSED, PLAYING, PROTECTIVE, VERSION, Controller

GREETING = "Connected: Universal Robots Dashboard Server"
# What the pendant calls the arm: of an e-Series model it leaves the letter out.
MODELS = {"ur10e": "UR10", "ur20": "UR20"}
_SAFETY = {NORMAL: "NORMAL", PROTECTIVE: "PROTECTIVE_STOP", EMERGENCY: "ROBOT_EMERGENCY_STOP"}
_PROGRAM = {PLAYING: "PLAYING", PAUSED: "PAUSED"}


def answer(controller: Controller, line: str) -> str:
    """What the pendant says to a line, and does."""
    c = controller
    asked = line.strip()
    program = _PROGRAM.get(c.runtime, "STOPPED")
    answers = {
        "polyscopeversion": "URSoftware {}.{}.{}.{} (Nov 05 2025)".format(*VERSION),
        "version": "{}.{}.{}".format(*VERSION),
        "get serial number": c.serial,
        "get robot model": MODELS.get(c.arm.name, c.arm.name.upper()),
        "is in remote control": "true",
        "robotmode": f"Robotmode: {c.mode.name}",
        "safetystatus": f"Safetystatus: {_SAFETY[c.safety]}",
        "safetymode": f"Safetymode: {_SAFETY[c.safety]}",
        "programstate": f"{program} rtde_control" if c.program is not None else f"{program} <unnamed>",
        "running": f"Program running: {str(c.runtime == PLAYING).lower()}",
        "get loaded program": "No program loaded",
        "isprogramsaved": "True <unnamed>",
        "get operational mode": "NONE",
        "get variable what": WHAT,
    }
    if asked.lower() in answers:
        return answers[asked.lower()]
    return _act(c, asked)


def _act(c: Controller, asked: str) -> str:
    """Lines that do something."""
    if asked == "stop":
        c.stop_program()
        return "Stopped"
    if asked == "unlock protective stop":
        if c.unlock():
            return "Protective stop releasing"
        return "Cannot unlock protective stop until 5s after occurrence. Always inspect cause of protective stop"
    if asked == "power on":
        c.power(True)
        return "Powering on"
    if asked == "power off":
        c.power(False)
        return "Powering off"
    if asked == "brake release":
        c.power(c.mode != RobotMode.POWER_OFF, brakes_released=True)
        return "Brake releasing"
    if asked in ("close popup", "close safety popup"):
        return "closing popup" if asked == "close popup" else "closing safety popup"
    if asked.startswith("popup "):
        return "showing popup"
    if asked.startswith("addToLog "):
        return "Added log message"
    if asked == "play":
        return "Failed to execute: play"
    if asked == "quit":
        return "Disconnected"
    return f"could not understand: '{asked}'"
