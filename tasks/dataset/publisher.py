"""Publishing: staged episodes become a LeRobotDataset, one by one, in the order of the variants.

An episode's files are put in their final places first and counted in `meta/info.json`, the manifest, last; only then
is its staged folder removed. So a run killed at any moment loses no finished episode, and the finished dataset has the
same bytes whatever the order in which episodes finished and however often the run was interrupted.

Example:
    with Publisher(root, features, settings, variants=range(100), resume=True) as publisher:
        todo = [v for v in range(100) if v not in publisher.finished]
        ...                               # workers run EpisodeWriter(...).close(...) or stage_quarantine(...)
        publisher.publish_ready()         # now and then
        publisher.finish()
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets.errors import InputError
from tasks.dataset import lerobot_format as lerobot
from tasks.dataset.lerobot_format import Features
from tasks.dataset.reader import QUARANTINE_PATH, SETTINGS_PATH, open_dataset
from tasks.dataset.staging import (
    EPISODE_FILE,
    FRAMES_FILE,
    QUARANTINE_FILE,
    STATES_FILE,
    staged_folder,
    staging_folder,
)
from tasks.durable import TEMPORARY, link_file, make_folder, remove_temporaries, sync_folder, write_file


@dataclass(frozen=True)
class Published:
    """What became of a variant: episode number and metadata, or, quarantined, no number and {variant, reason, row}."""

    variant: int
    episode: int | None
    metadata: dict[str, Any]


class Publisher:
    """The one process that turns staged episodes into the dataset at `root`; it locks the folder while it lives."""

    def __init__(
        self,
        root: Path,
        features: Features,
        settings: Mapping[str, Any],
        variants: Sequence[int],
        resume: bool = False,
    ) -> None:
        """Start a dataset, or take up an interrupted one where it stopped.

        Args:
            root: the dataset's folder.
            features: what every frame holds.
            settings: what the episodes follow from (seed, task, hash of the variants, ...), JSON-able. Kept in the
                dataset; one can only be resumed with the same.
            variants: the variant numbers to be published, in this order.
            resume: go on with what is there. Without it the folder must be empty or missing.

        Raises:
            InputError: the folder holds something else or is in use, other settings, a damaged dataset, a full disk.
        """
        self.root = Path(root)
        self.features = features
        self._variants = [int(variant) for variant in variants]
        if len(set(self._variants)) != len(self._variants):
            raise InputError("variants: a number comes twice; every variant gives one episode")
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root}: is a file; a dataset needs a folder")
        if not resume and self.root.exists() and any(self.root.iterdir()):
            raise InputError(f"{self.root}: is not empty; resume it, or name a new folder")
        try:
            make_folder(self.root)
        except OSError as error:
            raise InputError(f"{self.root}: cannot be made a folder ({error.strerror}); name another") from error
        self._lock = _lock(self.root)
        try:
            self._settings = lerobot.json_bytes(
                {"settings": dict(settings), "fps": int(features.fps), "robot_type": features.robot_type}
                | {"features": features.to_info(), "tasks": list(features.tasks)},
                "settings",
            )
            if not (self.root / lerobot.INFO_PATH).exists():
                self._begin()
            self._recover()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Write the settings and an empty manifest; a crash in between is repeated, not mended."""
        ours = {self.root / name for name in ("meta", ".staging", "meta/palletlab", SETTINGS_PATH, lerobot.TASKS_PATH)}
        strangers = [p for p in self.root.rglob("*") if p not in ours and not p.name.endswith(TEMPORARY)]
        if strangers:
            raise InputError(f"{self.root}: holds {strangers[0].name!r} but no dataset; name a new folder")
        write_file(self.root / SETTINGS_PATH, self._settings)
        write_file(self.root / lerobot.TASKS_PATH, lerobot.parquet_bytes(lerobot.tasks_table(self.features.tasks)))
        self._episodes, self._frames = 0, 0
        self._write_manifest()

    def _recover(self) -> None:
        """Check the settings, remove what was not finished, and find where to go on."""
        self._check_settings()
        remove_temporaries(self.root)
        dataset = open_dataset(self.root)
        self._episodes, self._frames = len(dataset), dataset.frames_in_all
        self._remove_files_of(self._episodes)
        self._quarantined = dataset.quarantined
        self._stats = dataset.stats()
        if self._episodes and int(self._stats["index"]["count"][0]) != self._frames:  # written just before a crash
            self._stats = {}
            for episode in range(self._episodes):
                row = lerobot.episode_files(self.root, episode, self.features.cameras).row
                self._stats = lerobot.merge_stats(self._stats, lerobot.row_stats(row))

        done = [dataset.metadata(episode)["variant"] for episode in range(self._episodes)]
        done = {*done, *(entry["variant"] for entry in self._quarantined)}
        if done != set(self._variants[: len(done)]):
            raise InputError(
                f"{self.root}: holds variants {_some(done)}, but the run asks for {_some(self._variants)} in this "
                "order; resume with the variants it was begun with"
            )
        for variant in done:
            shutil.rmtree(staged_folder(self.root, variant), ignore_errors=True)
        staged = {variant for variant in self._variants if staged_folder(self.root, variant).is_dir()}
        self.finished = frozenset(done | staged)
        """Variants that need not be simulated any more: published, quarantined or staged when the run began."""

    def _check_settings(self) -> None:
        try:
            there = json.loads((self.root / SETTINGS_PATH).read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.root / SETTINGS_PATH}: cannot be read; resume needs the settings") from error
        ours = _flat(json.loads(self._settings))
        there = _flat(there)
        for key in sorted(ours.keys() | there.keys(), key=lambda key: (key.startswith("features"), key)):
            if ours.get(key) != there.get(key):
                raise InputError(
                    f"{self.root}: was begun with {key} = {there.get(key)!r}, the run now has {ours.get(key)!r}; "
                    "resume with the same settings, or name a new folder"
                )

    def publish_ready(self) -> list[Published]:
        """Publish the staged episodes whose turn it is; one that waits for an earlier variant stays staged.

        Raises:
            InputError: the disk is full or a staged episode damaged; nothing of that episode is published.
        """
        published = []
        while (done := self._episodes + len(self._quarantined)) < len(self._variants):
            folder = staged_folder(self.root, self._variants[done])
            if (folder / QUARANTINE_FILE).is_file():
                published.append(self._publish_quarantine(folder))
            elif folder.is_dir():
                try:
                    published.append(self._publish_episode(folder))
                except (InputError, OSError):
                    self._remove_files_of(self._episodes)
                    raise
            else:
                break
            shutil.rmtree(folder)
        return published

    def _publish_quarantine(self, folder: Path) -> Published:
        entry = json.loads((folder / QUARANTINE_FILE).read_bytes())
        quarantined = [*self._quarantined, entry]
        write_file(self.root / QUARANTINE_PATH, lerobot.json_bytes(quarantined, QUARANTINE_PATH))
        self._quarantined = quarantined
        return Published(entry["variant"], None, entry)

    def _publish_episode(self, folder: Path) -> Published:
        """Put every file in its place, the manifest last."""
        number, first = self._episodes, self._frames
        files = lerobot.episode_files(self.root, number, self.features.cameras)
        try:
            staged = json.loads((folder / EPISODE_FILE).read_bytes())
            frames = pq.read_table(folder / FRAMES_FILE)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: is damaged; remove it and resume, the episode is then made again") from error
        metadata = {"episode": number, **staged["metadata"]}
        length = metadata["length"]
        numbering = {
            "episode_index": np.full(length, number),
            "index": np.arange(first, first + length),
        }
        for key, values in numbering.items():
            frames = frames.append_column(key, pa.array(values))
        frames = frames.select([*(key for key in frames.column_names if key != lerobot.TASK), lerobot.TASK])
        stats = {
            feature: {name: np.array(value) for name, value in entries.items()}
            for feature, entries in staged["stats"].items()
        } | lerobot.stats_of_columns(numbering)
        total_stats = lerobot.merge_stats(self._stats, stats)
        row = lerobot.episode_row(self.features, number, first, length, metadata["tasks"], stats)

        write_file(files.data, lerobot.parquet_bytes(frames))
        for camera, path in files.videos.items():
            link_file(folder / f"{camera}.mp4", path)
        link_file(folder / STATES_FILE, files.states)
        write_file(files.metadata, lerobot.json_bytes(metadata, EPISODE_FILE))
        write_file(files.row, lerobot.parquet_bytes(row))
        write_file(self.root / lerobot.STATS_PATH, lerobot.json_bytes(_lists(total_stats), lerobot.STATS_PATH))
        before = self._episodes, self._frames
        self._episodes, self._frames = number + 1, first + length
        try:
            self._write_manifest()
        except (InputError, OSError):
            self._episodes, self._frames = before
            raise
        self._stats = total_stats
        return Published(metadata["variant"], number, metadata)

    def _write_manifest(self) -> None:
        manifest = lerobot.info(self.features, episodes=self._episodes, frames=self._frames)
        write_file(self.root / lerobot.INFO_PATH, lerobot.json_bytes(manifest, lerobot.INFO_PATH))

    def _remove_files_of(self, episode: int) -> None:
        """Remove what an interrupted publication left; episodes go one by one, so only the next number can be there."""
        for path in lerobot.episode_files(self.root, episode, self.features.cameras).all():
            path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Publish what is left and remove the staging folder.

        Raises:
            RuntimeError: a variant was neither staged nor quarantined.
        """
        self.publish_ready()
        missing = self._variants[self._episodes + len(self._quarantined) :]
        if missing:
            raise RuntimeError(f"variants {_some(missing)} are neither finished nor quarantined")
        shutil.rmtree(staging_folder(self.root), ignore_errors=True)
        sync_folder(self.root)

    def close(self) -> None:
        """Release the folder; what was published and staged stays."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        """The publisher itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the folder."""
        self.close()


def _lock(root: Path) -> int | None:
    """Lock a folder against a second publisher; the system releases it when the process ends, however it ends."""
    descriptor = os.open(root, os.O_RDONLY)
    with contextlib.suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise InputError(f"{root}: another run is writing into it; wait for it, or name a new folder") from error
    return descriptor


def _lists(stats: lerobot.Stats) -> dict[str, dict[str, Any]]:
    return {feature: {name: value.tolist() for name, value in entries.items()} for feature, entries in stats.items()}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, so that a difference can be named."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flat(entry, f"{prefix}.{key}" if prefix else key)
    return flat


def _some(numbers: Sequence[int] | set[int]) -> str:
    listed = sorted(numbers)
    return ", ".join(map(str, listed[:5])) + (f", ... ({len(listed)} in all)" if len(listed) > 5 else "")
