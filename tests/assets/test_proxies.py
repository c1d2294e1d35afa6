"""From mesh to proxy: the gate's measures, the search, the cache, the process that decomposes, the asset on disk."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from manifold3d import Manifold

from assets.errors import InputError
from assets.proxies import cache, decompose, files
from assets.proxies.distance import Surface
from assets.proxies.gate import Gate, Limits, Region, Report, gate
from assets.proxies.merging import fewer_corners, fewer_pieces, without_thin
from assets.proxies.mesh import Mesh
from assets.proxies.proxy import Proxy, make_proxy
from assets.proxies.solids import arrays_of, hull_of, hull_vertices, thickness

BIN = Manifold.cube((0.3, 0.2, 0.15), True) - Manifold.cube((0.27, 0.17, 0.15), True).translate((0, 0, 0.015))
ANGLE = Manifold.cube((0.08, 0.06, 0.01)) + Manifold.cube((0.01, 0.06, 0.05))
CAVITY = Region("cavity", "box", (0.134, 0.084, 0.065), (0, 0, 0.01))


def mesh(solid: Manifold, name: str = "part") -> Mesh:
    return Mesh(name, *arrays_of(solid))


def corners(solid: Manifold) -> np.ndarray:
    return arrays_of(solid)[0]


def walls() -> list[np.ndarray]:
    """The bin's exact pieces."""
    return [
        corners(Manifold.cube((0.3, 0.2, 0.015), True).translate((0, 0, -0.0675))),
        *(corners(Manifold.cube((0.3, 0.015, 0.15), True).translate((0, y, 0))) for y in (-0.0925, 0.0925)),
        *(corners(Manifold.cube((0.015, 0.2, 0.15), True).translate((x, 0, 0))) for x in (-0.1425, 0.1425)),
    ]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_decomposing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("nothing should be decomposed here")

    monkeypatch.setattr("assets.proxies.proxy.decompose", refuse)


# ---- the gate -------------------------------------------------------------------------------------------------------


def test_exact_pieces_get_a_clean_report() -> None:
    report = gate(mesh(BIN), walls(), [CAVITY])
    assert report.passed
    for name in ("false_volume", "missing_volume", "false_depth_m", "blocked cavity", "center_of_mass", "inertia"):
        assert report[name].value == pytest.approx(0, abs=1e-9)
    assert report["thinnest"].value == pytest.approx(0.015)
    assert (report["hulls"].value, report["vertices"].value) == (5, 8)
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_a_filled_cavity_is_seen() -> None:
    report = gate(mesh(BIN), [hull_vertices(corners(BIN))], [CAVITY])
    assert not report.passed
    assert report["blocked cavity"].value == pytest.approx(1.0)
    inner, outer = 0.27 * 0.17 * 0.135, 0.3 * 0.2 * 0.15
    assert report["false_volume"].value == pytest.approx(inner / (outer - inner))
    # The middle of the lid is nearest to the long walls.
    assert report["false_depth_m"].value == pytest.approx(0.085, abs=0.002)
    assert report["missing_volume"].value == pytest.approx(0, abs=1e-9)


def test_missing_walls_are_seen() -> None:
    report = gate(mesh(BIN), walls()[:-1], [CAVITY])
    inner, outer = 0.27 * 0.17 * 0.135, 0.3 * 0.2 * 0.15
    assert report["missing_volume"].value == pytest.approx(0.015 * 0.17 * 0.135 / (outer - inner))
    assert not report["missing_volume"].ok or report["missing_volume"].value < Limits().missing_volume
    assert not report["center_of_mass"].ok


def test_a_shifted_proxy_is_as_deep_as_its_shift() -> None:
    cube = Manifold.cube((0.1, 0.1, 0.1), True)
    report = gate(mesh(cube), [corners(cube.translate((0.004, 0, 0)))])
    assert report["false_depth_m"].value == pytest.approx(0.004, abs=1e-3)
    assert report["false_volume"].value == pytest.approx(0.04)
    assert report["missing_volume"].value == pytest.approx(0.04)
    assert report["center_of_mass"].value == pytest.approx(0.004 / (0.1 * 3**0.5))
    assert report["inertia"].value == pytest.approx(0, abs=1e-9)
    assert not gate(mesh(cube), [corners(cube.translate((0.011, 0, 0)))])["false_depth_m"].ok


def test_inertia_is_compared_at_equal_mass() -> None:
    long = Manifold.cube((0.2, 0.1, 0.1), True)
    report = gate(mesh(long), [corners(Manifold.cube((0.1, 0.1, 0.1), True))])
    one, other = np.array([2, 5, 5]), np.array([2, 2, 2])  # in (0.1 m)^2 / 12
    assert report["inertia"].value == pytest.approx(np.linalg.norm(one - other) / np.linalg.norm(one))


def test_seams_between_pieces_do_not_count() -> None:
    cube = Manifold.cube((0.1, 0.1, 0.1), True)
    parts = [corners(Manifold.cube((0.05, 0.1, 0.1), True).translate((x, 0, 0))) for x in (-0.025, 0.025)]
    report = gate(mesh(cube), parts)
    assert report["false_depth_m"].value == 0.0
    assert report["false_volume"].value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("turn", [(0, 0, 0), (90, 0, 0), (30, 40, 50)])
def test_regions_lie_where_they_are_said_to(turn: tuple[float, float, float]) -> None:
    tube = Manifold.cylinder(0.1, 0.05, 0.05, 96, True) - Manifold.cylinder(0.2, 0.02, 0.02, 96, True)
    axis = corners(Manifold.cube((1, 1, 1)).rotate(turn))
    direction = trimesh.transformations.euler_matrix(*np.radians(turn), axes="sxyz")
    quaternion = tuple(trimesh.transformations.quaternion_from_matrix(direction).tolist())
    assert len(axis) == 8
    bore = Region("bore", "cylinder", (0.0195, 0.04), quaternion=quaternion)
    turned = mesh(tube.rotate(turn))
    assert Gate(turned, [bore]).blocked_by_mesh()["bore"] == pytest.approx(0, abs=1e-9)
    assert gate(turned, [hull_vertices(turned.vertices)], [bore])["blocked bore"].value == pytest.approx(1)


def test_bad_regions_limits_and_pieces() -> None:
    cube = mesh(Manifold.cube((0.1, 0.1, 0.1)))
    with pytest.raises(InputError, match="kind 'ball' must be box or cylinder"):
        Region("r", "ball", (1.0,))
    with pytest.raises(InputError, match="a cylinder has 2 positive sizes"):
        Region("r", "cylinder", (1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="two regions have the same name"):
        gate(cube, [cube.vertices], [CAVITY, CAVITY])
    with pytest.raises(InputError, match="limit hulls = 0 must be a whole number, 1 or more"):
        Limits(hulls=0)
    with pytest.raises(InputError, match="limit blocked = -1 must be a number, 0 or more"):
        Limits(blocked=-1)
    with pytest.raises(InputError, match="GPU engines take 64 hulls of 60 vertices"):
        Limits(hulls=65)
    with pytest.raises(InputError, match="has no pieces"):
        gate(cube, [])
    with pytest.raises(InputError, match="piece 1 is flat"):
        gate(cube, [cube.vertices, np.eye(3)])


def test_passing_agrees_with_measuring() -> None:
    judge = Gate(mesh(BIN), [CAVITY])
    shifted = [[w + np.array([x, 0, 0]) for w in walls()] for x in (0.0, 0.002, 0.005, 0.008, 0.012, 0.02)]
    verdicts = [judge.measure(pieces).passed for pieces in shifted]
    assert set(verdicts) == {True, False}
    assert [judge.passes(pieces) for pieces in shifted] == verdicts


def test_distances_to_a_surface() -> None:
    ball = mesh(Manifold.sphere(0.05, 64))
    points = np.random.Generator(np.random.PCG64(1)).normal(size=(200, 3)) * 0.06
    found = Surface(ball.vertices, ball.faces).distances(points)
    assert found == pytest.approx(np.abs(np.linalg.norm(points, axis=1) - 0.05), abs=2e-4)
    cube = Manifold.cube((0.1, 0.1, 0.1), True)
    triangles = corners(cube)[arrays_of(cube)[1]]
    farthest = Surface(ball.vertices, ball.faces).farthest(triangles, 1e-5)
    assert farthest == pytest.approx(0.05 * 3**0.5 - 0.05, abs=2e-4)


# ---- merging --------------------------------------------------------------------------------------------------------


def test_pieces_of_a_convex_part_merge_into_one() -> None:
    cube = Manifold.cube((0.1, 0.1, 0.1))
    slices = [corners(Manifold.cube((0.02, 0.1, 0.1)).translate((0.02 * i, 0, 0))) for i in range(5)]
    (one,) = fewer_pieces(Gate(mesh(cube)), slices)
    assert hull_of(one).volume() == pytest.approx(1e-3)
    # The bin's walls do not: the cavity would close.
    assert len(fewer_pieces(Gate(mesh(BIN), [CAVITY]), walls())) == 5


def test_thin_pieces_go_into_a_neighbour() -> None:
    slices = [
        corners(Manifold.cube((b - a, 0.1, 0.1)).translate((a, 0, 0)))
        for a, b in ((0, 0.05), (0.05, 0.051), (0.051, 0.1))
    ]
    thick = without_thin(slices, Limits())
    assert len(thick) == 2
    assert min(thickness(p) for p in thick) > 0.045


def test_corners_left_out_lie_near() -> None:
    ball = hull_vertices(corners(Manifold.sphere(0.05, 64)))
    few = fewer_corners(ball, 40)
    assert len(few) == 40
    assert {tuple(c) for c in few} <= {tuple(c) for c in ball}
    assert hull_of(few).volume() > 0.8 * hull_of(ball).volume()
    box = hull_vertices(corners(Manifold.cube((0.1, 0.2, 0.3)).rotate((10, 20, 30))))
    assert (fewer_corners(box, 60, 1e-4) == box).all()


# ---- the search, cached and in a process of its own -----------------------------------------------------------------


@pytest.mark.usefixtures("no_decomposing")
def test_a_cube_is_one_exact_hull() -> None:
    cube = mesh(Manifold.cube((1, 1, 1), True))
    proxy = make_proxy(cube)
    assert proxy.threshold is None
    (hull,) = proxy.hulls
    assert sorted(hull.tolist()) == sorted(cube.vertices.tolist())
    assert proxy.report["false_volume"].value == proxy.report["missing_volume"].value == 0.0


def test_an_open_bin_keeps_its_cavity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "assets.proxies.proxy.THRESHOLDS", (0.05,)
    )  # coarser ones do not pass here, and take their time
    proxy = make_proxy(mesh(BIN, "bin"), (CAVITY,))
    assert proxy.threshold == 0.05
    assert proxy.report.passed
    assert proxy.report["blocked cavity"].value < 0.05
    assert 5 <= len(proxy.hulls) <= 8
    assert gate(mesh(BIN), proxy.hulls, [CAVITY]) == proxy.report


def test_what_was_found_once_is_remembered(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    corner = Region("corner", "box", (0.03, 0.02, 0.015), (0.045, 0.03, 0.03))
    proxy = make_proxy(mesh(ANGLE), (corner,))
    (entry,) = own_cache.iterdir()
    calls = []

    def counted(shape: Mesh, *settings: float) -> list[np.ndarray]:
        calls.append(settings)
        return list(proxy.hulls)

    def same(other: Proxy) -> bool:
        return [h.tobytes() for h in other.hulls] == [h.tobytes() for h in proxy.hulls] and other.report == proxy.report

    monkeypatch.setattr("assets.proxies.proxy.decompose", counted)
    again = make_proxy(mesh(ANGLE), (corner,))
    assert same(again)
    assert again.threshold == proxy.threshold == 0.2
    assert not calls
    # A damaged entry is as good as none, and replaced.
    whole = entry.read_bytes()
    for damaged in (whole[:100], whole.replace(b"0.0", b"0.1", 1), b"[]", b"\xff\xfe"):
        entry.write_bytes(damaged)
        calls.clear()
        assert same(make_proxy(mesh(ANGLE), (corner,)))
        assert calls
        assert entry.read_bytes() == whole
    # Other limits, regions or meshes are other questions.
    calls.clear()
    make_proxy(mesh(ANGLE), (corner,), Limits(false_volume=0.19))
    make_proxy(mesh(ANGLE), (replace(corner, size=(0.03, 0.02, 0.01)),))
    make_proxy(Mesh("part", mesh(ANGLE).vertices * (1 + 1e-12), mesh(ANGLE).faces), (corner,))
    assert len(calls) == 3
    assert len(list(own_cache.iterdir())) == 4


def test_an_unwritable_cache_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path / "file" / "below"))
    assert len(make_proxy(mesh(Manifold.cube((1, 1, 1)))).hulls) == 1


def test_a_limit_that_cannot_be_met_is_named(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr("assets.proxies.proxy.THRESHOLDS", (0.2,))
    with pytest.raises(
        InputError, match=r"bin: no proxy meets limits.thinnest \(thinnest piece\): .* mm at best, at least 50.00 mm"
    ):
        make_proxy(mesh(BIN, "bin"), (CAVITY,), Limits(thinnest=0.05, false_depth=1, false_depth_m=1))
    with pytest.raises(
        InputError, match=r"limits.blocked \(cavity: volume blocked\): 100.0 % at best, at most 5.0 % wanted"
    ):
        make_proxy(mesh(BIN, "bin"), (CAVITY,), Limits(hulls=1))
    wall = Region("slot", "box", (0.02, 0.02, 0.02), (0.15, 0, 0))
    with pytest.raises(InputError, match=r"the mesh itself fills .* of region 'slot'"):
        make_proxy(mesh(BIN, "bin"), (wall,))
    assert not own_cache.exists()


def test_a_crash_of_the_decomposition_is_one_line(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(decompose, "PROGRAM", (sys.executable, "-c", "import os; os.abort()"))
    with pytest.raises(InputError, match=r"bin: .*CoACD crashed at threshold 0.2 \(signal 6") as caught:
        make_proxy(mesh(BIN, "bin"), (CAVITY,))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(decompose, "PROGRAM", (sys.executable, "-c", "raise MemoryError('no memory left')"))
    with pytest.raises(InputError, match=r"status 1: MemoryError: no memory left"):
        decompose.decompose(mesh(BIN, "bin"), 0.1, 64, 60)
    assert not own_cache.exists()


def test_a_decomposition_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompose, "PROGRAM", (sys.executable, "-c", "import time; time.sleep(60)"))
    with pytest.raises(InputError, match=r"at threshold 0\.2 took longer than 0\.5 s"):
        make_proxy(mesh(BIN, "bin"), (CAVITY,), seconds=0.5)


def test_decompositions_are_reproducible() -> None:
    first, second = (decompose.decompose(mesh(ANGLE), 0.2, 64, 60) for _ in range(2))
    assert len(first) == 2
    assert [h.tobytes() for h in first] == [h.tobytes() for h in second]


def _store(number: int) -> None:
    for turn in range(30):
        cache.write("same", {"number": number, "turn": turn, "filling": "x" * 100_000})


def test_two_processes_may_share_the_cache(own_cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_store, args=(n,)) for n in range(2)]
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        written = (own_cache / "same.json").exists()
        assert cache.read("same") is not None or not written
    assert all(process.exitcode == 0 for process in both)
    assert [p.name for p in own_cache.iterdir()] == ["same.json"]
    assert cache.read("same") is not None


# ---- on disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def asset(tmp_path: Path) -> files.ProxyAsset:
    source = tmp_path / "bin.stl"
    shape = mesh(BIN.rotate((1, 2, 3)), "bin")
    trimesh.Trimesh(shape.vertices, shape.faces, process=False).export(source)
    pieces = tuple(corners(hull_of(w).rotate((1, 2, 3))) for w in walls())
    proxy = Proxy(tuple(hull_vertices(p) for p in pieces), gate(shape, pieces), 0.05)
    return files.asset_of(source, shape, proxy, 1.9, "plastic", "arm_metal", (CAVITY,))


def test_an_asset_reads_back_as_it_was(tmp_path: Path, asset: files.ProxyAsset) -> None:
    files.write_asset(tmp_path / "out" / "bin", asset)
    back = files.read_asset(tmp_path / "out" / "bin")
    for name in ("mass", "center", "inertia", "surface", "look", "regions", "source", "sha256"):
        assert getattr(back, name) == getattr(asset, name)
    assert (back.mesh.name, back.proxy.threshold, back.proxy.report) == ("bin", 0.05, asset.proxy.report)
    assert (back.mesh.vertices == asset.mesh.vertices).all()
    assert (back.mesh.faces == asset.mesh.faces).all()
    assert [h.tobytes() for h in back.proxy.hulls] == [h.tobytes() for h in asset.proxy.hulls]
    # Other programs read the pieces, too.
    for k, hull in enumerate(asset.proxy.hulls):
        piece = trimesh.load_mesh(tmp_path / "out" / "bin" / f"hull_{k:02d}.obj")
        assert piece.is_watertight
        assert piece.volume == pytest.approx(hull_of(hull).volume())
    files.write_asset(tmp_path / "out" / "again", asset)
    for path in (tmp_path / "out" / "bin").iterdir():
        assert (tmp_path / "out" / "again" / path.name).read_bytes() == path.read_bytes()


def test_an_asset_is_never_overwritten_nor_half_written(
    tmp_path: Path, asset: files.ProxyAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / "bin"
    files.write_asset(folder, asset)
    with pytest.raises(InputError, match="exists already"):
        files.write_asset(folder, asset)
    shutil.rmtree(folder)

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_asset(folder, asset)
    assert not list((tmp_path / "out").iterdir())


def test_damaged_assets_get_one_line(tmp_path: Path, asset: files.ProxyAsset) -> None:
    folder = tmp_path / "out" / "bin"
    with pytest.raises(InputError, match="holds no readable asset"):
        files.read_asset(folder)
    files.write_asset(folder, asset)
    data = json.loads((folder / "asset.json").read_text())
    (folder / "asset.json").write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(InputError, match="has format 99, this version reads 1"):
        files.read_asset(folder)
    (folder / "asset.json").write_text(json.dumps(data))
    (folder / "hull_00.obj").write_text("v 1 2\n")
    with pytest.raises(InputError, match="holds no readable asset"):
        files.read_asset(folder)


def test_assets_want_known_surfaces_and_looks(asset: files.ProxyAsset, tmp_path: Path) -> None:
    for surface, look, says in (
        ("plastik", "grey", "did you mean 'plastic'"),
        ("plastic", "gray", "did you mean 'grey'"),
    ):
        with pytest.raises(InputError, match=says):
            files.asset_of(tmp_path / "bin.stl", asset.mesh, asset.proxy, 1.0, surface, look)
