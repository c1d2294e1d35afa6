"""An arm that something blocks: it gives up the rest of its motion, and does not whip round once it is free."""

from __future__ import annotations

import numpy as np
import pytest
import tote_lab as lab

from sim.cell import PERIOD, Cell

LOWERING = 0.04  # [rad] of the shoulder in a period
START = lab.pad_down((*lab.TABLE[:2], lab.TABLE[2] + 0.5))  # the vacuum pad half a metre above the table


def lowered(cell: Cell, periods: int) -> np.ndarray:
    """Lower the arm on and on; return its reference's lead over it (periods, n) [rad]."""
    ids, leads = lab.every(cell), []
    lab.pose_arm(cell, START)
    for k in range(periods):
        target = np.broadcast_to(START, (len(ids), 6)).copy()
        target[:, 1] += LOWERING * (k + 1)
        cell.advance(target, np.full(len(ids), False), ids, np.zeros(len(ids)))
        lead = cell.servo.history[:, -1] - cell.worlds.qpos[np.ix_(ids, cell.scene.arm_qpos)]
        leads.append(np.abs(lead).max(1))
    return np.array(leads)


@pytest.mark.parametrize("stribeck", [0.0, 0.5])
def test_a_blocked_arm_does_not_wind_up(stribeck: float) -> None:
    """Whether its suction is watched every 10 ms, as friction that depends on speed asks for, or not."""
    cell = lab.cell_of(lab.rows_of(2, arm__stribeck=stribeck))
    leads = lowered(cell, 40)
    most = np.abs(cell.worlds.joint_torque[:, cell.scene.arm_dofs]).max()
    assert most > 100.0  # [N m] it lies against the table
    assert leads[-10:].max() < 0.35  # [rad] what a joint may go in a period, where otherwise it is over one


def test_what_was_blocked_goes_on_from_where_it_is() -> None:
    """The speed limit counts from there, not from where the arm should have been."""
    cell = lab.cell_of(lab.rows_of())
    lowered(cell, 18)
    before = cell.worlds.qpos[:, cell.scene.arm_qpos].copy()
    speed = np.array([j.velocity_limit for j in cell.scene.scene.arm.body.joints()])
    for _ in range(5):
        lab.run(cell, 1, opening=0.0, joints=START)
        now = cell.worlds.qpos[:, cell.scene.arm_qpos].copy()
        assert (np.abs(now - before) < 1.2 * speed * PERIOD).all()
        before = now
    lab.run(cell, 20, opening=0.0, joints=START)
    assert np.allclose(cell.worlds.qpos[:, cell.scene.arm_qpos], START, atol=2e-3)


def test_an_arm_that_moves_freely_is_left_alone() -> None:
    """As fast as it may: what its servos give for that is far from all they have."""
    cell = lab.cell_of(lab.rows_of())
    away = cell.home + np.array([1.0, 0.2, -0.4, 0.3, 0.2, 0.5])
    most = 0.0
    for _ in range(15):
        lab.run(cell, 1, joints=away)
        most = max(most, float((np.abs(cell.worlds.servo_torque[0, :6]) / cell._torque_limit).max()))
    assert np.allclose(cell.servo.history[0, -1], away)
    assert 0.05 < most < 0.9
