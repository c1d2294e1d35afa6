"""The expert: it fills pallets, moves within what the arm can do, and does not give up."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SMALL, Box, drawn, events, every, rows_of, run_expert, started

from tasks.palletizing.cell import Layout
from tasks.palletizing.expert import PalletizingExpert
from tasks.palletizing.task import HELD, LOST, RELEASED
from tasks.simulation import Settings

MIXED = {**SMALL, "carton": {**SMALL["carton"], "count": {"uniform": [3, 5]}}}
ACCELERATION, JERK = 8.0, 60.0  # [rad/s2], [rad/s3] of the targets' finite differences; measured 6.2 and 46
UR20 = Layout()
UR10E = Layout(robot="ur10e", base_height=0.90, pallet_distance=0.75, height_limit=1.2)


@pytest.mark.parametrize("layout", [UR20, UR10E], ids=lambda layout: layout.robot)
def test_random_pallets_are_filled_by_smooth_motion(layout: Layout) -> None:
    settings = Settings(layout=layout, slots=5)
    rows = drawn(8, settings=settings, says=MIXED)
    simulation = started(rows, settings, nthread=2)
    run = run_expert(simulation, rows)
    verdicts = simulation.judge(every(simulation))
    assert [v.reasons for v in verdicts] == [()] * 8
    assert max(v.position_error.max() for v in verdicts) < 0.01

    joints = layout.arm.body.joints()
    targets = np.array([a[:, :6] for a in run.actions], dtype=float)
    targets = np.concatenate([np.tile(layout.arm.home, (1, 8, 1)), targets])
    low, high = np.array([j.range for j in joints]).T
    assert (targets >= low).all()
    assert (targets <= high).all()
    velocity = np.diff(targets, axis=0) / 0.1
    assert (np.abs(velocity).max((0, 1)) <= [j.velocity_limit for j in joints]).all()
    acceleration = np.diff(velocity, axis=0) / 0.1
    assert np.abs(acceleration).max() < ACCELERATION
    assert np.abs(np.diff(acceleration, axis=0) / 0.1).max() < JERK
    assert set(np.unique([a[:, 6] for a in run.actions])) == {0.0, 1.0}


def test_the_arm_follows_its_targets() -> None:
    rows = drawn(2)
    simulation = started(rows)
    run = run_expert(simulation, rows)
    measured = np.array([o["state"][:, :6] for o in run.observations], dtype=float)
    targets = np.array([a[:, :6] for a in run.actions], dtype=float)
    # The command runs half a period and the latency behind; a period and a half at full speed is 0.3 rad.
    assert np.abs(measured[2:] - targets[:-2]).max() < 0.3


def test_it_tries_again_when_the_seal_fails() -> None:
    rows = rows_of([Box()])
    simulation = started(rows)
    suction, task = simulation.task.cell.suction, simulation.task
    tries = np.zeros(2, dtype=int)  # pump switched on; while the cups leak

    def leak(_: int) -> None:
        on = bool(expert.work.suction[0])
        tries[0] += on and not was[0]
        was[0] = on
        # The first time the cups find nothing to seal against.
        suction.half_size[0] = task.size[0] / 2 if tries[0] > 1 else 0.0

    was = [False]
    expert = PalletizingExpert(simulation.settings.layout, 1)
    expert.reset(every(simulation), rows.numbers)
    run_expert(simulation, rows, expert=expert, before=leak)
    assert tries[0] == 2
    assert [what for _, what in events(simulation)] == ["arrived", "attached", "released"]
    assert simulation.judge(every(simulation))[0].success


def test_it_goes_on_with_the_next_carton_after_losing_one_on_the_way() -> None:
    load = [Box((-0.3, 0.0, 0.0)), Box((0.3, 0.0, 0.0))]
    rows = rows_of(load)
    simulation = started(rows)
    task = simulation.task
    periods_held = [0]

    def lose(_: int) -> None:
        held = task.state.status[0, 0] == HELD
        periods_held[0] += held
        task.cell.suction.max_force[0] = 1.0 if held and periods_held[0] > 20 else 650.0

    run_expert(simulation, rows, before=lose)
    assert task.state.status[0, :2].tolist() == [LOST, RELEASED]
    position, _ = task.cell.poses(every(simulation))
    np.testing.assert_allclose(position[0, 1, :2], task.target[0, 1, :2], atol=0.01)


def test_worlds_do_not_influence_each_other() -> None:
    rows = drawn(3)
    together = run_expert(started(rows), rows)
    for world in range(3):
        alone = run_expert(started(rows.take([world])), rows.take([world]))
        shared = np.array(together.actions)[: len(alone), world]
        assert shared.tobytes() == np.array(alone.actions)[:, 0].tobytes()


def test_a_reset_forgets_the_episode_before() -> None:
    rows = drawn(2)
    simulation = started(rows.take([0]))
    expert = PalletizingExpert(simulation.settings.layout, 1)
    expert.reset(np.array([0]), rows.numbers[:1])
    run_expert(simulation, rows.take([0]), periods=70, expert=expert)
    simulation.task.apply(rows.take([1]), np.array([0]))
    expert.reset(np.array([0]), rows.numbers[1:])
    again = run_expert(simulation, rows.take([1]), expert=expert)
    fresh = run_expert(started(rows.take([1])), rows.take([1]))
    assert np.array(again.actions).tobytes() == np.array(fresh.actions).tobytes()
