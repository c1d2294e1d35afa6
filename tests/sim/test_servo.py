"""Limits, smoothness and latency of what the servos are told."""

from __future__ import annotations

import numpy as np
import pytest

from assets.arms import ur20
from sim.servo import HISTORY, Servo

PERIOD, SUBSTEPS = 0.1, 50
DT = PERIOD / SUBSTEPS
ARM = ur20()
HOME = np.array(ARM.home)
IDS = np.arange(1)


def commands(targets: np.ndarray, latency: float = 0.0) -> np.ndarray:
    """Return the commands (periods * SUBSTEPS, 6) that follow from targets (periods, 6), starting at rest at home."""
    servo = Servo(ARM, 1, PERIOD, SUBSTEPS)
    servo.latency[:] = latency
    servo.reset(HOME[None], IDS)
    out = []
    for target in targets:
        servo.command(target[None], IDS)
        # In pieces, as the cell asks for them.
        out += [servo.samples(first, 5, IDS)[0] for first in range(0, SUBSTEPS, 5)]
    return np.concatenate(out)


@pytest.fixture(scope="module")
def wild() -> np.ndarray:
    """Targets that jump about, beyond the limits (60, 6)."""
    return HOME + np.random.default_rng(3).normal(0.0, 3.0, (60, 6))


def gentle(periods: int = 40) -> np.ndarray:
    """Targets that stay within the limits, (periods, 6)."""
    return HOME + 0.2 * np.sin(0.5 * np.arange(1, periods + 1))[:, None] * np.arange(1, 7) / 6


def test_joint_limits_hold(wild: np.ndarray) -> None:
    out = commands(wild)
    limits = np.array([j.velocity_limit for j in ARM.joints])
    assert (np.abs(np.diff(out, axis=0)) / DT <= limits * (1 + 1e-9)).all()
    assert (np.abs(np.diff(out, axis=0)) / DT).max() > 0.9 * limits.min()
    far = commands(np.full((100, 6), 50.0))
    np.testing.assert_allclose(far[-1], ARM.limits[:, 1])
    assert (commands(np.full((100, 6), -50.0))[-1] == ARM.limits[:, 0]).all()


@pytest.mark.parametrize("latency", [0.0, 0.02, 0.0333, 0.15])
def test_velocity_has_no_jumps(wild: np.ndarray, latency: float) -> None:
    out = np.concatenate([HOME[None], commands(wild, latency)])
    velocity = np.diff(out, axis=0) / DT
    # Between two knots the acceleration is constant: the second difference of targets that move a step each period.
    step = np.array([j.velocity_limit for j in ARM.joints]) * PERIOD
    greatest = 2.0 * step / PERIOD**2
    assert (np.abs(np.diff(velocity, axis=0)) <= greatest * DT * (1 + 1e-6)).all()
    assert np.abs(velocity[0]).max() <= greatest.max() * DT


@pytest.mark.parametrize("steps", [1, 10, 50, 75])
def test_latency_delays_by_exactly_that_time(steps: int) -> None:
    prompt, late = commands(gentle()), commands(gentle(), latency=steps * DT)
    np.testing.assert_allclose(late[steps:], prompt[:-steps], atol=1e-12)
    np.testing.assert_allclose(late[:steps], np.tile(HOME, (steps, 1)), atol=1e-12)


def test_latency_between_two_steps() -> None:
    fine = 10
    servo = Servo(ARM, 1, PERIOD, SUBSTEPS * fine)
    servo.reset(HOME[None], IDS)
    prompt = []
    for target in gentle():
        servo.command(target[None], IDS)
        prompt.append(servo.samples(0, SUBSTEPS * fine, IDS)[0])
    late = commands(gentle(), latency=0.0233 - 0.0001)  # 11.6 steps
    shifted = np.concatenate(prompt)[fine - 1 :: fine]  # at the coarse steps
    np.testing.assert_allclose(shifted, commands(gentle()), atol=1e-12)
    np.testing.assert_allclose(
        late[20:], np.concatenate(prompt)[20 * fine + fine - 1 - 116 :: fine][: len(late) - 20], atol=1e-12
    )


def test_each_world_has_its_own_latency() -> None:
    servo = Servo(ARM, 3, PERIOD, SUBSTEPS)
    servo.latency[:] = [0.0, 0.05, 0.15]
    ids = np.arange(3)
    servo.reset(np.tile(HOME, (3, 1)), ids)
    servo.command(np.tile(HOME + 0.1, (3, 1)), ids)
    moved = servo.samples(0, SUBSTEPS, ids)[:, -1, 0] - HOME[0]
    np.testing.assert_allclose(moved, [0.05, 0.0125, 0.0], atol=1e-12)


def test_what_is_not_finite_keeps_the_arm_where_it_is() -> None:
    targets = gentle(20)
    held = targets.copy()
    targets[10:15, 2], held[10:15, 2] = np.nan, targets[9, 2]
    targets[12, 4], held[12, 4] = np.inf, targets[11, 4]
    out = commands(targets)
    assert np.isfinite(out).all()
    assert out.tobytes() == commands(held).tobytes()


def test_a_held_target_is_reached() -> None:
    targets = np.concatenate([gentle(10), np.tile(gentle(10)[-1], (HISTORY, 1))])
    for latency in (0.0, 0.15):
        out = commands(targets, latency)
        assert (out[-1] == targets[-1]).all()
    assert (commands(np.tile(HOME, (5, 1))) == HOME).all()


def test_the_filter_lags_as_a_first_order_lag_does() -> None:
    servo = Servo(ARM, 1, PERIOD, SUBSTEPS)
    servo.filter[:] = 0.03
    servo.reset(HOME[None], IDS)
    plain, out = commands(gentle()), []
    for target in gentle():
        servo.command(target[None], IDS)
        out += [servo.samples(first, 5, IDS)[0] for first in range(0, SUBSTEPS, 5)]
    smooth = np.concatenate(out)
    # The exact lag, step by step: y' = (u - y) / T with u held over a step.
    expected, y = np.empty_like(plain), HOME.copy()
    for k, u in enumerate(plain):
        y = u + (y - u) * np.exp(-DT / 0.03)
        expected[k] = y
    np.testing.assert_allclose(smooth, expected, atol=1e-12)
    assert np.abs(smooth - plain).max() > 1e-3
