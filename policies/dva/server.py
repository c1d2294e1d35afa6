"""The loop as a server: the robot's computer sends frames and gets action chunks; the models run here.

    python -m policies.dva CHECKPOINT --host 0.0.0.0 --port 7781

Whatever is lost can be asked again. A robot asks with all the frames since its last answer; frames that the server has
are passed over, and where some are missing it starts afresh with what it is given. So a lost or doubled message, a
broken connection or a server started anew costs the arm some frames of holding, and no bookkeeping. Of several
questions that lie ready only the newest is answered: nobody waits for the others any more.

Latency budget, to be met by network and inference together: with `lead` frames in flight, `lead` frame times (three
of 0.1 s) from the picture to the last byte of the answer. A question holds some 12 KB for each frame and camera of
64 x 64, which take 1 ms at 100 Mbit/s; so nearly all of it is the inference's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from assets.errors import InputError
from policies.data.view import View
from policies.dva.leapfrog import Decider, Rhythm
from policies.dva.wire import PROTOCOL, Line, question_of
from policies.embodiment import Embodiment

PORT = 7781
HELLO = 5.0  # [s] within which a caller has to say who it is
IDLE = 0.5  # [s] how often an idle connection looks whether the server is closing
SENDING = 2.0  # [s] within which an answer has to be taken


def described(
    checkpoint: str, views: Sequence[View], embodiment: Embodiment, texts: Sequence[str], rhythm: Rhythm
) -> dict[str, Any]:
    """Return what a server tells of itself, in plain values: all that `RemoteDecider.policy` needs."""
    return {
        "checkpoint": checkpoint,
        "views": [dataclasses.asdict(view) for view in views],
        "embodiment": dataclasses.asdict(embodiment),
        "texts": list(texts),
        "rhythm": dataclasses.asdict(rhythm),
    }


class PolicyServer:
    """Answers the questions of robots with one decider; each robot's arm takes one of the decider's worlds.

    Use as a context manager, or `close` it.
    """

    def __init__(
        self, decider: Decider, about: Mapping[str, Any], nworld: int, host: str = "127.0.0.1", port: int = PORT
    ):
        """Listen at once. `about` is told to everyone who calls; "checkpoint" in it names the checkpoint (its hash).

        Raises:
            InputError: the address is taken, or not this computer's.
        """
        self._decider, self._about, self._nworld = decider, dict(about), nworld
        self._one = threading.Lock()  # one inference at a time; guards the worlds
        self._places = threading.Lock()  # guards the lines
        self._worlds = OrderedDict[tuple[str, int], int]()  # of whom: the longest unused first
        self._lines = dict[str, Line]()  # by session
        self._threads = list[threading.Thread]()
        self._closing = threading.Event()
        try:
            self._listening = socket.create_server((host, port))
        except OSError as error:
            raise InputError(f"{host}:{port} cannot be listened at ({error.strerror})") from None
        self._listening.settimeout(IDLE)
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        self._accepting = threading.Thread(target=self._accept, name="policy server", daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(Line(connection),), daemon=True)
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            thread.start()

    def _serve(self, line: Line) -> None:
        """One connection, from hello to its end."""
        session = None
        try:
            session = self._greet(line)
            while not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    self._answer(line, session)
        except InputError as error:
            with contextlib.suppress(OSError):
                line.send({"say": "refused", "why": str(error)}, None, SENDING)
        except OSError:  # hung up, or does not take its answers
            pass
        finally:
            line.close()
            with self._places:
                if session is not None and self._lines.get(session) is line:
                    del self._lines[session]

    def _greet(self, line: Line) -> str:
        hello, _ = line.receive(HELLO)
        if hello.get("say") != "hello":
            raise InputError("a conversation begins with hello")
        if hello.get("protocol") != PROTOCOL:
            raise InputError(
                f"you speak protocol {hello.get('protocol')}, this server {PROTOCOL}: update the older one"
            )
        wanted, ours = hello.get("checkpoint"), self._about.get("checkpoint")
        if wanted is not None and wanted != ours:
            raise InputError(f"you want the checkpoint {wanted}, this server has {ours}")
        session = str(hello.get("session"))
        with self._places:
            former, self._lines[session] = self._lines.get(session), line
        if former is not None:  # it has called again: nobody is at the other end any more
            former.close()
        line.send({"say": "welcome", "protocol": PROTOCOL, "about": self._about}, None, SENDING)
        return session

    def _answer(self, line: Line, session: str) -> None:
        message = line.receive(IDLE)
        while line.waiting:
            try:
                message = line.receive(0.0)
            except TimeoutError:
                break
        question = question_of(message)
        about = {"number": question.number, "world": question.world}
        began = time.monotonic()
        try:
            with self._one:
                world = self._world(session, question.world)
                actions = self._decider.decide([dataclasses.replace(question, world=world)])[0]
        except InputError as error:
            line.send({"say": "failed", **about, "why": str(error)}, None, SENDING)
            return
        seconds = round(time.monotonic() - began, 6)
        line.send({"say": "chunk", **about, "seconds": seconds}, {"actions": actions}, SENDING)

    def _world(self, session: str, world: int) -> int:
        """The decider's world for an arm; the longest unused one is taken over, whoever had it starts afresh."""
        key = session, world
        if key not in self._worlds:
            free = set(range(self._nworld)) - set(self._worlds.values())
            self._worlds[key] = min(free) if free else self._worlds.popitem(last=False)[1]
            self._decider.forget(self._worlds[key])
        self._worlds.move_to_end(key)
        return self._worlds[key]

    def close(self) -> None:
        """Hang up on everyone and stop listening."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listening.close()
        with self._places:
            lines = list(self._lines.values())
        for line in lines:
            line.close()
        for thread in (self._accepting, *self._threads):
            thread.join(timeout=2.0)

    def __enter__(self) -> PolicyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
