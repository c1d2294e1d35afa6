"""Actions and tools: what an action says, and how vacuum or gripper hang on the controller's inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from assets.errors import InputError
from sim2real.robot import JOINT_TARGETS

NOTHING = -1  # a number of an input or output that is not wired
STANDARD, TOOL = 8, 2  # digital outputs 0 … 7 are those of the control box, 16 and 17 those of the tool flange
FIRST_TOOL_OUTPUT = 16
FULL_VACUUM = 10.0  # [V] of a vacuum sensor at full vacuum


class OutputClient(Protocol):
    """What sets the controller's outputs (`sim2real.ur_client.UrClient`)."""

    def digital(self, output: int, level: bool, tool: bool) -> bool:
        """Set a digital output of the control box or of the tool flange."""
        ...

    def analog(self, output: int, ratio: float) -> bool:
        """Set an analogue output to a share of its voltage."""
        ...


@dataclasses.dataclass(frozen=True)
class ToolWiring:
    """Which of the controller's inputs and outputs the tool hangs on; -1 for what is not wired.

    Attributes:
        vacuum_output: digital output that switches the pump: 0 … 7 of the control box, 16 or 17 of the tool flange.
        holding_input: digital input that says that something is held: bits as in `actual_digital_input_bits`.
        vacuum_input: standard analogue input, 0 or 1, on which 0 … 10 V are no … full vacuum.
        gripper_output: standard analogue output, 0 or 1, that sets the fingers' opening.
        gripper_span: opening at the full voltage [m].
    """

    vacuum_output: int = NOTHING
    holding_input: int = NOTHING
    vacuum_input: int = NOTHING
    gripper_output: int = NOTHING
    gripper_span: float = 0.1

    def __post_init__(self) -> None:
        """Refuse numbers that no controller has."""
        digital = (*range(STANDARD), *range(FIRST_TOOL_OUTPUT, FIRST_TOOL_OUTPUT + TOOL))
        for name, number, known in (
            ("vacuum_output", self.vacuum_output, digital),
            ("holding_input", self.holding_input, tuple(range(18))),
            ("vacuum_input", self.vacuum_input, (0, 1)),
            ("gripper_output", self.gripper_output, (0, 1)),
        ):
            if number != NOTHING and number not in known:
                raise InputError(f"robot.tool.{name} = {number}: known are {', '.join(map(str, known))}, -1 for none")
        if not 0.0 < self.gripper_span <= 1.0:
            raise InputError(f"robot.tool.gripper_span = {self.gripper_span} m must lie in 0 … 1")

    @property
    def actions(self) -> tuple[str, ...]:
        """What the tool can be told."""
        has = (("suction", self.vacuum_output), ("gripper.opening", self.gripper_output))
        return tuple(name for name, number in has if number != NOTHING)

    @property
    def states(self) -> tuple[str, ...]:
        """What the tool tells."""
        vacuum = ("suction.vacuum", "suction.holding") if self.vacuum_output != NOTHING else ()
        return vacuum + (("gripper.opening",) if self.gripper_output != NOTHING else ())


class Tool:
    """Switches the tool and reads it. An output is written when it changes, and stays as it is when the arm stops.

    A stop leaves the vacuum on: what hangs on the cups must not fall.
    """

    def __init__(self, wiring: ToolWiring) -> None:
        """Know the wiring; nothing has been told yet."""
        self.wiring = wiring
        self._suction: bool | None = None
        self._opening: float | None = None

    def cut(self, action: Mapping[str, float]) -> dict[str, float]:
        """Return what of `action` the tool can do: suction 0 or 1, an opening within the span [m]."""
        done: dict[str, float] = {}
        if "suction" in self.wiring.actions:
            done["suction"] = float(action["suction"] > 0.5)
        if "gripper.opening" in self.wiring.actions:
            done["gripper.opening"] = float(np.clip(action["gripper.opening"], 0.0, self.wiring.gripper_span))
        return done

    def write(self, client: OutputClient, action: Mapping[str, float]) -> None:
        """Set the outputs to what `cut` returned."""
        if "suction" in action and (on := action["suction"] > 0.5) != self._suction:
            number = self.wiring.vacuum_output
            client.digital(number % FIRST_TOOL_OUTPUT, on, tool=number >= FIRST_TOOL_OUTPUT)
            self._suction = on
        if "gripper.opening" in action and (opening := action["gripper.opening"]) != self._opening:
            client.analog(self.wiring.gripper_output, opening / self.wiring.gripper_span)
            self._opening = opening

    def read(self, outputs: int, inputs: int, analog: np.ndarray) -> dict[str, float]:
        """Return the tool's state from the controller's digital bits and analogue inputs (2,).

        What is not wired is told by what was commanded: without a vacuum sensor the vacuum is there when the pump runs.
        """
        state: dict[str, float] = {}
        w = self.wiring
        if w.vacuum_output != NOTHING:
            pump = float(outputs >> w.vacuum_output & 1)
            sensed = float(np.clip(analog[w.vacuum_input] / FULL_VACUUM, 0.0, 1.0)) if w.vacuum_input >= 0 else pump
            state["suction.vacuum"] = sensed
            state["suction.holding"] = float(inputs >> w.holding_input & 1) if w.holding_input >= 0 else sensed
        if w.gripper_output != NOTHING:
            state["gripper.opening"] = w.gripper_span if self._opening is None else self._opening
        return state


def actions_of(action: Mapping[str, float], names: Mapping[str, type]) -> tuple[np.ndarray, dict[str, float]]:
    """Return the joint targets (6,) [rad] of an action and the rest of it.

    Raises:
        InputError: a name is missing or unknown, or a value is not a finite number.
    """
    missing, extra = sorted(set(names) - set(action)), sorted(set(action) - set(names))
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"holds the unknown {extra[0]!r}"
        raise InputError(f"the action {what}: it must hold exactly {', '.join(names)}")
    values = {}
    for name in names:
        try:
            values[name] = float(action[name])
        except (TypeError, ValueError):
            raise InputError(f"the action's {name} = {action[name]!r} is not a number") from None
        if not np.isfinite(values[name]):
            raise InputError(f"the action's {name} = {values[name]} is not a finite number: refused")
    return np.array([values.pop(name) for name in JOINT_TARGETS]), values
