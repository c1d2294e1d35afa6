"""Flow matching: how noise is drawn in training, and how frames are imagined from noise.

A frame at level s is (1 - s) x + s e with e unit noise: level 1 is noise alone, level 0 the frame. From a prediction of
x, the flow leads straight from the noised frame to it (Lipman et al., arXiv 2210.02747).
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from assets.errors import InputError
from policies.video.cache import Cache
from policies.video.condition import Condition

if TYPE_CHECKING:
    from policies.video.model import VideoModel


@dataclasses.dataclass(frozen=True)
class Known:
    """What the model is told in training, bool (B, T): body and actions of the context, actions of the question."""

    body: Tensor
    actions: Tensor
    asked: Tensor


def at_level(latents: Tensor, level: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return latents (B, T, N, D) at noise levels (B, T)."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return torch.lerp(latents, noise, level[..., None, None].to(latents.dtype))


def draw_levels(rows: int, frames: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Return noise levels (rows, frames), each its own: a quarter pure noise, where every imagination begins."""
    inner = torch.sigmoid(0.4 + torch.randn(rows, frames, generator=generator))
    blind = torch.rand(rows, frames, generator=generator) < 0.25
    return torch.where(blind, 1.0, inner).to(device)


def draw_known(
    rows: int, frames: int, chunk: int, generator: torch.Generator | None, device: torch.device | str
) -> Known:
    """Draw what is known, in runs of a chunk, as it will be when the model runs.

    A run of context is real (body and actions known), was in flight (actions known) or is only imagined (neither). Many
    rows are real throughout, since the far past always is. Of every other run the actions that lead to it are known.
    """
    runs = frames // chunk + 2
    begin = torch.randint(chunk, (rows, 1), generator=generator)
    run = (torch.arange(frames) + begin) // chunk
    real_share = (1.6 * torch.rand(rows, 1, generator=generator)).clamp(max=1.0)
    draw = torch.rand(rows, runs, generator=generator)
    body = draw < real_share
    actions = body | (draw < (1 + real_share) / 2)
    asked = torch.rand(rows, runs, generator=generator) < 0.5
    return Known(*(x.gather(1, run).to(device) for x in (body, actions, asked)))


def levels(steps: int, shift: float = 1.0) -> list[float]:
    """Return `steps` + 1 noise levels from 1 down to 0; a `shift` over 1 lingers at high ones (arXiv 2403.03206).

    Raises:
        InputError: fewer than one step.
    """
    if steps < 1:
        raise InputError(f"denoising steps = {steps} must be at least 1")
    even = [1 - i / steps for i in range(steps + 1)]
    return [shift * s / (1 + (shift - 1) * s) for s in even]


@torch.no_grad()
def imagine(
    model: VideoModel,
    cache: Cache,
    condition: Condition,
    noise: Tensor,
    steps: int = 3,
    settled: float = 0.0,
    shift: float = 1.0,
) -> Tensor:
    """Return the next frames (B, T, N, D), one after another; they are left in the cache.

    Mark the cache before and rewind it after to keep only what is real.

    Args:
        model: the video model.
        cache: what was seen, a stream for each row.
        condition: of these frames; their bodies are as a rule unknown, their actions as far as they are in flight.
        noise: (B, T, N, D) unit noise from which the frames are made; `noise_for` draws it.
        steps: denoising steps for each frame.
        settled: noise level at which an imagined frame becomes context: the model then trusts it less.
        shift: see `levels`.
    """
    schedule = levels(steps, shift)
    imagined = []
    for number in range(noise.shape[1]):
        now = condition.frames(slice(number, number + 1))
        frame = noise[:, number : number + 1].to(cache.previous)
        for level, following in itertools.pairwise(schedule):
            clean = model.step(frame, frame.new_full(frame.shape[:1], level), now, cache)
            frame = torch.lerp(clean, frame, following / level)
        imagined.append(frame)
        # The noise that the frame came from serves again: nothing else is drawn, and rows stay independent.
        frame = torch.lerp(frame, noise[:, number : number + 1].to(frame), settled)
        model.step(frame, frame.new_full(frame.shape[:1], settled), now, cache, write=True)
    return torch.cat(imagined, dim=1)


def noise_for(model: VideoModel, rows: int, frames: int, generator: torch.Generator | None = None) -> Tensor:
    """Return unit noise (rows, frames, N, D) for `imagine`, drawn on the CPU: the same on every device."""
    c = model.config
    return torch.randn(rows, frames, c.views * c.tokens, c.latent, generator=generator)


@torch.no_grad()
def remember(model: VideoModel, cache: Cache, latents: Tensor, condition: Condition) -> None:
    """Append real frames (B, T, N, D) with their conditions to the cache."""
    for number in range(latents.shape[1]):
        now = slice(number, number + 1)
        frame = latents[:, now].to(cache.previous)
        model.step(frame, torch.zeros_like(frame[:, 0, 0, 0]), condition.frames(now), cache, write=True)
