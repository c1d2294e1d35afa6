"""Identification of contact: friction of each pair of materials, firmness of contacts, strength of the suction.

Every experiment yields one number (the slope at which a carton slides, the force over its weight that pushes it, the
load that tears the cups off), and so does our model of it; the knobs are changed until both agree. Each tilt and push
thus gives an estimate of its own, and what several estimates of a knob differ by says how well it is known: neither
noise within an experiment nor the model's own covariance would show what the model gets wrong. Dropping asks for two
knobs at once; they are found by CMA-ES (Hansen, arXiv 1604.00772), since a contact found or lost makes curves jump.

    plan = plan_contact("ur20", robot.limits, Places())
    print("\n".join(plan.describe()))  # before anything moves
    evidence = run_contact(plan, robot, CellClient(channel.ask))
    result = identify_contact(evidence, plan, "ur20")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from assets.arms import arm_named
from sim2real.identify.calibration import IDENTIFIED, KEPT, CalibrationFile
from sim2real.identify.calibration import Evidence as KnobEvidence
from sim2real.identify.contact_estimates import Estimate, pooled
from sim2real.identify.contact_evidence import Evidence, run_contact
from sim2real.identify.contact_friction import by_pushing, by_tilting
from sim2real.identify.contact_model import KNOBS, ContactModel
from sim2real.identify.contact_plan import BOX, PAIRS, WARES, Plan, plan_contact
from sim2real.identify.contact_stiffness import firmness
from sim2real.identify.contact_suction import by_tearing

__all__ = ["ContactResult", "Evidence", "identify_contact", "plan_contact", "run_contact"]
FRICTION_FLOOR = 0.015  # relative error that all experiments of a friction share: scale, force sensor, scene
WORLDS = 48
STAGE = "contact"
PRIOR_SPREAD = 0.25  # of what could not be told, over its nominal value


@dataclasses.dataclass(frozen=True)
class ContactResult:
    """What was found.

    Attributes:
        estimates: by knob (an element of a vector has its index in brackets); see `Estimate`.
        kept: labels of what the experiments were about but could not tell: it stays at its prior.
        evidence: of every experiment.
        notes: what a reader should know, a line each: what the model does not explain.
    """

    estimates: dict[str, Estimate]
    kept: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...]

    def calibration(self, arm: str, source: str, logs: Mapping[str, str] | None = None) -> CalibrationFile:
        """Return it as a calibration of `arm`, measured on `source`, from logs (path: sha256).

        What could not be told stands at its nominal value with the prior's spread, and is marked. Knobs that no
        experiment was about are not in it.
        """
        knobs, low, high, status, variances = {}, {}, {}, {}, []
        for name in dict.fromkeys(label.split("[")[0] for label in (*self.estimates, *self.kept)):
            shape = KNOBS.shape(name)
            labels = [f"{name}[{i}]" for i in range(shape[0])] if shape else [name]
            nominal = KNOBS.nominal(name).reshape(-1).tolist()
            found = [
                self.estimates.get(label, Estimate(value, PRIOR_SPREAD * value))
                for label, value in zip(labels, nominal, strict=True)
            ]
            knobs[name] = np.array([e.value for e in found]).reshape(shape)
            low[name], high[name] = ([e.interval[k] for e in found] for k in (0, 1))
            status[name] = [IDENTIFIED if label in self.estimates else KEPT for label in labels]
            variances += [e.sigma**2 for e in found]
        proof = {name: KnobEvidence(STAGE, low[name], high[name], status[name], source) for name in knobs}
        said = "; ".join(self.notes) or "the model explains what was seen"
        return CalibrationFile(knobs, np.diag(variances), proof, arm, source, logs or {}, {}, {STAGE: said})


def identify_contact(
    evidence: Sequence[Evidence], plan: Plan, arm: str, known: Mapping[str, np.ndarray] | None = None
) -> ContactResult:
    """Find the knobs of contact and suction.

    Args:
        evidence: of `run_contact`.
        plan: of the experiments.
        arm: name of the arm.
        known: what the stages before have found of the arm, by knob; nominal where nothing is given.
    """
    columns = {name: np.asarray(value, np.float64) for name, value in (known or {}).items()}
    model = ContactModel(arm_named(arm), plan.places, max(len(evidence), WORLDS))
    estimates: dict[str, Estimate] = {}
    notes: list[str] = []
    drops = [(e.experiment.value, *e.drop) for e in evidence if e.drop is not None]
    if drops:
        found, note = firmness(model, WARES[BOX].size, drops, columns)
        estimates |= found
        notes += note
        columns |= {name: np.array(e.value) for name, e in found.items()}
    by_pair: dict[str, list[float]] = {name: [] for name in PAIRS.values()}
    for name, value in by_tilting(model, evidence, columns) + by_pushing(model, evidence, columns):
        by_pair[name].append(value)
    for name, values in by_pair.items():
        if values:
            estimates[name] = pooled(values, KNOBS[name], FRICTION_FLOOR)
            columns[name] = np.array(estimates[name].value)
    torn, kept, note = by_tearing(model, evidence, columns)
    return ContactResult(estimates | torn, tuple(kept), tuple(evidence), tuple(notes + note))
