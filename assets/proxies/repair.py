"""From a heap of triangles to one closed surface: weld, orient, close small holes, split into shells, unite them.

What cannot be put right without guessing is refused with a line that says what is wrong and where.
"""

from __future__ import annotations

import manifold3d
import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError
from assets.proxies.mesh import moments
from assets.proxies.solids import Faces, Points, Solid, arrays_of, solid_of, united

Indices = NDArray[np.int64]

WELD = 1e-7  # corners this near are one, of the diagonal: about the resolution of a file in single precision
CROSSING = 1e-5  # by which a surface may pierce itself, of the diagonal: rounding does that to thin triangles
FLAT = 1e-12  # a shell of less volume, of the diagonal's cube, encloses nothing
HOLE = 0.01  # a hole of up to this share of the surface is closed; more, and nobody knows what was meant


def united_surface(name: str, vertices: Points, faces: Faces) -> tuple[Points, Faces]:
    """Make one closed surface, without self-intersections, of triangles.

    Args:
        name: for messages.
        vertices: [m], (n, 3); the same corner may occur many times.
        faces: (m, 3); shells may touch and overlap.

    Raises:
        InputError: nothing is enclosed, larger holes, a one-sided surface, or one that runs through itself.
    """
    vertices, faces = _welded(name, vertices, faces)
    faces = _oriented(name, vertices, faces)
    vertices, faces = _closed(name, vertices, faces)
    solids, turned = [], []
    for shell in _shells(vertices, faces):
        volume = moments(*shell)[0]
        if abs(volume) < FLAT * float(np.linalg.norm(np.ptp(vertices, axis=0))) ** 3:
            continue
        solid = solid_of(*shell)
        if solid.status() != manifold3d.Error.NoError:
            raise InputError(f"{name}: the surface cannot be made closed ({solid.status().name}): repair it first")
        check_crossings(name, solid)
        if volume > 0:
            solids.append(solid)
        else:
            turned.append(solid_of(shell[0], shell[1][:, ::-1]))
    whole = united(solids)
    for solid in turned:
        # A shell that faces inwards is a void where it lies inside a solid, else a solid that was saved inside out.
        outside = (solid - whole).volume() / solid.volume()
        whole = whole - solid if outside < 0.01 else whole + solid
    result = arrays_of(whole)
    if not len(result[1]):
        raise InputError(f"{name}: the surface encloses no volume: it is flat")
    return result


def check_surface(name: str, vertices: Points, faces: Faces) -> None:
    """Make sure that a surface is closed, faces outwards and does not run through itself; InputError otherwise."""
    if not len(faces):
        raise InputError(f"{name} holds no triangles")
    if not np.isfinite(vertices).all():
        raise InputError(f"{name}: a corner's coordinates are not finite")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"{name}: a triangle names corner {faces.max()} of {len(vertices)}")
    solid = solid_of(vertices, faces)
    if solid.status() != manifold3d.Error.NoError:
        raise InputError(f"{name} is no closed surface: some edges do not have one triangle on either side")
    if moments(vertices, faces)[0] <= 0:
        raise InputError(f"{name} encloses no volume: it is flat or inside out")
    check_crossings(name, solid)


def check_crossings(name: str, solid: Solid) -> None:
    """Raise InputError where an edge of a surface pierces one of its triangles by more than files are exact."""
    vertices, faces = arrays_of(solid)
    sides = _sides(faces)[0]
    edges = sides[sides[:, 0] < sides[:, 1]]  # each once: its other triangle has it the other way round
    depth = CROSSING * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    for start, end in edges.tolist():
        for hit in solid.ray_cast(vertices[start], vertices[end]):
            at, pierced = np.array(hit.position), vertices[faces[hit.face_id]]
            if _pierces(vertices[[start, end]], pierced, at, depth):
                x, y, z = 1e3 * at
                raise InputError(
                    f"{name}: the surface runs through itself near ({x:.1f}, {y:.1f}, {z:.1f}) mm: repair it first"
                )


def _pierces(ends: Points, triangle: Points, at: Points, depth: float) -> bool:
    """Whether an edge goes through a triangle by at least `depth`: both ends and the rim are that far away."""
    normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
    length = np.linalg.norm(normal)
    if length == 0.0 or np.abs((ends - triangle[0]) @ normal).min() < depth * length:
        return False
    sides = np.roll(triangle, -1, axis=0) - triangle
    inwards = np.cross(normal / length, sides)
    inwards /= np.linalg.norm(sides, axis=1, keepdims=True)
    return bool(((at - triangle) * inwards).sum(axis=1).min() > depth)


def _welded(name: str, vertices: Points, faces: Faces) -> tuple[Points, Faces]:
    """Equal corners as one; triangles without an area left out."""
    grid = WELD * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    cells = np.round((vertices - vertices.min(axis=0)) / max(grid, 1e-300)).astype(np.int64)
    order = np.lexsort(cells.T)
    new = np.concatenate([[True], (np.diff(cells[order], axis=0) != 0).any(axis=1)])
    same = np.empty(len(order), np.int64)
    same[order] = np.cumsum(new) - 1
    vertices, faces = vertices[order[new]], same[faces].astype(np.int32)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    if not len(faces):
        raise InputError(f"{name}: the surface encloses no volume: all its triangles are flat")
    return vertices, faces


def _sides(faces: Faces) -> tuple[Indices, Indices]:
    """The triangles' sides, start and end corner, (3 m, 2), and the triangle of each, (3 m,)."""
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    return sides, np.tile(np.arange(len(faces)), 3)


def _edges(faces: Faces) -> tuple[Indices, NDArray[np.bool_], Indices]:
    """For each side: its edge's number, whether it runs from the lower to the higher corner, and its triangle."""
    sides, owner = _sides(faces)
    low, high = np.sort(sides, axis=1).T
    edge = np.unique(low << 32 | high, return_inverse=True)[1]
    return edge, sides[:, 0] < sides[:, 1], owner


def _oriented(name: str, vertices: Points, faces: Faces) -> Faces:
    """Turn triangles so that neighbours face the same way, and the whole outwards; a shell may still be inside out."""
    edge, forward, owner = _edges(faces)
    count = np.bincount(edge)
    if (np.bincount(edge, forward) * 2 != count).any():
        plain = np.argsort(edge, kind="stable")
        plain = plain[count[edge[plain]] == 2].reshape(-1, 2)
        first, second = owner[plain].T
        turned = forward[plain[:, 0]] == forward[plain[:, 1]]  # whether these neighbours face opposite ways
        flip = _flips(len(faces), np.stack([first, second, turned], axis=1))
        if ((flip[first] ^ flip[second]) != turned).any():
            raise InputError(f"{name}: the surface has only one side, like a Moebius strip: it encloses nothing")
        faces = np.where(flip[:, None] == 1, faces[:, ::-1], faces)
    return faces if moments(vertices, faces)[0] >= 0 else faces[:, ::-1]


def _flips(count: int, links: Indices) -> Indices:
    """Which of `count` triangles to turn, 0 or 1, given pairs of neighbours and whether they face opposite ways."""
    links = np.concatenate([links, links[:, [1, 0, 2]]])
    links = links[np.argsort(links[:, 0], kind="stable")]
    begins = np.searchsorted(links[:, 0], np.arange(count + 1)).tolist()
    beside = links[:, 1:].tolist()
    flip = [-1] * count
    for seed in range(count):
        if flip[seed] >= 0:
            continue
        flip[seed], piece = 0, [seed]
        for face in piece:  # grows as neighbours are found
            for other, opposite in beside[begins[face] : begins[face + 1]]:
                if flip[other] < 0:
                    flip[other] = flip[face] ^ opposite
                    piece.append(other)
        if sum(flip[face] for face in piece) * 2 > len(piece):  # what most of a piece says is right
            for face in piece:
                flip[face] ^= 1
    return np.array(flip)


def _closed(name: str, vertices: Points, faces: Faces) -> tuple[Points, Faces]:
    """Close small holes by a fan around the middle of their rim."""
    edge, forward, _ = _edges(faces)
    sides, _ = _sides(faces)
    surplus = np.bincount(edge, np.where(forward, 1, -1))
    single = np.flatnonzero((np.bincount(edge) == 1)[edge])
    crowded = int(np.count_nonzero(surplus)) - len(single)
    if crowded:
        raise InputError(
            f"{name}: {crowded} edges have more triangles on one side than on the other, which no solid has: "
            "repair it first"
        )
    if not len(single):
        return vertices, faces
    # The rim runs against the sides that lack a neighbour.
    after = {int(end): int(start) for start, end in sides[single]}
    area = _areas(vertices, faces).sum()
    while after:
        rim = [next(iter(after))]
        while (following := after.pop(rim[-1], None)) is not None and following != rim[0]:
            rim.append(following)
        fan = np.array([(rim[i], rim[(i + 1) % len(rim)], len(vertices)) for i in range(len(rim))], np.int32)
        vertices = np.concatenate([vertices, vertices[rim].mean(axis=0, keepdims=True)])
        if following is None or _areas(vertices, fan).sum() > HOLE * area:
            x, y, z = 1e3 * vertices[-1]
            raise InputError(
                f"{name}: the surface is not closed: {len(single)} edges have no neighbour, the hole around "
                f"({x:.1f}, {y:.1f}, {z:.1f}) mm is too large to fill: close it first, walls need a thickness"
            )
        faces = np.concatenate([faces, fan])
    return vertices, faces


def _shells(vertices: Points, faces: Faces) -> list[tuple[Points, Faces]]:
    """Closed shells that share no corners, cut apart where they touch along edges and at corners."""
    edge, forward, owner = _edges(faces)
    sides, _ = _sides(faces)
    order = np.lexsort((forward, edge))
    count = np.bincount(edge)
    begins = np.concatenate([[0], np.cumsum(count)])
    plain = order[count[edge[order]] == 2].reshape(-1, 2)
    pairs = [plain]
    for crowded in np.flatnonzero(count > 2):
        pairs.append(_paired(vertices, faces, sides, owner, order[begins[crowded] : begins[crowded + 1]]))
    back, ahead = np.concatenate(pairs).T
    # The corners of triangles that meet there through a pair of sides are one corner.
    corner = np.stack([np.arange(len(faces)) + k * len(faces) for k in range(3)])  # as in `_sides`, by start of side
    start, end = corner.reshape(-1), np.roll(corner, -1, axis=0).reshape(-1)
    joined = np.concatenate([np.stack([start[back], end[ahead]], 1), np.stack([end[back], start[ahead]], 1)])
    label = _components(len(start), joined)
    kept, new = np.unique(label, return_inverse=True)
    points = vertices[sides[kept, 0]]
    faces = new.reshape(3, -1).T.astype(np.int32)
    whose = _components(len(points), np.concatenate([faces[:, :2], faces[:, 1:]]).astype(np.int64))
    order = np.argsort(whose[faces[:, 0]], kind="stable")
    shells = []
    for mine in np.split(faces[order], np.flatnonzero(np.diff(whose[faces[order, 0]])) + 1):
        used, mine = np.unique(mine, return_inverse=True)
        shells.append((points[used], mine.reshape(-1, 3).astype(np.int32)))
    return shells


def _paired(vertices: Points, faces: Faces, sides: Indices, owner: Indices, crowd: Indices) -> Indices:
    """Pair the sides that meet at an edge of more than two triangles, so that solid lies between the two of a pair.

    Going round the edge one enters a solid at one triangle and leaves it at the next.
    """
    low, high = np.sort(sides[crowd[0]])
    axis = vertices[high] - vertices[low]
    third = faces[owner[crowd]].sum(axis=1) - low - high
    spoke = vertices[third] - vertices[low]
    spoke -= np.outer(spoke @ axis, axis) / (axis @ axis)
    across = np.cross(axis, spoke[0]) / np.linalg.norm(axis)
    angle = np.round(np.arctan2(spoke @ across, spoke @ spoke[0]) % (2 * np.pi), 9) % round(2 * np.pi, 9)
    angle = np.round(np.arctan2(spoke @ across, spoke @ spoke[0]) % (2 * np.pi), 6)
    angle[angle > 2 * np.pi - 2e-6] = 0.0
    enters = sides[crowd, 0] == high
    ring = np.lexsort((enters, angle))  # where two solids touch, the one is left before the other is entered
    inside = np.cumsum(np.where(enters[ring], 1, -1))
    ring = np.roll(ring, -int(np.argmin(inside)) - 1)  # begins outside of all
    return np.stack([crowd[ring][enters[ring]], crowd[ring][~enters[ring]]], axis=1)


def _components(count: int, links: Indices) -> Indices:
    """For each of `count` things the lowest number among those linked with it."""
    label = np.arange(count)
    while True:
        lowest = np.minimum(label[links[:, 0]], label[links[:, 1]])
        new = label.copy()
        np.minimum.at(new, label[links[:, 0]], lowest)
        np.minimum.at(new, label[links[:, 1]], lowest)
        np.minimum.at(new, links[:, 0], lowest)
        np.minimum.at(new, links[:, 1], lowest)
        new = new[new]
        if (new == label).all():
            return label
        label = new


def _areas(vertices: Points, faces: Faces) -> Points:
    corners = vertices[faces]
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
