"""Everything a run needs, put together: scene, worlds, cell, task and cameras, from one setting."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import mujoco
import numpy as np

from assets.errors import InputError, unknown
from sim.cell import Cell
from sim.knobs import Knobs, Rows
from sim.mujoco_worlds import MujocoWorlds
from sim.rendering import Renderer
from sim.scene import CompiledScene, compile_scene
from sim.variations import Variation
from tasks.families import family
from tasks.task import Task, TaskFamily, Verdict

CAMERAS = ("cell", "wrist")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run simulates, apart from its rows.

    Attributes:
        task: name of the task family.
        layout: arm and cell, of the family's `layout` class; its default one if not given.
        slots: greatest number of loose goods (cartons, parts); the family's own number if not given.
        cameras: names of the cameras to render, of "cell" and "wrist".
        image_size: height and width of the pictures [px].
    """

    task: str = "palletizing"
    layout: Any = None
    slots: int = None  # pyright: ignore[reportAssignmentType] - filled in below
    cameras: tuple[str, ...] = ()
    image_size: int = 128

    def __post_init__(self) -> None:
        if self.layout is None:
            object.__setattr__(self, "layout", self.family.layout())
        if self.slots is None:
            object.__setattr__(self, "slots", self.family.slots)
        if not isinstance(self.layout, self.family.layout):
            raise InputError(f"the task {self.task} wants a layout of its own, got {self.layout}")
        for camera in self.cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        if not 1 <= self.slots <= 64:
            raise InputError(f"slots = {self.slots} must lie in 1 … 64")
        if not 16 <= self.image_size <= 1024 or self.image_size % 2:
            raise InputError(f"image_size = {self.image_size} must be an even number in 16 … 1024")

    @property
    def family(self) -> TaskFamily:
        """The task family."""
        return family(self.task)

    @property
    def knobs(self) -> Knobs:
        """The knobs of this scene."""
        return self.family.knobs(self.slots)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, e.g. for JSON."""
        return dataclasses.asdict(self) | {"cameras": list(self.cameras)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Settings:
        """Return what `to_dict` wrote down."""
        layout = family(values["task"]).layout(**values["layout"])
        return Settings(**values | {"layout": layout, "cameras": tuple(values["cameras"])})


@functools.lru_cache(maxsize=4)
def _compiled(task: str, layout: Any, slots: int) -> CompiledScene:
    return compile_scene(family(task).scene(layout, slots))


class Simulation:
    """A task in `nworld` worlds, ready to be given rows."""

    def __init__(self, settings: Settings, nworld: int, nthread: int = 0, sleeping: bool = True):
        """Build it; `nthread` 0 takes all cores, `sleeping=False` keeps settled goods awake (for measuring)."""
        if nworld < 1:
            raise InputError(f"worlds = {nworld} must be at least 1")
        self.settings = settings
        self.scene = _compiled(settings.task, settings.layout, settings.slots)
        self.worlds = MujocoWorlds(self.scene, nworld, nthread, sleeping)
        self.cell = Cell(self.worlds, settings.family.cups())
        self.task: Task = settings.family.make(self.cell, settings.layout)
        size = settings.image_size
        self._renderer = Renderer(self.worlds, size, size) if settings.cameras else None

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`, which are spent: they have to be reset."""
        return self.task.judge(ids)

    def render(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return the pictures (n, size, size, 3) uint8 of the settings' cameras, by name."""
        if self._renderer is None:
            return {}
        return {name: image.rgb for name, image in self._renderer.render(self.settings.cameras, ids).items()}

    def full_state(self, ids: np.ndarray) -> np.ndarray:
        """Return positions and velocities of everything (n, nq + nv): what a replay compares."""
        return np.concatenate([self.worlds.qpos[ids], self.worlds.qvel[ids]], axis=1)

    def save(self, ids: np.ndarray) -> Any:
        """Return the complete state of the worlds `ids`; what a policy remembers is the policy's business."""
        return self.task.save(ids)

    def restore(self, state: Any, ids: np.ndarray) -> None:
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
    """Where rows come from: a table of prepared rows, or a variation that is drawn and prepared as rows are needed.

    With `stage`, the rows run only this stage of the task.
    """

    settings: Settings
    variation: Variation | None = None
    seed: int = 0
    table: Rows | None = None
    stage: str | None = None

    def rows(self, numbers: np.ndarray) -> Rows:
        """Return rows ready to run, one for each number; a table repeats from its start."""
        task = self.settings.family
        if self.table is not None:
            return task.only_stage(self.table.take(np.asarray(numbers) % len(self.table)), self.stage)
        assert self.variation is not None
        drawn = task.only_stage(self.variation.sample(self.seed, numbers), self.stage)
        return task.prepare(drawn, self.settings.layout, self.settings.slots, first_only=True)
