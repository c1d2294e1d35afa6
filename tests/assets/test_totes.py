"""Totes: sizes, stacks, what falls in, and the order in which the folding one folds."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
import pytest

from assets import folding_tote, totes
from assets.asset import Body, Geom, box_inertia
from assets.errors import InputError
from assets.folding_tote import FLAT, FOLDED_HEIGHT, WALLS
from assets.folding_tote import folding_tote as make_folding_tote
from assets.looks import LOOKS
from assets.materials import SURFACES
from assets.tote_cell import BIN, bin_box, dolly, table

RIGID = ("6280", "6147", "4280", "3147")
GRAVITY = 9.81


def _build(
    placed: Sequence[tuple[Body, tuple[float, float, float]]], friction: float = 0.25
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A model of assets on a rough floor, with the physics profile of the project's scenes and one friction for all."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = 0.002
    spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.default.geom.solref, spec.default.geom.solimp = [0.01, 2.0], [0.3, 0.95, 0.0003, 0.5, 2.0]
    floor = spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.5])
    floor.priority, floor.friction = 1, [1.0, 0.005, 0.0001]

    def add(parent: mujoco.MjsBody, body: Body, position: tuple[float, float, float]) -> None:
        made = parent.add_body(name=body.name, pos=position, quat=body.quaternion)
        if body.mass > 0:
            xx, xy, xz, yy, yz, zz = body.inertia
            made.explicitinertial = True
            made.mass, made.ipos, made.fullinertia = body.mass, body.center_of_mass, [xx, yy, zz, xy, xz, yz]
        if body.free:
            made.add_freejoint()
        if body.joint is not None:
            j = body.joint
            hinge = made.add_joint(name=j.name, axis=j.axis, range=j.range, limited=True, frictionloss=j.friction)
            hinge.damping[0] = j.damping
        for geom in body.geoms:
            if geom.surface is not None:
                box = made.add_geom(name=geom.name, type=mujoco.mjtGeom.mjGEOM_BOX, size=geom.size, pos=geom.position)
                box.friction = [friction, 0.005, 0.0001]
        for child in body.children:
            add(made, child, child.position)

    for body, position in placed:
        add(spec.worldbody, body, position)
    model = spec.compile()
    return model, mujoco.MjData(model)


def _run(model: mujoco.MjModel, data: mujoco.MjData, seconds: float) -> None:
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)


def _top(model: mujoco.MjModel, data: mujoco.MjData) -> float:
    """Height of the highest point of all boxes [m]."""
    up = np.abs(data.geom_xmat.reshape(-1, 3, 3)[:, 2]) * model.geom_size
    boxes = model.geom_type == mujoco.mjtGeom.mjGEOM_BOX
    return float((data.geom_xpos[:, 2] + up.sum(axis=1))[boxes].max())


def _stack(kind: str, count: int, friction: float) -> tuple[mujoco.MjModel, mujoco.MjData]:
    return _build(
        [(totes.rigid_tote(f"t{i}", kind), (0, 0, i * totes.pitch(kind))) for i in range(count)], friction=friction
    )


def _offsets(kind: str, data: mujoco.MjData, count: int) -> np.ndarray:
    """How far each tote is from where it belongs in a straight stack [m], (count, 3)."""
    return np.array([data.body(f"t{i}").xpos - [0, 0, i * totes.pitch(kind)] for i in range(count)])


def _extent(half: np.ndarray, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (position - half).min(axis=0), (position + half).max(axis=0)


@pytest.mark.parametrize("asset", [make_folding_tote("f"), table(0.6), dolly(0.2), bin_box()], ids=lambda a: a.name)
def test_names_looks_and_surfaces_exist(asset: Body) -> None:
    geoms = [g for body in asset.walk() for g in body.geoms]
    assert len({g.name for g in geoms}) == len(geoms)
    assert {g.look for g in geoms} <= set(LOOKS)
    assert {g.surface for g in geoms if g.surface} <= set(SURFACES)


@pytest.mark.parametrize(
    ("kind", "outer", "pitch"),
    [
        ("6280", (0.594, 0.396, 0.280), 0.265),
        ("6147", (0.594, 0.396, 0.147), 0.132),
        ("4280", (0.396, 0.297, 0.280), 0.265),
        ("3147", (0.297, 0.198, 0.147), 0.132),
        ("6410", (0.600, 0.400, 0.0945), 0.0905),
    ],
)
def test_sizes(kind: str, outer: tuple[float, float, float], pitch: float) -> None:
    half, position = totes.box_table(kind)
    assert half.shape == position.shape == (len(totes.BOXES), 3)
    assert half.min() >= 0.0005 - 1e-12
    low, high = _extent(half, position)
    np.testing.assert_allclose(low, (-outer[0] / 2, -outer[1] / 2, 0), atol=1e-12)
    np.testing.assert_allclose(high, (outer[0] / 2, outer[1] / 2, outer[2]), atol=1e-12)
    assert totes.size(kind) == outer
    assert totes.pitch(kind) == pytest.approx(pitch)
    assert totes.stack_height(kind, 3) == pytest.approx(outer[2] + 2 * pitch)
    assert totes.stack_height(kind, 0) == 0
    body = totes.rigid_tote("t", kind)
    assert [g.name for g in body.geoms] == [f"t_{part}" for part in totes.BOXES]
    assert {g.surface for g in body.geoms} == {"plastic"}
    assert set(totes.WALLS[kind]) <= set(totes.BOXES)


@pytest.mark.parametrize("kind", RIGID)
def test_cavity_and_grip_holes_are_open(kind: str) -> None:
    (length, width, height), floor = totes.inner(kind)
    half, position = totes.box_table(kind)
    assert floor + height == pytest.approx(totes.size(kind)[2])
    # A block a hair smaller than the cavity overlaps no box, one a hair bigger overlaps all four sides and the floor.
    for grow, hit in ((-1e-5, 0), (1e-3, 11)):
        block = np.array([length / 2, width / 2, height / 2]) + grow
        gap = np.abs(position - [0, 0, floor + height / 2]) - half - block
        assert (gap.max(axis=1) < -1e-9).sum() == hit
    # A hand's fingers go through each short wall, 40 mm below the rim and a bit.
    probe = np.array([totes.size(kind)[0] / 2 - 0.01, 0, totes.size(kind)[2] - totes.HOLE_BELOW_RIM - 0.015])
    for sign in (1, -1):
        gap = np.abs(position - probe * [sign, 1, 1]) - half
        assert (gap.max(axis=1) > 0.014).all()
    # The wall is as thick as the sizes say: 16 to 25 mm.
    thick = (np.array(totes.size(kind)[:2]) - (length, width)) / 2
    assert ((thick > 0.0159) & (thick < 0.0251)).all()


def test_inertia_is_that_of_the_boxes() -> None:
    """MuJoCo, left to work out the inertia of the same boxes, finds the same up to the pack's product of inertia."""
    for kind in totes.KINDS:
        spec = mujoco.MjSpec()
        body = spec.worldbody.add_body(name="t")
        half, position = totes.box_table(kind)
        for h, p in zip(half, position, strict=True):
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=h, pos=p)
        own = spec.compile().body("t")
        center, moments = totes.inertia_table(kind)
        np.testing.assert_allclose(own.ipos, center, atol=1e-12)
        tolerance = 0.03 if kind == "6410" else 1e-9
        np.testing.assert_allclose(np.sort(own.inertia) / own.mass, np.sort(moments), rtol=tolerance)


def test_wrong_names_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean '6280'"):
        totes.size("628")
    with pytest.raises(InputError, match="unknown kind of tote"):
        totes.rigid_tote("t", "klt")
    with pytest.raises(InputError, match="without a cavity"):
        totes.inner("6410")
    with pytest.raises(InputError, match="must not be negative"):
        totes.stack_height("6280", -1)
    with pytest.raises(InputError, match="not 2"):
        folding_tote.wall_table(2)
    with pytest.raises(InputError, match=r"between 0\.1 and 1\.5 m"):
        table(0.0)
    with pytest.raises(InputError, match=r"between 0\.12 and 1 m"):
        dolly(3)


@pytest.mark.parametrize("kind", totes.KINDS)
def test_a_stack_has_its_pitch(kind: str) -> None:
    model, data = _stack(kind, 3, friction=0.2)
    _run(model, data, 1.0)
    offsets = _offsets(kind, data, 3)
    # Contacts give by a quarter of a millimetre each.
    assert np.abs(offsets[:, :2]).max() < 1e-4
    np.testing.assert_allclose(np.diff(offsets[:, 2]), 0, atol=3e-4)
    assert np.abs(data.qvel).max() < 1e-3


@pytest.mark.parametrize("kind", totes.KINDS)
@pytest.mark.parametrize("towards", [(1.0, 0.0), (0.0, -1.0)], ids=["x", "y"])
def test_a_stack_stands_a_tilt_of_10_degrees(kind: str, towards: tuple[float, float]) -> None:
    """With friction 0.2 nothing moves; with 0.15, too little, the totes slide until they interlock, and stay."""
    tilt = np.deg2rad(10)
    play = 0.002 if kind == "6410" else totes.PLAY
    for friction, low, high in ((0.2, 0.0, 0.0003), (0.15, play - 0.0002, play + 0.0005)):
        model, data = _stack(kind, 3, friction)
        _run(model, data, 0.2)
        model.opt.gravity[:] = GRAVITY * np.array([*(np.sin(tilt) * np.array(towards)), -np.cos(tilt)])
        _run(model, data, 2.0)
        moved = np.diff(_offsets(kind, data, 3)[:, :2] @ towards)
        assert (moved > low - 1e-4).all(), (friction, moved)
        assert (moved < high).all(), (friction, moved)
        assert min(data.body(f"t{i}").xmat[8] for i in range(3)) > np.cos(np.deg2rad(0.1))


@pytest.mark.parametrize("kind", [*RIGID, "open 6410", "bin"])
def test_parts_fall_in(kind: str) -> None:
    """Ten small boxes dropped over the opening lie inside, on the floor."""
    if kind == "bin":
        body, (length, width, height), floor = bin_box(), BIN, 0.020
    elif kind == "open 6410":
        body, (length, width, height), floor = make_folding_tote("t"), folding_tote.INNER, folding_tote.FLOOR_TOP
    else:
        body, ((length, width, height), floor) = totes.rigid_tote("t", kind), totes.inner(kind)
    edges = (0.05, 0.04, 0.03)
    parts = []
    for i in range(10):
        across, along, layer = (i % 2 - 0.5) * 0.08, (i // 2 % 2 - 0.5) * 0.1, i // 4
        box = Geom(f"part{i}", "box", tuple(e / 2 for e in edges), surface="metal")
        part = Body(f"part{i}", mass=0.1, inertia=box_inertia(edges, 0.1), free=True, geoms=(box,))
        parts.append((part, (along, across, floor + height + 0.05 + 0.06 * layer)))
    model, data = _build([(body, (0, 0, 0)), *parts])
    _run(model, data, 1.5)
    for i in range(10):
        x, y, z = data.body(f"part{i}").xpos
        assert abs(x) < length / 2 - 0.01
        assert abs(y) < width / 2 - 0.01
        assert floor + 0.01 < z < floor + height
    assert np.abs(data.qvel[-60:]).max() < 0.05
    if kind == "open 6410":  # and its walls still stand
        assert np.abs([data.joint(f"t_{wall}").qpos[0] for wall in WALLS]).max() < 0.01


def _fold(model: mujoco.MjModel, data: mujoco.MjData, walls: Sequence[str], torque: float = 1.5) -> None:
    """Push walls inwards one after the other, and let go when all are as far as they get."""
    for wall in walls:
        data.qfrc_applied[model.joint(f"t_{wall}").dofadr[0]] = torque
        _run(model, data, 1.0)
    data.qfrc_applied[:] = 0
    _run(model, data, 0.5)


def _angles(data: mujoco.MjData) -> dict[str, float]:
    return {wall: float(data.joint(f"t_{wall}").qpos[0]) for wall in WALLS}


@pytest.mark.parametrize("first", [0, 1])
def test_it_folds_in_order(first: int) -> None:
    model, data = _build([(make_folding_tote("t", first), (0, 0, 0))])
    mujoco.mj_forward(model, data)
    assert _top(model, data) == pytest.approx(0.280, abs=1e-9)
    _run(model, data, 1.0)
    assert max(_angles(data).values()) < 0.005  # nothing pushes, so they stand
    _fold(model, data, ("short_b", "short_a", *(("long_a", "long_b") if first == 0 else ("long_b", "long_a"))))
    for wall, angle in _angles(data).items():
        assert angle == pytest.approx(FLAT, abs=0.01), wall
    assert _top(model, data) <= FOLDED_HEIGHT
    # No wall reaches the foot of a tote on top, nor lies on another.
    panels = [model.geom(f"t_{wall}_panel").id for wall in WALLS]
    tops = [data.geom_xpos[i, 2] + np.abs(data.geom_xmat[i].reshape(3, 3)[2]) @ model.geom_size[i] for i in panels]
    assert max(tops) < FOLDED_HEIGHT - folding_tote.NEST
    assert all(model.geom_bodyid[c.geom1] == 0 or model.geom_bodyid[c.geom2] == 0 for c in data.contact)


@pytest.mark.parametrize("wall", ["long_a", "long_b"])
def test_a_standing_short_wall_blocks_the_long_ones(wall: str) -> None:
    model, data = _build([(make_folding_tote("t"), (0, 0, 0))])
    _fold(model, data, ("short_a", wall), torque=3.0)  # short_b stands
    assert _angles(data)["short_a"] == pytest.approx(FLAT, abs=0.01)
    assert _angles(data)[wall] < np.deg2rad(3)


@pytest.mark.parametrize("first", [0, 1])
def test_the_wrong_long_wall_first_leaves_the_other_up(first: int) -> None:
    right, wrong = ("long_a", "long_b") if first == 0 else ("long_b", "long_a")
    model, data = _build([(make_folding_tote("t", first), (0, 0, 0))])
    _fold(model, data, ("short_a", "short_b", wrong, right))
    assert _angles(data)[wrong] == pytest.approx(FLAT, abs=0.01)
    assert _angles(data)[right] < FLAT - np.deg2rad(3)
    assert _top(model, data) > FOLDED_HEIGHT + 0.002


def test_the_pack_is_the_folded_tote() -> None:
    """The rigid pack fills the space of the articulated tote with its walls flat, and weighs the same there."""
    body = make_folding_tote("t")
    model, data = _build([(body, (0, 0, 0))])
    for wall in WALLS:
        data.joint(f"t_{wall}").qpos = FLAT
    mujoco.mj_forward(model, data)
    half, position = totes.box_table("6410")
    pack = dict(zip(totes.BOXES, zip(half, position, strict=True), strict=True))
    for wall in ("long_a", "long_b"):
        panel = model.geom(f"t_{wall}_panel").id
        np.testing.assert_allclose(pack[wall][1], data.geom_xpos[panel], atol=1e-9)
        turned = np.abs(data.geom_xmat[panel].reshape(3, 3)) @ model.geom_size[panel]
        np.testing.assert_allclose(pack[wall][0], turned, atol=1e-9)
    # Every box of the tote, grown together, lies within the pack's boxes, and none of the pack's sticks out of them.
    points = np.random.default_rng(0).uniform((-0.3, -0.2, 0), (0.3, 0.2, 0.0945), (20000, 3))
    boxes = np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_BOX)
    local = [(points - data.geom_xpos[i]) @ data.geom_xmat[i].reshape(3, 3) for i in boxes]
    in_tote = np.any([(np.abs(x) <= model.geom_size[i]).all(axis=1) for i, x in zip(boxes, local, strict=True)], axis=0)
    in_pack = np.any([(np.abs(points - p) <= h).all(axis=1) for h, p in zip(half, position, strict=True)], axis=0)
    assert not (in_tote & ~in_pack).any()
    assert (in_pack & ~in_tote).mean() < 0.12  # the gaps around the short panels, filled
    assert body.total_mass() == pytest.approx(totes.TARE["6410"])
    np.testing.assert_allclose(data.subtree_com[1], totes.inertia_table("6410")[0], atol=0.004)


def test_folded_totes_and_packs_stack_alike() -> None:
    """An articulated tote, folded, under and on top of packs: same pitch."""
    packs = [(totes.rigid_tote(f"t{i}", "6410"), (0, 0, i * totes.pitch("6410"))) for i in (0, 2)]
    model, data = _build([*packs, (make_folding_tote("t"), (0, 0, totes.pitch("6410")))])
    for wall in WALLS:
        data.joint(f"t_{wall}").qpos = FLAT
    _run(model, data, 1.0)
    heights = [data.body(name).xpos[2] for name in ("t0", "t", "t2")]
    np.testing.assert_allclose(np.diff(heights), totes.pitch("6410"), atol=4e-4)
    assert np.abs(data.qvel).max() < 2e-3


def test_wall_table_describes_the_tote() -> None:
    """What a scene writes per world is what the template has, for either order; the rest does not change."""
    for first in (0, 1):
        tote, walls = make_folding_tote("t", first), folding_tote.wall_table(first)
        for i, wall in enumerate(WALLS):
            body = tote.find(f"t_{wall}")
            np.testing.assert_array_equal(body.position, walls.body[i])
            np.testing.assert_array_equal(body.geoms[0].size, walls.panel_half[i])
            np.testing.assert_array_equal(body.geoms[0].position, walls.panel_position[i])
            curb = next(g for g in tote.geoms if g.name == f"t_curb_{wall}")
            np.testing.assert_array_equal(curb.size, walls.curb_half[i])
            np.testing.assert_array_equal(curb.position, walls.curb_position[i])
            # The panel's top is the tote's, and its inner face the cavity's.
            assert walls.body[i, 2] + walls.panel_position[i, 2] + walls.panel_half[i, 2] == pytest.approx(0.280)
            axis = 0 if i < 2 else 1
            inner = abs(walls.body[i, axis]) - walls.panel_half[i, axis]
            assert inner == pytest.approx(folding_tote.INNER[axis] / 2)
        mass, center, _ = folding_tote.mass_table(first)
        assert mass.sum() == pytest.approx(1)
        np.testing.assert_allclose(center[1:, 2], walls.panel_position[:, 2])
    zero, one = (folding_tote.base_table(first) for first in (0, 1))
    np.testing.assert_array_equal(zero[0][:10], one[0][:10])
    assert folding_tote.hinge_heights(0)[2] < folding_tote.hinge_heights(0)[3]


def test_furniture() -> None:
    for asset, height in ((table(0.65), 0.65), (dolly(0.2), 0.2)):
        tops = [g for g in asset.geoms if g.surface == "mat"]
        assert len(tops) == 1
        assert tops[0].position[2] + tops[0].size[2] == pytest.approx(0)
        low = min(g.position[2] - g.size[2] for g in asset.geoms if g.kind == "box")
        assert low == pytest.approx(-height)
    low, high = _extent(*(np.array([getattr(g, what) for g in bin_box().geoms]) for what in ("size", "position")))
    np.testing.assert_allclose(high[:2] - low[:2], (0.66, 0.48))
    assert high[2] == pytest.approx(0.32)
    assert low[2] == pytest.approx(-0.06)  # a thick floor, down into the stand
