"""The pool of parts: what every part must be, and how a family is added."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from assets import looks, materials
from assets.asset import inertia_matrix
from assets.errors import InputError
from assets.parts import FAMILIES, MAX_HULLS, MAX_VERTICES, SAMPLES, SIZES, base, part, pool
from assets.parts.__main__ import decomposed, report
from assets.parts.solids import box, circle, extruded, prism, ring_pieces, spindle, turned
from assets.proxies.mesh import check, mass_properties, moments
from assets.proxies.solids import arrays_of, hull_of, united

PARTS = [pytest.param(name, size, id=f"{name}_{size}") for name in FAMILIES for size in range(SIZES)]
GRIP = 0.070  # the widest pinch that a gripper with 85 mm of stroke can be expected to make [m]


def test_the_pool_is_every_size_of_every_family_in_order():
    # The order is the meaning of a knob: these keep their numbers for good.
    assert FAMILIES[:15] == (
        *("gear", "bracket", "bearing", "bolt", "plate", "handle", "elbow"),
        *("bottle", "mug", "spring_cover", "drum", "connector", "casting", "bag", "knob"),
    )
    assert [(p.family, p.size) for p in pool()] == [(name, size) for name in FAMILIES for size in range(SIZES)]
    assert pool()[3 * SIZES + 2] is part("bolt", 2)


def test_unknown_families_and_sizes_are_named():
    with pytest.raises(InputError, match=r"unknown family of parts 'bottel': did you mean 'bottle'"):
        part("bottel", 0)
    with pytest.raises(InputError, match="size 3 of part 'mug': sizes are 0 to 2"):
        part("mug", 3)


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_a_part_is_small_goods_with_a_fine_look_and_a_cheap_proxy(name, size):
    p = part(name, size)
    check(p.visual)
    assert 100 < len(p.visual.faces) <= 3000
    edges = np.sort(p.visual.size)
    assert edges[0] > 0.007
    assert 0.030 < edges[2] < 0.150
    assert 0.05 <= p.mass <= 0.8
    assert p.surface in materials.SURFACES
    assert p.look in looks.LOOKS
    for other in ("plastic", "metal", "pads"):
        materials.friction(p.surface, other)
    assert 1 <= len(p.hulls) <= MAX_HULLS
    for hull in p.hulls:
        assert 4 <= len(hull) <= MAX_VERTICES
        assert len(arrays_of(hull_of(hull))[0]) == len(hull)  # all of them are corners


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_the_proxy_passes_the_gate(name, size):
    measured = report(part(name, size))
    assert measured.passed, measured.worst


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_the_frame_is_the_principal_one(name, size):
    p = part(name, size)
    center, inertia = mass_properties(p.visual, 1.0)
    np.testing.assert_allclose(center, 0, atol=1e-9)
    np.testing.assert_allclose(inertia_matrix(inertia), np.diag(p.inertia), atol=1e-6 * max(p.inertia))


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_the_pieces_would_weigh_and_turn_like_the_part(name, size):
    p = part(name, size)
    volume, center, inertia = moments(*arrays_of(united([hull_of(h) for h in p.hulls])))
    assert volume == pytest.approx(moments(p.visual.vertices, p.visual.faces)[0], rel=0.15)
    assert np.linalg.norm(center) < 0.03 * p.visual.diagonal
    np.testing.assert_allclose(np.linalg.eigvalsh(inertia / volume), np.sort(p.inertia), rtol=0.2)


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_samples_lie_on_the_surface_and_look_out(name, size):
    p = part(name, size)
    assert p.points.shape == p.normals.shape == (SAMPLES, 3)
    np.testing.assert_allclose(np.linalg.norm(p.normals, axis=1), 1, atol=1e-9)
    # A little outside along the normal the surface winds around a point less often than a little inside.
    inside = _winding(p.visual, p.points - 1e-5 * p.normals)
    outside = _winding(p.visual, p.points + 1e-5 * p.normals)
    assert np.mean((inside > 0.5) & (outside < 0.5)) > 0.98
    # And they cover it: the area that they stand for has the mesh's mean.
    corners = p.visual.vertices[p.visual.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    mean = areas @ corners.mean(axis=1) / areas.sum()
    np.testing.assert_allclose(p.points.mean(axis=0), mean, atol=0.03 * p.visual.diagonal)


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_every_resting_pose_leaves_a_pinch_for_the_gripper(name, size):
    p = part(name, size)
    poses = _resting_directions(p)
    assert len(poses)
    for down in poses:
        assert _narrowest_pinch(p, down) <= GRIP, down.round(3)


@pytest.mark.parametrize("name", FAMILIES)
def test_sizes_grow(name):
    diagonals = [part(name, size).visual.diagonal for size in range(SIZES)]
    assert np.all(np.diff(diagonals) > 0.003)


def test_the_free_form_pieces_in_the_repository_are_what_the_pipeline_makes(tmp_path, monkeypatch):
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path))
    made = decomposed(base.bare_part("knob", 0))
    shipped = part("knob", 0).hulls
    assert len(made) == len(shipped) > 1  # not a single hull: CoACD has cut it
    for new, old in zip(made, shipped, strict=True):
        np.testing.assert_allclose(1e-6 * np.array(new), old, atol=2e-6)


def test_the_pool_builds_at_once_with_no_cache_and_no_heavy_package(tmp_path):
    code = """
        import sys, time
        start = time.process_time()
        from assets.parts import pool
        pool()
        taken = time.process_time() - start
        assert taken < 3, taken  # 0.3 s where it was measured
        assert not {"torch", "coacd", "trimesh", "mujoco"} & set(sys.modules)
    """
    environment = {"PALLETLAB_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment, cwd=base.FREE_FORM.parents[2]
    )
    assert not list(tmp_path.iterdir())


@pytest.fixture
def registry():
    """The register of families, put back afterwards."""
    before = dict(base.REGISTRY)
    yield base.REGISTRY
    base.REGISTRY.clear()
    base.REGISTRY.update(before)
    base.part.cache_clear()


def test_the_example_of_a_new_family_works(registry):
    example = (base.__doc__ or "").split("names:\n")[1]
    from assets.parts import solids
    from assets.proxies.gate import Region

    names = {"family": base.family, "Shape": base.Shape, "Region": Region, **vars(solids)}
    exec(textwrap.dedent(example), names)
    spacer = part("spacer", 1)
    assert report(spacer).passed
    assert spacer.mass == pytest.approx(950 * 0.75 * np.pi * 0.026**2 * 0.02, rel=0.01)


def test_a_family_is_told_what_is_wrong_with_it(registry):
    make = base.family("spacer", surface="plastic", look="grey", density=1000)
    make(lambda size: base.Shape(box((0.04, 0.03, 0.02))))
    with pytest.raises(
        InputError, match=r"spacer 0 has no collision pieces in free_form.json: run python -m assets.parts"
    ):
        part("spacer", 0)
    with pytest.raises(InputError, match="'spacer' is there already"):
        base.family("spacer", surface="plastic", look="grey", density=1000)(lambda size: base.Shape(box((1, 1, 1))))
    hook = box((0.04, 0.03, 0.02)) - box((0.02, 0.04, 0.02), (0, 0, 0.01))
    base.family("hook", surface="plastic", look="grey", density=1000)(lambda size: base.Shape(hook, (hook,)))
    with pytest.raises(InputError, match="a collision piece of part hook_0 is not convex"):
        part("hook", 0)
    ball = turned([(0.0, -0.02), (0.02, 0.0), (0.0, 0.02)], sides=61)
    base.family("top", surface="plastic", look="grey", density=1000)(lambda size: base.Shape(ball, (ball,)))
    with pytest.raises(InputError, match="top_0 has 1 collision pieces, the largest with 63 corners: 8 pieces of 60"):
        part("top", 0)


def test_a_part_is_the_same_wherever_its_family_puts_it(registry):
    solid = box((0.06, 0.03, 0.01)) + box((0.01, 0.03, 0.03), (0.025, 0, 0.02))
    for name, placed in (("here", solid), ("there", solid.rotate((20, 30, 40)).translate((1, 2, 3)))):
        made = base.Shape(placed, (placed.hull(),))
        base.family(name, surface="plastic", look="grey", density=1000)(lambda size, made=made: made)
    here, there = part("here", 0), part("there", 0)
    np.testing.assert_allclose(sorted(there.inertia), sorted(here.inertia), rtol=1e-9)
    assert there.mass == here.mass
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(there.hulls[0], axis=1)), np.sort(np.linalg.norm(here.hulls[0], axis=1)), atol=1e-9
    )


def test_convex_pieces_have_the_volume_of_what_is_round():
    assert prism(0.02, 0.05).volume() == pytest.approx(np.pi * 0.02**2 * 0.05, rel=1e-6)
    assert spindle([(0.02, 0), (0.01, 0.03)], 12).volume() == pytest.approx(np.pi * 0.03 / 3 * 7e-4, rel=0.01)
    ring = united(list(ring_pieces([(0.03, 0), (0.03, 0.01)], [(0.015, 0), (0.015, 0.01)], 6)))
    assert ring.volume() == pytest.approx(np.pi * (0.03**2 - 0.015**2) * 0.01, rel=1e-6)
    assert extruded(circle(0.02, 6), 0.01).volume() == pytest.approx(1.5 * np.sqrt(3) * 0.02**2 * 0.01)


def _winding(mesh, points):
    """How often the surface winds around each point (Van Oosterom and Strackee's solid angle), (n,)."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]][None] - points[:, None] for i in range(3))
    x, y, z = (np.linalg.norm(v, axis=2) for v in (a, b, c))
    top = np.einsum("ijk,ijk->ij", a, np.cross(b, c))
    bottom = x * y * z + (a * b).sum(2) * z + (b * c).sum(2) * x + (c * a).sum(2) * y
    return 2 * np.arctan2(top, bottom).sum(axis=1) / (4 * np.pi)


def _resting_directions(p):
    """Directions that are down in the part's frame when it rests on a face of its convex hull, (n, 3)."""
    vertices, faces = arrays_of(hull_of(np.concatenate(p.hulls)))
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = []
    for normal in normals:
        if any(normal @ other > 0.9999 for other in found):
            continue
        flat = corners[normals @ normal > 0.9999].reshape(-1, 3)
        u = np.linalg.svd(normal[None])[2][1]
        v = np.cross(normal, u)
        angles = np.sort(np.arctan2(flat @ v, flat @ u))
        # The centre of mass stands over the face if its corners lie all around it.
        if np.diff(np.concatenate([angles, angles[:1] + 2 * np.pi])).max() < np.pi:
            found.append(normal)
    return found


def _narrowest_pinch(p, down):
    """Narrowest width of the part's outline seen from above [m], over all directions of the fingers."""
    u = np.linalg.svd(down[None])[2][1]
    v = np.cross(down, u)
    angles = np.radians(np.arange(0, 180, 1))
    across = np.concatenate(p.hulls) @ (np.outer(np.cos(angles), u) + np.outer(np.sin(angles), v)).T
    return np.ptp(across, axis=0).min()
