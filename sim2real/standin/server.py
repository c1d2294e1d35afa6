"""The stand-in's sockets and its clock: one thread that does everything every 2 ms.

The schedule is fixed: deadlines are whole periods from the start, so that a late tick does not shift the next ones;
ticks that were missed are made up for at once, and the clock stands still only where more than `FORGIVEN` were. Sockets
are looked at once a tick. Ports: real-time data 30004, scripts 30003, dashboard 29999, side channel 30100.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import gc
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from assets.errors import InputError
from sim2real.rtde import (
    DASHBOARD_PORT,
    IN_USE,
    NOT_FOUND,
    PROTOCOL,
    RATE,
    RTDE_PORT,
    SCRIPT_PORT,
    Kind,
    Recipe,
    Value,
    frame,
    names_in,
    text_message,
)
from sim2real.standin import SIDE_PORT, WHAT, dashboard
from sim2real.standin.connection import LONGEST, Connection
from sim2real.standin.controller import VERSION, Controller
from sim2real.standin.faults import Faults
from sim2real.standin.fields import INPUTS, OUTPUTS
from sim2real.standin.plant import PERIOD, Plant
from sim2real.standin.side import Side

if TYPE_CHECKING:
    from sim2real.standin.cell import Cell

SPIN = 0.00008  # [s] before a deadline in which the clock is watched instead of sleeping
FORGIVEN = 0.25  # [s] behind the schedule from which on it is shifted
ROOM = 1 << 16  # [bytes] of unread data at which a reader loses messages, as with a real controller


class Server:
    """A controller on the network.

    Attributes:
        controller: what it serves.
        faults: what is wrong with it on demand.
        lateness: of the last ticks, host's clock against the schedule [s].
    """

    def __init__(self, host: str, plant: Plant, cell: Cell | None = None) -> None:
        """Listen at `host`.

        Raises:
            InputError: another stand-in listens there already, or the address is not one of this machine.
        """
        self.host = host
        self.controller = Controller(plant)
        self._ticks = 0
        self._connections: list[Connection] = []
        self._owners: dict[str, Connection] = {}
        self._away_until = 0.0
        self._frozen: dict[str, Value] | None = None
        self.lateness: collections.deque[float] = collections.deque(maxlen=5000)
        self.faults = Faults(self, plant.sealed.seed)
        self._side = Side(self, cell)
        self._listeners: dict[int, socket.socket] = {}
        self._listen((RTDE_PORT, SCRIPT_PORT, DASHBOARD_PORT, SIDE_PORT))

    @property
    def time(self) -> float:
        """Since the start [s]."""
        return self._ticks * PERIOD

    def serve(self, ready: Callable[[], None], stopped: Callable[[], bool]) -> None:
        """Run until `stopped()`; `ready()` is called once the first tick is due."""
        _hurry()
        gc.collect()
        gc.freeze()
        start = time.monotonic() + PERIOD
        ready()
        while not stopped():
            deadline = start + self._ticks * PERIOD
            now = time.monotonic()
            if now > deadline + FORGIVEN:
                start += now - deadline
                deadline = now
            if deadline - now > SPIN:
                time.sleep(deadline - now - SPIN)
            while (now := time.monotonic()) < deadline:
                pass
            self.lateness.append(now - deadline)
            self.tick()
        self.close()

    def tick(self) -> None:
        """One period: clients' requests, the controller, messages."""
        self._accept()
        for connection in self._connections:
            self._receive(connection)
        self._ticks += 1
        self.controller.tick()
        self._publish()
        for connection in self._connections:
            if connection.pending is not None and connection.pending.done():
                connection.send(connection.pending.result().encode() + b"\n")
                connection.pending = None
        self._forget_closed()

    def close(self) -> None:
        """Close everything."""
        for thing in (*self._listeners.values(), *(c.peer for c in self._connections)):
            thing.close()
        self._side.close()

    # ---- faults ----------------------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """Cut every connection but the side channel's."""
        for connection in self._connections:
            if connection.port != SIDE_PORT:
                connection.open = False

    def restart(self, seconds: float) -> None:
        """Go away for a while and come back without power."""
        self.disconnect()
        for port in (RTDE_PORT, SCRIPT_PORT, DASHBOARD_PORT):
            self._listeners.pop(port).close()
        self._away_until = self.time + seconds
        self.controller.boot()

    # ---- sockets ---------------------------------------------------------------------------------------------------

    def _listen(self, ports: tuple[int, ...]) -> None:
        for port in ports:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.host, port))
            except OSError as error:
                listener.close()
                raise InputError(
                    f"the stand-in cannot listen at {self.host}:{port} ({error.strerror}): is another one there? "
                    "Take an address of this machine, 127.0.0.2 and up"
                ) from None
            listener.listen(16)
            listener.setblocking(False)
            self._listeners[port] = listener

    def _accept(self) -> None:
        if self._away_until and self.time >= self._away_until:
            self._away_until = 0.0
            self._listen((RTDE_PORT, SCRIPT_PORT, DASHBOARD_PORT))
        for port, listener in self._listeners.items():
            try:
                peer, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                continue
            connection = Connection(peer, port)
            self._connections.append(connection)
            if port == DASHBOARD_PORT:
                connection.send(dashboard.GREETING.encode() + b"\n")

    def _receive(self, connection: Connection) -> None:
        if connection.unsent:
            connection.send(b"")
        if connection.pending is not None:
            return
        data = connection.read()
        if not data:
            return
        if connection.port == RTDE_PORT:
            try:
                for kind, payload in connection.frames.feed(data):
                    self._real_time(connection, kind, payload)
            except (InputError, IndexError, UnicodeDecodeError, struct.error):
                connection.open = False
            return
        connection.received += data
        if connection.port == SCRIPT_PORT:
            # A program's last line is the only one that begins with "end".
            if connection.received.endswith(b"\nend\n"):
                self.controller.run(bytes(connection.received))
                connection.received.clear()
        else:
            while connection.pending is None and b"\n" in connection.received:
                line, _, rest = bytes(connection.received).partition(b"\n")
                connection.received[:] = rest
                self._line(connection, line.decode("utf-8", "replace"))
        if len(connection.received) > LONGEST:
            connection.open = False

    def _line(self, connection: Connection, line: str) -> None:
        if connection.port == DASHBOARD_PORT:
            connection.send(dashboard.answer(self.controller, line).encode() + b"\n")
            return
        answer = self._side.asked(line)
        if isinstance(answer, str):
            connection.send(answer.encode() + b"\n")
        else:
            connection.pending = answer

    # ---- real-time data --------------------------------------------------------------------------------------------

    def _real_time(self, connection: Connection, kind: int, payload: bytes) -> None:
        if kind == Kind.DATA:
            recipe = connection.recipes.get(payload[0])
            if recipe is not None:
                self.controller.write(recipe.unpack(payload))
        elif kind == Kind.VERSION:
            connection.send(frame(kind, bytes([payload == struct.pack(">H", PROTOCOL)])))
        elif kind == Kind.CONTROLLER:
            connection.send(frame(kind, struct.pack(">4I", *VERSION)))
        elif kind == Kind.OUTPUTS:
            names = names_in(payload[8:])
            rate = struct.unpack_from(">d", payload)[0]
            connection.every = max(1, round(RATE / rate)) if rate > 0 else 1
            types = [OUTPUTS.get(name) or INPUTS.get(name, NOT_FOUND) for name in names]
            connection.outputs = None if NOT_FOUND in types else Recipe(1, names, types)
            connection.send(frame(kind, bytes([connection.outputs is not None]) + ",".join(types).encode()))
        elif kind == Kind.INPUTS:
            self._set_up_inputs(connection, names_in(payload))
        elif kind in (Kind.START, Kind.PAUSE):
            connection.started = kind == Kind.START and connection.outputs is not None
            connection.send(frame(kind, bytes([connection.started if kind == Kind.START else 1])))

    def _set_up_inputs(self, connection: Connection, names: tuple[str, ...]) -> None:
        """Give a client the right to write inputs, each of which one client at a time has."""
        types = []
        for name in names:
            taken = self._owners.get(name, connection) is not connection or (self.faults.in_use and "register" in name)
            types.append(IN_USE if taken and name in INPUTS else INPUTS.get(name, NOT_FOUND))
        number = 0
        if IN_USE not in types and NOT_FOUND not in types and len(connection.recipes) < 255:
            number = len(connection.recipes) + 1
            connection.recipes[number] = Recipe(number, names, types)
            self._owners |= dict.fromkeys(names, connection)
        connection.send(frame(Kind.INPUTS, bytes([number]) + ",".join(types).encode()))

    def _publish(self) -> None:
        """Send the state to everybody who reads."""
        controller, now = self.controller, self.time
        fields = {**controller.inputs, **controller.fields}
        frozen, clock = self.faults.frozen(now)
        if frozen:
            if self._frozen is None:
                self._frozen = fields
            fields = dict(self._frozen) if clock else {**self._frozen, "timestamp": fields["timestamp"]}
        else:
            self._frozen = None
        texts = [text_message(text, WHAT, 2) for text in controller.messages]
        controller.messages.clear()
        wait = self.faults.late(now)
        for connection in self._connections:
            if not connection.started or connection.outputs is None or not connection.open:
                continue
            for text in texts:
                connection.send(text)
            if controller.ticks % connection.every == 0 and not self.faults.dropped(now):
                connection.late.append((now + wait, frame(Kind.DATA, connection.outputs.pack(fields))))
            while connection.late and connection.late[0][0] <= now:
                _, message = connection.late.popleft()
                if len(connection.unsent) < ROOM:
                    connection.send(message)

    def _forget_closed(self) -> None:
        if all(c.open for c in self._connections):
            return
        for connection in [c for c in self._connections if not c.open]:
            connection.peer.close()
            self._connections.remove(connection)
            self._owners = {name: owner for name, owner in self._owners.items() if owner is not connection}


def _hurry() -> None:
    """Have the system treat this process as far as it lets us like a controller, which has a computer of its own.

    The kernel is to wake it within microseconds of the time asked for (50 µs late by default), and before others; the
    cell's threads are to give way to the clock's soon (5 ms by default).
    """
    sys.setswitchinterval(0.0002)
    with contextlib.suppress(OSError, AttributeError):  # only where this user may
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    set_timer_slack = 29
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the spin before the deadline does what it can
        ctypes.CDLL(None).prctl(set_timer_slack, 1000, 0, 0, 0)
