"""How a checkpoint is wired to a benchmark: which of its cameras and numbers are which of the checkpoint's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from vla_eval.specs import DimSpec

from assets.errors import InputError, unknown


def action_spec(names: Sequence[str], state_names: Sequence[str]) -> dict[str, DimSpec]:
    """Return what an action of these numbers consists of: targets of what the state measures, and commands."""
    targets = [name for name in names if name in state_names]
    commands = {name: DimSpec(name, 1, "command") for name in names if name not in targets}
    return {"joints": DimSpec("joints", len(targets), "joint_positions"), **commands}


@dataclasses.dataclass(frozen=True)
class Wiring:
    """One benchmark's observations as a policy takes them, and its actions as the benchmark does.

    Attributes:
        cameras: the benchmark's camera for each of the checkpoint's.
        columns: places in the benchmark's state of the numbers that the policy is told.
        width: numbers of the benchmark's state.
        order: places in the policy's action of the numbers that the benchmark wants.
    """

    cameras: Mapping[str, str]
    columns: tuple[int, ...]
    width: int
    order: tuple[int, ...]

    @staticmethod
    def of(
        cameras: Mapping[str, str],
        proprio: Sequence[str],
        actions: Sequence[str],
        state_names: Sequence[str] | None,
        action_names: Sequence[str] | None,
    ) -> Wiring:
        """Wire up a policy that is told `proprio` and answers `actions`.

        Args:
            cameras: the benchmark's camera for each of the checkpoint's.
            proprio, actions: names of the policy's numbers.
            state_names: of the benchmark's state; None if it is `proprio`.
            action_names: of the benchmark's action; None if it is `actions`.

        Raises:
            InputError: a number that one side needs is not among the other's.
        """
        state, wanted = tuple(state_names or proprio), tuple(action_names or actions)
        for name in proprio:
            if name not in state:
                raise unknown("number of the benchmark's state, which the checkpoint is told,", name, state)
        for name in wanted:
            if name not in actions:
                raise unknown("number of the checkpoint's action, which the benchmark takes,", name, actions)
        columns, order = (state.index(name) for name in proprio), (list(actions).index(name) for name in wanted)
        return Wiring(dict(cameras), tuple(columns), len(state), tuple(order))

    def observed(self, observation: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return `state` (P,) and a picture (height, width, 3) uint8 by each camera of the checkpoint.

        Raises:
            InputError: a camera or the state is missing, or of another form.
        """
        images = observation.get("images") or {}
        found: dict[str, np.ndarray] = {}
        for ours, theirs in self.cameras.items():
            if theirs not in images:
                raise unknown("camera of the benchmark", theirs, images)
            picture = np.asarray(images[theirs])
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                raise InputError(
                    f"a picture of {theirs!r} of {picture.shape} {picture.dtype}: (height, width, 3) uint8 is wanted"
                )
            found[ours] = picture
        state = observation.get("state", observation.get("states"))
        values = np.asarray(() if state is None else state, np.float32).ravel()
        if len(values) != self.width:
            raise InputError(
                f"a state of {len(values)} numbers, {self.width} were expected: state=[...] names them in their order"
            )
        return {**found, "state": values[list(self.columns)]}

    def action(self, values: np.ndarray) -> np.ndarray:
        """Return actions (..., A) of the policy as the benchmark takes them."""
        return np.ascontiguousarray(values[..., list(self.order)], np.float32)
