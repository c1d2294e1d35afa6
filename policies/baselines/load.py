"""From a baseline's checkpoint to a policy in a cell: `palletlab rollout policy=baseline checkpoint=FOLDER`."""

from __future__ import annotations

from pathlib import Path

import torch

from assets.errors import InputError
from policies.baselines.decider import BaselineDecider
from policies.baselines.flow import Flow
from policies.baselines.network import load_baseline
from policies.checkpoint import load as load_checkpoint
from policies.dva.leapfrog import Rhythm
from policies.dva.load import Summary
from policies.dva.policy import Cell, DVAPolicy, Senses, embodiment_of


def summary(folder: Path | str) -> Summary:
    """Return what is to be known of the checkpoint in a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    kept = load_checkpoint(folder, "baseline")
    return Summary.of(kept.about, kept.hash[:12])


def load(
    folder: Path | str,
    cell: Cell,
    nworld: int,
    chunk: int | None = None,
    lead: int | None = None,
    steps: int | None = None,
) -> DVAPolicy:
    """Return the policy of a checkpoint, for `nworld` worlds of a cell, on a GPU where there is one.

    Args:
        folder: of the checkpoint.
        cell: where it is to work.
        nworld: how many.
        chunk: video frames that a decision covers; as many as it was trained for by default.
        lead: frames still to be executed when the next decision is made; all of the chunk by default.
        steps: denoising steps of a chunk, where it is made by flow matching.

    Raises:
        InputError: no such checkpoint, or it does not fit the cell.
    """
    network = load_baseline(folder)
    meaning = network.video.meaning
    chunk = network.chunk[0] if chunk is None else chunk
    rhythm = Rhythm(meaning.stride, chunk, chunk if lead is None else lead, 1.0 / (meaning.rate * meaning.stride))
    if abs(rhythm.period - cell.period) > 1e-6:
        told = f"{1 / rhythm.period:g} times a second, {meaning.stride} for each of {meaning.rate:g} frames"
        raise InputError(f"{folder}: acts {told}; the cell wants {1 / cell.period:g} actions a second")
    if steps is not None:
        if not isinstance(network.head, Flow):
            raise InputError(f"{folder}: steps = {steps}, but its head ({network.kind}) has no denoising steps")
        if steps < 1:
            raise InputError(f"steps = {steps} must be at least 1")
        network.head.denoising = steps
    number = embodiment_of(cell, meaning.embodiments)
    senses = Senses.of(cell, meaning.views, meaning.embodiments[number], meaning.texts)
    network = network.to("cuda" if torch.cuda.is_available() else "cpu").fast()
    return DVAPolicy(BaselineDecider(network, number, rhythm, nworld), rhythm, senses, nworld)
