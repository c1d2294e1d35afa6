"""The combination tool: its shape, where its pad looks, and fingers that open, close and hold."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from assets.asset import Body, Joint, rotation_matrix
from assets.combi_tool import (
    CLOSING_SPEED,
    FINGER_FREE,
    FINGER_PAD,
    GRIP_FORCE_LIMIT,
    LENGTH,
    MASS,
    PAD,
    PAD_HEIGHT,
    PAD_REACH,
    STROKE,
    combi_cups,
    combi_tool,
)
from assets.errors import InputError
from assets.gripper import LIP_STROKE
from assets.looks import LOOKS
from assets.materials import SURFACES

KINDS = {"box": mujoco.mjtGeom.mjGEOM_BOX, "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE}


def _build(width: float = 0.0) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The tool pointing down from 1 m height, with a 0.8 kg plastic block of a width [m] between its pads, if any."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep, spec.option.cone, spec.option.impratio = 0.002, mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.default.geom.solref = [0.01, 1.0]
    spec.default.equality.solref = [0.01, 1.0]

    def add(parent: mujoco.MjsBody, body: Body) -> mujoco.MjsBody:
        made = parent.add_body(name=body.name, pos=body.position, quat=body.quaternion)
        xx, xy, xz, yy, yz, zz = body.inertia
        made.explicitinertial, made.mass, made.ipos = True, body.mass, body.center_of_mass
        made.fullinertia = [xx, yy, zz, xy, xz, yz]
        if body.joint is not None:
            j = body.joint
            slide = made.add_joint(name=j.name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=j.axis, range=j.range)
            slide.limited, slide.armature, slide.damping[0] = True, j.armature, j.damping
            if j.mimics is None:
                servo = spec.add_actuator(name=j.name, target=j.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
                servo.set_to_position(kp=j.stiffness, kv=j.servo_damping)
                servo.forcelimited, servo.forcerange = True, [-j.torque_limit, j.torque_limit]
            else:
                follows = spec.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, name1=j.name, name2=j.mimics)
                follows.objtype, follows.data[:2] = mujoco.mjtObj.mjOBJ_JOINT, [0.0, 1.0]
        for geom in body.geoms:
            if geom.surface is not None:
                size = [*geom.size, 0, 0][:3]
                box = made.add_geom(name=geom.name, type=KINDS[geom.kind], size=size, pos=geom.position)
                box.contype, box.conaffinity = 2, 1
                box.friction = [0.6, 0.005, 0.0001]
        for frame in body.frames:
            made.add_site(name=frame.name, pos=frame.position, quat=frame.quaternion)
        for child in body.children:
            add(made, child)
        return made

    root = add(spec.worldbody, combi_tool())
    root.pos, root.quat = [0, 0, 1], [0, 1, 0, 0]
    if width:
        block = spec.worldbody.add_body(name="block", pos=[0.003, 0, 1 - LENGTH + 0.015])
        block.add_freejoint()
        block.add_geom(type=KINDS["box"], size=[width / 2, 0.03, 0.02], mass=0.8, friction=[0.4, 0.005, 0.0001])
    model = spec.compile()
    data = mujoco.MjData(model)
    if width:
        for name in ("finger_left", "finger_right"):
            data.joint(name).qpos = STROKE / 2
    return model, data


def _opening(data: mujoco.MjData) -> float:
    return float(data.joint("finger_left").qpos[0] + data.joint("finger_right").qpos[0])


def test_names_looks_and_surfaces_exist() -> None:
    tool = combi_tool()
    geoms = [g for body in tool.walk() for g in body.geoms]
    assert len({g.name for g in geoms}) == len(geoms)
    assert {g.look for g in geoms} <= set(LOOKS)
    assert {g.surface for g in geoms if g.surface} <= set(SURFACES)
    assert tool.total_mass() == pytest.approx(MASS)
    assert MASS <= 3.5


def test_one_servo_moves_both_fingers() -> None:
    left, right = combi_tool().joints()
    assert (left.name, right.name, right.mimics) == ("finger_left", "finger_right", "finger_left")
    assert left.kind == right.kind == "slide"
    assert right.stiffness == 0 < left.stiffness
    assert left.range == right.range == (0, STROKE / 2)
    assert left.torque_limit == GRIP_FORCE_LIMIT
    assert left.velocity_limit == CLOSING_SPEED
    with pytest.raises(InputError, match="cannot have a servo of its own"):
        Joint("j", (1, 0, 0), (0, 1), 1, 1, stiffness=10, mimics="k")
    with pytest.raises(InputError, match="unknown kind of joint 'j' 'screw'"):
        Joint("j", (1, 0, 0), (0, 1), 1, 1, kind="screw")


def test_it_is_slim_where_it_reaches_into_a_tote() -> None:
    tool = combi_tool()
    for geom in tool.geoms:
        if geom.name.startswith("gripper_mast"):
            assert geom.size[0] <= 0.04
    palm = next(g for g in tool.geoms if g.name == "gripper_palm")
    assert palm.size[0] <= 0.075
    assert palm.size[1] <= 0.035
    assert palm.position[2] + palm.size[2] == pytest.approx(LENGTH - FINGER_FREE)
    assert FINGER_FREE >= 0.110
    for side, sign in (("left", 1), ("right", -1)):
        finger = tool.find(f"finger_{side}")
        pad, link = finger.geoms[:2]
        assert 2 * np.array(pad.size) == pytest.approx(FINGER_PAD)
        assert pad.surface == "pads"
        assert finger.position[2] + pad.position[2] + pad.size[2] == pytest.approx(LENGTH)
        assert pad.position[0] - sign * pad.size[0] == pytest.approx(0)  # its inner face meets the other's
        assert 2 * link.size[0] <= 0.014
        assert 2 * link.size[1] <= 0.020
        # Wide open, the fingers stay in the palm's shadow.
        assert STROKE / 2 + abs(link.position[0]) + link.size[0] <= palm.size[0]


def test_the_vacuum_pad_looks_sideways() -> None:
    model, data = _build()
    mujoco.mj_forward(model, data)
    down = rotation_matrix((0, 1, 0, 0))
    lips, tips = data.site("suction"), data.site("fingertips")
    np.testing.assert_allclose(down.T @ (lips.xpos - [0, 0, 1]), (0, PAD_REACH, LENGTH - PAD_HEIGHT), atol=1e-12)
    np.testing.assert_allclose(down.T @ (tips.xpos - [0, 0, 1]), (0, 0, LENGTH), atol=1e-12)
    axes = down.T @ lips.xmat.reshape(3, 3)
    np.testing.assert_allclose(axes[:, 2], (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(axes[:, 0], (1, 0, 0), atol=1e-12)
    cups = combi_cups()
    assert cups.positions.shape == (6, 2)
    assert cups.efficiency == 0.9
    assert (np.abs(cups.positions) + cups.radius <= np.array(PAD) / 2 + 1e-9).all()
    assert np.diff(np.unique(cups.positions[:, 0])) == pytest.approx([0.052, 0.052])
    assert np.diff(np.unique(cups.positions[:, 1])) == pytest.approx([0.056])
    proxy = next(g for g in combi_tool().find("cups").geoms if g.surface)
    assert proxy.position[2] + proxy.size[2] == pytest.approx(-LIP_STROKE)
    # Lips are what reaches farthest along +y: a flat wall meets nothing else first.
    own = [model.geom(i).name for i in range(model.ngeom)]
    boxes = [i for i, name in enumerate(own) if name != "cups_proxy" and not name.startswith("finger")]
    reach = (data.geom_xpos[boxes] @ down[:, 1] + model.geom_rbound[boxes]).max()
    assert reach < PAD_REACH + 0.02


def test_fingers_open_and_close_together() -> None:
    model, data = _build()
    for step in range(500):
        data.ctrl[0] = min(CLOSING_SPEED * step * 0.002, STROKE / 2)
        mujoco.mj_step(model, data)
        assert abs(data.joint("finger_left").qpos[0] - data.joint("finger_right").qpos[0]) < 1e-3
        assert np.abs(data.qvel).max() < 1.3 * CLOSING_SPEED
    assert _opening(data) == pytest.approx(STROKE, abs=1e-3)
    left = data.geom("finger_left_pad").xpos[0] - data.geom("finger_right_pad").xpos[0] - FINGER_PAD[0]
    assert abs(left) == pytest.approx(STROKE, abs=1e-3)
    data.ctrl[0] = 0.0
    for _ in range(1000):
        mujoco.mj_step(model, data)
    assert _opening(data) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("width", [0.02, 0.06])
def test_it_holds_a_block(width: float) -> None:
    """Closed on 0.8 kg of plastic off its middle, it centres it and holds it still, near its limit."""
    model, data = _build(width)
    data.ctrl[0] = STROKE / 2
    model.opt.gravity[:] = 0
    command = STROKE / 2
    for _ in range(400):
        command = max(command - CLOSING_SPEED * 0.002, 0.0)
        data.ctrl[0] = command
        mujoco.mj_step(model, data)
    model.opt.gravity[2] = -9.81
    height = data.body("block").xpos[2]
    for _ in range(500):
        mujoco.mj_step(model, data)
    assert _opening(data) == pytest.approx(width, abs=1e-3)
    assert data.body("block").xpos[2] == pytest.approx(height, abs=1e-3)
    # The linkage is a soft constraint: at full force its play is 1.2 mm a side.
    assert abs(data.body("block").xpos[0]) < 1.5e-3
    assert np.abs(data.qvel).max() < 0.01
    press = abs(float(data.actuator("finger_left").force[0])) / 2
    assert 50 < press <= GRIP_FORCE_LIMIT / 2
