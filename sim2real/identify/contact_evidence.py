"""Doing the contact experiments: on a robot, through the `Robot` protocol and the side channel; what comes of each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from assets.errors import InputError
from sim2real.identify.contact_plan import BOX, PUSH_TRAVEL, TILT_RATE, WARES, Experiment, Plan
from sim2real.recording import Recording
from sim2real.robot import Robot
from sim2real.sidechannel import CellClient, Slide

STAND = 0.8  # [s] for the arm to come to rest
EVACUATE = 1.0  # [s] that the cups draw before they are pulled at
CONTROL_PERIOD = 0.1  # [s] of `Robot.act`
QUIET = 0.5  # [s] of the clock after the last action: only then does a real arm's servo loop take a motion
LEAST_MOVED = 0.5  # of a push's travel that the carton must have gone
Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What came of one experiment: of those below, what its kind yields.

    Attributes:
        experiment: what was done.
        mass: of the handled carton on the scale [kg].
        slide: of a tilt.
        drop: time [s] and height [m] of a drop.
        recording: of the robot's motion.
    """

    experiment: Experiment
    mass: float
    slide: Slide | None = None
    drop: tuple[np.ndarray, np.ndarray] | None = None
    recording: Recording | None = None


def run_contact(plan: Plan, robot: Robot, cell: CellClient, progress: Progress | None = None) -> tuple[Evidence, ...]:
    """Do all experiments; the robot is connected and armed.

    Raises:
        InputError: an experiment could not be done: its name and why.
    """
    cell.reset(plan.places, WARES)
    mass = cell.weigh(BOX)
    arrived = False
    evidence = []
    for experiment in plan.experiments:
        if progress:
            progress(f"{experiment.name}: {experiment.says}")
        if experiment.kind == "tilt":
            slide = cell.tilt(BOX, experiment.on, experiment.value, TILT_RATE)
            evidence.append(Evidence(experiment, mass, slide=slide))
        elif experiment.kind == "drop":
            evidence.append(Evidence(experiment, mass, drop=cell.drop(BOX, experiment.on, experiment.value)))
        else:
            if not arrived:
                robot.approach(plan.ready)
                arrived = True
            evidence.append(Evidence(experiment, mass, recording=_do(experiment, robot, cell)))
    return tuple(evidence)


def _do(experiment: Experiment, robot: Robot, cell: CellClient) -> Recording:
    for place in experiment.placements:
        cell.place(place.carton, place.position, place.yaw, place.clamped)
    robot.play(experiment.approach)
    if experiment.kind != "push":
        _pump(robot, experiment.approach[-1], False, STAND)  # what still moves when the cups seal would strain them
        _pump(robot, experiment.approach[-1], True, EVACUATE)
    before = cell.observe()
    recording = robot.play(experiment.motion)
    after = cell.observe()
    if experiment.kind == "push":
        carton = experiment.placements[-1].carton
        moved = float(np.sqrt(((after.position[carton] - before.position[carton])[:2] ** 2).sum()))
        if moved < LEAST_MOVED * PUSH_TRAVEL:
            raise InputError(
                f"{experiment.name}: the carton went {1000 * moved:.0f} mm of {1000 * PUSH_TRAVEL:.0f}: is it where "
                "the operator was to put it?"
            )
    elif before.holding is None:
        raise InputError(f"{experiment.name}: the cups do not hold carton {experiment.placements[-1].carton}")
    else:
        _pump(robot, experiment.motion[-1], False, 2 * CONTROL_PERIOD)
    robot.play(experiment.retreat)
    # What has been used is put aside.
    for k, place in enumerate(experiment.placements):
        cell.place(place.carton, (-1.2, -1.0 + 0.8 * k, WARES[place.carton].size[2] / 2))
    return recording


def _pump(robot: Robot, joints: np.ndarray, on: bool, seconds: float) -> None:
    """Switch the vacuum while the arm stands at `joints`."""
    action = {f"joint{i}.position": float(q) for i, q in enumerate(joints)} | {"suction": float(on)}
    for _ in range(round(seconds / CONTROL_PERIOD)):
        robot.act(action)
    time.sleep(QUIET)


def driven(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets in force (k, 6) [rad] and the forces on the tool (k, 6), from the first target on."""
    first = int(np.argmax(np.isfinite(recording.sent).all(1)))
    return recording.sent[first:], recording.tcp_force[first:]
