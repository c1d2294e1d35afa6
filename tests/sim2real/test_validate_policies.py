"""Experts of differing quality: each differs from the expert as it says, and in nothing else."""

import numpy as np
import pytest
from trial_rows import SETTINGS, small_rows

from assets.errors import InputError
from sim2real.validate.policies import MANNERS, VariedExpert, policy_named
from sim2real.validate.simulated import run_all
from sim2real.validate.trials import Outcome
from tasks.rollout import make_policy
from tasks.simulation import Settings, Simulation


def carried(outcome: Outcome) -> float:
    """Seconds from attaching the first carton to letting it go."""
    times = {e["event"]: e["time"] for e in outcome.events if e["carton"] == 0}
    return times["released"] - times["attached"]


@pytest.fixture(scope="module")
def ran() -> dict[str, list[Outcome]]:
    """What every manner makes of the same three loads of two cartons."""
    rows, simulation = small_rows(3), Simulation(SETTINGS, 3, nthread=1)
    return {name: [o for _, o in sorted(run_all(simulation, name, rows), key=lambda x: x[0])] for name in MANNERS}


def test_the_expert_is_the_task_s_own() -> None:
    rows, acted = small_rows(2), []
    ids = np.arange(2)
    for policy in (policy_named("expert", SETTINGS, 2), make_policy("expert", SETTINGS, 2)):
        simulation = Simulation(SETTINGS, 2, nthread=1)
        simulation.task.apply(rows, ids)
        policy.reset(ids, rows.numbers)
        actions = []
        for _ in range(120):
            actions.append(policy.act(simulation.task.observe(ids), ids)[:, 0].astype(np.float32))
            simulation.task.advance(actions[-1].astype(np.float64), ids)
        acted.append(np.array(actions))
    np.testing.assert_array_equal(*acted)


def test_pace_is_what_it_says(ran: dict[str, list[Outcome]]) -> None:
    pace = [
        carried(ran[name][0]) for name in ("expert-hasty", "expert-brisk", "expert", "expert-calm", "expert-careful")
    ]
    assert pace == sorted(pace)
    assert pace[-1] > 1.6 * pace[2]


def test_an_aim_with_errors_misses_and_misses_alike_each_time(ran: dict[str, list[Outcome]]) -> None:
    def error(name: str) -> float:
        off = [o.cartons[:, :2] - e.cartons[:, :2] for o, e in zip(ran[name], ran["expert"], strict=True)]
        return float(np.nanmean(np.abs(np.concatenate(off))))

    assert 0.002 < error("expert-shaky") < error("expert-careless")
    rows, simulation = small_rows(3), Simulation(SETTINGS, 1, nthread=1)  # in another number of worlds
    again = dict(run_all(simulation, "expert-shaky", rows))
    for k in range(3):
        np.testing.assert_array_equal(again[k].tool, ran["expert-shaky"][k].tool)


def test_gripping_beside_the_middle_still_puts_the_carton_in_its_place(ran: dict[str, list[Outcome]]) -> None:
    for beside, middle in zip(ran["expert-offcentre"], ran["expert"], strict=True):
        np.testing.assert_allclose(beside.cartons[:, :2], middle.cartons[:, :2], atol=0.008)
        lifted = [o.tool[round(o.events[1]["time"] / 0.1)] for o in (beside, middle)]
        assert 0.04 < np.linalg.norm((lifted[0] - lifted[1])[:2]) < 0.08


def test_letting_go_too_high_does(ran: dict[str, list[Outcome]]) -> None:
    def lowest(name: str) -> float:
        return min(float(o.tool[round(e["time"] / 0.1), 2]) for o in ran[name] for e in o.events
                   if e["event"] == "released")  # fmt: skip

    assert lowest("expert-dropping") > lowest("expert") + 0.04


def test_unknown_policies_get_the_nearest_names() -> None:
    with pytest.raises(InputError, match="expert-careful"):
        policy_named("expert-carefull", SETTINGS, 1)
    with pytest.raises(InputError, match="unknown policy for tote_breakdown"):
        policy_named("expert-careful", Settings("tote_breakdown"), 1)
    assert isinstance(policy_named("expert-careful", SETTINGS, 1), VariedExpert)
