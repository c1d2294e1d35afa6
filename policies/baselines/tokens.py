"""Baseline A: each number of each action is one of 256 bins, told one after the other (RT-1, arXiv 2212.06817).

`Codes` is what tells codes one after the other; FAST's are told by the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.baselines.backbone import Decoder

BINS = 256
IGNORED = -100  # a code that is no code: sequences end before it


class Codes(nn.Module):
    """Predicts each code from the context and the codes before it."""

    def __init__(self, decoder: Decoder, vocabulary: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.begin = nn.Parameter(0.1 * torch.randn(decoder.width))
        self.code = nn.Embedding(vocabulary, decoder.width)
        nn.init.normal_(self.code.weight, std=0.3)
        self.outward = nn.Linear(decoder.width, vocabulary)
        nn.init.zeros_(self.outward.weight)

    def forward(self, context: Tensor, codes: Tensor) -> Tensor:
        """Return logits (n, l + 1, vocabulary) of the codes (n, l), and of the one that follows them."""
        begin = self.begin.expand(len(codes), 1, -1)
        tokens = torch.cat([begin, self.code(codes)], dim=1)
        return self.outward(self.decoder(context, tokens, causal=True)).float()

    def loss(self, context: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Return the cross entropy [nat per code] of codes (n, l), `IGNORED` beyond their ends, and the share right."""
        logits = self(context, codes[:, :-1].clamp(min=0))
        right = (logits.detach().argmax(-1) == codes)[codes != IGNORED]
        return {
            "loss": F.cross_entropy(logits.flatten(0, 1), codes.flatten(), ignore_index=IGNORED),
            "right": right.float().mean(),
        }


class Tokens(nn.Module):
    """The head: chunks of `steps` actions of `numbers`, as steps * numbers codes."""

    def __init__(self, decoder: Decoder, steps: int, numbers: int) -> None:
        super().__init__()
        self.codes = Codes(decoder, BINS)
        self.steps, self.numbers = steps, numbers
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.full((numbers,), -1.0))
        self.register_buffer("high", torch.full((numbers,), 1.0))

    @property
    def decoder(self) -> Decoder:
        """What the codes are told by."""
        return self.codes.decoder

    def fit(self, chunks: Tensor) -> None:
        """Lay the bins between the least and the greatest of chunks (n, steps, numbers)."""
        self.low.copy_(chunks.amin((0, 1)))
        self.high.copy_(chunks.amax((0, 1)))

    def encode(self, chunks: Tensor) -> Tensor:
        """Return the bins (n, steps * numbers), int64, that chunks (n, steps, numbers) fall into."""
        share = (chunks - self.low) / (self.high - self.low).clamp(min=1e-6)
        return (share * BINS).long().clamp(0, BINS - 1).flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the middles (n, steps, numbers) of bins (n, steps * numbers)."""
        share = (codes.unflatten(1, (self.steps, self.numbers)).float() + 0.5) / BINS
        return self.low + share * (self.high - self.low)

    def loss(self, context: Tensor, chunks: Tensor) -> dict[str, Tensor]:
        """Return the loss of normalized chunks (n, steps, numbers), and the share of right codes."""
        return self.codes.loss(context, self.encode(chunks))

    def act(self, context: Tensor, noise: Tensor) -> Tensor:
        """Return the chunk (n, steps, numbers) of the likeliest codes, each after those before; noise has no part."""
        codes = torch.zeros(len(noise), 0, dtype=torch.long, device=noise.device)
        for _ in range(self.steps * self.numbers):
            codes = torch.cat([codes, self.codes(context, codes)[:, -1:].argmax(-1)], dim=1)
        return self.decode(codes)
