"""The palletizing cell: where arm, conveyor, pallet, cameras and lamps stand.

The arm's base is the origin, seen from above; the pallet lies ahead of it (x), its long side across; cartons come along
the conveyor at its right (-y), travelling along x. The pallet frame (origin in the middle of the deck's top, x along
the 1200 mm side) is the world turned by 90 degrees about z.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from assets.arms import Arm, arm_named
from assets.conveyor import HEIGHT as BELT_HEIGHT
from assets.conveyor import conveyor
from assets.errors import InputError
from assets.gripper import LENGTH as TOOL_LENGTH
from assets.gripper import MASS as TOOL_MASS
from assets.gripper import vacuum_gripper
from assets.pallet import SIZE as PALLET_SIZE
from assets.pallet import epal1
from assets.pedestal import pedestal
from sim.cartons import Cartons
from sim.scene import Camera, Light, Placed, Scene
from tasks.packing.reach import Reach

DECK_HEIGHT = PALLET_SIZE[2]
PALLET_YAW = float(np.pi / 2)  # of the pallet frame in the world [rad]
STOP = (0.15, -0.90)  # [m] where the conveyor ends
__all__ = ["BELT_HEIGHT", "DECK_HEIGHT", "STOP", "TOOL_LENGTH", "TOOL_MASS", "Layout", "palletizing_scene"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """An arm and where things stand around it.

    Attributes:
        robot: name of the arm, a key of `assets.arms.ARMS`.
        base_height: of the arm's base above the floor [m].
        pallet_distance: from the arm's axis to the pallet's middle [m].
        height_limit: of the finished load above the floor, pallet included [m].
    """

    robot: str = "ur20"
    base_height: float = 0.75
    pallet_distance: float = 0.90
    height_limit: float = 1.4

    @property
    def arm(self) -> Arm:
        """The arm."""
        return arm_named(self.robot)

    @property
    def max_carton_mass(self) -> float:
        """Heaviest carton that arm and gripper may carry [kg]."""
        return self.arm.payload - TOOL_MASS

    @functools.cached_property
    def reach(self) -> Reach:
        """Whether the arm can place a carton: a callable for the planner."""
        middle = self.pallet_to_world(np.zeros(3))
        return Reach(
            self.arm,
            base_height=self.base_height,
            pallet_position=(float(middle[0]), float(middle[1]), float(middle[2])),
            pallet_yaw=PALLET_YAW,
            tool_length=TOOL_LENGTH,
        )

    def check(self) -> None:
        """Raise InputError when the layout is impossible."""
        arm_named(self.robot)
        near = PALLET_SIZE[1] / 2 + 0.25
        if not near <= self.pallet_distance <= 2.5:
            raise InputError(f"robot.pallet_distance = {self.pallet_distance} m must lie in {near} … 2.5")
        if not 0.2 <= self.base_height <= 2.0:
            raise InputError(f"robot.base_height = {self.base_height} m must lie in 0.2 … 2.0")
        if not DECK_HEIGHT + 0.1 <= self.height_limit <= 2.2:
            raise InputError(f"robot.height_limit = {self.height_limit} m must lie in {DECK_HEIGHT + 0.1:.3f} … 2.2")

    def pallet_to_world(self, position: np.ndarray) -> np.ndarray:
        """Turn points of the pallet frame (..., 3) [m] into world points."""
        x, y, z = np.moveaxis(np.asarray(position), -1, 0)
        return np.stack([self.pallet_distance - y, x, z + DECK_HEIGHT], axis=-1)


def palletizing_scene(layout: Layout, slots: int) -> Scene:
    """Return the template of the cell with room for `slots` cartons."""
    layout.check()
    quarter = float(np.sqrt(0.5))
    return Scene(
        arm=layout.arm,
        arm_position=(0.0, 0.0, layout.base_height),
        tool=vacuum_gripper(),
        furniture=(
            Placed(pedestal(layout.base_height)),
            Placed(epal1(), (layout.pallet_distance, 0.0, DECK_HEIGHT), (quarter, 0.0, 0.0, quarter)),
            Placed(conveyor(), (STOP[0], STOP[1], BELT_HEIGHT)),
        ),
        goods=Cartons(slots),
        cameras=(
            Camera("cell", (2.9, -2.2, 2.3), (0.42, -0.25, 0.78), fovy=49.0),
            Camera("wrist", (0.0, -0.13, 0.04), (0.0, -0.04, 0.40), fovy=68.8, up=(1.0, 0.0, 0.0), body="gripper"),
        ),
        lights=(
            Light("key", (1.5, -2.5, 4.0), (0.5, 0.0, 0.3), diffuse=0.50),
            Light("fill", (-2.0, 2.0, 3.0), (0.5, 0.0, 0.5), diffuse=0.20, shadow=False),
        ),
    )
