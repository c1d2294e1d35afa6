"""Intervals that hold what they promise, and verdicts that tell noise from structure."""

from __future__ import annotations

import numpy as np
import pytest

from sim2real.identify.fit import lasting
from sim2real.identify.uncertainty import bootstrap, judge, lasting_part, ljung_box


def test_resampled_blocks_know_that_neighbours_say_the_same() -> None:
    rng = np.random.default_rng(1)
    jacobian = np.stack([np.ones(4000), rng.normal(size=4000)], axis=1)
    lasts = np.repeat(rng.normal(size=40), 100)  # forty independent values, each a hundred times
    block = np.repeat(np.arange(40), 100)
    moved = bootstrap(jacobian, lasts - lasts.mean(), block, np.zeros(2))
    assert moved[:, 0].std() == pytest.approx(1 / np.sqrt(40), rel=0.25)
    naive = 1 / np.sqrt(4000)
    assert moved[:, 0].std() > 6 * naive
    assert lasting(lasts[:, None])[0] == pytest.approx(100, rel=0.4)
    assert lasting(rng.normal(size=(4000, 1)))[0] < 2.0


def test_a_prior_holds_what_the_data_do_not_show() -> None:
    jacobian = np.stack([np.ones(1000), np.zeros(1000)], axis=1)
    residual = np.random.default_rng(0).normal(size=1000)
    moved = bootstrap(jacobian, residual, np.arange(1000) // 50, np.array([1e-6, 4.0]))
    assert moved[:, 1].std() < 1e-9
    assert moved[:, 0].std() > 0.01


def test_noise_is_told_from_what_lasts() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(5000, 1))
    wave = 0.2 * np.sin(np.arange(5000) / 60.0)[:, None]
    assert lasting_part(noise)[0] < 0.06
    assert lasting_part(noise + wave)[0] == pytest.approx(0.2 / np.sqrt(2), rel=0.15)
    assert ljung_box(noise[:, 0]) > 1e-3
    assert ljung_box((noise + 3.0 * wave)[:, 0]) < 1e-6
    assert ljung_box(np.zeros(100)) == 1.0


def test_the_verdict_names_what_is_left() -> None:
    rng = np.random.default_rng(5)
    torque = 30.0 * np.sin(np.arange(3000) / 50.0)[:, None] * np.ones(6)
    raw = rng.normal(size=(3000, 2, 6)) * np.array([[2e-5], [0.3]])
    raw[:, 0] += 7e-4  # an encoder's offset is no misfit
    assert judge(raw, torque).fits
    assert "The model fits" in judge(raw, torque).says
    raw[:, 0, 4] += 2e-4 * np.sin(np.arange(3000) / 40.0)
    verdict = judge(raw, torque)
    assert not verdict.fits
    assert "does not fit" in verdict.says
    assert "joint 4" in verdict.says
