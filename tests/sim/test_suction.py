"""What the vacuum gripper picks up, holds, measures and loses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assets.kinematics import Kinematics
from sim.cell import PERIOD, Cell
from sim.knobs import Rows
from sim.rotations import conjugate, multiply, rotate, yaw_quaternion
from sim.suction import BREAK_REASONS, FREE
from tasks.palletizing.cell import TOOL_LENGTH

if TYPE_CHECKING:
    from tests.conftest import Lab

G = 9.81
ONE = np.arange(1)


def tried(lab: Lab, rows: Rows, **where: object) -> Cell:
    """Return a cell after one period of suction with a carton put at a place under the lips."""
    cell = lab.cell(rows)
    lab.hang(cell, rows, **where)  # type: ignore[arg-type]
    lab.run(cell, 1, suction=True)
    return cell


def tilted(degrees: float, axis: int) -> np.ndarray:
    """Return the quaternion of a carton along the pad that leans about its own x (0) or y (1) axis."""
    half = np.deg2rad(degrees) / 2
    lean = np.array([np.cos(half), 0.0, 0.0, 0.0])
    lean[1 + axis] = np.sin(half)
    return multiply(yaw_quaternion(np.array(np.pi / 2)), lean)


# ---- attaching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gap", "holds"), [(0.0, True), (0.004, True), (-0.003, True), (0.009, False), (0.05, False)])
def test_attaches_only_when_near(lab: Lab, gap: float, holds: bool) -> None:
    state = tried(lab, lab.box(), gap=gap).suction.state
    assert (state.held[0] == 0) == holds
    assert state.sealed[0] == (8 if holds else 0)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("degrees", "holds"), [(2.0, True), (-2.0, True), (8.0, False), (-8.0, False)])
def test_attaches_only_when_parallel(lab: Lab, axis: int, degrees: float, holds: bool) -> None:
    state = tried(lab, lab.box(), turn=tilted(degrees, axis), gap=0.001).suction.state
    assert (state.held[0] == 0) == holds


def test_attaches_whatever_face_and_heading(lab: Lab) -> None:
    rows = lab.box(size=(0.3, 0.3, 0.3))
    over = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])
    for turn in (over, multiply(over, over), yaw_quaternion(np.array(0.3))):
        assert tried(lab, rows, turn=turn).suction.state.held[0] == 0


# The pad's cups stand at +-32 and +-94 mm along it; a lip of 24 mm radius seals 22 mm inside a carton's edge.
@pytest.mark.parametrize(("along", "cups"), [(0.08, 8), (0.10, 6), (0.20, 4), (0.25, 0), (-0.10, 6), (-0.20, 4)])
def test_cups_over_the_edge_do_not_seal(lab: Lab, along: float, cups: int) -> None:
    state = tried(lab, lab.box(mass=1.0), along=along).suction.state
    assert state.sealed[0] == cups
    assert (state.held[0] == 0) == (cups > 0)


def test_one_row_of_cups_over_the_edge(lab: Lab) -> None:
    assert tried(lab, lab.box(mass=1.0), across=0.12).suction.state.sealed[0] == 4
    assert tried(lab, lab.box(mass=1.0), across=0.18).suction.state.sealed[0] == 0


def test_takes_the_carton_that_is_under_the_lips(lab: Lab) -> None:
    rows = lab.box()
    cell = lab.cell(rows)
    lab.hang(cell, rows, slot=1, along=0.41)
    lab.hang(cell, rows, slot=2)
    lab.run(cell, 1, suction=True)
    assert cell.suction.state.held[0] == 2
    assert np.flatnonzero(cell.worlds.eq_active[0]).tolist() == [2]


def test_nothing_is_held_without_suction(lab: Lab) -> None:
    rows = lab.box()
    cell = lab.cell(rows)
    lab.hang(cell, rows)
    lab.run(cell, 5)
    assert cell.suction.state.held[0] == FREE
    assert cell.poses(ONE)[0][0, 0, 2] < 0.8


def test_lets_go_on_command(lab: Lab) -> None:
    cell = lab.holding(lab.box())
    assert cell.suction.state.held[0] == 0
    assert cell.suction.state.vacuum[0] > 0.99
    high = cell.poses(ONE)[0][0, 0, 2]
    lab.run(cell, 2)
    state = cell.suction.state
    assert (state.held[0], state.sealed[0], state.broken_by[0]) == (FREE, 0, 0)
    assert state.vacuum[0] < 0.1
    assert not cell.worlds.eq_active.any()
    assert high - cell.poses(ONE)[0][0, 0, 2] > 0.1


# ---- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mass", [1.0, 4.0, 12.0])
def test_the_wrench_at_rest_is_the_weight(lab: Lab, mass: float) -> None:
    wrench = lab.holding(lab.box(mass=mass), periods=20).suction.state.wrench[0]
    assert wrench[2] == pytest.approx(mass * G, rel=0.02)
    assert np.abs(wrench[:2]).max() < 0.02 * mass * G
    assert np.abs(wrench[3:]).max() < 0.03


def test_the_wrench_is_zero_without_a_load(lab: Lab) -> None:
    rows = lab.box()
    cell = lab.cell(rows)
    lab.run(cell, 10)
    assert np.abs(cell.suction.state.wrench).max() < 0.01


def test_mass_error_changes_the_weight_but_not_what_the_order_says(lab: Lab) -> None:
    light, heavy = (
        lab.holding(lab.box(carton__mass_error=e), periods=20).suction.state.wrench[0, 2] for e in (-0.3, 0.3)
    )
    assert light == pytest.approx(0.7 * 4 * G, rel=0.02)
    assert heavy == pytest.approx(1.3 * 4 * G, rel=0.02)


def test_the_centre_of_mass_shifts_the_moment(lab: Lab) -> None:
    def moment(share: tuple[float, float, float]) -> np.ndarray:
        return lab.holding(lab.box(carton__center_of_mass=share), periods=20).suction.state.wrench[0, 3:]

    middle = moment((0.0, 0.0, 0.0))
    # The carton's x lies along the pad; a share of 0.1 is 40 mm there and 30 mm across.
    along, across = moment((0.1, 0.0, 0.0)) - middle, moment((0.0, 0.1, 0.0)) - middle
    assert np.abs(along[[0, 2]]).max() < 0.05
    assert np.abs(along[1]) == pytest.approx(4 * G * 0.04, rel=0.03)
    assert np.abs(across[0]) == pytest.approx(4 * G * 0.03, rel=0.03)
    assert np.abs(moment((0.0, 0.0, 0.2)) - middle).max() < 0.05


def test_pressing_on_a_carton_reads_negative(lab: Lab) -> None:
    rows = lab.box()
    cell = lab.cell(rows)
    # A column of cartons up to the lips, from the pallet, which the arm then presses down on.
    joints, ok = Kinematics(lab.layout.arm).solve_tool_down(
        np.array([[0.7, 0.0, 0.144 + 0.48 - 0.01 - lab.layout.base_height]]), np.zeros(1), cell.home[None], TOOL_LENGTH
    )
    assert ok[0]
    lab.put(cell, 0, (0.7, 0.0, 0.144 + 0.12))
    lab.put(cell, 1, (0.7, 0.0, 0.144 + 0.36))
    lab.run(cell, 30, joints=joints)
    assert cell.suction.state.wrench[0, 2] < -20.0


# ---- breaking --------------------------------------------------------------------------------------------------------


def outcome(lab: Lab, rows: Rows, sideways: float = 0.0, along: float = 0.0) -> str:
    """Hold a carton, then push it sideways, across the pad, with an acceleration [m/s2]; return how the hold broke."""
    cell = lab.cell(rows)
    gravity = cell.worlds.field("opt.gravity")
    # Weightless at first, as if it stood on the conveyor while the vacuum builds up.
    gravity[:, 2] = 0.0
    lab.hang(cell, rows, along=along)
    lab.run(cell, 5, suction=True)
    for share in np.linspace(0.1, 1.0, 10):
        gravity[:, 2] = -G * share
        lab.run(cell, 1, suction=True)
    for share in np.linspace(0.1, 1.0, 10):
        gravity[:, 0] = share * sideways
        lab.run(cell, 1, suction=True)
    lab.run(cell, 5, suction=True)
    state = cell.suction.state
    assert (state.held[0] == FREE) is (state.broken_by[0] > 0)
    if state.broken_by[0]:
        assert cell.poses(ONE)[0][0, 0, 2] < 0.9, "a carton that broke off has to fall"
    return BREAK_REASONS[state.broken_by[0]]


def test_a_too_heavy_carton_is_pulled_off(lab: Lab) -> None:
    assert outcome(lab, lab.box(mass=12.0, suction__max_force=130.0)) == ""
    assert outcome(lab, lab.box(mass=12.0, suction__max_force=105.0)) == "pulled off"


def test_fewer_cups_hold_less(lab: Lab) -> None:
    rows = lab.box(mass=6.0, suction__max_force=100.0, suction__max_moment=80.0)
    assert outcome(lab, rows) == ""
    assert outcome(lab, rows, along=0.2) == "pulled off"


def test_an_off_centre_carton_is_peeled_off(lab: Lab) -> None:
    weak: dict[str, Any] = {"mass": 8.0, "suction__max_moment": 6.0}
    assert outcome(lab, lab.box(**weak)) == ""
    assert outcome(lab, lab.box(**weak, carton__center_of_mass=(0.2, 0.0, 0.0))) == "pulled off"
    assert outcome(lab, lab.box(1, 8.0, suction__max_moment=(30.0, 6.0), carton__center_of_mass=(0, 0.2, 0))) == ""


def test_sideways_acceleration_slides_it_off(lab: Lab) -> None:
    # 4 kg on 150 N: what is left is (150 - 39) N * 0.3 = 33 N, that is 8.3 m/s2.
    weak: dict[str, Any] = {"suction__max_force": 150.0, "suction__friction": 0.3, "suction__max_moment": 80.0}
    assert outcome(lab, lab.box(**weak), sideways=7.5) == ""
    assert outcome(lab, lab.box(**weak), sideways=9.2) == "slid off"
    assert outcome(lab, lab.box(**{**weak, "suction__friction": 0.4}), sideways=9.2) == ""


def test_sideways_acceleration_twists_a_lopsided_carton_off(lab: Lab) -> None:
    weak: dict[str, Any] = {
        "suction__max_force": 150.0,
        "suction__friction": 0.3,
        "suction__max_moment": 80.0,
        "size": (0.6, 0.3, 0.24),
    }
    assert outcome(lab, lab.box(**weak), sideways=6.0) == ""
    lopsided = lab.box(**weak, carton__center_of_mass=(0.2, 0.0, 0.0))
    assert outcome(lab, lopsided, sideways=6.0) == "twisted off"


def test_a_hold_that_broke_stays_broken_until_the_pump_has_been_off(lab: Lab) -> None:
    rows = lab.box(suction__max_force=105.0)
    cell = lab.holding(rows)
    cell.worlds.field("opt.gravity")[:, 2] = -40.0
    lab.run(cell, 1, suction=True)
    assert BREAK_REASONS[cell.suction.state.broken_by[0]] == "pulled off"
    cell.worlds.field("opt.gravity")[:, 2] = -G
    lab.hang(cell, rows)
    lab.run(cell, 1, suction=True)
    assert cell.suction.state.held[0] == FREE
    lab.run(cell, 1)
    assert cell.suction.state.broken_by[0] == 0
    lab.hang(cell, rows)
    lab.run(cell, 1, suction=True)
    assert cell.suction.state.held[0] == 0


# ---- holding ---------------------------------------------------------------------------------------------------------


def test_a_carton_slips_less_than_a_millimetre_under_four_metres_per_second_squared(lab: Lab) -> None:
    rows = lab.box(mass=4.0)
    cell = lab.holding(rows, periods=10)
    kinematics = Kinematics(lab.layout.arm)
    start, _ = cell.suction.lip_pose(ONE)
    start = start - [0.0, 0.0, lab.layout.base_height]
    seed, heading = cell.home[None], -np.pi / 2  # at home the pad's x points to -y

    def relative() -> np.ndarray:
        lip, turn = cell.suction.lip_pose(ONE)
        return rotate(conjugate(turn), cell.poses(ONE)[0][:, 0] - lip)[0]

    before, slips, pushes = relative(), [], []
    amplitude = 3.2 / (2 * np.pi) ** 2  # at 1 Hz; the changing swing adds to it
    for period in range(40):
        # A smooth start and end, so that the whole hold is compared at rest.
        swell = min(1.0, period / 8, (39 - period) / 8)
        sway = amplitude * swell * np.sin(2 * np.pi * (period + 1) * PERIOD)
        joints, ok = kinematics.solve_tool_down(
            start + np.array([0.0, sway, 0.0]), np.array([heading]), seed, TOOL_LENGTH
        )
        assert ok[0]
        cell.advance(joints, np.ones(1, bool), ONE)
        pushes.append(np.hypot(*cell.suction.state.wrench[0, :2]) / 4.0)
        slips.append(np.linalg.norm(relative() - before))
        seed = joints
    lab.run(cell, 10, suction=True, joints=seed)
    assert cell.suction.state.held[0] == 0
    print("greatest push", max(pushes), "m/s2; greatest shift", max(slips), "left", np.linalg.norm(relative() - before))
    assert 3.9 < max(pushes) < 4.8
    assert max(slips) < 0.001
