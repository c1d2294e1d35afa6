"""A policy whose arm is pushed aside now and then, so that its rollouts show how to come back from where it never is.

Who learns from a faultless expert alone never sees what to do about a fault of its own (Laskey et al., DART, arXiv
1703.09327). The joint targets leave the policy's by a smooth bump and come back; the rollout records what was done.
"""

from __future__ import annotations

import numpy as np

from sim.variations import stream
from tasks.task import Policy

EVERY = 25  # periods from one bump to the next, on average
RISE, FALL = 4, 8  # periods of a bump
_BUMP = np.concatenate([
    np.sin(np.linspace(0, np.pi / 2, RISE + 1)[1:]) ** 2,
    np.cos(np.linspace(0, np.pi / 2, FALL + 1)[1:]) ** 2,
])  # fmt: skip


class DisturbedPolicy:
    """Adds bumps to another policy's joint targets (fits the `Policy` contract)."""

    def __init__(self, policy: Policy, joints: int, size: float, nworld: int):
        """Disturb the first `joints` numbers of the actions of `policy`, each by up to `size` [rad]."""
        self._policy, self._size = policy, size
        self._random = [stream(0, world, "disturbance") for world in range(nworld)]
        self._bump = np.zeros((nworld, joints))
        self._at = np.full(nworld, len(_BUMP))  # periods since the present bump began

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start afresh in the worlds `ids`; a variant is disturbed in the same way in every run."""
        self._policy.reset(ids, variants)
        for i, variant in zip(ids, variants, strict=True):
            self._random[i] = stream(0, int(variant), "disturbance")
        self._at[ids] = len(_BUMP)

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the policy's next actions (n, k, number of action names), disturbed."""
        actions = self._policy.act(observation, ids).astype(np.float64)
        for step in range(actions.shape[1]):
            actions[:, step, : self._bump.shape[1]] += self._offset(ids)
        return actions

    def _offset(self, ids: np.ndarray) -> np.ndarray:
        """Return what is added to the targets of the coming period (n, joints) [rad]."""
        for i in ids:
            if self._at[i] >= len(_BUMP) and self._random[i].random() < 1.0 / (EVERY - len(_BUMP)):
                self._at[i] = 0
                self._bump[i] = self._random[i].uniform(-self._size, self._size, self._bump.shape[1])
        at = self._at[ids]
        self._at[ids] += 1
        return np.append(_BUMP, 0.0)[np.minimum(at, len(_BUMP))][:, None] * self._bump[ids]
