"""Worlds: the same row has the same future, bit for bit, wherever and after whatever it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sim.cell import Cell
from sim.knobs import Rows
from sim.scene import SOLIMP
from sim.variations import Variation

if TYPE_CHECKING:
    from tests.conftest import Lab

PERIODS = 12
PLACES = ((0.9, 0.2, 0.6), (0.0, -0.9, 0.86))  # [m] where cartons 1 and 2 start: over the pallet and over the belt


@pytest.fixture(scope="module")
def rows(lab: Lab) -> Rows:
    """Thirty-two rows in which everything differs."""
    says = {
        "every_knob": "widest",
        "carton.size": {"uniform": [[0.25, 0.2, 0.1], [0.5, 0.4, 0.35]]},
        "carton.mass": {"uniform": [1.0, 8.0]},
        "suction.max_force": {"uniform": [300.0, 1000.0]},
        "suction.max_moment": {"uniform": [20.0, 80.0]},
    }
    return Variation.parse("widest", says, lab.knobs).sample(11, np.arange(32))


def begin(lab: Lab, cell: Cell, rows: Rows, ids: np.ndarray) -> None:
    """Start worlds on rows: a carton at the lips, one falling onto the pallet, one onto the running belt."""
    cell.apply(rows, ids)
    cell.worlds.forward(ids)
    lip, _ = cell.suction.lip_pose(ids)
    height = cell.suction.half_size[ids, :, 2]
    zero = np.zeros(len(ids))
    cell.put(zero.astype(int), lip - np.stack([zero, zero, height[:, 0]], axis=1), zero + np.pi / 2, ids)
    for slot, place in enumerate(PLACES, start=1):
        cell.put(zero.astype(int) + slot, np.tile(place, (len(ids), 1)), rows["carton.arrival_yaw"][:, slot], ids)
    cell.worlds.field("geom_surfacevel")[ids, lab.scene.surfaces["belt"][0], 0] = rows["conveyor.speed"]
    cell.worlds.forward(ids)


def act(cell: Cell, rows: Rows, ids: np.ndarray, periods: range = range(PERIODS)) -> np.ndarray:
    """Swing the arm, each world its own way, letting go after eight periods; return what was seen, (periods, n, k)."""
    seen = []
    swing = rows["arm.stiffness"] - 1.0
    for period in periods:
        target = cell.home + swing * np.sin(0.7 * (period + 1))
        cell.advance(target, np.full(len(ids), period < 8), ids)
        state = cell.suction.state
        seen.append(
            np.concatenate(
                [
                    cell.worlds.qpos[ids], cell.worlds.qvel[ids], cell.worlds.xpos[ids].reshape(len(ids), -1),
                    cell.worlds.joint_torque[ids], state.wrench[ids], state.vacuum[ids, None], state.held[ids, None],
                    state.broken_by[ids, None],
                ],
                axis=1,
            )
        )  # fmt: skip
    return np.stack(seen)


def bare(lab: Lab, nworld: int, nthread: int = 1) -> Cell:
    """Return a cell in which nothing has run yet."""
    return lab.cell(lab.rows(nworld), nthread)


@pytest.fixture(scope="module")
def alone(lab: Lab, rows: Rows) -> np.ndarray:
    """What each row does in a world of its own, the only one there is; (32, periods, k)."""
    found = []
    for i in range(len(rows)):
        cell = bare(lab, 1)
        row = rows.take([i])
        begin(lab, cell, row, np.arange(1))
        found.append(act(cell, row, np.arange(1))[:, 0])
    return np.stack(found)


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    """Check that two arrays are equal bit for bit."""
    assert found.shape == wanted.shape
    wrong = ~((found == wanted) & (np.signbit(found) == np.signbit(wanted)))
    assert not wrong.any(), f"{wrong.sum()} of {wrong.size} differ, first at {np.argwhere(wrong)[0]}"


def test_the_scenario_does_what_it_is_for(rows: Rows, alone: np.ndarray) -> None:
    held = alone[:, :, -2]
    assert (held[:, 3] == 0).sum() > 16, "most hold the carton"
    assert (held[:, -1] == -1).all()
    assert len({row.tobytes() for row in alone}) == len(rows)
    assert np.isfinite(alone).all()


# ---- the same whatever runs beside it --------------------------------------------------------------------------------


@pytest.mark.parametrize(("nworld", "nthread"), [(1, 2), (8, 1), (8, 2), (32, 1), (32, 2)])
def test_a_row_runs_the_same_among_any_number_of_worlds(
    lab: Lab, rows: Rows, alone: np.ndarray, nworld: int, nthread: int
) -> None:
    which = np.random.default_rng(nworld).permutation(32)[:nworld]
    cell = bare(lab, nworld, nthread)
    ids = np.arange(nworld)
    begin(lab, cell, rows.take(which), ids)
    same(act(cell, rows.take(which), ids).transpose(1, 0, 2), alone[which])
    assert cell.worlds.broken(ids) == [None] * nworld


def test_some_of_the_worlds_may_run_without_the_others(lab: Lab, rows: Rows, alone: np.ndarray) -> None:
    cell = bare(lab, 8)
    ids = np.array([1, 4, 6])
    begin(lab, cell, rows.take([0, 1, 2]), ids)
    untouched = cell.worlds.qpos[[0, 2, 3, 5, 7]].copy()
    same(act(cell, rows.take([0, 1, 2]), ids).transpose(1, 0, 2), alone[:3])
    same(cell.worlds.qpos[[0, 2, 3, 5, 7]], untouched)


def test_worlds_may_run_apart_in_time(lab: Lab, rows: Rows, alone: np.ndarray) -> None:
    cell = bare(lab, 2)
    first, second = np.array([0]), np.array([1])
    begin(lab, cell, rows.take([0]), first)
    act(cell, rows.take([0]), first, range(5))
    begin(lab, cell, rows.take([1]), second)
    same(act(cell, rows.take([1]), second)[:, 0], alone[1])
    same(act(cell, rows.take([0]), first, range(5, PERIODS))[:, 0], alone[0, 5:])


def test_nothing_is_left_of_an_old_episode(lab: Lab, rows: Rows, alone: np.ndarray) -> None:
    cell = bare(lab, 1)
    one = np.arange(1)
    for before in (5, 6):
        begin(lab, cell, rows.take([before]), one)
        act(cell, rows.take([before]), one, range(6))  # ends while it holds a carton and the belt runs
        cell.worlds.field("opt.gravity")[:] = [2.0, 1.0, -9.0]
        cell.worlds.allow_sleep(False, one)
        act(cell, rows.take([before]), one, range(1))
        begin(lab, cell, rows.take([0]), one)
        same(act(cell, rows.take([0]), one)[:, 0], alone[0])


def test_reset_stops_the_belt_and_rights_gravity(lab: Lab) -> None:
    cell = bare(lab, 2)
    fields = {
        name: cell.worlds.field(name) for name in ("geom_surfacevel", "opt.gravity", "opt.sleep_tolerance", "eq_data")
    }
    fresh = {name: field.copy() for name, field in fields.items()}
    for field in fields.values():
        field[:] += 1.0
    cell.reset(np.array([1]))
    for name, field in fields.items():
        same(field[1], fresh[name][1])
        assert (field[0] != fresh[name][0]).all()


# ---- save and restore ------------------------------------------------------------------------------------------------


def test_both_futures_of_a_saved_state_are_equal(lab: Lab, rows: Rows) -> None:
    some, ids = rows.take(np.arange(6)), np.arange(6)
    cell = bare(lab, 6)
    begin(lab, cell, some, ids)
    act(cell, some, ids, range(6))
    assert (cell.suction.state.held == 0).any()
    saved = cell.save(ids)
    first = act(cell, some, ids, range(6, 14))
    assert (first[-1] != first[0]).any()
    cell.restore(saved, ids)
    same(act(cell, some, ids, range(6, 14)), first)
    # And in another cell, in another place, after other things.
    other = bare(lab, 8)
    other.apply(some, ids + 2)
    lab.run(other, 3)
    other.restore(saved, ids + 2)
    same(act(other, some, ids + 2, range(6, 14)), first)


def test_sleeping_and_held_cartons_go_on_equally(lab: Lab) -> None:
    rows = lab.box(2)
    cell = lab.cell(rows)
    for slot in (1, 2, 3):
        lab.put(cell, slot, (0.9, 0.0, 0.144 + 0.12 + 0.24 * (slot - 1)))
    lab.hang(cell, rows, along=0.02)
    lab.run(cell, 20, suction=True)
    assert asleep(cell, (1, 2, 3))
    ids = np.arange(2)
    saved = cell.save(ids)
    first = act(cell, rows, ids, range(15))
    assert first[0, 0, -2] == 0
    cell.restore(saved, ids)
    same(act(cell, rows, ids, range(15)), first)
    same(first[:, 0], first[:, 1])


def test_a_carton_about_to_sleep_goes_on_equally_in_another_world(lab: Lab) -> None:
    # How long a body has been still is no part of the engine's state; it must not matter.
    cell, other = stack(lab), lab.cell(lab.box())
    one = np.arange(1)
    hold = np.tile(cell.home, (1, 3, 1))
    cell.worlds.wake(one)
    for step in range(10):
        cell.worlds.step(hold, one)
        lab.run(other, step % 3)
        saved = cell.save(one)
        other.restore(saved, one)
        for _ in range(6):
            cell.worlds.step(hold, one)
            other.worlds.step(hold, one)
            same(other.worlds.qpos, cell.worlds.qpos)
            same(other.worlds.qvel, cell.worlds.qvel)
            assert asleep(cell, (0,)) == asleep(other, (0,))
        cell.restore(saved, one)


def test_a_broken_world_can_be_restored(lab: Lab) -> None:
    cell = stack(lab)
    one = np.arange(1)
    saved = cell.save(one)
    lab.run(cell, 3)
    wanted = cell.worlds.qpos.copy()
    cell.restore(saved, one)
    cell.worlds.qpos[0, lab.scene.slot_qpos[1]] = np.nan
    lab.run(cell, 2)
    assert cell.worlds.broken(one) != [None]
    cell.restore(saved, one)
    lab.run(cell, 3)
    assert cell.worlds.broken(one) == [None]
    same(cell.worlds.qpos, wanted)


def test_saving_does_not_move_anything(lab: Lab) -> None:
    rows = lab.box()
    cell = lab.holding(rows, periods=15)
    lab.put(cell, 1, (0.9, 0.0, 0.144 + 0.12))
    lab.run(cell, 10, suction=True)
    one = np.arange(1)
    before, _ = cell.poses(one)
    cell.save(one)
    lab.run(cell, 10, suction=True)
    moved = np.linalg.norm(cell.poses(one)[0] - before, axis=-1)[0]
    assert moved[:2].max() < 1e-4


# ---- sleep -----------------------------------------------------------------------------------------------------------


def asleep(cell: Cell, slots: tuple[int, ...], world: int = 0) -> bool:
    """Say whether all these cartons sleep."""
    data = cell.worlds.data(world)  # type: ignore[attr-defined]
    return not data.body_awake[cell.scene.slot_bodies[list(slots)]].any()


def stack(lab: Lab, rows: Rows | None = None) -> Cell:
    """Return a cell in which three cartons have come to rest on each other on the pallet."""
    cell = lab.cell(lab.box() if rows is None else rows)
    for slot in range(3):
        lab.put(cell, slot, (0.9, 0.0, 0.144 + 0.121 + 0.242 * slot))
    cell.worlds.forward(np.arange(cell.worlds.nworld))
    assert not asleep(cell, (0,))
    lab.run(cell, 15)
    return cell


def test_a_settled_stack_sleeps_and_wakes_by_touch(lab: Lab) -> None:
    cell = stack(lab)
    assert asleep(cell, (0, 1, 2, 3))
    before, _ = cell.poses(np.arange(1))
    lab.run(cell, 10)
    same(cell.poses(np.arange(1))[0], before)
    # A carton that falls onto it from 50 mm wakes it, and all sleep again.
    lab.put(cell, 3, (0.9, 0.0, 0.144 + 0.24 * 3 + 0.17))
    woke = False
    for _ in range(30):
        lab.run(cell, 1)
        woke |= not asleep(cell, (2,))
    assert woke
    assert asleep(cell, (0, 1, 2, 3))
    # Each of the four joints sinks in by less than the depth over which contacts grow firm.
    sunk = 0.144 + 0.24 * 3.5 - cell.poses(np.arange(1))[0][0, 3, 2]
    assert 0.0 < sunk < 4 * SOLIMP[2]


def test_tilted_gravity_moves_a_stack_only_once_it_is_awake(lab: Lab) -> None:
    cell = stack(lab)
    one = np.arange(1)
    before, _ = cell.poses(one)
    cell.worlds.field("opt.gravity")[:] = [7.0, 0.0, -7.0]
    lab.run(cell, 5)
    same(cell.poses(one)[0], before)
    cell.worlds.wake(one)
    lab.run(cell, 5)
    assert (np.linalg.norm(cell.poses(one)[0] - before, axis=-1)[0, :3] > 0.05).all()


def test_waking_moves_nothing(lab: Lab) -> None:
    cell = stack(lab)
    before, _ = cell.poses(np.arange(1))
    cell.worlds.wake(np.arange(1))
    lab.run(cell, 5)
    assert np.abs(cell.poses(np.arange(1))[0] - before)[0, :3].max() < 1e-5


def test_sleep_may_be_forbidden_and_allowed_again(lab: Lab) -> None:
    cell = stack(lab, lab.box(2))
    cell.worlds.allow_sleep(False, np.array([0]))
    lab.run(cell, 15)
    assert not asleep(cell, (0,), 0)
    assert asleep(cell, (0, 1, 2), 1)
    cell.worlds.allow_sleep(True, np.array([0]))
    lab.run(cell, 15)
    assert asleep(cell, (0, 1, 2), 0)


def test_a_carton_let_go_after_hanging_still_falls(lab: Lab) -> None:
    cell = lab.holding(lab.box(), periods=30)
    high = cell.poses(np.arange(1))[0][0, 0, 2]
    lab.run(cell, 2)
    fallen = high - cell.poses(np.arange(1))[0][0, 0, 2]
    assert fallen == pytest.approx(9.81 / 2 * 0.19**2, rel=0.05)  # let go after the first 10 ms


# ---- broken worlds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["arm", "carton", "not a number", "engine"])
def test_a_broken_world_is_reported_and_the_others_go_on(
    lab: Lab, rows: Rows, alone: np.ndarray, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = bare(lab, 3)
    ids = np.arange(3)
    some = rows.take([0, 1, 2])
    begin(lab, cell, some, ids)
    seen = [act(cell, some, ids, range(3))]
    assert cell.worlds.broken(ids) == [None] * 3
    dof, qpos = int(lab.scene.slot_dofs[1]), int(lab.scene.slot_qpos[1])
    integrator = cell.worlds.field("opt.integrator")
    if what == "arm":
        cell.worlds.qvel[1, lab.scene.arm_dofs[0]] = 1e12
    elif what == "carton":
        cell.worlds.qvel[1, dof] = 2000.0
    elif what == "not a number":
        cell.worlds.qpos[1, qpos] = np.nan
    else:
        integrator[1] = 99
    seen.append(act(cell, some, ids, range(3, PERIODS)))
    reasons = cell.worlds.broken(ids)
    print(what, reasons[1])
    assert reasons[0] is None
    assert reasons[2] is None
    assert reasons[1]
    assert "\n" not in reasons[1]
    assert not list(tmp_path.iterdir())  # by itself the engine leaves a file of warnings where it is started
    same(np.concatenate(seen)[:, [0, 2]].transpose(1, 0, 2), alone[[0, 2]])
    # It stays broken until it is reset; then it is as good as new.
    assert cell.worlds.broken(np.array([1])) == [reasons[1]]
    integrator[1] = integrator[0]
    one = np.array([1])
    begin(lab, cell, some.take([1]), one)
    same(act(cell, some.take([1]), one)[:, 0], alone[1])
    assert cell.worlds.broken(ids) == [None] * 3


def test_an_unbroken_world_stays_so_for_long(lab: Lab) -> None:
    cell = stack(lab)
    lab.run(cell, 600)
    assert cell.worlds.broken(np.arange(1)) == [None]


def test_an_arm_that_whips_round_is_reported(lab: Lab) -> None:
    cell = lab.cell(lab.box())
    one = np.arange(1)
    assert cell.worlds.broken(one) == [None]
    cell.worlds.qvel[0, cell.scene.arm_dofs[5]] = 40.0
    cell.worlds.step(cell.hold(one, 1), one)
    lab.run(cell, 1)
    assert np.abs(cell.worlds.qvel[0, cell.scene.arm_dofs]).max() < 11.0  # calm again when it is asked
    assert cell.worlds.broken(one) == ["the arm moves faster than 11.0 rad/s"]
    cell.reset(one)
    assert cell.worlds.broken(one) == [None]
