"""Totes and parts as goods: any part in any slot, any tote by its boxes, and how they lie, stack and slide."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
import pytest
import tote_lab as lab

from assets import folding_tote, totes
from assets.parts import MAX_HULLS, SIZES, pool
from sim.cell import Cell
from sim.knobs import Rows
from sim.latches import FLAT
from sim.rotations import angle_between, rotate
from sim.totes import FOLDING, PILE, SPECK
from tasks.totes.variants import cavity

KINDS = range(len(totes.KINDS))
GRAVITY = 9.81


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return how far the farthest point of either set is from the nearest one of the other [m]."""
    away = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    return float(max(away.min(0).max(), away.min(1).max()))


# ---- parts -----------------------------------------------------------------------------------------------------------


def dealt() -> np.ndarray:
    """Return which part each slot has (worlds, slots): every part in every slot, and different ones side by side."""
    return (np.arange(len(pool()))[:, None] + 11 * np.arange(lab.SLOTS)) % len(pool())


@functools.cache
def dealt_cell() -> Cell:
    family, size = dealt() // SIZES, dealt() % SIZES
    mass = 0.5 + 0.3 * np.arange(lab.SLOTS)
    return lab.cell_of(lab.rows_of(len(family), part__family=family, part__size=size, part__mass=mass))


def mesh_points(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Return a geom's vertices (k, 3) [m] in its body's frame, worked out from the model alone."""
    mesh = model.geom_dataid[geom]
    points = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]].astype(float)
    return rotate(model.geom_quat[geom], points) + model.geom_pos[geom]


@pytest.mark.parametrize("slot", range(lab.SLOTS))
def test_any_part_in_any_slot(slot: int) -> None:
    """Meshes, bounds, mass and inertia are that part's; what is seen and what collides lie where the part has them."""
    cell, template = dealt_cell(), lab.scene().model
    for world, parts in enumerate(dealt()):
        model: mujoco.MjModel = cell.worlds.model(world)  # type: ignore[attr-defined]
        part = pool()[parts[slot]]
        assert model.nmesh == template.nmesh
        body = lab.scene().slot_bodies[slot]
        mass = part.mass * (0.5 + 0.3 * slot)
        assert model.body_mass[body] == pytest.approx(mass)
        np.testing.assert_allclose(model.body_inertia[body], mass * np.array(part.inertia), rtol=1e-9)
        np.testing.assert_allclose(model.body_ipos[body], 0.0, atol=1e-12)
        np.testing.assert_allclose(model.body_iquat[body], [1, 0, 0, 0], atol=1e-12)
        shapes = [part.visual.vertices, *part.hulls]
        for k, name in enumerate([f"part{slot}_look", *(f"part{slot}_hull{j}" for j in range(MAX_HULLS))]):
            geom = model.geom(name).id
            mesh = model.mesh(model.geom_dataid[geom]).name
            points = mesh_points(model, geom)
            if k < len(shapes):
                assert mesh == (f"visual{parts[slot]}" if k == 0 else f"hull{parts[slot]}_{k - 1}")
                assert apart(points, shapes[k]) < 2e-6
            else:  # a hull that this part does not need is a speck inside it
                assert mesh == SPECK
                low, high = part.hulls[0].min(0), part.hulls[0].max(0)
                assert (points > low).all()
                assert (points < high).all()
            reach = np.sqrt(((points - model.geom_pos[geom]) ** 2).sum(1)).max()
            assert reach - 1e-7 <= model.geom_rbound[geom] <= 2.0 * reach  # of the box around the mesh, not of another
            local = model.mesh_vert[model.mesh_vertadr[model.geom_dataid[geom]] :][: len(points)]
            middle, half = model.geom_aabb[geom][:3], model.geom_aabb[geom][3:]
            np.testing.assert_allclose(middle - half, local.min(0), atol=1e-6)
            np.testing.assert_allclose(middle + half, local.max(0), atol=1e-6)


def test_what_is_seen_and_what_collides_fill_the_same_space() -> None:
    for world in (0, 17, 26, 41):
        model: mujoco.MjModel = dealt_cell().worlds.model(world)  # type: ignore[attr-defined]
        for slot in range(lab.SLOTS):
            seen = mesh_points(model, model.geom(f"part{slot}_look").id)
            hulls = [mesh_points(model, model.geom(f"part{slot}_hull{j}").id) for j in range(MAX_HULLS)]
            felt = np.concatenate(hulls)
            np.testing.assert_allclose(felt.min(0), seen.min(0), atol=0.004)
            np.testing.assert_allclose(felt.max(0), seen.max(0), atol=0.004)


def test_a_world_keeps_its_parts_when_another_gets_new_ones() -> None:
    cell = lab.cell_of(lab.rows_of(2, part__family=[[3], [7]]))
    before = {
        name: cell.worlds.field(name)[0].copy() for name in ("geom_dataid", "geom_pos", "body_mass", "geom_rbound")
    }
    bounds = cell.worlds.field("geom_rbound")[1].copy()
    model = cell.scene.model
    cell.apply(lab.rows_of(1, part__family=9), np.array([1]))
    assert cell.scene.model is model
    for name, value in before.items():
        np.testing.assert_array_equal(cell.worlds.field(name)[0], value)
    assert (cell.worlds.field("geom_rbound")[1] != bounds).any()
    fresh = lab.cell_of(lab.rows_of(1, part__family=9))
    for name in ("geom_dataid", "geom_pos", "geom_quat", "geom_size", "body_mass", "body_inertia", "geom_rbound"):
        np.testing.assert_array_equal(cell.worlds.field(name)[1], fresh.worlds.field(name)[0])


def test_every_part_dropped_into_a_tote_lies_on_its_floor() -> None:
    """All parts of the pool, in totes of all kinds: inside, on the floor and not in it, at rest."""
    n = len(pool())
    kind = np.arange(n) % len(totes.KINDS)
    index = np.arange(n)
    cell = lab.cell_of(
        lab.rows_of(n, tote__kind=kind, part__family=(index // SIZES)[:, None], part__size=(index % SIZES)[:, None])
    )
    lab.put(cell, np.where(kind == FOLDING, lab.GOODS.folding, lab.GOODS.tote), lab.TABLE)
    rim = np.array([cavity(k)[2] for k in KINDS])[kind]
    turn = np.random.default_rng(3).standard_normal((n, 4))
    at = lab.TABLE + np.stack([np.zeros(n), np.zeros(n), rim + 0.02], axis=1)
    lab.put(cell, 2, at, turn / np.sqrt((turn**2).sum(1, keepdims=True)))
    lab.run(cell, 20)
    assert cell.worlds.broken(np.arange(n)) == [None] * n
    position, rotation = (pose[:, 2] for pose in cell.poses(np.arange(n)))
    for world, part in enumerate(pool()):
        (length, width), floor, top = cavity(kind[world])
        points = np.concatenate(part.hulls)
        points = rotate(np.broadcast_to(rotation[world], (len(points), 4)), points) + position[world] - lab.TABLE
        assert (np.abs(points[:, :2]) < np.array([length, width]) / 2 + 0.001).all(), part
        assert points[:, 2].min() == pytest.approx(floor, abs=0.001), part
        assert points[:, 2].max() < top
    speed = np.abs(cell.worlds.qvel[:, lab.scene().slot_dofs[2] + np.arange(3)])
    assert speed.max() < 0.03


# ---- totes -----------------------------------------------------------------------------------------------------------


def test_one_body_takes_every_kind_of_tote() -> None:
    cell = lab.cell_of(lab.rows_of(len(KINDS), tote__kind=list(KINDS), tote__mass=[1.0, 0.8, 1.0, 1.3, 1.0]))
    for k, (kind, ratio) in enumerate(zip(totes.KINDS, [1.0, 0.8, 1.0, 1.3, 1.0], strict=True)):
        model: mujoco.MjModel = cell.worlds.model(k)  # type: ignore[attr-defined]
        half, position = totes.box_table(kind)
        center, inertia = totes.inertia_table(kind)
        for name in ("tote", *(f"pile{i}" for i in range(PILE))):
            geoms = [model.geom(f"{name}_{box}").id for box in totes.BOXES]
            np.testing.assert_array_equal(model.geom_size[geoms], half)
            np.testing.assert_array_equal(model.geom_pos[geoms], position)
            np.testing.assert_allclose(model.geom_rbound[geoms], np.sqrt((half**2).sum(1)))
            body = model.body(name).id
            mass = totes.TARE[kind] * ratio
            assert model.body_mass[body] == pytest.approx(mass)
            np.testing.assert_allclose(model.body_ipos[body], center)
            np.testing.assert_allclose(model.body_inertia[body], inertia * mass)
            np.testing.assert_allclose(model.body_iquat[body], [1, 0, 0, 0], atol=1e-12)


@pytest.mark.parametrize("first", [0, 1])
def test_the_folding_tote_follows_the_wall_that_folds_first(first: int) -> None:
    """As if it had been compiled so: boxes, hinges, mass, moments."""
    model: mujoco.MjModel = lab.cell_of(lab.rows_of(1, tote__kind=FOLDING, tote__fold_first=first)).worlds.model(0)  # type: ignore[attr-defined]
    for body in folding_tote.folding_tote("folding", first).walk():
        made = model.body(body.name).id
        assert model.body_mass[made] == pytest.approx(body.mass)
        np.testing.assert_allclose(model.body_ipos[made], body.center_of_mass, atol=1e-12)
        xx, _, _, yy, _, zz = body.inertia
        np.testing.assert_allclose(model.body_inertia[made], [xx, yy, zz])
        np.testing.assert_allclose(model.body_iquat[made], [1, 0, 0, 0], atol=1e-12)
        if not body.free:
            np.testing.assert_allclose(model.body_pos[made], body.position)
        for geom in body.geoms:
            if geom.surface is not None:
                np.testing.assert_allclose(model.geom(geom.name).size, geom.size)
                np.testing.assert_allclose(model.geom(geom.name).pos, geom.position, atol=1e-12)


def test_totes_of_all_kinds_stack_with_their_pitch() -> None:
    """Three empties and the tote that was worked on; for the folding one, the real thing on top of packs."""
    kind = np.array(KINDS)
    cell = lab.cell_of(lab.rows_of(len(kind), tote__kind=kind))
    pitch = np.array([totes.pitch(k) for k in totes.KINDS])
    place = np.array([1.2, -1.5, 0.0])
    for level in range(PILE + 1):
        top = np.where(kind == FOLDING, lab.GOODS.folding, lab.GOODS.tote)
        slot = lab.GOODS.pile[level] if level < PILE else top
        drop = np.stack([np.zeros(5), np.zeros(5), level * (pitch + 0.001)], axis=1)  # each falls a millimetre
        lab.put(cell, slot, place + drop, 0.4)
    cell.worlds.qpos[np.ix_([FOLDING], cell.latches.qpos)] = FLAT
    cell.latches.update(np.arange(5))
    lab.run(cell, 15)
    position, rotation = cell.poses(np.arange(5))
    stack = [*lab.GOODS.pile, lab.GOODS.tote]
    position[FOLDING, lab.GOODS.tote], rotation[FOLDING, lab.GOODS.tote] = position[FOLDING, -1], rotation[FOLDING, -1]
    height = position[:, stack, 2]
    np.testing.assert_allclose(height[:, 0], 0.0, atol=5e-4)
    np.testing.assert_allclose(np.diff(height, axis=1), np.tile(pitch[:, None], (1, PILE)), atol=5e-4)
    lean = angle_between(rotation[:, stack], np.broadcast_to([np.cos(0.2), 0, 0, np.sin(0.2)], (5, PILE + 1, 4)))
    assert lean.max() < np.deg2rad(0.5)


# ---- friction --------------------------------------------------------------------------------------------------------


def slid(rows: Rows, slot: int, position: object, angle: np.ndarray, under: int | None = None) -> np.ndarray:
    """Turn gravity as if all were tilted by `angle` (n,); return how far a thing slid [m] in a second, (n,)."""
    cell = lab.cell_of(rows)
    if under is not None:
        lab.put(cell, under, lab.TABLE)
    lab.put(cell, slot, position)
    lab.run(cell, 4)
    before, _ = cell.poses(lab.every(cell))
    gravity = cell.worlds.field("opt.gravity")
    for share in (*np.linspace(0.1, 1.0, 8), *[1.0] * 10):
        gravity[:, 0], gravity[:, 2] = GRAVITY * np.sin(share * angle), -GRAVITY * np.cos(share * angle)
        cell.worlds.wake(lab.every(cell))
        lab.run(cell, 1)
    moved = cell.poses(lab.every(cell))[0][:, slot] - before[:, slot]
    if under is not None:
        moved -= cell.poses(lab.every(cell))[0][:, under] - before[:, under]
    return np.sqrt((moved[:, :2] ** 2).sum(1))


# Surface that decides, its knob's values, and where something slides on it; the others hold firmly or not at all.
FRICTIONS = {
    "plastic_mat": ((0.4, 0.8), "tote on the table"),
    "floor": ((0.3, 0.6), "tote on the floor"),
    "plastic_plastic": ((0.2, 0.5), "slick part in a tote"),
    "part": ((0.3, 0.5), "rough part in a tote"),
}


@pytest.mark.parametrize("surface", FRICTIONS)
def test_things_slip_at_the_angle_of_friction(surface: str) -> None:
    (low, high), where = FRICTIONS[surface]
    friction = np.repeat([low, high], 2)
    angle = np.arctan(friction * np.tile([0.92, 1.08], 2))
    # A plate lies flat; nothing but the pair that is asked for may slip.
    columns = {"part__family": 4, "surface__plastic_mat__friction": 1.2, "part__friction": 0.1}
    if surface == "part":
        columns |= {"surface__plastic_plastic__friction": 0.1, "part__friction": friction[:, None]}
    else:
        columns |= {f"surface__{surface}__friction": friction}
    rows = lab.rows_of(4, **columns)
    if "part" in where:
        plate = pool()[4 * SIZES + 1]
        up = np.argmin(np.ptp(plate.points, axis=0))
        assert up == 2
        at = lab.TABLE + np.array([0, 0, cavity(0)[1] + np.abs(plate.points[:, 2]).max()])
        moved = slid(rows, 0, at, angle, under=lab.GOODS.tote)
    else:
        moved = slid(rows, lab.GOODS.tote, lab.TABLE if "table" in where else (0.0, 2.0, 0.0), angle)
    print(surface, "moved [mm]", np.round(1000 * moved, 2))
    assert (moved[::2] < 0.003).all()
    assert (moved[1::2] > 0.02).all()
