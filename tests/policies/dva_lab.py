"""What the tests of the loop share: an arm of two joints on a line, and a decider that knows where it wants to go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from assets.errors import InputError
from policies.dva.leapfrog import Flight, Question, Rhythm, Seen

RHYTHM = Rhythm(stride=2, chunk=4, lead=4, period=0.05)
SPEED = 0.01  # [rad] per period
HOME = np.zeros(2, np.float32)
GOAL = np.array([3.0, -3.0], np.float32)


def seen(position: np.ndarray, size: int = 4) -> Seen:
    """A frame of an arm that stands at `position`: the picture's first two pixels say so too."""
    picture = np.zeros((size, size, 3), np.uint8)
    picture[0, :2, 0] = np.clip(128 + 40 * position[:2], 0, 255)
    return Seen({"cell": picture}, np.asarray(position, np.float32))


class Walker:
    """Decides to walk on towards GOAL; with `blind` it takes no notice of what is in flight."""

    def __init__(self, rhythm: Rhythm = RHYTHM, blind: bool = False) -> None:
        self.rhythm, self.blind = rhythm, blind
        self.questions: list[Question] = []
        self.forgotten: list[int] = []

    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        self.questions += questions
        return [self._chunk(question) for question in questions]

    def forget(self, world: int) -> None:
        self.forgotten.append(world)

    def _chunk(self, question: Question) -> np.ndarray:
        flies = len(question.in_flight) > 0 and not self.blind
        start = question.in_flight[-1, -1] if flies else question.proprio[-1]
        count = self.rhythm.chunk * self.rhythm.stride
        way = start + np.sign(GOAL) * SPEED * np.arange(1, count + 1)[:, None]
        return way.reshape(self.rhythm.chunk, self.rhythm.stride, -1).astype(np.float32)


class Gated(Walker):
    """A walker whose answers the test lets through, one at a time; `say` may raise instead."""

    def __init__(self, rhythm: Rhythm = RHYTHM, say: Callable[[Question], None] = lambda _: None) -> None:
        super().__init__(rhythm)
        self.say = say
        self.entered, self.opened = threading.Semaphore(0), threading.Semaphore(0)

    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        self.entered.release()
        assert self.opened.acquire(timeout=10)
        self.say(questions[0])
        return super().decide(questions)


def fly(flight: Flight, decider: Walker, periods: int) -> np.ndarray:
    """Execute so many periods, every decision at once; return the actions (periods, A). The arm follows exactly."""
    done = []
    for _ in range(periods):
        if flight.at_frame:
            flight.see(seen(done[-1] if done else HOME))
            if flight.due:
                question = flight.ask()
                if not flight.answer(question, decider.decide([question])[0]):
                    raise InputError("an answer to the present question was refused")
        done.append(flight.next())
    return np.stack(done)


def wait(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something has become true in another thread."""
    tick, left = threading.Event(), seconds
    while not condition():
        assert left > 0, "it did not happen"
        tick.wait(0.002)
        left -= 0.002
