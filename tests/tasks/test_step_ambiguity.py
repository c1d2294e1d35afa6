"""Step ambiguity: the expert succeeds; after each lift all looks and reads the same; what goes wrong is called so."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from memory_lab import Observation, Played, alike, drawn, goes_on_as_before, play, rows_of, settings_of

from assets.errors import InputError
from tasks.families import variation_named
from tasks.memory.step_ambiguity import INSTRUCTIONS, KNOWN, RIGHT, by_chance

TASK = "step_ambiguity"
PLAIN, SEEN = settings_of(TASK), settings_of(TASK, pictures=True)


def rests(played: Played) -> list[int]:
    """Return the last period of each rest in the middle: the arm has been told the same for some time."""
    still = [bool((a == b).all()) for a, b in zip(played.actions, played.actions[1:], strict=False)]
    return [k for k in range(6, len(still)) if all(still[k - 6 : k]) and not still[k]]


@functools.cache
def thrice() -> Played:
    rows = rows_of(PLAIN, 1, repeat__count=3)
    ends = rests(play(rows, PLAIN))
    return play(rows, SEEN, pictured=lambda period: any(end - 3 <= period <= end for end in ends))


def test_the_expert_succeeds() -> None:
    rows = drawn(PLAIN, 12)
    played = play(rows, PLAIN)
    assert [v.reasons for v in played.simulation.judge(np.arange(12))] == [()] * 12
    done = [(e["carton"], e["event"]) for e in played.simulation.task.events[0]]
    assert done == [(0, "attached"), (0, "released"), (0, "attached"), (0, "released"), (1, "attached")]
    assert len(played.actions) * 0.1 < 20.0


def test_after_each_lift_all_looks_and_reads_the_same() -> None:
    played = thrice()
    ends = rests(played)
    assert len(ends) == 4  # before the first lift, and after each of three
    known = [played.observations[end]["environment_state"][0, KNOWN.index("repeat.done")] for end in ends]
    assert known == [0.0, 1.0, 2.0, 3.0]
    for back in range(4):
        alike(played, ends[1] - back, ends[2] - back, 0, 0)
        alike(played, ends[1] - back, ends[3] - back, 0, 0)
    # After the first two the arm goes to the left, then to the right.
    goes = [played.actions[end + 4][0, 0] - played.actions[end][0, 0] for end in ends]
    assert (np.sign(goes) == [1, 1, 1, -1]).all()
    assert played.simulation.judge(np.arange(1))[0].success


def told_to_lift(times: float) -> tuple[str, ...]:
    """Return what is wrong where an expert lifts the carton so often, instead of twice."""

    def told(seen: Observation) -> Observation:
        seen["environment_state"][:, KNOWN.index("repeat.count")] = times
        return seen

    return play(rows_of(PLAIN), PLAIN, told=told).simulation.judge(np.arange(1))[0].reasons


def test_too_seldom_and_too_often_are_called_so() -> None:
    assert told_to_lift(1.0) == ("carton 0 lifted too seldom (1 of 2)",)
    assert told_to_lift(3.0) == ("carton 0 lifted too often (3 of 2)", f"carton {RIGHT} not taken up")


def test_the_instruction_says_how_often_not_how_often_already() -> None:
    played = thrice()
    assert played.simulation.task.instruction(np.array([0])) == [INSTRUCTIONS[2]]


def test_the_best_without_a_memory() -> None:
    chances = [max((1 - p) ** (n - 1) * p for p in np.linspace(0, 1, 3001)) for n in (1, 2, 3)]
    np.testing.assert_allclose([by_chance(n) for n in (1, 2, 3)], chances, atol=1e-6)
    assert by_chance(2) == 0.25


def test_restored_worlds_go_on_bit_for_bit() -> None:
    """Saved with the carton in hand."""
    rows = drawn(SEEN, 2)
    goes_on_as_before(rows, SEEN, saved_at=50, after=20)


def test_rows_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"there are two cartons, the scene has 1 slot: set task.slots=2"):
        PLAIN.family.prepare(rows_of(PLAIN), PLAIN.layout, 1)
    rows = variation_named("nominal", PLAIN.knobs, TASK).sample(0, [0]).replaced(repeat__count=np.array([4.0]))
    with pytest.raises(InputError, match=r"repeat.count = 4 1 lies outside its bounds 1 … 3"):
        rows.check("table")
