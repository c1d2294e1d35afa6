"""Any LeRobotDataset v3.0 on disk, read without the lerobot package.

Follows `lerobot.datasets` 0.4.4: `meta/episodes` says for each episode in which Parquet file and which MP4 it lies, and
from where on; several episodes may share a file, as lerobot writes them, or each have its own, as ours do.

    dataset = LeRobotDataset("outputs/rollout/x/dataset")
    for picture in dataset.video(0, "cell"):
        ...
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import av.error
import av.video.reformatter
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assets.errors import InputError, unknown
from policies.embodiment import ACTION, STATE, names_of

INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
VERSION = "v3."


class LeRobotDataset:
    """A dataset's folder.

    Attributes:
        root: the folder.
        info: `meta/info.json`.
        fps: frames a second; each frame is a row of state and action, and a picture per camera.
        robot_type: the robot's name, may be empty.
        cameras: height and width [pixels] of each camera, by name.
        state_names, action_names: names of the numbers; empty where the dataset has none.
        tasks: the sentences that say what is to be done, by task index.
    """

    def __init__(self, root: Path | str) -> None:
        """Read what `meta` says; episodes are looked at when asked for.

        Raises:
            InputError: no dataset, another version, or a manifest that makes no sense.
        """
        self.root = Path(root)
        path = self.root / INFO
        if not path.is_file():
            what = "has no " + INFO if self.root.is_dir() else "no such folder"
            raise InputError(f"{self.root}: {what}; a LeRobotDataset v3.0 is wanted")
        try:
            self.info: dict[str, Any] = json.loads(path.read_bytes())
            version = str(self.info["codebase_version"])
            if not version.startswith(VERSION):
                raise InputError(
                    f"{self.root}: is LeRobotDataset {version}, this reads v3.0; lerobot converts it with "
                    "`python -m lerobot.datasets.v30.convert_dataset_v21_to_v30`"
                )
            self.fps = int(self.info["fps"])
            self.robot_type = str(self.info.get("robot_type") or "")
            self.state_names, self.action_names = names_of(self.info, STATE), names_of(self.info, ACTION)
            features = self.info["features"]
            self._keys = {_camera(k): k for k, feature in features.items() if feature["dtype"] == "video"}
            self.cameras = {name: _height_and_width(features[key]) for name, key in self._keys.items()}
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is damaged or no LeRobotDataset's manifest ({error!r})") from error
        self.tasks = _tasks(self.root / TASKS)
        self._table: tuple[Path, pa.Table] | None = None

    def __len__(self) -> int:
        """Episodes."""
        return len(self._rows)

    @cached_property
    def lengths(self) -> list[int]:
        """Frames of each episode."""
        return [int(row["length"]) for row in self._rows]

    @cached_property
    def hash(self) -> str:
        """What tells this dataset from others: the manifest, the statistics of all it holds, its files' sizes."""
        digest = hashlib.sha256()
        for name in (INFO, STATS, TASKS):
            path = self.root / name
            digest.update(path.read_bytes() if path.is_file() else b"-")
        for path in sorted([*self.root.glob("data/*/*.parquet"), *self.root.glob("videos/*/*/*.mp4")]):
            digest.update(f"{path.relative_to(self.root)} {path.stat().st_size}\n".encode())
        return digest.hexdigest()

    def columns(self, episode: int) -> dict[str, np.ndarray]:
        """The columns of an episode of T frames: vectors as float32 (T, n), numbers as (T,).

        State and action always come as vectors, and hold no number that is not finite.

        Raises:
            InputError: no such episode, a missing or damaged file, a NaN.
        """
        row = self._row(episode)
        path = self._path("data_path", row["data/chunk_index"], row["data/file_index"])
        if self._table is None or self._table[0] != path:  # the next episode is mostly in the same file
            self._table = path, _read_table(path)
        table = self._table[1]
        table = table.filter(pc.field("episode_index") == episode)
        if len(table) != row["length"]:
            raise InputError(f"{path}: holds {len(table)} frames of episode {episode}, not {row['length']}")
        columns = {name: array for name in table.column_names if (array := _array(table[name])) is not None}
        for key, names in (STATE, self.state_names), (ACTION, self.action_names):
            if key in columns:
                columns[key] = values = columns[key].reshape(len(table), -1).astype(np.float32)
                if not np.isfinite(values).all():
                    frame, place = np.argwhere(~np.isfinite(values))[0]
                    raise InputError(
                        f"{path}: {key} ({names[place]}) is {values[frame, place]} at frame {frame} of "
                        f"episode {episode}; leave the episode out or make it again"
                    )
        return columns

    def video(self, episode: int, camera: str, stride: int = 1) -> Iterator[np.ndarray]:
        """Every stride-th picture of an episode from the first on, uint8, (height, width, 3).

        Raises:
            InputError: no such episode or camera, a file that is missing, damaged or too short.
        """
        key, row = self._keys[self.camera(camera)], self._row(episode)
        path = self._path("video_path", row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"], key)
        begin = float(row[f"videos/{key}/from_timestamp"])
        return decode(path, begin, self.fps, int(row["length"]), stride)

    def camera(self, name: str) -> str:
        """The name, if there is such a camera.

        Raises:
            InputError: there is none; names the nearest.
        """
        if not self.cameras:
            raise InputError(f"{self.root}: has no video; a policy that looks needs a dataset recorded with cameras")
        if name not in self.cameras:
            raise InputError(f"{self.root}: {unknown('camera', name, self.cameras)}")
        return name

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        """A row for each episode that the manifest counts: where it lies. Statistics are left out."""
        rows: list[dict[str, Any]] = []
        for path in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
            if len(rows) < self.info["total_episodes"]:
                rows += _read_table(path, lambda name: not name.startswith(("stats/", "tasks"))).to_pylist()
        rows = sorted(rows, key=lambda row: row["episode_index"])[: self.info["total_episodes"]]
        if [row["episode_index"] for row in rows] != list(range(self.info["total_episodes"])):
            raise InputError(f"{self.root / 'meta/episodes'}: not the {self.info['total_episodes']} episodes of {INFO}")
        return rows

    def _row(self, episode: int) -> dict[str, Any]:
        if not 0 <= episode < len(self):
            raise InputError(f"episode {episode}: {self.root} has episodes 0..{len(self) - 1}")
        return self._rows[episode]

    def _path(self, template: str, chunk: int, file: int, key: str = "") -> Path:
        return self.root / self.info[template].format(chunk_index=chunk, file_index=file, video_key=key)


def decode(path: Path, begin: float, fps: float, length: int | None, stride: int) -> Iterator[np.ndarray]:
    """Pictures of an MP4 from `begin` [s] on: every stride-th of `length` at `fps`, or of all where length is None.

    Raises:
        InputError: the file is missing, damaged or too short.
    """
    found = 0
    reformatter = av.video.reformatter.VideoReformatter()
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # whole episodes are decoded side by side
            base = float(stream.time_base or 0)
            if begin > 0:
                container.seek(int(begin / base), stream=stream)  # lands on the key frame at or before it
            for frame in container.decode(stream):
                if length is not None and found == length:
                    break
                if (frame.pts or 0) * base < begin - 0.5 / fps:
                    continue
                if frame.is_corrupt:
                    raise InputError(f"{path}: picture {found} is damaged; restore the file or leave the episode out")
                if found % stride == 0:
                    yield reformatter.reformat(frame, format="rgb24").to_ndarray()
                found += 1
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; restore it") from error
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path}: cannot be decoded, it is damaged or no video; restore it") from error
    if length is not None and found < length:
        raise InputError(f"{path}: ends after {found} of {length} pictures from {begin:.2f} s on; restore it")


def _camera(key: str) -> str:
    """A camera's name from its feature's: "observation.images.cell" is "cell"."""
    return key.removeprefix("observation.images.").removeprefix("observation.")


def _height_and_width(feature: dict[str, Any]) -> tuple[int, int]:
    """Some datasets name the axes, and some put the colours first."""
    shape = [int(size) for size in feature["shape"]]
    names = feature.get("names") or ["channels" if size == 3 else "" for size in shape]
    height, width = [size for size, name in zip(shape, names, strict=True) if not str(name).startswith("channel")]
    return height, width


def _tasks(path: Path) -> list[str]:
    """The sentences by task index; pandas keeps them as the index, whose column's name depends on who wrote it."""
    table = _read_table(path)
    texts = [name for name in table.column_names if name != "task_index"]
    if "task_index" not in table.column_names or not texts:
        raise InputError(f"{path}: has columns {table.column_names}, wanted are task_index and the tasks' texts")
    rows = zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True)
    return [text for _, text in sorted(rows)]


def _array(column: pa.ChunkedArray) -> np.ndarray | None:
    """A column of numbers (T,) or of vectors (T, n); None for texts and images."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        if pa.types.is_nested(kind.value_type):
            return None
        values = np.concatenate([chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks])
        return values.reshape(len(column), -1)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return None
    return column.to_numpy()


def _read_table(path: Path, keep: Any = None) -> pa.Table:
    """A Parquet file, or those of its columns for whose names `keep` holds."""
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        return file.read(columns=names if keep is None else [name for name in names if keep(name)])
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; restore it or make the dataset again") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: is cut short or no Parquet file; restore it or make the dataset again") from error
