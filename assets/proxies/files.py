"""A finished proxy on disk: a folder with `asset.json`, `visual.obj` and a `hull_00.obj` for each piece.

Numbers are written so that they read back bit for bit; `asset.json` is written last, and the folder appears whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.asset import Inertia, Vec3
from assets.errors import InputError, unknown
from assets.looks import look
from assets.materials import SURFACES
from assets.proxies.gate import Region, Report
from assets.proxies.mesh import Mesh, mass_properties
from assets.proxies.proxy import Proxy
from assets.proxies.solids import Faces, Points, arrays_of, hull_of

FORMAT = 1


@dataclass(frozen=True, eq=False)
class ProxyAsset:
    """A mesh with its proxy and what else physics and pictures need.

    Attributes:
        mesh: what is seen; the frame of everything here is the mesh's.
        proxy: what collides.
        mass: [kg].
        center: centre of mass [m].
        inertia: about the centre, mesh axes: xx, xy, xz, yy, yz, zz [kg m^2].
        surface: name in `assets.materials`.
        look: name in `assets.looks`.
        regions: what must stay free.
        source: name of the file that the mesh came from.
        sha256: hash of that file's content.
    """

    mesh: Mesh
    proxy: Proxy
    mass: float
    center: Vec3
    inertia: Inertia
    surface: str
    look: str
    regions: tuple[Region, ...]
    source: str
    sha256: str


def asset_of(
    source: Path,
    mesh: Mesh,
    proxy: Proxy,
    mass: float,
    surface: str = "plastic",
    look_name: str = "grey",
    regions: tuple[Region, ...] = (),
) -> ProxyAsset:
    """The asset of a mesh file, its centre of mass and inertia those of the mesh filled homogeneously.

    Raises:
        InputError: an unknown surface or look, or a mass that is not positive.
    """
    check_names(surface, look_name)
    center, inertia = mass_properties(mesh, mass)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    return ProxyAsset(mesh, proxy, mass, center, inertia, surface, look_name, regions, source.name, sha256)


def check_names(surface: str, look_name: str) -> None:
    """Make sure that there is such a surface and such a look; InputError otherwise."""
    if surface not in SURFACES:
        raise unknown("surface", surface, SURFACES)
    look(look_name)


def write_asset(folder: Path, asset: ProxyAsset) -> None:
    """Write an asset into a new folder, whole or not at all.

    Raises:
        InputError: the folder exists already.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already: remove it, or choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".tmp", dir=folder.parent))
    aside.chmod(0o755)
    try:
        (aside / "visual.obj").write_text(_obj(asset.mesh.vertices, asset.mesh.faces))
        for name, hull in zip(_hull_names(asset.proxy), asset.proxy.hulls, strict=True):
            (aside / name).write_text(_obj(*arrays_of(hull_of(hull))))
        (aside / "asset.json").write_text(json.dumps(_description(asset), indent=1) + "\n")
        os.rename(aside, folder)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def read_asset(folder: Path) -> ProxyAsset:
    """Read what `write_asset` wrote.

    Raises:
        InputError: the folder holds no such asset, or a damaged one.
    """
    try:
        data = json.loads((folder / "asset.json").read_text())
        if data["format"] != FORMAT:
            raise InputError(f"{folder}: the asset has format {data['format']}, this version reads {FORMAT}")
        mesh = Mesh(data["name"], *_read_obj(folder / data["visual"]))
        hulls = tuple(_sorted(_read_obj(folder / name)[0]) for name in data["hulls"])
        return ProxyAsset(
            mesh,
            Proxy(hulls, Report.from_dict(data["gate"]), data["threshold"]),
            data["mass"],
            tuple(data["center"]),
            tuple(data["inertia"]),
            data["surface"],
            data["look"],
            tuple(_region(r) for r in data["regions"]),
            data["source"]["file"],
            data["source"]["sha256"],
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        said = " ".join(str(error).split())[:80]
        raise InputError(f"{folder} holds no readable asset ({type(error).__name__}: {said})") from None


def _description(asset: ProxyAsset) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": asset.mesh.name,
        "source": {"file": asset.source, "sha256": asset.sha256},
        "units": "m, kg, kg m^2; inertia is xx, xy, xz, yy, yz, zz about the centre",
        "mass": asset.mass,
        "center": list(asset.center),
        "inertia": list(asset.inertia),
        "surface": asset.surface,
        "look": asset.look,
        "visual": "visual.obj",
        "hulls": _hull_names(asset.proxy),
        "threshold": asset.proxy.threshold,
        "regions": [asdict(r) for r in asset.regions],
        "gate": asset.proxy.report.to_dict(),
    }


def _region(data: dict[str, Any]) -> Region:
    return Region(data["name"], data["kind"], tuple(data["size"]), tuple(data["position"]), tuple(data["quaternion"]))


def _hull_names(proxy: Proxy) -> list[str]:
    return [f"hull_{i:02d}.obj" for i in range(len(proxy.hulls))]


def _obj(vertices: Points, faces: Faces) -> str:
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]
    return "\n".join(lines) + "\n"


def _read_obj(path: Path) -> tuple[Points, Faces]:
    """Corners and triangles of an OBJ file as written here: nothing but `v` and `f` lines."""
    rows: dict[str, list[list[str]]] = {"v": [], "f": []}
    for line in path.read_text().splitlines():
        kind, *row = line.split()
        rows[kind].append(row)
    return np.array(rows["v"], np.float64).reshape(-1, 3), np.array(rows["f"], np.int32).reshape(-1, 3) - 1


def _sorted(corners: Points) -> Points:
    """As `hull_vertices` sorts them."""
    return corners[np.lexsort(corners.T[::-1])]
