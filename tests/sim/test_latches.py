"""Latched hinges: what they hold, when they give way, and what stands in a wall's way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tote_lab as lab

from assets import folding_tote
from sim.cell import Cell
from sim.latches import FLAT, SEAT
from sim.totes import FOLDING

if TYPE_CHECKING:
    from tests.conftest import Lab

SHORT_A, SHORT_B, LONG_A, LONG_B = range(4)


def folding(n: int, flat: object = (), **knobs: object) -> Cell:
    """Return worlds with a folding tote on the table, the walls `flat` folded down."""
    cell = lab.cell_of(lab.rows_of(n, tote__kind=FOLDING, **knobs))
    lab.put(cell, lab.GOODS.folding, lab.TABLE)
    for wall in np.atleast_1d(np.asarray(flat, int)):
        cell.worlds.qpos[:, cell.latches.qpos[wall]] = FLAT
    cell.worlds.forward(lab.every(cell))
    cell.latches.update(lab.every(cell))
    return cell


def push(cell: Cell, wall: int, torque: object) -> None:
    """Press on a wall from now on, inwards where positive [N m]."""
    cell.worlds.batch.bind("qfrc_applied")[:, cell.latches.dofs[wall]] = torque  # type: ignore[attr-defined]
    cell.worlds.wake(lab.every(cell))


def angles(cell: Cell) -> np.ndarray:
    return np.rad2deg(cell.latches.angles(lab.every(cell)))


def weight_torque(wall: int) -> float:
    """Return by how much a lying wall's own weight presses it down [N m]."""
    mass, center, _ = folding_tote.mass_table(0)
    return float(folding_tote.TARE * mass[wall + 1] * 9.81 * center[wall + 1, 2])


@pytest.mark.parametrize("wall", [SHORT_A, SHORT_B])
def test_a_standing_wall_gives_way_above_its_torque_and_not_below(wall: int) -> None:
    torque = np.array([1.0, 1.0, 3.0, 3.0])
    cell = folding(4, latch__upright_torque=torque[:, None])
    push(cell, wall, torque * [0.8, 1.15, 0.8, 1.15])
    lab.run(cell, 50)
    there = angles(cell)
    assert (np.abs(there[[0, 2], wall]) < 0.5).all(), there  # five seconds under a steady push: no creep
    assert (there[[1, 3], wall] > 85.0).all(), there
    others = [w for w in range(4) if w != wall]
    assert np.abs(there[:, others]).max() < 0.5


def test_each_wall_has_a_latch_of_its_own() -> None:
    cell = folding(1, latch__upright_torque=[1.0, 4.0, 4.0, 4.0])
    for wall in (SHORT_A, SHORT_B):
        push(cell, wall, 2.0)
    lab.run(cell, 10)
    assert angles(cell)[0, SHORT_A] > 85.0
    assert angles(cell)[0, SHORT_B] < 0.5


def test_a_detent_gives_way_above_its_torque_and_not_below() -> None:
    """The short wall lies flat; it is drawn up, its own weight helping the detent."""
    torque = np.array([2.0, 2.0, 2.6, 2.6])
    cell = folding(4, SHORT_A, latch__flat_torque=torque[:, None])
    lab.run(cell, 2)
    push(cell, SHORT_A, -(torque * [0.8, 1.15, 0.8, 1.15] + weight_torque(SHORT_A)))
    lab.run(cell, 50)
    there = angles(cell)[:, SHORT_A]
    assert (np.abs(there[[0, 2]] - 90.0) < 0.5).all(), there
    assert (there[[1, 3]] < 10.0).all(), there


def test_on_its_way_only_the_hinge_holds() -> None:
    """Between the latches a wall falls, or with a stiff hinge stays, and where it arrives it is held again."""
    cell = folding(2, latch__hinge_friction=np.array([0.05, 1.0])[:, None])
    cell.worlds.qpos[:, cell.latches.qpos[SHORT_B]] = np.deg2rad(60.0)
    cell.latches.update(lab.every(cell))
    loss = cell.worlds.field("dof_frictionloss")[:, cell.latches.dofs[SHORT_B]]
    assert loss.tolist() == [0.05, 1.0]
    lab.run(cell, 10)
    assert angles(cell)[0, SHORT_B] == pytest.approx(90.0, abs=0.4)  # not past its stop, where the latch would hold it
    assert angles(cell)[1, SHORT_B] == pytest.approx(60.0, abs=0.5)
    assert loss.tolist() == [9.0, 1.0]


def test_what_holds_depends_on_the_angle_alone() -> None:
    cell = folding(5, latch__hinge_friction=0.2)
    wall = cell.latches.qpos[LONG_A]
    cell.worlds.qpos[:, wall] = [0.0, SEAT - 1e-3, SEAT + 1e-3, FLAT - SEAT - 1e-3, FLAT - SEAT + 1e-3]
    cell.latches.update(np.arange(5))
    loss = cell.worlds.field("dof_frictionloss")[:, cell.latches.dofs[LONG_A]]
    assert loss.tolist() == [2.0, 2.0, 0.2, 0.2, 9.0]
    # And so a restored world holds as the saved one did.
    saved = cell.save(np.arange(5))
    cell.worlds.qpos[:, wall] = 0.7
    cell.latches.update(np.arange(5))
    assert loss.tolist() == [0.2] * 5
    cell.restore(saved, np.arange(5))
    assert loss.tolist() == [2.0, 2.0, 0.2, 0.2, 9.0]


def test_a_standing_short_wall_blocks_the_long_ones() -> None:
    """All walls have weak latches; where one short wall still stands, the long wall is stopped by it."""
    cell = folding(3, latch__upright_torque=0.3)
    down = [[SHORT_A, SHORT_B], [SHORT_A], [SHORT_B]]
    for world, walls in enumerate(down):
        cell.worlds.qpos[world, cell.latches.qpos[walls]] = FLAT
    cell.latches.update(lab.every(cell))
    push(cell, LONG_A, 2.0)
    lab.run(cell, 20)
    there = angles(cell)
    assert there[0, LONG_A] > 85.0
    assert (there[1:, LONG_A] < 5.0).all(), there
    assert there[1, SHORT_B] < 5.0
    assert there[2, SHORT_A] < 5.0


@pytest.mark.parametrize("first", [0, 1])
def test_the_lower_long_wall_goes_first(first: int) -> None:
    cell = folding(1, [SHORT_A, SHORT_B], tote__fold_first=first)
    lower, upper = (LONG_A, LONG_B) if first == 0 else (LONG_B, LONG_A)
    for wall in (lower, upper):
        push(cell, wall, 4.0)
        lab.run(cell, 15)
    push(cell, lower, 0.0)
    push(cell, upper, 0.0)
    lab.run(cell, 3)
    np.testing.assert_allclose(angles(cell)[0], 90.0, atol=0.6)


def test_a_lifted_pack_stays_folded_while_its_detent_holds() -> None:
    """Hung by its upper wall, the pack's weight draws at that wall's detent: for 5 s at 80 % of it nothing moves."""
    mass, center, _ = folding_tote.mass_table(0)
    hinge = folding_tote.wall_table(0).body
    # The other bodies' weight, at its distance from the hinge that carries it.
    load = folding_tote.TARE * 9.81 * (1.0 - mass[LONG_B + 1])
    arm = abs(hinge[LONG_B, 1]) - abs(
        (mass[LONG_A + 1] * (hinge[LONG_A, 1] - center[LONG_A + 1, 2])) / (1.0 - mass[LONG_B + 1])
    )
    needed = load * arm
    cell = folding(2, range(4), latch__flat_torque=(needed / np.array([0.8, 1.6]))[:, None])
    top = folding_tote.hinge_heights(0)[LONG_B] + folding_tote.wall_table(0).panel_half[LONG_B, 1]
    joints = lab.pad_down()
    lab.pose_arm(cell, joints)
    lips, _ = cell.suction.lip_pose(lab.every(cell))
    # Across, so that the arm's wrist is not in its way.
    lab.put(cell, lab.GOODS.folding, lips - [-0.08, 0.0, top], -np.pi / 2)
    seen = []
    for _ in range(55):
        lab.run(cell, 1, suction=True, joints=joints)
        seen.append(angles(cell))
    assert cell.suction.state.held[0] == 3
    held = np.array(seen)[5:, 0]
    assert np.abs(held - 90.0).max() < 1.0  # the jolt of being drawn in counts too
    assert np.ptp(held, axis=0).max() < 0.2
    assert min(there[1, LONG_B] for there in seen) < 80.0


def test_a_scene_without_hinges_has_no_latches(lab: Lab) -> None:
    cell = lab.cell(lab.rows(2))
    assert cell.latches.qpos.shape == (0,)
    before = cell.worlds.field("dof_frictionloss").copy()
    cell.latches.update(np.arange(2))
    np.testing.assert_array_equal(cell.worlds.field("dof_frictionloss"), before)
