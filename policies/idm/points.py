"""Following points from one picture to the next: the flow of patches by iterated least squares, coarse to fine.

Lucas and Kanade's method in its inverse compositional form (Baker and Matthews, IJCV 2004). Nothing in it is learned:
it is exact from the first day on, to a few hundredths of a pixel where there is texture. An arm's motion is read from
that: trained for the same minutes on the same pictures, a convolutional network with a correlation volume was off by
five times as much.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

GRID = 8  # points along each side of a picture
HALF = 4  # [pixels] of a patch, to each side of its point
STEPS = (4, 3, 3)  # at a quarter, half and full resolution
DAMPING = (
    1e-4  # [1/pixel^2] of squared gradients: where there is less texture, a point stays where it was guessed to be
)
FLAT = 5e-4  # [1/pixel^2] of squared gradients, below which there is nothing to follow
NUMBERS = 6  # that `describe` gives for each point


def follow(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Follow a grid of points from one picture to another.

    Args:
        before, after: brightness 0..1, (n, height, width), both sides multiples of 4.

    Returns:
        how far each point went right and down [pixels], (n, points, 2); the mean squares and product of the gradients
        in its patch, xx, xy, yy [1/pixel^2], (n, points, 3): what is known along which direction; the root mean square
        of what differs in the patch after all, (n, points).
    """
    olds, news = [before[:, None]], [after[:, None]]
    for _ in STEPS[1:]:
        olds.insert(0, F.avg_pool2d(olds[0], 2))
        news.insert(0, F.avg_pool2d(news[0], 2))
    points = _points(before)
    offsets = _square(before)
    weight = torch.exp(-offsets.square().sum(-1) / (2 * (0.6 * HALF) ** 2))
    weight = weight / weight.sum()

    flow = before.new_zeros(len(before), len(points), 2)
    gradients, difference = flow, flow[..., 0]
    for steps, old, new in zip(STEPS, olds, news, strict=True):
        scale = before.shape[-1] / old.shape[-1]
        size = torch.tensor(old.shape[:1:-1], dtype=old.dtype, device=old.device)
        places = (points * size)[:, None] + offsets  # (points, patch, 2) [pixels]
        patch, right, down = _look(torch.cat([old, *_slopes(old)], 1), places[None], size)
        right, down = _centred(right, weight), _centred(down, weight)
        xx, xy, yy = ((weight * a * b).sum(-1) for a, b in ((right, right), (right, down), (down, down)))
        determinant = (xx + DAMPING) * (yy + DAMPING) - xy * xy
        flow = flow / scale
        for step in range(steps + 1):
            error = _centred(_look(new, places + flow[:, :, None], size)[0] - patch, weight)  # brightness may change
            if step < steps:
                x, y = (weight * right * error).sum(-1), (weight * down * error).sum(-1)
                move = torch.stack([(yy + DAMPING) * x - xy * y, (xx + DAMPING) * y - xy * x], -1)
                flow = flow - (move / determinant[..., None]).clamp(-1.0, 1.0)
        flow = flow * scale
        gradients, difference = torch.stack([xx, xy, yy], -1), (weight * error * error).sum(-1).sqrt()
    return flow, gradients, difference


def describe(flow: Tensor, gradients: Tensor, difference: Tensor) -> Tensor:
    """Return what a network is told of points that were followed, (..., points, NUMBERS), numbers of the order of one.

    An edge tells the motion across it and nothing of that along it: the flow is weighted by its gradients, so that
    only what was seen remains. Beside it: how much texture there is, along which direction, and how well the patch was
    found.
    """
    xx, xy, yy = gradients.unbind(-1)
    texture = xx + yy + FLAT
    across = torch.stack([xx * flow[..., 0] + xy * flow[..., 1], xy * flow[..., 0] + yy * flow[..., 1]], -1)
    return torch.stack(
        [
            *(across / texture[..., None] / 2.0).unbind(-1),
            (xx - yy) / texture,
            2.0 * xy / texture,
            (texture * 100.0).log() / 3.0,
            (difference + 1e-3).log() / 2.0 + 2.0,
        ],
        -1,
    )


def brightness(pictures: Tensor) -> Tensor:
    """Return the luma (..., height, width) of pictures (..., height, width, 3)."""
    return pictures @ pictures.new_tensor([0.299, 0.587, 0.114])


def _points(like: Tensor) -> Tensor:
    """Return the points' places (points, 2), x and y as shares of the picture."""
    line = (torch.arange(GRID, dtype=like.dtype, device=like.device) + 0.5) / GRID
    return torch.stack([line.repeat(GRID), line.repeat_interleave(GRID)], -1)


def _square(like: Tensor) -> Tensor:
    """Return the offsets (patch, 2) of a patch's pixels from its point [pixels]."""
    line = torch.arange(-HALF, HALF + 1, dtype=like.dtype, device=like.device)
    return torch.stack([line.repeat(len(line)), line.repeat_interleave(len(line))], -1)


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes right and down of an image (n, 1, h, w) [1/pixel]."""
    wide = F.pad(image, (1, 1, 1, 1), mode="replicate")
    return (wide[:, :, 1:-1, 2:] - wide[:, :, 1:-1, :-2]) / 2, (wide[:, :, 2:, 1:-1] - wide[:, :, :-2, 1:-1]) / 2


def _look(image: Tensor, places: Tensor, size: Tensor) -> Tensor:
    """Return the values (channels, n, points, patch) of images (n, channels, h, w) at places [pixels]."""
    grid = (2.0 * places / size - 1.0).expand(len(image), *places.shape[1:])
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False).movedim(1, 0)


def _centred(values: Tensor, weight: Tensor) -> Tensor:
    """Return patches (..., patch) less their weighted mean."""
    return values - (values * weight).sum(-1, keepdim=True)
