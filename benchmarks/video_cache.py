"""What the video model's memory is worth: one chunk imagined with it and without, and what longer contexts cost.

With the memory a frame costs the same however much was seen; without it, every denoising step runs over the whole
context again, as the same model does it in training. Both imagine the same frames from the same noise. Times are the
processor's, of one thread: what one core needs, also when others are at work on it. Weights are drawn, not trained:
they cost the same.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Figure, arguments, publish, ratio, sized
from policies.video.cache import Cache
from policies.video.condition import Condition
from policies.video.flow import imagine, levels, noise_for, remember
from policies.video.model import VideoConfig, VideoModel
from policies.video.tokenizer import Autoencoder

CHUNK, STEPS = 4, 3
LONG, SHORT = 256, 64
PROPRIO, ACTIONS = 16, 7  # an arm of six joints with its torques and tool; one action a frame
AHEAD = 8  # frames of a decision: the chunk in flight and the next one


def nano(context: int) -> VideoModel:
    """Return a `nano` model as it runs on a CPU, its weights drawn."""
    torch.manual_seed(0)
    model = VideoModel(VideoConfig(context=context, proprio=PROPRIO, actions=ACTIONS))
    for name, parameter in model.named_parameters():
        if "outward" in name and parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.02)  # otherwise nothing would depend on what was seen
    return model.eval().requires_grad_(False).to(torch.bfloat16)


def filled(model: VideoModel, frames: int) -> tuple[Cache, Tensor, Condition]:
    """Return a memory of so many frames, these frames, and what was known of them."""
    c, zero = model.config, torch.zeros(1, dtype=torch.long)
    draw = torch.Generator().manual_seed(1)
    seen = torch.randn(1, frames, c.views * c.tokens, c.latent, generator=draw)
    body, actions = (torch.randn(1, frames, n, generator=draw) for n in (PROPRIO, ACTIONS))
    condition, cache = Condition(zero, zero, body, None, actions, None), model.cache(1)
    remember(model, cache, seen, condition)
    return cache, seen, condition


def with_memory(model: VideoModel, cache: Cache, condition: Condition, noise: Tensor) -> tuple[float, Tensor]:
    """Return how long imagining took [s], and the frames."""
    begin = time.process_time()
    cache.mark()
    frames = imagine(model, cache, condition.ahead(None), noise, STEPS)
    cache.rewind()
    return time.process_time() - begin, frames


@torch.no_grad()
def without_memory(model: VideoModel, seen: Tensor, condition: Condition, noise: Tensor) -> tuple[float, Tensor]:
    """Return how long imagining took [s] when every step runs over all that was seen, and the frames."""
    begin = time.process_time()
    context, imagined, count = seen, [], seen.shape[1]
    schedule = levels(STEPS)
    for number in range(noise.shape[1]):
        length = count + number + 1
        known = torch.arange(length)[None] < count
        assert condition.proprio is not None
        assert condition.actions is not None
        body, actions = (
            torch.nn.functional.pad(x, (0, 0, 0, number + 1)) for x in (condition.proprio, condition.actions)
        )
        told = Condition(condition.task, condition.embodiment, body, known, actions, known)
        frame = noise[:, number : number + 1]
        for level, following in itertools.pairwise(schedule):
            at = torch.zeros(1, length)
            at[:, -1] = level
            clean = model(torch.cat([context, frame], dim=1), at, told)[:, -1:]
            frame = torch.lerp(clean, frame, following / level)
        imagined.append(frame)
        context = torch.cat([context, frame], dim=1)
    return time.process_time() - begin, torch.cat(imagined, dim=1)


def training_speed(batch: int, length: int, repeats: int) -> float:
    """Return frames a second in training of `nano`, in bfloat16, optimizer not counted."""
    model = VideoModel(VideoConfig(proprio=PROPRIO, actions=ACTIONS))
    c, zero = model.config, torch.zeros(batch, dtype=torch.long)
    latents = torch.randn(batch, length, c.views * c.tokens, c.latent)
    condition = Condition(zero, zero, torch.randn(batch, length, PROPRIO), None, torch.randn(batch, length, ACTIONS))
    taken = []
    for _ in range(repeats + 1):
        begin = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(latents, condition)["loss"]
        loss.backward()
        taken.append(time.process_time() - begin)
    return batch * length / float(np.median(taken[1:]))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("video_cache", "The video model's memory: a chunk with it and without.").parse_args(words)
    torch.set_num_threads(1)
    blocks = sized(given, 9, 4, 1)
    long, short = sized(given, (LONG, SHORT), (LONG, SHORT), (24, 12))
    models = {context: nano(context) for context in (long, short)}
    kept = {context: filled(model, context - CHUNK) for context, model in models.items()}
    cache, seen, condition = kept[long]
    noise = noise_for(models[long], 1, AHEAD, torch.Generator().manual_seed(2))
    times: dict[str, list[float]] = {"with": [], "short": [], "without": [], "decision": []}
    apart = 0.0
    for _ in range(blocks):
        for _ in range(3):  # the first warms up, and the quicker ones are soon measured
            seconds, ours = with_memory(models[long], cache, condition, noise[:, :CHUNK])
            times["with"].append(seconds)
            times["short"].append(with_memory(models[short], kept[short][0], kept[short][2], noise[:, :CHUNK])[0])
            times["decision"].append(with_memory(models[long], cache, condition, noise)[0])
        seconds, theirs = without_memory(models[long], seen, condition, noise[:, :CHUNK])
        times["without"].append(seconds)
        apart = float((ours - theirs).abs().max() / theirs.abs().max())
    best = {name: 1e3 * float(np.median(taken)) for name, taken in times.items()}
    growth = [100 * (a / b - 1) for a, b in zip(times["with"], times["short"], strict=True)]
    speeds = [3 / sum(times["with"][3 * i : 3 * i + 3]) for i in range(blocks)]
    model = models[long]
    short_windows = training_speed(*sized(given, (4, 32, 5), (4, 32, 2), (1, 4, 1)))
    long_windows = training_speed(1, long, sized(given, 3, 1, 1))
    parameters = (model.parameters_count + sum(p.numel() for p in Autoencoder().parameters())) / 1e6
    figures = [
        ratio(
            f"one chunk at {long} frames of context, with the memory",
            speeds,
            [1 / seconds for seconds in times["without"]],
            10.0,
            f"the same model over the whole context at every step: {best['without']:.0f} ms",
        ),
        Figure(
            f"growth of a chunk's time, context {short} to {long}",
            100 * (best["with"] / best["short"] - 1),
            "%",
            15.0,
            f"medians; at {short}: {best['short']:.1f} ms",
            True,
            *np.quantile(growth, [0.25, 0.75]).tolist(),
        ),
        Figure(f"one chunk of {CHUNK} frames", best["with"], "ms", None, f"{STEPS} denoising steps a frame"),
        Figure(f"one decision: {AHEAD} frames", best["decision"], "ms", 300.0, "chunk in flight and the next", True),
        Figure("largest difference between the two", 100 * apart, "%", None, "bfloat16, of the largest latent"),
        Figure("memory of a stream", cache.bytes / 1e6, "MB"),
        Figure("training, 4 windows of 32 frames", short_windows, "frames/s", 200.0),
        Figure(f"training, a window of {long} frames", long_windows, "frames/s"),
        Figure("parameters with the tokenizer", parameters, "million", 5.0, "nano", True),
    ]
    publish(
        "video_cache",
        given,
        figures,
        "nano on one core (processor time), two views of 64 x 64 at 10 Hz",
        {"seconds": times},
    )


if __name__ == "__main__":
    main()
