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
from policies.dva.memory import Asked, Memory, generator_of
from policies.idm.model import InverseDynamics
from policies.video.cache import Cache
from policies.video.condition import Condition
from policies.video.flow import imagine, noise_for, remember
from policies.video.network import VideoNetwork

STEPS = 3  # denoising steps of an imagined frame
HISTORY, BEYOND = 4, 1  # [frames] that the inverse model is shown before, and after what it is to read


@dataclasses.dataclass
class Past:
    """The last real frames of a world, for the translation: h of them, as many as it reads at most.

    Attributes:
        pictures: by view, (h, size, size, 3) uint8.
        proprio: (h, P).
        led: (h, stride, A) the actions that led to each frame.
    """

    pictures: dict[str, np.ndarray]
    proprio: np.ndarray
    led: np.ndarray

    def after(self, asked: Asked, keep: int) -> Past:
        """Return what is past when the new frames of a question have been seen."""
        question, skip = asked.question, asked.skip
        return Past(
            {n: np.concatenate([p, question.pictures[n][skip:]])[-keep:] for n, p in self.pictures.items()},
            np.concatenate([self.proprio, question.proprio[skip:]])[-keep:],
            np.concatenate([self.led, question.led[skip:]])[-keep:],
        )


class VideoDecider:
    """Decides for the arms of `nworld` worlds (fits the `Decider` contract); see `Memory` for which go together."""

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
        self.history, self.beyond, self._number = history, beyond, embodiment[1]
        self._memory = Memory(video, video.model, embodiment[0], rhythm, nworld, 2 * rhythm.chunk + beyond)
        self._pasts = [self._nothing() for _ in range(nworld)]

    def forget(self, world: int) -> None:
        """Forget the frames of a world."""
        self._pasts[world] = self._nothing()
        self._memory.forget(world)

    def _nothing(self) -> Past:
        pictures = {v.name: np.zeros((0, v.size, v.size, 3), np.uint8) for v in self.video.meaning.views}
        body = self._memory.body
        led = np.zeros((0, self.rhythm.stride, len(body.actions)), np.float32)
        return Past(pictures, np.zeros((0, len(body.proprio)), np.float32), led)

    @torch.inference_mode()
    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Return (chunk, stride, A) float32 for each question, of different worlds.

        Raises:
            InputError: a question does not fit the models.
        """
        every = self._memory.take(questions, self._look)
        for asked in every:
            world = asked.question.world
            past = self._nothing() if asked.fresh else self._pasts[world]
            self._pasts[world] = past.after(asked, self.history)
        found: dict[int, np.ndarray] = {}
        for group in self._memory.together(every, self._shape):
            for asked, chunk in zip(group, self._decide(group), strict=True):
                found[asked.question.world] = chunk
        return [found[question.world] for question in questions]

    def _look(self, cache: Cache, latents: Tensor, condition: Condition, group: Sequence[Asked]) -> None:
        """Take new frames into memory."""
        remember(self.video.model, cache, latents, condition)

    def _shape(self, asked: Asked) -> object:
        """Return how many frames are past and in flight: what is as long can be decided together."""
        return len(self._pasts[asked.question.world].proprio), len(asked.question.in_flight)

    def _decide(self, group: Sequence[Asked]) -> list[np.ndarray]:
        """Decide for worlds that have as many frames past and in flight."""
        cache = self._memory.cache(group)
        cache.mark()
        try:
            imagined = self._imagine(cache, group)
        finally:
            cache.rewind()
        actions = self._translate(imagined, group)
        flight = len(group[0].question.in_flight)
        return list(actions[:, flight : flight + self.rhythm.chunk, :, : len(self._memory.body.actions)])

    def _imagine(self, cache: Cache, group: Sequence[Asked]) -> Tensor:
        """Return frames (B, n, N, D): those in flight, the chunk after it, and what its last actions show in."""
        width, flight = self.video.meaning.statistics.actions.mean.shape[-1], len(group[0].question.in_flight)
        count = flight + self.rhythm.chunk + self.beyond
        led = torch.zeros(len(group), count, self.rhythm.stride, width, device=self._memory.device)
        led[:, :flight] = self._memory.tensor([asked.question.in_flight for asked in group], width)
        known = (torch.arange(count, device=led.device) < flight).expand(len(group), -1)
        condition = self.video.condition(*self._memory.named(group), led=led, led_known=known)
        noise = [noise_for(self.video.model, 1, count, generator_of(asked.question)) for asked in group]
        return imagine(self.video.model, cache, condition, torch.cat(noise).to(led.device), self.steps)

    def _translate(self, imagined: Tensor, group: Sequence[Asked]) -> np.ndarray:
        """Return the actions (B, n, stride, A) that lead on from the newest real frame, through the imagined ones."""
        pasts, config = [self._pasts[asked.question.world] for asked in group], self.idm.config
        frames = {}
        for name, dream in self.video.decode(imagined).items():
            real = self._memory.tensor([past.pictures[name] for past in pasts]).float() / 255
            frames[name] = torch.cat([real, dream.float()], dim=1)
        flight = self._memory.tensor([asked.question.in_flight for asked in group], config.actions)
        ahead = imagined.shape[1]
        known = (torch.arange(ahead, device=flight.device) < flight.shape[1]).expand(len(group), -1)
        found = self.idm.predict(
            frames,
            now=len(pasts[0].proprio) - 1,
            proprio=self._memory.tensor([past.proprio for past in pasts], config.proprio),
            known_actions=torch.nn.functional.pad(flight, (0, 0, 0, 0, 0, ahead - flight.shape[1])),
            known=known,
            embodiment=torch.full((len(group),), self._number, device=flight.device),
            # What led to the first of these frames is none of the window's actions.
            past_actions=self._memory.tensor([past.led[1:] for past in pasts], config.actions),
        )
        return found.mean.float().cpu().numpy()
