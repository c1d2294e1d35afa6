"""A policy that knows nothing: smooth random joint motion and random suction, for stress and for benchmarks."""

from __future__ import annotations

import numpy as np

from sim.variations import stream
from tasks.palletizing.cell import Layout

REACH = 0.9  # [rad] how far joints stray from home
BLEND = 0.15  # share of the way to a new random target per period


class RandomPolicy:
    """Joints wander around home, suction toggles (fits the `Policy` contract)."""

    def __init__(self, layout: Layout, nworld: int):
        """Act in `nworld` worlds; a variant's motion is the same in every run."""
        self._home = np.array(layout.arm.home)
        self._random = [stream(0, world, "random policy") for world in range(nworld)]
        self._target = np.tile(self._home, (nworld, 1))
        self._joints = self._target.copy()

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start at home."""
        for i, variant in zip(ids, variants, strict=True):
            self._random[i] = stream(0, int(variant), "random policy")
        self._joints[ids] = self._target[ids] = self._home

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return one action (n, 1, 7)."""
        suction = np.zeros(len(ids))
        for k, i in enumerate(ids):
            if self._random[i].random() < 0.1:
                self._target[i] = self._home + self._random[i].uniform(-REACH, REACH, len(self._home))
            suction[k] = self._random[i].random() < 0.5
        self._joints[ids] += BLEND * (self._target[ids] - self._joints[ids])
        return np.concatenate([self._joints[ids], suction[:, None]], axis=1)[:, None, :]
