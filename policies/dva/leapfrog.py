"""Leapfrog: while an arm executes what is decided, the next chunk is inferred from the newest frames.

Time is counted in video frames; the actions of a frame are the `stride` actions that follow it. A decision is asked for
when the actions of `lead` frames are still to be executed. These are in flight: whoever decides is told them, knows
where they lead, and begins where they end. So the arm need not wait, and one decision goes on where the last one ended:

    frame       0     1     2     3     4     5     6     7     8        chunk = lead = 4
    executed    |------- hold --------|------ chunk 1 ------|------ chunk 2 ...
    inferred    |------ chunk 1 ------|------ chunk 2 ------|------ chunk 3 ...

With `lead` 0 the arm waits for every decision: plain sequential inference. A `Flight` keeps the books for one arm, in a
simulation as in real time; it knows nothing of clocks, models or threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from assets.errors import InputError


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """How frames, actions and decisions follow each other.

    Attributes:
        stride: actions between two video frames.
        chunk: frames whose actions one decision gives.
        lead: frames whose actions are still ahead when the next decision is asked for, 0 … `chunk`.
        period: from one action to the next [s].
    """

    stride: int
    chunk: int
    lead: int
    period: float

    def __post_init__(self) -> None:
        if self.stride < 1 or self.chunk < 1 or self.period <= 0:
            raise InputError(f"stride = {self.stride}, chunk = {self.chunk}, period = {self.period:g} must be positive")
        if not 0 <= self.lead <= self.chunk:
            raise InputError(f"lead = {self.lead} must lie in 0 … {self.chunk}, the frames of a chunk")

    @property
    def frame(self) -> float:
        """From one video frame to the next [s]."""
        return self.stride * self.period


@dataclasses.dataclass(frozen=True)
class Question:
    """What the next chunk is inferred from; T frames, F of them in flight, A actions.

    Attributes:
        world: which arm asks.
        number: of the question, among those of this arm.
        episode: number of the variant, by which a world's noise is drawn.
        task: index of the task's text.
        first: number of the first frame given, counted from the episode's start; 0 begins an episode.
        pictures: by camera, (T, height, width, 3) uint8: the frames since the last decision, oldest first.
        proprio: (T, P) float32, seen with each frame, SI units.
        led: (T, stride, A) float32, the actions that led to each frame; zeros for the frame 0, to which none did.
        in_flight: (F, stride, A) float32, the actions that will be executed from the newest frame on.
    """

    world: int
    number: int
    episode: int
    task: int
    first: int
    pictures: dict[str, np.ndarray]
    proprio: np.ndarray
    led: np.ndarray
    in_flight: np.ndarray

    @property
    def newest(self) -> int:
        """Number of the newest frame."""
        return self.first + len(self.proprio) - 1


class Decider(Protocol):
    """What infers chunks: models in this process, or a server elsewhere.

    It remembers, for each world, the frames that it was given. Frames that it has are passed over; where frames are
    missing, or with frame 0, it starts afresh: a question may be asked again.
    """

    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Return (chunk, stride, A) float32 for each question, of different worlds: what follows the flight."""
        ...

    def forget(self, world: int) -> None:
        """Forget the frames of a world: it is another arm's from now on."""
        ...


@dataclasses.dataclass(frozen=True)
class Seen:
    """A video frame: pictures by camera, (height, width, 3) uint8, and proprioception (P,) float32."""

    pictures: dict[str, np.ndarray]
    proprio: np.ndarray


class Flight:
    """The books of one arm: frames seen, actions executed, actions ahead. Not safe to share between threads.

    At every video frame: `see`, then `ask` if `due`. In every period: `next`.
    """

    def __init__(self, rhythm: Rhythm, world: int = 0):
        """Keep books for the arm `world`; call `begin` before anything else."""
        self.rhythm, self.world = rhythm, world
        self._number = 0

    def begin(self, hold: np.ndarray, episode: int = 0, task: int = 0) -> None:
        """Begin an episode: the arm holds with the action `hold` (A,) while its first chunk is inferred."""
        self.held = 0  # frames in a row for which nothing was decided
        self.asked: int | None = None  # number of the question that is open
        self.lead = self.rhythm.lead
        self._episode, self.task = episode, task
        rest = np.repeat(np.asarray(hold, np.float32)[None], self.rhythm.stride, axis=0)
        self._ahead = [rest] * self.rhythm.lead
        self._now, self._left = rest, 0  # actions of the present frame, and how many of them are still to come
        self._executed = np.zeros_like(rest)  # those of the frame before
        self._first, self._seen, self._led = 0, list[Seen](), list[np.ndarray]()

    @property
    def at_frame(self) -> bool:
        """Whether the next action is the first of a video frame."""
        return self._left == 0

    @property
    def ahead(self) -> int:
        """Frames that are decided and not begun."""
        return len(self._ahead)

    @property
    def target(self) -> np.ndarray:
        """The last action of the present frame (A,): what holding repeats."""
        return self._now[-1]

    @property
    def due(self) -> bool:
        """Whether a decision should be asked for now."""
        return self.asked is None and len(self._ahead) <= self.lead

    def see(self, seen: Seen) -> None:
        """Take in the video frame that is seen before its actions."""
        self._seen.append(seen)
        self._led.append(self._executed)

    def ask(self) -> Question:
        """Return the question that is due."""
        self._number += 1
        self.asked = self._number
        none = np.zeros((0, *self._now.shape), np.float32)
        return Question(
            world=self.world,
            number=self._number,
            episode=self._episode,
            task=self.task,
            first=self._first,
            pictures={name: np.stack([s.pictures[name] for s in self._seen]) for name in self._seen[0].pictures},
            proprio=np.stack([s.proprio for s in self._seen]),
            led=np.stack(self._led),
            in_flight=np.stack(self._ahead) if self._ahead else none,
        )

    def answer(self, question: Question, actions: np.ndarray) -> bool:
        """Append the chunk that answers a question; return False for an answer that is not waited for any more.

        A late chunk is executed from its beginning, since the arm held where it begins.

        Raises:
            InputError: the chunk has another shape, or a number in it is not finite.
        """
        if question.number != self.asked:
            return False
        self.asked = None
        wanted = (self.rhythm.chunk, *self._now.shape)
        if actions.shape != wanted:
            raise InputError(
                f"a decision has the shape {actions.shape}, {wanted} (frames, actions, names) was expected"
            )
        if not np.isfinite(actions).all():
            raise InputError("a decision holds an action that is not a finite number: the checkpoint is broken")
        self._ahead += list(np.asarray(actions, np.float32))
        known = len(question.proprio)
        self._first += known
        self._seen, self._led = self._seen[known:], self._led[known:]
        return True

    def lost(self, question: Question) -> None:
        """Give up waiting; the frames of the question go into the next one."""
        if question.number == self.asked:
            self.asked = None

    def drop(self) -> None:
        """Forget what is ahead, and any question: the arm is to hold."""
        self._ahead, self.asked = [], None

    def rest(self) -> np.ndarray:
        """Return the actions that are decided and not yet executed (n, A); at least one: holding, if there are none."""
        ahead = [self._now[len(self._now) - self._left :], *self._ahead]
        actions = np.concatenate(ahead)
        return actions if len(actions) else self.target[None].copy()

    def next(self) -> np.ndarray:
        """Execute one period: return its action (A,). With nothing ahead, the arm holds its last target for a frame."""
        if self._left == 0:
            self.held = 0 if self._ahead else self.held + 1
            self._now = self._ahead.pop(0) if self._ahead else np.repeat(self.target[None], len(self._now), axis=0)
            self._executed, self._left = self._now, len(self._now)
        self._left -= 1
        return self._now[len(self._now) - 1 - self._left]
