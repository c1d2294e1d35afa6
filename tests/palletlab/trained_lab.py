"""Networks trained for three steps by `palletlab train`, for tests of what is done with them."""

from __future__ import annotations

from pathlib import Path

from palletlab import cli

VIEWS = "views=[{camera: cell, crop: [0.0, 0.0, 1.0, 1.0], size: 32}]"
SMALL = (
    VIEWS,
    "autoencoder={channels: 4, down: 8, pack: [2, 2], width: 16}",
    "transformer={width: 32, depth: 1, heads: 2, context: 8, local: 4, chunk: 2}",
    "inverse={width: 40, depth: 1, heads: 5}",
    "tests=0",
)


def trained(kind: str, data: Path, out: Path, *more: str) -> Path:
    """Train for three steps, and return the folder."""
    how = ["how.steps=3", f"training.{kind}={{length: 8, batch: 2, lr: 1e-3, warmup: 1}}"]
    assert cli.run(["train", kind, f"data=[{data}]", f"out={out}", *how, *SMALL, *more]) == 0
    return out
