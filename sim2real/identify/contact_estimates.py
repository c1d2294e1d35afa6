"""Estimates of a knob from experiments that each gave one: their mean, and how far it may be off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sim.knobs import Knob

CONFIDENCE = 0.90
NORMAL = 1.6449  # half width of that interval, in standard deviations


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is known of one element of a knob.

    Attributes:
        value: in the knob's unit.
        sigma: its standard deviation, such that value ± 1.64 sigma is the interval.
        experiments: the estimate of each experiment.
    """

    value: float
    sigma: float
    experiments: tuple[float, ...] = ()

    @property
    def interval(self) -> tuple[float, float]:
        """The 90 % interval."""
        return self.value - NORMAL * self.sigma, self.value + NORMAL * self.sigma


def pooled(values: Sequence[float], knob: Knob, floor: float) -> Estimate:
    """Return the mean of estimates of a knob, with a Student interval over the experiments.

    Args:
        values: one or more estimates.
        knob: whose bounds the mean keeps to.
        floor: relative standard deviation that remains however well the experiments agree: what they share, such as the
            force sensor's and the scale's own errors and the form of the model, no scatter shows.
    """
    from scipy import stats  # heavy, and only needed here

    found = np.asarray(values, np.float64)
    n = len(found)
    value = float(np.clip(found.mean(), np.min(knob.lower), np.max(knob.upper)))
    if n == 1:
        spread = 3.0 * floor * value  # nothing says how repeatable it is
    else:
        quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))
        spread = float(found.std(ddof=1)) / np.sqrt(n) * quantile / NORMAL
    return Estimate(value, float(np.hypot(spread, floor * value)), tuple(found.tolist()))
