"""The cell: worlds, servo and suction advanced together, one control period at a time."""

from __future__ import annotations

import dataclasses

import numpy as np

from assets.gripper import Cups
from sim.apply import carton_size
from sim.knobs import Rows
from sim.rotations import yaw_quaternion
from sim.scene import CompiledScene
from sim.servo import Servo
from sim.suction import FREE, Suction
from sim.worlds import Worlds, WorldState

PERIOD = 0.1  # [s] actions come at 10 Hz
GRAVITY = 9.81  # [m/s2]
SUCTION_PERIOD = 0.01  # [s] how often the suction is looked at
MARGIN = 0.15  # [m] what the arm's overshoot and a carton on its way add to the lips' travel in a period


@dataclasses.dataclass(frozen=True)
class CellState:
    """The complete state of some cells: physics, suction and the servo's memory."""

    worlds: WorldState
    suction: dict[str, np.ndarray]
    history: np.ndarray


class Cell:
    """Arms with suction in many worlds. All arrays have the world as first axis; `ids` are world indices."""

    def __init__(self, worlds: Worlds, cups: Cups):
        """Drive the arms of `worlds`, with the given suction cups."""
        self.worlds = worlds
        self.scene = worlds.scene
        self.substeps = round(PERIOD * self.scene.substeps_per_second)
        self.chunk = round(SUCTION_PERIOD * self.scene.substeps_per_second)
        self.servo = Servo(self.scene.scene.arm, worlds.nworld, PERIOD, self.substeps)
        self.suction = Suction(worlds, cups, SUCTION_PERIOD)
        self._stiffness = np.array([j.stiffness for j in self.scene.scene.arm.body.joints()])
        self._levers = _levers(self.scene)
        self.stated_mass = np.zeros((worlds.nworld, self.scene.scene.slots))
        self.home = np.array(self.scene.scene.arm.home)

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Write rows (one per world in `ids`) and put these worlds into the initial state."""
        self.worlds.apply(rows, ids)
        self.suction.apply(rows, carton_size(rows) / 2.0, ids)
        self.servo.latency[ids] = rows["arm.latency"]
        self.stated_mass[ids] = rows["carton.mass"]
        self.reset(ids)

    def reset(self, ids: np.ndarray) -> None:
        """Arm at home, suction off, every carton parked."""
        self.worlds.reset(ids)
        self.suction.reset(ids)
        self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)] = self.home
        self.worlds.ctrl[ids] = self.home
        self.servo.reset(np.broadcast_to(self.home, (len(ids), len(self.home))), ids)

    def advance(self, targets: np.ndarray, suction: np.ndarray, ids: np.ndarray) -> None:
        """Run one control period: joint `targets` (n, nj) [rad] to be reached, `suction` (n,) bool."""
        self.servo.command(targets, ids)
        self.suction.state.on[ids] = suction
        commands = self.servo.samples(0, self.substeps, ids)
        # Ten short calls cost more than a long one: only where something may happen is the suction watched.
        idle = self.suction.idle(self._travel(commands, ids), ids)
        if idle.any():
            wrench = self.worlds.step(commands[idle], ids[idle], self.chunk)
            self.suction.rest(wrench, self.substeps // self.chunk, ids[idle])
        if not idle.all():
            self._watch_suction(commands[~idle], ids[~idle])

    def _travel(self, commands: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return how far the lips may get in a period of `commands` (n, substeps, nj) at most [m], (n,)."""
        swing = np.abs(commands - self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)][:, None, :]).max(1)
        return (swing * self._levers).sum(1) + MARGIN

    def _watch_suction(self, commands: np.ndarray, ids: np.ndarray) -> None:
        """Run one period of `commands` (n, substeps, nj), with a look at the suction after every interval."""
        for first in range(0, self.substeps, self.chunk):
            command = commands[:, first : first + self.chunk]
            carrying = self.suction.state.held[ids] != FREE
            if carrying.any():
                command[carrying] += self._payload_compensation(ids[carrying])[:, None, :]
            self.suction.update(self.worlds.step(command, ids, self.chunk), ids)

    def _payload_compensation(self, ids: np.ndarray) -> np.ndarray:
        """Return by how much each joint's command is raised for the held carton's weight [rad], (n, nj).

        A robot controller that is told its payload adds the torque that the payload needs; here the payload is what the
        order says the held carton weighs. Without this a heavy carton hangs some millimetres low and askew.
        """
        # As the vacuum builds up: pulling at once would tear the carton off cups that do not hold yet.
        weight = GRAVITY * self.stated_mass[ids, self.suction.state.held[ids]] * self.suction.state.vacuum[ids]
        tip, _ = self.suction.lip_pose(ids)
        joints = np.ix_(ids, self.scene.joints)
        axis, lever = self.worlds.joint_axis[joints], tip[:, None, :] - self.worlds.joint_anchor[joints]
        # Torque about each axis of the upward force that carries the weight.
        torque = (axis[..., 0] * lever[..., 1] - axis[..., 1] * lever[..., 0]) * weight[:, None]
        return torque / self._stiffness

    def put_carton(self, slot: np.ndarray, position: np.ndarray, yaw: np.ndarray, ids: np.ndarray) -> None:
        """Set cartons (one slot per world) at `position` (n, 3) [m] of their centre, turned by `yaw`, awake."""
        at = self.scene.slot_qpos[slot]
        columns = np.arange(3)
        self.worlds.qpos[ids[:, None], at[:, None] + columns] = position
        self.worlds.qpos[ids[:, None], at[:, None] + 3 + np.arange(4)] = yaw_quaternion(yaw)
        # The negative zero wakes a parked carton without moving it.
        self.worlds.qvel[ids[:, None], self.scene.slot_dofs[slot][:, None] + np.arange(6)] = -0.0

    def carton_poses(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions [m] (n, slots, 3) and quaternions (n, slots, 4) of all cartons."""
        at = self.scene.slot_qpos
        position = self.worlds.qpos[ids[:, None, None], at[None, :, None] + np.arange(3)]
        quaternion = self.worlds.qpos[ids[:, None, None], at[None, :, None] + 3 + np.arange(4)]
        return position, quaternion

    def joints(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return joint positions [rad], velocities [rad/s] and torques [N m], (n, nj) each."""
        dofs = np.ix_(ids, self.scene.arm_dofs)
        positions = self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)]
        return positions, self.worlds.qvel[dofs], self.worlds.joint_torque[dofs]

    def save(self, ids: np.ndarray) -> CellState:
        """Return the complete state of the cells `ids`."""
        return CellState(self.worlds.save(ids), self.suction.state.take(ids), self.servo.history[ids].copy())

    def restore(self, state: CellState, ids: np.ndarray) -> None:
        """Put cells back into a saved state, bit for bit."""
        self.worlds.restore(state.worlds, ids)
        self.suction.state.put(ids, state.suction)
        self.servo.history[ids] = state.history


def _levers(scene: CompiledScene) -> np.ndarray:
    """Return how far the lips can be from each joint of the arm at most [m], (nj,): all links in a line."""
    model, body = scene.model, scene.cups_body
    length = float(np.sqrt((model.site_pos[scene.suction_site] ** 2).sum()))
    levers = {}
    while body:
        if model.body_jntnum[body]:
            levers[int(model.body_jntadr[body])] = length
        length += float(np.sqrt((model.body_pos[body] ** 2).sum()))
        body = int(model.body_parentid[body])
    return np.array([levers[int(joint)] for joint in scene.joints])
