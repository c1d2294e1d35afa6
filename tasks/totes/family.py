"""Tote breakdown as a task family: what simulation, rollouts, evaluation and commands ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets import totes
from assets.combi_tool import STROKE, combi_cups
from sim.cell import Cell
from sim.knobs import Rows
from tasks import figures
from tasks.task import Task, TaskFamily
from tasks.totes.cell import ToteLayout, tote_scene
from tasks.totes.expert import ToteExpert
from tasks.totes.task import ACTION_NAMES, INSTRUCTIONS, STATE_NAMES, ToteBreakdown, surroundings_names
from tasks.totes.variants import STAGES, fill_rows, tote_knobs


def _action_bounds(layout: ToteLayout) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.array([j.range for j in layout.arm.body.joints()]).T
    return np.append(low, (0.0, 0.0)), np.append(high, (1.0, STROKE))


def _make(cell: Cell, layout: ToteLayout) -> Task:
    return ToteBreakdown(cell, layout)


def _figures(metadata: Sequence[Mapping[str, Any]]) -> dict[str, figures.Figure]:
    verdicts = [m["verdict"] for m in metadata]
    pieces = [_pieces(m) for m in metadata]

    def known(name: str) -> list[float]:
        return [v[name] for v in verdicts if v[name] is not None]

    walls = [angle for angles in known("wall_angle") for angle in np.atleast_1d(angles)]
    return {
        "parts_in_the_bin": figures.share(sum(k for k, _ in pieces), sum(n for _, n in pieces)),
        "walls_from_flat": figures.mean([float(np.rad2deg(a)) for a in walls], "deg"),
        "stack_offset": figures.mean([1000.0 * d for d in known("stack_offset")], "mm"),
        "stack_angle": figures.mean([float(np.rad2deg(a)) for a in known("stack_angle")], "deg"),
        "tilt_shift": figures.mean([1000.0 * d for d in known("tilt_shift")], "mm"),
    }


def _pieces(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Parts in the bin, and all that the job had."""
    binned = metadata["verdict"]["binned"]
    return int(np.sum(binned)), len(binned)


def _captions(rows: Rows) -> list[str]:
    kinds = [totes.KINDS[int(k)] for k in rows["tote.kind"]]
    return [
        f"variant {n}: {kind}, {int(c)} parts"
        for n, kind, c in zip(rows.numbers, kinds, rows["part.count"], strict=True)
    ]


FAMILY = TaskFamily(
    name="tote_breakdown",
    environment="ToteBreakdown",
    says="parts from a tote into a bin; check, fold and stack the empty tote",
    thing="part",
    count="part.count",
    slots=24,
    instructions=INSTRUCTIONS,
    layout=ToteLayout,
    cups=combi_cups,
    state_names=STATE_NAMES,
    action_names=ACTION_NAMES,
    surroundings_names=surroundings_names,
    action_bounds=_action_bounds,
    knobs=tote_knobs,
    scene=tote_scene,
    make=_make,
    prepare=fill_rows,
    policies={"expert": ToteExpert},
    figures=_figures,
    pieces=_pieces,
    captions=_captions,
    pictured=lambda rows: rows,
    stages=STAGES,
    planned=("fill.",),
)
