"""Threads for looks at buckets: few, and fewer at any one place, so that one that hangs holds up only its own jobs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from carryon_core.messages import StoreConfig
from carryon_store import Unreachable

THREADS: Final = 32
THREADS_MOST: Final = 128
"""With those that hang: a few endpoints that never answer must not be all that anybody looks at."""
AT_ONE_PLACE: Final = 4
"""Threads at one endpoint or bucket, which mostly wait for it."""
AT_ONE_DISK: Final = 2
"""Likewise for folders, where they compete for the processor."""
HANGS_AFTER: Final = 10.0
"""Seconds after which a look is taken for one that hangs, and another thread does its work for other places."""
LONGEST_LOOK: Final = 120.0
"""Seconds after which a look is not waited for any more; its thread goes on."""
PATIENCE: Final = 10.0
"""Seconds that work on a bucket waits for a free thread: it comes after a look, when one was free."""
CALLED_SECONDS: Final = 5.0
"""How long a thread is kept for whoever was called; a job may be gone meanwhile."""

T = TypeVar("T")


class Busy(Exception):
    """No thread is free for this place.

    Attributes:
        queued: Whoever asked is called when it is their turn.
    """

    def __init__(self, place: str, *, queued: bool) -> None:
        super().__init__(place)
        self.queued = queued


@dataclass
class _Place:
    """Who is at work at a place, who waits for it in order, and for whom a thread is kept that was called.

    Attributes:
        most: Threads that it may have.
        running: Looks that have not ended, each with what says that it hangs; None once that has been said.
        waiting: Who waits for a thread, and how to call them.
        called: Whose turn it is, and what ends it.
    """

    most: int
    running: dict[asyncio.Future[Any], asyncio.TimerHandle | None] = field(default_factory=dict)
    waiting: OrderedDict[str, Callable[[str], None]] = field(default_factory=OrderedDict)
    called: dict[str, asyncio.TimerHandle] = field(default_factory=dict)

    @property
    def taken(self) -> int:
        """Threads that are its own."""
        return len(self.running) + len(self.called)

    @property
    def at_work(self) -> int:
        """Threads that others have to do without: not those that hang."""
        return sum(timer is not None for timer in self.running.values()) + len(self.called)


class Looks:
    """Runs what blocks on a bucket; those who find no free thread come first in the order in which they asked."""

    def __init__(
        self,
        threads: int = THREADS,
        at_one_place: int | None = None,
        longest: float = LONGEST_LOOK,
        patience: float = PATIENCE,
        hangs_after: float = HANGS_AFTER,
        ring: Callable[[str], None] = lambda who: None,
    ) -> None:
        """Start with nothing running.

        Args:
            threads: For all places together.
            at_one_place: For each; None: 4, or 2 for folders.
            longest: Seconds that a look is waited for.
            patience: Seconds that `run` waits for a thread.
            hangs_after: Seconds after which a look holds up its own place only.
            ring: Called with whose turn it is, of those whom `start` has refused.
        """
        self.longest: Final = longest
        self._patience = patience
        self._hangs_after = hangs_after
        self._threads = threads
        self._most = max(threads, THREADS_MOST)
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="bucket")
        self._at_one_place = at_one_place
        self._ring = ring
        self._places: dict[str, _Place] = {}
        self._tickets = count()

    @property
    def running(self) -> int:
        """Looks that have not ended, waited for or not."""
        return sum(len(place.running) for place in self._places.values())

    @property
    def places(self) -> int:
        """Places that somebody looks at, or waits for."""
        return len(self._places)

    def start(self, store: StoreConfig, look: Callable[[], T], who: str = "") -> asyncio.Future[T]:
        """Begin a look.

        Args:
            store: Where to.
            look: Blocks.
            who: Is rung for when it is their turn, if it is not now; "" is not.

        Raises:
            Busy: Nothing was begun: others look at that place already, or everywhere.
        """
        name, place = self._place(store)
        if not self._admits(place, who):
            if who:
                place.waiting.setdefault(who, self._ring)
            raise Busy(name, queued=bool(who))
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, look)
        place.running[future] = loop.call_later(self._hangs_after, self._hangs, place, future)

        def ended(each: asyncio.Future[T]) -> None:
            if (timer := place.running.pop(each)) is not None:
                timer.cancel()
            if not each.cancelled():
                each.exception()  # Whoever began it may have stopped waiting.
            self._call()

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

    async def _begun(self, store: StoreConfig, work: Callable[[], T]) -> asyncio.Future[T]:
        name, place = self._place(store)
        # No name of a job has a space in it.
        who = f"ticket {next(self._tickets)}"
        if self._is_full(place):
            called = asyncio.Event()
            place.waiting[who] = lambda _: called.set()
            try:
                async with asyncio.timeout(self._patience):
                    await called.wait()
            except TimeoutError:
                raise Busy(name, queued=False) from None
            finally:
                place.waiting.pop(who, None)
        return self.start(store, work, who)

    def _place(self, store: StoreConfig) -> tuple[str, _Place]:
        name = store.endpoint or "{0.scheme}://{0.netloc}".format(urlsplit(store.uri))
        usual = AT_ONE_DISK if name.startswith("file:") else AT_ONE_PLACE
        place = self._places.setdefault(name, _Place(self._at_one_place or usual))
        return name, place

    def _admits(self, place: _Place, who: str) -> bool:
        called = place.called.pop(who, None)
        if called is not None:
            called.cancel()
            return True
        return not self._is_full(place)

    def _is_full(self, place: _Place) -> bool:
        """Whether there is no thread for anybody who was not called; those who wait came first."""
        return bool(place.waiting) or place.taken >= place.most or self._free() <= 0

    def _free(self) -> int:
        """Threads that are free for any place."""
        places = self._places.values()
        at_work, all_of_them = sum(each.at_work for each in places), sum(each.taken for each in places)
        return min(self._threads - at_work, self._most - all_of_them)

    def _call(self) -> None:
        """Call those whose turn it is."""
        free = self._free()
        for place in self._places.values():
            while place.waiting and place.taken < place.most and free > 0:
                who, ring = place.waiting.popitem(last=False)
                place.called[who] = asyncio.get_running_loop().call_later(CALLED_SECONDS, self._give_up, place, who)
                free -= 1
                ring(who)
        for name in [name for name, place in self._places.items() if not (place.taken or place.waiting)]:
            del self._places[name]

    def _hangs(self, place: _Place, look: asyncio.Future[Any]) -> None:
        """A look takes so long that others need not wait for its thread."""
        place.running[look] = None
        self._call()

    def _give_up(self, place: _Place, who: str) -> None:
        """Whoever was called did not come."""
        place.called.pop(who, None)
        self._call()
