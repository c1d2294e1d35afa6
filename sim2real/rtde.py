"""The wire format of a UR controller's real-time data exchange (RTDE), protocol version 2, port 30004.

A message is a big-endian uint16 total size, a uint8 kind, and a payload. A client agrees on protocol version 2, sends
the names of the outputs that it wants (and of the inputs that it will write), gets back a recipe number and the types,
and starts. From then on data messages come at the controller's rate: the recipe's number, then the fields packed one
after another. Source: Universal Robots, "Real-Time Data Exchange (RTDE) guide".

Example, a reader:
    connection.sendall(version_request())
    connection.sendall(outputs_request(500.0, ("timestamp", "actual_q")))
    frames = Frames()
    for kind, payload in frames.feed(connection.recv(4096)):
        if kind == Kind.OUTPUTS:
            recipe = outputs_reply(payload, ("timestamp", "actual_q"))  # InputError if the controller has no such field
            connection.sendall(frame(Kind.START))
        elif kind == Kind.DATA:
            values = recipe.unpack(payload)
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Mapping, Sequence

from assets.errors import InputError

RTDE_PORT, SCRIPT_PORT, DASHBOARD_PORT = 30004, 30003, 29999
PROTOCOL = 2
RATE = 500.0  # [Hz] of an e-Series controller

Value = bool | int | float | Sequence[float]

# How a field's type is packed: struct code and number of elements.
TYPES: dict[str, tuple[str, int]] = {
    "BOOL": ("?", 1),
    "UINT8": ("B", 1),
    "UINT32": ("I", 1),
    "UINT64": ("Q", 1),
    "INT32": ("i", 1),
    "DOUBLE": ("d", 1),
    "VECTOR3D": ("d", 3),
    "VECTOR6D": ("d", 6),
    "VECTOR6INT32": ("i", 6),
    "VECTOR6UINT32": ("I", 6),
}
NOT_FOUND, IN_USE = "NOT_FOUND", "IN_USE"  # what stands in a reply in place of the type of a field one cannot have
_HEADER = struct.Struct(">HB")


class Kind(enum.IntEnum):
    """What a message is; the letter is its byte on the wire."""

    VERSION = ord("V")  # protocol version, asked for and accepted
    CONTROLLER = ord("v")  # version of the controller's software
    TEXT = ord("M")
    DATA = ord("U")
    OUTPUTS = ord("O")  # what the client wants to read
    INPUTS = ord("I")  # what the client wants to write
    START = ord("S")
    PAUSE = ord("P")


class SafetyBit(enum.IntFlag):
    """Bits of the field `safety_status_bits`."""

    NORMAL = 1 << 0
    REDUCED = 1 << 1
    PROTECTIVE_STOP = 1 << 2
    RECOVERY = 1 << 3
    SAFEGUARD_STOP = 1 << 4
    SYSTEM_EMERGENCY_STOP = 1 << 5
    ROBOT_EMERGENCY_STOP = 1 << 6
    EMERGENCY_STOP = 1 << 7
    VIOLATION = 1 << 8
    FAULT = 1 << 9
    STOPPED_DUE_TO_SAFETY = 1 << 10


class RobotMode(enum.IntEnum):
    """Values of the field `robot_mode`."""

    DISCONNECTED = 0
    CONFIRM_SAFETY = 1
    BOOTING = 2
    POWER_OFF = 3
    POWER_ON = 4
    IDLE = 5
    BACKDRIVE = 6
    RUNNING = 7


class Frames:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        """Start with an empty stream."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes as they came and give (kind, payload) of each message that is now complete.

        Raises:
            InputError: what comes is no RTDE (a size smaller than the header).
        """
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            size, kind = _HEADER.unpack_from(self._buffer)
            if size < _HEADER.size:
                raise InputError(f"not RTDE: a message claims to be {size} bytes long, its header alone has 3")
            if len(self._buffer) < size:
                return
            payload = bytes(self._buffer[_HEADER.size : size])
            del self._buffer[:size]
            yield kind, payload


class Recipe:
    """A list of fields that go over the wire together.

    Attributes:
        id: the number that the controller gave it.
        names: of the fields, in order.
        types: of the fields, keys of `TYPES`.
    """

    def __init__(self, id: int, names: Sequence[str], types: Sequence[str]) -> None:
        """Prepare packing; InputError where names and types do not fit or a type is unknown."""
        if len(names) != len(types):
            raise InputError(f"RTDE recipe {id}: {len(names)} fields, but {len(types)} types")
        for name, kind in zip(names, types, strict=True):
            if kind not in TYPES:
                raise InputError(f"RTDE field {name!r} cannot be had: the controller says {kind}")
        self.id, self.names, self.types = id, tuple(names), tuple(types)
        self._counts = tuple(TYPES[kind][1] for kind in types)
        self._struct = struct.Struct(">B" + "".join(f"{TYPES[kind][1]}{TYPES[kind][0]}" for kind in types))

    def pack(self, values: Mapping[str, Value]) -> bytes:
        """Payload of a data message: the recipe's number and its fields; `values` may hold more than these."""
        flat: list[float] = []
        for name, count in zip(self.names, self._counts, strict=True):
            if count == 1:
                flat.append(values[name])  # type: ignore[arg-type]
            else:
                flat.extend(values[name])  # type: ignore[arg-type]
        return self._struct.pack(self.id, *flat)

    def unpack(self, payload: bytes) -> dict[str, Value]:
        """Fields of a data message's payload; vectors come as tuples. InputError if it is not of this recipe."""
        if len(payload) != self._struct.size or payload[0] != self.id:
            raise InputError(
                f"RTDE data of {len(payload)} bytes for recipe {payload[0] if payload else 'none'}: "
                f"recipe {self.id} has {self._struct.size} bytes"
            )
        flat = self._struct.unpack(payload)
        values: dict[str, Value] = {}
        at = 1
        for name, count in zip(self.names, self._counts, strict=True):
            values[name] = flat[at] if count == 1 else flat[at : at + count]
            at += count
        return values


def frame(kind: int, payload: bytes = b"") -> bytes:
    """A message of that kind."""
    return _HEADER.pack(_HEADER.size + len(payload), kind) + payload


def names_in(payload: bytes) -> tuple[str, ...]:
    """Comma-separated names (or types) of a setup message; a trailing comma is no name."""
    return tuple(name for name in payload.decode("ascii").split(",") if name)


def version_request() -> bytes:
    """The message that asks for protocol version 2; the reply's payload is one byte, 1 if accepted."""
    return frame(Kind.VERSION, struct.pack(">H", PROTOCOL))


def outputs_request(rate: float, names: Sequence[str]) -> bytes:
    """The message that asks for these outputs, `rate` times a second [Hz]."""
    return frame(Kind.OUTPUTS, struct.pack(">d", rate) + ",".join(names).encode("ascii"))


def inputs_request(names: Sequence[str]) -> bytes:
    """The message that asks to write these inputs."""
    return frame(Kind.INPUTS, ",".join(names).encode("ascii"))


def outputs_reply(payload: bytes, names: Sequence[str]) -> Recipe:
    """The recipe that the controller made of `names`, for inputs too.

    Raises:
        InputError: the controller does not have one of them, or someone else writes that input already.
    """
    recipe, types = payload[0], names_in(payload[1:])
    for name, kind in zip(names, types, strict=False):
        if kind == NOT_FOUND:
            raise InputError(f"the controller has no RTDE field {name!r}: its software may be too old")
        if kind == IN_USE:
            raise InputError(
                f"the RTDE input {name!r} is in use: another program or a fieldbus of the controller writes it, stop it"
            )
    return Recipe(recipe, names, types)


def text_message(text: str, source: str, level: int) -> bytes:
    """A text message of the controller; level 0 exception, 1 error, 2 warning, 3 info."""
    said, who = text.encode("utf-8")[:255], source.encode("utf-8")[:255]
    return frame(Kind.TEXT, bytes([len(said)]) + said + bytes([len(who)]) + who + bytes([level]))


def text_of(payload: bytes) -> tuple[str, str, int]:
    """Text, source and level of a text message's payload."""
    length = payload[0]
    said = payload[1 : 1 + length].decode("utf-8", "replace")
    who = payload[2 + length : 2 + length + payload[1 + length]].decode("utf-8", "replace")
    return said, who, payload[-1]
