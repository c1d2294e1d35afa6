"""The benchmarks run, at their smallest, and say what they measured against which bar."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

import sim  # noqa: F401  before mujoco: it chooses what to render with
from benchmarks.common import Figure, filled_totes, ratio
from benchmarks.dreams import WAYS
from benchmarks.faults import FAULTS
from benchmarks.identify import OTHERS
from benchmarks.walls import INSIDE, WallWatch
from sim.knobs import Rows
from sim.rendering import RENDERING_HELP
from sim.rotations import rotate
from sim.totes import pool_index
from tasks.rollout import make_policy
from tasks.simulation import Settings, Simulation

TOTES = "--task tote_breakdown"
BARRED = {
    "stepping": {"environment over bare stepping": 0.85},
    f"stepping {TOTES}": {"environment over bare stepping": 0.85},
    "sleeping": {"gain from sleeping": 3.0},
    "rollout": {"rollout over rendering alone": 0.7},
    "expert": {"nominal: cartons where they belong": 0.99, "nominal: episodes fully successful": 0.95},
    f"expert {TOTES}": {
        "nominal: episodes fully successful": 0.90,
        **{
            f"nominal, {stage} alone: episodes fully successful": 0.97
            for stage in ("decant", "check", "break_down", "stack")
        },
    },
    "stress": {"worlds silently broken": 0},
    f"stress {TOTES}": {"worlds silently broken": 0, "parts through a wall": 0},
    "startup": {"palletlab --help": 0.5},
    "proxies": {
        "parts: gated over finest CoACD": 5.0,
        "parts: gated over SDF": 10.0,
        "totes, pallets set down: boxes over CoACD": 5.0,
        "totes, pallets thrown down: boxes over CoACD": 5.0,
        "limits of the gate that ours break": 0,
    },
    "orders": {"example, our plan: cartons on a pallet or reported": 1},
    "servo": {"period, 99th percentile": 2.5},
    "faults": {
        **{f"{fault}: seen to standing": 100.0 for fault in FAULTS},
        "log incomplete, unlocked, or no clear line": 0,
        "registers in use, and not refused": 0,
    },
    "contact": {
        "contained: friction, greatest error": 5.0,
        "richer: 90 % intervals that hold the sealed value": 80.0,
    },
    "identify": {
        "contained: held-out joint error, RMSE": 0.3,
        "contained: held-out error below nominal": 50.0,
        "contained: gains off": 2.0,
        "contained: Coulomb friction off": 12.0,
        "contained: viscous friction off": 12.0,
        "contained: payload off": 1.0,
        "contained: delay off": 1.0,
        "richer: held-out error below nominal": 10.0,
        "richer: sealed values inside 90 % intervals": 80.0,
        "richer: found not to fit": 100.0,
        "computing, on the clock": 60.0,
        "computing, processor time over two cores": 60.0,
        **{f"{kind}: held-out error below {other}": 1.0 for kind in ("contained", "richer") for other in OTHERS},
    },
    "validate": {"chance that the calibration's choice succeeds more often": 0.95, "predicted with real success": 0.9},
    "dva_loop": {
        "chunks a second, in real time": 3.0,
        "waits of the arm": 0.0,
        "sequential cycle over leapfrog's": 1.0,
    },
    "dreams": {
        **{f"{way}: over guesses, {space}": 3.0 for way in WAYS.values() for space in ("camera", "rendered")},
        "not collapsed": 0.95,
    },
    "inverse": {
        "joint targets, recorded frames": 3.0,
        "joint targets, dreamed frames": 10.0,
        "second arm's error over the first's": 1.5,
    },
    "ranking": {},
    "studies loop": {},
}
PICTURES = ("rollout", "dreams", "inverse", "ranking", "studies")
# Real time, or a minute and more of fitting and training.
LONG = (
    "servo", "faults", "contact", "identify", "validate", "dva_loop", "dreams", "inverse", "ranking", "studies loop",
)  # fmt: skip


@pytest.mark.parametrize("words", [pytest.param(w, marks=pytest.mark.slow) if w in LONG else w for w in BARRED])
def test_it_runs_and_names_measured_value_and_bar(
    words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path / "cache"))
    name, *more = words.split()
    out = tmp_path / "deep" / f"{name}.json"
    if name in PICTURES and os.environ["MUJOCO_GL"] == "disabled":
        pytest.skip(RENDERING_HELP)
    importlib.import_module(f"benchmarks.{name}").main([*more, "--tiny", "--out", str(out)])
    said = json.loads(out.read_text())
    assert said["benchmark"] == name
    assert said["size"] == "tiny"
    figures = {f["name"]: f for f in said["figures"]}
    assert len(figures) == len(said["figures"])
    assert all(math.isfinite(f["value"]) and (f["value"] >= 0 or f["unit"] in ("r", "dB")) for f in figures.values())
    assert {k: f["bar"] for k, f in figures.items() if f["bar"] is not None} == BARRED[words]
    for barred in BARRED[words]:
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


# ---- parts through walls ---------------------------------------------------------------------------------------------

UPRIGHT, OVER = (1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)  # OVER: half a turn about x
HOLE = 0.225  # [m] height of a 6280's grip holes


@pytest.fixture(scope="module")
def watched() -> tuple[Simulation, WallWatch]:
    """A world with a part and a 6280, and what watches its walls."""
    simulation = Simulation(Settings("tote_breakdown", slots=1), 1, nthread=1)
    return simulation, WallWatch(simulation)


@pytest.mark.parametrize("turn", [UPRIGHT, OVER])
@pytest.mark.parametrize(
    ("stops", "through"),
    [
        ([(0, 0, 0.1), (0, 0.4, 0.1)], {"tote_long_a"}),
        ([(0, 0, 0.1), (0.1, 0, 0.1), (0.1, -0.4, 0.27)], {"tote_long_b"}),
        ([(0, 0, 0.1), (0.5, 0, 0.1)], {"tote_short_a_under"}),
        ([(0, 0, 0.1), (0, 0, -0.1)], {"tote_foot"}),
        ([(0, 0, 0.1), (0, 0, HOLE), (-0.5, 0, HOLE)], set()),
        ([(0, 0, 0.1), (0, 0, 0.3), (0, 0.4, 0.3), (0, 0.4, 0.1)], set()),
        ([(0, 0, 0.1), (0, 0.195, 0.1), (0, 0, 0.1)], set()),
        ([(0, 0, 0.1), (0, 0, 0.005), (0, 0, 0.1)], set()),
    ],
)
def test_only_what_passes_through_a_wall_counts(
    watched: tuple[Simulation, WallWatch],
    stops: list[tuple[float, float, float]],
    through: set[str],
    turn: tuple[float, ...],
) -> None:
    # The part is led along its way in the tote's frame, both high above everything else.
    simulation, watch = watched
    settings, cell, ids = simulation.settings, simulation.cell, np.arange(1)
    columns = {name: np.array([value]) for name, value in {"part.count": 1.0, "pile.count": 0.0}.items()}
    simulation.task.apply(Rows(settings.knobs, columns, 0, ids), ids)
    legs = [np.linspace(here, there, 20) for here, there in itertools.pairwise(np.array(stops, float))]
    turned, tote = np.array([turn]), np.array([[0.95, 0.0, 2.0]])
    inside = INSIDE[int(pool_index(Rows(settings.knobs, columns, 0, ids))[0, 0])]
    for k, at in enumerate(np.concatenate(legs)):
        cell.put(np.array([1]), tote, turned, ids)
        cell.put(np.array([0]), tote + rotate(turned, at - inside), turned, ids)
        if k == 0:
            cell.worlds.forward(ids)
            watch.begin(ids)
        cell.worlds.step(cell.hold(ids, 1), ids)
    assert {found["through"] for found in watch.through[0]} == through
    assert all(found["part"] == 0 for found in watch.through[0])


def test_the_wall_watch_changes_nothing() -> None:
    settings, ids, ends = Settings("tote_breakdown"), np.arange(2), []
    rows = filled_totes(2)
    for watching in (False, True):
        simulation = Simulation(settings, 2, nthread=1)
        policy = make_policy("random", settings, 2)
        simulation.task.apply(rows, ids)
        policy.reset(ids, ids)
        if watching:
            WallWatch(simulation).begin(ids)
        seen = []
        for _ in range(15):
            seen.append(simulation.task.observe(ids)["state"])
            simulation.task.advance(policy.act({}, ids)[:, 0], ids)
        ends.append((simulation.full_state(ids), np.stack(seen)))
    for without, with_it in zip(*ends, strict=True):
        np.testing.assert_array_equal(without, with_it)
