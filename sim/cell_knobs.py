"""The knobs that every cell with an arm, suction and cartons has. Tasks add their own.

Bounds say what is physically possible or what an engine still simulates soundly; nominal values and their sources:
carton sizes and densities, BED-BPP sample orders (Kagerer et al. 2023); friction, CTU Code appendix 2 (cardboard on
cardboard and on wooden pallets 0.5); accelerations and gains of the arm are unpublished, hence ratios around the
estimates in `assets.arms`.
"""

from __future__ import annotations

from sim.knobs import Knob

LARGEST_CARTON = (0.60, 0.40, 0.36)  # [m] BED-BPP sample

CARTON_KNOBS = (
    Knob("carton.count", "1", 1, 64, 12, "how many cartons the load has", integer=True),
    Knob("carton.size", "m", (0.2, 0.13, 0.05), (0.8, 0.6, 0.5), (0.4, 0.3, 0.24),
         "length, width, height as the order states them", ("slot", 3)),
    Knob("carton.mass", "kg", 0.3, 20, 7.6, "mass as the order states it", ("slot",)),
    Knob("carton.size_error", "m", -0.004, 0.004, 0.0, "true size minus stated size", ("slot", 3)),
    Knob("carton.mass_error", "1", -0.3, 0.3, 0.0, "true mass over stated mass, minus one", ("slot",)),
    Knob("carton.center_of_mass", "1", -0.2, 0.2, 0.0,
         "offset of the centre of mass from the middle, as a share of the size", ("slot", 3)),
    Knob("carton.strength", "N", 200, 10000, 2500, "compression that crushes the carton", ("slot",)),
    Knob("carton.color", "1", 0.3, 1.0, 1.0, "colour that tints the cardboard", ("slot", 3)),
    Knob("carton.texture", "index", 0, 7, 0, "which cardboard texture", ("slot",), integer=True),
)  # fmt: skip

PHYSICS_KNOBS = (
    Knob("surface.cardboard_cardboard.friction", "1", 0.2, 0.9, 0.5, "friction between cartons"),
    Knob("surface.cardboard_wood.friction", "1", 0.2, 0.9, 0.5, "friction between carton and pallet"),
    Knob("surface.cardboard_belt.friction", "1", 0.3, 1.2, 0.7, "friction between carton and conveyor belt"),
    Knob("surface.cardboard_floor.friction", "1", 0.2, 0.9, 0.5, "friction between carton and floor"),
    Knob("contact.time_constant", "s", 0.005, 0.02, 0.01, "time constant of contacts (solref)"),
    Knob("contact.damping_ratio", "1", 0.7, 3.0, 2.0, "damping ratio of contacts (solref)"),
)

SUCTION_KNOBS = (
    Knob("suction.max_force", "N", 100, 1000, 650, "pull-off force with every cup sealed and full vacuum"),
    Knob("suction.max_moment", "N m", 5, 80, (23.0, 34.0),
         "moments about the pad's long and short axis that peel the outermost cup off", (2,)),
    Knob("suction.friction", "1", 0.3, 1.0, 0.6, "friction between cups and cardboard"),
    Knob("suction.time_constant", "s", 0.005, 0.03, 0.01, "compliance of the cups (solref of the hold)"),
)  # fmt: skip

ARM_KNOBS = (
    Knob("arm.damping", "1", 0.3, 3.0, 1.0, "viscous joint friction over the estimate", ("joint",)),
    Knob("arm.friction", "1", 0.0, 3.0, 1.0, "Coulomb joint friction over the estimate", ("joint",)),
    Knob("arm.armature", "1", 0.5, 2.0, 1.0, "reflected rotor inertia over the estimate", ("joint",)),
    Knob("arm.stiffness", "1", 0.5, 1.5, 1.0, "servo position gain over the estimate", ("joint",)),
    Knob("arm.servo_damping", "1", 0.6, 1.5, 1.0, "servo velocity gain over the estimate", ("joint",)),
    Knob("arm.latency", "s", 0.0, 0.15, 0.02, "delay from command to servo"),
)

SENSOR_KNOBS = (
    Knob("sensor.joint_position_noise", "rad", 0.0, 0.002, 0.0001, "standard deviation of joint readings"),
    Knob("sensor.joint_torque_noise", "N m", 0.0, 10.0, 0.5, "standard deviation of torque readings"),
    Knob("sensor.carton_position_noise", "m", 0.0, 0.004, 0.001, "standard deviation of detected carton positions"),
    Knob("sensor.carton_yaw_noise", "rad", 0.0, 0.02, 0.003, "standard deviation of detected carton headings"),
)

LOOK_KNOBS = (
    Knob("pallet.color", "1", 0.4, 1.0, 1.0, "tint of the wood", (3,)),
    Knob("pallet.texture", "index", 0, 3, 0, "which wood", integer=True),
    Knob("floor.color", "1", 0.4, 1.0, 1.0, "tint of the floor", (3,)),
    Knob("floor.texture", "index", 0, 6, 0, "which floor texture", integer=True),
    Knob("light.intensity", "1", 0.4, 1.6, 1.0, "brightness of the lamps over the template"),
    Knob("light.ambient", "1", 0.1, 0.6, 0.35, "light from everywhere"),
    Knob("light.color", "1", 0.8, 1.2, 1.0, "tint of the lamps", (3,)),
    Knob("light.direction", "1", -0.5, 0.5, 0.0, "turn of the lamps, added to their unit direction", (3,)),
)


def camera_knobs(name: str) -> tuple[Knob, ...]:
    """Return the knobs of the camera `name`: where it hangs, how it is turned and how wide it sees."""
    return (
        Knob(f"camera.{name}.position", "m", -0.15, 0.15, 0.0, "shift from the template, in its parent's axes", (3,)),
        Knob(f"camera.{name}.rotation", "rad", -0.15, 0.15, 0.0, "turn from the template, in camera axes", (3,)),
        Knob(f"camera.{name}.field_of_view", "rad", 0.5, 1.7, NOMINAL_FIELD_OF_VIEW[name], "vertical field of view"),
    )


NOMINAL_FIELD_OF_VIEW = {"cell": 0.855, "wrist": 1.20}
CELL_KNOBS = CARTON_KNOBS + PHYSICS_KNOBS + SUCTION_KNOBS + ARM_KNOBS + SENSOR_KNOBS + LOOK_KNOBS
