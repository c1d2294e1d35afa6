"""Every knob acts: on the model's arrays, on suction and servo, or in the task; and in the physics as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np
import pytest

from sim.cartons import CARTON_KNOBS, carton_mass, carton_size
from sim.cell import Cell
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.knobs import Rows
from tasks.palletizing.task import Palletizing

if TYPE_CHECKING:
    from tests.conftest import Lab

# Knobs that the task reads: how many cartons come, how strong they are, how well it sees.
TASK_KNOBS = {
    "carton.count", "carton.strength", "sensor.joint_position_noise", "sensor.joint_torque_noise",
    "sensor.carton_position_noise", "sensor.carton_yaw_noise",
}  # fmt: skip
EVERY_KNOB = (*CARTON_KNOBS, *CELL_KNOBS, *camera_knobs("cell"), *camera_knobs("wrist"))
MODEL_KNOBS = [k.name for k in EVERY_KNOB if k.name not in TASK_KNOBS]
# The model arrays in which a knob has to be seen; knobs that are not listed are read by suction or servo.
ACTS_ON = {
    "carton.size": {"geom_size", "geom_pos", "geom_rbound", "body_inertia"},
    "carton.size_error": {"geom_size", "geom_rbound"},
    "carton.mass": {"body_mass", "body_inertia", "body_invweight0"},
    "carton.mass_error": {"body_mass", "body_inertia", "body_invweight0"},
    "carton.center_of_mass": {"body_ipos", "body_inertia"},
    "carton.color": {"mat_rgba"},
    "carton.texture": {"mat_texid"},
    "surface.cardboard_cardboard.friction": {"geom_friction"},
    "surface.cardboard_wood.friction": {"geom_friction"},
    "surface.cardboard_belt.friction": {"geom_friction"},
    "surface.cardboard_floor.friction": {"geom_friction"},
    "contact.time_constant": {"geom_solref"},
    "contact.damping_ratio": {"geom_solref"},
    "suction.time_constant": {"eq_solref"},
    "arm.damping": {"dof_damping"},
    "arm.friction": {"dof_frictionloss"},
    "arm.armature": {"dof_armature", "dof_invweight0"},
    "arm.stiffness": {"actuator_gainprm", "actuator_biasprm"},
    "arm.servo_damping": {"actuator_biasprm"},
    "tool.mass": {"body_mass", "body_inertia"},
    "tool.center_of_mass": {"body_ipos"},
    "pallet.color": {"mat_rgba"},
    "pallet.texture": {"mat_texid"},
    "floor.color": {"mat_rgba"},
    "floor.texture": {"mat_texid"},
    "light.intensity": {"light_diffuse"},
    "light.ambient": {"light_ambient"},
    "light.color": {"light_diffuse"},
    "light.direction": {"light_dir"},
    **{f"camera.{c}.position": {"cam_pos"} for c in ("cell", "wrist")},
    **{f"camera.{c}.rotation": {"cam_quat"} for c in ("cell", "wrist")},
    **{f"camera.{c}.field_of_view": {"cam_fovy"} for c in ("cell", "wrist")},
}


ONLY_ON = {
    "arm.latency": "servo.latency",
    "arm.servo_filter": "servo.filter",
    "arm.stribeck": "stribeck",
    "arm.stribeck_velocity": "stribeck_velocity",
}


def effects(cell: Cell) -> dict[str, np.ndarray]:
    """Return copies of all that rows are written to: the world's model, suction and servo."""
    model: mujoco.MjModel = cell.worlds.model(0)  # type: ignore[attr-defined]
    found = {}
    for name in dir(model):
        value = None if name.startswith("_") else getattr(model, name)
        if isinstance(value, np.ndarray) and value.size:
            found[name] = value.copy()
    for name in ("half_size", "max_force", "max_moment", "friction"):
        found[f"suction.{name}"] = getattr(cell.suction, name).copy()
    found["servo.latency"], found["servo.filter"] = cell.servo.latency.copy(), cell.servo.filter.copy()
    found["stribeck"], found["stribeck_velocity"] = cell.stribeck.copy(), cell.stribeck_velocity.copy()
    return found


def other_value(lab: Lab, name: str) -> np.ndarray:
    """Return a value that differs from the nominal one in every element."""
    nominal, knob = lab.knobs.nominal(name), lab.knobs[name]
    upper = np.broadcast_to(np.asarray(knob.upper, float), nominal.shape)
    lower = np.broadcast_to(np.asarray(knob.lower, float), nominal.shape)
    return np.where(upper > nominal, upper, lower)


@pytest.fixture(scope="module")
def nominal(lab: Lab) -> dict[str, np.ndarray]:
    """What the nominal row writes."""
    return effects(lab.cell(lab.rows()))


def changed_by(lab: Lab, nominal: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Return, for each array that a knob changes, which elements it changes."""
    value = other_value(lab, name)
    found = effects(lab.cell(lab.rows(1, **{name.replace(".", "__"): value})))
    return {k: v != nominal[k] for k, v in found.items() if (v != nominal[k]).any()}


@pytest.mark.parametrize("name", MODEL_KNOBS)
def test_every_knob_acts(lab: Lab, nominal: dict[str, np.ndarray], name: str) -> None:
    changed = changed_by(lab, nominal, name)
    assert changed
    assert ACTS_ON.get(name, set()) <= set(changed)
    if name in ("suction.max_force", "suction.max_moment", "suction.friction"):
        assert set(changed) == {name}
    elif name in ONLY_ON:
        assert set(changed) == {ONLY_ON[name]}
    else:
        assert name in ACTS_ON


class Watched(Rows):
    """Rows that remember which knobs were read."""

    read: set[str]

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.add(name)
        return super().__getitem__(name)


def test_the_task_reads_the_knobs_that_the_cell_does_not(lab: Lab) -> None:
    plain = lab.rows()
    rows = Watched(plain.knobs, plain.columns, 0, plain.numbers)
    rows.read = set()
    cell = lab.cell(plain)
    cell.apply(rows, np.arange(1))
    assert {k.name for k in CARTON_KNOBS + CELL_KNOBS} - rows.read == TASK_KNOBS
    task = Palletizing(cell, lab.layout)
    task.apply(rows.replaced(carton__count=np.array([3.0])), np.arange(1))
    rows.columns["carton.count"][:] = 3
    task.apply(rows, np.arange(1))
    assert rows.read >= TASK_KNOBS


def test_elements_act_where_they_belong(lab: Lab, nominal: dict[str, np.ndarray]) -> None:
    scene = lab.scene
    found = effects(lab.cell(lab.rows(carton__mass=[7.6, 7.6, 3.0, 7.6])))
    assert np.flatnonzero(found["body_mass"] != nominal["body_mass"]).tolist() == [scene.slot_bodies[2]]
    assert found["body_mass"][scene.slot_bodies[2]] == 3.0
    found = effects(lab.cell(lab.rows(arm__friction=[1, 1, 1, 2, 1, 1])))
    loss = "dof_frictionloss"
    assert np.flatnonzero(found[loss] != nominal[loss]).tolist() == [scene.arm_dofs[3]]
    assert found[loss][scene.arm_dofs[3]] == 2 * nominal[loss][scene.arm_dofs[3]]
    found = effects(lab.cell(lab.rows(camera__wrist__position=[0.1, 0.0, 0.0])))
    assert np.flatnonzero((found["cam_pos"] != nominal["cam_pos"]).any(1)).tolist() == [scene.cameras["wrist"]]


def test_moments_of_inertia_lie_along_the_cartons_axes(lab: Lab) -> None:
    """A long carton turns more easily about its length; the engine might have sorted the template's moments."""
    found = effects(lab.cell(lab.box(1, 6.0, (0.6, 0.2, 0.1))))
    body = lab.scene.slot_bodies[1]
    np.testing.assert_allclose(found["body_iquat"][body], [1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["body_inertia"][body], 6.0 / 12 * np.array([0.05, 0.37, 0.40]))


def test_cameras_turn_about_their_own_axes(lab: Lab) -> None:
    turn, wanted = np.zeros(4), np.zeros(4)
    for vector in ([0.1, 0.0, 0.0], [0.0, -0.1, 0.0], [0.05, 0.1, -0.12]):
        found = effects(lab.cell(lab.rows(camera__cell__rotation=vector)))["cam_quat"][lab.scene.cameras["cell"]]
        angle = float(np.linalg.norm(vector))
        mujoco.mju_axisAngle2Quat(turn, np.array(vector) / angle, angle)
        mujoco.mju_mulQuat(wanted, lab.scene.model.cam_quat[lab.scene.cameras["cell"]], turn)
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_the_nominal_row_is_the_template(lab: Lab, nominal: dict[str, np.ndarray]) -> None:
    model = lab.scene.model
    for name in ("dof_damping", "dof_frictionloss", "dof_armature", "actuator_gainprm", "actuator_biasprm", "cam_pos"):
        np.testing.assert_allclose(nominal[name], getattr(model, name), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(nominal["cam_quat"], model.cam_quat, atol=1e-12)
    np.testing.assert_allclose(nominal["cam_fovy"], model.cam_fovy, rtol=0.01)
    np.testing.assert_allclose(nominal["light_dir"], model.light_dir, atol=1e-12)


def test_true_size_and_mass_are_the_stated_ones_and_their_errors(lab: Lab) -> None:
    rows = lab.rows(carton__size=(0.4, 0.3, 0.2), carton__size_error=(0.001, -0.002, 0.003), carton__mass=5.0)
    np.testing.assert_allclose(carton_size(rows)[0, 1], [0.401, 0.298, 0.203])
    rows = rows.replaced(carton__mass_error=np.full((1, 4), -0.1))
    np.testing.assert_allclose(carton_mass(rows), 4.5)
    found = effects(lab.cell(rows))
    np.testing.assert_allclose(found["geom_size"][lab.scene.grips[1]], [0.2005, 0.149, 0.1015])
    # A broad phase that does not know the true size would let larger cartons sink into each other.
    radius = np.sqrt((np.array([0.2005, 0.149, 0.1015]) ** 2).sum())
    assert found["geom_rbound"][lab.scene.grips[1]] == pytest.approx(radius)


# ---- in the physics --------------------------------------------------------------------------------------------------


def slide(cell: Cell, angles: np.ndarray, axis: int, seconds: float, slot: int = 0) -> np.ndarray:
    """Turn gravity by an angle in each world, as if all were tilted; return how far the carton slid [m], (n,)."""
    ids = np.arange(cell.worlds.nworld)
    gravity = cell.worlds.field("opt.gravity")
    home = np.tile(cell.home, (len(ids), 1))
    for _ in range(4):
        cell.advance(home, np.zeros(len(ids), bool), ids)
    before, _ = cell.poses(ids)
    # Up slowly, so that the start does not shake the carton loose.
    for angle in np.linspace(0.0, 1.0, 10)[:, None] * angles:
        gravity[:, axis], gravity[:, 2] = 9.81 * np.sin(angle), -9.81 * np.cos(angle)
        cell.worlds.wake(ids)
        cell.advance(home, np.zeros(len(ids), bool), ids)
    for _ in range(round(seconds * 10)):
        cell.advance(home, np.zeros(len(ids), bool), ids)
    moved = cell.poses(ids)[0] - before
    return np.sqrt((moved[:, slot, :2] ** 2).sum(-1))


SURFACES = {
    "cardboard_wood": (0.9, 0.0, 0.144 + 0.12),
    "cardboard_floor": (0.0, 2.0, 0.12),
    "cardboard_cardboard": (0.9, 0.0, 0.144 + 0.36),
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("surface", SURFACES)
def test_a_carton_slips_at_the_angle_of_friction(lab: Lab, surface: str, axis: int) -> None:
    friction = np.array([0.25, 0.25, 0.5, 0.5, 0.8, 0.8])
    share = np.array([0.95, 1.05] * 3)
    # The other pairs hold: only the one that is asked for may decide.
    others = {f"surface__{s}__friction": 0.9 for s in SURFACES if s != surface}
    rows = lab.box(6, 8.0, (0.4, 0.4, 0.1), **others, **{f"surface__{surface}__friction": friction})
    cell = lab.cell(rows)
    place = np.array(SURFACES[surface]) * [1, 1, 0]
    base = {"cardboard_wood": 0.144, "cardboard_floor": 0.0, "cardboard_cardboard": 0.244}[surface]
    lab.put(cell, 0, (*place[:2], base + 0.05))
    if surface == "cardboard_cardboard":
        lab.put(cell, 1, (*place[:2], 0.144 + 0.05))
    moved = slide(cell, np.arctan(friction * share), axis, 1.0)
    print(surface, axis, "moved [mm]", np.round(moved * 1000, 2))
    assert (moved[::2] < 0.002).all()
    assert (moved[1::2] > 0.03).all()


@pytest.mark.parametrize("heading", [0.0, 45.0, 110.0])
def test_a_sliding_carton_accelerates_as_theory_says(lab: Lab, heading: float) -> None:
    rows = lab.box(1, 8.0, (0.4, 0.4, 0.1), surface__cardboard_floor__friction=0.3)
    cell = lab.cell(rows)
    lab.put(cell, 0, (0.0, 2.0, 0.05))
    lab.run(cell, 3)
    angle = np.deg2rad(25.0)
    along = np.array([np.cos(np.deg2rad(heading)), np.sin(np.deg2rad(heading))])
    cell.worlds.field("opt.gravity")[:] = 9.81 * np.array([*np.sin(angle) * along, -np.cos(angle)])
    cell.worlds.wake(np.arange(1))
    lab.run(cell, 5)
    velocity = cell.worlds.qvel[0, lab.scene.slot_dofs[0] + np.arange(2)]
    speed = velocity @ along
    assert abs(velocity[0] * along[1] - velocity[1] * along[0]) < 0.01 * speed
    assert speed == pytest.approx(0.5 * 9.81 * (np.sin(angle) - 0.3 * np.cos(angle)), rel=0.03)


def test_the_belt_carries_and_its_friction_acts(lab: Lab) -> None:
    rows = lab.box(2, 5.0, (0.3, 0.3, 0.2), surface__cardboard_belt__friction=[0.3, 1.2])
    cell = lab.cell(rows)
    lab.put(cell, 0, (-1.2, -0.9, 0.70))
    lab.run(cell, 2)
    cell.worlds.field("geom_surfacevel")[:, lab.scene.surfaces["belt"][0], 0] = 0.8
    cell.worlds.wake(np.arange(2))
    dof = lab.scene.slot_dofs[0]
    lab.run(cell, 1)
    early = cell.worlds.qvel[:, dof].copy()
    assert early[0] == pytest.approx(0.1 * 0.3 * 9.81, rel=0.1)
    assert early[1] == pytest.approx(0.8, rel=0.05)
    lab.run(cell, 4)
    np.testing.assert_allclose(cell.worlds.qvel[:, dof], 0.8, rtol=0.02)


def test_large_cartons_stand_on_each_other(lab: Lab) -> None:
    size = (0.8, 0.6, 0.5)
    cell = lab.cell(lab.box(1, 20.0, size))
    # So far apart that spheres around cartons of the template's size would not touch.
    lab.put(cell, 0, (0.9, 0.0, 0.144 + 0.25))
    lab.put(cell, 1, (1.25, 0.0, 0.144 + 0.75))
    lab.run(cell, 10)
    position, _ = cell.poses(np.arange(1))
    assert position[0, 0, 2] == pytest.approx(0.394, abs=0.001)
    assert position[0, 1, 2] == pytest.approx(0.894, abs=0.001)


def test_contacts_are_softer_with_a_longer_time_constant(lab: Lab) -> None:
    cell = lab.cell(lab.box(2, 12.0, contact__time_constant=[0.005, 0.02]))
    lab.put(cell, 0, (0.9, 0.0, 0.144 + 0.12))
    lab.run(cell, 10)
    sunk = 0.144 + 0.12 - cell.poses(np.arange(2))[0][:, 0, 2]
    assert 0 < sunk[0] < sunk[1] < 0.001


def test_a_softer_hold_gives_more(lab: Lab) -> None:
    cell = lab.holding(lab.box(2, 8.0, suction__time_constant=[0.005, 0.03]), periods=20)
    lips, _ = cell.suction.lip_pose(np.arange(2))
    low = lips[:, 2] - cell.poses(np.arange(2))[0][:, 0, 2] - 0.12
    assert low[0] < low[1] < 0.02


def test_the_arm_follows_its_knobs(lab: Lab) -> None:
    # The same step is answered more slowly by a late servo and by a heavy rotor.
    cell = lab.cell(lab.rows(3, arm__latency=[0.0, 0.1, 0.0], arm__armature=np.array([1.0, 1.0, 2.0])[:, None]))
    target = lab.home(cell) + np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
    lab.run(cell, 1, joints=target)
    moved = cell.joints(np.arange(3))[0][:, 0] - cell.home[0]
    assert moved[1] < 0.2 * moved[0]
    assert moved[2] < 0.99 * moved[0]
    lab.run(cell, 15, joints=target)
    np.testing.assert_allclose(cell.joints(np.arange(3))[0], target, atol=1e-3)


def test_joints_stick_under_stribeck_friction(lab: Lab) -> None:
    """A small step: with more friction at standstill the elbow is later."""
    stuck, left = np.zeros(6), []
    stuck[2] = 2.0
    for stribeck in (np.zeros(6), stuck):
        cell = lab.cell(lab.rows(1, arm__stribeck=stribeck, arm__stiffness=np.full(6, 0.5)))
        ids, target = np.arange(1), cell.home.copy()[None]
        target[0, 2] += 0.002
        for _ in range(3):
            cell.advance(target, np.zeros(1, bool), ids)
        left.append(target[0, 2] - cell.joints(ids)[0][0, 2])
    assert left[1] > 1.3 * left[0] > 0.0


def test_a_tool_heavier_than_stated_sinks(lab: Lab) -> None:
    """The controller carries the stated weight; the rest is carried by the servos' stiffness."""
    lows = []
    for mass, shift in ((1.0, 0.0), (1.5, 0.0), (1.0, 0.03)):
        cell = lab.cell(lab.rows(1, tool__mass=np.array(mass), tool__center_of_mass=np.array([shift, 0.0, 0.0]),
                                 arm__friction=np.zeros(6)))  # fmt: skip
        ids = np.arange(1)
        for _ in range(20):
            cell.advance(cell.home[None], np.zeros(1, bool), ids)
        lows.append(cell.joints(ids)[0][0] - cell.home)
    assert np.abs(lows[0]).max() < 1e-5
    stiffness = np.array([j.stiffness for j in cell.scene.scene.arm.body.joints()])
    # The elbow carries half the tool's mass more, at its horizontal distance from the elbow's axis.
    anchor, com = (a[0] for a in (cell.worlds.joint_anchor, cell.worlds.xpos))
    lever = com[cell.scene.tool_body, :2] - anchor[cell.scene.joints[2], :2]
    extra = 0.5 * cell.scene.model.body_mass[cell.scene.tool_body] * 9.81 * np.sqrt((lever**2).sum())
    assert np.isclose(abs(lows[1][2]) * stiffness[2], extra, rtol=0.1)
    assert np.abs(lows[2]).max() > 1e-5
