"""The verdict on a load from what cameras saw of it: the rules of `tasks.palletizing.judge`, applied to seen poses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.cell import GRAVITY
from sim.rotations import angle_between, yaw_quaternion
from tasks.palletizing.cell import DECK_HEIGHT
from tasks.palletizing.judge import ANGLE_TOLERANCE, ELASTIC, PERMANENT, TILT_CREEP
from tasks.palletizing.task import POSITION_TOLERANCE, Palletizing
from tasks.shaking import DROPPED

TOUCHING = 0.01  # [m] of a carton's base from another's top: it stands on it


@dataclasses.dataclass(frozen=True)
class Load:
    """A load as it was to be, for n cartons.

    Attributes:
        size: as the papers state it [m], (n, 3); `mass` [kg] and `strength` [N] likewise, (n,).
        target: planned middles of the bases in the world [m], (n, 3).
        yaw: planned headings in the world [rad], (n,).
    """

    size: np.ndarray
    mass: np.ndarray
    strength: np.ndarray
    target: np.ndarray
    yaw: np.ndarray

    @property
    def goal(self) -> np.ndarray:
        """Planned middles of the cartons [m], (n, 3)."""
        return self.target + self.size * np.array([0.0, 0.0, 0.5])

    @property
    def height(self) -> float:
        """Of the load over the deck [m]."""
        return float((self.target[:, 2] + self.size[:, 2]).max() - DECK_HEIGHT)


def standing(
    load: Load,
    position: np.ndarray,
    quaternion: np.ndarray,
    lost: Mapping[int, str],
    put: np.ndarray,
    press: np.ndarray,
) -> tuple[list[str], np.ndarray]:
    """Say what is wrong with a load as it stands, and which cartons (n,) are where they belong.

    Args:
        load: as it was to be.
        position, quaternion: where its cartons were seen, (n, 3) [m] and (n, 4).
        lost: why cartons were lost, by number.
        put: which cartons were let go, (n,).
        press: the greatest force with which each was pressed down [N], (n,).
    """
    error = np.sqrt(((position - load.goal) ** 2).sum(-1))
    angle = np.minimum(
        angle_between(yaw_quaternion(load.yaw), quaternion), angle_between(yaw_quaternion(load.yaw + np.pi), quaternion)
    )
    sunk, crush = load.goal[:, 2] - position[:, 2], _load_on_each(load, position)
    wrong = []
    for j in range(len(load.mass)):
        if j in lost:
            wrong.append(f"carton {j} dropped ({lost[j]})")
        elif not put[j]:
            wrong.append(f"carton {j} not placed in time")
        elif sunk[j] > DROPPED:
            wrong.append(f"carton {j} dropped ({sunk[j] * 1000:.0f} mm below its place)")
        elif not error[j] <= POSITION_TOLERANCE:
            wrong.append(f"carton {j} off by {error[j] * 1000:.1f} mm")
        elif not angle[j] <= ANGLE_TOLERANCE:
            wrong.append(f"carton {j} turned by {np.rad2deg(angle[j]):.1f} deg")
        force = max(crush[j], press[j])
        if force > load.strength[j]:
            wrong.append(f"carton {j} crushed ({force:.0f} N)")
    good = put & (error <= POSITION_TOLERANCE) & (angle <= ANGLE_TOLERANCE)
    good[list(lost)] = False
    return wrong, good


def stability(load: Load, tests: Mapping[str, Any]) -> list[str]:
    """Say what went wrong in the tilt test and under 0.5 g, from the answer to `cell.judge`."""
    wrong = []
    creep = float(np.max(tests["tilt"]["greatest"]))
    if creep > TILT_CREEP:
        wrong.append(f"load creeps {creep * 1000:.1f} mm under a 10 deg tilt")
    pulse, height = tests["pulse"], load.height
    during, after = float(np.max(pulse["greatest"])), float(np.max(pulse["end"]))
    if float(np.max(pulse["sunk"])) >= DROPPED:
        wrong.append("a carton falls off the load under 0.5 g")
    elif during > ELASTIC * height:
        wrong.append(f"load deforms {during * 1000:.0f} mm of {height * 1000:.0f} under 0.5 g")
    elif after > PERMANENT * height:
        wrong.append(f"load stays deformed {after * 1000:.0f} mm of {height * 1000:.0f} after 0.5 g")
    return wrong


def _load_on_each(load: Load, position: np.ndarray) -> np.ndarray:
    """Return the weight [N] (n,) that rests on each carton, shared by contact area among what is below."""
    n = len(load.mass)
    span = Palletizing.footprint(load.yaw, load.size)
    low, high = position[:, 2] - load.size[:, 2] / 2, position[:, 2] + load.size[:, 2] / 2
    carried = np.zeros(n)
    for j in np.argsort(-low):
        near = np.minimum(position[j, :2] + span[j] / 2, position[:, :2] + span / 2)
        overlap = near - np.maximum(position[j, :2] - span[j] / 2, position[:, :2] - span / 2)
        area = np.where((overlap > 0).all(1) & (np.abs(high - low[j]) < TOUCHING), overlap.prod(1), 0.0)
        area[j] = 0.0
        if area.sum() > 0:
            carried += (GRAVITY * load.mass[j] + carried[j]) * area / area.sum()
    return carried
