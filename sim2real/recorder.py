"""The recorder: reads the controller's real-time data itself, judges how fresh they are, and logs every packet.

ur-rtde's own receiving side loses packets under load and hides a server's death; this reader keeps every packet with
the controller's time stamp, and says at once when the connection ends. What the arm was told is set against the same
clock: the controller repeats the registers that our targets arrive in, so each target's first packet is known; where a
controller does not repeat them, the time is worked out from the host's clock and the fastest packets.
"""

from __future__ import annotations

import collections
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np

from assets.errors import InputError
from sim2real.log import COMMAND, STATE, TIMING, LogWriter
from sim2real.realtime import hurry
from sim2real.recording import Recording, from_rows
from sim2real.rtde import (
    RATE,
    RTDE_PORT,
    Frames,
    Kind,
    Recipe,
    frame,
    inputs_request,
    outputs_reply,
    outputs_request,
    text_of,
    version_request,
)

CONNECT_TIMEOUT = 3.0  # [s]
FIELDS = (
    "timestamp",
    "actual_q",
    "actual_qd",
    "actual_current",
    "target_q",
    "target_moment",
    "actual_TCP_force",
    "safety_status_bits",
    "robot_mode",
    "runtime_state",
    "actual_digital_output_bits",
    "actual_digital_input_bits",
    "standard_analog_input0",
    "standard_analog_input1",
    "speed_scaling",
    "payload",
)
# The registers in which ur-rtde hands over a command and its joint targets, repeated by the controller.
COMMAND_REGISTER = "input_int_register_0"
TARGET_REGISTERS = tuple(f"input_double_register_{i}" for i in range(6))
ECHO = (COMMAND_REGISTER, *TARGET_REGISTERS)
SERVO_COMMAND = 11  # what stands in the command register when the targets are servoJ's
BRAKE_COMMAND = 31  # what its script takes for: protective stop
HOLD = 0.02  # [s] for which the command stays in its register before the connection that wrote it ends
CLOCK_DRIFT = 2e-4  # by which the two clocks may run apart: the fastest packet is forgotten at this rate
FRESH = 0.01  # [s] an undisturbed packet is never this late
UNSEEN = 10  # packets after which a target that the controller has not repeated is taken to have arrived by the clock

_ROW = struct.Struct("<" + "d" * 2 + "d" * 36 + "IiIII" + "d" * 3)
assert _ROW.size == STATE.itemsize


class Recorder:
    """Reads and records one controller; see the module. `latest` is a record of `sim2real.log.STATE`.

    Attributes:
        version: of the controller's software.
        lost: why no more packets come, "" while they do.
        lag: how much later than the fastest ones the newest packet came [s].
        payload: that the controller was told [kg].
        packets, logged: received, and put into the log, so far.
    """

    def __init__(self, host: str, port: int = RTDE_PORT) -> None:
        """Connect and read the first packet; InputError when nothing there speaks RTDE."""
        self.host = host
        self.lost = ""
        self.lag = 0.0
        self.payload = float("nan")
        self.packets = self.logged = 0
        self._offset = np.inf  # [s] host's clock less controller's, by the fastest packet
        self._log: LogWriter | None = None
        self._kept: list[bytes] | None = None
        self._in_force = b""
        self._commands: list[bytes] = []
        self._pending: collections.deque[tuple[float, bytes, tuple[float, ...]]] = collections.deque()
        self._end = threading.Event()
        self._socket, self.version = _shake_hands(host, port)
        self._frames = Frames()
        try:
            self._recipe, self.repeats = self._subscribe()
            self._socket.sendall(frame(Kind.START))
            while not self.packets:
                self._receive()
        except (OSError, InputError) as error:
            self._socket.close()
            raise _unreachable(host, port, error) from None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def latest(self) -> np.void:
        """The newest packet, a record of `STATE`."""
        return np.frombuffer(self._row, STATE)[0]

    @property
    def readings(self) -> bytes:
        """Everything measured in the newest packet: positions, velocities, currents."""
        return self._row[16:160]

    @property
    def controller_clock(self) -> float:
        """What the controller's clock shows now, as far as the fastest packets tell [s]."""
        return time.monotonic() - self._offset

    @property
    def offset(self) -> float:
        """Host's monotonic clock less the controller's [s]."""
        return self._offset

    @property
    def fresh(self) -> bool:
        """Whether packets come, and come in time."""
        age = time.monotonic() - float(self.latest["received"])
        return not self.lost and age < FRESH and self.lag < FRESH

    def log_to(self, path: Path, about: dict[str, str]) -> None:
        """Begin to log everything to `path`; InputError when it exists."""
        self._log = LogWriter(path, about)

    def event(self, event: str, says: str) -> None:
        """Log an event."""
        if self._log is not None:
            self._log.event(self.controller_clock, event, says)

    def timing(self, due: float, late: float) -> None:
        """Log a turn of the servo loop: when it was due and how late it was [s]."""
        if self._log is not None:
            self._log.add("/timing", due - self._offset, _TIMING.pack(due, late))

    def command(self, requested: tuple[float, ...], sent: tuple[float, ...] | None) -> None:
        """Note a joint target that has just been sent (None: a dry run sends nothing) and the one asked for [rad]."""
        clock = self.controller_clock
        targets = _TARGETS.pack(*requested, *(sent or _NOTHING))
        if sent is None or not self.repeats:
            self._settle(clock, targets)
        else:
            self._pending.append((clock, targets, sent))

    def keep(self) -> None:
        """Begin to keep packets and targets in memory, for `kept`; the target last sent counts from the beginning."""
        self._commands = self._commands[-1:]
        self._kept = []

    def kept(self, source: str, arm: str) -> Recording:
        """Return what came since `keep`, and stop keeping."""
        rows, self._kept = self._kept or [], None
        state = np.frombuffer(b"".join(rows), STATE)
        return from_rows(source, arm, RATE, state, np.frombuffer(b"".join(self._commands), COMMAND))

    def flush(self) -> None:
        """Bring what came so far into the log's file."""
        if self._log is not None:
            self._log.flush()

    def close(self) -> None:
        """Hang up and end the log; may be called again."""
        self._end.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._socket.close()
        if self._log is not None:
            self._log.close()

    def _subscribe(self) -> tuple[Recipe, bool]:
        """Ask for the fields; return the recipe and whether the controller repeats the target registers."""
        for names, repeats in ((FIELDS + ECHO, True), (FIELDS, False)):
            self._socket.sendall(outputs_request(RATE, names))
            reply = _wait_for(self._socket, self._frames, Kind.OUTPUTS)
            try:
                return outputs_reply(reply, names), repeats
            except InputError:
                if not repeats:
                    raise
        raise AssertionError

    def _run(self) -> None:
        hurry()
        self._socket.settimeout(0.1)
        while not self._end.is_set():
            try:
                self._receive()
            except TimeoutError:
                continue
            except (OSError, InputError) as error:
                self.lost = str(error) or type(error).__name__
                return

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise InputError("the controller closed the connection")
        received = time.monotonic()
        for kind, payload in self._frames.feed(data):
            if kind == Kind.DATA:
                self._take(self._recipe.unpack(payload), received)
            elif kind == Kind.TEXT:
                said, who, _ = text_of(payload)
                self.event("controller", f"{who}: {said}")

    def _take(self, v: dict, received: float) -> None:
        """Take over one packet."""
        clock = v["timestamp"]
        gone = received - clock
        self._offset = min(self._offset + CLOCK_DRIFT / RATE, gone)
        self.lag = gone - self._offset
        self.payload = v["payload"]
        row = _ROW.pack(
            clock, received, *v["actual_q"], *v["actual_qd"], *v["actual_current"], *v["target_q"], *v["target_moment"],
            *v["actual_TCP_force"], v["safety_status_bits"], v["robot_mode"], v["runtime_state"],
            v["actual_digital_output_bits"] & 0xFFFFFFFF, v["actual_digital_input_bits"] & 0xFFFFFFFF,
            v["standard_analog_input0"], v["standard_analog_input1"], v["speed_scaling"],
        )  # fmt: skip
        self._row = row
        self.packets += 1
        if self._pending:
            self._match(v, clock)
        if self._kept is not None:
            self._kept.append(row)
        if self._log is not None:
            self._log.add("/state", clock, row)
            self.logged += 1

    def _match(self, v: dict, clock: float) -> None:
        """Find the pending target that this packet repeats: it is in force from its time on."""
        if v[COMMAND_REGISTER] == SERVO_COMMAND:
            repeated = tuple(v[name] for name in TARGET_REGISTERS)
            # A copy: the servo loop's thread goes on sending meanwhile.
            for i, (_, targets, sent) in enumerate(tuple(self._pending)):
                if sent == repeated:
                    for _ in range(i + 1):  # what came before was overwritten and never in force
                        self._pending.popleft()
                    self._settle(clock, targets)
                    return
        while self._pending and self._pending[0][0] < clock - UNSEEN / RATE:
            sent_at, targets, _ = self._pending.popleft()
            self._settle(sent_at, targets)

    def _settle(self, clock: float, targets: bytes) -> None:
        """A target is known to be in force from the controller's time `clock` on; the same one again is no news."""
        if targets == self._in_force:
            return
        self._in_force = targets
        record = struct.pack("<d", clock) + targets
        if self._kept is None:
            self._commands = [record]
        else:
            self._commands.append(record)
        if self._log is not None:
            self._log.add("/command", clock, record)


_TARGETS = struct.Struct("<12d")
_TIMING = struct.Struct("<2d")
_NOTHING = (float("nan"),) * 6
assert _TARGETS.size + 8 == COMMAND.itemsize
assert _TIMING.size == TIMING.itemsize


def check_registers(host: str, port: int = RTDE_PORT) -> str:
    """Say which input register that ur-rtde needs someone else has taken, "" if all are free."""
    names = (COMMAND_REGISTER, "input_int_register_1", *(f"input_double_register_{i}" for i in range(18)))
    connection, _ = _shake_hands(host, port)
    with connection:
        connection.sendall(inputs_request(names))
        try:
            outputs_reply(_wait_for(connection, Frames(), Kind.INPUTS), names)
        except (InputError, OSError) as error:
            return str(error)
    return ""


def brake(host: str, port: int = RTDE_PORT) -> None:
    """Have the controller brake, as after a collision, through a connection of its own.

    For when the way through ur-rtde is lost: the script that the library has put on the controller still waits for a
    command in its register. InputError where that does not get through; the controller's watchdog stops the arm then.
    """
    connection, _ = _shake_hands(host, port)
    with connection:
        connection.sendall(inputs_request((COMMAND_REGISTER,)))
        try:
            recipe = outputs_reply(_wait_for(connection, Frames(), Kind.INPUTS), (COMMAND_REGISTER,))
            connection.sendall(frame(Kind.DATA, recipe.pack({COMMAND_REGISTER: BRAKE_COMMAND})))
            time.sleep(HOLD)
        except OSError as error:
            raise _unreachable(host, port, error) from None


def _shake_hands(host: str, port: int) -> tuple[socket.socket, tuple[int, ...]]:
    """Return a connection that speaks protocol version 2, and the version of the controller's software."""
    try:
        connection = socket.create_connection((host, port), CONNECT_TIMEOUT)
    except (OSError, UnicodeError) as error:
        raise _unreachable(host, port, error) from None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        frames = Frames()
        connection.sendall(version_request())
        if _wait_for(connection, frames, Kind.VERSION) != b"\x01":
            raise InputError("the controller does not speak version 2 of the protocol, its software is too old")
        connection.sendall(frame(Kind.CONTROLLER))
        version = struct.unpack(">4I", _wait_for(connection, frames, Kind.CONTROLLER))
    except (OSError, InputError, struct.error) as error:
        connection.close()
        raise _unreachable(host, port, error) from None
    return connection, version


def _wait_for(connection: socket.socket, frames: Frames, kind: int) -> bytes:
    """Return the payload of the next message of a kind."""
    while True:
        data = connection.recv(65536)
        if not data:
            raise InputError("the controller closed the connection")
        for got, payload in frames.feed(data):
            if got == kind:
                return payload


def _unreachable(host: str, port: int, error: Exception) -> InputError:
    says = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return InputError(
        f"no robot controller answers at {host}:{port} ({says}): check robot.host, the network and that the arm is on"
    )
