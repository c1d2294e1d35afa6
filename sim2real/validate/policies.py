"""Palletizing experts of differing quality: the real one, and others that do one thing differently.

Whether a simulation predicts a robot can only be seen on policies that differ. Each of these differs from the expert in
one respect that a person could have got wrong, or would choose: how fast a carton is carried, where it is gripped, how
well its place is met, from how high it is let go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import ruckig

from assets.errors import unknown
from sim.variations import stream
from tasks.palletizing.cell import Layout
from tasks.palletizing.expert import PalletizingExpert
from tasks.rollout import RANDOM, make_policy
from tasks.simulation import Settings
from tasks.task import Policy


@dataclasses.dataclass(frozen=True)
class Manner:
    """How an expert works.

    Attributes:
        says: in a line.
        carry: speed with a carton, over that of the expert.
        aim: standard deviation of the place it aims at, each way [m].
        grip: how far along the carton from its middle it is gripped [m].
        drop: how much too high it lets go [m].
    """

    says: str
    carry: float = 1.0
    aim: float = 0.0
    grip: float = 0.0
    drop: float = 0.0


MANNERS: Mapping[str, Manner] = {
    "expert": Manner("the expert as it is"),
    "expert-brisk": Manner("carries cartons at 1.3 times the speed", carry=1.3),
    "expert-hasty": Manner("carries cartons at 1.7 times the speed", carry=1.7),
    "expert-calm": Manner("carries cartons at 0.75 of the speed", carry=0.75),
    "expert-careful": Manner("carries cartons at half the speed", carry=0.5),
    "expert-offcentre": Manner("grips every carton 60 mm beside its middle", grip=0.06),
    "expert-shaky": Manner("aims with an error of 5 mm each way", aim=0.005),
    "expert-careless": Manner("aims with an error of 9 mm each way", aim=0.009),
    "expert-dropping": Manner("lets cartons go 60 mm too high", drop=0.06),
}


class VariedExpert(PalletizingExpert):
    """The palletizing expert in another manner (fits the `Policy` contract)."""

    def __init__(self, layout: Layout, nworld: int, manner: Manner):
        """Drive `nworld` arms of one layout in this manner."""
        super().__init__(layout, nworld)
        self.manner = manner
        self._pace = 1.0
        self._random = [np.random.default_rng(0)] * nworld
        self._missed = np.zeros((nworld, 2))  # [m] by which each world's carton will miss its place
        self._aimed_for = np.full(nworld, np.nan)  # how many cartons were left when this was drawn

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Start afresh in the worlds `ids`, from home; the same variant gets the same errors again."""
        super().reset(ids, variants)
        self._aimed_for[ids] = np.nan
        for i, variant in zip(ids, variants, strict=True):
            self._random[i] = stream(0, int(variant), "aim")

    def _go(self, i: int, phase: int, goal: np.ndarray, gentle: bool = False) -> None:
        self._pace = self.manner.carry if self.work.suction[i] else 1.0
        super()._go(i, phase, goal, gentle)

    def _segment(self, start: np.ndarray, goal: np.ndarray, limit: np.ndarray, speed: float = 1.0) -> ruckig.Trajectory:
        return super()._segment(start, goal, limit, speed * self._pace)

    def _over_carton(self, i: int, seen: np.ndarray) -> np.ndarray:
        yaw, shifted = float(seen[self._seen["carton.yaw"]]), seen.copy()
        shifted[self._seen["carton.x"]] += self.manner.grip * np.cos(yaw)
        shifted[self._seen["carton.y"]] += self.manner.grip * np.sin(yaw)
        return super()._over_carton(i, shifted)

    def _over_target(self, i: int, seen: np.ndarray, height: float) -> np.ndarray:
        left = float(seen[self._seen["load.remaining"]])
        if left != self._aimed_for[i]:
            self._missed[i], self._aimed_for[i] = self._random[i].standard_normal(2) * self.manner.aim, left
        # The tool goes as far beside the place as it holds the carton beside its middle, which may end half turned.
        tool = super()._over_target(i, seen, height)
        turn = tool[0] + tool[3] - self.work.grip[i]
        off = self._missed[i] + self.manner.grip * np.array([np.cos(turn), np.sin(turn)])
        shifted = seen.copy()
        shifted[self._seen["target.x"]] += off[0]
        shifted[self._seen["target.y"]] += off[1]
        return super()._over_target(i, shifted, height)

    def _place_height(self, seen: np.ndarray) -> float:
        return super()._place_height(seen) + self.manner.drop


def policy_named(name: str, settings: Settings, nworld: int) -> Policy:
    """Return the policy of that name for `nworld` worlds: one of MANNERS, or one that the task has.

    Raises:
        InputError: there is none; the message names the nearest ones.
    """
    if settings.task == "palletizing" and name in MANNERS:
        return VariedExpert(settings.layout, nworld, MANNERS[name])
    family = settings.family
    if name not in (*family.policies, RANDOM):
        more = tuple(MANNERS) if settings.task == "palletizing" else ()
        raise unknown(f"policy for {settings.task}", name, (*more, *family.policies, RANDOM))
    return make_policy(name, settings, nworld)
