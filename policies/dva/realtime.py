"""The loop in real time: one thread infers while the arm is told its action every control period, and never waits.

How early the next decision is asked for follows from how long decisions have been taking: early enough for all but the
slowest, and not earlier, for what is decided upon newer frames is better decided. A decision that is late all the same
finds the arm holding its last target, and is executed from its beginning; after some frames of holding the arm stops.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from assets.errors import InputError
from policies.dva.leapfrog import Decider, Flight, Question, Rhythm, Seen

QUANTILE = 0.99  # of the latest decisions, these are to be in time
KEPT = 256  # decisions that count as the latest
SPARE = 1.0  # [frames] on top, for what the quantile leaves out
PATIENCE = 5  # [frames] of holding, after which the arm stops


class Latency:
    """How long the latest decisions took, as a running quantile."""

    def __init__(self) -> None:
        self._seconds = deque[float](maxlen=KEPT)

    def add(self, seconds: float) -> None:
        """Count a decision that took so long [s]."""
        self._seconds.append(seconds)

    @property
    def quantile(self) -> float:
        """What all but the slowest took at most [s]; nan before the first."""
        return float(np.quantile(self._seconds, QUANTILE)) if self._seconds else math.nan

    def lead(self, rhythm: Rhythm) -> int:
        """Return how many frames ahead to ask for a decision: 1 … the rhythm's `lead`."""
        if not self._seconds:
            return rhythm.lead
        return min(max(math.ceil(self.quantile / rhythm.frame + SPARE), 1), rhythm.lead)


@dataclasses.dataclass
class Counts:
    """What happened since the loop's beginning.

    Attributes:
        frames: video frames.
        chunks: decisions that came to be executed.
        waits: frames in which the arm held because nothing was decided.
        lost: questions that got no answer.
        stale: answers that nobody waited for any more.
        stops: times that the arm was stopped.
    """

    frames: int = 0
    chunks: int = 0
    waits: int = 0
    lost: int = 0
    stale: int = 0
    stops: int = 0


@dataclasses.dataclass(frozen=True)
class Order:
    """What the arm is to do for one period.

    Attributes:
        action: (A,) float32.
        held: it is the last target, since nothing was decided in time.
        stop: nothing was decided for too long: the arm has to be stopped.
    """

    action: np.ndarray
    held: bool
    stop: bool


class RealtimeLoop:
    """Drives one arm; `act` once a control period, from one thread. Use as a context manager, or `close`."""

    def __init__(
        self,
        decider: Decider,
        rhythm: Rhythm,
        patience: int = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Ask `decider`; stop the arm after `patience` frames of holding. The rhythm's `lead` is the greatest one."""
        if rhythm.lead < 1:
            raise InputError("lead = 0 waits for every decision: in real time at least one frame must be in flight")
        self.rhythm, self.patience, self.latency, self.counts = rhythm, patience, Latency(), Counts()
        self.problem = ""  # the latest one, in a line
        self._decider, self._clock = decider, clock
        self._flight = Flight(rhythm)
        self._changed = threading.Condition()  # guards all below and the flight
        self._question: tuple[Question, float] | None = None  # for the thread, and when it was asked
        self._bug: Exception | None = None
        self._begun = self._stopped = self._closing = False
        self._thread = threading.Thread(target=self._infer, name="decisions", daemon=True)
        self._thread.start()

    def begin(self, hold: np.ndarray, episode: int = 0, task: int = 0) -> None:
        """Begin an episode, or go on after a stop; `hold` (A,) is the action that holds the arm where it is."""
        with self._changed:
            self._flight.begin(hold, episode, task)
            self._flight.lead = self.latency.lead(self.rhythm)
            self._question, self._begun, self._stopped = None, True, False

    @property
    def at_frame(self) -> bool:
        """Whether the next `act` wants to see a frame."""
        with self._changed:
            return self._begun and self._flight.at_frame and not self._stopped

    def act(self, seen: Seen | None = None) -> Order:
        """Return what to do for the coming period; at once. `seen` now, when `at_frame`.

        Raises:
            InputError: a frame was wanted and not given; `begin` was never called.
            Exception: what went wrong in the thread, if it was neither bad input nor the network.
        """
        with self._changed:
            if self._bug is not None:
                raise self._bug
            if not self._begun:
                raise InputError("the loop has not begun: call `begin` with the action that holds the arm")
            flight = self._flight
            if flight.at_frame and not self._stopped:
                self._frame(seen)
            if self._stopped:
                return Order(flight.target, held=True, stop=True)
            return Order(flight.next(), held=flight.held > 0, stop=False)

    def _frame(self, seen: Seen | None) -> None:
        if seen is None:
            raise InputError("a video frame is due: give the pictures with every period for which `at_frame` is true")
        flight, counts = self._flight, self.counts
        counts.frames += 1
        flight.see(seen)
        if flight.due:
            self._question = flight.ask(), self._clock()
            self._changed.notify()
        if not flight.ahead:
            counts.waits += 1
            if flight.held >= self.patience:
                flight.drop()
                self._question, self._stopped = None, True
                counts.stops += 1

    def _infer(self) -> None:
        """The thread: answer questions as they come, until closed."""
        while True:
            with self._changed:
                while self._question is None and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                assert self._question is not None
                (question, asked), self._question = self._question, None
            actions, problem = None, ""
            try:
                actions = self._decider.decide([question])[0]
            except (InputError, OSError) as error:  # a bad answer, or the network: ask again with the next frame
                problem = " ".join(str(error).split())
            except Exception as error:
                with self._changed:
                    self._bug = error
                return
            with self._changed:
                self._settle(question, actions, problem, self._clock() - asked)

    def _settle(self, question: Question, actions: np.ndarray | None, problem: str, seconds: float) -> None:
        flight, counts = self._flight, self.counts
        if actions is not None:
            try:
                if flight.answer(question, actions):
                    counts.chunks += 1
                    self.latency.add(seconds)
                    flight.lead = self.latency.lead(self.rhythm)
                else:
                    counts.stale += 1
                return
            except InputError as error:
                problem = str(error)
        self.problem = problem
        counts.lost += 1
        flight.lost(question)

    def close(self) -> None:
        """End the thread; an inference that hangs is left behind."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        with contextlib.suppress(RuntimeError):
            self._thread.join(timeout=2.0)

    def __enter__(self) -> RealtimeLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
