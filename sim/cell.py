"""The cell: worlds, servo, suction, fingers and latches advanced together, one control period at a time."""

from __future__ import annotations

import dataclasses
import functools

import mujoco
import numpy as np

from assets.gripper import Cups
from sim.knobs import Rows
from sim.latches import Latches
from sim.rotations import yaw_quaternion
from sim.scene import CompiledScene
from sim.servo import Servo
from sim.suction import FREE, Suction
from sim.worlds import Worlds, WorldState

PERIOD = 0.1  # [s] actions come at 10 Hz
GRAVITY = 9.81  # [m/s2]
SUCTION_PERIOD = 0.01  # [s] how often the suction is looked at
BLOCKED = 0.99  # of its torque limit that a joint gives where it is blocked
MARGIN = 0.15  # [m] what the arm's overshoot and a carton on its way add to the lips' travel in a period


@dataclasses.dataclass(frozen=True)
class CellState:
    """The complete state of some cells: physics, suction, the servo's memory and the fingers' command."""

    worlds: WorldState
    suction: dict[str, np.ndarray]
    history: np.ndarray
    smoothed: np.ndarray
    opening: np.ndarray


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
        self.latches = Latches(worlds)
        self.opening = np.zeros(worlds.nworld)  # [m] how far the fingers are told to be apart
        joints = len(self.scene.arm_dofs)
        self.stribeck, self.stribeck_velocity = np.zeros((worlds.nworld, joints)), np.ones(worlds.nworld)
        self._coulomb = np.zeros((worlds.nworld, joints))  # [N m]
        arm = self.scene.scene.arm.body.joints()
        self._stiffness = np.array([j.stiffness for j in arm])
        self._torque_limit = np.array([j.torque_limit for j in arm])
        self._levers = _levers(self.scene)
        self.stated_mass = np.zeros((worlds.nworld, len(self.scene.grips)))
        self.home = np.array(self.scene.scene.arm.home)
        self._fingers = next((j for j in self.scene.scene.tool.joints() if j.mimics is None), None)

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Write rows (one per world in `ids`) and put these worlds into the initial state."""
        self.worlds.apply(rows, ids)
        self.suction.apply(rows, ids)
        self.servo.latency[ids] = rows["arm.latency"]
        self.servo.filter[ids] = rows["arm.servo_filter"]
        self.stribeck[ids] = rows["arm.stribeck"]
        self.stribeck_velocity[ids] = rows["arm.stribeck_velocity"]
        self._coulomb[ids] = self.worlds.field("dof_frictionloss")[np.ix_(ids, self.scene.arm_dofs)]
        self.stated_mass[ids] = self.scene.scene.goods.grip_mass(rows)
        self.latches.apply(rows, ids)
        self.reset(ids)

    def reset(self, ids: np.ndarray) -> None:
        """Arm at home, suction off, fingers open, everything loose parked."""
        self.worlds.reset(ids)
        self.suction.reset(ids)
        self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)] = self.home
        self.worlds.ctrl[np.ix_(ids, np.arange(len(self.home)))] = self.home
        if self._fingers is not None:
            self.opening[ids] = 2.0 * self._fingers.range[1]
            self.worlds.ctrl[ids, self.scene.fingers] = self._fingers.range[1]
            self.worlds.qpos[np.ix_(ids, self._finger_qpos)] = self._fingers.range[1]
        self.servo.reset(np.broadcast_to(self.home, (len(ids), len(self.home))), ids)

    def advance(
        self, targets: np.ndarray, suction: np.ndarray, ids: np.ndarray, opening: np.ndarray | None = None
    ) -> None:
        """Run one control period.

        An arm whose servos give all the torque that they have is blocked. As a real controller stops there, so this one
        gives up the rest of the motion: otherwise the command runs away from the arm, which then whips through whatever
        blocked it. It is looked for as often as suction is, or at the end of a period in which nothing is near.

        Args:
            targets: joint positions to be reached (n, nj) [rad].
            suction: whether the pump draws (n,).
            ids: the worlds.
            opening: how far the fingers are to be apart (n,) [m], for a tool with fingers.
        """
        self.servo.command(targets, ids)
        self.suction.state.on[ids] = suction
        commands = self.servo.samples(0, self.substeps, ids)
        if opening is not None:
            commands = np.concatenate([commands, self._move_fingers(opening, ids)], axis=2)
        # Ten short calls cost more than a long one: only where something may happen is the suction watched.
        # Friction that depends on speed is looked at as often.
        idle = self.suction.idle(self._travel(commands, ids), ids) & ~self.stribeck[ids].any(1)
        if idle.any():
            wrench = self.worlds.step(commands[idle], ids[idle], self.chunk)
            self.suction.rest(wrench, self.substeps // self.chunk, ids[idle])
            self._yield(ids[idle][self._blocked(ids[idle])])
        if not idle.all():
            self._watch_suction(commands[~idle], ids[~idle])
        self.latches.update(ids)

    def hold(self, ids: np.ndarray, substeps: int) -> np.ndarray:
        """Return commands (n, substeps, nu) that keep arm and fingers where they were last told to be."""
        last = self.servo.samples(self.substeps - 1, 1, ids)
        if self._fingers is not None:
            last = np.concatenate([last, self.opening[ids, None, None] / 2.0], axis=2)
        return np.repeat(last, substeps, axis=1)

    def _move_fingers(self, opening: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the commands (n, substeps, 1) of the one finger that has a servo [m], no faster than it can go."""
        assert self._fingers is not None
        last, step = self.opening[ids], 2.0 * self._fingers.velocity_limit * PERIOD
        wanted = np.where(np.isfinite(opening), opening, last)
        wanted = np.clip(np.clip(wanted, last - step, last + step), 0.0, 2.0 * self._fingers.range[1])
        self.opening[ids] = wanted
        share = (1.0 + np.arange(self.substeps)) / self.substeps
        return (last[:, None] + (wanted - last)[:, None] * share)[..., None] / 2.0

    def _travel(self, commands: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return how far the lips may get in a period of `commands` (n, substeps, nj) at most [m], (n,)."""
        arm = commands[:, :, : len(self.home)]
        swing = np.abs(arm - self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)][:, None, :]).max(1)
        return (swing * self._levers).sum(1) + MARGIN

    def _watch_suction(self, commands: np.ndarray, ids: np.ndarray) -> None:
        """Run one period of `commands` (n, substeps, nj), with a look at the suction after every interval."""
        for first in range(0, self.substeps, self.chunk):
            command = commands[:, first : first + self.chunk]
            carrying = self.suction.state.held[ids] != FREE
            if carrying.any():
                command[carrying, :, : len(self.home)] += self._payload_compensation(ids[carrying])[:, None, :]
            self.set_friction(ids)
            self.suction.update(self.worlds.step(command, ids, self.chunk), ids)
            blocked = self._blocked(ids)
            if blocked.any():
                commands[blocked, first + self.chunk :, : len(self.home)] = self._yield(ids[blocked])[:, None, :]

    def _blocked(self, ids: np.ndarray) -> np.ndarray:
        """Return (n,) whether a joint's servo gives all the torque that it has."""
        torque = np.abs(self.worlds.servo_torque[ids, : len(self.home)])
        return np.logical_or.reduce(torque >= BLOCKED * self._torque_limit, axis=1)

    def _yield(self, ids: np.ndarray) -> np.ndarray:
        """Have blocked arms stay where they are until the next target; return the joints (n, nj) [rad]."""
        joints = self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)]
        self.servo.reset(joints, ids)
        return joints

    def set_friction(self, ids: np.ndarray) -> None:
        """Raise the Coulomb friction of slow joints (Stribeck: exponential in the square of the speed)."""
        ids = ids[self.stribeck[ids].any(1)]
        if len(ids):
            dofs = np.ix_(ids, self.scene.arm_dofs)
            fast = self.worlds.qvel[dofs] / self.stribeck_velocity[ids, None]
            friction = self._coulomb[ids] * (1.0 + self.stribeck[ids] * np.exp(-fast * fast))
            self.worlds.field("dof_frictionloss")[dofs] = friction

    def _payload_compensation(self, ids: np.ndarray) -> np.ndarray:
        """Return by how much each joint's command is raised for the held thing's weight [rad], (n, nj).

        A robot controller that is told its payload adds the torque that the payload needs; here the payload is what the
        goods' data say that the held thing weighs. Without this a heavy one hangs some millimetres low and askew.
        """
        # As the vacuum builds up: pulling at once would tear the load off cups that do not hold yet.
        weight = GRAVITY * self.stated_mass[ids, self.suction.state.held[ids]] * self.suction.state.vacuum[ids]
        tip, _ = self.suction.lip_pose(ids)
        joints = np.ix_(ids, self.scene.joints)
        axis, lever = self.worlds.joint_axis[joints], tip[:, None, :] - self.worlds.joint_anchor[joints]
        # Torque about each axis of the upward force that carries the weight.
        torque = (axis[..., 0] * lever[..., 1] - axis[..., 1] * lever[..., 0]) * weight[:, None]
        return torque / self._stiffness

    def put(self, slot: np.ndarray, position: np.ndarray, turn: np.ndarray, ids: np.ndarray) -> None:
        """Set loose things (one slot per world) at `position` (n, 3) [m], awake and at rest.

        `turn` is a heading (n,) [rad] or a quaternion (n, 4).
        """
        at = self.scene.slot_qpos[slot]
        columns = np.arange(3)
        self.worlds.qpos[ids[:, None], at[:, None] + columns] = position
        quaternion = yaw_quaternion(turn) if turn.ndim == 1 else turn
        self.worlds.qpos[ids[:, None], at[:, None] + 3 + np.arange(4)] = quaternion
        # The negative zero wakes what is parked without moving it.
        self.worlds.qvel[ids[:, None], self.scene.slot_dofs[slot][:, None] + np.arange(6)] = -0.0

    def poses(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions [m] (n, slots, 3) and quaternions (n, slots, 4) of everything loose."""
        at = self.scene.slot_qpos
        position = self.worlds.qpos[ids[:, None, None], at[None, :, None] + np.arange(3)]
        quaternion = self.worlds.qpos[ids[:, None, None], at[None, :, None] + 3 + np.arange(4)]
        return position, quaternion

    @functools.cached_property
    def _finger_qpos(self) -> np.ndarray:
        joints = self.scene.ids(mujoco.mjtObj.mjOBJ_JOINT, [j.name for j in self.scene.scene.tool.joints()])
        return self.scene.model.jnt_qposadr[joints].astype(np.int64)

    def finger_opening(self, ids: np.ndarray) -> np.ndarray:
        """Return how far the fingers are apart (n,) [m]."""
        return np.add.reduce(self.worlds.qpos[np.ix_(ids, self._finger_qpos)], axis=1)

    def joints(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return joint positions [rad], velocities [rad/s] and torques [N m], (n, nj) each."""
        dofs = np.ix_(ids, self.scene.arm_dofs)
        positions = self.worlds.qpos[np.ix_(ids, self.scene.arm_qpos)]
        return positions, self.worlds.qvel[dofs], self.worlds.joint_torque[dofs]

    def save(self, ids: np.ndarray) -> CellState:
        """Return the complete state of the cells `ids`."""
        return CellState(
            self.worlds.save(ids),
            self.suction.state.take(ids),
            self.servo.history[ids].copy(),
            self.servo.smoothed[ids].copy(),
            self.opening[ids].copy(),
        )

    def restore(self, state: CellState, ids: np.ndarray) -> None:
        """Put cells back into a saved state, bit for bit."""
        self.worlds.restore(state.worlds, ids)
        self.suction.state.put(ids, state.suction)
        self.servo.history[ids] = state.history
        self.servo.smoothed[ids] = state.smoothed
        self.opening[ids] = state.opening
        self.latches.update(ids)


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
