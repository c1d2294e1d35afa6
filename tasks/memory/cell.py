"""The bench cell: an arm with the vacuum gripper, a bench before it, cameras close by; and the knobs of such a cell.

The arm's base is the origin, seen from above; the bench stands ahead of it (x), its long side across (y).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from assets.arms import Arm, arm_named
from assets.bench import bench
from assets.errors import InputError
from assets.gripper import vacuum_gripper
from assets.pedestal import pedestal
from sim.cartons import CARTON_KNOBS, Cartons
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.knobs import Knob, Knobs
from sim.scene import Camera, Light, Placed, Scene

NOT_HERE = ("carton.count", "carton.strength", "surface.cardboard_belt.friction")

# A knob that comes later takes the place of an earlier one of its name.
BENCH_KNOBS = (
    *(knob for knob in CARTON_KNOBS if knob.name not in NOT_HERE),
    Knob("carton.size", "m", (0.24, 0.16, 0.06), (0.28, 0.22, 0.16), (0.26, 0.20, 0.12),
         "length, width, height as the order states them", ("slot", 3)),
    Knob("carton.mass", "kg", 0.3, 5.0, 1.5, "mass as the order states it", ("slot",)),
    Knob("carton.color", "1", 0.05, 1.0, 1.0, "colour that tints the cardboard", ("slot", 3)),
    Knob("carton.position", "m", -0.03, 0.03, 0.0, "shift of the carton from where it is to start", ("slot", 2)),
    Knob("carton.yaw", "rad", -0.15, 0.15, 0.0, "turn of the carton at the start", ("slot",)),
)  # fmt: skip


def bench_knobs(slots: int, *more: Knob) -> Knobs:
    """Return the knobs of the bench cell with `slots` cartons, and `more`."""
    cell = (*CELL_KNOBS, *camera_knobs("cell"), *camera_knobs("wrist"))
    return Knobs((*cell, *BENCH_KNOBS, *more), {"slot": slots, "joint": 6})


@dataclasses.dataclass(frozen=True)
class BenchLayout:
    """An arm and the bench before it.

    Attributes:
        robot: name of the arm, a key of `assets.arms.ARMS`.
        base_height: of the arm's base above the floor [m].
        distance: from the arm's axis to the bench's middle [m].
        bench_height: of its top above the floor [m].
    """

    robot: str = "ur20"
    base_height: float = 0.60
    distance: float = 0.85
    bench_height: float = 0.40

    @property
    def arm(self) -> Arm:
        """The arm."""
        return arm_named(self.robot)

    def on_bench(self, points: np.ndarray) -> np.ndarray:
        """Turn points of the bench's frame (..., 3) [m] into world points."""
        return np.asarray(points) + np.array([self.distance, 0.0, self.bench_height])

    def check(self) -> None:
        """Raise InputError when the layout is impossible."""
        arm_named(self.robot)
        for name, low, high in (("base_height", 0.2, 1.5), ("distance", 0.55, 1.2), ("bench_height", 0.2, 1.0)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"robot.{name} = {value} m must lie in {low} … {high}")


def bench_scene(
    layout: BenchLayout,
    slots: int,
    marks: tuple[tuple[float, float], ...] = (),
    furniture: tuple[Placed, ...] = (),
    moved: tuple[Placed, ...] = (),
) -> Scene:
    """Return the template of the cell with room for `slots` cartons.

    Args:
        layout: arm and bench.
        slots: cartons.
        marks: places drawn on the bench, from its middle [m].
        furniture: what else stands in it.
        moved: what the task moves by itself.
    """
    layout.check()
    x, z = layout.distance, layout.bench_height
    return Scene(
        arm=layout.arm,
        arm_position=(0.0, 0.0, layout.base_height),
        tool=vacuum_gripper(),
        furniture=(Placed(pedestal(layout.base_height)), Placed(bench(z, marks), (x, 0.0, z)), *furniture),
        goods=Cartons(slots),
        # What is worked on fills the pictures: a policy may see them no larger than 64 pixels.
        cameras=(
            Camera("cell", (x + 1.12, 0.0, z + 1.10), (x - 0.10, 0.0, z + 0.14), fovy=46.0),
            Camera("wrist", (0.0, -0.13, 0.04), (0.0, -0.04, 0.40), fovy=68.8, up=(1.0, 0.0, 0.0), body="gripper"),
        ),
        lights=(
            Light("key", (x + 0.8, -0.9, 4.0), (x, 0.0, z), diffuse=0.50),
            Light("fill", (-2.0, 2.0, 3.0), (x, 0.0, z), diffuse=0.20, shadow=False),
        ),
        moved=moved,
    )
