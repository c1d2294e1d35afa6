"""The simulated arm behind the `Robot` contract: its row is the truth, and the limits of a real one hold."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from assets.arms import arm_named
from assets.errors import InputError
from sim2real.robot import robot_named
from sim2real.safety import State
from sim2real.simulated import SimRobot

HOME = np.array(arm_named("ur20").home)
QUIET = {"sensor.joint_position_noise": 0.0, "sensor.joint_torque_noise": 0.0}


def robot(arm: str = "ur20", **knobs: object) -> SimRobot:
    """A connected arm with these knobs (dots as double underscores)."""
    given = QUIET | {name.replace("__", "."): value for name, value in knobs.items()}
    made = robot_named("sim", arm=arm, knobs=given)
    assert isinstance(made, SimRobot)
    made.connect()
    return made


def swing(start: np.ndarray, size: float = 0.05, seconds: float = 2.0) -> np.ndarray:
    x = np.linspace(0.0, 1.0, round(seconds * 500))
    return start + size * np.sin(np.pi * x)[:, None] ** 4 * np.array([1.0, 0.3, -0.3, 0.5, 0.5, 1.0])


def test_playing_is_faster_than_real_time_and_sound() -> None:
    arm = robot()
    begin = time.monotonic()
    recording = arm.play(swing(HOME, seconds=4.0)).checked("ur20", 500.0)
    assert time.monotonic() - begin < 4.0
    assert recording.source == "simulation"
    assert len(recording) == 2000
    assert np.ptp(recording.position[:, 0]) == pytest.approx(0.05, rel=0.1)
    np.testing.assert_allclose(np.diff(recording.position[:, 0]) * 500, recording.velocity[1:, 0], atol=0.01)


def lag(recording_of: SimRobot) -> float:
    """By how much a swing's position trails its target [s]."""
    recording = recording_of.play(swing(HOME))
    position, sent = recording.position[:, 0] - HOME[0], recording.sent[:, 0] - HOME[0]
    at = np.arange(len(sent))
    return float((at * position).sum() / position.sum() - (at * sent).sum() / sent.sum()) / 500.0


def test_the_knobs_act() -> None:
    base = lag(robot(arm__latency=0.0))
    assert lag(robot(arm__latency=0.04)) - base == pytest.approx(0.04, abs=5e-4)
    assert lag(robot(arm__latency=0.0, arm__servo_filter=0.03)) - base == pytest.approx(0.03, abs=2e-3)
    slow = swing(HOME, 0.01)
    smooth, sticky = (robot(arm__friction=f, arm__stribeck=s).play(slow) for f, s in ((0.0, 0.0), (3.0, 1.0)))
    assert np.abs(sticky.position - smooth.position).max() > 2e-4


def test_playing_agrees_with_the_cell_of_the_same_row() -> None:
    """Ten actions through `act` (sim's own cell) and the same commands through `play` end in the same place."""
    from sim.servo import Servo

    servo, only = Servo(arm_named("ur20"), 1, 0.1, 50), np.array([0])
    servo.reset(HOME[None], only)
    knobs = {"arm__latency": 0.0, "arm__friction": 1.5, "arm__damping": 0.7}
    one, other = robot(**knobs), robot(**knobs)
    path = []
    for k in range(10):
        target = HOME + 0.01 * min(k, 6) * np.array([1, 0.2, -0.2, 0.3, 0.1, 1.0])
        one.act(dict(zip(one.action_features, [*target, 0.0], strict=True)))
        servo.command(target[None], only)
        path.append(servo.samples(0, 50, only)[0])
    recording = other.play(np.concatenate(path))
    np.testing.assert_allclose(recording.position[-1], one.cell.joints(only)[0][0], atol=2e-6)


def test_motions_follow_one_another() -> None:
    arm = robot(arm__latency=0.03, arm__servo_filter=0.02)
    goal = HOME + np.array([0.2, 0.1, -0.1, 0.0, 0.0, 0.3])
    arm.approach(goal)
    first = arm.play(swing(goal))
    second = arm.play(swing(goal))
    assert second.time[0] - first.time[-1] == pytest.approx(0.002)
    assert np.abs(second.position[0] - first.position[-1]).max() < 1e-4
    arm.act(dict(zip(arm.action_features, [*(goal + 0.005), 0.0], strict=True)))
    assert np.abs(arm.cell.joints(np.array([0]))[0][0] - goal).max() < 0.01


def test_noise_is_the_rows_and_repeats() -> None:
    a, b = (robot_named("sim", knobs={"sensor.joint_position_noise": 0.001}, seed=7) for _ in range(2))
    readings = []
    for arm in (a, b):
        arm.connect()
        readings.append(arm.play(np.tile(HOME, (500, 1))).position)
    np.testing.assert_array_equal(*readings)
    assert np.diff(readings[0], axis=0).std() == pytest.approx(0.001 * np.sqrt(2), rel=0.05)


def test_observations_have_their_names() -> None:
    arm = robot("ur10e")
    seen = arm.observe()
    assert set(seen) == set(arm.observation_features)
    home = [seen[f"joint{i}.position"] for i in range(6)]
    assert home == pytest.approx(arm_named("ur10e").home, abs=1e-3)
    assert all(isinstance(value, float) for value in seen.values())


def test_the_limits_of_a_real_arm_hold() -> None:
    arm = robot()
    sent = arm.act(dict(zip(arm.action_features, [*(HOME + 1.0), 0.0], strict=True)))
    assert 0.0 < sent["joint0.position"] - HOME[0] < 0.03
    with pytest.raises(InputError, match="approach it first"):
        arm.play(swing(HOME + 0.3))
    with pytest.raises(InputError, match=r"limit 0.25"):
        arm.play(swing(arm._held, 0.4))
    with pytest.raises(InputError, match="not a finite number"):
        arm.act(dict.fromkeys(arm.action_features, float("nan")))


def test_stopping_and_going_on() -> None:
    arm = robot()
    arm.stop()
    with pytest.raises(InputError, match="stopped: asked to: arm again"):
        arm.play(swing(HOME))
    arm.arm()
    arm.play(swing(HOME))
    arm.disconnect()
    assert arm.safety.state is State.DISCONNECTED
    with pytest.raises(InputError, match="not connected"):
        arm.observe()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"knobs": {"arm.latancy": 0.1}}, "did you mean 'arm.latency'"),
        ({"knobs": {"arm.latency": 3.0}}, "robot.knobs: knob arm.latency = 3 s lies outside"),
        ({"knobs": {"arm.friction": [1.0, 2.0]}}, r"robot.knobs: arm.friction = \[1.0, 2.0\] must have shape \(6,\)"),
        ({"arm": "ur7"}, "unknown arm"),
        ({"host": "x"}, "unknown setting of the robot 'host'"),
    ],
)
def test_settings_that_are_none(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        robot_named("sim", **settings)


@pytest.mark.parametrize("name", ["sim", "ur"])
def test_the_files_in_conf_are_settings(name: str) -> None:
    """Every setting stands in its file, with its default."""
    says = yaml.safe_load((Path(__file__).parents[2] / "conf" / "robot" / f"{name}.yaml").read_text())
    made = robot_named(**says)
    assert set(says) - {"kind"} == {field.name for field in dataclasses.fields(made.settings)}  # type: ignore[attr-defined]
    assert made.limits.tcp_speed == 0.25
    if name == "ur":
        assert {"suction", "joint5.position"} <= set(made.action_features)
        assert {"suction.vacuum", "suction.holding"} <= set(made.observation_features)


def test_an_unknown_kind() -> None:
    with pytest.raises(InputError, match="unknown kind of robot 'kuka': known are sim, ur"):
        robot_named("kuka")
