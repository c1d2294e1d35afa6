"""What the tests of the tote cell's physics share: a small cell compiled once, rows for it, and loops that run it."""

from __future__ import annotations

import functools

import numpy as np

import sim  # noqa: F401  before mujoco: it chooses what to render with
from assets.combi_tool import LENGTH, PAD_HEIGHT, PAD_REACH, STROKE, combi_cups
from assets.kinematics import Kinematics
from sim.cell import Cell
from sim.knobs import Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.rotations import rotate
from sim.scene import CompiledScene, compile_scene
from sim.totes import Totes
from tasks.totes.cell import TABLE_AT, ToteLayout, tote_scene
from tasks.totes.variants import tote_knobs

SLOTS = 4
LAYOUT = ToteLayout()
GOODS = Totes(SLOTS)
TABLE = LAYOUT.station(TABLE_AT, LAYOUT.table_height)  # [m] middle of its top


@functools.cache
def scene() -> CompiledScene:
    """Return the compiled cell with four part slots."""
    return compile_scene(tote_scene(LAYOUT, SLOTS))


@functools.cache
def knobs() -> Knobs:
    """Return its knobs."""
    return tote_knobs(SLOTS)


def rows_of(n: int = 1, **columns: object) -> Rows:
    """Return nominal rows; `columns` (dots as double underscores) are broadcast, their first axis is the row."""
    given = {name.replace("__", "."): np.asarray(value, float) for name, value in columns.items()}
    shaped = {k: np.broadcast_to(v, (n, *knobs().shape(k))).copy() for k, v in given.items()}
    return Rows(knobs(), shaped, 0, np.arange(n))


def cell_of(rows: Rows) -> Cell:
    """Return a cell with a world for each row, at home, everything loose parked, derived arrays current."""
    cell = Cell(MujocoWorlds(scene(), len(rows), nthread=1), combi_cups())
    ids = every(cell)
    cell.apply(rows, ids)
    cell.worlds.forward(ids)
    return cell


def every(cell: Cell) -> np.ndarray:
    """Return all world indices."""
    return np.arange(cell.worlds.nworld)


def put(
    cell: Cell, slot: int | np.ndarray, position: object, turn: object = 0.0, worlds: np.ndarray | None = None
) -> None:
    """Set one loose thing in each of the worlds (all by default); position [m], turn (a heading or a quaternion)."""
    ids = every(cell) if worlds is None else np.asarray(worlds)
    heading = np.asarray(turn, float)
    shape = (len(ids), 4) if heading.shape[-1:] == (4,) else (len(ids),)
    cell.put(
        np.broadcast_to(slot, len(ids)),
        np.broadcast_to(np.asarray(position, float), (len(ids), 3)),
        np.broadcast_to(heading, shape),
        ids,
    )


def run(
    cell: Cell, periods: int, suction: bool = False, opening: float = STROKE, joints: np.ndarray | None = None
) -> None:
    """Hold the arm at `joints` (home by default) in all worlds."""
    ids = every(cell)
    target = np.broadcast_to(cell.home if joints is None else joints, (len(ids), 6))
    for _ in range(periods):
        cell.advance(target, np.full(len(ids), suction), ids, np.full(len(ids), opening))


def tips(cell: Cell) -> np.ndarray:
    """Return the points between the fingertips (n, 3) [m]."""
    site = cell.scene.model.site("fingertips").id
    return cell.worlds.site_xpos[:, site].copy()


def in_body(position: np.ndarray, quaternion: np.ndarray, point: object) -> np.ndarray:
    """Return points of bodies' frames in the world."""
    return position + rotate(quaternion, np.broadcast_to(np.asarray(point, float), position.shape))


def pad_down(lips: object = (0.95, 0.0, 1.0)) -> np.ndarray:
    """Return joints (6,) [rad] that lay the tool flat, away from the arm, the pad looking down from `lips` [m]."""
    out, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])
    flange = np.asarray(lips, float) - PAD_REACH * down - (LENGTH - PAD_HEIGHT) * out - [0.0, 0.0, LAYOUT.base_height]
    axes = np.stack([np.cross(down, out), down, out], axis=1)
    home = np.array(LAYOUT.arm.home)
    found = Kinematics(LAYOUT.arm).inverse(flange[None], axes[None], home[None])[0]
    return found[np.nanargmin(np.abs(found - home).sum(1))]


def pose_arm(cell: Cell, joints: np.ndarray) -> None:
    """Set the arms of all worlds to `joints` (6,) [rad], at rest."""
    ids = every(cell)
    cell.worlds.qpos[np.ix_(ids, cell.scene.arm_qpos)] = joints
    cell.worlds.ctrl[:, :6] = joints
    cell.servo.reset(np.broadcast_to(joints, (len(ids), 6)), ids)
    cell.worlds.forward(ids)
