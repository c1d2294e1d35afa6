"""Palletizing as a task family: what simulation, rollouts, evaluation and commands ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.gripper import Cups
from sim.cell import Cell
from sim.knobs import Rows
from tasks import figures
from tasks.palletizing.cell import Layout, palletizing_scene
from tasks.palletizing.expert import PalletizingExpert
from tasks.palletizing.task import ACTION_NAMES, INSTRUCTION, STATE_NAMES, SURROUNDINGS_NAMES, Palletizing
from tasks.palletizing.variants import Planner, palletizing_knobs, plan_rows
from tasks.task import Task, TaskFamily

MOST_CARTONS = 24  # a drawn order may hold more cartons than one pallet takes


def _action_bounds(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.array([j.range for j in layout.arm.body.joints()]).T
    return np.append(low, 0.0), np.append(high, 1.0)


def _make(cell: Cell, layout: Layout) -> Task:
    return Palletizing(cell, layout)


def _prepare(drawn: Rows, layout: Layout, slots: int, *, first_only: bool = False) -> Rows:
    """Plan every drawn order: a row for each pallet that it takes."""
    return plan_rows(drawn, Planner(layout), slots, first_only=first_only)


def _figures(metadata: Sequence[Mapping[str, Any]]) -> dict[str, figures.Figure]:
    verdicts = [m["verdict"] for m in metadata]
    pieces = [_pieces(m) for m in metadata]
    moved = [max(n - m["row"]["pallet.prefill"], 1) for m, (_, n) in zip(metadata, pieces, strict=True)]

    def known(name: str) -> np.ndarray:
        return np.array([v[name] for v in verdicts if v[name] is not None], dtype=np.float64)

    return {
        "cartons_within_tolerance": figures.share(sum(k for k, _ in pieces), sum(n for _, n in pieces)),
        "seconds_per_carton": figures.mean([m["seconds"] / n for m, n in zip(metadata, moved, strict=True)], "s"),
        "position_error": figures.mean([1000.0 * e for v in verdicts for e in v["position_error"]], "mm"),
        "tilt_creep": figures.mean(known("tilt_creep") * 1000.0, "mm"),
        "pulse_permanent": figures.mean(known("pulse_permanent") * 1000.0, "mm"),
    }


def _pieces(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Cartons within tolerance, and all of the load."""
    placed = metadata["verdict"]["placed"]
    return int(np.sum(placed)), len(placed)


def _captions(rows: Rows) -> list[str]:
    return [f"variant {n}: {int(c)} cartons" for n, c in zip(rows.numbers, rows["carton.count"], strict=True)]


def _pictured(rows: Rows) -> Rows:
    """The finished loads, as planned."""
    return rows.replaced(pallet__prefill=rows["carton.count"])


FAMILY = TaskFamily(
    name="palletizing",
    environment="Palletizing",
    says="mixed cartons from a conveyor onto an EPAL pallet",
    thing="carton",
    count="carton.count",
    slots=24,
    instructions=(INSTRUCTION,),
    layout=Layout,
    cups=Cups,
    state_names=STATE_NAMES,
    action_names=ACTION_NAMES,
    surroundings_names=lambda slots: SURROUNDINGS_NAMES,
    action_bounds=_action_bounds,
    knobs=palletizing_knobs,
    scene=palletizing_scene,
    make=_make,
    prepare=_prepare,
    policies={"expert": PalletizingExpert},
    figures=_figures,
    pieces=_pieces,
    captions=_captions,
    pictured=_pictured,
    planned=("plan.",),
    least_drawn=MOST_CARTONS,
)
