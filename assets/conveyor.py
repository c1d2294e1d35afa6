"""The infeed conveyor: a belt that carries cartons against an end stop, where the arm takes them. It stands fixed.

Its frame: origin on the belt's top surface, in the middle of its width, at the stop's face; cartons travel along x
towards it, the belt lies at negative x; z up.
"""

from __future__ import annotations

from assets.asset import Body, Frame, Geom, turn_z_onto
from assets.errors import InputError

LENGTH, WIDTH = 1.8, 0.55  # of the belt [m]
HEIGHT = 0.60  # of the belt's top above the floor [m]

# Side rails and stop rise so little above the belt that a gripper reaches down over the lowest carton (0.11 m).
RAIL_RISE, STOP_RISE = 0.030, 0.060


def conveyor(height: float = HEIGHT) -> Body:
    """The conveyor with its belt's top `height` [m] above the floor."""
    if not 0.2 <= height <= 2.0:
        raise InputError(f"conveyor: a belt {height} m above the floor; it must lie between 0.2 and 2 m")
    half, side = LENGTH / 2, WIDTH / 2
    thickness, low = 0.015, 0.120  # of the belt; depth of the rails below its top
    stop = (STOP_RISE + 0.10) / 2
    geoms = [
        Geom("belt", "box", (half, side, thickness / 2), (-half, 0, -thickness / 2), surface="belt", look="belt"),
        Geom("conveyor_bed", "box", (half - 0.02, side - 0.01, 0.045), (-half, 0, -0.065), look="steel"),
        Geom("conveyor_drive", "box", (0.10, 0.09, 0.06), (-0.35, 0, -0.17), look="arm_metal"),
        Geom("conveyor_stop", "box", (0.010, side, stop), (0.010, 0, STOP_RISE - stop), surface="metal", look="yellow"),
    ]
    leg = (height - low) / 2
    for name, sign in (("left", 1), ("right", -1)):
        y = sign * (side + 0.015)
        size, middle = (half, 0.015, (RAIL_RISE + low) / 2), (-half, y, (RAIL_RISE - low) / 2)
        geoms.append(Geom(f"conveyor_rail_{name}", "box", size, middle, surface="metal", look="aluminium"))
        for end, x in (("front", -0.15), ("middle", -half), ("back", 0.15 - LENGTH)):
            part, place = f"conveyor_leg_{name}_{end}", (x, y, -low - leg)
            geoms.append(Geom(part, "box", (0.025, 0.015, leg), place, surface="metal", look="steel"))
    for end, x in (("front", 0.0), ("back", -LENGTH)):
        across = turn_z_onto((0, 1, 0))
        part, place = f"conveyor_roller_{end}", (x, 0, -thickness)
        geoms.append(Geom(part, "cylinder", (thickness, side), place, across, look="belt"))
    return Body(name="conveyor", geoms=tuple(geoms), frames=(Frame("stop"),))
