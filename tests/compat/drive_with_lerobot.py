# pyright: reportMissingImports=false
"""Drive an arm through the plugin with the real lerobot 0.4.4, and write what it saw as JSON.

    python drive_with_lerobot.py KIND HOST RESULT.json

Finds the plugin as lerobot's own tools do, by the name of its distribution, and makes the robot from words of a command
line. What is not real: see `read_with_lerobot.py`.
"""

import dataclasses
import importlib.metadata
import json
import sys
from pathlib import Path

import torch

operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import draccus  # noqa: E402
from lerobot.robots import Robot, RobotConfig, make_robot_from_config  # noqa: E402
from lerobot.utils.import_utils import register_third_party_plugins  # noqa: E402


@dataclasses.dataclass
class Words:
    """A command line with a robot, as lerobot's own tools have."""

    robot: RobotConfig


def main(kind: str, host: str, result: str) -> None:
    """Connect, move the first joint for half a second, disconnect; then the same in a dry run."""
    register_third_party_plugins()
    seen: dict[str, object] = {"known": "palletlab" in RobotConfig.get_known_choices()}
    for dry in (False, True):
        given = {"type": "palletlab", "kind": kind, "host": host, "log": "", "dry_run": dry, "id": "test"}
        words = draccus.parse(Words, args=[f"--robot.{name}={value}" for name, value in given.items()])
        robot = make_robot_from_config(words.robot)
        assert isinstance(robot, Robot)
        robot.connect()
        first = robot.get_observation()
        assert set(first) == set(robot.observation_features)
        action = {name: first.get(name, 0.0) for name in robot.action_features}
        for k in range(5):
            sent = robot.send_action({**action, "joint0.position": action["joint0.position"] + 0.01 * (k + 1)})
        last = robot.get_observation()
        robot.disconnect()
        name = "joint0.position"
        seen["dry" if dry else "armed"] = {
            "asked": 0.05,
            "sent": sent[name] - action[name],
            "moved": last[name] - first[name],
            "connected": robot.is_connected,
        }
    seen["plugins"] = sorted(d.name for d in importlib.metadata.distributions() if d.name.startswith("lerobot_robot_"))
    Path(result).write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
