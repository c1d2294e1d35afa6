"""Stability tests: what stands is tilted or accelerated, and what moves is measured.

A platform's tilt or acceleration is applied as the inertial force it causes, by turning gravity; the arm stands still.
"""

from __future__ import annotations

import numpy as np

from sim.cell import GRAVITY, SUCTION_PERIOD, Cell

TILT, TILT_SECONDS = np.deg2rad(10.0), 5.0
DROPPED = 0.05  # [m] below its place: something that fell
# Dry friction does not creep, MuJoCo's soft friction does: the tests run with its correction, the "precise" profile.
NOSLIP = 3


def tilt_profile() -> np.ndarray:
    """Return horizontal and vertical share of g (t, 2), a row every 10 ms: tilt within half a second, then hold."""
    angle = TILT * np.concatenate([np.linspace(0.0, 1.0, 50), np.ones(round(TILT_SECONDS / SUCTION_PERIOD))])
    return np.stack([np.sin(angle), np.cos(angle)], axis=1)


def shake(
    cell: Cell, ids: np.ndarray, mine: np.ndarray, profile: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run gravity through `profile` (t, 2), towards `direction` (n,) [rad], watching the slots `mine` (n, slots).

    Returns:
        Greatest displacement on the way and at the end [m], (n,), and whether something fell by 50 mm or more.
    """
    gravity = cell.worlds.field("opt.gravity")
    start, _ = cell.poses(ids)
    hold = cell.hold(ids, round(SUCTION_PERIOD * cell.scene.substeps_per_second))
    heading = np.stack([np.cos(direction), np.sin(direction)], axis=1)
    cell.worlds.allow_sleep(False, ids)
    cell.worlds.field("opt.noslip_iterations")[ids] = NOSLIP
    greatest = np.zeros(len(ids))
    moved, sunk = greatest, np.zeros(len(ids), dtype=bool)
    for along, down in profile:
        gravity[ids, :2] = GRAVITY * along * heading
        gravity[ids, 2] = -GRAVITY * down
        cell.worlds.step(hold, ids)
        position, _ = cell.poses(ids)
        shift = np.where(mine[..., None], position - start, 0.0)
        moved = np.sqrt((shift * shift).sum(-1)).max(1)
        greatest = np.maximum(greatest, moved)
        sunk |= shift[..., 2].min(1) < -DROPPED
    cell.worlds.field("opt.noslip_iterations")[ids] = 0
    return greatest, moved, sunk
