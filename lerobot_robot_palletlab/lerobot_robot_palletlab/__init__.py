"""palletlab's arms as a LeRobot robot: `lerobot-record --robot.type=palletlab --robot.host=… --robot.dry_run=false`."""

from lerobot_robot_palletlab.config_palletlab_arm import PalletlabArmConfig
from lerobot_robot_palletlab.palletlab_arm import PalletlabArm

__all__ = ["PalletlabArm", "PalletlabArmConfig"]
