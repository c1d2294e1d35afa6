"""A learner of a few weights, and a training that runs as one of several processes when this file is run.

python training_lab.py DATASET FOLDER BATCH STEPS        (with RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT of torchrun)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from policies.data.frames import View, prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.windows import Batch, Batches, Sampler, Windows
from policies.processes import rank_and_world
from policies.training import TrainSettings, train

SIZE = 8


class LittleLearner:
    """Guesses the actions from an 8 x 8 picture; `noise` makes its loss draw random numbers."""

    def __init__(self, windows: Windows, noise: float = 0.0, seed: int = 0, interrupt_at: int = 0) -> None:
        torch.manual_seed(seed)
        numbers = windows.stride * windows.action_width
        self.module = nn.Sequential(nn.Linear(SIZE * SIZE * 3, 16), nn.Tanh(), nn.Linear(16, numbers))
        self.noise, self.interrupt_at, self.calls, self.samples = noise, interrupt_at, 0, 0

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.calls += 1
        if self.calls == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
        x = next(iter(batch.frames.values())).flatten(2).float() / 255 - 0.5
        x = x + self.noise * torch.randn_like(x)
        error = ((self.module(x) - batch.actions.flatten(2)) ** 2).mean()
        return {"loss": error, "rmse": error.sqrt()}

    def optimizer(self, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.module.parameters(), lr, momentum=0.9)  # AdamW would hide gradients of wrong size

    def about(self) -> dict[str, object]:
        return {"kind": "idm", "config": {"width": 16}}

    def sample(self, batch: Batch, writer: object, step: int) -> None:
        self.samples += 1
        torch.randn(3)


def little_windows(dataset: Path, cache: Path, length: int = 4) -> Windows:
    return Windows([prepare(LeRobotDataset(dataset), [View("cell", size=SIZE)], cache=cache)], length)


def settings(steps: int, **more: object) -> TrainSettings:
    chosen: dict[str, object] = {"steps": steps, "lr": 0.1, "warmup": 3, "log_every": 1, "device": "cpu"}
    return TrainSettings(**{**chosen, **more})  # type: ignore[arg-type]


def main(dataset: str, folder: str, batch: str, steps: str) -> None:
    torch.set_num_threads(1)
    rank, world = rank_and_world()
    windows = little_windows(Path(dataset), Path(folder) / "cache")
    learner = LittleLearner(windows, seed=rank)  # ranks begin with other weights: the first one's must win
    with Batches(windows, Sampler(len(windows), int(batch), 0, rank, world)) as batches:
        train(learner, batches, settings(int(steps)), Path(folder) / "training")


if __name__ == "__main__":
    main(*sys.argv[1:])
