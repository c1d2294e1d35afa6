"""From datasets and a recipe to what `policies.training` trains: windows, and the learner of each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from assets.errors import InputError, unknown
from policies.baselines.learner import BaselineLearner
from policies.baselines.network import make_baseline
from policies.checkpoint import load
from policies.data.frames import Prepared, prepare
from policies.data.statistics import Statistics
from policies.data.videos import open_source
from policies.data.view import View
from policies.data.windows import Windows, train_test
from policies.idm.forms import IDMConfig
from policies.idm.learner import IDMLearner
from policies.idm.model import InverseDynamics
from policies.training import Learner
from policies.video.learner import TokenizerLearner, VideoLearner, latents_of
from policies.video.model import VideoModel, load_config
from policies.video.network import Meaning, VideoNetwork, action_widths, load_tokenizer, load_video
from policies.video.tokenizer import Autoencoder

KINDS = ("tokenizer", "video", "idm", "baseline")
Says = Callable[[str, int, int], None]  # what is going on, how much of it is done, of how much


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained; `conf/recipe` has some.

    Attributes:
        views: what is seen.
        rate: [Hz] of video.
        autoencoder, transformer, inverse: settings of `Autoencoder`, `VideoConfig`, `IDMConfig`.
        head: of a baseline.
        tokenizer, video, start: folders of checkpoints, or None.
    """

    views: tuple[View, ...]
    rate: float
    autoencoder: Mapping[str, Any]
    transformer: Mapping[str, Any]
    inverse: Mapping[str, Any]
    head: str = "flow"
    tokenizer: Path | None = None
    video: Path | None = None
    start: Path | None = None


@dataclasses.dataclass(frozen=True)
class Share:
    """What of the data is used.

    Attributes:
        successes: whether only episodes that succeeded are trained on.
        hours: to train on; None for all.
        held_out: share of the episodes that is kept for tests.
        seed: of the draw.
    """

    successes: bool = False
    hours: float | None = None
    held_out: float = 0.1
    seed: int = 0


def prepared_of(data: Sequence[str | Path], recipe: Recipe, actions: bool, says: Says) -> list[Prepared]:
    """Decode the datasets, or find what has been decoded before; InputError for what cannot be read.

    Without `actions` they count as video alone.
    """
    if not data:
        raise InputError("there is nothing to train on: data=[FOLDER, ...] names datasets or videos")
    prepared = [
        prepare(open_source(path), recipe.views, recipe.rate, progress=lambda done, n, p=path: says(f"{p}", done, n))
        for path in data
    ]
    return prepared if actions else [p.without_actions() for p in prepared]


def episodes_of(prepared: Sequence[Prepared], share: Share) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return which episodes of each dataset are trained on, and which are kept for tests.

    Raises:
        InputError: nothing is left to train on.
    """
    train, test = [], []
    left = np.inf if share.hours is None else 3600.0 * share.hours
    for p in prepared:
        mine, kept = train_test(p.starts, share.held_out, share.seed)
        if share.successes and p.success is not None:
            mine = mine[p.success[mine]]
        mine = np.random.default_rng(share.seed).permutation(mine)
        ends = np.cumsum(np.diff(p.starts)[mine]) / p.rate
        mine = mine[: int(np.searchsorted(ends, left, side="right"))] if np.isfinite(left) else mine
        left -= float(np.diff(p.starts)[mine].sum()) / p.rate
        train.append(np.sort(mine))
        test.append(kept)
    if not any(len(mine) for mine in train):
        raise InputError("no episode is left to train on: fewer may be held out, more hours or failures allowed")
    return train, test


def learner_of(
    kind: str, recipe: Recipe, prepared: Sequence[Prepared], train: Sequence[np.ndarray], length: int, says: Says
) -> tuple[Learner, list[Prepared], Mapping[str, Any]]:
    """Make what is trained.

    Args:
        kind: one of `KINDS`.
        recipe: what it is made of.
        prepared: the datasets.
        train: episodes of each to train on; scales are taken from them.
        length: pictures in a window.
        says: is told what takes a while.

    Returns:
        The learner; the datasets as it wants them (pictures may have become latents); and what `Windows` is to number
        as an earlier checkpoint does: `texts`, `embodiments`.

    Raises:
        InputError: no such kind, a checkpoint that is missing or does not fit, or data without what it needs.
    """
    if kind not in KINDS:
        raise unknown("kind of training", kind, KINDS)
    earlier = None if recipe.start is None else load(recipe.start, kind)
    numbers: dict[str, Any] = {}
    if earlier is not None:
        before = Meaning.of(earlier.about)
        numbers = {"texts": before.texts, "embodiments": before.embodiments}
    windows = Windows(prepared, length, train, **numbers)
    cameras = {name: size for p in reversed(prepared) for name, size in p.cameras.items()}
    meaning = Meaning(
        recipe.views, recipe.rate, windows.stride, windows.texts, windows.embodiments, Statistics.of(windows), cameras
    )
    if kind == "tokenizer":
        learner: Learner = TokenizerLearner(Autoencoder(recipe.views[0].size, **recipe.autoencoder), meaning)
    elif kind == "idm":
        if not windows.embodiments:
            raise InputError("an inverse dynamics model learns from actions: no dataset has any")
        inverse = InverseDynamics(IDMConfig.of(meaning.views, meaning.embodiments, meaning.stride, **recipe.inverse))
        if earlier is not None:
            _take(inverse, earlier.weights, earlier.folder)
        _measure(inverse, meaning, prepared, train, len(numbers.get("embodiments", ())))
        learner = IDMLearner(inverse, meaning, _video(recipe))
    else:
        if recipe.tokenizer is None:
            raise InputError(f"a {kind} is trained on latents: tokenizer=FOLDER names a trained tokenizer")
        tokenizer, config = load_tokenizer(recipe.tokenizer), _transformer(recipe, meaning, recipe.tokenizer)
        if kind == "video":
            network = VideoNetwork(tokenizer, VideoModel(config), meaning)
            learner = VideoLearner(network)
        else:
            baseline = make_baseline(recipe.head, tokenizer, config, meaning, windows)
            network, learner = baseline.video, BaselineLearner(baseline)
            if recipe.video is not None:
                _take(baseline.video.model, load_video(recipe.video).model.state_dict(), recipe.video)
        count = f"latents of {len(prepared)} datasets"
        prepared = [latents_of(p, network, lambda done, total: says(count, done, total)) for p in prepared]
    if earlier is not None and kind != "idm":
        _take(learner.module, earlier.weights, earlier.folder)
    return learner, list(prepared), numbers


def _video(recipe: Recipe) -> VideoNetwork | None:
    return None if recipe.video is None else load_video(recipe.video)


def _transformer(recipe: Recipe, meaning: Meaning, tokenizer: Path) -> Any:
    """Return the settings of the transformer, with what follows from tokenizer and data."""
    made = load_tokenizer(tokenizer)
    proprio, actions = action_widths(meaning.embodiments, meaning.stride)
    found = {
        "views": len(meaning.views), "tokens": made.tokens, "latent": made.dim, "proprio": proprio, "actions": actions,
        "tasks": max(len(meaning.texts), 1), "embodiments": max(len(meaning.embodiments), 1),
    }  # fmt: skip
    return load_config({**recipe.transformer, **found}, "transformer")


def _measure(
    model: InverseDynamics, meaning: Meaning, prepared: Sequence[Prepared], train: Sequence[np.ndarray], known: int
) -> None:
    """Let an inverse dynamics model measure the embodiments beyond the `known` ones, which keep their scales."""
    for number, embodiment in list(enumerate(meaning.embodiments))[known:]:
        episodes: list[tuple[Tensor, Tensor]] = []
        for p, mine in zip(prepared, train, strict=True):
            if p.embodiment == embodiment and p.proprio is not None and p.actions is not None:
                parts = [slice(int(p.starts[e]), int(p.starts[e + 1])) for e in mine]
                episodes += [(torch.from_numpy(p.proprio[s]), torch.from_numpy(p.actions[s])) for s in parts]
        if known:
            model.adopt(number)
        if episodes:
            model.measure(number, embodiment, episodes)


def _take(module: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Take over weights; those of other shapes, such as inputs of actions where there were none, begin anew."""
    own = module.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if len(fitting) < len(own) / 2:
        raise InputError(
            f"{where}: {len(fitting)} of {len(own)} weights fit: another recipe? begin with one of its kind"
        )
    module.load_state_dict({**own, **fitting})
