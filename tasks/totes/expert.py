"""The tote expert: picks or pours, looks, folds and stacks, in all worlds at once.

It sees only the observation that any policy sees. Each arm runs a script, read from top to bottom below: a generator
that yields once a control period. Which part of it runs is decided by the stage that the observation shows; what failed
is tried again, another part first.
"""

from __future__ import annotations

import numpy as np

from assets.combi_tool import STROKE
from tasks.totes.arm import Arm, Script
from tasks.totes.carrying import stack
from tasks.totes.cell import ToteLayout
from tasks.totes.folding import fold
from tasks.totes.motion import Motion
from tasks.totes.picking import pick
from tasks.totes.pouring import pour
from tasks.totes.task import IN_TOTE
from tasks.totes.variants import BREAK_DOWN, CHECK, DECANT, STACK


class ToteExpert:
    """Acts on the observation of `tasks.totes.task` (fits the `Policy` contract)."""

    def __init__(self, layout: ToteLayout, nworld: int):
        """Drive `nworld` arms of one layout."""
        self._motion = Motion(layout.arm, layout.base_height)
        self._layout = layout
        self._arms = [self._fresh() for _ in range(nworld)]

    def _fresh(self) -> tuple[Arm, Script]:
        arm = Arm(self._motion, self._layout)
        return arm, _work(arm)

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start afresh in the worlds `ids`, from home."""
        for i in ids:
            self._arms[i] = self._fresh()

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the next action chunk (n, 1, 8): joint targets [rad], suction, opening of the fingers [m]."""
        action = np.empty((len(ids), 1, 8))
        for k, i in enumerate(ids):
            arm, script = self._arms[i]
            arm.see(observation["state"][k].astype(np.float64), observation["environment_state"][k].astype(np.float64))
            next(script)
            action[k, 0] = *arm.joints, float(arm.suction), arm.opening
        return action


def _work(arm: Arm) -> Script:
    yield from arm.wait(1)
    while True:
        left = (arm.parts[:, 0] == IN_TOTE).any()
        if arm.stage in (DECANT, CHECK) and left:
            if arm.of("decant.pour") > 0.5 and not arm.poured:
                yield from pour(arm)
            else:
                yield from pick(arm)
        elif arm.stage == CHECK:
            yield from _look(arm)
        elif arm.stage == BREAK_DOWN:
            yield from fold(arm)
        elif arm.stage == STACK:
            yield from stack(arm)
        else:
            yield from arm.wait(1)


def _look(arm: Arm) -> Script:
    """Hold the camera over the tote until it has seen the whole floor."""
    arm.opening, arm.suction = STROKE, False
    over = arm.in_tote((0.0, 0.0, arm.height + 0.22))
    goal = arm.motion.at(over, arm.tote_yaw, arm.tool, half_turns=True)
    yield from arm.follow(arm.hop(goal, arm.travel), until=lambda: arm.stage != CHECK)
    yield from arm.wait(12, until=lambda: arm.stage != CHECK)
