"""Identification from end to end, on sealed stand-ins and on a simulated robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assets.errors import InputError
from sim.variations import Variation
from sim2real.identify.calibration import KEPT, CalibrationFile, calibration_of
from sim2real.identify.equations import estimate
from sim2real.identify.joints import STAGES, Result, gather, identify_joints
from sim2real.identify.model import KNOBS, run_of
from sim2real.robot import robot_named
from sim2real.standin.sealed import Sealed
from tests.sim2real.identify_lab import SOURCE, limits, model, motions, recorded

SECONDS = 3.0
PLANNED = motions((("fourier", 1), ("chirp", 1), ("fourier", 7)), SECONDS)


def off(result: Result, sealed: Sealed, name: str) -> float:
    """Return the largest error of a knob, relative where it is a ratio."""
    found, true = result.knobs[name].reshape(-1), np.asarray(sealed[name]).reshape(-1)
    ratio = name not in ("arm.latency", "arm.servo_filter", "tool.center_of_mass")
    return float(np.abs(found / true - 1.0 if ratio else found - true).max())


@pytest.fixture(scope="module")
def contained() -> tuple[Sealed, Result]:
    sealed = Sealed.draw(41, "contained")
    *fit, held_out = (recorded(sealed, m.targets) for m in PLANNED)
    return sealed, identify_joints(fit, [held_out], model=model())


def test_a_stand_in_of_our_structure_is_found(contained: tuple[Sealed, Result]) -> None:
    sealed, result = contained
    assert result.source == SOURCE
    assert result.verdict.fits, result.verdict.says
    assert result.errors["held-out after"] <= 3e-4
    assert result.errors["held-out before"] >= 50 * result.errors["held-out after"]
    for name, bar in (
        ("arm.stiffness", 0.02), ("arm.servo_damping", 0.02), ("arm.friction", 0.12), ("arm.damping", 0.12),
        ("tool.mass", 0.01), ("arm.latency", 1e-3), ("arm.servo_filter", 1e-3),
    ):  # fmt: skip
        assert off(result, sealed, name) <= bar, name


def test_what_the_data_cannot_tell_is_kept_and_named(contained: tuple[Sealed, Result]) -> None:
    _, result = contained
    # Without Stribeck friction nothing depends on its speed.
    assert "arm.stribeck_velocity" in result.unidentified
    kept = next(f for f in result.findings if f.label == "arm.stribeck_velocity")
    assert kept.value == pytest.approx(kept.prior)
    assert kept.low < 0.5 * kept.prior
    assert any("arm.stribeck_velocity" in line for line in result.next)
    assert "arm.stiffness[0]" not in result.unidentified


def test_the_result_is_a_variation_to_train_on(contained: tuple[Sealed, Result], tmp_path: Path) -> None:
    sealed, result = contained
    path, log = tmp_path / "calibration.yaml", tmp_path / "log.mcap"
    log.write_bytes(b"")
    calibration_of(result, [log]).write(path)
    read = CalibrationFile.read(path, KNOBS)
    assert read.source == SOURCE
    assert read.evidence["arm.stribeck_velocity"].status == [KEPT]
    rows = Variation.parse("found", {"calibration": str(path)}, KNOBS).sample(0, range(50))
    rows.check("drawn")
    np.testing.assert_allclose(rows["arm.stiffness"].mean(0), sealed["arm.stiffness"], rtol=0.02)
    assert rows["arm.stribeck_velocity"].std() > 0.01


def test_curves_show_before_and_after(contained: tuple[Sealed, Result]) -> None:
    _, result = contained
    assert [c.held_out for c in result.curves] == [False, False, True]
    for curve in result.curves:
        assert curve.before.shape == curve.after.shape == curve.measured.shape == curve.sent.shape
        assert np.abs(curve.after - curve.measured).max() < 0.1 * np.abs(curve.before - curve.measured).max()


@pytest.mark.slow
def test_a_stand_in_of_another_structure_is_seen_through() -> None:
    sealed = Sealed.draw(42, "richer")
    *fit, held_out = (recorded(sealed, m.targets) for m in PLANNED)
    result = identify_joints(fit, [held_out], model=model())
    assert not result.verdict.fits
    assert "does not fit" in result.verdict.says
    assert result.errors["held-out before"] >= 10 * result.errors["held-out after"]
    true = {f"{n}[{i}]" if v.size > 1 else n: v.reshape(-1)[i] for n, v in sealed.items() for i in range(v.size)}
    inside = [f.low <= true[f.label] <= f.high for f in result.findings]
    assert np.mean(inside) >= 0.7  # of one stand-in; over ten, the benchmark asks for 80 %


def test_regression_alone_comes_close() -> None:
    sealed = Sealed.draw(43, "contained")
    runs = [run_of(recorded(sealed, m.targets)) for m in PLANNED[:2]]
    found = estimate(model(), runs, payload=True)
    np.testing.assert_allclose(found.knobs["arm.latency"], sealed.number("arm.latency"), atol=3e-3)
    np.testing.assert_allclose(found.knobs["arm.stiffness"], sealed["arm.stiffness"], rtol=0.06)
    np.testing.assert_allclose(found.knobs["arm.friction"], sealed["arm.friction"], rtol=0.25)
    np.testing.assert_allclose(found.knobs["tool.mass"], sealed.number("tool.mass"), rtol=0.03)
    assert np.abs(found.lost_motion[:3]).max() < 3e-5


@pytest.mark.slow
def test_a_noisy_simulated_robot_is_identified_through_its_own_interface() -> None:
    knobs = {"arm.latency": 0.03, "arm.servo_filter": 0.012, "arm.stiffness": [0.8, 1.2, 0.9, 1.1, 0.7, 1.3]}
    robot = robot_named("sim", knobs=knobs, tcp_speed=limits().tcp_speed)
    robot.connect()
    told: list[str] = []
    *fit, held_out = gather(robot, PLANNED, told.append)
    robot.disconnect()
    assert len(told) == len(PLANNED)
    known = {"tool.mass": np.ones(()), "tool.center_of_mass": np.zeros(3)}
    result = identify_joints(fit, [held_out], stages=["delay"], base=known, model=model())
    assert set(result.knobs) == set(STAGES["delay"])
    assert result.covariance.shape == (2, 2)
    assert float(result.knobs["arm.latency"]) == pytest.approx(0.03, abs=1e-3)
    assert float(result.knobs["arm.servo_filter"]) == pytest.approx(0.012, abs=1.5e-3)
    for finding in result.findings:
        assert finding.low <= knobs[finding.label] <= finding.high


def test_wrong_input_gets_one_line() -> None:
    one = recorded(Sealed.nominal(), PLANNED[0].targets)
    with pytest.raises(InputError, match="at least one to judge"):
        identify_joints([one], [])
    with pytest.raises(InputError, match="delays"):
        identify_joints([one], [one], stages=["delays"])
    one.position[100] = np.nan
    with pytest.raises(InputError, match="not a finite number"):
        identify_joints([one], [one])
