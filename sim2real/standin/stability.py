"""The stand-in's test of a finished load: its pallet is tilted by 10 degrees, then braked with 0.5 g.

As EUMOS 40509 asks for: the acceleration is reached within 50 ms and held for 0.3 s. What the operator reads off is how
far each carton went on the way and where it ended. Both tests begin with the load as it stands in the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from sim2real.standin.goods import GRAVITY

TILT, TILT_TIME = np.deg2rad(10.0), (0.5, 5.0)  # [rad]; [s] to get there, to stay
PULSE, PULSE_TIME, REST = 0.5, (0.05, 0.3, 0.05), 1.0  # [g]; [s] up, hold, down; afterwards
LOOK = 0.01  # [s]
READING_NOISE = 0.0002  # [m] of the displacements that are read off
DRY = 3  # passes that keep dry friction from creeping, as the engine's own friction does

Seen = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def stability(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    qpos: np.ndarray,
    absent: np.ndarray,
    direction: float,
    seen: Seen,
    random: np.random.Generator,
) -> dict[str, Any]:
    """Test copies of a cell.

    Args:
        model, data: the cell's, to be spent.
        qpos: where each carton's position begins in `data.qpos`, (n,).
        absent: bodies of the cartons that are not in the cell.
        direction: in which the load is tilted and thrown [rad], in the world.
        seen: poses of the cartons as the cameras see them, from `data.qpos`.
        random: of what is read off.

    Returns:
        `before`: poses of the cartons; `tilt` and `pulse`: for each carton the greatest displacement on the way and
        the one at the end [m], how far it sank [m], and the poses at the end.
    """
    model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    model.opt.noslip_iterations = DRY
    model.body_gravcomp[absent] = 1.0  # they stay where they wait
    heading = np.array([np.cos(direction), np.sin(direction), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    ramp, hold = (round(t / LOOK) for t in TILT_TIME)
    angles = TILT * np.concatenate([np.linspace(0.0, 1.0, ramp), np.ones(hold)])
    tilted = [GRAVITY * (np.sin(a) * heading - np.cos(a) * up) for a in angles]
    rise, held, fall = (round(t / LOOK) for t in PULSE_TIME)
    level = np.concatenate(
        [np.linspace(0, 1, rise + 1)[1:], np.ones(held), np.linspace(1, 0, fall + 1)[1:], np.zeros(round(REST / LOOK))]
    )
    thrown = [GRAVITY * (PULSE * share * heading - up) for share in level]
    out: dict[str, Any] = {"before": _poses(seen, data.qpos)}
    for name, gravities in (("tilt", tilted), ("pulse", thrown)):
        out[name] = _shaken(model, data, qpos, gravities, seen, random)
    return out


def _shaken(
    model: mujoco.MjModel,
    start: mujoco.MjData,
    qpos: np.ndarray,
    gravities: list[np.ndarray],
    seen: Seen,
    random: np.random.Generator,
) -> dict[str, Any]:
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.ctrl[:], data.eq_active[:] = start.qpos, start.qvel, start.ctrl, start.eq_active
    at = qpos[:, None] + np.arange(3)
    first, greatest = data.qpos[at].copy(), np.zeros(len(qpos))
    moved = greatest
    for gravity in gravities:
        model.opt.gravity[:] = gravity
        mujoco.mj_step(model, data, round(LOOK / model.opt.timestep))
        moved = np.sqrt(((data.qpos[at] - first) ** 2).sum(1))
        greatest = np.maximum(greatest, moved)
    model.opt.gravity[:] = [0.0, 0.0, -GRAVITY]
    noise = np.abs(READING_NOISE * random.standard_normal(len(qpos)))
    return {
        "greatest": (greatest + noise).tolist(),
        "end": (moved + noise).tolist(),
        "sunk": (first[:, 2] - data.qpos[at][:, 2]).tolist(),
        "after": _poses(seen, data.qpos),
    }


def _poses(seen: Seen, qpos: np.ndarray) -> dict[str, Any]:
    position, quaternion = seen(qpos)
    return {"position": position.tolist(), "quaternion": quaternion.tolist()}
