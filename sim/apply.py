"""Where each knob of the cell acts in the engine's per-world model arrays; the goods write their own.

Every function writes the knobs it names for the worlds `ids`; nominal values come from the compiled template, so a
ratio of 1 and an offset of 0 give the template itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from assets.looks import FLOORS
from sim.knobs import Rows

if TYPE_CHECKING:
    from sim.worlds import Worlds


def write_rows(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    """Write all knobs of `rows` (one per world in `ids`) into the worlds' model arrays."""
    worlds.scene.scene.goods.write(worlds, rows, ids)
    _contact(worlds, rows, ids)
    _arm(worlds, rows, ids)
    _tool(worlds, rows, ids)
    paint(worlds, FLOORS[:1], FLOORS, rows["floor.texture"][:, None], rows["floor.color"][:, None, :], ids)
    _cameras_and_lights(worlds, rows, ids)


def block(*axes: np.ndarray | Sequence[int]) -> tuple[np.ndarray, ...]:
    """Index a block of an array: every combination of these indices."""
    return np.ix_(*(np.asarray(axis) for axis in axes))


def paint(
    worlds: Worlds,
    materials: Sequence[str],
    pool: Sequence[str],
    choice: np.ndarray,
    color: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Give named materials (m) one texture of the pool each, `choice` (n, m), and a tint `color` (n, m, 3)."""
    scene = worlds.scene
    textures = scene.ids(mujoco.mjtObj.mjOBJ_TEXTURE, pool)
    painted = scene.ids(mujoco.mjtObj.mjOBJ_MATERIAL, materials)
    role = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)
    worlds.field("mat_texid")[block(ids, painted, [role])] = textures[choice.astype(np.int64) % len(pool)][..., None]
    worlds.field("mat_rgba")[block(ids, painted, [0, 1, 2])] = color


def _contact(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    colliding = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    colliding = np.setdiff1d(colliding, scene.surfaces.get("pads", []))  # these have a firmness of their own
    solref = worlds.field("geom_solref")
    solref[block(ids, colliding, [0])] = rows["contact.time_constant"][:, None, None]
    solref[block(ids, colliding, [1])] = rows["contact.damping_ratio"][:, None, None]
    worlds.field("eq_solref")[block(ids, scene.welds, [0])] = rows["suction.time_constant"][:, None, None]


def _arm(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    dofs = block(ids, scene.arm_dofs)
    worlds.field("dof_damping")[dofs] = model.dof_damping[scene.arm_dofs] * rows["arm.damping"]
    worlds.field("dof_frictionloss")[dofs] = model.dof_frictionloss[scene.arm_dofs] * rows["arm.friction"]
    worlds.field("dof_armature")[dofs] = model.dof_armature[scene.arm_dofs] * rows["arm.armature"]
    servos = np.arange(len(scene.arm_dofs))
    stiffness = model.actuator_gainprm[servos, 0] * rows["arm.stiffness"]
    damping = model.actuator_biasprm[servos, 2] * rows["arm.servo_damping"]
    worlds.field("actuator_gainprm")[block(ids, servos, [0])] = stiffness[..., None]
    worlds.field("actuator_biasprm")[block(ids, servos, [1])] = -stiffness[..., None]
    worlds.field("actuator_biasprm")[block(ids, servos, [2])] = damping[..., None]


def _tool(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    tool, ratio = scene.tool_body, rows["tool.mass"]
    worlds.field("body_mass")[ids, tool] = model.body_mass[tool] * ratio
    worlds.field("body_inertia")[ids, tool] = model.body_inertia[tool] * ratio[:, None]
    worlds.field("body_ipos")[ids, tool] = model.body_ipos[tool] + rows["tool.center_of_mass"]


def _cameras_and_lights(worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
    scene, model = worlds.scene, worlds.scene.model
    for name, camera in scene.cameras.items():
        worlds.field("cam_pos")[ids, camera] = model.cam_pos[camera] + rows[f"camera.{name}.position"]
        turned = np.stack([_turned(model.cam_quat[camera], v) for v in rows[f"camera.{name}.rotation"]])
        worlds.field("cam_quat")[ids, camera] = turned
        worlds.field("cam_fovy")[ids, camera] = np.rad2deg(rows[f"camera.{name}.field_of_view"])
    everything = np.arange(model.nlight)
    intensity = model.light_diffuse * rows["light.intensity"][:, None, None] * rows["light.color"][:, None, :]
    worlds.field("light_diffuse")[block(ids, everything)] = intensity
    ambient = np.zeros((len(ids), model.nlight, 3))
    ambient[:, 0] = rows["light.ambient"][:, None]
    worlds.field("light_ambient")[block(ids, everything)] = ambient
    direction = model.light_dir + rows["light.direction"][:, None, :]
    direction /= np.sqrt((direction * direction).sum(-1, keepdims=True))
    worlds.field("light_dir")[block(ids, everything)] = direction


def _turned(quaternion: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turn a camera by a rotation vector [rad] given in its own axes."""
    turn, out = np.zeros(4), np.zeros(4)
    angle = float(np.sqrt((rotation * rotation).sum()))
    mujoco.mju_axisAngle2Quat(turn, rotation / angle if angle > 0 else np.array([1.0, 0, 0]), angle)
    mujoco.mju_mulQuat(out, quaternion, turn)
    return out
