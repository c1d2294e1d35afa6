"""Triangles out of a mesh file. Files that are too large are refused before anything is loaded."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from assets.errors import InputError, unknown
from assets.proxies.solids import Faces, Points

FORMATS = (".stl", ".obj", ".ply", ".glb")
TRIANGLES = 2_000_000  # most; a scan of more would take minutes and gigabytes, and no proxy needs it


def read(path: Path) -> tuple[Points, Faces]:
    """Corners (n, 3) in the file's unit and triangles (m, 3), of all meshes in the file, as they are placed in it.

    Raises:
        InputError: no such file, not one of `FORMATS`, no mesh, or more than `TRIANGLES` triangles.
    """
    suffix = path.suffix.lower()
    if path.is_dir() or not path.exists():
        raise InputError(f"{path}: {'is a folder, not a mesh' if path.is_dir() else 'no such mesh'}")
    if suffix not in FORMATS:
        raise unknown(f"kind of mesh of {path.name},", suffix or "no suffix", FORMATS)
    _check_count(path, _announced(path, suffix))
    vertices, faces = _parsed(path, suffix)
    _check_count(path, len(faces))
    return vertices, faces


def _check_count(path: Path, triangles: int) -> None:
    if triangles > TRIANGLES:
        raise InputError(
            f"{path.name} has {triangles:,} triangles; up to {TRIANGLES:,} are taken: simplify it first (a proxy needs "
            "a few thousand)"
        )


def _announced(path: Path, suffix: str) -> int:
    """How many triangles the file holds, as far as that can be told without parsing it; 0 where it cannot."""
    with path.open("rb") as file:
        head = file.read(4096)
    if suffix == ".stl" and len(head) >= 84:
        (count,) = struct.unpack("<I", head[80:84])
        if path.stat().st_size == 84 + 50 * count:
            return count
        return _occurrences(path, b"endfacet")
    if suffix == ".ply":
        for line in head.splitlines():
            words = line.split()
            if words[:2] == [b"element", b"face"] and len(words) == 3 and words[2].isdigit():
                return int(words[2])
    return _occurrences(path, b"\nf ") if suffix == ".obj" else 0


def _occurrences(path: Path, mark: bytes) -> int:
    found, kept = 0, b""
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            text = kept + block
            found += text.count(mark)
            kept = text[-(len(mark) - 1) :]
    return found


def _parsed(path: Path, suffix: str) -> tuple[Points, Faces]:
    import trimesh

    try:
        scene = trimesh.load_scene(path, file_type=suffix[1:], process=False)
        parts = []
        for node in scene.graph.nodes_geometry:
            placed, name = scene.graph[node]
            part = scene.geometry[name]
            if isinstance(part, trimesh.Trimesh) and len(part.faces):
                corners = np.asarray(part.vertices, np.float64) @ placed[:3, :3].T + placed[:3, 3]
                turned = np.linalg.det(placed[:3, :3]) < 0  # a mirrored part
                parts.append((corners, np.asarray(part.faces)[:, :: -1 if turned else 1]))
    except Exception as error:  # whatever a parser makes of bytes that are no mesh
        said = "" if isinstance(error, ImportError) else f" ({' '.join(str(error).split())[:80]})"
        raise InputError(
            f"{path.name} cannot be read as {suffix[1:].upper()}{said}: it is no mesh, or damaged"
        ) from None
    if not parts:
        raise InputError(f"{path.name} holds no triangles: it is empty, or no {suffix[1:].upper()} file")
    begins = np.cumsum([0, *(len(corners) for corners, _ in parts)])
    faces = np.concatenate([faces + begin for (_, faces), begin in zip(parts, begins, strict=False)])
    if faces.min() < 0 or faces.max() >= begins[-1]:
        raise InputError(f"{path.name}: a triangle names a corner that is not there")
    used, faces = np.unique(faces, return_inverse=True)
    corners = np.concatenate([corners for corners, _ in parts])[used]
    if not np.isfinite(corners).all():
        raise InputError(f"{path.name}: a corner's coordinates are not finite")
    return corners, faces.reshape(-1, 3).astype(np.int32)
