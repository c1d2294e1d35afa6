"""Approximate convex decomposition by CoACD, in a process of its own: a native crash ends that one only.

Source: Wei et al., "Approximate Convex Decomposition for 3D Meshes with Collision-Aware Concavity and Tree Search",
ACM Transactions on Graphics 41(4), 2022. Its result is the same bit by bit for the same input and version.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from assets.errors import InputError
from assets.proxies.gate import FLAT
from assets.proxies.mesh import Mesh
from assets.proxies.solids import TRIANGLES, Points, arrays_of, hull_vertices, simplified, thickness

SECONDS = 120.0  # that one decomposition may take
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "assets.proxies.decompose")


def coacd_version() -> str:
    """The version of CoACD: another one may give other pieces."""
    return importlib.metadata.version("coacd")


def decompose(mesh: Mesh, threshold: float, hulls: int, vertices: int, seconds: float = SECONDS) -> list[Points]:
    """Cut a mesh into convex pieces.

    Args:
        mesh: closed, its shells united: CoACD's own preprocessing would fill handles and fuse what only touches.
        threshold: concavity that a piece may keep, of CoACD's scale: 0.01 is fine, 0.2 coarse.
        hulls: most pieces.
        vertices: most corners of a piece.
        seconds: time limit.

    Raises:
        InputError: it crashed, or took too long.
    """
    points, faces = mesh.vertices, mesh.faces
    if len(faces) > TRIANGLES:  # else as it is: CoACD's cuts depend on the order of corners, too
        points, faces = arrays_of(simplified(points, faces))
    with tempfile.TemporaryDirectory(prefix="palletlab-") as folder:
        given, made = Path(folder, "mesh.npz"), Path(folder, "pieces.npz")
        np.savez(given, vertices=points, faces=faces)
        settings = [str(s) for s in (given, made, threshold, hulls, vertices)]
        try:
            done = subprocess.run(
                [*PROGRAM, *settings], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{mesh.name}: cutting it into pieces at threshold {threshold:g} took longer than {seconds:g} s: "
                "give it fewer triangles, or more time"
            ) from None
        if done.returncode or not made.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
            raise InputError(
                f"{mesh.name}: CoACD crashed at threshold {threshold:g} ({how}: {last}): repair or simplify the mesh"
            )
        with np.load(made) as pieces:
            found = [hull_vertices(pieces[name]) for name in pieces.files]
        return [hull for hull in found if thickness(hull) > FLAT * mesh.diagonal]


def main(given: str, made: str, threshold: str, hulls: str, vertices: str) -> None:
    """Decompose the mesh in file `given` and write its pieces into file `made`."""
    import coacd

    coacd.set_log_level("error")
    with np.load(given) as mesh:
        shape = coacd.Mesh(mesh["vertices"], mesh["faces"])
    parts = coacd.run_coacd(
        shape,
        threshold=float(threshold),
        max_convex_hull=int(hulls),
        preprocess_mode="off",
        decimate=True,
        max_ch_vertex=int(vertices),
        seed=0,
    )
    np.savez(made, *(np.asarray(points, np.float64) for points, _ in parts))


if __name__ == "__main__":
    main(*sys.argv[1:])
