"""A demonstration: a free-flying hand takes cartons from where they stand and puts them elsewhere, sampled in time."""

from __future__ import annotations

import numpy as np

from assets.hand import REACH
from sim.cell import PERIOD

HOVER = 0.20  # [m] the fingertips pass over the bench
ENTERS = np.array([0.0, 0.30, 0.25])  # [m] from the first carton, where the hand comes from
# Seconds that the parts of one carton's way take: there, down, up, across, down, up.
SECONDS = (0.5, 0.4, 0.4, 0.7, 0.4, 0.4)
OUT = 0.5  # [s] that the hand takes to leave


def demonstration(starts: np.ndarray, goals: np.ndarray, heights: np.ndarray, pace: float) -> np.ndarray:
    """Return where the hand and k cartons are, period by period (periods, 1 + k, 3) [m].

    The hand's place is that of its fingertips, a carton's that of the middle of its underside.

    Args:
        starts, goals: where the cartons' undersides are before and after (k, 3) [m], taken one after the other.
        heights: of the cartons (k,) [m].
        pace: how much faster than usual all of it goes.
    """
    up = np.array([0.0, 0.0, HOVER])
    hand = [starts[0] + ENTERS]
    duration, carried = [], []
    for k, (start, goal, height) in enumerate(zip(starts, goals, heights, strict=True)):
        grip = np.array([0.0, 0.0, max(height - REACH, 0.01)])
        hand += [start + up, start + grip, start + up, goal + up, goal + grip, goal + up]
        duration += SECONDS
        carried += [-1, -1, k, k, k, -1]
    hand.append(hand[-1] + ENTERS)
    duration.append(OUT)
    carried.append(-1)
    frames, here = [], starts.copy()
    ends = np.concatenate([[0.0], np.cumsum(duration)]) / pace
    for period in range(1, int(np.ceil(ends[-1] / PERIOD)) + 1):
        time = min(period * PERIOD, ends[-1])
        part = int(np.searchsorted(ends, time - 1e-9)) - 1
        share = (time - ends[part]) / (ends[part + 1] - ends[part])
        smooth = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)  # the jerk is least
        at = hand[part] + smooth * (hand[part + 1] - hand[part])
        # A carton is where the hand has it, and stays where the hand has left it.
        for k in range(len(starts)):
            lift = max(heights[k] - REACH, 0.01)
            begun, over = carried.index(k), len(carried) - 1 - carried[::-1].index(k)
            if part > over:
                here[k] = goals[k]
            elif part >= begun:
                here[k] = at - np.array([0.0, 0.0, lift])
        frames.append(np.concatenate([at[None], here]))
    return np.stack(frames)
