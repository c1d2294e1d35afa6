"""The side channel: what a cell's cameras, scale and operator give besides the robot's own protocol.

A line of JSON asks, a line of JSON answers: `{"ask": name, ...}` -> `{"ok": true, ...}`, or `{"ok": false, "error":
one line}`. The stand-in serves it on port 30100 of its host; a real cell would put its vision system and a prompt for
the operator behind it. Lengths [m], angles [rad], masses [kg]; positions in the world: the floor is at z = 0, the arm's
base at (0, 0, base height), its axes the world's; quaternions wxyz.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any

import numpy as np

from assets.errors import InputError

PORT = 30100
CONNECT_TIMEOUT = 3.0  # [s]
ANSWER_TIMEOUT = 120.0  # [s] an operator takes his time
LONGEST_LINE = 64 * 1024 * 1024  # [bytes]

AskCell = Callable[..., Mapping[str, Any]]


class Ask(StrEnum):
    """What may be asked."""

    HELLO = "hello"  # -> what, arm, seal, cell
    SEAL = "seal"  # -> seal: sha256 of the sealed parameters
    REVEAL = "reveal"  # -> the sealed parameters; said by every later hello
    FAULT = "fault"  # name, ...: make something go wrong
    RESET = "cell.reset"  # layout, cartons, seed -> count
    OBSERVE = "cell.observe"  # -> time, position, quaternion, place, holding
    FEED = "cell.feed"  # -> carton: the next one comes along the conveyor
    PLACE = "cell.place"  # carton, position, yaw, clamped: the operator sets a carton somewhere
    WEIGH = "cell.weigh"  # carton -> mass
    TILT = "cell.tilt"  # carton, on, direction, rate -> angle, time, tilt, slid
    DROP = "cell.drop"  # carton, on, height -> time, height
    JUDGE = "cell.judge"  # direction -> before, tilt, pulse


class SideChannel:
    """A connection to the side channel."""

    def __init__(self, host: str, port: int = PORT, timeout: float = ANSWER_TIMEOUT):
        """Connect; an answer may take `timeout` [s].

        Raises:
            InputError: nothing answers at this address.
        """
        self.host, self.port, self.timeout = host, port, timeout
        try:
            self._socket = socket.create_connection((host, port), CONNECT_TIMEOUT)
        except OSError as error:
            raise InputError(
                f"side channel {host}:{port} does not answer ({error.strerror or error}): start the stand-in, or give "
                "the address of the cell's own"
            ) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(timeout)
        self._lines = self._socket.makefile("rb")

    def ask(self, name: str, /, **message: Any) -> dict[str, Any]:
        """Ask and return the answer without its `ok`.

        Raises:
            InputError: the other side refuses (its own line), hangs up, does not answer in time or answers nonsense.
        """
        where = f"side channel {self.host}:{self.port}: {name}"
        line = json.dumps({"ask": str(name), **message}, default=_plain).encode() + b"\n"
        try:
            self._socket.sendall(line)
            answer = self._lines.readline(LONGEST_LINE)
        except TimeoutError:
            self.close()  # a late answer must not be taken for that of the next question
            raise InputError(f"{where}: no answer within {self.timeout:g} s") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{where}: the connection is gone ({error}); connect again") from None
        if not answer.endswith(b"\n"):
            self.close()
            raise InputError(f"{where}: the other side hung up; connect again")
        try:
            content = json.loads(answer)
            ok = content.pop("ok")
        except (ValueError, AttributeError, KeyError, TypeError):
            raise InputError(f"{where}: the answer is no JSON object with `ok`: {answer[:80]!r}") from None
        if ok is not True:
            raise InputError(f"{where}: {content.get('error', 'refused without a reason')}")
        return content

    def close(self) -> None:
        """Hang up; may be called again."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> SideChannel:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class Ware:
    """A carton as its papers state it: length, width, height [m], mass [kg]; how it comes along the conveyor.

    `offset` [m] and `yaw` [rad] say how far from the belt's middle and how turned it lies on the belt.
    """

    size: tuple[float, float, float]
    mass: float
    offset: float = 0.0
    yaw: float = 0.0


@dataclasses.dataclass(frozen=True)
class Places:
    """Where things stand in the cell: what the client tells the cell, in the world's axes.

    Attributes:
        base_height: of the arm's base above the floor [m].
        pallet: middle of the deck's top [m]; `pallet_yaw` the heading of its long side [rad].
        stop: the conveyor's end, in the middle of its width [m]; `belt_height` of its top, `belt_speed` [m/s].
    """

    base_height: float = 0.75
    pallet: tuple[float, float, float] = (0.9, 0.0, 0.144)
    pallet_yaw: float = float(np.pi / 2)
    stop: tuple[float, float] = (0.15, -0.90)
    belt_height: float = 0.60
    belt_speed: float = 0.5


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the cell's cameras see, noise included.

    Attributes:
        time: on the cell's clock [s].
        position: middles of the cartons [m], (n, 3); of those not in the cell yet NaN.
        quaternion: (n, 4).
        place: of each "waiting", "arriving", "ready", "held", "put" or "fallen".
        holding: the carton the vacuum holds, or None.
    """

    time: float
    position: np.ndarray
    quaternion: np.ndarray
    place: tuple[str, ...]
    holding: int | None


@dataclasses.dataclass(frozen=True)
class Slide:
    """A carton on the tilt table: `angle` [rad] at which it was seen to slide; the curves behind it, (k,) each."""

    angle: float
    time: np.ndarray
    tilt: np.ndarray
    slid: np.ndarray


class CellClient:
    """The cell, asked through a side channel (`SideChannel.ask`, or anything that answers alike)."""

    def __init__(self, ask: AskCell):
        """Ask through `ask(name, **message)`."""
        self.ask = ask

    def reset(self, places: Places, wares: Sequence[Ware], seed: int = 0) -> None:
        """Clear the cell, lay it out and announce the cartons that will come; nothing is in the cell afterwards."""
        cartons = [dataclasses.asdict(ware) for ware in wares]
        self.ask(Ask.RESET, layout=dataclasses.asdict(places), cartons=cartons, seed=seed)

    def observe(self) -> Seen:
        """Look at the cell."""
        a = self.ask(Ask.OBSERVE)
        position = np.array([[np.nan] * 3 if p is None else p for p in a["position"]], np.float64).reshape(-1, 3)
        turn = np.array([[np.nan] * 4 if q is None else q for q in a["quaternion"]], np.float64).reshape(-1, 4)
        return Seen(float(a["time"]), position, turn, tuple(a["place"]), a["holding"])

    def feed(self) -> int:
        """Let the next carton onto the conveyor; return its number."""
        return int(self.ask(Ask.FEED)["carton"])

    def place(
        self, carton: int, position: Sequence[float] | np.ndarray, yaw: float = 0.0, clamped: bool = False
    ) -> None:
        """Have the operator set a carton's middle at `position` (3,), turned by `yaw`; `clamped` holds it down."""
        self.ask(Ask.PLACE, carton=carton, position=np.asarray(position).tolist(), yaw=float(yaw), clamped=clamped)

    def weigh(self, carton: int) -> float:
        """Have the operator put a carton on the scale [kg]."""
        return float(self.ask(Ask.WEIGH, carton=carton)["mass"])

    def tilt(self, carton: int, on: str, direction: float, rate: float) -> Slide:
        """Have the operator tilt a carton on a plate of material `on`, at `rate` [rad/s], until it slides.

        `direction` [rad] is where downhill is, about the carton's own upright axis.
        """
        a = self.ask(Ask.TILT, carton=carton, on=on, direction=direction, rate=rate)
        return Slide(float(a["angle"]), *(np.array(a[k], np.float64) for k in ("time", "tilt", "slid")))

    def drop(self, carton: int, on: str, height: float) -> tuple[np.ndarray, np.ndarray]:
        """Have the operator drop a carton flat onto a plate of material `on`.

        Returns:
            Time [s] and the height of its bottom over where it comes to rest [m], (k,) each, by a distance sensor.
        """
        a = self.ask(Ask.DROP, carton=carton, on=on, height=height)
        return np.array(a["time"], np.float64), np.array(a["height"], np.float64)


def _plain(value: Any) -> Any:
    """Turn NumPy's numbers and arrays into what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent")
