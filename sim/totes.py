"""Totes and parts as goods: the template's bodies, their knobs, and where these act.

A scene holds room for parts, one rigid tote, one folding tote, and a pile of empties. One body takes any kind of rigid
tote, or the folded pack, by the sizes of its boxes. A part slot takes any part of the pool by its meshes: nothing is
compiled again. Of two plastic surfaces with a friction each, the engine takes the greater.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from assets import folding_tote, totes
from assets.asset import Body, Geom
from assets.looks import LOOKS
from assets.parts import FAMILIES, MAX_HULLS, SIZES, pool
from sim.apply import block
from sim.knobs import Knob, Rows
from sim.latches import LATCH_KNOBS

if TYPE_CHECKING:
    from sim.worlds import Worlds

PILE = 3  # empties that a scene has room for
FOLDING = totes.KINDS.index("6410")  # the kind that folds
SPECK = "speck"  # the mesh of a hull that a part does not need: a millimetre inside its first one

TOTE_KNOBS = (
    Knob("tote.kind", "index", 0, len(totes.KINDS) - 1, 0, "which tote: " + ", ".join(totes.KINDS), integer=True),
    Knob("tote.mass", "1", 0.7, 1.4, 1.0, "mass of the empty tote over the kind's tare"),
    Knob("tote.fold_first", "index", 0, 1, 0, "which long wall of a folding tote lies below", integer=True),
    Knob("tote.color", "1", 0.4, 1.0, 1.0, "tint of the totes", (3,)),
    *LATCH_KNOBS,
    Knob("pile.count", "1", 0, PILE, 1, "empties that stand on the pile", integer=True),
    Knob("part.count", "1", 0, 64, 12, "parts in the tote", integer=True),
    Knob("part.family", "index", 0, len(FAMILIES) - 1, 0, "which family of parts", ("slot",), integer=True),
    Knob("part.size", "index", 0, SIZES - 1, 1, "which size of the family", ("slot",), integer=True),
    Knob("part.mass", "1", 0.4, 2.5, 1.0, "mass of the part over its nominal mass", ("slot",)),
    Knob("part.friction", "1", 0.1, 0.8, 0.3, "friction of the part on others and on plastic", ("slot",)),
    Knob("part.color", "1", 0.4, 1.0, 1.0, "tint of the part", ("slot", 3)),
    Knob("surface.plastic_plastic.friction", "1", 0.1, 0.6, 0.25, "friction between totes, bin and pile"),
    Knob("surface.plastic_metal.friction", "1", 0.1, 0.4, 0.2, "friction of the tool's metal, but for its pads"),
    Knob("surface.plastic_mat.friction", "1", 0.3, 1.2, 0.7, "friction on the rubber mats of table and dolly"),
    Knob("surface.pads.friction", "1", 0.4, 1.4, 0.9, "friction of the finger pads on anything"),
    Knob("surface.floor.friction", "1", 0.2, 0.9, 0.5, "friction of anything on the floor"),
    Knob("gripper.max_force", "N", 20, 235, 180, "force with which each finger presses at most"),
    # Small, light and falling things want firmer contacts than stacked cartons: softer, they sink in by millimetres.
    Knob("contact.time_constant", "s", 0.004, 0.012, 0.008, "time constant of contacts (solref)"),
    Knob("contact.damping_ratio", "1", 0.7, 1.5, 1.0, "damping ratio of contacts (solref)"),
    Knob("sensor.part_position_noise", "m", 0.0, 0.004, 0.001, "standard deviation of detected part positions"),
    Knob("sensor.part_rotation_noise", "rad", 0.0, 0.05, 0.01, "standard deviation of detected part orientations"),
    Knob("sensor.tote_position_noise", "m", 0.0, 0.004, 0.001, "standard deviation of detected tote positions"),
    Knob("sensor.tote_yaw_noise", "rad", 0.0, 0.01, 0.002, "standard deviation of detected tote headings"),
)  # fmt: skip


def tote_mass(rows: Rows) -> np.ndarray:
    """Return what each row's empty tote weighs [kg], (n,)."""
    return _TARE[rows["tote.kind"].astype(np.int64)] * rows["tote.mass"]


def pool_index(rows: Rows) -> np.ndarray:
    """Return the number of every slot's part in the pool, (n, slots)."""
    return (rows["part.family"] * SIZES + rows["part.size"]).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Totes:
    """Parts, totes and a pile of empties, as `sim.scene.Goods`.

    Slots: the parts, then the rigid tote, the pile from below, and the folding tote. The vacuum may hold the long walls
    of the tote that is worked on: grips 0 and 1 of the rigid one, 2 and 3 of the folding one.

    Attributes:
        parts: number of part slots.
    """

    parts: int

    @property
    def tote(self) -> int:
        """The slot of the rigid tote."""
        return self.parts

    @property
    def pile(self) -> np.ndarray:
        """The slots of the pile, from below, (PILE,)."""
        return self.parts + 1 + np.arange(PILE)

    @property
    def folding(self) -> int:
        """The slot of the folding tote."""
        return self.parts + 1 + PILE

    @property
    def bodies(self) -> tuple[Body, ...]:
        """Parts, rigid tote, pile, folding tote."""
        parts = tuple(_part_slot(i) for i in range(self.parts))
        rigid = tuple(totes.rigid_tote(name, "6280") for name in _RIGID_NAMES)
        return (*parts, *rigid, folding_tote.folding_tote("folding"))

    @property
    def grips(self) -> tuple[str, ...]:
        """The long walls."""
        return ("tote_long_a", "tote_long_b", "folding_long_a_panel", "folding_long_b_panel")

    def prepare(self, spec: mujoco.MjSpec) -> None:
        """Add the pool's meshes and a material for each part."""
        for i in range(self.parts):
            spec.add_material(name=f"part{i}", rgba=[1, 1, 1, 1], specular=0.4, shininess=0.4)
        speck = 0.0005 * np.array([(1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1)], np.float64)
        _add_mesh(spec, SPECK, speck, None)
        for i, part in enumerate(pool()):
            _add_mesh(spec, f"visual{i}", part.visual.vertices, part.visual.faces)
            for j, hull in enumerate(part.hulls):
                _add_mesh(spec, f"hull{i}_{j}", hull, None)

    def write(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write the knobs of parts, totes, pile, fingers and of what they touch."""
        self._parts(worlds, rows, ids)
        self._rigid(worlds, rows, ids)
        self._folding(worlds, rows, ids)
        self._friction(worlds, rows, ids)
        self._colors(worlds, rows, ids)
        limit = worlds.field("actuator_forcerange")
        # The drive pushes both fingers.
        limit[ids, worlds.scene.fingers] = 2.0 * rows["gripper.max_force"][:, None] * np.array([-1.0, 1.0])

    def write_bounds(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write the bounds of the meshes that the parts have."""
        mesh, _ = self._meshes(worlds, rows)
        radius, box = _mesh_bounds(worlds.scene.model)
        geoms = block(ids, self._part_geoms(worlds))
        worlds.field("geom_rbound")[geoms] = radius[mesh].reshape(len(ids), -1)
        worlds.field("geom_aabb")[geoms] = box[mesh].reshape(len(ids), -1, 6)

    def grip_mass(self, rows: Rows) -> np.ndarray:
        """Return the tare of the tote [kg], (n, 4)."""
        return np.repeat(_TARE[rows["tote.kind"].astype(np.int64)][:, None], 4, axis=1)

    def _part_geoms(self, worlds: Worlds) -> np.ndarray:
        names = [f"part{i}_{what}" for i in range(self.parts) for what in _PART_GEOMS]
        return worlds.scene.geoms(names)

    def _meshes(self, worlds: Worlds, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Return mesh ids (n, slots, geoms of a part) of all rows, and which of them are specks."""
        mesh, _ = _pool_meshes(worlds.scene.model)
        chosen = mesh[pool_index(rows)]
        return np.maximum(chosen, 0), chosen < 0

    def _parts(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        model, n = worlds.scene.model, len(ids)
        mesh, speck = self._meshes(worlds, rows)
        index = pool_index(rows)
        _, inside = _pool_meshes(model)
        geoms = block(ids, self._part_geoms(worlds))
        worlds.field("geom_dataid")[geoms] = mesh.reshape(n, -1)
        # The engine has moved every mesh to its own middle: a geom stands where its mesh was.
        position = np.where(speck[..., None], inside[index][:, :, None, :], model.mesh_pos[mesh])
        worlds.field("geom_pos")[geoms] = position.reshape(n, -1, 3)
        worlds.field("geom_quat")[geoms] = model.mesh_quat[mesh].reshape(n, -1, 4)
        _, box = _mesh_bounds(model)
        worlds.field("geom_size")[geoms] = box[mesh][..., 3:].reshape(n, -1, 3)
        worlds.field("geom_friction")[block(ids, self._part_geoms(worlds), [0])] = np.repeat(
            rows["part.friction"], len(_PART_GEOMS), axis=1
        )[..., None]
        bodies = block(ids, worlds.scene.slot_bodies[: self.parts])
        mass = _PART_MASS[index] * rows["part.mass"]
        worlds.field("body_mass")[bodies] = mass
        worlds.field("body_inertia")[bodies] = _PART_INERTIA[index] * mass[..., None]

    def _rigid(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        scene, kind = worlds.scene, rows["tote.kind"].astype(np.int64)
        for name in _RIGID_NAMES:
            geoms = block(ids, scene.geoms([f"{name}_{box}" for box in totes.BOXES]))
            worlds.field("geom_size")[geoms] = _HALF[kind]
            worlds.field("geom_pos")[geoms] = _POSITION[kind]
        slots = scene.slot_bodies[self.parts : self.folding]
        worlds.field("body_mass")[block(ids, slots)] = tote_mass(rows)[:, None]
        worlds.field("body_ipos")[block(ids, slots)] = _CENTER[kind][:, None, :]
        inertia = _INERTIA[kind] * tote_mass(rows)[:, None]
        worlds.field("body_inertia")[block(ids, slots)] = inertia[:, None, :]

    def _folding(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        scene, first = worlds.scene, rows["tote.fold_first"].astype(np.int64)
        geoms = scene.geoms([f"folding_{box}" for box in (*folding_tote.BASE, *(f"{w}_panel" for w in _WALLS))])
        worlds.field("geom_size")[block(ids, geoms)] = _FOLDING_HALF[first]
        worlds.field("geom_pos")[block(ids, geoms)] = _FOLDING_POSITION[first]
        walls = scene.ids(mujoco.mjtObj.mjOBJ_BODY, [f"folding_{wall}" for wall in _WALLS])
        worlds.field("body_pos")[block(ids, walls)] = _HINGES[first]
        bodies = block(ids, np.concatenate([scene.slot_bodies[self.folding :], walls]))
        mass, center, inertia = (table[first] for table in _FOLDING_MASS)
        tare = folding_tote.TARE * rows["tote.mass"]
        worlds.field("body_mass")[bodies] = mass * tare[:, None]
        worlds.field("body_ipos")[bodies] = center
        worlds.field("body_inertia")[bodies] = inertia * tare[:, None, None]

    def _friction(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        scene, model = worlds.scene, worlds.scene.model
        friction = worlds.field("geom_friction")
        loose = np.isin(model.body_rootid[model.geom_bodyid], scene.slot_bodies[self.parts :])
        plastic = np.concatenate([np.flatnonzero(loose), scene.surfaces["plastic"]])
        for geoms, knob in (
            (plastic, "plastic_plastic"),
            (scene.surfaces["metal"], "plastic_metal"),
            (scene.surfaces["mat"], "plastic_mat"),
            (scene.surfaces["pads"], "pads"),
            (scene.surfaces["floor"], "floor"),
        ):
            friction[block(ids, geoms, [0])] = rows[f"surface.{knob}.friction"][:, None, None]

    def _colors(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        scene, rgba = worlds.scene, worlds.field("mat_rgba")
        parts = scene.ids(mujoco.mjtObj.mjOBJ_MATERIAL, [f"part{i}" for i in range(self.parts)])
        rgba[block(ids, parts)] = _PART_COLOR[pool_index(rows)]
        rgba[block(ids, parts, [0, 1, 2])] *= rows["part.color"]
        folds = rows["tote.kind"] == FOLDING
        for look in ("tote_blue", "tote_grey", "tote_wall"):
            # The pile's bodies are blue totes or grey packs.
            shown = np.where(folds[:, None] & (look == "tote_blue"), LOOKS["tote_grey"].rgba[:3], LOOKS[look].rgba[:3])
            material = scene.ids(mujoco.mjtObj.mjOBJ_MATERIAL, [look])
            rgba[block(ids, material, [0, 1, 2])] = (shown * rows["tote.color"])[:, None, :]


# ---- the pool -------------------------------------------------------------------------------------------------------

_PART_GEOMS = ("look", *(f"hull{j}" for j in range(MAX_HULLS)))


def _part_slot(i: int) -> Body:
    """A slot that takes any part: what is seen, and as many hulls as any part has."""
    part = pool()[0]
    xx, yy, zz = (part.mass * m for m in part.inertia)
    hulls = (Geom(f"part{i}_hull{j}", "mesh", (), surface="plastic", hidden=True, mesh=SPECK) for j in range(MAX_HULLS))
    return Body(
        name=f"part{i}",
        mass=part.mass,
        inertia=(xx, 0.0, 0.0, yy, 0.0, zz),
        free=True,
        geoms=(Geom(f"part{i}_look", "mesh", (), look=f"part{i}", mesh="visual0"), *hulls),
    )


def _add_mesh(spec: mujoco.MjSpec, name: str, vertices: np.ndarray, faces: np.ndarray | None) -> None:
    mesh = spec.add_mesh(name=name)
    mesh.uservert = np.asarray(vertices, np.float32).ravel()
    if faces is not None:
        mesh.userface = np.asarray(faces, np.int32).ravel()
    # Only its frame comes from here: mass and inertia are authored.
    mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX


@functools.lru_cache(maxsize=2)
def _pool_meshes(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return mesh ids (pool, geoms of a part), -1 for a speck, and a point inside each part (pool, 3) [m]."""
    ids = np.full((len(pool()), len(_PART_GEOMS)), -1)
    for i, part in enumerate(pool()):
        names = (f"visual{i}", *(f"hull{i}_{j}" for j in range(len(part.hulls))))
        ids[i, : len(names)] = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_MESH, name) for name in names]
    assert model.mesh(SPECK).id == 0
    return ids, np.stack([part.hulls[0].mean(axis=0) for part in pool()])


@functools.lru_cache(maxsize=2)
def _mesh_bounds(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Return each mesh's bounding radius [m], (meshes,), and its box's centre and half sizes (meshes, 6)."""
    radius, box = np.zeros(model.nmesh), np.zeros((model.nmesh, 6))
    for i in range(model.nmesh):
        vertices = model.mesh_vert[model.mesh_vertadr[i] :][: model.mesh_vertnum[i]].astype(np.float64)
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        box[i] = *((low + high) / 2), *((high - low) / 2)
        radius[i] = np.sqrt((np.maximum(np.abs(low), np.abs(high)) ** 2).sum())
    return radius, box


# ---- tables by kind of tote, by part, and by the wall that folds first ----------------------------------------------

_RIGID_NAMES = ("tote", *(f"pile{i}" for i in range(PILE)))
_WALLS = folding_tote.WALLS
_HALF, _POSITION = (np.stack([totes.box_table(kind)[k] for kind in totes.KINDS]) for k in (0, 1))
_CENTER, _INERTIA = (np.stack([totes.inertia_table(kind)[k] for kind in totes.KINDS]) for k in (0, 1))
_TARE = np.array([totes.TARE[kind] for kind in totes.KINDS])
_HINGES = np.stack([folding_tote.wall_table(first).body for first in (0, 1)])
_FOLDING_HALF = np.stack(
    [np.concatenate([folding_tote.base_table(f)[0], folding_tote.wall_table(f).panel_half]) for f in (0, 1)]
)
_FOLDING_POSITION = np.stack(
    [np.concatenate([folding_tote.base_table(f)[1], folding_tote.wall_table(f).panel_position]) for f in (0, 1)]
)
_FOLDING_MASS = tuple(np.stack([folding_tote.mass_table(first)[k] for first in (0, 1)]) for k in range(3))
_PART_MASS = np.array([part.mass for part in pool()])
_PART_INERTIA = np.array([part.inertia for part in pool()])
_PART_COLOR = np.array([LOOKS[part.look].rgba for part in pool()])
