"""Finished episodes on their way into a dataset.

Several workers finish episodes out of order. Each leaves a complete folder `.staging/<variant>` in the dataset,
written aside and renamed; the one publisher (`tasks.dataset.publisher`) takes them from there in the order of the
variants. A variant that could not be simulated leaves a folder with the reason instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from assets.errors import InputError
from tasks.dataset import lerobot_format as lerobot
from tasks.dataset.lerobot_format import ACTION, DONE, ENVIRONMENT_STATE, REWARD, STATE, SUCCESS, TASK, Features
from tasks.dataset.video import VideoSink
from tasks.durable import write_folder

FRAMES_FILE, STATES_FILE, EPISODE_FILE, QUARANTINE_FILE = "frames.parquet", "states.parquet", "episode.json", "why.json"


def staging_folder(root: Path) -> Path:
    """Where finished episodes wait."""
    return root / ".staging"


def staged_folder(root: Path, variant: int) -> Path:
    """Where the finished episode of a variant waits."""
    return staging_folder(root) / f"{variant:06d}"


class EpisodeWriter:
    """Takes one episode frame by frame; nothing is on disk before `close`.

    Images are encoded as they come, so that what is held in memory is the compressed video and the tables. An episode
    that is not closed leaves nothing behind: to give one up, drop the writer.
    """

    def __init__(self, root: Path, features: Features, variant: int) -> None:
        """Begin the episode of a variant."""
        self.variant = variant
        self._root, self._features = Path(root), features
        self._videos = {name: VideoSink(*size, features.fps) for name, size in features.cameras.items()}
        self._columns: dict[str, list[Any]] = {key: [] for key in (*features.vectors(), REWARD, DONE, SUCCESS, TASK)}
        self._full_states: list[NDArray[np.float64]] = []

    def __len__(self) -> int:
        """Frames so far."""
        return len(self._columns[DONE])

    def add_frame(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        *,
        state: ArrayLike,
        action: ArrayLike,
        environment_state: ArrayLike = (),
        reward: float,
        done: bool,
        success: bool,
        full_state: ArrayLike,
        task: str,
    ) -> None:
        """Append one frame: what was seen, what was then done, and what came of it.

        Args:
            images: per camera, uint8, shape [height, width, 3].
            state: what the robot can measure, shape [len(state_names)].
            action: shape [len(action_names)].
            environment_state: what only the simulator knows, shape [len(environment_state_names)].
            reward: for this action.
            done: whether the episode ended with this action.
            success: whether the task is fulfilled after this action.
            full_state: the simulator's whole state before this action, float64, the same size in every frame.
            task: what is to be done now, one of the features' tasks.
        """
        if task not in self._features.tasks:
            raise ValueError(f"task {task!r} is none of the dataset's: {self._features.tasks}")
        if images.keys() != self._videos.keys():
            raise ValueError(f"images of cameras {sorted(images)}, the dataset has {sorted(self._videos)}")
        values = {STATE: state, ENVIRONMENT_STATE: environment_state, ACTION: action}
        for key, names in self._features.vectors().items():
            vector = np.array(values[key], np.float32)
            if vector.shape != (len(names),):
                raise ValueError(f"{key} has shape {vector.shape}, the dataset has ({len(names)},)")
            self._columns[key].append(vector)
        for name, image in images.items():
            self._videos[name].write(image)
        self._columns[REWARD].append(reward)
        self._columns[DONE].append(done)
        self._columns[SUCCESS].append(success)
        self._columns[TASK].append(self._features.tasks.index(task))
        self._full_states.append(np.array(full_state, np.float64))

    def close(self, metadata: Mapping[str, Any], final_full_state: ArrayLike) -> None:
        """Stage the episode, complete and flushed to the disk. A second episode of the same variant is dropped.

        Args:
            metadata: kept as JSON in `meta/palletlab/episodes`: seed, row, versions, events, ... For datasets that can
                be made again to the byte, no times and no machine names.
            final_full_state: the simulator's whole state after the last action.

        Raises:
            InputError: no frames, a number that is not finite, or metadata without a JSON form.
            FullDiskError: the disk is full; nothing is staged.
        """
        where = f"variant {self.variant}"
        length = len(self)
        if length == 0:
            raise InputError(f"{where}: an episode without frames cannot be kept")
        kinds = {DONE: np.bool_, SUCCESS: np.bool_, TASK: np.int64}
        columns = {key: np.array(values, kinds.get(key, np.float32)) for key, values in self._columns.items()}
        columns["timestamp"] = (np.arange(length) / self._features.fps).astype(np.float32)
        columns["frame_index"] = np.arange(length)
        self._check_finite(columns)
        full_states = np.stack([*self._full_states, np.asarray(final_full_state, np.float64)])

        stats = lerobot.stats_of_columns(columns)
        files: dict[str, bytes] = {}
        for name, video in self._videos.items():
            files[f"{name}.mp4"] = video.close()
            stats[lerobot.video_key(name)] = lerobot.stats_of_images(video.histogram, length)
        names = list(columns)
        files[FRAMES_FILE] = lerobot.parquet_bytes(pa.table([lerobot.column(columns[key]) for key in names], names))
        files[STATES_FILE] = lerobot.parquet_bytes(
            pa.table([pa.FixedSizeListArray.from_arrays(full_states.ravel(), full_states.shape[1])], ["full_state"]),
            use_dictionary=False,
            use_byte_stream_split=True,
        )
        tasks = [self._features.tasks[index] for index in dict.fromkeys(columns[TASK].tolist())]
        described = {"variant": self.variant, "tasks": tasks, "length": length, "success": columns[SUCCESS][-1]}
        if described.keys() & metadata.keys():
            raise ValueError(f"{where}: metadata must not name {sorted(described.keys() & metadata.keys())}")
        episode = {"stats": stats, "metadata": {**described, **metadata}}
        files[EPISODE_FILE] = lerobot.json_bytes(episode, f"{where}: metadata")
        write_folder(staged_folder(self._root, self.variant), files)

    def _check_finite(self, columns: Mapping[str, NDArray[Any]]) -> None:
        for key, values in columns.items():
            if not np.isfinite(values).all():
                frame, *place = np.argwhere(~np.isfinite(values))[0]
                name = f" ({self._features.vectors()[key][place[0]]})" if place else ""
                raise InputError(f"variant {self.variant}: {key}{name} is not finite at frame {frame}")


@dataclass(frozen=True)
class Episode:
    """A whole episode of T frames in memory; see `EpisodeWriter.add_frame` for what the arrays hold."""

    variant: int
    tasks: Sequence[str]  # [T]
    images: Mapping[str, NDArray[np.uint8]]  # per camera [T, height, width, 3]
    state: NDArray[Any]  # [T, n]
    action: NDArray[Any]  # [T, n]
    environment_state: NDArray[Any]  # [T, n]
    reward: NDArray[Any]  # [T]
    done: NDArray[np.bool_]  # [T]
    success: NDArray[np.bool_]  # [T]
    full_states: NDArray[np.float64]  # [T + 1, n]
    metadata: Mapping[str, Any]


def stage_episode(root: Path, features: Features, episode: Episode) -> None:
    """Stage an episode that is in memory; see `EpisodeWriter`."""
    writer = EpisodeWriter(root, features, episode.variant)
    for frame in range(len(episode.state)):
        writer.add_frame(
            {name: images[frame] for name, images in episode.images.items()},
            state=episode.state[frame],
            action=episode.action[frame],
            environment_state=episode.environment_state[frame],
            reward=float(episode.reward[frame]),
            done=bool(episode.done[frame]),
            success=bool(episode.success[frame]),
            full_state=episode.full_states[frame],
            task=episode.tasks[frame],
        )
    writer.close(episode.metadata, episode.full_states[-1])


def stage_quarantine(root: Path, variant: int, reason: str, row: Mapping[str, Any]) -> None:
    """Stage, instead of an episode, why a variant has none, with its row of knob values."""
    entry = {"variant": variant, "reason": reason, "row": dict(row)}
    write_folder(
        staged_folder(Path(root), variant), {QUARANTINE_FILE: lerobot.json_bytes(entry, f"variant {variant}: row")}
    )
