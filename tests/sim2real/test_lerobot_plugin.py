"""The LeRobot plugin: under the names and with the classes by which LeRobot finds a robot, on a simulated arm.

LeRobot itself lives in an environment of its own (`tests/compat/test_lerobot_arm.py` drives the real one); here its few
classes that the plugin builds on are stood in for, with the same contract.
"""

from __future__ import annotations

import abc
import importlib
import sys
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PLUGIN = Path(__file__).parents[2] / "lerobot_robot_palletlab"
NAME = "lerobot_robot_palletlab"


@dataclass(kw_only=True)
class RobotConfig:
    """LeRobot's, without its file handling."""

    id: str | None = None

    @classmethod
    def register_subclass(cls, name: str):
        def keep(made: type) -> type:
            REGISTERED[name] = made
            return made

        return keep


class Robot(abc.ABC):
    """The methods that LeRobot's base class wants."""

    config_class: type[RobotConfig]
    name: str

    def __init__(self, config: RobotConfig):
        self.id = config.id


ABSTRACT = (
    "observation_features", "action_features", "is_connected", "is_calibrated", "connect", "calibrate", "configure",
    "get_observation", "send_action", "disconnect",
)  # fmt: skip
REGISTERED: dict[str, type] = {}


class Camera:
    """A camera that shows grey."""

    height, width, is_connected = 4, 6, False

    def connect(self) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def async_read(self) -> np.ndarray:
        return np.full((4, 6, 3), 127, np.uint8)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    robots = types.ModuleType("lerobot.robots")
    robots.Robot, robots.RobotConfig = Robot, RobotConfig  # type: ignore[attr-defined]
    cameras, utils = types.ModuleType("lerobot.cameras"), types.ModuleType("lerobot.cameras.utils")
    cameras.CameraConfig = object  # type: ignore[attr-defined]
    utils.make_cameras_from_configs = dict  # type: ignore[attr-defined]
    for module in (types.ModuleType("lerobot"), robots, cameras, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.syspath_prepend(str(PLUGIN))
    yield importlib.import_module(NAME)
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def test_lerobot_finds_it_by_its_names(plugin: Any) -> None:
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    assert project["name"] == NAME  # distribution and module alike
    config = REGISTERED["palletlab"]
    assert config is plugin.PalletlabArmConfig
    # The robot's class is looked for under the configuration's name without "Config", in its package.
    assert getattr(plugin, config.__name__.removesuffix("Config")).config_class is config
    assert config.__module__.rpartition(".")[0] == NAME


def test_it_has_every_method(plugin: Any) -> None:
    assert not [name for name in ABSTRACT if name not in vars(plugin.PalletlabArm)]


def test_it_drives_an_arm(plugin: Any) -> None:
    robot = plugin.PalletlabArm(plugin.PalletlabArmConfig(kind="sim", cameras={"cell": Camera()}))
    assert robot.observation_features["cell"] == (4, 6, 3)
    assert not robot.is_connected
    robot.connect()
    assert robot.is_connected
    assert robot.is_calibrated
    seen = robot.get_observation()
    assert set(seen) == set(robot.observation_features)
    action = {name: np.float32(seen.get(name, 0.0)) for name in robot.action_features}
    sent = robot.send_action(action)
    assert sent == pytest.approx({name: float(value) for name, value in action.items()}, abs=1e-6)
    robot.disconnect()
    assert not robot.is_connected


def test_it_is_a_dry_run_unless_told(plugin: Any) -> None:
    config = plugin.PalletlabArmConfig()
    assert config.dry_run
    robot = plugin.PalletlabArm(config)
    calls: list[str] = []
    robot.arm = types.SimpleNamespace(connect=lambda: calls.append("connect"), arm=lambda: calls.append("arm"))
    robot.connect()
    assert calls == ["connect"]
    config.dry_run = False
    robot.connect()
    assert calls == ["connect", "connect", "arm"]
