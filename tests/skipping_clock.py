"""An event loop whose time passes only when everybody waits for it, and then at once."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class _SkippingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everybody waits, and nobody ever comes"
        self.now += max(timeout, 0.0)
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop that skips the time until its next timer."""

    def __init__(self) -> None:
        self._clock = _SkippingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Seconds that would have passed."""
        return self._clock.now
