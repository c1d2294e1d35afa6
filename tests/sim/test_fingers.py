"""The combination tool in the cell: how the fingers move, press and hold; what the vacuum pad seals on."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import tote_lab as lab

from assets import folding_tote, totes
from assets.combi_tool import CLOSING_SPEED, STROKE
from assets.parts import FAMILIES, SIZES, pool
from sim.cell import PERIOD, Cell
from sim.latches import FLAT
from sim.rotations import angle_between, conjugate, multiply, rotate
from sim.suction import FREE
from sim.totes import FOLDING

DRUM = FAMILIES.index("drum")
DRUM_MASS = pool()[DRUM * SIZES + 2].mass


def finger_positions(cell: Cell) -> np.ndarray:
    """Return how far each finger is from the middle (n, 2) [m]."""
    names = ("finger_left", "finger_right")
    at = [cell.scene.model.joint(name).qposadr[0] for name in names]
    return cell.worlds.qpos[:, at]


def gripping(n: int = 1, aside: float | np.ndarray = 0.0, **knobs: object) -> Cell:
    """Return a cell whose fingers have closed on a large drum, which was `aside` of their middle [m]."""
    cell = lab.cell_of(lab.rows_of(n, part__family=DRUM, part__size=2, **knobs))
    cell.worlds.field("opt.gravity")[:] = 0.0  # until it is held
    lab.put(cell, 0, lab.tips(cell) + closing_axis(cell) * aside + [0.0, 0.0, 0.015])
    cell.worlds.forward(lab.every(cell))
    lab.run(cell, 10, opening=0.0)
    cell.worlds.field("opt.gravity")[:, 2] = -9.81
    cell.worlds.wake(lab.every(cell))
    return cell


def closing_axis(cell: Cell) -> np.ndarray:
    """Return the direction in which the fingers move (n, 3)."""
    body = cell.scene.model.body("gripper").id
    return rotate(cell.worlds.xquat[:, body], np.broadcast_to([1.0, 0.0, 0.0], (cell.worlds.nworld, 3)))


def pressing(cell: Cell, world: int) -> dict[str, float]:
    """Return the normal force between the part in slot 0 and each finger [N]."""
    model, data = cell.scene.model, cell.worlds.data(world)  # type: ignore[attr-defined]
    found, force = {"left": 0.0, "right": 0.0}, np.zeros(6)
    for k, contact in enumerate(data.contact):
        names = {model.body(model.geom_bodyid[g]).name for g in (contact.geom1, contact.geom2)}
        mujoco.mj_contactForce(cell.worlds.model(world), data, k, force)  # type: ignore[attr-defined]
        for side in found:
            found[side] += force[0] * (names == {"part0", f"finger_{side}"})
    return found


# ---- fingers ---------------------------------------------------------------------------------------------------------


def test_fingers_move_alike_and_no_faster_than_they_can() -> None:
    cell = lab.cell_of(lab.rows_of())
    opening = [cell.finger_opening(np.arange(1))[0]]
    assert opening[0] == pytest.approx(STROKE, abs=1e-4)
    for wanted in (0.0, 0.0, 0.0, 0.0, 0.05, 0.05, 0.05, 0.02, 0.02, 1.0, -1.0, -1.0, -1.0, -1.0):
        lab.run(cell, 1, opening=wanted)
        left, right = finger_positions(cell)[0]
        assert left == pytest.approx(right, abs=2e-4)
        opening.append(cell.finger_opening(np.arange(1))[0])
    steps, fastest = np.diff(opening), 2 * CLOSING_SPEED * PERIOD
    assert np.abs(steps).max() < 1.1 * fastest
    assert steps[1] == pytest.approx(-fastest, rel=0.1)  # a wide way is gone at full speed
    assert opening[4] == pytest.approx(0.0, abs=5e-4)
    assert opening[7] == pytest.approx(0.05, abs=1e-3)
    assert opening[-1] == pytest.approx(0.0, abs=5e-4)
    assert cell.opening[0] == 0.0  # what is asked for beyond the stroke is cut


def test_an_opening_that_is_not_finite_keeps_the_fingers() -> None:
    cell = lab.cell_of(lab.rows_of(2))
    lab.run(cell, 4, opening=0.04)
    for wanted in (np.nan, np.inf):
        lab.run(cell, 3, opening=wanted)
        np.testing.assert_allclose(cell.finger_opening(np.arange(2)), 0.04, atol=5e-4)


def test_each_world_has_its_own_opening_and_a_reset_opens() -> None:
    cell, ids = lab.cell_of(lab.rows_of(3)), np.arange(3)
    home = np.tile(cell.home, (3, 1))
    for _ in range(5):
        cell.advance(home, np.zeros(3, bool), ids, np.array([0.0, 0.03, 0.07]))
    np.testing.assert_allclose(cell.finger_opening(ids), [0.0, 0.03, 0.07], atol=5e-4)
    cell.reset(np.array([1]))
    np.testing.assert_allclose(cell.finger_opening(ids), [0.0, STROKE, 0.07], atol=5e-4)


def test_an_opening_on_its_way_survives_save_and_restore() -> None:
    cell, ids = lab.cell_of(lab.rows_of()), np.arange(1)
    lab.run(cell, 1, opening=0.0)
    saved, ways = cell.save(ids), []
    for _ in range(2):
        cell.restore(saved, ids)
        lab.run(cell, 1, opening=0.0)
        ways.append(cell.worlds.qpos.tobytes())
        lab.run(cell, 3, opening=0.08)
    assert ways[0] == ways[1]


def test_a_finger_presses_with_its_force_and_no_more() -> None:
    force = np.array([30.0, 90.0, 180.0])
    cell = gripping(3, gripper__max_force=force)
    lab.run(cell, 5, opening=0.0)
    for world, wanted in enumerate(force):
        for side, found in pressing(cell, world).items():
            assert found == pytest.approx(wanted, rel=0.10), (wanted, side)


def test_a_part_off_the_middle_is_centred() -> None:
    cell = gripping(2, aside=np.array([[0.008], [-0.008]]))
    lab.run(cell, 5, opening=0.0)
    left, right = finger_positions(cell).T
    np.testing.assert_allclose(left, right, atol=1.5e-3)  # the linkage is a little elastic
    away = ((cell.poses(np.arange(2))[0][:, 0] - lab.tips(cell)) * closing_axis(cell)).sum(1)
    assert np.abs(away).max() < 2e-3


@pytest.mark.parametrize("opening", [0.0, 0.055])
def test_half_a_kilogram_is_held_while_the_arm_swings(opening: float) -> None:
    """Squeezed hard, or with the fingers told to go just inside of the drum (68 mm)."""
    cell = gripping(1, part__mass=0.5 / DRUM_MASS)
    assert cell.worlds.field("body_mass")[0, cell.scene.slot_bodies[0]] == pytest.approx(0.5)
    lab.run(cell, 3, opening=opening)
    body = cell.scene.model.body("gripper").id

    def in_hand() -> tuple[np.ndarray, np.ndarray]:
        cell.worlds.forward(np.arange(1))
        position, rotation = (pose[:, 0] for pose in cell.poses(np.arange(1)))
        back = conjugate(cell.worlds.xquat[:, body])
        return rotate(back, position - lab.tips(cell)), multiply(back, rotation)

    (place, turn), fastest = in_hand(), 0.0
    # There and back: base and wrist by 0.8 rad in a second each, the shoulder up and down.
    for share in (1 - np.cos(np.linspace(0, 2 * np.pi, 21))) / 2:
        joints = cell.home + share * np.array([0.8, -0.3, 0.3, 0.0, 0.8, 0.8])
        lab.run(cell, 1, opening=opening, joints=joints)
        fastest = max(fastest, np.abs(cell.joints(np.arange(1))[1][0, 0]))
    lab.run(cell, 5, opening=opening)
    assert fastest > 0.8  # [rad/s]: it did swing
    moved, turned = in_hand()
    # Friction holds velocities, not places: going round a curve in steps of 2 ms, what is held drifts outwards.
    assert np.abs(moved - place).max() < 0.006
    assert angle_between(turned, turn)[0] < np.deg2rad(2.0)
    lab.run(cell, 6, opening=STROKE)
    assert cell.poses(np.arange(1))[0][0, 0, 2] < lab.tips(cell)[0, 2] - 0.1  # and falls when let go


# ---- the vacuum pad --------------------------------------------------------------------------------------------------


def sealed(cell: Cell, slot: np.ndarray, face: np.ndarray, point: np.ndarray, gap: float = 0.001) -> np.ndarray:
    """Put totes so that a `point` of their frames is before the lips, the normal `face` there against them.

    Returns the grips that are held at once (n,).
    """
    ids = lab.every(cell)
    lip, turn = cell.suction.lip_pose(ids)
    towards = rotate(turn, np.broadcast_to([0.0, 0.0, 1.0], lip.shape))
    quaternion = np.stack([_turn_onto(face[k], -towards[k]) for k in ids])
    position = lip + gap * towards - rotate(quaternion, point)
    lab.put(cell, slot, position, quaternion)
    cell.worlds.forward(ids)
    cell.suction.state.on[:] = True
    cell.suction.update(np.zeros((len(ids), 6)), ids)
    return cell.suction.state.held.copy()


def _turn_onto(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return a quaternion (4,) that turns a unit vector onto another, and z upwards as far as that leaves it free."""
    if abs(one @ other + 1) < 1e-9:
        axis = np.cross(one, [0.0, 0.0, 1.0] if abs(one[2]) < 0.9 else [1.0, 0.0, 0.0])
        return np.array([0.0, *(axis / np.sqrt(axis @ axis))])
    quaternion = np.array([1 + one @ other, *np.cross(one, other)])
    return quaternion / np.sqrt(quaternion @ quaternion)


def test_it_seals_on_the_long_walls_and_on_nothing_else_of_a_tote() -> None:
    length, width, height = totes.size("6280")
    faces = {
        "long_a": ((0, 1, 0), (0.05, width / 2, height - 0.08), 0),
        "long_b": ((0, -1, 0), (0.0, -width / 2, height - 0.08), 1),
        "long_a, from inside": ((0, -1, 0), (0.0, width / 2 - 0.016, height - 0.08), 0),
        "short_a": ((1, 0, 0), (length / 2, 0.0, height - 0.08), FREE),
        "the open top": ((0, 0, 1), (0.0, 0.0, height), FREE),
        "a long wall's rim": ((0, 0, 1), (0.0, width / 2 - 0.008, height), FREE),
        "over a wall's edge": ((0, 1, 0), (0.0, width / 2, height + 0.02), FREE),
        "the underside": ((0, 0, -1), (0.0, 0.0, 0.0), FREE),
    }
    cell = lab.cell_of(lab.rows_of(len(faces)))
    face, point, wanted = (np.array(v, float) for v in zip(*faces.values(), strict=True))
    held = sealed(cell, np.full(len(faces), lab.GOODS.tote), face, point)
    assert dict(zip(faces, held.tolist(), strict=True)) == dict(zip(faces, wanted.tolist(), strict=True))


@pytest.mark.parametrize("first", [0, 1])
def test_it_seals_on_the_folded_totes_top_wall(first: int) -> None:
    table = folding_tote.wall_table(first)
    upper = 3 - first  # of the walls
    sign = -1.0 if first == 0 else 1.0
    top = folding_tote.hinge_heights(first).max() + table.panel_half[upper, 1]
    height = folding_tote.SIZE[2]
    places = {
        "folded, on the top wall": (True, (0, 0, 1), (0.0, sign * 0.08, top), upper),
        "folded, over the gap at its middle": (True, (0, 0, 1), (0.0, -sign * 0.17, top), FREE),
        "open, on a long wall": (False, (0, 1, 0), (0.0, folding_tote.SIZE[1] / 2, height - 0.08), 2),
        "open, on the other long wall": (False, (0, -1, 0), (0.0, -folding_tote.SIZE[1] / 2, height - 0.08), 3),
        "open, through the top": (False, (0, 0, 1), (0.0, 0.0, height), FREE),
        "open, at the height of the folded top": (False, (0, 0, 1), (0.0, sign * 0.08, top), FREE),
    }
    cell = lab.cell_of(lab.rows_of(len(places), tote__kind=FOLDING, tote__fold_first=first))
    folded, face, point, wanted = (np.array(v, float) for v in zip(*places.values(), strict=True))
    cell.worlds.qpos[np.ix_(np.flatnonzero(folded), cell.latches.qpos)] = FLAT
    held = sealed(cell, np.full(len(places), lab.GOODS.folding), face, point)
    assert dict(zip(places, held.tolist(), strict=True)) == dict(zip(places, wanted.tolist(), strict=True))


def test_an_empty_tote_hangs_by_its_wall_and_a_full_one_falls() -> None:
    """Held at a long wall near its rim, the tote's weight bends the pad; 8 kg more peel it off."""
    kinds = np.array([0, 1, 2, 2])
    rows = lab.rows_of(4, tote__kind=kinds, tote__mass=[1, 1, 1, 1.4], suction__max_moment=[[16, 20]])
    cell = lab.cell_of(rows)
    cell.worlds.field("body_mass")[3, cell.scene.slot_bodies[lab.GOODS.tote]] += 8.0
    size = np.array([totes.size(totes.KINDS[k]) for k in kinds])
    point = np.stack([np.zeros(4), size[:, 1] / 2, size[:, 2] - 0.07], axis=1)
    held = sealed(cell, np.full(4, lab.GOODS.tote), np.tile([0.0, 1.0, 0.0], (4, 1)), point)
    assert held.tolist() == [0] * 4
    lab.run(cell, 1, suction=True)
    before, _ = cell.poses(np.arange(4))
    lab.run(cell, 20, suction=True)
    after, _ = cell.poses(np.arange(4))
    assert cell.suction.state.held.tolist() == [0, 0, 0, FREE]
    assert cell.suction.state.broken_by[3] != 0
    moved = np.sqrt(((after - before)[:3, lab.GOODS.tote] ** 2).sum(1))
    assert moved.max() < 0.02
    lab.run(cell, 5)
    assert (cell.poses(np.arange(4))[0][:, lab.GOODS.tote, 2] < after[:, lab.GOODS.tote, 2] - 0.2)[:3].all()
