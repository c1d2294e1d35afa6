"""Pictures decoded once: cropped to the work area, made small, kept as plain arrays that training maps into memory.

Video runs at `rate` pictures a second, every stride-th of the dataset's frames. Picture i shows what is seen before the
actions of frames stride * i .. stride * i + stride - 1; what does not fill a last stride is left out.

    prepared = prepare(open_source(path), [View("cell"), View("wrist")], rate=10)
    prepared.frames["cell"][prepared.starts[3]]     # the first picture of episode 3
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from assets.errors import InputError
from policies.data.lerobot import LeRobotDataset
from policies.data.videos import VideoFiles
from policies.data.view import View
from policies.embodiment import ACTION, STATE, VIDEO, Embodiment

FORMAT = 1
BLOCK = 16  # pictures that are made small at once


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A dataset of N pictures per view in E episodes, P numbers of proprioception, A of an action.

    Attributes:
        root: the dataset's folder.
        hash: the dataset's.
        views: the views, in order.
        frames: by view name, uint8, (N, size, size, 3), mapped from the disk.
        proprio: float32, (N, P), SI units, `embodiment.proprio` names them; None for video without actions.
        actions: float32, (N, stride, A), those that follow each picture; None for video without actions.
        task: int64, (N,), index into `texts`.
        episode: int64, (N,).
        starts: int64, (E + 1,), where each episode begins, and N.
        success: bool, (E,), whether each episode fulfilled its task; None where the dataset does not say.
        texts: what is to be done; none for plain video.
        embodiment: names of the numbers; `VIDEO` without actions.
        rate: pictures a second.
        stride: actions per picture; 1 for plain video.
        cameras: height and width [pixels] of each camera's pictures, of which views are made; none of plain video.
    """

    root: str
    hash: str
    views: tuple[View, ...]
    frames: dict[str, np.ndarray]
    proprio: np.ndarray | None
    actions: np.ndarray | None
    task: np.ndarray
    episode: np.ndarray
    starts: np.ndarray
    success: np.ndarray | None
    texts: tuple[str, ...]
    embodiment: Embodiment
    rate: float
    stride: int
    cameras: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def without_actions(self) -> Prepared:
        """Return the same as if nobody had recorded what the arm was told, nor where it was: video alone."""
        return dataclasses.replace(self, proprio=None, actions=None, embodiment=VIDEO, stride=1)


def prepare(
    dataset: LeRobotDataset | VideoFiles,
    views: Sequence[View],
    rate: float = 10.0,
    cache: Path | None = None,
    torques: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Decode a dataset, or find what has been decoded before.

    Args:
        dataset: of `open_source`. Plain video serves the first view, the others stay black.
        views: what is seen; names must differ.
        rate: pictures a second, a whole part of the dataset's fps.
        cache: where decoded pictures are kept; `$PALLETLAB_CACHE/frames`, or `~/.cache/palletlab/frames`, by default.
            May be removed at any time.
        torques: whether joint torques are part of proprioception; by default where there are any.
        progress: is told the pictures decoded so far and in all.

    Raises:
        InputError: a missing camera, a rate that does not fit, damaged files, NaN, no room on the disk.
    """
    plan = _Plan.of(dataset, tuple(views), rate, torques)
    cache = cache or Path(os.environ.get("PALLETLAB_CACHE") or os.path.expanduser("~/.cache/palletlab")) / "frames"
    seen = [(view.camera, view.crop, view.size) for view in plan.views]
    key = json.dumps([FORMAT, dataset.hash, seen, rate, torques])
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:32]
    if not folder.is_dir():
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{cache}: cannot keep pictures ({error.strerror}); set PALLETLAB_CACHE") from error
        with _locked(folder.with_suffix(".lock")):
            if not folder.is_dir():  # nobody has made it while we waited
                temporary = folder.with_suffix(".tmp")
                shutil.rmtree(temporary, ignore_errors=True)  # of one who was killed
                temporary.mkdir()
                try:
                    _write(plan, temporary, progress)
                    os.rename(temporary, folder)
                finally:
                    shutil.rmtree(temporary, ignore_errors=True)
    return _open(plan, folder)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is to be decoded: pictures per episode, and of whom."""

    dataset: LeRobotDataset | VideoFiles
    views: tuple[View, ...]
    rate: float
    stride: int
    embodiment: Embodiment

    @staticmethod
    def of(dataset: LeRobotDataset | VideoFiles, views: tuple[View, ...], rate: float, torques: bool | None) -> _Plan:
        names = [view.name for view in views]
        if not names or len(set(names)) != len(names):
            raise InputError(f"views {names}: at least one is needed, and each name once")
        if isinstance(dataset, VideoFiles):
            return _Plan(dataset, views, rate, 1, VIDEO)
        for view in views:
            dataset.camera(view.camera)
        stride = round(dataset.fps / rate) if rate > 0 else 0
        if stride < 1 or abs(stride * rate - dataset.fps) > 1e-6:
            fitting = ", ".join(f"{dataset.fps / k:g}" for k in (1, 2, 3, 4))
            raise InputError(f"{dataset.root}: {dataset.fps} frames a second give no rate of {rate:g}; use {fitting}")
        embodiment = VIDEO
        if dataset.action_names:
            embodiment = Embodiment.of(dataset.info, torques, str(dataset.root))
        return _Plan(dataset, views, rate, stride, embodiment)

    @functools.cached_property
    def counts(self) -> list[int]:
        """Pictures of each episode."""
        if isinstance(self.dataset, VideoFiles):
            counts = [self.dataset.count(file, self.rate) for file in range(len(self.dataset))]
        else:
            counts = [length // self.stride for length in self.dataset.lengths]
        if not sum(counts):
            raise InputError(f"{self.dataset.root}: has no episode yet")
        return counts

    def cameras(self) -> dict[str, list[View]]:
        """The views of each camera, so that it is decoded once."""
        views = self.views[:1] if isinstance(self.dataset, VideoFiles) else self.views
        return {camera: [v for v in views if v.camera == camera] for camera in dict.fromkeys(v.camera for v in views)}

    def pictures(self, episode: int, camera: str) -> Iterator[np.ndarray]:
        if isinstance(self.dataset, VideoFiles):
            return self.dataset.video(episode, self.rate)
        return self.dataset.video(episode, camera, self.stride)


def _write(plan: _Plan, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    """Fill a folder with the arrays."""
    starts = np.concatenate([[0], np.cumsum(plan.counts)]).astype(np.int64)
    total, cameras = int(starts[-1]), plan.cameras()
    arrays = _numbers(plan, starts)
    arrays |= {"starts": starts, "episode": np.repeat(np.arange(len(plan.counts)), plan.counts)}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    frames = {v.name: _room(folder / f"frames_{i}.npy", (total, v.size, v.size, 3)) for i, v in enumerate(plan.views)}

    def decode(job: tuple[int, str]) -> int:
        episode, camera = job
        pictures = islice(plan.pictures(episode, camera), plan.counts[episode])
        at = starts[episode]
        while block := list(islice(pictures, BLOCK)):
            for view in cameras[camera]:
                frames[view.name][at : at + len(block)] = view.of(np.stack(block))
            at += len(block)
        if at != starts[episode + 1]:
            raise InputError(f"{plan.dataset.root}: episode {episode} ends before its last picture of {camera!r}")
        return plan.counts[episode]

    jobs = [(episode, camera) for episode in range(len(plan.counts)) for camera in cameras]
    done = 0
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        try:
            for count in pool.map(decode, jobs):
                done += count
                if progress:
                    progress(done, total * len(cameras))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for array in frames.values():
        array.flush()
    (folder / "about.json").write_text(json.dumps({"root": str(plan.dataset.root), "hash": plan.dataset.hash}))


def _numbers(plan: _Plan, starts: np.ndarray) -> dict[str, np.ndarray]:
    """Proprioception, actions, tasks and success of all episodes."""
    total = int(starts[-1])
    arrays: dict[str, np.ndarray] = {"task": np.zeros(total, np.int64)}
    if isinstance(plan.dataset, VideoFiles):
        return arrays
    stride, known = plan.stride, plan.embodiment != VIDEO
    if known:
        chosen = plan.embodiment.columns(plan.dataset.state_names)
        arrays["proprio"] = np.empty((total, len(chosen)), np.float32)
        arrays["actions"] = np.empty((total, stride, len(plan.embodiment.actions)), np.float32)
    successes: list[bool] = []
    for episode, count in enumerate(plan.counts):
        columns, here = plan.dataset.columns(episode), slice(starts[episode], starts[episode + 1])
        arrays["task"][here] = columns["task_index"][: count * stride : stride]
        if known:
            arrays["proprio"][here] = columns[STATE][: count * stride : stride, chosen]
            arrays["actions"][here] = columns[ACTION][: count * stride].reshape(count, stride, -1)
        if "next.success" in columns:
            successes.append(bool(columns["next.success"][-1]))
    if len(successes) == len(plan.counts):
        arrays["success"] = np.array(successes)
    return arrays


def _open(plan: _Plan, folder: Path) -> Prepared:
    """Map a folder's arrays."""

    def array(name: str) -> Any:
        path = folder / f"{name}.npy"
        return np.load(path, mmap_mode="r" if name.startswith("frames") else None) if path.exists() else None

    try:
        about = json.loads((folder / "about.json").read_text())
        frames = {view.name: array(f"frames_{i}") for i, view in enumerate(plan.views)}
        numbers = {n: array(n) for n in ("proprio", "actions", "task", "episode", "starts", "success")}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: decoded pictures are damaged; remove the folder, they are made again") from error
    texts, cameras = (
        (plan.dataset.tasks, plan.dataset.cameras) if isinstance(plan.dataset, LeRobotDataset) else ((), {})
    )
    return Prepared(
        str(plan.dataset.root),
        about["hash"],
        plan.views,
        frames,
        **numbers,
        texts=tuple(texts),
        embodiment=plan.embodiment,
        rate=plan.rate,
        stride=plan.stride,
        cameras=dict(cameras),
    )


def _room(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """An array of bytes on the disk, whose room is taken now: a full disk would end the process while it is filled."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = np.prod(shape) / 1e9
        raise InputError(
            f"{path.parent}: no room for {size:.2f} GB of pictures ({error.strerror}); free some"
        ) from error
    return array


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until nobody else holds the lock; the system releases that of a killed process."""
    with path.open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks: then two may do the same work
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
