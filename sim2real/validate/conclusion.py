"""What follows from a session: figures with intervals, and the verdict in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from sim2real.validate.figures import LEAST_POLICIES, apart, correlation, over_policies, rank_violation
from sim2real.validate.sequential import ERROR, Finding
from sim2real.validate.session import Session
from sim2real.validate.trials import Outcome
from tasks import figures
from tasks.evaluation import cause_of

STRONG = 0.8  # a correlation whose interval lies above this is called strong


def conclude(session: Session, what: str) -> dict[str, Any]:
    """Return what a session shows, as plain numbers and texts.

    Args:
        session: with its predictions made and some or all of its trials run.
        what: the robot, in the words of its cell, e.g. "stand-in, not hardware".

    Returns:
        `robot`; `trials` run, of how many `planned`, how many were `interrupted`; `margin` and `error` of the test;
        `policies`, each with `name`, number of `trials`, success on the robot (`real`) and `predicted` (figures over
        the trials run), mean `difference` and how it went trial by trial (`running`), `decision` and after how many
        trials `decided`, `apart` (means of `figures.apart`), `seconds` and `causes` of failure of both; `correlation`
        and `rank_violation` (figures), None with fewer than five policies; `verdict`: sentences; `outcomes`: every
        trial, in the order in which they were run.
    """
    plan, real, predicted = session.plan, session.real(), session.predicted()
    ran = np.isfinite(real) & np.isfinite(predicted)
    findings = session.findings()
    policies = [_of_policy(session, k, findings[name], ran[k]) for k, name in enumerate(plan.policies)]
    enough = len(policies) >= LEAST_POLICIES and bool(ran.any(axis=1).all())
    result: dict[str, Any] = {
        "robot": what,
        "trials": len(session.outcomes),
        "planned": len(session.trials),
        "variants": len(plan.rows),
        "repeats": plan.repeats,
        "interrupted": session.journal.interrupted(),
        "margin": plan.margin,
        "error": ERROR,
        "policies": policies,
        "correlation": over_policies(correlation, real, predicted) if enough else None,
        "rank_violation": over_policies(rank_violation, real, predicted) if enough else None,
    }
    result["verdict"] = verdict(result)
    result["outcomes"] = _outcomes(session)
    return result


def _of_policy(session: Session, k: int, finding: Finding, ran: np.ndarray) -> dict[str, Any]:
    plan = session.plan
    name, rows = plan.policies[k], np.flatnonzero(ran).tolist()
    trials = {t.row: session.outcomes[t.number] for t in session.trials
              if t.policy == name and t.number in session.outcomes}  # fmt: skip
    real = [trials[row] for row in rows]
    runs = {row: [o for o in session.simulated(name, row) if o.broken is None] for row in rows}
    simulated = [o for row in rows for o in runs[row]]
    distances = [apart(trials[row], o) for row in rows for o in runs[row]]
    return {
        "name": name,
        "real": figures.share(sum(o.success for o in real), len(real)),
        "predicted": figures.share(sum(o.success for o in simulated), len(simulated)),
        "trials": len(real),
        "difference": finding.difference,
        "decision": finding.decision,
        "decided": finding.trials,
        "running": _running(session, k),
        "apart": {key: _mean([d[key] for d in distances]) for key in ("path", "time", "cartons", "yaw")},
        "seconds": {"real": _mean([o.seconds for o in real]), "predicted": _mean([o.seconds for o in simulated])},
        "causes": {"real": _causes(real), "predicted": _causes(simulated)},
    }


def _running(session: Session, policy: int) -> list[float]:
    """Return the mean difference in success, real minus predicted, after each trial."""
    difference = (session.real() - session.predicted())[policy]
    difference = difference[np.isfinite(difference)]
    return [round(float(v), 4) for v in difference.cumsum() / np.arange(1, len(difference) + 1)]


def _causes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the causes of failure, each with the number of trials that it is named in."""
    return dict(Counter(cause for o in outcomes for cause in {cause_of(r) for r in o.reasons}).most_common())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _outcomes(session: Session) -> list[dict[str, Any]]:
    found = []
    for trial in session.trials:
        outcome = session.outcomes.get(trial.number)
        if outcome is None:
            continue
        runs = [o for o in session.simulated(trial.policy, trial.row) if o.broken is None]
        found.append(
            {
                "trial": trial.number,
                "code": trial.code,
                "policy": trial.policy,
                "variant": int(session.plan.rows.numbers[trial.row]),
                "success": outcome.success,
                "predicted": float(np.mean([o.success for o in runs])) if runs else None,
                "reasons": list(outcome.reasons),
                "predicted_reasons": list(runs[0].reasons) if runs else [],
                "seconds": outcome.seconds,
                "apart": apart(outcome, runs[0]) if runs else None,
            }
        )
    return found


# ---- in plain words ----------------------------------------------------------------------------------------------


def verdict(result: dict[str, Any]) -> list[str]:
    """Return what the figures of `conclude` say, a sentence each; the first sums up."""
    policies = result["policies"]
    told = [_of_one(p, result["margin"]) for p in policies if p["trials"]]
    if not told:
        return ["No trial has been run on the robot yet."]
    by = {d: [p["name"] for p in policies if p["decision"] == d] for d in ("within", "outside", "open")}
    points = f"{100 * result['margin']:.0f} points"
    if by["outside"]:
        names = ", ".join(by["outside"])
        summary = f"The prediction is wrong by more than {points} for {names}: do not rely on it there."
    elif by["open"]:
        summary = (
            f"Nothing contradicts the prediction so far, but for {len(by['open'])} of {len(policies)} policies too few "
            f"trials were run to show that it holds to within {points}."
        )
    else:
        summary = f"The prediction holds to within {points} for every policy."
    return [summary, *told, *_ranking(result)]


def _of_one(policy: dict[str, Any], margin: float) -> str:
    real, predicted = policy["real"], policy["predicted"]
    n = policy["trials"]
    said = (
        f"{policy['name']}: {round(real['value'] * n)} of {n} succeeded "
        f"({100 * real['low']:.0f} to {100 * real['high']:.0f} %), {100 * predicted['value']:.0f} % were predicted; "
    )
    points = f"{100 * margin:.0f} points"
    return (
        said
        + {
            "within": f"shown to be within {points} after {policy['decided']} trials.",
            "outside": f"shown to be more than {points} off after {policy['decided']} trials.",
            "open": f"whether that is within {points} is still open.",
        }[policy["decision"]]
    )


def _ranking(result: dict[str, Any]) -> list[str]:
    r, violation = result["correlation"], result["rank_violation"]
    if r is None:
        return [
            f"Whether simulation ranks policies as the robot does was not asked: that takes {LEAST_POLICIES} or more."
        ]
    if r["value"] is None:
        return ["All policies did equally well, here or there: there is nothing to rank."]
    interval = "" if r["low"] is None else f" (95 %: {r['low']:.2f} to {r['high']:.2f})"
    strong = r["low"] is not None and r["low"] > STRONG
    weighs = "may be used to choose between policies" if strong else "is no sure guide for choosing between policies"
    loss = f"trusting its ranking costs {100 * violation['value']:.1f} points of success in the mean, at worst (MMRV)"
    return [f"Predicted and real success go together with r = {r['value']:.2f}{interval}; {loss}. Simulation {weighs}."]
