"""Everything a palletizing run needs, put together: scene, worlds, cell, task, judge and cameras, from one setting."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import mujoco
import numpy as np

from assets.errors import InputError, unknown
from assets.gripper import Cups
from sim.cell import Cell
from sim.knobs import Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.rendering import Renderer
from sim.scene import CompiledScene, compile_scene
from sim.variations import Variation
from tasks.palletizing.cell import Layout, palletizing_scene
from tasks.palletizing.judge import Judge
from tasks.palletizing.task import Palletizing, TaskState
from tasks.palletizing.variants import Planner, palletizing_knobs, plan_rows

CAMERAS = ("cell", "wrist")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run simulates, apart from its rows.

    Attributes:
        layout: arm and cell.
        slots: greatest number of cartons on a pallet.
        cameras: names of the cameras to render, of "cell" and "wrist".
        image_size: height and width of the pictures [px].
    """

    layout: Layout = dataclasses.field(default_factory=Layout)
    slots: int = 24
    cameras: tuple[str, ...] = ()
    image_size: int = 128

    def __post_init__(self) -> None:
        for camera in self.cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        if not 1 <= self.slots <= 64:
            raise InputError(f"slots = {self.slots} must lie in 1 … 64")
        if not 16 <= self.image_size <= 1024 or self.image_size % 2:
            raise InputError(f"image_size = {self.image_size} must be an even number in 16 … 1024")

    @property
    def knobs(self) -> Knobs:
        """The knobs of this scene."""
        return palletizing_knobs(self.slots)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, e.g. for JSON."""
        return dataclasses.asdict(self) | {"cameras": list(self.cameras)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Settings:
        """Return what `to_dict` wrote down."""
        return Settings(Layout(**values["layout"]), values["slots"], tuple(values["cameras"]), values["image_size"])


@functools.lru_cache(maxsize=4)
def _compiled(layout: Layout, slots: int) -> CompiledScene:
    return compile_scene(palletizing_scene(layout, slots))


class Simulation:
    """Palletizing in `nworld` worlds, ready to be given rows."""

    def __init__(self, settings: Settings, nworld: int, nthread: int = 0, sleeping: bool = True):
        """Build it; `nthread` 0 takes all cores, `sleeping=False` keeps settled cartons awake (for measuring)."""
        if nworld < 1:
            raise InputError(f"worlds = {nworld} must be at least 1")
        self.settings = settings
        self.scene = _compiled(settings.layout, settings.slots)
        self.worlds = MujocoWorlds(self.scene, nworld, nthread, sleeping)
        self.cell = Cell(self.worlds, Cups())
        self.task = Palletizing(self.cell, settings.layout)
        self.judge = Judge(self.task)
        size = settings.image_size
        self._renderer = Renderer(self.worlds, size, size) if settings.cameras else None

    def render(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the pictures (n, size, size, 3) uint8 of the settings' cameras, by name."""
        if self._renderer is None:
            return {}
        return {name: image.rgb for name, image in self._renderer.render(self.settings.cameras, ids).items()}

    def full_state(self, ids: np.ndarray) -> np.ndarray:
        """Return positions and velocities of everything (n, nq + nv): what a replay compares."""
        return np.concatenate([self.worlds.qpos[ids], self.worlds.qvel[ids]], axis=1)

    def save(self, ids: np.ndarray) -> TaskState:
        """Return the complete state of the worlds `ids`; what a policy remembers is the policy's business."""
        return self.task.save(ids)

    def restore(self, state: TaskState, ids: np.ndarray) -> None:
        """Put worlds that run the same rows back into a saved state, bit for bit."""
        self.task.restore(state, ids)

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()


def versions() -> dict[str, str]:
    """Return the versions that decide what comes out, e.g. for an episode's metadata."""
    from importlib.metadata import version

    return {"palletlab": version("palletlab"), "mujoco": mujoco.__version__, "numpy": np.__version__}


@dataclasses.dataclass(frozen=True)
class Source:
    """Where rows come from: a table of planned rows, or a variation that is drawn and planned as rows are needed."""

    settings: Settings
    variation: Variation | None = None
    seed: int = 0
    table: Rows | None = None

    def rows(self, numbers: np.ndarray) -> Rows:
        """Return the planned rows of these orders' first pallets; a table repeats from its start."""
        if self.table is not None:
            return self.table.take(np.asarray(numbers) % len(self.table))
        assert self.variation is not None
        drawn = self.variation.sample(self.seed, numbers)
        return plan_rows(drawn, Planner(self.settings.layout), self.settings.slots, first_only=True)
