"""A stand-in's arm driven in this process, without sockets and faster than real time, as a `Robot`.

What a controller and the adapter do is left out, all but the way from an action to the controller's 500 Hz targets: for
measuring many trials on many stand-ins.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sim.cell import PERIOD
from sim.servo import Servo
from sim2real.recording import Recording
from sim2real.robot import ARM_STATES, JOINT_TARGETS, RATE
from sim2real.rtde import SafetyBit
from sim2real.settings import ArmSettings
from sim2real.standin import WHAT
from sim2real.standin.cell import HELD_INPUT, VACUUM_OUTPUT, Cell
from sim2real.standin.plant import PERIOD as TICK

BOX = ((-2.2, -2.2, -0.75), (2.2, 2.2, 2.6))  # [m] down to the floor
HOMING = 1.0  # [rad/s] of the fastest joint


class PlantRobot:
    """The arm of a stand-in's cell."""

    source = WHAT
    observation_features = dict.fromkeys((*ARM_STATES, "suction.vacuum", "suction.holding"), float)
    action_features = dict.fromkeys((*JOINT_TARGETS, "suction"), float)
    is_connected = True

    def __init__(self, cell: Cell):
        """Drive the arm of `cell`."""
        self.cell, self.plant = cell, cell.plant
        self.name = self.plant.arm.name
        self._servo = Servo(self.plant.arm, 1, PERIOD, round(PERIOD / TICK))
        self._ids = np.array([0])
        self.limits = ArmSettings(arm=self.name, box=BOX).limits()
        self._time = 0.0
        self._tool = self.plant.payload, self.plant.payload_center.copy()
        self._servo.reset(self.plant.target[None], self._ids)

    def connect(self) -> None:
        """It is there already."""

    def arm(self) -> None:
        """Nothing to check."""

    def observe(self) -> dict[str, float]:
        """Return the newest reading."""
        plant = self.plant
        values = np.concatenate([plant.position, plant.velocity, plant.torque, plant.tcp_force])
        held = float(bool(plant.inputs & HELD_INPUT))
        state = {"suction.vacuum": self.cell.vacuum.vacuum, "suction.holding": held}
        return dict(zip(ARM_STATES, values.tolist(), strict=True)) | state

    def act(self, action: Mapping[str, float]) -> dict[str, float]:
        """Run one control period towards `action`."""
        self.plant.outputs = VACUUM_OUTPUT if action["suction"] > 0.5 else 0
        self._servo.command(np.array([[action[name] for name in JOINT_TARGETS]]), self._ids)
        for target in self._servo.samples(0, self._servo.substeps, self._ids)[0]:
            self.plant.step(target)
        return dict(action)

    def approach(self, joints: np.ndarray) -> None:
        """Move to `joints`, straight in joint space, and come to rest there."""
        start = self.plant.target
        steps = max(round(float(np.abs(joints - start).max()) / HOMING / TICK), 1)
        for share in (1.0 - np.cos(np.pi * np.arange(1, steps + 1) / steps)) / 2.0:
            self.plant.step(start + share * (joints - start))
        for _ in range(round(0.5 / TICK)):
            self.plant.step(joints)
        self._servo.reset(np.asarray(joints)[None], self._ids)

    def play(self, targets: np.ndarray, rate: float = RATE) -> Recording:
        """Run joint targets (k, 6) [rad], a tick each; return what a controller would have recorded."""
        plant, k = self.plant, len(targets)
        self.limits.check_path(targets, rate)
        self.limits.check_start(targets[0], plant.target)
        names = ("position", "velocity", "current", "torque", "tcp_force")
        read = {name: np.empty((k, 6)) for name in names}
        for i, target in enumerate(targets):
            plant.step(target)
            for name in names:
                read[name][i] = getattr(plant, name)
        self._servo.reset(targets[-1:], self._ids)
        bits = np.full(k, SafetyBit.NORMAL, np.uint32), np.full(k, plant.outputs, np.uint32)
        time = self._time + np.arange(1, k + 1) / rate
        self._time = float(time[-1])
        return Recording(self.source, self.name, rate, time, **read, safety=bits[0], requested=targets, sent=targets,
                         outputs=bits[1])  # fmt: skip

    def carry(self, mass: float, center: tuple[float, float, float]) -> None:
        """Carry the weight of `mass` [kg] at `center` [m] in the flange's axes, beside the tool's."""
        tool, at = self._tool
        self.plant.set_payload(tool + mass, (tool * at + mass * np.array(center)) / (tool + mass))

    def stop(self) -> None:
        """Nothing moves between two actions."""

    def disconnect(self) -> None:
        """Nothing to let go of."""
