"""Plain video files as a dataset without states and actions: a file is an episode, pictures stand at their times."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import av
import av.error
import numpy as np

from assets.errors import InputError
from policies.data.lerobot import INFO, LeRobotDataset, decode

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".avi")


class VideoFiles:
    """A video file, or all those of a folder and the folders in it, in the order of their names.

    Attributes:
        root: the file or folder.
        files: the videos.
    """

    def __init__(self, root: Path | str) -> None:
        """Find the files.

        Raises:
            InputError: there is none.
        """
        self.root = Path(root)
        found = sorted(self.root.rglob("*")) if self.root.is_dir() else [self.root]
        self.files = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
        if not self.files:
            what = "holds no video" if self.root.exists() else "no such file or folder"
            raise InputError(f"{self.root}: {what}; wanted is a LeRobotDataset or {', '.join(SUFFIXES)}")

    def __len__(self) -> int:
        """Files."""
        return len(self.files)

    @cached_property
    def hash(self) -> str:
        """What tells these files from others: names, sizes, times of change."""
        stats = [(path, path.stat()) for path in self.files]
        text = "".join(f"{path} {stat.st_size} {stat.st_mtime_ns}\n" for path, stat in stats)
        return hashlib.sha256(text.encode()).hexdigest()

    def count(self, file: int, rate: float) -> int:
        """Pictures of a file at `rate` a second."""
        return len(self._picks(file, rate))

    def video(self, file: int, rate: float) -> Iterator[np.ndarray]:
        """The pictures of a file that show at times 0, 1 / rate, ..., uint8, (height, width, 3)."""
        picks = self._picks(file, rate)
        position = 0
        for number, picture in enumerate(decode(self.files[file], -np.inf, 1.0, None, 1)):
            if position < len(picks) and number == picks[position]:
                yield picture
                position += 1

    def _picks(self, file: int, rate: float) -> np.ndarray:
        """Which pictures of a file show at times 0, 1 / rate, ...; found from their time stamps, nothing is decoded."""
        path = self.files[file]
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                base = float(stream.time_base or 0)
                times = np.sort([p.pts * base for p in container.demux(stream) if p.pts is not None and p.size > 0])
        except (av.error.FFmpegError, IndexError) as error:
            raise InputError(f"{path}: cannot be read, it is damaged or no video; leave it out") from error
        if len(times) < 2:
            raise InputError(f"{path}: holds {len(times)} pictures; leave it out")
        times -= times[0]
        step = float(np.median(np.diff(times)))
        if step * rate > 1.01:
            raise InputError(f"{path}: has {1 / step:.4g} pictures a second, asked for are {rate:g}")
        wanted = np.arange(int(times[-1] * rate + 1e-6) + 1) / rate
        return np.searchsorted(times, wanted + 1e-6, side="right") - 1


def open_source(path: Path | str) -> LeRobotDataset | VideoFiles:
    """A LeRobotDataset where there is one, video files otherwise.

    Raises:
        InputError: neither.
    """
    path = Path(path)
    return LeRobotDataset(path) if (path / INFO).exists() or (path / "meta").is_dir() else VideoFiles(path)
