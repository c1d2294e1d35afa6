"""The knobs that every cell with an arm and suction has. Goods and tasks add their own.

Bounds say what is physically possible or what an engine still simulates soundly. Accelerations and gains of the arm are
unpublished, hence ratios around the estimates in `assets.arms`.
"""

from __future__ import annotations

from sim.knobs import Knob

PHYSICS_KNOBS = (
    Knob("contact.time_constant", "s", 0.005, 0.02, 0.01, "time constant of contacts (solref)"),
    Knob("contact.damping_ratio", "1", 0.7, 3.0, 2.0, "damping ratio of contacts (solref)"),
)

SUCTION_KNOBS = (
    Knob("suction.max_force", "N", 100, 1000, 650, "pull-off force with every cup sealed and full vacuum"),
    Knob("suction.max_moment", "N m", 5, 80, (23.0, 34.0),
         "moments about the pad's long and short axis that peel the outermost cup off", (2,)),
    Knob("suction.friction", "1", 0.3, 1.0, 0.6, "friction between cups and what they hold"),
    Knob("suction.time_constant", "s", 0.005, 0.03, 0.01, "compliance of the cups (solref of the hold)"),
)  # fmt: skip

ARM_KNOBS = (
    Knob("arm.damping", "1", 0.3, 3.0, 1.0, "viscous joint friction over the estimate", ("joint",)),
    Knob("arm.friction", "1", 0.0, 3.0, 1.0, "Coulomb joint friction over the estimate", ("joint",)),
    Knob("arm.armature", "1", 0.5, 2.0, 1.0, "reflected rotor inertia over the estimate", ("joint",)),
    Knob("arm.stiffness", "1", 0.5, 1.5, 1.0, "servo position gain over the estimate", ("joint",)),
    Knob("arm.servo_damping", "1", 0.6, 1.5, 1.0, "servo velocity gain over the estimate", ("joint",)),
    Knob("arm.stribeck", "1", 0.0, 2.0, 0.0, "friction at standstill beyond the Coulomb one, over it", ("joint",)),
    Knob("arm.stribeck_velocity", "rad/s", 0.005, 0.5, 0.05, "speed at which that has fallen to a third (1 / e)"),
    Knob("arm.latency", "s", 0.0, 0.15, 0.02, "delay from command to servo"),
    Knob("arm.servo_filter", "s", 0.0, 0.1, 0.0, "time constant by which the servo smooths its command"),
    Knob("tool.mass", "1", 0.5, 2.0, 1.0, "mass of the tool over its data, which the controller compensates"),
    Knob("tool.center_of_mass", "m", -0.05, 0.05, 0.0, "shift of its centre from its data, in the flange's axes", (3,)),
)

SENSOR_KNOBS = (
    Knob("sensor.joint_position_noise", "rad", 0.0, 0.002, 0.0001, "standard deviation of joint readings"),
    Knob("sensor.joint_torque_noise", "N m", 0.0, 10.0, 0.5, "standard deviation of torque readings"),
)

LOOK_KNOBS = (
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
CELL_KNOBS = PHYSICS_KNOBS + SUCTION_KNOBS + ARM_KNOBS + SENSOR_KNOBS + LOOK_KNOBS
