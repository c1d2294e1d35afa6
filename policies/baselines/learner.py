"""What `policies.training` trains here: a baseline, on the same windows as the video model.

In each window some frames are asked for the actions that follow, with the actions of none to a whole chunk of frames in
flight, as they will be asked in the loop.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from assets.errors import InputError
from policies.baselines.network import Baseline
from policies.data.windows import Batch
from policies.nn.optimizer import make_optimizer
from policies.video.learner import condition_of, latents_in

ASKED = 8  # frames of a window that a head is asked at


@dataclasses.dataclass(frozen=True)
class Asked:
    """n questions out of a batch, and their answers; see `Baseline.context`."""

    features: Tensor
    proprio: Tensor
    flight: Tensor
    count: Tensor
    embodiment: Tensor
    chunk: Tensor


class BaselineLearner:
    """Trains a `Baseline` on windows of pictures, or of latents (see `policies.video.learner.latents_of`)."""

    def __init__(self, network: Baseline, led_unknown: float = 0.5) -> None:
        """`led_unknown` is the share of windows in which past actions are hidden, lest the head copies them."""
        self.module, self.led_unknown = network, led_unknown

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch, with its parts; those are the head's."""
        asked = self._asked(batch)
        return self.module.head.loss(self._context(asked), self._told(asked))

    def optimizer(self, lr: float) -> Optimizer:
        """Return the optimizer of backbone and head."""
        return make_optimizer(self.module, lr)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint says of the baseline."""
        return self.module.about

    @torch.no_grad()
    def sample(self, batch: Batch, writer: SummaryWriter, step: int) -> None:
        """Tell how wrong the chunks are that the baseline would act; see `errors`."""
        for name, error in self.errors(batch).items():
            writer.add_scalar(f"sample/{name}", error, step)

    @torch.no_grad()
    def errors(self, batch: Batch) -> dict[str, float]:
        """Return root mean square errors of acted chunks: of joint targets [mrad], and of commands to the tool."""
        asked = self._asked(batch)
        noise = torch.randn(asked.chunk.shape).to(asked.chunk)
        given = (asked.features, asked.proprio, asked.flight, asked.count, asked.embodiment)
        wrong = (self.module.act(*given, noise) - asked.chunk).square().mean((1, 2))
        joints = (self.module.relative.target.to(wrong.device) >= 0)[asked.embodiment]
        widths = torch.tensor([len(e.actions) for e in self.module.video.meaning.embodiments], device=wrong.device)
        tool = (torch.arange(wrong.shape[1], device=wrong.device) < widths[asked.embodiment, None]) & ~joints
        kinds = {"joints_mrad": (joints, 1000.0), "tool": (tool, 1.0)}
        there = {name: (wrong[which], scale) for name, (which, scale) in kinds.items() if which.any()}
        return {name: scale * float(squares.mean().sqrt()) for name, (squares, scale) in there.items()}

    def _asked(self, batch: Batch) -> Asked:
        """Draw questions: a frame t, f frames in flight from it on, and the chunk after those."""
        chunk, (rows, frames) = self.module.chunk[0], batch.proprio.shape[:2]
        if not bool(batch.known.all()):
            raise InputError("a baseline learns from actions alone: label video first")
        if frames < 2 * chunk:
            raise InputError(f"windows of {frames} frames; a baseline with chunks of {chunk} wants {2 * chunk} or more")
        condition = condition_of(self.module.video, batch)
        told = torch.rand(rows, 1) >= self.led_unknown
        assert condition.actions_known is not None
        condition.actions_known = condition.actions_known & told.to(condition.actions_known.device)
        features = self.module.backbone.features(latents_in(self.module.video, batch), condition)
        count = torch.randint(chunk + 1, (rows, ASKED))
        at = (torch.rand(rows, ASKED) * (frames - chunk - count + 1)).long()
        row = torch.arange(rows)[:, None].expand(-1, ASKED).flatten().to(features.device)
        at, count = at.flatten().to(features.device), count.flatten().to(features.device)
        ahead = at[:, None] + torch.arange(chunk, device=features.device)
        return Asked(
            features[row, at],
            batch.proprio[row, at],
            batch.actions[row[:, None], ahead],
            count,
            batch.embodiment[row],
            batch.actions[row[:, None], ahead + count[:, None]],
        )

    def _context(self, asked: Asked) -> Tensor:
        return self.module.context(asked.features, asked.proprio, asked.flight, asked.count, asked.embodiment)

    def _told(self, asked: Asked) -> Tensor:
        """Return the chunks as the head is to tell them, (n, chunk * stride, A)."""
        return self.module.relative.encode(asked.chunk, asked.proprio, asked.embodiment).flatten(1, 2)
