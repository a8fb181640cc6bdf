"""An event loop whose time passes only when nothing real is under way: then it skips to the next timer.

While a thread is at work time stands still, however long that takes on this machine; what goes over sockets between two
tasks of the loop is there at once. So a day of an operator passes in as long as its work takes, and takes as long on a
busy machine as on an idle one.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

_GLANCE = 0.05
"""Real seconds of one wait for a thread, or for somebody outside of this loop."""


class _PatientSelector(selectors.DefaultSelector):
    now = 0.0
    busy: Callable[[], bool] = staticmethod(lambda: False)

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None or self.busy():
            return super().select(_GLANCE)
        self.now += max(timeout, 0.0)
        return found


class PatientLoop(asyncio.SelectorEventLoop):
    """A loop that skips the time in which everybody waits for time to pass."""

    def __init__(self) -> None:
        self._clock = _PatientSelector()
        self._threads = 0
        self._clock.busy = lambda: self._threads > 0
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds that would have passed."""
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """As always, and no time passes meanwhile."""
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._done)
        return future

    def _done(self, _: asyncio.Future[Any]) -> None:
        self._threads -= 1
