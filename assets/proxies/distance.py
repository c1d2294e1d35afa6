"""Distance from points to a triangle surface, by numpy alone: triangles in small boxes, near boxes first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assets.proxies.solids import Faces, Points

LEAF = 16  # triangles in a box
BLOCK = 2_000_000  # pairs of point and box at once


class Surface:
    """A triangle surface that answers how far points are from it."""

    def __init__(self, vertices: Points, faces: Faces) -> None:
        """Sort the triangles into boxes of neighbours.

        Args:
            vertices: [m], (n, 3).
            faces: (m, 3), at least one.
        """
        corners = vertices[faces[_along_curve(vertices[faces].mean(axis=1))]]
        # The last box is filled up with copies of the last triangle.
        spare = -len(corners) % LEAF
        corners = np.concatenate([corners, np.repeat(corners[-1:], spare, axis=0)])
        self._leaves = corners.reshape(-1, LEAF, 3, 3)
        self._low, self._high = self._leaves.min(axis=(1, 2)), self._leaves.max(axis=(1, 2))

    def farthest(self, triangles: Points, tolerance: float, floor: float = 0.0) -> float:
        """The greatest distance [m] of any point on other triangles (k, 3, 3), at most `tolerance` too small.

        Distance changes no faster than one moves, so a triangle is cut up only where it may still hold the maximum.
        Below `floor` nothing is looked at closely: what is not above it comes back as `floor`.
        """
        found = floor
        while len(triangles):
            centers = triangles.mean(axis=1)
            reach = np.linalg.norm(triangles - centers[:, None], axis=2).max(axis=1)
            # The largest first: what they find spares looking closely at most of the others.
            order = np.argsort(-reach, kind="stable")
            left = []
            for chosen in np.array_split(order, -(-len(order) // 128)):
                enough = found + tolerance - reach[chosen]
                distances = self.distances(centers[chosen], enough)
                more = distances > enough
                found = max(found, float(distances[more].max(initial=0.0)))
                left.append(chosen[more])
            triangles = _halved(triangles[np.concatenate(left)])
        return found

    def distances(self, points: Points, enough: Points | None = None) -> Points:
        """Distance of each point, (k, 3), from the surface [m], (k,).

        Where `enough` is given, (k,), what is not above it is only an upper bound.
        """
        block = max(1, BLOCK // len(self._leaves))
        enough = np.zeros(len(points)) if enough is None else np.maximum(enough, 0.0)
        return np.concatenate(
            [self._distances(points[i : i + block], enough[i : i + block]) for i in range(0, len(points), block)]
        )

    def _distances(self, points: Points, enough: Points) -> Points:
        outside = np.maximum(np.maximum(self._low - points[:, None], points[:, None] - self._high), 0.0)
        bounds = _dot(outside, outside)
        order = np.argsort(bounds, axis=1, kind="stable")
        best = np.full(len(points), np.inf)
        for leaf in order.T:
            near = np.flatnonzero((bounds[np.arange(len(points)), leaf] < best) & (best > enough**2))
            if not len(near):
                break
            squared = _squared_distances(points[near, None], self._leaves[leaf[near]]).min(axis=1)
            best[near] = np.minimum(best[near], squared)
        return np.sqrt(best)


def _halved(triangles: Points) -> Points:
    """Each triangle cut in two at the middle of its longest edge."""
    edges = np.roll(triangles, -1, axis=1) - triangles
    longest = _dot(edges, edges).argmax(axis=1)
    rows = np.arange(len(triangles))
    start, end, tip = (triangles[rows, (longest + k) % 3] for k in range(3))
    middle = (start + end) / 2
    return np.concatenate([np.stack([start, middle, tip], axis=1), np.stack([middle, end, tip], axis=1)])


def _along_curve(points: Points) -> NDArray[np.intp]:
    """Order of points along a space-filling (Morton) curve: neighbours in it are neighbours in space."""
    low, extent = points.min(axis=0), np.maximum(np.ptp(points, axis=0).max(), 1e-300)
    cells = np.minimum((points - low) / extent * 1024, 1023).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def _squared_distances(points: Points, triangles: Points) -> Points:
    """Squared distance between points (..., 3) and triangles (..., 3, 3), broadcast against each other [m^2].

    The nearest point is in the plane where its foot falls inside the triangle, else on one of the edges.
    """
    a, b, c = triangles[..., 0, :], triangles[..., 1, :], triangles[..., 2, :]
    normal = np.cross(b - a, c - a)
    area = _dot(normal, normal)
    inside = area > 0
    nearest = np.full(np.broadcast_shapes(points.shape, a.shape)[:-1], np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge, offset = end - start, points - start
        part = np.clip(_dot(offset, edge) / np.maximum(_dot(edge, edge), 1e-300), 0.0, 1.0)
        gap = offset - part[..., None] * edge
        nearest = np.minimum(nearest, _dot(gap, gap))
        inside = inside & (_dot(np.cross(normal, edge), offset) >= 0)
    height = _dot(points - a, normal) ** 2 / np.maximum(area, 1e-300)
    return np.where(inside, np.minimum(height, nearest), nearest)


def _dot(first: Points, second: Points) -> Points:
    return np.einsum("...i,...i->...", first, second)
