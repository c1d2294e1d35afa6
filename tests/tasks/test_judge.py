"""The verdict: tolerances, crushing, tilt and pulse, and that it leaves the world as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import BOX, Box, drawn, every, hold_home, rows_of, run_expert, standing, started

from sim.cell import SUCTION_PERIOD
from sim.rotations import yaw_of
from tasks.palletizing import expert as expert_module
from tasks.palletizing.judge import (
    ANGLE_TOLERANCE,
    ELASTIC,
    GRAVITY,
    PERMANENT,
    POSITION_TOLERANCE,
    PULSE,
    TILT_CREEP,
    Judge,
    Verdict,
    _pulse_profile,
)
from tasks.palletizing.task import READY, Palletizing
from tasks.shaking import NOSLIP, TILT, tilt_profile
from tasks.simulation import Simulation

ONE = [Box()]
PAIR = [Box((-0.3, 0.0, 0.0)), Box((0.3, 0.0, 0.0))]
STACK = [Box((0.0, 0.0, 0.0)), Box((0.0, 0.0, BOX[2]))]


def judged(simulation: Simulation) -> list[Verdict]:
    hold_home(simulation, 3)
    return simulation.judge(every(simulation))


def shifted(along: float = 0.0, turn: float = 0.0, up: float = 0.0) -> Verdict:
    """The verdict on a single carton that stands off its place [m], turned [rad]."""
    simulation = standing(ONE)
    task = simulation.task
    position, quaternion = task.cell.poses(every(simulation))
    at = position[:, 0] + (along, 0.0, up)
    task.cell.put(np.array([0]), at, yaw_of(quaternion[:, 0]) + turn, every(simulation))
    return judged(simulation)[0]


# ---- standing --------------------------------------------------------------------------------------------------------


def test_a_load_as_planned_passes() -> None:
    verdict = judged(standing([*PAIR, Box((-0.3, 0.0, BOX[2])), Box((0.3, 0.0, BOX[2]))]))[0]
    assert verdict.success
    assert verdict.reasons == ()
    assert verdict.placed.tolist() == [True] * 4
    assert verdict.position_error.max() < 0.001
    assert verdict.angle_error.max() < 0.001
    assert verdict.tilt_creep is not None
    assert verdict.pulse_elastic is not None
    assert verdict.pulse_permanent is not None
    assert verdict.tilt_creep < TILT_CREEP / 10
    assert verdict.pulse_permanent <= verdict.pulse_elastic < 0.01
    assert verdict.to_dict()["placed"] == [True] * 4


def test_the_tolerances_are_those_of_the_task() -> None:
    assert POSITION_TOLERANCE == 0.015
    assert pytest.approx(np.deg2rad(2.0)) == ANGLE_TOLERANCE
    assert (pytest.approx(np.deg2rad(10)), 0.003) == (TILT, TILT_CREEP)
    assert (PULSE, ELASTIC, PERMANENT) == (0.5, 0.10, 0.05)


def palletizing(simulation: Simulation) -> Palletizing:
    """Return the simulation's task."""
    assert isinstance(simulation.task, Palletizing)
    return simulation.task


@pytest.mark.parametrize(("shift", "good"), [(0.014, True), (-0.014, True), (0.016, False), (-0.016, False)])
def test_position_tolerance(shift: float, good: bool) -> None:
    verdict = shifted(along=shift)
    assert verdict.success == good
    assert verdict.placed.tolist() == [good]
    if not good:
        assert verdict.reasons == ("carton 0 off by 16.0 mm",)
        assert verdict.tilt_creep is None  # a load that does not stand as planned is not tested


@pytest.mark.parametrize(("degrees", "good"), [(1.9, True), (-1.9, True), (2.1, False), (-2.1, False)])
def test_angle_tolerance(degrees: float, good: bool) -> None:
    verdict = shifted(turn=float(np.deg2rad(degrees)))
    assert verdict.success == good
    if not good:
        assert verdict.reasons == ("carton 0 turned by 2.1 deg",)


def test_a_half_turn_is_no_error_and_a_quarter_turn_is() -> None:
    assert shifted(turn=np.pi).success
    assert shifted(turn=-np.pi + 0.01).success
    assert shifted(turn=np.pi / 2).reasons == ("carton 0 turned by 90.0 deg",)


def test_a_carton_that_lies_below_its_place_was_dropped() -> None:
    simulation = standing([Box((-0.3, 0.0, 0.3))])  # planned in the air: prefilled cartons stand on what is there
    assert judged(simulation)[0].reasons == ("carton 0 dropped (300 mm below its place)",)


# ---- crushing --------------------------------------------------------------------------------------------------------


def test_a_carton_is_crushed_by_what_stands_on_it() -> None:
    flat = (0.4, 0.3, 0.15)
    load = [Box((0.0, 0.0, 0.15 * k), size=flat, mass=mass) for k, mass in enumerate((5.0, 13.0, 12.0))]
    weight = 25.0 * GRAVITY
    simulation = standing(load, 2, carton__strength=np.array([[weight + 2.0] * 4, [weight - 2.0] * 4]))
    strong, weak = judged(simulation)
    assert strong.success
    assert weak.reasons == (f"carton 0 crushed ({weight:.0f} N)",)


def test_a_load_is_shared_by_what_carries_it() -> None:
    load = [*PAIR, Box((0.0, 0.0, BOX[2]), size=(0.6, 0.3, 0.2), mass=18.0)]
    simulation = standing(load)
    position, _ = simulation.task.cell.poses(every(simulation))
    force = Judge(palletizing(simulation))._load_on_each(0, position[0])
    np.testing.assert_allclose(force[:3], [9.0 * GRAVITY, 9.0 * GRAVITY, 0.0])


def test_a_carton_is_crushed_by_the_arm_that_presses_it_down(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(ONE, carton__strength=200.0)
    careful = started(rows)
    run_expert(careful, rows)
    assert careful.judge(every(careful))[0].success
    # An expert that goes on 40 mm below the place and feels nothing.
    monkeypatch.setattr(expert_module, "LET_GO", -0.04)
    monkeypatch.setattr(expert_module, "TOUCH", 1e9)
    rough = started(rows)
    run_expert(rough, rows)
    press = rough.task.state.press[0, 0]
    assert press > 200
    assert f"carton 0 crushed ({press:.0f} N)" in rough.judge(every(rough))[0].reasons


# ---- stability -------------------------------------------------------------------------------------------------------


def test_the_pulse_follows_eumos_40509() -> None:
    along, down = _pulse_profile().T
    full = along >= PULSE - 1e-9
    assert full.sum() * SUCTION_PERIOD >= 0.3
    assert np.flatnonzero(full)[0] * SUCTION_PERIOD <= 0.05
    assert (np.diff(np.flatnonzero(full)) == 1).all()
    assert along[-1] == 0
    assert (down == 1).all()
    assert (along[-round(0.9 / SUCTION_PERIOD) :] == 0).all()  # time to come to rest


def test_the_tilt_is_held_for_five_seconds() -> None:
    along, down = tilt_profile().T
    np.testing.assert_allclose(np.hypot(along, down), 1.0)
    angle = np.arctan2(along, down)
    assert (np.diff(angle) > -1e-12).all()
    assert (angle >= np.deg2rad(10) - 1e-9).sum() * SUCTION_PERIOD >= 5.0


@pytest.mark.parametrize("profile", [tilt_profile, _pulse_profile])
def test_a_slippery_carton_slides_along_the_test_direction(profile) -> None:
    heading = np.linspace(-np.pi, np.pi, 8, endpoint=False)
    simulation = standing(ONE, 8, test__direction=heading, surface__cardboard_wood__friction=0.05)
    ids, task = every(simulation), simulation.task
    before, _ = task.cell.poses(ids)
    mine = np.arange(4) < task.count[:, None]
    greatest, _, _ = Judge(palletizing(simulation))._shake(ids, mine, profile()[:80])
    after, _ = task.cell.poses(ids)
    moved = (after - before)[:, 0, :2]
    assert (greatest > 0.01).all()
    np.testing.assert_allclose(moved / np.linalg.norm(moved, axis=1)[:, None],
                               np.stack([np.cos(heading), np.sin(heading)], axis=1), atol=0.03)  # fmt: skip


def test_a_tilted_carton_slips_at_its_angle_of_friction() -> None:
    friction = np.tan(np.deg2rad([9.4, 10.6]))
    simulation = standing(ONE, 2, surface__cardboard_wood__friction=friction)
    slips, holds = judged(simulation)
    assert slips.reasons[0].startswith("load creeps ")
    assert slips.reasons[0].endswith(" mm under a 10 deg tilt")
    # 10 degrees hold, half a g does not.
    assert holds.tilt_creep is not None
    assert holds.tilt_creep < TILT_CREEP
    assert not holds.success
    assert all("0.5 g" in reason for reason in holds.reasons)


def test_a_slippery_load_deforms_under_half_a_g() -> None:
    slippery = {"surface__cardboard_wood__friction": 0.2, "surface__cardboard_cardboard__friction": 0.2}
    verdict = judged(standing(STACK, test__direction=1.0, **slippery))[0]
    assert not verdict.success
    assert verdict.placed.all()  # it stood well, but
    assert verdict.pulse_elastic is not None
    assert verdict.pulse_elastic > ELASTIC * 2 * BOX[2]
    assert "under 0.5 g" in verdict.reasons[0]


def test_a_tower_topples() -> None:
    size = (0.2, 0.13, 0.4)
    tower = [Box((0.0, 0.0, k * size[2]), size=size, mass=4.0) for k in range(3)]
    # Across its narrow side: the pallet's y lies along the world's -x.
    verdict = judged(standing(tower, test__direction=0.0))[0]
    assert not verdict.success
    assert "a carton falls off the load under 0.5 g" in verdict.reasons
    assert verdict.pulse_permanent is not None
    assert verdict.pulse_permanent > 0.1


def test_worlds_are_judged_each_by_itself() -> None:
    heading = np.array([0.0, 1.5, -2.0])
    friction = np.array([0.5, 0.2, 0.5])
    knobs = {"test__direction": heading, "surface__cardboard_wood__friction": friction}
    together = judged(standing(STACK, 3, **knobs))
    alone = [judged(standing(STACK, **{k: v[i] for k, v in knobs.items()}))[0] for i in range(3)]
    assert [v.success for v in together] == [True, False, True]
    assert [v.to_dict() for v in together] == [v.to_dict() for v in alone]
    # Any subset, any order of worlds.
    simulation = standing(STACK, 3, **knobs)
    hold_home(simulation, 3)
    assert [v.to_dict() for v in simulation.judge(np.array([1, 2]))] == [v.to_dict() for v in together[1:]]


def test_judging_leaves_the_world_as_it_was() -> None:
    rows = drawn(2)
    simulation = started(rows)
    run_expert(simulation, rows)
    ids, task, worlds = every(simulation), simulation.task, simulation.worlds
    suction, history = task.cell.suction.state.take(ids), task.cell.servo.history.copy()
    fields = {name: worlds.field(name).copy() for name in ("opt.gravity", "opt.sleep_tolerance", "eq_data")}
    before = [a.copy() for a in (worlds.qpos, worlds.eq_active, worlds.time, worlds.qvel, worlds.ctrl)]
    first = simulation.judge(ids)
    assert all(v.success for v in first)
    after = [a.copy() for a in (worlds.qpos, worlds.eq_active, worlds.time, worlds.qvel, worlds.ctrl)]
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)  # -0.0 for 0.0 says that a body is awake
    for name, value in fields.items():
        np.testing.assert_array_equal(worlds.field(name), value, err_msg=name)
    for name, value in suction.items():
        np.testing.assert_array_equal(getattr(task.cell.suction.state, name), value, err_msg=name)
    np.testing.assert_array_equal(task.cell.servo.history, history)
    assert (worlds.field("opt.noslip_iterations") == 0).all()
    assert NOSLIP > 0
    # Asked again it says the same.
    assert [v.to_dict() for v in simulation.judge(ids)] == [v.to_dict() for v in first]


def test_physics_that_breaks_in_a_test_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves its log there
    simulation = standing(ONE, 2)
    hold_home(simulation, 3)
    judge = Judge(palletizing(simulation))
    shake = judge._shake

    def broken(ids, mine, profile):
        result = shake(ids, mine, profile)
        simulation.worlds.qvel[1, simulation.scene.slot_dofs[0]] = np.nan
        return result

    monkeypatch.setattr(judge, "_shake", broken)
    sound, wrong = judge(every(simulation))
    assert sound.success
    assert not wrong.success
    assert wrong.reasons == (
        "the physics broke under a 10 deg tilt (state is not finite)",
        "the physics broke under 0.5 g (state is not finite)",
    )
    assert wrong.tilt_creep is None


def test_a_carton_that_still_waits_was_not_placed_in_time() -> None:
    simulation = started(rows_of(PAIR, pallet__prefill=1))
    while simulation.task.state.status[0, 1] != READY:
        hold_home(simulation, 1)
    verdict = simulation.judge(every(simulation))[0]
    assert verdict.reasons == ("carton 1 not placed in time",)
    assert verdict.placed.tolist() == [True, False]
