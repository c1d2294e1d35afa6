"""Settings of the robot, as LeRobot's command line takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lerobot.cameras import CameraConfig
from lerobot.robots import RobotConfig


@RobotConfig.register_subclass("palletlab")
@dataclass
class PalletlabArmConfig(RobotConfig):
    """An arm of palletlab's; see `conf/robot/ur.yaml` and `conf/robot/sim.yaml` there for what the settings mean.

    Attributes:
        kind: "ur" for an arm at `host`, "sim" for a simulated one.
        arm: its name, such as "ur20".
        host: address of its controller.
        tcp_speed: greatest speed of tool and elbow [m/s].
        payload: mass of the tool, as set in the controller [kg].
        vacuum_output: digital output that switches the pump, -1 for none.
        holding_input: digital input that says that something is held, -1 for none.
        log: folder of palletlab's own logs, "" for none.
        dry_run: nothing is sent. Say false to let the arm move.
        cameras: LeRobot's cameras, by name.
    """

    kind: str = "ur"
    arm: str = "ur20"
    host: str = "192.168.56.101"
    tcp_speed: float = 0.25
    payload: float = 2.5
    vacuum_output: int = 0
    holding_input: int = 0
    log: str = "outputs/robot_logs"
    dry_run: bool = True
    cameras: dict[str, CameraConfig] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return what `sim2real.robot.robot_named` takes besides the kind."""
        both = {"arm": self.arm, "tcp_speed": self.tcp_speed}
        if self.kind == "sim":
            return both
        tool = {"vacuum_output": self.vacuum_output, "holding_input": self.holding_input}
        return both | {"host": self.host, "payload": self.payload, "log": self.log, "tool": tool}
