"""The tote expert does each sort of work, within what the arm can do; anything else that acts does no harm."""

from __future__ import annotations

import functools

import numpy as np
from helpers import Run, run_expert
from tote_helpers import JOBS, SETTINGS, begun, jobs, short_jobs, tote_rows

from assets.combi_tool import STROKE
from sim.rotations import rotate
from sim.suction import FREE
from tasks.rollout import RANDOM, make_policy
from tasks.task import Verdict
from tasks.totes.task import DONE
from tasks.totes.variants import BREAK_DOWN, CHECK, DECANT, STACK


class Watched:
    """What happened in the worlds while the expert did the short jobs: a row per period."""

    def __init__(self) -> None:
        self.rows = short_jobs()
        self.simulation, self.task = begun(self.rows)
        n = len(self.rows)
        ids = np.arange(n)
        found = {name: [] for name in ("held", "pinched", "stage", "walls", "tote", "opening")}

        def watch(_: int) -> None:
            position, _rotation = self.task.tote_pose(ids)
            for name, value in (
                ("held", self.task.cell.suction.state.held != FREE),
                ("pinched", self.task._pinched(ids)),
                ("stage", self.task.state.stage),
                ("walls", self.task.walls(ids)),
                ("tote", position),
                ("opening", self.task.cell.finger_opening(ids)),
            ):
                found[name].append(np.array(value))

        self.run: Run = run_expert(self.simulation, self.rows, before=watch)
        self.seen = {name: np.array(value) for name, value in found.items()}
        self.rewards = np.array(self.run.rewards)
        self.events = [list(events) for events in self.task.events]
        self.verdicts: list[Verdict] = self.simulation.judge(ids)


@functools.cache
def watched() -> Watched:
    return Watched()


def test_every_sort_of_work_succeeds() -> None:
    assert [v.reasons for v in watched().verdicts] == [()] * len(JOBS)
    assert (watched().task.state.stage == DONE).all()


def test_the_whole_job_runs_through_its_stages_in_order() -> None:
    stages = [e["stage"] for e in watched().events[0] if "stage" in e]
    assert stages == [DECANT, CHECK, BREAK_DOWN, STACK, DONE]
    parts = [e["event"] for e in watched().events[0] if "part" in e]
    assert parts[-1] == "released: in the bin"
    # One part, one tote, a hundredth a second.
    periods = len(watched().rewards)
    np.testing.assert_allclose(watched().rewards[:, 0].sum(), 1.0 + 2.0 - 0.001 * periods, atol=1e-9)
    np.testing.assert_allclose(watched().rewards[:, 1].sum(), 4 * 0.5 - 0.001 * periods, atol=1e-9)


def test_walls_go_down_in_their_order() -> None:
    """Short ones first, then the long one that lies below."""
    walls = np.rad2deg(watched().seen["walls"][:, 1])
    first = [int(np.argmax(walls[:, k] > 80.0)) for k in range(4)]
    assert max(first[:2]) < first[2] < first[3]
    pushed = [int(np.argmax(walls[:, k] > 20.0)) for k in range(4)]
    assert len(set(pushed)) == 4  # one at a time


def test_a_tote_is_held_on_its_way_and_let_go_on_the_pile() -> None:
    seen = watched().seen
    for world, how in ((2, "held"), (3, "held"), (4, "pinched")):
        done = int(np.argmax(seen["stage"][:, world] == DONE))
        assert done > 0
        way = seen["tote"][:, world]
        carried = (np.abs(way - way[0]).max(1) > 0.03) & (np.abs(way - way[-1]).max(1) > 0.03)
        assert carried.sum() > 5
        in_hand = (seen["held"] | seen["pinched"])[:, world]
        assert seen[how][carried, world].all()
        # Near its place and still in hand it did not count as stacked.
        near = np.abs(way - way[-1]).max(1) < 0.01
        assert (near & in_hand & (np.arange(len(near)) < done)).any()
        assert not in_hand[done:].any()


def test_the_motion_is_one_that_the_arm_can_do() -> None:
    joints = SETTINGS.layout.arm.body.joints()
    actions = np.array(watched().run.actions, float)
    low, high = np.array([j.range for j in joints]).T
    assert (actions[..., :6] >= low).all()
    assert (actions[..., :6] <= high).all()
    fastest = np.array([j.velocity_limit for j in joints])
    home = np.broadcast_to(SETTINGS.layout.arm.home, actions[:1, :, :6].shape)
    speed = np.abs(np.diff(np.concatenate([home, actions[..., :6]]), axis=0)) / 0.1
    assert (speed <= fastest + 1e-4).all()
    assert (speed.max((0, 1)) > 0.2).all()  # it does move, every joint
    assert ((actions[..., 6] == 0.0) | (actions[..., 6] == 1.0)).all()
    assert (actions[..., 7] >= 0.0).all()
    assert (actions[..., 7] <= STROKE + 1e-6).all()
    # And the joints really went no faster.
    measured = np.array([o["state"][:, 6:12] for o in watched().run.observations])
    assert (np.abs(measured) < 1.15 * fastest).all()


def test_what_the_expert_does_hurts_nothing() -> None:
    """Its tote is carried level, and the pile it stacks onto does not move."""
    task, rows = watched().task, watched().rows
    assert task.cell.worlds.broken(np.arange(len(rows))) == [None] * len(rows)
    for world in (2, 3, 4):
        (rotation,) = task.tote_pose(np.array([world]))[1]
        assert rotate(rotation, np.array([0.0, 0.0, 1.0]))[2] > np.cos(np.deg2rad(1.5))
    fresh = begun(rows)[1]
    for world in (2, 3, 6):
        for level in range(int(rows["pile.count"][world])):
            slot = task.goods.pile[level]
            one, other = (t.cell.poses(np.array([world]))[0][0, slot] for t in (task, fresh))
            assert np.abs(one - other).max() < 0.01


def test_it_does_the_same_alone() -> None:
    """A world's run does not depend on the others, to the last bit."""
    for world in (1, 5):
        rows = short_jobs().take([world])
        simulation, _ = begun(rows)
        alone = run_expert(simulation, rows, periods=90)
        for k in range(len(alone)):
            assert alone.states[k][0].tobytes() == watched().run.states[k][world].tobytes(), k
            assert alone.actions[k][0].tobytes() == watched().run.actions[k][world].tobytes(), k


def test_a_tote_of_parts_is_poured_out() -> None:
    rows = tote_rows(1, tote__kind=2, part__count=3, decant__pour=1, stage__last=DECANT)
    simulation, task = begun(rows)
    tilts: list[float] = []
    torques: list[float] = []  # [N m] of the shoulder

    def watch(_: int) -> None:
        torques.append(float(np.abs(task.cell.joints(np.arange(1))[2][0, :3]).max()))
        (rotation,) = task.tote_pose(np.arange(1))[1]
        tilts.append(float(np.rad2deg(np.arccos(rotate(rotation, np.array([0.0, 0.0, 1.0]))[2]))))

    run_expert(simulation, rows, before=watch)
    assert simulation.judge(np.arange(1))[0].reasons == ()
    assert max(tilts) > 100.0
    assert max(torques) < 300.0  # nothing of the arm lies against the bin


def test_a_random_policy_survives() -> None:
    rows = jobs(4)
    simulation, task = begun(rows)
    policy, ids = make_policy(RANDOM, SETTINGS, 4), np.arange(4)
    policy.reset(ids, rows.numbers)
    for _ in range(80):
        seen = task.observe(ids)
        assert all(np.isfinite(value).all() for value in seen.values())
        task.advance(policy.act(seen, ids)[:, 0], ids)
    assert task.cell.worlds.broken(ids) == [None] * 4
    assert all(not v.success for v in simulation.judge(ids))


def test_nothing_to_do_is_done_without_moving() -> None:
    """A tote that does not fold is broken down already."""
    rows = tote_rows(1, tote__kind=0, stage__first=BREAK_DOWN, stage__last=BREAK_DOWN)
    simulation, task = begun(rows)
    run = run_expert(simulation, rows)
    assert len(run) < 15
    np.testing.assert_allclose(np.array(run.actions)[:, 0, :6], np.tile(task.cell.home, (len(run), 1)), atol=1e-6)
    assert simulation.judge(np.arange(1))[0].success
