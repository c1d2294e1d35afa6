"""The tokenizer: a compact convolutional autoencoder between pictures and continuous latents.

A picture is halved `log2(down)` times by moving pixels into channels (Shi et al., arXiv 1609.05158), so that nothing is
lost before it is weighed. The latents are normalized by running statistics and, in training, noised, so that the
decoder forgives what the video model imagines a little wrong. Patches of `pack` latents make one token.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from assets.errors import InputError

NOISE = 0.1  # on latents of unit variance, in training
EMPHASIS = 9.0  # weight of what moves or stands out, over that of the background
CONTRAST = 0.08  # difference of brightness (0 … 1) that stands out by half


class Convolution(nn.Module):
    """A convolution whose kernel is kept as a matrix: one that Muon can train, a decibel better in the same time."""

    def __init__(self, inward: int, outward: int, size: int) -> None:
        super().__init__()
        self.size = size
        bound = (inward * size * size) ** -0.5
        self.kernel = nn.Parameter(torch.empty(outward, inward * size * size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outward))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outward, h, w) for x (B, inward, h, w)."""
        kernel = self.kernel.unflatten(1, (-1, self.size, self.size))
        return F.conv2d(x, kernel, self.bias, padding=self.size // 2)


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            Convolution(width, width, 3),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            Convolution(width, width, 3),
        )
        nn.init.zeros_(self.get_parameter("layers.5.kernel"))  # begins as the identity

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, h, w) for x (B, width, h, w)."""
        return x + self.layers(x)


class Autoencoder(nn.Module):
    """Pictures (…, size, size, 3) to tokens (…, tokens, dim) and back.

    Attributes:
        size, channels, down, pack, width: as given.
        tokens, dim: tokens of a picture, numbers of a token.
    """

    def __init__(
        self, size: int = 64, channels: int = 8, down: int = 8, pack: tuple[int, int] = (2, 4), width: int = 64
    ) -> None:
        """Make it.

        Args:
            size: of the pictures, square [pixels].
            channels: of a latent.
            down: pixels of a latent's side, a power of two from 4.
            pack: rows and columns of latents that make a token.
            width: of the convolutions.

        Raises:
            InputError: sizes that do not divide.
        """
        super().__init__()
        halvings = round(math.log2(down)) if down > 0 else 0
        if halvings < 2 or 2**halvings != down or size % down:
            raise InputError(f"tokenizer: down = {down} must be a power of two from 4 that divides size = {size}")
        if width % 8 or width < 16:
            raise InputError(f"tokenizer: width = {width} must be a multiple of 8 from 16")
        side = size // down
        if side % pack[0] or side % pack[1]:
            raise InputError(f"tokenizer: {side} x {side} latents do not divide into tokens of {pack[0]} x {pack[1]}")
        self.size, self.channels, self.down, self.pack, self.width = size, channels, down, tuple(pack), width
        self.grid = side // pack[0], side // pack[1]
        self.tokens, self.dim = self.grid[0] * self.grid[1], pack[0] * pack[1] * channels
        # Finest pictures have half the channels: there are most pixels and least to say about each.
        widths = [width // 2] + [width] * (halvings - 1)
        encoder: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1)]
        for narrow, wide in itertools.pairwise(widths):
            encoder += [nn.SiLU(), nn.PixelUnshuffle(2), Convolution(4 * narrow, wide, 1), Residual(wide)]
        self.encoder = nn.Sequential(*encoder, nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1))
        self.normalize = nn.BatchNorm2d(channels, affine=False, momentum=0.05)
        decoder: list[nn.Module] = [Convolution(channels, width, 3), Residual(width)]
        for wide, narrow in itertools.pairwise(widths[::-1]):
            decoder += [Residual(wide), nn.SiLU(), Convolution(wide, 4 * narrow, 1), nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(*decoder, nn.SiLU(), nn.Conv2d(widths[0], 12, 3, padding=1), nn.PixelShuffle(2))

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def about(self) -> dict[str, Any]:
        """What it takes to make the same again."""
        return {n: getattr(self, n) for n in ("size", "channels", "down", "width")} | {"pack": list(self.pack)}

    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents (…, tokens, dim) of unit variance for pictures (…, size, size, 3), uint8 or 0 … 1.

        Raises:
            InputError: pictures of another size.
        """
        if pictures.shape[-3:] != (self.size, self.size, 3):
            given = " x ".join(str(n) for n in pictures.shape[-3:-1])
            raise InputError(f"tokenizer: pictures of {self.size} x {self.size} pixels are wanted, not {given}")
        x = self.normalize(self.encoder(self._planes(pictures.reshape(-1, *pictures.shape[-3:]))))
        (rows, columns), (height, width) = self.grid, self.pack
        x = x.view(-1, self.channels, rows, height, columns, width).permute(0, 2, 4, 1, 3, 5)
        return x.reshape(*pictures.shape[:-3], self.tokens, self.dim)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (…, size, size, 3) in 0 … 1 (a little beyond, where it is unsure) for (…, tokens, dim)."""
        (rows, columns), (height, width) = self.grid, self.pack
        x = latents.reshape(-1, rows, columns, self.channels, height, width).permute(0, 3, 1, 4, 2, 5)
        x = x.reshape(-1, self.channels, rows * height, columns * width).to(self.dtype)
        x = self.decoder(x.contiguous(memory_format=torch.channels_last)).float() + 0.5
        return x.permute(0, 2, 3, 1).reshape(*latents.shape[:-2], self.size, self.size, 3)

    def pictures(self, latents: Tensor) -> Tensor:
        """Return uint8 pictures (…, size, size, 3) for latents (…, tokens, dim)."""
        return (self.decode(latents).clamp(0, 1) * 255).round().to(torch.uint8)

    def loss(self, views: Sequence[Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return the loss of windows seen by some cameras, each (B, T, size, size, 3) uint8, and parts of it.

        Plain square errors learn the background alone: what differs from a camera's median picture, and what moves
        within a window, weighs up to ten times as much.

        Returns:
            loss: mean of absolute and square error, weighted.
            error: mean square error, of brightness 0 … 1.
            standing_out: the same, weighted by what stands out.
        """
        # All cameras at once, so that the running statistics are those that each batch was normalized with.
        latents = self.encode(torch.stack(list(views)))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        decoded = self.decode(latents + NOISE * noise)
        wanted = torch.stack([view.float() / 255 for view in views])
        weight = torch.stack([standing_out(view) for view in wanted])[..., None]
        error = decoded - wanted
        square = error.square()
        heavy = (1 + EMPHASIS * weight) / (1 + EMPHASIS * weight.mean())
        return {
            "loss": ((error.abs() + 4 * square) * heavy).mean(),
            "error": square.detach().mean(),
            "standing_out": (square.detach() * weight).mean() / weight.mean().clamp(min=1e-6),
        }

    def _planes(self, pictures: Tensor) -> Tensor:
        """Return (B, 3, size, size) around zero, for pictures (B, size, size, 3)."""
        scale = 255.0 if pictures.dtype == torch.uint8 else 1.0
        # The permuted view is channels-last in memory already, which the convolutions like.
        return (pictures.to(self.dtype) / scale - 0.5).permute(0, 3, 1, 2)


def standing_out(pictures: Tensor) -> Tensor:
    """Return how much each pixel of windows (B, T, h, w, 3) in 0 … 1 stands out, (B, T, h, w) in 0 … 1."""
    background = pictures.flatten(0, 1)[:: max(1, pictures.shape[0] * pictures.shape[1] // 64)].median(0).values
    apart = (pictures - background).abs().amax(-1)
    if pictures.shape[1] > 1:
        moved = (pictures[:, 1:] - pictures[:, :-1]).abs().amax(-1)
        apart = torch.maximum(apart, F.pad(moved, (0, 0, 0, 0, 1, 0)))
    apart = F.max_pool2d(apart.flatten(0, 1)[:, None], 3, stride=1, padding=1)[:, 0].view(apart.shape)
    return apart / (apart + CONTRAST)
