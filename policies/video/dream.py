"""Dreams: the video model runs freely from a start that it was shown, as long as wished, hundreds of them at once.

The baselines say what a dream is worth: nothing moves any more (`copy_last`), or everything goes on moving as it did
(`linear_motion`). Pictures here are float in 0 … 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from policies.video.condition import Condition
from policies.video.flow import imagine, noise_for, remember
from policies.video.model import VideoModel
from policies.video.network import VideoNetwork

CHANGED = 0.08  # difference of brightness from which a pixel counts as changed
FARTHEST = 6  # [pixels] how far linear motion looks for what moved between two pictures

# From frames (B, n, N, D), and how many of them are past, to the actions that lead to the others (B, ., stride * A),
# normalized.
Translate = Callable[[Tensor, int], Tensor]
# Of the noise: one for all rows, or one for each, so that a dream is the same whoever dreams beside it.
Draws = torch.Generator | Sequence[torch.Generator] | None


def dream(
    network: VideoNetwork,
    seen: Tensor,
    condition: Condition,
    frames: int,
    led: Tensor | None = None,
    steps: int = 3,
    settled: float = 0.0,
    generator: Draws = None,
    translate: Translate | None = None,
    history: int = 4,
) -> Iterator[Tensor]:
    """Yield the frames that follow, a chunk (B, n, N, D) at a time; memory does not grow with their number.

    Args:
        network: the video network.
        seen: (B, S, N, D) frames that have been seen; the newest `context` of them are used.
        condition: of these frames.
        frames: how many to imagine.
        led: (B, n, stride * A) normalized actions that lead to the first n of them: a replay in the dream. After them,
            and with None, the model acts.
        steps: denoising steps for each frame.
        settled: see `imagine`.
        generator: of the noise.
        translate: an inverse dynamics model in the loop (`policies.video.translation`): every chunk is imagined,
            translated into actions, and imagined again as what these actions do.
        history: frames before the chunk that `translate` is given.
    """
    model, c = network.model, network.model.config
    newest = slice(max(0, seen.shape[1] - c.context), None)
    seen, condition = seen[:, newest], condition.frames(newest)
    ahead = 2 * c.chunk
    cache = model.cache(len(seen), ahead)
    remember(model, cache, seen, condition)
    past = seen[:, -history:]
    for begin in range(0, frames, c.chunk):
        count = min(c.chunk, frames - begin)
        noise = _noise(model, len(seen), ahead if translate else count, generator)
        if translate is None:
            coming = _replayed(condition, led, begin, count)
        else:
            cache.mark()
            idea = imagine(model, cache, condition.ahead(None), noise, steps, settled)
            cache.rewind()
            coming = condition.ahead(translate(torch.cat([past, idea], dim=1), past.shape[1])[:, :count])
        chunk = imagine(model, cache, coming, noise[:, :count], steps, settled)
        past = torch.cat([past, chunk], dim=1)[:, -history:]
        yield chunk


def _noise(model: VideoModel, rows: int, frames: int, generator: Draws) -> Tensor:
    if not isinstance(generator, Sequence):
        return noise_for(model, rows, frames, generator)
    return torch.cat([noise_for(model, 1, frames, one) for one in generator])


def _replayed(condition: Condition, led: Tensor | None, begin: int, count: int) -> Condition:
    """Return the conditions of `count` frames from `begin` on, with the actions as far as there are any."""
    if led is None or begin >= led.shape[1]:
        return condition.ahead(None)
    actions = led[:, begin : begin + count]
    known = torch.arange(count, device=led.device) < actions.shape[1]
    actions = F.pad(actions, (0, 0, 0, count - actions.shape[1]))
    return condition.ahead(actions, known.expand(len(led), -1))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A dream beside the truth, T frames.

    Attributes:
        imagined: (B, T, N, D).
        psnr: (T,) signal-to-noise ratio of the pictures, all views [dB].
        changed_psnr: (T,) the same of the pixels that differ from the last picture seen.
    """

    imagined: Tensor
    psnr: Tensor
    changed_psnr: Tensor


def compare(
    network: VideoNetwork,
    truth: Tensor,
    condition: Condition,
    seen: int,
    told: bool = False,
    steps: int = 3,
    settled: float = 0.0,
    generator: Draws = None,
    pictures: dict[str, Tensor] | None = None,
) -> Comparison:
    """Dream on from the first `seen` of the frames `truth` (B, T, N, D) and compare with the rest.

    Args:
        network: the video network.
        truth: what was seen and what came.
        condition: of all of it.
        seen: frames that are shown.
        told: whether the dream is told the actions.
        steps, settled, generator: see `dream`.
        pictures: the true ones by view, (B, T, size, size, 3) in 0 … 1; by default what the tokenizer makes of `truth`.
    """
    led = condition.actions[:, seen:] if told and condition.actions is not None else None
    shown = truth[:, :seen], condition.frames(slice(0, seen)), truth.shape[1] - seen
    imagined = torch.cat(list(dream(network, *shown, led, steps, settled, generator)), dim=1)
    wanted = network.decode(truth) if pictures is None else pictures
    pairs = [(p, wanted[name][:, seen:], wanted[name][:, seen - 1]) for name, p in network.decode(imagined).items()]
    return Comparison(imagined, psnr(pairs), psnr(pairs, changed=True))


def psnr(pairs: list[tuple[Tensor, Tensor, Tensor]], changed: bool = False) -> Tensor:
    """Return the signal-to-noise ratio [dB] at each horizon (T,), over all rows and views.

    Args:
        pairs: for each view: pictures, the true ones, both (B, T, h, w, 3), and the last one seen (B, h, w, 3).
        changed: count only the pixels in which the truth differs from the last one seen.
    """
    errors, weights = [], []
    for ours, truth, last in pairs:
        square = (ours - truth).square().mean(-1)
        weight = (truth - last[:, None]).abs().amax(-1) > CHANGED if changed else torch.ones_like(square)
        errors.append((square * weight).sum((0, 2, 3)))
        weights.append(weight.float().sum((0, 2, 3)))
    mean = torch.stack(errors).sum(0) / torch.stack(weights).sum(0).clamp(min=1)
    return -10 * torch.log10(mean.clamp(min=1e-10))


def copy_last(seen: Tensor, frames: int) -> Tensor:
    """Return (B, frames, h, w, 3): the last of the pictures seen (B, S, h, w, 3), again and again."""
    return seen[:, -1:].expand(-1, frames, -1, -1, -1)


def linear_motion(seen: Tensor, frames: int) -> Tensor:
    """Return (B, frames, h, w, 3): what moved in the last pictures seen (B, S, h, w, 3) goes on as it did.

    Motion is found by matching the surroundings of each pixel two pictures back. Behind what moves on appears what was
    most often seen there.
    """
    last = seen[:, -1]
    span = min(2, seen.shape[1] - 1)
    if span < 1:
        return copy_last(seen, frames)
    (height, width), before = last.shape[1:3], seen[:, -1 - span]
    reach = range(-FARTHEST, FARTHEST + 1)
    shifts = sorted(((y, x) for y in reach for x in reach), key=lambda s: s[0] ** 2 + s[1] ** 2)
    padded = F.pad(before.movedim(-1, 1), (FARTHEST,) * 4, mode="replicate")
    costs = []
    for y, x in shifts:
        there = padded[:, :, FARTHEST - y : FARTHEST - y + height, FARTHEST - x : FARTHEST - x + width]
        error = (last.movedim(-1, 1) - there).square().mean(1, keepdim=True)
        # A little against motion where nothing tells: a plain surface matches everywhere.
        costs.append(F.avg_pool2d(error, 5, 1, 2, count_include_pad=False)[:, 0] + 1e-5 * (y * y + x * x) ** 0.5)
    flow = torch.tensor(shifts, device=seen.device)[torch.stack(costs).argmin(0)].float() / span
    moves = flow.abs().amax(-1) > 0
    background = seen[:, -16:].median(1).values
    stays = torch.where(moves[..., None], background, last)
    row, y, x = moves.nonzero(as_tuple=True)
    colours, speed = last[row, y, x], flow[row, y, x]
    future = []
    for ahead in range(1, frames + 1):
        picture = stays.clone()
        to_y, to_x = (y + speed[:, 0] * ahead).round().long(), (x + speed[:, 1] * ahead).round().long()
        inside = (to_y >= 0) & (to_y < height) & (to_x >= 0) & (to_x < width)
        picture[row[inside], to_y[inside], to_x[inside]] = colours[inside]
        future.append(picture)
    return torch.stack(future, dim=1)
