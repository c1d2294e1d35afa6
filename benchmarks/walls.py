"""Whether parts pass through walls: of totes, standing or folding, of the bin, of table and dolly.

Judged from outside, a hundred times a second: a point in the middle of a part's material may not get from one side of a
box of these to the other within its edges. It may well go over a rim, or through a grip hole, or be pressed in and come
out where it went in; and a tote that is turned over may pour its parts out, for all this is asked in the frames of the
boxes. A tote's floor and foot count as one.
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from assets.parts import FAMILIES, SIZES, pool
from sim.rotations import conjugate, rotate
from tasks.simulation import Simulation
from tasks.totes.task import ToteBreakdown

FURNITURE = ("bin", "table", "dolly")
EDGE = 0.006  # [m] so near to a box's edge nothing counts as within: contacts are soft, and a look sees chords of paths
INSIDE = np.array([part.hulls[0].mean(axis=0) for part in pool()])  # [m] a point in each part's material


class WallWatch:
    """Follows every part through every world of a simulation of tote breakdown.

    Attributes:
        through: what passed through what, for each world since it began.
    """

    def __init__(self, simulation: Simulation):
        """Watch `simulation`, whose worlds make shorter steps from now on, the same bit for bit."""
        assert isinstance(simulation.task, ToteBreakdown)
        scene, self._task, self._worlds = simulation.scene, simulation.task, simulation.worlds
        model, n = scene.model, simulation.worlds.nworld
        self._parts = scene.slot_bodies[: self._task.slots]
        furniture = scene.ids(mujoco.mjtObj.mjOBJ_BODY, FURNITURE)
        totes = np.isin(model.body_rootid, scene.slot_bodies[self._task.slots :])
        solid = (model.geom_type == mujoco.mjtGeom.mjGEOM_BOX) & ((model.geom_contype | model.geom_conaffinity) != 0)
        walled = totes[model.geom_bodyid] | np.isin(model.geom_bodyid, furniture)
        # The foot reaches up to the floor's top: see `begin`.
        floors = [i for i in np.flatnonzero(totes[model.geom_bodyid]) if model.geom(i).name.endswith("_floor")]
        self._floors = np.array(floors)
        self._boxes = np.setdiff1d(np.flatnonzero(solid & walled), floors)
        self._bodies, self._owner = np.unique(model.geom_bodyid[self._boxes], return_inverse=True)
        self._names = [model.geom(i).name for i in self._boxes]
        self._feet = np.flatnonzero([name.endswith("_foot") and name != "table_foot" for name in self._names])
        boxes = len(self._boxes)
        self._inside = np.zeros((n, self._task.slots, 3))
        self._half, self._middle = np.zeros((n, boxes, 3)), np.zeros((n, boxes, 3))
        self._thin = np.zeros((n, boxes), dtype=np.int64)
        self._last = np.zeros((n, boxes, self._task.slots, 3))
        self._side = np.zeros((n, boxes, self._task.slots))  # where each part was last seen outside each box, -1 or 1
        self.through: list[list[dict[str, Any]]] = [[] for _ in range(n)]
        self._step, self._chunk = simulation.worlds.step, simulation.cell.chunk
        simulation.worlds.step = self._step_and_look

    def begin(self, ids: np.ndarray) -> None:
        """Worlds `ids` start afresh, on rows that have been applied."""
        for i in ids.tolist():
            self.through[i] = []
        family, size = np.moveaxis(self._task.parts[ids], -1, 0)
        self._inside[ids] = INSIDE[(family * SIZES + size).astype(np.int64)]
        size, position = self._worlds.field("geom_size"), self._worlds.field("geom_pos")
        self._half[ids], self._middle[ids] = (a[ids[:, None], self._boxes] for a in (size, position))
        top = (position + size)[ids[:, None], self._floors, 2]
        feet = ids[:, None], self._feet
        bottom = (self._middle - self._half)[*feet, 2]
        self._half[*feet, 2], self._middle[*feet, 2] = (top - bottom) / 2, (top + bottom) / 2
        self._thin[ids] = np.argmin(self._half[ids], axis=-1)
        self._last[ids] = self._in_boxes(ids)
        self._side[ids] = np.where(self._through_thickness(self._last[ids], ids) > 0, 1.0, -1.0)

    def _step_and_look(self, control: np.ndarray, ids: np.ndarray, measured: int | None = None) -> np.ndarray:
        pieces = range(0, control.shape[1], self._chunk)
        wrenches = []
        for first in pieces:
            wrenches.append(self._step(control[:, first : first + self._chunk], ids))
            self._look(ids)
        asked = len(wrenches) if measured is None else measured // self._chunk
        return np.mean(wrenches[-asked:], axis=0)

    def _in_boxes(self, ids: np.ndarray) -> np.ndarray:
        """Return where the parts' points are in the frames of the boxes (n, boxes, slots, 3) [m]."""
        xpos, xquat = self._worlds.xpos, self._worlds.xquat
        points = xpos[ids[:, None], self._parts] + rotate(xquat[ids[:, None], self._parts], self._inside[ids])
        away = points[:, None] - xpos[ids[:, None], self._bodies][:, :, None]
        local = rotate(conjugate(xquat[ids[:, None], self._bodies])[:, :, None], away)
        return local[:, self._owner] - self._middle[ids][:, :, None]

    def _through_thickness(self, points: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Return the coordinate of points (n, boxes, slots, 3) along each box's shortest side (n, boxes, slots) [m]."""
        return np.take_along_axis(points, self._thin[ids][:, :, None, None], axis=-1)[..., 0]

    def _look(self, ids: np.ndarray) -> None:
        """Note what has come out of a box on the other side since the last look."""
        now, before = self._in_boxes(ids), self._last[ids]
        to, since = self._through_thickness(now, ids), self._through_thickness(before, ids)
        half = np.take_along_axis(self._half[ids], self._thin[ids][..., None], axis=-1)
        side = np.where(np.abs(to) > half, np.sign(to), self._side[ids])
        for k, box, slot in zip(*np.nonzero(side * self._side[ids] < 0), strict=True):
            # Where it came out, on a straight way.
            share = (side[k, box, slot] * half[k, box, 0] - since[k, box, slot]) / (to - since)[k, box, slot]
            at = before[k, box, slot] + share * (now[k, box, slot] - before[k, box, slot])
            within = np.abs(at) < self._half[ids[k], box] - EDGE
            within[self._thin[ids[k], box]] = True
            if within.all():
                self._note(int(ids[k]), int(box), int(slot), at)
        self._last[ids], self._side[ids] = now, side

    def _note(self, world: int, box: int, slot: int, at: np.ndarray) -> None:
        family, size = self._task.parts[world, slot]
        self.through[world].append(
            {
                "seconds": round(float(self._worlds.time[world]), 3),
                "part": slot,
                "kind": f"{FAMILIES[int(family)]} {int(size)}",
                "through": self._names[box],
                "at": at.round(4).tolist(),
                "position": self._worlds.xpos[world, self._parts[slot]].round(4).tolist(),
            }
        )
