"""The order of trials, and the journal that keeps them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from assets.errors import InputError
from sim2real.validate.trials import Journal, Outcome, schedule

POLICIES = ("expert", "expert-careful", "expert-careless")


def outcome(success: bool = True) -> Outcome:
    """A trial of two cartons, the second not seen any more."""
    cartons = np.array([[0.9, 0.1, 0.264, 1.5708], [np.nan] * 4])
    tool = np.array([[0.1, 0.2, 0.3], [0.11, 0.2, 0.3]])
    events = ({"time": 1.5, "carton": 1, "event": "lost: pulled off"},)
    return Outcome(success, () if success else ("carton 1 dropped (pulled off)",), (True, success), 12.3, tool, cartons,
                   events)  # fmt: skip


def test_every_policy_meets_every_variant_once_variant_by_variant() -> None:
    trials = schedule(POLICIES, 40, seed=7)
    assert [t.number for t in trials] == list(range(120))
    assert [t.row for t in trials] == [k // 3 for k in range(120)]
    assert Counter((t.policy, t.row) for t in trials) == Counter((p, r) for p in POLICIES for r in range(40))
    assert len({t.code for t in trials}) == 120


def test_no_policy_is_favoured_by_the_order_and_codes_tell_nothing() -> None:
    trials = schedule(POLICIES, 600, seed=1)
    first = Counter(t.policy for t in trials if t.number % 3 == 0)
    assert all(150 < n < 250 for n in first.values())
    letters = {p: Counter(t.code[0] for t in trials if t.policy == p) for p in POLICIES}
    assert max(n for count in letters.values() for n in count.values()) < 50  # of 600


def test_the_seed_gives_the_order_and_more_variants_only_add_to_it() -> None:
    trials = schedule(POLICIES, 10, seed=3)
    assert trials == schedule(POLICIES, 10, seed=3)
    assert schedule(POLICIES, 20, seed=3)[:30] == trials
    assert schedule(POLICIES, 10, seed=4) != trials


def test_what_ended_is_read_back_and_names_no_policy(tmp_path: Path) -> None:
    trials, journal = schedule(POLICIES, 2, seed=3), Journal(tmp_path / "trials")
    journal.begin(trials[0])
    journal.end(trials[0], outcome(False))
    found = Journal(tmp_path / "trials").ended(trials)
    assert list(found) == [0]
    back = found[0]
    assert (back.success, back.reasons, back.placed, back.seconds) == (
        False,
        outcome(False).reasons,
        (True, False),
        12.3,
    )
    np.testing.assert_allclose(back.cartons, outcome().cartons)
    np.testing.assert_allclose(back.tool, outcome().tool)
    assert back.events == outcome().events
    text = (tmp_path / "trials" / "00000.json").read_text()
    assert json.loads(text)["code"] == trials[0].code
    assert "expert" not in text


def test_a_trial_is_kept_once(tmp_path: Path) -> None:
    trials, journal = schedule(POLICIES, 1, seed=3), Journal(tmp_path)
    journal.end(trials[0], outcome())
    with pytest.raises(InputError, match="trial 0 has been run"):
        journal.end(trials[0], outcome())


def test_begun_and_never_ended_is_counted_and_half_written_goes(tmp_path: Path) -> None:
    trials, journal = schedule(POLICIES, 1, seed=3), Journal(tmp_path)
    assert journal.interrupted() == 0
    for trial in trials[:2]:
        journal.begin(trial)
    journal.end(trials[0], outcome())
    (tmp_path / "00001.json.tmp").write_text('{"succ')
    again = Journal(tmp_path)
    assert again.interrupted() == 1
    assert list(again.ended(trials)) == [0]
    assert not (tmp_path / "00001.json.tmp").exists()
    again.begin(trials[1])
    again.end(trials[1], outcome())
    assert again.interrupted() == 1  # it was repeated, and that stays told


@pytest.mark.parametrize("text", ["", "{", "[]", '{"success": true}', '{"success": true, "reasons": 3}'])
def test_a_damaged_trial_is_named(tmp_path: Path, text: str) -> None:
    trials, journal = schedule(POLICIES, 1, seed=3), Journal(tmp_path)
    (tmp_path / "00001.json").write_text(text)
    with pytest.raises(InputError, match=r"00001\.json: no trial"):
        journal.ended(trials)
