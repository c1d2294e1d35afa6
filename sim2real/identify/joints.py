"""Identification of an arm, in stages: delay and servo filter, joints, payload, and a held-out motion that judges.

Regression on the equations of motion gives a first estimate and an opinion of its own (`equations`). Simulation of the
same commands then refines it (`fit`): first on positions, with the opinion as the prior; then on positions and torques
together. If that explains both down to what the sensors resolve, the model fits, and the last step stands. If not, the
robot has structure that the model lacks: then the torques are left out of it, parameters are those that bring the
simulated motion closest, and every interval takes in how far the two ways of looking disagree.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from assets.arms import arm_named
from assets.asset import Body
from assets.errors import InputError, unknown
from assets.gripper import vacuum_gripper
from sim2real.identify.equations import Estimate, estimate
from sim2real.identify.excitation import Planned
from sim2real.identify.fit import FIRST_SIGMA, Fit, Problem, compared, fit, information
from sim2real.identify.model import RATE, SETTLE, ArmModel, Motion, Run, run_of
from sim2real.identify.parameters import DELAY, JOINTS, PAYLOAD, STRIBECK, Parameters
from sim2real.identify.uncertainty import BLOCK, Verdict, bootstrap, judge
from sim2real.recording import Recording
from sim2real.robot import Robot

STAGES = {"delay": DELAY, "joints": JOINTS + STRIBECK, "payload": PAYLOAD}
STEPS = 4  # Jacobians of each fit: regression starts it close by
# A model that fits gets there in leaps, until rounding stops it; one that does not creeps: no use in creeping far.
LEAP, SLOW = 0.5, 0.1
AGAIN = 2  # and of the one that follows when some parameters are put back to their prior
UNSEEN = 1e-2  # of a channel's weight: what changes less by putting a parameter back needs no new fit
SPOILED = 1.3  # times the error at most by which putting parameters back to their prior may worsen the fit
TOLD = 0.6  # part of its prior's spread to which data must narrow a parameter for it to count as identified
# Two ways of looking that disagree are two draws of an unknown error: its spread is known no better than to a factor of
# two (the deviation of two draws has a relative error of 0.8).
MISFIT = 2.0
QUANTILE = 1.645  # of the normal distribution: 90 % lie within


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one element of a knob.

    Attributes:
        label: the knob's name, with the element's number in brackets.
        stage: which stage it belongs to.
        value: the estimate, in the knob's unit.
        low, high: of the 90 % interval.
        prior: value before anything was measured.
        identified: whether the data tell it; if not it is kept at its prior, or stays as doubtful.
    """

    label: str
    stage: str
    value: float
    low: float
    high: float
    prior: float
    identified: bool


@dataclasses.dataclass(frozen=True)
class Curve:
    """A run beside the model: positions (k, 6) [rad] at `time` (k,) [s]; the model's with the encoder's offset."""

    name: str
    held_out: bool
    time: np.ndarray
    sent: np.ndarray
    measured: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """What identification found of an arm.

    Attributes:
        source, arm: of the recordings.
        knobs: mean of every knob that was sought.
        covariance: of all their elements, in that order, in the knobs' units.
        findings: element by element.
        curves: the runs beside the model, before and after; those held out are marked.
        errors: RMSE of joint positions [rad]: "fit before", "fit after", "held-out before", "held-out after".
        verdict: whether the model fits, and by what that was judged.
        offset: constant offset of each joint's reading [rad], (6,).
        lost_motion: of each joint's gear [rad], (6,), as the servos' torques suggest; the model has none.
        next: what to measure next, a line each.
        seconds: of the clock that the computing took.
        steps: physics steps simulated for it.
    """

    source: str
    arm: str
    knobs: Mapping[str, np.ndarray]
    covariance: np.ndarray
    findings: tuple[Finding, ...]
    curves: tuple[Curve, ...]
    errors: Mapping[str, float]
    verdict: Verdict
    offset: np.ndarray
    lost_motion: np.ndarray
    next: tuple[str, ...]
    seconds: float
    steps: int

    @property
    def unidentified(self) -> tuple[str, ...]:
        """Return the labels of what the data could not tell."""
        return tuple(f.label for f in self.findings if not f.identified)


def identify_joints(
    recordings: Sequence[Recording],
    held_out: Sequence[Recording],
    stages: Sequence[str] = tuple(STAGES),
    base: Mapping[str, np.ndarray] | None = None,
    tool: Body | None = None,
    model: ArmModel | None = None,
    says: Callable[[str], None] = lambda line: None,
) -> Result:
    """Return what recordings of one arm tell about it.

    Args:
        recordings: of motions that begin at rest, to fit.
        held_out: of others, to judge the fit by.
        stages: which of `STAGES` to seek; what is not sought stands as in `base`.
        base: knob values that are known already, e.g. of an earlier calibration; nominal otherwise.
        tool: on the flange; the vacuum gripper if not given.
        model: to use again, if one of this arm and tool is at hand.
        says: is told what is going on, a line at a time.

    Raises:
        InputError: no recordings, recordings of different arms, or ones that are not fit for it.
    """
    began = time.perf_counter()
    if not recordings or not held_out:
        raise InputError("identification wants recordings to fit and at least one to judge the fit by (held out)")
    base = dict(base or {})
    for stage in stages:
        if stage not in STAGES:
            raise unknown("stage of identification", stage, STAGES)
    asked = [name for stage in STAGES if stage in stages for name in STAGES[stage]]
    # What is neither asked for nor known is sought all the same: a wrong gain would pass for a delay.
    sought = [name for stage in STAGES.values() for name in stage if name in asked or name not in base]
    arm = arm_named(recordings[0].arm)
    for recording in (*recordings, *held_out):
        recording.checked(arm=arm.name)
    runs = [run_of(r, f"motion {k + 1}") for k, r in enumerate(recordings)]
    kept_out = [run_of(r, f"held-out motion {k + 1}") for k, r in enumerate(held_out)]
    model = model or ArmModel(arm, tool or vacuum_gripper())
    steps, parameters = model.steps, Parameters(sought)
    says("regression on the equations of motion")
    opinion = estimate(model, runs, stribeck="arm.stribeck" in sought, payload="tool.mass" in sought)
    problem, fitted, verdict = _fit(model, parameters, runs, base, opinion, says)
    x, spread, correlation, identified = _settle(problem, fitted, verdict, opinion, kept_out, says)
    curves, errors, offset = _compare(problem, x, kept_out)
    covariance = correlation * np.outer(spread, spread) * np.outer(parameters.slopes(x), parameters.slopes(x))
    at = np.concatenate([np.r_[parameters.where(name)] for name in asked])
    findings = _findings(parameters, x, spread, identified)
    return Result(
        source=recordings[0].source,
        arm=arm.name,
        knobs={name: value for name, value in parameters.knobs(x).items() if name in asked},
        covariance=covariance[np.ix_(at, at)],
        findings=tuple(findings[k] for k in at),
        curves=curves,
        errors=errors,
        verdict=verdict,
        offset=offset,
        lost_motion=opinion.lost_motion,
        next=_advice([findings[k] for k in at], verdict),
        seconds=time.perf_counter() - began,
        steps=model.steps - steps,
    )


def _fit(
    model: ArmModel,
    parameters: Parameters,
    runs: Sequence[Run],
    base: Mapping[str, np.ndarray],
    opinion: Estimate,
    says: Callable[[str], None],
) -> tuple[Problem, Fit, Verdict]:
    """Return the problem as it was solved in the end, its solution, and whether the model fits."""
    start = parameters.vector({**base, **opinion.knobs})
    says("simulation, positions and torques")
    problem = Problem(model, parameters, runs, base)
    fitted = fit(problem, start, STEPS, tolerance=LEAP, says=says)
    verdict = judge(fitted.around.raw, np.concatenate([run.torque for run in runs]))
    if verdict.fits:
        return problem, fit(problem, fitted.x, AGAIN, says=says), verdict
    says("simulation, positions only, with what regression found as the prior")
    sigma = FIRST_SIGMA.copy()
    sigma[1] = np.inf
    own, other = parameters.spread**-2, _spread_of(parameters, opinion) ** -2
    center = (parameters.nominal * own + start * other) / (own + other)
    problem = Problem(model, parameters, runs, base, sigma, center=center, spread=(own + other) ** -0.5)
    return (
        problem,
        fit(problem, np.clip(center, parameters.low, parameters.high), STEPS, tolerance=SLOW, says=says),
        verdict,
    )


def _spread_of(parameters: Parameters, opinion: Estimate) -> np.ndarray:
    """Return the spread of regression's opinion in x (p,); infinite where it has none."""
    spread = np.full(len(parameters), np.inf)
    for name, value in opinion.spread.items():
        if name in parameters.names:
            spread[parameters.where(name)] = np.maximum(value.reshape(-1), 1e-6)
    values = parameters.values(parameters.vector(opinion.knobs))
    return np.where(parameters.log, spread / np.maximum(values, 0.05), spread)


def _settle(
    problem: Problem,
    fitted: Fit,
    verdict: Verdict,
    opinion: Estimate,
    kept_out: Sequence[Run],
    says: Callable[[str], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return x (p,), its standard deviations (p,), correlations (p, p), and which parameters the data tell (p,)."""
    p = problem.parameters
    spread, correlation = _known(problem, fitted, kept_out)
    apart = np.zeros(len(p)) if verdict.fits else _disagreement(p, fitted.x, opinion)
    told = spread < TOLD * p.spread
    x = np.where(told, fitted.x, p.nominal)
    if np.abs(fitted.around.jacobian @ (x - fitted.x)).max() > UNSEEN:
        says(f"{int((~told).sum())} parameters that the data do not tell go back to their prior")
        again = fit(problem, x, AGAIN, free=told, tolerance=SLOW, says=says)
        if _left(again) <= SPOILED * _left(fitted):
            fitted = again
            spread, correlation = _known(problem, fitted, kept_out)
            apart = apart if verdict.fits else _disagreement(p, fitted.x, opinion)
        else:  # one by one they are not told, but together they say how the arm moves
            says("without them the model moves otherwise than the arm: they stay, as doubtful")
        x = fitted.x
    # Where two ways contradict each other by more than was doubted beforehand, nothing has been learned of what is
    # true; the value stays all the same, for with the others it says best how the arm moves.
    identified = told & (apart < p.spread)
    if not verdict.fits:
        spread = MISFIT * np.hypot(spread, apart)
    spread = np.where(identified, np.minimum(spread, p.spread), p.spread)
    correlation = np.where(np.outer(identified, identified), correlation, np.eye(len(p)))
    return x, spread, correlation, identified


def _left(fitted: Fit) -> float:
    """Return what a fit leaves of the positions, RMSE without offset [rad]."""
    apart = fitted.around.raw[:, 0]
    return float(np.sqrt(((apart - apart.mean(0)) ** 2).mean()))


def _known(problem: Problem, fitted: Fit, kept_out: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Return standard deviations (p,) and correlations (p, p) of a fit, widened by how it does on unseen motion."""
    around = fitted.around
    covariance = np.linalg.inv(information(problem, around.jacobian))
    laplace = np.sqrt(np.diag(covariance))
    block = np.repeat(problem.blocks(BLOCK), 12)
    moved = bootstrap(around.jacobian, around.residual, block, problem.spread**-2)
    ours = problem.residuals(around.raw[None])
    theirs = dataclasses.replace(problem, runs=kept_out)
    left = (theirs.residuals(theirs.raw(fitted.x[None])) ** 2).mean()
    worse = max(1.0, float(np.sqrt(left / np.maximum((ours**2).mean(), 1e-12))))
    return worse * np.maximum(laplace, moved.std(0)), covariance / np.outer(laplace, laplace)


def _disagreement(p: Parameters, x: np.ndarray, opinion: Estimate) -> np.ndarray:
    """Return how far x is from regression's opinion (p,), where that knows more than the prior does."""
    sure = _spread_of(p, opinion) < p.spread
    return np.where(sure, np.abs(x - p.vector(opinion.knobs)), 0.0)


def _compare(
    problem: Problem, x: np.ndarray, kept_out: Sequence[Run]
) -> tuple[tuple[Curve, ...], dict[str, float], np.ndarray]:
    """Return every run beside the model before and after, their errors, and the encoders' offset after (6,) [rad].

    Before and after each have the offset taken out that fits the runs of the fit best; the held-out ones get the same.
    """
    p = problem.parameters
    rows = p.rows(np.stack([p.vector(problem.base), x]), problem.base)
    played: list[tuple[Run, bool, Motion]] = [
        (run, out, problem.model.play(rows, run))
        for runs, out in ((problem.runs, False), (kept_out, True))
        for run in runs
    ]
    against = [m.position[:, compared(run)] - run.position[compared(run)] for run, out, m in played if not out]
    offset = -np.concatenate(against, axis=1).mean(1)  # what the encoder adds to the joint's position
    curves, errors = [], {}
    for run, out, motion in played:
        seconds = np.arange(len(run.sent)) / RATE
        before, after = motion.position + offset[:, None]
        curves.append(Curve(run.name, out, seconds, run.sent, run.position, before, after))
    first = round(SETTLE * RATE)
    for name, out in (("fit", False), ("held-out", True)):
        for when in ("before", "after"):
            apart = [(getattr(c, when) - c.measured)[first:] for c in curves if c.held_out == out]
            errors[f"{name} {when}"] = float(np.sqrt((np.concatenate(apart) ** 2).mean()))
    return tuple(curves), errors, offset[1]


def _findings(p: Parameters, x: np.ndarray, spread: np.ndarray, identified: np.ndarray) -> list[Finding]:
    values, nominal = p.values(x), p.values(p.nominal)
    low, high = (p.values(np.clip(x + side * QUANTILE * spread, p.low, p.high)) for side in (-1.0, 1.0))
    stages = [stage for name in p.names for _ in range(p.sizes[name]) for stage in STAGES if name in STAGES[stage]]
    return [
        Finding(label, stage, float(v), float(a), float(b), float(n), bool(known))
        for label, stage, v, a, b, n, known in zip(
            p.labels, stages, values, low, high, nominal, identified, strict=True
        )
    ]


HELPS = {
    "arm.latency": "chirps at a higher robot.tcp_speed",
    "arm.servo_filter": "chirps at a higher robot.tcp_speed",
    "arm.stiffness": "chirps at a higher robot.tcp_speed",
    "arm.servo_damping": "chirps at a higher robot.tcp_speed",
    "arm.armature": "chirps at a higher robot.tcp_speed",
    "arm.damping": "long moves at several constant speeds; the position of a servoed joint hardly shows it",
    "arm.friction": "longer slow sweeps",
    "arm.stribeck": "longer slow sweeps",
    "arm.stribeck_velocity": "longer slow sweeps; without Stribeck friction it has no effect",
    "tool.mass": "motions with a heavier payload declared, or the tool on a scale",
    "tool.center_of_mass": "motions that tilt the tool about both horizontal axes",
}


def _advice(findings: Sequence[Finding], verdict: Verdict) -> tuple[str, ...]:
    """Return what to measure next, a line for each knob that the data did not tell."""
    weak: dict[str, list[str]] = {}
    for finding in findings:
        if not finding.identified:
            weak.setdefault(finding.label.split("[")[0], []).append(finding.label)
    lines = [f"{', '.join(labels)}: {HELPS[name]}" for name, labels in weak.items()]
    if not verdict.fits:
        lines.append("the model does not fit: train on the intervals, not on the means alone, and look at the curves")
    return tuple(lines)


def gather(
    robot: Robot, motions: Sequence[Planned], says: Callable[[str], None] = lambda line: None
) -> list[Recording]:
    """Have an armed robot run planned motions, each from its start, and return what was recorded."""
    recordings = []
    for planned in motions:
        says(planned.describe())
        robot.approach(planned.targets[0])
        recordings.append(robot.play(planned.targets, RATE))
    return recordings
