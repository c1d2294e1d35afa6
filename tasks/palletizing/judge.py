"""The verdict on a finished load: where every carton stands, and whether the load survives tilting and braking.

Three questions, each answered with reasons: is every carton within 15 mm and 2 degrees of its plan, neither dropped nor
crushed; does the load creep at most 3 mm while the pallet is tilted by 10 degrees for 5 s; does it survive a horizontal
acceleration of 0.5 g as EUMOS 40509 applies it (reached within 50 ms, held for 0.3 s): deformation at most 10 % of the
load's height while it lasts and 5 % afterwards, and no carton off the load.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sim.cell import GRAVITY, SUCTION_PERIOD
from sim.rotations import angle_between, yaw_quaternion
from tasks.palletizing.cell import DECK_HEIGHT
from tasks.palletizing.task import LOST, POSITION_TOLERANCE, RELEASED, Palletizing
from tasks.shaking import DROPPED, shake, tilt_profile

ANGLE_TOLERANCE = np.deg2rad(2.0)
TILT_CREEP = 0.003  # [m]
PULSE, PULSE_RAMP, PULSE_HOLD, PULSE_REST = 0.5, 0.05, 0.3, 1.0  # [g], [s]
ELASTIC, PERMANENT = 0.10, 0.05  # of the load's height


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is said of one finished episode.

    Attributes:
        success: nothing is wrong.
        reasons: what is wrong, one line each; empty on success.
        placed: (count,) whether each carton is within tolerance.
        position_error, angle_error: (count,) [m], [rad].
        tilt_creep: greatest displacement while tilted [m]; None when the load was not tested.
        pulse_elastic, pulse_permanent: greatest displacement during and after the pulse [m]; None likewise.
    """

    success: bool
    reasons: tuple[str, ...]
    placed: np.ndarray
    position_error: np.ndarray
    angle_error: np.ndarray
    tilt_creep: float | None
    pulse_elastic: float | None
    pulse_permanent: float | None

    def to_dict(self) -> dict:
        """Return plain numbers and lists, e.g. for JSON."""
        return {
            "success": self.success,
            "reasons": list(self.reasons),
            "placed": self.placed.tolist(),
            "position_error": [round(float(e), 6) for e in self.position_error],
            "angle_error": [round(float(e), 6) for e in self.angle_error],
            "tilt_creep": self.tilt_creep,
            "pulse_elastic": self.pulse_elastic,
            "pulse_permanent": self.pulse_permanent,
        }


class Judge:
    """Judges the loads of a `Palletizing` task. The worlds it has tested are spent: they have to be reset."""

    def __init__(self, task: Palletizing):
        """Judge the loads of `task`."""
        self.task = task

    def __call__(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`, all stability tests run at once."""
        task = self.task
        position, quaternion = task.cell.poses(ids)
        goal = task.target[ids] + task.size[ids] * np.array([0.0, 0.0, 0.5])
        error = np.sqrt(((position - goal) ** 2).sum(-1))
        angle = _angle_error(quaternion, task.target_yaw[ids])
        reasons: list[list[str]] = []
        for k, i in enumerate(ids):
            reasons.append(self._wrong(int(i), position[k], goal[k], error[k], angle[k]))
        creep, elastic, permanent = self._stability(ids, np.array([not r for r in reasons]), reasons)
        verdicts = []
        for k, i in enumerate(ids):
            n = int(task.count[i])
            good = (error[k, :n] <= POSITION_TOLERANCE) & (angle[k, :n] <= ANGLE_TOLERANCE)
            good &= task.state.status[i, :n] == RELEASED
            verdicts.append(
                Verdict(
                    not reasons[k], tuple(reasons[k]), good, error[k, :n], angle[k, :n],
                    creep[k], elastic[k], permanent[k],
                )
            )  # fmt: skip
        return verdicts

    # ---- standing ----------------------------------------------------------------------------------------------------

    def _wrong(self, i: int, position: np.ndarray, goal: np.ndarray, error: np.ndarray, angle: np.ndarray) -> list[str]:
        task, wrong = self.task, []
        crush = self._load_on_each(i, position)
        for j in range(int(task.count[i])):
            status, name = task.state.status[i, j], f"carton {j}"
            if status == LOST:
                why = next(e["event"] for e in reversed(task.events[i]) if e["carton"] == j)
                wrong.append(f"{name} dropped ({why.removeprefix('lost: ')})")
            elif status != RELEASED:
                wrong.append(f"{name} not placed in time")
            elif position[j, 2] < goal[j, 2] - DROPPED:
                wrong.append(f"{name} dropped ({(goal[j, 2] - position[j, 2]) * 1000:.0f} mm below its place)")
            elif error[j] > POSITION_TOLERANCE:
                wrong.append(f"{name} off by {error[j] * 1000:.1f} mm")
            elif angle[j] > ANGLE_TOLERANCE:
                wrong.append(f"{name} turned by {np.rad2deg(angle[j]):.1f} deg")
            force = max(crush[j], task.state.press[i, j])
            if force > task.strength[i, j]:
                wrong.append(f"{name} crushed ({force:.0f} N)")
        return wrong

    def _load_on_each(self, i: int, position: np.ndarray) -> np.ndarray:
        """Return the weight [N] (slots,) that rests on each carton, shared by contact area among what is below."""
        task = self.task
        n = int(task.count[i])
        span = task.footprint(task.target_yaw[i, :n], task.size[i, :n])
        low = position[:n, 2] - task.size[i, :n, 2] / 2
        high = position[:n, 2] + task.size[i, :n, 2] / 2
        load = np.zeros(len(position))
        for j in np.argsort(-low):
            overlap = np.minimum(position[j, :2] + span[j] / 2, position[:n, :2] + span / 2) - np.maximum(
                position[j, :2] - span[j] / 2, position[:n, :2] - span / 2
            )
            area = np.where((overlap > 0).all(1) & (np.abs(high - low[j]) < 0.01), overlap.prod(1), 0.0)
            area[j] = 0.0
            weight = GRAVITY * task.mass[i, j] + load[j]
            if area.sum() > 0:
                load[:n] += weight * area / area.sum()
        return load

    # ---- stability ---------------------------------------------------------------------------------------------------

    def _stability(
        self, ids: np.ndarray, standing: np.ndarray, reasons: list[list[str]]
    ) -> tuple[list[float | None], list[float | None], list[float | None]]:
        """Tilt and brake the loads that stand as planned; add what goes wrong to `reasons`."""
        n = len(ids)
        creep: list[float | None] = [None] * n
        elastic: list[float | None] = [None] * n
        permanent: list[float | None] = [None] * n
        which = np.flatnonzero(standing)
        worlds = ids[which]
        if not len(worlds):
            return creep, elastic, permanent
        cell, count = self.task.cell, self.task.count[worlds]
        mine = np.arange(self.task.size.shape[1]) < count[:, None]
        saved = cell.save(worlds)
        moved, _, _ = self._shake(worlds, mine, tilt_profile())
        broken = cell.worlds.broken(worlds)
        for k, world in enumerate(which):
            if broken[k] is not None:
                reasons[world].append(f"the physics broke under a 10 deg tilt ({broken[k]})")
                continue
            creep[world] = float(moved[k])
            if moved[k] > TILT_CREEP:
                reasons[world].append(f"load creeps {moved[k] * 1000:.1f} mm under a 10 deg tilt")
        cell.restore(saved, worlds)
        during, after, fell = self._shake(worlds, mine, _pulse_profile())
        height, broken = self._height(worlds, mine), cell.worlds.broken(worlds)
        for k, world in enumerate(which):
            if broken[k] is not None:
                reasons[world].append(f"the physics broke under 0.5 g ({broken[k]})")
                continue
            elastic[world], permanent[world] = float(during[k]), float(after[k])
            if fell[k]:
                reasons[world].append("a carton falls off the load under 0.5 g")
            elif during[k] > ELASTIC * height[k]:
                reasons[world].append(f"load deforms {during[k] * 1000:.0f} mm of {height[k] * 1000:.0f} under 0.5 g")
            elif after[k] > PERMANENT * height[k]:
                reasons[world].append(
                    f"load stays deformed {after[k] * 1000:.0f} mm of {height[k] * 1000:.0f} after 0.5 g"
                )
        cell.restore(saved, worlds)
        return creep, elastic, permanent

    def _height(self, ids: np.ndarray, mine: np.ndarray) -> np.ndarray:
        top = self.task.target[ids, :, 2] + self.task.size[ids, :, 2]
        return np.where(mine, top, 0.0).max(1) - DECK_HEIGHT

    def _shake(
        self, ids: np.ndarray, mine: np.ndarray, profile: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run gravity through `profile` (t, 2): horizontal share and vertical share of g, a row every 10 ms.

        Returns:
            Greatest displacement on the way and at the end [m], (n,), and whether a carton fell by 50 mm or more.
        """
        return shake(self.task.cell, ids, mine, profile, self.task.test_direction[ids])


def _angle_error(quaternion: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Angle [rad] between each carton and its planned pose; a half turn is no error, a carton looks the same."""
    return np.minimum(
        angle_between(yaw_quaternion(yaw), quaternion), angle_between(yaw_quaternion(yaw + np.pi), quaternion)
    )


def _pulse_profile() -> np.ndarray:
    """Rise, hold and fall of the platform's acceleration, then rest."""
    ramp = round(PULSE_RAMP / SUCTION_PERIOD)
    level = np.concatenate(
        [
            np.linspace(0.0, 1.0, ramp + 1)[1:],
            np.ones(round(PULSE_HOLD / SUCTION_PERIOD)),
            np.linspace(1.0, 0.0, ramp + 1)[1:],
            np.zeros(round(PULSE_REST / SUCTION_PERIOD)),
        ]
    )
    return np.stack([PULSE * level, np.ones(len(level))], axis=1)
