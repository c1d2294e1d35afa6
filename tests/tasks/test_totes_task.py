"""Tote breakdown: stages follow the world, what is told of it and rewarded, what is seen, and how it ends."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from tote_helpers import (
    FLOOR_AWAY,
    SETTINGS,
    arm_over,
    begun,
    beside_tote,
    fold,
    happened,
    in_bin,
    in_tote,
    put_arm,
    put_on_pile,
    put_part,
    stay,
    tote_rows,
)

from assets import totes
from assets.combi_tool import STROKE
from sim.cell import PERIOD
from sim.latches import FLAT
from sim.rotations import angle_between, yaw_of, yaw_quaternion
from sim.totes import FOLDING
from tasks.totes.task import (
    ABSENT,
    DONE,
    DROPPED_AFTER,
    IN_BIN,
    IN_TOTE,
    INSTRUCTIONS,
    LOOK_PERIODS,
    LOST,
    OUT,
    PART_NAMES,
    SCENE_NAMES,
    SECONDS_EXTRA,
    SECONDS_PER_PART,
    SETTLE,
    STATE_NAMES,
    ToteBreakdown,
    surroundings_names,
)
from tasks.totes.variants import BREAK_DOWN, CHECK, DECANT, STACK, cavity

ONE = np.arange(1)
STEP = -0.001  # reward of a period in which nothing happens


def look(task: ToteBreakdown, over: float = 0.22) -> np.ndarray:
    """Hang the tool still over the tote's middle; return the joints."""
    (tote,), _ = task.tote_pose(ONE)
    joints = arm_over(task, tote + np.array([0.0, 0.0, cavity(int(task.kind[0]))[2] + over]))
    put_arm(task, joints)
    return joints


# ---- stages ----------------------------------------------------------------------------------------------------------


def test_stages_follow_the_world() -> None:
    """Parts are carried by hand: in the bin, back in the tote, in the bin again; then looked at, then stacked."""
    _, task = begun(tote_rows())
    state, told = task.state, []

    def stage() -> int:
        told.append(task.instruction(ONE)[0])
        return int(state.stage[0])

    stay(task)
    assert stage() == DECANT
    assert state.where[0].tolist() == [IN_TOTE, IN_TOTE, ABSENT, ABSENT]
    put_part(task, 0, in_bin(task, 0))
    assert stay(task)[0, 0] == pytest.approx(1.0 + STEP)
    assert stage() == DECANT
    put_part(task, 1, in_bin(task, 1))
    stay(task)
    assert state.where[0].tolist() == [IN_BIN, IN_BIN, ABSENT, ABSENT]
    assert stage() == CHECK
    put_part(task, 1, in_tote(task, 1))
    assert stay(task)[0, 0] == pytest.approx(-1.0 + STEP)
    assert stage() == DECANT  # the work is sent back
    put_part(task, 1, in_bin(task, 1))
    stay(task)
    assert stage() == CHECK
    stay(task, 10)
    assert stage() == CHECK  # from home there is nothing to be seen
    stay(task, LOOK_PERIODS + 1, joints=look(task))
    assert stage() in (BREAK_DOWN, STACK)
    stay(task, 2)
    assert stage() == STACK  # nothing to fold
    put_on_pile(task, ONE)
    gained = stay(task, 5)[:, 0]
    assert stage() == DONE
    assert gained.sum() == pytest.approx(2.0 + 5 * STEP)
    assert told == [INSTRUCTIONS[k] for k in (0, 0, 1, 0, 1, 1)] + told[6:7] + [INSTRUCTIONS[3]] * 2
    stages = [(e["stage"], e["event"]) for e in task.events[0] if "stage" in e]
    assert stages == [*((k, INSTRUCTIONS[k]) for k in (0, 1, 0, 1, 2, 3)), (DONE, "all done")]
    assert happened(task) == [
        (0, "released: in the bin"), (1, "released: in the bin"), (1, "released: in the bin"),
    ]  # fmt: skip
    times = [e["time"] for e in task.events[0]]
    assert times == sorted(times)
    assert times[-1] == pytest.approx((state.period[0] - state.idle[0] + 1) * PERIOD)


def test_it_ends_a_while_after_the_work_is_done() -> None:
    _, task = begun(tote_rows(1, stage__first=STACK))
    put_on_pile(task, ONE)
    ended = []
    for _ in range(SETTLE + 2):
        stay(task)
        done, late = task.finished(ONE)
        assert not late[0]
        ended.append(bool(done[0]))
    assert ended[-1]
    assert ended.index(True) == np.argmax(ended)
    assert task.state.idle[0] >= SETTLE


def test_the_check_wants_half_a_second_of_looking_in() -> None:
    rows = tote_rows(1, stage__first=CHECK, stage__last=CHECK)
    _, task = begun(rows)
    joints = look(task)
    stay(task, LOOK_PERIODS, joints=joints)  # the first of them comes to rest
    early = int(task.state.stage[0])
    stay(task, 2, joints=joints)
    assert (early, int(task.state.stage[0])) in ((CHECK, DONE), (DONE, DONE))
    assert task.state.period[0] >= LOOK_PERIODS

    def looked(aside: float = 0.0, over: float = 0.22, moving: float = 0.0, lean: float = 0.0) -> int:
        task.apply(rows, ONE)
        (tote,), _ = task.tote_pose(ONE)
        joints = arm_over(task, tote + np.array([aside, 0.0, cavity(0)[2] + over]), lean)
        put_arm(task, joints)
        for k in range(LOOK_PERIODS + 3):
            stay(task, 1, joints=joints + moving * np.array([(k % 2), 0, 0, 0, 0, 0]))
        return int(task.state.stage[0])

    assert looked() == DONE
    assert looked(aside=0.12) == CHECK
    assert looked(over=0.65) == CHECK
    assert looked(moving=0.03) == CHECK
    assert looked(lean=0.1) == DONE
    assert looked(lean=0.3) == CHECK


def test_looking_at_a_part_that_was_left_is_no_check() -> None:
    _, task = begun(tote_rows(1, stage__first=CHECK, stage__last=CHECK, check__left_over=1))
    assert task.state.where[0].tolist() == [IN_TOTE, ABSENT, ABSENT, ABSENT]
    joints = look(task)
    stay(task, LOOK_PERIODS + 3, joints=joints)
    assert task.state.stage[0] == CHECK
    put_part(task, 0, in_bin(task, 0))
    stay(task, LOOK_PERIODS + 2, joints=joints)
    assert task.state.stage[0] == DONE
    assert task.judge(ONE)[0].success


def test_walls_count_once_they_lie_flat() -> None:
    _, task = begun(tote_rows(1, tote__kind=FOLDING, stage__first=BREAK_DOWN, stage__last=BREAK_DOWN))
    assert np.abs(task.walls(ONE)).max() < 1e-6
    fold(task, ONE, [FLAT, FLAT, 0.0, 0.0])
    flat = task._walls_flat(ONE)
    assert flat.tolist() == [[True, True, False, False]]
    stay(task, 2)
    assert task.state.stage[0] == BREAK_DOWN
    fold(task, ONE, [FLAT, FLAT, FLAT, 0.0])
    before = task.state.stage[0]
    gained = stay(task, 1)[0, 0]
    assert (before, gained) == (BREAK_DOWN, pytest.approx(STEP))  # set by hand between two periods: no reward
    fold(task, ONE, FLAT)
    stay(task, LOOK_PERIODS - 1)
    assert task.state.stage[0] == BREAK_DOWN
    stay(task)
    assert task.state.stage[0] == DONE


def test_a_wall_that_falls_flat_is_rewarded_with_a_half() -> None:
    _, task = begun(tote_rows(1, tote__kind=FOLDING, stage__first=BREAK_DOWN, stage__last=BREAK_DOWN))
    fold(task, ONE, [np.deg2rad(60.0), 0.0, 0.0, 0.0])
    gained = stay(task, 10)[:, 0]
    assert task.walls(ONE)[0, 0] == pytest.approx(FLAT, abs=0.02)
    assert gained.sum() == pytest.approx(0.5 + 10 * STEP)
    fold(task, ONE, [np.deg2rad(60.0), 0.0, 0.0, 0.0])
    assert stay(task, 10).sum() == pytest.approx(0.5 + 10 * STEP)


@pytest.mark.parametrize("stage", range(4))
def test_a_stage_alone(stage: int) -> None:
    """It begins with that stage's work, and that is all there is to do."""
    kinds = [0, FOLDING]
    _, task = begun(tote_rows(2, tote__kind=kinds, stage__first=stage, stage__last=stage, check__left_over=0))
    ids = np.arange(2)
    assert task.state.stage.tolist() == [stage] * 2
    assert task.instruction(ids) == [INSTRUCTIONS[stage]] * 2
    assert task.count.tolist() == [2 if stage == DECANT else 0] * 2
    np.testing.assert_allclose(task.walls(ids)[1], FLAT if stage == STACK else 0.0, atol=1e-6)
    for world in ids:
        if stage == DECANT:
            for slot in range(2):
                put_part(task, slot, in_bin(task, slot), [world])
        elif stage == CHECK:
            (tote,), _ = task.tote_pose(np.array([world]))
            put_arm(task, arm_over(task, tote + np.array([0.0, 0.0, 0.45])), [world])
        elif stage == BREAK_DOWN:
            fold(task, [world])
        else:
            put_on_pile(task, [world])
    joints = task.cell.servo.history[0, -1].copy() if stage == CHECK else None
    stay(task, LOOK_PERIODS + 2, joints=joints)
    assert task.state.stage.tolist() == [DONE] * 2
    assert task.instruction(ids) == [INSTRUCTIONS[stage]] * 2
    assert [v.reasons for v in task.judge(ids)] == [(), ()]


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_a_part_on_the_floor_is_lost() -> None:
    _, task = begun(tote_rows())
    put_part(task, 0, FLOOR_AWAY)
    assert stay(task)[0, 0] == pytest.approx(-1.0 + STEP)
    assert happened(task) == [(0, "lost: on the floor")]
    put_part(task, 0, in_bin(task, 0))
    stay(task, 2)
    assert task.state.where[0, 0] == LOST  # for good
    assert "part 0 dropped (on the floor)" in task.judge(ONE)[0].reasons


def test_a_part_that_lies_beside_the_tote_is_lost_after_a_while() -> None:
    _, task = begun(tote_rows(1, tote__kind=2))  # a small tote on a table with room beside it
    beside = beside_tote(task)
    put_part(task, 1, beside)
    stay(task, DROPPED_AFTER - 2)
    assert task.state.where[0, 1] == OUT
    stay(task, 4)
    assert task.state.where[0, 1] == LOST
    assert happened(task) == [(1, "attached: taken out"), (1, "lost: beside the tote")]
    assert task.state.stage[0] == DECANT  # the other one is still inside


def test_a_held_part_is_not_dropped_while_it_hangs_still() -> None:
    _, task = begun(tote_rows())
    task.cell.worlds.field("opt.gravity")[:] = 0.0
    put_part(task, 0, task.fingertips(ONE)[0])
    stay(task, 3 * DROPPED_AFTER)
    assert task.state.where[0, 0] == OUT


def test_a_part_that_falls_back_or_leaves_the_bin_is_told() -> None:
    _, task = begun(tote_rows())
    task.cell.worlds.field("opt.gravity")[:] = 0.0
    for place in (task.fingertips(ONE)[0], in_tote(task, 0), in_bin(task, 0), task.fingertips(ONE)[0]):
        put_part(task, 0, place)
        stay(task)
    assert [event for part, event in happened(task) if part == 0] == [
        "attached: taken out", "fell back into the tote", "released: in the bin", "left the bin",
    ]  # fmt: skip


def test_parts_in_a_tipped_tote_are_still_in_it() -> None:
    _, task = begun(tote_rows(1, tote__kind=2))
    task.cell.worlds.field("opt.gravity")[:] = 0.0
    half = np.deg2rad(70.0)
    turn = np.array([[np.cos(half), np.sin(half), 0.0, 0.0]])
    task.cell.put(task.tote[ONE], np.array([[0.9, 0.0, 0.9]]), turn, ONE)
    inside = np.array([0.9, -np.sin(2 * half) * 0.12, 0.9 + np.cos(2 * half) * 0.12])
    put_part(task, 0, inside)
    put_part(task, 1, inside + np.array([0.09, 0.0, 0.0]))
    stay(task)
    assert task.state.where[0, :2].tolist() == [IN_TOTE, IN_TOTE]


# ---- time, sight, memory ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
def test_time_is_up(count: int) -> None:
    _, task = begun(tote_rows(1, part__count=count))
    limit = round((SECONDS_PER_PART * count + SECONDS_EXTRA) / PERIOD)
    task.state.period[0] = limit - 2
    late = []
    for _ in range(2):
        stay(task)
        late.append([bool(x[0]) for x in task.finished(ONE)])
    assert late == [[False, False], [False, True]]
    reasons = task.judge(ONE)[0].reasons
    assert reasons == (
        *(f"part {j} left in the tote" for j in range(count)),
        "tote not checked in time",
        "tote not on the pile",
    )


def named(task: ToteBreakdown) -> list[dict[str, float]]:
    seen = task.observe(np.arange(task.cell.worlds.nworld))
    names = (*STATE_NAMES, *surroundings_names(task.slots))
    values = np.concatenate([seen["state"], seen["environment_state"]], axis=1)
    assert values.shape[1] == len(names) == len(set(names))
    assert values.dtype == np.float32
    return [dict(zip(names, row.tolist(), strict=True)) for row in values]


def test_what_is_seen_is_what_is_there() -> None:
    rows = tote_rows(
        2, tote__kind=[2, FOLDING], tote__position=[[0.01, -0.02], [0.0, 0.02]], tote__yaw=[0.1, -0.1],
        pile__count=[2, 0], pile__position=[[0.01, 0.0], [0.0, 0.01]], pile__yaw=[0.02, -0.04],
        part__size=[[0, 2, 1, 1], [1, 1, 1, 1]], decant__pour=[1, 0], tote__fold_first=[0, 1],
    )  # fmt: skip
    _, task = begun(rows)
    fold(task, [1], [0.2, 0.0, 0.5, 0.0])
    one, two = named(task)
    position, rotation = task.tote_pose(np.arange(2))
    goal, yaw = task.stack_goal(np.arange(2))
    for k, seen in enumerate((one, two)):
        assert [seen[f"joint{i}.position"] for i in range(6)] == pytest.approx(task.cell.home.tolist(), abs=1e-5)
        assert seen["gripper.opening"] == pytest.approx(STROKE, abs=1e-4)
        assert [seen[f"tote.{a}"] for a in "xyz"] == pytest.approx(position[k].tolist(), abs=1e-6)
        assert [seen[f"tote.q{a}"] for a in "wxyz"] == pytest.approx(rotation[k].tolist(), abs=1e-6)
        assert [seen[f"pile.{a}"] for a in ("x", "y", "top")] == pytest.approx(goal[k].tolist(), abs=1e-6)
        assert seen["pile.yaw"] == pytest.approx(float(yaw[k]), abs=1e-6)
        assert seen["part0.where"] == IN_TOTE
        assert [seen[f"part3.{name}"] for name in PART_NAMES] == [0.0] * len(PART_NAMES)  # there is none
    assert (one["stage"], one["decant.pour"], one["tote.kind"], one["tote.fold_first"], one["pile.count"]) == (
        DECANT, 1, 2, 0, 2,
    )  # fmt: skip
    assert (two["tote.kind"], two["tote.fold_first"], two["pile.count"]) == (FOLDING, 1, 0)
    walls = ("short_a", "short_b", "long_a", "long_b")
    assert [one[f"tote.{w}.angle"] for w in walls] == [0.0] * 4
    assert [two[f"tote.{w}.angle"] for w in walls] == pytest.approx([0.2, 0.0, 0.5, 0.0], abs=1e-6)
    assert (one["part0.size"], one["part1.size"]) == (0, 2)
    # The tote, its parts and the pile stand where the row says.
    table = task.layout.station(0.0, task.layout.table_height)
    np.testing.assert_allclose(position, table + np.array([[0.01, -0.02, 0.0], [0.0, 0.02, 0.0]]), atol=1e-9)
    np.testing.assert_allclose(yaw_of(rotation), [0.1, -0.1], atol=1e-9)
    pitch = totes.pitch("4280")
    np.testing.assert_allclose(goal[:, 2], task.layout.dolly_height + np.array([2 * pitch, 0.0]), atol=1e-9)
    assert SCENE_NAMES[0] == "stage"


def test_sensor_noise_is_as_large_as_its_knobs_say_and_repeats() -> None:
    sigma = {"joint_position": 0.002, "joint_torque": 5.0, "part_position": 0.003, "part_rotation": 0.03,
             "tote_position": 0.002, "tote_yaw": 0.008}  # fmt: skip
    _, task = begun(tote_rows(2, **{f"sensor__{k}_noise": v for k, v in sigma.items()}))
    seen = [named(task) for _ in range(400)]

    def spread(*names: str, world: int = 0) -> float:
        return float(np.mean([np.std([s[world][name] for s in seen]) for name in names]))

    assert spread(*(f"joint{i}.position" for i in range(6))) == pytest.approx(0.002, rel=0.1)
    assert spread(*(f"joint{i}.torque" for i in range(6))) == pytest.approx(5.0, rel=0.1)
    assert spread(*(f"part1.{a}" for a in "xyz")) == pytest.approx(0.003, rel=0.1)
    for name in (*(f"tote.{a}" for a in "xyz"), "pile.x", "pile.y", "pile.top"):
        assert spread(name) == pytest.approx(0.002, rel=0.15)
    assert spread("pile.yaw") == pytest.approx(0.008, rel=0.15)
    assert spread("gripper.opening", "stage", "tote.kind", "part1.where", "part1.family") == 0.0

    def turned(what: str, truth: np.ndarray) -> float:
        q = np.array([[s[0][f"{what}.q{a}"] for a in "wxyz"] for s in seen])
        np.testing.assert_allclose((q**2).sum(1), 1.0, atol=1e-5)
        return float(np.sqrt((angle_between(q, np.broadcast_to(truth, q.shape)) ** 2).mean()))

    upright = np.array([1.0, 0, 0, 0])
    assert turned("part1", upright) == pytest.approx(0.03 * np.sqrt(3), rel=0.1)
    assert turned("tote", yaw_quaternion(np.array(0.0))) == pytest.approx(0.008, rel=0.15)
    seen_twice = np.array([[s[k]["part0.x"] for s in seen] for k in (0, 1)])
    assert abs(np.corrcoef(seen_twice).item(1)) < 0.2  # each world has a noise of its own
    _, again = begun(tote_rows(2, **{f"sensor__{k}_noise": v for k, v in sigma.items()}))
    assert [named(again) for _ in range(3)] == seen[:3]


def test_save_and_restore_of_what_only_the_task_knows() -> None:
    """Counters, places and events; the physics in the middle of real work is tested with the expert."""
    _, task = begun(tote_rows(2, tote__kind=2, sensor__part_position_noise=0.001))
    put_part(task, 0, beside_tote(task), [0])
    put_part(task, 1, in_bin(task, 1), [0, 1])
    stay(task, 5)
    saved, ids = task.save(np.arange(2)), np.arange(2)

    def on() -> list[bytes]:
        rewards = stay(task, 8)
        kept = [getattr(task.state, name).tobytes() for name in vars(task.state)]
        seen = task.observe(ids)
        return [rewards.tobytes(), *kept, *(v.tobytes() for v in seen.values()), repr(task.events).encode()]

    first, events = on(), copy.deepcopy(task.events)
    assert task.state.where[0, 0] == LOST
    put_part(task, 1, FLOOR_AWAY, [0, 1])
    stay(task, 4)
    task.restore(saved, ids)
    assert task.state.where[0, 0] == OUT
    assert on() == first
    assert task.events == events


def test_a_look_goes_on_after_a_restore() -> None:
    _, task = begun(tote_rows(1, stage__first=CHECK, stage__last=CHECK))
    joints = look(task)
    stay(task, 3, joints=joints)
    saved, looked = task.save(ONE), int(task.state.looked[0])
    assert 0 < looked < LOOK_PERIODS
    put_arm(task, task.cell.home)
    stay(task, 3)
    assert task.state.looked[0] == 0
    task.restore(saved, ONE)
    stay(task, 1, joints=joints)
    assert task.state.looked[0] == looked + 1


def test_a_new_row_leaves_nothing_of_the_old_one() -> None:
    _, task = begun(tote_rows(1, tote__kind=FOLDING))
    put_part(task, 0, FLOOR_AWAY)
    fold(task, ONE)
    stay(task, 12)
    rows = tote_rows(1, tote__kind=1, part__count=3)
    task.apply(rows, ONE)
    _, fresh = begun(rows)
    for name in vars(task.state):
        np.testing.assert_array_equal(getattr(task.state, name), getattr(fresh.state, name), err_msg=name)
    assert task.events == fresh.events
    stay(task, 3)
    stay(fresh, 3)
    assert task.cell.worlds.qpos.tobytes() == fresh.cell.worlds.qpos.tobytes()
    assert {k: v.tobytes() for k, v in task.observe(ONE).items()} == {
        k: v.tobytes() for k, v in fresh.observe(ONE).items()
    }
    assert SETTINGS.slots == task.slots
