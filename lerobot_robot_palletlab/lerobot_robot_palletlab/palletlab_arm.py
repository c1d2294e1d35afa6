"""LeRobot's `Robot` on top of palletlab's."""

from __future__ import annotations

from typing import Any

from lerobot.cameras.utils import make_cameras_from_configs
from lerobot.robots import Robot

from lerobot_robot_palletlab.config_palletlab_arm import PalletlabArmConfig
from sim2real.robot import robot_named


class PalletlabArm(Robot):
    """An arm of palletlab's with LeRobot's cameras.

    Joint targets and joint states are in radians, under palletlab's names (`joint0.position` …). Actions are taken at
    10 Hz: `send_action` waits where it is called more often. Every limit and check of palletlab's holds.
    """

    config_class = PalletlabArmConfig
    name = "palletlab"

    def __init__(self, config: PalletlabArmConfig):
        super().__init__(config)
        self.config = config
        self.arm = robot_named(config.kind, **config.settings())
        self.cameras = make_cameras_from_configs(config.cameras)

    @property
    def observation_features(self) -> dict[str, Any]:
        """Names and types of the observation: numbers, and pictures as (height, width, 3)."""
        pictures = {name: (c.height, c.width, 3) for name, c in self.config.cameras.items()}
        return {**self.arm.observation_features, **pictures}

    @property
    def action_features(self) -> dict[str, Any]:
        """Names and types of the action."""
        return self.arm.action_features

    @property
    def is_connected(self) -> bool:
        """Whether arm and cameras are there."""
        return self.arm.is_connected and all(camera.is_connected for camera in self.cameras.values())

    @property
    def is_calibrated(self) -> bool:
        """A UR arm knows its joints."""
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Reach the arm and the cameras; without `dry_run`, check everything and let motions through."""
        self.arm.connect()
        for camera in self.cameras.values():
            camera.connect()
        self.configure()
        if not self.config.dry_run:
            self.arm.arm()

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do: the arm's settings are its own."""

    def get_observation(self) -> dict[str, Any]:
        """Return the newest state and the newest pictures."""
        pictures = {name: camera.async_read() for name, camera in self.cameras.items()}
        return {**self.arm.observe(), **pictures}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move towards `action`; return what was really sent."""
        return self.arm.act({name: float(value) for name, value in action.items()})

    def disconnect(self) -> None:
        """Stop the arm and let go of everything."""
        self.arm.disconnect()
        for camera in self.cameras.values():
            camera.disconnect()
