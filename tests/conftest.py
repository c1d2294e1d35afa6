"""Shared fixtures: a small palletizing cell, compiled once, in which a test makes as many worlds as it needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import sim  # noqa: F401  before mujoco: it chooses what to render with
from assets.gripper import Cups
from sim.cartons import carton_size
from sim.cell import Cell
from sim.knobs import Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.scene import CompiledScene, compile_scene
from tasks.palletizing.cell import Layout, palletizing_scene
from tasks.palletizing.variants import palletizing_knobs

SLOTS = 4


@dataclasses.dataclass
class Lab:
    """Makes cells of one compiled scene, and does with them what many tests need."""

    layout: Layout
    scene: CompiledScene
    knobs: Knobs

    def rows(self, nworld: int = 1, **columns: object) -> Rows:
        """Return nominal rows; `columns` (dots as double underscores) are broadcast to each knob's shape."""
        given = {name.replace("__", "."): value for name, value in columns.items()}
        shaped = {
            name: np.broadcast_to(np.asarray(value, float), (nworld, *self.knobs.shape(name))).copy()
            for name, value in given.items()
        }
        return Rows(self.knobs, shaped, 0, np.arange(nworld))

    def cell(self, rows: Rows, nthread: int = 1) -> Cell:
        """Return a cell with a world for each row, at home, derived arrays current."""
        cell = Cell(MujocoWorlds(self.scene, len(rows), nthread), Cups())
        ids = np.arange(len(rows))
        cell.apply(rows, ids)
        cell.worlds.forward(ids)
        return cell

    def box(
        self, nworld: int = 1, mass: float = 4.0, size: tuple[float, ...] = (0.4, 0.3, 0.24), **more: object
    ) -> Rows:
        """Return rows in which every carton has this mass [kg] and size [m]."""
        return self.rows(nworld, carton__size=size, carton__mass=mass, **more)

    @staticmethod
    def home(cell: Cell) -> np.ndarray:
        """Return home as joint targets for all worlds, (n, 6)."""
        return np.tile(cell.home, (cell.worlds.nworld, 1))

    @staticmethod
    def put(cell: Cell, slot: int, position: tuple[float, ...], yaw: float = 0.0) -> None:
        """Set a carton's centre at `position` [m] in all worlds."""
        n = cell.worlds.nworld
        cell.put(np.full(n, slot), np.tile(position, (n, 1)), np.full(n, yaw), np.arange(n))

    @staticmethod
    def hang(
        cell: Cell,
        rows: Rows,
        slot: int = 0,
        gap: float = 0.0,
        along: float = 0.0,
        across: float = 0.0,
        turn: np.ndarray | None = None,
    ) -> None:
        """Set a carton under the lips in all worlds, `gap` below them, shifted along and across the pad [m]."""
        ids = np.arange(cell.worlds.nworld)
        lip, _ = cell.suction.lip_pose(ids)
        # At home the pad's length lies along the world's y.
        position = lip - carton_size(rows)[:, slot] / 2 * np.array([0.0, 0.0, 1.0]) + np.array([across, along, -gap])
        cell.put(np.full(len(ids), slot), position, np.full(len(ids), np.pi / 2), ids)
        if turn is not None:
            at = cell.scene.slot_qpos[slot] + 3
            cell.worlds.qpos[:, at : at + 4] = turn
        cell.worlds.forward(ids)

    def holding(self, rows: Rows, slot: int = 0, periods: int = 5, nthread: int = 1) -> Cell:
        """Return a cell that holds a carton at home since `periods` periods."""
        cell = self.cell(rows, nthread)
        self.hang(cell, rows, slot)
        self.run(cell, periods, suction=True)
        return cell

    def run(self, cell: Cell, periods: int, suction: bool = False, joints: np.ndarray | None = None) -> None:
        """Hold the arm at `joints` (home by default) in all worlds."""
        ids = np.arange(cell.worlds.nworld)
        for _ in range(periods):
            cell.advance(self.home(cell) if joints is None else joints, np.full(len(ids), suction), ids)


@pytest.fixture(scope="session")
def lab() -> Lab:
    """A compiled palletizing cell with four carton slots."""
    layout = Layout()
    return Lab(layout, compile_scene(palletizing_scene(layout, SLOTS)), palletizing_knobs(SLOTS))
