"""What a joint target becomes before the servo sees it: limits, interpolation at the physics rate, latency."""

from __future__ import annotations

import numpy as np

from assets.arms import Arm

HISTORY = 5  # targets kept: enough for a latency of two control periods


class Servo:
    """Turns one joint target per control period into a command for every physics step.

    The command is the straight line through the targets, averaged over the last period: a quadratic B-spline, free of
    jumps in velocity, that runs half a period behind. A target that asks for more than the joint's speed limit or range
    is cut to it. The command reaches the arm late by the world's latency, smoothed by its filter (a first-order lag).
    """

    def __init__(self, arm: Arm, nworld: int, period: float, substeps: int):
        """Serve `nworld` arms with a control `period` [s] of `substeps` physics steps."""
        joints = arm.body.joints()
        self.low = np.array([j.range[0] for j in joints])
        self.high = np.array([j.range[1] for j in joints])
        self.step_limit = np.array([j.velocity_limit for j in joints]) * period
        self.period, self.substeps = period, substeps
        self.history = np.zeros((nworld, HISTORY, len(joints)))  # newest last
        self.latency = np.zeros(nworld)  # [s]
        self.filter = np.zeros(nworld)  # [s] time constant
        self.smoothed = np.zeros((nworld, len(joints)))  # what the filter gave when the period began

    def reset(self, joints: np.ndarray, ids: np.ndarray) -> None:
        """Start at rest at `joints` (n, nj) [rad]."""
        self.history[ids] = joints[:, None, :]
        self.smoothed[ids] = joints

    def command(self, targets: np.ndarray, ids: np.ndarray) -> None:
        """Take the targets (n, nj) [rad] for the coming period; what is not finite keeps the arm where it is."""
        slow = ids[self.filter[ids] > 0.0]
        if len(slow):
            self.smoothed[slow] = self._smooth(self._spline(0, self.substeps, slow), slow)[:, -1]
        last = self.history[ids, -1]
        targets = np.where(np.isfinite(targets), targets, last)
        accepted = np.clip(np.clip(targets, last - self.step_limit, last + self.step_limit), self.low, self.high)
        self.history[ids] = np.concatenate([self.history[ids, 1:], accepted[:, None, :]], axis=1)

    def samples(self, first: int, count: int, ids: np.ndarray) -> np.ndarray:
        """Return the commands (n, count, nj) for physics steps `first`... of the period."""
        commands = self._spline(first, count, ids)
        slow = np.flatnonzero(self.filter[ids] > 0.0)
        if len(slow):
            whole = self._spline(0, first + count, ids[slow])
            commands[slow] = self._smooth(whole, ids[slow])[:, first:]
        return commands

    def _smooth(self, commands: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Run the filter over commands (n, k, nj) that start with the period."""
        keep = np.exp(-self.period / self.substeps / self.filter[ids])[:, None]
        out, smoothed = np.empty_like(commands), self.smoothed[ids]
        for k in range(commands.shape[1]):
            smoothed = commands[:, k] + (smoothed - commands[:, k]) * keep
            out[:, k] = smoothed
        return out

    def _spline(self, first: int, count: int, ids: np.ndarray) -> np.ndarray:
        time = (first + 1 + np.arange(count)) / self.substeps  # [periods] since the period began
        at = np.maximum(time[None, :] - self.latency[ids, None] / self.period, 3.0 - HISTORY)
        before = np.ceil(at) - 1.0  # the period that `at` lies in, 0 for the present one
        share = (at - before)[..., None]
        knot = HISTORY - 2 + before.astype(np.int64)
        world = ids[:, None]
        last, this, coming = (self.history[world, knot + k] for k in (-1, 0, 1))
        return this + (coming - this) * (share * share / 2.0) + (last - this) * ((1.0 - share) * (1.0 - share) / 2.0)
