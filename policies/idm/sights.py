"""A dataset seen once: following points takes most of the time of training, and gives the same every time.

windows = Windows([sights_of(prepared, model)], length=14)       # holds what was seen in the place of pictures
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from policies.data.frames import Prepared
from policies.idm.forms import Sight
from policies.idm.model import InverseDynamics
from policies.idm.parts import SMALL
from policies.idm.points import GRID, NUMBERS
from policies.video.network import VideoNetwork

BLOCK = 64  # frames seen at once
POINTS = GRID * GRID * NUMBERS  # numbers of a frame that tell of its points; its small picture follows


def sights_of(
    prepared: Prepared,
    module: InverseDynamics,
    video: VideoNetwork | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Return a dataset with what is seen of each picture and the one before it, float16 (n, numbers) in memory.

    Args:
        prepared: the dataset.
        module: whose views are seen.
        video: whose tokenizer renders the pictures first, so that reading rendered pictures is learned too.
        progress: is told the frames seen so far and in all.
    """
    total, views = int(prepared.starts[-1]), module.config.views
    seen = {view: np.zeros((total, POINTS + 3 * SMALL * SMALL), np.float16) for view in views}
    for begin in range(0, total, BLOCK):
        # One frame more at the front; of an episode's first frame, what leads to it is never looked at.
        first, last = max(begin - 1, 0), min(begin + BLOCK, total)
        frames = {view: torch.from_numpy(np.array(prepared.frames[view][first:last]))[None] for view in views}
        if video is not None:
            frames = video.decode(video.encode(frames))
        sight = module.see(frames)
        points, small = sight.points[0].flatten(2), sight.small[0].unflatten(1, (len(views), -1)).flatten(2)
        for number, view in enumerate(views):
            seen[view][first + 1 : last, :POINTS] = points[:, number].numpy()
            seen[view][begin:last, POINTS:] = small[begin - first :, number].numpy()
        if progress:
            progress(last, total)
    return dataclasses.replace(prepared, frames=seen)


def recall(frames: Mapping[str, Tensor], views: tuple[str, ...]) -> Sight:
    """Return what was seen of windows, by view (B, W, numbers)."""
    seen = torch.stack([frames[view] for view in views], 2).float()
    points = seen[:, 1:, :, :POINTS].unflatten(-1, (GRID * GRID, NUMBERS))
    return Sight(points, seen[..., POINTS:].unflatten(-1, (3, SMALL, SMALL)).flatten(2, 3))


def see(module: InverseDynamics, frames: Mapping[str, Tensor]) -> Sight:
    """Return what is seen of a batch's pictures, or what was, where `sights_of` prepared them."""
    packed = next(iter(frames.values())).dim() == 3
    return recall(frames, module.config.views) if packed else module.see(frames)
