"""What a recipe's video model takes, worked out before anything is trained: parameters, arithmetic, memory, time.

    python -m policies.budget conf/recipe/large.yaml --gpus 64

Parameters, arithmetic and the memory of a stream follow from formulas in the configuration's own words; a test holds
them against the real network and torch's counter. What training keeps for the backward pass is counted: the network
itself is run on tensors without content. How fast a GPU is, and how much of that is used, are assumptions, and printed
as such. Arithmetic is that of matrix products, a multiplication and an addition counted as two.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from assets.errors import InputError
from policies.video.condition import WAVES, Condition
from policies.video.model import VideoConfig, VideoModel, load_config
from policies.video.tokenizer import Autoencoder

DAY = 86400.0


def config_of(recipe: dict[str, Any], proprio: int, actions: int) -> VideoConfig:
    """Return the video model of a recipe for an arm with so many numbers of body, and of actions between two frames.

    Raises:
        InputError: the recipe lacks something, or cannot be built.
    """
    try:
        sizes = [view["size"] for view in recipe["views"]]
        tokenizer = Autoencoder(sizes[0], **recipe["autoencoder"])
        found = {"views": len(sizes), "tokens": tokenizer.tokens, "latent": tokenizer.dim}
        return load_config({**recipe["transformer"], **found, "proprio": proprio, "actions": actions})
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"a recipe has views, autoencoder and transformer, as in conf/recipe ({error})") from None


# ---- formulas --------------------------------------------------------------------------------------------------------


def parameters(c: VideoConfig) -> dict[str, int]:
    """Return how many parameters each part has; w = width, h = w / heads.

    Of a block: attention in space 4 w², in time 2 w² + 2 kv_heads h w, feedforward 2 hidden w², offsets 6 w.
    """
    w, tokens = c.width, c.views * c.tokens
    told = sum(n * w + w for n in (c.proprio, c.actions, c.text) if n)
    return {
        "blocks": c.depth * (_matrices(c) + 6 * w),
        "modulation": 8 * w * w + 8 * w,
        "condition": told + WAVES * w + w + (c.tasks + 1 + c.embodiments + 1) * w + 2 * w + w * w + w,
        "in and out": (2 * c.latent * w + w) + tokens * w + (w * c.latent + c.latent),
    }


def _matrices(c: VideoConfig) -> int:
    """Weights of a block's matrices: each works once on each token."""
    return c.width * (6 * c.width + 2 * c.kv_heads * (c.width // c.heads) + 2 * c.hidden * c.width)


def flops_of_loss(c: VideoConfig, frames: int) -> int:
    """Return the arithmetic of one window's loss, forward; backward takes twice as much.

    Every frame goes in twice, as context and as question: 2 T N tokens, and each takes 2 for each weight. Attention in
    space takes 4 N² w a frame, in time 4 T² w a token: both streams look at the one's keys, and what is masked is
    worked out all the same. The last feedforward and the output are the question's alone.
    """
    w, tokens, twice = c.width, c.views * c.tokens, 2 * frames
    linear = twice * tokens * 2 * _matrices(c) * c.depth - frames * tokens * 4 * c.hidden * w * w
    attention = c.depth * (twice * 4 * tokens**2 * w + tokens * 2 * 4 * frames**2 * w)
    ends = twice * tokens * 4 * c.latent * w + frames * tokens * 2 * w * c.latent
    vectors = twice * 2 * w * (c.proprio + c.actions + WAVES + w + 8 * w)
    return linear + attention + ends + vectors


def flops_of_step(c: VideoConfig, spare: int) -> int:
    """Return the arithmetic of one frame, denoised once or taken into memory, a memory with `spare` places being full.

    It does not grow with what was seen: a layer looks at all places that it has, and at the frame itself.
    """
    w, tokens = c.width, c.views * c.tokens
    places = sum(seen + spare + 1 + (c.anchors if seen == max(c.reaches) else 0) for seen in c.reaches)
    linear = tokens * 2 * _matrices(c) * c.depth
    attention = 4 * tokens * w * (places + tokens * c.depth)
    return linear + attention + 2 * w * (tokens * 3 * c.latent + c.actions + WAVES + w + 8 * w)


def bytes_of_stream(c: VideoConfig, spare: int, width: int = 2) -> int:
    """Return the memory of one stream's keys and values, of `width` bytes each."""
    places = sum(seen + spare + (c.anchors if seen == max(c.reaches) else 0) for seen in c.reaches)
    return 2 * c.views * c.tokens * c.kv_heads * (c.width // c.heads) * places * width


def bytes_of_state(c: VideoConfig) -> int:
    """Return what all GPUs together keep: weights, gradients and averaged weights, and what the optimizer remembers.

    All in float32: one number for a matrix inside a block (Muon's momentum), two for everything else (AdamW).
    """
    total, inside = sum(parameters(c).values()), c.depth * _matrices(c)
    return 4 * (3 * total + inside + 2 * (total - inside))


def bytes_gathered(c: VideoConfig) -> int:
    """Return what a GPU has whole at a time: two blocks, weights and gradients in bfloat16, and all but the blocks.

    While one block works the next one's weights arrive; what is outside of the blocks stays, in float32.
    """
    outside = sum(parameters(c).values()) - c.depth * _matrices(c)
    return 2 * 2 * 2 * _matrices(c) + 2 * 4 * outside


def bytes_sent(c: VideoConfig) -> int:
    """Return what a GPU receives in a step: all weights forward and again backward, all gradients once (float32)."""
    return (2 + 2 + 4) * sum(parameters(c).values())


# ---- counting --------------------------------------------------------------------------------------------------------


def bytes_kept(c: VideoConfig, frames: int, bf16: bool) -> int:
    """Return what the backward pass of one window of so many frames needs kept, weights not counted.

    Every block but the last one keeps as much as any other: counted with one and with two blocks, it is known for all.
    """
    one, two = (counted(dataclasses.replace(c, depth=depth), frames, bf16) for depth in (1, 2))
    return one + (c.depth - 1) * (two - one)


def counted(c: VideoConfig, frames: int, bf16: bool, fake: bool = True) -> int:
    """Return the same, all of the network counted.

    Args:
        c: of the video model.
        frames: in the window.
        bf16: whether matrix products are in bfloat16.
        fake: on tensors without content, which takes neither memory nor arithmetic.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    kept: dict[int, Tensor] = {}  # by storage; kept alive, lest a number is given away again

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    with FakeTensorMode() if fake else torch.random.fork_rng():
        model = VideoModel(c)
        own = {p.untyped_storage()._cdata for p in model.parameters()}
        latents, condition = example(c, 1, frames)
        with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model.loss(latents, condition)["loss"]
        return sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)


def example(c: VideoConfig, rows: int, frames: int) -> tuple[Tensor, Condition]:
    """Return random latents (rows, frames, N, D) and all that can be known of them."""
    zero = torch.zeros(rows, dtype=torch.long)
    body, actions = (torch.randn(rows, frames, n) if n else None for n in (c.proprio, c.actions))
    latents = torch.randn(rows, frames, c.views * c.tokens, c.latent)
    return latents, Condition(zero, zero, body, None, actions, None)


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What is assumed of the GPUs.

    Attributes:
        gpus: how many.
        tflops: of one, in bfloat16 at its best [1e12/s].
        share: of that which training reaches.
        memory: of one [1e9 bytes].
        bandwidth: of its memory [1e9 bytes/s].
    """

    gpus: int
    tflops: float
    share: float
    memory: float
    bandwidth: float


def budget(c: VideoConfig, frames: int, batch: int, hardware: Hardware, steps: int = 3) -> list[tuple[str, str]]:
    """Return what it takes, line by line; `frames` in a window, `batch` windows in a step, denoising `steps`."""
    gpus, spare, tokens = hardware.gpus, 2 * c.chunk + 1, c.views * c.tokens
    if batch % gpus:
        raise InputError(f"a batch of {batch} windows is not shared out evenly among {gpus} GPUs")
    parts, each = parameters(c), batch // gpus
    work = 3 * flops_of_loss(c, frames)
    speed = gpus * hardware.share * hardware.tflops * 1e12
    a_day = DAY * speed / (work * batch)
    low, high = (each * bytes_kept(c, frames, bf16) for bf16 in (True, False))
    shared, there = bytes_of_state(c) / gpus, bytes_gathered(c) if gpus > 1 else 0
    # Imagined are the chunk in flight, the one that is decided and a frame beyond; new frames are taken in before.
    passes = (2 * c.chunk + 1) * (steps + 1) + c.chunk
    think = passes * flops_of_step(c, spare)
    read = passes * (2 * sum(parts.values()) + bytes_of_stream(c, spare))
    least = max(think / hardware.tflops / 1e12, read / hardware.bandwidth / 1e9)
    return [
        ("parameters", f"{sum(parts.values()) / 1e6:,.1f} M"),
        *((f"  {name}", f"{n / 1e6:,.1f} M") for name, n in parts.items()),
        ("tokens of a frame", f"{tokens} of {c.latent} numbers, {c.views} views"),
        ("training, a frame, forward and backward", f"{work / frames / 1e9:,.2f} GFLOP"),
        (f"a step: {batch} windows of {frames} frames", f"{work * batch / 1e15:,.3g} PFLOP"),
        ("memory of a GPU in training, its share of weights, gradients, averages, optimizer", _gb(shared)),
        ("  gathered at a time", _gb(there)),
        (f"  kept for the backward pass of {each} windows, bfloat16 … all in float32", f"{_gb(low)} … {_gb(high)}"),
        ("  together, at most, and what a GPU has", f"{_gb(shared + there + high)} of {hardware.memory:g} GB"),
        ("received by a GPU in a step", _gb(bytes_sent(c) if gpus > 1 else 0)),
        ("a stream's memory (keys and values)", f"{bytes_of_stream(c, spare) / 1e6:,.1f} MB, {c.context} frames"),
        (f"a decision of {c.chunk} frames: {passes} passes over a frame", f"{think / 1e12:,.3g} TFLOP"),
        ("  weights and memory read meanwhile", f"{read / 1e9:,.2f} GB"),
        ("  so it takes no less than", f"{1e3 * least:,.3g} ms"),
        ("assumed", f"{gpus} GPUs of {hardware.tflops:g} TFLOP/s, of which {hardware.share:.0%} are used"),
        ("  a step takes", f"{DAY / a_day:,.3g} s"),
        ("  steps a day", f"{a_day:,.0f}"),
        ("  frames a day", f"{a_day * batch * frames / 1e6:,.1f} M"),
        ("  tokens a day", f"{a_day * batch * frames * tokens / 1e9:,.2f} G"),
    ]


def _gb(number: float) -> str:
    return f"{number / 1e9:,.2f} GB"


def main(words: Sequence[str] | None = None) -> int:
    """Print the table of a recipe."""
    parser = argparse.ArgumentParser(prog="python -m policies.budget", description="What training a recipe takes.")
    parser.add_argument("recipe", type=Path, help="such as conf/recipe/large.yaml")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--tflops", type=float, default=989.0, help="of one in bfloat16, at its best: H100 and H200")
    parser.add_argument("--share", type=float, default=0.35, help="of that which is reached: an assumption")
    parser.add_argument("--memory", type=float, default=141.0, help="of one [GB]: H200")
    parser.add_argument("--bandwidth", type=float, default=4800.0, help="of its memory [GB/s]: H200")
    parser.add_argument("--proprio", type=int, default=16, help="numbers of the body")
    parser.add_argument("--actions", type=int, default=7, help="numbers of the actions between two frames")
    given = parser.parse_args(words)
    try:
        recipe = yaml.safe_load(given.recipe.read_text())
        config, training = config_of(recipe, given.proprio, given.actions), recipe["training"]["video"]
        hardware = Hardware(given.gpus, given.tflops, given.share, given.memory, given.bandwidth)
        rows = budget(config, training["length"], training["batch"], hardware)
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        print(f"policies.budget: {given.recipe}: is no recipe ({error})", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"policies.budget: {given.recipe}: {error}", file=sys.stderr)
        return 2
    for name, value in rows:
        print(f"{name:<84}{value:>34}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
