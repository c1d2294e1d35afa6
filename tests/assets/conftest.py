"""A bare MuJoCo model of an asset, built independently of the scene compiler."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import pytest

from assets.asset import Body

KINDS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def _add(parent: mujoco.MjsBody, body: Body, spec: mujoco.MjSpec) -> None:
    made = parent.add_body(name=body.name, pos=body.position, quat=body.quaternion)
    if body.mass > 0:
        xx, xy, xz, yy, yz, zz = body.inertia
        made.explicitinertial = True
        made.mass, made.ipos, made.fullinertia = body.mass, body.center_of_mass, [xx, yy, zz, xy, xz, yz]
    if body.free:
        made.add_freejoint()
    if body.joint is not None:
        joint = body.joint
        made.add_joint(
            name=joint.name,
            axis=joint.axis,
            range=joint.range,
            armature=joint.armature,
            damping=[joint.damping, 0, 0],
            frictionloss=joint.friction,
        )
        servo = spec.add_actuator(
            name=joint.name,
            target=joint.name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcelimited=True,
            forcerange=[-joint.torque_limit, joint.torque_limit],
        )
        servo.set_to_position(kp=joint.stiffness, kv=joint.servo_damping)
    for geom in body.geoms:
        if geom.surface is not None:
            size = [*geom.size, 0, 0][:3]
            made.add_geom(name=geom.name, type=KINDS[geom.kind], size=size, pos=geom.position, quat=geom.quaternion)
    for frame in body.frames:
        made.add_site(name=frame.name, pos=frame.position, quat=frame.quaternion)
    for child in body.children:
        _add(made, child, spec)


@pytest.fixture
def compiled() -> Callable[[Body], mujoco.MjModel]:
    """A function that compiles an asset, with its colliding geoms only, at a 2 ms step."""

    def build(body: Body) -> mujoco.MjModel:
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        spec.option.timestep = 0.002
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        _add(spec.worldbody, body, spec)
        return spec.compile()

    return build
