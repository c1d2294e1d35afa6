"""A little data and a little training, for the tests of the benchmarks of video models: `--tiny`.

All of it goes through the ordinary commands: a rollout of the expert that is cut short, networks of a few thousand
parameters, some steps of training each. What comes out can do nothing; it is only of the right form.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from palletlab import cli

CELL = ("variation.carton.count=1", "task.slots=2", "seconds=2", "worlds=2", "workers=1", "image_size=32")
VIEWS = "views=[{camera: cell, size: 32}]"
NETWORKS = (
    VIEWS,
    "autoencoder={channels: 4, down: 8, pack: [2, 2], width: 16}",
    "transformer={width: 32, depth: 1, heads: 2, context: 8, local: 4, chunk: 2}",
    "inverse={width: 40, depth: 1, heads: 5}",
    "tests=0",
)


def little_data(folder: Path, episodes: int = 3, robot: str = "ur20", seed: int = 0) -> Path:
    """Return the dataset of some episodes of two seconds, seen by one camera."""
    words = (*CELL, "cameras=[cell]", f"count={episodes}", f"robot={robot}", f"seed={seed}", f"out={folder}")
    run("rollout", *words)
    return folder / "dataset"


def little_dva(folder: Path, data: Path, steps: int = 4, keep: int = 0) -> Path:
    """Return the folder of a tokenizer, a video model and an inverse model, trained for some steps."""
    kept = f"how.keep_every={keep}"
    train("tokenizer", folder / "tokenizer", data, steps)
    train("video", folder / "video", data, steps, f"tokenizer={folder / 'tokenizer'}", kept)
    train("idm", folder / "idm", data, steps)
    return folder


def train(kind: str, folder: Path, data: Path, steps: int, *more: str) -> None:
    """Train something for some steps."""
    how = f"training.{kind}={{length: 8, batch: 2, lr: 1e-3, warmup: 1}}"
    run("train", kind, f"data=[{data}]", f"out={folder}", f"how.steps={steps}", how, *NETWORKS, *more)


def run(*words: str) -> None:
    """Run a command without its lines.

    Raises:
        RuntimeError: it failed.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        status = cli.run(list(words))
    if status:
        raise RuntimeError(f"palletlab {' '.join(words)} ended with {status}")
