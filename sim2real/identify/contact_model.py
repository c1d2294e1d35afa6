"""Our model of the contact experiments: sim's own scene, many candidate rows at once.

A world holds the arm, the pallet where it stands in the cell, two cartons, and a plate far away for what the operator
tilts and drops. What the operator holds down is a carton too heavy to move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import mujoco
import numpy as np

from assets.arms import Arm
from assets.asset import Body, Geom
from assets.conveyor import conveyor
from assets.gripper import Cups, vacuum_gripper
from assets.kinematics import Kinematics
from assets.pallet import epal1
from assets.pedestal import pedestal
from sim.cartons import CARTON_KNOBS, Cartons
from sim.cell import GRAVITY, SUCTION_PERIOD, Cell
from sim.cell_knobs import CELL_KNOBS
from sim.knobs import Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.rotations import rotate
from sim.scene import TIMESTEP, Light, Placed, Scene, compile_scene
from sim2real.identify.contact_plan import WARES, Placement
from sim2real.identify.model import servo_commands
from sim2real.sidechannel import Places

HANDLED, HELD_DOWN = 0, 1  # slots
IMMOVABLE = 5000.0  # [kg]
PLATE = (0.0, 6.0, 0.5)  # [m] where the plate is
PLATE_HALF = (0.9, 0.7, 0.05)
CHUNK = round(SUCTION_PERIOD / TIMESTEP)
KNOBS = Knobs(CARTON_KNOBS + CELL_KNOBS, {"slot": 2, "joint": 6})
Columns = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a world begins with.

    Attributes:
        placements: cartons, the one that is handled first.
        mass: of the handled carton as it was weighed [kg].
        sent: joint targets that were sent (k, 6) [rad], at the physics' rate.
        vacuum: seconds for which the cups draw before the motion begins; 0 for a motion without vacuum.
    """

    placements: tuple[Placement, ...]
    mass: float
    sent: np.ndarray
    vacuum: float = 0.0


@dataclasses.dataclass(frozen=True)
class Felt:
    """What happened in the worlds during the motion, every 10 ms.

    Attributes:
        force: on the tool's tip [N, N m], base axes, (n, k, 6).
        joints: (n, k, 6) [rad].
        broken_by: why each hold broke, a number of `sim.suction.BREAK_REASONS`, (n,).
    """

    force: np.ndarray
    joints: np.ndarray
    broken_by: np.ndarray


class ContactModel:
    """Worlds for the contact experiments."""

    def __init__(self, arm: Arm, places: Places, nworld: int, nthread: int = 0):
        """Make `nworld` worlds of a cell laid out as `places` says."""
        quarter = places.pallet_yaw / 2
        plate = Body("plate", geoms=(Geom("plate", "box", PLATE_HALF, (0, 0, -PLATE_HALF[2]), surface="wood"),))
        scene = Scene(
            arm,
            (0.0, 0.0, places.base_height),
            vacuum_gripper(),
            (
                Placed(pedestal(places.base_height)),
                Placed(epal1(), places.pallet, (float(np.cos(quarter)), 0.0, 0.0, float(np.sin(quarter)))),
                Placed(conveyor(), (*places.stop, places.belt_height)),
                Placed(plate, PLATE),
            ),
            Cartons(2),
            (),
            (Light("lamp", (0.0, 0.0, 4.0)),),
        )
        compiled = compile_scene(scene)
        self.kinematics = Kinematics(arm)
        self.worlds = MujocoWorlds(compiled, nworld, nthread)
        self.cell = Cell(self.worlds, Cups())
        self._plate = int(compiled.geoms(["plate"])[0])
        self._body = compiled.slot_bodies[HANDLED]

    def rows(self, count: int, columns: Columns) -> Rows:
        """Return rows with these knobs: one value of the knob's shape for all, or (count, *shape); else nominal."""
        made = {name: np.broadcast_to(np.asarray(v), (count, *KNOBS.shape(name))) for name, v in columns.items()}
        return Rows(KNOBS, {name: value.copy() for name, value in made.items()}, 0, np.arange(count))

    def run(self, setups: Sequence[Setup], columns: Columns) -> Felt:
        """Play the motions of `setups` (n), each with its row of `columns`."""
        n = len(setups)
        ids = np.arange(n)
        size, mass = np.empty((n, 2, 3)), np.full((n, 2), 5.0)
        for k, setup in enumerate(setups):
            for slot in (HANDLED, HELD_DOWN):
                here = setup.placements[slot] if slot < len(setup.placements) else None
                size[k, slot] = WARES[here.carton].size if here else (0.3, 0.3, 0.3)
                if here:
                    mass[k, slot] = IMMOVABLE if here.clamped else setup.mass
        rows = self.rows(n, {**columns, "carton.size": size, "carton.mass": mass})
        self.cell.apply(rows, ids)
        for k, setup in enumerate(setups):
            for slot, here in enumerate(setup.placements):
                self.cell.put(np.array([slot]), np.array([here.position]), np.array([here.yaw]), ids[k : k + 1])
        first = np.stack([setup.sent[0] for setup in setups])
        self.worlds.qpos[np.ix_(ids, self.worlds.scene.arm_qpos)] = first
        self.worlds.forward(ids)
        vacuum = np.array([setup.vacuum > 0 for setup in setups])
        settle = max(0.4, *(setup.vacuum for setup in setups))
        lead = round(settle / SUCTION_PERIOD) * CHUNK
        longest = max(len(setup.sent) for setup in setups)
        longest += -longest % CHUNK
        commands = np.empty((n, lead + longest, 6))
        for k, setup in enumerate(setups):
            tail = np.repeat(setup.sent[-1:], longest - len(setup.sent), axis=0)
            sent = np.concatenate([np.repeat(setup.sent[:1], lead, axis=0), setup.sent, tail])
            one = slice(k, k + 1)
            commands[k] = servo_commands(sent, rows["arm.latency"][one], rows["arm.servo_filter"][one])[0]
        force, joints = np.empty((2, n, longest // CHUNK, 6))
        suction, broken_by = self.cell.suction, np.zeros(n, np.int64)
        for at in range(0, lead + longest, CHUNK):
            suction.state.on[ids] = vacuum
            wrench = self.worlds.step(commands[:, at : at + CHUNK], ids)
            suction.update(wrench, ids)
            broken_by = np.where(broken_by == 0, suction.state.broken_by[ids], broken_by)
            if at >= lead:
                row = (at - lead) // CHUNK
                _, turn = suction.lip_pose(ids)
                force[:, row, :3], force[:, row, 3:] = rotate(turn, wrench[:, :3]), rotate(turn, wrench[:, 3:])
                joints[:, row] = self.worlds.qpos[np.ix_(ids, self.worlds.scene.arm_qpos)]
        return Felt(force, joints, broken_by)

    def tilt(
        self,
        size: Sequence[float],
        friction: np.ndarray,
        direction: np.ndarray,
        start: np.ndarray,
        rate: float,
        seconds: float,
        columns: Columns,
    ) -> np.ndarray:
        """Tilt the plate from `start` (n,) [rad] on, at `rate` [rad/s]; return how far the carton slid (n, k) [m].

        A row every 10 ms; `friction` (n,) is that between carton and plate, `direction` (n,) [rad] where downhill is.
        """
        n = len(friction)
        ids = self._on_plate(size, friction, columns)
        hold = self.cell.hold(ids, CHUNK)
        along = np.stack([np.cos(direction), np.sin(direction)], axis=1)
        gravity = self.worlds.field("opt.gravity")
        position = self.worlds.xpos[ids, self._body, :2]
        self.worlds.allow_sleep(False, ids)  # gravity that turns wakes nothing
        self._lean(gravity, ids, start, along)
        for _ in range(20):
            self.worlds.step(hold, ids)
        begin = self.worlds.xpos[ids, self._body, :2].copy()
        slid = np.empty((n, round(seconds / SUCTION_PERIOD)))
        for k in range(slid.shape[1]):
            self._lean(gravity, ids, start + rate * (k + 0.5) * SUCTION_PERIOD, along)
            self.worlds.step(hold, ids)
            position = self.worlds.xpos[ids, self._body, :2]
            slid[:, k] = ((position - begin) * along).sum(1)
        return slid

    def drop(self, size: Sequence[float], height: np.ndarray, seconds: float, columns: Columns) -> np.ndarray:
        """Drop a carton flat from `height` (n,) [m]; return its height over where it rests (n, k) [m], every step."""
        n = len(height)
        ids = self._on_plate(size, np.full(n, 0.5), columns)
        hold = self.cell.hold(ids, 200)
        self.worlds.step(hold, ids)
        rest = self.worlds.xpos[ids, self._body, 2].copy()
        middle = np.array([(PLATE[0], PLATE[1], PLATE[2] + size[2] / 2 + h) for h in height])
        self.cell.put(np.full(n, HANDLED), middle, np.zeros(n), ids)
        self.worlds.forward(ids)
        steps = round(seconds / TIMESTEP)
        out = self.worlds.batch.rollout(
            steps, self.cell.hold(ids, steps), control_spec=_CONTROL, record=("qpos",), ids=ids
        )
        at = self.worlds.scene.slot_qpos[HANDLED] + 2
        return out["qpos"][:, :, at] - rest[:, None]

    def _on_plate(self, size: Sequence[float], friction: np.ndarray, columns: Columns) -> np.ndarray:
        """Start worlds with the handled carton on the plate."""
        n = len(friction)
        ids = np.arange(n)
        sizes = np.broadcast_to(np.array([size, (0.3, 0.3, 0.3)]), (n, 2, 3))
        self.cell.apply(self.rows(n, {**columns, "carton.size": sizes}), ids)
        self.worlds.field("geom_friction")[ids, self._plate, 0] = friction
        middle = np.broadcast_to((PLATE[0], PLATE[1], PLATE[2] + size[2] / 2), (n, 3))
        self.cell.put(np.full(n, HANDLED), middle, np.zeros(n), ids)
        self.worlds.forward(ids)
        return ids

    @staticmethod
    def _lean(gravity: np.ndarray, ids: np.ndarray, angle: np.ndarray, along: np.ndarray) -> None:
        gravity[ids, :2] = GRAVITY * np.sin(angle)[:, None] * along
        gravity[ids, 2] = -GRAVITY * np.cos(angle)


_CONTROL = int(mujoco.mjtState.mjSTATE_CTRL)
