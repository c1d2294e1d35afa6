"""Where each knob of the cell acts in the engine's per-world model arrays.

Every function writes the knobs it names for the worlds `ids`; nominal values come from the compiled template, so a
ratio of 1 and an offset of 0 give the template itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from assets.carton import carton_geoms, carton_inertia
from assets.looks import CARDBOARDS, FLOORS, WOODS
from sim.knobs import Rows

if TYPE_CHECKING:
    from sim.worlds import Worlds


def write_rows(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    """Write all knobs of `rows` (one per world in `ids`) into the worlds' model arrays."""
    _cartons(worlds, rows, ids)
    _contact(worlds, rows, ids)
    _arm(worlds, rows, ids)
    _looks(worlds, rows, ids)
    _cameras_and_lights(worlds, rows, ids)


def carton_size(rows: Rows) -> np.ndarray:
    """Return the true sizes [m], (n, slots, 3): what the order says plus what the maker got wrong."""
    return rows["carton.size"] + rows["carton.size_error"]


def carton_mass(rows: Rows) -> np.ndarray:
    """Return the true masses [kg], (n, slots): what the order says plus what the packer got wrong."""
    return rows["carton.mass"] * (1.0 + rows["carton.mass_error"])


def _cartons(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene = worlds.scene
    size, mass = carton_size(rows), carton_mass(rows)
    n, slots, _ = size.shape
    half, position = carton_geoms(size.reshape(-1, 3))
    block = _block(ids, scene.slot_geoms.ravel())
    worlds.field("geom_size")[block] = half.reshape(n, -1, 3)
    worlds.field("geom_pos")[block] = position.reshape(n, -1, 3)
    center = rows["carton.center_of_mass"] * size
    bodies = _block(ids, scene.slot_bodies)
    worlds.field("body_mass")[bodies] = mass
    worlds.field("body_ipos")[bodies] = center
    inertia = carton_inertia(size.reshape(-1, 3), mass.reshape(-1), center.reshape(-1, 3))
    worlds.field("body_inertia")[bodies] = inertia.reshape(n, slots, 3)


def _contact(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    friction = worlds.field("geom_friction")
    boxes = scene.slot_geoms[:, 0]
    friction[_block(ids, boxes, [0])] = rows["surface.cardboard_cardboard.friction"][:, None, None]
    for surface, knob in (("wood", "cardboard_wood"), ("belt", "cardboard_belt"), ("floor", "cardboard_floor")):
        geoms = np.array(scene.surfaces[surface])
        friction[_block(ids, geoms, [0])] = rows[f"surface.{knob}.friction"][:, None, None]
    colliding = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    solref = worlds.field("geom_solref")
    solref[_block(ids, colliding, [0])] = rows["contact.time_constant"][:, None, None]
    solref[_block(ids, colliding, [1])] = rows["contact.damping_ratio"][:, None, None]
    worlds.field("eq_solref")[_block(ids, scene.welds, [0])] = rows["suction.time_constant"][:, None, None]


def _arm(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    dofs = _block(ids, scene.arm_dofs)
    worlds.field("dof_damping")[dofs] = model.dof_damping[scene.arm_dofs] * rows["arm.damping"]
    worlds.field("dof_frictionloss")[dofs] = model.dof_frictionloss[scene.arm_dofs] * rows["arm.friction"]
    worlds.field("dof_armature")[dofs] = model.dof_armature[scene.arm_dofs] * rows["arm.armature"]
    servos = np.arange(len(scene.arm_dofs))
    stiffness = model.actuator_gainprm[servos, 0] * rows["arm.stiffness"]
    damping = model.actuator_biasprm[servos, 2] * rows["arm.servo_damping"]
    worlds.field("actuator_gainprm")[_block(ids, servos, [0])] = stiffness[..., None]
    worlds.field("actuator_biasprm")[_block(ids, servos, [1])] = -stiffness[..., None]
    worlds.field("actuator_biasprm")[_block(ids, servos, [2])] = damping[..., None]


def _looks(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    rgba, texture = worlds.field("mat_rgba"), worlds.field("mat_texid")

    def named(kind: mujoco.mjtObj, names: tuple[str, ...]) -> np.ndarray:
        return np.array([mujoco.mj_name2id(model, kind, n) for n in names])

    def paint(materials: np.ndarray, pool: tuple[str, ...], choice: np.ndarray, color: np.ndarray) -> None:
        """Give materials (m,) one texture of the pool (n, m) and a tint (n, m, 3)."""
        known = named(mujoco.mjtObj.mjOBJ_TEXTURE, pool)
        role = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
        texture[_block(ids, materials, [role])] = known[choice.astype(np.int64) % len(pool)][..., None]
        rgba[_block(ids, materials, [0, 1, 2])] = color

    paint(scene.slot_materials, CARDBOARDS, rows["carton.texture"], rows["carton.color"])
    for knob, pool in (("pallet", WOODS), ("floor", FLOORS)):
        material = named(mujoco.mjtObj.mjOBJ_MATERIAL, pool[:1])
        paint(material, pool, rows[f"{knob}.texture"][:, None], rows[f"{knob}.color"][:, None, :])


def _cameras_and_lights(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    for name, camera in scene.cameras.items():
        worlds.field("cam_pos")[ids, camera] = model.cam_pos[camera] + rows[f"camera.{name}.position"]
        turned = np.stack([_turned(model.cam_quat[camera], v) for v in rows[f"camera.{name}.rotation"]])
        worlds.field("cam_quat")[ids, camera] = turned
        worlds.field("cam_fovy")[ids, camera] = np.rad2deg(rows[f"camera.{name}.field_of_view"])
    everything = np.arange(model.nlight)
    intensity = model.light_diffuse * rows["light.intensity"][:, None, None] * rows["light.color"][:, None, :]
    worlds.field("light_diffuse")[_block(ids, everything)] = intensity
    ambient = np.zeros((len(ids), model.nlight, 3))
    ambient[:, 0] = rows["light.ambient"][:, None]
    worlds.field("light_ambient")[_block(ids, everything)] = ambient
    direction = model.light_dir + rows["light.direction"][:, None, :]
    direction /= np.sqrt((direction * direction).sum(-1, keepdims=True))
    worlds.field("light_dir")[_block(ids, everything)] = direction


def _turned(quaternion: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turn a camera by a rotation vector [rad] given in its own axes."""
    turn, out = np.zeros(4), np.zeros(4)
    angle = float(np.sqrt((rotation * rotation).sum()))
    mujoco.mju_axisAngle2Quat(turn, rotation / angle if angle > 0 else np.array([1.0, 0, 0]), angle)
    mujoco.mju_mulQuat(out, quaternion, turn)
    return out


def _block(*axes: np.ndarray | list[int]) -> tuple[np.ndarray, ...]:
    """Index a block of an array: every combination of these indices."""
    return np.ix_(*(np.asarray(axis) for axis in axes))
