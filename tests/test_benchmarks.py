"""The benchmarks run, at their smallest, and say what they measured against which bar."""

from __future__ import annotations

import importlib
import json
import math
import os
from pathlib import Path

import pytest

import sim  # noqa: F401  before mujoco: it chooses what to render with
from benchmarks.common import Figure, ratio
from sim.rendering import RENDERING_HELP

BARRED = {
    "stepping": {"environment over bare stepping": 0.85},
    "sleeping": {"gain from sleeping": 3.0},
    "rollout": {"rollout over rendering alone": 0.7},
    "expert": {"nominal: cartons where they belong": 0.99, "nominal: episodes fully successful": 0.95},
    "stress": {"worlds silently broken": 0},
    "startup": {"palletlab --help": 0.5},
    "orders": {"example, our plan: cartons on a pallet or reported": 1},
}


@pytest.mark.parametrize("name", BARRED)
def test_it_runs_and_names_measured_value_and_bar(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / f"{name}.json"
    if name == "rollout" and os.environ["MUJOCO_GL"] == "disabled":
        pytest.skip(RENDERING_HELP)
    importlib.import_module(f"benchmarks.{name}").main(["--tiny", "--out", str(out)])
    said = json.loads(out.read_text())
    assert said["benchmark"] == name
    assert said["size"] == "tiny"
    figures = {f["name"]: f for f in said["figures"]}
    assert len(figures) == len(said["figures"])
    assert all(math.isfinite(f["value"]) and f["value"] >= 0 for f in figures.values())
    assert {k: f["bar"] for k, f in figures.items() if f["bar"] is not None} == BARRED[name]
    for barred in BARRED[name]:
        assert figures[barred]["baseline"]
        assert figures[barred]["met"] in (True, False)
    printed = capfd.readouterr().out
    assert "measured" in printed
    assert str(out.name) in printed


def test_a_ratio_is_that_of_the_total_times() -> None:
    # Two blocks of equal work: 1 s and 3 s against 2 s and 2 s.
    figure = ratio("it", [1.0, 1 / 3], [0.5, 0.5], 0.9, "that")
    assert figure.value == pytest.approx(1.0)
    assert figure.met
    assert (figure.low, figure.high) == pytest.approx((1.0, 5 / 3))


def test_bars_bind_on_the_right_side() -> None:
    assert Figure("a", 2.0, "x", 1.0).met
    assert not Figure("a", 2.0, "x", 1.0, most=True).met
    assert Figure("a", 2.0, "x").met is None
