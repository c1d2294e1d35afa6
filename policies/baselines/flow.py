"""Baseline B: a chunk of continuous actions, made from noise by flow matching.

Chunks as in ACT (Zhao et al., arXiv 2304.13705), the flow as in π0 (Black et al., arXiv 2410.24164): all actions of a
chunk see each other. Like the video model, the head predicts what is without noise.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.baselines.backbone import Decoder
from policies.nn.layers import waves
from policies.video.condition import WAVES
from policies.video.flow import draw_levels, levels

DENOISING = 10  # steps


class Flow(nn.Module):
    """The head: chunks of actions of `numbers`, one token an action."""

    def __init__(self, decoder: Decoder, numbers: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.inward = nn.Linear(numbers, decoder.width)
        self.level = nn.Linear(WAVES, decoder.width)
        self.mix = nn.Linear(decoder.width, decoder.width)
        self.outward = nn.Linear(decoder.width, numbers)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)
        self.denoising = DENOISING

    def forward(self, context: Tensor, noised: Tensor, level: Tensor) -> Tensor:
        """Return the chunk (n, steps, numbers) predicted from one that is noised at `level` (n,)."""
        tokens = self.mix(F.silu(self.inward(noised) + self.level(waves(level, WAVES))[:, None]))
        return self.outward(self.decoder(context, tokens, causal=False)).float()

    def loss(self, context: Tensor, chunks: Tensor) -> dict[str, Tensor]:
        """Return the loss of normalized chunks (n, steps, numbers), and the error from pure noise alone."""
        level = draw_levels(len(chunks), 1, None, chunks.device)[:, 0]
        noise = torch.randn(chunks.shape).to(chunks)  # drawn on the CPU: the same on every device
        noised = torch.lerp(chunks, noise, level[:, None, None])
        error = (self(context, noised, level) - chunks).square().mean((1, 2))
        blind = (level == 1).float()
        return {
            "loss": (error / level.clamp(min=0.2).square()).mean(),
            "error": (error.detach() * blind).sum() / blind.sum().clamp(min=1),
        }

    def act(self, context: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (n, steps, numbers) that the flow leads to from unit noise of its shape."""
        chunk = noise
        for level, following in itertools.pairwise(levels(self.denoising)):
            clean = self(context, chunk, chunk.new_full(chunk.shape[:1], level))
            chunk = torch.lerp(clean, chunk, following / level)
        return chunk
