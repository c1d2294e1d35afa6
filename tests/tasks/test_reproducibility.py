"""The same variant gives the same episode, bit for bit: whatever runs beside it, ran before it, and after a restore."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import tote_helpers
from helpers import SETTINGS, Run, drawn, every, hold_home, run_expert, started

from sim.knobs import Rows
from sim.suction import FREE
from tasks.families import variation_named
from tasks.rollout import make_policy
from tasks.simulation import Settings, Simulation


@dataclasses.dataclass(frozen=True)
class Kit:
    """What the tests take from one task: short work of all sorts in every world.

    Attributes:
        settings: the cell.
        table: rows ready to run.
        compared: worlds of the run that all others are compared with.
        others: rows of the table that ran in a world before.
        largest: worlds of the largest batch, which need not go to its end.
        moments: when episodes are saved [periods]; in the middle one something is held.
        longest: that a run lasts [periods].
        after: that it goes on after a restore [periods].
    """

    settings: Settings
    table: Callable[[], Rows]
    compared: int
    others: range
    largest: int
    moments: tuple[int, int, int]
    longest: int = 10_000
    after: int = 10_000

    @functools.cached_property
    def rows(self) -> Rows:
        return self.table()

    @functools.cached_property
    def reference(self) -> Run:
        rows = self.rows.take(range(self.compared))
        return run_expert(self.started(rows), rows, periods=self.longest)

    def started(self, rows: Rows, nthread: int = 1) -> Simulation:
        return started(rows, self.settings, nthread)


KITS = {
    # Three cartons each, of which one stands already.
    "palletizing": Kit(SETTINGS, lambda: drawn(32, prefill=1), 8, range(20, 24), 32, (12, 65, 130)),
    "tote_breakdown": Kit(
        tote_helpers.SETTINGS, lambda: tote_helpers.jobs(12), 8, range(8, 12), 12, (12, 48, 100), longest=140, after=60
    ),
}


@pytest.fixture(params=sorted(KITS), scope="module")
def kit(request: pytest.FixtureRequest) -> Kit:
    return KITS[request.param]


def same(one: Run, world: int, other: Run, there: int, first: int = 0) -> None:
    """Compare a world of one run with a world of another, as long as both lasted."""
    n = min(len(one) - first, len(other))
    assert n > 20
    for k in range(n):
        a, b = k + first, k
        assert one.states[a][world].tobytes() == other.states[b][there].tobytes(), f"state differs at period {k}"
        for name in one.observations[a]:
            mine, its = one.observations[a][name][world], other.observations[b][name][there]
            assert mine.tobytes() == its.tobytes(), f"{name} differs at period {k}"
        assert one.actions[a][world].tobytes() == other.actions[b][there].tobytes(), f"action differs at period {k}"
        assert one.rewards[a][world].tobytes() == other.rewards[b][there].tobytes(), f"reward differs at period {k}"


@pytest.mark.parametrize("task", sorted(KITS))
def test_rows_do_not_depend_on_what_is_drawn_with_them(task: str) -> None:
    nominal = variation_named("nominal", Settings(task, slots=24).knobs, task)
    many = nominal.sample(11, np.arange(32))
    for some in (np.array([5]), np.arange(8), np.array([30, 2, 7])):
        few = nominal.sample(11, some)
        for name in many.columns:
            assert few[name].tobytes() == many[name][some].tobytes(), name


@pytest.mark.parametrize(("worlds", "threads"), [(1, 1), (1, 2), (8, 2), (None, 2)])
def test_number_of_worlds_and_threads(kit: Kit, worlds: int | None, threads: int) -> None:
    rows = kit.rows.take(range(worlds or kit.largest))
    run = run_expert(kit.started(rows, threads), rows, periods=kit.longest if worlds else 130)
    for world in range(min(len(rows), kit.compared)):
        same(kit.reference, world, run, world)


def test_order_of_worlds(kit: Kit) -> None:
    order = np.array([6, 2, 0, 7])
    rows = kit.rows.take(order)
    run = run_expert(kit.started(rows), rows, periods=kit.longest)
    for k, world in enumerate(order):
        same(kit.reference, world, run, k)


def test_what_ran_there_before(kit: Kit) -> None:
    """Nothing of an episode leaks into the next one: no load, no held thing, no folded wall, no noise, no speed."""
    rows, other = kit.rows.take(range(4)), kit.rows.take(kit.others)
    simulation = kit.started(other)
    for periods in (30, 95):
        simulation.task.apply(other, every(simulation))
        run_expert(simulation, other, periods=periods)
    simulation.judge(np.array([0, 2]))
    simulation.task.apply(rows, every(simulation))
    run = run_expert(simulation, rows, periods=kit.longest)
    for world in range(4):
        same(kit.reference, world, run, world)


def test_worlds_that_are_reset_one_by_one(kit: Kit) -> None:
    """A world takes up a variant while its neighbour is in the middle of another."""
    rows = kit.rows.take(range(3))
    simulation = kit.started(rows)
    hold_home(simulation, 17)
    simulation.task.apply(rows.take([1]), np.array([1]))
    one, ids = Run(), np.array([1])
    expert = make_policy("expert", kit.settings, 3)
    expert.reset(np.arange(3), rows.numbers)
    for _ in range(100):
        seen = simulation.task.observe(ids)
        action = expert.act(seen, ids)[:, 0].astype(np.float32)
        one.states.append(simulation.full_state(ids))
        both = np.zeros((3, action.shape[1]))
        both[:, :6] = simulation.cell.home
        both[1] = action[0]
        one.rewards.append(simulation.task.advance(both, np.arange(3))[1:2])
        one.observations.append(seen)
        one.actions.append(action)
    same(kit.reference, 1, one, 0)


# ---- save and restore ------------------------------------------------------------------------------------------------


class Recorded:
    """Does what a policy did before: what it remembered is its own business (fits the `Policy` contract)."""

    def __init__(self, run: Run, first: int = 0):
        """Repeat the actions of `run` from period `first`."""
        self.actions = iter(run.actions[first:])

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Nothing to forget."""

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        return next(self.actions)[:, None]


def halfway(kit: Kit, until: int, after: int | None = None) -> tuple[Simulation, Rows, Run]:
    """Return three worlds in the middle of their work, and how the expert goes on from there in worlds like them."""
    rows = kit.rows.take(range(3))
    straight = kit.started(rows)
    expert = make_policy("expert", kit.settings, 3)
    expert.reset(every(straight), rows.numbers)
    run_expert(straight, rows, periods=until, expert=expert)
    straight.save(every(straight))  # a saved world goes on as a restored one does
    run = run_expert(straight, rows, periods=kit.after if after is None else after, expert=expert)
    simulation = kit.started(rows)
    run_expert(simulation, rows, periods=until)
    return simulation, rows, run


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_save_and_restore_in_the_middle_of_an_episode(kit: Kit, moment: int) -> None:
    simulation, rows, went_on = halfway(kit, kit.moments[moment])
    ids = every(simulation)
    if moment == 1:
        assert (simulation.cell.suction.state.held != FREE).any()  # carried in mid-air
    saved, log = simulation.save(ids), copy.deepcopy(simulation.task.events)
    # What happens in these worlds in the meantime must not show.
    hold_home(simulation, 20)
    simulation.judge(ids[1:])

    simulation.restore(saved, ids)
    assert simulation.task.events == log
    again = run_expert(simulation, rows, periods=len(went_on), expert=Recorded(went_on))
    for world in range(3):
        same(went_on, world, again, world)
    assert len(went_on) == len(again)
    ended = copy.deepcopy(simulation.task.events)
    assert ended != log

    # In new worlds that were given the same rows; the state went over the wire.
    elsewhere = kit.started(rows, 2)
    elsewhere.restore(pickle.loads(pickle.dumps(saved)), ids)
    anew = run_expert(elsewhere, rows, periods=len(went_on), expert=Recorded(went_on))
    for world in range(3):
        same(went_on, world, anew, world)
    assert elsewhere.task.events == ended
    verdicts = [v.to_dict() for v in elsewhere.judge(ids)]
    assert verdicts == [v.to_dict() for v in simulation.judge(ids)]


def test_some_worlds_are_restored_and_the_others_go_on(kit: Kit) -> None:
    simulation, rows, went_on = halfway(kit, 40, 60)
    ids = every(simulation)
    simulation.save(ids)
    saved = simulation.save(np.array([1]))
    straight = run_expert(simulation, rows, periods=30, expert=Recorded(went_on))
    simulation.restore(saved, np.array([1]))
    # World 1 lives through the 30 periods again, the others go on.
    mixed = Run(actions=[a.copy() for a in went_on.actions[30:60]])
    for k, action in enumerate(mixed.actions):
        action[1] = went_on.actions[k][1]
    again = run_expert(simulation, rows, periods=30, expert=Recorded(mixed))
    same(straight, 1, again, 1)
    # The others are where they would be without it.
    undisturbed, rows, _ = halfway(kit, 40, 0)
    undisturbed.save(ids)
    undisturbed.save(np.array([1]))
    run = run_expert(undisturbed, rows, periods=60, expert=Recorded(went_on))
    for world in (0, 2):
        same(run, world, again, world, first=30)


def test_saving_copies(kit: Kit) -> None:
    simulation, *_ = halfway(kit, 20, 0)
    ids = every(simulation)
    saved = simulation.save(ids)
    kept = pickle.dumps(saved)
    hold_home(simulation, 20)
    simulation.task.observe(ids)
    assert pickle.dumps(saved) == kept
