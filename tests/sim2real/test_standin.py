"""The stand-in over its sockets: served to the unmodified client library, and failing on demand."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from standin_lab import Reader, ask, some_host

from assets.errors import InputError
from sim2real.rtde import DASHBOARD_PORT, RTDE_PORT, RobotMode, SafetyBit, frame
from sim2real.standin import SIDE_PORT
from sim2real.standin.controller import PLAYING, STOPPED
from sim2real.standin.launch import Standin, launched
from sim2real.standin.sealed import Sealed

ROOT = Path(__file__).parents[2]
rtde_control = pytest.importorskip("rtde_control", reason="needs the extra [ur]")
rtde_receive = pytest.importorskip("rtde_receive")
rtde_io = pytest.importorskip("rtde_io")
dashboard_client = pytest.importorskip("dashboard_client")


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with launched(some_host(2), seed=3) as made:
        yield made


@pytest.fixture
def control(standin: Standin) -> Iterator[Any]:
    client = rtde_control.RTDEControlInterface(standin.host)
    yield client
    client.disconnect()


@pytest.fixture
def reader(standin: Standin) -> Iterator[Reader]:
    made = Reader(standin.host)
    yield made
    made.close()


def dashboard(host: str, *lines: str) -> list[str]:
    with socket.create_connection((host, DASHBOARD_PORT), 2) as connection, connection.makefile("rw") as text:
        assert text.readline().startswith("Connected")
        said = []
        for line in lines:
            text.write(line + "\n")
            text.flush()
            said.append(text.readline().strip())
        return said


def waited(reader: Reader, condition: Any, seconds: float = 3.0) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while not condition(row := reader.latest()):
        assert time.monotonic() < end, row
    return row


# ---- served to the real client ---------------------------------------------------------------------------------------


def test_a_joint_move_arrives(control: Any, reader: Reader) -> None:
    start = np.array(reader.latest()["actual_q"])
    goal = start + np.array([0.1, -0.05, 0.05, 0.1, 0.1, -0.1])
    assert control.moveJ(goal.tolist(), 1.0, 2.0)
    assert np.abs(np.array(reader.latest()["actual_q"]) - goal).max() < 3e-3
    assert control.moveJ(start.tolist(), 1.0, 2.0)


def test_a_line_is_straight_and_its_speed_kept(control: Any, standin: Standin) -> None:
    seen = Reader(standin.host, ("actual_TCP_pose", "actual_TCP_speed"))
    start = np.array(seen.one()["actual_TCP_pose"])
    goal = start + np.array([0.1, 0.05, 0.1, 0, 0, 0])
    assert control.moveL(goal.tolist(), 0.2, 0.8, True)  # does not wait
    rows = seen.rows(1.5)
    seen.close()
    path = np.array([r["actual_TCP_pose"][:3] for r in rows]) - start[:3]
    speed = np.linalg.norm([r["actual_TCP_speed"][:3] for r in rows], axis=1)
    direction = (goal - start)[:3] / np.linalg.norm((goal - start)[:3])
    assert np.abs(path - np.outer(path @ direction, direction)).max() < 2e-3
    assert np.linalg.norm(path[-1] - (goal - start)[:3]) < 2e-3
    assert 0.19 < speed.max() < 0.23
    assert control.getAsyncOperationProgress() < 0  # over
    assert control.moveL(start.tolist(), 0.25, 1.0)


def test_a_servo_loop_at_500_hz_follows(control: Any, standin: Standin) -> None:
    receive = rtde_receive.RTDEReceiveInterface(standin.host)
    start = np.array(receive.getActualQ())
    arm = Sealed.draw(3)
    moments, targets, positions = [], [], []
    for k in range(750):
        period = control.initPeriod()
        moments.append(time.perf_counter())
        targets.append(0.1 * np.sin(2 * np.pi * 0.5 * k * 0.002))
        assert control.servoJ([start[0] + targets[-1], *start[1:]], 0, 0, 0.002, 0.1, 300)
        positions.append(receive.getActualQ()[0] - start[0])
        control.waitPeriod(period)
    control.servoStop()
    receive.disconnect()
    periods = np.diff(moments)
    assert np.median(periods) == pytest.approx(0.002, abs=2e-4)
    # Behind by latency and filter, and by what the servo lags: 29 ms at nominal gains. A loaded machine adds to it.
    late = arm.number("arm.latency") + arm.number("arm.servo_filter")
    lags = np.arange(100)
    errors = [np.abs(np.array(positions[lag:]) - targets[: len(targets) - lag]).mean() for lag in lags]
    assert late < lags[int(np.argmin(errors))] * 0.002 < late + 0.08
    assert min(errors) < 0.01


def test_speeds_and_stops(control: Any, reader: Reader) -> None:
    assert control.speedJ([0.1, 0, 0, 0, 0, 0], 1.0, 0)
    time.sleep(0.4)
    assert reader.latest()["actual_qd"][0] == pytest.approx(0.1, abs=0.01)
    assert control.speedStop()
    assert abs(reader.latest()["actual_qd"][0]) < 0.01
    start = reader.latest()["actual_q"]
    assert control.moveJ([start[0] - 0.6, *start[1:]], 0.5, 1.0, True)
    time.sleep(0.3)
    control.stopJ(4.0)
    time.sleep(0.1)
    assert np.abs(reader.latest()["actual_qd"]).max() < 0.02


def test_questions_and_settings(control: Any, standin: Standin, reader: Reader) -> None:
    here = reader.latest()["actual_q"]
    pose = control.getForwardKinematics(list(here), [0, 0, 0.2, 0, 0, 0])
    assert np.allclose(control.getInverseKinematics(pose, list(here)), here, atol=1e-6)
    assert control.isSteady()
    assert control.isJointsWithinSafetyLimits(list(here))
    assert control.setPayload(3.5, [0.0, 0.01, 0.12])
    seen = Reader(standin.host, ("payload", "payload_cog"))
    row = seen.one()
    seen.close()
    assert (row["payload"], row["payload_cog"]) == (3.5, (0.0, 0.01, 0.12))
    assert control.setPayload(2.5, [0, 0, 0.10128])


def test_outputs_and_slider(standin: Standin) -> None:
    io = rtde_io.RTDEIOInterface(standin.host)
    seen = Reader(standin.host, ("actual_digital_output_bits", "standard_analog_output1", "speed_scaling"))
    assert io.setStandardDigitalOut(3, True)
    assert io.setAnalogOutputVoltage(1, 0.25)
    assert io.setSpeedSlider(0.5)
    time.sleep(0.05)
    row = seen.latest()
    assert row["actual_digital_output_bits"] == 8
    assert (row["standard_analog_output1"], row["speed_scaling"]) == (0.25, 0.5)
    assert io.setStandardDigitalOut(3, False)
    assert io.setSpeedSlider(1.0)
    time.sleep(0.05)
    assert seen.latest()["actual_digital_output_bits"] == 0
    seen.close()
    io.disconnect()


def test_the_dashboard_client_is_served(standin: Standin) -> None:
    client = dashboard_client.DashboardClient(standin.host)
    client.connect()
    assert client.polyscopeVersion().startswith("5.21.")
    assert client.getRobotModel() == "UR20"
    assert client.getSerialNumber() == "2024000003"
    assert client.robotmode() == "Robotmode: RUNNING"
    assert client.safetystatus() == "Safetystatus: NORMAL"
    assert client.isInRemoteControl()
    client.disconnect()


def test_an_unkicked_watchdog_ends_the_program(control: Any, reader: Reader) -> None:
    assert control.setWatchdog(20.0)
    for _ in range(10):
        assert control.kickWatchdog()
        time.sleep(0.02)
    assert reader.latest()["runtime_state"] == PLAYING
    waited(reader, lambda row: row["runtime_state"] == STOPPED, 1.0)
    assert any("watchdog" in text for text in reader.texts) or not control.servoJ([0.0] * 6, 0, 0, 0.002, 0.1, 300)


def test_readers_get_every_packet_each_at_its_own_rate(standin: Standin) -> None:
    fast, slow = Reader(standin.host), Reader(standin.host, ("timestamp",), 125.0)
    fast_rows, slow_rows = fast.rows(0.5), slow.rows(0.1)
    fast.close()
    slow.close()
    assert np.allclose(np.diff([r["timestamp"] for r in fast_rows]), 0.002, atol=1e-9)
    assert np.allclose(np.diff([r["timestamp"] for r in slow_rows]), 0.008, atol=1e-9)
    assert 0.9 < len(fast_rows) * 0.002 / 0.5 < 1.1


def test_inputs_belong_to_one_client_until_it_goes(standin: Standin) -> None:
    first, second = Reader(standin.host), Reader(standin.host)
    first.write(input_int_register_20=5)
    with pytest.raises(InputError, match="in use"):
        second.write(input_int_register_20=6)
    second.write(input_int_register_21=6)
    first.close()
    time.sleep(0.05)
    second.write(input_int_register_20=7)
    second.close()


def test_killing_the_client_leaves_a_standing_arm_and_free_registers(standin: Standin, reader: Reader) -> None:
    code = (
        "import sys, time, rtde_control, rtde_receive\n"
        "host = sys.argv[1]\n"
        "c = rtde_control.RTDEControlInterface(host); q = rtde_receive.RTDEReceiveInterface(host).getActualQ()\n"
        "c.setWatchdog(10.0); print('ready', flush=True)\n"
        "for k in range(5000):\n"
        "    t = c.initPeriod(); c.servoJ([q[0] + 0.0002 * k, *q[1:]], 0, 0, 0.002, 0.1, 300); c.waitPeriod(t)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, standin.host], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        time.sleep(0.5)
        assert abs(reader.latest()["actual_qd"][0]) > 0.05
        client.send_signal(signal.SIGKILL)
        client.wait()
    waited(reader, lambda row: row["runtime_state"] == STOPPED and abs(row["actual_qd"][0]) < 0.01, 0.5)
    again = rtde_control.RTDEControlInterface(standin.host)
    assert again.isProgramRunning()
    again.disconnect()


def test_nonsense_on_any_port_hurts_nobody(standin: Standin, reader: Reader) -> None:
    for port, noise in (
        (RTDE_PORT, b"\x00\x01GET / HTTP/1.1\r\n"),
        (RTDE_PORT, frame(ord("U"))),
        (30003, b"end\n" * 9),
    ):
        with socket.create_connection((standin.host, port), 2) as connection:
            connection.sendall(noise)
            time.sleep(0.02)
    assert dashboard(standin.host, "\x07\x00?")[0].startswith("could not understand")
    for line in (b"hello\n", b'["ask"]\n', b'{"ask": 3}\n'):
        with socket.create_connection((standin.host, SIDE_PORT), 2) as connection, connection.makefile("rb") as lines:
            connection.sendall(line)
            assert json.loads(lines.readline())["ok"] is False
    assert reader.latest()["robot_mode"] == RobotMode.RUNNING


# ---- the side channel ------------------------------------------------------------------------------------------------


def test_the_seal_is_that_of_what_is_revealed() -> None:
    with launched(some_host(3), arm="ur10e", seed=11, structure="richer") as other:
        hello = ask(other.host, "hello")
        assert hello["what"] == "stand-in, not hardware"
        assert (hello["arm"], hello["cell"], hello["revealed"]) == ("ur10e", False, False)
        assert hello["seal"] == other.seal == ask(other.host, "seal")["seal"] == Sealed.draw(11, "richer").seal()
        told = ask(other.host, "reveal")
        assert told["values"] == Sealed.draw(11, "richer").reveal()["values"]
        assert ask(other.host, "hello")["revealed"]


def test_two_stand_ins_side_by_side(standin: Standin, reader: Reader) -> None:
    with launched(some_host(4), seed=4) as other:
        assert other.seal != standin.seal
        theirs = Reader(other.host)
        before = reader.latest()["actual_q"]
        client = rtde_control.RTDEControlInterface(other.host)
        start = theirs.latest()["actual_q"]
        assert client.moveJ([start[0] + 0.1, *start[1:]], 1.0, 2.0)
        assert theirs.latest()["actual_q"][0] == pytest.approx(start[0] + 0.1, abs=3e-3)
        assert np.abs(np.subtract(reader.latest()["actual_q"], before)).max() < 1e-3
        client.disconnect()
        theirs.close()


def test_what_cannot_start_says_why(standin: Standin) -> None:
    with pytest.raises(InputError, match="another one"), launched(standin.host):
        pass
    with pytest.raises(InputError, match="seed"), launched(some_host(5), seed=-1):
        pass


def test_it_ends_with_whoever_launched_it() -> None:
    host = some_host(6)
    code = (
        "import sys, time; from sim2real.standin.launch import launched\n"
        "with launched(sys.argv[1]): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, host], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        parent.kill()
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        Reader(host)


def test_a_cell_answers_beside_the_clock() -> None:
    with launched(some_host(7), cell=True, weak=True) as other:
        assert ask(other.host, "hello")["cell"]
        assert ask(other.host, "cell.reset", cartons=[{"size": [0.4, 0.3, 0.24], "mass": 8.0}])["ok"]
        seen = ask(other.host, "cell.observe")
        assert seen["ok"]
        assert len(seen["place"]) == 1
        refused = ask(other.host, "cell.dance")
        assert not refused["ok"]
        assert "cell.dance" in refused["error"]
        assert ask(other.host, "reveal")["values"]["suction.max_force"] < 350


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fault(standin: Standin) -> Iterator[Any]:
    def make(name: str, **how: Any) -> None:
        answer = ask(standin.host, "fault", name=name, **how)
        assert answer["ok"], answer

    yield make
    make("clear")


def test_dropped_packets(fault: Any, reader: Reader) -> None:
    fault("drop", share=0.3, seconds=1.0)
    rows = reader.rows(0.8)
    gaps = np.diff([r["timestamp"] for r in rows])
    assert 0.5 < 0.002 / gaps[10:].mean() < 0.9
    waited(reader, lambda row: row["timestamp"] > rows[0]["timestamp"] + 1.1)
    assert np.allclose(np.diff([r["timestamp"] for r in reader.rows(0.2)]), 0.002, atol=1e-9)


def test_silence_on_an_open_connection(fault: Any, reader: Reader) -> None:
    fault("drop", share=1.0)
    reader.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        reader.rows(1.0)


def test_lag(fault: Any, reader: Reader) -> None:
    row = reader.latest()
    offset = time.monotonic() - row["timestamp"]
    fault("lag", delay=0.2)
    time.sleep(0.3)
    row = reader.latest()
    assert time.monotonic() - row["timestamp"] - offset == pytest.approx(0.2, abs=0.05)


def test_frozen_state(fault: Any, control: Any, reader: Reader) -> None:
    fault("freeze", seconds=0.6)
    assert control.speedJ([0.1, 0, 0, 0, 0, 0], 1.0, 0)
    frozen = reader.rows(0.3)[20:]
    assert len({r["actual_q"] for r in frozen}) == 1
    assert np.allclose(np.diff([r["timestamp"] for r in frozen]), 0.002, atol=1e-9)
    waited(reader, lambda row: row["actual_q"] != frozen[-1]["actual_q"])
    fault("freeze", clock=True)
    reader.rows(0.05)
    assert len({r["timestamp"] for r in reader.rows(0.1)[5:]}) == 1
    fault("clear")
    control.speedStop()


def test_registers_in_use(fault: Any, standin: Standin, reader: Reader) -> None:
    fault("in_use")
    with pytest.raises(RuntimeError, match="already in use"):
        rtde_control.RTDEControlInterface(standin.host)
    with pytest.raises(InputError, match="in use"):
        reader.write(input_int_register_22=1)
    assert "Traceback" not in str(reader.latest())


def test_a_protective_stop_stops_a_moving_arm(fault: Any, control: Any, standin: Standin, reader: Reader) -> None:
    assert control.speedJ([0.3, 0, 0, 0, 0, 0], 2.0, 0)
    time.sleep(0.4)
    fault("protective_stop")
    rows = reader.rows(0.6)
    bits = np.array([r["safety_status_bits"] for r in rows])
    tripped = int(np.argmax(bits & SafetyBit.PROTECTIVE_STOP > 0))
    assert bits[tripped] & SafetyBit.PROTECTIVE_STOP
    assert np.abs(rows[tripped + 50]["actual_qd"]).max() < 0.02  # 100 ms later
    assert not control.servoJ([0.0] * 6, 0, 0, 0.002, 0.1, 300)
    assert "Cannot unlock" in dashboard(standin.host, "unlock protective stop")[0]
    assert any("protective stop" in text for text in reader.texts)
    time.sleep(5.0)
    assert dashboard(standin.host, "unlock protective stop") == ["Protective stop releasing"]
    waited(reader, lambda row: row["safety_status_bits"] == SafetyBit.NORMAL)


def test_an_emergency_stop_cuts_the_power(fault: Any, standin: Standin, reader: Reader) -> None:
    fault("emergency_stop")
    row = waited(reader, lambda row: row["safety_status_bits"] & SafetyBit.EMERGENCY_STOP)
    assert row["robot_mode"] == RobotMode.POWER_OFF
    assert dashboard(standin.host, "safetystatus", "power on", "robotmode") == [
        "Safetystatus: ROBOT_EMERGENCY_STOP",
        "Powering on",
        "Robotmode: POWER_OFF",
    ]
    fault("emergency_release")
    dashboard(standin.host, "power on", "brake release")
    waited(reader, lambda row: row["robot_mode"] == RobotMode.RUNNING)


def test_disconnect_cuts_everybody_but_the_side_channel(fault: Any, standin: Standin) -> None:
    reader = Reader(standin.host)
    fault("disconnect")
    with pytest.raises(ConnectionError):
        reader.rows(0.5)
    again = Reader(standin.host)
    assert again.one()["robot_mode"] == RobotMode.RUNNING
    again.close()


def test_a_restart_comes_back_without_power_and_with_a_new_clock(fault: Any, standin: Standin) -> None:
    reader = Reader(standin.host)
    fault("restart", seconds=0.5)
    with pytest.raises(ConnectionError):
        reader.rows(0.5)
    with pytest.raises(ConnectionRefusedError):
        Reader(standin.host)
    time.sleep(0.7)
    again = Reader(standin.host)
    row = again.one()
    assert row["timestamp"] < 2.0
    assert row["robot_mode"] == RobotMode.POWER_OFF
    dashboard(standin.host, "power on", "brake release")
    waited(again, lambda row: row["robot_mode"] == RobotMode.RUNNING)
    again.close()


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"name": "lagg"}, "did you mean 'lag'"),
        ({"name": "lag", "deley": 1}, "no setting 'deley'"),
        ({"name": "drop", "share": 3}, "share"),
        ({"name": "freeze", "seconds": 0}, "longer"),
        ({}, "name"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(standin: Standin, message: dict[str, Any], says: str) -> None:
    answer = ask(standin.host, "fault", **message)
    assert not answer["ok"]
    assert says in answer["error"]
