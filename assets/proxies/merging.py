"""Fewer and simpler pieces: fewer contacts to compute at every step. The gate says how far this may go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assets.proxies.gate import Gate, Limits
from assets.proxies.solids import Points, arrays_of, hull_of, hull_vertices, thickness

PATIENCE = 12  # merges refused in a row before no further one is tried
DRAWN_BACK = 0.005  # how far a piece may draw back where corners are left out, of the mesh's diagonal


def fewer_pieces(gate: Gate, hulls: Sequence[Points]) -> list[Points]:
    """Merge pieces into their common hull, the pair that adds least volume first, while the gate passes."""
    pieces = dict(enumerate(hulls))
    volumes = {i: hull_of(p).volume() for i, p in pieces.items()}
    costs = {(i, j): _added(pieces, volumes, i, j) for i in pieces for j in pieces if i < j}
    refused = 0
    while costs and refused < PATIENCE:
        i, j = min(costs, key=lambda pair: (costs[pair], pair))
        merged = fewer_corners(_common(pieces[i], pieces[j]), gate.limits.vertices)
        rest = {k: p for k, p in pieces.items() if k not in (i, j)}
        if not gate.passes([*rest.values(), merged]):
            del costs[i, j]
            refused += 1
            continue
        refused, new = 0, max(pieces) + 1
        pieces = {**rest, new: merged}
        volumes[new] = hull_of(merged).volume()
        costs = {pair: cost for pair, cost in costs.items() if not {i, j} & set(pair)}
        costs |= {(k, new): _added(pieces, volumes, k, new) for k in rest}
    return list(pieces.values())


def simpler_pieces(gate: Gate, hulls: Sequence[Points]) -> list[Points]:
    """Leave out the corners that hardly show, where the gate still passes: a contact costs a little less."""
    simpler = [fewer_corners(hull, gate.limits.vertices, DRAWN_BACK * gate.diagonal) for hull in hulls]
    return simpler if gate.passes(simpler) else list(hulls)


def without_thin(hulls: Sequence[Points], limits: Limits) -> list[Points]:
    """Merge each piece that is too thin into the neighbour with which it adds least volume."""
    pieces = dict(enumerate(hulls))
    volumes = {i: hull_of(p).volume() for i, p in pieces.items()}
    while len(pieces) > 1:
        width, i = min((thickness(p), i) for i, p in pieces.items())
        if width >= limits.thinnest:
            break
        j = min((k for k in pieces if k != i), key=lambda k: (_added(pieces, volumes, i, k), k))
        pieces[j] = fewer_corners(_common(pieces[i], pieces[j]), limits.vertices)
        volumes[j] = hull_of(pieces[j]).volume()
        del pieces[i]
    return list(pieces.values())


def fewer_corners(points: Points, count: int, drawn_back: float = 0.0) -> Points:
    """A convex piece with fewer corners, always taking the one farthest outside those already taken.

    Args:
        points: its corners [m], (k, 3).
        count: how many it may keep.
        drawn_back: as soon as all corners left are this near [m] to the piece so far, it stops.
    """
    if len(points) <= (count if drawn_back == 0.0 else 4):
        return points
    middle = points - points.mean(axis=0)
    first = int(np.argmax((middle**2).sum(axis=1)))
    second = int(np.argmax(((points - points[first]) ** 2).sum(axis=1)))
    normals = np.cross(points - points[first], points[second] - points[first])
    third = int(np.argmax((normals**2).sum(axis=1)))
    fourth = int(np.argmax(np.abs((points - points[first]) @ normals[third])))
    chosen = [first, second, third, fourth]
    while len(chosen) < count:
        vertices, faces = arrays_of(hull_of(points[chosen]))
        corners = vertices[faces]
        outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        outside = (points @ outward.T - (corners[:, 0] * outward).sum(axis=1)).max(axis=1)
        if outside.max() <= max(drawn_back, 1e-9):
            break
        chosen.append(int(np.argmax(outside)))
    return hull_vertices(points[chosen])


def _common(first: Points, second: Points) -> Points:
    return hull_vertices(np.concatenate([first, second]))


def _added(pieces: dict[int, Points], volumes: dict[int, float], i: int, j: int) -> float:
    return hull_of(np.concatenate([pieces[i], pieces[j]])).volume() - volumes[i] - volumes[j]
