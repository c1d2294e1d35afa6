"""Quaternions against MuJoCo's own functions."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from sim.rotations import angle_between, conjugate, multiply, rotate, yaw_of, yaw_quaternion


@pytest.fixture
def some() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two arrays of unit quaternions (200, 4) and one of vectors (200, 3)."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 200, 4))
    return a / np.linalg.norm(a, axis=1)[:, None], b / np.linalg.norm(b, axis=1)[:, None], rng.standard_normal((200, 3))


def test_product_inverse_and_rotation(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, v = some
    product, inverse, turned = np.zeros(4), np.zeros(4), np.zeros(3)
    for i in range(len(a)):
        mujoco.mju_mulQuat(product, a[i], b[i])
        mujoco.mju_negQuat(inverse, a[i])
        mujoco.mju_rotVecQuat(turned, v[i], a[i])
        np.testing.assert_allclose(multiply(a, b)[i], product, atol=1e-14)
        np.testing.assert_allclose(conjugate(a)[i], inverse, atol=0)
        np.testing.assert_allclose(rotate(a, v)[i], turned, atol=1e-13)


def test_angle_between(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, _ = some
    difference = np.zeros(3)
    for i in range(len(a)):
        mujoco.mju_subQuat(difference, b[i], a[i])
        np.testing.assert_allclose(angle_between(a, b)[i], np.linalg.norm(difference), atol=1e-12)
    np.testing.assert_allclose(angle_between(a, -a), 0.0, atol=1e-12)


def test_yaw() -> None:
    yaw = np.linspace(-3.1, 3.1, 50)
    made = np.zeros(4)
    for k, angle in enumerate(yaw):
        mujoco.mju_axisAngle2Quat(made, np.array([0.0, 0.0, 1.0]), angle)
        np.testing.assert_allclose(yaw_quaternion(yaw)[k], made, atol=1e-15)
    np.testing.assert_allclose(yaw_of(yaw_quaternion(yaw)), yaw, atol=1e-14)


def test_yaw_of_a_tilted_body_is_the_heading_of_its_x_axis(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x = rotate(some[0], np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(yaw_of(some[0]), np.arctan2(x[:, 1], x[:, 0]), atol=1e-12)


def test_a_row_does_not_depend_on_its_neighbours(some: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    a, b, v = some
    for i in (0, 7, 199):
        one = slice(i, i + 1)
        assert multiply(a[one], b[one]).tobytes() == multiply(a, b)[one].tobytes()
        assert rotate(a[one], v[one]).tobytes() == rotate(a, v)[one].tobytes()
        assert angle_between(a[one], b[one]).tobytes() == angle_between(a, b)[one].tobytes()
