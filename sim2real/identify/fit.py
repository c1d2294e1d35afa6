"""Least squares over simulated runs: which row makes the model move as the robot did.

Residuals are joint positions and joint torques, each divided by what is left of it after fitting, so that neither
drowns the other; a constant offset of each joint's encoder is taken out. The prior on each parameter counts as one more
measurement: it decides only what the data cannot. The steps are Gauss-Newton's, damped (Levenberg-Marquardt), with
bounds; all rows of a Jacobian, and all step lengths that are tried, run at once.

Why our own: SciPy's `least_squares` and `mujoco.minimize.least_squares` ask for one row at a time when they try a step,
and know no re-weighting; `benchmarks/identify.py` measures them side by side.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sim2real.identify.model import RATE, SETTLE, ArmModel, Run
from sim2real.identify.parameters import Parameters

EVERY = 4  # one row in four is compared: 125 Hz is far above what an arm's servos follow
STEP = 2e-3  # of finite differences, in prior spreads
DAMPING = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # tried at once, relative to the information's diagonal
LONGEST = 125  # rows over which differences are looked at for lasting: a second
LEAST_SIGMA = np.array([[1e-5] * 6, [0.05] * 6])  # [rad], [N m]: no channel is trusted more than that
FIRST_SIGMA = np.array([[3e-3] * 6, [20.0, 20.0, 10.0, 3.0, 3.0, 3.0]])  # before anything has been fitted


@dataclasses.dataclass
class Problem:
    """Runs of a robot, the parameters sought, and how much each channel is trusted.

    Attributes:
        model: plays candidate rows.
        parameters: what is sought.
        runs: what the robot did.
        base: values of knobs that are not sought.
        sigma: what a residual of each channel weighs, (2, 6): positions [rad], torques [N m]; infinite leaves it out.
        offset: whether a constant offset of each joint's reading is taken out.
        center, spread: the prior of the parameters (p,), if another than theirs.
    """

    model: ArmModel
    parameters: Parameters
    runs: Sequence[Run]
    base: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sigma: np.ndarray = dataclasses.field(default_factory=FIRST_SIGMA.copy)
    offset: bool = True
    center: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    spread: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        """Fill in the parameters' own prior."""
        if not len(self.center):
            self.center, self.spread = self.parameters.nominal.copy(), self.parameters.spread.copy()

    def raw(self, x: np.ndarray) -> np.ndarray:
        """Return the differences model - robot of candidates x (n, p): (n, k, 2, 6), one run after another.

        Positions [rad] and torques [N m]; the offset is in them.
        """
        rows = self.parameters.rows(x, self.base)
        parts = []
        for run in self.runs:
            keep = compared(run)
            motion = self.model.play(rows, run)
            differences = np.stack(
                [motion.position[:, keep] - run.position[keep], motion.torque[:, keep] - run.torque[keep]], axis=2
            )
            parts.append(differences)
        return np.concatenate(parts, axis=1)

    def residuals(self, raw: np.ndarray) -> np.ndarray:
        """Return the weighed residuals (n, k, 2, 6) of raw differences; a row that blew up counts as very wrong."""
        weighed = np.where(np.isfinite(raw), raw, 1e3)
        if self.offset:
            weighed = weighed.copy()
            weighed[:, :, 0] -= weighed[:, :, 0].mean(1, keepdims=True)
        return weighed / self.sigma

    def blocks(self, seconds: float) -> np.ndarray:
        """Return which block of about `seconds` each compared row belongs to (k,); no block spans two runs."""
        length, out, first = max(1, round(seconds * RATE / EVERY)), [], 0
        for run in self.runs:
            count = len(range(len(run.sent))[compared(run)])
            out.append(first + np.arange(count) // length)
            first = int(out[-1][-1]) + 1
        return np.concatenate(out)


def compared(run: Run) -> slice:
    """Return which rows of a run are compared."""
    return slice(round(SETTLE * RATE), len(run.sent), EVERY)


@dataclasses.dataclass(frozen=True)
class Linearization:
    """The problem around x (p,): residuals (m,), Jacobian (m, p), both weighed; `raw` differences at x (k, 2, 6)."""

    x: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    raw: np.ndarray


@dataclasses.dataclass(frozen=True)
class Fit:
    """Where a fit arrived.

    Attributes:
        x: the parameters (p,).
        around: the problem linearized there.
        costs: cost after each step, with the weights of that step.
        seconds: of the clock that it took.
    """

    x: np.ndarray
    around: Linearization
    costs: tuple[float, ...]
    seconds: float


def linearize(problem: Problem, x: np.ndarray, free: np.ndarray | None = None) -> Linearization:
    """Return the problem around x; parameters that are not `free` (p,) get a zero column."""
    p = problem.parameters
    moving = np.arange(len(p)) if free is None else np.flatnonzero(free)
    step = STEP * p.spread
    step = np.where(x + step > p.high, -step, step)[moving]
    tried = np.concatenate([x[None], np.repeat(x[None], len(moving), axis=0)])
    tried[1 + np.arange(len(moving)), moving] += step
    raw = problem.raw(tried)
    weighed = problem.residuals(raw).reshape(len(tried), -1)
    jacobian = np.zeros((weighed.shape[1], len(p)))
    jacobian[:, moving] = ((weighed[1:] - weighed[0]) / step[:, None]).T
    return Linearization(x.copy(), weighed[0], jacobian, raw[0])


def cost_of(problem: Problem, x: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return half the sum of squares (n,) of residuals (n, m) at x (n, p), the prior included."""
    prior = (x - problem.center) / problem.spread
    return 0.5 * ((residual * residual).sum(1) + (prior * prior).sum(1))


def trust(problem: Problem, raw: np.ndarray) -> np.ndarray:
    """Return what a channel's differences (k, 2, 6) should weigh, (2, 6): what `Problem.sigma` should be at this fit.

    Their scatter, times the root of how many rows in a row say the same thing: differences that last as long as a
    motion are one measurement, not a hundred.
    """
    left = raw.copy()
    if problem.offset:
        left[:, 0] -= left[:, 0].mean(0)
    scatter = np.sqrt((left * left).mean(0)) * np.sqrt(lasting(left))
    return np.where(np.isfinite(problem.sigma), np.maximum(scatter, LEAST_SIGMA), np.inf)


def lasting(values: np.ndarray) -> np.ndarray:
    """Return over how many rows each channel of values (k, ...) says the same (...): its integrated autocorrelation.

    One for independent noise. The sum runs to the first lag whose correlation is not positive.
    """
    k = len(values)
    centered = values - values.mean(0)
    spectrum = np.abs(np.fft.rfft(centered, 2 * k, axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, axis=0)[:LONGEST]
    correlation = correlation / np.maximum(correlation[:1], 1e-30)
    positive = np.cumprod(correlation[1:] > 0.0, axis=0)
    return 1.0 + 2.0 * (correlation[1:] * positive).sum(0)


def fit(
    problem: Problem,
    start: np.ndarray,
    steps: int = 12,
    free: np.ndarray | None = None,
    reweigh: bool = True,
    tolerance: float = 1e-3,
    seconds: float = np.inf,
    says: Callable[[str], None] = lambda line: None,
) -> Fit:
    """Return the least-squares fit from `start` (p,).

    Args:
        problem: what is fitted; its `sigma` is set to what is left of each channel, if `reweigh`.
        start: where to begin.
        steps: at most so many Jacobians.
        free: which parameters move (p,); the others stay.
        reweigh: whether the channels' weights follow the fit.
        tolerance: relative gain of a step under which the fit has arrived.
        seconds: of the clock after which no new step begins.
        says: is told about each step, a line.
    """
    began = time.perf_counter()
    p, x, costs = problem.parameters, start.copy(), []
    free = np.ones(len(p), bool) if free is None else free
    if reweigh:
        problem.sigma = trust(problem, problem.raw(x[None])[0])
    around = linearize(problem, x, free)
    for number in range(steps):
        now = float(cost_of(problem, x[None], around.residual[None])[0])
        costs.append(now)
        candidates = np.stack([_step(problem, around, free, damping) for damping in DAMPING])
        raw = problem.raw(candidates)
        found = cost_of(problem, candidates, problem.residuals(raw).reshape(len(candidates), -1))
        best = int(np.argmin(found))
        says(f"step {number + 1}: cost {now:.4g} -> {found[best]:.4g}")
        if not found[best] < now:
            break
        x = candidates[best]
        if reweigh:
            problem.sigma = trust(problem, raw[best])
        around = linearize(problem, x, free)
        if now - found[best] < tolerance * now or time.perf_counter() - began > seconds:
            break
    return Fit(x, around, tuple(costs), time.perf_counter() - began)


def information(problem: Problem, jacobian: np.ndarray) -> np.ndarray:
    """Return what data and prior together say about x, (p, p): the inverse of its covariance."""
    return jacobian.T @ jacobian + np.diag(1.0 / problem.spread**2)


def _step(problem: Problem, around: Linearization, free: np.ndarray, damping: float) -> np.ndarray:
    """Return where a damped Gauss-Newton step leads; what would leave its bounds stops there and the rest go on."""
    p, x, moving = problem.parameters, around.x, free.copy()
    matrix = information(problem, around.jacobian)
    slope = around.jacobian.T @ around.residual + (x - problem.center) / problem.spread**2
    reached = x.copy()
    for _ in range(len(p)):
        inner = np.ix_(moving, moving)
        # What stopped at a bound has moved too: its part of the slope counts for the others.
        pull = slope[moving] + matrix[np.ix_(moving, ~moving)] @ (reached - x)[~moving]
        damped = matrix[inner] + damping * np.diag(np.diag(matrix[inner]))
        wanted = x[moving] - np.linalg.solve(damped, pull)
        outside = (wanted < p.low[moving]) | (wanted > p.high[moving])
        reached[moving] = np.clip(wanted, p.low[moving], p.high[moving])
        if not outside.any():
            break
        moving[np.flatnonzero(moving)[outside]] = False
        if not moving.any():
            break
    return reached
