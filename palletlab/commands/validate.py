"""`palletlab validate`: the same trials in simulation and on a robot, side by side; resume an interrupted session."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from assets.errors import InputError, unknown
from palletlab import config as settings
from palletlab.robots import chosen_robot
from palletlab.run_folder import run_folder, write_result
from palletlab.validation_page import validation_page
from sim.knobs import Rows
from sim.variations import Variation
from sim2real.validate.cell import cell_of
from sim2real.validate.conclusion import conclude
from sim2real.validate.session import Plan, Session
from sim2real.validate.trials import Outcome, Trial
from tasks.durable import write_file
from tasks.simulation import Settings

CALIBRATION = "calibration.yaml"  # the session's own copy
VARIANTS = "variants.parquet"
PAGE = "validation.html"


def run(arguments: list[str]) -> int:
    """Hold a session, or go on with one."""
    if "--resume" in arguments:
        folder, config = _resumed([a for a in arguments if a != "--resume"])
        scene = settings.settings_of(config)
        return _hold(config, scene, Rows.from_parquet(folder / VARIANTS, scene.knobs), folder)
    config = _load(arguments)
    scene = settings.settings_of(config)
    with Console().status("drawing and planning"):
        rows = _rows(config, scene)
    _plan(config, scene, rows).check()
    # A robot that does not answer is told before the minutes that predicting takes.
    _cell(config, scene, rows).close()
    with run_folder("validate", config) as folder:
        if "calibration" in config.variation:
            write_file(folder / CALIBRATION, Path(config.variation.calibration).read_bytes())
        rows.to_parquet(folder / VARIANTS)
    return _hold(config, scene, rows, folder)


def _hold(config: DictConfig, scene: Settings, rows: Rows, folder: Path) -> int:
    """Predict, run the trials that are left, and say what follows."""
    session = Session(_plan(config, scene, rows), folder)
    workers = settings.cores() if config.workers is None else settings.whole(config, "workers", 1)
    console = Console()
    try:
        with _bar(console) as bar:
            line = bar.add_task("predicting", total=None)
            session.predict(workers, lambda done, total: bar.update(line, completed=done, total=total))
        cell = _cell(config, scene, rows)
        with contextlib.closing(cell):
            console.print(f"{len(session.trials)} trials on: {cell.what}", highlight=False)
            with _bar(console) as bar:
                line = bar.add_task("on the robot", total=len(session.trials), completed=len(session.outcomes))

                def ended(trial: Trial, outcome: Outcome) -> None:
                    said = "success" if outcome.success else "; ".join(outcome.reasons)
                    bar.console.print(f"  trial {trial.number + 1}, code {trial.code}: {said}", highlight=False)
                    bar.update(line, completed=len(session.outcomes))

                session.run(cell, lambda prompt: _ask(bar, prompt), ended)
            result = _told(session, cell.what, folder)
    except (InputError, KeyboardInterrupt) as error:
        kept = f"{len(session.outcomes)} of {len(session.trials)} trials are kept"
        goes_on = f"{kept}, `palletlab validate --resume {folder}` goes on"
        if isinstance(error, KeyboardInterrupt):
            print(f"palletlab: interrupted; {goes_on}", file=sys.stderr)
            return 130
        raise InputError(f"{error}; {goes_on}") from None
    _say(console, result)
    print(folder / PAGE)
    print(folder)
    return 0


def _told(session: Session, what: str, folder: Path) -> dict[str, Any]:
    result = conclude(session, what)
    write_result(folder, result)
    validation_page(result, folder / PAGE)
    return result


def _ask(bar: Progress, prompt: str) -> None:
    bar.stop()
    bar.console.print(prompt, highlight=False)
    bar.console.input("Done? Press Enter.")
    bar.start()


def _bar(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns, console=console)


# ---- settings --------------------------------------------------------------------------------------------------------


def _load(arguments: list[str]) -> DictConfig:
    """Compose the settings; `robot=` and `robot.*` are those of what the trials run on.

    Where the arm stands (`robot.base_height`, ...) belongs to the task's layout.
    """
    robot, rest = chosen_robot(arguments, "sim", others=_layout_fields().__contains__)
    config = settings.load("validate", [*rest, f"robot={robot['arm']}"])
    config.on = robot
    if config.task.name != "palletizing":
        raise InputError(f"validation runs the task palletizing, not {config.task.name}")
    if config.order is not None or config.plan is not None:
        raise InputError("validate draws its loads from a variation: it takes neither order= nor plan=")
    return config


def _layout_fields() -> set[str]:
    return {field.name for field in dataclasses.fields(Settings().layout)} - {"robot"}


def _resumed(arguments: list[str]) -> tuple[Path, DictConfig]:
    """Return the folder of a session and its settings; those of the robot (`robot.*`) may be given anew."""
    folders = [a for a in arguments if "=" not in a]
    own = [a.removeprefix("robot.") for a in arguments if "=" in a]
    if len(folders) != 1 or any(not a.startswith("robot.") for a in arguments if "=" in a):
        raise InputError("--resume wants the folder of a session, and takes robot.* besides; see validate --help")
    folder = Path(folders[0])
    if not (folder / "config.yaml").is_file() or not (folder / VARIANTS).is_file():
        raise InputError(f"{folder} holds no session of `palletlab validate`: config.yaml or {VARIANTS} is missing")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    if "calibration" in config.variation:
        config.variation.calibration = str(folder / CALIBRATION)
    if own:
        config.on = OmegaConf.merge(config.on, OmegaConf.from_dotlist(own))
    return folder, config


def _variation(config: DictConfig, slots: int) -> Variation:
    """Return what trials and predictions are drawn from, for so many cartons.

    A calibration says nothing of the goods: these, and all that it does not name, come from the variation `goods`.
    """
    known = settings.options("variation", "palletizing")
    if config.goods not in known:
        raise unknown("variation of palletizing", str(config.goods), known)
    given = OmegaConf.to_container(config.variation)
    assert isinstance(given, dict)
    says: dict[str, Any] = {str(k): v for k, v in given.items()}
    if "calibration" in says:
        says = (yaml.safe_load(known[config.goods].read_text()) or {}) | says
    if config.cartons is not None:
        cartons = OmegaConf.to_container(config.cartons) if OmegaConf.is_config(config.cartons) else config.cartons
        says = says | {"carton": dict(says.get("carton") or {}) | {"count": cartons}}
    return Variation.parse(str(config.variation_name), says, Settings(slots=slots).knobs)


def _rows(config: DictConfig, scene: Settings) -> Rows:
    """Return the trials' variants, ready to run: the first pallet of each load that is drawn."""
    task = scene.family
    count, seed = settings.whole(config, "count", 1), settings.whole(config, "seed", 0)
    drawn = _variation(config, max(scene.slots, task.least_drawn)).sample(seed, range(count))
    return task.prepare(drawn, scene.layout, scene.slots, first_only=True)


def _plan(config: DictConfig, scene: Settings, rows: Rows) -> Plan:
    return Plan(
        settings=scene,
        policies=tuple(str(name) for name in config.policies),
        rows=rows,
        variation=_variation(config, scene.slots),
        seed=settings.whole(config, "seed", 0),
        repeats=settings.whole(config, "repeats", 1),
        margin=_number(config, "margin"),
        stop_early=bool(config.stop_early),
    )


def _number(config: DictConfig, key: str) -> float:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{key} = {value} must be a number")
    return float(value)


def _cell(config: DictConfig, scene: Settings, rows: Rows) -> Any:
    robot = OmegaConf.to_container(config.on)
    assert isinstance(robot, Mapping)
    seed = settings.whole(config, "seed", 0)
    return cell_of({str(k): v for k, v in robot.items()}, scene, rows, _variation(config, scene.slots), seed)


# ---- what is printed -------------------------------------------------------------------------------------------------


def _say(console: Console, result: Mapping[str, Any]) -> None:
    table = Table(box=None, title=f"{result['trials']} trials, {result['robot']}", title_justify="left")
    for column in ("policy", "on the robot", "95 % from", "to", "predicted", "to within the margin"):
        table.add_column(column)
    for policy in result["policies"]:
        shown = [_percent(policy["real"][k]) for k in ("value", "low", "high")]
        table.add_row(policy["name"], *shown, _percent(policy["predicted"]["value"]), policy["decision"])
    console.print(table)
    for sentence in result["verdict"]:
        console.print(sentence, highlight=False)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
