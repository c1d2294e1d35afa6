"""Windows of video for training: cut out of the prepared pictures, shuffled, batched ahead in threads.

    windows = Windows([prepared], length=16)
    for batch in Batches(windows, Sampler(len(windows), batch=8, seed=0)):
        ...                                                   # endless

Positions in the shuffled order are plain numbers, so training goes on after an interruption with the very next batch,
and `world` processes that each take their share see together what one process would see.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from policies.data.frames import Prepared
from policies.embodiment import VIDEO, Embodiment


@dataclasses.dataclass
class Batch:
    """B windows of T pictures, P numbers of proprioception and A of an action at most among the embodiments.

    Attributes:
        frames: by view, uint8, (B, T, size, size, 3); or whatever stands in the place of pictures in `Prepared.frames`.
        proprio: float32, (B, T, P), SI units; zeros beyond what the embodiment has.
        actions: float32, (B, T, stride, A), those that follow each picture; zeros beyond what the embodiment has.
        known: bool, (B,), false where there are neither actions nor proprioception.
        task: int64, (B,), what is to be done at the window's end, index into `Windows.texts`; -1 where unknown.
        embodiment: int64, (B,), index into `Windows.embodiments`; -1 where unknown.
    """

    frames: dict[str, Tensor]
    proprio: Tensor
    actions: Tensor
    known: Tensor
    task: Tensor
    embodiment: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The batch on a device; copied while the host goes on where its memory is pinned."""
        move = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        frames = {view: pictures.to(device, non_blocking=True) for view, pictures in move.pop("frames").items()}
        return Batch(frames, **{name: tensor.to(device, non_blocking=True) for name, tensor in move.items()})

    def pinned(self) -> Batch:
        """The batch in memory from which a GPU copies by itself."""
        move = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        frames = {view: pictures.pin_memory() for view, pictures in move.pop("frames").items()}
        return Batch(frames, **{name: tensor.pin_memory() for name, tensor in move.items()})

    def __len__(self) -> int:
        """Windows."""
        return len(self.task)


class Windows:
    """All windows of `length` pictures that lie within an episode, of one or several datasets.

    Attributes:
        prepared: the datasets.
        length: pictures in a window.
        views: names of the views.
        texts: what is to be done, of all datasets; `Batch.task` counts them.
        embodiments: of all datasets; `Batch.embodiment` counts them.
        skipped: episodes that are shorter than a window.
        episodes: by dataset, the episodes that are used and long enough.
    """

    def __init__(
        self,
        prepared: Sequence[Prepared],
        length: int,
        episodes: Sequence[Sequence[int] | np.ndarray | None] | None = None,
        texts: Sequence[str] = (),
        embodiments: Sequence[Embodiment] = (),
    ) -> None:
        """Find the windows.

        Args:
            prepared: the datasets, with the same views, rate and stride (which video alone has not).
            length: pictures in a window.
            episodes: by dataset, which of its episodes to use; None for all of them.
            texts, embodiments: those that have numbers already, in a checkpoint; new ones are appended.

        Raises:
            InputError: the datasets do not fit together, or no episode is long enough.
        """
        self.prepared, self.length = list(prepared), length
        _check_alike(self.prepared)
        self.views = tuple(view.name for view in self.prepared[0].views)
        self.texts = tuple(dict.fromkeys([*texts, *(text for p in self.prepared for text in p.texts)]))
        seen = [p.embodiment for p in self.prepared if p.embodiment != VIDEO]
        self.embodiments = tuple(dict.fromkeys([*embodiments, *seen]))
        self.stride = max(p.stride for p in self.prepared)
        self.proprio_width = max((len(e.proprio) for e in self.embodiments), default=0)
        self.action_width = max((len(e.actions) for e in self.embodiments), default=0)
        self._task_of = [np.array([self.texts.index(text) for text in p.texts], np.int64) for p in self.prepared]
        self._embodiment_of = [-1 if p.embodiment == VIDEO else self.embodiments.index(p.embodiment) for p in prepared]

        self.skipped, self.episodes = 0, []
        sources, firsts = [], []
        for source, p in enumerate(self.prepared):
            chosen = None if episodes is None else episodes[source]
            chosen = np.arange(len(p.starts) - 1) if chosen is None else np.asarray(chosen, np.int64)
            long = np.diff(p.starts)[chosen] >= length
            self.skipped += int((~long).sum())
            self.episodes.append(chosen[long])
            for episode in chosen[long]:
                firsts.append(np.arange(int(p.starts[episode]), int(p.starts[episode + 1]) - length + 1))
                sources.append(np.full(len(firsts[-1]), source))
        if not firsts:
            longest = max(int(np.diff(p.starts).max(initial=0)) for p in self.prepared)
            raise InputError(
                f"windows of {length} pictures at {self.prepared[0].rate:g} Hz: the longest of all episodes has "
                f"{longest}; use shorter windows or longer episodes"
            )
        self._source, self._first = np.concatenate(sources).astype(np.int32), np.concatenate(firsts)

    def __len__(self) -> int:
        """Windows."""
        return len(self._first)

    def batch(self, indices: np.ndarray) -> Batch:
        """Copy windows out of the datasets."""
        n, t = len(indices), self.length
        kept = {name: self.prepared[0].frames[name] for name in self.views}
        frames = {name: np.empty((n, t, *array.shape[1:]), array.dtype) for name, array in kept.items()}
        proprio = np.zeros((n, t, self.proprio_width), np.float32)
        actions = np.zeros((n, t, self.stride, self.action_width), np.float32)
        known, task, embodiment = np.zeros(n, bool), np.zeros(n, np.int64), np.zeros(n, np.int64)
        for row, index in enumerate(indices):
            source, first = self._source[index], self._first[index]
            p, here = self.prepared[source], slice(first, first + t)
            for name in self.views:
                frames[name][row] = p.frames[name][here]
            if p.proprio is not None and p.actions is not None:
                proprio[row, :, : p.proprio.shape[-1]] = p.proprio[here]
                actions[row, :, :, : p.actions.shape[-1]] = p.actions[here]
                known[row] = True
            task[row] = self._task_of[source][p.task[first + t - 1]] if p.texts else -1
            embodiment[row] = self._embodiment_of[source]
        numbers = [torch.from_numpy(array) for array in (proprio, actions, known, task, embodiment)]
        return Batch({name: torch.from_numpy(array) for name, array in frames.items()}, *numbers)


class Sampler:
    """An endless shuffled order of n things, in batches; each epoch shuffles anew, and none is left out at its end."""

    def __init__(self, n: int, batch: int, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        """`batch` is what each of `world` processes takes at a time; this is the one of number `rank`."""
        self.n, self.batch, self.seed, self.rank, self.world = n, batch, seed, rank, world
        self.position = 0  # things taken so far by all processes
        self._orders: dict[int, np.ndarray] = {}

    def next(self) -> np.ndarray:
        """The next batch of this process, (batch,)."""
        places = self.position + self.rank * self.batch + np.arange(self.batch)
        self.position += self.batch * self.world
        return np.array([self._order(place // self.n)[place % self.n] for place in places.tolist()])

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e >= epoch - 1}
            self._orders[epoch] = np.random.default_rng([self.seed, epoch]).permutation(self.n)
        return self._orders[epoch]


class Batches:
    """The batches of a sampler without end, made ahead in threads.

    `position` is where the sampler stood after the batch that was given last: what threads have made ahead does not
    count, so that a checkpoint knows what has been learned from.
    """

    def __init__(self, windows: Windows, sampler: Sampler, threads: int = 1, ahead: int = 4) -> None:
        """With `threads` 0 batches are made when asked for."""
        self.windows, self.sampler = windows, sampler
        self.position = sampler.position
        self._ahead = ahead if threads else 0
        self._queue: deque[tuple[Future[Batch], int]] = deque()
        self._pool = ThreadPoolExecutor(max(threads, 1), "batches")

    def restore(self, position: int) -> None:
        """Go on from a position that was read before."""
        self._queue.clear()
        self.sampler.position = self.position = position

    def __iter__(self) -> Iterator[Batch]:
        """The batches from here on."""
        return self

    def __next__(self) -> Batch:
        """The next batch."""
        while len(self._queue) <= self._ahead:
            indices = self.sampler.next()
            self._queue.append((self._pool.submit(self._make, indices), self.sampler.position))
        future, self.position = self._queue.popleft()
        return future.result()

    def _make(self, indices: np.ndarray) -> Batch:
        batch = self.windows.batch(indices)
        return batch.pinned() if torch.cuda.is_available() else batch

    def __enter__(self) -> Self:
        """The batches themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)


def batches(windows: Windows, sampler: Sampler, threads: int = 1) -> Batches:
    """The windows in the sampler's order, without end; see `Batches`."""
    return Batches(windows, sampler, threads)


def train_test(starts: np.ndarray, share: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split episodes at random: those to train on and those held out, each in order.

    At least one is held out where there are two or more and the share is not 0.
    """
    n = len(starts) - 1
    held = min(max(round(share * n), int(share > 0)), n - 1)
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


def _check_alike(prepared: Sequence[Prepared]) -> None:
    """Refuse datasets that do not fit into one batch."""
    if not prepared:
        raise InputError("windows: no dataset; at least one is needed")
    first = prepared[0]
    for p in prepared[1:]:
        ours, theirs = ([(v.name, v.size) for v in q.views] for q in (first, p))
        if ours != theirs or p.rate != first.rate:
            raise InputError(
                f"{p.root}: has views {theirs} at {p.rate:g} Hz, {first.root} has {ours} at {first.rate:g}"
            )
    strides = {p.stride: p.root for p in prepared if p.actions is not None}
    if len(strides) > 1:
        raise InputError(f"datasets differ in actions per picture: {', '.join(f'{r} {s}' for s, r in strides.items())}")
