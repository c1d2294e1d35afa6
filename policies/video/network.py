"""A tokenizer and a video model together, with what their numbers mean: what is trained, kept and put to use."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assets.errors import InputError
from policies.checkpoint import Checkpoint, load
from policies.data.statistics import Statistics
from policies.data.view import View
from policies.embodiment import Embodiment
from policies.video.condition import Condition
from policies.video.model import VideoModel, load_config
from policies.video.tokenizer import Autoencoder


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What a network's numbers mean.

    Attributes:
        views: what is seen of the cameras, in the order of the tokens.
        rate: pictures a second.
        stride: actions between two pictures.
        texts: what is to be done, by index.
        embodiments: arms and tools, by index.
        statistics: of their proprioception and actions.
        cameras: height and width [pixels] of the cameras' pictures that were trained on, where they are known.
    """

    views: tuple[View, ...]
    rate: float
    stride: int
    texts: tuple[str, ...]
    embodiments: tuple[Embodiment, ...]
    statistics: Statistics
    cameras: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """The same as a checkpoint says it."""
        return {
            "views": [dataclasses.asdict(view) for view in self.views],
            "rate": self.rate,
            "stride": self.stride,
            "texts": list(self.texts),
            "embodiments": [dataclasses.asdict(embodiment) for embodiment in self.embodiments],
            "statistics": self.statistics.to_dict(),
            "cameras": {name: list(size) for name, size in self.cameras.items()},
        }

    @staticmethod
    def of(about: Mapping[str, Any]) -> Meaning:
        """Return what a checkpoint says."""
        views = [View(v["camera"], tuple(v["crop"]), v["size"], v["name"]) for v in about["views"]]
        return Meaning(
            tuple(views),
            float(about["rate"]),
            int(about["stride"]),
            tuple(about["texts"]),
            tuple(Embodiment.from_dict(values) for values in about["embodiments"]),
            Statistics.from_dict(about["statistics"]),
            {name: (int(height), int(width)) for name, (height, width) in about.get("cameras", {}).items()},
        )


class VideoNetwork(nn.Module):
    """Tokenizer (settled, never trained here) and video model."""

    def __init__(self, tokenizer: Autoencoder, model: VideoModel, meaning: Meaning) -> None:
        """Put them together.

        Raises:
            InputError: they do not fit.
        """
        super().__init__()
        c = model.config
        if (tokenizer.tokens, tokenizer.dim, len(meaning.views)) != (c.tokens, c.latent, c.views):
            raise InputError(
                f"tokenizer of {tokenizer.tokens} tokens of {tokenizer.dim} and {len(meaning.views)} views, "
                f"video model of {c.tokens} tokens of {c.latent} and {c.views} views: they must agree"
            )
        self.tokenizer, self.model, self.meaning = tokenizer.requires_grad_(False), model, meaning
        self.train(self.training)

    def train(self, mode: bool = True) -> VideoNetwork:
        """Train the model alone: the tokenizer's statistics are settled."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    @torch.no_grad()
    def encode(self, pictures: Mapping[str, Tensor]) -> Tensor:
        """Return frames (…, N, D) for pictures by view, (…, size, size, 3) uint8 or 0 … 1.

        Raises:
            InputError: a view is missing.
        """
        names = [view.name for view in self.meaning.views]
        missing = [name for name in names if name not in pictures]
        if missing:
            raise InputError(f"no pictures of the view {missing[0]!r}; the video model sees {', '.join(names)}")
        return self.tokenizer.encode(torch.stack([pictures[name] for name in names], dim=-4)).flatten(-3, -2).float()

    @torch.no_grad()
    def decode(self, frames: Tensor) -> dict[str, Tensor]:
        """Return pictures by view, (…, size, size, 3) in 0 … 1, for frames (…, N, D)."""
        pictures = self.tokenizer.decode(frames.unflatten(-2, (len(self.meaning.views), -1))).clamp(0, 1)
        return {view.name: pictures[..., i, :, :, :] for i, view in enumerate(self.meaning.views)}

    def condition(
        self,
        task: Tensor,
        embodiment: Tensor,
        proprio: Tensor | None = None,
        led: Tensor | None = None,
        proprio_known: Tensor | None = None,
        led_known: Tensor | None = None,
    ) -> Condition:
        """Return the conditions of T frames in B rows, from numbers in SI units.

        Args:
            task, embodiment: (B,) indices, -1 where unknown.
            proprio: (B, T, P) as each frame is seen; None where never known.
            led: (B, T, stride, A) the actions that led to each frame; None where never known.
            proprio_known, led_known: (B, T) bool; None for everywhere.
        """
        scales, c = self.meaning.statistics, self.model.config
        if proprio is not None:
            proprio = _filled(scales.proprio.normalize(proprio, embodiment), c.proprio)
        if led is not None:
            led = _filled(scales.actions.normalize(led, embodiment).flatten(2), c.actions)
        # A task or an arm that the model has no number for is one that it does not know.
        task, embodiment = (
            torch.where(task < c.tasks, task, -1),
            torch.where(embodiment < c.embodiments, embodiment, -1),
        )
        return Condition(task, embodiment, proprio, proprio_known, led, led_known)

    def fast(self) -> VideoNetwork:
        """Return a copy for inference: on a CPU, the model in bfloat16, three times as fast."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        network.model.to(torch.bfloat16)
        return network

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint says of it."""
        config = {"model": dataclasses.asdict(self.model.config), "tokenizer": self.tokenizer.about}
        return {"kind": "video", "config": config, **self.meaning.about}


def load_tokenizer(checkpoint: Checkpoint | str | Path) -> Autoencoder:
    """Return the tokenizer of a checkpoint of one, or of a video model; for inference.

    Raises:
        InputError: no checkpoint of these kinds, or its weights are those of another network.
    """
    kept = checkpoint if isinstance(checkpoint, Checkpoint) else load(checkpoint)
    if kept.kind not in ("tokenizer", "video"):
        raise InputError(f"{kept.folder}: is a checkpoint of kind {kept.kind!r}, wanted is 'tokenizer' or 'video'")
    whole = kept.kind == "video"
    tokenizer = _tokenizer(kept.about["config"]["tokenizer"] if whole else kept.about["config"])
    weights = {n.removeprefix("tokenizer."): w for n, w in kept.weights.items() if not whole or n[:10] == "tokenizer."}
    _fill(tokenizer, weights, kept)
    return tokenizer.eval().requires_grad_(False)


def load_video(checkpoint: Checkpoint | str | Path) -> VideoNetwork:
    """Return the video network of a checkpoint, for inference.

    Raises:
        InputError: no checkpoint of a video model, or its weights are those of another network.
    """
    kept = checkpoint if isinstance(checkpoint, Checkpoint) else load(checkpoint, "video")
    try:
        model = VideoModel(load_config(kept.about["config"]["model"], str(kept.folder)))
        network = VideoNetwork(_tokenizer(kept.about["config"]["tokenizer"]), model, Meaning.of(kept.about))
    except (KeyError, TypeError) as error:
        raise InputError(f"{kept.folder}: is no checkpoint of this video model ({error}); train it again") from error
    _fill(network, kept.weights, kept)
    return network.eval().requires_grad_(False)


def _tokenizer(says: Mapping[str, Any]) -> Autoencoder:
    return Autoencoder(says["size"], says["channels"], says["down"], tuple(says["pack"]), says["width"])


def _fill(module: nn.Module, weights: Mapping[str, Tensor], kept: Checkpoint) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        line = str(error).splitlines()[-1].strip()
        raise InputError(f"{kept.folder}: weights of another network ({line}); take another checkpoint") from error


def _filled(values: Tensor, width: int) -> Tensor:
    """Return values (…, n) with zeros up to `width`: embodiments have different numbers."""
    return nn.functional.pad(values, (0, width - values.shape[-1]))


def action_widths(embodiments: Sequence[Embodiment], stride: int) -> tuple[int, int]:
    """Return how many numbers of proprioception and of actions a `VideoConfig` needs for these embodiments."""
    widths = [(len(e.proprio), stride * len(e.actions)) for e in embodiments]
    return max((w[0] for w in widths), default=0), max((w[1] for w in widths), default=0)
