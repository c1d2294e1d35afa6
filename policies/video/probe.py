"""A probe: where the arm and the carton are, read from latents. It says how far dreams stray, in radians and metres.

A small convolutional network, trained for some hundred steps on recorded frames; the latents themselves are noised, so
that it reads those of dreams as well. It is no part of any policy. How wrong it is on frames that it was not trained on
is told with whatever it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assets.errors import InputError
from policies.video.tokenizer import Autoencoder

STEPS, BATCH, RATE = 600, 128, 2e-3
NOISE = 0.2  # on latents of unit variance, in training
STILL = 0.002  # [rad or m] what varies less is a constant


@dataclasses.dataclass(frozen=True)
class Grid:
    """How tokens lie in a picture: `views` pictures of `rows` x `columns` tokens of `height` x `width` latents."""

    views: int
    rows: int
    columns: int
    channels: int
    height: int
    width: int

    @staticmethod
    def of(tokenizer: Autoencoder, views: int) -> Grid:
        """Return how the tokens of a tokenizer lie."""
        return Grid(views, *tokenizer.grid, tokenizer.channels, *tokenizer.pack)

    def planes(self, latents: Tensor) -> Tensor:
        """Return latents (B, N, D) as pictures of latents (B, views * channels, h, w)."""
        x = latents.reshape(-1, self.views, self.rows, self.columns, self.channels, self.height, self.width)
        x = x.permute(0, 1, 4, 2, 5, 3, 6)
        return x.reshape(len(x), self.views * self.channels, self.rows * self.height, self.columns * self.width)


class Probe(nn.Module):
    """Reads K positions from latents."""

    mean: Tensor  # (K,) of the positions
    spread: Tensor

    def __init__(self, grid: Grid, numbers: int, width: int = 64) -> None:
        """Make an untrained one for so many numbers."""
        super().__init__()
        self.grid = grid
        high, wide = grid.rows * grid.height, grid.columns * grid.width
        self.inward = nn.Conv2d(grid.views * grid.channels, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(width, high, wide))
        self.further = nn.Conv2d(width, width, 3, padding=1)
        self.hidden = nn.Linear(width * -(-high // 2) * -(-wide // 2), 2 * width)
        self.drop = nn.Dropout(0.2)
        self.outward = nn.Linear(2 * width, numbers)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("spread", torch.ones(numbers))

    def forward(self, latents: Tensor) -> Tensor:
        """Return positions (..., K) [rad, m] for latents (..., N, D)."""
        x = F.silu(self.inward(self.grid.planes(latents.flatten(0, -3).to(self.mean))) + self.place)
        x = F.avg_pool2d(x + F.silu(self.further(x)), 2, ceil_mode=True)
        found = self.outward(self.drop(F.silu(self.hidden(x.flatten(1)))))
        return (found * self.spread + self.mean).unflatten(0, latents.shape[:-2])

    @torch.no_grad()
    def read(self, latents: Tensor, block: int = 1024) -> Tensor:
        """Return positions (n, K) for latents (n, N, D), some at a time."""
        return torch.cat([self(part.float()) for part in latents.split(block)])


def fit(
    grid: Grid,
    latents: Tensor,
    positions: Tensor,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Probe:
    """Return a probe that was trained on latents (n, N, D) whose positions (n, K) [rad, m] are known.

    The same data and seed give the same probe; random numbers elsewhere are not touched.

    Raises:
        InputError: nothing to read, no frames, or a position that is not finite.
    """
    if not positions.shape[1] or not len(latents):
        raise InputError(f"a probe of {positions.shape[1]} positions on {len(latents)} frames: both are needed")
    if not bool(torch.isfinite(positions).all()):
        raise InputError("a probe learns from recorded positions: some are not finite")
    device = latents.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        probe = Probe(grid, positions.shape[1]).to(device)
        spread = positions.std(0, unbiased=False)
        probe.mean.copy_(positions.mean(0))
        probe.spread.copy_(torch.where(spread < STILL, 1.0, spread))
        optimizer = torch.optim.AdamW(probe.parameters(), RATE, weight_decay=0.05)
        draw = torch.Generator().manual_seed(seed)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, (step + 1) / 20) * (1 - step / steps)
            rows = torch.randint(len(latents), (min(BATCH, len(latents)),), generator=draw).to(device)
            seen = latents[rows].float()
            off = (probe(seen + NOISE * torch.randn_like(seen)) - positions[rows]) / probe.spread
            loss = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress:
                progress(step + 1, steps)
    return probe.eval().requires_grad_(False)


def errors(probe: Probe, latents: Tensor, positions: Tensor, names: Sequence[str]) -> dict[str, float]:
    """Return by name how wrong the probe is on latents (n, N, D) of known positions (n, K): root mean square."""
    off = probe.read(latents) - positions
    return dict(zip(names, off.square().mean(0).sqrt().tolist(), strict=True))
