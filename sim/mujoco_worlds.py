"""`Worlds` on MuJoCo's own batch: CPU threads, nothing to start, the default engine."""

from __future__ import annotations

import logging

import mujoco
import numpy as np
from mujoco.batch import Batch, SimulationError

from sim.apply import write_rows
from sim.knobs import Rows
from sim.scene import CompiledScene
from sim.worlds import WorldState

# Model arrays that change while a world runs; they belong to its state.
RUNNING_FIELDS = ("eq_data", "geom_surfacevel", "opt.gravity", "opt.sleep_tolerance")
SPEED_LIMIT = 100.0  # [m/s, rad/s] nothing in a cell moves so fast unless the physics has blown up
OVERSPEED = 3.0  # times the fastest joint's limit: no servo lets an arm whip round like that

# By itself the engine writes a warning for every world that breaks, and a file into the working folder. `broken` says
# the same, world by world.
mujoco.set_mju_user_warning(logging.getLogger("mujoco").info)


class MujocoWorlds:
    """Many worlds of a compiled scene on `nthread` CPU threads (see `sim.worlds.Worlds`)."""

    def __init__(self, scene: CompiledScene, nworld: int, nthread: int = 0, sleeping: bool = True):
        """Make `nworld` worlds; `nthread` 0 takes all cores. `sleeping=False` is for measuring what sleep gains."""
        self.scene = scene
        self.nworld = nworld
        model = scene.model
        # A world that has blown up must stay visible as such: no silent reset by the engine.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        sleep = mujoco.mjtEnableBit.mjENBL_SLEEP
        model.opt.enableflags = (model.opt.enableflags | sleep) if sleeping else (model.opt.enableflags & ~int(sleep))
        self.batch = Batch(model, nworld, nthread, persistent=True)
        self.qpos = self.batch.bind("qpos")
        self.qvel = self.batch.bind("qvel")
        self.ctrl = self.batch.bind("ctrl")
        self.eq_active = self.batch.bind("eq_active")
        self.time = self.batch.bind("time")
        self.xpos = self.batch.bind("xpos")
        self.xquat = self.batch.bind("xquat")
        self.joint_torque = self.batch.bind("qfrc_actuator")
        self.servo_torque = self.batch.bind("actuator_force")
        self.joint_anchor = self.batch.bind("xanchor")
        self.joint_axis = self.batch.bind("xaxis")
        self.site_xpos = self.batch.bind("site_xpos")
        self.mocap_pos, self.mocap_quat = np.zeros((nworld, 0, 3)), np.zeros((nworld, 0, 4))
        self._state = [self.batch.bind(f) for f in _STATE]
        if model.nmocap:
            self.mocap_pos, self.mocap_quat = self.batch.bind("mocap_pos"), self.batch.bind("mocap_quat")
            self._state += [self.mocap_pos, self.mocap_quat]
        self._fields = {name: self.batch.expand(name) for name in RUNNING_FIELDS}
        self._template = {name: field[0].copy() for name, field in self._fields.items()}
        self._joint_limit = OVERSPEED * max(j.velocity_limit for j in scene.scene.arm.body.joints())
        self._errors: list[str | None] = [None] * nworld
        self._due = np.zeros(nworld)  # the time that each world must show
        self._models: list[mujoco.MjModel | None] = [None] * nworld

    def field(self, name: str) -> np.ndarray:
        """Return a model array with a leading world axis, live and writable."""
        return self.batch.expand(name)

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Write knob rows into the worlds `ids` and refresh what derives from them; a reset has to follow."""
        write_rows(self, rows, ids)
        self.batch.set_const(ids)
        # The engine takes the bounds of every mesh from the template: those of exchanged ones are put right after it.
        self.scene.scene.goods.write_bounds(self, rows, ids)
        for i in ids:
            self._models[i] = None

    def model(self, world: int) -> mujoco.MjModel:
        """Return the world's own model, e.g. to render it; made once per row."""
        made = self._models[world]
        if made is None:
            made = self._models[world] = self.batch.get_model(world)
        return made

    def data(self, world: int, into: mujoco.MjData | None = None) -> mujoco.MjData:
        """Return a copy of the world's MjData."""
        return self.batch.get_data(world, into)

    def reset(self, ids: np.ndarray) -> None:
        """Put worlds into the template's initial state, spare slots asleep."""
        for name, field in self._fields.items():
            field[ids] = self._template[name]
        self.batch.reset(ids)
        self._due[ids] = 0.0
        for i in ids:
            self._errors[i] = None

    def forward(self, ids: np.ndarray) -> None:
        """Make derived arrays current after writing the state."""
        self.batch.forward(ids)

    def step(self, control: np.ndarray, ids: np.ndarray, measured: int | None = None) -> np.ndarray:
        """Advance by `control` (n, substeps, nu); return the load's wrench on the cups, see `sim.worlds.Worlds`."""
        substeps = control.shape[1]
        out = {"sensordata": np.zeros((len(ids), substeps, self.scene.model.nsensordata))}
        spec = int(mujoco.mjtState.mjSTATE_CTRL)
        try:
            self.batch.rollout(substeps, control, control_spec=spec, record=("sensordata",), ids=ids, out=out)
        except SimulationError as error:
            # The engine gave up these worlds; the others have run.
            for i in error.ids:
                self._errors[i] = self.batch.error(int(i)).splitlines()[0]
            out["sensordata"][np.isin(ids, error.ids)] = 0.0
        self._due[ids] += substeps * self.scene.model.opt.timestep
        # Looked for at once: an arm that the physics throws about can be calm again when `broken` is asked.
        speed = np.maximum.reduce(np.abs(self.qvel[ids[:, None], self.scene.arm_dofs]), axis=1)
        for i in ids[speed > self._joint_limit]:
            self._errors[i] = self._errors[i] or f"the arm moves faster than {self._joint_limit:.1f} rad/s"
        last = out["sensordata"][:, -(measured or substeps) :]
        return self._wrench(np.add.reduce(last, axis=1) / last.shape[1])

    def _wrench(self, readings: np.ndarray) -> np.ndarray:
        """Return the load's wrench on the cups (n, 6) from sensor readings (n, nsensordata).

        Force and torque sensor read what the arm does to the cups; that carries the load and moves the cups' own mass,
        which the accelerometer (gravity included) gives.
        """
        scene, model = self.scene, self.scene.model
        force, torque, moved = (
            readings[:, at : at + 3] for at in (scene.force_sensor, scene.torque_sensor, scene.acceleration_sensor)
        )
        own = model.body_mass[scene.cups_body] * moved
        x, y, z = (model.body_ipos[scene.cups_body] - model.site_pos[scene.suction_site]).tolist()
        wrench = np.empty((len(readings), 6))
        wrench[:, :3] = own - force
        # The moment of the cups' own mass, written out: np.cross costs a multiple.
        wrench[:, 3] = y * own[:, 2] - z * own[:, 1]
        wrench[:, 4] = z * own[:, 0] - x * own[:, 2]
        wrench[:, 5] = x * own[:, 1] - y * own[:, 0]
        wrench[:, 3:] -= torque
        return wrench

    def wake(self, ids: np.ndarray) -> None:
        """Wake every sleeping body: MuJoCo compares sleeping velocities bytewise with 0, and -0.0 differs."""
        velocity = self.qvel[ids]
        self.qvel[ids] = np.where(velocity == 0.0, -0.0, velocity)

    def allow_sleep(self, allowed: bool, ids: np.ndarray) -> None:
        """Let resting bodies sleep, or keep all awake: slow creep is only seen by a stack that may not sleep."""
        tolerance = self.scene.model.opt.sleep_tolerance if allowed else 0.0
        self.field("opt.sleep_tolerance")[ids] = tolerance
        if not allowed:
            self.wake(ids)

    def broken(self, ids: np.ndarray) -> list[str | None]:
        """Say for each world why it can no longer be trusted, or None."""
        finite = np.isfinite(self.qpos[ids]).all(1) & np.isfinite(self.qvel[ids]).all(1)
        speed = np.abs(np.where(np.isfinite(self.qvel[ids]), self.qvel[ids], 0.0))
        fast = speed.max(1) > SPEED_LIMIT
        # The engine stops a world when it warns (bad acceleration, full contact buffer); its clock then lags.
        late = np.abs(self.time[ids] - self._due[ids]) > 1e-6
        reasons: list[str | None] = []
        for k, i in enumerate(ids):
            if self._errors[i] is None:
                if not finite[k]:
                    self._errors[i] = "state is not finite"
                elif fast[k]:
                    self._errors[i] = f"something moves faster than {SPEED_LIMIT:g} m/s or rad/s"
                elif late[k]:
                    self._errors[i] = "the engine stopped the world with a warning"
            reasons.append(self._errors[i])
        return reasons

    def save(self, ids: np.ndarray) -> WorldState:
        """Return the complete state; the worlds go on exactly as they would after `restore`.

        Which bodies sleep is not part of MuJoCo's state. So saving puts the worlds back into what it saved: both
        continue from the same, fully awake state, and their futures are equal bit for bit.
        """
        state = np.concatenate([s[ids].reshape(len(ids), -1) for s in self._state], axis=1)
        saved = WorldState(state, {name: field[ids].copy() for name, field in self._fields.items()})
        self.restore(saved, ids)
        return saved

    def restore(self, state: WorldState, ids: np.ndarray) -> None:
        """Put worlds into a saved state, bit for bit."""
        self.batch.reset(ids)
        for name, field in self._fields.items():
            field[ids] = state.fields[name]
        at = 0
        for part in self._state:
            width = int(np.prod(part.shape[1:]))
            part[ids] = state.state[:, at : at + width].reshape(len(ids), *part.shape[1:])
            at += width
        self.wake(ids)
        self.batch.forward(ids)
        self._due[ids] = self.time[ids]
        for i in ids:
            self._errors[i] = None


_STATE = ("time", "qpos", "qvel", "qacc_warmstart", "ctrl", "eq_active")
