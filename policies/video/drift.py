"""How dreams drift: what was measured of many of them, frame by frame, and the figures that follow.

Every measure is kept by dream and frame. Intervals come from drawing the episodes in which dreams begin anew
(bootstrap): dreams of one episode are no independent witnesses.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from assets.errors import InputError

ACTS = ("told", "self", "idm")
GUESSES = ("copy_last", "linear_motion")
LAST = 10.0  # [s] at the end of a dream in which most frames must be like the data's
DRAWS = 1000  # of the bootstrap


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is dreamed.

    Attributes:
        count: dreams.
        frames: of each.
        shown: frames that are shown before.
        compared: frames after them whose truth is recorded; dreams begin where there are so many.
        acts: "told" the recorded actions as far as the truth goes, by it"self", or with the inverse model ("idm").
        steps, settled: see `policies.video.dream.dream`.
        batch: dreams at once.
        seed: of starts and noise.
    """

    count: int
    frames: int
    shown: int = 16
    compared: int = 24
    acts: str = "self"
    steps: int = 3
    settled: float = 0.0
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be dreamed."""
        if self.acts not in ACTS:
            raise InputError(f"acts = {self.acts!r}: known are {', '.join(ACTS)}")
        least = {"count": 1, "frames": 1, "shown": 2, "compared": 1, "steps": 1, "batch": 1, "seed": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise InputError(f"dreams: {name} = {getattr(self, name)} must be at least {low}")
        if self.compared > self.frames:
            raise InputError(f"dreams of {self.frames} frames cannot be compared over {self.compared}")

    @property
    def length(self) -> int:
        """Frames of a recorded window: shown and compared."""
        return self.shown + self.compared


@dataclasses.dataclass(frozen=True)
class Drift:
    """What became of the dreams.

    Attributes:
        plan: what was asked.
        rate: frames a second of the video.
        episode: (count,) episode in which each dream begins.
        names, joints: what the probe reads, and how many of these numbers are joints [rad]; the others are places [m].
        measures: by name (count, frames), NaN where nothing was measured. "camera/…": mean square error of pictures
            off the camera's, of the dream, of each of `GUESSES` and of what the tokenizer renders of the truth
            ("rendered"); "rendered/…": off what it renders, where guesses go on from what it renders, too;
            "…/changed": the same, summed over the pixels that changed since the start, of which there are "changed";
            "joints/…", "places/…": mean square of what the probe reads in "dream" and "truth" less what was recorded,
            and of the two readings less each other ("apart"); "far/…": perceptual distances from the camera's
            pictures; "holds": 1 where a frame is like the data's; "motion/dream", "motion/truth": root mean square
            change of latents from frame to frame.
        seen, truth, dreamed: by view, pictures (kept, frames, size, size, 3) uint8 of the first dreams.
        seconds: spent on dreaming alone.
    """

    plan: Plan
    rate: float
    episode: np.ndarray
    names: tuple[str, ...]
    joints: int
    measures: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    dreamed: dict[str, np.ndarray]
    seconds: float

    @property
    def speed(self) -> float:
        """Frames dreamed a second, of all dreams together."""
        return self.plan.count * self.plan.frames / max(self.seconds, 1e-9)


def signal(drift: Drift, name: str, space: str = "camera", changed: bool = False) -> np.ndarray:
    """Return the signal-to-noise ratio (compared,) [dB], by horizon, over all dreams.

    Args:
        drift: what was measured.
        name: of "dream", a guess, or "rendered".
        space: against the "camera" pictures, or against what the tokenizer makes of them, "rendered".
        changed: count only the pixels that have changed since the start.
    """
    return _decibels(*_parts(drift, name, space, changed))


def margins(
    drift: Drift, space: str = "camera", changed: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by how much dreams beat the better of the guesses at each horizon [dB], and a 95 % interval of it."""
    parts = {name: _parts(drift, name, space, changed) for name in ("dream", *GUESSES)}

    def over(weight: np.ndarray) -> np.ndarray:
        ours, *guesses = (_decibels(error, pixels, weight) for error, pixels in parts.values())
        return ours - np.max(guesses, axis=0)

    draws = np.stack([over(weight) for weight in resampled(drift.episode, seed)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return over(np.ones(len(drift.episode))), low, high


def root(drift: Drift, name: str) -> np.ndarray:
    """Return the root of the mean over all dreams of a squared measure, by frame; empty where it was not measured."""
    values = drift.measures.get(name)
    return np.zeros(0) if values is None else np.sqrt(np.nanmean(values[:, : drift.plan.compared], axis=0))


def mean(drift: Drift, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return at which frames (n,) something was measured, and its mean over all dreams there."""
    values = drift.measures.get(name, np.zeros((0, 0)))
    there = np.flatnonzero(np.isfinite(values).any(0)) if values.size else np.zeros(0, np.int64)
    return there, np.nanmean(values[:, there], axis=0) if len(there) else np.zeros(0)


def standing(drift: Drift) -> np.ndarray | None:
    """Return (count,) whether each dream has not collapsed: most frames of its last ten seconds are like the data's."""
    values = drift.measures.get("holds")
    if values is None:
        return None
    return np.nanmean(values[:, -max(1, round(LAST * drift.rate)) :], axis=1) >= 0.5


def summary(drift: Drift) -> dict[str, Any]:
    """Return all figures as plain numbers; lists are by horizon or frame."""
    plan = drift.plan
    result: dict[str, Any] = {
        "dreams": plan.count,
        "episodes": len(np.unique(drift.episode)),
        "seconds_each": plan.frames / drift.rate,
        "acts": plan.acts,
        "frames_per_second": drift.speed,
        "horizon": _plain((np.arange(plan.compared) + 1) / drift.rate),
        "psnr": {name: _plain(signal(drift, name)) for name in ("dream", *GUESSES, "rendered")},
        "psnr_changed": {name: _plain(signal(drift, name, changed=True)) for name in ("dream", *GUESSES, "rendered")},
        "psnr_rendered": {name: _plain(signal(drift, name, "rendered")) for name in ("dream", *GUESSES)},
    }
    for key, how in {"": {}, "_changed": {"changed": True}, "_rendered": {"space": "rendered"}}.items():
        over, low, high = margins(drift, **how)
        told = {"value": over, "low": low, "high": high}
        result[f"margin{key}"] = {n: _plain(v) for n, v in told.items()} | {"least": float(over.min())}
    for kind in ("joints", "places"):
        if f"{kind}/dream" in drift.measures:
            names = {"dream": f"{kind}/dream", "floor": f"{kind}/truth", "apart": f"{kind}/apart"}
            result[f"{kind}_error"] = {key: _plain(root(drift, name)) for key, name in names.items()}
    if "far/dream" in drift.measures:
        far = {name: mean(drift, f"far/{name}") for name in ("dream", "copy_last", "rendered")}
        seconds = _plain((far["dream"][0] + 1) / drift.rate)
        result["perceptual"] = {"seconds": seconds} | {name: _plain(value) for name, (_, value) in far.items()}
    motion = {name: mean(drift, f"motion/{name}")[1] for name in ("dream", "truth")}
    result["motion_share"] = float(motion["dream"][: plan.compared].mean() / max(motion["truth"].mean(), 1e-9))
    kept = standing(drift)
    if kept is not None:
        at, like = mean(drift, "holds")
        result["like_the_data"] = {"seconds": _plain((at + 1) / drift.rate), "share": _plain(like)}
        result["not_collapsed"] = float(kept.mean())
    return result


def resampled(groups: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """Return weights (draws, n) of a bootstrap that draws whole groups (n,) with replacement."""
    names, place = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(seed)
    counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts[:, place].astype(np.float64)


def _parts(drift: Drift, name: str, space: str, changed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return square errors and of how many pixels each is the sum, (count, compared); means count as one."""
    key, here = f"{space}/{name}" + ("/changed" if changed else ""), slice(0, drift.plan.compared)
    error = drift.measures[key][:, here].astype(np.float64)
    return error, drift.measures["changed"][:, here] if changed else np.ones_like(error)


def _decibels(error: np.ndarray, pixels: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    weight = np.ones(len(error)) if weight is None else weight
    # Where nothing has changed there is nothing to get wrong: neither side wins.
    share = (weight @ error) / np.maximum(weight @ pixels, 1e-9)
    return -10 * np.log10(np.clip(np.where(weight @ pixels > 0, share, 1e-10), 1e-10, None))


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), 5) for value in values]
