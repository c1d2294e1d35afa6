"""What the adapter counts on, asked of whatever answers: always the stand-in, and a real controller or URSim if named.

    PALLETLAB_UR_HOST=192.168.56.101 PALLETLAB_UR_ARM=ur20 .venv/bin/python -m pytest tests/sim2real/test_conformance.py

moves nothing. With PALLETLAB_UR_MOVE=1 the last joint turns by three degrees and back, at the speed of the limits for
commissioning: clear the arm's way, keep a hand at the emergency stop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from standin_lab import Reader, busy, some_host

from assets.errors import InputError
from benchmarks.faults import recover
from sim2real.dashboard import STAND_IN, Dashboard
from sim2real.preflight import model_fits
from sim2real.recorder import ECHO, FIELDS, check_registers
from sim2real.recording import STOPPED, Recording
from sim2real.robot import robot_named
from sim2real.rtde import RATE
from sim2real.safety import State
from sim2real.standin.launch import launched
from sim2real.ur import UrRobot

TYPES = {
    **dict.fromkeys(("timestamp", "speed_scaling", "payload", *ECHO[1:]), "DOUBLE"),
    **dict.fromkeys(("actual_q", "actual_qd", "actual_current", "target_q", "target_moment"), "VECTOR6D"),
    **dict.fromkeys(("actual_TCP_force",), "VECTOR6D"),
    **dict.fromkeys(("safety_status_bits", "runtime_state"), "UINT32"),
    **dict.fromkeys(("robot_mode", ECHO[0]), "INT32"),
    **dict.fromkeys(("actual_digital_output_bits", "actual_digital_input_bits"), "UINT64"),
    **dict.fromkeys(("standard_analog_input0", "standard_analog_input1"), "DOUBLE"),
}
REAL = os.environ.get("PALLETLAB_UR_HOST", "")
ARM = os.environ.get("PALLETLAB_UR_ARM", "ur20")
TURN = np.deg2rad(3.0)


@pytest.fixture(scope="module", params=["stand-in", pytest.param("named by PALLETLAB_UR_HOST")])
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "stand-in":
        with launched(some_host(57), ARM if ARM in ("ur10e", "ur20") else "ur20", seed=5) as running:
            yield running.host
    elif REAL:
        yield REAL
    else:
        pytest.skip("PALLETLAB_UR_HOST names no controller")


def test_every_field_is_there_with_its_type_and_comes_on_time(host: str) -> None:
    reader = Reader(host, (*FIELDS, *ECHO))
    assert dict(zip(reader.recipe.names, reader.recipe.types, strict=True)) == TYPES
    rows = reader.rows(1.0)
    reader.close()
    steps = np.diff([row["timestamp"] for row in rows])
    assert len(rows) > 0.9 * RATE
    np.testing.assert_allclose(steps, 1 / RATE, atol=2e-4)
    last = rows[-1]
    assert all(np.isfinite(np.asarray(value, float)).all() for value in last.values())
    assert not int(last["safety_status_bits"]) & STOPPED
    assert np.abs(np.array(last["actual_q"]) - last["target_q"]).max() < 0.02


def test_the_dashboard_says_what_it_is(host: str) -> None:
    dashboard = Dashboard(host)
    assert model_fits(dashboard.model, ARM)
    assert "." in dashboard.software
    assert dashboard.safety in ("NORMAL", "REDUCED")
    assert (dashboard.source == STAND_IN) == (host != REAL)
    dashboard.close()
    assert check_registers(host) == ""


def test_a_dry_run_reads_everything_and_moves_nothing(host: str, tmp_path: Path) -> None:
    robot = robot_named("ur", host=host, arm=ARM, log=str(tmp_path))
    assert isinstance(robot, UrRobot)
    with robot:
        assert robot.state is State.DRY_RUN
        before = robot.observe()
        assert set(before) == set(robot.observation_features)
        assert all(np.isfinite(value) for value in before.values())
        assert [check for check in robot.preflight() if not check.right] == []
        robot.play(_turn(robot))
        after = robot.observe()
    moved = max(abs(after[f"joint{i}.position"] - before[f"joint{i}.position"]) for i in range(6))
    assert moved < TURN / 4


def test_a_small_motion_is_followed(host: str, tmp_path: Path) -> None:
    if host == REAL and os.environ.get("PALLETLAB_UR_MOVE") != "1":
        pytest.skip("PALLETLAB_UR_MOVE=1 lets a real arm move")
    targets, recording = _moved(host, tmp_path)
    assert np.ptp(recording.position[:, 5]) == pytest.approx(TURN, rel=0.2)
    assert np.abs(recording.position[-1] - targets[-1]).max() < 0.01


def _moved(host: str, logs: Path, tries: int = 3) -> tuple[np.ndarray, Recording]:
    """Targets and what was recorded of them; tried again where a busy machine was too late for the stand-in."""
    try:
        with robot_named("ur", host=host, arm=ARM, log=str(logs)) as robot:
            assert isinstance(robot, UrRobot)
            robot.arm()
            targets = _turn(robot)
            return targets, robot.play(targets)
    except InputError as error:
        if host == REAL or tries == 1 or not busy(error):
            raise
    recover(host, {"name": "none"})
    return _moved(host, logs, tries - 1)


def _turn(robot: UrRobot) -> np.ndarray:
    """Targets (k, 6) that turn the last joint by `TURN` and back within two seconds."""
    assert robot.loop is not None
    x = np.linspace(0.0, 1.0, round(2 * RATE))
    return robot.loop.held + TURN * np.sin(np.pi * x)[:, None] ** 4 * np.eye(6)[5]
