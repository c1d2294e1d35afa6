"""The inverse of the servo: by how much a joint's target leads the pose that it ends in, told from the motion around.

A servo smooths and delays what it is told, so that a target shows in the motion of several frames. The filters that
undo this are found in closed form, from what arms measured and were told: least squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from assets.errors import InputError
from policies.embodiment import Embodiment

TAPS = 3  # steps before and after an action's own, from which its lead is told
READ = 0.001  # [rad] how wrong steps are that are read from pictures; filters must not make much more of it


def inverse_servo(embodiment: Embodiment, episodes: Sequence[tuple[Tensor, Tensor]], stride: int) -> Tensor:
    """Return filters (TAPS + 1, TAPS + 1, stride, joints, 2 * TAPS + 1), for so many steps before and after an action.

    A window ends somewhere: not all steps are there for every action.

    Args:
        embodiment: names of the numbers.
        episodes: proprioception (n, its numbers) and actions (n, stride, its numbers) of n frames each.
        stride: actions from frame to frame.

    Raises:
        InputError: no episode is long enough.
    """
    long = [(proprio, actions) for proprio, actions in episodes if len(proprio) > 2 * TAPS + 1]
    if not long:
        raise InputError(f"{embodiment.name}: no episode has {2 * TAPS + 2} frames, from which its servo could be told")
    filters = torch.zeros(TAPS + 1, TAPS + 1, stride, len(embodiment.positions), 2 * TAPS + 1)
    for action, joint in enumerate(embodiment.target_of):
        if joint >= 0:
            steps, leads = zip(*(_leads(p[:, joint], a[..., action]) for p, a in long), strict=True)
            filters[..., joint, :] = _least_squares(torch.cat(steps), torch.cat(leads))
    return filters


def _leads(positions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return a joint's steps around each frame, (n, taps), and by how much its targets lead, (n, stride)."""
    steps = (positions[1:] - positions[:-1]).unfold(0, 2 * TAPS + 1, 1)
    return steps, targets[TAPS : TAPS + len(steps)] - positions[TAPS + 1 : TAPS + 1 + len(steps), None]


def _least_squares(steps: Tensor, leads: Tensor) -> Tensor:
    """Return the filters (TAPS + 1, TAPS + 1, stride, taps) that tell leads (n, stride) from steps (n, taps)."""
    filters = steps.new_zeros(TAPS + 1, TAPS + 1, leads.shape[1], steps.shape[1])
    for before in range(TAPS + 1):
        for after in range(TAPS + 1):
            there = slice(TAPS - before, TAPS + after + 1)
            x = steps[:, there].double()
            square = x.T @ x + len(x) * READ**2 * torch.eye(x.shape[1], dtype=x.dtype)
            filters[before, after, :, there] = torch.linalg.solve(square, x.T @ leads.double()).T.to(filters.dtype)
    return filters
