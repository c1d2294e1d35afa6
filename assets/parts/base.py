"""What a part is, and how a family of parts is added.

A family is one function from a size index to a `Shape`, registered by the decorator `family`. Everything else about a
part (its frame, inertia, samples for grasping) is worked out here, the same way for all.

Example:
    A whole family, in a file that `MODULES` in `assets/parts/__init__.py` names:

        @family("spacer", surface="plastic", look="gripper_accent", density=950)
        def spacer(size: int) -> Shape:
            radius = (0.022, 0.026, 0.030)[size]
            ring = cylinder(radius, 0.02) - cylinder(radius / 2, 0.03)
            pieces = ring_pieces([(radius, -0.01), (radius, 0.01)], [(radius / 2, -0.01), (radius / 2, 0.01)], 6)
            return Shape(ring, pieces, (Region("bore", "cylinder", (0.4 * radius, 0.01)),))
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np

from assets.asset import inertia_matrix, rotation_matrix
from assets.errors import InputError, unknown
from assets.proxies.gate import Limits, Region
from assets.proxies.mesh import Mesh, mass_properties
from assets.proxies.solids import Points, Solid, arrays_of, hull_of, hull_vertices

SIZES = 3  # of every family: small, middle, large
MAX_HULLS = 8  # pieces of a part's collision proxy: a world has as many geoms for every part slot
MAX_VERTICES = 60  # of a piece: what engines on a GPU take
SAMPLES = 256  # points of a part's surface
FREE_FORM = Path(__file__).with_name("free_form.json")  # pieces of parts that nobody can author, see `__main__`


@dataclass(frozen=True, eq=False)
class Part:
    """One shape of the pool. Its frame: origin in the centre of mass, axes along the principal axes of inertia.

    Attributes:
        family: name of its family.
        size: index of its size, 0 .. SIZES - 1.
        visual: what is seen.
        hulls: what collides: vertices of convex pieces [m], each (k, 3).
        regions: volumes that must stay free (bore, cavity, handle), for the gate.
        inertia: principal moments of 1 kg of it [m^2].
        mass: nominal [kg].
        surface: name in `assets.materials`.
        look: name in `assets.looks`.
        points: samples of its surface [m], (SAMPLES, 3).
        normals: outward unit normals there, (SAMPLES, 3).
    """

    family: str
    size: int
    visual: Mesh
    hulls: tuple[Points, ...]
    regions: tuple[Region, ...]
    inertia: tuple[float, float, float]
    mass: float
    surface: str
    look: str
    points: Points
    normals: Points


@dataclass(frozen=True, eq=False)
class Shape:
    """What a family makes of a size, in any frame that is handy [m].

    Attributes:
        solid: what is seen, and what mass and inertia are of.
        pieces: its collision proxy, convex solids; none for a free form: CoACD makes them once, behind the gate, and
            they ship as data (`python -m assets.parts`).
        regions: volumes that must stay free.
    """

    solid: Solid
    pieces: tuple[Solid, ...] = ()
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Family:
    """A family of parts: how to build one, and what it is made of (see `family`)."""

    name: str
    build: Callable[[int], Shape]
    surface: str
    look: str
    density: float
    limits: Limits = field(default_factory=Limits)


REGISTRY: dict[str, Family] = {}


def family(
    name: str, *, surface: str, look: str, density: float, limits: Limits | None = None
) -> Callable[[Callable[[int], Shape]], Callable[[int], Shape]]:
    """Registers the decorated function as a family of parts.

    Args:
        name: of the family.
        surface: name in `assets.materials`.
        look: name in `assets.looks`.
        density: mass of a part per volume of its solid [kg/m^3], hollows that the solid leaves out included.
        limits: the gate's limits, where the defaults do not fit; say why.
    """

    def register(build: Callable[[int], Shape]) -> Callable[[int], Shape]:
        if name in REGISTRY:
            raise InputError(f"family of parts {name!r} is there already: give the new one another name")
        REGISTRY[name] = Family(name, build, surface, look, density, limits or Limits())
        return build

    return register


@cache
def part(family: str, size: int) -> Part:
    """The part of a family and size; InputError, naming the nearest, if there is none."""
    bare = bare_part(family, size)
    if bare.hulls:
        return bare
    stored = _free_form().get(f"{family}_{size}")
    if stored is None:
        raise InputError(
            f"part {family} {size} has no collision pieces in {FREE_FORM.name}: run python -m assets.parts"
        )
    return replace(bare, hulls=tuple(1e-6 * np.array(hull, dtype=np.float64) for hull in stored))


def bare_part(family: str, size: int) -> Part:
    """The part as its family builds it: one of free form is still without hulls. InputError if there is none."""
    if family not in REGISTRY:
        raise unknown("family of parts", family, REGISTRY)
    if not 0 <= size < SIZES:
        raise InputError(f"size {size} of part {family!r}: sizes are 0 to {SIZES - 1}")
    kind = REGISTRY[family]
    shape = kind.build(size)
    raw = Mesh(f"{family}_{size}", *arrays_of(shape.solid))
    center, inertia = mass_properties(raw, 1.0)
    axes, moments = _principal(inertia_matrix(inertia))

    def placed(points: Points) -> Points:
        return (points - center) @ axes

    visual = replace(raw, vertices=placed(raw.vertices))
    points, normals = sample(visual, SAMPLES)
    hulls = tuple(placed(_corners(piece, raw.name)) for piece in shape.pieces)
    if len(hulls) > MAX_HULLS or any(len(hull) > MAX_VERTICES for hull in hulls):
        most = max(map(len, hulls))
        raise InputError(
            f"part {raw.name} has {len(hulls)} collision pieces, the largest with {most} corners: "
            f"{MAX_HULLS} pieces of {MAX_VERTICES} corners are allowed"
        )
    return Part(
        family=family,
        size=size,
        visual=visual,
        hulls=hulls,
        regions=tuple(_placed_region(region, np.asarray(center), axes) for region in shape.regions),
        inertia=moments,
        mass=round(kind.density * shape.solid.volume(), 3),
        surface=kind.surface,
        look=kind.look,
        points=points,
        normals=normals,
    )


@cache
def _free_form() -> dict[str, list[list[list[int]]]]:
    """Pieces of the parts of free form: vertices [micrometres] under the part's name."""
    return json.loads(FREE_FORM.read_text()) if FREE_FORM.exists() else {}


def _corners(piece: Solid, where: str) -> Points:
    """Corners (k, 3) of a piece, which must be convex."""
    corners = hull_vertices(arrays_of(piece)[0])
    if hull_of(corners).volume() > (1 + 1e-6) * piece.volume():
        raise InputError(f"a collision piece of part {where} is not convex: cut it into convex ones")
    return corners


def _principal(inertia: Points) -> tuple[Points, tuple[float, float, float]]:
    """Principal axes as the columns of a rotation, as near to the given axes as can be, and the moments about them."""
    scale = np.trace(inertia)
    if np.abs(inertia - np.diag(np.diag(inertia))).max() < 1e-9 * scale:
        axes = np.eye(3)  # a symmetric part keeps its frame, however its equal moments are ordered
    else:
        vectors = np.linalg.eigh(inertia)[1]
        # Rounded, so that of two orders that are equally near (axes turned by 45 degrees) it is always the same one.
        order = max(permutations(range(3)), key=lambda p: round(float(np.abs(vectors[:, p].diagonal()).sum()), 6))
        axes = vectors[:, order]
        axes = axes * np.where(axes.diagonal() < 0, -1.0, 1.0)
        if np.linalg.det(axes) < 0:
            axes[:, np.abs(axes.diagonal()).argmin()] *= -1
    xx, yy, zz = (axes.T @ inertia @ axes).diagonal().tolist()
    return axes, (xx, yy, zz)


def _placed_region(region: Region, center: Points, axes: Points) -> Region:
    """The region in a frame of that centre and those axes."""
    position = (np.array(region.position) - center) @ axes
    turn = axes.T @ rotation_matrix(region.quaternion)
    return replace(region, position=tuple(position.tolist()), quaternion=_quaternion(turn))


def _quaternion(rotation: Points) -> tuple[float, float, float, float]:
    """The unit quaternion (wxyz) of a rotation matrix: the null vector of a matrix that is linear in it."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    w, x, y, z = (v := np.linalg.eigh(k)[1][:, -1]) * (-1.0 if v[np.abs(v).argmax()] < 0 else 1.0)
    return float(w), float(x), float(y), float(z)


def sample(mesh: Mesh, count: int) -> tuple[Points, Points]:
    """Points evenly over a mesh's surface [m] and the outward normals there, each (count, 3); the same every time.

    The triangles' areas laid end to end are cut into equal lengths; where in its triangle a point lies comes from the
    golden-ratio sequence of two dimensions (Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018).
    """
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    doubled = np.linalg.norm(cross, axis=1)
    heights = np.cumsum(doubled)
    index = np.arange(count)
    chosen = np.searchsorted(heights, (index + 0.5) / count * heights[-1])
    plastic = 1.32471795724474602596
    u, v = ((0.5 + index / plastic) % 1.0)[:, None], ((0.5 + index / plastic**2) % 1.0)[:, None]
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]
    return points, cross[chosen] / doubled[chosen, None]
