"""Actions as a head gives them: joint targets relative to where the joints are, then normalized.

Relative targets are small and alike everywhere in the cell: what a head's resolution is best spent on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.data.statistics import Scale
from policies.data.windows import Windows
from policies.embodiment import VIDEO, Embodiment

MOST = 20_000  # chunks that scales and codes are fitted on


@dataclasses.dataclass(frozen=True)
class Relative:
    """The way from actions to what a head gives, and back.

    Attributes:
        target: (E, A) int64, for each embodiment and number of an action, which number of proprioception it is the
            target of; -1 for a command to the tool, and where the embodiment has no such number.
        scale: of relative actions.
    """

    target: Tensor
    scale: Scale

    @staticmethod
    def of(windows: Windows, chunk: int) -> tuple[Relative, Tensor]:
        """Fit it to the episodes of the windows; return it with the normalized chunks (n, chunk * stride, A).

        Raises:
            InputError: there is video without actions among them, or no episode is as long as a chunk.
        """
        videos = [p.root for p in windows.prepared if p.embodiment == VIDEO]
        if videos:
            raise InputError(f"{videos[0]}: has no actions; a baseline learns from nothing else; label the video first")
        target = _targets(windows.embodiments, windows.action_width)
        found: list[list[np.ndarray]] = [[] for _ in windows.embodiments]
        for p, episodes in zip(windows.prepared, windows.episodes, strict=True):
            number = windows.embodiments.index(p.embodiment)
            assert p.actions is not None
            assert p.proprio is not None
            places = target[number, : p.actions.shape[-1]].numpy()
            for episode in episodes:
                here = slice(int(p.starts[episode]), int(p.starts[episode + 1]))
                found[number].append(_chunks(p.proprio[here], p.actions[here], places, chunk))
        chunks = [np.concatenate(those) if those else np.zeros((0, chunk, 1, 0), np.float32) for those in found]
        step = max(1, -(-sum(len(those) for those in chunks) // MOST))
        chunks = [those[::step] for those in chunks]
        if not any(len(those) for those in chunks):
            raise InputError(f"no episode is longer than a chunk of {chunk} frames; use longer episodes")
        width = windows.action_width
        scale = Scale.of([[those.reshape(-1, those.shape[-1])] if len(those) else [] for those in chunks], width)
        normalized = [
            scale.normalize(_filled(torch.from_numpy(those).flatten(1, 2), width), torch.full((len(those),), number))
            for number, those in enumerate(chunks)
            if len(those)
        ]
        return Relative(target, scale), torch.cat(normalized)

    def encode(self, actions: Tensor, proprio: Tensor, embodiment: Tensor) -> Tensor:
        """Return normalized relative actions (B, …, A) for actions (B, …, A) [SI], seen from proprio (B, P) [SI]."""
        return self.scale.normalize(actions - self._base(proprio, embodiment, actions.dim()), embodiment)

    def decode(self, values: Tensor, proprio: Tensor, embodiment: Tensor) -> Tensor:
        """Return the actions (B, …, A) [SI] that `encode` was given."""
        return self.scale.denormalize(values, embodiment) + self._base(proprio, embodiment, values.dim())

    def _base(self, proprio: Tensor, embodiment: Tensor, dims: int) -> Tensor:
        target = self.target.to(proprio.device)[embodiment]
        base = torch.where(target >= 0, proprio.gather(1, target.clamp(min=0)), 0.0)
        return base.view(len(base), *[1] * (dims - 2), -1)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, as they stand in a checkpoint."""
        return {"mean": self.scale.mean.tolist(), "std": self.scale.std.tolist()}

    @staticmethod
    def from_dict(values: Mapping[str, Any], embodiments: Sequence[Embodiment]) -> Relative:
        """What `to_dict` wrote, for the same embodiments."""
        mean, std = (torch.tensor(values[name], dtype=torch.float32) for name in ("mean", "std"))
        return Relative(_targets(embodiments, mean.shape[-1]), Scale(mean, std))


def _targets(embodiments: Sequence[Embodiment], width: int) -> Tensor:
    target = torch.full((len(embodiments), width), -1)
    for number, embodiment in enumerate(embodiments):
        # Proprioception begins with the positions, in the same order.
        target[number, : len(embodiment.actions)] = torch.tensor(embodiment.target_of)
    return target


def _chunks(proprio: np.ndarray, actions: np.ndarray, places: np.ndarray, chunk: int) -> np.ndarray:
    """Return relative chunks (n, chunk, stride, A) of an episode, from every frame on or up to a chunk later."""
    first = np.arange(len(actions))
    begin = first + first % (chunk + 1)
    first, begin = first[begin + chunk <= len(actions)], begin[begin + chunk <= len(actions)]
    base = np.where(places >= 0, proprio[first][:, np.maximum(places, 0)], 0.0)
    return (actions[begin[:, None] + np.arange(chunk)] - base[:, None, None]).astype(np.float32)


def _filled(values: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]))
