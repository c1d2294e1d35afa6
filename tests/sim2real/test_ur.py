"""The UR adapter through the unmodified ur-rtde against the stand-in: nothing moves unasked, everything stops in time.

Where a fault's exact times matter, `benchmarks/faults.py` measures them; here each is tried once.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin_lab import busy, some_host

from assets.errors import InputError
from benchmarks.faults import FAULTS, make, provoke_patiently, recover, stopped_for_safety
from sim2real.log import Log
from sim2real.recorder import check_registers
from sim2real.recording import Recording
from sim2real.robot import JOINT_TARGETS, robot_named
from sim2real.safety import State
from sim2real.standin.launch import ROOT, Standin, launched
from sim2real.ur import UrRobot, UrSettings

HOST = some_host(42)
STOPPED_WITHIN = 100.0  # [ms] of seeing a fault
EVERY_TIME = ("frozen state", "protective stop", "disconnect")  # a stop by us, by the controller, and past ur-rtde


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with launched(HOST, seed=3) as running:
        yield running


@pytest.fixture
def robot(standin: Standin, tmp_path: Path) -> Iterator[UrRobot]:
    made = robot_named("ur", host=standin.host, log=str(tmp_path), tool={"vacuum_output": 0, "holding_input": 0})
    assert isinstance(made, UrRobot)
    made.connect()
    yield made
    made.disconnect()


@pytest.fixture(autouse=True)
def released(standin: Standin) -> None:
    """Each test finds the arm ready: a person has cleared what a fault, or a busy machine, has left."""
    if stopped_for_safety(standin.host):
        recover(standin.host, {"name": "none"})


def patient(test: Callable[..., None]) -> Callable[..., None]:
    """Try a test again when the machine was too busy for a watch of 40 ms; three times in a row is no accident."""

    @functools.wraps(test)
    def tried(robot: UrRobot, **more: Any) -> None:
        for _ in range(2):
            try:
                return test(robot, **more)
            except InputError as error:
                if not busy(error):
                    raise
            robot.disconnect()
            recover(robot.settings.host, {"name": "none"})
            robot.connect()
        return test(robot, **more)

    return tried


def positions(robot: UrRobot) -> np.ndarray:
    return np.array([robot.observe()[f"joint{i}.position"] for i in range(6)])


def held(robot: UrRobot) -> np.ndarray:
    assert robot.loop is not None
    return robot.loop.held


def swing(start: np.ndarray, size: float = 0.05, seconds: float = 1.5) -> np.ndarray:
    """Targets that take every joint a little way there and back, from rest to rest."""
    x = np.linspace(0.0, 1.0, round(seconds * 500))
    return start + size * np.sin(np.pi * x)[:, None] ** 4 * np.array([1.0, 0.3, -0.3, 0.5, 0.5, 1.0])


def action(robot: UrRobot, **changed: float) -> dict[str, float]:
    values = dict.fromkeys(robot.action_features, 0.0) | dict(zip(JOINT_TARGETS, held(robot).tolist(), strict=True))
    return values | {name.replace("__", "."): value for name, value in changed.items()}


def test_connecting_is_a_dry_run(robot: UrRobot) -> None:
    assert robot.state is State.DRY_RUN
    assert robot.source == "stand-in, not hardware"
    assert set(robot.observe()) == set(robot.observation_features)


@patient
def test_a_dry_run_moves_nothing_and_does_all_else(robot: UrRobot) -> None:
    before = positions(robot)
    recording = robot.play(swing(held(robot)))
    assert np.isnan(recording.sent).all()
    requested = recording.requested[np.isfinite(recording.requested[:, 0])]
    assert np.ptp(requested, axis=0).max() > 0.04
    sent = robot.act(action(robot, joint0__position=before[0] + 0.01, suction=1.0))
    assert sent["joint0.position"] == pytest.approx(before[0] + 0.01, abs=1e-6)
    with pytest.raises(InputError, match="tool or elbow"):
        robot.play(swing(held(robot), 0.4))
    time.sleep(0.3)
    # The motion asked for is 50 mrad; an arm that an earlier test has moved still creeps by some 0.2 in its friction.
    np.testing.assert_allclose(positions(robot), before, atol=1e-3)
    assert robot.observe()["suction.vacuum"] == 0.0
    assert robot.recorder is not None
    assert int(robot.recorder.latest["runtime"]) == 1  # the controller runs no program of ours
    assert robot.state is State.DRY_RUN


@patient
def test_the_arm_follows_a_motion(robot: UrRobot) -> None:
    robot.arm()
    start = held(robot)
    targets = swing(start)
    recording = robot.play(targets).checked("ur20", 500.0)
    assert robot.state is State.ARMED
    inside = np.flatnonzero((np.diff(recording.sent, axis=0) != 0).any(1))
    played = recording.sent[inside[0] + 1 : inside[-1] + 2]
    # Every target arrived in its own period, but for those that a busy machine held up.
    foreign = np.abs(played[:, None] - targets[None]).max(2).min(1) > 0
    assert not foreign.any()
    assert len(inside) > 0.75 * len(targets)
    assert np.ptp(recording.position, axis=0).max() == pytest.approx(0.05, rel=0.1)
    assert np.abs(recording.position[-1] - targets[-1]).max() < 0.01
    sending = np.isfinite(recording.sent[:, 0])
    np.testing.assert_array_equal(recording.requested[sending], recording.sent[sending])


@patient
def test_actions_are_interpolated_as_in_simulation(robot: UrRobot) -> None:
    from sim.servo import Servo

    robot.arm()
    start = held(robot)
    assert robot.recorder is not None
    robot.recorder.keep()
    asked = [start + 0.01 * k * np.array([1, 0, 0, 0, 0, 1]) for k in (1, 2, 3, 3, 2)]
    begin = time.monotonic()
    for k, target in enumerate(asked):
        sent = robot.act(dict(zip(robot.action_features, [*target, float(k >= 2)], strict=True)))
        assert list(sent.values())[:6] == pytest.approx(target.tolist())
    assert time.monotonic() - begin == pytest.approx(0.45, abs=0.1)
    assert robot.observe()["suction.vacuum"] == 1.0
    time.sleep(0.6)
    assert robot.state is State.ARMED  # at rest, and ready for more
    recording = robot.recorder.kept("x", "ur20")
    servo, only = Servo(robot._arm, 1, 0.1, 50), np.array([0])
    servo.reset(start[None], only)
    path = []
    for target in [*asked, asked[-1]]:
        servo.command(target[None], only)
        path.append(servo.samples(0, 50, only)[0])
    expected = np.concatenate(path)
    seen = recording.sent[(recording.sent[:, 0] != start[0]) & np.isfinite(recording.sent[:, 0])]
    assert np.abs(seen[:, None, 0] - expected[None, :, 0]).min(1).max() < 1e-12
    requests = np.unique(recording.requested[np.isfinite(recording.requested[:, 0]), 0].round(9))
    assert set(requests) <= {round(value, 9) for value in (start[0], *(a[0] for a in asked))}
    robot.act(action(robot, suction=0.0))


@patient
def test_what_is_too_fast_is_slowed_down(robot: UrRobot) -> None:
    robot.arm()
    start = held(robot)
    sent = robot.act(action(robot, joint0__position=start[0] + 1.0))
    assert 0.01 < sent["joint0.position"] - start[0] < 0.04  # 25 mm at less than a metre


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"joint2__position": float("nan")}, "joint2.position = nan is not a finite number"),
        ({"elbow": 1.0}, "unknown 'elbow'"),
    ],
)
@patient
def test_a_refused_action_stops_the_arm(robot: UrRobot, changed: dict[str, float], words: str) -> None:
    robot.arm()
    with pytest.raises(InputError, match=words):
        robot.act(action(robot, **changed))
    assert robot.state is State.STOPPED
    with pytest.raises(InputError, match=r"stopped: .*arm again"):
        robot.act(action(robot))
    time.sleep(0.2)
    robot.arm()
    robot.act(action(robot))


def test_an_action_out_of_the_workspace_stops_the_arm(standin: Standin, tmp_path: Path) -> None:
    with UrRobot(UrSettings(host=standin.host, log="")) as robot:
        farthest = robot.limits.points(held(robot)[None])[0, :, 1] + np.append(
            np.repeat(robot.limits.kinematics.radii, 2), 0
        )
    wall = float(farthest.max()) + 0.02
    with UrRobot(UrSettings(host=standin.host, log="", box=((-2.2, -2.2, -0.2), (2.2, wall, 2.6)))) as robot:
        robot.arm()
        target = action(robot)

        def walk() -> None:
            for _ in range(20):
                target["joint0.position"] -= 0.02
                robot.act(target)

        with pytest.raises(InputError, match=r"the action would bring .* outside the workspace box"):
            walk()
        assert robot.state is State.STOPPED
        assert robot.limits.points(positions(robot)[None])[0, :, 1].max() < wall


@patient
def test_motions_that_break_a_limit_never_begin(robot: UrRobot) -> None:
    robot.arm()
    start = positions(robot)
    for path, words in (
        (swing(held(robot), 0.4), "limit 0.25"),
        (swing(held(robot) + 0.1), "approach it first"),
        (swing(held(robot)) * np.nan, "not a finite number"),
    ):
        with pytest.raises(InputError, match=words):
            robot.play(path)
    with pytest.raises(InputError, match="500"):
        robot.play(swing(held(robot)), rate=125.0)
    np.testing.assert_allclose(positions(robot), start, atol=2e-4)
    assert robot.state is State.ARMED


@patient
def test_approaching_is_slow(robot: UrRobot) -> None:
    robot.arm()
    assert robot.recorder is not None
    goal = held(robot) + np.array([0.1, 0, 0, 0.05, 0, 0.2])
    robot.recorder.keep()
    robot.approach(goal)
    recording = robot.recorder.kept("x", "ur20")
    np.testing.assert_allclose(held(robot), goal)
    sent = recording.sent[np.isfinite(recording.sent[:, 0])]
    # Half the speed that is allowed, but for rows in which a busy machine's targets bunched.
    assert np.percentile(robot.limits.speeds(sent, 500.0), 90) < 0.14
    robot.approach(goal - np.array([0.1, 0, 0, 0.05, 0, 0.2]))


@patient
def test_stopping_in_the_middle(robot: UrRobot) -> None:
    robot.arm()
    errors: list[str] = []

    def move() -> None:
        try:
            robot.play(swing(held(robot), 0.1, 4.0))
        except InputError as error:
            errors.append(str(error))

    mover = threading.Thread(target=move)
    mover.start()
    time.sleep(1.4)
    robot.stop()
    mover.join(2.0)
    assert not mover.is_alive()
    assert "cut short: stopped: asked to" in errors[0]
    time.sleep(0.3)
    there = positions(robot)
    time.sleep(0.2)
    np.testing.assert_allclose(positions(robot), there, atol=1e-3)
    robot.arm()  # a stop on purpose is no fault
    robot.approach(there)


@patient
def test_what_is_carried_is_told(robot: UrRobot) -> None:
    robot.arm()
    robot.carry(6.0)
    time.sleep(0.1)
    assert robot.recorder is not None
    assert robot.recorder.payload == pytest.approx(8.5)
    with pytest.raises(InputError, match="carries 20"):
        robot.carry(18.0)
    robot.carry(0.0)
    time.sleep(0.1)
    assert robot.recorder.payload == pytest.approx(2.5)
    assert robot.state is State.ARMED


@patient
def test_two_adapters_at_one_arm(robot: UrRobot, standin: Standin) -> None:
    robot.arm()
    with UrRobot(UrSettings(host=standin.host, log="")) as other:
        with pytest.raises(InputError, match=r"not armed: registers: .*in use"):
            other.arm()
        assert other.state is State.DRY_RUN
    assert robot.state is State.ARMED


@patient
def test_the_log_tells_what_happened(robot: UrRobot) -> None:
    robot.arm()
    robot.play(swing(held(robot)))
    robot.disconnect()
    assert robot.log is not None
    log = Log(robot.log)
    assert log.complete
    assert [event for _, event, _ in log.events if event != "controller"] == [
        "dry run", "armed", "running", "armed", "stopped", "disconnected",
    ]  # fmt: skip
    assert log.about["source"] == "stand-in, not hardware"
    assert log.about["model"] == "UR20"
    assert len(log.timing) > 700
    assert np.median(np.diff(log.timing["due"])) == pytest.approx(0.002, abs=1e-4)
    recording = Recording.read(robot.log).checked("ur20", 500.0)
    assert np.isfinite(recording.sent[-1]).all()


class TestFaults:
    @pytest.mark.parametrize(
        "name", [name if name in EVERY_TIME else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
    )
    def test_the_arm_stops_in_time(self, standin: Standin, tmp_path: Path, name: str) -> None:
        try:
            outcome = provoke_patiently(standin.host, FAULTS[name], 1.0, tmp_path)
        finally:
            recover(standin.host, FAULTS[name])
        assert outcome.says
        assert "\n" not in outcome.says
        assert outcome.complete
        assert not outcome.unlocked
        assert outcome.stopped < STOPPED_WITHIN
        assert outcome.closing < 3.0

    def test_in_use_registers_refuse_to_arm(self, robot: UrRobot, standin: Standin) -> None:
        make(standin.host, {"name": "in_use"})
        try:
            with pytest.raises(InputError, match=r"not armed: registers: .*in use"):
                robot.arm()
            assert robot.state is State.DRY_RUN
        finally:
            make(standin.host, {"name": "clear"})

    def test_an_emergency_stop_refuses_to_arm(self, robot: UrRobot, standin: Standin) -> None:
        make(standin.host, {"name": "emergency_stop"})
        try:
            time.sleep(0.05)
            with pytest.raises(InputError, match=r"safety: .*emergency stop.*mode: power off") as caught:
                robot.arm()
            assert "\n" not in str(caught.value)
            assert robot.state is State.DRY_RUN
        finally:
            recover(standin.host, {"name": "emergency_stop"})

    def test_a_killed_program_leaves_a_standing_arm(self, standin: Standin) -> None:
        program = f"""
import numpy as np
from benchmarks.faults import swing
from sim2real.ur import UrRobot, UrSettings
robot = UrRobot(UrSettings(host={standin.host!r}, log="", tcp_speed=0.5))
robot.connect()
robot.arm()
print("moving", flush=True)
robot.play(swing(robot.loop.held))
"""
        for _ in range(3):  # a busy machine may trip the watch before the arm moves
            child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            started = child.stdout.readline()
            with UrRobot(UrSettings(host=standin.host, log="")) as watcher:
                deadline = time.monotonic() + 3.0
                while not (moving := abs(watcher.observe()["joint0.velocity"]) > 0.05) and time.monotonic() < deadline:
                    time.sleep(0.01)
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
                if started and moving:
                    time.sleep(0.4)
                    assert abs(watcher.observe()["joint0.velocity"]) < 0.01
                    assert watcher.recorder is not None
                    assert int(watcher.recorder.latest["runtime"]) == 1  # nobody's program runs any more
                    return
            recover(standin.host, {"name": "none"})
        pytest.fail("the arm never moved")


def refused(words: str, **settings: Any) -> None:
    """Connecting and arming with these settings is refused with these words, in one line, and nothing moves."""
    robot = robot_named("ur", **{"host": HOST, "log": "", **settings})

    def go() -> None:
        try:
            robot.connect()
            robot.arm()
        finally:
            robot.disconnect()

    with pytest.raises(InputError, match=words) as caught:
        go()
    assert "\n" not in str(caught.value)
    assert not robot.is_connected


class TestBadInput:
    def test_wrong_address(self) -> None:
        refused("no robot controller answers at 127.0.0.99:30004", host="127.0.0.99")

    def test_wrong_model(self, standin: Standin) -> None:
        refused("is a UR20, but robot.arm is ur10e", arm="ur10e")

    def test_wrong_payload(self, standin: Standin) -> None:
        refused("not armed: payload: the controller was told 2.50 kg, robot.payload is 4.00 kg", payload=4.0)

    def test_outside_the_workspace(self, standin: Standin) -> None:
        refused("not armed: workspace: the .* outside the workspace box", box=[[-1, -1, 0.5], [1, 1, 1]])

    def test_missing_library(self, standin: Standin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        # The library is imported by a child; a module of its name that fails stands in for one that is missing.
        (tmp_path / "rtde_control.py").write_text("raise ImportError\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        patience = time.monotonic() + 5.0  # the client of the test before may still be going
        while check_registers(standin.host) and time.monotonic() < patience:
            time.sleep(0.1)
        refused(r"ur_rtde is missing: pip install 'palletlab\[ur\]'")

    def test_nothing_before_connecting(self) -> None:
        robot = robot_named("ur", host=HOST)
        for call in (robot.observe, robot.arm, lambda: robot.play(np.zeros((5, 6))), lambda: robot.act({})):
            with pytest.raises(InputError, match="not connected"):
                call()
        robot.stop()
        robot.disconnect()

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"hots": "x"}, "unknown setting of the robot 'hots': did you mean 'host'"),
            ({"arm": "ur21"}, "unknown arm 'ur21'"),
            ({"tcp_speed": "fast"}, "robot.tcp_speed = 'fast' must be a number"),
            ({"tcp_speed": -1.0}, "robot.tcp_speed"),
            ({"lookahead": 1.0}, "robot.lookahead = 1.0 must lie in 0.03"),
            ({"tool": {"vacuum_output": 9}}, "robot.tool.vacuum_output = 9"),
            ({"tool": {"vacum_output": 1}}, "did you mean 'vacuum_output'"),
            ({"tool": 3}, "robot.tool"),
            ({"box": [[0, 0, 0]]}, "robot.box"),
            ({"payload": 30.0}, "robot.payload = 30.0 must lie in 0"),
        ],
    )
    def test_settings_that_are_none(self, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            robot_named("ur", **settings)
        assert "\n" not in str(caught.value)


def test_the_package_stays_light() -> None:
    heavy = ("rtde_control", "mcap", "scipy", "cma", "mujoco", "torch")
    program = f"import sys, sim2real.robot; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
