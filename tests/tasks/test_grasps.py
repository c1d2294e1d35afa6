"""The grasp planner: choices that geometry forces, what must not matter, and a pick that physics judges."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from assets.combi_tool import FINGER_PAD, FINGER_THICKNESS, STROKE
from assets.errors import InputError
from assets.parts import FAMILIES, SIZES, pool
from sim.rotations import multiply, rotate, yaw_quaternion
from tasks.totes.grasps import NARROWEST, Cavity, Grasp, drag_yaw, grasps, nudge

DEEP = Cavity(np.zeros(2), 0.0, (0.272, 0.182), 0.4, 0.657)
SHALLOW = Cavity(np.zeros(2), 0.0, (0.272, 0.182), 0.4, 0.5)  # the palm stays above its rim
LAY = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])  # what stood along z lies along y


def number(family: str, size: int) -> int:
    return FAMILIES.index(family) * SIZES + size


def height(index: int, turn: np.ndarray) -> float:
    """Of the centre of mass above the ground on which the part lies."""
    return -float(rotate(turn, pool()[index].visual.vertices)[:, 2].min())


def scene(*parts: tuple[str, int, tuple[float, float], float], lay: bool = False, above: float = 0.0) -> tuple:
    """Parts (family, size, place, heading) that lie on the floor, as the planner's first four arguments."""
    index = np.array([number(family, size) for family, size, _, _ in parts])
    turns = [multiply(yaw_quaternion(np.array(yaw)), LAY if lay else np.array([1.0, 0, 0, 0])) for *_, yaw in parts]
    position = [
        (*place, 0.4 + above + height(i, turn)) for i, turn, (_, _, place, _) in zip(index, turns, parts, strict=True)
    ]
    return index, np.array(position), np.stack(turns), 10 + np.arange(len(parts))


def closing(grasp: Grasp) -> np.ndarray:
    return np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)])


def pad_side(grasp: Grasp) -> np.ndarray:
    return np.array([np.sin(grasp.yaw), -np.cos(grasp.yaw)])


@pytest.mark.parametrize("yaw", [0.0, 0.4, 1.7])
@pytest.mark.parametrize(("size", "width"), [(0, 0.046), (1, 0.054), (2, 0.062)])
def test_a_plate_is_taken_across_its_width(yaw: float, size: int, width: float):
    best = grasps(*scene(("plate", size, (0.03, -0.02), yaw)), DEEP)[0]
    assert best.slot == 10
    assert abs(closing(best) @ [np.cos(yaw), np.sin(yaw)]) < 0.02
    assert best.width == pytest.approx(width, abs=0.001)
    assert best.width < best.opening <= STROKE
    np.testing.assert_allclose(best.position[:2], [0.03, -0.02], atol=0.012)
    assert 0.4 < best.position[2] < 0.404


def test_fingers_stay_clear_of_a_wall():
    y = 0.182 - 0.027
    best = grasps(*scene(("bearing", 1, (0.05, y), 0.0)), SHALLOW)[0]
    # Beside the part, between it and the wall, there is no room for a finger.
    assert abs(closing(best)[0]) > 0.7
    reach = abs(closing(best)[1]) * (best.opening / 2 + FINGER_THICKNESS) + abs(closing(best)[0]) * FINGER_PAD[1] / 2
    assert best.position[1] + reach < 0.182


def test_the_palm_keeps_what_lies_deep_at_a_wall_out_of_reach():
    # A bolt in the angle between floor and wall: across it there is no room for a finger, along it none for the palm.
    bolt = scene(("bolt", 0, (0.0, 0.182 - 0.015), np.pi / 2), lay=True)
    assert grasps(*bolt, DEEP) == []
    assert grasps(*scene(("bolt", 0, (0.0, 0.0), np.pi / 2), lay=True), DEEP)


def test_a_part_in_a_corner():
    tight = scene(("bottle", 0, (0.272 - 0.027, 0.182 - 0.027), 0.0))
    assert grasps(*tight, SHALLOW) == []
    corner = scene(("bottle", 0, (0.272 - 0.050, 0.182 - 0.027), 0.0))
    found = grasps(*corner, SHALLOW, count=30)
    assert found
    for grasp in found:
        x, y = (
            np.abs(closing(grasp)) * (grasp.opening / 2 + FINGER_THICKNESS)
            + np.abs(pad_side(grasp)) * FINGER_PAD[1] / 2
        )
        assert grasp.position[0] + x < 0.272
        assert grasp.position[1] + y < 0.182


def test_two_that_touch_are_not_parted_by_a_finger():
    half = 0.054 / 2
    found = grasps(*scene(("plate", 1, (0, half), 0.0), ("plate", 1, (0, -half), 0.0)), DEEP, count=30)
    for grasp in found:
        inner = grasp.position[1] * closing(grasp)[1]
        assert abs(closing(grasp)[1]) < 0.7, f"a finger comes down at {inner}"
    apart = grasps(*scene(("plate", 1, (0, half + 0.03), 0.0), ("plate", 1, (0, -half - 0.03), 0.0)), DEEP)
    assert {grasp.slot for grasp in apart[:2]} == {10, 11}


def test_what_lies_on_top_goes_first():
    index, position, quaternion, slots = scene(("plate", 2, (0.0, 0.0), 0.0), ("bearing", 1, (0.0, 0.0), 0.0))
    position[1, 2] += 0.012
    found = grasps(index, position, quaternion, slots, DEEP, count=30)
    assert found[0].slot == 11
    # Its fingers end above the plate.
    assert found[0].position[2] > 0.412


def test_too_wide(monkeypatch: pytest.MonkeyPatch):
    gear = scene(("gear", 0, (0.0, 0.0), 0.0))
    assert grasps(*gear, DEEP)
    for widest in (0.030, NARROWEST):
        monkeypatch.setattr("tasks.totes.grasps.WIDEST", widest)
        assert grasps(*gear, DEEP) == []


def test_best_of_different_parts_first():
    parts = scene(("bolt", 1, (-0.15, 0.05), 0.3), ("drum", 0, (0.0, -0.05), 0.0), ("bearing", 2, (0.15, 0.05), 0.0))
    found = grasps(*parts, DEEP, count=8)
    assert 3 < len(found) <= 8
    assert {grasp.slot for grasp in found[:3]} == {10, 11, 12}
    first = [grasp.score for grasp in found[:3]]
    assert first == sorted(first, reverse=True)
    assert len(grasps(*parts, DEEP, count=2)) == 2


def test_a_far_part_changes_nothing():
    near, far = ("elbow", 1, (-0.18, -0.08), 0.5), ("bearing", 1, (0.2, 0.1), 0.0)
    alone = grasps(*scene(near), DEEP, count=1)[0]
    beside = next(grasp for grasp in grasps(*scene(near, far), DEEP) if grasp.slot == 10)
    np.testing.assert_array_equal(alone.position, beside.position)
    assert (alone.yaw, alone.opening, alone.score) == (beside.yaw, beside.opening, beside.score)


@pytest.mark.parametrize("yaw", [0.3, -1.2, 2.9])
def test_a_turned_and_moved_tote_gives_the_same_grasp(yaw: float):
    index, position, quaternion, slots = scene(
        ("plate", 0, (0.1, 0.05), 0.2), ("elbow", 0, (-0.1, 0.0), 1.0), ("casting", 0, (0.0, -0.1), 2.0)
    )
    turn, shift = yaw_quaternion(np.array(yaw)), np.array([0.9, 0.2, 0.1])
    moved = Cavity(shift[:2], yaw, DEEP.half, DEEP.floor + 0.1, DEEP.rim + 0.1)
    here = grasps(index, position, quaternion, slots, DEEP)
    there = grasps(index, rotate(turn, position) + shift, multiply(turn, quaternion), slots, moved)
    assert [g.slot for g in here[:3]] == [g.slot for g in there[:3]]
    for a, b in zip(here[:3], there[:3], strict=True):
        np.testing.assert_allclose(rotate(turn, a.position) + shift, b.position, atol=2e-4)
        # Of a line that is as good from either side, either heading will do.
        assert abs(np.sin(a.yaw + yaw - b.yaw)) < 0.01
        assert a.width == pytest.approx(b.width, abs=2e-4)


def test_the_vacuum_pad_looks_away_from_the_wall():
    for side in (1, -1):
        found = grasps(*scene(("drum", 1, (0.0, side * 0.115), 0.0)), DEEP, count=30)
        assert found
        for grasp in found:
            assert pad_side(grasp)[1] * side * 0.1 + abs(grasp.position[1]) < 0.182


def test_nothing_there():
    empty = (np.zeros(0, int), np.zeros((0, 3)), np.zeros((0, 4)), np.zeros(0, int))
    assert grasps(*empty, DEEP) == []
    assert nudge(*empty, DEEP) is None


def test_bad_shapes_are_named():
    index, position, quaternion, slots = scene(("bolt", 0, (0, 0), 0.0))
    with pytest.raises(InputError, match=r"quaternions \(1, 4\)"):
        grasps(index, position, quaternion[:, :3], slots, DEEP)
    with pytest.raises(InputError, match="not all in the pool"):
        grasps(index + len(pool()), position, quaternion, slots, DEEP)


@pytest.mark.parametrize("side", [1, -1])
def test_a_drag_leads_away_from_the_wall(side: int):
    parts = scene(("plate", 2, (0.02, side * (0.182 - 0.033)), 0.0))
    drag = nudge(*parts, DEEP)
    assert drag is not None
    start, end = drag
    assert np.hypot(*(end - start)[:2]) == pytest.approx(0.05)
    assert side * (end - start)[1] < -0.03
    # On the plate, just into its surface, and clear of the wall.
    assert abs(start[1] - parts[1][0, 1]) < 0.031
    assert start[2] == end[2] == pytest.approx(0.412 - 0.002, abs=0.0005)
    assert 0.182 - abs(start[1]) > 0.012
    ahead = (np.sin(drag_yaw(start, end)), -np.cos(drag_yaw(start, end)))
    np.testing.assert_allclose(ahead, (end - start)[:2] / 0.05, atol=1e-9)


def picked(index: int, place: tuple[float, float], turn: np.ndarray) -> float:
    """How far two pads, driven as the planner says, lift a part [m]."""
    middle = np.array([*place, 0.4 + height(index, turn)])
    grasp = grasps(np.array([index]), middle[None], turn[None], np.array([0]), DEEP)[0]
    spec = mujoco.MjSpec()
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.default.geom.solref = [0.01, 1.0]
    box, slide = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtJoint.mjJNT_SLIDE
    spec.worldbody.add_geom(type=box, size=[0.3, 0.2, 0.02], pos=[0, 0, 0.38])
    part = spec.worldbody.add_body(name="part", pos=middle, quat=turn)
    part.add_freejoint()
    for i, hull in enumerate(pool()[index].hulls):
        mesh = spec.add_mesh(name=f"hull{i}", uservert=hull.astype(np.float32).ravel())
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
        part.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"hull{i}", friction=[0.3, 0, 0], mass=0.1)
    up = 0.15
    hand = spec.worldbody.add_body(pos=grasp.position + np.array([0, 0, up]), quat=yaw_quaternion(np.array(grasp.yaw)))
    hand.add_joint(name="z", type=slide, axis=[0, 0, 1])
    hand.add_geom(type=box, size=[0.07, 0.03, 0.02], pos=[0, 0, 0.135])
    for name, sign in (("left", 1), ("right", -1)):
        finger = hand.add_body()
        finger.add_joint(name=name, type=slide, axis=[-sign, 0, 0])
        at = [sign * (grasp.opening / 2 + FINGER_PAD[0] / 2), 0, FINGER_PAD[2] / 2]
        finger.add_geom(type=box, size=[e / 2 for e in FINGER_PAD], pos=at, friction=[0.9, 0, 0], mass=0.1)
    for name, kp, kv, most in (("z", 2e4, 5e2, 1000.0), ("left", 1e4, 1e2, 100.0), ("right", 1e4, 1e2, 100.0)):
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=kp, kv=kv)
        servo.forcelimited, servo.forcerange = True, [-most, most]
    model = spec.compile()
    data = mujoco.MjData(model)
    for z, close in ((-up, 0.0), (-up, grasp.opening / 2), (up, grasp.opening / 2)):
        start = data.ctrl.copy()
        for k in range(400):
            data.ctrl[:] = start + ([z, close, close] - start) * min(1.0, k / 250)
            mujoco.mj_step(model, data)
    return float(data.body("part").xpos[2] - middle[2])


@pytest.mark.parametrize("family", ["plate", "bearing", "gear", "mug", "connector", "drum"])
def test_physics_lifts_what_the_planner_takes(family: str):
    turn = yaw_quaternion(np.array(0.3))
    assert picked(number(family, 1), (0.02, 0.01), turn) > 0.2
