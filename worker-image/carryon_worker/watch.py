"""The thread that ends a worker which was asked to stop, stopped moving, or took too long.

It needs nothing from the main thread, which may sit in one native call for minutes, or for ever.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import NoReturn

from carryon_core.messages import ExitCode, UnitOutcome
from carryon_worker import signals
from carryon_worker.ending import Ending
from carryon_worker.ledger import Ledger

_log = logging.getLogger(__name__)


class Watch(threading.Thread):
    """Waits for signals and limits.

    Args:
        arriving: Where signals arrive, from `signals.catch`.
        ledger: The course of the worker.
        ending: The way out.
        stop: Stops what runs outside the process and saves resume state, within the given seconds.
        stop_seconds: How long that, and a publication under way, may take.
    """

    def __init__(
        self,
        arriving: socket.socket,
        ledger: Ledger,
        ending: Ending,
        stop: Callable[[float], None],
        stop_seconds: float,
    ) -> None:
        super().__init__(name="watch", daemon=True)
        self._signals = arriving
        self._ledger = ledger
        self._ending = ending
        self._stop_work = stop
        self._stop_seconds = stop_seconds

    def run(self) -> None:
        """Wait for the first thing that ends the worker."""
        try:
            while True:
                ready, _, _ = select.select([self._signals], [], [], self._ledger.patience())
                if ready and (asked := signals.asked_to_stop(self._signals)):
                    self._interrupt(asked)
                if overdue := self._ledger.overdue():
                    self._ending.claim()
                    self._stop_work(self._stop_seconds)
                    termination = self._ledger.termination(overdue.reason, overdue.message, UnitOutcome.FAILED)
                    self._ending.leave(overdue.code, termination)
        except BaseException:  # noqa: BLE001 - see below
            # Without its watch a worker could hang for ever: better a crash that someone sees.
            _log.exception("the watch failed")
            os._exit(1)

    def _interrupt(self, asked: str) -> NoReturn:
        self._ending.claim()
        # What is made already is worth the moment it takes to put it into the bucket.
        self._ledger.wait_while_publishing(self._stop_seconds)
        if len(self._ledger.reports) == len(self._ledger.assignment.units):
            self._ending.leave(*self._ledger.verdict())
        self._stop_work(self._stop_seconds)
        message = f"stopped on request ({asked})"
        self._ending.leave(ExitCode.INTERRUPTED, self._ledger.termination("Interrupted", message))
