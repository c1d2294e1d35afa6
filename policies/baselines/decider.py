"""A baseline in the loop: it decides where the video model and the inverse model do, in the same rhythm.

It remembers the same frames, is told the same actions in flight, and answers with the chunk after them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.baselines.network import Baseline
from policies.dva.leapfrog import Question, Rhythm
from policies.dva.memory import Asked, Memory, generator_of
from policies.video.cache import Cache
from policies.video.condition import Condition


class BaselineDecider:
    """Decides for the arms of `nworld` worlds (fits the `Decider` contract); see `Memory` for which go together."""

    def __init__(self, network: Baseline, embodiment: int, rhythm: Rhythm, nworld: int):
        """Decide for arms of the embodiment with this number.

        Raises:
            InputError: the rhythm wants longer chunks than the baseline was trained for.
        """
        chunk = network.chunk[0]
        if rhythm.chunk > chunk:
            raise InputError(f"chunk = {rhythm.chunk}: this baseline was trained to decide {chunk} frames at most")
        self.network, self.rhythm = network, rhythm
        self._memory = Memory(network.video, network.backbone, embodiment, rhythm, nworld, 0)
        config = network.backbone.config
        self._known = torch.zeros(nworld, config.views * config.tokens, config.width, device=self._memory.device)

    def forget(self, world: int) -> None:
        """Forget the frames of a world."""
        self._memory.forget(world)

    @torch.inference_mode()
    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Return (chunk, stride, A) float32 for each question, of different worlds.

        Raises:
            InputError: a question does not fit the baseline.
        """
        every = self._memory.take(questions, self._look)
        found: dict[int, np.ndarray] = {}
        for group in self._memory.together(every, lambda asked: None):
            for asked, chunk in zip(group, self._answer(group), strict=True):
                found[asked.question.world] = chunk[: self.rhythm.chunk, :, : len(self._memory.body.actions)]
        return [found[question.world] for question in questions]

    def _look(self, cache: Cache, latents: Tensor, condition: Condition, group: Sequence[Asked]) -> None:
        """Take new frames into memory, and what is known after them."""
        known = [
            self.network.backbone.look(latents[:, frame : frame + 1], condition.frames(slice(frame, frame + 1)), cache)
            for frame in range(latents.shape[1])
        ]
        self._known[[asked.question.world for asked in group]] = known[-1]

    def _answer(self, group: Sequence[Asked]) -> np.ndarray:
        """Return (n, chunk, stride, A) for what is known of the newest frames."""
        chunk, stride, numbers = self.network.chunk
        questions, memory = [asked.question for asked in group], self._memory
        flight = np.zeros((len(questions), chunk, stride, numbers), np.float32)
        for row, question in enumerate(questions):
            flight[row, : len(question.in_flight), :, : question.in_flight.shape[-1]] = question.in_flight
        width = self.network.video.meaning.statistics.proprio.mean.shape[-1]
        noise = [torch.randn(self.network.chunk, generator=generator_of(question)) for question in questions]
        actions = self.network.act(
            self._known[[question.world for question in questions]],
            memory.tensor([q.proprio[-1] for q in questions], width),
            torch.from_numpy(flight).to(memory.device),
            torch.tensor([len(q.in_flight) for q in questions], device=memory.device),
            memory.named(group)[1],
            torch.stack(noise).to(memory.device),
        )
        return actions.cpu().numpy()
