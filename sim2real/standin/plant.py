"""The stand-in's arm: servos, friction, gears and the tool, advanced 2 ms at a time from a joint target.

Built on its own from the figures in `assets`. The structure "contained" is the physics that the project's model has
too: viscous and Coulomb friction, reflected inertia, a PD servo behind a delay and a first-order lag, a tool of unknown
mass and centre of which the controller carries what it was told; 2 ms, implicit integration. "Richer" differs on
purpose: 0.5 ms, Euler integration and another solver, friction that falls with speed (Stribeck), a delay that jitters,
encoders with a step and a bias, lost motion in the gears, a biased force sensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import mujoco
import numpy as np
from numpy.typing import NDArray

from assets.arms import Arm, arm_named
from assets.asset import Body, Geom
from assets.errors import InputError
from assets.gripper import vacuum_gripper
from sim2real.standin.sealed import Sealed

Array = NDArray[np.float64]

PERIOD = 0.002  # [s] of the controller
GRAVITY = 9.81  # [m/s^2]
HISTORY = 32  # targets kept: a latency of up to 60 ms
# Motor current at a joint's torque limit [A]: an estimate; what is published is only the whole arm's consumption.
CURRENT_AT_LIMIT = (30.0, 30.0, 20.0, 8.0, 8.0, 8.0)
# Standard deviation of the flange's sensor [N], [N m]: an estimate.
WRENCH_NOISE = np.array([0.3, 0.3, 0.3, 0.02, 0.02, 0.02])
VELOCITY_NOISE = 5e-4  # [rad/s] of encoders that have a step
SPECK = 1e-4  # [kg]
# Contact bits: the cell's things (1) touch everything; the arm's links (2) do not touch each other.
THINGS, LINKS = 1, 2
BRAKING = 40.0  # [rad/s^2] with which a safety stop slows each joint


class Plant:
    """An arm with its vacuum tool, as a controller moves and measures it. Arrays are (6,), the base's joint first.

    Attributes:
        arm: the figures it is built from.
        model, data: the simulation; the arm's joints come first in `data.qpos` and `data.qvel`.
        outputs, inputs: bits of the controller's digital outputs and inputs: a cell's vacuum hangs on one of each.
        analog: the controller's two analogue outputs, 0 to 1.
        hooks: called before every step of the physics (a cell's suction, its conveyor).
        target: the joint target last taken [rad].
    """

    def __init__(self, arm: Arm | str, sealed: Sealed, extend: Callable[[mujoco.MjSpec], None] | None = None) -> None:
        """Build the arm at its home position.

        Args:
            arm: figures, or the name of an arm in `assets.arms`.
            sealed: what this one is really like.
            extend: adds a cell around it before the model is compiled. The arm's base body stands at the origin.
        """
        self.arm = arm_named(arm) if isinstance(arm, str) else arm
        self.sealed = sealed
        spec = _spec(self.arm, sealed)
        if extend is not None:
            extend(spec)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        if self.model.joint(0).name != self.arm.joint_names[0]:
            raise InputError("the stand-in's arm must come first in its model: add a cell's things after it")
        self.outputs = self.inputs = 0
        self.analog = [0.0, 0.0]
        self.hooks: list[Callable[[], None]] = []
        self._substeps = round(PERIOD / self.model.opt.timestep)
        self._declared = self.model.body("declared_payload").id
        self.flange_site = self.model.site("flange_sensor").id
        self._torque_limit = np.array([j.torque_limit for j in self.arm.joints])
        self._coulomb = np.array([j.friction for j in self.arm.joints]) * sealed["arm.friction"]
        self._stribeck = sealed["arm.stribeck"]
        self._stribeck_velocity = sealed.number("arm.stribeck_velocity", 1.0)
        self._latency = sealed.number("arm.latency") / PERIOD  # [periods]
        if self._latency > HISTORY - 3:
            raise InputError(f"a latency of {sealed.number('arm.latency')} s: a stand-in keeps {HISTORY * PERIOD} s")
        lag = sealed.number("arm.servo_filter")
        self._keeps = math.exp(-PERIOD / lag) if lag > 0 else 0.0
        # About the latency, so that this stays the mean.
        self._jitter = sealed.number("standin.servo_jitter") / PERIOD
        self._encoder_step = sealed.number("standin.encoder_step")
        self._encoder_bias = sealed.get("standin.encoder_bias", np.zeros(6))
        self._play = sealed.get("standin.backlash", np.zeros(6)) / 2
        self._sensor_bias = np.concatenate(
            [sealed.get("standin.force_bias", np.zeros(3)), sealed.get("standin.torque_bias", np.zeros(3))]
        )
        self._random = np.random.Generator(np.random.Philox(key=[sealed.seed, 0x57A9D1]))
        self.set_payload(*_nominal_tool())
        self.tcp_offset = np.array([0.0, 0.0, _tool_length()])
        self.reset(self.arm.home)

    def reset(self, position: Array | tuple[float, ...]) -> None:
        """Stand still at `position` [rad]; what a cell has added is put into its first state too."""
        mujoco.mj_resetData(self.model, self.data)
        position = np.array(position, np.float64)
        self.data.qpos[:6] = self.data.ctrl[:6] = position
        self.target = position
        self._history = np.tile(position, (HISTORY, 1))
        self._filtered = position.copy()
        self._motor = position.copy()
        self._braking: Array | None = None
        self._zero = np.zeros(6)
        self._noise = np.zeros(12)
        self.steps = 0
        mujoco.mj_forward(self.model, self.data)

    def step(self, target: Array) -> None:
        """Take a joint target [rad], (6,), and advance one period of 2 ms."""
        self.target = np.array(target, np.float64)
        at = self.steps % HISTORY
        self._history[at] = self.target
        self.steps += 1
        late = self._latency + ((self._random.random() - 0.5) * self._jitter if self._jitter else 0.0)
        whole = int(late)
        share = late - whole
        command = self._history[at - whole] * (1.0 - share) + self._history[at - whole - 1] * share
        if self._braking is not None:
            # Brakes act in the joints: what was still on its way to the servos no longer counts.
            slower = np.abs(self._braking) - BRAKING * PERIOD
            self._braking = np.sign(self._braking) * np.maximum(slower, 0.0)
            self._filtered = self._filtered + self._braking * PERIOD
        else:
            self._filtered = command + self._keeps * (self._filtered - command)
        self._advance()

    def brake(self) -> None:
        """Slow every joint down as fast as the brakes allow and hold it there, whatever the targets say."""
        if self._braking is None:
            self._braking = self.data.qvel[:6].copy()
            self._filtered = self.data.qpos[:6].copy()

    def release(self) -> None:
        """Let the servos follow targets again, from where the arm stands."""
        if self._braking is not None:
            self._braking = None
            self._history[:] = self._filtered
            self.target = self._filtered.copy()

    @property
    def held(self) -> Array:
        """What the servos are told at present: targets come here late and smoothed [rad]."""
        return self._filtered

    @property
    def at_rest(self) -> bool:
        """Whether no joint moves faster than a milliradian per 0.1 s."""
        return bool(np.abs(self.data.qvel[:6]).max() < 0.01)

    @property
    def position(self) -> Array:
        """What the encoders say [rad]."""
        position = self.data.qpos[:6] + self._encoder_bias
        if self._encoder_step:
            position = np.round(position / self._encoder_step) * self._encoder_step
        return position

    @property
    def velocity(self) -> Array:
        """Joint velocities as estimated from them [rad/s]."""
        velocity = self.data.qvel[:6].copy()
        if self._encoder_step:
            velocity += VELOCITY_NOISE * self._noise[6:]
        return velocity

    @property
    def torque(self) -> Array:
        """What the servos give, the weight that the controller carries included [N m]."""
        return self.data.qfrc_actuator[:6].copy()

    @property
    def current(self) -> Array:
        """Motor currents [A], by the nominal torque constants."""
        return self.data.qfrc_actuator[:6] * (np.array(CURRENT_AT_LIMIT) / self._torque_limit)

    @property
    def tcp_force(self) -> Array:
        """Force [N] and torque about the tool's tip [N m] that act on the tool from outside, base axes, (6,).

        The flange's sensor, less the weight of the payload that the controller was told (its inertia is not taken off),
        less what it read when it was last zeroed. Pressing down on a table gives a positive third component.
        """
        return self._wrench() - self._zero

    def zero_force(self) -> None:
        """Take what the force sensor reads now as nothing."""
        self._zero = self._wrench()

    def set_payload(self, mass: float, center: Array | tuple[float, ...]) -> None:
        """Tell the controller the payload, tool included: mass [kg], centre in the flange's axes [m], (3,).

        Its weight, and no other, is what the controller carries from now on, and leaves out of `tcp_force`.
        """
        self.payload, self.payload_center = float(mass), np.array(center, np.float64)
        self.model.body_gravcomp[self._declared] = self.payload / SPECK + 1.0  # its own weight besides
        self.model.body_ipos[self._declared] = self.payload_center

    @property
    def load_torque(self) -> Array:
        """`torque` less the weight that the controller carries: what moves and what disturbs the arm [N m]."""
        return self.data.qfrc_actuator[:6] - self.data.qfrc_gravcomp[:6]

    def _advance(self) -> None:
        data, model = self.data, self.model
        stribeck = bool(self._stribeck.any())
        play = bool(self._play.any())
        data.ctrl[:6] = self._filtered
        for _ in range(self._substeps):
            if play:
                # The servo sees the motor, which the link drags along once the gear's lost motion is used up.
                self._motor = np.clip(self._motor, data.qpos[:6] - self._play, data.qpos[:6] + self._play)
                data.ctrl[:6] = self._filtered + data.qpos[:6] - self._motor
            if stribeck:
                speed = data.qvel[:6] / self._stribeck_velocity
                model.dof_frictionloss[:6] = self._coulomb * (1.0 + self._stribeck * np.exp(-speed * speed))
            for hook in self.hooks:
                hook()
            mujoco.mj_step(model, data)
        self._noise = self._random.standard_normal(12)  # once a period, however often it is read

    def _wrench(self) -> Array:
        """What acts on the tool from outside and the sensor's errors, about the tip in base axes, not zeroed."""
        sensed = self.data.sensordata[:6] + self._sensor_bias + WRENCH_NOISE * self._noise[:6]
        turn = self.data.site_xmat[self.flange_site].reshape(3, 3)
        weight = np.array([0.0, 0.0, -self.payload * GRAVITY])
        lever = turn @ self.payload_center
        force = -turn @ sensed[:3]
        torque = -turn @ sensed[3:]
        force, torque = force - weight, torque - _cross(lever, weight)
        return np.concatenate([force, torque - _cross(turn @ self.tcp_offset, force)])


def _cross(a: Array, b: Array) -> Array:
    """The cross product of two vectors, (3,); numpy's own takes 20 µs."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _nominal_tool() -> tuple[float, Array]:
    """Mass [kg] and centre in the flange's axes [m] of the tool as `assets` has it: what an installation declares."""
    mass, moment = 0.0, np.zeros(3)
    origin = np.zeros(3)
    for body in vacuum_gripper().walk():  # a chain without turns
        origin = origin + body.position
        mass += body.mass
        moment += body.mass * (origin + body.center_of_mass)
    return mass, moment / mass


def _tool_length() -> float:
    """From the flange to the cups' lips [m]."""
    return sum(body.position[2] for body in vacuum_gripper().walk())


def _spec(arm: Arm, sealed: Sealed) -> mujoco.MjSpec:
    """The arm with its tool, ready for more."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    option = spec.option
    option.gravity = [0.0, 0.0, -GRAVITY]
    option.cone, option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0
    option.iterations, option.ls_iterations = 50, 50
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET  # what has blown up must show
    if sealed.structure == "richer":
        option.timestep = PERIOD / 4
        option.integrator = mujoco.mjtIntegrator.mjINT_EULER
        option.solver = mujoco.mjtSolver.mjSOL_CG
    else:
        option.timestep = PERIOD
        option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    tool = vacuum_gripper()
    _add(spec.worldbody, arm.body.attach(list(arm.body.walk())[-1].name, tool), {b.name for b in tool.walk()}, sealed)
    for i, joint in enumerate(arm.joints):
        servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(
            kp=joint.stiffness * float(sealed["arm.stiffness"][i]),
            kv=joint.servo_damping * float(sealed["arm.servo_damping"][i]),
        )
        servo.forcelimited, servo.forcerange = True, [-joint.torque_limit, joint.torque_limit]
    for i, joint in enumerate(arm.joints):
        made = spec.joint(joint.name)
        made.damping[0] = joint.damping * float(sealed["arm.damping"][i])
        made.frictionloss = joint.friction * float(sealed["arm.friction"][i])
        made.armature = joint.armature * float(sealed["arm.armature"][i])
    # What the controller believes to hang on the flange: a speck, lifted with the declared payload's weight.
    speck = spec.body(list(arm.body.walk())[-1].name).add_body(name="declared_payload", mass=SPECK, gravcomp=1.0)
    # The engine takes a body's centre to stay in its origin for good if it is there now.
    speck.ipos, speck.inertia, speck.explicitinertial = _nominal_tool()[1], [SPECK * 1e-4] * 3, True
    spec.body(tool.name).add_site(name="flange_sensor")
    for kind, name in ((mujoco.mjtSensor.mjSENS_FORCE, "force"), (mujoco.mjtSensor.mjSENS_TORQUE, "torque")):
        spec.add_sensor(name=f"flange_{name}", type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="flange_sensor")
    return spec


def _add(parent: mujoco.MjsBody, body: Body, tool: set[str], sealed: Sealed) -> None:
    made = parent.add_body(name=body.name, pos=body.position, quat=body.quaternion)
    made.gravcomp = 0.0 if body.name in tool else 1.0  # the tool's weight is carried as it was declared
    if body.mass > 0:
        # The tool's root, which has most of its mass, is what is not as its data say; the cups are.
        odd = body.name in tool and not body.frames
        ratio = sealed.number("tool.mass") if odd else 1.0
        shift = sealed["tool.center_of_mass"] if odd else np.zeros(3)
        made.mass, made.ipos, made.explicitinertial = body.mass * ratio, body.center_of_mass + shift, True
        xx, xy, xz, yy, yz, zz = (ratio * i for i in body.inertia)
        made.fullinertia = [xx, yy, zz, xy, xz, yz]
    if body.joint is not None:
        joint = made.add_joint(name=body.joint.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=body.joint.axis)
        joint.range, joint.limited, joint.actgravcomp = body.joint.range, True, True
    for geom in body.geoms:
        if geom.surface is not None:
            _add_proxy(made, geom)
    for frame in body.frames:
        made.add_site(name=frame.name, pos=frame.position, quat=frame.quaternion)
    for child in body.children:
        _add(made, child, tool, sealed)


def _add_proxy(body: mujoco.MjsBody, geom: Geom) -> None:
    """A shape that collides with the cell, not with the arm itself."""
    made = body.add_geom(name=geom.name, pos=geom.position, quat=geom.quaternion, mass=0.0)
    made.type = getattr(mujoco.mjtGeom, f"mjGEOM_{geom.kind.upper()}")
    made.size = [*geom.size, *[0.0] * (3 - len(geom.size))]
    made.contype, made.conaffinity = LINKS, THINGS
