"""The books of the loop: what is asked when, from which frames, and how a decision goes on where the last one ended."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dva_lab import HOME, RHYTHM, SPEED, Walker, fly, seen

from assets.errors import InputError
from policies.dva.leapfrog import Flight, Rhythm


def flight(lead: int = RHYTHM.lead, hold: np.ndarray = HOME) -> Flight:
    found = Flight(dataclasses.replace(RHYTHM, lead=lead), world=3)
    found.begin(hold, episode=17, task=1)
    return found


def test_a_chunk_is_inferred_while_the_one_before_is_executed() -> None:
    decider, chunk = Walker(), RHYTHM.chunk * RHYTHM.stride
    done = fly(flight(), decider, 4 * chunk)
    # Boundary k: asked with the frames up to 4 k, executed from 4 (k + 1) on.
    assert [q.newest for q in decider.questions] == [0, 4, 8, 12]
    assert [q.first for q in decider.questions] == [0, 1, 5, 9]
    assert [len(q.in_flight) for q in decider.questions] == [4, 4, 4, 4]
    assert (done[:chunk] == HOME).all()
    for k, question in enumerate(decider.questions[:3]):
        np.testing.assert_array_equal(question.in_flight.reshape(chunk, -1), done[k * chunk : (k + 1) * chunk])
        inferred = decider._chunk(question).reshape(chunk, -1)
        np.testing.assert_array_equal(done[(k + 1) * chunk : (k + 2) * chunk], inferred)
    assert {(q.world, q.episode, q.task) for q in decider.questions} == {(3, 17, 1)}
    assert [q.number for q in decider.questions] == [1, 2, 3, 4]


@pytest.mark.parametrize("lead", range(RHYTHM.chunk + 1))
def test_consecutive_decisions_agree_whatever_the_lead(lead: int) -> None:
    decider = Walker()
    done = fly(flight(lead), decider, 80)
    moving = done[lead * RHYTHM.stride :]
    steps = np.diff(moving, axis=0)
    np.testing.assert_allclose(np.abs(steps), SPEED, rtol=1e-3)
    assert [len(q.in_flight) for q in decider.questions] == [lead] * len(decider.questions)
    # The frames of a question are as new as the lead allows.
    assert [q.newest + lead for q in decider.questions] == [lead + 4 * k for k in range(len(decider.questions))]


def test_a_decider_that_ignores_what_is_in_flight_would_jump() -> None:
    steps = np.abs(np.diff(fly(flight(), Walker(blind=True), 80), axis=0))
    assert steps.max() > 5 * SPEED


def test_every_frame_comes_once_with_the_actions_that_led_to_it() -> None:
    decider = Walker()
    done = fly(flight(2), decider, 61)
    led = np.concatenate([q.led for q in decider.questions])
    proprio = np.concatenate([q.proprio for q in decider.questions])
    assert (led[0] == 0).all()
    n = len(led) - 1
    np.testing.assert_array_equal(led[1:], done[: n * RHYTHM.stride].reshape(n, RHYTHM.stride, -1))
    np.testing.assert_array_equal(proprio[1:], led[1:, -1])
    pictures = np.concatenate([q.pictures["cell"] for q in decider.questions])
    assert pictures.shape == (n + 1, 4, 4, 3)
    assert pictures.dtype == np.uint8


def go(books: Flight, frames: int) -> list[np.ndarray]:
    """Execute frames without asking."""
    done = []
    for _ in range(frames * RHYTHM.stride):
        if books.at_frame:
            books.see(seen(HOME))
        done.append(books.next())
    return done


def test_a_late_chunk_finds_the_arm_holding_and_begins_at_its_beginning() -> None:
    books, decider = flight(), Walker()
    books.see(seen(HOME))
    question = books.ask()
    assert not books.due
    for _ in range(RHYTHM.stride):
        books.next()
    held = go(books, 3 + 2)
    assert books.held == 2
    assert (np.array(held) == HOME).all()
    chunk = decider.decide([question])[0]
    assert books.answer(question, chunk)
    np.testing.assert_array_equal(go(books, 4), chunk.reshape(8, -1))
    assert books.held == 0


def test_holding_repeats_the_last_action_with_its_tool_commands() -> None:
    books = flight(1, np.array([0.5, 1.0]))
    go(books, 1)
    books.see(seen(HOME))
    question = books.ask()
    chunk = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    books.answer(question, chunk)
    go(books, 4)
    np.testing.assert_array_equal(go(books, 2), np.repeat(chunk[-1:, -1], 4, axis=0))
    np.testing.assert_array_equal(books.rest(), chunk[-1:, -1])


def test_answers_that_nobody_waits_for_are_passed_over() -> None:
    books, decider = flight(), Walker()
    books.see(seen(HOME))
    first = books.ask()
    books.lost(first)
    assert books.due
    go(books, 0)
    books.next(), books.next()
    books.see(seen(HOME))
    second = books.ask()
    assert not books.answer(first, decider.decide([first])[0])
    assert books.answer(second, decider.decide([second])[0])
    assert not books.answer(second, decider.decide([second])[0])  # doubled
    assert books.ahead == 3 + 4
    # What the lost question held came with the next one.
    assert (second.first, second.newest, len(second.in_flight)) == (0, 1, 3)


def test_frames_seen_while_a_decision_is_made_come_with_the_next() -> None:
    books, decider = flight(), Walker()
    books.see(seen(HOME))
    question = books.ask()
    books.next(), books.next()
    go(books, 2)
    books.answer(question, decider.decide([question])[0])
    go(books, 1)
    books.see(seen(HOME))
    following = books.ask()
    assert (following.first, following.newest) == (1, 4)


def test_an_answer_from_before_a_new_beginning_is_stale() -> None:
    books, decider = flight(), Walker()
    books.see(seen(HOME))
    old = books.ask()
    books.begin(HOME)
    books.see(seen(HOME))
    assert not books.answer(old, decider.decide([old])[0])
    new = books.ask()
    assert new.first == 0
    assert new.number > old.number


def test_what_is_left_is_told() -> None:
    books, decider = flight(), Walker()
    done = fly(books, decider, 3)
    rest = books.rest()
    assert len(rest) == 8 + 8 - 3
    np.testing.assert_array_equal(np.concatenate([done, rest]), fly(flight(), Walker(), 16))


@pytest.mark.parametrize(
    ("chunk", "says"),
    [
        (np.zeros((4, 2, 3)), r"shape \(4, 2, 3\)"),
        (np.zeros((3, 2, 2)), r"\(4, 2, 2\) \(frames, actions, names\) was expected"),
        (np.full((4, 2, 2), np.nan), "not a finite number"),
    ],
)
def test_a_bad_decision_is_refused(chunk: np.ndarray, says: str) -> None:
    books = flight()
    books.see(seen(HOME))
    with pytest.raises(InputError, match=says):
        books.answer(books.ask(), chunk)
    assert books.ahead == 4


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lead": 5}, "lead = 5 must lie in 0 … 4"),
        ({"lead": -1}, "lead = -1"),
        ({"stride": 0}, "stride = 0"),
        ({"period": 0.0}, "must be positive"),
    ],
)
def test_an_impossible_rhythm_gets_one_line(values: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Rhythm(**{"stride": 2, "chunk": 4, "lead": 4, "period": 0.05, **values})
