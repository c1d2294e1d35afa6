"""The compiled template: addresses, home, and an arm that holds still."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import mujoco
import numpy as np
import pytest

from assets.carton import PARTS
from assets.errors import InputError
from assets.kinematics import Kinematics
from sim.scene import compile_scene, look_at
from tasks.palletizing.cell import TOOL_LENGTH, Layout, palletizing_scene

if TYPE_CHECKING:
    from tests.conftest import Lab


def test_joints_run_from_the_base_to_the_tool(lab: Lab) -> None:
    model, scene = lab.scene.model, lab.scene
    names = [model.joint(int(j)).name for j in scene.joints]
    assert names == [j.name for j in scene.scene.arm.body.joints()]
    assert names == [model.actuator(i).name for i in range(model.nu)]
    assert (model.actuator_trnid[:, 0] == scene.joints).all()
    bodies = model.jnt_bodyid[scene.joints]
    assert all(model.body_parentid[b] == a for a, b in itertools.pairwise(bodies))


def test_addresses_point_where_they_say(lab: Lab) -> None:
    model, scene = lab.scene.model, lab.scene
    for i in range(scene.slots):
        body = model.body(f"slot{i}").id
        assert scene.slot_bodies[i] == body
        assert model.body_dofadr[body] == scene.slot_dofs[i]
        geoms = scene.geoms([f"slot{i}_{part}" for part in PARTS])
        assert set(model.geom_bodyid[geoms]) == {body}
        assert model.geom_contype[geoms[0]] == 1
        assert not model.geom_contype[geoms[1:]].any()
        assert model.material(int(model.geom_matid[geoms[0]])).name == f"carton{i}"
        assert scene.grips[i] == geoms[0]
        assert model.eq_obj1id[scene.welds[i]] == scene.cups_body
        assert model.eq_obj2id[scene.welds[i]] == body
    assert not model.eq_active0.any()
    assert [model.geom(int(g)).name for g in scene.surfaces["belt"]] == ["belt"]
    assert len(scene.surfaces["wood"]) > 5


@pytest.mark.parametrize("robot", ["ur20", "ur10e"])
def test_home_is_where_the_kinematics_say(robot: str) -> None:
    layout = Layout(robot=robot)
    scene = compile_scene(palletizing_scene(layout, 1))
    data = mujoco.MjData(scene.model)
    rng = np.random.default_rng(0)
    kinematics = Kinematics(layout.arm)
    for joints in (np.array(layout.arm.home), *rng.uniform(-2.0, 2.0, (5, 6))):
        data.qpos[scene.arm_qpos] = joints
        mujoco.mj_forward(scene.model, data)
        position, rotation = kinematics.flange_pose(joints[None])
        lips = position[0] + rotation[0, :, 2] * TOOL_LENGTH + [0.0, 0.0, layout.base_height]
        np.testing.assert_allclose(data.site_xpos[scene.suction_site], lips, atol=1e-9)
        np.testing.assert_allclose(data.site_xmat[scene.suction_site].reshape(3, 3), rotation[0], atol=1e-9)


def test_the_suction_sees_the_lips_where_the_engine_has_them(lab: Lab) -> None:
    cell = lab.cell(lab.rows())
    data = cell.worlds.data(0)  # type: ignore[attr-defined]
    position, quaternion = cell.suction.lip_pose(np.arange(1))
    np.testing.assert_allclose(position[0], data.site_xpos[lab.scene.suction_site], atol=1e-12)
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion[0])
    np.testing.assert_allclose(matrix, data.site_xmat[lab.scene.suction_site], atol=1e-12)
    np.testing.assert_allclose(matrix.reshape(3, 3)[:, 2], [0.0, 0.0, -1.0], atol=1e-6)


def test_nothing_touches_at_home(lab: Lab) -> None:
    assert lab.cell(lab.rows()).worlds.data(0).ncon == 0  # type: ignore[attr-defined]


def test_the_arm_holds_still_under_its_servos(lab: Lab) -> None:
    cell = lab.cell(lab.rows())
    worst = 0.0
    for _ in range(30):
        lab.run(cell, 1)
        position, velocity, _ = cell.joints(np.arange(1))
        worst = max(worst, float(np.abs(position - cell.home).max()))
        assert np.abs(velocity).max() < 1e-3
    print("greatest deviation", worst, "rad")
    assert worst < 1e-4


def test_a_held_load_moves_the_arm_little(lab: Lab) -> None:
    # The controller knows the payload; what is left is its error.
    cell = lab.holding(lab.box(mass=12.0), periods=20)
    assert np.abs(cell.joints(np.arange(1))[0] - cell.home).max() < 2e-3


def test_spare_slots_sleep_out_of_sight_and_apart(lab: Lab) -> None:
    cell = lab.cell(lab.rows(carton__size=(0.8, 0.6, 0.5)))
    lab.run(cell, 5)
    data = cell.worlds.data(0)  # type: ignore[attr-defined]
    assert not data.body_awake[lab.scene.slot_bodies].any()
    position, _ = cell.poses(np.arange(1))
    assert (position[0, :, 0] > 12.0).all()
    apart = np.linalg.norm(position[0, :, None] - position[0, None], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 1.0


def test_a_camera_looks_at_its_target() -> None:
    quaternion = look_at((2.0, -1.0, 1.5), (0.5, 0.2, 0.3), (0.0, 0.0, 1.0))
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    axes = matrix.reshape(3, 3)
    towards = np.array([-1.5, 1.2, -1.2])
    np.testing.assert_allclose(-axes[:, 2], towards / np.linalg.norm(towards), atol=1e-12)
    assert axes[2, 1] > 0.5  # its y looks up
    assert abs(axes[2, 0]) < 1e-12  # and the horizon is level


def test_wrong_scenes_are_refused(lab: Lab) -> None:
    with pytest.raises(InputError, match="at least one carton slot, got 0"):
        compile_scene(palletizing_scene(lab.layout, 0))
    scene = palletizing_scene(lab.layout, 1)
    tool = dataclasses.replace(scene.tool, children=(dataclasses.replace(scene.tool.children[0], frames=()),))
    with pytest.raises(InputError, match="suction"):
        compile_scene(dataclasses.replace(scene, tool=tool))
