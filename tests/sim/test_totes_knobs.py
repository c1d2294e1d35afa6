"""Every knob of the tote cell acts: on the model's arrays, on suction, servo and latches, or on how the task begins."""

from __future__ import annotations

import functools

import mujoco
import numpy as np
import pytest
import tote_lab as lab

from sim.cell import Cell
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.totes import FOLDING, TOTE_KNOBS
from tasks.totes.task import ToteBreakdown
from tasks.totes.variants import CHECK, STACK, TASK_KNOBS

SHARED = (*CELL_KNOBS, *camera_knobs("cell"), *camera_knobs("wrist"))
# All arrays of a model but those that every world shares.
SHARED_ARRAYS = ("_", "mesh_", "tex_", "bvh_", "hfield_", "skin_", "names", "paths", "text_", "plugin")
PLACES = {"geom_size", "geom_pos", "geom_rbound", "geom_aabb"}
# All that a knob changes, of what `effects` lists; nothing else may notice. Where the work begins is "start".
ACTS_ON = {
    "tote.kind": {*PLACES, "body_mass", "body_ipos", "body_inertia", "mat_rgba", "stated", "task.kind", "task.tote",
                  "suction.half_size", "suction.middle", "start"},
    "tote.mass": {"body_mass", "body_inertia"},
    "tote.fold_first": {*PLACES, "body_pos", "body_mass", "body_ipos", "body_inertia", "suction.half_size",
                        "suction.middle", "task.fold_first"},
    "tote.color": {"mat_rgba"},
    "latch.upright_torque": {"latch.upright", "dof_frictionloss"},  # all walls begin upright
    "latch.flat_torque": {"latch.flat"},
    "latch.hinge_friction": {"latch.loose"},
    "pile.count": {"start", "task.empties"},
    "part.count": {"start", "task.count"},
    "part.family": {*PLACES, "geom_quat", "geom_dataid", "body_mass", "body_inertia", "mat_rgba", "task.parts"},
    "part.size": {*PLACES, "geom_dataid", "body_mass", "body_inertia", "task.parts"},
    "part.mass": {"body_mass", "body_inertia"},
    "part.friction": {"geom_friction"},
    "part.color": {"mat_rgba"},
    **{f"surface.{s}.friction": {"geom_friction"}
       for s in ("plastic_plastic", "plastic_metal", "plastic_mat", "pads", "floor")},
    "gripper.max_force": {"actuator_forcerange"},
    "contact.time_constant": {"geom_solref"},
    "contact.damping_ratio": {"geom_solref"},
    **{f"sensor.{s}_noise": {"task.noise"} for s in ("part_position", "part_rotation", "tote_position", "tote_yaw")},
    "tote.position": {"start"},
    "tote.yaw": {"start"},
    "pile.position": {"start", "task.pile_at"},
    "pile.yaw": {"start", "task.pile_yaw"},
    "decant.pour": {"task.pour"},
    "test.direction": {"task.test_direction"},
    "stage.first": {"start", "task.first", "task.count"},
    "stage.last": {"task.last"},
    "fill.position": {"start"},
    "fill.rotation": {"start"},
}  # fmt: skip
OWN = [k.name for k in (*TOTE_KNOBS, *TASK_KNOBS) if k.name != "check.left_over"]
EVERY = list(dict.fromkeys([*OWN, *(k.name for k in SHARED)]))


def other_value(name: str) -> np.ndarray:
    """Return a value that differs from the nominal one in every element."""
    nominal, knob = lab.knobs().nominal(name), lab.knobs()[name]
    upper, lower = (np.broadcast_to(np.asarray(b, float), nominal.shape) for b in (knob.upper, knob.lower))
    value = np.where(upper > nominal, upper, lower)
    return value / np.sqrt((value**2).sum(-1, keepdims=True)) if name == "fill.rotation" else value


@functools.cache
def fields() -> list[str]:
    """Return the names of the model's arrays."""
    model = lab.scene().model
    return [k for k in dir(model) if not k.startswith(SHARED_ARRAYS) and isinstance(getattr(model, k), np.ndarray)]


def effects(cell: Cell, task: ToteBreakdown, world: int) -> dict[str, np.ndarray]:
    """Return copies of what rows are written to, in one world."""
    model: mujoco.MjModel = cell.worlds.model(world)  # type: ignore[attr-defined]
    found = {name: getattr(model, name).copy() for name in fields()}
    for name in ("half_size", "middle", "max_force", "max_moment", "friction"):
        found[f"suction.{name}"] = getattr(cell.suction, name)[world].copy()
    for name in ("upright", "flat", "loose"):
        found[f"latch.{name}"] = getattr(cell.latches, f"_{name}")[world].copy()
    for name in ("kind", "tote", "count", "first", "last", "pour", "fold_first", "parts", "empties", "pile_at",
                 "pile_yaw", "test_direction", "noise"):  # fmt: skip
        found[f"task.{name}"] = np.array(getattr(task, name)[world])
    found["servo.latency"], found["stated"] = cell.servo.latency[world : world + 1].copy(), cell.stated_mass[world]
    found["servo.filter"] = cell.servo.filter[world : world + 1].copy()
    found["stribeck"], found["stribeck_velocity"] = cell.stribeck[world], cell.stribeck_velocity[world : world + 1]
    found["start"] = cell.worlds.qpos[world].copy()
    return found


@functools.cache
def changes() -> dict[str, set[str]]:
    """Return what each knob changes: a world for each, all written at once, against a nominal one."""
    n = len(EVERY) + 1
    columns: dict[str, np.ndarray] = {}
    for k, name in enumerate(EVERY):
        shape = lab.knobs().shape(name)
        columns[name] = np.broadcast_to(lab.knobs().nominal(name), (n, *shape)).copy()
        columns[name][k + 1] = other_value(name)
    columns["part.count"] = np.where(columns["part.count"] == 12, lab.SLOTS, 2.0)
    rows = lab.rows_of(n, **{name.replace(".", "__"): value for name, value in columns.items()})
    cell = lab.cell_of(rows)
    task = ToteBreakdown(cell, lab.LAYOUT)
    task.apply(rows, np.arange(n))
    nominal = effects(cell, task, 0)
    found = {}
    for k, name in enumerate(EVERY):
        values = effects(cell, task, k + 1)
        found[name] = {what for what, value in values.items() if (value != nominal[what]).any()}
    return found


# What the engine derives from masses, sizes and inertias.
DERIVED = {"body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "dof_length", "actuator_acc0",
           "geom_sameframe", "cam_pos0", "cam_poscom0", "light_poscom0"}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_every_knob_acts_where_it_should_and_nowhere_else(name: str) -> None:
    assert changes()[name] - DERIVED == ACTS_ON[name]


@pytest.mark.parametrize("name", [k.name for k in SHARED])
def test_the_cells_common_knobs_act_too(name: str) -> None:
    assert changes()[name]


def test_parts_overlooked_are_there_when_the_check_comes_first() -> None:
    rows = lab.rows_of(3, stage__first=CHECK, part__count=4, check__left_over=[0, 1, 3])
    cell = lab.cell_of(rows)
    task = ToteBreakdown(cell, lab.LAYOUT)
    task.apply(rows, np.arange(3))
    assert task.count.tolist() == [0, 1, 3]
    assert (cell.poses(np.arange(3))[0][:, : lab.SLOTS, 0] < 10).sum(1).tolist() == [0, 1, 3]


def test_the_tote_that_is_not_worked_on_is_out_of_sight() -> None:
    rows = lab.rows_of(4, tote__kind=[0, FOLDING, FOLDING, 3], stage__first=[0, 0, STACK, STACK], part__count=2)
    cell = lab.cell_of(rows)
    task = ToteBreakdown(cell, lab.LAYOUT)
    task.apply(rows, np.arange(4))
    position, _ = cell.poses(np.arange(4))
    near = (position[..., 0] < 10)[:, [lab.GOODS.tote, lab.GOODS.folding]]
    assert near.tolist() == [[True, False], [False, True], [False, True], [True, False]]
    # Only a stack that begins the job begins with a folded tote.
    np.testing.assert_allclose(np.rad2deg(cell.latches.angles(np.arange(4)))[1:3], [[0] * 4, [90] * 4])
