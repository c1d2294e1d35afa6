"""Mean and spread of proprioception and actions, per embodiment: what makes them fit for a network, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from policies.data.windows import Windows

STILL = 1e-4  # a number that varies less is a constant, and only shifted


@dataclasses.dataclass(frozen=True)
class Scale:
    """Mean and standard deviation, float32, (E, W): E embodiments, W numbers at most; 0 and 1 where there is none.

    The unknown embodiment -1 counts as the first: what is unknown is masked anyway.
    """

    mean: Tensor
    std: Tensor

    def normalize(self, values: Tensor, embodiment: Tensor) -> Tensor:
        """Values (B, ..., W) in SI units -> zero mean and unit spread, by embodiment (B,)."""
        mean, std = self._of(values, embodiment)
        return (values - mean) / std

    def denormalize(self, values: Tensor, embodiment: Tensor) -> Tensor:
        """The way back: (B, ..., W) -> SI units."""
        mean, std = self._of(values, embodiment)
        return values * std + mean

    def _of(self, values: Tensor, embodiment: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(values), *[1] * (values.dim() - 2), self.mean.shape[-1])
        mean, std, which = self.mean.to(values.device), self.std.to(values.device), embodiment.clamp(min=0)
        return mean[which].view(shape), std[which].view(shape)

    @staticmethod
    def of(samples: Sequence[Sequence[np.ndarray]], width: int) -> Scale:
        """The scale of samples, each (n, w): by embodiment a sequence of them, maybe empty."""
        mean, std = np.zeros((len(samples), width)), np.ones((len(samples), width))
        for embodiment, arrays in enumerate(samples):
            if arrays:
                values = np.concatenate(arrays).astype(np.float64)
                spread = values.std(0)
                mean[embodiment, : len(spread)] = values.mean(0)
                std[embodiment, : len(spread)] = np.where(spread < STILL, 1.0, spread)
        return Scale(torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The scales of proprioception and of actions."""

    proprio: Scale
    actions: Scale

    @staticmethod
    def of(windows: Windows) -> Statistics:
        """The statistics of the episodes that the windows come from; embodiments are numbered as there."""
        count = max(len(windows.embodiments), 1)
        proprio: list[list[np.ndarray]] = [[] for _ in range(count)]
        actions: list[list[np.ndarray]] = [[] for _ in range(count)]
        for p, episodes in zip(windows.prepared, windows.episodes, strict=True):
            if p.proprio is None or p.actions is None:
                continue
            number = windows.embodiments.index(p.embodiment)
            for episode in episodes:
                here = slice(p.starts[episode], p.starts[episode + 1])
                proprio[number].append(p.proprio[here])
                actions[number].append(p.actions[here].reshape(-1, p.actions.shape[-1]))
        return Statistics(Scale.of(proprio, windows.proprio_width), Scale.of(actions, windows.action_width))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, as they stand in a checkpoint."""
        scales = {"proprio": self.proprio, "actions": self.actions}
        return {name: {"mean": scale.mean.tolist(), "std": scale.std.tolist()} for name, scale in scales.items()}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Statistics:
        """The statistics that `to_dict` gave."""
        scales = [
            Scale(*(torch.tensor(values[name][key], dtype=torch.float32) for key in ("mean", "std")))
            for name in ("proprio", "actions")
        ]
        return Statistics(*scales)
