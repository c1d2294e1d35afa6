"""Evaluation: what a dataset's episodes say about a policy: success, causes of failure, telling knobs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from tasks.dataset.reader import Dataset

BINS = 4


def evaluate(dataset: Dataset) -> dict[str, Any]:
    """Return the evaluation of all episodes of `dataset`.

    Returns:
        `figures` (name: value, low, high, unit; 95 % intervals), `failures_by_cause`, `by_knob` (success in
        quantile bins of every scalar knob that varies; of a knob with a value per carton, its mean over
        the load), `episodes`, `quarantined`.
    """
    metadata = [dataset.metadata(i) for i in range(len(dataset))]
    verdicts = [m["verdict"] for m in metadata]
    success = np.array([v["success"] for v in verdicts], dtype=bool)
    placed = [int(np.sum(v["placed"])) for v in verdicts]
    cartons = [len(v["placed"]) for v in verdicts]
    seconds = np.array([m["seconds"] for m in metadata])
    prefilled = np.array([m["row"]["pallet.prefill"] for m in metadata])
    errors = np.concatenate([np.zeros(0), *[v["position_error"] for v in verdicts]])
    moved = np.maximum(np.array(cartons) - prefilled, 1)
    figures = {
        "pallets_successful": _share(int(success.sum()), len(success)),
        "cartons_within_tolerance": _share(sum(placed), sum(cartons)),
        "seconds_per_carton": _mean(seconds / moved, "s"),
        "position_error": _mean(errors * 1000.0, "mm"),
        "tilt_creep": _mean(_known(verdicts, "tilt_creep") * 1000.0, "mm"),
        "pulse_permanent": _mean(_known(verdicts, "pulse_permanent") * 1000.0, "mm"),
        "quarantined": {"value": float(len(dataset.quarantined)), "low": None, "high": None, "unit": "variants"},
    }
    causes = Counter(cause for v in verdicts for cause in {cause_of(r) for r in v["reasons"]})
    return {
        "figures": figures,
        "failures_by_cause": dict(causes.most_common()),
        "by_knob": _by_knob(metadata, success),
        "episodes": [
            {
                "variant": m["variant"],
                "success": bool(v["success"]),
                "reasons": v["reasons"],
                "cartons": n,
                "placed": k,
                "seconds": m["seconds"],
            }
            for m, v, n, k in zip(metadata, verdicts, cartons, placed, strict=True)
        ],
        "quarantined": dataset.quarantined,
    }


def cause_of(reason: str) -> str:
    """A reason without its numbers, so that episodes can be counted: `carton 3 off by 17.2 mm` gives `carton off`."""
    without = re.sub(r"^carton \d+", "carton", reason)
    without = re.sub(r" \([^)]*\d[^)]*\)", "", without)
    return re.sub(r"( by)? \d[\d.]* (mm|deg)( of \d+)?", "", without)


def success_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a success rate (Clopper and Pearson, Biometrika 26, 1934); (0, 1) where n is 0."""
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else _solve(lambda p: _at_least(successes, n, p) - tail)
    high = 1.0 if successes == n else _solve(lambda p: _at_least(successes + 1, n, p) - (1 - tail))
    return low, high


def _at_least(successes: int, n: int, p: float) -> float:
    """The chance of so many successes or more in n trials."""
    k = np.arange(successes, n + 1)
    ways = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k])
    return float(np.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p)).sum())


def _solve(rising: Callable[[float], float]) -> float:
    """Where a rising function of a chance passes zero."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _share(successes: int, n: int) -> dict[str, Any]:
    low, high = success_interval(successes, n)
    return {"value": successes / n if n else None, "low": low, "high": high, "unit": "1"}


def _mean(values: np.ndarray, unit: str) -> dict[str, Any]:
    """A mean with the range that 95 % of the values lie in."""
    if not len(values):
        return {"value": None, "low": None, "high": None, "unit": unit}
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high), "unit": unit}


def _known(verdicts: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([v[name] for v in verdicts if v[name] is not None], dtype=np.float64)


def _by_knob(metadata: list[dict[str, Any]], success: np.ndarray) -> list[dict[str, Any]]:
    if not metadata:
        return []
    out = []
    for name in metadata[0]["row"]:
        if name.startswith("plan."):
            continue
        values = np.array([_summary(m["row"][name], int(m["row"]["carton.count"])) for m in metadata])
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


def _summary(value: Any, count: int) -> float:
    """One number for a knob: itself, or the mean over the load's cartons and components."""
    array = np.asarray(value, dtype=np.float64)
    return float(array if array.ndim == 0 else array[: max(count, 1)].mean())
