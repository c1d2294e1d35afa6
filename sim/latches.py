"""Latched hinges: walls of a folding tote that hold upright, and hold flat, until pushed hard enough.

A latch is dry friction that acts while its wall sits in the latch: up to the breakaway torque nothing moves, past it
the wall swings with the hinge's own friction until it sits in a latch again. What holds depends on the wall's present
angle alone, so there is no state to save.
"""

from __future__ import annotations

import mujoco
import numpy as np

from sim.knobs import Knob, Rows
from sim.worlds import Worlds

SEAT = np.deg2rad(2.5)  # how far from upright or flat a wall still sits in its latch [rad]
FLAT = np.pi / 2  # the angle of a wall that is folded down [rad]

LATCH_KNOBS = (
    Knob("latch.upright_torque", "N m", 0.3, 6.0, 2.0, "torque that breaks a standing wall loose", ("wall",)),
    Knob("latch.flat_torque", "N m", 2.0, 20.0, 9.0, "torque that lifts a folded wall out of its detent", ("wall",)),
    Knob("latch.hinge_friction", "N m", 0.02, 1.0, 0.15, "friction of a wall's hinge on its way", ("wall",)),
)


class Latches:
    """The latched hinges of every world: all joints of the goods. A scene without any has no work here."""

    def __init__(self, worlds: Worlds):
        """Watch `worlds`."""
        scene = worlds.scene
        joints = [j.name for body in scene.scene.goods.bodies for j in body.joints()]
        found = scene.ids(mujoco.mjtObj.mjOBJ_JOINT, joints)
        self.worlds = worlds
        self.qpos = scene.model.jnt_qposadr[found].astype(np.int64)  # (walls,)
        self.dofs = scene.model.jnt_dofadr[found].astype(np.int64)
        shape = (worlds.nworld, len(joints))
        self._upright, self._flat, self._loose = np.zeros(shape), np.zeros(shape), np.zeros(shape)

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Take over the latches' torques from the knobs."""
        if len(self.qpos):
            self._upright[ids] = rows["latch.upright_torque"]
            self._flat[ids] = rows["latch.flat_torque"]
            self._loose[ids] = rows["latch.hinge_friction"]

    def angles(self, ids: np.ndarray) -> np.ndarray:
        """Return the walls' angles (n, walls) [rad]: 0 upright, pi/2 flat."""
        return self.worlds.qpos[np.ix_(ids, self.qpos)]

    def update(self, ids: np.ndarray) -> None:
        """Let each hinge hold with what its angle says."""
        if not len(self.qpos):
            return
        angle = self.angles(ids)
        holds = np.where(angle < SEAT, self._upright[ids], self._loose[ids])
        holds = np.where(angle > FLAT - SEAT, self._flat[ids], holds)
        self.worlds.field("dof_frictionloss")[np.ix_(ids, self.dofs)] = holds
