"""Our model of the arm, for many candidate rows at once: the commands that were recorded, played through simulation.

The worlds are those that `sim` compiles for every cell, with nothing in them but the arm, its tool and one parked box,
and rows are written by `sim` itself: what identification finds is the row that simulation uses, not that of a model
which merely resembles it. The parked box sleeps; it costs a sixth of the time that the bare arm would take.

Rows are worlds of one `mujoco.batch.Batch`: a finite-difference Jacobian is a batch of rows. Per world and step on one
core it takes 7.2 µs, `mujoco.rollout` 7.5 µs; the batch also stops every 10 ms for the Stribeck friction at no cost.
"""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
from scipy.signal import lfilter

from assets.arms import Arm
from assets.asset import Body, Geom, box_inertia
from assets.errors import InputError
from sim.cell import SUCTION_PERIOD
from sim.cell_knobs import CELL_KNOBS
from sim.knobs import Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.scene import TIMESTEP, CompiledScene, Light, Scene, compile_scene
from sim.worlds import Worlds
from sim2real.recording import Recording

KNOBS = Knobs(CELL_KNOBS, {"joint": 6})
RATE = 1.0 / TIMESTEP  # [Hz] of recordings: a row for every physics step
CHUNK = round(SUCTION_PERIOD * RATE)  # steps after which sim's cell looks at speed-dependent friction
HEIGHT = 0.8  # [m] of the arm's base over the floor: plans stay above the floor
SETTLE = 0.1  # [s] at the start of a run in which the arm, put there at rest, leans into its friction: not compared


@dataclasses.dataclass(frozen=True)
class _ParkedBox:
    """The goods of a scene with nothing to handle: a scene has at least one loose thing, this one sleeps far away."""

    bodies: tuple[Body, ...] = (
        Body(
            name="parked",
            mass=1.0,
            inertia=box_inertia((0.1, 0.1, 0.1), 1.0),
            free=True,
            geoms=(Geom("parked", "box", (0.05, 0.05, 0.05), surface="cardboard"),),
        ),
    )
    grips: tuple[str, ...] = ("parked",)

    def prepare(self, spec: mujoco.MjSpec) -> None:
        """Add nothing."""

    def write(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write nothing: the box has no knobs."""

    def write_bounds(self, worlds: Worlds, rows: Rows, ids: np.ndarray) -> None:
        """Write nothing: no meshes."""

    def grip_mass(self, rows: Rows) -> np.ndarray:
        """Return the box's mass [kg], (n, 1)."""
        return np.ones((len(rows), 1))


def arm_scene(arm: Arm, tool: Body) -> CompiledScene:
    """Compile a cell that holds the arm with its tool and nothing to touch."""
    lamp = Light("lamp", (0.0, 0.0, 3.0))
    return compile_scene(Scene(arm, (0.0, 0.0, HEIGHT), tool, (), _ParkedBox(), (), (lamp,)))


@dataclasses.dataclass(frozen=True)
class Run:
    """A stretch of motion that began at rest.

    Attributes:
        name: for plots and messages.
        sent: the joint target in force at each row (k, 6) [rad], at `RATE`.
        position: joint positions that the controller reported (k, 6) [rad].
        torque: joint torques that it reported (k, 6) [N m].
    """

    name: str
    sent: np.ndarray
    position: np.ndarray
    torque: np.ndarray

    @property
    def start(self) -> np.ndarray:
        """Return where the arm rested (6,) [rad]: the mean of what was reported before the target first moved."""
        moved = np.flatnonzero((self.sent != self.sent[0]).any(1))
        rest = int(np.clip(moved[0] if len(moved) else 1, 1, round(SETTLE * RATE)))
        return self.position[:rest].mean(0)


def run_of(recording: Recording, name: str = "run") -> Run:
    """Return what identification compares of a recording, from the first row that had a target in force.

    Raises:
        InputError: the rate is not that of the physics, or nothing was sent.
    """
    if abs(recording.rate - RATE) > 0.5:
        raise InputError(f"{name}: recorded at {recording.rate:g} Hz; identification wants {RATE:g} Hz")
    known = np.isfinite(recording.sent).all(1)
    if not known.any():
        raise InputError(f"{name}: the recording holds no sent targets, so nothing says what the arm was told to do")
    first = int(np.argmax(known))
    return Run(name, recording.sent[first:], recording.position[first:], recording.torque[first:])


@dataclasses.dataclass(frozen=True)
class Motion:
    """What candidate rows did in a run: positions [rad] and actuator torques [N m], (n, k, 6) each."""

    position: np.ndarray
    torque: np.ndarray


class ArmModel:
    """Plays the commands of runs through simulated arms, a candidate row in each."""

    def __init__(self, arm: Arm, tool: Body, nworld: int = 64, nthread: int = 0):
        """Make `nworld` worlds; `nthread` 0 takes all cores. More rows than worlds are played one lot after another."""
        self.arm = arm
        self.scene = arm_scene(arm, tool)
        self.worlds = MujocoWorlds(self.scene, nworld, nthread)
        self.steps = 0  # physics steps taken so far, over all worlds

    def play(self, rows: Rows, run: Run) -> Motion:
        """Return what each of `rows` (n) does with the commands of `run`."""
        lots = [
            np.arange(at, min(at + self.worlds.nworld, len(rows))) for at in range(0, len(rows), self.worlds.nworld)
        ]
        parts = [self._play_lot(rows.take(lot), run) for lot in lots]
        if len(parts) == 1:
            return parts[0]
        return Motion(np.concatenate([p.position for p in parts]), np.concatenate([p.torque for p in parts]))

    def _play_lot(self, rows: Rows, run: Run) -> Motion:
        ids = np.arange(len(rows))
        commands = servo_commands(run.sent, rows["arm.latency"], rows["arm.servo_filter"])
        worlds, scene = self.worlds, self.scene
        worlds.apply(rows, ids)
        worlds.reset(ids)
        worlds.qpos[np.ix_(ids, scene.arm_qpos)] = run.start
        record = ("qpos", "qfrc_actuator")
        self.steps += len(rows) * len(run.sent)
        dofs = np.ix_(ids, scene.arm_dofs)
        coulomb, stribeck = worlds.field("dof_frictionloss")[dofs].copy(), rows["arm.stribeck"]
        chunk = CHUNK if stribeck.any() else len(run.sent)
        position, torque = np.empty(commands.shape), np.empty(commands.shape)
        for first in range(0, len(run.sent), chunk):
            part = slice(first, min(first + chunk, len(run.sent)))
            if stribeck.any():
                # As `sim.cell` does it: friction by the speed at the beginning of every 10 ms.
                fast = worlds.qvel[dofs] / rows["arm.stribeck_velocity"][:, None]
                worlds.field("dof_frictionloss")[dofs] = coulomb * (1.0 + stribeck * np.exp(-fast * fast))
            out = worlds.batch.rollout(part.stop - first, commands[:, part], record=record, ids=ids)
            position[:, part] = out["qpos"][..., scene.arm_qpos]
            torque[:, part] = out["qfrc_actuator"][..., scene.arm_dofs]
        return Motion(position, torque)


def servo_commands(sent: np.ndarray, latency: np.ndarray, servo_filter: np.ndarray) -> np.ndarray:
    """Return what the servos see in each step (n, k, 6) [rad] of the targets `sent` (k, 6).

    The target in force at a row comes `latency` (n,) [s] later, between rows on the straight line through them, then
    through a first-order lag with time constant `servo_filter` (n,) [s]. Before the first row the first target held.
    """
    at = np.clip(np.arange(len(sent))[None, :] - latency[:, None] * RATE, 0.0, None)
    before = np.floor(at).astype(np.int64)
    share = (at - before)[..., None]
    late = sent[before] * (1.0 - share) + sent[np.minimum(before + 1, len(sent) - 1)] * share
    keeps = np.exp(-TIMESTEP / np.maximum(servo_filter, 1e-9))
    for keep in np.unique(keeps):
        # Rows of a Jacobian mostly share one time constant: they are filtered in one go.
        alike = keeps == keep
        rest = keep * late[alike, :1]  # the filter has rested at the first target
        late[alike] = lfilter([1.0 - keep], [1.0, -keep], late[alike], axis=1, zi=rest)[0]
    return late
