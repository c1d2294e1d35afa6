"""`palletlab proxy`: meshes become assets with a collision proxy that passed the gate, and a page shows both."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from assets.errors import InputError
from assets.proxies.files import ProxyAsset, asset_of, check_names, write_asset
from assets.proxies.gate import Limits, Region
from assets.proxies.mesh import load, volume
from assets.proxies.proxy import make_proxy
from palletlab import config as settings
from palletlab.proxy_page import Shown, proxy_page
from palletlab.proxy_scene import pictures, step_cost
from palletlab.run_folder import run_folder, write_result


def run(arguments: list[str]) -> int:
    """Make the proxies, write assets and page."""
    files = [Path(a) for a in arguments if "=" not in a]
    config = settings.load("proxy", [_added(a) for a in arguments if "=" in a])
    config.pop("variation_name")
    config.meshes = [str(f) for f in files]
    if not files:
        raise InputError("proxy wants a mesh: palletlab proxy part.stl")
    twice = sorted({f.stem for f in files if sum(other.stem == f.stem for other in files) > 1})
    if twice:
        raise InputError(f"two meshes are named {twice[0]!r}, and so would their folders be: rename one")
    limits, regions = _limits(config), _regions(config)
    check_names(str(config.surface), str(config.look))
    if regions and len(files) > 1:
        raise InputError(f"regions belong to one mesh, {len(files)} were given: run palletlab proxy for each")
    console, shown = Console(), []
    with run_folder("proxy", config) as folder:
        for file in files:
            with console.status(f"{file.name}: cutting and measuring"):
                asset = _asset(file, config, regions, limits)
            with console.status(f"{file.name}: rendering and timing"):
                shown.append(Shown(asset, pictures(asset) if config.render else {}, step_cost(asset)))
            write_asset(folder / asset.mesh.name, asset)
        proxy_page(folder / "proxy.html", shown)
        write_result(folder, {"proxies": {s.asset.mesh.name: _figures(s) for s in shown}})
    for entry in shown:
        hulls, cost = entry.asset.proxy.hulls, entry.cost
        console.print(
            f"{entry.asset.mesh.name}: the gate passes with {len(hulls)} {'piece' if len(hulls) == 1 else 'pieces'}, "
            f"{sum(len(h) for h in hulls)} corners; {cost.proxy:.0f} µs a step (one hull {cost.hull:.0f})",
            highlight=False,
        )
    console.print(f"{folder / 'proxy.html'}", highlight=False, soft_wrap=True)
    console.print(str(folder), highlight=False, soft_wrap=True)
    return 0


def _added(argument: str) -> str:
    """Regions have names of the user's own: to Hydra, they are new settings."""
    return f"+{argument}" if argument.startswith("regions.") else argument


def _asset(file: Path, config: DictConfig, regions: tuple[Region, ...], limits: Limits) -> ProxyAsset:
    mesh = load(file, str(config.unit))
    mass = _positive(config, "density") * volume(mesh) if config.mass is None else _positive(config, "mass")
    proxy = make_proxy(mesh, regions, limits, _positive(config, "seconds"))
    return asset_of(file, mesh, proxy, mass, str(config.surface), str(config.look), regions)


def _positive(config: DictConfig, key: str) -> float:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{key} = {value} must be a positive number")
    return float(value)


def _limits(config: DictConfig) -> Limits:
    return Limits(**{str(k): v for k, v in config.limits.items()})


def _regions(config: DictConfig) -> tuple[Region, ...]:
    """The regions in the settings, e.g. `{bore: {cylinder: [0.009, 0.02], position: [0, 0, 0.01]}}`."""
    says = OmegaConf.to_container(config.regions)
    assert isinstance(says, dict)
    return tuple(_region(str(name), given) for name, given in says.items())


def _region(name: str, given: Any) -> Region:
    shapes = {"box", "cylinder"}
    right = (
        "it is written {box: [half x, half y, half z]} or {cylinder: [radius, half length]}, with position: [x, y, z]"
    )
    if not isinstance(given, dict) or len(shapes & set(given)) != 1 or set(given) - shapes - {"position", "quaternion"}:
        raise InputError(f"regions.{name} = {given}: {right}")
    (kind,) = shapes & set(given)
    numbers = {key: _numbers(value) for key, value in given.items()}
    if any(len(n) != {"position": 3, "quaternion": 4}.get(key, len(n)) or not n for key, n in numbers.items()):
        raise InputError(f"regions.{name} = {given}: {right}")
    x, y, z = numbers.get("position", (0.0, 0.0, 0.0))
    w, i, j, k = numbers.get("quaternion", (1.0, 0.0, 0.0, 0.0))
    return Region(name, kind, numbers[kind], (x, y, z), (w, i, j, k))


def _numbers(value: Any) -> tuple[float, ...]:
    """A list of numbers; empty if it is none."""
    if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in value):
        return ()
    return tuple(float(v) for v in value)


def _figures(shown: Shown) -> dict[str, Any]:
    asset = shown.asset
    return {
        "pieces": len(asset.proxy.hulls),
        "corners": sum(len(h) for h in asset.proxy.hulls),
        "threshold": asset.proxy.threshold,
        "mass": asset.mass,
        "gate": asset.proxy.report.to_dict(),
        "step_us": round(shown.cost.proxy, 1),
        "step_us_one_hull": round(shown.cost.hull, 1),
    }
