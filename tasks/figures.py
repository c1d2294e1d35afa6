"""Figures of an evaluation: a value with the ends of a 95 % interval and a unit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Figure = dict[str, Any]
"""`value`, `low`, `high` (None where nothing is known) and `unit`."""


def share(successes: int, n: int) -> Figure:
    """Return a share with its exact interval."""
    low, high = success_interval(successes, n)
    return {"value": successes / n if n else None, "low": low, "high": high, "unit": "1"}


def mean(values: ArrayLike, unit: str) -> Figure:
    """Return a mean with the range that 95 % of the values lie in."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return {"value": None, "low": None, "high": None, "unit": unit}
    low, high = np.quantile(array, [0.025, 0.975])
    return {"value": float(array.mean()), "low": float(low), "high": float(high), "unit": unit}


def count(n: int, unit: str) -> Figure:
    """Return a plain number."""
    return {"value": float(n), "low": None, "high": None, "unit": unit}


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
