"""Figures over policies and trials: published values, what must not be swapped, and what cannot be said."""

import numpy as np
import pytest

from sim2real.validate.figures import apart, correlation, over_policies, rank_violation
from sim2real.validate.trials import Outcome

# Success of RT-1 (converged, 15 %), RT-1-X, RT-2-X, Octo-Base and RT-1 (begin): real, simulated (visual matching).
# Li et al., arXiv 2405.05941, tables of the Google robot; the figures are recomputed from these.
SIMPLER = {
    "coke can": ([0.853, 0.920, 0.760, 0.907, 0.293, 0.133], [0.857, 0.710, 0.567, 0.787, 0.170, 0.027], 0.031, 0.975),
    "move near": ([0.633, 0.583, 0.450, 0.733, 0.350, 0.017], [0.442, 0.354, 0.317, 0.779, 0.042, 0.050], 0.111, 0.856),
    "open drawer": ([0.815, 0.704, 0.519, 0.333, 0.148, 0.0], [0.601, 0.463, 0.296, 0.157, 0.009, 0.0], 0.0, 0.983),
    "close drawer": (
        [0.926, 0.889, 0.741, 0.630, 0.519, 0.0],
        [0.861, 0.667, 0.891, 0.343, 0.444, 0.278],
        0.123,
        0.771,
    ),
}


@pytest.mark.parametrize("task", SIMPLER)
def test_published_tables(task: str) -> None:
    real, simulated, violation, r = SIMPLER[task]
    assert rank_violation(real, simulated) == pytest.approx(violation, abs=5e-4)
    assert correlation(real, simulated) == pytest.approx(r, abs=5e-4)


def test_the_arguments_of_the_rank_violation_must_not_be_swapped() -> None:
    real, simulated, violation, _ = SIMPLER["coke can"]
    assert rank_violation(simulated, real) > 1.5 * violation


def test_a_ranking_that_is_right_violates_nothing_however_wrong_the_numbers() -> None:
    assert rank_violation([0.1, 0.5, 0.9], [0.7, 0.8, 0.81]) == 0.0
    # The worst case: everything the other way round costs the whole range at both ends.
    assert rank_violation([0.0, 1.0], [1.0, 0.0]) == 1.0


def test_policies_that_do_equally_well_have_no_correlation() -> None:
    assert correlation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]) is None


def trials(shares: list[float], n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((len(shares), n)) < np.array(shares)[:, None]).astype(float)


def test_the_bootstrap_interval_holds_what_many_sessions_would_give() -> None:
    real, simulated = [0.95, 0.8, 0.55, 0.3, 0.1], [0.9, 0.85, 0.5, 0.4, 0.15]
    truth = correlation(real, simulated)
    assert truth is not None
    hits = 0
    for session in range(40):
        figure = over_policies(correlation, trials(real, 60, session), trials(simulated, 60, 1000 + session))
        assert figure["low"] <= figure["value"] <= figure["high"]
        hits += figure["low"] <= truth <= figure["high"]
    assert hits >= 34
    # More trials, a narrower interval; the same trials, the same interval.
    few, many = (over_policies(correlation, trials(real, n, 3), trials(simulated, n, 4)) for n in (15, 240))
    assert many["high"] - many["low"] < 0.5 * (few["high"] - few["low"])
    assert few == over_policies(correlation, trials(real, 15, 3), trials(simulated, 15, 4))


def test_trials_that_were_not_run_are_left_out() -> None:
    real, simulated = trials([0.9, 0.5, 0.1], 30, 1), trials([0.9, 0.5, 0.1], 30, 2)
    whole = over_policies(rank_violation, real[:, :20], simulated[:, :20])
    real[:, 20:] = np.nan
    assert over_policies(rank_violation, real, simulated)["value"] == whole["value"]
    real[1] = np.nan
    assert over_policies(rank_violation, real, simulated)["value"] is None


# ---- how far two runs are apart --------------------------------------------------------------------------------------


def outcome(shift: float = 0.0, late: int = 0, placed: tuple[bool, ...] = (True, True), yaw: float = 0.0) -> Outcome:
    """Two cartons carried for 2 s each along x; `shift` [m] sideways, `late` periods late, turned by `yaw`."""
    way = np.zeros((100, 3))
    way[:, 1] = shift
    for first in (10, 50):
        way[first + late : first + late + 21, 0] = np.linspace(0.0, 1.0, 21)
    events = [
        {"time": round((first + late + after) * 0.1, 3), "carton": k, "event": what}
        for k, first in enumerate((10, 50))
        for what, after in (("attached", 0), ("released", 20))
    ]
    cartons = np.array([[0.5, shift, 0.2, yaw], [0.9, shift, 0.2, yaw]])
    return Outcome(all(placed), (), placed, 10.0, way, cartons, tuple(events))


def test_equal_runs_are_not_apart_even_where_one_began_later() -> None:
    for late in (0, 7):
        found = apart(outcome(late=late), outcome())
        assert found == pytest.approx({"path": 0.0, "time": 0.0, "cartons": 0.0, "yaw": 0.0}, abs=1e-9)


def test_ways_and_places_that_differ_are_measured() -> None:
    found = apart(outcome(shift=0.02, yaw=0.05), outcome())
    assert found["path"] == pytest.approx(0.02)
    assert found["cartons"] == pytest.approx(0.02)
    assert found["yaw"] == pytest.approx(0.05)
    assert apart(outcome(yaw=np.pi), outcome())["yaw"] == pytest.approx(0.0, abs=1e-9)  # half a turn is no error


def test_only_what_both_have_done_is_compared() -> None:
    lost = outcome(shift=0.5, placed=(True, False))
    lost.cartons[1] = np.nan
    assert apart(lost, outcome())["cartons"] == pytest.approx(0.5)
    nothing = Outcome(False, ("carton 0 not placed in time",), (False, False), 43.0, np.zeros((3, 3)),
                      np.full((2, 4), np.nan), ())  # fmt: skip
    assert apart(nothing, outcome()) == {"path": None, "time": None, "cartons": None, "yaw": None}
