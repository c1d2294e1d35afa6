"""The operator's tables: a carton on a plate is tilted until it slides, or dropped onto it and watched.

They stand beside the robot: a model of their own, run at once when asked for.
"""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np

from assets.errors import InputError, unknown
from sim2real.standin.goods import GRAVITY, Contacts, write_carton

PLATES = ("cardboard", "wood")
PLATE = (0.9, 0.7, 0.05)  # half extents [m]: no carton slides off before it is seen to slide
STEEPEST = np.deg2rad(50.0)
SETTLE = 0.5  # [s] on the plate before it moves
CAMERA_RATE, CAMERA_NOISE = 50.0, 0.0005  # [Hz], [m] of the camera that watches the tilt table
SENSOR_RATE, SENSOR_NOISE = 500.0, 0.00005  # [Hz], [m] of the laser over the drop plate
SLID = 0.004  # [m] from which a carton is seen to slide
WATCHED = 0.6  # [s] after a drop


@dataclasses.dataclass(frozen=True)
class Tables:
    """The tilt table and the drop plate.

    Attributes:
        contacts: how surfaces touch.
        timestep: of the physics [s].
        integrator: of the physics, as MuJoCo numbers it.
        scatter: relative standard deviation of the friction from one set-down to the next.
    """

    contacts: Contacts
    timestep: float
    integrator: int
    scatter: float

    def tilt(
        self, size: np.ndarray, mass: float, on: str, direction: float, rate: float, random: np.random.Generator
    ) -> dict[str, object]:
        """Tilt a carton at `rate` [rad/s] until it slides or the table is at its steepest; see `cell.tilt`."""
        if not np.isfinite(direction) or not 0.002 <= rate <= 0.2:
            raise InputError(f"tilt: a finite direction and a rate of 0.002 … 0.2 rad/s are wanted, got {rate} rad/s")
        model, data = self._plate(size, mass, on)
        # The board's grain, dust, the pressure of the goods on the bottom: no two trials slide alike.
        model.geom_friction[:, 0] *= 1.0 + self.scatter * random.standard_normal()
        mujoco.mj_step(model, data, round(SETTLE / self.timestep))
        start = data.qpos[:3].copy()
        along = np.array([np.cos(direction), np.sin(direction), 0.0])
        frames = round(1.0 / CAMERA_RATE / self.timestep)
        angles, slid = [], []
        angle = 0.0
        while angle < STEEPEST and (not slid or slid[-1] < 10 * SLID):
            for _ in range(frames):
                angle += rate * self.timestep
                model.opt.gravity[:] = GRAVITY * (np.sin(angle) * along - [0.0, 0.0, np.cos(angle)])
                mujoco.mj_step(model, data)
            angles.append(angle)
            slid.append(float((data.qpos[:3] - start) @ along + random.normal(0.0, CAMERA_NOISE)))
        moved = np.flatnonzero(np.array(slid) > SLID)
        if not len(moved):
            raise InputError(f"tilt: the carton does not slide on {on} up to {np.rad2deg(STEEPEST):.0f} deg")
        return {
            "angle": angles[int(moved[0])],
            "time": ((np.arange(len(slid)) + 1) / CAMERA_RATE).tolist(),
            "tilt": angles,
            "slid": slid,
        }

    def drop(
        self, size: np.ndarray, mass: float, on: str, height: float, random: np.random.Generator
    ) -> dict[str, object]:
        """Drop a carton flat from `height` [m]; see `cell.drop`."""
        if not 0.005 <= height <= 0.2:
            raise InputError(f"drop: a height of 0.005 … 0.2 m is wanted, got {height} m")
        model, data = self._plate(size, mass, on)
        mujoco.mj_step(model, data, round(2 * SETTLE / self.timestep))
        rest = float(data.qpos[2])
        mujoco.mj_resetData(model, data)
        data.qpos[2] += height
        every = round(1.0 / SENSOR_RATE / self.timestep)
        heights = []
        for _ in range(round(WATCHED * SENSOR_RATE)):
            mujoco.mj_step(model, data, every)
            heights.append(float(data.qpos[2]) - rest + random.normal(0.0, SENSOR_NOISE))
        return {"time": ((np.arange(len(heights)) + 1) / SENSOR_RATE).tolist(), "height": heights}

    def _plate(self, size: np.ndarray, mass: float, on: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """A carton lying on a plate of material `on`."""
        if on not in PLATES:
            raise unknown("plate", on, PLATES)
        spec = mujoco.MjSpec()
        spec.option.timestep, spec.option.integrator = self.timestep, self.integrator
        self.contacts.set_options(spec)
        plate = spec.worldbody.add_geom(name="plate", type=mujoco.mjtGeom.mjGEOM_BOX, size=PLATE, pos=[0, 0, -PLATE[2]])
        self.contacts.dress(plate, on)
        body = spec.worldbody.add_body(name="carton", pos=[0, 0, size[2] / 2])
        body.mass, body.ipos, body.inertia = mass, [0.0, 0.0, 0.0], [0.05, 0.06, 0.07]
        body.explicitinertial, body.simple = True, False
        body.add_freejoint()
        box = body.add_geom(name="carton", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.1, 0.1, 0.1])
        box.mass = 0.0
        self.contacts.dress(box, "cardboard")
        model = spec.compile()
        data = mujoco.MjData(model)
        write_carton(model, model.body("carton").id, model.geom("carton").id, size, mass)
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
        return model, data
