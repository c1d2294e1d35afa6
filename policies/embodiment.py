"""What an arm with its tool measures and takes: which numbers of a dataset's state and action a policy sees and gives.

Two datasets of one robot with other tools are two embodiments: their actions differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assets.errors import InputError

JOINT = re.compile(r"joint_?\d+\.position")
TOOL = ("suction.vacuum", "suction.sealed", "suction.holding", "gripper.opening")
STATE, ACTION = "observation.state", "action"


@dataclasses.dataclass(frozen=True)
class Embodiment:
    """An arm and its tool, by the names of their numbers.

    Attributes:
        name: the robot and its tools, such as "ur20+suction".
        positions: state names of the joint positions [rad], in order.
        torques: state names of the joint torques [N m]; may be empty.
        tool: state names of what the tool tells: vacuum, cups sealed, holding, opening.
        actions: names of an action's numbers; those that are also in `positions` are joint targets [rad].
    """

    name: str
    positions: tuple[str, ...]
    torques: tuple[str, ...]
    tool: tuple[str, ...]
    actions: tuple[str, ...]

    @property
    def proprio(self) -> tuple[str, ...]:
        """State names of all that a policy sees beside the pictures: positions, torques, tool, in this order."""
        return (*self.positions, *self.torques, *self.tool)

    @property
    def target_of(self) -> tuple[int, ...]:
        """For each number of an action, which of `positions` it is the target of; -1 for a command to the tool."""
        return tuple(self.positions.index(name) if name in self.positions else -1 for name in self.actions)

    def columns(self, state_names: Sequence[str]) -> list[int]:
        """Where the numbers of `proprio` stand in a state with these names.

        Raises:
            InputError: a number is not in the state.
        """
        missing = [name for name in self.proprio if name not in state_names]
        if missing:
            raise InputError(f"{self.name}: the state has no {missing[0]!r}, it holds {', '.join(state_names)}")
        return [state_names.index(name) for name in self.proprio]

    @staticmethod
    def of(info: Mapping[str, Any], torques: bool | None = None, where: str = "meta/info.json") -> Embodiment:
        """The embodiment that a dataset's `meta/info.json` describes.

        Joints are "joint<i>.position"; robots that name theirs otherwise ("shoulder_pan.pos") are understood by the
        names that state and action share. With `torques` false they are left out, with true they must be there, by
        default they are taken where there are any.

        Raises:
            InputError: no joint positions, no actions, or no torques although asked for.
        """
        state, actions = names_of(info, STATE), names_of(info, ACTION)
        if not actions:
            raise InputError(f"{where}: has no {ACTION!r}; only a video model learns without actions")
        positions = tuple(n for n in state if JOINT.fullmatch(n)) or tuple(n for n in state if n in actions)
        if not positions:
            raise InputError(
                f"{where}: no joint positions: {STATE} has no 'joint<i>.position' and shares no name with {ACTION} "
                f"({', '.join(state[:6]) or 'no state'} against {', '.join(actions[:6])})"
            )
        found = tuple(n for n in (p.rsplit(".", 1)[0] + ".torque" for p in positions) if n in state)
        if torques and not found:
            raise InputError(
                f"{where}: no torque column ('{positions[0].rsplit('.', 1)[0]}.torque'); use torques=false"
            )
        tool = tuple(name for name in TOOL if name in state and name not in positions)
        tools = dict.fromkeys(name.split(".")[0] for name in actions if name not in positions)
        name = "+".join([str(info.get("robot_type") or "robot"), *tools])
        return Embodiment(name, positions, () if torques is False else found, tool, actions)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Embodiment:
        """The embodiment that `dataclasses.asdict` wrote, as it stands in a checkpoint."""
        names = {key: tuple(values[key]) for key in ("positions", "torques", "tool", "actions")}
        return Embodiment(values["name"], **names)


# Video without actions or states: whoever moves in it.
VIDEO = Embodiment("video", (), (), (), ())


def names_of(info: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The names of a feature's numbers; LeRobot keeps them as a list, under headings, or not at all."""
    feature = info.get("features", {}).get(key)
    if feature is None:
        return ()
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    width = int(feature["shape"][0])
    if not names or len(names) != width:
        names = [f"motor_{i}" for i in range(width)]
    return tuple(str(name) for name in names)
