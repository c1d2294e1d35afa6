"""What all baselines share: the video model's body over the frames that were seen, and a decoder from it to actions.

The body is a `VideoModel` to the last weight, so that a baseline can begin from one that was trained on video; what it
knows of a frame just before it would predict the next one is what the decoder looks at.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.nn.layers import Attention, Feedforward, norm
from policies.video.cache import Cache
from policies.video.condition import Condition
from policies.video.model import VideoModel


class Backbone(VideoModel):
    """A video model that does not predict frames, but tells what it knows of them."""

    def features(self, latents: Tensor, condition: Condition) -> Tensor:
        """Return what is known of each frame (B, T, N, width), from it and those before, for latents (B, T, N, D)."""
        before = torch.cat([torch.zeros_like(latents[:, :1]), latents[:, :-1]], dim=1)
        vector = self.condition(latents.new_zeros(latents.shape[:2]), condition)
        return self._features(latents[:, None], before[:, None], vector[:, None])[:, 0].float()

    def look(self, latents: Tensor, condition: Condition, cache: Cache) -> Tensor:
        """Take one real frame (B, 1, N, D) into the cache; return what is then known of it, (B, N, width)."""
        vector = self.condition(latents.new_zeros(latents.shape[:2]), condition)
        before = cache.previous[:, None, None]
        known = self._features(latents[:, None], before, vector[:, None], cache, write=True)
        cache.advance(latents[:, 0])
        return known[:, 0, 0].float()


class DecoderBlock(nn.Module):
    """Attention among context and action tokens, then feedforward."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feedforward = Feedforward(width, hidden * width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (n, tokens, width); the mask is added to the scores."""
        x = x + self.attention(norm(x), mask)
        return x + self.feedforward(norm(x))


class Decoder(nn.Module):
    """Action tokens that look at a frame, at the actions in flight, and at each other.

    The same for every baseline: what the tokens are is the head's business.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, depth: int, seen: int, flight: tuple[int, int], length: int
    ):
        """Make it.

        Args:
            width, heads, hidden: as of the backbone.
            depth: blocks.
            seen: tokens of a frame.
            flight: frames that can be in flight at most, numbers of the actions of each.
            length: action tokens at most.
        """
        super().__init__()
        self.width = width
        self.flying = nn.Linear(flight[1], width)
        self.nothing = nn.Parameter(0.1 * torch.randn(width))
        self.context_place = nn.Parameter(0.02 * torch.randn(seen + flight[0], width))
        self.token_place = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, hidden) for _ in range(depth))

    def context(self, features: Tensor, flight: Tensor, count: Tensor) -> Tensor:
        """Return what the tokens may look at, (n, seen + frames, width).

        Args:
            features: (n, seen, width) of the newest frame.
            flight: (n, frames, numbers) normalized actions.
            count: (n,) how many frames of them are in flight.
        """
        there = (torch.arange(flight.shape[1], device=flight.device) < count[:, None])[..., None]
        flying = torch.where(there, self.flying(flight), self.nothing)
        return torch.cat([features, flying], dim=1) + self.context_place

    def forward(self, context: Tensor, tokens: Tensor, causal: bool) -> Tensor:
        """Return (n, l, width) for tokens (n, l, width), which see earlier ones and themselves, or all of them."""
        before, length = context.shape[1], tokens.shape[1]
        mask = torch.zeros(before + length, before + length, device=tokens.device)
        mask[:before, before:] = -torch.inf
        if causal:
            mask[before:, before:] = torch.full((length, length), -torch.inf, device=tokens.device).triu(1)
        x = torch.cat([context, tokens + self.token_place[:length]], dim=1)
        for block in self.blocks:
            x = block(x, mask)
        return norm(x[:, before:])
