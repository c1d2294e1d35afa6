"""A robot to identify without sockets: the stand-in's arm in this process, recorded as its controller would be."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from assets.arms import arm_named
from assets.gripper import vacuum_gripper
from sim2real.identify.excitation import Planned, motion
from sim2real.identify.model import RATE, ArmModel, Run
from sim2real.limits import Limits
from sim2real.recording import Recording
from sim2real.standin.plant import Plant
from sim2real.standin.sealed import Sealed

ARM = arm_named("ur20")
SOURCE = "stand-in, not hardware"


def limits(tcp_speed: float = 1.0) -> Limits:
    """Return limits in which identification has room."""
    return Limits.of(ARM, 0.2, tcp_speed, np.array([[-2.2, -2.2, -0.2], [2.2, 2.2, 2.6]]))


@functools.cache
def model() -> ArmModel:
    """Return the arm's model, made once."""
    return ArmModel(ARM, vacuum_gripper())


def motions(wanted: Sequence[tuple[str, int]], seconds: float) -> list[Planned]:
    """Return motions of these kinds and seeds."""
    return [motion(kind, seconds, seed, ARM, limits()) for kind, seed in wanted]


def recorded(sealed: Sealed, targets: np.ndarray) -> Recording:
    """Return what a stand-in's controller reports of a motion."""
    plant = Plant(ARM, sealed)
    plant.reset(targets[0])
    position, velocity, torque = (np.empty_like(targets) for _ in range(3))
    for k, target in enumerate(targets):
        plant.step(target)
        position[k], velocity[k], torque[k] = plant.position, plant.velocity, plant.torque
    return recording(position, velocity, torque, targets)


def recording(position: np.ndarray, velocity: np.ndarray, torque: np.ndarray, targets: np.ndarray) -> Recording:
    """Put a recording together."""
    k, nothing = len(targets), np.zeros_like(targets)
    words, time = np.ones(k, np.uint32), np.arange(k) / RATE
    return Recording(
        SOURCE, ARM.name, RATE, time, position, velocity, nothing, torque, nothing, words, targets, targets, words * 0
    )


def run(targets: np.ndarray, position: np.ndarray | None = None, torque: np.ndarray | None = None) -> Run:
    """Return a run; without readings, one of a robot that followed its targets exactly and effortlessly."""
    position = targets if position is None else position
    return Run("run", targets, position, np.zeros_like(targets) if torque is None else torque)


def truth(sealed: Sealed, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    """Return the sealed values of some knobs."""
    return {name: np.asarray(sealed[name]) for name in names if name in sealed}
