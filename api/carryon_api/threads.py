"""Threads for what blocks: a few for all, and of these only a share for each namespace.

A bucket that never answers keeps every thread that asks it until its client gives up, minutes later. With one queue for
all, one job's endpoint could so stop the artifacts and logs of all others. Here a namespace gets some of the threads at
most, and fewer the fewer are left: half of what is free, as switches share their buffers between ports (Choudhury and
Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998). The last one is never taken by who
has one already.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from carryon_api.problems import Problem

PATIENCE: Final = 10.0
"""Seconds that a request waits for its turn."""
WAITING_MOST: Final = 32
"""Requests of one namespace that wait for their turn."""
T = TypeVar("T")


class Busy(Problem):
    """It was not even tried: too much of this namespace waits for its bucket."""

    def __init__(self, owner: str) -> None:
        super().__init__(
            "busy",
            f'too many requests wait for buckets of namespace "{owner}", which may not answer: try again in a moment',
            headers={"Retry-After": "5"},
        )


class Threads:
    """Runs calls that block, each for somebody; inside one event loop."""

    def __init__(self, most: int, of_one: int, patience: float = PATIENCE) -> None:
        """Prepare.

        Args:
            most: Calls at the same time.
            of_one: Of them for one owner, while the others are free.
            patience: Seconds that a call waits for its turn.
        """
        self._free = most
        self._of_one = of_one
        self._patience = patience
        # Whether one more may be begun is decided here, so that a thread counts until it has really ended.
        self._unlimited = anyio.CapacityLimiter(math.inf)
        self._used: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    def used(self, owner: str) -> int:
        """Threads that are at calls for an owner, those that nobody waits for any more among them."""
        return self._used[owner]

    async def run(self, owner: str, call: Callable[[], T]) -> T:
        """What a call returns; whoever is cancelled meanwhile leaves it alone, and it goes on counting until it ends.

        Args:
            owner: Whose threads it takes: the namespace of a job.
            call: Blocks.

        Raises:
            Busy: Its turn did not come; the call was not begun.
        """
        await self._enter(owner)
        running = asyncio.ensure_future(self._run(owner, call))
        # Who has left hears of no error either.
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(running)

    async def _run(self, owner: str, call: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(call, limiter=self._unlimited)
        finally:
            self._leave(owner)

    async def _enter(self, owner: str) -> None:
        if self._has_room(owner):
            self._take(owner)
            return
        if sum(each == owner for each, _ in self._waiting) >= WAITING_MOST:
            raise Busy(owner)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (owner, turn)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # Its turn came at the same moment.
                self._leave(owner)
            else:
                self._waiting.remove(waiting)
            if isinstance(error, TimeoutError):
                raise Busy(owner) from None
            raise

    def _has_room(self, owner: str) -> bool:
        share = max(1, min(self._of_one, self._free // 2))
        return self._free > 0 and self._used[owner] < share

    def _take(self, owner: str) -> None:
        self._free -= 1
        self._used[owner] += 1

    def _leave(self, owner: str) -> None:
        self._free += 1
        self._used[owner] -= 1
        if not self._used[owner]:
            del self._used[owner]
        for waiting in list(self._waiting):
            other, turn = waiting
            # One that has given up this moment takes itself out of the list.
            if not turn.done() and self._has_room(other):
                self._waiting.remove(waiting)
                self._take(other)
                turn.set_result(None)


async def finished(threads: Threads, owner: str, call: Callable[[], T]) -> T:
    """What a call returns that must not be left alone half-way, whoever hangs up: a file or generator is in it."""
    # Who has hung up already begins nothing more.
    await anyio.lowlevel.checkpoint()
    with anyio.CancelScope(shield=True):
        made = await threads.run(owner, call)
    return made


class Pieces:
    """What an iterator that blocks has to give, each piece taken in a thread. Close it, whatever becomes of it."""

    def __init__(self, pieces: Iterator[bytes], threads: Threads, owner: str) -> None:
        """Begin; nothing is taken yet.

        Args:
            pieces: Blocks between them, because they come from a bucket.
            threads: That take them.
            owner: Whose share of the threads it is.
        """
        self._pieces = pieces
        self._threads = threads
        self._owner = owner

    async def next(self) -> bytes | None:
        """The next piece, None after the last.

        Raises:
            Busy: Its turn did not come.
            Exception: What the iterator raises.
        """
        # Not abandoned when the client leaves: two threads must not be at one generator.
        return await finished(self._threads, self._owner, partial(next, self._pieces, None))

    async def close(self) -> None:
        """Let go of connections and files."""
        close = getattr(self._pieces, "close", None)
        if close is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(close)
