"""From a mesh to its collision proxy: the fewest and simplest convex pieces with which the gate passes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.errors import InputError
from assets.proxies import cache
from assets.proxies.decompose import SECONDS, coacd_version, decompose
from assets.proxies.gate import Gate, Limits, Region, Report
from assets.proxies.merging import fewer_corners, fewer_pieces, simpler_pieces, without_thin
from assets.proxies.mesh import Mesh
from assets.proxies.solids import Points, hull_vertices

__all__ = ["Limits", "Proxy", "Region", "Report", "make_proxy"]

THRESHOLDS = (0.2, 0.1, 0.05, 0.02, 0.01)  # of CoACD, coarse to fine
PIPELINE = 1  # to be raised when the same input shall give another proxy: old cache entries then no longer count


@dataclass(frozen=True, eq=False)
class Proxy:
    """A collision proxy that has passed the gate.

    Attributes:
        hulls: corners of each convex piece [m], (k, 3), in the mesh's frame.
        report: the gate's measures.
        threshold: CoACD's, at which the mesh was cut; None: one hull is enough.
    """

    hulls: tuple[Points, ...]
    report: Report
    threshold: float | None


def make_proxy(
    mesh: Mesh, regions: tuple[Region, ...] = (), limits: Limits | None = None, seconds: float = SECONDS
) -> Proxy:
    """Find a proxy for a mesh: one hull if that passes, else decomposed ever finer until the gate passes.

    The first decomposition that passes has its pieces merged and their corners thinned out as long as it still does.
    The result is remembered in `cache`.

    Args:
        mesh: as `mesh.load` gives it.
        regions: what must stay free.
        limits: of the gate; the defaults where None.
        seconds: time limit of each decomposition.

    Raises:
        InputError: a limit that cannot be met, with what was measured at best; or CoACD crashed or took too long.
    """
    limits = Limits() if limits is None else limits
    key = _key(mesh, regions, limits)
    proxy = _from_json(cache.read(key))
    if proxy is None:
        proxy = _search(mesh, regions, limits, seconds)
        cache.write(key, _to_json(proxy))
    return proxy


def _search(mesh: Mesh, regions: Sequence[Region], limits: Limits, seconds: float) -> Proxy:
    gate = Gate(mesh, regions, limits)
    for name, share in gate.blocked_by_mesh().items():
        if share > limits.blocked:
            raise InputError(
                f"{mesh.name}: the mesh itself fills {100 * share:.1f} % of region {name!r}, at most "
                f"{100 * limits.blocked:g} % may be: the region must lie in the opening"
            )
    hulls = [fewer_corners(hull_vertices(mesh.vertices), limits.vertices)]
    tries = [gate.measure(hulls)]
    threshold, trouble = None, ""
    for finer in THRESHOLDS:
        if tries[-1].passed:
            break
        try:
            pieces = decompose(mesh, finer, limits.hulls, limits.vertices, seconds)
        except InputError as error:
            trouble = f"; {error}"
            break
        hulls, threshold = pieces, finer
        tries.append(gate.measure(hulls))
        if not tries[-1]["thinnest"].ok:
            hulls = without_thin(pieces, limits)
            tries.append(gate.measure(hulls))
    if not tries[-1].passed:
        best = min(tries, key=lambda report: report.worst.excess).worst
        name, bound = best.name.split()[0], "at least" if best.name == "thinnest" else "at most"
        raise InputError(
            f"{mesh.name}: no proxy meets limits.{name} ({best.says}): {best.text(best.value)} at best, "
            f"{bound} {best.text(best.limit)} wanted{trouble}"
        )
    hulls = simpler_pieces(gate, fewer_pieces(gate, hulls))
    return Proxy(tuple(hulls), gate.measure(hulls), threshold)


def _key(mesh: Mesh, regions: Sequence[Region], limits: Limits) -> str:
    settings = {"regions": [dataclasses.asdict(r) for r in regions], "limits": dataclasses.asdict(limits)}
    return cache.key(
        f"pipeline {PIPELINE}",
        f"coacd {coacd_version()}",
        f"thresholds {THRESHOLDS}",
        json.dumps(settings, sort_keys=True),
        mesh.vertices.astype("<f8").tobytes(),
        mesh.faces.astype("<i4").tobytes(),
    )


def _to_json(proxy: Proxy) -> dict[str, Any]:
    return {
        "threshold": proxy.threshold,
        "report": proxy.report.to_dict(),
        "hulls": [hull.tolist() for hull in proxy.hulls],
    }


def _from_json(data: dict[str, Any] | None) -> Proxy | None:
    if data is None:
        return None
    hulls = tuple(np.array(hull, np.float64) for hull in data["hulls"])
    return Proxy(hulls, Report.from_dict(data["report"]), data["threshold"])
