"""A simulated arm behind the `Robot` contract: one world of sim, whose row is the truth that identification looks for.

It holds the arm, its vacuum tool and nothing to touch. It runs offline, faster than real time, and has nobody to hurt:
connecting arms it. The limits of a real arm hold all the same, so that what runs here may run there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from assets.arms import arm_named
from assets.errors import InputError
from assets.gripper import Cups, vacuum_gripper
from sim2real.limits import Limits
from sim2real.motion import approach_path
from sim2real.outputs import actions_of
from sim2real.recording import Recording
from sim2real.robot import ARM_STATES, JOINT_TARGETS, RATE
from sim2real.rtde import SafetyBit
from sim2real.safety import Check, Safety
from sim2real.settings import ArmSettings, parsed

SOURCE = "simulation"


@dataclasses.dataclass(frozen=True)
class SimSettings(ArmSettings):
    """Settings of a simulated arm (`conf/robot/sim.yaml`).

    Attributes:
        knobs: values of knobs by name, e.g. {"arm.latency": 0.03}; nominal where not given.
        seed: of the sensors' noise.
    """

    knobs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0

    @staticmethod
    def parse(values: Mapping[str, Any]) -> SimSettings:
        """Return the settings from plain values."""
        return parsed(SimSettings, values)


class SimRobot:
    """One simulated arm (see `sim2real.robot.Robot`)."""

    source = SOURCE

    def __init__(self, settings: SimSettings | None = None) -> None:
        """Take the settings; InputError for impossible ones."""
        self.settings = settings or SimSettings()
        self.name = self.settings.arm
        self.limits: Limits = self.settings.limits()
        self.safety = Safety()
        self.rows = _row(self.settings.knobs)

    @property
    def observation_features(self) -> dict[str, type]:
        """Joints, tool, suction."""
        return dict.fromkeys((*ARM_STATES, "suction.vacuum", "suction.holding"), float)

    @property
    def action_features(self) -> dict[str, type]:
        """Joint targets and suction."""
        return dict.fromkeys((*JOINT_TARGETS, "suction"), float)

    @property
    def is_connected(self) -> bool:
        """Whether the world has been made."""
        return self.safety.moving_allowed

    def connect(self) -> None:
        """Make the world, arm at home."""
        from sim.cell import Cell
        from sim.mujoco_worlds import MujocoWorlds
        from sim2real.identify.model import arm_scene

        self.safety.connected()
        self._ids = np.array([0])
        arm = arm_named(self.name)
        self.cell = Cell(MujocoWorlds(arm_scene(arm, vacuum_gripper()), 1, 1), Cups())
        self.cell.apply(self.rows, self._ids)
        self.cell.worlds.forward(self._ids)
        self._random = np.random.Generator(np.random.Philox(key=[self.settings.seed, 0x51]))
        self._held = self._before = np.array(arm.home)  # the last target sent, and the one before it
        self._suction = False
        self._time = 0.0
        self._wrench = np.zeros(6)
        self.arm()

    def arm(self) -> None:
        """Nothing to check in a simulation."""
        if not self.safety.moving_allowed:
            self.safety.arm([Check("robot", True, "simulated")])

    def observe(self) -> dict[str, float]:
        """Return joints, tool and suction now, the joints with their sensors' noise."""
        self.safety.require("observe")
        position, velocity, torque = self._measured()
        values = np.concatenate([position, velocity, torque, self._tool_force()])
        suction = self.cell.suction.state
        state = {"suction.vacuum": float(suction.vacuum[0]), "suction.holding": float(suction.held[0] >= 0)}
        return dict(zip(ARM_STATES, values.tolist(), strict=True)) | state

    def act(self, action: Mapping[str, float]) -> dict[str, float]:
        """Run one control period of 0.1 s towards `action`; return what was sent."""
        from sim.cell import PERIOD

        self.safety.require("act")
        target, rest = actions_of(action, self.action_features)
        sent = self.limits.cut(target, self._held, self._before, PERIOD)
        where = self.limits.outside(sent[None])
        if where:
            self.safety.stop(f"an action would have brought {where}")
            raise InputError(f"the action would bring {where}")
        self.safety.run()
        self._before, self._held = self._held, sent
        self._suction = rest["suction"] > 0.5
        self.cell.advance(sent[None], np.array([self._suction]), self._ids)
        self._wrench = self.cell.suction.state.wrench[0]
        self._time += PERIOD
        self.safety.rest()
        return dict(zip(JOINT_TARGETS, sent.tolist(), strict=True)) | {"suction": float(self._suction)}

    def approach(self, joints: np.ndarray) -> None:
        """Move slowly to `joints` (6,) [rad] and come to rest there."""
        self.safety.require("approach")
        path = approach_path(self._held, joints, self.limits, RATE)
        self._run(path)

    def play(self, targets: np.ndarray, rate: float = RATE) -> Recording:
        """Run joint targets (k, 6) [rad]; return what was recorded, a row for each."""
        self.safety.require("play")
        if rate != RATE:
            raise InputError(f"rate = {rate} Hz: the arm's controller runs at {RATE:g}")
        targets = np.asarray(targets, np.float64)
        self.limits.check_path(targets, rate)
        self.limits.check_start(targets[0], self._held)
        return self._run(targets)

    def stop(self) -> None:
        """Stand still; `arm` ends it."""
        self.safety.stop("asked to")

    def disconnect(self) -> None:
        """Drop the world."""
        self.safety.disconnected()

    def _run(self, targets: np.ndarray) -> Recording:
        """Step the physics target by target, from where the arm is."""
        from sim.cell import SUCTION_PERIOD
        from sim2real.identify.model import servo_commands

        self.safety.run()
        worlds, ids = self.cell.worlds, self._ids
        # What is on its way to the servos comes before the first target.
        path = np.concatenate([self._held[None], targets])
        commands = servo_commands(path, self.rows["arm.latency"], self.rows["arm.servo_filter"])[0, 1:]
        look = round(SUCTION_PERIOD * RATE)
        k = len(targets)
        position, velocity, torque, force = (np.empty((k, 6)) for _ in range(4))
        for i, command in enumerate(commands):
            if i % look == 0:
                self.cell.set_friction(ids)
            self._wrench = worlds.step(command[None, None], ids)[0]
            position[i], velocity[i], torque[i] = self._measured()
            force[i] = self._tool_force()
        self._before = self._held = targets[-1].copy()
        self.cell.servo.reset(self._held[None], ids)
        time = self._time + np.arange(1, k + 1, dtype=np.float64) / RATE
        self._time = float(time[-1])
        self.safety.rest()
        outputs = np.full(k, int(self._suction), np.uint32)
        safety = np.full(k, int(SafetyBit.NORMAL), np.uint32)
        # Currents are not simulated.
        nothing = np.zeros((k, 6))
        return Recording(
            SOURCE, self.name, RATE, time, position, velocity, nothing, torque, force, safety, targets, targets, outputs
        )

    def _measured(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return joint positions, velocities and torques (6,), as the row's sensors read them."""
        position, velocity, torque = (values[0] for values in self.cell.joints(self._ids))
        noise = self._random.standard_normal((2, 6))
        position = position + noise[0] * self.rows["sensor.joint_position_noise"][0]
        return position, velocity, torque + noise[1] * self.rows["sensor.joint_torque_noise"][0]

    def _tool_force(self) -> np.ndarray:
        """Return force [N] and torque [N m] on the tool in the base's axes, (6,)."""
        from sim.rotations import rotate

        _, turn = self.cell.suction.lip_pose(self._ids)
        return rotate(turn, self._wrench.reshape(2, 3)).ravel()


def _row(values: Mapping[str, Any]) -> Any:
    """Return one row of the arm's knobs."""
    from sim.knobs import Rows
    from sim2real.identify.model import KNOBS

    columns = {}
    for name, value in values.items():
        shape = KNOBS.shape(name)
        try:
            columns[name] = np.broadcast_to(np.asarray(value, np.float64), shape)[None].copy()
        except (TypeError, ValueError):
            raise InputError(f"robot.knobs: {name} = {value} must have shape {shape}") from None
    rows = Rows(KNOBS, columns, 0, np.zeros(1, np.int64))
    rows.check("robot.knobs")
    return rows
