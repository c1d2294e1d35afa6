"""The stand-in's vacuum gripper: cups that seal against a carton's top, hold it through a spring, and let go.

Written apart from the simulator that identification uses. Where the structure is "contained", pull and bending moments
add up as in the contact model of Dex-Net 3.0 (arXiv 1709.06670) and the load is looked at every 10 ms; where it is
"richer", the loads combine as an ellipsoid, the vacuum builds up slower, the cups are softer, and every step counts.
"""

from __future__ import annotations

import mujoco
import numpy as np

from assets.gripper import Cups
from sim2real.standin.goods import SLOTS
from sim2real.standin.sealed import Sealed

REACH, SKEW = 0.006, np.cos(np.deg2rad(6.0))  # [m] a lip draws in what is so near, and so parallel
FEWEST = 3  # cups that hold anything
LOOK = 0.01  # [s] how often cups look for something to seal against
SENSORS = ("cups_force", "cups_torque", "cups_acceleration")
RIM = 0.9  # of a cup's radius that must lie on the face


def add_suction(spec: mujoco.MjSpec, sealed: Sealed) -> None:
    """Add what measures the load on the cups, and make the ties to the cups as springy as they are."""
    kinds = (mujoco.mjtSensor.mjSENS_FORCE, mujoco.mjtSensor.mjSENS_TORQUE, mujoco.mjtSensor.mjSENS_ACCELEROMETER)
    for kind, name in zip(kinds, SENSORS, strict=True):
        spec.add_sensor(name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="suction")
    give = sealed.number("suction.time_constant") * sealed.number("standin.suction_compliance", 1.0)
    for i in range(SLOTS):
        spec.equality(f"hold{i}").solref = [give, 0.8 if sealed.structure == "richer" else 1.0]


class Vacuum:
    """The cups of one arm.

    Attributes:
        held: the carton that is held, or None.
        vacuum: share of the full vacuum, 0..1.
        wrench: force [N] and torque [N m] of the load at the lips, in the lips' axes (6,); what hangs pulls along +z.
        lost: whether a hold broke since the pump was switched on.
    """

    def __init__(self, model: mujoco.MjModel, sealed: Sealed, period: float):
        """Hold cartons of `model`; `step` is called every `period` [s]."""
        self.model, self.period, self.richer = model, period, sealed.structure == "richer"
        self.force, self.friction = sealed.number("suction.max_force"), sealed.number("suction.friction")
        self.moment = sealed["suction.max_moment"]
        cups = Cups()
        self.cups = np.concatenate([cups.positions, np.zeros((len(cups.positions), 1))], axis=1)
        self.rim = RIM * cups.radius
        self.arm_of_twist = float(np.sqrt((cups.positions**2).sum(1)).mean())
        self.build_up = 0.10 if self.richer else 0.06  # [s]
        self.every = 1 if self.richer else round(LOOK / period)
        self.site, self.body = model.site("suction").id, model.body("cups").id
        self.cartons = np.array([model.body(f"carton{i}").id for i in range(SLOTS)])
        self.boxes = np.array([model.geom(f"carton{i}").id for i in range(SLOTS)])
        self.ties = np.array([model.equality(f"hold{i}").id for i in range(SLOTS)])
        self._addresses = [int(model.sensor(name).adr[0]) for name in SENSORS]
        self._lever = model.body_ipos[self.body] - model.site_pos[self.site]
        self.clear()

    def clear(self) -> None:
        """Start with nothing held and the pump off."""
        self.held: int | None = None
        self.sealed, self.vacuum, self.lost, self._step = 0, 0.0, False, 0
        self.wrench, self._sum = np.zeros(6), np.zeros(6)

    def step(self, data: mujoco.MjData, on: bool) -> None:
        """Draw in, hold or let go; after every `period` of physics."""
        self._step += 1
        if self.held is not None:
            self._sum += self._load(data)
        if not on:
            self.lost = False
            if self.held is not None:
                self._let_go(data)
        if self._step % self.every == 0:
            self.wrench, self._sum = self._sum / self.every, np.zeros(6)
            target = 1.0 if on and self.held is not None else 0.0
            self.vacuum += (target - self.vacuum) * (1.0 - np.exp(-self.every * self.period / self.build_up))
            if self.held is not None and self._overloaded():
                self._let_go(data)
                self.lost = True
        if on and self.held is None and not self.lost and self._step % round(LOOK / self.period) == 0:
            self._seek(data)

    def _load(self, data: mujoco.MjData) -> np.ndarray:
        """What hangs on the cups: what the arm does to them, less what moves their own mass."""
        force, torque, moved = (data.sensordata[a : a + 3] for a in self._addresses)
        own = self.model.body_mass[self.body] * moved
        (x, y, z), (a, b, c) = self._lever.tolist(), own.tolist()
        return np.concatenate([own - force, np.array([y * c - z * b, z * a - x * c, x * b - y * a]) - torque])

    def _overloaded(self) -> bool:
        if self.vacuum <= 0.5:  # what stands is not torn off while the air is drawn
            return False
        share = self.sealed / len(self.cups) * self.vacuum
        force, (mx, my) = self.force * share, self.moment * share
        fx, fy, pull, tx, ty, twist = self.wrench.tolist()
        shear, left = float(np.hypot(fx, fy)), max(force - max(pull, 0.0), 0.0)
        grip = max(self.friction * left, 1e-9)
        if self.richer:
            peeled = (max(pull, 0.0) / force) ** 2 + (tx / mx) ** 2 + (ty / my) ** 2 > 1.0
            return peeled or (shear / grip) ** 2 + (twist / (grip * self.arm_of_twist)) ** 2 > 1.0
        peeled = pull / force + abs(tx) / mx + abs(ty) / my > 1.0
        return peeled or shear > grip or abs(twist) > grip * self.arm_of_twist

    def _let_go(self, data: mujoco.MjData) -> None:
        assert self.held is not None
        data.eq_active[self.ties[self.held]] = 0
        dof = self.model.body_dofadr[self.cartons[self.held]]
        data.qvel[dof + 2] -= 0.005  # what hung counts as resting: it must not fall asleep in the air
        self.held, self.sealed = None, 0

    def _seek(self, data: mujoco.MjData) -> None:
        """Seal against the carton whose top is nearest below the lips."""
        lips, axes = data.site_xpos[self.site], data.site_xmat[self.site].reshape(3, 3)
        away = np.abs(data.xpos[self.cartons] - lips).max(1)
        for i in np.flatnonzero(away < 0.6):
            turn = data.xmat[self.cartons[i]].reshape(3, 3)
            down = turn.T @ axes[:, 2]
            face = int(np.argmax(np.abs(down)))
            if abs(down[face]) < SKEW:
                continue
            half = self.model.geom_size[self.boxes[i]]
            on_box = (lips + self.cups @ axes.T - data.xpos[self.cartons[i]]) @ turn
            gap = np.abs(-np.sign(down[face]) * on_box[:, face] - half[face])
            sides = [a for a in range(3) if a != face]
            inside = (np.abs(on_box[:, sides]) <= half[sides] - self.rim).all(1)
            sealed = int(((gap <= REACH) & inside).sum())
            if sealed >= FEWEST:
                self._tie(data, int(i), sealed, turn, lips)
                return

    def _tie(self, data: mujoco.MjData, carton: int, sealed: int, turn: np.ndarray, lips: np.ndarray) -> None:
        cups = data.xmat[self.body].reshape(3, 3)
        relative = np.zeros(4)
        mujoco.mju_mat2Quat(relative, (cups.T @ turn).ravel())
        tie = self.model.eq_data[self.ties[carton]]
        tie[0:3] = turn.T @ (lips - data.xpos[self.cartons[carton]])
        tie[3:6] = cups.T @ (lips - data.xpos[self.body])
        tie[6:10], tie[10] = relative, 1.0
        data.eq_active[self.ties[carton]] = 1
        self.held, self.sealed, self.vacuum = carton, sealed, 0.0
