"""Signals as bytes in a socket: caught before anything heavy is imported, read by a thread of the worker's.

A Python signal handler runs only between bytecodes of the main thread, which may sit in one native call for minutes.
The interpreter's C handler writes the signal's number into the wakeup file descriptor at once.
"""

from __future__ import annotations

import signal
import socket
from typing import Final

CAUGHT: Final = (signal.SIGTERM, signal.SIGINT)


def catch() -> socket.socket:
    """From now on a signal that asks to stop is one byte to read from this socket. Call in the main thread."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    # detach: the descriptor must stay open for as long as the process lives.
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    for number in CAUGHT:
        signal.signal(number, _noted_by_the_wakeup_fd)
    return reader


def asked_to_stop(arriving: socket.socket) -> str | None:
    """Name of a signal that has arrived and asks to stop; libraries may have handlers for others."""
    for number in arriving.recv(64):
        if number in CAUGHT:
            return signal.Signals(number).name
    return None


def _noted_by_the_wakeup_fd(number: int, frame: object) -> None:
    """Without a Python handler the interpreter would not write to the wakeup fd."""
