"""Shown arrangement: the expert does as shown; when it begins nothing of the demonstration is left."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from helpers import started
from memory_lab import Observation, Played, alike, drawn, goes_on_as_before, play, rows_of, same_pictures, settings_of

from assets.errors import InputError
from sim.scene import PARKING
from tasks.families import variation_named
from tasks.memory.demonstration import demonstration
from tasks.memory.shown_arrangement import ARRANGEMENTS, KNOWN, PLACES, TOLERANCE

TASK = "shown_arrangement"
PLAIN, SEEN = settings_of(TASK), settings_of(TASK, pictures=True)
SHOWING = 58  # a period in which the second carton is being put down


@functools.cache
def pair() -> Played:
    """Two worlds that differ in one number: the arrangement that is shown."""
    rows = rows_of(PLAIN, 2, shown__arrangement=[0, 10])
    choice = play(rows, PLAIN).parting()
    return play(rows, SEEN, pictured=lambda period: choice - 10 <= period <= choice or period == SHOWING)


def test_the_expert_does_as_shown() -> None:
    rows = drawn(PLAIN, 12).replaced(shown__arrangement=np.arange(12.0))
    played = play(rows, PLAIN)
    verdicts = played.simulation.judge(np.arange(12))
    assert [v.reasons for v in verdicts] == [()] * 12
    position = played.simulation.cell.poses(np.arange(12))[0]
    places = PLAIN.layout.on_bench(PLACES)[ARRANGEMENTS[rows["shown.arrangement"].astype(int)]]
    assert np.abs(position - places)[..., :2].max() < TOLERANCE / 2
    assert len(played.actions) * 0.1 < 25.0


def test_nothing_is_left_of_the_demonstration_when_the_arm_begins() -> None:
    played = pair()
    choice = played.parting()
    for period in range(choice - 10, choice + 1):  # a second and more
        alike(played, period, period, 0, 1)
    assert [v.reasons for v in played.simulation.judge(np.arange(2))] == [(), ()]


def test_the_demonstration_tells() -> None:
    showing = pair().pictures[SHOWING]
    assert not same_pictures(showing, showing, 0, 1)
    robot = pair().robot(SHOWING)
    np.testing.assert_array_equal(robot[0], robot[1])  # the arm's readings do not


def test_the_hand_puts_the_cartons_where_the_arm_is_to_put_its_own() -> None:
    rows = rows_of(PLAIN, 12, shown__arrangement=np.arange(12.0))
    simulation, ids = started(rows, PLAIN), np.arange(12)
    task, worlds = simulation.task, simulation.worlds
    home = np.tile(np.append(simulation.cell.home, 0.0), (12, 1))
    last = np.zeros((12, 2, 3))
    over = np.zeros(12, dtype=bool)
    while not over.all():
        last = worlds.mocap_pos[:, 1:3].copy()
        task.advance(home, ids)
        over = task.observe(ids)["environment_state"][:, KNOWN.index("shown.over")] > 0.5
    places = PLAIN.layout.on_bench(PLACES)[ARRANGEMENTS]
    np.testing.assert_allclose(last[..., :2], places[..., :2], atol=1e-9)
    np.testing.assert_allclose(last[..., 2] - 0.06, places[..., 2], atol=1e-9)
    np.testing.assert_array_equal(worlds.mocap_pos, np.broadcast_to([*PARKING, 0.0], (12, 3, 3)))
    # Seen, never felt: the arm's own cartons stand where they stood.
    assert np.abs(simulation.cell.poses(ids)[0] - started(rows, PLAIN).cell.poses(ids)[0]).max() < 1e-3


def test_a_demonstration_is_smooth_and_runs_at_its_pace() -> None:
    starts, goals = np.array([[0.0, 0.5, 0.4]]), np.array([[0.2, 0.0, 0.4]])
    usual, fast = (demonstration(starts, goals, np.array([0.12]), pace) for pace in (1.0, 1.5))
    assert len(fast) == pytest.approx(len(usual) / 1.5, abs=1)
    assert np.abs(np.diff(usual[:, 0], axis=0)).max() < 0.16  # the hand, in a tenth of a second
    carton = usual[:, 1]
    np.testing.assert_allclose(carton[0], starts[0])
    np.testing.assert_allclose(carton[-1], goals[0], atol=1e-12)
    moving = np.flatnonzero(np.abs(np.diff(carton, axis=0)).max(1) > 1e-9)
    held = usual[moving[0] + 1 : moving[-1] + 1]
    np.testing.assert_allclose(held[:, 0] - held[:, 1], np.tile(held[0, 0] - held[0, 1], (len(held), 1)), atol=1e-9)


def test_another_arrangement_is_called_so() -> None:
    """The expert is told two places of its own: the first carton in the second's, the second beside a place."""
    goal = [PLAIN.layout.on_bench(PLACES)[k] for k in ARRANGEMENTS[0][::-1]]

    def told(seen: Observation) -> Observation:
        at = KNOWN.index("goal0.x")
        seen["environment_state"][:, at : at + 4] = [*goal[0][:2], goal[1][0], goal[1][1] + 0.05]
        return seen

    played = play(rows_of(PLAIN, 1, shown__arrangement=0), PLAIN, told=told)
    (verdict,) = played.simulation.judge(np.arange(1))
    assert verdict.reasons[0] == "carton 0 in another place"
    assert verdict.reasons[1].startswith("carton 1 off by ")
    assert verdict.to_dict()["placed"] == 0


def test_arrangements_that_training_never_shows() -> None:
    """Nominal and unseen draw different ones; places alone are all shown."""
    draws = {
        name: set(variation_named(name, PLAIN.knobs, TASK).sample(0, np.arange(200))["shown.arrangement"].astype(int))
        for name in ("nominal", "wide", "unseen")
    }
    assert draws["nominal"] == draws["wide"]
    assert not draws["nominal"] & draws["unseen"]
    assert draws["nominal"] | draws["unseen"] == set(range(12))
    assert all(set(ARRANGEMENTS[list(draws["nominal"]), k]) == {0, 1, 2, 3} for k in (0, 1))


@pytest.mark.parametrize("saved_at", [30, 120])
def test_restored_worlds_go_on_bit_for_bit(saved_at: int) -> None:
    """Saved while the hand carries something, and while the arm does."""
    goes_on_as_before(rows_of(SEEN, 2, shown__arrangement=[3, 10]), SEEN, saved_at, after=6)


def test_rows_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"a row has 2 cartons, the scene has 1: set task.slots=2"):
        PLAIN.family.prepare(rows_of(PLAIN), PLAIN.layout, 1)
    rows = variation_named("nominal", PLAIN.knobs, TASK).sample(0, [0]).replaced(shown__arrangement=np.array([12.0]))
    with pytest.raises(InputError, match=r"shown.arrangement = 12 index lies outside its bounds 0 … 11"):
        rows.check("table")
