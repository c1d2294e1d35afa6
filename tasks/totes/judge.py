"""The verdict on a finished tote: parts in the bin, walls flat, the tote on the pile, and whether the stack stands.

Asked is what the row's stages ask for: every part in the bin, none dropped or left behind; each wall of a folding tote
within 5 degrees of flat; the tote within 15 mm and 3 degrees of its place on the pile; and the whole pile still
standing after it has been tilted by 10 degrees for 5 s.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from assets import folding_tote
from sim.latches import FLAT
from sim.rotations import rotate, yaw_of
from sim.totes import FOLDING, PILE
from tasks.shaking import shake, tilt_profile
from tasks.totes.task import FLAT_TOLERANCE, IN_BIN, IN_TOTE, LOST, ToteBreakdown
from tasks.totes.variants import BREAK_DOWN, CHECK, STACK

POSITION_TOLERANCE, ANGLE_TOLERANCE = 0.015, np.deg2rad(3.0)
# Nested totes have some play in each other; more than this under the tilt and one has come out of its nest. [m]
TILT_SHIFT = 0.030


@dataclasses.dataclass(frozen=True)
class ToteVerdict:
    """What is said of one finished episode.

    Attributes:
        success: nothing is wrong.
        reasons: what is wrong, one line each; empty on success.
        binned: (count,) whether each part is in the bin.
        wall_angle: (4,) of a folding tote's walls from flat [rad]; None for another tote.
        stack_offset, stack_angle: of the tote from its place on the pile [m], [rad]; None when not asked for.
        tilt_shift: greatest displacement of a tote of the pile while tilted [m]; None when not tested.
    """

    success: bool
    reasons: tuple[str, ...]
    binned: np.ndarray
    wall_angle: np.ndarray | None
    stack_offset: float | None
    stack_angle: float | None
    tilt_shift: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, e.g. for JSON."""
        values = dataclasses.asdict(self)
        values["reasons"], values["binned"] = list(self.reasons), self.binned.tolist()
        values["wall_angle"] = None if self.wall_angle is None else self.wall_angle.tolist()
        return values


def judge(task: ToteBreakdown, ids: np.ndarray) -> list[ToteVerdict]:
    """Return the verdict on each of the worlds `ids`, all stability tests run at once; these worlds are spent."""
    offset, angle = _stack_error(task, ids)
    folds, last = task.kind[ids] == FOLDING, task.last[ids]
    from_flat = np.abs(FLAT - task.walls(ids))
    reasons = [_parts_wrong(task, int(i)) for i in ids]
    for k, i in enumerate(ids):
        wrong = reasons[k]
        if task.first[i] <= CHECK <= last[k] and task.state.stage[i] <= CHECK:
            wrong.append("tote not checked in time")
        if folds[k] and task.first[i] <= BREAK_DOWN and last[k] >= BREAK_DOWN:
            for wall, off in zip(folding_tote.WALLS, from_flat[k], strict=True):
                if off > FLAT_TOLERANCE:
                    wrong.append(f"wall {wall} off flat by {np.rad2deg(off):.0f} deg")
        if last[k] >= STACK:
            if offset[k] > POSITION_TOLERANCE:
                wrong.append("tote not on the pile" if offset[k] > 0.1 else f"tote off by {offset[k] * 1000:.1f} mm")
            elif angle[k] > ANGLE_TOLERANCE:
                wrong.append(f"tote turned by {np.rad2deg(angle[k]):.1f} deg")
    shift = _tilt(task, ids, np.array([not r for r in reasons]) & (last >= STACK), reasons)
    return [
        ToteVerdict(
            not reasons[k],
            tuple(reasons[k]),
            task.state.where[i, : task.count[i]] == IN_BIN,
            from_flat[k] if folds[k] and last[k] >= BREAK_DOWN else None,
            float(offset[k]) if last[k] >= STACK else None,
            float(angle[k]) if last[k] >= STACK else None,
            shift[k],
        )
        for k, i in enumerate(ids)
    ]


def _parts_wrong(task: ToteBreakdown, i: int) -> list[str]:
    wrong = []
    for j in range(int(task.count[i])):
        where = task.state.where[i, j]
        if where == LOST:
            why = next(e["event"] for e in reversed(task.events[i]) if e.get("part") == j)
            wrong.append(f"part {j} dropped ({why.removeprefix('lost: ')})")
        elif where == IN_TOTE:
            wrong.append(f"part {j} left in the tote")
        elif where != IN_BIN:
            wrong.append(f"part {j} not in the bin in time")
    return wrong


def _stack_error(task: ToteBreakdown, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each tote is from its place on the pile [m] and how much it is turned or leans [rad], (n,)."""
    position, rotation = task.tote_pose(ids)
    goal, yaw = task.stack_goal(ids)
    turned = yaw_of(rotation) - yaw
    # A tote looks the same after half a turn.
    turned = np.abs(turned - np.pi * np.round(turned / np.pi))
    lean = np.arccos(np.clip(rotate(rotation, np.array([0.0, 0.0, 1.0]))[:, 2], -1.0, 1.0))
    return np.sqrt(((position - goal) ** 2).sum(-1)), np.maximum(turned, lean)


def _tilt(task: ToteBreakdown, ids: np.ndarray, stands: np.ndarray, reasons: list[list[str]]) -> list[float | None]:
    """Tilt the piles that stand as they should; add what goes wrong to `reasons`."""
    shift: list[float | None] = [None] * len(ids)
    which = np.flatnonzero(stands)
    worlds = ids[which]
    if not len(worlds):
        return shift
    cell = task.cell
    mine = np.zeros((len(worlds), cell.scene.slots), dtype=bool)
    mine[np.arange(len(worlds)), task.tote[worlds]] = True
    mine[:, task.goods.pile] = np.arange(PILE) < task.empties[worlds, None]
    saved = cell.save(worlds)
    moved, _, fell = shake(cell, worlds, mine, tilt_profile(), task.test_direction[worlds])
    broken = cell.worlds.broken(worlds)
    for k, world in enumerate(which):
        if broken[k] is not None:
            reasons[world].append(f"the physics broke under a 10 deg tilt ({broken[k]})")
            continue
        shift[world] = float(moved[k])
        if fell[k] or moved[k] > TILT_SHIFT:
            reasons[world].append(f"pile shifts by {moved[k] * 1000:.0f} mm under a 10 deg tilt")
    cell.restore(saved, worlds)
    return shift
