"""Sessions: prediction, trials, an early end, and what survives an interruption."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from trial_rows import SETTINGS, small, small_rows

from assets.errors import InputError
from sim2real.validate.conclusion import conclude
from sim2real.validate.session import Plan, Session
from sim2real.validate.simulated import GIVEN, SimulatedCell, in_one_cell, with_cell
from sim2real.validate.trials import Outcome, Trial

POLICIES = ("expert", "expert-careless")


class Scripted:
    """A robot on which trials go as told."""

    what, resets_itself = "scripted", True

    def __init__(self, succeeds: Callable[[Trial], bool], breaks_at: int = -1):
        self.succeeds, self.breaks_at, self.ran = succeeds, breaks_at, []

    def run(self, trial: Trial) -> Outcome:
        if trial.number == self.breaks_at:
            raise InputError("the robot has stopped: protective stop")
        self.ran.append(trial.number)
        success = self.succeeds(trial)
        reasons = () if success else ("carton 0 dropped (pulled off)",)
        return Outcome(success, reasons, (success, True), 20.0, np.zeros((1, 3)), np.zeros((2, 4)), ())

    def check(self, predicted: Iterable[Outcome]) -> None:
        self.checked = len(list(predicted))

    def close(self) -> None:
        """Nothing to leave."""


def predicted(folder: Path, plan: Plan, succeeds: Callable[[str, int], bool]) -> Session:
    """Return a session whose simulated runs have come out as told."""
    session = Session(plan, folder)
    for policy in plan.policies:
        (folder / "simulated" / policy).mkdir(parents=True, exist_ok=True)
        for row in range(len(plan.rows)):
            outcome = Scripted(lambda t: succeeds(t.policy, t.row)).run(Trial(0, "AAAA", policy, row))
            (folder / "simulated" / policy / f"{row:05d}-0.json").write_bytes(outcome.to_json())
    return session


def planned(n: int = 3, policies: tuple[str, ...] = POLICIES, **more: object) -> Plan:
    return dataclasses.replace(Plan(SETTINGS, policies, small_rows(1).take(np.zeros(n, np.int64)), small()), **more)


def test_simulation_against_itself(tmp_path: Path) -> None:
    plan = Plan(SETTINGS, POLICIES, small_rows(2), small(), repeats=2)
    session = Session(plan, tmp_path)
    heard: list[tuple[int, int]] = []
    session.predict(1, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (8, 8)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}
    session.predict(1)  # nothing is missing, nothing is made again
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")} == written
    cell = SimulatedCell(SETTINGS, plan.rows)  # exactly the cells of the first prediction
    session.run(cell, ask=lambda _: pytest.fail("it resets itself"))
    cell.close()
    for trial in session.trials:
        first = session.simulated(trial.policy, trial.row)[0]
        assert session.outcomes[trial.number].reasons == first.reasons
        np.testing.assert_allclose(session.outcomes[trial.number].tool, first.tool, atol=1e-4)
    result = conclude(session, cell.what)
    assert [p["trials"] for p in result["policies"]] == [2, 2]
    assert result["policies"][0]["apart"]["path"] < 0.05
    assert result["correlation"] is None  # two policies only
    assert "5 or more" in result["verdict"][-1]


def test_cells_differ_but_trials_stay() -> None:
    rows = small_rows(4)
    other = with_cell(rows, small(suction={"max_force": {"uniform": [300, 700]}}), seed=9)
    for name in GIVEN:
        np.testing.assert_array_equal(other[name], rows[name])
    assert len(set(other["suction.max_force"])) == 4
    one = in_one_cell(other, small(suction={"max_force": {"uniform": [300, 700]}}), seed=2)
    assert len(set(one["suction.max_force"])) == 1
    np.testing.assert_array_equal(one["carton.mass_error"], other["carton.mass_error"])


def test_a_session_ends_early_once_every_policy_is_decided(tmp_path: Path) -> None:
    session = predicted(tmp_path, planned(60), lambda policy, row: True)
    cell = Scripted(lambda trial: trial.policy == "expert")
    session.run(cell, ask=lambda _: None)
    assert len(cell.ran) < 120
    assert len(cell.ran) % 2 == 0  # no policy has fewer trials than another
    assert [f.decision for f in session.findings().values()] == ["within", "outside"]
    result = conclude(session, "scripted")
    assert result["verdict"][0].startswith("The prediction is wrong by more than 20 points for expert-careless")
    stubborn = predicted(tmp_path / "all", planned(30, stop_early=False), lambda policy, row: True)
    stubborn.run(whole := Scripted(lambda trial: trial.policy == "expert"), ask=lambda _: None)
    assert len(whole.ran) == 60


def test_an_interrupted_session_goes_on_in_the_same_order(tmp_path: Path) -> None:
    succeeds: Callable[[Trial], bool] = lambda trial: trial.row % 2 == 0  # noqa: E731
    whole = predicted(tmp_path / "whole", planned(5), lambda policy, row: row % 2 == 0)
    whole.run(straight := Scripted(succeeds), ask=lambda _: None)
    cut = predicted(tmp_path / "cut", planned(5), lambda policy, row: row % 2 == 0)
    with pytest.raises(InputError, match="protective stop"):
        cut.run(broken := Scripted(succeeds, breaks_at=3), ask=lambda _: None)
    again = Session(planned(5), tmp_path / "cut")
    again.run(rest := Scripted(succeeds), ask=lambda _: None)
    assert broken.ran + rest.ran == straight.ran == list(range(10))
    told, straightforward = conclude(again, "scripted"), conclude(whole, "scripted")
    assert (told.pop("interrupted"), straightforward.pop("interrupted")) == (1, 0)
    assert told == straightforward


def test_the_operator_is_asked_before_each_trial_and_not_told_the_policy(tmp_path: Path) -> None:
    session = predicted(tmp_path, planned(2), lambda policy, row: True)
    cell, asked = Scripted(lambda trial: True), []
    cell.resets_itself = False
    session.run(cell, ask=asked.append)
    assert len(asked) == 4
    for trial, prompt in zip(session.trials, asked, strict=True):
        assert trial.code in prompt
        assert "expert" not in prompt
        assert prompt.count(" mm, ") == 2


def test_five_policies_are_ranked(tmp_path: Path) -> None:
    policies = ("expert", "expert-careful", "expert-calm", "expert-shaky", "expert-careless")
    plan = planned(20, policies, stop_early=False)
    good = {name: 20 - 4 * k for k, name in enumerate(policies)}  # of 20
    session = predicted(tmp_path, plan, lambda policy, row: row < good[policy])
    session.run(Scripted(lambda trial: trial.row < good[trial.policy] - 1), ask=lambda _: None)
    result = conclude(session, "scripted")
    assert result["rank_violation"]["value"] == 0.0
    assert result["correlation"]["value"] > 0.99
    assert result["correlation"]["low"] > 0.8
    assert "may be used to choose between policies" in result["verdict"][-1]
    assert [p["real"]["value"] for p in result["policies"]] == pytest.approx([0.95, 0.75, 0.55, 0.35, 0.15])


def test_before_the_first_trial_nothing_is_claimed(tmp_path: Path) -> None:
    session = predicted(tmp_path, planned(2), lambda policy, row: True)
    assert conclude(session, "scripted")["verdict"] == ["No trial has been run on the robot yet."]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"policies": ()}, "names no policy"),
        ({"policies": ("expert", "expert")}, "names a policy twice"),
        ({"policies": ("exprt",)}, "did you mean 'expert'"),
        ({"margin": 0.0}, "margin = 0.0"),
        ({"repeats": 0}, "repeats = 0"),
    ],
)
def test_impossible_sessions_get_one_line(tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Session(dataclasses.replace(planned(), **change), tmp_path)
    assert not list(tmp_path.iterdir())
