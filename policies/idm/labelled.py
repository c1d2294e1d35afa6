"""Columns added to a LeRobotDataset v3.0 on disk: Parquet files, manifest and statistics."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from policies.data.lerobot import INFO, STATS

SPREAD = "label.spread"  # one standard deviation of each action; not "action.…", which lerobot takes for an action
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def share(source: str, target: str) -> str:
    """Copy a file, a video by linking it where the file system can: it is the same, and never written to."""
    if source.endswith(".mp4"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    return shutil.copy2(source, target)


def write_columns(
    root: Path,
    names: Mapping[str, Sequence[str]],
    columns: Mapping[int, Mapping[str, np.ndarray]],
    robot: str,
) -> None:
    """Put vector columns into a dataset, in place of those of the same name.

    Args:
        root: the dataset's folder.
        names: by column, what its numbers are called.
        columns: by episode and column, (frames, numbers).
        robot: the robot's name.
    """
    for path in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(path)
        rows = list(zip(table["episode_index"].to_pylist(), table["frame_index"].to_pylist(), strict=True))
        for column in names:
            values = np.stack([columns[episode][column][frame] for episode, frame in rows]).astype(np.float32)
            array = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
            if column in table.column_names:
                table = table.drop_columns([column])
            table = table.append_column(column, array)
        pq.write_table(table, path, compression="zstd")
    info = json.loads((root / INFO).read_text())
    info["robot_type"] = robot
    for column, numbers in names.items():
        info["features"][column] = {"dtype": "float32", "shape": [len(numbers)], "names": list(numbers)}
    (root / INFO).write_text(json.dumps(info, indent=2) + "\n")
    path = root / STATS
    stats: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for column in names:
        stats[column] = _statistics(np.concatenate([episode[column] for episode in columns.values()]))
    path.write_text(json.dumps(stats, indent=2) + "\n")


def _statistics(values: np.ndarray) -> dict[str, list[float]]:
    values = values.astype(np.float64)
    quantiles = np.quantile(values, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(0).tolist(),
        "max": values.max(0).tolist(),
        "mean": values.mean(0).tolist(),
        "std": values.std(0).tolist(),
        "count": [len(values)],
        **dict(zip(QUANTILES, quantiles.tolist(), strict=True)),
    }
