"""Evaluation: what a dataset's episodes say about a policy: success, causes of failure, telling knobs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim.knobs import Knobs
from tasks import figures
from tasks.dataset.reader import Dataset
from tasks.simulation import Settings
from tasks.task import TaskFamily

BINS = 4


def evaluate(dataset: Dataset) -> dict[str, Any]:
    """Return the evaluation of all episodes of `dataset`.

    Returns:
        `task`, its `thing` ("carton"), `figures` (name: value, low, high, unit; 95 % intervals; those of every task,
        then the task family's own), `failures_by_cause`, `by_knob` (success in quantile bins of every scalar knob that
        varies; of a knob with several values, its mean, spare slots left out), `episodes` (with how many things are
        `done` of how many), `quarantined`.
    """
    settings = Settings.from_dict(dataset.settings["simulation"])
    task = settings.family
    metadata = [dataset.metadata(i) for i in range(len(dataset))]
    verdicts = [m["verdict"] for m in metadata]
    success = np.array([v["success"] for v in verdicts], dtype=bool)
    causes = Counter(cause for v in verdicts for cause in {cause_of(r) for r in v["reasons"]})
    pieces = [task.pieces(m) for m in metadata]
    return {
        "task": task.name,
        "thing": task.thing,
        "figures": {
            "success": figures.share(int(success.sum()), len(success)),
            "seconds": figures.mean([m["seconds"] for m in metadata], "s"),
            "quarantined": figures.count(len(dataset.quarantined), "variants"),
            **task.figures(metadata),
        },
        "failures_by_cause": dict(causes.most_common()),
        "by_knob": _by_knob(metadata, success, task, settings.knobs),
        "episodes": [
            {
                "variant": m["variant"],
                "success": bool(v["success"]),
                "reasons": v["reasons"],
                "done": done,
                "of": n,
                "seconds": m["seconds"],
            }
            for m, v, (done, n) in zip(metadata, verdicts, pieces, strict=True)
        ],
        "quarantined": dataset.quarantined,
    }


def cause_of(reason: str) -> str:
    """A reason without its numbers, so that episodes can be counted: `carton 3 off by 17.2 mm` gives `carton off`."""
    without = re.sub(r"^([a-z]+) \d+\b", r"\1", reason)
    without = re.sub(r" \([^)]*\d[^)]*\)", "", without)
    return re.sub(r"( by)? \d[\d.]* (mm|deg)( of \d+)?", "", without)


def _by_knob(
    metadata: Sequence[Mapping[str, Any]], success: np.ndarray, task: TaskFamily, knobs: Knobs
) -> list[dict[str, Any]]:
    if not metadata:
        return []
    out = []
    for name in metadata[0]["row"]:
        if name.startswith(task.planned):
            continue
        per_slot = name in knobs and knobs[name].shape[:1] == ("slot",)
        used = [int(m["row"][task.count]) if per_slot else None for m in metadata]
        values = np.array([np.mean(np.atleast_1d(m["row"][name])[:n]) for m, n in zip(metadata, used, strict=True)])
        edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, BINS + 1)))
        if len(edges) < 3:
            continue
        which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        bins = [
            {"low": float(edges[b]), "high": float(edges[b + 1]), "n": int((which == b).sum()),
             "success": float(success[which == b].mean()) if (which == b).any() else None}
            for b in range(len(edges) - 1)
        ]  # fmt: skip
        out.append({"knob": name, "bins": bins})
    return out
