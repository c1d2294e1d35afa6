"""Asking the operating system to run a thread on time. Nothing here is a guarantee; lateness is logged."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading

NICENESS = -10  # before ordinary programs, as far as the user may (`ulimit -e`, or CAP_SYS_NICE)
TIMER_SLACK = 29  # prctl's number: how late the kernel may wake a thread [ns]
SLACK = 1000  # of 50 000 by default


def hurry() -> None:
    """Have the calling thread run before others, and woken within microseconds; what is not allowed is left out."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(TIMER_SLACK, SLACK, 0, 0, 0)
