"""What the stand-in's tests share: a raw reader of real-time data, and a side channel."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

from sim2real.rtde import (
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
from sim2real.standin import SIDE_PORT

# What the adapter says when a machine is too busy for its watches of 40 ms.
BUSY = ("held up", "no longer runs", "no state of the robot", "ms late", "did not take a target")
READ = ("timestamp", "actual_q", "actual_qd", "target_q", "runtime_state", "safety_status_bits", "robot_mode")


class Reader:
    """A client of the real-time interface that loses nothing."""

    def __init__(self, host: str, names: tuple[str, ...] = READ, rate: float = 500.0) -> None:
        self.socket = socket.create_connection((host, RTDE_PORT), 2)
        self.socket.settimeout(2)
        self.frames = Frames()
        self.waiting: list[tuple[int, bytes]] = []
        self.texts: list[str] = []
        self.socket.sendall(version_request())
        assert self._next(Kind.VERSION) == b"\x01"
        self.socket.sendall(outputs_request(rate, names))
        self.recipe = outputs_reply(self._next(Kind.OUTPUTS), names)
        self.inputs: dict[tuple[str, ...], Recipe] = {}
        self.socket.sendall(frame(Kind.START))
        assert self._next(Kind.START) == b"\x01"

    def one(self) -> dict[str, Any]:
        return self.recipe.unpack(self._next(Kind.DATA))

    def rows(self, seconds: float) -> list[dict[str, Any]]:
        """All that comes within so many seconds, what lies ready included."""
        end, rows = time.monotonic() + seconds, []
        while time.monotonic() < end:
            rows.append(self.one())
        return rows

    def latest(self) -> dict[str, Any]:
        """The state now: what has been waiting is passed over."""
        self.waiting = [m for m in self.waiting if m[0] != Kind.DATA]
        self.socket.setblocking(False)
        try:
            while data := self.socket.recv(1 << 16):
                self.waiting += [m for m in self.frames.feed(data) if m[0] != Kind.DATA]
        except BlockingIOError:
            pass
        self.socket.settimeout(2)
        return self.one()

    def write(self, **values: float) -> None:
        names = tuple(values)
        if names not in self.inputs:
            self.socket.sendall(inputs_request(names))
            self.inputs[names] = outputs_reply(self._next(Kind.INPUTS), names)
        self.socket.sendall(frame(Kind.DATA, self.inputs[names].pack(values)))

    def close(self) -> None:
        self.socket.close()

    def _next(self, wanted: int) -> bytes:
        while True:
            for i, (kind, payload) in enumerate(self.waiting):
                if kind == wanted:
                    del self.waiting[: i + 1]
                    return payload
                if kind == Kind.TEXT:
                    self.texts.append(text_of(payload)[0])
            self.waiting.clear()
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the stand-in hung up")
            self.waiting += self.frames.feed(data)


def ask(host: str, name: str, /, **message: Any) -> dict[str, Any]:
    """One question on the side channel."""
    with socket.create_connection((host, SIDE_PORT), 5) as connection, connection.makefile("rb") as lines:
        connection.sendall(json.dumps({"ask": name, **message}).encode() + b"\n")
        return json.loads(lines.readline())


def some_host(number: int) -> str:
    """A loopback address that no other test process takes."""
    pid = os.getpid()
    return f"127.{100 + pid % 100}.{1 + pid // 100 % 250}.{number}"


def busy(error: Exception) -> bool:
    """Whether the machine, not the code, made it fail."""
    return any(words in str(error) for words in BUSY)
