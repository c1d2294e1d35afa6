"""What decides: a video model that imagines what comes next, and an inverse dynamics model that reads it as actions.

A decision takes the newest frames into the video model's memory, imagines on from them, first what the actions in
flight will do, then what is to come, and translates the latter. What was imagined is forgotten again: when the next
frames arrive, the memory holds nothing but what has happened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.dva.leapfrog import Question, Rhythm
from policies.idm.model import InverseDynamics
from policies.video.cache import Cache
from policies.video.flow import imagine, noise_for, remember
from policies.video.network import VideoNetwork

STEPS = 3  # denoising steps of an imagined frame
HISTORY, BEYOND = 4, 1  # [frames] that the inverse model is shown before, and after what it is to read
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


@dataclasses.dataclass
class Past:
    """The last real frames of a world, for the translation: h of them, as many as it reads at most.

    Attributes:
        following: number of the frame that is to come next; -1 before anything.
        pictures: by view, (h, size, size, 3) uint8.
        proprio: (h, P).
        led: (h, stride, A) the actions that led to each frame.
    """

    following: int
    pictures: dict[str, np.ndarray]
    proprio: np.ndarray
    led: np.ndarray

    def after(self, asked: Asked, keep: int) -> Past:
        """Return what is past when the new frames of a question have been seen."""
        question, skip = asked.question, asked.skip
        return Past(
            question.newest + 1,
            {n: np.concatenate([p, question.pictures[n][skip:]])[-keep:] for n, p in self.pictures.items()},
            np.concatenate([self.proprio, question.proprio[skip:]])[-keep:],
            np.concatenate([self.led, question.led[skip:]])[-keep:],
        )


class VideoDecider:
    """Decides for the arms of `nworld` worlds (fits the `Decider` contract).

    On a CPU each world is decided for alone: what comes out does not depend on who else asks. On a GPU the worlds that
    ask at the same time are one batch.
    """

    def __init__(
        self,
        video: VideoNetwork,
        idm: InverseDynamics,
        embodiment: tuple[int, int],
        rhythm: Rhythm,
        nworld: int,
        steps: int = STEPS,
        history: int = HISTORY,
        beyond: int = BEYOND,
    ):
        """Decide for arms that have these numbers among the embodiments of the video and of the inverse model.

        Args:
            video, idm: the models, on one device, settled.
            embodiment: the two numbers.
            rhythm: of the decisions; its `chunk` is what one gives.
            nworld: how many arms.
            steps: denoising steps of an imagined frame.
            history: real frames that the inverse model is shown.
            beyond: frames that it is shown after the one that a chunk's last action leads to, in which it shows.
        """
        if steps < 1:
            raise InputError(f"steps = {steps} must be at least 1")
        self.video, self.idm, self.rhythm, self.steps = video, idm, rhythm, steps
        self.history, self.beyond = history, beyond
        self._numbers = embodiment
        self._body = video.meaning.embodiments[embodiment[0]]
        self._device = next(video.model.parameters()).device
        self._together = nworld if self._device.type == "cuda" else 1
        spare = 2 * rhythm.chunk + beyond
        self._caches = [video.model.cache(self._together, spare) for _ in range(nworld // self._together)]
        self._pasts = [self._nothing() for _ in range(nworld)]

    def forget(self, world: int) -> None:
        """Forget the frames of a world."""
        self._pasts[world] = self._nothing()
        self._caches[world // self._together].reset([world % self._together])

    def _nothing(self) -> Past:
        pictures = {v.name: np.zeros((0, v.size, v.size, 3), np.uint8) for v in self.video.meaning.views}
        led = np.zeros((0, self.rhythm.stride, len(self._body.actions)), np.float32)
        return Past(-1, pictures, np.zeros((0, len(self._body.proprio)), np.float32), led)

    @torch.inference_mode()
    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Return (chunk, stride, A) float32 for each question, of different worlds.

        Raises:
            InputError: a question does not fit the models.
        """
        groups: dict[tuple[int, ...], list[Asked]] = {}
        for question in sorted(questions, key=lambda q: q.world):
            self._check(question)
            asked = self._asked(question)
            past = min(len(self._pasts[question.world].proprio) + asked.new, self.history)
            key = question.world // self._together, asked.new, past, len(question.in_flight)
            groups.setdefault(key, []).append(asked)
        found: dict[int, np.ndarray] = {}
        for (cache, *_), group in groups.items():
            for asked, chunk in zip(group, self._decide(self._caches[cache], group), strict=True):
                found[asked.question.world] = chunk
        return [found[question.world] for question in questions]

    def _check(self, question: Question) -> None:
        """Refuse what the models could not take: it may come from another computer."""
        stride, body = self.rhythm.stride, self._body
        wanted = {"proprio": (len(body.proprio),), "led": (stride, len(body.actions))}
        wanted["in_flight"] = wanted["led"]
        for name, shape in wanted.items():
            found = getattr(question, name).shape[1:]
            if found != shape:
                raise InputError(f"a question whose {name} is {found} per frame, {body.name} has {shape}")
            if not np.isfinite(getattr(question, name)).all():
                raise InputError(f"a question with a number in its {name} that is not finite")
        if len(question.in_flight) > self.rhythm.chunk:
            raise InputError(f"{len(question.in_flight)} frames in flight, at most {self.rhythm.chunk} can be")
        for view in self.video.meaning.views:
            pictures = question.pictures.get(view.name)
            if pictures is None or pictures.shape[1:] != (view.size, view.size, 3):
                got = "no pictures" if pictures is None else f"pictures of {pictures.shape[1:]}"
                raise InputError(f"a question with {got} of the view {view.name!r} of {view.size} pixels")
        if not 0 <= question.world < len(self._pasts):
            raise InputError(f"world {question.world}: there are {len(self._pasts)}")

    def _asked(self, question: Question) -> Asked:
        """Find out which frames are new; the world starts afresh if they do not follow those in memory."""
        following = self._pasts[question.world].following
        if question.first == 0 or not question.first <= following <= question.newest + 1:
            self.forget(question.world)
            return Asked(question, 0, True)
        return Asked(question, following - question.first, False)

    def _decide(self, whole: Cache, group: Sequence[Asked]) -> list[np.ndarray]:
        """Decide for worlds that bring as many new frames, remember as many, and have as many in flight."""
        rows = [asked.question.world % self._together for asked in group]
        cache = whole if rows == list(range(whole.rows)) else whole.take(rows)
        if group[0].new:
            self._remember(cache, group)
        if cache is not whole:
            whole.place(rows, cache)
        cache.mark()
        try:
            imagined = self._imagine(cache, group)
        finally:
            cache.rewind()
        actions = self._translate(imagined, group)
        flight = len(group[0].question.in_flight)
        return list(actions[:, flight : flight + self.rhythm.chunk, :, : len(self._body.actions)])

    def _remember(self, cache: Cache, group: Sequence[Asked]) -> None:
        """Take the new frames into the video model's memory and into the pasts."""
        video, scales = self.video, self.video.meaning.statistics
        pictures = {
            view.name: self._tensor([asked.question.pictures[view.name][asked.skip :] for asked in group])
            for view in video.meaning.views
        }
        known = torch.ones(len(group), group[0].new, dtype=torch.bool, device=self._device)
        led_known = known.clone()
        led_known[:, 0] = torch.tensor([not asked.fresh for asked in group])
        condition = video.condition(
            *self._named(group, 0),
            self._tensor([a.question.proprio[a.skip :] for a in group], scales.proprio.mean.shape[-1]),
            self._tensor([a.question.led[a.skip :] for a in group], scales.actions.mean.shape[-1]),
            known,
            led_known,
        )
        remember(video.model, cache, video.encode(pictures), condition)
        for asked in group:
            world = asked.question.world
            self._pasts[world] = self._pasts[world].after(asked, self.history)

    def _imagine(self, cache: Cache, group: Sequence[Asked]) -> Tensor:
        """Return frames (B, n, N, D): those in flight, the chunk after it, and what its last actions show in."""
        width, flight = self.video.meaning.statistics.actions.mean.shape[-1], len(group[0].question.in_flight)
        count = flight + self.rhythm.chunk + self.beyond
        led = torch.zeros(len(group), count, self.rhythm.stride, width, device=self._device)
        led[:, :flight] = self._tensor([asked.question.in_flight for asked in group], width)
        known = (torch.arange(count, device=self._device) < flight).expand(len(group), -1)
        condition = self.video.condition(*self._named(group, 0), led=led, led_known=known)
        noise = torch.cat([self._noise(asked.question, count) for asked in group])
        return imagine(self.video.model, cache, condition, noise.to(self._device), self.steps)

    def _noise(self, question: Question, frames: int) -> Tensor:
        """Return a world's own noise (1, frames, N, D): the same in every run, whoever else asks."""
        numbers = [SEED, question.episode & 0xFFFFFFFF, question.newest & 0xFFFFFFFF]
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
        return noise_for(self.video.model, 1, frames, generator)

    def _translate(self, imagined: Tensor, group: Sequence[Asked]) -> np.ndarray:
        """Return the actions (B, n, stride, A) that lead on from the newest real frame, through the imagined ones."""
        pasts, config = [self._pasts[asked.question.world] for asked in group], self.idm.config
        frames = {}
        for name, dream in self.video.decode(imagined).items():
            real = self._tensor([past.pictures[name] for past in pasts]).float() / 255
            frames[name] = torch.cat([real, dream.float()], dim=1)
        flight = self._tensor([asked.question.in_flight for asked in group], config.actions)
        ahead = imagined.shape[1]
        known = (torch.arange(ahead, device=self._device) < flight.shape[1]).expand(len(group), -1)
        found = self.idm.predict(
            frames,
            now=len(pasts[0].proprio) - 1,
            proprio=self._tensor([past.proprio for past in pasts], config.proprio),
            known_actions=torch.nn.functional.pad(flight, (0, 0, 0, 0, 0, ahead - flight.shape[1])),
            known=known,
            embodiment=self._named(group, 1)[1],
            # What led to the first of these frames is none of the window's actions.
            past_actions=self._tensor([past.led[1:] for past in pasts], config.actions),
        )
        return found.mean.float().cpu().numpy()

    def _named(self, group: Sequence[Asked], model: int) -> tuple[Tensor, Tensor]:
        """Return task and embodiment (B,) as a model numbers them: 0 the video model, 1 the inverse model."""
        task = torch.tensor([asked.question.task for asked in group], device=self._device)
        return task, torch.full_like(task, self._numbers[model])

    def _tensor(self, rows: Sequence[np.ndarray], width: int = 0) -> Tensor:
        """Return arrays as one tensor on the device; the last axis filled with zeros up to `width`."""
        values = torch.from_numpy(np.stack(rows)).to(self._device)
        return torch.nn.functional.pad(values, (0, width - values.shape[-1])) if width else values
