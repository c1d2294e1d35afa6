"""Suction: the same in every engine. Attach on proximity and seal, hold with a compliant force, break at limits.

A cup seals when its lip is close to a face of a box (a carton, a tote's wall), parallel to it and inside its edges. The
sealed cups hold the box's body through a compliant weld; the wrench measured at the lips is compared with what the cups
can bear, following the contact model of Dex-Net 3.0 (Mahler et al., arXiv 1709.06670): the outermost cup peels off
where pull and bending moments together exceed its vacuum force; shear and twist are limited by friction under what is
left of it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from assets.gripper import Cups
from sim.knobs import Rows
from sim.rotations import conjugate, multiply, rotate
from sim.worlds import Worlds

SEAL_GAP = 0.006  # [m] how far a lip may be from the face and still draw it in
SEAL_TILT = np.deg2rad(6.0)  # [rad] how far the faces may be from parallel
MINIMUM_CUPS = 3  # what is held by fewer peels off at once
VACUUM_TIME = 0.06  # [s] time constant of evacuating the cups
NUDGE = 0.005  # [m/s] downwards when something is let go: what it falls in half a millisecond
NEAR = 0.05  # [m] more than anything moves in an interval
FREE = -1


@dataclasses.dataclass
class SuctionState:
    """What the gripper does in every world.

    Attributes:
        on: (n,) whether the pump is asked to draw.
        held: (n,) the grip that is held (number in `Scene.goods.grips`), or FREE.
        sealed: (n,) number of sealed cups.
        vacuum: (n,) share of the full vacuum that has built up, 0..1.
        wrench: (n, 6) mean force [N] and torque [N m] at the lips over the last interval.
        broken_by: (n,) why the hold broke, an index into BREAK_REASONS; 0 again once the pump is off.
    """

    on: np.ndarray
    held: np.ndarray
    sealed: np.ndarray
    vacuum: np.ndarray
    wrench: np.ndarray
    broken_by: np.ndarray

    def take(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return copies of the rows `ids`, by name."""
        return {f.name: getattr(self, f.name)[ids].copy() for f in dataclasses.fields(self)}

    def put(self, ids: np.ndarray, values: dict[str, np.ndarray]) -> None:
        """Write rows back that `take` returned."""
        for name, value in values.items():
            getattr(self, name)[ids] = value


BREAK_REASONS = ("", "pulled off", "slid off", "twisted off")


class Suction:
    """The vacuum gripper of every world."""

    def __init__(self, worlds: Worlds, cups: Cups, interval: float):
        """Watch `worlds`, once in an `interval` [s]; `cups` are the gripper's."""
        n, model = worlds.nworld, worlds.scene.model
        self.worlds, self.cups = worlds, cups
        self.state = SuctionState(
            on=np.zeros(n, dtype=bool),
            held=np.full(n, FREE),
            sealed=np.zeros(n, dtype=np.int64),
            vacuum=np.zeros(n),
            wrench=np.zeros((n, 6)),
            broken_by=np.zeros(n, dtype=np.int64),
        )
        self._evacuated = float(1.0 - np.exp(-interval / VACUUM_TIME))  # share of the air drawn off in an interval
        self._arm_of_twist = float(np.sqrt((cups.positions**2).sum(1)).mean())
        self._site = tuple(a[worlds.scene.suction_site].copy() for a in (model.site_pos, model.site_quat))
        self._lips = np.concatenate([cups.positions, np.zeros((len(cups.positions), 1))], axis=1)
        grips = len(worlds.scene.grips)
        self.half_size = np.zeros((n, grips, 3))  # [m] of the boxes that may be held
        self.middle = np.zeros((n, grips, 3))  # [m] of these boxes, in their bodies' frames
        # [m] how far the lips' centre may be from a body's origin for any cup to seal
        self._seal_distance = np.zeros((n, grips))
        self.max_force = np.zeros(n)
        self.max_moment = np.zeros((n, 2))
        self.friction = np.zeros(n)

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Take over strength from the knobs, and where the boxes are that may be held; the rows have been written."""
        grips = np.ix_(ids, self.worlds.scene.grips)
        self.half_size[ids] = self.worlds.field("geom_size")[grips]
        self.middle[ids] = self.worlds.field("geom_pos")[grips]
        pad = np.sqrt((self.cups.positions**2).sum(1)).max() + SEAL_GAP
        reach = np.sqrt((self.half_size[ids] ** 2).sum(-1)) + np.sqrt((self.middle[ids] ** 2).sum(-1))
        self._seal_distance[ids] = reach + pad
        self.max_force[ids] = rows["suction.max_force"]
        self.max_moment[ids] = rows["suction.max_moment"]
        self.friction[ids] = rows["suction.friction"]

    def reset(self, ids: np.ndarray) -> None:
        """Let go in the worlds `ids`."""
        s = self.state
        s.on[ids], s.held[ids], s.sealed[ids], s.vacuum[ids], s.wrench[ids], s.broken_by[ids] = 0, FREE, 0, 0, 0, 0
        self.worlds.eq_active[np.ix_(ids, self.worlds.scene.welds)] = 0

    def lip_pose(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return position [m] (n, 3) and quaternion (n, 4) of the lip plane's frame, z towards the load."""
        scene = self.worlds.scene
        position, quaternion = self.worlds.xpos[ids, scene.cups_body], self.worlds.xquat[ids, scene.cups_body]
        return position + rotate(quaternion, self._site[0]), multiply(quaternion, self._site[1])

    def idle(self, travel: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Say (n,) where nothing can be held or lost while the lips move by at most `travel` (n,) [m]."""
        s = self.state
        free, seeking = s.held[ids] == FREE, s.on[ids] & (s.broken_by[ids] == 0)
        return free & (~seeking | ~self._any_near(travel, ids))

    def _any_near(self, travel: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Say (n,) whether the lips are within `travel` (n,) [m] of where a cup may seal against some box."""
        scene = self.worlds.scene
        box = self.worlds.xpos[ids[:, None], scene.grip_bodies]
        away = self.worlds.site_xpos[ids, scene.suction_site][:, None] - box
        x, y, z = away[..., 0], away[..., 1], away[..., 2]
        return (np.sqrt(x * x + y * y + z * z) < self._seal_distance[ids] + travel[:, None]).any(1)

    def rest(self, wrench: np.ndarray, intervals: int, ids: np.ndarray) -> None:
        """Pass `intervals` in idle worlds; `wrench` (n, 6) was measured in the last one. The same as `update` gives."""
        s = self.state
        s.wrench[ids] = wrench
        s.broken_by[ids[~s.on[ids]]] = 0
        vacuum = s.vacuum[ids]
        for _ in range(intervals):
            vacuum += (0.0 - vacuum) * self._evacuated
        s.vacuum[ids] = vacuum

    def update(self, wrench: np.ndarray, ids: np.ndarray) -> None:
        """Draw in, hold or break, after an interval in which the mean `wrench` (n, 6) was measured."""
        s = self.state
        s.wrench[ids] = wrench
        target = s.on[ids] & (s.held[ids] != FREE)  # an open cup draws air, not a vacuum
        s.vacuum[ids] += (target - s.vacuum[ids]) * self._evacuated
        on, holds = s.on[ids], s.held[ids] != FREE
        if (holds & ~on).any():
            self._release(ids[holds & ~on])
        if (holds & on).any():
            self._check_limits(ids[holds & on])
        # A hold that broke has let air into the cups: they seal nothing until the pump has been off.
        s.broken_by[ids[~on]] = 0
        seeking = ids[on & (s.held[ids] == FREE) & (s.broken_by[ids] == 0)]
        if len(seeking):
            self._seek(seeking)

    def _release(self, ids: np.ndarray) -> None:
        s, scene = self.state, self.worlds.scene
        self.worlds.eq_active[ids, scene.welds[s.held[ids]]] = 0
        # What hung still counts as ready to sleep and would do so in mid-air: a nudge keeps it awake.
        self.worlds.qvel[ids, scene.grip_dofs[s.held[ids]] + 2] -= NUDGE
        s.held[ids], s.sealed[ids] = FREE, 0

    def _check_limits(self, ids: np.ndarray) -> None:
        s = self.state
        share = s.sealed[ids] / len(self.cups.positions) * s.vacuum[ids]
        force, moment = self.max_force[ids] * share, self.max_moment[ids] * share[:, None]
        fx, fy, fz, tx, ty, tz = s.wrench[ids].T
        shear = np.sqrt(fx * fx + fy * fy)
        bending = np.abs(tx) / np.maximum(moment[:, 0], 1e-9) + np.abs(ty) / np.maximum(moment[:, 1], 1e-9)
        left = np.maximum(force - np.maximum(fz, 0.0), 0.0)
        # A vacuum that is still building up cannot be overloaded by what the load itself rests on.
        armed = s.vacuum[ids] > 0.5
        # Pressing (a negative pull) keeps the outermost cup on: a load set down askew bends without tearing.
        pulled = armed & (fz / np.maximum(force, 1e-9) + bending > 1.0)
        slid = armed & (shear > self.friction[ids] * left)
        twisted = armed & (np.abs(tz) > self.friction[ids] * left * self._arm_of_twist)
        why = np.where(pulled, 1, np.where(slid, 2, np.where(twisted, 3, 0)))
        lost = ids[why > 0]
        s.broken_by[lost] = why[why > 0]
        self._release(lost)

    def _seek(self, ids: np.ndarray) -> None:
        s, scene = self.state, self.worlds.scene
        ids = ids[self._any_near(np.full(len(ids), NEAR), ids)]
        if not len(ids):
            return
        lip, turn = self.lip_pose(ids)
        quaternion = self.worlds.xquat[ids[:, None], scene.grip_bodies]
        position = self.worlds.xpos[ids[:, None], scene.grip_bodies] + rotate(quaternion, self.middle[ids])
        # The box that is nearest to the lip plane's centre.
        local = rotate(conjugate(quaternion), lip[:, None, :] - position)
        outside = np.maximum(np.abs(local) - self.half_size[ids], 0.0)
        grip = np.argmin((outside * outside).sum(-1), axis=1)
        row = np.arange(len(ids))
        half, quaternion, position = self.half_size[ids, grip], quaternion[row, grip], position[row, grip]
        sealed = self._sealed_cups(lip, turn, position, quaternion, half)
        got = sealed >= MINIMUM_CUPS
        s.sealed[ids] = np.where(got, sealed, 0)
        if not got.any():
            return
        who, which = ids[got], grip[got]
        s.held[who] = which
        self._weld(who, which, lip[got], quaternion[got])

    def _sealed_cups(
        self, lip: np.ndarray, turn: np.ndarray, position: np.ndarray, quaternion: np.ndarray, half: np.ndarray
    ) -> np.ndarray:
        """Count the cups that seal against the face that looks at the tool; (n,)."""
        towards = rotate(conjugate(quaternion), rotate(turn, np.array([0.0, 0.0, 1.0])))  # tool's z in the box's axes
        axis = np.argmax(np.abs(towards), axis=1)
        row = np.arange(len(axis))
        side = -np.sign(towards[row, axis])
        parallel = np.abs(towards[row, axis]) >= np.cos(SEAL_TILT)
        lips = lip[:, None, :] + rotate(turn[:, None, :], self._lips[None])
        local = rotate(conjugate(quaternion)[:, None, :], lips - position[:, None, :])
        over = local * side[:, None, None] - half[:, None, :]
        gap = np.abs(np.take_along_axis(over, axis[:, None, None], axis=2)[..., 0])
        inside = np.abs(local) <= half[:, None, :] - self.cups.radius * 0.9
        np.put_along_axis(inside, axis[:, None, None], True, axis=2)
        return ((gap <= SEAL_GAP) & inside.all(-1) & parallel[:, None]).sum(1)

    def _weld(self, ids: np.ndarray, grip: np.ndarray, lip: np.ndarray, quaternion: np.ndarray) -> None:
        """Hold the body of a grip, turned by `quaternion`, where it is against the cups; the force acts at the lips."""
        scene = self.worlds.scene
        position = self.worlds.xpos[ids, scene.grip_bodies[grip]]
        tool, tool_turn = self.worlds.xpos[ids, scene.cups_body], self.worlds.xquat[ids, scene.cups_body]
        data = self.worlds.field("eq_data")
        welds = scene.welds[grip]
        data[ids, welds, 0:3] = rotate(conjugate(quaternion), lip - position)
        data[ids, welds, 3:6] = rotate(conjugate(tool_turn), lip - tool)
        data[ids, welds, 6:10] = multiply(conjugate(tool_turn), quaternion)
        data[ids, welds, 10] = 1.0
        self.worlds.eq_active[ids, welds] = 1
