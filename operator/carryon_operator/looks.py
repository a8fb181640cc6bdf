"""Threads for looks at buckets: few, and fewer at any one place, so that one that hangs holds up only its own jobs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar
from urllib.parse import urlsplit

from carryon_core.messages import StoreConfig

THREADS: Final = 16
AT_ONE_PLACE: Final = 2
LONGEST_LOOK: Final = 120.0
"""Seconds after which a look is not waited for any more; its thread goes on."""

T = TypeVar("T")


class Busy(Exception):
    """No thread is free for this place."""


class Looks:
    """Runs what blocks on a bucket."""

    def __init__(self, threads: int = THREADS, at_one_place: int = AT_ONE_PLACE, longest: float = LONGEST_LOOK) -> None:
        self.longest: Final = longest
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bucket")
        self._threads = threads
        self._at_one_place = at_one_place
        self._running: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """Looks that have not ended, waited for or not."""
        return self._running.total()

    def start(self, store: StoreConfig, look: Callable[[], T]) -> asyncio.Future[T]:
        """Begin a look.

        Raises:
            Busy: Nothing was begun: others look at that place already, or everywhere.
        """
        place = store.endpoint or "{0.scheme}://{0.netloc}".format(urlsplit(store.uri))
        if self._running[place] >= self._at_one_place or self.running >= self._threads:
            raise Busy(place)
        self._running[place] += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, look)

        def ended(each: asyncio.Future[T]) -> None:
            self._running[place] -= 1
            if not each.cancelled():
                each.exception()  # Whoever began it may have stopped waiting.

        future.add_done_callback(ended)
        return future
