"""What the equations of motion say directly, without simulating: a first estimate, and an opinion of its own.

The controller reports joint torques. With them the arm falls into two halves that regression can treat apart: the
servos, which turn commands and positions into torques (delay, filter, gains), and the joints, which turn torques into
motion (friction, damping, armature, payload). What one half does that our model lacks, such as lost motion in a gear,
does not spoil the other. Positions are smoothed, differentiated and compared with torques smoothed alike (filtered
least squares: Gautier, "Dynamic identification of robots with power model", 1997).

Besides what is sought, each servo has two terms that soak up what our model lacks: a constant torque (encoder bias) and
one that changes sign with the motion (lost motion in the gear).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from assets.statics import joint_inertias
from sim.scene import TIMESTEP
from sim2real.identify.model import ArmModel, Run, servo_commands
from sim2real.identify.parameters import KNOBS
from sim2real.identify.smoothing import Smooth, rigid_torques, smooth
from sim2real.identify.uncertainty import bootstrap

MOST_NOISE = 0.5  # of a regressor's power that may pass for noise
TOOL_MASS = 2.5  # [kg] about: only for how strongly noise is taken off
LATENCIES = np.arange(0.0, 0.121, 0.008)  # [s] tried at first
FILTERS = np.array([0.001, 0.006, 0.013, 0.022, 0.035])  # [s]
STRIBECK_VELOCITIES = np.geomspace(0.01, 0.2, 6)  # [rad/s]
TOOL_STEPS = np.array([0.1, 0.01, 0.01, 0.01])  # ratio, [m]: of finite differences in the payload
BLURRED = 0.06  # part of the Coulomb friction that smoothing over reversals may hide
STAMP = 0.5  # [rows] by which the stamps of torques and positions may be apart without anybody saying so
STEPS = 4  # of Gauss-Newton


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Knob values from regression, and how far repeated and otherwise stamped data would move them.

    Attributes:
        knobs: value of each knob, within its bounds.
        spread: standard deviation of each, same shapes.
        lost_motion: in each joint's gear [rad], (6,): about zero where the model fits.
        left: root mean square of the torques that stay unexplained [N m], servos and joints, (2, 6).
    """

    knobs: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    lost_motion: np.ndarray
    left: np.ndarray


def estimate(model: ArmModel, runs: Sequence[Run], stribeck: bool = False, payload: bool = False) -> Estimate:
    """Return what regression finds in `runs`; `stribeck` and `payload` say whether those knobs are sought too."""
    early, data, late = (Smooth.of(model, runs, shift) for shift in (-STAMP, 0.0, STAMP))
    servo, joints = _servo(model, data, None), _joints(model, data, stribeck, payload, None)

    def both(of_servo: np.ndarray, of_joints: np.ndarray) -> dict[str, np.ndarray]:
        return _servo_knobs(model, of_servo) | _joint_knobs(model, of_joints, of_servo, stribeck, payload)

    values = both(servo.x, joints.x)
    drawn = [both(servo.x + s, joints.x + j) for s, j in zip(servo.repeats(), joints.repeats(), strict=True)]
    shifted = [
        both(_servo(model, d, servo.x).x, _joints(model, d, stribeck, payload, joints.x).x) for d in (early, late)
    ]
    torque = (data.torque - data.carried).std(0)
    doubts = _doubts(model, servo, joints, torque)
    knobs, spread = {}, {}
    for name, value in values.items():
        noise = np.std([d[name] for d in drawn], axis=0)
        stamp = (shifted[1][name] - shifted[0][name]) / 2
        knobs[name] = np.clip(value, KNOBS[name].lower, KNOBS[name].upper)
        spread[name] = np.sqrt(noise**2 + stamp**2 + doubts.get(name, 0.0) ** 2)
    lost = 2.0 * servo.x[20:26] / np.maximum(servo.x[2:8], 1.0)
    return Estimate(knobs, spread, lost, np.stack([servo.left, joints.left]))


def _doubts(model: ArmModel, servo: _Half, joints: _Half, torque: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far each knob may be off for reasons that repeated data do not show.

    A servo that turns a command into torque in steps, and a torque read at another moment of the step than the
    position, look like damping: stiffness times that time. What part of the torque (6,) stays unexplained may be
    missing from the gains. Smoothing blurs what friction does near standstill.
    """
    nominal, slip = model.arm.joints, STAMP * TIMESTEP
    kp, kv, missing = servo.x[2:8], servo.x[8:14], servo.left / np.maximum(torque, 1e-3)
    gains = {name: missing * value for name, value in _servo_knobs(model, servo.x).items() if np.ndim(value)}
    return {
        "arm.latency": np.array(slip),
        "arm.servo_filter": np.array(slip),
        "arm.stiffness": gains["arm.stiffness"],
        "arm.servo_damping": np.hypot(gains["arm.servo_damping"], slip * kp / [j.servo_damping for j in nominal]),
        "arm.damping": slip * kp / [j.damping for j in nominal],
        "arm.friction": BLURRED * joints.x[12:18] / [j.friction for j in nominal],
        "arm.armature": 0.5 * TIMESTEP * (kv + joints.x[6:12]) / [j.armature for j in nominal],
        "arm.stribeck": np.full(6, 0.35),
        "arm.stribeck_velocity": 0.4 * joints.x[24],
    }


@dataclasses.dataclass(frozen=True)
class _Half:
    """A regression that has arrived: parameters x (p,), Jacobian and residual there, weighed, and what is left (6,)."""

    x: np.ndarray
    jacobian: np.ndarray
    residual: np.ndarray
    block: np.ndarray
    left: np.ndarray

    def repeats(self) -> np.ndarray:
        """Return how far x moves (n, p) if blocks of the data are drawn again."""
        return bootstrap(self.jacobian, self.residual, self.block, np.zeros(self.jacobian.shape[1]))


def _gauss_newton(
    of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    used: np.ndarray,
    block: np.ndarray,
    blur: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    steps: int = STEPS,
) -> _Half:
    """Fit `of`, which returns residuals (k, 6) and Jacobian (k, 6, p); what is not `used` (k, 6) does not count."""
    left = np.ones(6)
    jacobian = residual = np.zeros(0)
    for step in range(steps + 1):
        r, j = of(x)
        left = np.sqrt((np.where(used, r, 0.0) ** 2).sum(0) / np.maximum(used.sum(0), 1)) + 1e-6
        weight = (used / left).reshape(-1)
        residual, jacobian = r.reshape(-1) * weight, j.reshape(-1, j.shape[2]) * weight[:, None]
        if step == steps:
            break
        # Noise in what is multiplied by a parameter looks like signal: it would shrink the parameter. It is known, and
        # taken off both sides (corrected least squares).
        at, variance, factor = blur(x)
        count = np.tile(used.sum(0) / left**2, len(at) // 6)
        square, pull = jacobian.T @ jacobian, jacobian.T @ residual
        excess = np.minimum(variance * count, MOST_NOISE * np.diag(square)[at])
        square[at, at] -= excess
        pull[at] -= excess * factor
        scale = np.sqrt(np.diag(square)) + 1e-12
        # Columns are scaled and a trace of damping is added: what the data do not show at all stays where it is.
        matrix = square / np.outer(scale, scale) + 1e-9 * np.eye(len(x))
        x = np.clip(x - np.linalg.solve(matrix, pull / scale) / scale, low, high)
    return _Half(x, jacobian, residual, np.repeat(block, 6), left)


def _diagonal(columns: np.ndarray) -> np.ndarray:
    """Return (k, 6, 6) with the columns (k, 6) of each joint's own parameter on the diagonal."""
    return columns[:, :, None] * np.eye(6)


def _servo(model: ArmModel, data: Smooth, start: np.ndarray | None) -> _Half:
    """Fit delay, filter, gains and the two soaking terms: x is latency, filter, kp, kv, constant, changing sign."""
    torque, direction = data.torque - data.carried, data.of_speed(None)

    def commanded(latency: float, servo_filter: float) -> np.ndarray:
        delays = np.array([latency]), np.array([servo_filter])
        seen = [smooth(servo_commands(run.sent, *delays)[0])[k] for run, k in zip(data.runs, data.keep, strict=True)]
        return np.concatenate(seen)

    def of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        latency, lag, kp, kv, constant, sign = x[0], x[1], x[2:8], x[8:14], x[14:20], x[20:26]
        seen, ahead, slower = commanded(latency, lag), commanded(latency + 1e-4, lag), commanded(latency, lag + 1e-4)
        error = seen - data.servo_position
        residual = kp * error - kv * data.servo_velocity + constant + sign * direction - torque
        delays = np.stack([kp * (ahead - seen) / 1e-4, kp * (slower - seen) / 1e-4], axis=2)
        ones = _diagonal(np.ones_like(error))
        gains = [_diagonal(error), _diagonal(-data.servo_velocity), ones, _diagonal(direction)]
        return residual, np.concatenate([delays, *gains], axis=2)

    def blur(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.arange(2, 14), np.concatenate([data.noise[0], data.noise[1]]), x[2:14]

    used = data.usable & data.moving
    low, high = np.full(26, -np.inf), np.full(26, np.inf)
    low[:2], high[:2] = (0.0, 1e-3), [np.max(KNOBS[name].upper) for name in ("arm.latency", "arm.servo_filter")]
    if start is None:
        # Delay and filter are no linear matter: the best of a grid, judged by how well the gains can then explain.
        start, best = np.zeros(26), np.inf
        for latency in LATENCIES:
            for lag in FILTERS:
                error = commanded(latency, lag) - data.servo_position
                gains, left = np.zeros((4, 6)), 0.0
                for j in range(6):
                    rows = used[:, j]
                    one = np.ones(int(rows.sum()))
                    columns = np.stack([error[rows, j], -data.servo_velocity[rows, j], one, direction[rows, j]], axis=1)
                    gains[:, j] = np.linalg.lstsq(columns, torque[rows, j], rcond=None)[0]
                    left += np.log(np.mean((columns @ gains[:, j] - torque[rows, j]) ** 2) + 1e-9)
                if left < best:
                    start, best = np.concatenate([[latency, lag], gains.reshape(-1)]), left
    return _gauss_newton(of, start, low, high, used, data.block, blur)


def _servo_knobs(model: ArmModel, x: np.ndarray) -> dict[str, np.ndarray]:
    joints = model.arm.joints
    values = {
        "arm.latency": x[0],
        "arm.servo_filter": x[1],
        "arm.stiffness": x[2:8] / [j.stiffness for j in joints],
        "arm.servo_damping": x[8:14] / [j.servo_damping for j in joints],
    }
    return {name: np.asarray(value) for name, value in values.items()}


def _joints(model: ArmModel, data: Smooth, stribeck: bool, payload: bool, start: np.ndarray | None) -> _Half:
    """Fit armature, damping, friction, its growth at standstill with its speed, and the tool's mass and centre."""
    nominal = np.array([1.0, 0.0, 0.0, 0.0])
    motion = data.position, data.velocity, data.acceleration
    bare = rigid_torques(model, *motion, nominal)[0]
    tool = np.zeros((*bare.shape, 4))
    if payload:
        for i, step in enumerate(TOOL_STEPS):
            tool[:, :, i] = (rigid_torques(model, *motion, nominal + np.eye(4)[i] * step)[0] - bare) / step
        # A shift weighs what the mass times the shift does: with both at once the product is what is linear.
    direction = data.of_speed(None)

    def of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        armature, damping, coulomb, extra, speed = x[:6], x[6:12], x[12:18], x[18:24], x[24]
        mass, moment = x[25], x[26:29]
        slow = data.of_speed(np.exp, speed) if stribeck else np.zeros_like(direction)
        residual = (
            bare + tool[:, :, 0] * (mass - 1.0) + tool[:, :, 1:] @ moment + armature * data.acceleration
            + damping * data.velocity + coulomb * direction + extra * slow - data.torque
        )  # fmt: skip
        by_speed = np.zeros_like(direction)
        if stribeck:
            by_speed = extra * (data.of_speed(np.exp, speed * 1.01) - slow) / (0.01 * speed)
        own = [_diagonal(c) for c in (data.acceleration, data.velocity, direction, slow)]
        return residual, np.concatenate([*own, by_speed[:, :, None], tool], axis=2)

    arm = model.arm
    inertia = joint_inertias(arm.body, arm.home, arm.flange, TOOL_MASS)

    def blur(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        # The links' own inertia meets the same noisy acceleration as the armature does.
        return np.arange(12), np.concatenate([data.noise[2], data.noise[1]]), np.r_[inertia + x[:6], x[6:12]]

    used = data.usable & data.moving
    low, high = np.full(29, -np.inf), np.full(29, np.inf)
    low[:24] = 0.0
    low[24], high[24] = KNOBS["arm.stribeck_velocity"].lower, KNOBS["arm.stribeck_velocity"].upper
    low[25] = 0.1
    if start is not None:
        return _gauss_newton(of, start, low, high, used, data.block, blur)
    joints = model.arm.joints
    guess = np.concatenate(
        [[j.armature for j in joints], [j.damping for j in joints], [j.friction for j in joints], np.zeros(6)]
    )
    speeds = STRIBECK_VELOCITIES if stribeck else STRIBECK_VELOCITIES[:1]
    halves = [
        _gauss_newton(of, np.concatenate([guess, [v], nominal]), low, high, used, data.block, blur) for v in speeds
    ]
    return min(halves, key=lambda half: float(np.log(half.left).sum()))


def _joint_knobs(
    model: ArmModel, x: np.ndarray, servo: np.ndarray, stribeck: bool, payload: bool
) -> dict[str, np.ndarray]:
    joints = model.arm.joints
    coulomb = np.maximum(x[12:18], 1e-3)
    # The engine's step is implicit in the damping: to the torque at its beginning a joint seems heavier by this.
    armature = x[:6] - TIMESTEP * (servo[8:14] + x[6:12])
    values = {
        "arm.armature": armature / [j.armature for j in joints],
        "arm.damping": x[6:12] / [j.damping for j in joints],
        "arm.friction": coulomb / [j.friction for j in joints],
    }
    if stribeck:
        values |= {"arm.stribeck": x[18:24] / coulomb, "arm.stribeck_velocity": x[24]}
    if payload:
        values |= {"tool.mass": x[25], "tool.center_of_mass": x[26:29] / x[25]}
    return {name: np.asarray(value) for name, value in values.items()}
