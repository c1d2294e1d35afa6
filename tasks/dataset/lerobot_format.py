"""LeRobotDataset v3.0 on disk: names of files and columns, schemas, statistics.

Follows `lerobot.datasets` 0.4.4 (huggingface/lerobot, Apache-2.0), whose reader the compatibility test runs. The format
packs many episodes into a file but does not ask for it: here every episode has a Parquet file and an MP4 per camera of
its own, so that one can be published without touching those before it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from assets.errors import InputError

VERSION = "v3.0"
FILES_PER_CHUNK = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASKS_PATH = "meta/tasks.parquet"
STATS_PATH = "meta/stats.json"
INFO_PATH = "meta/info.json"

STATE, ENVIRONMENT_STATE, ACTION = "observation.state", "observation.environment_state", "action"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
TASK = "task_index"

# LeRobot's own columns, present in every dataset.
DEFAULT_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    TASK: "int64",
}
OUTCOME_COLUMNS = {REWARD: "float32", DONE: "bool", SUCCESS: "bool"}
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Stats = dict[str, dict[str, NDArray[Any]]]
"""Per feature: min, max, mean, std, count and quantiles; images as shape [3, 1, 1] in [0, 1]."""


@dataclass(frozen=True)
class Features:
    """What every frame of a dataset holds.

    `cameras` maps a camera's name to its image's (height, width) in pixels, both even; `state_names`, `action_names`
    and `environment_state_names` name the numbers of the vectors, in order (the last may be empty); `fps` is in frames
    per second of simulated time; `tasks` are the sentences that say what is to be done, by their task_index.
    """

    fps: int
    robot_type: str
    cameras: Mapping[str, tuple[int, int]]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    tasks: tuple[str, ...]
    environment_state_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        if self.fps != int(self.fps) or self.fps <= 0:
            raise InputError(f"fps is {self.fps}: a dataset needs a whole, positive number of frames per second")
        for name, (height, width) in self.cameras.items():
            if "/" in name or min(height, width) < 16 or height % 2 or width % 2:
                raise InputError(
                    f"camera {name!r} of {height} x {width} pixels: the name must hold no '/', "
                    "height and width must be even and at least 16"
                )
        for key, names in (STATE, self.state_names), (ACTION, self.action_names):
            if not names:
                raise InputError(f"{key} has no numbers: a dataset needs at least one")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"tasks are {self.tasks}: a dataset needs at least one, and each once")

    def vectors(self) -> dict[str, tuple[str, ...]]:
        """The vector columns and the names of their numbers."""
        columns = {STATE: self.state_names, ENVIRONMENT_STATE: self.environment_state_names, ACTION: self.action_names}
        return {key: tuple(names) for key, names in columns.items() if names}

    def to_info(self) -> dict[str, Any]:
        """The `features` entry of `meta/info.json`."""
        info: dict[str, Any] = {
            key: {"dtype": "float32", "shape": [len(names)], "names": list(names)}
            for key, names in self.vectors().items()
        }
        for name, (height, width) in self.cameras.items():
            info[video_key(name)] = {
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": "h264",
                    "video.pix_fmt": "yuv420p",
                    "video.is_depth_map": False,
                    "video.fps": int(self.fps),
                    "video.channels": 3,
                    "has_audio": False,
                },
            }
        for key, dtype in {**OUTCOME_COLUMNS, **DEFAULT_COLUMNS}.items():
            info[key] = {"dtype": dtype, "shape": [1], "names": None}
        return info

    @staticmethod
    def from_info(info: Mapping[str, Any], tasks: Sequence[str]) -> "Features":
        """The features that a `meta/info.json` describes, with the tasks of `meta/tasks.parquet`."""
        features = info["features"]
        names = {key: tuple(features.get(key, {}).get("names", ())) for key in (STATE, ACTION, ENVIRONMENT_STATE)}
        cameras = {
            key.removeprefix(video_key("")): (entry["shape"][0], entry["shape"][1])
            for key, entry in features.items()
            if entry["dtype"] == "video"
        }
        return Features(
            info["fps"],
            info["robot_type"],
            cameras,
            names[STATE],
            names[ACTION],
            tuple(tasks),
            names[ENVIRONMENT_STATE],
        )


@dataclass(frozen=True)
class EpisodeFiles:
    """Where one episode lies in a dataset."""

    data: Path
    row: Path
    videos: dict[str, Path]  # by camera
    metadata: Path
    states: Path

    def all(self) -> list[Path]:
        """Every file of the episode."""
        return [self.data, self.row, *self.videos.values(), self.metadata, self.states]


def video_key(camera: str) -> str:
    """LeRobot's name for a camera."""
    return f"observation.images.{camera}"


def chunk_and_file(episode: int) -> dict[str, int]:
    """The chunk (folder) and file number of an episode."""
    return {"chunk_index": episode // FILES_PER_CHUNK, "file_index": episode % FILES_PER_CHUNK}


def episode_files(root: Path, episode: int, cameras: Mapping[str, Any]) -> EpisodeFiles:
    """Where an episode lies in the dataset at `root`. LeRobot's readers ignore `meta/palletlab`."""
    place = chunk_and_file(episode)
    return EpisodeFiles(
        data=root / DATA_PATH.format(**place),
        row=root / EPISODES_PATH.format(**place),
        videos={name: root / VIDEO_PATH.format(video_key=video_key(name), **place) for name in cameras},
        metadata=root / f"meta/palletlab/episodes/{episode:06d}.json",
        states=root / f"meta/palletlab/states/{episode:06d}.parquet",
    )


def info(features: Features, *, episodes: int, frames: int) -> dict[str, Any]:
    """The manifest, `meta/info.json`: what it counts is published, all else is not."""
    return {
        "codebase_version": VERSION,
        "robot_type": features.robot_type,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": len(features.tasks),
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": int(features.fps),
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": features.to_info(),
    }


def tasks_table(tasks: Sequence[str]) -> pa.Table:
    """`meta/tasks.parquet`: task_index, with the task's text as the index that pandas will restore."""
    pandas = {
        "index_columns": ["__index_level_0__"],
        "column_indexes": [],
        "columns": [
            _pandas_column("task_index", "task_index", "int64", "int64"),
            _pandas_column(None, "__index_level_0__", "unicode", "object"),
        ],
        "pandas_version": "2.3.0",
    }
    schema = pa.schema([("task_index", pa.int64()), ("__index_level_0__", pa.string())])
    return pa.table([list(range(len(tasks))), list(tasks)], schema=schema.with_metadata({"pandas": json.dumps(pandas)}))


def _pandas_column(name: str | None, field: str, kind: str, dtype: str) -> dict[str, Any]:
    return {"name": name, "field_name": field, "pandas_type": kind, "numpy_type": dtype, "metadata": None}


def column(values: NDArray[Any]) -> pa.Array:
    """A column of numbers, or of vectors (shape [T, n]) as fixed-size lists; LeRobot wants scalars where n is 1."""
    if values.ndim == 1 or values.shape[1] == 1:
        return pa.array(values.ravel())
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def episode_row(
    features: Features, episode: int, first_index: int, length: int, tasks: Sequence[str], stats: Stats
) -> pa.Table:
    """The episode's row of `meta/episodes`; `tasks` are those of its frames."""
    place = chunk_and_file(episode)
    row: dict[str, Any] = {"episode_index": episode, "tasks": list(tasks), "length": length}
    row |= {f"data/{key}": value for key, value in place.items()}
    row |= {"dataset_from_index": first_index, "dataset_to_index": first_index + length}
    for camera in features.cameras:
        prefix = f"videos/{video_key(camera)}"
        row |= {f"{prefix}/{key}": value for key, value in place.items()}
        row |= {f"{prefix}/from_timestamp": 0.0, f"{prefix}/to_timestamp": length / features.fps}
    for key, entries in stats.items():
        row |= {f"stats/{key}/{name}": value.tolist() for name, value in entries.items()}
    row |= {f"meta/episodes/{key}": value for key, value in place.items()}
    return pa.Table.from_pylist([row])


def row_stats(path: Path) -> Stats:
    """The statistics in an episode's row of `meta/episodes`."""
    stats: Stats = {}
    for key, value in pq.read_table(path).to_pylist()[0].items():
        if key.startswith("stats/"):
            feature, name = key.removeprefix("stats/").rsplit("/", 1)
            stats.setdefault(feature, {})[name] = np.array(value)
    return stats


def stats_of_columns(columns: Mapping[str, NDArray[Any]]) -> Stats:
    """Exact statistics of columns, each of shape [T] or [T, n]."""
    stats: Stats = {}
    for key, values in columns.items():
        values = values.reshape(len(values), -1).astype(np.float64)
        quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
        stats[key] = {
            "min": values.min(axis=0),
            "max": values.max(axis=0),
            "mean": values.mean(axis=0),
            "std": values.std(axis=0),
            "count": np.array([len(values)]),
            **dict(zip(QUANTILES, quantiles, strict=True)),
        }
    return stats


def stats_of_images(histogram: NDArray[np.int64], length: int) -> dict[str, NDArray[Any]]:
    """Exact statistics of all pixels of `length` images from the count of each value, shape [3, 256]."""
    values = np.arange(256) / 255.0
    pixels = histogram.sum(axis=1)
    mean = histogram @ values / pixels
    variance = (histogram * (values - mean[:, None]) ** 2).sum(axis=1) / pixels
    running = histogram.cumsum(axis=1)
    entries = {
        "min": values[(histogram > 0).argmax(axis=1)],
        "max": values[255 - (histogram[:, ::-1] > 0).argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(variance),
    }
    # The smallest value that at least the share q of the pixels does not exceed.
    entries |= {name: values[(running >= q * pixels[:, None]).argmax(axis=1)] for name, q in QUANTILES.items()}
    return {name: value.reshape(3, 1, 1) for name, value in entries.items()} | {"count": np.array([length])}


def merge_stats(total: Stats, more: Stats) -> Stats:
    """Statistics of two sets of frames together.

    Minimum, maximum, mean, standard deviation and count are those of the union. Quantiles cannot be had from quantiles:
    they become the average weighted by count, as in LeRobot's `aggregate_stats`.
    """
    if not total:
        return more
    merged: Stats = {}
    for key, a in total.items():
        b = more[key]
        count = a["count"] + b["count"]
        share_a, share_b = a["count"] / count, b["count"] / count
        variance = a["std"] ** 2 * share_a + b["std"] ** 2 * share_b + (a["mean"] - b["mean"]) ** 2 * share_a * share_b
        merged[key] = {
            "min": np.minimum(a["min"], b["min"]),
            "max": np.maximum(a["max"], b["max"]),
            "mean": a["mean"] * share_a + b["mean"] * share_b,
            "std": np.sqrt(variance),
            "count": count,
            **{name: a[name] * share_a + b[name] * share_b for name in QUANTILES},
        }
    return merged


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """A table as a Parquet file; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **options)
    return sink.getvalue().to_pybytes()


def json_bytes(value: Any, where: str) -> bytes:
    """A value as JSON text; NumPy numbers and arrays become numbers and lists.

    Raises:
        InputError: the value holds something that JSON has no form for, NaN and infinity included.
    """
    try:
        return (json.dumps(value, indent=2, allow_nan=False, default=_plain) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}; only finite numbers, texts, lists and dictionaries can be kept") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")
