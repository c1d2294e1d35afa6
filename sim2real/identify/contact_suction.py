"""Strength and give of the suction, from what tears the cups off a carton that is held down.

Whichever way they are torn, pull, shear and bending act together, for the arm gives way in all directions. But the
flange's sensor says what acted: the strength is what makes our model's rule (`sim.suction`) let go in every tear just
when the cups did, under the very loads that were measured. As one or the other part of the rule decides, this is not
smooth; CMA-ES searches, in logarithms. The give is compared with rollouts of our model.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from assets.gripper import Cups
from assets.kinematics import Kinematics
from sim2real.identify.contact_estimates import Estimate, pooled
from sim2real.identify.contact_evidence import EVACUATE, Evidence, driven
from sim2real.identify.contact_model import KNOBS, ContactModel, Setup
from sim2real.identify.contact_plan import TEARING, WARES, Experiment

STRENGTH = ("suction.max_force", "suction.friction", "suction.max_moment[0]", "suction.max_moment[1]")
GIVE = "suction.time_constant"
ROW = 5  # samples of a recording in the 10 ms over which our model's rule looks at a load
REST = 40  # samples at the start of a tear, in which the arm hardly moves yet
LETS_GO = 15  # samples within which a load has fallen to half when the cups let go
NOTHING = {"pull": 15.0, "drag": 15.0, "bend": 3.0}  # [N], [N m] under which that is noise
LOAD_SIGMA = 0.02  # relative error of a load
FLOOR, GIVE_FLOOR = 0.015, 0.10  # relative errors that all tears share; in the give the arm's inertia has a part
PRIOR = 1.0  # standard deviation of the logarithms beforehand
PRIOR_POWER, POWERS = 0.4, (1.0, 2.5)  # of the logarithm; least and greatest
STRANGE = 1.3  # power from which the cups do not let go as the model's
TOLD = 0.3  # standard deviation above which the tears have not told a knob
MISFIT = 2.0
POPULATION, GENERATIONS, SPREAD = 40, 120, 0.5  # of CMA-ES
STEP, ROUNDS = 0.01, 3


@dataclasses.dataclass(frozen=True)
class Tear:
    """Loads on the cups until they let go.

    Attributes:
        load: force [N] and torque [N m] at the lips in the lips' axes, what hangs pulls along +z, (k, 6): means over 10
            ms, one for each sample.
        share: of the cups that were sealed.
        torn: whether they let go in the end.
    """

    load: np.ndarray
    share: float
    torn: bool


def by_tearing(
    model: ContactModel, evidence: Sequence[Evidence], columns: Mapping[str, np.ndarray]
) -> tuple[dict[str, Estimate], list[str], list[str]]:
    """Return estimates of the suction's knobs, by label; labels of what could not be told; what should be noted."""
    torn = [e for e in evidence if e.experiment.kind in TEARING and e.recording is not None]
    if not torn:
        return {}, [], []
    tears = []
    for e in torn:
        assert e.recording is not None
        tears.append(tear_of(e.experiment, driven(e.recording)[1]))
    estimates, kept, notes = strength(tears)
    known = {**columns, **_knobs({label: e.value for label, e in estimates.items()})}
    given = _give(model, torn, tears, known)
    if given:
        estimates[GIVE] = pooled(given, KNOBS[GIVE], GIVE_FLOOR)
    else:
        kept.append(GIVE)
    return estimates, kept, notes


def tear_of(experiment: Experiment, force: np.ndarray) -> Tear:
    """Return the loads of a tear until the cups let go, from the forces on the tool (k, 6) in base axes.

    What the tool reads before it begins to move is taken off: a payload that is declared wrong, a sensor's offset.
    """
    felt = force - force[:REST].mean(0)
    total = np.cumsum(np.concatenate([np.zeros((1, 6)), felt]), axis=0)
    felt = (total[ROW:] - total[:-ROW]) / ROW
    if experiment.kind == "pull":
        strain = -felt[:, 2]
    elif experiment.kind == "drag":
        strain = np.sqrt((felt[:, :2] ** 2).sum(1))
    else:
        strain = np.abs(felt[:, 3 + int(experiment.value)])
    before, after = strain[:-LETS_GO], strain[LETS_GO:]
    gone = np.flatnonzero((after < 0.5 * before) & (before > NOTHING[experiment.kind]))
    last = int(gone[0]) + int(np.argmax(strain[gone[0] : gone[0] + LETS_GO])) + 1 if len(gone) else len(strain)
    # The tool points down, its x axis along the base's.
    return Tear(felt[:last] * (1.0, -1.0, -1.0, 1.0, -1.0, -1.0), _share(experiment), bool(len(gone)))


def strain_of(tear: Tear, values: np.ndarray) -> np.ndarray:
    """Return the greatest strain in a tear (n,), 1 where cups let go, by strengths as in `STRENGTH` and a power (n, 5).

    The rule of `sim.suction`: pull and bending together over what they may be; shear and twist over the friction that
    the pull leaves. It adds pull and bending up; other cups may combine them otherwise, hence the power: 1 is our
    model's sum, 2 an ellipsoid. A press keeps the cups on.
    """
    force, friction, mx, my, power = (values * (tear.share, 1.0, tear.share, tear.share, 1.0)).T[..., None]
    fx, fy, pull, tx, ty, tz = tear.load.T
    parts = (np.maximum(pull, 0.0) / force, np.abs(tx) / mx, np.abs(ty) / my)
    peel = sum(part**power for part in parts) ** (1.0 / power) + np.minimum(pull, 0.0) / force
    grip = friction * np.maximum(force - np.maximum(pull, 0.0), 1e-3)
    slide = np.sqrt(fx * fx + fy * fy) / grip
    twist = np.abs(tz) / (grip * float(np.sqrt((Cups().positions ** 2).sum(1)).mean()))
    return np.maximum(np.maximum(peel, slide), twist).max(1)


def strength(tears: Sequence[Tear]) -> tuple[dict[str, Estimate], list[str], list[str]]:
    """Return the strengths that explain when the cups let go, by label; what could not be told; what to note."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses matplotlib, which only its own plots need
        import cma  # heavy, and only needed here

    low, high = np.log([*(_bounds(label) for label in STRENGTH), POWERS]).T
    nominal = np.log([*(_nominal(label) for label in STRENGTH), 1.0])

    def residuals(x: np.ndarray) -> np.ndarray:
        strains = np.log(np.stack([strain_of(tear, np.exp(x)) for tear in tears], axis=1)) / LOAD_SIGMA
        # A hold that did not break only says that it was strong enough.
        held = np.array([not tear.torn for tear in tears])
        strains = np.where(held, np.maximum(strains, 0.0), strains)
        return np.concatenate([strains, (x - nominal) / (*[PRIOR] * 4, PRIOR_POWER)], axis=1)

    options = {
        "bounds": [low.tolist(), high.tolist()], "popsize": POPULATION, "seed": 1, "verbose": -9, "verb_log": 0,
        "maxiter": GENERATIONS,
    }  # fmt: skip
    search = cma.CMAEvolutionStrategy(nominal.tolist(), SPREAD, options)
    while not search.stop():
        candidates = np.array(search.ask())
        search.tell(list(candidates), (residuals(candidates) ** 2).sum(1).tolist())
    x = np.clip(np.array(search.result.xbest), low, high)
    best = residuals(x[None])[0]
    # Only what let go measures anything: a bound that happens to be touched says nothing of how well a knob is known.
    measures = np.array([*(tear.torn for tear in tears), *[True] * len(x)])
    jacobian = (residuals(x + STEP * np.eye(5)) - residuals(x - STEP * np.eye(5))).T / (2 * STEP)
    sigma = np.sqrt(np.diag(np.linalg.inv(jacobian[measures].T @ jacobian[measures])))
    misfit = float(np.sqrt((best[: len(tears)] ** 2).sum() / max(int(measures.sum()) - 2 * len(x), 1)))
    estimates: dict[str, Estimate] = {}
    for k, label in enumerate(STRENGTH):
        if sigma[k] <= TOLD:
            value = float(np.exp(x[k]))
            estimates[label] = Estimate(value, value * float(np.hypot(sigma[k] * max(1.0, misfit), FLOOR)))
    kept = [label for label in STRENGTH if label not in estimates]
    notes: list[str] = []
    if misfit > MISFIT:
        notes.append(f"suction: the cups do not let go by the model's rule, their loads are {misfit:.1f} sigma off it")
    if np.exp(x[4]) > STRANGE:
        notes.append(f"suction: pull and bending do not add up as in the model but with the power {np.exp(x[4]):.2f}")
    return estimates, kept, notes


def _give(
    model: ContactModel, torn: Sequence[Evidence], tears: Sequence[Tear], columns: Mapping[str, np.ndarray]
) -> list[float]:
    """Return the hold's time constant from each tear that tells it: how far the tool gives way for each newton."""
    setups, seen, told = [], [], []
    for e, tear in zip(torn, tears, strict=True):
        if e.experiment.kind == "bend" or e.recording is None:
            continue
        sent, _ = driven(e.recording)
        give = give_of(model.kinematics, e.experiment, tear, e.recording.position[-len(sent) :])
        if np.isfinite(give):
            setups.append(Setup(e.experiment.placements, e.mass, sent, EVACUATE))
            seen.append(give)
            told.append(e.experiment)
    if not told:
        return []
    value, wanted = np.full(len(told), _nominal(GIVE)), np.array(seen)
    for _ in range(ROUNDS):
        felt = model.run(setups, {**columns, GIVE: value})
        ours = []
        for k, experiment in enumerate(told):
            force, joints = np.repeat(felt.force[k], ROW, axis=0), np.repeat(felt.joints[k], ROW, axis=0)
            ours.append(give_of(model.kinematics, experiment, tear_of(experiment, force), joints))
        # A spring's give goes with the square of its time constant.
        value = value * np.sqrt(np.clip(wanted / np.array(ours), 0.25, 4.0))
    return value[np.isfinite(value)].tolist()


def give_of(kinematics: Kinematics, experiment: Experiment, tear: Tear, joints: np.ndarray) -> float:
    """Return how far the tool gives way for each newton that pulls at the cups [m/N]; NaN where too little is seen.

    By the encoders (k, 6) [rad], so that what gives in the servos does not count.
    """
    axis = 2 if experiment.kind == "pull" else int(experiment.value)
    strain = np.abs(tear.load[:, axis])
    greatest = strain.max()
    rows = np.flatnonzero((strain > 0.2 * greatest) & (strain < 0.8 * greatest))
    if greatest < NOTHING[experiment.kind] or len(rows) < 4 * ROW:
        return np.nan
    position, _ = kinematics.flange_pose(joints[rows + ROW // 2])
    return abs(float(np.polyfit(strain[rows], position[:, axis], 1)[0]))


def _share(experiment: Experiment) -> float:
    """Share of the cups that seal on the carton of a tear: those whose rims lie on its top."""
    place, cups = experiment.placements[0], Cups()
    length, width, _ = WARES[place.carton].size
    c, s = np.cos(place.yaw), np.sin(place.yaw)
    x, y = cups.positions.T
    inside = (np.abs(c * x + s * y) <= length / 2 - 0.9 * cups.radius) & (
        np.abs(c * y - s * x) <= width / 2 - 0.9 * cups.radius
    )
    return float(inside.mean())


def _knobs(values: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Whole knobs of the strengths that are known."""
    out = {name: np.array(values[name]) for name in STRENGTH[:2] if name in values}
    out["suction.max_moment"] = np.array([values.get(label, _nominal(label)) for label in STRENGTH[2:]])
    return out


def _nominal(label: str) -> float:
    """Nominal value of an element of a knob, e.g. "suction.max_moment[1]"."""
    name, _, index = label.partition("[")
    return float(KNOBS.nominal(name)[int(index[:-1])] if index else KNOBS.nominal(name))


def _bounds(label: str) -> tuple[float, float]:
    knob = KNOBS[label.partition("[")[0]]
    return float(np.min(knob.lower)), float(np.max(knob.upper))
