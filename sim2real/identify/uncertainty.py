"""How well a fitted row is known: resampled blocks, the held-out motion's verdict, and whether residuals are noise.

Residuals of a model that does not quite fit are no independent noise: they last as long as the motion that brings them
about. Blocks of half a second are drawn again with replacement and the fit is repeated on each draw, to first order (a
Gauss-Newton step from the fit).
"""

from __future__ import annotations

import dataclasses

import numpy as np

BLOCK = 0.5  # [s] of a resampled block
RESAMPLES = 200
ALLOWED_POSITION = 5e-5  # [rad] that may last in residuals: the step of a joint's encoder, a lost packet or two
ALLOWED_TORQUE = 0.02  # of the torques' standard deviation
LEAST_TORQUE = 0.1  # [N m]


def bootstrap(
    jacobian: np.ndarray, residual: np.ndarray, block: np.ndarray, prior: np.ndarray, resamples: int = RESAMPLES
) -> np.ndarray:
    """Return how far the fit moves on resampled blocks, (resamples, p).

    Args:
        jacobian: (m, p) at the fit, weighed.
        residual: (m,) at the fit, weighed.
        block: number of the block that each residual belongs to, (m,), from 0 on.
        prior: information (p,) that the priors add to the diagonal.
        resamples: how many draws; the draws are always the same.
    """
    count, p = int(block.max()) + 1, jacobian.shape[1]
    order = np.argsort(block, kind="stable")
    edges = np.searchsorted(block[order], np.arange(count + 1))
    grams, pulls = np.zeros((count, p, p)), np.zeros((count, p))
    for b in range(count):
        part = order[edges[b] : edges[b + 1]]
        grams[b] = jacobian[part].T @ jacobian[part]
        pulls[b] = jacobian[part].T @ residual[part]
    scale = np.sqrt(np.einsum("bii->i", grams) + prior) + 1e-12
    damping = prior / scale**2 + 1e-9
    # What the whole set still pulls at the fit (the priors' part) belongs to the fit, not to the draw.
    whole = pulls.sum(0)
    random, moved = np.random.default_rng(count), np.empty((resamples, p))
    for k in range(resamples):
        times = np.bincount(random.integers(0, count, count), minlength=count).astype(float)
        matrix = np.tensordot(times, grams, 1) / np.outer(scale, scale) + np.diag(damping)
        moved[k] = -np.linalg.solve(matrix, (times @ pulls - whole) / scale) / scale
    return moved


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a model fits, and what tells.

    Attributes:
        fits: whether nothing that lasts is left beyond what is allowed.
        position, torque: what lasts in the residuals of each joint [rad], [N m], (6,): their noise is taken out.
        allowed_position, allowed_torque: what would be good enough, (6,).
        whiteness: probability that independent noise looks as correlated as a joint's positions do (Ljung-Box), (6,).
    """

    fits: bool
    position: np.ndarray
    torque: np.ndarray
    allowed_position: np.ndarray
    allowed_torque: np.ndarray
    whiteness: np.ndarray

    @property
    def says(self) -> str:
        """Return the verdict in a sentence."""
        worst = int(np.argmax(self.torque / self.allowed_torque))
        far = int(np.argmax(self.position / self.allowed_position))
        left = (
            f"what lasts in the residuals is at most {1e3 * self.position[far]:.3f} mrad (joint {far}) and "
            f"{self.torque[worst]:.2g} N m (joint {worst})"
        )
        if self.fits:
            return f"The model fits: {left}, no more than sensors and rounding leave."
        return (
            f"The model does not fit: {left}; allowed are {1e3 * self.allowed_position[far]:.3f} mrad and "
            f"{self.allowed_torque[worst]:.2g} N m. The robot has structure that the model lacks. The values are those "
            "that bring the simulated motion closest; intervals are widened by how far two ways of looking disagree."
        )


def judge(raw: np.ndarray, torque: np.ndarray) -> Verdict:
    """Judge a fit by its differences model - robot (k, 2, 6) and by the torques that were measured, (n, 6)."""
    position, torques = lasting_part(raw[:, 0] - raw[:, 0].mean(0)), lasting_part(raw[:, 1])
    allowed_position = np.full(6, ALLOWED_POSITION)
    allowed_torque = np.maximum(ALLOWED_TORQUE * torque.std(0), LEAST_TORQUE)
    fits = bool((position <= allowed_position).all() and (torques <= allowed_torque).all())
    whiteness = np.array([ljung_box(raw[:, 0, j]) for j in range(6)])
    return Verdict(fits, position, torques, allowed_position, allowed_torque, whiteness)


def lasting_part(values: np.ndarray, rows: int = 5) -> np.ndarray:
    """Return the root mean square (m,) of what lasts over `rows` rows in values (k, m), independent noise left out."""
    k = len(values) // rows * rows
    parts = values[:k].reshape(-1, rows, values.shape[1])
    noise = parts.var(1, ddof=1).mean(0) / rows
    return np.sqrt(np.maximum((parts.mean(1) ** 2).mean(0) - noise, 0.0))


def ljung_box(values: np.ndarray, lags: int = 20) -> float:
    """Return the probability that independent noise is as correlated over the first `lags` rows as values (k,) are.

    Ljung & Box, "On a measure of lack of fit in time series models", 1978.
    """
    from scipy.stats import chi2

    k, centered = len(values), values - values.mean()
    power = float(centered @ centered)
    if power == 0.0:
        return 1.0
    correlations = np.array([centered[lag:] @ centered[:-lag] / power for lag in range(1, lags + 1)])
    statistic = k * (k + 2) * float((correlations**2 / (k - np.arange(1, lags + 1))).sum())
    return float(chi2.sf(statistic, lags))
