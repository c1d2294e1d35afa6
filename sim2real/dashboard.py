"""The pendant's text service (port 29999), as far as this project uses it: questions.

There is no way here to unlock a protective stop, to switch on power or to release brakes: a person does that.
"""

from __future__ import annotations

import socket
import threading

from assets.errors import InputError
from sim2real.rtde import DASHBOARD_PORT

TIMEOUT = 2.0  # [s]
STAND_IN = "stand-in, not hardware"


class Dashboard:
    """A connection to the service; may be used from several threads."""

    def __init__(self, host: str, port: int = DASHBOARD_PORT) -> None:
        """Connect; InputError when nothing answers."""
        self._where = f"{host}:{port}"
        self._lock = threading.Lock()
        try:
            self._socket = socket.create_connection((host, port), TIMEOUT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._lines = self._socket.makefile("rb")
            self._line()  # its greeting
        except (OSError, UnicodeError) as error:
            raise InputError(
                f"the robot's dashboard does not answer at {self._where} ({error}): is it switched on in its settings?"
            ) from None

    @property
    def model(self) -> str:
        """The arm's model, e.g. "UR20"; of an e-Series arm without the letter, e.g. "UR10"."""
        return self._ask("get robot model")

    @property
    def serial(self) -> str:
        """The robot's serial number."""
        return self._ask("get serial number")

    @property
    def software(self) -> str:
        """The controller's software, e.g. "URSoftware 5.21.1.1126131 (Nov 05 2025)"."""
        return self._ask("PolyscopeVersion")

    @property
    def remote(self) -> bool:
        """Whether the pendant is in remote control, without which no program from outside may run."""
        return self._ask("is in remote control").lower() == "true"

    @property
    def safety(self) -> str:
        """The safety status, e.g. "NORMAL", "PROTECTIVE_STOP"."""
        return self._ask("safetystatus").partition(": ")[2]

    @property
    def source(self) -> str:
        """What a recording is of: `STAND_IN`, or model and serial number."""
        if self._ask("get variable what") == STAND_IN:
            return STAND_IN
        return f"{self.model} {self.serial}"

    def close(self) -> None:
        """Hang up; may be called again."""
        self._lines.close()
        self._socket.close()

    def _ask(self, line: str) -> str:
        with self._lock:
            try:
                self._socket.sendall(line.encode() + b"\n")
                return self._line()
            except (OSError, ValueError) as error:
                raise InputError(f"the robot's dashboard at {self._where} does not answer ({error})") from None

    def _line(self) -> str:
        line = self._lines.readline()
        if not line:
            raise OSError("the connection was closed")
        return line.decode("utf-8", "replace").strip()
