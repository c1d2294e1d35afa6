"""The verdict on a tote: each thing that can be wrong is found and said, and nothing else is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tote_helpers import (
    FLOOR_AWAY,
    begun,
    beside_tote,
    fold,
    in_bin,
    in_tote,
    put_on_pile,
    put_part,
    put_tote,
    stay,
    tote_rows,
)

from assets import totes
from sim.latches import FLAT
from sim.rotations import yaw_of, yaw_quaternion
from sim.totes import FOLDING
from tasks.families import family
from tasks.totes.judge import TILT_SHIFT, ToteVerdict
from tasks.totes.task import DROPPED_AFTER, FLAT_TOLERANCE, STILL, ToteBreakdown
from tasks.totes.variants import BREAK_DOWN, CHECK, DECANT, STACK

ONE = np.arange(1)


def verdicts(task: ToteBreakdown, n: int) -> list[ToteVerdict]:
    found = task.judge(np.arange(n))
    assert all(isinstance(v, ToteVerdict) for v in found)
    for verdict in found:
        assert verdict.success == (not verdict.reasons)
    return found  # type: ignore[return-value]


def reasons(task: ToteBreakdown, n: int) -> list[tuple[str, ...]]:
    return [v.reasons for v in verdicts(task, n)]


# ---- parts and the check ---------------------------------------------------------------------------------------------


def test_where_parts_are() -> None:
    _, task = begun(tote_rows(5, tote__kind=[0, 0, 0, 2, 0], stage__last=DECANT))
    for world in (0, 1, 2, 3, 4):
        put_part(task, 0, in_bin(task, 0), [world])
    put_part(task, 1, in_bin(task, 1), [0])
    put_part(task, 1, FLOOR_AWAY, [2])
    beside = beside_tote(task)
    put_part(task, 1, beside, [3])
    task.cell.worlds.field("opt.gravity")[4] = 0.0
    put_part(task, 1, task.fingertips(np.array([4]))[0], [4])
    stay(task, DROPPED_AFTER + 2)
    assert reasons(task, 5) == [
        (),
        ("part 1 left in the tote",),
        ("part 1 dropped (on the floor)",),
        ("part 1 dropped (beside the tote)",),
        ("part 1 not in the bin in time",),
    ]
    found = verdicts(task, 5)
    assert [v.binned.tolist() for v in found] == [[True, True], *[[True, False]] * 4]
    assert all(v.wall_angle is None and v.stack_offset is None and v.tilt_shift is None for v in found)


def test_a_check_that_never_came() -> None:
    _, task = begun(tote_rows(2, stage__first=[CHECK, DECANT], stage__last=CHECK))
    for slot in range(2):
        put_part(task, slot, in_bin(task, slot), [1])
    stay(task, 3)
    assert reasons(task, 2) == [("tote not checked in time",)] * 2


def test_a_part_that_went_back_into_the_tote_counts_against_it() -> None:
    """What lies in the tote again after it has been binned is left in it."""
    _, task = begun(tote_rows(1, part__count=1, stage__last=DECANT))
    put_part(task, 0, in_bin(task, 0))
    stay(task, 3)
    put_part(task, 0, in_tote(task, 0))
    stay(task, 1)
    assert reasons(task, 1) == [("part 0 left in the tote",)]


# ---- walls -----------------------------------------------------------------------------------------------------------


def test_walls_within_five_degrees_of_flat() -> None:
    alone = {"stage__first": BREAK_DOWN, "stage__last": BREAK_DOWN}
    _, task = begun(tote_rows(5, tote__kind=[FOLDING] * 4 + [0], **alone))
    off = np.deg2rad([[0, 0, 0, 0], [4, 0, 0, 4], [0, 7, 0, 0], [90, 0, 6, 0]])
    fold(task, range(4), FLAT - off)
    found = verdicts(task, 5)
    assert [v.reasons for v in found] == [
        (),
        (),
        ("wall short_b off flat by 7 deg",),
        ("wall short_a off flat by 90 deg", "wall long_a off flat by 6 deg"),
        (),
    ]
    angles = [v.wall_angle for v in found]
    assert angles[4] is None  # does not fold
    np.testing.assert_allclose(np.array(angles[:4]), off, atol=1e-9)
    assert np.rad2deg(FLAT_TOLERANCE) == pytest.approx(5.0)


def test_a_wall_past_flat_counts_too_and_a_stack_alone_asks_for_no_walls() -> None:
    _, task = begun(tote_rows(2, tote__kind=FOLDING, stage__first=[BREAK_DOWN, STACK], stage__last=[BREAK_DOWN, STACK]))
    fold(task, range(2), FLAT + np.deg2rad(6.0))
    found = reasons(task, 2)
    assert [r for r in found[0] if "short_a" in r] == ["wall short_a off flat by 6 deg"]
    assert found[1] == ("tote not on the pile",)


# ---- the pile --------------------------------------------------------------------------------------------------------


def test_the_place_on_the_pile() -> None:
    """Where a tote is off its place, it says by how much; half a turn is none."""
    faults = {
        "off 20 mm": ((0.020, 0.0), 0.0, "tote off by 20.0 mm"),
        "off sideways": ((0.0, -0.016), 0.0, "tote off by 16.0 mm"),
        "turned": ((0.0, 0.0), np.deg2rad(4.0), "tote turned by 4.0 deg"),
        "turned the other way": ((0.003, 0.0), np.deg2rad(-3.5), "tote turned by 3.5 deg"),
        "a quarter": ((0.0, 0.0), np.pi / 2, "tote turned by 90.0 deg"),
        "elsewhere": ((0.3, 0.0), 0.0, "tote not on the pile"),
    }
    n = len(faults)
    _, task = begun(tote_rows(n, stage__first=STACK, tote__kind=[0, 1, 2, 3, 0, 1]))
    for world, (away, turned, _) in enumerate(faults.values()):
        put_on_pile(task, [world], away, turned)
    found = verdicts(task, n)
    assert [v.reasons for v in found] == [(what,) for *_, what in faults.values()]
    assert all(v.tilt_shift is None for v in found)  # nothing to be tilted
    offsets = np.array([v.stack_offset for v in found])
    np.testing.assert_allclose(offsets, [np.hypot(*away) for away, *_ in faults.values()], atol=1e-9)


def test_a_tote_that_leans_or_hangs_above_its_place() -> None:
    _, task = begun(tote_rows(2, stage__first=STACK))
    goal, yaw = task.stack_goal(np.arange(2))
    half = np.deg2rad(5.0) / 2
    lean = np.array([np.cos(half), np.sin(half), 0.0, 0.0])
    turn = np.stack([lean, yaw_quaternion(yaw[1:])[0]])
    put_tote(task, goal + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.030]]), turn, [0, 1])
    found = reasons(task, 2)
    assert found[1] == ("tote off by 30.0 mm",)
    (only,) = found[0]
    assert only.startswith("tote turned by")


def test_good_piles_stand_the_tilt_and_a_crooked_one_does_not() -> None:
    """Nested totes have play and no more; one that only stands on another's rim, its foot slick, slides off."""
    kinds = np.array([0, 3, FOLDING, 0, 2])
    rows = tote_rows(
        5, tote__kind=kinds, stage__first=STACK, pile__count=[2, 0, 3, 1, 1], surface__plastic_plastic__friction=0.1,
        test__direction=[0.3, -1.0, 2.0, 0.0, np.pi],
    )  # fmt: skip
    _, task = begun(rows)
    # In world 3 the pile's only tote stands crooked on a block of the bin's height: on the tote that it should hold.
    put_on_pile(task, [0, 1, 2, 4])
    low, high = task.goods.pile[0], task.goods.pile[1]
    crooked = np.array([3])
    position, rotation = (pose[0] for pose in task.cell.poses(crooked))
    size = totes.size("6280")
    aside = position[low] + np.array([0.12, 0.02, size[2] + 0.0005])
    task.cell.put(np.array([high]), aside[None], np.array([yaw_of(rotation[low])]), crooked)
    task.empties[3] = 2
    put_on_pile(task, crooked)
    found = verdicts(task, 5)
    assert [v.reasons for k, v in enumerate(found) if k != 3] == [()] * 4
    for k in (0, 1, 2, 4):
        shift = found[k].tilt_shift
        assert shift is not None
        assert 0.0 < shift < TILT_SHIFT
    (only,) = found[3].reasons
    assert only.startswith("pile shifts by ")
    assert only.endswith("mm under a 10 deg tilt")


def test_a_pile_that_shifts_too_far_without_falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nest's own play would be too much, were less of it allowed."""
    _, task = begun(tote_rows(1, stage__first=STACK, surface__plastic_plastic__friction=0.1))
    put_on_pile(task, ONE)
    monkeypatch.setattr("tasks.totes.judge.TILT_SHIFT", 0.0003)
    (verdict,) = verdicts(task, 1)
    (only,) = verdict.reasons
    assert verdict.tilt_shift is not None
    assert only == f"pile shifts by {verdict.tilt_shift * 1000:.0f} mm under a 10 deg tilt"


def test_the_tilt_leaves_the_world_as_it_was() -> None:
    """The worlds go back to where they stood, their gravity too: what is filmed last is the finished pile."""
    _, task = begun(tote_rows(1, stage__first=STACK))
    put_on_pile(task, ONE)
    stay(task, 10)
    before = task.cell.worlds.qpos.copy()
    gravity = task.cell.worlds.field("opt.gravity").copy()
    assert verdicts(task, 1)[0].success
    assert task.cell.worlds.qpos.tobytes() == before.tobytes()
    np.testing.assert_array_equal(task.cell.worlds.field("opt.gravity"), gravity)
    assert np.abs(task.cell.worlds.qvel).max() < STILL


def test_the_verdict_does_not_depend_on_what_is_judged_beside_it() -> None:
    rows = tote_rows(3, stage__first=STACK, tote__kind=[0, 1, 3], test__direction=[0.4, 1.4, 2.4])
    _, task = begun(rows)
    put_on_pile(task, range(3), (0.001, 0.0))
    together = [v.to_dict() for v in verdicts(task, 3)]
    for world in (2, 0):
        _, alone = begun(rows.take([world]))
        put_on_pile(alone, ONE, (0.001, 0.0))
        assert verdicts(alone, 1)[0].to_dict() == together[world]


# ---- what is made of it ----------------------------------------------------------------------------------------------


def test_figures_and_pieces_of_verdicts() -> None:
    _, task = begun(tote_rows(3, tote__kind=[0, FOLDING, 0], stage__last=[DECANT, BREAK_DOWN, STACK], part__count=2))
    for slot in range(2):
        put_part(task, slot, in_bin(task, slot), [0, 1])
    stay(task, 2)
    metadata = [{"verdict": json.loads(json.dumps(v.to_dict()))} for v in verdicts(task, 3)]
    made = family("tote_breakdown")
    assert [made.pieces(m) for m in metadata] == [(2, 2), (2, 2), (0, 2)]
    said = made.figures(metadata)
    assert said["parts_in_the_bin"]["value"] == pytest.approx(4 / 6)
    assert said["walls_from_flat"]["value"] == pytest.approx(90.0, abs=0.1)
    assert made.figures([]).keys() == said.keys()
