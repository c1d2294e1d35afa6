"""Settings: Hydra composes conf/<command>.yaml with the overrides; here they become the project's own objects."""

from __future__ import annotations

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
from sim.knobs import Knobs, Rows
from sim.variations import Variation
from tasks.packing.orders import Order, read_orders
from tasks.packing.plans import Plan
from tasks.palletizing.cell import Layout
from tasks.palletizing.variants import Planner, palletizing_knobs, plan_rows, rows_of_order
from tasks.simulation import Settings

CONF = CHECKOUT / "conf"
GROUPS = ("robot", "task", "variation")


def load(command: str, arguments: list[str]) -> DictConfig:
    """Compose the settings of a command from its overrides.

    `variation=FILE.yaml` takes a variation (or a calibration) of one's own. `variation.<knob>=...` replaces what the
    variation says about a knob, e.g. `variation.carton.count={uniform:[3,5]}`.

    Raises:
        InputError: an unknown setting, group or value; the message names the nearest ones.
    """
    plain, knobs, file, name = [], [], None, "nominal"
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise InputError(
                f"{argument!r} is no setting; settings are written key=value, see palletlab {command} --help"
            )
        if key.startswith("variation."):
            knobs.append(argument)
        elif key == "variation" and value.endswith((".yaml", ".yml")):
            file = Path(value)
        else:
            if key in GROUPS:
                _check_option(key, value)
                name = value if key == "variation" else name
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
        raise InputError(_explain(command, error)) from None
    return config


def _check_option(group: str, value: str) -> None:
    known = sorted(p.stem for p in (CONF / group).glob("*.yaml"))
    if value not in known:
        raise unknown(group, value, known)


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


def _explain(command: str, error: Exception) -> str:
    """Hydra's complaint in one line, with the nearest settings where a name is wrong."""
    key = str(getattr(error, "full_key", "") or getattr(error.__cause__, "full_key", "") or "")
    if key:
        with initialize_config_dir(str(CONF), version_base=None):
            known = _keys(OmegaConf.to_container(compose(command)), "")
        near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"see palletlab {command} --help"
        return f"unknown setting {key!r} of {command}: {hint}"
    return str(error).splitlines()[0]


def _keys(values: Any, prefix: str) -> list[str]:
    if not isinstance(values, dict):
        return [prefix.rstrip(".")]
    return [key for name, value in values.items() for key in _keys(value, f"{prefix}{name}.")]


# ---- from settings to objects ---------------------------------------------------------------------------------------


def layout_of(config: DictConfig) -> Layout:
    """Return the cell's layout."""
    try:
        values = {k: (str(v) if k == "robot" else float(v)) for k, v in config.robot.items()}
        layout = Layout(**values)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError) as error:
        raise InputError(f"robot: {error}") from None
    layout.check()
    return layout


def settings_of(config: DictConfig, slots: int) -> Settings:
    """Return what is simulated, with `slots` cartons."""
    rendering = bool(config.get("render", False))
    cameras = tuple(str(c) for c in config.cameras) if rendering else ()
    size = whole(config, "image_size", 1) if "image_size" in config else Settings.image_size
    return Settings(layout_of(config), slots, cameras, size)


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


def rows_of(config: DictConfig) -> tuple[Rows, Order | None, Plan | None]:
    """Draw and plan the rows that the settings describe; with an order, return it and its plan too."""
    layout, slots = layout_of(config), whole(config, "task.slots", 1)
    seed, count, planner = whole(config, "seed", 0), whole(config, "count", 1), Planner(layout)
    if config.order is None:
        if config.plan is not None:
            raise InputError("plan= follows the plan of an order: give order= too")
        rows = variation_of(config, palletizing_knobs(max(slots, MOST_CARTONS))).sample(seed, range(count))
        return plan_rows(rows, planner, slots), None, None
    order = order_of(config)
    planner.check(order)
    plan = plan_of(config, order, planner)
    slots = max(len(p) for p in plan.pallets)
    variation = variation_of(config, palletizing_knobs(len(order.cartons)))
    return rows_of_order(order, plan, variation, seed, count, slots), order, plan


MOST_CARTONS = 24  # a drawn order may hold more cartons than one pallet takes


def order_of(config: DictConfig) -> Order:
    """Return the order that the settings name."""
    path = Path(config.order)
    if not path.exists() and (CHECKOUT / path).exists():
        path = CHECKOUT / path  # the bundled examples, from any folder
    orders = read_orders(path)
    name = config.order_name
    if name is None:
        if len(orders) > 1:
            raise InputError(
                f"{path} holds {len(orders)} orders: choose with order_name={' or '.join(list(orders)[:5])}"
            )
        return next(iter(orders.values()))
    if str(name) not in orders:
        raise unknown("order", str(name), orders)
    return orders[str(name)]


def plan_of(config: DictConfig, order: Order, planner: Planner) -> Plan:
    """Return the plan of an order: our own, or the given one as far as this cell can follow it."""
    if config.plan is None:
        return planner.plan(order)
    from tasks.packing.benchmark_plans import read_bedbpp_plans

    plans = read_bedbpp_plans(Path(config.plan))
    if order.name not in plans:
        raise unknown("plan of order", order.name, plans)
    followed = planner.follow(plans[order.name], order)
    for carton, reason in followed.moved:
        print(f"carton {carton + 1} goes to a further pallet: {reason}")
    return followed.plan


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def required(config: DictConfig, key: str, complaint: str) -> str:
    """Return a setting that has no default, or raise InputError with `complaint`."""
    if OmegaConf.is_missing(config, key) or config[key] is None:
        raise InputError(complaint)
    return str(config[key])
