"""Figures that compare success on a robot with success in simulation, over policies and trial by trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sim.cell import PERIOD
from sim.variations import stream
from sim2real.validate.trials import Outcome
from tasks.figures import Figure

LEAST_POLICIES = 5  # a correlation over fewer says little
RESAMPLES = 2000

Statistic = Callable[[np.ndarray, np.ndarray], "float | None"]


def rank_violation(real: ArrayLike, predicted: ArrayLike) -> float:
    """Mean maximum rank violation: how much real success one loses at most by trusting the simulated ranking.

    For each policy the greatest difference in real success to one that the simulation ranks the other way round; the
    mean over policies (Li et al., Evaluating Real-World Robot Manipulation Policies in Simulation, arXiv 2405.05941).
    0 where both rank alike. The two arguments must not be swapped: the weights are differences in real success.

    Args:
        real: success of each policy on the robot, (p,).
        predicted: of the same policies in simulation, (p,).
    """
    r, s = np.asarray(real, np.float64), np.asarray(predicted, np.float64)
    wrong = (s[:, None] < s[None, :]) != (r[:, None] < r[None, :])
    return float((np.abs(r[:, None] - r[None, :]) * wrong).max(axis=1).mean())


def correlation(real: ArrayLike, predicted: ArrayLike) -> float | None:
    """Pearson's r; None where one of the two does not differ between policies."""
    r, s = np.asarray(real, np.float64), np.asarray(predicted, np.float64)
    r, s = r - r.mean(), s - s.mean()
    scale = float(np.sqrt((r**2).sum() * (s**2).sum()))
    return float((r * s).sum() / scale) if scale > 1e-12 else None


def over_policies(statistic: Statistic, real: np.ndarray, predicted: np.ndarray, seed: int = 0) -> Figure:
    """Return a statistic of success over policies with its 95 % bootstrap interval.

    Variants are drawn anew, each with what all policies made of it, on the robot and simulated: the interval says what
    other trials of these policies would have given, not what other policies would.

    Args:
        statistic: of mean success (p,) on the robot and in simulation.
        real: success in each trial, (p, n); NaN where a trial was not run.
        predicted: success of the same trials in simulation (a share, where repeated), (p, n).
        seed: of the draws.
    """
    nothing = {"value": None, "low": None, "high": None, "unit": "1"}
    ran = np.isfinite(real) & np.isfinite(predicted)
    if not ran.any(axis=1).all():
        return nothing
    value = statistic(*_means(real, predicted, ran, np.ones(real.shape[1])))
    rng = stream(seed, 0, "bootstrap")
    n = real.shape[1]
    drawn = [np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64) for _ in range(RESAMPLES)]
    found = [statistic(*_means(real, predicted, ran, w)) for w in drawn if (ran @ w > 0).all()]
    kept = np.array([f for f in found if f is not None])
    if value is None or len(kept) < RESAMPLES / 2:
        return nothing | {"value": value}
    low, high = np.quantile(kept, [0.025, 0.975])
    return nothing | {"value": value, "low": float(low), "high": float(high)}


def _means(real: np.ndarray, predicted: np.ndarray, ran: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return each policy's weighted mean success, real and predicted, over the trials that were run."""
    weights = ran * weight
    total = weights.sum(axis=1)
    return tuple((np.where(ran, values, 0.0) * weights).sum(axis=1) / total for values in (real, predicted))


def apart(real: Outcome, simulated: Outcome) -> dict[str, Any]:
    """How far two runs of one trial are apart.

    Carton by carton, from when it is held: a carton that comes a moment later must not count as an error all the way.

    Returns:
        `path`: root mean square distance [m] between the tool's ways from attaching to letting go, over all cartons
        that both carried; `time`: how much longer the robot took for these [s]; `cartons`: mean distance [m] and `yaw`:
        mean angle [rad] between the places of the cartons that both placed. None where there is none.
    """
    ways = [(a, b) for a, b in zip(_ways(real), _ways(simulated), strict=True) if a is not None and b is not None]
    squares = [((a[:k] - b[:k]) ** 2).sum(-1) for a, b in ways if (k := min(len(a), len(b)))]
    both = np.array(real.placed, dtype=bool) & np.array(simulated.placed, dtype=bool)
    off = (real.cartons - simulated.cartons)[both]
    turn = np.abs(np.remainder(off[:, 3] + np.pi / 2, np.pi) - np.pi / 2)  # half a turn is no error
    return {
        "path": float(np.sqrt(np.concatenate(squares).mean())) if squares else None,
        "time": float(sum(len(a) - len(b) for a, b in ways) * PERIOD) if ways else None,
        "cartons": float(np.sqrt((off[:, :3] ** 2).sum(-1)).mean()) if len(off) else None,
        "yaw": float(turn.mean()) if len(off) else None,
    }


def _ways(outcome: Outcome) -> list[np.ndarray | None]:
    """Return for each carton the tool's way from attaching it last to letting it go (t, 3); None if it never did."""
    ways: list[np.ndarray | None] = [None] * len(outcome.placed)
    attached: dict[int, float] = {}
    for event in outcome.events:
        carton, what = int(event["carton"]), str(event["event"])
        if what == "attached":
            attached[carton] = float(event["time"])
        elif what == "released" and carton in attached:
            first, last = (round(t / PERIOD) for t in (attached[carton], float(event["time"])))
            ways[carton] = outcome.tool[first : last + 1]
    return ways
