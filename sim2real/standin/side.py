"""The side channel: what lies beyond the robot's own protocol. A line of JSON asks, a line of JSON answers.

hello -> what, arm, seal, cell, revealed, lateness_p99 [s]      seal -> seal      reveal -> structure, values, salt
fault {name, ...}: see `faults`      cell.*: the cell's, if there is one
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.errors import InputError
from sim2real.standin import WHAT

if TYPE_CHECKING:
    from sim2real.standin.cell import Cell
    from sim2real.standin.server import Server


class Side:
    """Answers for one server."""

    def __init__(self, server: Server, cell: Cell | None) -> None:
        """Nothing has been revealed yet."""
        self._server, self._cell = server, cell
        self._revealed = False
        self._workers = ThreadPoolExecutor(max_workers=2)

    def asked(self, line: str) -> str | Future[str]:
        """The answer to a line, or the promise of one: what a cell does takes seconds, and waits for the physics."""
        try:
            message = json.loads(line)
            name = message.pop("ask")
            if not isinstance(name, str):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refusal(InputError('a line must be a JSON object with "ask": a name'))
        if name.startswith("cell."):
            return self._workers.submit(self._answer, name, message)
        return self._answer(name, message)

    def close(self) -> None:
        """Let go of what is still asked."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _answer(self, name: str, message: dict[str, Any]) -> str:
        try:
            return json.dumps({"ok": True, **self._ask(name, message)})
        except Exception as error:  # whatever it was, the one who asked must hear of it
            return _refusal(error)

    def _ask(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        server = self._server
        sealed = server.controller.plant.sealed
        if name.startswith("cell."):
            if self._cell is None:
                raise InputError(f"{name}: this stand-in has no cell around its arm; start it with --cell")
            return self._cell.ask(name, **message)
        if name == "hello":
            late = np.array(server.lateness or [0.0])
            return {
                "what": WHAT,
                "arm": server.controller.arm.name,
                "seal": sealed.seal(),
                "cell": self._cell is not None,
                "revealed": self._revealed,
                "lateness_p99": float(np.percentile(late, 99)),
            }
        if name == "seal":
            return {"seal": sealed.seal()}
        if name == "reveal":
            self._revealed = True
            return sealed.reveal()
        if name == "fault":
            if not isinstance(message.get("name"), str):
                raise InputError('a fault has a "name"')
            server.faults.make(**message)
            return {"name": message["name"]}
        raise InputError(f"unknown message {name!r}: known are hello, seal, reveal, fault and those of a cell")


def _refusal(error: Exception) -> str:
    return json.dumps({"ok": False, "error": " ".join(str(error).split()) or type(error).__name__})
