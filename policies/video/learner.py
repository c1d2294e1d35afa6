"""What `policies.training` trains here: the tokenizer, then the video model on its latents.

`latents_of` encodes a dataset once; the windows then hold latents instead of pictures, and training need not encode.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from policies.data.frames import Prepared
from policies.data.windows import Batch
from policies.nn.optimizer import make_optimizer
from policies.video.condition import Condition
from policies.video.dream import compare, copy_last, psnr
from policies.video.network import Meaning, VideoNetwork
from policies.video.tokenizer import Autoencoder

SHOWN = 4  # windows in a sample


class TokenizerLearner:
    """Trains an `Autoencoder` on windows of pictures; short ones do: neighbours tell what moves."""

    def __init__(self, tokenizer: Autoencoder, meaning: Meaning) -> None:
        self.module, self.meaning = tokenizer, meaning

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch, with its parts; see `Autoencoder.loss`."""
        return self.module.loss([batch.frames[view.name] for view in self.meaning.views])

    def optimizer(self, lr: float) -> Optimizer:
        """Return the optimizer: AdamW, since there are no transformer blocks."""
        return make_optimizer(self.module, lr)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint says of the tokenizer."""
        return {"kind": "tokenizer", "config": self.module.about, **self.meaning.about}

    def sample(self, batch: Batch, writer: SummaryWriter, step: int) -> None:
        """Show pictures above what becomes of them, and the error as a signal-to-noise ratio [dB]."""
        for view in self.meaning.views:
            pictures = batch.frames[view.name][:SHOWN, -1]
            decoded = self.module.pictures(self.module.encode(pictures))
            writer.add_image(f"{view.name}/reconstructed", _sheet([pictures, decoded]), step, dataformats="HWC")
            error = (decoded.float() - pictures.float()).square().mean() / 255**2
            writer.add_scalar(f"sample/{view.name}_psnr", -10 * torch.log10(error.clamp(min=1e-10)), step)


class VideoLearner:
    """Trains a `VideoModel` on windows of pictures, or of latents where `latents_of` prepared them."""

    def __init__(self, network: VideoNetwork, task_unknown: float = 0.1) -> None:
        """`task_unknown` is the share of windows in which the model is not told the task."""
        self.module, self.task_unknown = network, task_unknown

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch, with its parts; see `VideoModel.loss`."""
        condition = condition_of(self.module, batch)
        hide = torch.rand(len(batch)) < self.task_unknown
        condition.task = torch.where(hide.to(condition.task.device), -1, condition.task)
        return self.module.model.loss(latents_in(self.module, batch), condition)

    def optimizer(self, lr: float) -> Optimizer:
        """Return the optimizer of the video model."""
        return make_optimizer(self.module, lr)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint says of the network."""
        return self.module.about

    def sample(self, batch: Batch, writer: SummaryWriter, step: int) -> None:
        """Imagine the second half of windows from the first half, actions unknown; show it below the truth."""
        network, batch = self.module, rows_of(batch, slice(SHOWN))
        truth = latents_in(network, batch)
        seen = truth.shape[1] // 2
        generator = torch.Generator().manual_seed(0)
        comparison = compare(network, truth, condition_of(network, batch), seen, generator=generator)
        wanted, imagined = network.decode(truth), network.decode(comparison.imagined)
        still = []
        for name, pictures in wanted.items():
            future, last = pictures[:, seen:], pictures[:, seen - 1]
            still.append((copy_last(pictures[:, :seen], future.shape[1]), future, last))
            sheet = _sheet([(row * 255).round().to(torch.uint8) for row in (future[0], imagined[name][0])])
            writer.add_image(f"{name}/imagined", sheet, step, dataformats="HWC")
        gain = comparison.psnr - psnr(still)
        for ahead in (1, len(gain)):
            writer.add_scalar(f"sample/psnr_{ahead}", comparison.psnr[ahead - 1], step)
            writer.add_scalar(f"sample/psnr_{ahead}_over_copy_last", gain[ahead - 1], step)


def condition_of(network: VideoNetwork, batch: Batch) -> Condition:
    """Return the conditions of a batch's frames: all that is known of them."""
    known = batch.known[:, None].expand(batch.proprio.shape[:2]).clone()
    led = torch.cat([torch.zeros_like(batch.actions[:, :1]), batch.actions[:, :-1]], dim=1)
    led_known = known.clone()
    led_known[:, 0] = False  # what led to the window's first frame lies before it
    return network.condition(batch.task, batch.embodiment, batch.proprio, led, known, led_known)


def latents_in(network: VideoNetwork, batch: Batch) -> Tensor:
    """Return a batch's frames as latents (B, T, N, D): encoded, or as they are where they are latents already."""
    first = next(iter(batch.frames.values()))
    if first.dim() == 4:
        return torch.cat([batch.frames[view.name].float() for view in network.meaning.views], dim=2)
    return network.encode(batch.frames)


def latents_of(
    prepared: Prepared, network: VideoNetwork, progress: Callable[[int, int], None] | None = None
) -> Prepared:
    """Return a dataset with latents, float16 (n, tokens, dim) in memory, in the place of its pictures.

    Args:
        prepared: the dataset.
        network: whose tokenizer is used.
        progress: is told the frames encoded so far and in all.
    """
    total, tokenizer = int(prepared.starts[-1]), network.tokenizer
    frames = {}
    device = next(tokenizer.parameters()).device
    for view in network.meaning.views:
        latents = np.empty((total, tokenizer.tokens, tokenizer.dim), np.float16)
        for begin in range(0, total, 256):
            block = torch.from_numpy(np.array(prepared.frames[view.name][begin : begin + 256])).to(device)
            with torch.no_grad():
                latents[begin : begin + 256] = tokenizer.encode(block).half().cpu().numpy()
            if progress:
                progress(min(begin + 256, total), total)
        frames[view.name] = latents
    return dataclasses.replace(prepared, frames=frames)


def rows_of(batch: Batch, which: slice) -> Batch:
    """Return some of the windows of a batch."""
    frames = {view: pictures[which] for view, pictures in batch.frames.items()}
    numbers = (batch.proprio, batch.actions, batch.known, batch.task, batch.embodiment)
    return Batch(frames, *(tensor[which] for tensor in numbers))


def _sheet(rows: list[Tensor]) -> np.ndarray:
    """Return rows of pictures (n, h, w, 3) uint8 as one picture."""
    return torch.cat([torch.cat(list(row), dim=1) for row in rows], dim=0).cpu().numpy()
