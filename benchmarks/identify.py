"""Identification of an arm on sealed stand-ins: what comes back, how sure it says to be, how long it takes.

Stand-ins draw what they are like from a seed. Identification sees what their controller reports of three excitation
motions, and is judged by a fourth, a carton's way from belt to pallet, and, once that is done, by the unsealed values.
Ten are of a structure that our model contains, ten have structure that it lacks. The stand-ins run in this process,
without sockets, faster than real time; they are the same plants that answer on the network, and no hardware.

On the first of each, other ways of fitting get the same model, the same data and the same seconds: `mujoco.sysid`'s
default (`mujoco.minimize.least_squares` on residuals normalized by channel, values in their own units), SciPy's
`least_squares` with our batched Jacobian, and CMA-ES. All start at the nominal row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from assets.arms import arm_named
from assets.gripper import vacuum_gripper
from benchmarks.common import Figure, arguments, publish, sized
from sim2real.identify.carrying import carry
from sim2real.identify.excitation import Planned, motion
from sim2real.identify.fit import Problem, compared
from sim2real.identify.joints import STAGES, Result, identify_joints
from sim2real.identify.model import RATE, ArmModel, run_of
from sim2real.identify.parameters import Parameters
from sim2real.limits import Limits
from sim2real.recording import Recording
from sim2real.standin.plant import Plant
from sim2real.standin.sealed import Sealed

ARM = "ur20"
TCP_SPEED = 1.0  # [m/s] to which the limit is raised for identification
BOX = np.array([[-2.2, -2.2, -0.2], [2.2, 2.2, 2.6]])  # [m]
EXCITATION = (("fourier", 1), ("chirp", 1), ("sweep", 0))
FIRST = {"contained": 0, "richer": 0}  # seed of the first stand-in
RATIOS = ("arm.stiffness", "arm.servo_damping", "arm.damping", "arm.friction", "arm.armature", "tool.mass")
Array = np.ndarray
OTHERS = ("mujoco.sysid's default", "scipy least_squares", "CMA-ES")


class OutOfTime(Exception):
    """The seconds that a way of fitting was given are over."""


def recorded(sealed: Sealed, planned: Planned) -> Recording:
    """Return what the controller of a stand-in reports of a motion."""
    plant, targets = Plant(arm_named(ARM), sealed), planned.targets
    plant.reset(targets[0])
    position, velocity, current, torque, force = (np.empty_like(targets) for _ in range(5))
    for k, target in enumerate(targets):
        plant.step(target)
        position[k], velocity[k], torque[k] = plant.position, plant.velocity, plant.torque
        current[k], force[k] = plant.current, plant.tcp_force
    k = len(targets)
    clock, normal, outputs = np.arange(k) / RATE, np.ones(k, np.uint32), np.zeros(k, np.uint32)
    return Recording(
        "stand-in, not hardware", ARM, RATE, clock, position, velocity, current, torque, force, normal, targets,
        targets, outputs,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """One stand-in: what was recorded of it, what came back, and how far that is from the unsealed values."""

    sealed: Sealed
    fit: list[Recording]
    held_out: Recording
    result: Result
    cpu: float  # [s] of the processor

    def off(self, name: str) -> float:
        """Return the largest error of a knob's elements: relative for ratios, else in the knob's unit."""
        found, true = self.result.knobs[name].reshape(-1), np.asarray(self.sealed[name]).reshape(-1)
        return float(np.abs(found / true - 1.0 if name in RATIOS else found - true).max())

    @property
    def better(self) -> float:
        """Return by what factor the held-out error is below that of the nominal model."""
        return self.result.errors["held-out before"] / max(self.result.errors["held-out after"], 1e-9)

    @property
    def covered(self) -> list[bool]:
        """Return for every sealed value that our model has whether its 90 % interval holds it."""
        out = []
        for name in self.result.knobs:
            if name in self.sealed:
                found = [f for f in self.result.findings if f.label.split("[")[0] == name]
                true = np.asarray(self.sealed[name]).reshape(-1)
                out += [f.low <= t <= f.high for f, t in zip(found, true, strict=True)]
        return out


def all_motions(seconds: float) -> list[Planned]:
    """Return motions to fit, of so many seconds each, and last the one that judges."""
    arm = arm_named(ARM)
    limits = Limits.of(arm, 0.2, TCP_SPEED, BOX)
    return [*(motion(k, seconds, seed, arm, limits) for k, seed in EXCITATION), carry(arm, limits, 2 * seconds)]


def identified(model: ArmModel, motions: Sequence[Planned], sealed: Sealed) -> Case:
    """Record a stand-in, identify it, and break the seal."""
    *fit, held_out = (recorded(sealed, m) for m in motions)
    began = time.process_time()
    result = identify_joints(fit, [held_out], model=model)
    return Case(sealed, fit, held_out, result, time.process_time() - began)


@dataclasses.dataclass
class Judged:
    """A cost to be lowered within some seconds; remembers the best that it has seen."""

    problem: Problem
    scale: Array  # (2, 6) that differences are divided by
    until: float
    best: Array
    cost: float = np.inf

    def residuals(self, x: Array) -> Array:
        """Return the residuals (n, m) of candidates x (n, p)."""
        if time.perf_counter() > self.until:
            raise OutOfTime
        x = np.clip(x, self.problem.parameters.low, self.problem.parameters.high)
        differences = np.nan_to_num(self.problem.raw(x), nan=1e3) / self.scale
        out = differences.reshape(len(x), -1)
        costs = (out * out).mean(1)
        if costs.min() < self.cost:
            self.cost, self.best = float(costs.min()), x[int(np.argmin(costs))].copy()
        return out


def sysid(judged: Judged) -> None:
    """Fit as `mujoco.sysid` does by default."""
    from mujoco import minimize

    p = judged.problem.parameters
    low, high = p.values(p.low)[:, None], p.values(p.high)[:, None]
    minimize.least_squares(
        np.clip(p.values(p.nominal)[:, None], low, high),
        lambda values: judged.residuals(p.scaled(np.clip(values, low, high).T)).T,
        bounds=[low, high],
        verbose=minimize.Verbosity.SILENT,
        max_iter=200,
    )


def scipy_fit(judged: Judged) -> None:
    """Fit with SciPy's trust region, given our batched Jacobian."""
    from scipy.optimize import least_squares

    p = judged.problem.parameters
    step = 2e-3 * p.spread

    def jacobian(x: Array) -> Array:
        signs = np.where(x + step > p.high, -1.0, 1.0)
        out = judged.residuals(np.concatenate([x[None], x + np.diag(step * signs)]))
        return ((out[1:] - out[0]) / (step * signs)[:, None]).T

    inside = np.clip(p.nominal, p.low + 1e-6, p.high - 1e-6)
    how: dict[str, Any] = {"jac": jacobian, "bounds": (p.low, p.high), "x_scale": p.spread}
    least_squares(lambda x: judged.residuals(x[None])[0], inside, **how)


def cma_es(judged: Judged) -> None:
    """Fit by CMA-ES, generations in parallel worlds."""
    import cma

    p = judged.problem.parameters
    low, high = (p.low - p.nominal) / p.spread, (p.high - p.nominal) / p.spread
    start = np.clip(np.zeros(len(p)), low, high)
    options = {"bounds": [low.tolist(), high.tolist()], "seed": 1, "verbose": -9}
    strategy = cma.CMAEvolutionStrategy(start.tolist(), 0.5, options)
    while not strategy.stop():
        asked = strategy.ask()
        out = judged.residuals(p.nominal + np.array(asked) * p.spread)
        strategy.tell(asked, (out * out).mean(1).tolist())


WAYS: dict[str, Callable[[Judged], Any]] = dict(zip(OTHERS, (sysid, scipy_fit, cma_es), strict=True))


def others(model: ArmModel, case: Case, seconds: float) -> dict[str, float]:
    """Return the held-out error [rad] that each other way of fitting reaches in as many seconds."""
    parameters = Parameters([name for stage in STAGES.values() for name in stage])
    problem = Problem(model, parameters, [run_of(r) for r in case.fit])
    measured = np.concatenate([np.stack([r.position, r.torque], 1)[compared(run_of(r))] for r in case.fit])
    scale = np.sqrt((measured**2).mean(0)) * np.sqrt(len(measured)) / np.sqrt(2.0)
    unseen = dataclasses.replace(problem, runs=[run_of(case.held_out)])
    errors = {}
    for name, way in WAYS.items():
        judged = Judged(problem, scale, time.perf_counter() + seconds, parameters.nominal.copy())
        with contextlib.suppress(OutOfTime):
            way(judged)
        # As for ours, the offset that suits the fit best is taken out of the held-out motion too.
        offset = problem.raw(judged.best[None])[0, :, 0].mean(0)
        left = unseen.raw(judged.best[None])[0, :, 0] - offset
        errors[name] = float(np.sqrt((left * left).mean()))
    return errors


def worst(cases: Sequence[Case], *names: str) -> float:
    """Return the largest error of some knobs over all cases."""
    return max(case.off(name) for case in cases for name in names)


def contained_figures(cases: Sequence[Case]) -> list[Figure]:
    """Return what is asked where our model has the stand-in's structure."""
    n = f"worst of {len(cases)}"
    held_out = max(case.result.errors["held-out after"] for case in cases)
    return [
        Figure("contained: held-out joint error, RMSE", 1e3 * held_out, "mrad", 0.3, n, most=True),
        Figure("contained: held-out error below nominal", min(c.better for c in cases), "x", 50.0, n),
        Figure(
            "contained: gains off", 100 * worst(cases, "arm.stiffness", "arm.servo_damping"), "%", 2.0, n, most=True
        ),
        Figure("contained: Coulomb friction off", 100 * worst(cases, "arm.friction"), "%", 12.0, n, most=True),
        Figure("contained: viscous friction off", 100 * worst(cases, "arm.damping"), "%", 12.0, n, most=True),
        Figure("contained: armature off", 100 * worst(cases, "arm.armature"), "%", None, n),
        Figure("contained: payload off", 100 * worst(cases, "tool.mass"), "%", 1.0, n, most=True),
        Figure("contained: payload's centre off", 1e3 * worst(cases, "tool.center_of_mass"), "mm", None, n),
        Figure("contained: delay off", 1e3 * worst(cases, "arm.latency"), "ms", 1.0, n, most=True),
        Figure("contained: servo filter off", 1e3 * worst(cases, "arm.servo_filter"), "ms", None, n),
        Figure("contained: found to fit", 100 * float(np.mean([c.result.verdict.fits for c in cases])), "%", None, n),
    ]


def richer_figures(cases: Sequence[Case]) -> list[Figure]:
    """Return what is asked where the stand-in has structure that our model lacks."""
    n = f"worst of {len(cases)}"
    held_out = max(case.result.errors["held-out after"] for case in cases)
    covered = [held for case in cases for held in case.covered]
    inside = 100 * float(np.mean(covered))
    refused = 100 * float(np.mean([not c.result.verdict.fits for c in cases]))
    return [
        Figure("richer: held-out joint error, RMSE", 1e3 * held_out, "mrad", None, n),
        Figure("richer: held-out error below nominal", min(c.better for c in cases), "x", 10.0, n),
        Figure("richer: sealed values inside 90 % intervals", inside, "%", 80.0, f"{len(covered)} values"),
        Figure("richer: found not to fit", refused, "%", 100.0, f"{len(cases)} stand-ins"),
    ]  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("identify", "Identification of an arm on sealed stand-ins.").parse_args(words)
    count, seconds = sized(given, 10, 2, 1), sized(given, 8.0, 8.0, 2.5)
    motions, model = all_motions(seconds), ArmModel(arm_named(ARM), vacuum_gripper())
    cases = {
        structure: [identified(model, motions, Sealed.draw(first + k, structure)) for k in range(count)]
        for structure, first in FIRST.items()
    }
    everything = [case for group in cases.values() for case in group]
    figures = contained_figures(cases["contained"]) + richer_figures(cases["richer"])
    clock, processor = max(c.result.seconds for c in everything), max(c.cpu for c in everything)
    figures += [
        Figure("computing, on the clock", clock, "s", 60.0, "slowest of all", most=True),
        Figure("computing, processor time over two cores", processor / 2, "s", 60.0, "blind to others", most=True),
    ]
    compared_with = {}
    for structure, group in cases.items():
        ours = group[0].result.errors["held-out after"]
        budget = sized(given, group[0].result.seconds, group[0].result.seconds, 2.0)
        errors = compared_with[structure] = others(model, group[0], budget)
        for name, error in errors.items():
            told = f"{1e3 * error:.3g} mrad in {budget:.0f} s; ours took {group[0].result.seconds:.0f} s"
            figures.append(Figure(f"{structure}: held-out error below {name}", error / max(ours, 1e-9), "x", 1.0, told))
    details = {
        "motions": [m.describe() for m in motions],
        "others": compared_with,
        "cases": {
            structure: [
                {
                    "seed": c.sealed.seed,
                    "seal": c.sealed.seal(),
                    "errors": dict(c.result.errors),
                    "seconds": c.result.seconds,
                    "cpu": c.cpu,
                    "steps": c.result.steps,
                    "covered": float(np.mean(c.covered)),
                    "fits": c.result.verdict.fits,
                    "off": {name: c.off(name) for name in c.result.knobs if name in c.sealed},
                    "unidentified": c.result.unidentified,
                }
                for c in group
            ]
            for structure, group in cases.items()
        },
    }
    setting = f"{ARM}, {count} stand-ins of each structure (no hardware), {len(EXCITATION)} motions of {seconds:g} s"
    publish("identify", given, figures, f"{setting}, tool speed up to {TCP_SPEED:g} m/s", details)


if __name__ == "__main__":
    main()
