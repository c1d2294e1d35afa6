"""`palletlab identify`: which row of the table of knobs a robot is; from a robot that moves, or from its logs.

Nothing moves unless `move=true` says so: without it, a robot is reached, looked at, and told nothing, and the plan is
shown. A simulated arm has nobody beside it and moves at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from assets.arms import arm_named
from assets.errors import InputError, unknown
from assets.gripper import vacuum_gripper
from palletlab import config as settings
from palletlab.identification_page import elements, identification_page
from palletlab.robots import chosen_robot
from palletlab.run_folder import run_folder, write_result
from sim2real.identify.calibration import CalibrationFile, calibration_of, merged
from sim2real.identify.carrying import carry
from sim2real.identify.excitation import Planned, candidates, plan
from sim2real.identify.joints import STAGES, Result, gather, identify_joints
from sim2real.identify.model import ArmModel
from sim2real.identify.parameters import Parameters
from sim2real.recording import Recording
from sim2real.robot import Robot, robot_named
from tasks.simulation import Settings

CONTACT = "contact"
CALIBRATION, PAGE, LOGS = "calibration.yaml", "identification.html", "logs"


def run(arguments: list[str]) -> int:
    """Identify a robot."""
    robot, rest = chosen_robot(arguments, "ur")
    config = settings.load("identify", rest)
    config.robot = robot
    stages = _stages(config)
    earlier = _earlier(config)
    console = Console()
    if config.log is not None:
        return _from_logs(console, config, stages, earlier)
    return _from_robot(console, config, robot, stages, earlier)


def _stages(config: DictConfig) -> tuple[str, ...]:
    asked = [str(s) for s in ([config.stages] if isinstance(config.stages, str) else config.stages)]
    for stage in asked:
        if stage not in (*STAGES, CONTACT):
            raise unknown("stage of identification", stage, (*STAGES, CONTACT))
    if not asked:
        raise InputError(f"stages names none of {', '.join((*STAGES, CONTACT))}")
    return tuple(asked)


def _earlier(config: DictConfig) -> CalibrationFile | None:
    return None if config.earlier is None else CalibrationFile.read(Path(str(config.earlier)), Settings().knobs)


# ---- from logs -------------------------------------------------------------------------------------------------------


def _from_logs(console: Console, config: DictConfig, stages: Sequence[str], earlier: CalibrationFile | None) -> int:
    paths = [Path(str(p)) for p in ([config.log] if isinstance(config.log, str) else config.log)]
    if CONTACT in stages:
        raise InputError("logs tell nothing of contact: leave it out of stages, or give a robot with a cell")
    if len(paths) < 2:
        raise InputError("log= wants two recordings at least: the last one is held out, to judge the fit by")
    recordings = [Recording.read(path) for path in paths]
    with run_folder("identify", config) as folder:
        with console.status("fitting") as status:
            result = _joints(recordings[:-1], recordings[-1:], stages, earlier, status.update)
        return _finish(console, folder, result, None, calibration_of(result, paths), earlier)


# ---- from a robot ----------------------------------------------------------------------------------------------------


def _from_robot(
    console: Console,
    config: DictConfig,
    chosen: Mapping[str, Any],
    stages: Sequence[str],
    earlier: CalibrationFile | None,
) -> int:
    robot = robot_named(**{str(k): v for k, v in chosen.items()})
    of_arm = [stage for stage in stages if stage in STAGES]
    with console.status("planning"):
        motions, held_out = _motions(robot, config) if of_arm else ([], None)
        contact = _contact_plan(robot, earlier) if CONTACT in stages else None
    for planned in (*motions, *([held_out] if held_out else ())):
        console.print(
            ("held out: " if planned is held_out else "") + planned.describe(), highlight=False, soft_wrap=True
        )
    for line in contact.describe() if contact else ():
        console.print(line, highlight=False, soft_wrap=True)
    robot.connect()
    try:
        console.print(f"connected: {robot.source}", highlight=False, soft_wrap=True)
        if not config.move and chosen["kind"] != "sim":
            console.print(
                "A dry run: nothing has moved. Look at the plan, clear the arm's way, then say move=true.",
                highlight=False,
                soft_wrap=True,
            )
            return 0
        robot.arm()
        with run_folder("identify", config) as folder:
            recordings, paths = _move(console, robot, motions, held_out, folder / LOGS)
            result, evidence = None, None
            if recordings:
                with console.status("fitting") as status:
                    result = _joints(recordings[:-1], recordings[-1:], of_arm, earlier, status.update)
            found = calibration_of(result, paths) if result else None
            if contact:
                contact = _contact_plan(robot, found or earlier)  # bends are cleaner once the gains are known
                evidence, calibration = _contact(console, robot, chosen, contact, found or earlier)
                found = merged(found, calibration) if found else calibration
            assert found is not None
            return _finish(console, folder, result, evidence, found, earlier)
    finally:
        robot.disconnect()


def _motions(robot: Robot, config: DictConfig) -> tuple[list[Planned], Planned]:
    """Return the motions to fit, and the one to judge the fit by."""
    arm, seed = arm_named(robot.name), settings.whole(config, "seed", 0)
    seconds, count = float(config.seconds), settings.whole(config, "motions", 1)
    if not 4.0 <= seconds <= 60.0:
        raise InputError(f"seconds = {seconds:g} must lie in 4 … 60")
    model = ArmModel(arm, vacuum_gripper())
    chosen = plan(model, Parameters([n for names in STAGES.values() for n in names]),
                  candidates(arm, robot.limits, seconds, seed), count)  # fmt: skip
    return chosen, carry(arm, robot.limits, 2 * seconds)


def _move(
    console: Console, robot: Robot, motions: Sequence[Planned], held_out: Planned | None, logs: Path
) -> tuple[list[Recording], list[Path]]:
    """Run the motions and keep each recording; the held-out one comes last."""
    paths: list[Path] = []
    recordings: list[Recording] = []
    for k, planned in enumerate((*motions, *([held_out] if held_out else ()))):
        with console.status(f"moving: {planned.name}"):
            recordings += gather(robot, [planned])
        paths.append(logs / f"{k}-{planned.name.replace(' ', '-')}.mcap")
        paths[-1].parent.mkdir(exist_ok=True)
        recordings[-1].write(paths[-1])
    return recordings, paths


def _joints(
    recordings: Sequence[Recording],
    held_out: Sequence[Recording],
    stages: Sequence[str],
    earlier: CalibrationFile | None,
    says: Any,
) -> Result:
    base = {name: np.asarray(value) for name, value in (earlier.knobs if earlier else {}).items()}
    of_arm = {name for names in STAGES.values() for name in names}
    base = {name: value for name, value in base.items() if name in of_arm}
    return identify_joints(recordings, held_out, stages, base, says=says)


def _contact_plan(robot: Robot, known: CalibrationFile | None) -> Any:
    """Plan the experiments, with the servos' gains as they are known."""
    from sim2real.identify.contact import plan_contact
    from sim2real.sidechannel import Places

    gains = known.knobs.get("arm.stiffness") if known else None
    return plan_contact(robot.name, robot.limits, Places(), stiffness=gains)


def _contact(
    console: Console, robot: Robot, chosen: Mapping[str, Any], contact: Any, known: CalibrationFile | None
) -> tuple[Any, CalibrationFile]:
    """Run the experiments of contact with the cell's side channel; return what came of them."""
    from sim2real.identify.contact import identify_contact, run_contact
    from sim2real.sidechannel import CellClient, SideChannel

    if "host" not in chosen:
        raise InputError("the stage contact wants a cell beside the robot; robot=sim has none")
    with contextlib.closing(SideChannel(str(chosen["host"]))) as channel, console.status("contact") as status:
        evidence = run_contact(contact, robot, CellClient(channel.ask),
                               lambda *words: status.update(" ".join(str(w) for w in words)))  # fmt: skip
    with console.status("fitting contact"):
        means = {name: np.asarray(value) for name, value in (known.knobs if known else {}).items()}
        found = identify_contact(evidence, contact, robot.name, means)
    return found, found.calibration(robot.name, robot.source)


# ---- what is written and printed -------------------------------------------------------------------------------------


def _finish(
    console: Console,
    folder: Path,
    result: Result | None,
    contact: Any,
    found: CalibrationFile,
    earlier: CalibrationFile | None,
) -> int:
    calibration = merged(earlier, found) if earlier else found
    calibration.write(folder / CALIBRATION)
    identification_page(folder / PAGE, calibration, result, contact)
    write_result(folder, _figures(calibration, result))
    _say(console, calibration, result)
    for line in result.next if result else ():
        console.print(f"next: {line}", highlight=False, soft_wrap=True)
    console.print(f"train on it: palletlab rollout variation={folder / CALIBRATION}", highlight=False, soft_wrap=True)
    print(folder / PAGE)
    print(folder)
    return 0


def _figures(calibration: CalibrationFile, result: Result | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "source": calibration.source,
        "robot": calibration.robot,
        "verdict": dict(calibration.verdict),
        "knobs": {name: np.asarray(value).tolist() for name, value in calibration.knobs.items()},
        "held_out": dict(calibration.held_out),
    }
    if result:
        figures |= {"errors": dict(result.errors), "fits": result.verdict.fits, "computing_seconds": result.seconds}
    return figures


def _say(console: Console, calibration: CalibrationFile, result: Result | None) -> None:
    table = Table(box=None, title=f"{calibration.robot}: {calibration.source}", title_justify="left")
    for column in ("knob", "found", "90 % from", "to", ""):
        table.add_column(column)
    for label, value, low, high, _, remark in elements(calibration):
        table.add_row(label, f"{value:.4g}", f"{low:.4g}", f"{high:.4g}", remark)
    console.print(table)
    for words in calibration.verdict.values():
        console.print(words, highlight=False, soft_wrap=True)
    if result:
        e = result.errors
        console.print(
            f"held-out motion: joints {1e3 * e['held-out before']:.2f} mrad off before, "
            f"{1e3 * e['held-out after']:.3f} after; {result.seconds:.0f} s of computing",
            highlight=False,
            soft_wrap=True,
        )
