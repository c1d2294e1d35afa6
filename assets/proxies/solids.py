"""Between arrays and manifold3d's solids, whose booleans are exact enough to measure volumes with."""

from __future__ import annotations

import functools

import manifold3d
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Faces = NDArray[np.int32]
Solid = manifold3d.Manifold

# Finer meshes are simplified before they are cut or measured, by a deviation (of the bounding box's diagonal) that no
# limit would notice: both take time with the number of triangles.
TRIANGLES, DEVIATION = 5000, 1e-3


def solid_of(vertices: Points, faces: Faces) -> Solid:
    """A solid from a closed surface; its `status()` is not `NoError` where the surface is not closed and oriented.

    Args:
        vertices: [m], (n, 3).
        faces: vertices of each triangle, outward by the right-hand rule, (m, 3).
    """
    corners, triangles = np.ascontiguousarray(vertices, np.float64), np.ascontiguousarray(faces, np.uint64)
    return Solid(manifold3d.Mesh64(vert_properties=corners, tri_verts=triangles))


def simplified(vertices: Points, faces: Faces) -> Solid:
    """The solid of a closed surface, as in `solid_of`, with fewer triangles where it has more than `TRIANGLES`."""
    solid = solid_of(vertices, faces)
    if len(faces) <= TRIANGLES:
        return solid
    return solid.simplify(DEVIATION * float(np.linalg.norm(np.ptp(vertices, axis=0))))


def arrays_of(solid: Solid) -> tuple[Points, Faces]:
    """Vertices [m], (n, 3), and faces, (m, 3), of a solid."""
    mesh = solid.to_mesh64()
    return np.array(mesh.vert_properties[:, :3], np.float64), np.array(mesh.tri_verts, np.int32)


def united(solids: list[Solid]) -> Solid:
    """The union of solids that may touch or overlap."""
    return Solid.batch_boolean(solids, manifold3d.OpType.Add)


def hull_of(points: Points) -> Solid:
    """The convex hull of points [m], (k, 3)."""
    return Solid.hull_points(np.ascontiguousarray(points, np.float64))


def hull_vertices(points: Points) -> Points:
    """The corners of the convex hull of points [m], (k, 3), sorted, so that the same hull has the same bytes."""
    corners = arrays_of(hull_of(points))[0]
    return corners[np.lexsort(corners.T[::-1])]


def thickness(hull: Points) -> float:
    """Width of a convex piece along the direction in which it is thinnest [m]."""
    return _thickness(np.ascontiguousarray(hull, np.float64).tobytes())


@functools.lru_cache(maxsize=4096)
def _thickness(content: bytes) -> float:
    # The narrowest slab around a convex body rests on a face and a corner, or on two edges.
    vertices, faces = arrays_of(hull_of(np.frombuffer(content).reshape(-1, 3)))
    if not len(faces):
        return 0.0
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    along = _units(vertices[edges[:, 1]] - vertices[edges[:, 0]])
    first, second = np.triu_indices(len(along), 1)
    directions = np.concatenate([_units(normals), _units(np.cross(along[first], along[second]))])
    narrowest = np.inf
    for block in range(0, len(directions), 8192):
        heights = directions[block : block + 8192] @ vertices.T
        narrowest = min(narrowest, float(np.min(heights.max(1) - heights.min(1))))
    return narrowest


def _units(vectors: Points) -> Points:
    """Unit vectors; the ones too short to have a direction are left out."""
    length = np.linalg.norm(vectors, axis=1)
    good = length > 1e-9 * length.max(initial=0.0)
    return vectors[good] / length[good, None]
