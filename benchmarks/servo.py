"""The servo loop at 500 Hz through ur-rtde, on the stand-in: how evenly targets go out, and how they arrive.

The baseline is the library's own loop (`initPeriod`, `servoJ`, `waitPeriod`) with nothing around it: no reading, no
checks, no log. On a machine that is busy with other things both are late; `--load` makes it so on purpose.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.faults import swing
from sim2real.log import Log
from sim2real.standin.launch import launched
from sim2real.ur import UrRobot, UrSettings

BAR = 2.5  # [ms] 99th percentile of the period
HOST = "127.0.0.35"
PERIOD = 0.002  # [s]


def ours(host: str, seconds: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Return periods and lateness of our loop while the arm swings [s], and the share of ticks with a new target."""
    with tempfile.TemporaryDirectory() as folder:
        robot = UrRobot(UrSettings(host=host, log=folder))
        robot.connect()
        robot.arm()
        assert robot.loop is not None
        path = swing(robot.loop.held)[: int(seconds / PERIOD)]
        ease = np.clip((len(path) - np.arange(len(path))) * PERIOD, 0.0, 1.0)[:, None]
        ease = ease * ease * (3.0 - 2.0 * ease)
        begin = time.monotonic()
        recording = robot.play(path[0] + (path - path[0]) * ease)
        end = time.monotonic()
        robot.disconnect()
        assert robot.log is not None
        timing = Log(robot.log).timing
    sent = timing["due"] + timing["late"]
    inside = (sent > begin) & (sent < end)
    moving = np.flatnonzero((np.diff(recording.sent, axis=0) != 0).any(1))
    fresh = len(moving) / (moving[-1] - moving[0] + 1)
    return np.diff(sent[inside]), timing["late"][inside], fresh


def library(host: str, seconds: float) -> np.ndarray:
    """Return the periods of ur-rtde's own loop, the arm held [s]."""
    from rtde_control import RTDEControlInterface
    from rtde_receive import RTDEReceiveInterface

    receive = RTDEReceiveInterface(host)
    held = receive.getTargetQ()
    receive.disconnect()
    control = RTDEControlInterface(host, 1.0 / PERIOD)
    sent = []
    for _ in range(int(seconds / PERIOD)):
        start = control.initPeriod()
        control.servoJ(held, 0.0, 0.0, PERIOD, 0.03, 1000.0)
        sent.append(time.monotonic())
        control.waitPeriod(start)
    control.servoStop()
    control.stopScript()
    control.disconnect()
    return np.diff(sent)


@contextlib.contextmanager
def busy(programs: int) -> Iterator[None]:
    """Keep so many programs counting meanwhile."""
    counting = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(programs)]
    try:
        yield
    finally:
        for program in counting:
            program.kill()
            program.wait()


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("servo", "The 500 Hz servo loop through ur-rtde on the stand-in.")
    parser.add_argument("--load", action="store_true", help="with a busy program on every core")
    given = parser.parse_args(words)
    seconds, blocks = sized(given, 20.0, 8.0, 2.5), sized(given, 5, 2, 1)
    ours_period, ours_late, theirs_period, fresh = [], [], [], []
    with busy((os.cpu_count() or 1) if given.load else 0), launched(HOST, seed=3) as standin:
        for _ in range(blocks):
            period, late, share = ours(standin.host, seconds)
            ours_period.append(period)
            ours_late.append(late)
            fresh.append(share)
            theirs_period.append(library(standin.host, seconds))
    period, theirs, late = (1e3 * np.concatenate(parts) for parts in (ours_period, theirs_period, ours_late))
    says = f"{blocks} x {seconds:g} s; ur-rtde's own loop {np.percentile(theirs, 99):.2f} ms"
    figures = [
        Figure("period, 99th percentile", float(np.percentile(period, 99)), "ms", BAR, says, True),
        Figure("period, median", float(np.median(period)), "ms", None, f"ur-rtde's own {np.median(theirs):.2f} ms"),
        Figure("period, longest", float(period.max()), "ms", None, f"ur-rtde's own {theirs.max():.2f} ms"),
        Figure("lateness, 99th percentile", float(np.percentile(late, 99)), "ms", None, "of every send, logged"),
        Figure("controller ticks with a new target", float(np.mean(fresh)), "1", None, "while the target moves"),
    ]
    setting = f"stand-in, not hardware; machine's load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    publish("servo", given, figures, setting)


if __name__ == "__main__":
    main()
