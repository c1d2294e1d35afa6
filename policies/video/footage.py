"""Datasets as a video network sees them: latents of all pictures, and where dreams begin.

footage = footage_of([open_source(path)], network)
starts = footage.starts(count=200, shown=16, ahead=24)
part = footage.part(starts[:64])                        # frames, conditions, actions, recorded positions
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.data.frames import Prepared, prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.videos import VideoFiles
from policies.data.windows import Windows, train_test
from policies.embodiment import names_of
from policies.video.condition import Condition
from policies.video.learner import condition_of, latents_of
from policies.video.network import VideoNetwork

SURROUNDINGS = "observation.environment_state"
PLACE = re.compile(r"(carton|part)\d*\.(x|y|z|top)")  # of these, where a thing is [m]


@dataclasses.dataclass(frozen=True)
class Part:
    """B windows of T frames, the first `shown` of which are shown to the dreamer.

    Attributes:
        shown: as said.
        pictures: by view, (B, T, size, size, 3) uint8.
        frames: (B, T, N, D) latents.
        condition: of all frames.
        positions: (B, T, K) recorded, `Footage.names` names them; NaN where nothing was recorded.
        pose: (B, joints) at the last frame shown [rad]; NaN where nothing was recorded.
        embodiment: (B,) index into the network's embodiments, -1 for video alone.
        episode: (B,) number of the episode among all.
    """

    shown: int
    pictures: dict[str, Tensor]
    frames: Tensor
    condition: Condition
    positions: Tensor
    pose: Tensor
    embodiment: Tensor
    episode: np.ndarray

    def __len__(self) -> int:
        """Windows."""
        return len(self.frames)


@dataclasses.dataclass(frozen=True)
class Footage:
    """All frames of some datasets, one dataset after the other; N frames.

    Attributes:
        network: whose latents these are.
        prepared: the datasets.
        latents: float16, (N, tokens of all views, dim).
        positions: float32, (N, K): joints [rad], then cartons or parts [m]; NaN where nothing was recorded.
        names: of these numbers.
        train, test: of each dataset, the episodes that were learned from, and the others.
    """

    network: VideoNetwork
    prepared: tuple[Prepared, ...]
    latents: Tensor
    positions: np.ndarray
    names: tuple[str, ...]
    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]

    @property
    def joints(self) -> int:
        """How many of the positions are joints [rad]; the others are in metres."""
        return sum(PLACE.fullmatch(name) is None for name in self.names)

    def numbers(self, test: bool) -> np.ndarray:
        """Return the frames (n,) of the episodes that were learned from, or of the others."""
        chosen, first = [], 0
        for p, episodes in zip(self.prepared, self.test if test else self.train, strict=True):
            chosen += [first + np.arange(int(p.starts[e]), int(p.starts[e + 1])) for e in episodes]
            first += int(p.starts[-1])
        return np.concatenate(chosen).astype(np.int64) if chosen else np.zeros(0, np.int64)

    @property
    def episodes(self) -> np.ndarray:
        """Return (N,) the episode of each frame, counted through all datasets."""
        counts = np.cumsum([0, *(len(p.starts) - 1 for p in self.prepared)])
        return np.concatenate([p.episode + n for p, n in zip(self.prepared, counts, strict=False)])

    def starts(self, count: int, length: int, seed: int = 0) -> np.ndarray:
        """Draw windows of `length` frames in the episodes that were not learned from; (count,) numbers of windows.

        With fewer windows than are wanted, they come again: dreams from the same start differ by their noise.

        Raises:
            InputError: no episode is that long.
        """
        windows = self._windows(length)
        random = np.random.default_rng([seed, 0])
        rounds = -(-count // len(windows))
        return np.concatenate([random.permutation(len(windows)) for _ in range(rounds)])[:count]

    def part(self, starts: np.ndarray, length: int, shown: int) -> Part:
        """Return some of the windows that `starts` drew for this length."""
        batch = self._windows(length).batch(starts)
        numbers = next(iter(batch.frames.values())).numpy()
        views = self.network.meaning.views
        pictures = {view.name: torch.from_numpy(self._pictures(view.name, numbers)) for view in views}
        joints = [i for i, name in enumerate(self.names) if PLACE.fullmatch(name) is None]
        positions = torch.from_numpy(self.positions[numbers])
        device = next(self.network.model.parameters()).device
        batch = batch.to(device)
        return Part(
            shown,
            pictures,
            self.latents[torch.from_numpy(numbers)].float().to(device),
            condition_of(self.network, batch),
            positions,
            positions[:, shown - 1, joints],
            batch.embodiment,
            self.episodes[numbers[:, 0]],
        )

    def _windows(self, length: int) -> Windows:
        """Return windows that hold numbers of frames in the place of pictures."""
        first, numbered = 0, []
        for p in self.prepared:
            total = int(p.starts[-1])
            place = np.arange(first, first + total)
            numbered.append(dataclasses.replace(p, frames={view.name: place for view in p.views}))
            first += total
        meaning = self.network.meaning
        return Windows(numbered, length, self.test, meaning.texts, meaning.embodiments)

    def _pictures(self, view: str, numbers: np.ndarray) -> np.ndarray:
        ends = np.cumsum([int(p.starts[-1]) for p in self.prepared])
        rows = []
        for window in numbers:  # a window lies within one dataset
            source = int(np.searchsorted(ends, window[0], side="right"))
            rows.append(self.prepared[source].frames[view][window - (ends[source - 1] if source else 0)])
        return np.stack(rows)


def footage_of(
    sources: Sequence[LeRobotDataset | VideoFiles],
    network: VideoNetwork,
    held_out: float = 0.1,
    seed: int = 0,
    cache: Path | None = None,
    says: Callable[[str, int, int], None] = lambda *_: None,
) -> Footage:
    """Decode and encode datasets.

    Args:
        sources: of `open_source`.
        network: that is to dream.
        held_out: share of the episodes of each dataset that dreams begin in, those that training kept for tests with
            the same share and seed; 0: all of them, and all are taken as learned from.
        seed: of that draw.
        cache: see `prepare`.
        says: is told what is going on, how much of it is done, of how much.

    Raises:
        InputError: cameras, rates or embodiments that are not the network's, or damaged data.
    """
    meaning = network.meaning
    prepared, rows, names = [], [], []
    for source in sources:
        p = prepare(source, meaning.views, meaning.rate, cache, progress=lambda n, of: says("decoding", n, of))
        if p.actions is not None and (p.embodiment not in meaning.embodiments or p.stride != meaning.stride):
            known = ", ".join(e.name for e in meaning.embodiments) or "video alone"
            told = f"{p.embodiment.name} with {p.stride} actions a frame"
            raise InputError(f"{p.root}: shows {told}, which the model does not know; it knows {known}")
        prepared.append(p)
        recorded = _recorded(source, p)
        rows.append(recorded)
        names.append(tuple(recorded))
    common = tuple(name for name in dict.fromkeys(n for have in names for n in have) if all(name in n for n in names))
    total = [int(p.starts[-1]) for p in prepared]
    positions = [
        np.stack([row[name] for name in common], 1) if common else np.zeros((n, 0), np.float32)
        for row, n in zip(rows, total, strict=True)
    ]
    encoded = [latents_of(p, network, lambda n, of: says("encoding", n, of)) for p in prepared]
    latents = [np.concatenate([p.frames[view.name] for view in meaning.views], 1) for p in encoded]
    splits = []
    for p in prepared:
        everything = np.arange(len(p.starts) - 1)
        splits.append(train_test(p.starts, held_out, seed) if held_out else (everything, everything))
    if not any(len(test) for _, test in splits):
        raise InputError("one episode alone: none can be held out; with held_out=0 dreams begin in it")
    return Footage(
        network,
        tuple(prepared),
        torch.from_numpy(np.concatenate(latents)),
        np.concatenate(positions).astype(np.float32),
        common,
        tuple(train for train, _ in splits),
        tuple(test for _, test in splits),
    )


def _recorded(source: LeRobotDataset | VideoFiles, prepared: Prepared) -> dict[str, np.ndarray]:
    """Return what a dataset says of positions at each frame, by name: joints first, then cartons or parts."""
    found: dict[str, np.ndarray] = {}
    if isinstance(source, VideoFiles):
        return found
    if prepared.proprio is not None:
        found |= {name: prepared.proprio[:, i] for i, name in enumerate(prepared.embodiment.positions)}
    places = {n: i for i, n in enumerate(names_of(source.info, SURROUNDINGS)) if PLACE.fullmatch(n)}
    if not places:
        return found
    counts, stride = np.diff(prepared.starts), round(source.fps / prepared.rate)
    rows = [source.columns(e)[SURROUNDINGS][: n * stride : stride] for e, n in enumerate(counts.tolist())]
    surroundings = np.concatenate(rows)
    return found | {name: surroundings[:, i] for name, i in places.items()}
