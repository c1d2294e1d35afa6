"""Reading our datasets: for viewing, replaying and evaluating them.

Training reads the same folder with any LeRobot reader; what stands in `meta/palletlab` (rows, events, whole simulator
states) only with this one.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from assets.errors import InputError, unknown
from tasks.dataset import lerobot_format as lerobot
from tasks.dataset.lerobot_format import Features
from tasks.dataset.video import is_whole_mp4, read_video

SETTINGS_PATH = "meta/palletlab/settings.json"
QUARANTINE_PATH = "meta/palletlab/quarantine.json"


class Dataset:
    """A dataset on disk; `open_dataset` has checked that it is whole.

    `settings` are those it was made with, `quarantined` the variants without an episode ({variant, reason, row} each),
    `tasks` the task texts by task_index, `lengths` the frames of each episode.
    """

    def __init__(self, root: Path) -> None:
        """Read the manifest and check every episode against it; see `open_dataset`."""
        self.root = root
        if not (root / lerobot.INFO_PATH).is_file():
            raise InputError(f"{root}: no dataset, {lerobot.INFO_PATH} is missing")
        self.info = _read_json(root / lerobot.INFO_PATH)
        try:
            if self.info["codebase_version"] != lerobot.VERSION:
                raise InputError(
                    f"{root}: is LeRobotDataset {self.info['codebase_version']}, this reads {lerobot.VERSION}"
                )
            self.tasks: list[str] = _read_table(root / lerobot.TASKS_PATH)["__index_level_0__"].to_pylist()
            if len(self.tasks) != self.info["total_tasks"]:
                raise InputError(
                    f"{root / lerobot.TASKS_PATH}: holds {len(self.tasks)} tasks, not {self.info['total_tasks']}"
                )
            self.features = Features.from_info(self.info, self.tasks)
            self.frames_in_all: int = self.info["total_frames"]
            number_of_episodes: int = self.info["total_episodes"]
        except (KeyError, TypeError) as error:
            raise InputError(f"{root / lerobot.INFO_PATH}: has no valid entry {error}") from error
        self.settings: dict[str, Any] = _read_json(root / SETTINGS_PATH)["settings"]
        self.quarantined: list[dict[str, Any]] = (
            _read_json(root / QUARANTINE_PATH) if (root / QUARANTINE_PATH).exists() else []
        )
        self.lengths: list[int] = []
        frames = 0
        for episode in range(number_of_episodes):
            self.lengths.append(self._check_episode(episode, frames))
            frames += self.lengths[-1]
        if frames != self.frames_in_all:
            raise InputError(
                f"{root / lerobot.INFO_PATH}: counts {self.frames_in_all} frames, "
                f"the {number_of_episodes} episodes hold {frames}"
            )

    def _check_episode(self, episode: int, begin: int) -> int:
        """Check that an episode's files are there and whole, without decoding them; returns its length."""
        files = lerobot.episode_files(self.root, episode, self.features.cameras)
        for path in files.all():
            if not path.is_file():
                raise InputError(f"{path}: is missing, although {lerobot.INFO_PATH} counts episode {episode}")
        rows = _read_table(files.row, ["episode_index", "length", "dataset_from_index"]).to_pylist()
        row = rows[0] if len(rows) == 1 else {}
        if row.get("episode_index") != episode or row.get("dataset_from_index") != begin:
            raise InputError(f"{files.row}: does not describe episode {episode} that begins at frame {begin}")
        for path, wanted in (files.data, row["length"]), (files.states, row["length"] + 1):
            rows = _read_number_of_rows(path)
            if rows != wanted:
                raise InputError(f"{path}: holds {rows} rows, episode {episode} needs {wanted}")
        for path in files.videos.values():
            if not is_whole_mp4(path):
                raise InputError(f"{path}: is cut short or no MP4 file; restore it or make the dataset again")
        return row["length"]

    def __len__(self) -> int:
        """Episodes."""
        return len(self.lengths)

    def episode(self, episode: int) -> dict[str, NDArray[Any]]:
        """The columns of an episode of T frames: vectors as float32 of shape [T, n], all else of shape [T]."""
        table = _read_table(self._files(episode).data)
        columns = {}
        for name in table.column_names:
            column = table[name].combine_chunks()
            if pa.types.is_fixed_size_list(column.type):
                columns[name] = column.flatten().to_numpy().reshape(len(column), -1)
            else:
                columns[name] = column.to_numpy(zero_copy_only=False)
        for name in self.features.vectors():
            columns[name] = columns[name].reshape(len(table), -1)
        return columns

    def metadata(self, episode: int) -> dict[str, Any]:
        """What was kept with an episode: episode, variant, tasks, length, success, and what the rollout added."""
        return _read_json(self._files(episode).metadata)

    def states(self, episode: int) -> NDArray[np.float64]:
        """The simulator's whole state before each action and after the last, shape [T + 1, n]."""
        column = _read_table(self._files(episode).states)["full_state"].combine_chunks()
        return column.flatten().to_numpy().reshape(len(column), -1)

    def frames(self, episode: int, camera: str, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Decoded images start..stop-1 of a camera, uint8, shape [stop - start, height, width, 3]."""
        if camera not in self.features.cameras:
            raise unknown("camera", camera, self.features.cameras)
        path = self._files(episode).videos[camera]
        stop = self.lengths[episode] if stop is None else stop
        if not 0 <= start < stop <= self.lengths[episode]:
            raise InputError(f"frames {start}..{stop}: episode {episode} has frames 0..{self.lengths[episode]}")
        return read_video(path, start, stop)

    def stats(self) -> lerobot.Stats:
        """The statistics of the whole dataset; empty while it has no episode."""
        path = self.root / lerobot.STATS_PATH
        if not self.lengths:
            return {}
        return {
            feature: {name: np.array(value) for name, value in entries.items()}
            for feature, entries in _read_json(path).items()
        }

    def _files(self, episode: int) -> lerobot.EpisodeFiles:
        if not 0 <= episode < len(self):
            raise InputError(f"episode {episode}: {self.root} has episodes 0..{len(self) - 1}")
        return lerobot.episode_files(self.root, episode, self.features.cameras)


def open_dataset(root: Path | str) -> Dataset:
    """Open a dataset and check that it is whole: every file there, every table and video complete, counts agree.

    Raises:
        InputError: no dataset, or one that was damaged; names the file.
    """
    return Dataset(Path(root))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; restore it or make the dataset again") from error
    except ValueError as error:
        raise InputError(f"{path}: is no valid JSON ({error}); restore it or make the dataset again") from error


def _read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=columns)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; restore it or make the dataset again") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: is cut short or no Parquet file; restore it or make the dataset again") from error


def _read_number_of_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: is cut short or no Parquet file; restore it or make the dataset again") from error
