"""The same variant gives the same episode, bit for bit: whatever runs beside it, ran before it, and after a restore."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest
from helpers import SETTINGS, Run, drawn, every, hold_home, run_expert, started

from sim.knobs import Rows
from tasks.families import variation_named
from tasks.palletizing.expert import PalletizingExpert
from tasks.palletizing.task import HELD
from tasks.palletizing.variants import palletizing_knobs
from tasks.simulation import Simulation


@functools.cache
def table() -> Rows:
    """Three cartons each, of which one stands already."""
    return drawn(32, prefill=1)


@functools.cache
def reference() -> Run:
    return run_expert(started(table().take(range(8))), table().take(range(8)))


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


def test_rows_do_not_depend_on_what_is_drawn_with_them() -> None:
    nominal = variation_named("nominal", palletizing_knobs(24), "palletizing")
    many = nominal.sample(11, np.arange(32))
    for some in (np.array([5]), np.arange(8), np.array([30, 2, 7])):
        few = nominal.sample(11, some)
        for name in many.columns:
            assert few[name].tobytes() == many[name][some].tobytes(), name


@pytest.mark.parametrize(("worlds", "threads"), [(1, 1), (1, 2), (8, 2), (32, 2)])
def test_number_of_worlds_and_threads(worlds: int, threads: int) -> None:
    rows = table().take(range(worlds))
    # The whole batch of 32 need not go to its end.
    run = run_expert(started(rows, nthread=threads), rows, periods=10_000 if worlds <= 8 else 130)
    for world in range(min(worlds, 8)):
        same(reference(), world, run, world)


def test_order_of_worlds() -> None:
    order = np.array([6, 2, 0, 7])
    rows = table().take(order)
    run = run_expert(started(rows), rows)
    for k, world in enumerate(order):
        same(reference(), world, run, k)


def test_what_ran_there_before() -> None:
    """Nothing of an episode leaks into the next one: no load, no held carton, no sensor noise, no fast joint."""
    rows, other = table().take(range(4)), table().take(range(20, 24))
    simulation = started(other)
    for periods in (30, 95):
        simulation.task.apply(other, every(simulation))
        run_expert(simulation, other, periods=periods)
    simulation.judge(np.array([0, 2]))
    simulation.task.apply(rows, every(simulation))
    run = run_expert(simulation, rows)
    for world in range(4):
        same(reference(), world, run, world)


def test_worlds_that_are_reset_one_by_one() -> None:
    """A world takes up a variant while its neighbour is in the middle of another."""
    rows = table().take(range(3))
    simulation = started(rows)
    hold_home(simulation, 17)
    simulation.task.apply(rows.take([1]), np.array([1]))
    one, ids = Run(), np.array([1])
    expert = PalletizingExpert(SETTINGS.layout, 3)
    expert.reset(np.arange(3), rows.numbers)
    for _ in range(100):
        seen = simulation.task.observe(ids)
        action = expert.act(seen, ids)[:, 0].astype(np.float32)
        one.states.append(simulation.full_state(ids))
        both = np.tile(np.append(simulation.task.cell.home, 0.0), (3, 1))
        both[1] = action[0]
        one.rewards.append(simulation.task.advance(both, np.arange(3))[1:2])
        one.observations.append(seen)
        one.actions.append(action)
    same(reference(), 1, one, 0)


# ---- save and restore ------------------------------------------------------------------------------------------------


def twin_of(expert: PalletizingExpert) -> PalletizingExpert:
    """A second expert in the same state: what a policy remembers is its own business."""
    made = PalletizingExpert(expert.layout, len(expert.work.phase))
    made.work, made._segments = copy.deepcopy(expert.work), list(expert._segments)
    return made


def halfway(until: int) -> tuple[Simulation, Rows, PalletizingExpert]:
    rows = table().take(range(3))
    simulation = started(rows)
    expert = PalletizingExpert(SETTINGS.layout, 3)
    expert.reset(every(simulation), rows.numbers)
    run_expert(simulation, rows, periods=until, expert=expert)
    return simulation, rows, expert


@pytest.mark.parametrize("until", [12, 65, 130])
def test_save_and_restore_in_the_middle_of_an_episode(until: int) -> None:
    simulation, rows, expert = halfway(until)
    ids = every(simulation)
    if until == 65:
        assert (simulation.task.state.status == HELD).any()  # carried in mid-air
    saved, twins = simulation.save(ids), [twin_of(expert) for _ in range(3)]
    log = copy.deepcopy(simulation.task.events)
    went_on = run_expert(simulation, rows, expert=expert)
    ended = copy.deepcopy(simulation.task.events)
    assert ended != log

    # In the same worlds, with all that has happened since.
    simulation.judge(ids)
    simulation.restore(saved, ids)
    assert simulation.task.events == log
    again = run_expert(simulation, rows, expert=twins[0])
    for world in range(3):
        same(went_on, world, again, world)
    assert len(went_on) == len(again)
    assert simulation.task.events == ended

    # In new worlds that were given the same rows; the state went over the wire.
    elsewhere = started(rows, nthread=2)
    elsewhere.restore(pickle.loads(pickle.dumps(saved)), ids)
    anew = run_expert(elsewhere, rows, expert=twins[1])
    for world in range(3):
        same(went_on, world, anew, world)
    assert elsewhere.task.events == ended
    verdicts = [v.to_dict() for v in elsewhere.judge(ids)]
    assert verdicts == [v.to_dict() for v in simulation.judge(ids)]


def test_some_worlds_are_restored_and_the_others_go_on() -> None:
    simulation, rows, expert = halfway(40)
    ids = every(simulation)
    simulation.save(ids)
    saved, twin = simulation.save(np.array([1])), twin_of(expert)
    straight = run_expert(simulation, rows, periods=30, expert=expert)
    simulation.restore(saved, np.array([1]))
    # World 1 lives through the 30 periods again, the others go on; the expert's memory is put together likewise.
    for name in vars(twin.work):
        getattr(expert.work, name)[1] = getattr(twin.work, name)[1]
    expert._segments[1] = twin._segments[1]
    again = run_expert(simulation, rows, periods=30, expert=expert)
    same(straight, 1, again, 1)
    # The others are where they would be without it.
    undisturbed, rows, expert = halfway(40)
    undisturbed.save(ids)
    undisturbed.save(np.array([1]))
    run = run_expert(undisturbed, rows, periods=60, expert=expert)
    for world in (0, 2):
        same(run, world, again, world, first=30)


def test_saving_copies() -> None:
    simulation, *_ = halfway(20)
    ids = every(simulation)
    saved = simulation.save(ids)
    kept = pickle.dumps(saved)
    hold_home(simulation, 20)
    simulation.task.observe(ids)
    assert pickle.dumps(saved) == kept
