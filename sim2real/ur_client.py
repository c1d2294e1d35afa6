"""ur-rtde in a process of its own, which can be ended at any moment.

The library carries our targets well, but when a connection dies it connects again by itself, uploads its script and is
in control of the arm once more; some of its calls then never return, others end the whole program. None of that may
happen to the program that watches the arm. So the library lives in a child that does as it is told, one short message
at a time, and is killed when something is wrong: its connections close, and the controller's watchdog stops the arm.
The child ends with its parent, too.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from assets.errors import InputError
from sim2real.realtime import hurry

RATE = 500.0  # [Hz]
STARTING = 15.0  # [s] ur-rtde may take to connect, and to have its script run
PATIENCE = 0.035  # [s] a target may take to be handed over
DOING = 2.0  # [s] anything else may take
STOP_DECELERATION = 20.0  # [rad/s2]

# What a message begins with, and the numbers that follow.
_WATCHDOG, _SERVO, _STOP, _BRAKE, _PAYLOAD, _STANDARD, _TOOL, _ANALOG, _END = (bytes([c]) for c in b"wshbpdtae")
_YES, _NO = b"y", b"n"


class UrClient:
    """The parent's side. What is asked returns whether the controller took it; a client that is gone takes nothing."""

    def __init__(self, host: str, lookahead: float, gain: float) -> None:
        """Start the child and let it take control of the robot at `host`, servoJ with this lookahead [s] and gain.

        Raises:
            InputError: ur-rtde is missing, or could not take control.
        """
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", "sim2real.ur_client", host, str(theirs.fileno()), repr(lookahead), repr(gain)]
        self._child = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._socket.settimeout(STARTING)
        try:
            said = self._socket.recv(4096)
        except OSError:
            said = b""
        if said != _YES:
            self.kill()
            says = said.decode("utf-8", "replace") or "its process ended or did not answer"
            raise InputError(f"ur-rtde could not take control of the robot at {host}: {says}")

    def watch(self, frequency: float) -> bool:
        """Set the controller's watchdog: it stops the arm when targets come more rarely [Hz]."""
        return self._ask(_WATCHDOG, (frequency,), DOING)

    def servo(self, target: Sequence[float]) -> bool:
        """Send a joint target (6,) [rad]."""
        return self._ask(_SERVO, target, PATIENCE)

    def stop(self) -> bool:
        """Slow down, stand, and end the program on the controller."""
        return self._ask(_STOP, (), DOING)

    def brake(self) -> bool:
        """Have the controller stop the arm as after a collision: at once, and until a person unlocks it."""
        return self._ask(_BRAKE, (), DOING)

    def payload(self, mass: float, center: Sequence[float]) -> bool:
        """Tell the controller the payload: mass [kg] and centre in the flange's axes [m], (3,)."""
        return self._ask(_PAYLOAD, (mass, *center), DOING)

    def digital(self, output: int, level: bool, tool: bool) -> bool:
        """Set a digital output of the control box or of the tool flange."""
        return self._ask(_TOOL if tool else _STANDARD, (output, level), DOING)

    def analog(self, output: int, ratio: float) -> bool:
        """Set an analogue output to a share of its voltage."""
        return self._ask(_ANALOG, (output, ratio), DOING)

    def close(self) -> None:
        """Let go of the robot; what does not end by itself is ended."""
        self._ask(_END, (), DOING)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(0.2)
        self.kill()

    def kill(self) -> None:
        """End the child at once, whatever it is at; may be called from any thread and again."""
        self._child.kill()
        self._child.wait()
        with self._lock:  # whoever waits for an answer has seen the end by now
            self._socket.close()

    def _ask(self, what: bytes, numbers: Sequence[float], patience: float) -> bool:
        message = what + struct.pack(f"<{len(numbers)}d", *numbers)
        with self._lock:
            try:
                self._socket.settimeout(patience)
                self._socket.send(message)
                return self._socket.recv(16) == _YES
            except OSError:  # it is gone, or hangs: a late answer must not be taken for that of the next question
                self._child.kill()
                return False


def serve(host: str, channel: socket.socket, lookahead: float, gain: float) -> None:
    """Be the child: take control, then do as told until the parent says so or is gone."""
    try:
        from rtde_control import RTDEControlInterface
        from rtde_io import RTDEIOInterface
    except ImportError:
        channel.send(b"the package ur_rtde is missing: pip install 'palletlab[ur]'")
        return
    try:
        control, io = RTDEControlInterface(host, RATE), RTDEIOInterface(host)
    except Exception as error:
        channel.send((str(error) or type(error).__name__).splitlines()[0].encode())
        return
    channel.send(_YES)
    for message in iter(_inbox(channel).get, _END):
        numbers = struct.unpack(f"<{len(message[1:]) // 8}d", message[1:])
        done = _do(control, io, message[:1], numbers, lookahead, gain)
        channel.send(_YES if done else _NO)
    channel.send(_YES)


def _do(control: Any, io: Any, kind: bytes, n: tuple[float, ...], lookahead: float, gain: float) -> bool:
    """Carry one message out."""
    if kind == _SERVO:
        return control.servoJ(list(n), 0.0, 0.0, 1.0 / RATE, lookahead, gain)
    if kind == _WATCHDOG:
        return control.setWatchdog(n[0])
    if kind == _STOP:
        done = control.servoStop(STOP_DECELERATION)
        control.stopScript()
        return done
    if kind == _BRAKE:
        return control.triggerProtectiveStop()
    if kind == _PAYLOAD:
        return control.setPayload(n[0], list(n[1:]))
    if kind == _STANDARD:
        return io.setStandardDigitalOut(int(n[0]), bool(n[1]))
    if kind == _TOOL:
        return io.setToolDigitalOut(int(n[0]), bool(n[1]))
    if kind == _ANALOG:
        return io.setAnalogOutputVoltage(int(n[0]), n[1])
    raise ValueError(kind)


def _inbox(channel: socket.socket) -> queue.SimpleQueue[bytes]:
    """Return where messages arrive. A thread waits for them, so that the parent's end is noticed during any call."""
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def run() -> None:
        while message := channel.recv(4096):
            inbox.put(message)
        # Nobody is there to say what to do: the controller's watchdog stops the arm.
        os._exit(1)

    threading.Thread(target=run, daemon=True).start()
    return inbox


def main() -> None:
    """Run as the child: host, file descriptor, lookahead, gain."""
    host, descriptor, lookahead, gain = sys.argv[1:]
    hurry()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    try:
        serve(host, socket.socket(fileno=int(descriptor)), float(lookahead), float(gain))
    finally:
        os._exit(0)  # past the library's own way of ending, which may hang


if __name__ == "__main__":
    main()
