"""The task families by name, each loaded when it is first asked for, and their variations in `conf/variation`."""

from __future__ import annotations

import importlib
from pathlib import Path

import yaml

from assets.errors import unknown
from sim.knobs import Knobs
from sim.variations import Variation
from tasks.task import TaskFamily

# name: the module that holds its `FAMILY`
FAMILIES = {
    "palletizing": "tasks.palletizing.family",
    "tote_breakdown": "tasks.totes.family",
    "inspected_tote": "tasks.memory.inspected_tote",
    "step_ambiguity": "tasks.memory.step_ambiguity",
    "shown_arrangement": "tasks.memory.shown_arrangement",
}


def family(name: str) -> TaskFamily:
    """Return the family of that name; InputError names the nearest ones if there is none."""
    if name not in FAMILIES:
        raise unknown("task", name, FAMILIES)
    return importlib.import_module(FAMILIES[name]).FAMILY


def variation_named(name: str, knobs: Knobs, task: str) -> Variation:
    """Return a variation of `conf/variation/<task>`, e.g. "nominal"; InputError names the nearest ones."""
    folder = Path(__file__).parents[1] / "conf" / "variation" / task
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise unknown(f"variation of {task}", name, known)
    return Variation.parse(name, yaml.safe_load((folder / f"{name}.yaml").read_text()), knobs)
