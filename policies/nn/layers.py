"""The parts of a transformer, small and plain: norm, rotary positions, attention, feedforward, adaptive norm.

Attention is written out as matmul, softmax, matmul: on a CPU, the bfloat16 backward of torch's fused attention is
several times slower.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm(x: Tensor) -> Tensor:
    """Layer norm over the last dimension, without weights.

    Root-mean-square norm would do as well (Zhang and Sennrich, arXiv 1910.07467), but on a CPU torch has no kernel for
    it: forward and backward together took six times as long in bfloat16.
    """
    return F.layer_norm(x, (x.shape[-1],), eps=1e-6)


def rotary(positions: Tensor, width: int, longest: float = 4096.0) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (..., width / 2) by which queries and keys at `positions` (...) are turned.

    The scores then depend on distances alone (Su et al., arXiv 2104.09864). Angles are worked out in double precision:
    a stream may run for hours.

    Args:
        positions: of the frames, integer or real.
        width: of a head.
        longest: wavelength of the slowest turn, in positions.
    """
    turns = torch.arange(width // 2, device=positions.device, dtype=torch.float64) / max(width // 2 - 1, 1)
    angles = positions.double()[..., None] * (longest / (2 * math.pi)) ** -turns
    return angles.cos().float(), angles.sin().float()


def turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn x (..., width) by rotary angles (..., width / 2): channel i with channel i + width / 2."""
    cosine, sine = cosine.to(x.dtype), sine.to(x.dtype)
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * cosine - right * sine, left * sine + right * cosine], dim=-1)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the softmax-weighted values (..., n, width) for queries (..., n, width), keys and values (..., m, width).

    Args:
        query, key, value: as said; leading dimensions broadcast.
        mask: added to the scores (..., n, m): 0 where a query may look, -inf where not.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return scores.softmax(-1) @ value


class Attention(nn.Module):
    """Attention among all of a set, not causal, with normalized queries and keys (Henry et al., arXiv 2010.04245)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width, bias=False)
        self.outward = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.outward.weight)  # a block begins as the identity

    def forward(self, x: Tensor, mask: Tensor | None = None, positions: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Mix x (..., n, width); `mask` broadcasts to (..., heads, n, n), `positions` are `rotary` of n positions."""
        query, key, value = self.inward(x).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-2, -3)
        query, key = norm(query), norm(key)
        if positions is not None:
            query, key = turn(query, *positions), turn(key, *positions)
        return self.outward(attend(query, key, value, mask).transpose(-2, -3).flatten(-2))


class Feedforward(nn.Module):
    """Two layers with a squared ReLU between (So et al., arXiv 2109.08668): cheap, no worse than gated ones."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inward = nn.Linear(width, hidden, bias=False)
        self.outward = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.outward.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) for x (..., width)."""
        return self.outward(F.relu(self.inward(x)).square())


class Modulation(nn.Module):
    """Adaptive norm, one projection shared by all blocks (Chen et al., PixArt-α, arXiv 2310.00426).

    A condition (..., condition) becomes `count` pairs of scale and shift; each block adds its own offsets, `Offsets`.
    """

    def __init__(self, condition: int, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.project = nn.Linear(condition, 2 * count * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, condition: Tensor) -> Tensor:
        """Return scales and shifts (count, 2, ..., width)."""
        return self.project(F.silu(condition)).unflatten(-1, (self.count, 2, -1)).movedim((-3, -2), (0, 1))


def modulate(x: Tensor, scale_and_shift: Tensor, offset: Tensor) -> Tensor:
    """Normalize x (..., n, width), then scale and shift it.

    Args:
        x: the tokens.
        scale_and_shift: (2, ..., width) of `Modulation`, the same for all n tokens.
        offset: (2, width), the block's own.
    """
    scale, shift = scale_and_shift + offset.to(scale_and_shift.dtype).view(2, *[1] * (scale_and_shift.dim() - 2), -1)
    return torch.addcmul(shift[..., None, :], norm(x), 1.0 + scale[..., None, :])


def waves(level: Tensor, width: int) -> Tensor:
    """Return features (..., width) of a noise level (...) in 0 … 1: sines and cosines of growing frequency."""
    frequency = torch.exp(torch.linspace(0.0, math.log(200.0), width // 2, device=level.device))
    angle = level[..., None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
