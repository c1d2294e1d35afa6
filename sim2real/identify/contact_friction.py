"""Friction of a carton on other cardboard and on wood, from tilting it until it slides and from pushing it along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from assets.kinematics import Kinematics
from sim.cell import GRAVITY
from sim2real.identify.contact_evidence import Evidence, driven
from sim2real.identify.contact_model import KNOBS, ContactModel, Setup
from sim2real.identify.contact_plan import BOX, FREE_RUN, PAIRS, PUSH_TRAVEL, TILT_RATE, WARES

SLID = 0.008  # [m] at which a tilted carton counts as sliding: well above the cameras' noise
HEAD_START = 0.75  # of the slope at which it slid: where the model's table begins
ROUNDS = 3  # of correcting friction by the ratio of what was seen to what the model shows
Known = Mapping[str, np.ndarray]


def by_tilting(model: ContactModel, evidence: Sequence[Evidence], columns: Known) -> list[tuple[str, float]]:
    """Return friction from each tilt, with the knob that it is of."""
    tilts = [(e, e.slide) for e in evidence if e.slide is not None]
    if not tilts:
        return []
    seen = np.array([crossing(s.tilt, s.slid) for _, s in tilts])
    friction = np.tan(seen)
    direction = np.array([e.experiment.value for e, _ in tilts])
    start = HEAD_START * seen
    seconds = float((seen - start).max() / TILT_RATE) + 2.0
    for _ in range(ROUNDS):
        slid = model.tilt(WARES[BOX].size, friction, direction, start, TILT_RATE, seconds, columns)
        angles = start[:, None] + TILT_RATE * 0.01 * (np.arange(slid.shape[1]) + 1)
        ours = np.array([crossing(a, s) for a, s in zip(angles, slid, strict=True)])
        friction = friction * np.tan(seen) / np.tan(ours)
    return [(PAIRS[e.experiment.on], float(f)) for (e, _), f in zip(tilts, friction, strict=True)]


def crossing(tilt: np.ndarray, slid: np.ndarray) -> float:
    """Return the slope [rad] at which a carton had slid by `SLID`; the steepest one if it never has."""
    beyond = np.flatnonzero(slid > SLID)
    if not len(beyond) or beyond[0] == 0:
        return float(tilt[-1])
    k = int(beyond[0])
    share = (SLID - slid[k - 1]) / (slid[k] - slid[k - 1])
    return float(tilt[k - 1] + share * (tilt[k] - tilt[k - 1]))


def by_pushing(model: ContactModel, evidence: Sequence[Evidence], columns: Known) -> list[tuple[str, float]]:
    """Return friction from each push, with the knob that it is of."""
    pushes = [(e, e.recording) for e in evidence if e.experiment.kind == "push" and e.recording is not None]
    if not pushes:
        return []
    setups, seen, gone = [], [], []
    for e, recording in pushes:
        sent, force = driven(recording)
        # What is handled comes first in the model.
        setups.append(Setup(e.experiment.placements[::-1], e.mass, sent))
        gone.append(progress_of(model.kinematics, sent, e.experiment.value))
        seen.append(push_ratio(gone[-1], force, e.experiment.value, e.mass))
    ratio = np.array(seen)
    friction = ratio.copy()
    names = np.array([PAIRS[e.experiment.on] for e, _ in pushes])
    for _ in range(ROUNDS):
        rows = {name: np.where(names == name, friction, KNOBS.nominal(name)) for name in PAIRS.values()}
        felt = model.run(setups, {**columns, **rows})
        ours = [
            push_ratio(g[4::5], felt.force[k, : len(g[4::5])], e.experiment.value, e.mass)
            for k, ((e, _), g) in enumerate(zip(pushes, gone, strict=True))
        ]
        friction = np.clip(friction * ratio / np.array(ours), 0.05, 2.0)
    return list(zip(names.tolist(), friction.tolist(), strict=True))


def progress_of(kinematics: Kinematics, sent: np.ndarray, direction: float) -> np.ndarray:
    """Return how far along its way, 0 … 1, each joint target (k, 6) of a push towards `direction` [rad] lies."""
    position, _ = kinematics.flange_pose(sent)
    along = position[:, 0] * np.cos(direction) + position[:, 1] * np.sin(direction)
    return (along - along[0]) / (FREE_RUN + PUSH_TRAVEL)


def push_ratio(progress: np.ndarray, force: np.ndarray, direction: float, mass: float) -> float:
    """Return the force that pushes a carton over what presses it down.

    Args:
        progress: of the motion, 0 … 1, (k,).
        force: on the tool in base axes [N], (k, 6); what it reads while it moves freely is taken off.
        direction: of the push [rad].
        mass: of the carton [kg].
    """
    length = FREE_RUN + PUSH_TRAVEL
    free = (progress > 0.15 * FREE_RUN / length) & (progress < 0.6 * FREE_RUN / length)
    sliding = (progress > (FREE_RUN + 0.04) / length) & (progress < 0.95)
    mean = force[sliding].mean(0) - force[free].mean(0)
    against = -(mean[0] * np.cos(direction) + mean[1] * np.sin(direction))
    # The tool presses the carton down by as much as the carton lifts the tool.
    return float(max(against, 0.1) / (mass * GRAVITY + mean[2]))
