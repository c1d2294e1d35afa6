"""The recorder against the stand-in and against servers that are none; a log that survives its program's death."""

from __future__ import annotations

import collections
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from standin_lab import some_host

from assets.errors import InputError
from sim2real.log import Log
from sim2real.recorder import COMMAND_REGISTER, SERVO_COMMAND, TARGET_REGISTERS, Recorder, check_registers
from sim2real.recording import Recording
from sim2real.standin.launch import ROOT, Standin, launched

HOST = some_host(41)


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with launched(HOST, seed=5) as running:
        yield running


@pytest.fixture
def recorder(standin: Standin) -> Iterator[Recorder]:
    made = Recorder(standin.host)
    yield made
    made.close()


def test_no_packet_is_lost(recorder: Recorder, tmp_path: Path) -> None:
    recorder.log_to(tmp_path / "a.mcap", {"source": "stand-in, not hardware", "arm": "ur20", "rate": "500.0"})
    time.sleep(1.0)
    recorder.close()
    recording = Recording.read(tmp_path / "a.mcap").checked("ur20", 500.0)
    assert len(recording) == recorder.logged > 400
    np.testing.assert_allclose(np.diff(recording.time), 0.002, atol=1e-9)
    assert np.isnan(recording.sent).all()


def test_the_newest_state_is_fresh(recorder: Recorder) -> None:
    assert recorder.version[0] == 5
    assert recorder.payload == pytest.approx(2.5)
    time.sleep(0.2)
    ages = []
    for _ in range(50):
        ages.append(recorder.controller_clock - float(recorder.latest["time"]))
        time.sleep(0.003)
    assert -0.001 < np.median(ages) < 0.01


def test_a_target_in_memory_holds_until_the_next(recorder: Recorder) -> None:
    recorder.command((0.0,) * 6, None)
    recorder.keep()
    time.sleep(0.1)
    recorder.command((0.1,) * 6, None)
    time.sleep(0.1)
    kept = recorder.kept("x", "ur20")
    known = np.isfinite(kept.requested)  # on a busy machine a row or two come in before the first target
    assert set(np.unique(kept.requested[known])) == {0.0, 0.1}
    assert known[20:].all()
    assert 20 < (kept.requested[:, 0] == 0.0).sum() < len(kept) - 20
    assert np.isnan(kept.sent).all()


def test_targets_are_sent_while_others_are_matched() -> None:
    """The servo loop notes targets from a thread of its own: packets must never stumble over them."""
    recorder = object.__new__(Recorder)  # no connection: nothing but what `_match` looks at
    recorder._pending, recorder._in_force, recorder._log = collections.deque(), b"", None
    recorder._kept, recorder._commands = None, []
    packet = {COMMAND_REGISTER: SERVO_COMMAND} | dict.fromkeys(TARGET_REGISTERS, -1.0)
    over = threading.Event()

    def send() -> None:
        while not over.is_set():
            if len(recorder._pending) < 500:
                recorder._pending.append((0.0, b"", (0.0,) * 6))

    sender = threading.Thread(target=send)
    sender.start()
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        until, drop = time.monotonic() + 0.5, False
        while time.monotonic() < until:
            drop = not drop
            recorder._match(packet, float(drop))
    finally:
        sys.setswitchinterval(switch)
        over.set()
        sender.join()


def test_two_recorders_at_once(recorder: Recorder, standin: Standin) -> None:
    other = Recorder(standin.host)
    time.sleep(0.2)
    assert abs(float(other.latest["time"]) - float(recorder.latest["time"])) < 0.02
    other.close()


def test_free_registers_are_free(standin: Standin) -> None:
    assert check_registers(standin.host) == ""


def answering(reply: bytes) -> tuple[str, int]:
    """A server that answers anything with `reply` and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        peer, _ = listener.accept()
        peer.recv(100)
        peer.sendall(reply)
        peer.close()
        listener.close()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()


@pytest.mark.parametrize("reply", [b"", b"\x00\x00V", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x04V\x00"])
def test_something_else_at_the_address(reply: bytes) -> None:
    host, port = answering(reply)
    with pytest.raises(InputError, match=f"no robot controller answers at {host}:{port}") as caught:
        Recorder(host, port)
    assert "\n" not in str(caught.value)


def test_nobody_at_the_address() -> None:
    with pytest.raises(InputError, match=r"no robot controller answers at 127.0.0.1:9 \(Connection refused\)"):
        Recorder("127.0.0.1", 9)
    with pytest.raises(InputError, match=r"no robot controller answers at nowhere.invalid"):
        Recorder("nowhere.invalid")


def test_a_killed_program_leaves_a_readable_log(standin: Standin, tmp_path: Path) -> None:
    path = tmp_path / "killed.mcap"
    program = f"""
import pathlib, time
from sim2real.recorder import Recorder
recorder = Recorder({standin.host!r})
recorder.log_to(pathlib.Path({str(path)!r}), dict(source="x", arm="ur20", rate="500.0"))
while recorder.logged < 500:
    time.sleep(0.01)
print(recorder.logged, flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    logged = int(child.stdout.readline())
    child.kill()
    child.wait()
    log = Log(path)
    assert not log.complete
    assert len(log.state) > logged - 60  # 50 ms are 25 packets; a busy machine may be behind
    np.testing.assert_allclose(np.diff(log.state["time"]), 0.002, atol=1e-9)
