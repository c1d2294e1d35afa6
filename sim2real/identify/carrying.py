"""The motion that judges a fit: a carton's way from belt to pallet in the air, as the work will ask it of the arm."""

from __future__ import annotations

import itertools

import numpy as np

from assets.arms import Arm
from assets.errors import InputError
from sim2real.identify.excitation import REACHED, REST, Planned, extremes
from sim2real.identify.model import RATE
from sim2real.limits import Limits
from sim2real.motion import approach_path

# Where the tool goes from home, one after another: turn about the base [rad], outwards and up [of the arm's reach],
# turn of the tool [rad]. Over the belt, down to a carton, up, over the pallet with a quarter turn, down, up.
STATIONS = np.array([
    (-0.8, -0.08, 0.00, 0.0),
    (-0.8, -0.08, -0.12, 0.0),
    (-0.8, -0.08, 0.04, 0.0),
    (0.5, 0.06, 0.04, np.pi / 2),
    (0.5, 0.06, -0.16, np.pi / 2),
    (0.5, 0.06, 0.00, np.pi / 2),
])  # fmt: skip
SIZES = (1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1)  # of these, tried from the largest down
PACES = (REACHED, 0.7, 0.5, 0.35, 0.25)  # shares of the limits, tried likewise


def carry(arm: Arm, limits: Limits, seconds: float) -> Planned:
    """Return the way of a carton around home, as large as fits into the limits and about so many `seconds`.

    Raises:
        InputError: not even the smallest fits into the workspace.
    """
    outside = ""
    for size in SIZES:
        stations = _stations(arm, limits, size)
        if stations is None:
            continue
        for pace in PACES:
            try:
                targets = _through(stations, limits, pace)
            except InputError as error:
                outside = str(error)
                break
            asked = extremes(targets, arm, limits)
            if asked.allowed and (len(targets) <= seconds * RATE or size == SIZES[-1]):
                return Planned("carry", targets, asked)
            if len(targets) > seconds * RATE:
                break
    raise InputError(f"no carton's way fits around home, {outside or 'for the arm does not reach it'}: widen robot.box")


def _stations(arm: Arm, limits: Limits, size: float) -> np.ndarray | None:
    """Return joint positions (k, 6) at the stations, home first and last; None where the arm does not reach one."""
    home = np.array(arm.home)
    position, rotation = limits.kinematics.flange_pose(home[None])
    tip = position[0] + rotation[0, :, 2] * limits.tool_length
    turn, out, up, twist = (size * STATIONS).T
    heading = np.arctan2(tip[1], tip[0]) + turn
    away = np.hypot(tip[0], tip[1]) + out * arm.reach
    points = np.stack([away * np.cos(heading), away * np.sin(heading), tip[2] + up * arm.reach], axis=1)
    yaw = np.arctan2(rotation[0, 1, 0], rotation[0, 0, 0]) + twist
    seed = np.broadcast_to(home, (len(points), 6))
    joints, reached = limits.kinematics.solve_tool_down(points, yaw, seed, limits.tool_length)
    return np.concatenate([home[None], joints, home[None]]) if reached.all() else None


def _through(stations: np.ndarray, limits: Limits, pace: float) -> np.ndarray:
    """Return joint targets (k, 6) at `RATE` through the stations, at rest in each."""
    rest = round(REST * RATE)
    legs = [approach_path(a, b, limits, RATE, pace) for a, b in itertools.pairwise(stations)]
    return np.concatenate([np.tile(stations[0], (rest, 1)), *legs, np.tile(stations[-1], (rest, 1))])
