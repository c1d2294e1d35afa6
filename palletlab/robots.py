"""Which robot a command runs on: `robot=NAME` names a file in conf/robot, `robot.key=value` overrides its entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from omegaconf import OmegaConf

from assets.errors import InputError, unknown
from palletlab.config import CONF

ROBOTS = CONF / "robot"


def chosen_robot(
    arguments: list[str], default: str, others: Callable[[str], bool] = lambda key: False
) -> tuple[dict[str, Any], list[str]]:
    """Return the robot's settings, and the arguments that are not about it.

    Args:
        arguments: of the command line, key=value.
        default: name of the robot when none is given.
        others: says of a key `robot.<key>` that it belongs to somebody else.

    Raises:
        InputError: no such robot, or an override that cannot be read.
    """
    name, own, rest = default, [], []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "robot":
            name = value
        elif key.startswith("robot.") and not others(key.removeprefix("robot.")):
            own.append(argument.removeprefix("robot."))
        else:
            rest.append(argument)
    known = {path.stem: path for path in sorted(ROBOTS.glob("*.yaml"))}
    if name not in known:
        raise unknown("robot", name, known)
    try:
        made = OmegaConf.merge(OmegaConf.load(known[name]), OmegaConf.from_dotlist(own))
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"robot: {str(error).splitlines()[0]}") from None
    values = OmegaConf.to_container(made)
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}, rest
