"""Pushing a policy's arm aside: smooth, bounded, seldom, the same in every run, and the tool left alone."""

from __future__ import annotations

import numpy as np
import pytest

from assets.errors import InputError
from tasks.disturbed_policy import EVERY, FALL, RISE, DisturbedPolicy
from tasks.rollout import Job
from tasks.simulation import Settings

SIZE, JOINTS, PERIODS = 0.03, 6, 4000


class Still:
    """Wants the same all the time."""

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Nothing to forget."""

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return chunks of two actions."""
        return np.ones((len(ids), 2, JOINTS + 1), np.float32)


def moved(variants: list[int], periods: int = PERIODS, nworld: int = 4) -> np.ndarray:
    """Return by how much each action differs from what the policy wanted (periods, n, numbers)."""
    policy, ids = DisturbedPolicy(Still(), JOINTS, SIZE, nworld), np.arange(len(variants))
    policy.reset(ids, np.array(variants))
    return np.concatenate([policy.act({}, ids).swapaxes(0, 1) for _ in range(periods // 2)]) - 1.0


def test_bumps_are_smooth_bounded_and_come_as_often_as_said() -> None:
    offset = moved([3, 8])
    joints = offset[..., :JOINTS]
    assert (offset[..., JOINTS:] == 0).all()
    assert 0.8 * SIZE < np.abs(joints).max() <= SIZE
    assert np.abs(np.diff(joints, axis=0)).max() < 1.6 * SIZE / RISE
    begun = ((joints[:-1] == 0).all(-1) & (joints[1:] != 0).any(-1)).sum() / 2
    assert 0.8 < begun / (PERIODS / EVERY) < 1.2
    disturbed = (joints != 0).any(-1).mean()
    assert disturbed == pytest.approx((RISE + FALL) / EVERY, abs=0.08)


def test_a_variant_is_disturbed_the_same_wherever_it_runs() -> None:
    together, alone = moved([3, 8], 200), moved([8], 200, nworld=1)
    assert np.array_equal(together[:, 1], alone[:, 0])
    assert not np.array_equal(together[:, 0], together[:, 1])


def test_an_impossible_disturbance_is_refused() -> None:
    with pytest.raises(InputError, match=r"disturbance = 0\.6 rad must lie in"):
        Job(Settings(), "expert", None, None, disturbance=0.6).check()  # type: ignore[arg-type]
