"""Recorded actions: taken out of a dataset, to make video without actions of it, and compared with pseudo-actions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from assets.errors import InputError
from policies.data.lerobot import INFO, STATS, LeRobotDataset
from policies.embodiment import ACTION, STATE
from policies.idm.labelled import SPREAD, share

ACTIONS, STATES = (ACTION, SPREAD), (STATE, "observation.environment_state")


def drop(dataset: LeRobotDataset, out: Path | str, states: bool = False) -> Path:
    """Write a copy of a dataset without its actions, with `states` without those, too, and return its folder.

    Videos are shared with the dataset where the file system can.

    Raises:
        InputError: there is nothing to drop, or `out` is there.
    """
    out = Path(out)
    there = [name for name in (*ACTIONS, *(STATES if states else ())) if name in dataset.info["features"]]
    if not there:
        raise InputError(f"{dataset.root}: has no {ACTION!r} that could be dropped")
    if out.exists():
        raise InputError(f"{out}: is there already; name another folder")
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(dataset.root, temporary, copy_function=share)
        for path in sorted(temporary.glob("data/*/*.parquet")):
            table = pq.read_table(path)
            pq.write_table(table.drop_columns([n for n in there if n in table.column_names]), path, compression="zstd")
        for path in sorted(temporary.glob("meta/episodes/*/*.parquet")):
            table = pq.read_table(path)
            gone = [n for n in table.column_names if n.startswith(tuple(f"stats/{name}/" for name in there))]
            pq.write_table(table.drop_columns(gone), path, compression="zstd")
        info: dict[str, Any] = json.loads((temporary / INFO).read_text())
        _forget(info["features"], there)
        (temporary / INFO).write_text(json.dumps(info, indent=2) + "\n")
        if (temporary / STATS).is_file():
            stats: dict[str, Any] = json.loads((temporary / STATS).read_text())
            _forget(stats, there)
            (temporary / STATS).write_text(json.dumps(stats, indent=2) + "\n")
        os.rename(temporary, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); free some space or name another") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def compare(labelled: LeRobotDataset, truth: LeRobotDataset, stride: int) -> dict[str, Any]:
    """Return how far pseudo-actions are from recorded ones, over all actions that a picture tells of.

    Args:
        labelled: with pseudo-actions.
        truth: with recorded ones, of the same episodes.
        stride: actions between two pictures; those after an episode's last picture do not count.

    Returns:
        joints: by name, root mean square error [mrad] ("error"), that of holding the pose before each picture's actions
        ("hold", None where no pose was recorded), and the mean spread that the labels state ("stated");
        commands: by name, the share of the frames in which a command to the tool is on the right side of the middle;
        all: root mean square error of all joints [mrad]; frames.

    Raises:
        InputError: other episodes, or actions of other names.
    """
    if truth.action_names != labelled.action_names:
        names = [", ".join(d.action_names) or "none" for d in (labelled, truth)]
        raise InputError(f"{truth.root}: has the actions {names[1]}; the labels are {names[0]}")
    if truth.lengths != labelled.lengths:
        told = f"{len(truth)} episodes of {sum(truth.lengths)} frames in all"
        raise InputError(
            f"{truth.root}: has {told}, the labelled video {len(labelled)} of {sum(labelled.lengths)}: "
            "they must be the same episodes"
        )
    found, wanted, spread, poses = [], [], [], []
    names = truth.action_names
    joints = [i for i, name in enumerate(names) if name in truth.state_names]
    places = [truth.state_names.index(names[i]) for i in joints]
    for episode, rows in enumerate(truth.lengths):
        told = max(rows // stride - 1, 0) * stride
        ours, theirs = labelled.columns(episode), truth.columns(episode)
        found.append(ours[ACTION][:told])
        spread.append(ours[SPREAD][:told] if SPREAD in ours else np.full((told, len(names)), np.nan))
        wanted.append(theirs[ACTION][:told])
        before = np.arange(told) // stride * stride
        poses.append(theirs[STATE][before][:, places] if places else np.zeros((told, 0)))
    ours, theirs, stated, held = (np.concatenate(x) for x in (found, wanted, spread, poses))
    off = ours - theirs
    result: dict[str, Any] = {"frames": len(off), "joints": {}, "commands": {}}
    targets = joints or [i for i, name in enumerate(names) if "position" in name]
    for number, i in enumerate(targets):
        hold = _root(held[:, number] - theirs[:, i]) if joints else None
        says = {"error": _root(off[:, i]), "hold": hold, "stated": 1000 * float(stated[:, i].mean())}
        result["joints"][names[i]] = says
    for i in (i for i in range(len(names)) if i not in targets):
        middle = (theirs[:, i].min() + theirs[:, i].max()) / 2
        result["commands"][names[i]] = float(((ours[:, i] > middle) == (theirs[:, i] > middle)).mean())
    result["all"] = _root(off[:, targets])
    return result


def _root(off: np.ndarray) -> float:
    return 1000 * float(np.sqrt(np.mean(off.astype(np.float64) ** 2)))


def _forget(entries: dict[str, Any], names: list[str]) -> None:
    for name in names:
        entries.pop(name, None)
