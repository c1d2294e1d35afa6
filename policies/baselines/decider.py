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

SEED = 0


class BaselineDecider:
    """Decides for the arms of `nworld` worlds (fits the `Decider` contract).

    On a CPU each world is decided for alone: what comes out does not depend on who else asks. On a GPU the worlds that
    ask at the same time are one batch.
    """

    def __init__(self, network: Baseline, embodiment: int, rhythm: Rhythm, nworld: int):
        """Decide for arms of the embodiment with this number.

        Raises:
            InputError: the rhythm wants longer chunks than the baseline was trained for.
        """
        chunk = network.chunk[0]
        if rhythm.chunk > chunk:
            raise InputError(f"chunk = {rhythm.chunk}: this baseline was trained to decide {chunk} frames at most")
        self.network, self.rhythm, self._number = network, rhythm, embodiment
        self._body = network.video.meaning.embodiments[embodiment]
        self._device = next(network.backbone.parameters()).device
        self._together = nworld if self._device.type == "cuda" else 1
        self._caches = [network.backbone.cache(self._together, 0) for _ in range(nworld // self._together)]
        self._following = [-1] * nworld  # number of the frame that is to come next
        config = network.backbone.config
        self._known = torch.zeros(nworld, config.views * config.tokens, config.width, device=self._device)

    def forget(self, world: int) -> None:
        """Forget the frames of a world."""
        self._following[world] = -1
        self._caches[world // self._together].reset([world % self._together])

    @torch.inference_mode()
    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Return (chunk, stride, A) float32 for each question, of different worlds."""
        self._look(questions)
        found: dict[int, np.ndarray] = {}
        for begin in range(0, len(questions), self._together):
            asked = questions[begin : begin + self._together]
            for question, chunk in zip(asked, self._answer(asked), strict=True):
                found[question.world] = chunk[: self.rhythm.chunk, :, : len(self._body.actions)]
        return [found[question.world] for question in questions]

    def _look(self, questions: Sequence[Question]) -> None:
        """Take the frames that are new into memory; a world whose frames do not follow starts afresh."""
        groups: dict[tuple[int, int], list[tuple[Question, int, bool]]] = {}
        for question in sorted(questions, key=lambda q: q.world):
            following = self._following[question.world]
            fresh = question.first == 0 or not question.first <= following <= question.newest + 1
            if fresh:
                self.forget(question.world)
            skip = 0 if fresh else following - question.first
            key = question.world // self._together, len(question.proprio) - skip
            groups.setdefault(key, []).append((question, skip, fresh))
            self._following[question.world] = question.newest + 1
        for (number, new), group in groups.items():
            if not new:
                continue
            whole, rows = self._caches[number], [question.world % self._together for question, *_ in group]
            cache = whole if rows == list(range(whole.rows)) else whole.take(rows)
            scales, video = self.network.video.meaning.statistics, self.network.video
            pictures = {
                view.name: self._tensor([q.pictures[view.name][skip:] for q, skip, _ in group])
                for view in video.meaning.views
            }
            led_known = torch.ones(len(group), new, dtype=torch.bool, device=self._device)
            led_known[:, 0] = torch.tensor([not fresh for *_, fresh in group])
            condition = video.condition(
                *self._named([q for q, *_ in group]),
                self._tensor([q.proprio[skip:] for q, skip, _ in group], scales.proprio.mean.shape[-1]),
                self._tensor([q.led[skip:] for q, skip, _ in group], scales.actions.mean.shape[-1]),
                led_known=led_known,
            )
            latents = video.encode(pictures)
            for frame in range(new):
                here = slice(frame, frame + 1)
                known = self.network.backbone.look(latents[:, here], condition.frames(here), cache)
            self._known[[question.world for question, *_ in group]] = known
            if cache is not whole:
                whole.place(rows, cache)

    def _answer(self, questions: Sequence[Question]) -> np.ndarray:
        """Return (n, chunk, stride, A) for what is known of the newest frames."""
        chunk, stride, numbers = self.network.chunk
        flight = np.zeros((len(questions), chunk, stride, numbers), np.float32)
        for row, question in enumerate(questions):
            flight[row, : len(question.in_flight), :, : question.in_flight.shape[-1]] = question.in_flight
        width = self.network.video.meaning.statistics.proprio.mean.shape[-1]
        actions = self.network.act(
            self._known[[question.world for question in questions]],
            self._tensor([q.proprio[-1] for q in questions], width),
            torch.from_numpy(flight).to(self._device),
            torch.tensor([len(q.in_flight) for q in questions], device=self._device),
            self._named(questions)[1],
            torch.stack([self._noise(q) for q in questions]).to(self._device),
        )
        return actions.cpu().numpy()

    def _noise(self, question: Question) -> Tensor:
        """Return a world's own noise (chunk, stride, A): the same in every run, whoever else asks."""
        numbers = [SEED, question.episode & 0xFFFFFFFF, question.newest & 0xFFFFFFFF]
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
        return torch.randn(self.network.chunk, generator=generator)

    def _named(self, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
        """Return task and embodiment (n,)."""
        task = torch.tensor([question.task for question in questions], device=self._device)
        return task, torch.full_like(task, self._number)

    def _tensor(self, rows: Sequence[np.ndarray], width: int = 0) -> Tensor:
        """Return arrays as one tensor on the device; the last axis filled with zeros up to `width`."""
        values = torch.from_numpy(np.stack(rows)).to(self._device)
        return torch.nn.functional.pad(values, (0, width - values.shape[-1])) if width else values
