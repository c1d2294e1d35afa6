"""A closed triangle mesh: read from a file, checked, its shells united; its volume, centre of mass and inertia."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assets.asset import Inertia, Vec3, inertia_tuple
from assets.errors import InputError, unknown
from assets.proxies.solids import Faces, Points

UNITS = {"m": 1.0, "mm": 1e-3}
SMALLEST, LARGEST = 1e-3, 5.0  # of the bounding box's longest edge [m]: outside, the unit is most likely wrong


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface without self-intersections.

    Attributes:
        name: for messages and files.
        vertices: [m], (n, 3).
        faces: vertices of each triangle, outward by the right-hand rule, (m, 3).
    """

    name: str
    vertices: Points
    faces: Faces

    def __post_init__(self) -> None:
        object.__setattr__(self, "vertices", np.ascontiguousarray(self.vertices, np.float64))
        object.__setattr__(self, "faces", np.ascontiguousarray(self.faces, np.int32))

    @property
    def size(self) -> Points:
        """Edges of the bounding box [m], (3,)."""
        return np.ptp(self.vertices, axis=0)

    @property
    def diagonal(self) -> float:
        """Diagonal of the bounding box [m]: what the gate's relative measures relate to."""
        return float(np.linalg.norm(self.size))


def load(path: str | Path, unit: str = "m") -> Mesh:
    """Read an STL, OBJ, PLY or GLB file; shells that touch or overlap are united into one surface.

    Args:
        path: the file.
        unit: the file's unit of length, "m" or "mm".

    Raises:
        InputError: the file is missing, holds no mesh, too large a mesh, a surface that is not closed or runs through
            itself, or one whose size says that the unit is wrong.
    """
    from assets.proxies.reading import read
    from assets.proxies.repair import united_surface

    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    path = Path(path)
    vertices, faces = read(path)
    vertices = vertices * UNITS[unit]
    _check_size(path.name, vertices, unit)
    vertices, faces = united_surface(path.name, vertices, faces)
    return Mesh(path.stem, vertices, faces)


def check(mesh: Mesh) -> None:
    """Make sure that a mesh is what `Mesh` says; InputError otherwise."""
    from assets.proxies.repair import check_surface

    if mesh.vertices.ndim != 2 or mesh.vertices.shape[1:] != (3,) or mesh.faces.shape[1:] != (3,):
        raise InputError(
            f"mesh {mesh.name!r}: vertices {mesh.vertices.shape} and faces {mesh.faces.shape} must be (n, 3) and (m, 3)"
        )
    check_surface(mesh.name, mesh.vertices, mesh.faces)


def mass_properties(mesh: Mesh, mass: float) -> tuple[Vec3, Inertia]:
    """Centre of mass [m] and inertia about it, mesh axes (xx, xy, xz, yy, yz, zz) [kg m^2], of a homogeneous solid.

    Raises:
        InputError: the mass is not positive, or the mesh encloses no volume.
    """
    if not (np.isfinite(mass) and mass > 0):
        raise InputError(f"mesh {mesh.name!r}: mass {mass} kg must be positive")
    volume, center, inertia = moments(mesh.vertices, mesh.faces)
    if volume <= 0:
        raise InputError(f"mesh {mesh.name!r} encloses no volume: is it inside out?")
    x, y, z = center.tolist()
    return (x, y, z), inertia_tuple(mass / volume * inertia)


def volume(mesh: Mesh) -> float:
    """Enclosed volume [m^3]."""
    return moments(mesh.vertices, mesh.faces)[0]


def moments(vertices: Points, faces: Faces) -> tuple[float, Points, Points]:
    """Volume [m^3], centre (3,) [m] and inertia about it for unit density, (3, 3) [m^5], of a closed surface.

    The sum over tetrahedra between each triangle and a point (Tonon, J. Math. Stat. 1, 2005, in matrix form).
    """
    origin = vertices.mean(axis=0)  # far from the mesh, the differences would cancel
    corners = vertices[faces] - origin
    sixfold = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    volume = float(sixfold.sum()) / 6
    if volume == 0.0:
        return 0.0, origin, np.zeros((3, 3))
    summed = corners.sum(axis=1)
    center = np.einsum("i,ij->j", sixfold, summed) / (24 * volume)
    second = (
        np.einsum("i,ikj,ikl->jl", sixfold, corners, corners) + np.einsum("i,ij,il->jl", sixfold, summed, summed)
    ) / 120 - volume * np.outer(center, center)
    return volume, origin + center, np.trace(second) * np.eye(3) - second


def _check_size(name: str, vertices: Points, unit: str) -> None:
    longest = float(np.ptp(vertices, axis=0).max(initial=0.0))
    if longest > LARGEST and unit == "m":
        raise InputError(f"{name} is {longest:.4g} m long, which looks like millimetres read as metres: give unit=mm")
    if longest < SMALLEST and unit == "mm":
        raise InputError(
            f"{name} is {longest * 1e3:.3g} mm long, which looks like metres read as millimetres: give unit=m"
        )
    if not SMALLEST <= longest <= LARGEST:
        raise InputError(f"{name} is {longest:.4g} m long with unit={unit}: proxies are made for 1 mm to 5 m")
