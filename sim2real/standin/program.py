"""The program that a client library uploads to steer the arm over registers.

ur-rtde sends its control script and then writes a command number and arguments into input registers; the script acts
and answers in output registers (1 ready, 2 done). The script is not interpreted: this does what it would do, for the
commands that move, stop, configure and ask. A command that it does not know ends the program with a message, as an
error in a script would: the client's call returns False. `servoj`'s gain and lookahead have no effect: the sealed
servo filter stands for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError
from sim2real.standin import motions, poses
from sim2real.standin.plant import PERIOD

if TYPE_CHECKING:
    from sim2real.standin.controller import Controller

Array = NDArray[np.float64]

READY, DONE = 1, 2
SERVO_J, SPEED_J, STEP_TIME, JOINT_TORQUES, FLANGE_POSE = 11, 9, 26, 38, 58
# The script answers these at once and takes them again every cycle; the others are done once, until cleared.
REALTIME = (SERVO_J, SPEED_J, STEP_TIME, JOINT_TORQUES, FLANGE_POSE)
STOP_SCRIPT = 255
SETTLE_TIME = 0.1  # [s] a move is over when the arm has had this long to come to rest after its target
PATIENCE = 1.0  # [s] and at the latest so much later: what it leans against must not hold the program for ever


class Program:
    """A running control script, reading and writing the controller's registers from `offset` on."""

    def __init__(self, controller: Controller, offset: int) -> None:
        """Start it."""
        self._controller, self._offset = controller, offset
        self._executing = False
        self._blocking = False
        self._waited = 0
        self._operations = self._writes = 0
        self._asynchronous = False
        self._report(-1)
        self._write_int(0, READY)

    def input_came(self) -> None:
        """Registers were written: take a real-time command at once, before the next message overwrites it."""
        if not self._blocking and self._command() in REALTIME:
            self._act(self._command())

    def tick(self) -> None:
        """One cycle of the script."""
        c = self._controller
        if self._blocking:
            self._wait()
            return
        if self._asynchronous and (c.motion is None or c.motion.done):
            self._asynchronous = False
            self._report(-1)
        command = self._command()
        if command == 0:
            self._executing = False
            self._write_int(0, READY)
        elif command in REALTIME:
            self._executing = False
            self._act(command)
            self._write_int(0, READY)
        elif not self._executing:
            self._executing = True
            self._act(command)
            if c.program is self and not self._blocking:
                self._write_int(0, DONE)

    def _command(self) -> int:
        return self._int(0)

    def _wait(self) -> None:
        c = self._controller
        if c.motion is not None and not c.motion.done:
            self._waited = 0
            return
        self._waited += 1
        waited = self._waited * PERIOD
        if waited >= PATIENCE or (waited >= SETTLE_TIME and c.plant.at_rest):
            self._blocking = False
            self._write_int(0, DONE)

    def _act(self, command: int) -> None:
        """Do a command."""
        c, plant = self._controller, self._controller.plant
        six = self._doubles(0, 6)
        if command == SERVO_J:
            c.servo(six)
        elif command == SPEED_J:
            c.speed(six, self._double(6), self._double(7))
        elif command in (1, 2):
            goal, here = six, c.target.tolist()
            if command == 2:
                goal = poses.joints_for(c.kinematics, six.tolist(), plant.tcp_offset, here)
            if goal is None:
                self._fail("get_inverse_kin: the pose is out of reach")
            else:
                self._move(motions.joint_path(c.target, goal, self._double(6), self._double(7), c.velocity_limit))
        elif command in (3, 4):
            goal = six.tolist()
            if command == 4:
                goal = poses.to_vector(*poses.tip(*poses.flange(c.kinematics, goal), plant.tcp_offset))
            found = poses.line(c.kinematics, c.target.tolist(), goal, plant.tcp_offset)
            if found is None:
                self._fail("movel: the line leaves the reach or passes a singularity")
            else:
                self._move(motions.Path(*found, self._double(6), self._double(7)))
        elif command in (15, 16, 33, 34):
            c.motion = motions.stop(c.target_velocity, self._double(0))
            self._blocking, self._waited = not (command in (33, 34) and self._int(1) == 1), 0
        elif command == 8:
            plant.zero_force()
        elif command in (17, 65):
            mass, center = self._double(0), self._doubles(1, 3)
            if not 0 <= mass <= 2 * c.arm.payload:
                self._fail(f"set_payload: {mass} kg")
            else:
                plant.set_payload(mass, center if center.any() else plant.payload_center)
        elif command == 29:
            plant.tcp_offset = six[:3]
        elif command == 31:
            c.protective_stop("asked for by the program")
        elif command == 35:
            c.set_watchdog(self._double(0), f"input_int_register_{self._offset}")
        elif command == STOP_SCRIPT:
            c.stop_program()
        else:
            self._ask(command, six)

    def _ask(self, command: int, six: Array) -> None:
        """Answer a question."""
        c, plant = self._controller, self._controller.plant
        here = plant.position.tolist()
        if command == STEP_TIME:
            self._write_doubles([PERIOD])
        elif command == JOINT_TORQUES:
            self._write_doubles(plant.load_torque.tolist())
        elif command == FLANGE_POSE:
            self._write_doubles(poses.to_vector(*poses.flange(c.kinematics, here)))
        elif command in (30, 46):
            near = self._doubles(6, 6).tolist() if command == 30 else here
            found = poses.joints_for(c.kinematics, six.tolist(), plant.tcp_offset, near)
            if found is None:
                self._fail("get_inverse_kin: the pose is out of reach")
            else:
                self._write_doubles(found.tolist())
        elif command == 36:
            self._write_int(1, int(poses.joints_for(c.kinematics, six.tolist(), plant.tcp_offset, here) is not None))
        elif command == 37:
            self._write_int(1, int(c.within_limits(six)))
        elif command == 40:
            self._write_doubles([*plant.tcp_offset.tolist(), 0.0, 0.0, 0.0])
        elif command == 43:
            self._write_doubles(poses.to_vector(*poses.tip(*poses.flange(c.kinematics, here), plant.tcp_offset)))
        elif command == 44:
            offset = self._doubles(6, 3)
            self._write_doubles(poses.to_vector(*poses.tip(*poses.flange(c.kinematics, six.tolist()), offset)))
        elif command == 47:
            self._write_int(1, int(plant.at_rest))
        else:
            self._fail(f"command {command} is not one that this stand-in knows")

    def _move(self, motion: motions.Motion) -> None:
        self._controller.motion = motion
        self._asynchronous = self._int(1) == 1
        self._blocking, self._waited = not self._asynchronous, 0
        self._write_int(0, 0)
        if self._asynchronous:
            self._operations = (self._operations + 1) % 128
            self._report(0)

    def _fail(self, why: str) -> None:
        self._controller.say(why)
        self._controller.stop_program()

    def _report(self, progress: int) -> None:
        """Progress of an asynchronous move, as ur-rtde packs it: operation, change counter, running, progress."""
        self._writes = (self._writes + 1) % 128
        running = 0x8000 + progress if progress >= 0 else 0
        self._write_int(2, (self._operations << 24) | (self._writes << 16) | running)

    def _int(self, index: int) -> int:
        return int(self._controller.inputs[f"input_int_register_{self._offset + index}"])  # type: ignore[arg-type]

    def _double(self, index: int) -> float:
        return float(self._controller.inputs[f"input_double_register_{self._offset + index}"])  # type: ignore[arg-type]

    def _doubles(self, first: int, count: int) -> Array:
        return np.array([self._double(first + i) for i in range(count)])

    def _write_int(self, index: int, value: int) -> None:
        self._controller.fields[f"output_int_register_{self._offset + index}"] = value

    def _write_doubles(self, values: list[float]) -> None:
        for i, value in enumerate(values):
            self._controller.fields[f"output_double_register_{self._offset + i}"] = value


def register_offset(script: bytes) -> int:
    """Where a control script's registers begin; InputError for a script that is not ur-rtde's."""
    text = script.decode("utf-8", "replace")
    found = re.search(r"reg_offset_int\s*=\s*(?:#[^\n]*\n)?\s*(\d+)", text)
    if found is None:
        raise InputError("the stand-in runs no URScript but ur-rtde's control script")
    return int(found.group(1))
