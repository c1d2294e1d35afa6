"""A baseline as a whole: tokenizer, backbone, head, and what their numbers mean; made, kept, loaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from assets.errors import InputError, unknown
from policies.baselines.backbone import Backbone, Decoder
from policies.baselines.fast import Fast, FastCodes
from policies.baselines.flow import Flow
from policies.baselines.relative import Relative
from policies.baselines.tokens import Tokens
from policies.checkpoint import Checkpoint, load
from policies.data.windows import Windows
from policies.video.model import VideoConfig, load_config
from policies.video.network import Meaning, VideoNetwork
from policies.video.tokenizer import Autoencoder

HEADS = ("tokens", "flow", "fast")
DEPTH = 2  # blocks of a decoder


class Baseline(nn.Module):
    """Frames and proprioception to a chunk of actions.

    Attributes:
        video: the tokenizer (settled) and the backbone, with what their numbers mean.
        head: one of `HEADS`, called `kind`.
        relative: how actions are told.
    """

    def __init__(self, video: VideoNetwork, kind: str, relative: Relative, codes: FastCodes | None = None) -> None:
        """Put it together, not yet trained; `codes` are those of FAST.

        Raises:
            InputError: no such head.
        """
        super().__init__()
        if kind not in HEADS:
            raise unknown("head of a baseline", kind, HEADS)
        self.video, self.kind, self.relative = video, kind, relative
        c = video.model.config
        numbers = relative.scale.mean.shape[-1]
        steps = c.chunk * video.meaning.stride
        length = steps if kind == "flow" else steps * numbers
        flight = c.chunk, video.meaning.stride * numbers
        decoder = Decoder(c.width, c.heads, c.hidden, DEPTH, c.views * c.tokens, flight, length)
        self.head: Tokens | Flow | Fast
        if kind == "tokens":
            self.head = Tokens(decoder, steps, numbers)
        elif kind == "flow":
            self.head = Flow(decoder, numbers)
        else:
            assert codes is not None
            self.head = Fast(decoder, codes)

    @property
    def backbone(self) -> Backbone:
        """The body that looks at the frames."""
        assert isinstance(self.video.model, Backbone)
        return self.video.model

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Frames of a chunk, actions a frame, numbers of an action."""
        return self.backbone.config.chunk, self.video.meaning.stride, self.relative.scale.mean.shape[-1]

    def start_from(self, video: VideoNetwork) -> None:
        """Take up the weights of a trained video model.

        Raises:
            InputError: it is another network.
        """
        try:
            self.video.tokenizer.load_state_dict(video.tokenizer.state_dict())
            self.backbone.load_state_dict(video.model.state_dict())
        except RuntimeError as error:
            line = str(error).splitlines()[-1].strip()
            raise InputError(f"the video model does not fit the baseline's backbone ({line})") from error

    def context(self, features: Tensor, proprio: Tensor, flight: Tensor, count: Tensor, embodiment: Tensor) -> Tensor:
        """Return what a head looks at.

        Args:
            features: (n, N, width) of the newest frame.
            proprio: (n, P) seen with it [SI].
            flight: (n, chunk, stride, A) the actions that follow it as far as they are decided [SI].
            count: (n,) frames for which they are.
            embodiment: (n,).
        """
        told = self.relative.encode(flight, proprio, embodiment).flatten(2)
        return self.head.decoder.context(features, told, count)

    @torch.no_grad()
    def act(
        self, features: Tensor, proprio: Tensor, flight: Tensor, count: Tensor, embodiment: Tensor, noise: Tensor
    ) -> Tensor:
        """Return the actions (n, chunk, stride, A) [SI] that follow those in flight; `noise` has their shape."""
        context = self.context(features, proprio, flight, count, embodiment)
        found = self.head.act(context, noise.flatten(1, 2)).unflatten(1, noise.shape[1:3])
        return self.relative.decode(found, proprio, embodiment)

    def fast(self) -> Baseline:
        """Return a copy for inference: on a CPU, the backbone in bfloat16."""
        network = copy.deepcopy(self).eval().requires_grad_(False)
        network.backbone.to(torch.bfloat16)
        return network

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint says of it."""
        head = {"kind": self.kind} | ({"codes": self.head.fast.about} if isinstance(self.head, Fast) else {})
        config = {**self.video.about["config"], "head": head}
        return {**self.video.about, "kind": "baseline", "config": config, "relative": self.relative.to_dict()}


def make_baseline(
    kind: str, tokenizer: Autoencoder, config: VideoConfig, meaning: Meaning, windows: Windows
) -> Baseline:
    """Return a baseline that is not yet trained, its scales and codes fitted to the windows' episodes.

    Args:
        kind: of its head, one of `HEADS`.
        tokenizer: trained.
        config: of the backbone; the same as of the video model it is compared with.
        meaning: of the numbers, the windows' own.
        windows: what it will be trained on.

    Raises:
        InputError: no such head, parts that do not fit, or windows without actions.
    """
    relative, chunks = Relative.of(windows, config.chunk)
    codes = FastCodes.fit(chunks.numpy()) if kind == "fast" else None
    network = Baseline(VideoNetwork(tokenizer, Backbone(config), meaning), kind, relative, codes)
    if isinstance(network.head, Tokens):
        network.head.fit(chunks)
    return network


def load_baseline(checkpoint: Checkpoint | str | Path) -> Baseline:
    """Return the baseline of a checkpoint, for inference.

    Raises:
        InputError: no checkpoint of a baseline, or its weights are those of another network.
    """
    kept = checkpoint if isinstance(checkpoint, Checkpoint) else load(checkpoint, "baseline")
    try:
        says: Mapping[str, Any] = kept.about["config"]
        t, head, meaning = says["tokenizer"], says["head"], Meaning.of(kept.about)
        tokenizer = Autoencoder(t["size"], t["channels"], t["down"], tuple(t["pack"]), t["width"])
        video = VideoNetwork(tokenizer, Backbone(load_config(says["model"], str(kept.folder))), meaning)
        relative = Relative.from_dict(kept.about["relative"], meaning.embodiments)
        network = Baseline(video, head["kind"], relative, FastCodes(**head["codes"]) if "codes" in head else None)
        network.load_state_dict(kept.weights)
    except (KeyError, TypeError, RuntimeError, AssertionError) as error:
        line = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise InputError(f"{kept.folder}: is no checkpoint of this baseline ({line}); train it again") from error
    return network.eval().requires_grad_(False)
