"""Goods and parts that fall into a pile: what the benchmark of the collision proxies drops, and where from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from assets import totes
from assets.asset import Inertia, Vec3, rotation_matrix
from assets.pallet import BLOCK, BOARD, MASS, NARROW, SIZE, WIDE, epal1
from assets.parts import part
from assets.parts.base import REGISTRY
from assets.proxies.gate import Limits, Region
from assets.proxies.mesh import Mesh, mass_properties
from assets.proxies.solids import Points, Solid, arrays_of, hull_vertices, united
from sim.scene import SOLIMP, SOLREF, TIMESTEP

BODIES = 10
LAYER = 4  # bodies side by side, two by two
GAP = 0.002  # between them, at first [m]
FRICTION = 0.4
PLAY = 0.98  # of an opening's size, that must stay free


@dataclass(frozen=True, eq=False)
class Kind:
    """What a pile consists of.

    Attributes:
        name: for tables.
        mesh: its surface, in its own frame.
        pieces: corners of our convex pieces [m], each (k, 3).
        boxes: half extents and positions [m], each (n, 3), where these pieces are boxes; None for parts.
        regions, limits: for the gate.
        mass: [kg].
        center, inertia: of the mesh filled evenly: [m]; about the centre, xx, xy, xz, yy, yz, zz [kg m^2].
    """

    name: str
    mesh: Mesh
    pieces: tuple[Points, ...]
    boxes: tuple[Points, Points] | None
    regions: tuple[Region, ...]
    limits: Limits
    mass: float
    center: Vec3
    inertia: Inertia


@dataclass(frozen=True)
class Drop:
    """How a pile comes about.

    Attributes:
        name: for tables.
        tilt: greatest angle by which a body is out of its upright, its heading as it is [rad]; None: any orientation.
        midphase: whether the engine sorts the geoms of a body by bounding volumes. Scenes of ours do without, since a
            row exchanges and resizes geoms.
    """

    name: str
    tilt: float | None = None
    midphase: bool = True


def of_part(family: str, size: int = 1) -> Kind:
    """The part of that family and size, with the pieces that it ships with."""
    p = part(family, size)
    center, inertia = mass_properties(p.visual, p.mass)
    return Kind(family, p.visual, p.hulls, None, p.regions, REGISTRY[family].limits, p.mass, center, inertia)


def of_tote(kind: str) -> Kind:
    """A rigid tote; its cavity and the two grip holes must stay free."""
    half, position = totes.box_table(kind)
    low, high = (dict(zip(totes.BOXES, position + sign * half, strict=True)) for sign in (-1, 1))
    (length, width, height), floor = totes.inner(kind)
    regions = [_free("cavity", (-length / 2, -width / 2, floor), (length / 2, width / 2, floor + height))]
    for end in "ab":
        under, over = f"short_{end}_under", f"short_{end}_over"
        start = (low[under][0], high[f"short_{end}_right"][1], high[under][2])
        stop = (high[under][0], low[f"short_{end}_left"][1], low[over][2])
        regions.append(_free(f"grip_{end}", start, stop))
    return _of_boxes(f"tote {kind}", half, position, tuple(regions), totes.TARE[kind])


def of_pallet() -> Kind:
    """The EPAL 1 pallet; its fork pockets, from all four sides, must stay free."""
    geoms = epal1().geoms
    length, width, height = SIZE
    top = -2 * BOARD
    regions = []
    for side in (-1, 1):
        across, along = (WIDE / 2, length / 2 - WIDE), (WIDE / 2, width / 2 - NARROW)
        x, y = ([side * edge for edge in edges] for edges in (across, along))
        regions.append(_free(f"pocket_y{side:+}", (x[0], -width / 2, top - BLOCK), (x[1], width / 2, top)))
        regions.append(_free(f"pocket_x{side:+}", (-length / 2, y[0], -height), (length / 2, y[1], top)))
    half, position = (np.array([getattr(g, name) for g in geoms]) for name in ("size", "position"))
    return _of_boxes("pallet", half, position, tuple(regions), MASS)


def _of_boxes(name: str, half: Points, position: Points, regions: tuple[Region, ...], mass: float) -> Kind:
    corners = np.array(list(itertools.product((-1, 1), repeat=3)))
    pieces = tuple(p + h * corners for h, p in zip(half, position, strict=True))
    solids = [Solid.cube(tuple(2 * h), True).translate(tuple(p)) for h, p in zip(half, position, strict=True)]
    mesh = Mesh(name, *arrays_of(united(solids)))
    return Kind(name, mesh, pieces, (half, position), regions, Limits(), mass, *mass_properties(mesh, mass))


def _free(name: str, start: Sequence[float], stop: Sequence[float]) -> Region:
    """An opening between opposite corners, as a region a little smaller than it."""
    a, b = np.asarray(start), np.asarray(stop)
    x, y, z = ((a + b) / 2).tolist()
    return Region(name, "box", tuple((PLAY * np.abs(b - a) / 2).tolist()), (x, y, z))


def starts(kind: Kind, tilt: float | None, seed: int) -> tuple[Points, float]:
    """Where the bodies of a pile begin: in layers of two by two, as near to each other and the floor as they are apart.

    Args:
        kind: of the bodies.
        tilt: see `Drop`.
        seed: of the orientations.

    Returns:
        Positions [m] and quaternions wxyz, (BODIES, 7), and how far the highest body can fall [m].
    """
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(BODIES, 4))
    if tilt is not None:
        angle, axis = tilt * rng.uniform(size=BODIES), rng.uniform(0, 2 * np.pi, BODIES)
        turns = np.stack(
            [np.cos(angle / 2), np.sin(angle / 2) * np.cos(axis), np.sin(angle / 2) * np.sin(axis), 0 * axis], 1
        )
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    hull = hull_vertices(kind.mesh.vertices)
    turned = [hull @ rotation_matrix((w, x, y, z)).T for w, x, y, z in turns.tolist()]
    low, high = (np.array([f(points, axis=0) for points in turned]) for f in (np.min, np.max))
    placed, floor = [], 0.0
    for first in range(0, BODIES, LAYER):
        layer = slice(first, min(first + LAYER, BODIES))
        extent = (high - low)[layer].max(axis=0) + GAP
        for k in range(BODIES)[layer]:
            at = np.array([(k % 2 - 0.5) * extent[0], (k // 2 % 2 - 0.5) * extent[1], floor + GAP])
            reference = np.append((low[k, :2] + high[k, :2]) / 2, low[k, 2])
            placed.append([*(at - reference), *turns[k]])
        floor += extent[2]
    return np.array(placed), floor - extent[2]


def pile(kind: Kind, drop: Drop, collides: Sequence[Points] | str) -> mujoco.MjModel:
    """Bodies of a kind over a floor, in the contact profile of our scenes; nothing sleeps.

    Args:
        kind: of the bodies.
        drop: for the midphase.
        collides: corners of convex pieces [m], each (k, 3); "boxes": the kind's own; "sdf": its signed distance field.
    """
    spec = mujoco.MjSpec()
    option = spec.option
    option.timestep, option.impratio, option.iterations, option.ls_iterations = TIMESTEP, 10.0, 50, 50
    option.cone, option.integrator = mujoco.mjtCone.mjCONE_ELLIPTIC, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    if not drop.midphase:
        option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    spec.default.geom.solref, spec.default.geom.solimp = SOLREF, SOLIMP
    spec.default.geom.friction = [FRICTION, 0.005, 0.0001]
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[20.0, 20.0, 0.5], pos=[0.0, 0.0, -0.5])
    geoms: list[dict[str, object]]
    if isinstance(collides, str) and collides == "sdf":
        vertices, faces = kind.mesh.vertices.ravel(), kind.mesh.faces.ravel()
        spec.add_mesh(name="mesh", uservert=vertices, userface=faces, needsdf=True)
        geoms = [{"type": mujoco.mjtGeom.mjGEOM_SDF, "meshname": "mesh"}]
    elif isinstance(collides, str):
        assert kind.boxes is not None
        box = mujoco.mjtGeom.mjGEOM_BOX
        geoms = [{"type": box, "size": half, "pos": at} for half, at in zip(*kind.boxes, strict=True)]
    else:
        for i, hull in enumerate(collides):
            spec.add_mesh(name=f"hull_{i}", uservert=np.ascontiguousarray(hull).ravel())
        geoms = [{"type": mujoco.mjtGeom.mjGEOM_MESH, "meshname": f"hull_{i}"} for i in range(len(collides))]
    xx, xy, xz, yy, yz, zz = kind.inertia
    for _ in range(BODIES):
        body = spec.worldbody.add_body(mass=kind.mass, ipos=kind.center, explicitinertial=True)
        body.fullinertia = [xx, yy, zz, xy, xz, yz]
        body.add_freejoint()
        for geom in geoms:
            body.add_geom(**geom)
    return spec.compile()
