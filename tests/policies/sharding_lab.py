"""A video model of a few weights whose noise hangs on the window alone, and a training of it as one of two processes.

python sharding_lab.py DATASET FOLDER STEPS SHARD        (with RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT of torchrun)
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import torch
from training_lab import SIZE, little_windows, settings

from policies.data.statistics import Statistics
from policies.data.view import View
from policies.data.windows import Batch, Batches, Sampler, Windows
from policies.processes import rank_and_world
from policies.training import train
from policies.video.learner import VideoLearner, condition_of, latents_in
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder


class Steady(VideoLearner):
    """Draws the noise of a window by the window alone: whoever trains on it, and with what others, draws the same."""

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        latents, condition = latents_in(self.module, batch), condition_of(self.module, batch)
        rows = []
        for k in range(len(batch)):
            generator = torch.Generator().manual_seed(int(latents[k].double().sum() * 1e6) & 0xFFFFFF)
            row = torch.tensor([k])
            rows.append(self.module.model.loss(latents[k : k + 1], condition.rows(row), generator)["loss"])
        return {"loss": torch.stack(rows).mean()}


def learner(windows: Windows, seed: int = 0) -> Steady:
    torch.manual_seed(0)
    tokenizer = Autoencoder(SIZE, 2, 4, (1, 1), 16)
    torch.manual_seed(seed)
    proprio, actions = action_widths(windows.embodiments, windows.stride)
    config = VideoConfig(
        width=16, depth=1, heads=2, views=1, tokens=tokenizer.tokens, latent=tokenizer.dim, context=4, local=2,
        proprio=proprio, actions=actions, tasks=len(windows.texts), embodiments=len(windows.embodiments), chunk=2,
    )  # fmt: skip
    meaning = Meaning(
        (View("cell", size=SIZE),), 10.0, windows.stride, windows.texts, windows.embodiments, Statistics.of(windows)
    )
    return Steady(VideoNetwork(tokenizer, VideoModel(config), meaning))


def run(windows: Windows, folder: Path, steps: int, batch: int, shard: bool, **more: Any) -> tuple[Steady, dict]:
    rank, world = rank_and_world()
    made, resume, tests = learner(windows, rank), more.pop("resume", False), more.pop("tests", ())
    with Batches(windows, Sampler(len(windows), batch, 0, rank, world)) as batches:
        chosen = settings(steps, lr=0.01, ema=0.5, shard=shard, **more)
        return made, train(made, batches, chosen, folder, resume, tests)


def story(windows: Windows, folder: Path) -> list[dict]:
    """Train as the test has it, in both processes alike: two steps, two more after a new start, two in bfloat16."""
    tests = [windows.batch(Sampler(len(windows), 2, seed=9).next())]
    looks: dict[str, Any] = {"sample_every": 3, "tests": tests, "schedule": "constant"}
    _, first = run(windows, folder / "t", 2, 2, True, **looks)
    _, second = run(windows, folder / "t", 4, 2, True, resume=True, **looks)
    _, low = run(windows, folder / "low", 2, 2, True, bf16=True)
    return [first, second, low]


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Trainings one after another: the group has to outlast the first.
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=300))
    story(little_windows(Path(sys.argv[1]), Path(sys.argv[2]) / "cache"), Path(sys.argv[2]))
