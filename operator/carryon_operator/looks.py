"""Threads for looks at buckets: few, and fewer at any one place, so that one that hangs holds up only its own jobs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from carryon_core.messages import StoreConfig
from carryon_store import Unreachable

THREADS: Final = 16
THREADS_MOST: Final = 64
"""With those that hang: eight endpoints that never answer must not be all that anybody looks at."""
AT_ONE_PLACE: Final = 2
HANGS_AFTER: Final = 10.0
"""Seconds after which a look is taken for one that hangs, and another thread does its work for other places."""
LONGEST_LOOK: Final = 120.0
"""Seconds after which a look is not waited for any more; its thread goes on."""
PATIENCE: Final = 10.0
"""Seconds that work on a bucket waits for a free thread: it comes after a look, when one was free."""

T = TypeVar("T")


class Busy(Exception):
    """No thread is free for this place."""


class Looks:
    """Runs what blocks on a bucket."""

    def __init__(
        self,
        threads: int = THREADS,
        at_one_place: int = AT_ONE_PLACE,
        longest: float = LONGEST_LOOK,
        patience: float = PATIENCE,
        hangs_after: float = HANGS_AFTER,
    ) -> None:
        self.longest: Final = longest
        self._patience = patience
        self._hangs_after = hangs_after
        self._most = max(threads, THREADS_MOST)
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="bucket")
        self._threads = threads
        self._at_one_place = at_one_place
        self._running: Counter[str] = Counter()
        self._begun_at: dict[asyncio.Future[Any], float] = {}
        self._freed = asyncio.Event()

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
        loop = asyncio.get_running_loop()
        if self._running[place] >= self._at_one_place or not self._has_room(loop.time()):
            raise Busy(place)
        self._running[place] += 1
        future = loop.run_in_executor(self._pool, look)
        self._begun_at[future] = loop.time()

        def ended(each: asyncio.Future[T]) -> None:
            self._running[place] -= 1
            if not self._running[place]:
                del self._running[place]  # Endpoints are what people write.
            del self._begun_at[each]
            self._freed.set()
            self._freed = asyncio.Event()
            if not each.cancelled():
                each.exception()  # Whoever began it may have stopped waiting.

        future.add_done_callback(ended)
        return future

    async def run(self, store: StoreConfig, work: Callable[[], T]) -> T:
        """Do something with a bucket and wait for it; it may be done although this raises.

        Raises:
            Busy: Nothing was begun: no thread was free for a while.
            StoreError: What the work raises, or `Unreachable` if it takes longer than a look may.
        """
        work_on = await self._begun(store, work)
        await asyncio.wait([work_on], timeout=self.longest)
        if not work_on.done():
            raise Unreachable(f"{store.uri} took longer than {self.longest:.0f} s")
        return work_on.result()

    def _has_room(self, now: float) -> bool:
        """Whether one more look may begin; those that hang hold up their own places, and nobody else's."""
        at_work = sum(now - begun < self._hangs_after for begun in self._begun_at.values())
        return at_work < self._threads and len(self._begun_at) < self._most

    async def _begun(self, store: StoreConfig, work: Callable[[], T]) -> asyncio.Future[T]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._patience
        while True:
            try:
                return self.start(store, work)
            except Busy:
                if clock() >= deadline:
                    raise
                freed = self._freed
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await freed.wait()
