"""Meshes from files: what is united and repaired, and what is refused with which line."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold

from assets.asset import box_inertia
from assets.errors import InputError
from assets.proxies.mesh import Mesh, check, load, mass_properties, volume
from assets.proxies.solids import arrays_of, thickness

Save = Callable[..., Path]
CUBE = Manifold.cube((0.1, 0.1, 0.1))


def surface(solid: Manifold) -> trimesh.Trimesh:
    return trimesh.Trimesh(*arrays_of(solid), process=False)


def inside_out(solid: Manifold) -> trimesh.Trimesh:
    vertices, faces = arrays_of(solid)
    return trimesh.Trimesh(vertices, faces[:, ::-1], process=False)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A function that writes shells, solids or surfaces, into one mesh file."""

    def write(*shells: Manifold | trimesh.Trimesh, name: str = "part.stl", scale: float = 1.0) -> Path:
        whole = trimesh.util.concatenate([surface(s) if isinstance(s, Manifold) else s for s in shells])
        whole.apply_scale(scale)
        whole.export(tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["part.stl", "part.obj", "part.ply", "part.glb"])
def test_every_format_gives_the_same_cube(save: Save, name: str) -> None:
    mesh = load(save(CUBE, name=name))
    check(mesh)
    assert (mesh.name, len(mesh.faces)) == ("part", 12)
    assert volume(mesh) == pytest.approx(1e-3, rel=1e-6)


def test_text_stl_and_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "part.STL"
    path.write_text(trimesh.exchange.stl.export_stl_ascii(surface(CUBE.scale((1e3, 1e3, 1e3)))))
    assert volume(load(path, "mm")) == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize(
    ("at", "liters"),
    [
        ((0.1, 0, 0), 2.0),  # face to face
        ((0.1, 0.1, 0), 2.0),  # along an edge: four triangles meet there
        ((0.1, 0.1, 0.1), 2.0),  # at a corner
        ((0.1, 0.05, 0.03), 2.0),  # parts of two faces
        ((0.05, 0, 0), 1.5),  # half inside each other, faces in the same planes
        ((0.05, 0.05, 0.05), 1.875),
        ((0.3, 0, 0), 2.0),  # apart
    ],
)
def test_shells_are_united(save: Save, at: tuple[float, float, float], liters: float) -> None:
    mesh = load(save(CUBE, CUBE.translate(at)))
    check(mesh)
    assert 1e3 * volume(mesh) == pytest.approx(liters, rel=1e-5)


def test_a_tote_of_five_touching_boxes_becomes_one_shell(save: Save) -> None:
    walls = [
        Manifold.cube((0.3, 0.2, 0.01)),
        *(Manifold.cube((0.3, 0.01, 0.15)).translate((0, y, 0)) for y in (0, 0.19)),
        *(Manifold.cube((0.01, 0.2, 0.15)).translate((x, 0, 0)) for x in (0, 0.29)),
    ]
    mesh = load(save(*walls))
    assert 1e3 * volume(mesh) == pytest.approx(0.3 * 0.2 * 150 - 0.28 * 0.18 * 140, rel=1e-5)
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_turned_triangles_and_shells_are_put_right(save: Save) -> None:
    assert volume(load(save(inside_out(CUBE)))) == pytest.approx(1e-3, rel=1e-6)
    vertices, faces = arrays_of(CUBE)
    faces[[3, 5]] = faces[[3, 5], ::-1]
    assert volume(load(save(trimesh.Trimesh(vertices, faces, process=False)))) == pytest.approx(1e-3, rel=1e-6)
    # One solid saved inside out beside a good one is a solid; inside a good one it is a void.
    assert volume(load(save(CUBE, inside_out(CUBE.translate((0.2, 0, 0)))))) == pytest.approx(2e-3, rel=1e-6)
    small = Manifold.cube((0.05, 0.05, 0.05)).translate((0.02, 0.02, 0.02))
    assert volume(load(save(CUBE, inside_out(small)))) == pytest.approx(0.875e-3, rel=1e-6)


def test_small_holes_are_closed_and_large_ones_not(save: Save) -> None:
    ball = surface(Manifold.sphere(0.05, 64))
    whole = volume(load(save(ball)))
    assert volume(load(save(trimesh.Trimesh(ball.vertices, ball.faces[2:], process=False)))) == pytest.approx(
        whole, rel=1e-3
    )
    bowl = trimesh.Trimesh(ball.vertices, ball.faces[ball.triangles_center[:, 2] < 0.03], process=False)
    with pytest.raises(InputError, match=r"part.stl: the surface is not closed: 48 edges .* walls need a thickness"):
        load(save(bowl))


def test_a_surface_that_runs_through_itself(save: Save) -> None:
    vertices, faces = arrays_of(Manifold.sphere(0.05, 64))
    vertices[np.argmax(vertices[:, 2])] = [0.0, 0.001, -0.08]
    with pytest.raises(InputError, match="runs through itself near"):
        load(save(trimesh.Trimesh(vertices, faces, process=False)))
    with pytest.raises(InputError, match="runs through itself near"):
        check(Mesh("part", vertices, faces))


def test_a_one_sided_surface(save: Save) -> None:
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    sides = np.array([-0.01, 0.01])
    radius = 0.1 + sides * np.cos(turns / 2)[:, None]
    height = sides * np.sin(turns / 2)[:, None]
    band = np.stack([radius * np.cos(turns)[:, None], radius * np.sin(turns)[:, None], height], axis=2).reshape(-1, 3)
    ring = [(2 * i, 2 * i + 1, 2 * i + 2, 2 * i + 3) for i in range(23)] + [(46, 47, 1, 0)]
    faces = [f for a, b, c, d in ring for f in ((a, b, c), (b, d, c))]
    with pytest.raises(InputError, match="only one side"):
        load(save(trimesh.Trimesh(band, faces, process=False)))


def test_scales_that_cannot_be_meant(save: Save) -> None:
    path = save(CUBE, scale=1e3)
    with pytest.raises(InputError, match="100 m long, which looks like millimetres read as metres: give unit=mm"):
        load(path)
    assert volume(load(path, "mm")) == pytest.approx(1e-3, rel=1e-6)
    with pytest.raises(InputError, match=r"0\.1 mm long, which looks like metres read as millimetres: give unit=m"):
        load(save(CUBE), "mm")
    with pytest.raises(InputError, match="unknown unit 'inch'"):
        load(path, "inch")


def test_a_scan_of_ten_million_triangles_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "scan.stl"
    with path.open("wb") as file:
        file.write(b"\0" * 80 + struct.pack("<I", 10_000_000))
        file.truncate(84 + 500_000_000)  # sparse: no such bytes are on the disk
    with pytest.raises(InputError, match=r"scan\.stl has 10,000,000 triangles; up to 2,000,000 are taken"):
        load(path)
    (tmp_path / "scan.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\nelement face 3000000\nend_header\n")
    with pytest.raises(InputError, match="3,000,000 triangles"):
        load(tmp_path / "scan.ply")


def test_text_files_are_counted_by_their_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Save) -> None:
    monkeypatch.setattr("assets.proxies.reading.TRIANGLES", 11)
    for name in ("part.obj", "part.ply", "part.glb", "part.stl"):
        with pytest.raises(InputError, match="has 12 triangles"):
            load(save(CUBE, name=name))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.stl", b"", "a.stl holds no triangles"),
        ("a.obj", b"", "a.obj holds no triangles"),
        ("a.ply", b"", "a.ply cannot be read as PLY"),
        ("a.glb", b"", "a.glb cannot be read as GLB"),
        ("a.stl", b"this is a letter, not a mesh\n" * 9, "a.stl holds no triangles"),
        ("a.stl", bytes(range(256)) * 9, "a.stl cannot be read as STL"),
        ("a.glb", bytes(range(256)) * 9, "a.glb cannot be read as GLB"),
        ("a.obj", b"v 0 0 0\nv nan 0 0\nv 0 .1 0\nf 1 2 3\n", "not finite"),
        ("a.obj", b"v 0 0 0\nv .1 0 0\nv 0 .1 0\nf 1 2 9\n", "a.obj cannot be read as OBJ"),
        ("a.obj", b"v 0 0 0\nv .1 0 0\nv 0 .1 0\nf 1 2 3\n", "not closed: 3 edges"),
        ("a.obj", b"v 0 0 0\nv .1 0 0\nv 0 .1 0\nf 1 2 3\nf 1 3 2\n", "encloses no volume"),
        ("a.obj", b"v 0 0 0\nv .1 0 0\nv .1 0 0\nf 1 2 3\n", "encloses no volume: all its triangles are flat"),
        ("a.step", b"ISO-10303-21;", "'.step': did you mean '.stl'"),
        ("a", b"", "no suffix"),
    ],
)
def test_what_is_no_mesh(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such mesh"):
        load(tmp_path / "none.stl")
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)


def test_check_refuses_what_is_no_closed_surface() -> None:
    vertices, faces = arrays_of(CUBE)
    check(Mesh("cube", vertices, faces))
    for wrong, says in (
        (Mesh("cube", vertices, faces[1:]), "no closed surface"),
        (Mesh("cube", vertices, faces[:, ::-1]), "inside out"),
        (Mesh("cube", vertices, faces[:0]), "no triangles"),
        (Mesh("cube", vertices[:-1], faces), "names corner"),
        (Mesh("cube", vertices * np.nan, faces), "not finite"),
        (Mesh("cube", vertices[:, :2], faces), r"must be \(n, 3\)"),
    ):
        with pytest.raises(InputError, match=says):
            check(wrong)


def test_mass_properties_of_a_box_far_from_the_origin() -> None:
    mesh = Mesh("box", *arrays_of(Manifold.cube((0.3, 0.2, 0.1), True).translate((5, -7, 3))))
    center, inertia = mass_properties(mesh, 2.5)
    assert center == pytest.approx((5, -7, 3))
    assert inertia == pytest.approx(box_inertia((0.3, 0.2, 0.1), 2.5), abs=1e-12)
    with pytest.raises(InputError, match="mass -1 kg must be positive"):
        mass_properties(mesh, -1)
    with pytest.raises(InputError, match="no volume"):
        mass_properties(Mesh("box", mesh.vertices, mesh.faces[:, ::-1]), 1.0)


def test_thickness_of_pieces() -> None:
    assert thickness(arrays_of(Manifold.cube((0.3, 0.02, 0.1)).rotate((10, 20, 30)))[0]) == pytest.approx(0.02)
    # A regular tetrahedron is narrowest between two opposite edges.
    tetrahedron = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    assert thickness(tetrahedron) == pytest.approx(2.0)
    assert thickness(np.eye(3)) == 0.0
