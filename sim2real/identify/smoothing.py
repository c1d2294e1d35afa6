"""Recorded runs, smoothed and differentiated, beside the torques that a motion of the bare links takes.

Positions and torques go under the same Gaussian, so that what it takes away is missing on both sides of an equation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import mujoco
import numpy as np

from sim.knobs import Rows
from sim.scene import TIMESTEP
from sim2real.identify.model import RATE, ArmModel, Run
from sim2real.identify.parameters import KNOBS
from sim2real.identify.uncertainty import BLOCK

SMOOTHING = 0.008  # [s] standard deviation of the Gaussian that positions and torques are smoothed with
QUICK_SMOOTHING = 0.004  # [s] for the direction of motion, which must not blur
EVERY = 4  # one row in four is used
MARGIN = 0.1  # [s] left out at both ends of a run
SATURATED = 0.97  # part of the torque limit from which on a servo does what it can, not what it should
STILL = 0.004  # [rad/s] under which the sign of a joint's speed says nothing


@dataclasses.dataclass(frozen=True)
class Smooth:
    """Runs, smoothed: arrays (k, 6), thinned by `keep`; `block` says which part of a run each kept row belongs to."""

    runs: Sequence[Run]
    keep: list[np.ndarray]
    block: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    acceleration: np.ndarray
    quick: list[np.ndarray]  # velocity (k, 6) of every row, little smoothed
    servo_position: np.ndarray
    servo_velocity: np.ndarray
    torque: np.ndarray
    carried: np.ndarray  # the part of it that carries the weight which the controller knows of
    usable: np.ndarray
    noise: np.ndarray  # variance of smoothed position, velocity and acceleration by the encoders' steps (3, 6)

    @staticmethod
    def of(model: ArmModel, runs: Sequence[Run], shift: float) -> Smooth:
        """Smooth `runs`, with the torques taken `shift` rows later than they are stamped."""
        keep, block, parts, quick, first = [], [], [], [], 0
        for run in runs:
            edge = round(MARGIN * RATE)
            rows = np.arange(edge, len(run.sent) - edge, EVERY)
            position, torque = run.position, _moved(run.torque, shift)
            velocity, acceleration = np.gradient(position, TIMESTEP, axis=0), np.zeros_like(position)
            acceleration[1:-1] = np.diff(position, 2, axis=0) / TIMESTEP**2
            limit = np.array([j.torque_limit for j in model.arm.joints]) * SATURATED
            # A torque acts over the step that ends at its row: the joints' motion is that of the step's middle, the
            # servo saw the state at its beginning.
            half, whole = (lambda v: _moved(v, -0.5)), (lambda v: _moved(v, -1.0))
            columns = (
                half(smooth(position)), half(smooth(velocity)), half(smooth(acceleration)),
                whole(smooth(position)), whole(smooth(velocity)), smooth(torque),
                (smooth((np.abs(run.torque) > limit).astype(float)) < 0.01).astype(float),
            )  # fmt: skip
            parts.append([c[rows] for c in columns])
            quick.append(half(smooth(velocity, QUICK_SMOOTHING)))
            keep.append(rows)
            block.append(first + np.arange(len(rows)) // max(1, round(BLOCK * RATE / EVERY)))
            first = int(block[-1][-1]) + 1
        position, velocity, acceleration, servo_position, servo_velocity, torque, usable = (
            np.concatenate(c) for c in zip(*parts, strict=True)
        )
        carried = rigid_torques(model, position, velocity, acceleration, np.array([1.0, 0, 0, 0]))[1]
        return Smooth(
            runs, keep, np.concatenate(block), position, velocity, acceleration, quick, servo_position, servo_velocity,
            torque, carried, usable > 0.5, _noise(runs),
        )  # fmt: skip

    def of_speed(self, function: Callable[[np.ndarray], np.ndarray] | None, scale: float = 1.0) -> np.ndarray:
        """Return the direction of motion (k, 6), smoothed as the torques are; with Stribeck's exponential if asked."""
        out = []
        for velocity, rows in zip(self.quick, self.keep, strict=True):
            sign = np.sign(velocity)
            out.append(smooth(sign if function is None else sign * function(-((velocity / scale) ** 2)))[rows])
        return np.concatenate(out)

    @property
    def moving(self) -> np.ndarray:
        """Say which rows (k, 6) have a joint in clear motion."""
        return np.abs(self.velocity) > STILL


def smooth(values: np.ndarray, width: float = SMOOTHING) -> np.ndarray:
    """Return values (k, ...) under a Gaussian of that standard deviation [s]; ends are held."""
    reach = round(4 * width * RATE)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (width * RATE)) ** 2)
    padded = np.concatenate([values[:1].repeat(reach, 0), values, values[-1:].repeat(reach, 0)])
    columns = [np.convolve(c, weights / weights.sum(), "valid") for c in padded.T]
    return np.stack(columns, axis=1)


def _noise(runs: Sequence[Run]) -> np.ndarray:
    """Return the variances (3, 6) that the encoders' noise leaves in smoothed positions, velocities, accelerations.

    Fourth differences leave nothing of a motion at 500 Hz and all of the noise.
    """
    own = np.concatenate([np.diff(run.position, 4, axis=0) for run in runs]).var(0) / 70.0
    impulse = np.zeros((401, 1))
    impulse[200] = 1.0
    second = np.zeros_like(impulse)
    second[1:-1] = np.diff(impulse, 2, axis=0) / TIMESTEP**2
    first = np.zeros_like(impulse)
    first[1:-1] = (impulse[2:] - impulse[:-2]) / (2.0 * TIMESTEP)
    kernels = (impulse, first, second)
    return np.stack([own * float((smooth(kernel) ** 2).sum()) for kernel in kernels])


def _moved(values: np.ndarray, rows: float) -> np.ndarray:
    """Return values (k, 6) as they are `rows` later, on the line between rows."""
    at = np.clip(np.arange(len(values)) + rows, 0, len(values) - 1)
    before = np.minimum(np.floor(at).astype(np.int64), len(values) - 2)
    share = (at - before)[:, None]
    return values[before] * (1.0 - share) + values[before + 1] * share


def rigid_torques(
    model: ArmModel, position: np.ndarray, velocity: np.ndarray, acceleration: np.ndarray, tool: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return torques (k, 6) [N m] that a motion of the bare links takes, and that carry the known weight.

    `tool` holds its mass ratio and the shift of its centre (4,). Friction, damping and armature are left out.
    """
    row = {"tool.mass": tool[:1], "tool.center_of_mass": tool[None, 1:]}
    model.worlds.apply(Rows(KNOBS, row, 0, np.zeros(1)), np.zeros(1, np.int64))
    bare = model.worlds.batch.get_model(0)
    scene = model.scene
    for field in (bare.dof_frictionloss, bare.dof_damping, bare.dof_armature):
        field[scene.arm_dofs] = 0.0
    data = mujoco.MjData(bare)
    needed, carried = np.empty_like(position), np.empty_like(position)
    for k in range(len(position)):
        data.qpos[scene.arm_qpos], data.qvel[scene.arm_dofs] = position[k], velocity[k]
        data.qacc[scene.arm_dofs] = acceleration[k]
        mujoco.mj_inverse(bare, data)
        needed[k], carried[k] = data.qfrc_inverse[scene.arm_dofs], data.qfrc_gravcomp[scene.arm_dofs]
    return needed, carried
