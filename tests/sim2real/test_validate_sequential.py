"""The sequential test: its error rates where they are worst, its use of trials, and what it refuses."""

import numpy as np
import pytest

from sim2real.validate.sequential import ERROR, compare

SESSIONS, TRIALS, MARGIN = 1500, 150, 0.2


def decisions(real: float, predicted: float, *, together: bool = False, sessions: int = SESSIONS) -> dict[str, float]:
    """Share of each decision in sessions that are looked at after every trial; `together`: the same trials are hard."""
    rng = np.random.default_rng(1)
    u = rng.random((sessions, TRIALS))
    v = u if together else rng.random((sessions, TRIALS))
    differences = (u < real).astype(float) - (v < predicted)
    found = [compare(d, MARGIN).decision for d in differences]
    return {what: found.count(what) / sessions for what in ("within", "outside", "open")}


@pytest.mark.parametrize(("real", "predicted"), [(0.5, 0.7), (0.7, 0.5), (0.75, 0.95), (0.8, 1.0), (0.2, 0.0)])
def test_what_lies_on_the_margin_is_seldom_called_within_or_outside(real: float, predicted: float) -> None:
    # On the margin both hypotheses are at their hardest. Three standard errors of the measured share are granted.
    slack = 3.0 * np.sqrt(ERROR * (1 - ERROR) / SESSIONS)
    share = decisions(real, predicted)
    assert share["within"] <= ERROR + slack
    assert share["outside"] <= ERROR + slack


def test_it_finds_what_is_plain() -> None:
    assert decisions(0.9, 0.9)["within"] > 0.95
    assert decisions(0.4, 0.9)["outside"] > 0.99
    assert decisions(0.9, 0.3)["outside"] > 0.99


def test_pairing_saves_trials() -> None:
    rng = np.random.default_rng(2)
    u, v = rng.random((200, 400)), rng.random((200, 400))
    paired = [compare((x < 0.8).astype(float) - (x < 0.82), MARGIN).trials for x in u]
    apart = [compare((x < 0.8).astype(float) - (y < 0.82), MARGIN).trials for x, y in zip(u, v, strict=True)]
    assert np.median(paired) < 0.6 * np.median(apart)


def test_a_prediction_repeated_needs_fewer_trials() -> None:
    rng = np.random.default_rng(3)
    real, simulated = rng.random((200, 400)) < 0.8, rng.random((200, 400, 8)) < 0.8
    once = [compare(r.astype(float) - s[:, 0], MARGIN).trials for r, s in zip(real, simulated, strict=True)]
    often = [compare(r.astype(float) - s.mean(-1), MARGIN).trials for r, s in zip(real, simulated, strict=True)]
    assert np.median(often) < 0.8 * np.median(once)


def test_a_decision_stands_whatever_comes_later() -> None:
    same = np.zeros(60)
    first = compare(same, MARGIN)
    assert first.decision == "within"
    later = compare(np.concatenate([same, -np.ones(500)]), MARGIN)
    assert (later.decision, later.trials) == (first.decision, first.trials)
    assert compare(same[: first.trials - 1], MARGIN).decision == "open"


def test_no_trials_decide_nothing() -> None:
    assert compare(np.zeros(0), MARGIN).decision == "open"
    assert compare(np.zeros(0), MARGIN).difference is None


@pytest.mark.parametrize(("differences", "margin"), [([0.0, 1.5], 0.2), ([np.nan], 0.2), ([0.0], 0.0), ([0.0], 1.0)])
def test_impossible_values_are_refused(differences: list[float], margin: float) -> None:
    with pytest.raises(ValueError, match="must lie"):
        compare(np.array(differences), margin)
