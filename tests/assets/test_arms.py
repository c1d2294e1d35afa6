"""The arms: published torques, servos that hold, links that stay clear of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from assets.arms import ARMS, LINKS, arm_named
from assets.asset import Body
from assets.errors import InputError
from assets.gripper import vacuum_gripper
from assets.statics import gravity_torques, joint_inertias

Compile = Callable[[Body], mujoco.MjModel]

# Torques at full horizontal stretch with the full payload, shoulder and elbow [N m].
STRETCH = {"ur10e": (266, 109), "ur20": (620, 225)}


@pytest.mark.parametrize("name", ARMS)
def test_torques_at_full_stretch(name: str, compiled: Compile) -> None:
    arm = arm_named(name)
    statics = gravity_torques(arm.body, (0.0,) * 6, arm.flange, arm.payload)
    np.testing.assert_allclose(np.abs(statics[1:3]), STRETCH[name], rtol=0.01)
    tool = Body("payload", mass=arm.payload, inertia=(1e-6, 0, 0, 1e-6, 0, 1e-6))
    model = compiled(arm.body.attach(LINKS[-1], tool))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.qfrc_bias, statics, atol=1e-6)


@pytest.mark.parametrize("name", ARMS)
def test_inertia_felt_by_the_joints(name: str, compiled: Compile) -> None:
    arm = arm_named(name)
    model = compiled(arm.body)
    data = mujoco.MjData(model)
    data.qpos[:] = arm.home
    mujoco.mj_forward(model, data)
    mass_matrix = np.zeros((6, 6))
    mujoco.mj_fullM(model, data, mass_matrix)
    felt = joint_inertias(arm.body, arm.home, arm.flange, 0.0) + model.dof_armature
    np.testing.assert_allclose(np.diag(mass_matrix), felt, rtol=1e-6)


@pytest.mark.parametrize("name", ARMS)
def test_servo_follows_and_settles(name: str, compiled: Compile) -> None:
    """Arm and gripper follow a quick turn of every joint within their limits and come to rest without ringing."""
    arm = arm_named(name)
    model = compiled(arm.body.attach(LINKS[-1], vacuum_gripper()))
    model.opt.gravity[:] = 0
    data = mujoco.MjData(model)
    data.qpos[:] = arm.home
    goal = np.array(arm.home) + 0.1
    overshoot = 0.0
    for step in range(750):
        share = min(step * model.opt.timestep / 0.5, 1.0)
        data.ctrl[:] = arm.home + (goal - arm.home) * (3 * share**2 - 2 * share**3)
        mujoco.mj_step(model, data)
        overshoot = max(overshoot, float((data.qpos - goal).max()))
    assert overshoot < 2e-3
    assert np.abs(data.qvel).max() < 1e-3
    assert np.abs(data.qpos - goal).max() < 2e-3


@pytest.mark.parametrize("name", ARMS)
def test_links_stay_clear_where_the_arm_works(name: str, compiled: Compile) -> None:
    """No capsule of arm and gripper touches another with the elbow bent as it is at work."""
    arm = arm_named(name)
    model = compiled(arm.body.attach(LINKS[-1], vacuum_gripper()))
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    for _ in range(300):
        lift = rng.uniform(-2.4, -0.4)
        bend = np.clip(rng.uniform(-0.3, 1.0) - lift, 0.3, 2.4)  # the forearm from a little above level downwards
        data.qpos[:] = rng.uniform(-3, 3), lift, bend, -np.pi / 2 - lift - bend, -np.pi / 2, rng.uniform(-3, 3)
        mujoco.mj_forward(model, data)
        touching = [(model.geom(c.geom1).name, model.geom(c.geom2).name) for c in data.contact]
        assert not touching, (data.qpos, touching)


def test_published_figures_are_in_place() -> None:
    ur20 = arm_named("ur20")
    assert ur20.joint_names == ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")
    assert ur20.body.total_mass() == pytest.approx(64.96)
    assert ur20.joints[2].range == (-np.pi, np.pi)
    np.testing.assert_allclose(np.rad2deg([j.velocity_limit for j in ur20.joints]), [120, 120, 150, 210, 210, 210])
    assert ur20.limits.shape == (6, 2)
    # The shoulder's inertia is stated in a frame turned by 90 degrees about x: yy and zz change places.
    xx, _, _, yy, _, zz = ur20.body.find("shoulder").inertia
    assert (xx, yy, zz) == pytest.approx((0.08866, 0.08418, 0.07632))
    with pytest.raises(InputError, match="did you mean"):
        arm_named("ur-20")


def test_collision_is_hidden_behind_the_drawing() -> None:
    for name in ARMS:
        for body in arm_named(name).body.walk():
            assert any(g.surface is None for g in body.geoms)
            assert all(g.hidden == (g.surface is not None) for g in body.geoms)
    assert replace(arm_named("ur20").body, position=(0, 0, 1)).position == (0, 0, 1)
