"""Identification of contact on sealed stand-ins (not hardware): how near it comes, how honest its intervals are.

Stand-ins of both structures are drawn, tilted, dropped, pushed and torn through the `Robot` protocol and the side
channel, in this process and faster than real time; only then what was sealed is compared with what was found. The arm's
own knobs are taken at their nominal values, as if no stage before had been run.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.plant_robot import PlantRobot
from sim2real.identify.contact import ContactResult, identify_contact, plan_contact, run_contact
from sim2real.identify.contact_plan import KINDS
from sim2real.limits import Limits
from sim2real.recording import Recording
from sim2real.robot import RATE
from sim2real.rtde import SafetyBit
from sim2real.settings import ArmSettings
from sim2real.sidechannel import CellClient, Places
from sim2real.standin.cell import Cell
from sim2real.standin.sealed import Sealed

ARM = "ur20"
BOX = ((-2.2, -2.2, -0.75), (2.2, 2.2, 2.6))  # [m] workspace in the base frame: down to the floor
# The method was made, and its intervals' floors were set, on lower seeds: these had not been looked at.
FIRST_SEED = 100
FRICTION_BAR, COVERAGE_BAR = 5.0, 80.0  # [%]


class MeasuredRobot(PlantRobot):
    """A stand-in's arm in this process that also plays and records motions."""

    def __init__(self, cell: Cell):
        """Drive the arm of `cell`."""
        super().__init__(cell)
        self.limits: Limits = ArmSettings(arm=self.name, box=BOX).limits()
        self._clock = 0.0

    def play(self, targets: np.ndarray, rate: float = RATE) -> Recording:
        """Run joint targets (k, 6) [rad] and return what was recorded."""
        self.limits.check_path(targets, rate)
        k, plant = len(targets), self.plant
        position, velocity, current, torque, force = np.empty((5, k, 6))
        for i, target in enumerate(targets):
            plant.step(target)
            position[i], velocity[i], current[i] = plant.position, plant.velocity, plant.current
            torque[i], force[i] = plant.torque, plant.tcp_force
        self._servo.reset(targets[-1:], self._ids)
        stamps = self._clock + np.arange(1, k + 1) / rate
        self._clock = float(stamps[-1])
        safety, outputs = np.full(k, int(SafetyBit.NORMAL), np.uint32), np.full(k, plant.outputs, np.uint32)
        return Recording(
            self.source, self.name, rate, stamps, position, velocity, current, torque, force, safety,
            targets, targets, outputs,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Scored:
    """One stand-in: what was found of it, and how far from what was sealed."""

    seed: int
    structure: str
    result: ContactResult
    error: dict[str, float]  # relative
    inside: dict[str, bool]  # whether the 90 % interval holds the truth
    measuring: float  # [s] of the clock
    fitting: float


def score(seed: int, structure: str, kinds: tuple[str, ...] = KINDS) -> Scored:
    """Identify a stand-in, then open the seal."""
    sealed = Sealed.draw(seed, structure)
    robot = MeasuredRobot(Cell(ARM, sealed))
    began = time.perf_counter()
    plan = plan_contact(ARM, robot.limits, Places(), kinds)
    evidence = run_contact(plan, robot, CellClient(robot.cell.ask))  # pyright: ignore[reportArgumentType]
    measured = time.perf_counter()
    result = identify_contact(evidence, plan, ARM)
    done = time.perf_counter()
    error, inside = {}, {}
    for label, estimate in result.estimates.items():
        name, _, index = label.partition("[")
        truth = float(sealed[name][int(index[:-1]) if index else 0])
        low, high = estimate.interval
        error[label], inside[label] = estimate.value / truth - 1.0, low <= truth <= high
    return Scored(seed, structure, result, error, inside, measured - began, done - measured)


def figures(scores: Sequence[Scored]) -> list[Figure]:
    """Return the table."""
    rows: list[Figure] = []
    for structure in ("contained", "richer"):
        mine = [s for s in scores if s.structure == structure]
        if not mine:
            continue
        contained = structure == "contained"
        friction = [abs(e) for s in mine for label, e in s.error.items() if label.startswith("surface.")]
        bar = FRICTION_BAR if contained else None
        rows.append(
            Figure(
                f"{structure}: friction, greatest error",
                100 * max(friction),
                "%",
                bar,
                f"of {len(mine)} stand-ins",
                most=True,
            )
        )
        for label in dict.fromkeys(label for s in mine for label in s.error):
            errors = 100 * np.array([abs(s.error[label]) for s in mine if label in s.error])
            rows.append(
                Figure(
                    f"{structure}: {label}", float(np.median(errors)), "%",
                    baseline=f"median error; found on {len(errors)} of {len(mine)}", low=0.0, high=float(errors.max()),
                )
            )  # fmt: skip
        covered = [value for s in mine for value in s.inside.values()]
        rows.append(
            Figure(f"{structure}: 90 % intervals that hold the sealed value", 100 * float(np.mean(covered)), "%",
                   None if contained else COVERAGE_BAR, f"{len(covered)} values")
        )  # fmt: skip
        said = [any("model" in note for note in s.result.notes) for s in mine]
        rows.append(
            Figure(f"{structure}: stand-ins of which it says that the model does not fit", float(sum(said)), "",
                   baseline=f"of {len(mine)}")
        )  # fmt: skip
        rows.append(Figure(f"{structure}: measuring", float(np.mean([s.measuring for s in mine])), "s",
                           baseline="of computing, for what takes a robot minutes"))  # fmt: skip
        rows.append(Figure(f"{structure}: fitting", float(np.mean([s.fitting for s in mine])), "s"))
    return rows


def main(arguments_given: Sequence[str] | None = None) -> None:
    """Run it."""
    parser: argparse.ArgumentParser = arguments("contact", "Identification of contact on sealed stand-ins.")
    given = parser.parse_args(arguments_given)
    count = sized(given, 10, 2, 1)
    kinds = ("tilt", "push") if given.tiny else KINDS
    scores = []
    for structure in ("contained", "richer"):
        for seed in range(FIRST_SEED, FIRST_SEED + count):
            scores.append(score(seed, structure, kinds))
            last = scores[-1]
            worst = max(last.error.items(), key=lambda item: abs(item[1]))
            print(
                f"{structure} {seed}: {last.measuring + last.fitting:.0f} s, worst {worst[0]} {100 * worst[1]:+.1f} %"
            )
    details = {
        f"{s.structure} {s.seed}": {
            "error": s.error, "inside": s.inside, "notes": list(s.result.notes),
            "found": {label: [e.value, *e.interval] for label, e in s.result.estimates.items()},
        }
        for s in scores
    }  # fmt: skip
    publish("contact", given, figures(scores), f"{count} stand-ins (not hardware) of each structure, {ARM}", details)


if __name__ == "__main__":
    main()
