"""Settings: Hydra composes conf/<command>.yaml with the overrides; here they become the project's own objects."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from assets.errors import InputError, unknown
from palletlab.cli import CHECKOUT
from palletlab.orders import Planned, planned_of
from sim.knobs import Knobs, Rows
from sim.variations import Variation
from tasks.families import family
from tasks.simulation import Settings

CONF = CHECKOUT / "conf"
GROUPS = ("task", "robot", "variation")


def load(command: str, arguments: list[str]) -> DictConfig:
    """Compose the settings of a command from its overrides.

    `robot=` and `variation=` choose among those of the task. `variation=FILE.yaml` takes a variation (or a calibration)
    of one's own. `variation.<knob>=...` replaces what the variation says about a knob, e.g.
    `variation.carton.count={uniform:[3,5]}`.

    Raises:
        InputError: an unknown setting, group or value; the message names the nearest ones.
    """
    plain, knobs, file, name = [], [], None, "nominal"
    task = "palletizing"
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(
                f"{argument!r} is no setting; settings are written key=value, see palletlab {command} --help"
            )
        task = value if key == "task" else task
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.startswith("variation."):
            knobs.append(argument)
        elif key == "variation" and value.endswith((".yaml", ".yml")):
            file = Path(value)
        elif key in GROUPS:
            option = value if key == "task" else f"{task}/{value}"
            _check_option(key, option)
            name = value if key == "variation" else name
            plain.append(f"{key}={option}")
        else:
            plain.append(argument)
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            config = compose(command, overrides=plain)
        OmegaConf.set_struct(config, False)
        config.variation_name = name if file is None else file.stem
        if file is not None:
            config.variation = _read_yaml(file)
        for argument in knobs:
            override = OverridesParser.create().parse_override(argument)
            config.variation = _with(
                config.variation, override.key_or_group.removeprefix("variation."), override.value()
            )
    except (HydraException, OmegaConfBaseException) as error:
        chosen = [argument for argument in plain if argument.partition("=")[0] in GROUPS]
        raise InputError(_explain(command, chosen, error)) from None
    return config


def options(group: str, task: str) -> dict[str, Path]:
    """Return the files of a group of settings, by name: the tasks, or a task's robots or variations."""
    folder = CONF / group if group == "task" else CONF / group / task
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _check_option(group: str, option: str) -> None:
    task, _, name = option.rpartition("/")
    known = options(group, task)
    if name not in known:
        raise unknown(f"{group} of {task}" if task else group, name, known)


def _with(variation: Any, knob: str, value: Any) -> Any:
    """The variation with another entry for a knob, however it names the knob."""
    flat = OmegaConf.to_container(variation)
    assert isinstance(flat, dict)
    at, parts = flat, knob.split(".")
    for part in parts[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise InputError(f"variation.{knob}: {part} is a knob, not a group of knobs")
    at[parts[-1]] = value
    return OmegaConf.create(flat)


def _read_yaml(path: Path) -> DictConfig:
    if not path.is_file():
        raise InputError(f"{path}: no such variation file")
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: a variation maps knobs to distributions")
    # A calibration is itself a variation over its knobs.
    return OmegaConf.create({"calibration": str(path)} if "covariance" in data else data)


def _explain(command: str, chosen: list[str], error: Exception) -> str:
    """Hydra's complaint in one line; for a wrong name the nearest settings, those of the `chosen` groups included."""
    key = str(getattr(error, "full_key", "") or getattr(error.__cause__, "full_key", "") or "")
    if key:
        with initialize_config_dir(str(CONF), version_base=None):
            known = _keys(OmegaConf.to_container(compose(command, overrides=chosen)), "")
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"see palletlab {command} --help"
        return f"unknown setting {key!r} of {command}: {hint}"
    return str(error).splitlines()[0]


def _keys(values: Any, prefix: str) -> list[str]:
    if not isinstance(values, dict):
        return [prefix.rstrip(".")]
    return [key for name, value in values.items() for key in _keys(value, f"{prefix}{name}.")]


# ---- from settings to objects ---------------------------------------------------------------------------------------


def settings_of(config: DictConfig, slots: int | None = None) -> Settings:
    """Return what is simulated, with so many slots, or as many as the settings say."""
    task = family(str(config.task.name))
    task.check_stage(stage_of(config))
    kinds = {field.name: type(getattr(task.layout(), field.name)) for field in dataclasses.fields(task.layout)}
    try:
        layout = task.layout(**{str(k): kinds.get(str(k), str)(v) for k, v in config.robot.items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"robot: {error}") from None
    layout.check()
    rendering = bool(config.get("render", False))
    cameras = tuple(str(c) for c in config.cameras) if rendering else ()
    size = Settings.image_size if config.get("image_size") is None else whole(config, "image_size", 1)
    return Settings(task.name, layout, slots or whole(config, "task.slots", 1), cameras, size)


def stage_of(config: DictConfig) -> str | None:
    """Return the one stage of the task that is to be run, or None for all of it."""
    return OmegaConf.select(config, "task.stage")


def whole(config: DictConfig, key: str, least: int) -> int:
    """Return a whole number from the settings, or raise InputError."""
    value = OmegaConf.select(config, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{key} = {value} must be a whole number, {least} or more")
    return value


def variation_of(config: DictConfig, knobs: Knobs) -> Variation:
    """Return the variation, checked against the knobs."""
    says = OmegaConf.to_container(config.variation)
    assert isinstance(says, dict)
    return Variation.parse(str(config.variation_name), {str(k): v for k, v in says.items()}, knobs)


def rows_of(config: DictConfig) -> tuple[Rows, Planned | None]:
    """Return the rows that the settings describe, ready to run; with an order, return it and its plan too."""
    settings = settings_of(config)
    task, layout, slots = settings.family, settings.layout, settings.slots
    seed, count, stage = whole(config, "seed", 0), whole(config, "count", 1), stage_of(config)
    planned = planned_of(config, settings)
    if planned is not None:
        return planned.rows(variation_of(config, task.knobs(len(planned.order.cartons))), seed, count), planned
    drawn = variation_of(config, task.knobs(max(slots, task.least_drawn))).sample(seed, range(count))
    return task.prepare(task.only_stage(drawn, stage), layout, slots), None


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def required(config: DictConfig, key: str, complaint: str) -> str:
    """Return a setting that has no default, or raise InputError with `complaint`."""
    if OmegaConf.is_missing(config, key) or config[key] is None:
        raise InputError(complaint)
    return str(config[key])
