"""The combination tool of tote breakdown: a two-finger gripper of the 2F-85 class with a vacuum pad on its mast's side.

Frame of the root, `gripper`: the arm's flange, z out of it. The fingers close along x; their pads' tips are `LENGTH`
away, the frame `fingertips` between them. The vacuum pad looks along +y: its body `cups` carries the frame `suction` in
the middle of the lips' plane, z out of the lips, x along the tool's x: a sensor there reads the wrench.
Turned by a quarter about x, the tool grips with the pad; upright, it reaches down beside a tote and sucks on its wall.
"""

from __future__ import annotations

import math

import numpy as np

from assets.asset import Body, Frame, Geom, Inertia, Joint, Vec3, box_inertia, turn_z_onto
from assets.gripper import LIP_STROKE, Cups

LENGTH = 0.505  # from the flange to the fingertips [m]
STROKE = 0.085  # widest opening between the finger pads [m]
FINGER_PAD = (0.004, 0.022, 0.038)  # thickness, width and height of a finger's pad [m]
FINGER_THICKNESS = 0.011  # of pad and link together: slim, to go between a part and a wall [m]
FINGER_FREE = 0.260  # length of the fingers below the palm: they reach to the floor of a deep tote [m]
PAD_REACH = 0.10  # from the mast's axis to the cups' lips [m]
PAD_HEIGHT = 0.31  # of the vacuum pad's middle above the fingertips: over a tote's rim while these touch its floor [m]
PAD = (0.156, 0.108)  # length and width of the vacuum pad, along the tool's x and z [m]
MAST_RADIUS = 0.032  # [m]
PALM: Vec3 = (0.136, 0.066, 0.042)  # [m]

MASS = 2.9  # [kg], of which:
CUPS_MASS, FINGER_MASS = 0.45, 0.12

# The servo pushes both fingers together through their linkage: each presses with half of it. [N]
GRIP_FORCE_LIMIT = 200.0
CLOSING_SPEED = 0.15  # [m/s] of each finger
# The screw and motor behind the fingers, as mass felt at one of them: it keeps the servo calm on hard parts. [kg]
DRIVE_INERTIA = 0.3

_LINK: Vec3 = (FINGER_THICKNESS - FINGER_PAD[0], 0.020, FINGER_FREE - 0.004)
_PAD_DEPTH = 0.034  # from the lips back to the vacuum pad's mounting plate [m]


def combi_cups() -> Cups:
    """What the vacuum pad holds: 3 x 2 cups; smooth plastic seals better than cardboard (efficiency: an estimate)."""
    places = [(x, y) for x in (-0.052, 0.0, 0.052) for y in (-0.028, 0.028)]
    return Cups(positions=np.array(places), efficiency=0.9)


def combi_tool() -> Body:
    """The tool's bodies: `gripper`, to be attached to the flange, and in it `cups`, `finger_left` and `finger_right`.

    The joint `finger_left` is half the opening [m], 0 closed to `STROKE` / 2; `finger_right` mimics it.
    """
    palm_top = LENGTH - FINGER_FREE - PALM[2]
    palm_middle, pad_z = palm_top + PALM[2] / 2, LENGTH - PAD_HEIGHT
    x, y, z = (edge / 2 for edge in PALM)
    mast = palm_top / 2
    arm_to = PAD_REACH - _PAD_DEPTH
    bracket: Vec3 = (0.030, (arm_to - MAST_RADIUS) / 2 + 0.006, 0.040)
    bracket_at: Vec3 = (0, arm_to - bracket[1], pad_z - 0.006)
    palm_at: Vec3 = (0, 0, palm_middle)
    along_x, along_y = turn_z_onto((1, 0, 0)), turn_z_onto((0, 1, 0))
    stripe_at: Vec3 = (0, 0, palm_top + 0.010)
    geoms = (
        Geom("gripper_adapter", "cylinder", (0.040, 0.010), (0, 0, 0.010), look="arm_metal"),
        Geom("gripper_mast", "cylinder", (MAST_RADIUS, mast), (0, 0, mast), look="gripper_light"),
        Geom("gripper_collar", "cylinder", (0.036, 0.006), (0, 0, palm_top - 0.006), look="gripper_dark"),
        Geom("gripper_palm", "box", (x, y, z), palm_at, surface="metal", look="gripper_dark"),
        Geom("gripper_stripe", "box", (x + 0.0005, y + 0.0005, 0.003), stripe_at, look="gripper_accent"),
        Geom("gripper_rail", "cylinder", (0.007, x - 0.004), (0, 0, palm_top + PALM[2] + 0.003), along_x, look="steel"),
        Geom("gripper_bracket", "box", bracket, bracket_at, look="gripper_dark"),
        Geom("gripper_ejector", "box", (0.018, 0.013, 0.035), (0, -0.042, 0.11), look="gripper_dark"),
        Geom("gripper_hose", "cylinder", (0.007, 0.022), (0.018, 0.045, 0.119), along_y, look="gripper_accent"),
        Geom("gripper_mast_proxy", "capsule", (0.040, mast - 0.040), (0, 0, mast), surface="metal", hidden=True),
        Geom("gripper_bracket_proxy", "box", bracket, bracket_at, surface="metal", hidden=True),
    )
    mass = MASS - CUPS_MASS - 2 * FINGER_MASS
    return Body(
        name="gripper",
        mass=mass,
        center_of_mass=(0, 0.005, 0.145),
        inertia=box_inertia((0.09, 0.08, LENGTH - FINGER_FREE), mass),
        geoms=geoms,
        frames=(Frame("fingertips", (0, 0, LENGTH)),),
        children=(_cups_body(combi_cups(), pad_z), _finger("left", 1), _finger("right", -1)),
    )


def _finger(side: str, sign: int) -> Body:
    """A finger; its origin lies between the tips of the closed pads, it opens along `sign` times x."""
    name = f"finger_{side}"
    thick, wide, high = FINGER_PAD
    x, y, z = (edge / 2 for edge in _LINK)
    link_at: Vec3 = (sign * (thick + x), 0, z - FINGER_FREE)
    pad_at: Vec3 = (sign * thick / 2, 0, -high / 2)
    slider_at: Vec3 = (link_at[0], 0, -FINGER_FREE + 0.003)
    joint = Joint(
        name,
        axis=(float(sign), 0.0, 0.0),
        range=(0.0, STROKE / 2),
        velocity_limit=CLOSING_SPEED,
        torque_limit=GRIP_FORCE_LIMIT,
        armature=DRIVE_INERTIA,
        damping=5.0,
        stiffness=40000.0 if side == "left" else 0.0,
        servo_damping=320.0 if side == "left" else 0.0,
        kind="slide",
        mimics=None if side == "left" else "finger_left",
    )
    return Body(
        name=name,
        position=(0, 0, LENGTH),
        mass=FINGER_MASS,
        center_of_mass=(sign * (thick + x), 0, -FINGER_FREE / 2),
        inertia=box_inertia((_LINK[0] + thick, _LINK[1], FINGER_FREE), FINGER_MASS),
        joint=joint,
        geoms=(
            Geom(f"{name}_pad", "box", (thick / 2, wide / 2, high / 2), pad_at, surface="pads", look="mat"),
            Geom(f"{name}_link", "box", (x, y, z), link_at, surface="metal", look="gripper_light"),
            Geom(f"{name}_slider", "box", (0.009, 0.016, 0.006), slider_at, look="gripper_dark"),
        ),
    )


def _cups_body(cups: Cups, pad_z: float) -> Body:
    """The vacuum pad, in a body of its own whose origin is the middle of the lips' plane."""
    length, width = PAD
    plate = 0.010
    geoms: list[Geom] = []
    for i, (x, y) in enumerate(cups.positions.tolist()):
        # A fitting, the bellows and the lip, from the plate out.
        for part, radius, back, front, look in (
            ("fitting", 0.009, _PAD_DEPTH - plate, 0.020, "arm_metal"),
            ("bellows", 0.018, 0.020, 0.006, "cup"),
            ("lip", cups.radius, 0.006, 0.0, "cup"),
        ):
            shape = (radius, (back - front) / 2)
            geoms.append(Geom(f"cup_{i}_{part}", "cylinder", shape, (x, y, -(back + front) / 2), look=look))
    plate_at: Vec3 = (0, 0, plate / 2 - _PAD_DEPTH)
    geoms.append(Geom("cups_plate", "box", (length / 2, width / 2, plate / 2), plate_at, look="gripper_light"))
    half = (_PAD_DEPTH - LIP_STROKE) / 2
    proxy_at: Vec3 = (0, 0, -LIP_STROKE - half)
    proxy = (length / 2, width / 2, half)
    geoms.append(Geom("cups_proxy", "box", proxy, proxy_at, surface="rubber", hidden=True))
    inertia: Inertia = box_inertia((length, width, _PAD_DEPTH), CUPS_MASS)
    return Body(
        name="cups",
        position=(0, PAD_REACH, pad_z),
        # z onto the tool's y: minus a quarter turn about x.
        quaternion=(math.sqrt(0.5), -math.sqrt(0.5), 0, 0),
        mass=CUPS_MASS,
        center_of_mass=(0, 0, -0.6 * _PAD_DEPTH),
        inertia=inertia,
        geoms=tuple(geoms),
        frames=(Frame("suction"),),
    )
