"""Whether a frame is still one of those that the data shows: the measure of a dream that has not fallen apart.

A frame counts if it lies as near to some recorded frame as recorded frames of other episodes do, the third of them
(Kynkäänniemi et al., "Improved Precision and Recall", arXiv 1904.06991, here in latents), and if its pictures have as
much detail as recorded ones: a blur of everything lies near to everything. What this says of frames of episodes that
were not looked at is told beside what it says of dreams.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

NEAREST = 3
MOST = 4096  # recorded frames that are compared with
TAIL = 0.005  # share of the recorded frames beyond each limit of detail


class Manifold:
    """The recorded frames that others are compared with."""

    def __init__(self, latents: Tensor, episodes: Tensor, details: Tensor) -> None:
        """Take recorded frames.

        Args:
            latents: (n, N, D).
            episodes: (n,) the episode of each.
            details: (m,) detail of recorded pictures, see `detail`.
        """
        chosen = _spaced(len(latents))
        self.real = latents[chosen].flatten(1).float()
        self.low, self.high = torch.quantile(details.float(), torch.tensor([TAIL, 1 - TAIL])).tolist()
        episode = episodes[chosen].to(self.real.device)
        far = []
        for rows in torch.arange(len(chosen)).split(512):
            away = torch.cdist(self.real[rows], self.real)
            away = away.masked_fill(episode[rows.to(episode.device), None] == episode, torch.inf)
            far.append(away.topk(min(NEAREST, away.shape[1]), largest=False).values[:, -1])
        # With a single episode there is no other: then the spread of all frames says how near is near.
        radius = torch.cat(far)
        self.radius = torch.where(torch.isfinite(radius), radius, self.real.std() * self.real.shape[1] ** 0.5)

    def near(self, latents: Tensor) -> Tensor:
        """Return (n,) bool, whether latents (n, N, D) lie near to a recorded frame."""
        away = [torch.cdist(part.flatten(1).float(), self.real) for part in latents.split(512)]
        return torch.cat([(a <= self.radius).any(1) for a in away])

    def holds(self, latents: Tensor, details: Tensor) -> Tensor:
        """Return (n,) bool, whether frames are like recorded ones, by latents and the detail of their pictures."""
        return self.near(latents) & (details >= self.low) & (details <= self.high)


def detail(pictures: Mapping[str, Tensor]) -> Tensor:
    """Return (n,) how much neighbouring pixels differ in pictures by view, (n, h, w, 3) in 0 … 1: root mean square."""
    total = [
        (p[:, 1:] - p[:, :-1]).square().mean((1, 2, 3)) + (p[:, :, 1:] - p[:, :, :-1]).square().mean((1, 2, 3))
        for p in pictures.values()
    ]
    return torch.stack(total).mean(0).sqrt()


def _spaced(n: int) -> Tensor:
    return torch.linspace(0, n - 1, min(n, MOST)).round().long()
