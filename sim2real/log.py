"""Robot logs on disk: an MCAP file with the channels /state, /command, /timing and /event.

The numbers are fixed binary records, little-endian, whose layout stands in the file itself: the schema of a channel is
a JSON list of field names and NumPy types (encoding `numpy.dtype`), so `numpy.frombuffer` reads them anywhere. Events
are JSON. Messages carry the host's clock as log time and the controller's as publish time, both in nanoseconds.

A log is written in small chunks, each flushed as it is full: a program that is killed leaves a file without its end,
which reads up to the last chunk.

| channel | a message is | says |
|---|---|---|
| /state | `STATE` | one packet of the controller, as it came |
| /command | `COMMAND` | a joint target handed over, from `time` of the controller's clock on in force |
| /timing | `TIMING` | one turn of the servo loop: when it was due, how late it sent |
| /event | JSON | armed, running, stopped, fault, with the reason |
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.errors import InputError

if TYPE_CHECKING:
    from mcap.writer import Writer

STATE = np.dtype(
    [
        ("time", "<f8"),  # controller's clock [s]
        ("received", "<f8"),  # host's monotonic clock [s]
        ("position", "<f8", (6,)),  # [rad]
        ("velocity", "<f8", (6,)),  # [rad/s]
        ("current", "<f8", (6,)),  # [A]
        ("target", "<f8", (6,)),  # what the controller itself steers for [rad]
        ("torque", "<f8", (6,)),  # [N m]
        ("tcp_force", "<f8", (6,)),  # [N, N m]
        ("safety", "<u4"),  # safety_status_bits
        ("mode", "<i4"),  # robot_mode
        ("runtime", "<u4"),  # runtime_state
        ("outputs", "<u4"),  # digital output bits
        ("inputs", "<u4"),  # digital input bits
        ("analog", "<f8", (2,)),  # standard analogue inputs [V, A]
        ("speed_scaling", "<f8"),
    ]
)
COMMAND = np.dtype([("time", "<f8"), ("requested", "<f8", (6,)), ("sent", "<f8", (6,))])
TIMING = np.dtype([("due", "<f8"), ("late", "<f8")])  # host's monotonic clock [s]
RECORDS = {"/state": STATE, "/command": COMMAND, "/timing": TIMING}
EVENT = "/event"
FLUSH = 0.05  # [s] of log that a killed program may lose
ENCODING = "numpy.dtype"


class LogWriter:
    """Writes a log as it happens. Methods may be called from any thread and only hand over: a thread of its own writes.

    The file appears under its name at once. `close` gives it its end and index.
    """

    def __init__(self, path: Path, about: Mapping[str, str]) -> None:
        """Begin the file at `path`, which must not exist; `about` are plain texts that say what is recorded."""
        from mcap.writer import CompressionType, Writer

        if path.exists():
            raise InputError(f"{path}: this log exists already, a log is never overwritten")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("wb")
        self._writer = Writer(self._file, compression=CompressionType.ZSTD)
        self._channels = _begin(self._writer, about)
        self._waiting: list[tuple[str, int, float, bytes]] = []
        self._lock = threading.Lock()  # of the list, held for an instant only
        self._writing = threading.Lock()  # of the file
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="robot log", daemon=True)
        self.flush()
        self._thread.start()

    def add(self, channel: str, clock: float, data: bytes) -> None:
        """Append a message whose controller time is `clock` [s]."""
        with self._lock:
            self._waiting.append((channel, time.time_ns(), clock, data))

    def event(self, clock: float, event: str, says: str) -> None:
        """Append an event."""
        self.add(EVENT, clock, json.dumps({"event": event, "says": says}).encode())

    def flush(self) -> None:
        """Bring everything handed over so far into the file."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            for channel, host, clock, data in waiting:
                stamp = max(round(clock * 1e9), 0) if np.isfinite(clock) else 0
                self._writer.add_message(self._channels[channel], host, data, stamp)
            self._writer.flush()

    def close(self) -> None:
        """Write what is left, the index and the end; a second time does nothing."""
        if self._end.is_set():
            return
        self._end.set()
        self._thread.join()
        self.flush()
        self._writer.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _run(self) -> None:
        while not self._end.wait(FLUSH):
            self.flush()


def _begin(writer: Writer, about: Mapping[str, str]) -> dict[str, int]:
    """Write header, description and channels; return the channels' numbers."""
    writer.start(profile="palletlab", library="palletlab")
    writer.add_metadata("palletlab", dict(about))
    channels = {}
    for channel, record in RECORDS.items():
        layout = json.dumps(record.descr).encode()
        schema = writer.register_schema(f"palletlab{channel.replace('/', '.')}", ENCODING, layout)
        channels[channel] = writer.register_channel(channel, ENCODING, schema)
    schema = writer.register_schema("palletlab.event", "jsonschema", b'{"type": "object"}')
    channels[EVENT] = writer.register_channel(EVENT, "json", schema)
    return channels


class Log:
    """A log that was read.

    Attributes:
        about: the texts that say what was recorded.
        state, command, timing: structured arrays, in the order written.
        events: (controller's clock [s], event, what it says).
        complete: whether the file has its end; one without was cut off, by a crash or while still being written.
    """

    def __init__(self, path: Path) -> None:
        """Read the log at `path`; InputError when it is missing or no log of ours."""
        if not path.is_file():
            raise InputError(f"{path}: no such robot log")
        self.about: dict[str, str] = {}
        self.events: list[tuple[float, str, str]] = []
        self.complete = False
        parts: dict[str, list[bytes]] = {channel: [] for channel in RECORDS}
        for kind, clock, data in self._records(path):
            if kind == EVENT:
                said = json.loads(data)
                self.events.append((clock, said["event"], said["says"]))
            elif kind in parts:
                parts[kind].append(data)
        if not self.about:
            raise InputError(f"{path}: an MCAP file, but no robot log of palletlab's")
        self.state, self.command, self.timing = (_array(path, c, parts[c]) for c in RECORDS)

    def _records(self, path: Path) -> Iterator[tuple[str, float, bytes]]:
        """Give channel, controller's clock and data of each message, as far as the file goes."""
        from mcap.exceptions import McapError
        from mcap.records import Channel, Footer, Message, Metadata, Schema
        from mcap.stream_reader import StreamReader

        topics: dict[int, str] = {}
        layouts: dict[int, Schema] = {}
        with path.open("rb") as file:
            records = StreamReader(file, validate_crcs=True).records
            while True:
                try:
                    record = next(records)
                except StopIteration:
                    return
                # What a cut-off file raises depends on where it is cut; only one cut in its first bytes is no log.
                except (McapError, EOFError, ValueError, IndexError) as error:
                    if not self.about:
                        raise InputError(
                            f"{path}: not a readable MCAP file ({error or type(error).__name__})"
                        ) from None
                    return
                if isinstance(record, Metadata) and record.name == "palletlab":
                    self.about = dict(record.metadata)
                elif isinstance(record, Schema):
                    layouts[record.id] = record
                elif isinstance(record, Channel):
                    topics[record.id] = record.topic
                    _check_layout(path, record.topic, layouts.get(record.schema_id))
                elif isinstance(record, Message):
                    yield topics[record.channel_id], record.publish_time / 1e9, record.data
                elif isinstance(record, Footer):
                    self.complete = True


def _check_layout(path: Path, topic: str, schema: Any) -> None:
    expected = RECORDS.get(topic)
    if expected is not None and (schema is None or schema.data != json.dumps(expected.descr).encode()):
        raise InputError(f"{path}: the records of {topic} are laid out otherwise, the log is of another version")


def _array(path: Path, channel: str, parts: list[bytes]) -> np.ndarray:
    record = RECORDS[channel]
    if any(len(part) != record.itemsize for part in parts):
        raise InputError(f"{path}: a record of {channel} has the wrong size, the file is damaged")
    return np.frombuffer(b"".join(parts), record)
