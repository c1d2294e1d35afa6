"""The stand-in's controller: modes, safety states, the running program, and the fields it reports every 2 ms.

A stop for safety (protective or emergency) brakes the joints at once, past the servos' delay, and nothing but a person
at the dashboard undoes it. Sources: Universal Robots, RTDE guide and Dashboard Server guide.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError
from assets.kinematics import Kinematics
from sim2real.rtde import RATE, RobotMode, SafetyBit, Value
from sim2real.standin import motions, poses
from sim2real.standin.fields import INPUTS, OUTPUTS, zeros
from sim2real.standin.plant import PERIOD, Plant
from sim2real.standin.program import Program, register_offset

Array = NDArray[np.float64]

VERSION = (5, 21, 1, 1126131)
STOPPED, PLAYING, PAUSED = 1, 2, 4  # of the field runtime_state
NORMAL, PROTECTIVE, EMERGENCY = 1, 3, 7  # of the field safety_mode
SAFETY_BITS = {
    NORMAL: SafetyBit.NORMAL,
    PROTECTIVE: SafetyBit.PROTECTIVE_STOP | SafetyBit.STOPPED_DUE_TO_SAFETY,
    EMERGENCY: SafetyBit.ROBOT_EMERGENCY_STOP | SafetyBit.EMERGENCY_STOP | SafetyBit.STOPPED_DUE_TO_SAFETY,
}
UNLOCK_AFTER = 5.0  # [s] a protective stop cannot be unlocked sooner: its cause is to be looked at
SERVO_JUMP = 0.5  # [rad] a servo target this far from the last stops the arm
DEVIATION = 0.35  # [rad] from its target stops the arm: it is held up by something
PROGRAM_STOP = 20.0  # [rad/s^2] with which the arm halts when its program ends


class Controller:
    """One arm's controller. `tick` once every 2 ms.

    Attributes:
        fields: what RTDE clients may read, by name; `inputs`: what they have written.
        motion: what the arm is doing; None holds it where its target is.
        target, target_velocity: of the joints, (6,) [rad], [rad/s].
        program: the uploaded script that runs, if any.
        messages: texts for the clients since they were last taken.
    """

    def __init__(self, plant: Plant) -> None:
        """Control `plant`, powered, brakes released, nothing running."""
        self.plant, self.arm = plant, plant.arm
        self.kinematics = Kinematics(plant.arm)
        self.serial = f"2024{plant.sealed.seed % 1_000_000:06d}"
        self.velocity_limit = np.array([j.velocity_limit for j in self.arm.joints])
        self._speed = np.zeros(6)  # of the tip, linear and angular
        self.messages: list[str] = []
        self.boot()
        self.mode = RobotMode.RUNNING

    def boot(self) -> None:
        """Start as after a power cycle: clock at 0, registers empty, no program, power off and brakes on."""
        self.ticks = 0
        self.fields, self.inputs = zeros(OUTPUTS), zeros(INPUTS)
        self.fields["speed_scaling"] = self.fields["target_speed_fraction"] = 1.0
        self.fields["actual_main_voltage"] = self.fields["actual_robot_voltage"] = 48.0
        self.program: Program | None = None
        self.runtime, self.safety, self.mode = STOPPED, NORMAL, RobotMode.POWER_OFF
        self.motion: motions.Motion | None = None
        self.target, self.target_velocity = self.plant.target.copy(), np.zeros(6)
        self.slider = 1.0
        self.plant.outputs = 0
        self.plant.analog = [0.0, 0.0]
        self._watchdog: tuple[str, int] | None = None  # register and longest silence [ticks]
        self._written: dict[str, int] = {}
        self._stopped_at = 0

    def tick(self) -> None:
        """One period: the program, the motion, the arm, the report."""
        self.ticks += 1
        if self.program is not None and self.runtime == PLAYING:
            self._watch()
        if self.program is not None and self.runtime == PLAYING:
            self.program.tick()
        powered = self.mode == RobotMode.RUNNING and self.safety == NORMAL
        before = self.target
        if not powered:
            self.plant.brake()
            self.motion = None
            self.plant.step(self.target)
            self.target = self.plant.held.copy()
        else:
            self.plant.release()
            if self.motion is not None:
                self.target = self.motion.step(self.target, self.slider)
                if self.motion.done:
                    self.motion = None
            self.plant.step(self.target)
            if not self.within_limits(self.target):
                self.protective_stop("a joint is at its limit")
            elif np.abs(self.target - self.plant.position).max() > DEVIATION:
                self.protective_stop("the arm does not follow its target: it is held up")
        self.target_velocity = (self.target - before) / PERIOD
        self._report()

    # ---- what a program asks for -----------------------------------------------------------------------------------

    def servo(self, goal: Array) -> None:
        """Follow joint targets [rad], (6,)."""
        if not np.isfinite(goal).all() or np.abs(goal - self.target).max() > SERVO_JUMP:
            self.protective_stop("a servo target is too far from where the arm is")
        elif isinstance(self.motion, motions.Servo):
            self.motion.goal = goal
        else:
            self.motion = motions.Servo(goal, self.velocity_limit)

    def speed(self, wanted: Array, acceleration: float, time: float) -> None:
        """Turn the joints at `wanted` [rad/s], (6,)."""
        wanted = np.clip(np.nan_to_num(wanted), -self.velocity_limit, self.velocity_limit)
        self.motion = motions.Speed(self.target_velocity, wanted, acceleration, time)

    def set_watchdog(self, frequency: float, register: str) -> None:
        """Stop the program when nobody writes `register` `frequency` times a second; 0 ends the watch."""
        self._watchdog = (register, round(RATE / frequency)) if frequency > 0 else None
        self._written[register] = self.ticks

    def stop_program(self) -> None:
        """End the program; the arm slows down and stands."""
        self.program, self.runtime, self._watchdog = None, STOPPED, None
        if self.mode == RobotMode.RUNNING and self.safety == NORMAL:
            self.motion = motions.stop(self.target_velocity, PROGRAM_STOP)

    def say(self, text: str) -> None:
        """Leave a message for the clients."""
        self.messages.append(text)

    def within_limits(self, q: Array) -> bool:
        """Whether joint positions [rad], (6,), are in the joints' ranges."""
        limits = self.kinematics.limits
        return bool(((q >= limits[:, 0]) & (q <= limits[:, 1])).all())

    # ---- what clients and people do --------------------------------------------------------------------------------

    def write(self, values: Mapping[str, Value]) -> None:
        """Take what a client has written into inputs."""
        self.inputs.update(values)
        for name in values:
            self._written[name] = self.ticks
        get = values.get
        # 8 standard, 8 configurable, 2 tool outputs, as bits 0 to 17.
        for kind, shift in (("standard", 0), ("configurable", 8), ("tool", 16)):
            mask = get(f"{kind}_digital_output_mask")
            if mask:
                bits = int(values[f"{kind}_digital_output"]) & int(mask)  # type: ignore[arg-type]
                self.plant.outputs = (self.plant.outputs & ~(int(mask) << shift)) | (bits << shift)  # type: ignore[arg-type]
        if get("speed_slider_mask"):
            self.slider = float(np.clip(values["speed_slider_fraction"], 0.0, 1.0))  # type: ignore[arg-type]
        for i in range(2):
            if int(get("standard_analog_output_mask", 0)) & (1 << i):  # type: ignore[arg-type]
                self.plant.analog[i] = float(np.clip(values[f"standard_analog_output_{i}"], 0.0, 1.0))  # type: ignore[arg-type]
        if self.program is not None and self.runtime == PLAYING:
            self.program.input_came()

    def run(self, script: bytes) -> None:
        """Start an uploaded script; said to the clients if it cannot run."""
        if self.mode != RobotMode.RUNNING or self.safety != NORMAL:
            self.say("the program cannot start: the robot is stopped or has no power")
            return
        try:
            offset = register_offset(script)
        except InputError as error:
            self.say(str(error))
            return
        self.stop_program()
        self.runtime = PLAYING
        self.program = Program(self, offset)

    def protective_stop(self, why: str) -> None:
        """Brake; the program pauses."""
        if self.safety != NORMAL:
            return
        self.say(f"protective stop: {why}")
        self.safety, self._stopped_at, self.motion = PROTECTIVE, self.ticks, None
        if self.program is not None:
            self.runtime = PAUSED

    def emergency_stop(self) -> None:
        """Somebody presses the button: brakes on, power off, program gone."""
        self.say("emergency stop")
        self.safety, self.mode, self.motion = EMERGENCY, RobotMode.POWER_OFF, None
        self.program, self.runtime, self._watchdog = None, STOPPED, None

    def emergency_release(self) -> None:
        """Somebody turns the button out; power comes back only at the dashboard."""
        if self.safety == EMERGENCY:
            self.safety = NORMAL

    def unlock(self) -> bool:
        """A person unlocks a protective stop; False if it is too early. What was running stays paused."""
        if self.safety != PROTECTIVE or (self.ticks - self._stopped_at) * PERIOD < UNLOCK_AFTER:
            return False
        self.safety = NORMAL
        return True

    def power(self, on: bool, brakes_released: bool = False) -> None:
        """Switch the arm's power, and release its brakes."""
        if on and self.safety != EMERGENCY:
            if brakes_released or self.mode != RobotMode.RUNNING:
                self.mode = RobotMode.RUNNING if brakes_released else RobotMode.IDLE
        elif not on:
            self.mode = RobotMode.POWER_OFF
            self.program, self.runtime, self._watchdog = None, STOPPED, None

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._watchdog is not None and self.ticks - self._written[self._watchdog[0]] > self._watchdog[1]:
            self.say("the client's watchdog has run out: program stopped")
            self.stop_program()

    def _report(self) -> None:
        """Bring the fields up to date."""
        plant, fields = self.plant, self.fields
        position = plant.position.tolist()
        at, turn = poses.flange(self.kinematics, position)
        offset = turn @ plant.tcp_offset
        target = self.target.tolist()
        torque = tuple(plant.torque.tolist())
        current = tuple(plant.current.tolist())
        force = plant.tcp_force.tolist()
        mujoco.mj_objectVelocity(plant.model, plant.data, mujoco.mjtObj.mjOBJ_SITE, plant.flange_site, self._speed, 0)
        wx, wy, wz, vx, vy, vz = self._speed.tolist()
        ox, oy, oz = offset.tolist()
        fields["timestamp"] = self.ticks * PERIOD
        fields["actual_q"], fields["actual_qd"] = position, plant.velocity.tolist()
        fields["target_q"], fields["target_qd"] = target, self.target_velocity.tolist()
        fields["target_moment"] = fields["actual_current_as_torque"] = torque
        fields["actual_current"] = fields["target_current"] = fields["joint_control_output"] = current
        fields["actual_TCP_pose"] = fields["target_TCP_pose"] = poses.to_vector(at + offset, turn)
        fields["actual_TCP_speed"] = fields["target_TCP_speed"] = (
            vx + wy * oz - wz * oy, vy + wz * ox - wx * oz, vz + wx * oy - wy * ox, wx, wy, wz,
        )  # fmt: skip
        fields["actual_TCP_force"] = fields["ft_raw_wrench"] = force
        fields["tcp_force_scalar"] = float((force[0] ** 2 + force[1] ** 2 + force[2] ** 2) ** 0.5)
        fields["actual_digital_output_bits"], fields["actual_digital_input_bits"] = plant.outputs, plant.inputs
        fields["standard_analog_output0"], fields["standard_analog_output1"] = plant.analog
        fields["speed_scaling"] = fields["target_speed_fraction"] = self.slider
        fields["payload"], fields["payload_cog"] = plant.payload, plant.payload_center.tolist()
        fields["tcp_offset"] = (*plant.tcp_offset.tolist(), 0.0, 0.0, 0.0)
        fields["robot_mode"], fields["runtime_state"] = int(self.mode), self.runtime
        fields["safety_mode"] = fields["safety_status"] = self.safety
        fields["safety_status_bits"] = int(SAFETY_BITS[self.safety])
        powered = self.mode == RobotMode.RUNNING
        fields["robot_status_bits"] = int(powered) | (int(self.runtime == PLAYING) << 1)
        fields["joint_mode"] = (253 if powered else 239,) * 6  # RUNNING, POWER_OFF
