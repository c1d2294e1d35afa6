"""The tote cell: where arm, table, bin, pile, cameras and lamps stand.

The arm's base is the origin, seen from above. The tote's table lies ahead of it (x), the bin to its left, the dolly
with the pile of empties to its right, all at the same distance and all turned towards the arm: length along the radius.
So what is carried from one to the other by turning the first joint stays turned towards the arm.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from assets.arms import Arm, arm_named
from assets.asset import Body, Geom
from assets.combi_tool import combi_tool
from assets.errors import InputError
from assets.pedestal import pedestal
from assets.tote_cell import BIN_WALL, bin_box, dolly, table
from sim.scene import Camera, Light, Placed, Scene
from sim.totes import Totes

# Firmer than under cartons: a light part that an arm presses down would sink in by centimetres.
SOLIMP = (0.8, 0.995, 0.0005, 0.5, 2.0)
TABLE_AT, BIN_AT, PILE_AT = 0.0, np.deg2rad(62.0), np.deg2rad(-62.0)  # headings of the stations from the arm [rad]


@dataclasses.dataclass(frozen=True)
class ToteLayout:
    """An arm and where things stand around it.

    Attributes:
        robot: name of the arm, a key of `assets.arms.ARMS`.
        base_height: of the arm's base above the floor [m].
        distance: from the arm's axis to the middle of table, bin and pile [m].
        table_height, dolly_height: of their tops above the floor [m].
        bin_height: of the bin's underside above the floor [m].
    """

    robot: str = "ur20"
    base_height: float = 0.60
    distance: float = 0.95
    table_height: float = 0.40
    dolly_height: float = 0.20
    bin_height: float = 0.20

    @property
    def arm(self) -> Arm:
        """The arm."""
        return arm_named(self.robot)

    @property
    def bin_floor(self) -> float:
        """Height of the bin's floor [m]."""
        return self.bin_height + BIN_WALL

    def station(self, heading: float, height: float) -> np.ndarray:
        """Return the middle (3,) [m] of a station's top."""
        return np.array([self.distance * np.cos(heading), self.distance * np.sin(heading), height])

    def check(self) -> None:
        """Raise InputError when the layout is impossible."""
        arm_named(self.robot)
        for name, low, high in (
            ("base_height", 0.2, 1.5),
            ("distance", 0.75, 1.4),
            ("table_height", 0.15, 1.0),
            ("dolly_height", 0.12, 0.6),
            ("bin_height", 0.0, 0.6),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"robot.{name} = {value} m must lie in {low} … {high}")


def _stand(height: float) -> Body:
    """What the bin stands on: its frame is the middle of its top."""
    return Body(
        name="stand",
        geoms=(
            Geom("stand_block", "box", (0.25, 0.18, height / 2), (0, 0, -height / 2), surface="metal", look="steel"),
        ),
    )


def tote_scene(layout: ToteLayout, slots: int) -> Scene:
    """Return the template of the cell with room for `slots` parts."""
    layout.check()

    def placed(body: Body, heading: float, height: float) -> Placed:
        x, y, z = layout.station(heading, height).tolist()
        return Placed(body, (x, y, z), (float(np.cos(heading / 2)), 0.0, 0.0, float(np.sin(heading / 2))))

    stand = (placed(_stand(layout.bin_height), BIN_AT, layout.bin_height),) if layout.bin_height > 0 else ()
    return Scene(
        arm=layout.arm,
        arm_position=(0.0, 0.0, layout.base_height),
        tool=combi_tool(),
        furniture=(
            Placed(pedestal(layout.base_height)),
            placed(table(layout.table_height), TABLE_AT, layout.table_height),
            placed(bin_box(), BIN_AT, layout.bin_height),
            placed(dolly(layout.dolly_height), PILE_AT, layout.dolly_height),
            *stand,
        ),
        goods=Totes(slots),
        cameras=(
            Camera("cell", (2.75, -0.35, 1.95), (0.45, 0.0, 0.52), fovy=49.0),
            Camera("wrist", (0.0, -0.075, 0.235), (0.0, -0.01, 0.505), fovy=68.8, up=(1.0, 0.0, 0.0), body="gripper"),
        ),
        lights=(
            Light("key", (1.5, -2.5, 4.0), (0.5, 0.0, 0.3), diffuse=0.50),
            Light("fill", (-2.0, 2.0, 3.0), (0.5, 0.0, 0.5), diffuse=0.20, shadow=False),
        ),
        solimp=SOLIMP,
    )
