"""Trials on a robot: the stand-in's cell in this process, and the verdict from seen poses."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from trial_rows import SETTINGS, small_rows

from assets.errors import InputError
from benchmarks.plant_robot import PlantRobot
from sim2real.sidechannel import CellClient
from sim2real.standin import WHAT
from sim2real.standin.cell import Cell
from sim2real.standin.sealed import Sealed
from sim2real.validate.cell import RobotCell
from sim2real.validate.figures import apart
from sim2real.validate.seen import Load, stability, standing
from sim2real.validate.simulated import palletizing_of, run_all
from sim2real.validate.trials import Outcome, Trial
from tasks.simulation import Simulation

TRIAL = Trial(0, "AAAA", "expert", 0)


def sealed(**changed: float) -> Sealed:
    """Return a well-kept stand-in, with some parameters (dots as double underscores) changed."""
    values = dict(Sealed.nominal())
    values |= {f"surface.cardboard_{w}.friction": np.full(1, 0.6) for w in ("cardboard", "wood")}
    values |= {"suction.max_force": np.full(1, 650.0), "suction.max_moment": np.array([23.0, 34.0])}
    values |= {k.replace("__", "."): np.full(values[k.replace("__", ".")].shape, v) for k, v in changed.items()}
    return Sealed(0, "contained", values)


def trial_cell(spoil: Callable[[Cell], None] = lambda cell: None, **changed: float) -> RobotCell:
    cell = Cell("ur20", sealed(**changed))
    spoil(cell)
    return RobotCell(PlantRobot(cell), CellClient(cell.ask), SETTINGS, small_rows(2), WHAT)


def test_a_good_stand_in_does_what_simulation_predicts() -> None:
    cell = trial_cell()
    simulated = dict(run_all(Simulation(SETTINGS, 2, nthread=1), "expert", small_rows(2)))
    for row in range(2):  # the second begins where the first has left the arm
        outcome = cell.run(dataclasses.replace(TRIAL, row=row))
        assert outcome.reasons == ()
        assert outcome.placed == (True, True)
        assert outcome.seconds == pytest.approx(simulated[row].seconds, abs=1.0)
        found = apart(outcome, simulated[row])
        assert found["path"] < 0.04
        assert found["cartons"] < 0.006
        assert [(e["carton"], e["event"]) for e in outcome.events] == [
            (e["carton"], e["event"]) for e in simulated[row].events
        ]


def test_cups_that_are_too_weak_drop_cartons() -> None:
    outcome = trial_cell(suction__max_force=90.0, suction__max_moment=3.0).run(TRIAL)
    assert not outcome.success
    assert any(e["event"] in ("fell back", "lost: pulled off") for e in outcome.events)
    assert all("not placed in time" in r or "dropped" in r for r in outcome.reasons)


def test_a_slippery_load_fails_the_test_of_half_a_g() -> None:
    slippery = {f"surface__cardboard_{w}__friction": 0.3 for w in ("cardboard", "wood")}
    outcome = trial_cell(**slippery).run(TRIAL)
    assert outcome.placed == (True, True)
    assert len(outcome.reasons) == 1
    assert "0.5 g" in outcome.reasons[0]


def test_a_side_channel_that_fails_stops_the_robot_and_the_next_trial_arms_it_again() -> None:
    cell = trial_cell()
    told: list[str] = []
    for name in ("arm", "stop"):
        setattr(cell.robot, name, lambda name=name: told.append(name))
    ask, calls = cell.client.ask, []

    def failing(name: str, **message: object) -> object:
        calls.append(name)
        if len(calls) == 40:
            raise InputError("side channel: the other side hung up; connect again")
        return ask(name, **message)

    cell.client.ask = failing
    with pytest.raises(InputError, match="hung up"):
        cell.run(TRIAL)
    assert told == ["arm", "stop"]
    assert cell.run(TRIAL).success
    assert told == ["arm", "stop", "arm"]


@pytest.mark.parametrize(
    ("step", "limits", "says"),
    [
        (0.02, {"tcp_speed": 0.19}, "at up to 0.20 m/s, robot.tcp_speed = 0.19"),
        (0.02, {"box": np.array([[-2.0, -2.0, -0.5], [2.0, 2.0, 2.0]])}, "robot.box"),
        (0.02, {}, None),
    ],
)
def test_trials_that_the_robot_s_limits_forbid_are_not_begun(step: float, limits: dict, says: str | None) -> None:
    cell = trial_cell()
    cell.robot.limits = dataclasses.replace(cell.robot.limits, **limits)
    way = np.stack([np.arange(10) * step, np.zeros(10), np.full(10, 0.2)], axis=1)  # the base stands at 0.75 m
    outcome = Outcome(True, (), (True,), 1.0, way, np.zeros((1, 4)), ())
    if says is None:
        cell.check([outcome])
    else:
        with pytest.raises(InputError, match=says):
            cell.check([outcome])


# ---- the verdict from seen poses -------------------------------------------------------------------------------------

SIZE = np.array([[0.4, 0.3, 0.24], [0.4, 0.3, 0.24]])
LOAD = Load(SIZE, np.full(2, 8.0), np.full(2, 2500.0), np.array([[0.9, 0.0, 0.144], [0.9, 0.0, 0.384]]), np.zeros(2))
UPRIGHT = np.tile([1.0, 0.0, 0.0, 0.0], (2, 1))
ALL, NONE = np.ones(2, bool), np.zeros(2)


def turned(angle: float) -> np.ndarray:
    return np.array([[1.0, 0.0, 0.0, 0.0], [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)]])


@pytest.mark.parametrize(
    ("moved", "quaternion", "lost", "put", "says"),
    [
        ((0.0, 0.0, 0.0), UPRIGHT, {}, ALL, None),
        ((0.0, 0.014, 0.0), UPRIGHT, {}, ALL, None),
        ((0.0, 0.016, 0.0), UPRIGHT, {}, ALL, "carton 1 off by 16.0 mm"),
        ((np.nan, 0.0, 0.0), UPRIGHT, {}, ALL, "carton 1 off by nan mm"),
        ((0.0, 0.0, -0.3), UPRIGHT, {}, ALL, "carton 1 dropped (300 mm below its place)"),
        ((0.0, 0.0, 0.0), turned(np.deg2rad(1.9)), {}, ALL, None),
        ((0.0, 0.0, 0.0), turned(np.deg2rad(2.1)), {}, ALL, "carton 1 turned by 2.1 deg"),
        ((0.0, 0.0, 0.0), turned(np.pi), {}, ALL, None),
        ((0.0, 0.0, 0.0), UPRIGHT, {1: "pulled off"}, ALL, "carton 1 dropped (pulled off)"),
        ((0.0, 0.0, 0.0), UPRIGHT, {}, np.array([True, False]), "carton 1 not placed in time"),
    ],
)
def test_what_is_wrong_with_a_standing_load(
    moved: tuple[float, float, float], quaternion: np.ndarray, lost: dict[int, str], put: np.ndarray, says: str | None
) -> None:
    position = LOAD.goal + np.array([(0.0, 0.0, 0.0), moved])
    wrong, placed = standing(LOAD, position, quaternion, lost, put, NONE)
    assert wrong == ([] if says is None else [says])
    assert placed.tolist() == [True, says is None]


@pytest.mark.parametrize(
    ("moved", "yaw"),
    [((0.02, 0.0, 0.0), 0.0), ((0.0, 0.9, -0.2), 0.3), ((0.0, 0.0, 0.0), 0.05), ((0.0, 0.01, 0.0), 0.0)],
)
def test_seen_poses_are_judged_as_simulated_ones(moved: tuple[float, float, float], yaw: float) -> None:
    simulation, ids = Simulation(SETTINGS, 1, nthread=1), np.array([0])
    rows = small_rows(1)
    simulation.task.apply(rows.replaced(pallet__prefill=np.array([2.0])), ids)
    task = palletizing_of(simulation)
    load = Load(task.size[0, :2], task.mass[0, :2], task.strength[0, :2], task.target[0, :2], task.target_yaw[0, :2])
    task.cell.put(np.array([1]), load.goal[None, 1] + np.array(moved), load.yaw[1:] + yaw, ids)
    position, quaternion = (poses[0, :2] for poses in task.cell.poses(ids))
    wrong, placed = standing(load, position, quaternion, {}, ALL, NONE)
    verdict = simulation.judge(ids)[0]
    assert tuple(wrong) == verdict.reasons
    assert placed.tolist() == verdict.to_dict()["placed"]


def test_what_is_too_heavy_crushes_what_it_stands_on() -> None:
    weak = dataclasses.replace(LOAD, strength=np.array([70.0, 2500.0]))
    assert standing(weak, LOAD.goal, UPRIGHT, {}, ALL, NONE)[0] == ["carton 0 crushed (78 N)"]
    apart_ = LOAD.goal + np.array([(0.0, 0.0, 0.0), (0.0, 0.31, -0.24)])
    assert not any("crushed" in r for r in standing(weak, apart_, UPRIGHT, {}, ALL, NONE)[0])
    assert "carton 1 crushed (2600 N)" in standing(LOAD, LOAD.goal, UPRIGHT, {}, ALL, np.array([0.0, 2600.0]))[0]


@pytest.mark.parametrize(
    ("tilt", "greatest", "end", "sunk", "says"),
    [
        (0.002, 0.040, 0.020, 0.0, []),
        (0.004, 0.0, 0.0, 0.0, ["load creeps 4.0 mm under a 10 deg tilt"]),
        (0.0, 0.060, 0.0, 0.0, ["load deforms 60 mm of 480 under 0.5 g"]),
        (0.0, 0.040, 0.030, 0.0, ["load stays deformed 30 mm of 480 after 0.5 g"]),
        (0.0, 0.060, 0.060, 0.06, ["a carton falls off the load under 0.5 g"]),
    ],
)
def test_what_is_wrong_when_it_is_shaken(
    tilt: float, greatest: float, end: float, sunk: float, says: list[str]
) -> None:
    tests = {
        "tilt": {"greatest": [0.0, tilt]},
        "pulse": {"greatest": [0.0, greatest], "end": [0.0, end], "sunk": [0, sunk]},
    }
    assert stability(LOAD, tests) == says
