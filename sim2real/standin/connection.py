"""A client of the stand-in, at one of its ports: non-blocking, read once a tick."""

from __future__ import annotations

import collections
import socket
from concurrent.futures import Future

from sim2real.rtde import Frames, Recipe

LONGEST = 1 << 20  # [bytes] of an unread answer, or of a line or script without an end, at which a client is cut off


class Connection:
    """A client at one of the ports."""

    def __init__(self, peer: socket.socket, port: int) -> None:
        """Take over an accepted socket."""
        peer.setblocking(False)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer, self.port = peer, port
        self.received = bytearray()
        self.unsent = bytearray()
        self.open = True
        # Of a real-time client: its messages, what it reads and how often, what it writes.
        self.frames = Frames()
        self.outputs: Recipe | None = None
        self.every = 1
        self.started = False
        self.recipes: dict[int, Recipe] = {}
        self.late: collections.deque[tuple[float, bytes]] = collections.deque()
        # Of the side channel: the answer that is being worked on.
        self.pending: Future[str] | None = None

    def read(self) -> bytes:
        """What has come; closes when the other side has."""
        try:
            data = self.peer.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            data = b""
        if not data:
            self.open = False
        return data

    def send(self, data: bytes) -> None:
        """Send, or keep for later what the other side has no room for."""
        self.unsent += data
        try:
            sent = self.peer.send(self.unsent)
            del self.unsent[:sent]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.open = False
        if len(self.unsent) > LONGEST:
            self.open = False
