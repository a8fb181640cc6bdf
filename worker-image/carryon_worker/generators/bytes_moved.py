"""Movement where nothing calls back: while a library reads weights, bytes move into this process."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

_INTERVAL: Final = 1.0
_ENOUGH: Final = 1024 * 1024
"""Bytes: what the worker's other threads move meanwhile is far less."""


class Moving(Protocol):
    """Whom to tell about movement: a session."""

    def moved(self) -> None:
        """Something moved."""
        ...


@contextmanager
def moving_while_bytes_move(session: Moving) -> Iterator[None]:
    """As long as the block reads, writes or fills memory, it moves; hanging in a read, it doesn't."""
    ended = threading.Event()

    def watch() -> None:
        seen = _bytes()
        while not ended.wait(_INTERVAL):
            if (now := _bytes()) - seen >= _ENOUGH:
                seen = now
                session.moved()

    thread = threading.Thread(target=watch, name="bytes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _bytes() -> int:
    """Read, written, and filled in by page faults, which is how mapped files come in."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    faults = (usage.ru_minflt + usage.ru_majflt) * resource.getpagesize()
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return faults
    counts = dict(line.split(": ") for line in lines)
    return faults + int(counts["rchar"]) + int(counts["wchar"])
