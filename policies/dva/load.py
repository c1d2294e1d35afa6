"""From a checkpoint's folder to a policy in a cell.

A checkpoint of the loop is a folder with `video` and `idm` in it, each a checkpoint of its kind, or the folder of the
training that made it. The video model's brings its tokenizer.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from assets.errors import InputError
from policies.checkpoint import Checkpoint
from policies.checkpoint import load as load_checkpoint
from policies.data.view import View
from policies.dva.decider import STEPS, VideoDecider
from policies.dva.leapfrog import Rhythm
from policies.dva.policy import Cell, DVAPolicy, Senses, embodiment_of
from policies.embodiment import Embodiment
from policies.idm.load import load_idm
from policies.idm.model import InverseDynamics
from policies.video.network import VideoNetwork, load_video

PARTS = ("video", "idm")


@dataclasses.dataclass(frozen=True)
class Summary:
    """What is to be known of a checkpoint before it is put to work.

    Attributes:
        cameras: that the policy sees.
        hash: short, of all weights.
        pixels: height of the cameras' pictures that it was trained on; None where that is not known.
    """

    cameras: tuple[str, ...]
    hash: str
    pixels: int | None = None

    @staticmethod
    def of(about: Mapping[str, Any], hash: str) -> Summary:
        """Return the summary of what a checkpoint says about itself."""
        names = tuple(dict.fromkeys(view["camera"] for view in about["views"]))
        heights = [height for name, (height, _) in about.get("cameras", {}).items() if name in names]
        return Summary(names, hash, heights[0] if heights else None)


@dataclasses.dataclass(frozen=True)
class Models:
    """What a checkpoint holds.

    Attributes:
        video, idm: the models, for inference, on one device.
        idm_embodiments: arms and tools by the numbers of the inverse model; the video model has its own.
        hash: short, of all weights.
    """

    video: VideoNetwork
    idm: InverseDynamics
    idm_embodiments: tuple[Embodiment, ...]
    hash: str

    def decider(self, embodiment: Embodiment, rhythm: Rhythm, nworld: int, steps: int = STEPS) -> VideoDecider:
        """Return what decides for `nworld` arms of this embodiment.

        Raises:
            InputError: one of the models does not know it.
        """
        for part, known in zip(PARTS, (self.video.meaning.embodiments, self.idm_embodiments), strict=True):
            if embodiment not in known:
                names = ", ".join(e.name for e in known)
                raise InputError(f"the checkpoint's {part} does not know {embodiment.name}, but {names or 'none'}")
        numbers = self.video.meaning.embodiments.index(embodiment), self.idm_embodiments.index(embodiment)
        return VideoDecider(self.video, self.idm, numbers, rhythm, nworld, steps)

    def rhythm(self, chunk: int | None = None, lead: int | None = None) -> Rhythm:
        """Return the rhythm of these models: the chunk that they were trained with, wholly leapfrogged, by default."""
        meaning = self.video.meaning
        chunk = self.video.model.config.chunk if chunk is None else chunk
        period = 1.0 / (meaning.rate * meaning.stride)
        return Rhythm(meaning.stride, chunk, chunk if lead is None else lead, period)


def summary(folder: Path | str) -> Summary:
    """Return what is to be known of the checkpoint in a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    parts = _parts(folder)
    return Summary.of(parts[0].about, _hash(parts))


def load_models(folder: Path | str) -> Models:
    """Return the models of the checkpoint in a folder, on a GPU where there is one.

    Raises:
        InputError: there is none, it is damaged, or its parts do not go together.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parts = video, idm = _parts(folder)
    if _views(video) != _views(idm) or video.about["rate"] != idm.about["rate"]:
        told = [f"{[v.name for v in _views(part)]} at {part.about['rate']:g} Hz" for part in parts]
        raise InputError(f"{folder}: the video model sees {told[0]}, the inverse model {told[1]}: they must agree")
    (inverse, meaning), network = load_idm(idm), load_video(video)
    return Models(network.to(device).fast(), inverse.to(device), meaning.embodiments, _hash(parts))


def load(
    folder: Path | str,
    cell: Cell,
    nworld: int,
    chunk: int | None = None,
    lead: int | None = None,
    steps: int = STEPS,
) -> DVAPolicy:
    """Return the policy of a checkpoint, for `nworld` worlds of a cell.

    Args:
        folder: of the checkpoint.
        cell: where it is to work.
        nworld: how many.
        chunk: video frames that a decision covers; as trained by default.
        lead: frames still to be executed when the next decision is made; all of the chunk by default.
        steps: denoising steps of an imagined frame.

    Raises:
        InputError: no such checkpoint, or it does not fit the cell.
    """
    models = load_models(folder)
    meaning, rhythm = models.video.meaning, models.rhythm(chunk, lead)
    if abs(rhythm.period - cell.period) > 1e-6:
        told = f"{1 / rhythm.period:g} times a second, {meaning.stride} for each of {meaning.rate:g} frames"
        raise InputError(f"{folder}: acts {told}; the cell wants {1 / cell.period:g} actions a second")
    embodiment = meaning.embodiments[embodiment_of(cell, meaning.embodiments)]
    senses = Senses.of(cell, meaning.views, embodiment, meaning.texts)
    return DVAPolicy(models.decider(embodiment, rhythm, nworld, steps), rhythm, senses, nworld)


def _parts(folder: Path | str) -> list[Checkpoint]:
    folder = Path(folder)
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        what = f"holds no {missing[0]!r}" if folder.is_dir() else "no such folder"
        raise InputError(f"{folder}: {what}; wanted is a folder with a trained {' and a trained '.join(PARTS)} in it")
    return [load_checkpoint(folder / part, part) for part in PARTS]


def _views(checkpoint: Checkpoint) -> list[View]:
    says: Any = checkpoint.about.get("views") or []
    return [View(v["camera"], tuple(v["crop"]), v["size"], v["name"]) for v in says]


def _hash(parts: list[Checkpoint]) -> str:
    return hashlib.sha256("".join(part.hash for part in parts).encode()).hexdigest()[:12]
