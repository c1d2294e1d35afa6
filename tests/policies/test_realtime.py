"""The loop and its thread: the arm is never kept waiting; what is late, lost or broken makes it hold, then stop."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from dva_lab import HOME, RHYTHM, SPEED, Gated, Walker, seen, wait

from assets.errors import InputError
from policies.dva.leapfrog import Question, Rhythm
from policies.dva.realtime import Latency, Order, RealtimeLoop


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Arm:
    """Runs a loop period by period, as fast as the test wants; the arm follows exactly."""

    def __init__(self, loop: RealtimeLoop) -> None:
        self.loop, self.position = loop, HOME
        self.orders: list[Order] = []
        loop.begin(HOME)

    def frames(self, count: int) -> list[Order]:
        begin = len(self.orders)
        for _ in range(count * self.loop.rhythm.stride):
            order = self.loop.act(seen(self.position) if self.loop.at_frame else None)
            self.position = order.action
            self.orders.append(order)
        return self.orders[begin:]

    def actions(self) -> np.ndarray:
        return np.stack([order.action for order in self.orders])


@contextlib.contextmanager
def gated(**more: object) -> Iterator[tuple[Gated, Arm, Clock]]:
    decider, clock = Gated(), Clock()
    with RealtimeLoop(decider, RHYTHM, clock=clock, **more) as loop:  # pyright: ignore[reportArgumentType]
        yield decider, Arm(loop), clock
        decider.opened.release(100)


def let(decider: Gated, arm: Arm) -> None:
    """Let one answer through and wait until it has arrived."""
    assert decider.entered.acquire(timeout=5)
    release(decider, arm)


def release(decider: Gated, arm: Arm) -> None:
    """The same for a decision that has begun."""
    counts = arm.loop.counts
    before = counts.chunks + counts.lost + counts.stale
    decider.opened.release()
    wait(lambda: counts.chunks + counts.lost + counts.stale > before)


def test_in_time_the_arm_never_holds_and_decisions_go_on_where_the_last_one_ended() -> None:
    with gated() as (decider, arm, _):
        for _ in range(12):
            arm.frames(1)
            if arm.loop._flight.asked is not None:
                let(decider, arm)
    assert arm.loop.counts.waits == 0
    assert not any(order.held or order.stop for order in arm.orders)
    steps = np.abs(np.diff(arm.actions()[8:], axis=0))
    np.testing.assert_allclose(steps, SPEED, rtol=1e-3)


def test_it_answers_at_once_while_a_decision_hangs() -> None:
    with gated() as (decider, arm, _):
        began = time.monotonic()
        arm.frames(3)
        assert decider.entered.acquire(timeout=5)
        assert time.monotonic() - began < 1.0
        assert arm.loop.counts.waits == 0


def test_a_late_chunk_makes_the_arm_hold_and_then_go_on_without_a_jump() -> None:
    with gated() as (decider, arm, _):
        arm.frames(4)
        let(decider, arm)
        arm.frames(4)  # the first chunk; the next question is open
        held = arm.frames(3)
        assert all(order.held and not order.stop for order in held)
        assert {order.action.tobytes() for order in held} == {arm.orders[15].action.tobytes()}
        let(decider, arm)
        following = arm.frames(4)
        assert not any(order.held for order in following)
        assert arm.loop.counts.waits == 3
        assert np.abs(np.diff(arm.actions(), axis=0)).max() < 1.01 * SPEED
        # What was executed while holding is told with the next question.
        let(decider, arm)
        led = np.concatenate([q.led for q in decider.questions])[1:].reshape(-1, 2)
        np.testing.assert_array_equal(led, arm.actions()[: len(led)])
        assert len(led) > 2 * 11


def test_after_its_patience_the_arm_stops_and_stays_stopped() -> None:
    with gated(patience=2) as (decider, arm, _):
        arm.frames(1)
        assert decider.entered.acquire(timeout=5)
        arm.frames(3 + 2)
        assert not any(order.stop for order in arm.orders)
        stopped = arm.frames(1)
        assert all(order.stop and order.held for order in stopped)
        assert not arm.loop.at_frame
        release(decider, arm)  # too late
        assert all(order.stop for order in arm.frames(3))
        assert (arm.actions() == HOME).all()
        counts = arm.loop.counts
        assert (counts.stops, counts.stale, counts.chunks, counts.waits) == (1, 1, 0, 3)
        # A new beginning lifts it.
        arm.loop.begin(HOME)
        assert not any(order.stop for order in arm.frames(4))
        let(decider, arm)
        assert not any(order.held for order in arm.frames(2))


@pytest.mark.parametrize("error", [TimeoutError("slow"), ConnectionError("gone"), InputError("broken")])
def test_a_lost_answer_is_asked_for_again(error: Exception) -> None:
    failures = [error]

    def say(_: Question) -> None:
        if failures:
            raise failures.pop()

    with gated() as (decider, arm, _):
        decider.say = say
        arm.frames(1)
        let(decider, arm)
        assert arm.loop.problem == str(error)
        arm.frames(1)
        let(decider, arm)
        arm.frames(4)
    assert arm.loop.counts.waits == 0
    assert (arm.loop.counts.lost, arm.loop.counts.chunks) == (1, 1)
    assert [len(q.in_flight) for q in decider.questions][:1] == [3]
    assert np.abs(np.diff(arm.actions(), axis=0)).max() < 1.01 * SPEED


def test_a_chunk_that_is_not_finite_is_as_good_as_none() -> None:
    class Broken(Walker):
        def _chunk(self, question: Question) -> np.ndarray:
            return super()._chunk(question) * np.nan

    with RealtimeLoop(Broken(), RHYTHM, patience=1) as loop:
        arm = Arm(loop)
        for _ in range(6):
            lost = loop.counts.lost
            arm.frames(1)
            wait(lambda lost=lost: loop.counts.lost > lost or loop._stopped)
        assert arm.orders[-1].stop
        assert "not a finite number" in loop.problem
        assert np.isfinite(arm.actions()).all()


def test_a_bug_in_the_thread_comes_out() -> None:
    class Buggy(Walker):
        def _chunk(self, question: Question) -> np.ndarray:
            raise ZeroDivisionError("a bug")

    with RealtimeLoop(Buggy(), RHYTHM) as loop:
        arm = Arm(loop)
        arm.frames(1)
        wait(lambda: loop._bug)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            arm.frames(1)


def test_an_answer_from_before_a_new_beginning_is_not_executed() -> None:
    with gated() as (decider, arm, _):
        arm.frames(1)
        assert decider.entered.acquire(timeout=5)
        arm.loop.begin(HOME + 1, episode=2)
        arm.frames(1)
        release(decider, arm)
        assert arm.loop.counts.stale == 1
        arm.frames(3)
        assert (arm.actions()[2:] == HOME + 1).all()
        let(decider, arm)
        assert decider.questions[-1].episode == 2
        assert len(decider.questions) == 2


def test_the_hand_over_follows_the_measured_latency() -> None:
    # Decisions take 0.04 s, a frame 0.1 s: with a frame to spare, two frames ahead is early enough.
    with gated() as (decider, arm, clock):
        for _ in range(30):
            arm.frames(1)
            if arm.loop._flight.asked is not None:
                assert decider.entered.acquire(timeout=5)
                clock.now += 0.04
                release(decider, arm)
        assert arm.loop.latency.quantile == pytest.approx(0.04)
        assert arm.loop.counts.waits == 0
    assert [len(q.in_flight) for q in decider.questions] == [4] + [2] * (len(decider.questions) - 1)


def test_the_quantile_runs() -> None:
    latency, rhythm = Latency(), Rhythm(stride=1, chunk=4, lead=4, period=0.1)
    assert np.isnan(latency.quantile)
    assert latency.lead(rhythm) == 4
    for _ in range(300):
        latency.add(0.02)
    assert latency.lead(rhythm) == 2
    for _ in range(10):
        latency.add(0.35)
    assert latency.lead(rhythm) == 4
    for _ in range(256):
        latency.add(0.02)
    assert latency.lead(rhythm) == 2


def test_misuse_gets_one_line() -> None:
    with pytest.raises(InputError, match="at least one frame must be in flight"):
        RealtimeLoop(Walker(), Rhythm(stride=2, chunk=4, lead=0, period=0.05))
    with RealtimeLoop(Walker(), RHYTHM) as loop:
        with pytest.raises(InputError, match="call `begin`"):
            loop.act(seen(HOME))
        loop.begin(HOME)
        with pytest.raises(InputError, match="a video frame is due"):
            loop.act()


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    with RealtimeLoop(Walker(), RHYTHM) as loop:
        Arm(loop).frames(2)
    assert threading.active_count() == before


def test_against_the_clock_it_runs_without_waits() -> None:
    class Slow(Walker):
        def _chunk(self, question: Question) -> np.ndarray:
            time.sleep(0.03)
            return super()._chunk(question)

    rhythm = Rhythm(stride=1, chunk=4, lead=4, period=0.02)
    with RealtimeLoop(Slow(rhythm), rhythm, patience=50) as loop:
        arm, begin = Arm(loop), time.monotonic()
        for k in range(40):
            arm.frames(1)
            time.sleep(max(0.0, begin + (k + 1) * rhythm.period - time.monotonic()))
        # Ten chunks and no wait, if the machine is not busy with something else.
        assert loop.counts.chunks >= 5
        assert loop.counts.waits <= 20
        assert np.abs(np.diff(arm.actions(), axis=0)).max() < 1.01 * SPEED
