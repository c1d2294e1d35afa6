"""Firmness of contacts from drops: time constant and damping ratio by CMA-ES, and how well the drops agree on them.

Pressing a carton down was tried too and tells nothing more: under 200 N contacts give a tenth of a millimetre, which is
what encoders resolve at the end of an arm.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from sim2real.identify.contact_estimates import Estimate, pooled
from sim2real.identify.contact_model import KNOBS, ContactModel

NAMES = ("contact.time_constant", "contact.damping_ratio")
SENSOR = 5e-5  # [m] what a height is trusted to
WATCHED = 0.35  # [s] of each curve: what comes later is rest
POPULATION, GENERATIONS, SPREAD = 14, 16, 0.35  # of CMA-ES; its first standard deviation, of the logarithms
STEP = 0.02  # of the logarithms, for the slopes
# Relative errors that drops share: at least, and for each time the sensor's noise by which the model fits worse.
FLOOR, UNLIKE = 0.02, 0.05
LEFT_OVER = 3.0  # times what the sensor explains: the model does not describe the curves
Drop = tuple[float, np.ndarray, np.ndarray]


def firmness(
    model: ContactModel, size: Sequence[float], drops: Sequence[Drop], columns: Mapping[str, np.ndarray]
) -> tuple[dict[str, Estimate], list[str]]:
    """Find both knobs from drops of a carton.

    Args:
        model: our model.
        size: of the carton [m].
        drops: height [m], then time [s] and height over rest [m] of each curve.
        columns: knobs that are known.

    Returns:
        Estimates by knob, and what should be noted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses matplotlib, which only its own plots need
        import cma  # heavy, and only needed here

    heights = sorted({height for height, _, _ in drops})
    low, high = (np.log([float(np.min(getattr(KNOBS[n], side))) for n in NAMES]) for side in ("lower", "upper"))

    def differences(candidates: np.ndarray) -> np.ndarray:
        """Model less measurement over the sensor's noise, (candidates, drops, k)."""
        count = len(candidates)
        tiled = {name: np.repeat(np.exp(candidates[:, k]), len(heights)) for k, name in enumerate(NAMES)}
        curves = model.drop(size, np.tile(heights, count), WATCHED, {**columns, **tiled})
        curves = curves.reshape(count, len(heights), -1)
        out = []
        for height, time, seen in drops:
            time, seen = time[time <= WATCHED], seen[time <= WATCHED]
            # Row k of the model is (k + 1) steps after the drop, as the sensor's are.
            rows = np.clip(np.round(time * 500).astype(int) - 1, 0, curves.shape[2] - 1)
            out.append((curves[:, heights.index(height)][:, rows] - seen) / SENSOR)
        return np.stack(out, axis=1)

    nominal = np.log([float(KNOBS[n].nominal) for n in NAMES])  # pyright: ignore[reportArgumentType]
    options = {
        "bounds": [low.tolist(), high.tolist()], "popsize": POPULATION, "seed": 1, "verbose": -9, "verb_log": 0,
        "maxiter": GENERATIONS,
    }  # fmt: skip
    search = cma.CMAEvolutionStrategy(nominal.tolist(), SPREAD, options)
    while not search.stop():
        candidates = np.array(search.ask())
        misfit = (differences(candidates) ** 2).mean((1, 2))
        search.tell(list(candidates), np.log(misfit + 1e-6).tolist())
    best = np.clip(np.array(search.result.xbest), low, high)

    # What each drop alone would correct: a Gauss-Newton step from the common optimum.
    shifts = np.concatenate([np.zeros((1, 2)), STEP * np.eye(2)])
    inside = np.where(best[None] + shifts > high, best - shifts, best + shifts)
    at = differences(inside)
    signs = np.array([(inside[k + 1] - inside[0])[k] for k in range(2)])
    slopes = (at[1:] - at[0]) / signs[:, None, None]
    alone = np.array([best - np.linalg.lstsq(slopes[:, d].T, at[0, d], rcond=None)[0] for d in range(len(drops))])
    alone = np.clip(alone, low, high)
    misfit = float(np.sqrt((at[0] ** 2).mean()))
    estimates = {}
    for k, name in enumerate(NAMES):
        agreed = pooled(np.exp(alone[:, k]).tolist(), KNOBS[name], FLOOR + UNLIKE * max(misfit - 1.0, 0.0))
        estimates[name] = Estimate(float(np.exp(best[k])), agreed.sigma, agreed.experiments)
    notes = []
    if misfit > LEFT_OVER:
        notes.append(
            f"dropping: contacts are not of the model's form, its curves are {misfit:.1f} times the sensor's noise off"
        )
    return estimates, notes
