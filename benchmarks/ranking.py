"""Checkpoints ranked by their dreams, and by what they do in the simulator: do the two rankings agree?

    palletlab train video ... how.keep_every=2000 out=TRAINING
    palletlab generate count=50 seed=1 variation.carton.count=1 out=held_out
    python -m benchmarks.ranking --training TRAINING --idm FOLDER --data DATASET --variants held_out/variants.parquet

In its dreams a checkpoint acts as it does in the simulator, with the inverse model in the loop. They are judged by how
far from its recorded place a probe reads the carton at their end ("place"), and by their signal-to-noise ratio there
("signal"). In the simulator, episodes are judged by success, by whether the carton was held at all, and by how near to
its target it ended. Agreement is Spearman's r, with a 95 % interval of a bootstrap over dreams' episodes and over
variants; 0 where one of the rankings does not tell any two checkpoints apart.
"""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import ConstantInputWarning, spearmanr

from assets.errors import InputError
from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.dreams import network_of
from benchmarks.learning import Bench
from benchmarks.little import CELL, little_data, little_dva, run
from policies.data.lerobot import LeRobotDataset
from policies.data.videos import open_source
from policies.embodiment import STATE, names_of
from policies.idm.load import load_idm
from policies.video.dreaming import Judges, dream_all, judges_of
from policies.video.drift import Plan, resampled
from policies.video.footage import SURROUNDINGS, Footage, footage_of

LEAST = 5  # checkpoints that a ranking takes
SHOWN, SECONDS = 0.8, 6.0  # [s] shown to a dream, and of it
CARTON, TARGET = ("carton.x", "carton.y"), ("target.x", "target.y")
HELD = ("suction.holding", "gripper.holding")
DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is known of a checkpoint: by dream, higher is better, and by variant."""

    name: str
    dreams: dict[str, np.ndarray]
    driven: dict[str, np.ndarray]


def dreamed(
    footage: Footage, plan: Plan, judges: Judges, checkpoint: Path, idm: Path
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the scores of a checkpoint's dreams, and the episode of each."""
    network = network_of(checkpoint)
    module, known = load_idm(idm)
    module = module.to(next(network.model.parameters()).device)
    drift = dream_all(footage, plan, judges, network, (module, known))
    at = plan.compared - 1
    scores = {"signal": -drift.measures["camera/dream"][:, at]}
    if "places/dream" in drift.measures:
        scores["place"] = -drift.measures["places/dream"][:, at]
    return scores, drift.episode


def driven(bench: Bench, name: str, checkpoint: Path, idm: Path, *more: str) -> dict[str, np.ndarray]:
    """Return what a checkpoint does on each variant: higher is better."""
    whole = bench.folder / "checkpoints" / name
    whole.mkdir(parents=True, exist_ok=True)
    for part, target in {"video": checkpoint, "idm": idm}.items():
        if not (whole / part).is_symlink():
            (whole / part).symlink_to(target.resolve(), target_is_directory=True)
    loop = bench.drive("dva", whole, name, *more)
    dataset = LeRobotDataset(bench.folder / "driven" / name / "dataset")
    places = [dataset.state_names.index(n) for n in HELD if n in dataset.state_names]
    episodes = [dataset.columns(e) for e in range(len(dataset))]
    held = [bool((columns[STATE][:, places] > 0.5).any()) for columns in episodes]
    result = {"success": loop.success.astype(float), "held": np.array(held, float)}
    names = names_of(dataset.info, SURROUNDINGS)
    if all(name in names for name in (*CARTON, *TARGET)):
        carton, target = ([names.index(name) for name in which] for which in (CARTON, TARGET))
        last = np.stack([columns[SURROUNDINGS][-1] for columns in episodes])
        result["near"] = -np.linalg.norm(last[:, carton] - last[:, target], axis=1)
    return result


def agreement(scores: Sequence[Scores], dreams: str, drive: str, episodes: np.ndarray) -> tuple[float, float, float]:
    """Return Spearman's r of two scores, and a 95 % interval of it."""
    ours = np.stack([s.dreams[dreams] for s in scores])
    theirs = np.stack([s.driven[drive] for s in scores])
    weights = resampled(episodes, 0, DRAWS), resampled(np.arange(theirs.shape[1]), 1, DRAWS)
    draws = [spearman(ours @ a, theirs @ b) for a, b in zip(*weights, strict=True)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return spearman(ours.mean(1), theirs.mean(1)), float(low), float(high)


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's r; 0 where one of the two is all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(np.nan_to_num(np.asarray(spearmanr(x, y))[0]))


def main(words: Sequence[str] | None = None) -> None:
    """Rank and print."""
    parser = arguments("ranking", (__doc__ or "").splitlines()[0])
    parser.add_argument("--training", type=Path, help="folder of a training of a video model that kept checkpoints")
    parser.add_argument("--idm", type=Path, help="folder of a trained inverse model")
    parser.add_argument("--data", type=Path, nargs="+", help="datasets; dreams begin in the episodes kept for tests")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the episodes kept; 0: all of them")
    parser.add_argument("--variants", type=Path, help="what is driven: a table of `palletlab generate`")
    parser.add_argument("--count", type=int, help="dreams of each")
    parser.add_argument("--seconds", type=float, help="of each dream")
    parser.add_argument("--work", type=Path, help="folder for what is driven; what is there is not driven again")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        if given.tiny:
            given.data = [little_data(Path(place) / "rollout")]
            whole = little_dva(Path(place), given.data[0], 4, 2)
            given.training, given.idm, given.held_out = whole / "video", whole / "idm", 0.34
            run("generate", *CELL[:2], "count=1", "seed=1", "sheet=false", f"out={Path(place) / 'held_out'}")
            given.variants = Path(place) / "held_out" / "variants.parquet"
            given.work = Path(place) / "work"
        if not given.training or not given.idm or not given.data or not given.variants:
            parser.error("--training, --idm, --data and --variants are wanted")
        checkpoints = sorted(given.training.glob("step-*"))
        if len(checkpoints) < (2 if given.tiny else LEAST):
            raise InputError(
                f"{given.training}: keeps {len(checkpoints)} checkpoints, a ranking takes {LEAST}: how.keep_every=STEPS"
            )
        work = (given.work or given.out.with_suffix("")).resolve()
        bench = Bench(work, tuple(path.resolve() for path in given.data), given.variants.resolve())
        network = network_of(checkpoints[-1])
        footage = footage_of([open_source(path) for path in given.data], network, given.held_out)
        count, seconds, steps = sized(given, (100, SECONDS, 600), (16, 2.0, 200), (2, 0.4, 2))
        rate = network.meaning.rate
        frames, shown = round((given.seconds or seconds) * rate), max(2, round(SHOWN * rate))
        count = given.count or count
        plan = Plan(count, frames, shown, frames, "idm", batch=100)
        judges = dataclasses.replace(judges_of(footage, steps), manifold=None, perceptual=None)
        scores, episodes = [], np.zeros(0)
        for checkpoint in checkpoints:
            dreams, episodes = dreamed(footage, plan, judges, checkpoint, given.idm)
            done = driven(bench, checkpoint.name, checkpoint, given.idm, *(("seconds=1",) if given.tiny else ()))
            scores.append(Scores(checkpoint.name, dreams, done))
    figures = []
    for dreams in scores[0].dreams:
        for drive in scores[0].driven:
            r, low, high = agreement(scores, dreams, drive, episodes)
            says = f"{len(scores)} checkpoints, {len(scores[0].driven[drive])} variants each"
            figures.append(
                Figure(f"{dreams} in dreams, {drive} in the simulator", r, "r", None, says, False, low, high)
            )
    details = {s.name: {key: float(values.mean()) for key, values in {**s.dreams, **s.driven}.items()} for s in scores}
    setting = f"{count} dreams of {frames / rate:g} s, {torch.get_num_threads()} threads"
    publish("ranking", given, figures, setting, details)


if __name__ == "__main__":
    main()
