"""Does a policy succeed as often on the robot as predicted, give or take a margin? A test that may stop at any time.

For every trial there is a difference: success on the robot (0 or 1) minus the share of simulated runs of the same trial
that succeeded. With µ their mean, the test tells "within" (|µ| < margin) from "outside" (|µ| > margin), or says that it
is still open. It bets: a capital that starts at 1 and cannot grow in the mean while a hypothesis holds, so that the
chance that it ever reaches 1/α is at most α (Ville's inequality), whenever one looks and stops. The bets are those of
Waudby-Smith and Ramdas (Estimating means of bounded random variables by betting, JRSS B 86, 2024), with the mean over
a grid of fixed stakes for the capital.

Error rates, for every margin, distribution of the differences and rule of stopping: "within" though |µ| >= margin with
a chance of at most `ERROR` (both one-sided hypotheses have to fall), "outside" though |µ| <= margin likewise (half of
it on each side). A test of success alone that takes the prediction for exact (an SPRT) would stop sooner, and be wrong
more often than it says: the prediction is itself an estimate.
"""

from __future__ import annotations

import dataclasses

import numpy as np

ERROR = 0.05
STAKES = np.linspace(0.02, 0.98, 49)  # of what can be lost at most


@dataclasses.dataclass(frozen=True)
class Finding:
    """What the test says.

    Attributes:
        decision: "within", "outside" or "open".
        trials: after which it was decided, or how many there are.
        difference: mean of all differences, real minus predicted.
    """

    decision: str
    trials: int
    difference: float | None


def compare(differences: np.ndarray, margin: float, error: float = ERROR) -> Finding:
    """Return what follows from the differences (n,) in -1 … 1, in the order in which they were found.

    Raises:
        ValueError: a difference or the margin lies outside of its range.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if not 0.0 < margin < 1.0:
        raise ValueError(f"margin = {margin} must lie between 0 and 1")
    if not (np.abs(differences) <= 1.0).all():
        raise ValueError("differences must lie in -1 … 1")
    mean = float(differences.mean()) if len(differences) else None
    within = np.minimum(_capital(differences, -margin), _capital(-differences, -margin))
    outside = np.maximum(_capital(differences, margin), _capital(-differences, margin))
    hits = [np.flatnonzero(within >= 1.0 / error), np.flatnonzero(outside >= 2.0 / error)]
    first = [int(hit[0]) if len(hit) else len(differences) for hit in hits]
    if min(first) == len(differences):
        return Finding("open", len(differences), mean)
    return Finding("within" if first[0] < first[1] else "outside", min(first) + 1, mean)


def _capital(differences: np.ndarray, bound: float) -> np.ndarray:
    """Return the greatest capital so far (n,) of bets that the mean lies above `bound`."""
    stakes = STAKES / (1.0 + bound)  # the least difference, -1, must not bankrupt
    growth = np.log1p(stakes[:, None] * (differences[None, :] - bound)).cumsum(axis=1)
    return np.maximum.accumulate(np.exp(growth).mean(axis=0)) if len(differences) else np.zeros(0)
