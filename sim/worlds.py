"""The engine protocol: many worlds of one compiled scene, a row each. Suction, tasks and tools see only this."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from sim.knobs import Rows
from sim.scene import CompiledScene


@dataclasses.dataclass(frozen=True)
class WorldState:
    """The complete physical state of some worlds: what `Worlds.save` returns and `Worlds.restore` takes.

    Attributes:
        state: (n, nstate) integration state.
        fields: per-world model arrays that change while a world runs (weld poses, belt speeds).
    """

    state: np.ndarray
    fields: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Image:
    """What a camera saw in n worlds."""

    rgb: np.ndarray  # (n, h, w, 3) uint8
    depth: np.ndarray | None = None  # (n, h, w) [m], float32
    segmentation: np.ndarray | None = None  # (n, h, w) geom id, -1 for nothing, int32


class Worlds(Protocol):
    """Parallel worlds of one scene.

    State arrays are live: reading gives the present, writing (qpos, qvel, eq_active, mocap_*) acts at the next step.
    `ids` always means an ascending array of world indices.
    """

    scene: CompiledScene
    nworld: int
    qpos: np.ndarray  # (nworld, nq)
    qvel: np.ndarray  # (nworld, nv)
    ctrl: np.ndarray  # (nworld, nu) the servos' targets
    mocap_pos: np.ndarray  # (nworld, moved, 3) [m] where the scene's `moved` bodies are; part of the state
    mocap_quat: np.ndarray  # (nworld, moved, 4) wxyz
    eq_active: np.ndarray  # (nworld, neq)
    xpos: np.ndarray  # (nworld, nbody, 3) [m]
    xquat: np.ndarray  # (nworld, nbody, 4) wxyz
    joint_anchor: np.ndarray  # (nworld, njnt, 3) [m] a point on each joint's axis
    joint_axis: np.ndarray  # (nworld, njnt, 3) its direction
    joint_torque: np.ndarray  # (nworld, nv) [N m], from the actuators
    servo_torque: np.ndarray  # (nworld, nu) [N m, N] what each servo gives; gravity is compensated beside it
    site_xpos: np.ndarray  # (nworld, nsite, 3) [m]

    def field(self, name: str) -> np.ndarray:
        """Return a model array with a leading world axis, live and writable."""
        ...

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Write knob rows into the worlds `ids`; a reset has to follow."""
        ...

    def reset(self, ids: np.ndarray) -> None:
        """Put worlds into the template's initial state, spare slots asleep."""
        ...

    def forward(self, ids: np.ndarray) -> None:
        """Make derived arrays current after writing the state."""
        ...

    def step(self, control: np.ndarray, ids: np.ndarray, measured: int | None = None) -> np.ndarray:
        """Advance by `control` (n, substeps, nu); return the load's mean wrench on the cups (n, 6) in the end.

        The mean is that of the last `measured` substeps, of all of them by default.

        Force [N], then torque [N m], about the lip plane's centre in the lips' axes: a hanging load pulls along +z.
        """
        ...

    def wake(self, ids: np.ndarray) -> None:
        """Wake every sleeping body of the worlds `ids`; gravity changes do not wake on their own."""
        ...

    def allow_sleep(self, allowed: bool, ids: np.ndarray) -> None:
        """Let resting bodies sleep, or keep all awake: slow creep is only seen by a stack that may not sleep."""
        ...

    def broken(self, ids: np.ndarray) -> list[str | None]:
        """Say for each world why it can no longer be trusted (not finite, engine error), or None."""
        ...

    def save(self, ids: np.ndarray) -> WorldState:
        """Return the complete state; the worlds go on exactly as they would after `restore`."""
        ...

    def restore(self, state: WorldState, ids: np.ndarray) -> None:
        """Put worlds into a saved state, bit for bit."""
        ...
