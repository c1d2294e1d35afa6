"""The gate: what a collision proxy gets wrong about the mesh it stands for, each measure against its limit.

It takes any convex pieces, decomposed or authored. Volumes come from exact booleans: false is what the proxy adds to
the solid, missing is what it lacks. Distances are taken only over the surface of the false volume, since the seams
inside a union of pieces would fake a plain Hausdorff distance.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.asset import IDENTITY, Quat, Vec3, rotation_matrix
from assets.errors import InputError
from assets.proxies.distance import Surface
from assets.proxies.mesh import Mesh, moments
from assets.proxies.solids import Points, Solid, arrays_of, hull_of, simplified, thickness, united

FLAT = 1e-6  # a piece that is thinner than this, of the diagonal, is no piece
REGION_SIZES = {"box": 3, "cylinder": 2}


@dataclass(frozen=True)
class Region:
    """A volume that the proxy must leave free: a cavity, a bore, a handle's opening, a fork pocket.

    Attributes:
        name: for the report.
        kind: "box" (size: three half extents) or "cylinder" (radius, half length, along local z), as in `Geom`.
        size: [m]. Draw it a little smaller than the opening: a piece along a round wall cuts into it by its chord.
        position: centre in the mesh's frame [m].
        quaternion: orientation in the mesh's frame, wxyz.
    """

    name: str
    kind: str
    size: tuple[float, ...]
    position: Vec3 = (0.0, 0.0, 0.0)
    quaternion: Quat = IDENTITY

    def __post_init__(self) -> None:
        wanted = REGION_SIZES.get(self.kind)
        if wanted is None:
            raise InputError(f"region {self.name!r}: kind {self.kind!r} must be box or cylinder")
        if len(self.size) != wanted or not all(math.isfinite(s) and s > 0 for s in self.size):
            raise InputError(f"region {self.name!r}: a {self.kind} has {wanted} positive sizes [m], not {self.size}")

    def solid(self) -> Solid:
        """The region as a solid in the mesh's frame."""
        if self.kind == "box":
            x, y, z = (2 * s for s in self.size)
            shape = Solid.cube((x, y, z), True)
        else:
            radius, half = self.size
            shape = Solid.cylinder(2 * half, radius, radius, 48, True)
        placed = np.column_stack([rotation_matrix(self.quaternion), np.array(self.position)])
        return shape.transform(placed)


@dataclass(frozen=True)
class Limits:
    """What a proxy may get wrong. Shares are of the solid's volume, relative lengths of the bounding box's diagonal.

    The defaults let a part be pushed, piled and picked like the real one: a gripper or a neighbour feels its surface
    within a few millimetres, and what must be free is free.

    Attributes:
        false_volume: share of volume that the proxy adds.
        missing_volume: share of volume that it lacks.
        false_depth: how far it may hold others off the true surface, relative; a tenth would show in any picture.
        false_depth_m: the same in metres: a gripper's approach is planned to about a centimetre.
        blocked: share of a region's volume that it may fill; the facets of a bore's wall do.
        center_of_mass: distance between its volume's centre and the solid's, relative. Masses are authored, so this
            and the next only say how evenly the error is spread.
        inertia: relative error of its volume's inertia about its centre, at equal mass (Frobenius norm).
        thinnest: the least thickness of a piece [m]: below 3 mm, pieces sink into each other by millimetres in a pile
            (measured with 3 mm walls at a 2 ms step).
        hulls: how many pieces; more than 64 no GPU engine takes.
        vertices: of the largest piece; GPU engines take 60 at most (PhysX: 64 with 4 spare).
    """

    false_volume: float = 0.20
    missing_volume: float = 0.10
    false_depth: float = 0.05
    false_depth_m: float = 0.010
    blocked: float = 0.05
    center_of_mass: float = 0.03
    inertia: float = 0.20
    thinnest: float = 0.003
    hulls: int = 64
    vertices: int = 60

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            whole = field.name in ("hulls", "vertices")
            least = {"hulls": 1, "vertices": 4}.get(field.name, 0)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not value >= least:
                kind = "a whole number" if whole else "a number"
                raise InputError(f"limit {field.name} = {value!r} must be {kind}, {least} or more")
        if self.hulls > 64 or self.vertices > 60:
            raise InputError(
                f"limits hulls = {self.hulls} and vertices = {self.vertices}: GPU engines take 64 hulls of 60 vertices"
            )


@dataclass(frozen=True)
class Measure:
    """One measure of the gate.

    Attributes:
        name: a field of `Limits`, or "blocked <region>".
        says: what it measures, in words.
        unit: "", "m".
        value: what was measured.
        limit: what is allowed; the least allowed for the thickness, the most for all else.
    """

    name: str
    says: str
    unit: str
    value: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the limit holds."""
        return self.value >= self.limit if self.name == "thinnest" else self.value <= self.limit

    @property
    def excess(self) -> float:
        """How many times the limit: above 1 it does not hold."""
        over, under = (self.limit, self.value) if self.name == "thinnest" else (self.value, self.limit)
        return over / under if under > 0 else (math.inf if over > 0 else 0.0)

    def text(self, value: float) -> str:
        """A value of this measure with its unit, for people."""
        if self.unit == "m":
            return f"{1e3 * value:.2f} mm"
        return f"{value:.0f}" if self.name in ("hulls", "vertices") else f"{100 * value:.1f} %"


@dataclass(frozen=True)
class Report:
    """All measures of a proxy."""

    measures: tuple[Measure, ...]

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return all(m.ok for m in self.measures)

    @property
    def worst(self) -> Measure:
        """The measure that is farthest beyond its limit, or nearest to it where all hold."""
        return max(self.measures, key=lambda m: (not m.ok, m.excess))

    def __getitem__(self, name: str) -> Measure:
        """The measure of that name."""
        return next(m for m in self.measures if m.name == name)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "passed": self.passed,
            "measures": [{**dataclasses.asdict(m), "ok": m.ok} for m in self.measures],
        }

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Report:
        """The inverse of `to_dict`."""
        fields = [f.name for f in dataclasses.fields(Measure)]
        return Report(tuple(Measure(**{f: m[f] for f in fields}) for m in data["measures"]))


class Gate:
    """The gate of one mesh: what can be prepared for measuring many proxies of it is prepared once."""

    def __init__(self, mesh: Mesh, regions: Sequence[Region] = (), limits: Limits | None = None) -> None:
        """Prepare the mesh's solid and the regions.

        Raises:
            InputError: the mesh is not a closed surface, or two regions share a name.
        """
        self._name, self.diagonal = mesh.name, mesh.diagonal
        self._original = simplified(mesh.vertices, mesh.faces).as_original()
        self._volume, self._center, self._inertia = moments(mesh.vertices, mesh.faces)
        if self._volume <= 0 or self._original.is_empty():
            raise InputError(f"mesh {mesh.name!r} is no closed surface that faces outwards")
        if len({r.name for r in regions}) < len(regions):
            raise InputError(f"mesh {mesh.name!r}: two regions have the same name")
        self.limits = Limits() if limits is None else limits
        self._surface = Surface(*arrays_of(self._original))
        self._regions = [(r.name, r.solid()) for r in regions]

    def blocked_by_mesh(self) -> dict[str, float]:
        """Share of each region that the mesh itself fills: no proxy can leave that free."""
        return {name: _shared(region, self._original) for name, region in self._regions}

    def measure(self, hulls: Sequence[Points]) -> Report:
        """Measure a proxy.

        Args:
            hulls: corners of each convex piece [m], (k, 3), in the mesh's frame.

        Raises:
            InputError: there is no piece, or one is flat.
        """
        return Report(tuple(self._measures(hulls)))

    def passes(self, hulls: Sequence[Points]) -> bool:
        """Whether all limits hold; quicker than `measure`, since it stops at the first that does not."""
        floor = min(self.limits.false_depth_m, self.limits.false_depth * self.diagonal)
        return all(m.ok for m in self._measures(hulls, floor * (1 - 1e-12)))

    def _measures(self, hulls: Sequence[Points], floor: float = 0.0) -> Iterator[Measure]:
        """The measures, the quickest first; depths below `floor` come out as `floor`."""
        if not hulls:
            raise InputError(f"proxy of {self._name!r} has no pieces")
        thin = [thickness(h) for h in hulls]
        if min(thin) < FLAT * self.diagonal:
            raise InputError(f"proxy of {self._name!r}: piece {thin.index(min(thin))} is flat")
        limits = self.limits
        yield Measure("hulls", "pieces", "", len(hulls), limits.hulls)
        yield Measure("vertices", "corners of the largest piece", "", max(len(h) for h in hulls), limits.vertices)
        yield Measure("thinnest", "thinnest piece", "m", min(thin), limits.thinnest)
        proxy = united([hull_of(h) for h in hulls])
        false, missing = proxy - self._original, self._original - proxy
        yield Measure("false_volume", "volume added", "", false.volume() / self._volume, limits.false_volume)
        yield Measure("missing_volume", "volume missing", "", missing.volume() / self._volume, limits.missing_volume)
        for name, region in self._regions:
            yield Measure(f"blocked {name}", f"{name}: volume blocked", "", _shared(region, proxy), limits.blocked)
        volume, center, inertia = moments(*arrays_of(proxy))
        apart = float(np.linalg.norm(center - self._center)) / self.diagonal
        yield Measure("center_of_mass", "centre of mass off, of diagonal", "", apart, limits.center_of_mass)
        own = self._inertia / self._volume
        uneven = float(np.linalg.norm(inertia / volume - own) / np.linalg.norm(own))
        yield Measure("inertia", "inertia off", "", uneven, limits.inertia)
        depth = self._depth(false, floor)
        yield Measure("false_depth_m", "greatest false depth", "m", depth, limits.false_depth_m)
        yield Measure("false_depth", "greatest false depth, of diagonal", "", depth / self.diagonal, limits.false_depth)

    def _depth(self, false: Solid, floor: float) -> float:
        """Greatest distance [m] from the true surface of points on the false volume's surface.

        Right to half a per cent of the diagonal. In a cavity without any opening it is 0: nothing can ever touch there.
        """
        if false.is_empty():
            return floor
        mesh = false.to_mesh64()
        vertices, faces = np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts, np.int64)
        # Triangles that stem from the mesh are at distance 0.
        origin = np.repeat(np.asarray(mesh.run_original_id), np.diff(np.asarray(mesh.run_index)) // 3)
        faces = faces[origin != self._original.original_id()]
        if not len(faces):
            return floor
        return self._surface.farthest(vertices[faces], 0.005 * self.diagonal, floor)


def gate(mesh: Mesh, hulls: Sequence[Points], regions: Sequence[Region] = (), limits: Limits | None = None) -> Report:
    """Measure a proxy against the mesh it stands for; see `Gate.measure`."""
    return Gate(mesh, regions, limits).measure(hulls)


def _shared(region: Solid, other: Solid) -> float:
    return float((region ^ other).volume() / region.volume())
