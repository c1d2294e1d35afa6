"""What can go wrong on demand, asked for over the side channel: {"ask": "fault", "name": ..., ...}.

drop {share, seconds}           that share of the data messages is never sent (1: silence on an open connection)
lag {delay, seconds}            what is sent comes `delay` [s] late
freeze {seconds, clock}         the state stays what it was; the clock goes on, or stays too with `clock`
in_use {on}                     a fieldbus writes the input registers: clients are told IN_USE
protective_stop {}              as after a collision
emergency_stop {}, emergency_release {}     the button
disconnect {}                   every connection but the side channel's is cut
restart {seconds}               the controller restarts and is away for a while; power stays off afterwards
clear {}                        ends drop, lag, freeze and in_use
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.errors import InputError, unknown

if TYPE_CHECKING:
    from sim2real.standin.server import Server


class Faults:
    """Faults of one stand-in.

    Attributes:
        delay: of what is sent [s].
        in_use: whether input registers are refused.
    """

    def __init__(self, server: Server, seed: int) -> None:
        """Nothing is wrong yet; dropped messages are drawn from `seed`."""
        self._server = server
        self._random = np.random.default_rng(seed)
        self._clear()

    def make(self, name: str, **how: Any) -> None:
        """Make something go wrong; InputError for an unknown fault, or for settings that it does not have."""
        makers: dict[str, Callable[..., None]] = {
            "drop": self._drop,
            "lag": self._lag,
            "freeze": self._freeze,
            "in_use": self._in_use,
            "protective_stop": lambda: self._server.controller.protective_stop("something was hit"),
            "emergency_stop": self._server.controller.emergency_stop,
            "emergency_release": self._server.controller.emergency_release,
            "disconnect": self._server.disconnect,
            "restart": self._restart,
            "clear": self._clear,
        }
        if name not in makers:
            raise unknown("fault", name, makers)
        known = inspect.signature(makers[name]).parameters
        wrong = [key for key in how if key not in known]
        if wrong:
            raise InputError(f"fault {name!r} has no setting {wrong[0]!r}: it has {', '.join(known) or 'none'}")
        makers[name](**how)

    def dropped(self, time: float) -> bool:
        """Whether a message that is due at `time` (of the server's clock) [s] is lost."""
        return time < self._drop_until and bool(self._random.random() < self._share)

    def late(self, time: float) -> float:
        """How much later a message goes out [s]."""
        return self.delay if time < self._lag_until else 0.0

    def frozen(self, time: float) -> tuple[bool, bool]:
        """Whether the state is frozen, and whether the clock is too."""
        return time < self._freeze_until, self._freeze_clock

    def _clear(self) -> None:
        self._drop_until = self._lag_until = self._freeze_until = -math.inf
        self._share, self.delay, self._freeze_clock, self.in_use = 0.0, 0.0, False, False

    def _drop(self, share: float = 0.5, seconds: float = math.inf) -> None:
        if not 0 < share <= 1:
            raise InputError(f"fault 'drop': share {share} must lie in 0 … 1")
        self._share, self._drop_until = share, self._until(seconds)

    def _lag(self, delay: float = 0.1, seconds: float = math.inf) -> None:
        if not 0 < delay <= 10:
            raise InputError(f"fault 'lag': delay {delay} s must lie in 0 … 10")
        self.delay, self._lag_until = delay, self._until(seconds)

    def _freeze(self, seconds: float = math.inf, clock: bool = False) -> None:
        self._freeze_until, self._freeze_clock = self._until(seconds), clock

    def _in_use(self, on: bool = True) -> None:
        self.in_use = on

    def _restart(self, seconds: float = 2.0) -> None:
        if not 0 <= seconds <= 60:
            raise InputError(f"fault 'restart': seconds {seconds} must lie in 0 … 60")
        self._server.restart(seconds)

    def _until(self, seconds: float) -> float:
        if not seconds > 0:
            raise InputError(f"a fault lasts longer than {seconds} s")
        return self._server.time + seconds
