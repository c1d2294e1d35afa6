"""What travels between a robot's computer and the computer that infers: messages over TCP.

A message is the mark, two lengths (uint32, little endian), a header in JSON and raw arrays, one after another; the
header's "arrays" says name, type and shape of each. Nothing is executed or unpickled, and lengths are bounded: a
stranger's bytes end the connection with one clear line.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from assets.errors import InputError
from policies.dva.leapfrog import Question

PROTOCOL = 1  # both sides must speak the same
MARK = b"PDVA"
LENGTHS = struct.Struct("<II")
MOST = (1 << 16, 1 << 26)  # [bytes] of a header, of its arrays
TYPES = {"u1": np.dtype("<u1"), "f4": np.dtype("<f4")}
PICTURE = "picture."

Message = tuple[dict[str, Any], dict[str, np.ndarray]]


class HungUpError(ConnectionError):
    """The other side has closed the connection."""


def packed(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Return a message's bytes; arrays are sent as uint8 or float32."""
    given = {name: np.ascontiguousarray(a) for name, a in (arrays or {}).items()}
    given = {name: a if a.dtype == np.uint8 else a.astype("<f4") for name, a in given.items()}
    about = [[name, "u1" if a.dtype == np.uint8 else "f4", list(a.shape)] for name, a in given.items()]
    head = json.dumps(dict(header) | {"arrays": about}).encode()
    body = b"".join(a.tobytes() for a in given.values())
    return MARK + LENGTHS.pack(len(head), len(body)) + head + body


def unpacked(head: bytes, body: bytes) -> Message:
    """Return what `packed` packed, or raise InputError."""
    try:
        header = json.loads(head)
        arrays, at = {}, 0
        for name, kind, shape in header.pop("arrays"):
            dtype, count = TYPES[kind], math.prod(int(n) for n in shape)
            arrays[str(name)] = np.frombuffer(body, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        if at != len(body):
            raise ValueError(f"{len(body) - at} bytes too many")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"a message that cannot be read ({type(error).__name__}: {error})") from None
    return header, arrays


class Line:
    """A connection that sends and receives whole messages; one thread at a time each way."""

    def __init__(self, connection: socket.socket):
        """Take over a connected socket."""
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._buffer = connection, bytearray()
        self.broken = False  # half a message went out, or something that is none came in: hang up

    def send(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None, seconds: float) -> None:
        """Send a message, or raise OSError: it is not taken within so many seconds, or the connection is broken."""
        try:
            self._socket.settimeout(seconds)
            self._socket.sendall(packed(header, arrays))
        except OSError:
            self.broken = True
            raise

    def receive(self, seconds: float) -> Message:
        """Return the next message. What has come of one when the time is over is kept: the line stays usable.

        Raises:
            TimeoutError: none within so many seconds.
            HungUpError: the other side has closed the connection.
            InputError: something that is no message.
        """
        end = time.monotonic() + seconds
        try:
            while (message := self._whole()) is None:
                self._socket.settimeout(max(end - time.monotonic(), 1e-3))
                data = self._socket.recv(1 << 18)
                if not data:
                    raise HungUpError("the other side hung up")
                self._buffer += data
            return message
        except TimeoutError:
            raise
        except (OSError, InputError):
            self.broken = True
            raise

    @property
    def waiting(self) -> bool:
        """Whether more bytes lie ready."""
        with contextlib.suppress(ValueError):  # closed meanwhile
            return len(self._buffer) > 0 or bool(select.select([self._socket], [], [], 0)[0])
        return False

    def _whole(self) -> Message | None:
        """The first message in the buffer, if all of it is there."""
        begin = len(MARK) + LENGTHS.size
        if self._buffer[: len(MARK)] != MARK[: len(self._buffer)]:
            raise InputError("whoever is at the other end speaks no palletlab")
        if len(self._buffer) < begin:
            return None
        head, body = LENGTHS.unpack_from(self._buffer, len(MARK))
        if head > MOST[0] or body > MOST[1]:
            raise InputError(f"a message of {head} + {body} bytes, at most {MOST[0]} + {MOST[1]} are allowed")
        if len(self._buffer) < begin + head + body:
            return None
        message = bytes(self._buffer[begin : begin + head + body])
        del self._buffer[: begin + head + body]
        return unpacked(message[:head], message[head:])

    def close(self) -> None:
        """Hang up; whoever waits for a message hears of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


# ---- questions as messages -----------------------------------------------------------------------------------------

NUMBERS = ("world", "number", "episode", "task", "first")
ARRAYS = ("proprio", "led", "in_flight")


def question_message(question: Question) -> Message:
    """Return a question as header and arrays."""
    pictures = {PICTURE + name: value for name, value in question.pictures.items()}
    header = {"say": "ask", **{name: int(getattr(question, name)) for name in NUMBERS}}
    return header, {**{name: getattr(question, name) for name in ARRAYS}, **pictures}


def question_of(message: Message) -> Question:
    """Return the question that a message holds, or raise InputError."""
    header, arrays = message
    missing = [name for name in NUMBERS if not isinstance(header.get(name), int)]
    missing += [name for name in ARRAYS if name not in arrays]
    if missing:
        raise InputError(f"a question without {missing[0]!r}")
    proprio, led, in_flight = (arrays[name] for name in ARRAYS)
    pictures = {name.removeprefix(PICTURE): a for name, a in arrays.items() if name.startswith(PICTURE)}
    wrong = proprio.ndim != 2 or led.ndim != 3 or in_flight.ndim != 3 or not len(proprio)
    wrong = wrong or any(a.ndim != 4 or a.shape[3] != 3 or a.dtype != np.uint8 for a in pictures.values())
    if wrong or {len(a) for a in (led, *pictures.values())} != {len(proprio)} or led.shape[1:] != in_flight.shape[1:]:
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in arrays.items())
        raise InputError(f"a question whose arrays do not fit each other: {shapes}")
    return Question(
        **{name: header[name] for name in NUMBERS},
        pictures=pictures,
        proprio=proprio,
        led=led,
        in_flight=in_flight,
    )
