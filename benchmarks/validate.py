"""The point of it all: does what was identified on a robot make the work on that robot better, and predict it?

Stand-ins with poor friction and weak suction are identified as `palletlab identify` does it: first the arm, then, with
its gains known, contact and suction, and what some cartons weigh. The palletizing expert's pace is chosen by success
predicted in simulation: once under the calibration, once under the nominal model, each time the fastest of those that
do best. Both choices, and experts of differing quality, then work on the stand-ins, in this process and without
sockets.

Friction between cartons is drawn from just above what the stability test asks for: below a friction of 0.5 no load, by
whomever it is stacked, survives 0.5 g, so that the stand-ins' usual poor friction (0.22 to 0.32) leaves nothing to
choose. What comes of that is printed too.
"""

from __future__ import annotations

import dataclasses
import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from assets.arms import arm_named
from assets.gripper import vacuum_gripper
from benchmarks.common import Figure, arguments, publish, sized, variation_with
from benchmarks.identify import all_motions, identified
from benchmarks.plant_robot import PlantRobot
from sim.knobs import Rows
from sim.variations import Variation, stream
from sim2real.identify.calibration import calibration_of, merged
from sim2real.identify.contact import identify_contact, run_contact
from sim2real.identify.contact_plan import plan_contact
from sim2real.identify.model import ArmModel
from sim2real.sidechannel import CellClient, Places
from sim2real.standin import WHAT
from sim2real.standin.cell import Cell
from sim2real.standin.sealed import Sealed
from sim2real.validate.cell import RobotCell
from sim2real.validate.figures import correlation, over_policies, rank_violation
from sim2real.validate.simulated import run_all, with_cell
from sim2real.validate.trials import Outcome, Trial
from sim2real.validate.work import Work
from tasks.figures import share
from tasks.simulation import Settings, Simulation

ARM = "ur20"
SETTINGS = Settings(slots=4)
# Test cartons: measured and evenly packed. What they really weigh is for the scale to say.
GOODS = {
    "carton.count": 4,
    "carton.mass": {"uniform": [4.0, 8.0]},
    "carton.size_error": 0.0,
    "carton.center_of_mass": 0.0,
}
WEIGHED, SCALE = 4, 0.003  # loads put on the scale; least relative spread of what it says
PACES = ("expert-hasty", "expert-brisk", "expert", "expert-calm", "expert-careful")  # fastest first
OTHERS = ("expert-offcentre", "expert-careless")
POLICIES = PACES + OTHERS
POOR = {"surface.cardboard_cardboard.friction": (0.51, 0.56), "surface.cardboard_wood.friction": (0.51, 0.56)}
INDISTINCT = 0.05  # predicted success that lies so near the best counts as the same
SECONDS = 8.0  # of each motion that identifies the arm
EXPERIMENTS = ("tilt", "pull", "drag", "bend")
SCORED = (*POOR, "suction.max_force", "suction.max_moment[0]", "suction.max_moment[1]", "suction.friction")


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured: stand-ins of either structure, trials of each policy, predictions of each trial."""

    contained: int
    richer: int
    trials: int
    repeats: int


@dataclasses.dataclass(frozen=True)
class Job:
    """One stand-in: the seed it is drawn with, its structure, and how many trials."""

    seed: int
    structure: str
    size: Size


def trials(n: int) -> Rows:
    """Return so many trials under the nominal variation, ready to run."""
    drawn = variation_with("nominal", GOODS).sample(0, np.arange(n))
    return SETTINGS.family.prepare(drawn, SETTINGS.layout, SETTINGS.slots, first_only=True)


def poor(seed: int, structure: str) -> Sealed:
    """Return a stand-in with weak suction, and cartons about as slippery as a load may have them."""
    drawn = Sealed.draw(seed, structure, weak=True)
    values = {name: stream(seed, 0, name).uniform(low, high, 1) for name, (low, high) in POOR.items()}
    return Sealed(seed, structure, {**drawn, **values})


def calibrated(sealed: Sealed, rows: Rows) -> tuple[Variation, dict[str, float]]:
    """Identify a stand-in: what was found as a variation, the goods being the trials', and its errors by knob."""
    robot = PlantRobot(Cell(ARM, sealed))
    joints = identified(ArmModel(arm_named(ARM), vacuum_gripper()), all_motions(SECONDS), sealed).result
    plan = plan_contact(ARM, robot.limits, Places(), EXPERIMENTS, stiffness=joints.knobs["arm.stiffness"])
    result = identify_contact(run_contact(plan, robot, CellClient(robot.cell.ask)), plan, ARM)
    errors = {}
    for label, estimate in result.estimates.items():
        name, _, index = label.partition("[")
        errors[label] = abs(estimate.value / float(sealed[name][int(index[:-1]) if index else 0]) - 1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calibration.yaml"
        merged(calibration_of(joints, []), result.calibration(ARM, WHAT)).write(path)
        found = {"carton.mass_error": weighed(robot, rows), "calibration": str(path)}
        return variation_with("nominal", {**GOODS, **found}), errors


def weighed(robot: PlantRobot, rows: Rows) -> dict[str, Any]:
    """Put some loads on the scale; return how their masses differ from the papers, as a distribution."""
    client, errors = CellClient(robot.cell.ask), []
    for k in range(min(WEIGHED, len(rows))):
        load = Work(robot, client, SETTINGS.layout, rows.take([k]))
        load.lay_out()
        errors += [client.weigh(j) / load.load.mass[j] - 1.0 for j in range(load.count)]
    mean, spread = float(np.mean(errors)), max(float(np.std(errors)), SCALE)
    return {"truncnormal": {"mean": mean, "std": spread, "low": -0.3, "high": 0.3}}


def predicted(rows: Rows, variation: Variation, repeats: int) -> dict[str, np.ndarray]:
    """Return each policy's success in simulation (n,), a share of `repeats` cells drawn from the variation."""
    simulation = Simulation(SETTINGS, min(6, len(rows)), nthread=1)
    variation = Variation(variation.name, SETTINGS.knobs, variation.distributions, variation.calibrations)
    cells = [with_cell(rows, variation, 1_000_003 * r) for r in range(1, repeats + 1)]
    found: dict[str, np.ndarray] = {}
    for policy in POLICIES:
        each = [dict(run_all(simulation, policy, cell)) for cell in cells]
        found[policy] = np.mean([[outcomes[k].success for k in range(len(rows))] for outcomes in each], axis=0)
    return found


def chosen(prediction: dict[str, np.ndarray]) -> str:
    """Return the fastest of the paces whose predicted success is as good as the best."""
    best = max(prediction[pace].mean() for pace in PACES)
    return next(pace for pace in PACES if prediction[pace].mean() >= best - INDISTINCT)


def robot_cell(sealed: Sealed, rows: Rows) -> RobotCell:
    """Return a stand-in's cell, ready for trials."""
    cell = Cell(ARM, sealed)
    return RobotCell(PlantRobot(cell), CellClient(cell.ask), SETTINGS, rows, WHAT)


def on_stand_in(job: Job) -> dict[str, Any]:
    """Identify one stand-in, predict, and run all trials of all policies on it."""
    rows, sealed = trials(job.size.trials), poor(job.seed, job.structure)
    began = time.monotonic()
    variation, errors = calibrated(sealed, rows)
    seconds = time.monotonic() - began
    prediction = predicted(rows, variation, job.size.repeats)
    real: dict[str, list[Outcome]] = {}
    for policy in POLICIES:
        robot = robot_cell(sealed, rows)
        real[policy] = [robot.run(Trial(k, "", policy, k)) for k in range(len(rows))]
    return {
        "seed": job.seed,
        "structure": job.structure,
        "identifying": seconds,
        "errors": errors,
        "chosen": chosen(prediction),
        "predicted": prediction,
        "real": {p: np.array([o.success for o in outcomes], float) for p, outcomes in real.items()},
        "seconds": {p: float(np.mean([o.seconds for o in outcomes])) for p, outcomes in real.items()},
    }


def as_drawn(n: int) -> int:
    """Return how many of `n` loads survive on a stand-in with the usual poor friction, stacked with all care."""
    robot = robot_cell(Sealed.draw(0, "contained", weak=True), trials(n))
    return sum(robot.run(Trial(k, "", "expert-careful", k)).success for k in range(n))


def gain(found: Sequence[dict[str, Any]], nominal: str) -> Figure:
    """Return the chance that the paces chosen under the calibrations succeed more often than the nominal choice.

    From a bootstrap over trials, each with what it came to on every stand-in; ties count half.
    """
    difference = np.stack([f["real"][f["chosen"]] - f["real"][nominal] for f in found]).mean(axis=0)
    rng = stream(0, 0, "gain")
    means = np.array([difference[rng.integers(len(difference), size=len(difference))].mean() for _ in range(2000)])
    chance = float((means > 0).mean() + (means == 0).mean() / 2)
    low, high = 100 * np.quantile(means, [0.025, 0.975])
    told = f"{nominal}, tuned on the nominal model: {100 * difference.mean():+.0f} points ({low:+.0f} … {high:+.0f})"
    return Figure("chance that the calibration's choice succeeds more often", chance, "of 1", 0.95, told)


def success(name: str, outcomes: Sequence[np.ndarray], baseline: str) -> Figure:
    """Return a share of successes with its exact 95 % interval (Clopper-Pearson)."""
    every = np.concatenate(outcomes)
    said = share(int(every.sum()), len(every))
    return Figure(name, float(said["value"]), "of 1", None, baseline, low=said["low"], high=said["high"])


def ranked(name: str, real: np.ndarray, prediction: np.ndarray, bar: float | None, baseline: str) -> Figure:
    """Return Pearson's r with its bootstrap interval; 0 where all do equally well, on one side or the other."""
    r = over_policies(correlation, real, prediction)
    return Figure(name, r["value"] or 0.0, "r", bar, baseline, low=r["low"], high=r["high"])


def figures_of(found: Sequence[dict[str, Any]], nominal: dict[str, np.ndarray], drawn: tuple[int, int]) -> list[Figure]:
    """Return what was measured, a line each."""
    blind = chosen(nominal)
    choices = ", ".join(f"{f['chosen'].removeprefix('expert-')}" for f in found)
    lines = [
        gain(found, blind),
        success("success, tuned on the calibration", [f["real"][f["chosen"]] for f in found], f"chosen: {choices}"),
        success("success, tuned on the nominal model", [f["real"][blind] for f in found], f"chosen: {blind}"),
        success("success, the expert as it is", [f["real"]["expert"] for f in found], ""),
    ]
    real = np.stack([f["real"][p] for f in found for p in POLICIES])
    prediction = np.stack([f["predicted"][p] for f in found for p in POLICIES])
    unaware = np.stack([nominal[p] for _ in found for p in POLICIES])
    pairs = f"{len(POLICIES)} policies on each of {len(found)} stand-ins"
    lines += [
        ranked("predicted with real success", real, prediction, 0.9, pairs),
        ranked("the same, predicted by the nominal model", real, unaware, None, pairs),
    ]
    violation = over_policies(rank_violation, real, prediction)
    lines.append(
        Figure("rank violation (MMRV)", violation["value"], "of 1", None, pairs, low=violation["low"],
               high=violation["high"])
    )  # fmt: skip
    for f in found:
        here, there = (np.stack([f[side][p] for p in POLICIES]) for side in ("real", "predicted"))
        lines.append(
            ranked(f"stand-in {f['seed']}, {f['structure']}: r", here, there, None, f"{len(POLICIES)} policies")
        )
    for name in SCORED:
        errors = [f["errors"][name] for f in found if name in f["errors"]]
        if errors:
            told = f"identified on {len(errors)} of {len(found)}, elsewhere kept at its prior"
            lines.append(Figure(f"identified {name}, mean error", 100 * float(np.mean(errors)), "%", None, told))
    lines.append(Figure("time to identify one", float(np.mean([f["identifying"] for f in found])), "s"))
    low = "friction 0.22 to 0.32: no load so slippery survives 0.5 g"
    lines.append(Figure("success, careful, friction as drawn", drawn[0] / drawn[1], "of 1", None, low))
    return lines


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("validate", "What the calibration of a stand-in is worth to the palletizing expert.")
    given = parser.parse_args(words)
    size = sized(given, Size(4, 2, 20, 2), Size(2, 0, 6, 1), Size(1, 0, 1, 1))
    jobs = [Job(k, "contained", size) for k in range(size.contained)]
    jobs += [Job(100 + k, "richer", size) for k in range(size.richer)]
    few = max(size.trials // 4, 1)
    found: list[dict[str, Any]] = []
    context = mp.get_context("spawn")
    with Progress(transient=True) as bar, ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        line = bar.add_task("stand-ins", total=len(jobs))
        nominal = pool.submit(predicted, trials(size.trials), variation_with("nominal", GOODS), size.repeats)
        drawn = pool.submit(as_drawn, few)
        for done in as_completed([pool.submit(on_stand_in, job) for job in jobs]):
            found.append(done.result())
            bar.advance(line)
    found.sort(key=lambda f: f["seed"])
    figures = figures_of(found, nominal.result(), (drawn.result(), few))
    setting = f"{len(jobs)} stand-ins (not hardware), {size.trials} trials of each policy, 4 cartons of 4 to 8 kg"
    details = [f | {side: {p: v.tolist() for p, v in f[side].items()} for side in ("real", "predicted")} for f in found]
    unaware = {p: v.tolist() for p, v in nominal.result().items()}
    publish("validate", given, figures, setting, {"stand-ins": details, "nominal": unaware})


if __name__ == "__main__":
    main()
