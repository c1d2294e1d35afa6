"""The robot's side of the server: asks for chunks over the network as if the models were here."""

from __future__ import annotations

import dataclasses
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from assets.errors import InputError
from policies.data.view import View
from policies.dva.leapfrog import Question, Rhythm
from policies.dva.policy import Cell, DVAPolicy, Senses, embodiment_of
from policies.dva.server import PORT
from policies.dva.wire import PROTOCOL, Line, Message, question_message
from policies.embodiment import Embodiment

CALLING = 1.0  # [s] within which the server has to pick up


class RemoteDecider:
    """Asks a `PolicyServer` (fits the `Decider` contract); it calls again by itself where the connection broke.

    What the network does to one question ends as TimeoutError or ConnectionError, upon which the asker asks anew with
    all frames since its last answer; late, doubled and foreign answers are passed over. A server that speaks another
    protocol or serves another checkpoint than at first raises InputError, in one line.
    """

    def __init__(self, host: str, port: int = PORT, checkpoint: str | None = None, budget: float = 0.3):
        """Call the server at once.

        Args:
            host: name or address.
            port: of the server.
            checkpoint: hash of the only checkpoint that will do; None takes the server's.
            budget: how long an answer is waited for [s], network and inference together.

        Raises:
            InputError: nobody answers there, or not as wanted.
        """
        self.host, self.port, self.budget = host, port, budget
        self._checkpoint, self._session = checkpoint, secrets.token_hex(8)
        self._line: Line | None = None
        self._one = threading.Lock()
        self.stale = 0  # answers that came when nobody waited for them any more
        self.calls = 0  # how often the server was called
        try:
            self.about = self._call()
        except OSError as error:
            raise InputError(f"no policy server answers at {host}:{port} ({error})") from None
        self._checkpoint = self.about.get("checkpoint")

    def policy(self, cell: Cell, nworld: int = 1, lead: int | None = None) -> DVAPolicy:
        """Return the server's policy for `nworld` arms of a cell.

        Raises:
            InputError: it does not fit the cell.
        """
        about = self.about
        views = [View(v["camera"], tuple(v["crop"]), v["size"], v["name"]) for v in about["views"]]
        embodiment, rhythm = Embodiment.from_dict(about["embodiment"]), Rhythm(**about["rhythm"])
        embodiment_of(cell, [embodiment])
        if lead is not None:
            rhythm = dataclasses.replace(rhythm, lead=lead)
        return DVAPolicy(self, rhythm, Senses.of(cell, views, embodiment, about["texts"]), nworld)

    def decide(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Return the server's chunk for each question."""
        with self._one:
            return [self._ask(question) for question in questions]

    def forget(self, world: int) -> None:
        """Nothing: a question with frame 0 begins anew."""

    def _ask(self, question: Question) -> np.ndarray:
        end = time.monotonic() + self.budget
        try:
            if self._line is None:
                self._call()
            assert self._line is not None
            self._line.send(*question_message(question), self.budget)
            while True:
                header, arrays = self._line.receive(end - time.monotonic())
                if header.get("say") == "refused":
                    raise ConnectionError(f"it hung up: {header.get('why')}")
                if (header.get("number"), header.get("world")) != (question.number, question.world):
                    self.stale += 1
                elif header.get("say") == "chunk" and "actions" in arrays:
                    return arrays["actions"]
                else:
                    raise InputError(f"{self._where} failed: {header.get('why')}")
        except TimeoutError:
            # The answer may still come, and is passed over then.
            raise TimeoutError(f"{self._where} gave no answer within {self.budget:g} s") from None
        except OSError as error:
            raise ConnectionError(f"{self._where}: {error}") from None
        finally:
            if self._line is not None and self._line.broken:
                self._hang_up()

    @property
    def _where(self) -> str:
        return f"policy server {self.host}:{self.port}"

    def _call(self) -> dict[str, Any]:
        """Connect and greet; return what the server says of itself."""
        self.calls += 1
        line = Line(socket.create_connection((self.host, self.port), CALLING))
        hello = {"say": "hello", "protocol": PROTOCOL, "checkpoint": self._checkpoint, "session": self._session}
        try:
            line.send(hello, None, CALLING)
            welcome: Message = line.receive(CALLING)
        except BaseException:
            line.close()
            raise
        header = welcome[0]
        if header.get("say") != "welcome" or header.get("protocol") != PROTOCOL:
            line.close()
            why = header.get("why") or f"it speaks protocol {header.get('protocol')}, we speak {PROTOCOL}"
            raise InputError(f"{self._where} refuses: {why}")
        self._line = line
        return header["about"]

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

    def close(self) -> None:
        """Hang up."""
        with self._one:
            self._hang_up()

    def __enter__(self) -> RemoteDecider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
