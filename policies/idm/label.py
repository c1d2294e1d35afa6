"""Pseudo-actions for video without actions: a copy of the dataset with an `action` column, read from its pictures.

Where the arm's state was recorded, actions are read along it. Where it was not, every frame says roughly where the arm
is and every two frames exactly how it moved: the path that agrees best with both is found for a whole episode at once,
and written as the state. What no picture tells (torques, the tool's state) is filled in with its mean.

    label(dataset, out, module, meaning)
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import solveh_banded

from assets.errors import InputError
from policies.data.frames import Prepared, prepare
from policies.data.lerobot import LeRobotDataset
from policies.embodiment import ACTION, STATE
from policies.idm.forms import Told
from policies.idm.labelled import SPREAD, share, write_columns
from policies.idm.model import InverseDynamics
from policies.video.network import Meaning

WINDOW, MARGIN = 16, 4  # [frames] read at once, and of these, those at either end that the next window reads better
TRUSTED = 25  # so many frames have to agree on a place to count as one independent of the others


def label(
    dataset: LeRobotDataset,
    out: Path | str,
    module: InverseDynamics,
    meaning: Meaning,
    embodiment: int = 0,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a copy of a dataset with pseudo-actions, and return its folder.

    Args:
        dataset: without actions; videos are shared with it where the file system can.
        out: a folder that is not there yet; it appears whole or not at all.
        module, meaning: of the inverse dynamics model.
        embodiment: number of the arm and tool that the video shows.
        cache: see `prepare`.
        progress: is told the episodes read so far and in all.

    Raises:
        InputError: it has actions, its cameras or its rate are not the model's, or `out` is there.
    """
    out = Path(out)
    if dataset.action_names:
        raise InputError(f"{dataset.root}: has actions already; there is nothing to label")
    if out.exists():
        raise InputError(f"{out}: is there already; name another folder")
    if not 0 <= embodiment < len(meaning.embodiments):
        raise InputError(f"embodiment {embodiment}: the model knows {len(meaning.embodiments)}")
    if abs(dataset.fps - meaning.rate * meaning.stride) > 1e-6:
        rates = f"{meaning.rate:g} frames and {meaning.rate * meaning.stride:g} actions"
        raise InputError(f"{dataset.root}: {dataset.fps} frames a second; the model reads {rates} a second")
    prepared = prepare(dataset, meaning.views, meaning.rate, cache)
    body = meaning.embodiments[embodiment]
    recorded = set(body.proprio) <= set(dataset.state_names)
    mean = module.proprio_mean[embodiment, : len(body.proprio)].numpy()
    blind = module.action_scale(torch.tensor([embodiment]))[0, 0, 0, : len(body.actions)].numpy()
    columns: dict[int, dict[str, np.ndarray]] = {}
    for episode, rows in enumerate(dataset.lengths):
        state = dataset.columns(episode)[STATE][:, body.columns(dataset.state_names)] if recorded else None
        proprio = None if state is None else state[:: meaning.stride][: rows // meaning.stride]
        poses, actions, spread = read_episode(module, prepared, episode, embodiment, proprio)
        actions, spread = (x.reshape(-1, x.shape[-1])[:, : len(body.actions)] for x in (actions, spread))
        # Of the actions after the last picture nothing is seen: the arm is taken to hold, with the spread of a step.
        held = np.minimum(np.arange(rows), len(actions) - 1)
        unseen = np.where(np.arange(rows) < len(actions), 0.0, 1.0)[:, None]
        columns[episode] = {ACTION: actions[held], SPREAD: spread[held] + unseen * blind}
        if not recorded:
            at = np.arange(rows) / meaning.stride
            found = [np.interp(at, np.arange(len(poses)), joint) for joint in poses.T[: len(body.positions)]]
            rest = np.tile(mean[len(found) :], (rows, 1))
            columns[episode][STATE] = np.concatenate([np.stack(found, 1), rest], 1)
        if progress:
            progress(episode + 1, len(dataset.lengths))
    names = {ACTION: body.actions, SPREAD: body.actions, STATE: body.proprio}
    temporary = out.with_name(out.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(dataset.root, temporary, copy_function=share)
        write_columns(temporary, {name: names[name] for name in columns[0]}, columns, body.name.split("+")[0])
        os.rename(temporary, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); free some space or name another") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


@torch.no_grad()
def read_episode(
    module: InverseDynamics, prepared: Prepared, episode: int, embodiment: int, proprio: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read an episode of n frames: poses (n, joints), and of its actions mean and spread, (n - 1, stride, actions).

    Args:
        module: the model.
        prepared: the dataset.
        episode: its number.
        embodiment: number of the arm and tool.
        proprio: what was measured at each frame, (n, proprio); None where nothing was.

    Raises:
        InputError: fewer than two frames.
    """
    first, last = (int(edge) for edge in prepared.starts[episode : episode + 2])
    n, c = last - first, module.config
    if n < 2:
        raise InputError(f"{prepared.root}: episode {episode} has {n} frames; two are needed to see a motion")
    steps = np.zeros((n - 1, 2, c.joints), np.float32)  # mean and spread
    places, sure = np.zeros((n, c.joints), np.float32), np.zeros(n, np.float32)
    leads = np.zeros((n - 1, c.stride, c.actions), np.float32)  # of actions, over the pose that they lead to
    spread = np.zeros_like(leads)
    target = module.targets[embodiment].numpy()
    width = min(WINDOW, n)
    for begin, keep in windows_of(n, width):
        here = slice(first + begin, first + begin + width)
        frames = {view: torch.from_numpy(np.array(prepared.frames[view][here]))[None] for view in c.views}
        sight = module.see(frames)
        reading = module(sight, width // 2, _told(module, embodiment, begin, width, proprio))
        poses, logs = (x[0].numpy() for x in reading.poses)
        goals, goal_logs = (x[0].numpy() for x in reading.actions)
        ends = poses[1:] if proprio is None else proprio[begin + 1 : begin + width, : c.joints]
        kept = slice(begin + keep.start, begin + keep.stop)
        steps[kept, 0], steps[kept, 1] = np.diff(poses, axis=0)[keep], np.exp(logs[1:])[keep]
        over = np.where(target >= 0, ends[:, None, np.maximum(target, 0)], 0.0)
        leads[kept], spread[kept] = (goals - over)[keep], np.exp(goal_logs)[keep]
        if proprio is None:
            place, weight = module.locate(sight, torch.tensor([embodiment]))
            places[begin : begin + width], sure[begin : begin + width] = place[0].numpy(), weight[0, :, 0].numpy()
    poses = fuse(places, sure, steps[:, 0], steps[:, 1]) if proprio is None else proprio[:, : c.joints]
    over = np.where(target >= 0, poses[1:, None, np.maximum(target, 0)], 0.0)
    return poses, leads + over, spread


def fuse(places: np.ndarray, sure: np.ndarray, steps: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the path (n, joints) that agrees best with rough places and exact steps, each weighed by its spread.

    Args:
        places: (n, joints) where each frame alone says that the joints are [rad].
        sure: (n,) logarithm of how far each is to be trusted, beside the others.
        steps, spread: (n - 1, joints) what the joints did between frames, and how sure that is [rad].
    """
    trust = np.exp(sure - sure.max())
    trust = trust / trust.mean()
    path = np.concatenate([np.zeros_like(steps[:1]), steps.cumsum(0)])
    off = places - path
    rough = np.sqrt(np.average((off - np.average(off, axis=0, weights=trust)) ** 2, axis=0, weights=trust)) + 1e-4
    result = np.zeros_like(places)
    for joint in range(places.shape[1]):
        place = trust / (TRUSTED * rough[joint] ** 2)
        step = 1.0 / np.maximum(spread[:, joint], 1e-5).astype(np.float64) ** 2
        band = np.zeros((2, len(places)))
        band[1] = place
        band[1, 1:] += step
        band[1, :-1] += step
        band[0, 1:] = -step
        wanted = place * places[:, joint]
        wanted[1:] += step * steps[:, joint]
        wanted[:-1] -= step * steps[:, joint]
        result[:, joint] = solveh_banded(band, wanted)
    return result


def windows_of(n: int, width: int) -> list[tuple[int, slice]]:
    """Return where windows begin in n frames, and which of the intervals in each are kept; all n - 1 are, once."""
    begins = list(range(0, max(n - width, 0) + 1, max(width - 1 - 2 * MARGIN, 1)))
    if begins[-1] != n - width:
        begins.append(n - width)
    windows, done = [], 0
    for number, begin in enumerate(begins):
        stop = n - 1 if number == len(begins) - 1 else begin + width - 1 - MARGIN
        windows.append((begin, slice(done - begin, stop - begin)))
        done = stop
    return windows


def _told(module: InverseDynamics, embodiment: int, begin: int, width: int, proprio: np.ndarray | None) -> Told:
    """Return what is known of a window: all that was measured, or nothing."""
    c = module.config
    values = torch.zeros(1, width, c.proprio)
    if proprio is not None:
        values[0, :, : proprio.shape[1]] = torch.from_numpy(proprio[begin : begin + width])
    measured = torch.full((1, width), proprio is not None)
    actions = torch.zeros(1, width - 1, c.stride, c.actions)
    return Told(torch.tensor([embodiment]), values, measured, actions, torch.zeros(1, width - 1, dtype=torch.bool))
