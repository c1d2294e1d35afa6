"""Recordings: what a robot did, on its controller's clock, and whether that is fit to be learned from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError
from sim2real.log import COMMAND, STATE, Log, LogWriter
from sim2real.rtde import SafetyBit

Array = NDArray[np.float64]

SHORTEST = 0.5  # [s]
FROZEN_TIME, FROZEN_MOTION = 0.04, 0.01  # [s] with nothing changed while this much motion [rad] was commanded
STOPPED = (
    SafetyBit.PROTECTIVE_STOP
    | SafetyBit.SAFEGUARD_STOP
    | SafetyBit.SYSTEM_EMERGENCY_STOP
    | SafetyBit.ROBOT_EMERGENCY_STOP
    | SafetyBit.EMERGENCY_STOP
    | SafetyBit.VIOLATION
    | SafetyBit.FAULT
    | SafetyBit.STOPPED_DUE_TO_SAFETY
)


@dataclasses.dataclass(frozen=True)
class Recording:
    """What was recorded of a robot; arrays have k rows, one for each packet of the controller.

    Attributes:
        source: "stand-in, not hardware", "simulation" or the robot's model and serial number.
        arm: name of the arm, a key of `assets.arms.ARMS`.
        rate: rows per second that the controller sends [Hz].
        time: controller's clock [s], (k,).
        position, velocity: of the joints, as measured [rad, rad/s], (k, 6).
        current: of the motors [A], (k, 6).
        torque: of the joints, as the controller estimates or targets it [N m], (k, 6).
        tcp_force: at the tool [N, N m], (k, 6).
        safety: `safety_status_bits`, (k,) uint32.
        requested: joint target that was asked for when the row was stamped, held until the next [rad], (k, 6); NaN
            before the first.
        sent: joint target that the controller had been given by then, likewise; NaN throughout in a dry run.
        outputs: bits of the digital outputs, (k,) uint32.
    """

    source: str
    arm: str
    rate: float
    time: Array
    position: Array
    velocity: Array
    current: Array
    torque: Array
    tcp_force: Array
    safety: NDArray[np.uint32]
    requested: Array
    sent: Array
    outputs: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.time)

    def __post_init__(self) -> None:
        """Refuse arrays whose shapes do not fit."""
        k = len(self.time)
        for name in ("time", "safety", "outputs"):
            if getattr(self, name).shape != (k,):
                raise InputError(f"a recording's {name} must have shape ({k},), not {getattr(self, name).shape}")
        for name in ("position", "velocity", "current", "torque", "tcp_force", "requested", "sent"):
            if getattr(self, name).shape != (k, 6):
                raise InputError(f"a recording's {name} must have shape ({k}, 6), not {getattr(self, name).shape}")

    def part(self, first: int, last: int) -> Recording:
        """Return rows `first` … `last`, the last one left out."""
        columns = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        cut = {name: value[first:last] for name, value in columns.items() if isinstance(value, np.ndarray)}
        return dataclasses.replace(self, **cut)

    def write(self, path: Path) -> None:
        """Write it as a robot log (MCAP, see `sim2real.log`); InputError when `path` exists."""
        log = LogWriter(path, {"source": self.source, "arm": self.arm, "rate": repr(self.rate)})
        rows = np.zeros(len(self), STATE)
        for name in ("time", "position", "velocity", "current", "torque", "tcp_force", "safety", "outputs"):
            rows[name] = getattr(self, name)
        rows["received"] = self.time
        rows["speed_scaling"] = 1.0
        commands = np.zeros(len(self), COMMAND)
        commands["time"], commands["requested"], commands["sent"] = self.time, self.requested, self.sent
        previous = np.full(2, np.nan, COMMAND)[0].tobytes()[COMMAND["time"].itemsize :]
        for row, command in zip(rows, commands, strict=True):
            log.add("/state", float(row["time"]), row.tobytes())
            # Compared as bytes, for NaN equals NaN there.
            if (target := command.tobytes()[COMMAND["time"].itemsize :]) != previous:
                log.add("/command", float(row["time"]), command.tobytes())
                previous = target
        log.close()

    @staticmethod
    def read(path: Path) -> Recording:
        """Read a robot log; InputError when it is missing, is none or is empty. Whether it is sound, `checked` says."""
        log = Log(path)
        if not len(log.state):
            raise InputError(f"{path}: the log holds no state of the robot")
        about = log.about
        missing = [name for name in ("source", "arm", "rate") if name not in about]
        if missing:
            raise InputError(f"{path}: the log does not say its {missing[0]}")
        return from_rows(about["source"], about["arm"], float(about["rate"]), log.state, log.command)

    def checked(self, arm: str | None = None, rate: float | None = None, where: str = "the recording") -> Recording:
        """Return the recording itself if it is sound.

        Args:
            arm: name of the arm that it must be of.
            rate: that it must have [Hz].
            where: what to call it in an error, such as its file.

        Raises:
            InputError: it is of another arm or rate, too short, has gaps, time that runs backwards, values that are no
                numbers, a stop by the controller's safety, or a state that stood still while the target moved.
        """
        for fault in (self._identity(arm, rate), self._clock(), self._values()):
            if fault:
                raise InputError(f"{where} {fault}")
        return self

    def _identity(self, arm: str | None, rate: float | None) -> str:
        if arm is not None and arm != self.arm:
            return f"is of the arm {self.arm}, wanted is {arm}: record that arm, or set robot.arm={self.arm}"
        if rate is not None and abs(rate - self.rate) > 0.01 * rate:
            return f"has {self.rate:g} rows a second, wanted are {rate:g}"
        return ""

    def _clock(self) -> str:
        if not np.isfinite(self.time).all():
            return "holds a time that is not a finite number"
        step = np.diff(self.time)
        back = np.flatnonzero(step <= 0)
        if len(back):
            return f"has time running backwards after {self._at(int(back[0]))}: the controller was restarted"
        gaps = step > 1.5 / self.rate
        if gaps.any():
            longest = int(np.argmax(step))
            count = int(gaps.sum())
            return (
                f"has {count} gap{'s' * (count > 1)}, the longest of {1e3 * step[longest]:.0f} ms "
                f"after {self._at(longest)}: "
                f"rows must be {1e3 / self.rate:g} ms apart"
            )
        length = self.time[-1] - self.time[0] if len(self) else 0.0
        if length < SHORTEST:
            return f"is {length:.2f} s long, too short: at least {SHORTEST} s are needed"
        return ""

    def _values(self) -> str:
        for name in ("position", "velocity", "current", "torque", "tcp_force"):
            bad = ~np.isfinite(getattr(self, name)).all(axis=1)
            if bad.any():
                return (
                    f"holds {int(bad.sum())} rows whose {name} is not a finite number, from {self._at(_first(bad))} on"
                )
        stopped = (self.safety & np.uint32(STOPPED)) != 0
        if stopped.any():
            at = _first(stopped)
            return f"shows the arm stopped ({safety_words(int(self.safety[at]))}) at {self._at(at)}"
        frozen = self._frozen()
        if frozen is not None:
            first, last = frozen
            return (
                f"shows a frozen state from {self._at(first)} on: nothing changed for "
                f"{1e3 * (self.time[last] - self.time[first]):.0f} ms while the target moved"
            )
        return ""

    def _frozen(self) -> tuple[int, int] | None:
        """Return first and last row of the first stretch in which no reading changed although the target moved."""
        readings = np.concatenate([self.position, self.velocity, self.current], axis=1)
        same = (readings[1:] == readings[:-1]).all(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
        for first, last in edges.reshape(-1, 2):
            moved = np.abs(self.sent[last] - self.sent[first]).max()
            if self.time[last] - self.time[first] >= FROZEN_TIME and moved > FROZEN_MOTION:
                return int(first), int(last)
        return None

    def _at(self, row: int) -> str:
        return f"{self.time[row] - self.time[0]:.3f} s"


def from_rows(source: str, arm: str, rate: float, state: np.ndarray, command: np.ndarray) -> Recording:
    """Put a recording together from records of a log (`STATE`, `COMMAND`); a command holds until the next."""
    names = ("time", "position", "velocity", "current", "torque", "tcp_force", "safety", "outputs")
    columns = {name: np.ascontiguousarray(state[name]) for name in names}
    # The first record stands for the time before the first command.
    held = np.full(len(command) + 1, np.nan, COMMAND)
    held[1:] = command[np.argsort(command["time"], kind="stable")]
    at = np.searchsorted(held["time"][1:], state["time"], side="right")
    targets = {name: held[name][at] for name in ("requested", "sent")}
    return Recording(source, arm, rate, **columns, **targets)


def safety_words(bits: int) -> str:
    """Return what the safety bits say, in words."""
    said = [bit.name.lower().replace("_", " ") for bit in SafetyBit if bits & bit and bit.name]
    return ", ".join(word for word in said if word not in ("normal", "reduced") or len(said) == 1) or "no safety status"


def _first(mask: np.ndarray) -> int:
    return int(np.argmax(mask))
