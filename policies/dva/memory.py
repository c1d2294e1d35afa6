"""What a decider remembers: for each arm the frames that it was given, in the cache of a model, each of them once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.dva.leapfrog import Question, Rhythm
from policies.video.cache import Cache
from policies.video.condition import Condition
from policies.video.model import VideoModel
from policies.video.network import VideoNetwork

SEED = 0


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question, and how many of its frames are in memory already; `fresh` where it begins an episode or a gap."""

    question: Question
    skip: int
    fresh: bool

    @property
    def new(self) -> int:
        """Frames that are new."""
        return len(self.question.proprio) - self.skip


# Takes frames (n, T, N, D) with their conditions into a cache of n rows, those of the questions.
Look = Callable[[Cache, Tensor, Condition, Sequence[Asked]], None]


class Memory:
    """The caches of `nworld` arms of one embodiment.

    On a CPU each world has its own: what comes out does not depend on who else asks. On a GPU they share one, so that
    worlds that ask at the same time are a batch.
    """

    def __init__(
        self, video: VideoNetwork, model: VideoModel, embodiment: int, rhythm: Rhythm, nworld: int, spare: int
    ):
        """Remember in the caches of `model` what the views of `video` show.

        Args:
            video: what encodes and normalizes.
            model: what has the caches.
            embodiment: the arms' number among those of `video`.
            rhythm: of the decisions.
            nworld: how many arms.
            spare: frames that are imagined and dropped again.
        """
        self.video, self._number, self._rhythm = video, embodiment, rhythm
        self.body = video.meaning.embodiments[embodiment]
        self.device = next(model.parameters()).device
        self._together = nworld if self.device.type == "cuda" else 1
        self.caches = [model.cache(self._together, spare) for _ in range(nworld // self._together)]
        self._following = [-1] * nworld  # number of the frame that is to come next

    def forget(self, world: int) -> None:
        """Forget the frames of a world."""
        self._following[world] = -1
        self.caches[world // self._together].reset([world % self._together])

    def take(self, questions: Sequence[Question], look: Look) -> list[Asked]:
        """Take the frames that are new into memory; a world whose frames do not follow starts afresh.

        Raises:
            InputError: a question does not fit.
        """
        for question in questions:
            self._check(question)
        every = [self._asked(question) for question in sorted(questions, key=lambda q: q.world)]
        groups: dict[tuple[int, int], list[Asked]] = {}
        for asked in every:
            groups.setdefault((asked.question.world // self._together, asked.new), []).append(asked)
        for (number, new), group in groups.items():
            if not new:
                continue
            whole, cache = self.caches[number], self.cache(group)
            latents, condition = self._frames(group)
            look(cache, latents, condition, group)
            if cache is not whole:
                whole.place([asked.question.world % self._together for asked in group], cache)
            for asked in group:
                self._following[asked.question.world] = asked.question.newest + 1
        return every

    def together(self, every: Sequence[Asked], alike: Callable[[Asked], object]) -> list[list[Asked]]:
        """Return the questions in groups that can be one batch: those that share a cache and are `alike`."""
        groups: dict[object, list[Asked]] = {}
        for asked in every:
            groups.setdefault((asked.question.world // self._together, alike(asked)), []).append(asked)
        return list(groups.values())

    def cache(self, group: Sequence[Asked]) -> Cache:
        """Return the cache of a group of questions; of some of its worlds, a copy."""
        whole = self.caches[group[0].question.world // self._together]
        rows = [asked.question.world % self._together for asked in group]
        return whole if rows == list(range(whole.rows)) else whole.take(rows)

    def named(self, group: Sequence[Asked]) -> tuple[Tensor, Tensor]:
        """Return task and embodiment (n,) as the video model numbers them."""
        task = torch.tensor([asked.question.task for asked in group], device=self.device)
        return task, torch.full_like(task, self._number)

    def tensor(self, rows: Sequence[np.ndarray], width: int = 0) -> Tensor:
        """Return arrays as one tensor on the device; the last axis filled with zeros up to `width`."""
        values = torch.from_numpy(np.stack(rows)).to(self.device)
        return torch.nn.functional.pad(values, (0, width - values.shape[-1])) if width else values

    def _asked(self, question: Question) -> Asked:
        following = self._following[question.world]
        fresh = question.first == 0 or not question.first <= following <= question.newest + 1
        if fresh:
            self.forget(question.world)
        return Asked(question, 0 if fresh else following - question.first, fresh)

    def _frames(self, group: Sequence[Asked]) -> tuple[Tensor, Condition]:
        """Return the new frames (n, T, N, D) of questions that have as many, and their conditions."""
        scales = self.video.meaning.statistics
        pictures = {
            view.name: self.tensor([asked.question.pictures[view.name][asked.skip :] for asked in group])
            for view in self.video.meaning.views
        }
        known = torch.ones(len(group), group[0].new, dtype=torch.bool, device=self.device)
        known[:, 0] = torch.tensor([not asked.fresh for asked in group])
        condition = self.video.condition(
            *self.named(group),
            self.tensor([a.question.proprio[a.skip :] for a in group], scales.proprio.mean.shape[-1]),
            self.tensor([a.question.led[a.skip :] for a in group], scales.actions.mean.shape[-1]),
            led_known=known,
        )
        return self.video.encode(pictures), condition

    def _check(self, question: Question) -> None:
        """Refuse what the models could not take: it may come from another computer."""
        stride, body = self._rhythm.stride, self.body
        wanted = {"proprio": (len(body.proprio),), "led": (stride, len(body.actions))}
        wanted["in_flight"] = wanted["led"]
        for name, shape in wanted.items():
            found = getattr(question, name).shape[1:]
            if found != shape:
                raise InputError(f"a question whose {name} is {found} per frame, {body.name} has {shape}")
            if not np.isfinite(getattr(question, name)).all():
                raise InputError(f"a question with a number in its {name} that is not finite")
        if len(question.in_flight) > self._rhythm.chunk:
            raise InputError(f"{len(question.in_flight)} frames in flight, at most {self._rhythm.chunk} can be")
        for view in self.video.meaning.views:
            pictures = question.pictures.get(view.name)
            if pictures is None or pictures.shape[1:] != (view.size, view.size, 3):
                got = "no pictures" if pictures is None else f"pictures of {pictures.shape[1:]}"
                raise InputError(f"a question with {got} of the view {view.name!r} of {view.size} pixels")
        if not 0 <= question.world < len(self._following):
            raise InputError(f"world {question.world}: there are {len(self._following)}")


def generator_of(question: Question) -> torch.Generator:
    """Return what draws a decision's noise: the same in every run, whoever else asks."""
    numbers = [SEED, question.episode & 0xFFFFFFFF, question.newest & 0xFFFFFFFF]
    return torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
