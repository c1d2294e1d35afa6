"""What happens to a moving arm when something fails: from seeing the fault to standing still, on the stand-in.

Each trial connects, arms, swings the arm at 0.2 m/s and makes one thing fail over the stand-in's side channel. An
observer of its own, which connects again where it has to, says when the arm stood still. Times are from the moment in
which the adapter saw the fault; a controller that stops by itself may be faster than that, which counts as nothing.
Between trials the benchmark plays the person who looks at the arm and unlocks it, which the adapter never does.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assets.arms import arm_named
from assets.errors import InputError
from benchmarks.common import Figure, arguments, publish, sized
from sim2real.log import Log
from sim2real.recorder import Recorder
from sim2real.recording import STOPPED
from sim2real.rtde import DASHBOARD_PORT
from sim2real.safety import State
from sim2real.sidechannel import PORT as SIDE_PORT
from sim2real.standin.launch import launched
from sim2real.ur import UrRobot, UrSettings

BAR = 100.0  # [ms] from seeing a fault to standing still
STILL = 0.01  # [rad/s]
HOST = "127.0.0.33"
SWING, SECONDS = 0.16, 6.0  # [rad] of the first joint to either side, [s] for a whole one
UNLOCK_AFTER = 5.1  # [s] the controller does not let a person unlock a protective stop sooner
# Silence and frozen states end before the arm is expected to stand, so that the observer sees it come to rest.
FAULTS: dict[str, dict[str, Any]] = {
    "dropped packets": {"name": "drop", "share": 1.0, "seconds": 0.07},
    "lag": {"name": "lag", "delay": 0.08, "seconds": 1.0},
    "frozen state": {"name": "freeze", "seconds": 0.07},
    "frozen clock": {"name": "freeze", "seconds": 0.07, "clock": True},
    "protective stop": {"name": "protective_stop"},
    "emergency stop": {"name": "emergency_stop"},
    "disconnect": {"name": "disconnect"},
    "restart": {"name": "restart", "seconds": 0.05},
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one trial showed.

    Attributes:
        seen: from making the fault to seeing it [ms].
        stopped: from seeing it to standing still [ms], nan if the arm was not seen to stand.
        says: the reason that the adapter gave.
        complete: whether the log holds every packet that came, and its end.
        unlocked: whether a stop for safety was gone without a person.
        closing: how long letting go took [s].
    """

    seen: float
    stopped: float
    says: str
    complete: bool
    unlocked: bool
    closing: float


class Observer:
    """Watches the arm's speed past the adapter, and connects again when it is cut off."""

    def __init__(self, host: str) -> None:
        """Begin to watch."""
        self._host = host
        self.rows: list[tuple[float, float]] = []  # host's clock when it was so [s], speed of the fastest joint [rad/s]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._end.set()
        self._thread.join()

    def stood_still(self) -> float:
        """Return when the arm began to stand for good, on the host's clock [s]."""
        moving = [when for when, speed in self.rows if speed > STILL]
        after = [when for when, _ in self.rows if not moving or when > moving[-1]]
        return after[0] if after else float("nan")

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                recorder = Recorder(self._host)
            except InputError:
                continue
            seen = 0
            while not self._end.wait(0.001) and not recorder.lost:
                if recorder.packets != seen:
                    seen, state = recorder.packets, recorder.latest
                    when = float(state["time"]) + recorder.offset
                    self.rows.append((when, float(np.abs(state["velocity"]).max())))
            recorder.close()


def swing(held: np.ndarray) -> np.ndarray:
    """Return targets (k, 6) [rad] that swing the first joint to and fro, from rest to rest."""
    time_of = np.arange(1, int(4 * SECONDS * 500)) / 500.0
    near_end = np.clip(np.minimum(time_of, 4 * SECONDS - time_of), 0.0, 1.0)
    ease = near_end * near_end * (3.0 - 2.0 * near_end)
    path = np.tile(held, (len(time_of), 1))
    path[:, 0] += SWING * ease * np.sin(2 * np.pi * time_of / SECONDS)
    return path


def provoke(host: str, fault: dict[str, Any], after: float, folder: Path) -> Outcome:
    """Make one thing fail `after` so many seconds of motion, and see what comes of it; the arm is left as it is."""
    robot = UrRobot(UrSettings(host=host, log=str(folder), tcp_speed=0.5))
    observer = Observer(host)
    try:
        robot.connect()
        robot.arm()
        robot.approach(np.array(arm_named(robot.settings.arm).home))  # the swings that were cut short add up
        assert robot.loop is not None
        assert robot.recorder is not None
        loop, recorder = robot.loop, robot.recorder

        refused: list[str] = []

        def move() -> None:
            try:
                robot.play(swing(loop.held))
            except InputError as error:
                refused.append(str(error))

        mover = threading.Thread(target=move)
        mover.start()
        while robot.state is not State.RUNNING and mover.is_alive():
            time.sleep(0.001)
        time.sleep(after)
        made = time.monotonic()
        if robot.state is State.RUNNING:
            make(host, fault)
            while robot.state is not State.FAULT and time.monotonic() < made + 3.0:
                time.sleep(0.001)
        says, seen = robot.safety.reason, loop.detected
        mover.join(10.0)
        time.sleep(0.5)
    finally:
        observer.close()
        begin = time.monotonic()
        robot.disconnect()
        closing = time.monotonic() - begin
    if seen < made:
        raise InputError(f"the arm was not moving when it was to fail: {' '.join(refused) or says}")
    assert robot.log is not None
    log = Log(robot.log)
    told = [(event, why) for _, event, why in log.events]
    complete = log.complete and len(log.state) == recorder.logged and ("fault", says) in told
    # A controller that was restarted has forgotten its stop, but has no power.
    unlocked = fault["name"] != "restart" and not stopped_for_safety(host)
    stopped = max(observer.stood_still() - seen, 0.0)
    return Outcome(1e3 * (seen - made), 1e3 * stopped, says, complete, unlocked, closing)


def refused_in_use(host: str) -> bool:
    """Say whether an arm whose registers a fieldbus writes is refused in one line, and does not move."""
    make(host, {"name": "in_use"})
    robot = UrRobot(UrSettings(host=host, log=""))
    robot.connect()
    before = robot.observe()
    says = ""
    try:
        robot.arm()
    except InputError as error:
        says = str(error)
    after = robot.observe()
    robot.disconnect()
    make(host, {"name": "clear"})
    still = all(abs(after[f"joint{i}.position"] - before[f"joint{i}.position"]) < 1e-3 for i in range(6))
    return "in use" in says and "\n" not in says and still


def make(host: str, fault: dict[str, Any]) -> None:
    """Make one thing fail."""
    with socket.create_connection((host, SIDE_PORT), 2.0) as side:
        side.sendall(json.dumps({"ask": "fault", **fault}).encode() + b"\n")
        assert json.loads(side.makefile("rb").readline())["ok"]


def stopped_for_safety(host: str) -> bool:
    """Say whether the controller still reports a stop for safety."""
    recorder = Recorder(host)
    stopped = bool(int(recorder.latest["safety"]) & STOPPED)
    recorder.close()
    return stopped


def provoke_patiently(host: str, fault: dict[str, Any], after: float, folder: Path) -> Outcome:
    """Try again, twice, when a busy machine trips the watch before there is anything to see."""
    for _ in range(2):
        try:
            return provoke(host, fault, after, folder)
        except InputError as error:
            print(f"again: {error}", file=sys.stderr)
            recover(host, fault)
    return provoke(host, fault, after, folder)


def recover(host: str, fault: dict[str, Any]) -> None:
    """Do what a person does at the robot after a fault: clear it, unlock, power on."""
    if fault["name"] == "emergency_stop":
        make(host, {"name": "emergency_release"})
    make(host, {"name": "clear"})
    time.sleep(UNLOCK_AFTER)
    for line in ("unlock protective stop", "power on", "brake release"):
        with socket.create_connection((host, DASHBOARD_PORT), 2.0) as pendant:
            answers = pendant.makefile("rb")
            answers.readline()
            pendant.sendall(line.encode() + b"\n")
            answers.readline()
    time.sleep(0.3)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("faults", "From seeing a fault to a standing arm, on the stand-in.").parse_args(words)
    repeats = sized(given, 20, 3, 1)
    random = np.random.default_rng(0)
    figures: list[Figure] = []
    details: dict[str, Any] = {}
    wrong = 0
    with launched(HOST, seed=3) as standin, tempfile.TemporaryDirectory() as folder:
        for name, fault in FAULTS.items():
            outcomes = []
            for _ in range(repeats):
                after = 0.8 + float(random.uniform(0.0, 0.7))
                outcomes.append(provoke_patiently(standin.host, fault, after, Path(folder)))
                recover(standin.host, fault)
            stopped = [o.stopped for o in outcomes]
            worst = float(np.max(stopped))
            says = f"worst of {repeats}; seen after {max(o.seen for o in outcomes):.0f} ms"
            figures.append(Figure(f"{name}: seen to standing", worst, "ms", BAR, says, True, min(stopped), worst))
            wrong += sum(not o.complete or o.unlocked or not o.says or "\n" in o.says for o in outcomes)
            details[name] = [dataclasses.asdict(o) for o in outcomes]
        let_in = sum(not refused_in_use(standin.host) for _ in range(repeats))
    figures.append(Figure("log incomplete, unlocked, or no clear line", wrong, "trials", 0, "of all", True))
    figures.append(Figure("registers in use, and not refused", let_in, "trials", 0, f"of {repeats}", True))
    closing = max(o["closing"] for outcomes in details.values() for o in outcomes)
    figures.append(Figure("letting go after a fault", closing, "s", None, "longest of all"))
    publish("faults", given, figures, "stand-in, not hardware; arm at 0.2 m/s", details)


if __name__ == "__main__":
    main()
