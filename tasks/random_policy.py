"""A policy that knows nothing: smooth random joint motion and random tool commands, for stress and for benchmarks."""

from __future__ import annotations

import numpy as np

from sim.variations import stream
from tasks.task import Layout

REACH = 0.9  # [rad] how far joints stray from home
BLEND = 0.15  # share of the way to a new random target per period


class RandomPolicy:
    """Joints wander around home, the tool's commands are drawn anew every period (fits the `Policy` contract)."""

    def __init__(self, layout: Layout, bounds: tuple[np.ndarray, np.ndarray], nworld: int):
        """Act in `nworld` worlds, within the `bounds` of an action; a variant's motion is the same in every run."""
        self._home = np.array(layout.arm.home)
        self._low, self._high = (bound[len(self._home) :] for bound in bounds)
        self._random = [stream(0, world, "random policy") for world in range(nworld)]
        self._target = np.tile(self._home, (nworld, 1))
        self._joints = self._target.copy()

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start at home."""
        for i, variant in zip(ids, variants, strict=True):
            self._random[i] = stream(0, int(variant), "random policy")
        self._joints[ids] = self._target[ids] = self._home

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return one action (n, 1, number of action names)."""
        tool = np.zeros((len(ids), len(self._low)))
        for k, i in enumerate(ids):
            if self._random[i].random() < 0.1:
                self._target[i] = self._home + self._random[i].uniform(-REACH, REACH, len(self._home))
            tool[k] = self._random[i].uniform(self._low, self._high)
        self._joints[ids] += BLEND * (self._target[ids] - self._joints[ids])
        return np.concatenate([self._joints[ids], tool], axis=1)[:, None, :]
