"""Calibration files: what identification writes, variations read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from assets.errors import InputError
from sim.variations import Variation
from sim2real.identify.calibration import IDENTIFIED, KEPT, CalibrationFile, Evidence, log_hashes, merged
from sim2real.identify.model import KNOBS


def made(knobs: dict[str, object], scale: float = 0.01, robot: str = "ur20", stage: str = "joints") -> CalibrationFile:
    means = {name: np.broadcast_to(np.asarray(v, float), KNOBS.shape(name)) for name, v in knobs.items()}
    size = sum(v.size for v in means.values())
    root = np.random.default_rng(size).normal(size=(size, size)) * scale
    evidence = {
        name: Evidence(
            stage,
            (v.reshape(-1) - 0.1).tolist(),
            (v.reshape(-1) + 0.1).tolist(),
            [IDENTIFIED, KEPT][:1] * v.size,
            "test",
        )
        for name, v in means.items()
    }
    return CalibrationFile(
        means, root @ root.T, evidence, robot, "test", {"a.mcap": "0"}, {"rmse after": 1e-4}, {stage: "fits"}
    )


def test_what_is_written_is_read_and_drawn_from(tmp_path: Path) -> None:
    calibration = made({"arm.latency": 0.03, "arm.stiffness": (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)}, scale=0.002)
    path = tmp_path / "of" / "arm.yaml"
    calibration.write(path)
    again = CalibrationFile.read(path, KNOBS)
    np.testing.assert_allclose(again.covariance, calibration.covariance, rtol=1e-7)
    np.testing.assert_allclose(again.knobs["arm.stiffness"], calibration.knobs["arm.stiffness"])
    assert again.evidence["arm.latency"].status == [IDENTIFIED]
    first = path.read_bytes()
    again.write(path)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["arm.yaml"]
    rows = Variation.parse("calibrated", {"calibration": str(path)}, KNOBS).sample(0, range(400))
    assert rows["arm.latency"].mean() == pytest.approx(0.03, abs=2e-3)
    assert rows["arm.stiffness"][:, 5].mean() == pytest.approx(1.3, abs=2e-3)


def test_merging_lets_the_later_one_win() -> None:
    first = made({"arm.latency": 0.03, "arm.friction": 0.7, "tool.mass": 1.2})
    later = made({"arm.friction": 1.4, "suction.friction": 0.5}, stage="contact")
    both = merged(first, later)
    assert list(both.knobs) == ["arm.latency", "tool.mass", "arm.friction", "suction.friction"]
    assert (both.knobs["arm.friction"] == 1.4).all()
    assert both.evidence["arm.friction"].stage == "contact"
    np.testing.assert_allclose(both.covariance[2:, 2:], later.covariance)
    kept = [0, 7]  # latency and tool mass in the first one
    np.testing.assert_allclose(both.covariance[:2, :2], first.covariance[np.ix_(kept, kept)])
    assert not both.covariance[:2, 2:].any()
    assert both.verdict == {"joints": "fits", "contact": "fits"}
    with pytest.raises(InputError, match="different arms"):
        merged(first, made({"arm.latency": 0.02}, robot="ur10e"))


def test_bad_files_get_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    made({"arm.latency": 0.03, "tool.mass": 1.0}).write(path)
    data = yaml.safe_load(path.read_text())
    for change, says in (
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive semidefinite"),
        ({"knobs": {"arm.lag": 0.03, "tool.mass": 1.0}}, "arm.lag"),
        ({"evidence": {}}, "not a calibration that identification wrote"),
        ({"logs": None}, "not a calibration that identification wrote"),
    ):
        path.write_text(yaml.safe_dump(data | change))
        with pytest.raises(InputError, match=says) as error:
            CalibrationFile.read(path, KNOBS)
        assert "\n" not in str(error.value)


def test_logs_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    log = tmp_path / "a.mcap"
    log.write_bytes(b"log")
    assert log_hashes([log]) == {str(log): hashlib.sha256(b"log").hexdigest()}
