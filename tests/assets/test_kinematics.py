"""Forward and inverse kinematics against independent figures, against each other, and to the last bit."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from assets.arms import ARMS, arm_named
from assets.errors import InputError
from assets.kinematics import Kinematics

# DH parameters d1, a2, a3, d4, d5, d6 as the maker publishes them [m].
DH = {
    "ur10e": (0.1807, -0.6127, -0.57155, 0.17415, 0.11985, 0.11655),
    "ur20": (0.2363, -0.8620, -0.7287, 0.2010, 0.1593, 0.1543),
}


def _random(count: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, (count, 6))


def _dh_pose(name: str, q: NDArray[np.float64]) -> NDArray[np.float64]:
    d1, a2, a3, d4, d5, d6 = DH[name]
    half = np.pi / 2
    pose = np.eye(4)
    rows = ((d1, 0, half), (0, a2, 0), (0, a3, 0), (d4, 0, half), (d5, 0, -half), (d6, 0, 0))
    for angle, (d, a, alpha) in zip(q, rows, strict=True):
        c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(alpha), np.sin(alpha)
        step = [[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]]
        pose = pose @ np.array(step)
    return pose


@pytest.mark.parametrize("name", ARMS)
def test_forward_agrees_with_the_dh_parameters(name: str) -> None:
    q = _random(200)
    position, rotation = Kinematics(arm_named(name)).flange_pose(q)
    poses = np.array([_dh_pose(name, row) for row in q])
    np.testing.assert_allclose(position, poses[:, :3, 3], atol=1e-12)
    np.testing.assert_allclose(rotation, poses[:, :3, :3], atol=1e-12)


@pytest.mark.parametrize("name", ARMS)
def test_forward_agrees_with_the_published_frames(name: str) -> None:
    """MuJoCo model made straight from the table of frames (xyz and rpy) of the maker's robot description."""
    d1, a2, a3, d4, d5, d6 = DH[name]
    half, pi = np.pi / 2, np.pi
    frames = (
        ((0, 0, d1), (0, 0, 0)), ((0, 0, 0), (half, 0, 0)), ((a2, 0, 0), (0, 0, 0)),
        ((a3, 0, d4), (0, 0, 0)), ((0, -d5, 0), (half, 0, 0)), ((0, d6, 0), (half, pi, pi)),
    )  # fmt: skip
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.compiler.eulerseq = list("XYZ")  # fixed axes: roll, then pitch, then yaw
    body = spec.worldbody
    for xyz, turn in frames:
        body = body.add_body(pos=xyz)
        body.alt.type, body.alt.euler = mujoco.mjtOrientation.mjORIENTATION_EULER, turn
        body.add_joint(axis=[0, 0, 1])
        body.mass, body.inertia, body.explicitinertial = 1, [1, 1, 1], True
    model = spec.compile()
    data = mujoco.MjData(model)
    q = _random(100, seed=2)
    position, rotation = Kinematics(arm_named(name)).flange_pose(q)
    for i, row in enumerate(q):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(position[i], data.xpos[-1], atol=1e-12)
        np.testing.assert_allclose(rotation[i].ravel(), data.xmat[-1], atol=1e-12)


@pytest.mark.parametrize("name", ARMS)
def test_inverse_undoes_forward(name: str) -> None:
    arm = Kinematics(arm_named(name))
    q = _random(5000)
    position, rotation = arm.flange_pose(q)
    solutions = arm.inverse(position, rotation, q)
    away = np.nanmin(np.abs(solutions - q[:, None]).max(axis=2), axis=1)
    assert away.max() < 1e-6
    # Every solution that is given leads to the same pose, and most poses have all eight or four.
    valid = ~np.isnan(solutions[:, :, 0])
    back, turned = arm.flange_pose(solutions[valid])
    rows = np.nonzero(valid)[0]
    np.testing.assert_allclose(back, position[rows], atol=1e-9)
    np.testing.assert_allclose(turned, rotation[rows], atol=1e-8)
    assert valid.sum(axis=1).mean() > 4


def test_inverse_keeps_limits_and_is_nearest_to_the_seed() -> None:
    model = arm_named("ur20")
    arm = Kinematics(model)
    q = _random(500)
    q[:, 0] += 2 * np.pi * np.random.default_rng(3).integers(-1, 2, 500)
    q[:, 0] = np.clip(q[:, 0], -2 * np.pi, 2 * np.pi)
    position, rotation = arm.flange_pose(q)
    solutions = arm.inverse(position, rotation, q)
    low, high = model.limits.T
    inside = solutions[~np.isnan(solutions[:, :, 0])]
    assert ((inside >= low) & (inside <= high)).all()
    assert np.nanmin(np.abs(solutions - q[:, None]).max(axis=2), axis=1).max() < 1e-6


def test_out_of_reach_and_singular_poses() -> None:
    model = arm_named("ur20")
    arm = Kinematics(model)
    home = np.array([model.home])
    assert np.isnan(arm.inverse([[3.0, 0, 0]], np.eye(3)[None], home)).all()
    assert np.isnan(arm.inverse([[0.0, 0, -arm.d6]], np.diag([1, -1, -1.0])[None], home)).all()
    straight = np.array([[0.3, -1.2, 1.0, -0.4, 0.0, 0.7]])  # the fourth and sixth axes are parallel
    solutions = arm.inverse(*arm.flange_pose(straight), straight)
    assert np.nanmin(np.abs(solutions - straight[:, None]).max(axis=2)) < 1e-6


@pytest.mark.parametrize("name", ARMS)
def test_tool_down(name: str) -> None:
    model = arm_named(name)
    arm = Kinematics(model)
    rng = np.random.default_rng(4)
    count = 300
    tip = np.stack((rng.uniform(0.5, 0.9, count), rng.uniform(-0.4, 0.4, count), rng.uniform(-0.4, 0.3, count)), axis=1)
    yaw = rng.uniform(-np.pi, np.pi, count)
    seed = np.tile(model.home, (count, 1))
    q, ok = arm.solve_tool_down(tip, yaw, seed, 0.2)
    assert ok.mean() > 0.9
    position, rotation = arm.flange_pose(q[ok])
    np.testing.assert_allclose(position - [0, 0, 0.2], tip[ok], atol=1e-9)
    np.testing.assert_allclose(rotation[:, :, 2], np.tile([0, 0, -1.0], (ok.sum(), 1)), atol=1e-9)
    np.testing.assert_allclose(rotation[:, 0, 0], np.cos(yaw[ok]), atol=1e-9)
    np.testing.assert_allclose(rotation[:, 1, 0], np.sin(yaw[ok]), atol=1e-9)
    # With the elbow up, the elbow lies above the line from the shoulder to the wrist.
    wrist = arm.a2 * np.sin(q[ok, 1]) + arm.a3 * np.sin(q[ok, 1] + q[ok, 2])
    assert (arm.a2 * np.sin(q[ok, 1]) > wrist * arm.a2 / (arm.a2 + arm.a3)).all()
    far, reached = arm.solve_tool_down(tip + np.array([3, 0, 0]), yaw, seed, 0.2)
    assert not reached.any()
    np.testing.assert_array_equal(far, seed)


def test_results_do_not_depend_on_the_batch() -> None:
    """Bitwise: whatever the number of rows, and however the input lies in memory."""
    model = arm_named("ur20")
    arm = Kinematics(model)
    q = _random(32, seed=5)
    seed = np.tile(model.home, (32, 1))
    tip = np.stack((0.9 + 0.1 * q[:, 0], 0.1 * q[:, 1], 0.1 * q[:, 2]), axis=1)

    def everything(q: NDArray, tip: NDArray, yaw: NDArray, seed: NDArray) -> tuple[NDArray, ...]:
        position, rotation = arm.flange_pose(q)
        return (
            position, rotation, arm.inverse(position, rotation, seed), arm.link_capsules(q)[0],
            *arm.solve_tool_down(tip, yaw, seed, 0.2),
        )  # fmt: skip

    whole = everything(q, tip, q[:, 5], seed)
    for size in (1, 3, 8, 31):
        for first in range(0, 32, size):
            rows = slice(first, first + size)
            for part, all_rows in zip(everything(q[rows], tip[rows], q[rows, 5], seed[rows]), whole, strict=True):
                np.testing.assert_array_equal(part, all_rows[rows])
    wide = np.zeros((64, 13))
    wide[::2, ::2][:, :6] = q
    fortran = np.asfortranarray(tip)
    strided = everything(wide[::2, ::2][:, :6], fortran, wide[::2, 10], seed[::-1][::-1])
    for part, all_rows in zip(strided, whole, strict=True):
        np.testing.assert_array_equal(part, all_rows)


def test_capsules_lie_on_their_links() -> None:
    arm = Kinematics(arm_named("ur10e"))
    q = _random(3)
    ends, radii = arm.link_capsules(q)
    assert ends.shape == (3, len(radii), 2, 3)
    assert arm.capsule_links[0] == "shoulder"
    flange, rotation = arm.flange_pose(q)
    last = ends[:, -1].mean(axis=1)
    np.testing.assert_allclose(np.einsum("ni,ni->n", last - flange, rotation[:, :, 2]), -0.98 * 0.046, atol=1e-9)
    tube = ends[:, arm.capsule_links.index("forearm") + 1]
    np.testing.assert_allclose(np.linalg.norm(tube[:, 1] - tube[:, 0], axis=1), 0.57155, atol=1e-9)


def test_wrong_shapes_are_refused() -> None:
    arm = Kinematics(arm_named("ur20"))
    with pytest.raises(InputError, match=r"shape \(n, 6\), not \(6,\)"):
        arm.flange_pose(np.zeros(6))
    with pytest.raises(InputError, match="seeds of shape"):
        arm.inverse(np.zeros((2, 3)), np.zeros((2, 3, 3)), np.zeros((1, 6)))
