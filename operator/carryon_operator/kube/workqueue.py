"""Keys to work on: the work queue of client-go on asyncio.

A key that is added many times is worked on once; never by two workers at a time; and once more if it was added while
being worked on (client-go, util/workqueue/queue.go).
"""

from __future__ import annotations

import asyncio
from collections import deque

from carryon_kube.ratelimit import Backoff


class ShutDown(Exception):
    """The queue hands out no more keys."""


class WorkQueue:
    """A queue of distinct keys, in the order they were added. Time is the event loop's.

    Attributes:
        retries: Keys that were added once more because they had failed.
    """

    def __init__(self, backoff: Backoff) -> None:
        """Start empty, inside a running event loop.

        Args:
            backoff: Delays of `add_rate_limited`.
        """
        self._loop = asyncio.get_running_loop()
        self._backoff = backoff
        self._queued: dict[str, float] = {}
        self._working: set[str] = set()
        self._dirtied: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._shut_down = False
        self._moved_at = self._loop.time()
        self.retries = 0

    def add(self, key: str) -> None:
        """Have a key worked on."""
        if self._shut_down:
            return
        if key in self._working:
            self._dirtied.setdefault(key, self._loop.time())
        elif key not in self._queued:
            self._queued[key] = self._loop.time()
            self._wake_one()

    def add_after(self, key: str, delay: float) -> None:
        """Add a key in `delay` seconds; of several delays the one that ends first counts."""
        if delay <= 0:
            self.add(key)
            return
        if self._shut_down:
            return
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= self._loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = self._loop.call_later(delay, self._ring, key)

    def add_rate_limited(self, key: str, at_least: float = 0.0) -> float:
        """Add a key that failed, after its backoff, or later if a server asked for that; seconds until then."""
        self.retries += 1
        delay = max(self._backoff.next(key), at_least)
        self.add_after(key, delay)
        return delay

    def worked(self, key: str, wait: float | None) -> None:
        """The key worked: its next failure is the first.

        Args:
            key: That was worked on.
            wait: Seconds until it wants to be worked on again, None if it does not; a change wakes it all the same.
        """
        self._backoff.forget(key)
        if wait is not None:
            self.add_after(key, wait)

    async def get(self) -> str:
        """The next key to work on; `done` must be called with it, and all that it was to be woken for is done with.

        Raises:
            ShutDown: There is no next one.
        """
        while not self._queued and not self._shut_down:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # Woken and cancelled at once: the key is for somebody else.
                if not waiter.cancelled() and self._queued:
                    self._wake_one()
                raise
        if self._shut_down:
            raise ShutDown
        key = next(iter(self._queued))
        del self._queued[key]
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        self._working.add(key)
        self._moved_at = self._loop.time()
        self._idle.clear()
        return key

    def done(self, key: str) -> None:
        """The key is worked on no more; queued again if it was added meanwhile."""
        self._working.remove(key)
        self._moved_at = self._loop.time()
        since = self._dirtied.pop(key, None)
        if since is not None and not self._shut_down:
            self._queued[key] = since
            self._wake_one()
        if not self._working:
            self._idle.set()

    def shut_down(self) -> None:
        """Hand out no more keys: what is queued is found again by whoever starts next."""
        self._shut_down = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._queued.clear()
        self._dirtied.clear()
        while self._waiters:
            self._wake_one()

    async def drained(self) -> None:
        """Wait until no key is worked on."""
        await self._idle.wait()

    @property
    def depth(self) -> int:
        """Keys that wait."""
        return len(self._queued)

    @property
    def head_age(self) -> float:
        """Seconds that the next key has waited; 0 if none does."""
        return self._loop.time() - next(iter(self._queued.values())) if self._queued else 0.0

    @property
    def busy(self) -> int:
        """Keys that are worked on."""
        return len(self._working)

    @property
    def still(self) -> float:
        """Seconds since a key was last taken or done."""
        return self._loop.time() - self._moved_at

    def _ring(self, key: str) -> None:
        del self._timers[key]
        self.add(key)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
