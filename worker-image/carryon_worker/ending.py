"""The one way out of the process: the termination message is written, whichever thread ends it, exactly once."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn

from carryon_core.messages import Termination

_log = logging.getLogger(__name__)


class Ending:
    """Belongs to the thread that claims it first; every other thread that wants it, or asks, waits for the end.

    Args:
        path: Where the termination message goes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claim = threading.Lock()

    def claim(self) -> None:
        """Take the way out; returns only to the first thread that asks."""
        if not self._claim.acquire(blocking=False):
            _wait_for_the_end()

    @property
    def claimed(self) -> bool:
        """Whether the process is about to end."""
        return self._claim.locked()

    def give_way(self) -> None:
        """Go no further if another thread is ending the process."""
        if self._claim.locked():
            _wait_for_the_end()

    def leave(self, code: int, termination: Termination) -> NoReturn:
        """End the process without interpreter shutdown, which can take seconds and needs the main thread."""
        try:
            _log.info("%s: %s", termination.reason, termination.message)
            self._write(termination.encode().encode())
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _write(self, message: bytes) -> None:
        try:
            log = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            _log.warning("the termination message can't be written to %s: %s", self._path, error.strerror)
            return
        # One write: a reader finds the whole message or none.
        os.write(log, message)
        os.close(log)


def _wait_for_the_end() -> NoReturn:
    while True:
        threading.Event().wait()
