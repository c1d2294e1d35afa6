"""The palletizing task: what happens to cartons, what is told of it, and what the policy sees."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import BOX, SETTINGS, Box, drawn, events, every, hold_home, rows_of, run_expert, standing, started

from sim.cell import PERIOD
from sim.rotations import yaw_of
from tasks.palletizing.cell import BELT_HEIGHT, DECK_HEIGHT, STOP
from tasks.palletizing.task import (
    ARRIVING,
    ENTRY,
    EYE,
    HELD,
    LIFTED,
    LOST,
    PARKED,
    READY,
    RELEASED,
    SETTLE,
    STATE_NAMES,
    SURROUNDINGS_NAMES,
)
from tasks.simulation import Simulation

ONE = [Box()]
TWO = [Box((-0.3, 0.0, 0.0)), Box((0.3, 0.0, 0.0))]


def until_ready(simulation: Simulation, periods: int = 100) -> None:
    for _ in range(periods):
        hold_home(simulation, 1)
        if (simulation.task.state.status == READY).any(1).all():
            return
    raise AssertionError("no carton became ready")


def surroundings(simulation: Simulation) -> dict[str, np.ndarray]:
    seen = simulation.task.observe(every(simulation))["environment_state"]
    return dict(zip(SURROUNDINGS_NAMES, seen.T.astype(float), strict=True))


# ---- arriving --------------------------------------------------------------------------------------------------------


def test_cartons_enter_with_their_drawn_offset_and_turn() -> None:
    offset, turn = np.array([-0.05, 0.0, 0.06]), np.array([-0.3, 0.1, 0.25])
    simulation = started(
        rows_of(ONE, 3, carton__arrival_offset=offset[:, None], carton__arrival_yaw=turn[:, None], conveyor__speed=0.5)
    )
    position, quaternion = simulation.task.cell.poses(every(simulation))
    np.testing.assert_allclose(position[:, 0, 0], STOP[0] - ENTRY)
    np.testing.assert_allclose(position[:, 0, 1], STOP[1] + offset)
    np.testing.assert_allclose(position[:, 0, 2], BELT_HEIGHT + BOX[2] / 2)
    np.testing.assert_allclose(yaw_of(quaternion[:, 0]), turn, atol=1e-12)
    # The belt carries them along without turning or shifting them.
    until_ready(simulation)
    position, quaternion = simulation.task.cell.poses(every(simulation))
    np.testing.assert_allclose(position[:, 0, 1], STOP[1] + offset, atol=0.003)
    np.testing.assert_allclose(yaw_of(quaternion[:, 0]), turn, atol=0.01)


def test_a_wide_carton_stays_between_the_conveyors_rails() -> None:
    simulation = started(rows_of([Box(size=(0.5, 0.5, 0.2))], 2, carton__arrival_offset=np.array([[-0.08], [0.08]])))
    position, _ = simulation.task.cell.poses(every(simulation))
    assert (np.abs(position[:, 0, 1] - STOP[1]) <= 0.27 - 0.25 + 1e-9).all()


@pytest.mark.parametrize("speed", [0.2, 0.8])
def test_the_belt_stops_at_the_light_barrier(speed: float) -> None:
    simulation = started(rows_of(ONE, conveyor__speed=speed))
    assert simulation.task.state.running[0]
    until_ready(simulation)
    assert not simulation.task.state.running[0]
    position, _ = simulation.task.cell.poses(every(simulation))
    front = position[0, 0, 0] + BOX[0] / 2
    # It runs on for at most a control period and a little sliding.
    assert STOP[0] - EYE - 0.002 <= front <= STOP[0] - EYE + speed * 0.12 + speed**2 / (2 * 0.7 * 9.81) + 0.002
    assert events(simulation) == [(0, "arrived")]
    hold_home(simulation, 20)
    after, _ = simulation.task.cell.poses(every(simulation))
    np.testing.assert_allclose(after[0, 0], position[0, 0], atol=2e-4)


def test_the_next_carton_comes_only_when_the_first_is_lifted() -> None:
    rows = rows_of(TWO)
    simulation = started(rows)
    until_ready(simulation)
    hold_home(simulation, 20)
    assert simulation.task.state.status[0].tolist() == [READY, PARKED, PARKED, PARKED]
    bottoms: list[float] = []

    def watch(_: int) -> None:
        s = simulation.task.state
        if s.status[0, 0] in (ARRIVING, READY):
            assert s.status[0, 1] == PARKED
        if s.status[0, 1] == ARRIVING and not bottoms:
            position, _ = simulation.task.cell.poses(every(simulation))
            bottoms.append(position[0, 0, 2] - BOX[2] / 2)
            assert s.status[0, 0] == HELD

    run_expert(simulation, rows, before=watch)
    assert bottoms
    assert bottoms[0] >= BELT_HEIGHT + LIFTED - 0.01


# ---- the course of an episode ----------------------------------------------------------------------------------------


def test_statuses_events_and_rewards_of_a_whole_episode() -> None:
    rows = rows_of(TWO)
    simulation = started(rows)
    run = run_expert(simulation, rows)
    task = simulation.task
    assert task.state.status[0].tolist() == [RELEASED, RELEASED, PARKED, PARKED]
    # While a carton is carried the next one arrives.
    assert events(simulation) == [
        (0, "arrived"), (0, "attached"), (1, "arrived"), (0, "released"), (1, "attached"), (1, "released"),
    ]  # fmt: skip
    times = [e["time"] for e in task.events[0]]
    assert times == sorted(times)
    assert np.array(run.rewards).sum() == pytest.approx(2 - 0.01 * PERIOD * len(run))
    done, late = task.finished(every(simulation))
    assert done[0]
    assert not late[0]
    assert times[-1] == pytest.approx((len(run) - SETTLE + 1) * PERIOD)
    assert task.state.press[0, 0] < 200


def test_prefilled_cartons_stand_as_planned_and_do_not_move() -> None:
    load = [Box((-0.3, 0.1, 0.0), 0.0), Box((0.2, -0.1, 0.0), np.pi / 2), Box((-0.3, 0.1, BOX[2]), 0.0)]
    rows = rows_of([*load, Box((0.3, 0.3, 0.0))], pallet__prefill=3, carton__size_error=(0.001, -0.001, 0.002))
    simulation = started(rows)
    task, ids = simulation.task, every(simulation)
    assert task.state.status[0].tolist() == [RELEASED, RELEASED, RELEASED, ARRIVING]
    start, turned = task.cell.poses(ids)
    for k, box in enumerate(load):
        wanted = simulation.settings.layout.pallet_to_world(np.array(box.position))
        np.testing.assert_allclose(start[0, k, :2], wanted[:2], atol=1e-12)
    # On what is really below: the lower carton is 2 mm higher than the order says.
    np.testing.assert_allclose(start[0, 2, 2], DECK_HEIGHT + 1.5 * (BOX[2] + 0.002), atol=1e-9)
    np.testing.assert_allclose(yaw_of(turned[0, :3]), task.target_yaw[0, :3], atol=1e-12)
    hold_home(simulation, 30)
    after, _ = task.cell.poses(ids)
    assert np.abs(after - start)[0, :3].max() < 1e-3
    assert events(simulation) == [(3, "arrived")]


def test_a_load_that_stands_whole_from_the_start_ends_after_settling() -> None:
    simulation = standing(ONE)
    assert hold_home(simulation, SETTLE).sum() == pytest.approx(-0.01 * PERIOD * SETTLE)
    assert simulation.task.finished(every(simulation)) == (np.array([True]), np.array([False]))


def test_a_carton_that_falls_off_the_cups_is_lost_with_the_reason() -> None:
    rows = rows_of(TWO)
    simulation = started(rows)
    task = simulation.task

    def weaken(_: int) -> None:
        position, _ = task.cell.poses(every(simulation))
        high = task.state.status[0, 0] == HELD and position[0, 0, 2] > BELT_HEIGHT + 0.25
        task.cell.suction.max_force[0] = 40.0 if high else 650.0

    run = run_expert(simulation, rows, before=weaken)
    assert task.state.status[0, :2].tolist() == [LOST, RELEASED]
    told = events(simulation)
    assert (0, "lost: pulled off") in told
    # The work goes on with the next carton.
    assert told[-1] == (1, "released")
    assert np.array(run.rewards).min() == pytest.approx(-1 - 0.01 * PERIOD)
    verdict = simulation.judge(every(simulation))[0]
    assert "carton 0 dropped (pulled off)" in verdict.reasons
    assert verdict.placed.tolist() == [False, True]
    assert verdict.tilt_creep is None


def test_a_carton_that_the_cups_cannot_lift_stays_on_the_belt_until_time_runs_out() -> None:
    rows = rows_of([Box(mass=14.0)], suction__max_force=100.0)
    simulation = started(rows)
    run_expert(simulation, rows)
    assert simulation.task.finished(every(simulation)) == (np.array([False]), np.array([True]))
    assert simulation.judge(every(simulation))[0].reasons == ("carton 0 not placed in time",)


@pytest.mark.parametrize("when", ["arriving", "ready"])
def test_a_carton_pushed_off_the_conveyor_is_lost(when: str) -> None:
    simulation = started(rows_of(TWO))
    task, ids = simulation.task, every(simulation)
    if when == "ready":
        until_ready(simulation)
    else:
        hold_home(simulation, 5)
    task.cell.put(np.array([0]), np.array([[-0.4, -1.6, 0.9]]), np.zeros(1), ids)
    hold_home(simulation, 10)
    assert task.state.status[0, 0] == LOST
    assert events(simulation)[-1] == (0, "lost: fell off the conveyor")
    # The next one comes in its stead.
    assert task.state.status[0, 1] == ARRIVING
    until_ready(simulation)
    assert task.state.current[0] == 1


def test_time_runs_out() -> None:
    simulation = started(rows_of(TWO, pallet__prefill=np.array([1.0])))
    task, ids = simulation.task, every(simulation)
    limit = round((14.0 * 2 + 15.0) / PERIOD)
    hold_home(simulation, limit - 1)
    assert task.finished(ids) == (np.array([False]), np.array([False]))
    hold_home(simulation, 1)
    assert task.finished(ids) == (np.array([False]), np.array([True]))
    assert simulation.judge(ids)[0].reasons == ("carton 1 not placed in time",)


def test_taking_a_carton_from_the_pallet_does_not_halt_the_belt() -> None:
    simulation = started(rows_of(TWO, pallet__prefill=1))
    task, ids = simulation.task, every(simulation)
    lip, _ = task.cell.suction.lip_pose(ids)
    task.cell.put(np.array([0]), lip - (0.0, 0.0, BOX[2] / 2 + 0.001), np.array([np.pi / 2]), ids)
    task.cell.worlds.forward(ids)
    hold_home(simulation, 2, suction=True)
    assert (0, "attached") in events(simulation)
    assert task.state.status[0, :2].tolist() == [HELD, ARRIVING]
    assert task.state.running[0]


# ---- what the policy sees --------------------------------------------------------------------------------------------


def test_observations_are_named_finite_and_of_the_right_carton() -> None:
    load = [Box((-0.3, 0.0, 0.0), 0.0, (0.40, 0.30, 0.20), 4.0), Box((0.3, 0.1, 0.0), np.pi / 2, (0.5, 0.35, 0.3), 9.0)]
    rows = rows_of(load, carton__arrival_yaw=0.2, carton__arrival_offset=0.03)
    simulation = started(rows)
    task, ids = simulation.task, every(simulation)
    observation = task.observe(ids)
    assert {k: (v.shape, v.dtype) for k, v in observation.items()} == {
        "state": ((1, len(STATE_NAMES)), np.float32),
        "environment_state": ((1, len(SURROUNDINGS_NAMES)), np.float32),
    }
    checked = []

    def watch(_: int) -> None:
        now, slot = surroundings(simulation), int(task.state.current[0])
        assert all(np.isfinite(v).all() for v in now.values())
        if slot >= 2:
            assert now["load.remaining"][0] == now["carton.ready"][0] == 0
            return
        position, quaternion = task.cell.poses(ids)
        size, wanted = (
            np.array(load[slot].size),
            simulation.settings.layout.pallet_to_world(np.array(load[slot].position)),
        )
        at = position[0, slot]
        np.testing.assert_allclose([now["carton.x"][0], now["carton.y"][0]], at[:2], atol=1e-6)
        np.testing.assert_allclose(now["carton.top"][0], at[2] + size[2] / 2, atol=1e-6)
        np.testing.assert_allclose(now["carton.yaw"][0], yaw_of(quaternion[:, slot])[0], atol=1e-6)
        np.testing.assert_allclose([now[f"carton.{k}"][0] for k in ("length", "width", "height")], size, atol=1e-6)
        assert now["carton.mass"][0] == pytest.approx(load[slot].mass)
        np.testing.assert_allclose([now["target.x"][0], now["target.y"][0]], wanted[:2], atol=1e-6)
        assert now["target.support"][0] == pytest.approx(DECK_HEIGHT)
        assert now["target.yaw"][0] == pytest.approx(load[slot].yaw + np.pi / 2)
        assert now["load.remaining"][0] == 2 - slot
        assert now["carton.ready"][0] == (task.state.status[0, slot] == READY)
        assert now["load.top"][0] == pytest.approx(DECK_HEIGHT + slot * 0.2, abs=0.002)
        checked.append(slot)

    run_expert(simulation, rows, before=watch)
    assert set(checked) == {0, 1}


def test_joint_readings_and_tool_readings_come_from_the_physics() -> None:
    rows = rows_of(ONE)
    simulation = started(rows)
    ids = every(simulation)
    named = {}

    def watch(_: int) -> None:
        named.update(zip(STATE_NAMES, simulation.task.observe(ids)["state"][0].tolist(), strict=True))
        position, velocity, torque = simulation.task.cell.joints(ids)
        for what, values in (("position", position), ("velocity", velocity), ("torque", torque)):
            np.testing.assert_allclose([named[f"joint{i}.{what}"] for i in range(6)], values[0], rtol=1e-5, atol=1e-6)
        held = simulation.task.state.status[0, 0] == HELD
        assert named["suction.holding"] == held
        assert 0 <= named["suction.vacuum"] <= 1
        weights.append(named["tool.force_z"] if held else np.nan)
        sealed.append(named["suction.sealed"] if held else np.nan)

    weights: list[float] = []
    sealed: list[float] = []
    run_expert(simulation, rows, before=watch)
    assert np.nanmedian(weights) == pytest.approx(5.0 * 9.81, rel=0.1)
    assert np.nanmin(sealed) == 1.0


def test_target_support_is_the_height_of_what_is_really_below() -> None:
    load = [Box((0.0, 0.0, 0.0)), Box((0.02, 0.01, BOX[2]))]
    simulation = started(rows_of(load, pallet__prefill=1, carton__size_error=(0.0, 0.0, 0.003)))
    now = surroundings(simulation)
    assert now["target.support"][0] == pytest.approx(DECK_HEIGHT + BOX[2] + 0.003, abs=1e-4)
    assert now["load.top"][0] == pytest.approx(DECK_HEIGHT + BOX[2] + 0.003, abs=1e-4)


def test_sensor_noise_has_the_strength_of_its_knobs() -> None:
    noise = {"joint_position": 0.002, "joint_torque": 5.0, "carton_position": 0.003, "carton_yaw": 0.01}
    rows = rows_of(ONE, 2, **{f"sensor__{k}_noise": v for k, v in noise.items()})
    rows.columns["sensor.joint_position_noise"][1] = rows.columns["sensor.carton_yaw_noise"][1] = 0.0
    simulation = started(rows)
    task, ids = simulation.task, every(simulation)
    looks = [task.observe(ids) for _ in range(1500)]
    state = np.stack([o["state"] for o in looks]).astype(float)
    seen = np.stack([o["environment_state"] for o in looks]).astype(float)
    for first, strength in ((0, "joint_position"), (12, "joint_torque")):
        spread = state[:, 0, first : first + 6].std(0)
        np.testing.assert_allclose(spread, noise[strength], rtol=0.12)
    truth = np.concatenate(task.cell.joints(ids)[:1], axis=1)
    np.testing.assert_allclose(state[:, 0, :6].mean(0), truth[0], atol=4 * 0.002 / np.sqrt(1500))
    assert np.ptp(state[:, 1, :6], axis=0).max() == 0  # the second world's knob says none
    at = {n: SURROUNDINGS_NAMES.index(n) for n in SURROUNDINGS_NAMES}
    for name in ("carton.x", "carton.y", "carton.top", "target.support"):
        np.testing.assert_allclose(seen[:, 0, at[name]].std(), noise["carton_position"], rtol=0.12)
    np.testing.assert_allclose(seen[:, 0, at["carton.yaw"]].std(), noise["carton_yaw"], rtol=0.12)
    assert seen[:, 1, at["carton.yaw"]].std() < 1e-6
    # The gauge measures a carton once: the same reading as long as it is there.
    for name in ("carton.length", "carton.width", "carton.height"):
        assert np.ptp(seen[:, 0, at[name]]) == 0
        assert abs(seen[0, 0, at[name]] - BOX[("length", "width", "height").index(name[7:])]) < 5 * 0.003
    # Readings of different sensors are independent.
    correlation = np.corrcoef(state[:, 0, :18].T[[0, 1, 12]])
    assert np.abs(correlation - np.eye(3)).max() < 0.1


def test_observing_does_not_disturb_the_physics() -> None:
    one, two = started(drawn(1)), started(drawn(1))
    for _ in range(10):
        hold_home(one, 1)
        hold_home(two, 1)
        two.task.observe(every(two))
    assert one.full_state(every(one)).tobytes() == two.full_state(every(two)).tobytes()


def test_slots_beyond_the_load_stay_parked() -> None:
    rows = rows_of(ONE, settings=SETTINGS)
    simulation = started(rows)
    parked, _ = simulation.task.cell.poses(every(simulation))
    run_expert(simulation, rows)
    after, _ = simulation.task.cell.poses(every(simulation))
    np.testing.assert_array_equal(parked[0, 1:], after[0, 1:])
