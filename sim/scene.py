"""Scenes: one template of a robot cell, compiled once; every world of a run is a row applied to it.

A `Scene` says what stands where: an arm with its tool, fixed furniture, the goods (a fixed number of loose things;
spare ones sleep far away), cameras and lights. `compile_scene` turns it into one MuJoCo model plus the addresses by
which the rest of the project finds things in it.

The physics profile is the one that holds a stack under tilt: elliptic cones, impratio 10, solref 0.01, implicitfast,
2 ms; pyramidal cones creep twenty times as much and are anisotropic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import mujoco
import numpy as np

from assets.arms import Arm
from assets.asset import Body, Geom, Quat, Vec3
from assets.errors import InputError
from assets.looks import LOOKS, texture_image

if TYPE_CHECKING:
    from sim.knobs import Rows
    from sim.worlds import Worlds

TIMESTEP = 0.002  # [s] 500 Hz
SPECK = 1e-4  # [kg] of a body that stands for no mass
# Contacts of 10 ms that grow firm over the first 0.3 mm and are damped twice over, as cardboard is. With MuJoCo's
# default (impedance 0.9 to 0.95 over 1 mm, critical damping) light cartons on uneven supports and slender ones across
# the deck's boards lose and find their contact points all the time: they walk down a 10 degree tilt at up to 2 mm/s;
# their chatter keeps whole stacks awake. With this they stand within half a millimetre in 5 s, and sleep.
SOLREF = [0.01, 2.0]
SOLIMP = (0.3, 0.95, 0.0003, 0.5, 2.0)
# Finger pads squeeze light things hard: a contact as soft as the others would let them sink in by centimetres.
PAD_SOLREF, PAD_SOLIMP = [0.005, 1.0], [0.98, 0.999, 0.0005, 0.5, 2.0]
STILL = 1e-9  # [m/s] of a belt at rest: MuJoCo leaves surface velocities out of a model in which all are zero
PARKING = (30.0, 0.0)  # where spare slots sleep, out of every camera's sight [m]
# Contact bits: cartons and furniture (1) touch everything; arm links (2) do not touch each other.
WORLD_BIT, ARM_BIT = 1, 2
# The surface with the higher priority decides a contact's friction, so that each pair of materials has its own knob.
PRIORITY = {
    "cardboard": 0,
    "wood": 1,
    "belt": 1,
    "floor": 1,
    "metal": 0,
    "rubber": 0,
    "plastic": 0,
    "mat": 1,
    "pads": 2,
}


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


class Goods(Protocol):
    """What is handled in a cell, and where its knobs act."""

    @property
    def bodies(self) -> tuple[Body, ...]:
        """The loose things: slot k is the k-th; each floats freely and sleeps far away until a task puts it."""
        ...

    @property
    def grips(self) -> tuple[str, ...]:
        """Names of the box geoms that the vacuum may hold."""
        ...

    def prepare(self, spec: mujoco.MjSpec) -> None:
        """Add the materials and meshes that the bodies name."""
        ...

    def write(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write the goods' knobs into the worlds' model arrays, a row for each world in `ids`."""
        ...

    def write_bounds(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write the bounds of meshes that a row has exchanged; called once the engine has refreshed its constants."""
        ...

    def grip_mass(self, rows: Rows) -> np.ndarray:
        """Return what the controller is told that each grip's thing weighs [kg], (n, grips)."""
        ...


@dataclasses.dataclass(frozen=True)
class Scene:
    """A template of a cell.

    Attributes:
        arm: the arm and where its base stands.
        tool: the tool's tree, hung onto the arm's last link; holds a frame "suction" (z towards the load).
        furniture: what never moves.
        goods: what is handled.
        cameras, lights: what sees and what shines.
        solimp: impedance of its contacts, as MuJoCo means it.
        moved: what a task puts where it wants, through `Worlds.mocap_pos`: a demonstrator's hand, say.
    """

    arm: Arm
    arm_position: Vec3
    tool: Body
    furniture: tuple[Placed, ...]
    goods: Goods
    cameras: tuple[Camera, ...]
    lights: tuple[Light, ...]
    solimp: tuple[float, float, float, float, float] = SOLIMP
    moved: tuple[Placed, ...] = ()


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
    surfaces: dict[str, np.ndarray]  # surface: ids of the geoms made of it, goods left out
    grips: np.ndarray  # (grips,) geom ids
    grip_bodies: np.ndarray  # (grips,)
    grip_dofs: np.ndarray  # (grips,) first of the 6 of the loose thing that the grip belongs to
    welds: np.ndarray  # (grips,) equality ids
    fingers: int  # actuator of the tool's fingers, -1 for a tool without
    tool_body: int  # its root, which carries most of its mass
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

    @property
    def slots(self) -> int:
        """Number of loose things."""
        return len(self.slot_bodies)

    def ids(self, kind: mujoco.mjtObj, names: Sequence[str]) -> np.ndarray:
        """Return the ids of named things (n,); InputError for a name that the scene does not have."""
        return _ids(self.model, kind, names)

    def geoms(self, names: Sequence[str]) -> np.ndarray:
        """Return the ids of named geoms (n,)."""
        return self.ids(mujoco.mjtObj.mjOBJ_GEOM, names)


def _ids(model: mujoco.MjModel, kind: mujoco.mjtObj, names: Sequence[str]) -> np.ndarray:
    found = np.array([mujoco.mj_name2id(model, kind, n) for n in names], dtype=np.int64)
    if (found < 0).any():
        raise InputError(f"the scene has no {kind.name} named {names[int(np.argmin(found))]!r}")
    return found


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
        "mesh": mujoco.mjtGeom.mjGEOM_MESH,
    }
    made = parent.add_geom(name=geom.name, type=kinds[geom.kind], pos=geom.position, quat=geom.quaternion)
    if geom.mesh:
        made.meshname = geom.mesh
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
        elif geom.surface == "pads":
            made.solref, made.solimp = PAD_SOLREF, PAD_SOLIMP


def _add_body(parent: mujoco.MjsBody, body: Body, position: Vec3, quaternion: Quat, arm: bool) -> mujoco.MjsBody:
    made = parent.add_body(name=body.name, pos=position, quat=quaternion)
    if body.mass > 0:
        xx, xy, xz, yy, yz, zz = body.inertia
        made.mass, made.ipos, made.explicitinertial = body.mass, body.center_of_mass, True
        if (xy, xz, yz) == (0.0, 0.0, 0.0):
            # Given in full, the engine would sort the moments and turn their axes: rows write them along the body's.
            made.inertia = [xx, yy, zz]
            made.simple = False  # as rows may move the centre of mass too
        else:
            made.fullinertia = [xx, yy, zz, xy, xz, yz]
    if body.joint is not None:
        j = body.joint
        # Armature, damping, friction and gains are written per world; what stands here is the nominal arm.
        kind = mujoco.mjtJoint.mjJNT_SLIDE if j.kind == "slide" else mujoco.mjtJoint.mjJNT_HINGE
        joint = made.add_joint(name=j.name, type=kind, axis=j.axis, range=j.range)
        joint.limited, joint.armature, joint.frictionloss = True, j.armature, j.friction
        joint.damping[0] = j.damping
        if arm:
            joint.actgravcomp = True
            made.gravcomp = 1.0
        else:
            # Dry friction that holds: with MuJoCo's default a light wall creeps under load at a quarter turn a second.
            joint.solref_friction, joint.solimp_friction = [0.005, 1.0], [0.9999, 0.9999, 0.001, 0.5, 2.0]
            # Stops that do not give: a falling wall runs two degrees into a softer one, and its latch holds it there.
            joint.solref_limit = [0.005, 1.0]
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


def _state_weight(made: mujoco.MjsBody, tool: Body) -> None:
    """Let the controller carry the weight that the tool has in its data, there where it has it.

    What a world's tool weighs beyond that, or elsewhere, the servos feel. The engine compensates a body by its own
    mass and centre, so the stated weight hangs on a body that has next to none.
    """
    made.gravcomp = 0.0
    stated = made.add_body(name="stated_weight")
    stated.mass, stated.ipos, stated.inertia, stated.explicitinertial = SPECK, tool.center_of_mass, [1e-8] * 3, True
    stated.gravcomp = tool.mass / SPECK + 1.0


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
            set_texture(material, name, look.texture.period)


def _add_sky(spec: mujoco.MjSpec) -> None:
    """A pale hall around the cell, where cameras look past the floor."""
    sky = spec.add_texture(name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX)
    sky.builtin, sky.width, sky.height = mujoco.mjtBuiltin.mjBUILTIN_GRADIENT, 64, 384
    sky.rgb1, sky.rgb2 = [0.78, 0.80, 0.82], [0.55, 0.56, 0.57]


def set_texture(material: mujoco.MjsMaterial, name: str, period: float) -> None:
    """Give a material the texture `name`, repeated every `period` [m]."""
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    material.texuniform, material.texrepeat = True, [1.0 / period] * 2


def compile_scene(scene: Scene) -> CompiledScene:
    """Compile the template.

    Raises:
        InputError: no goods, or the tool has no frame "suction".
    """
    loose = scene.goods.bodies
    if not loose:
        raise InputError("a scene needs at least one loose thing, its goods hold none")
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
    # The bounding volumes within a body are those of the template: a row that resizes or exchanges geoms outgrows them.
    option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    option.sleep_tolerance = 1e-3
    spec.default.geom.solref = SOLREF
    spec.default.geom.solimp = scene.solimp
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
    for placed in scene.moved:  # in this order in the engine's arrays
        _add_body(world, placed.body, placed.position, placed.quaternion, arm=False).mocap = True
    last = list(scene.arm.body.walk())[-1].name
    _add_body(world, scene.arm.body.attach(last, scene.tool), scene.arm_position, (1.0, 0.0, 0.0, 0.0), arm=True)
    _state_weight(spec.body(scene.tool.name), scene.tool)
    for joint in (*scene.arm.body.joints(), *scene.tool.joints()):
        if joint.mimics is not None:
            follows = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=joint.name, name2=joint.mimics)
            follows.objtype = mujoco.mjtObj.mjOBJ_JOINT
            follows.data[:2] = [0.0, 1.0]
            follows.solref = [0.004, 1.0]  # a linkage is stiffer than a contact
            continue
        servo = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=joint.stiffness, kv=joint.servo_damping)
        servo.forcelimited, servo.forcerange = True, [-joint.torque_limit, joint.torque_limit]

    scene.goods.prepare(spec)
    for i, body in enumerate(loose):
        at = (PARKING[0] + 1.2 * (i % 8), PARKING[1] + 1.2 * (i // 8), 0.5)
        made = _add_body(world, body, at, (1.0, 0.0, 0.0, 0.0), arm=False)
        made.sleep = mujoco.mjtSleepPolicy.mjSLEEP_INIT
    holders = {geom.name: body.name for thing in loose for body in thing.walk() for geom in body.geoms}
    for grip in scene.goods.grips:
        weld = spec.add_equality(name=f"weld_{grip}", type=mujoco.mjtEq.mjEQ_WELD, name1="cups", name2=holders[grip])
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
    objects = mujoco.mjtObj
    joints = _ids(model, objects.mjOBJ_JOINT, [j.name for j in scene.arm.body.joints()])
    bodies = _ids(model, objects.mjOBJ_BODY, [body.name for body in scene.goods.bodies])
    first = model.body_jntadr[bodies]
    surfaces: dict[str, list[str]] = {"floor": ["floor"]}
    for body in (b for root in (*(p.body for p in scene.furniture), scene.tool) for b in root.walk()):
        for geom in body.geoms:
            if geom.surface is not None:
                surfaces.setdefault(geom.surface, []).append(geom.name)
    sensors = _ids(model, objects.mjOBJ_SENSOR, ["force", "torque", "acceleration"])
    force, torque, acceleration = (int(a) for a in model.sensor_adr[sensors])
    grips = _ids(model, objects.mjOBJ_GEOM, scene.goods.grips)
    holders = model.geom_bodyid[grips].astype(np.int64)
    fingers = [j.name for j in scene.tool.joints() if j.mimics is None]
    return CompiledScene(
        scene=scene,
        model=model,
        joints=joints,
        arm_qpos=model.jnt_qposadr[joints].astype(np.int64),
        arm_dofs=model.jnt_dofadr[joints].astype(np.int64),
        slot_bodies=bodies,
        slot_qpos=model.jnt_qposadr[first].astype(np.int64),
        slot_dofs=model.jnt_dofadr[first].astype(np.int64),
        surfaces={surface: _ids(model, objects.mjOBJ_GEOM, names) for surface, names in surfaces.items()},
        grips=grips,
        grip_bodies=holders,
        grip_dofs=model.jnt_dofadr[model.body_jntadr[model.body_rootid[holders]]].astype(np.int64),
        welds=_ids(model, objects.mjOBJ_EQUALITY, [f"weld_{grip}" for grip in scene.goods.grips]),
        fingers=int(_ids(model, objects.mjOBJ_ACTUATOR, fingers)[0]) if fingers else -1,
        tool_body=int(_ids(model, objects.mjOBJ_BODY, [scene.tool.name])[0]),
        cups_body=int(_ids(model, objects.mjOBJ_BODY, ["cups"])[0]),
        suction_site=int(_ids(model, objects.mjOBJ_SITE, ["suction"])[0]),
        force_sensor=force,
        torque_sensor=torque,
        acceleration_sensor=acceleration,
        cameras={c.name: int(_ids(model, objects.mjOBJ_CAMERA, [c.name])[0]) for c in scene.cameras},
    )
