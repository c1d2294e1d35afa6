"""The page of `palletlab proxy`: meshes beside their proxies, the gate's measures with their limits, a step's cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.proxies.files import ProxyAsset
from assets.proxies.gate import Measure
from palletlab.media import png_bytes
from palletlab.page import Cell, Page, picture, table, tiles
from palletlab.proxy_scene import BODIES, Cost

THREE = "grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr))"  # pictures side by side


@dataclass(frozen=True)
class Shown:
    """One section of the page: an asset, its pictures by caption (none where nothing was rendered), its cost."""

    asset: ProxyAsset
    pictures: Mapping[str, NDArray[np.uint8]]
    cost: Cost


def proxy_page(path: Path, shown: Sequence[Shown]) -> None:
    """Write the page."""
    names = ", ".join(s.asset.mesh.name for s in shown)
    page = Page("Collision proxies", f"{names}: what physics collides, and what it gets wrong about what is seen")
    for entry in shown:
        page.section(entry.asset.mesh.name, *_section(entry), note=_origin(entry.asset))
    page.write(path)


def _origin(asset: ProxyAsset) -> str:
    x, y, z = 1e3 * asset.mesh.size
    return (
        f"{asset.source}, {x:.0f} x {y:.0f} x {z:.0f} mm, {asset.mass:.3g} kg, {asset.surface}. "
        f"{'One hull is enough.' if asset.proxy.threshold is None else f'Cut at threshold {asset.proxy.threshold:g}.'}"
    )


def _section(entry: Shown) -> list[str]:
    asset, cost = entry.asset, entry.cost
    hulls = asset.proxy.hulls
    figures = [
        ("pieces", str(len(hulls)), f"{sum(len(h) for h in hulls)} corners in all"),
        ("step", f"{cost.proxy:.0f} µs", f"{BODIES} bodies falling into a pile"),
        ("step with one hull", f"{cost.hull:.0f} µs", f"the proxy takes {cost.proxy / cost.hull:.1f} times that"),
        ("tightest limit", f"{100 * _tightest(asset).excess:.0f} %", f"{_tightest(asset).says}: part of it used up"),
    ]
    seen = "".join(
        f"<div>{picture(png_bytes(image), caption)}<figcaption>{caption}</figcaption></div>"
        for caption, image in entry.pictures.items()
    )
    measures = asset.proxy.report.measures
    gate = table(
        [("measure", ""), ("value", ""), ("limit", ""), ("", "")],
        [_row(m) for m in measures],
        kinds=["" if m.ok else "bad" for m in measures],
    )
    parts = [tiles(figures)]
    if seen:
        parts.append(f'<div class="card"><div class="grid" style="{THREE}">{seen}</div></div>')
    parts.append(f'<div class="card"><h3>The gate</h3>{gate}</div>')
    return parts


def _row(measure: Measure) -> list[Cell | str]:
    word = "at least " if measure.name == "thinnest" else "at most "
    badge = f'<span class="badge {"good" if measure.ok else "bad"}">{"holds" if measure.ok else "broken"}</span>'
    return [
        measure.says,
        Cell(measure.text(measure.value), measure.value),
        Cell(word + measure.text(measure.limit), measure.limit),
        Cell(badge, float(measure.ok)),
    ]


def _tightest(asset: ProxyAsset) -> Measure:
    """The measure nearest to its limit; the number of pieces is a cost, not an error."""
    return max((m for m in asset.proxy.report.measures if m.name not in ("hulls", "vertices")), key=lambda m: m.excess)
