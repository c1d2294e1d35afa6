"""Reading a robot's settings: plain values from `conf/robot`, checked, into a dataclass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from assets.arms import arm_named
from assets.errors import InputError, unknown
from assets.gripper import LENGTH as TOOL_LENGTH
from sim2real.limits import COMMISSIONING_SPEED, Limits

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
Settings = TypeVar("Settings")

# Wide enough for either arm at full stretch; downwards to the floor under the lowest column that a cell may have.
OPEN_BOX: Box = ((-2.2, -2.2, -0.75), (2.2, 2.2, 2.6))


@dataclasses.dataclass(frozen=True)
class ArmSettings:
    """What the settings of every robot say of its arm.

    Attributes:
        arm: name of the arm, a key of `assets.arms.ARMS`.
        tcp_speed: greatest speed of tool and elbow [m/s].
        box: lowest and highest corner of the workspace in the base frame [m].
        tool_length: from the flange to the tool's tip [m].
    """

    arm: str = "ur20"
    tcp_speed: float = COMMISSIONING_SPEED
    box: Box = OPEN_BOX
    tool_length: float = TOOL_LENGTH

    def limits(self) -> Limits:
        """Return the limits; InputError for a setting that is none."""
        try:
            box = np.array(self.box, np.float64)
        except (TypeError, ValueError):
            raise InputError(f"robot.box = {self.box} must be two corners of three numbers [m]") from None
        return Limits.of(arm_named(self.arm), self.tool_length, self.tcp_speed, box)


def parsed(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Return the dataclass `kind` made of plain values; InputError names an unknown or unfit one."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name == "kind":
            continue
        if name not in fields:
            raise unknown("setting of the robot", name, fields)
        given[name] = _fitted(f"robot.{name}", fields[name].default, value)
    return kind(**given)


def _fitted(where: str, default: Any, value: Any) -> Any:
    """Return the value if it is of the default's kind; lists become tuples."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise InputError(f"{where} = {value!r} must be true or false")
    elif isinstance(default, int | float):
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise InputError(f"{where} = {value!r} must be a number")
    elif isinstance(default, str):
        if not isinstance(value, str):
            raise InputError(f"{where} = {value!r} must be a text")
    elif isinstance(default, tuple):
        return _tuple(value)
    return value


def _tuple(value: Any) -> Any:
    return tuple(_tuple(v) for v in value) if isinstance(value, list | tuple) else value
