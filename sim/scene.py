"""Scenes: one template of a robot cell, compiled once; every world of a run is a row applied to it.

A `Scene` says what stands where: an arm with its tool, fixed furniture, a fixed number of carton slots (spare ones
sleep far away), cameras and lights. `compile_scene` turns it into one MuJoCo model plus the addresses by which the rest
of the project finds things in it.

The physics profile is the one that holds a stack under tilt: elliptic cones, impratio 10, solref 0.01, implicitfast,
2 ms; pyramidal cones creep twenty times as much and are anisotropic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import mujoco
import numpy as np

from assets.arms import Arm
from assets.asset import Body, Geom, Quat, Vec3
from assets.carton import PARTS, carton
from assets.errors import InputError
from assets.looks import CARDBOARDS, LOOKS, texture_image

TIMESTEP = 0.002  # [s] 500 Hz
TEMPLATE_SIZE = (0.4, 0.3, 0.24)  # [m] of the carton that is compiled; rows give every slot its own
# Contacts of 10 ms that grow firm over the first 0.3 mm and are damped twice over, as cardboard is. With MuJoCo's
# default (impedance 0.9 to 0.95 over 1 mm, critical damping) light cartons on uneven supports and slender ones across
# the deck's boards lose and find their contact points all the time: they walk down a 10 degree tilt at up to 2 mm/s;
# their chatter keeps whole stacks awake. With this they stand within half a millimetre in 5 s, and sleep.
SOLREF = [0.01, 2.0]
SOLIMP = [0.3, 0.95, 0.0003, 0.5, 2.0]
STILL = 1e-9  # [m/s] of a belt at rest: MuJoCo leaves surface velocities out of a model in which all are zero
PARKING = (30.0, 0.0)  # where spare slots sleep, out of every camera's sight [m]
# Contact bits: cartons and furniture (1) touch everything; arm links (2) do not touch each other.
WORLD_BIT, ARM_BIT = 1, 2
# The surface with the higher priority decides a contact's friction, so that each pair of materials has its own knob.
PRIORITY = {"cardboard": 0, "wood": 1, "belt": 1, "floor": 1, "metal": 0, "rubber": 0}


@dataclasses.dataclass(frozen=True)
class Placed:
    """An asset standing somewhere in the world: position [m], quaternion wxyz."""

    body: Body
    position: Vec3 = (0.0, 0.0, 0.0)
    quaternion: Quat = (1.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera at `position`, looking at `target`, both in the frame of `body` ("" for the world).

    `fovy` is the vertical field of view [deg], as MuJoCo counts it.
    """

    name: str
    position: Vec3
    target: Vec3
    fovy: float
    up: Vec3 = (0.0, 0.0, 1.0)
    body: str = ""


@dataclasses.dataclass(frozen=True)
class Light:
    """A directional light coming from `position`, aimed at `target`, all in world axes [m]."""

    name: str
    position: Vec3
    target: Vec3 = (0.0, 0.0, 0.0)
    diffuse: float = 0.7
    shadow: bool = True


@dataclasses.dataclass(frozen=True)
class Scene:
    """A template of a cell.

    Attributes:
        arm: the arm and where its base stands.
        tool: the tool's tree, hung onto the arm's last link; holds a frame "suction" (z towards the load).
        furniture: what never moves.
        slots: number of carton slots.
        cameras, lights: what sees and what shines.
    """

    arm: Arm
    arm_position: Vec3
    tool: Body
    furniture: tuple[Placed, ...]
    slots: int
    cameras: tuple[Camera, ...]
    lights: tuple[Light, ...]


@dataclasses.dataclass(frozen=True)
class CompiledScene:
    """One compiled model and where things are in it (arrays of MuJoCo ids)."""

    scene: Scene
    model: mujoco.MjModel
    joints: np.ndarray  # (nj,) joint ids of the arm, base first
    arm_qpos: np.ndarray  # (nj,)
    arm_dofs: np.ndarray  # (nj,)
    slot_bodies: np.ndarray  # (slots,)
    slot_qpos: np.ndarray  # (slots,) first of 7
    slot_dofs: np.ndarray  # (slots,) first of 6
    slot_geoms: np.ndarray  # (slots, geoms per carton), the colliding one first
    surfaces: dict[str, np.ndarray]  # surface: ids of the fixed geoms made of it
    slot_materials: np.ndarray  # (slots,)
    welds: np.ndarray  # (slots,) equality ids
    cups_body: int
    suction_site: int
    force_sensor: int  # address in sensordata
    torque_sensor: int
    acceleration_sensor: int
    cameras: dict[str, int]

    @property
    def substeps_per_second(self) -> float:
        """Physics steps per second."""
        return 1.0 / float(self.model.opt.timestep)


def look_at(position: Vec3, target: Vec3, up: Vec3) -> np.ndarray:
    """Return the quaternion (4,) of a camera at `position` that looks at `target` along its own -z, with y up."""
    back = np.asarray(position, float) - np.asarray(target, float)
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quaternion


def _add_geom(parent: mujoco.MjsBody, geom: Geom, arm: bool) -> None:
    kinds = {
        "box": mujoco.mjtGeom.mjGEOM_BOX,
        "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
        "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
        "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    }
    made = parent.add_geom(name=geom.name, type=kinds[geom.kind], pos=geom.position, quat=geom.quaternion)
    made.size = [*geom.size, *[0.0] * (3 - len(geom.size))]
    made.mass = 0.0
    made.material = geom.look
    # Group 3 is not drawn: collision proxies that finer visuals cover.
    made.group = 3 if geom.hidden else (2 if geom.surface is None else 0)
    if geom.surface is None:
        made.contype = made.conaffinity = 0
    else:
        made.contype, made.conaffinity = (ARM_BIT if arm else WORLD_BIT), WORLD_BIT
        made.priority = PRIORITY[geom.surface]
        if geom.surface == "belt":
            made.surfacevel[0] = STILL


def _add_body(parent: mujoco.MjsBody, body: Body, position: Vec3, quaternion: Quat, arm: bool) -> mujoco.MjsBody:
    made = parent.add_body(name=body.name, pos=position, quat=quaternion)
    if body.mass > 0:
        xx, xy, xz, yy, yz, zz = body.inertia
        made.mass, made.ipos, made.explicitinertial = body.mass, body.center_of_mass, True
        made.fullinertia = [xx, yy, zz, xy, xz, yz]
    if body.joint is not None:
        j = body.joint
        # Armature, damping, friction and gains are written per world; what stands here is the nominal arm.
        joint = made.add_joint(name=j.name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=j.axis, range=j.range)
        joint.limited, joint.armature, joint.frictionloss = True, j.armature, j.friction
        joint.damping[0] = j.damping
        joint.actgravcomp = True
        made.gravcomp = 1.0
    elif body.free:
        made.add_freejoint(name=body.name)
    elif arm:
        made.gravcomp = 1.0
    for geom in body.geoms:
        _add_geom(made, geom, arm)
    for frame in body.frames:
        made.add_site(name=frame.name, pos=frame.position, quat=frame.quaternion, group=4)
    for child in body.children:
        _add_body(made, child, child.position, child.quaternion, arm)
    return made


def _add_looks(spec: mujoco.MjSpec) -> None:
    """Add every look as a material; a textured look's texture carries the look's name."""
    for name, look in LOOKS.items():
        material = spec.add_material(name=name, rgba=look.rgba, specular=look.specular, shininess=look.shininess)
        material.reflectance = look.reflectance
        if look.texture is not None:
            pixels = texture_image(look.texture)
            texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
            texture.height, texture.width, texture.nchannel = pixels.shape
            texture.data = pixels.tobytes()
            _set_texture(material, name, look.texture.period)


def _add_sky(spec: mujoco.MjSpec) -> None:
    """A pale hall around the cell, where cameras look past the floor."""
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    sky.builtin, sky.width, sky.height = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, 64, 384
    sky.rgb1, sky.rgb2 = [0.78, 0.80, 0.82], [0.55, 0.56, 0.57]


def _set_texture(material: mujoco.MjsMaterial, name: str, period: float) -> None:
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    material.texuniform, material.texrepeat = True, [1.0 / period] * 2


def compile_scene(scene: Scene) -> CompiledScene:
    """Compile the template.

    Raises:
        InputError: no slot, or the tool has no frame "suction".
    """
    if scene.slots < 1:
        raise InputError(f"a scene needs at least one carton slot, got {scene.slots}")
    if "suction" not in {frame.name for body in scene.tool.walk() for frame in body.frames}:
        raise InputError(f"the tool {scene.tool.name!r} has no frame 'suction' in the middle of its cups' lips")
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    option = spec.option
    option.timestep = TIMESTEP
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.iterations, option.ls_iterations = 50, 50
    option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    option.sleep_tolerance = 1e-3
    spec.default.geom.solref = SOLREF
    spec.default.geom.solimp = SOLIMP
    spec.default.equality.solref = [0.01, 1.0]
    spec.visual.headlight.diffuse, spec.visual.headlight.ambient = [0.15] * 3, [0.0] * 3
    spec.visual.map.znear, spec.visual.map.zfar = 0.01, 12.0
    spec.stat.extent, spec.stat.center = 3.0, [0.4, 0.0, 0.6]
    _add_looks(spec)
    _add_sky(spec)

    world = spec.worldbody
    floor = world.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.5], material="floor")
    floor.priority = PRIORITY["floor"]
    for placed in scene.furniture:
        _add_body(world, placed.body, placed.position, placed.quaternion, arm=False)
    last = list(scene.arm.body.walk())[-1].name
    _add_body(world, scene.arm.body.attach(last, scene.tool), scene.arm_position, (1.0, 0.0, 0.0, 0.0), arm=True)
    for joint in scene.arm.body.joints():
        servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=joint.stiffness, kv=joint.servo_damping)
        servo.forcelimited, servo.forcerange = True, [-joint.torque_limit, joint.torque_limit]

    for i in range(scene.slots):
        material = spec.add_material(name=f"carton{i}", rgba=[1, 1, 1, 1], specular=0.1, shininess=0.1)
        _set_texture(material, CARDBOARDS[0], 0.4)
        body = carton(f"slot{i}", TEMPLATE_SIZE, 5.0, look=f"carton{i}")
        at = (PARKING[0] + 1.2 * (i % 8), PARKING[1] + 1.2 * (i // 8), 0.5)
        made = _add_body(world, body, at, (1.0, 0.0, 0.0, 0.0), arm=False)
        made.sleep = mujoco.mjtSleepPolicy.mjSLEEP_INIT
        weld = spec.add_equality(name=f"weld{i}", type=mujoco.mjtEq.mjEQ_WELD, name1="cups", name2=f"slot{i}")
        weld.objtype, weld.active = mujoco.mjtObj.mjOBJ_BODY, False

    for camera in scene.cameras:
        parent = spec.body(camera.body) if camera.body else world
        made = parent.add_camera(name=camera.name, pos=camera.position, fovy=camera.fovy)
        made.quat = look_at(camera.position, camera.target, camera.up)
    for light in scene.lights:
        direction = np.asarray(light.target, float) - np.asarray(light.position, float)
        world.add_light(
            name=light.name,
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            pos=light.position,
            dir=direction,
            diffuse=[light.diffuse] * 3,
            specular=[0.2] * 3,
            ambient=[0.0] * 3,
            castshadow=light.shadow,
        )
    for kind, name in (
        (mujoco.mjtSensor.mjSENS_FORCE, "force"),
        (mujoco.mjtSensor.mjSENS_TORQUE, "torque"),
        (mujoco.mjtSensor.mjSENS_ACCELEROMETER, "acceleration"),
    ):
        spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="suction")
    return _addresses(scene, spec.compile())


def _addresses(scene: Scene, model: mujoco.MjModel) -> CompiledScene:
    def ids(kind: mujoco.mjtObj, names: Sequence[str]) -> np.ndarray:
        found = np.array([mujoco.mj_name2id(model, kind, n) for n in names], dtype=np.int64)
        if (found < 0).any():
            raise InputError(f"the scene has no {kind.name} named {names[int(np.argmin(found))]!r}")
        return found

    objects = mujoco.mjtObj
    joints = ids(objects.mjOBJ_JOINT, [j.name for j in scene.arm.body.joints()])
    bodies = ids(objects.mjOBJ_BODY, [f"slot{i}" for i in range(scene.slots)])
    first = model.body_jntadr[bodies]
    geoms = [ids(objects.mjOBJ_GEOM, [f"slot{i}_{p}" for p in PARTS]) for i in range(scene.slots)]
    surfaces: dict[str, list[str]] = {"floor": ["floor"]}
    for placed in scene.furniture:
        for body in placed.body.walk():
            for geom in body.geoms:
                if geom.surface is not None:
                    surfaces.setdefault(geom.surface, []).append(geom.name)
    force, torque, acceleration = ids(objects.mjOBJ_SENSOR, ["force", "torque", "acceleration"])
    return CompiledScene(
        scene=scene,
        model=model,
        joints=joints,
        arm_qpos=model.jnt_qposadr[joints].astype(np.int64),
        arm_dofs=model.jnt_dofadr[joints].astype(np.int64),
        slot_bodies=bodies,
        slot_qpos=model.jnt_qposadr[first].astype(np.int64),
        slot_dofs=model.jnt_dofadr[first].astype(np.int64),
        slot_geoms=np.stack(geoms),
        surfaces={surface: ids(objects.mjOBJ_GEOM, names) for surface, names in surfaces.items()},
        slot_materials=ids(objects.mjOBJ_MATERIAL, [f"carton{i}" for i in range(scene.slots)]),
        welds=ids(objects.mjOBJ_EQUALITY, [f"weld{i}" for i in range(scene.slots)]),
        cups_body=int(ids(objects.mjOBJ_BODY, ["cups"])[0]),
        suction_site=int(ids(objects.mjOBJ_SITE, ["suction"])[0]),
        force_sensor=int(model.sensor_adr[force]),
        torque_sensor=int(model.sensor_adr[torque]),
        acceleration_sensor=int(model.sensor_adr[acceleration]),
        cameras={c.name: int(ids(objects.mjOBJ_CAMERA, [c.name])[0]) for c in scene.cameras},
    )
