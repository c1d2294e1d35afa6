"""The DVA loop in real time, on this computer: does the arm ever wait, and what does leapfrog gain?

An arm that stands still takes the orders, random pictures are what its cameras see: how long a decision takes does
not depend on it. The models are nano's, untrained, or those of a checkpoint. In turns, the loop runs against the clock,
long enough for its memory to be full, and the same models decide in plain sequence, in which the arm waits for every
decision and executes it, then waits again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Figure, arguments, publish, ratio, sized
from policies.data.statistics import Scale, Statistics
from policies.data.view import View
from policies.dva.decider import VideoDecider
from policies.dva.leapfrog import Flight, Rhythm, Seen
from policies.dva.load import load_models
from policies.dva.realtime import RealtimeLoop
from policies.embodiment import Embodiment
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder

CHUNK, RATE = 3, 10.0  # [frames], [Hz]: ten thirds of a chunk a second
CONTEXT = 256  # [frames]
JOINTS = tuple(f"joint{i}.position" for i in range(6))
BODY = Embodiment(
    "ur20+suction",
    JOINTS,
    tuple(f"joint{i}.torque" for i in range(6)),
    ("suction.vacuum", "suction.sealed", "suction.holding"),
    (*JOINTS, "suction"),
)


def untrained(views: int) -> tuple[VideoNetwork, InverseDynamics]:
    """Return nano's models with random weights, for so many cameras of 64 x 64."""
    torch.manual_seed(0)
    widths, tokenizer = action_widths([BODY], 1), Autoencoder()
    seen = tuple(View(name) for name in ("cell", "wrist")[:views])
    config = VideoConfig(
        views=views,
        tokens=tokenizer.tokens,
        latent=tokenizer.dim,
        context=CONTEXT,
        proprio=widths[0],
        actions=widths[1],
    )
    scales = [Scale(torch.zeros(1, n), torch.ones(1, n)) for n in widths]
    network = VideoNetwork(tokenizer, VideoModel(config), Meaning(seen, RATE, 1, ("",), (BODY,), Statistics(*scales)))
    idm = InverseDynamics(IDMConfig(tuple(v.name for v in seen), len(JOINTS), *widths))
    return network.fast(), idm.eval().requires_grad_(False)


class Arm:
    """Gives frames of random pictures, and stands where it was told to."""

    def __init__(self, views: Sequence[View], body: Embodiment):
        """Make some pictures of the views in advance."""
        random = np.random.default_rng(0)
        self._pictures = [
            {v.name: random.integers(0, 255, (v.size, v.size, 3), dtype=np.uint8) for v in views} for _ in range(16)
        ]
        self._number, self._proprio = 0, np.zeros(len(body.proprio), np.float32)
        self.hold = np.zeros(len(body.actions), np.float32)

    def seen(self) -> Seen:
        """Return the next frame."""
        self._number += 1
        return Seen(self._pictures[self._number % len(self._pictures)], self._proprio)


def fill(decider: VideoDecider, arm: Arm, rhythm: Rhythm, world: int) -> Flight:
    """Return the books of an arm whose decider remembers as much as it can."""
    flight = Flight(rhythm, world)
    flight.begin(arm.hold)
    for _ in range(CONTEXT + 8):
        if flight.at_frame:
            flight.see(arm.seen())
        for _ in range(rhythm.stride):
            flight.next()
    flight.see(arm.seen())
    decide(decider, flight)
    return flight


def decide(decider: VideoDecider, flight: Flight) -> None:
    """Have the next chunk decided, and wait for it."""
    question = flight.ask()
    flight.answer(question, decider.decide([question])[0])


def in_sequence(decider: VideoDecider, flight: Flight, arm: Arm, seconds: float) -> list[float]:
    """Wait for each decision, then execute it; return how long each cycle took [s]."""
    cycles, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        while flight.ahead or not flight.at_frame:
            if flight.at_frame:
                flight.see(arm.seen())
            flight.next()
            time.sleep(flight.rhythm.period)
        flight.see(arm.seen())
        decide(decider, flight)
        cycles.append(time.monotonic() - began)
    return cycles


def in_time(loop: RealtimeLoop, arm: Arm, seconds: float) -> list[float]:
    """Run the loop against the clock; return how late each period began [s]."""
    late, begin = [], time.monotonic()
    for number in range(round(seconds / loop.rhythm.period)):
        due = begin + number * loop.rhythm.period
        time.sleep(max(0.0, due - time.monotonic()))
        late.append(time.monotonic() - due)
        if loop.act(arm.seen() if loop.at_frame else None).stop:  # far too slow: it has waited, and waits on
            loop.begin(arm.hold)
    return late


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("dva_loop", "The DVA loop against the clock, and against plain sequential inference.")
    parser.add_argument("--checkpoint", type=Path, help="folder of trained models, instead of untrained nano")
    parser.add_argument("--views", type=int, default=2, choices=(1, 2), help="cameras of the untrained models")
    parser.add_argument("--steps", type=int, default=3, help="denoising steps of an imagined frame")
    parser.add_argument("--chunk", type=int, default=CHUNK, help="frames of a decision")
    given = parser.parse_args(words)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    # Of ten minutes in time, and a tenth of that in sequence.
    blocks, seconds = sized(given, (10, 60.0), (3, 15.0), (1, 3.0))
    if given.checkpoint is None:
        video, idm = untrained(given.views)
    else:
        models = load_models(given.checkpoint)
        video, idm = models.video, models.idm
    body = next(embodiment for embodiment in video.meaning.embodiments if embodiment.actions)
    period = 1.0 / (video.meaning.rate * video.meaning.stride)
    rhythm = Rhythm(video.meaning.stride, given.chunk, given.chunk, period)
    numbers = video.meaning.embodiments.index(body), 0
    deciders = [VideoDecider(video, idm, numbers, rhythm, 1, given.steps) for _ in range(2)]
    arm = Arm(video.meaning.views, body)
    sequence = fill(deciders[0], arm, Rhythm(rhythm.stride, rhythm.chunk, 0, period), 0)
    cycles: list[list[float]] = []
    late: list[float] = []
    chunks, waits = [], []
    with RealtimeLoop(deciders[1], rhythm) as loop:
        for _ in range(blocks):
            # Its memory fills within the first half minute; nothing is forgotten between the blocks but the beginning.
            loop.begin(arm.hold)
            before = loop.counts.chunks, loop.counts.waits
            late += in_time(loop, arm, seconds)
            chunks.append((loop.counts.chunks - before[0]) / seconds)
            waits.append(loop.counts.waits - before[1])
            cycles.append(in_sequence(deciders[0], sequence, arm, seconds / 10))
        latency, lead = loop.latency.quantile, loop.latency.lead(rhythm)
    gain, compared = "sequential cycle over leapfrog's", "the arm waits for every decision"
    one = [1.0 / float(np.mean(c)) for c in cycles]
    says = f"{blocks * seconds:g} s against the clock"
    figures = [
        Figure(
            "chunks a second, in real time", float(np.mean(chunks)), "/s", 3.0, says, False, min(chunks), max(chunks)
        ),
        Figure("waits of the arm", float(sum(waits)), "frames", 0.0, says, True),
        ratio(gain, chunks, one, 1.0, compared) if min(chunks) else Figure(gain, 0.0, "x", 1.0, compared),
        Figure("decision, 99th percentile", float(np.nan_to_num(latency)), "s", None, "picture to chunk"),
        Figure("frames in flight at the end", float(lead), "frames", None, f"of {rhythm.chunk}"),
        Figure("lateness of a period, 99th percentile", float(np.quantile(late, 0.99)), "s", None, "asked to begun"),
    ]
    setting = f"{video.model.parameters_count / 1e6:.1f} M parameters, {torch.get_num_threads()} threads"
    publish("dva_loop", given, figures, setting, {"cycles": cycles, "chunks": chunks, "waits": waits})


if __name__ == "__main__":
    main()
