"""Live events of one replica: the hub and who feeds it, for as long as the API runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, Self

from carryon_api.artifacts.streaming import READING_MOST, READING_OF_ONE
from carryon_api.cluster import Cluster, JobRecord
from carryon_api.live.hub import Hub, JobKey
from carryon_api.live.progress import Asker, Poller
from carryon_api.records import PodSummary
from carryon_api.threads import Threads
from carryon_core.resolved import ResolvedJob
from carryon_jobs.job import Job
from carryon_jobs.made import Made

STREAMS_MOST: Final = 1_000
"""Pages that are open at the same time, of all readers; `STREAMS_OF_ONE` of one of them."""
STREAMS_OF_ONE: Final = 200


class Live:
    """Use as an async context manager, beside the cluster's.

    Attributes:
        hub: Where pages are told.
        asker: Asks a worker how far it is.
        poller: Asks all that somebody watches.
        made: What is known of buckets.
        readers: Threads that read artifacts for answers.
    """

    def __init__(self, cluster: Cluster, describe_status: Callable[[JobRecord], Awaitable[bytes]], made: Made) -> None:
        """Prepare, inside a running event loop.

        Args:
            cluster: Whose changes are told.
            describe_status: What `status` events hold, as JSON.
            made: What is known of units.
        """
        clock = asyncio.get_running_loop().time
        self._cluster = cluster
        # Several watches are not in step with each other: which came first can't be told from their versions.
        ordered = len(cluster.config.namespaces) <= 1
        self.hub: Final = Hub(cluster.summaries.json_of, describe_status, cluster.job, clock=clock, ordered=ordered)
        self.asker: Final = Asker(loopback=cluster.config.standalone)
        self.poller: Final = Poller(
            self.asker,
            lambda: self.hub.watched,
            self._pods_of,
            self.hub.progressed,
            index_of=self._index_of,
            clock=clock,
        )
        self.made: Final = made
        self.readers: Final = Threads(READING_MOST, READING_OF_ONE)
        self._working_out: dict[Hashable, asyncio.Future[ResolvedJob]] = {}
        self._running = AsyncExitStack()
        self._tasks: list[asyncio.Task[Any]] = []
        cluster.subscribe(self._changed)

    async def __aenter__(self) -> Self:
        await self._running.enter_async_context(self.asker)
        self._tasks = [asyncio.create_task(each) for each in (self.hub.run(), self.poller.run(), self._follow())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hub.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._running.aclose()

    async def outside(self, record: JobRecord) -> Job:
        """A job as `carryon_jobs` sees it, its units worked out: once, whoever waits for it, in one thread.

        Raises:
            OutOfReach: Its Secret can't be read.
        """
        job = await self._cluster.outside(record)
        key = self.made.key(job)
        if not self.made.knows(key):
            working = self._working_out.get(key)
            if working is None:
                working = asyncio.ensure_future(
                    self._cluster.in_thread(record.namespace, partial(self.made.resolved, job))
                )
                self._working_out[key] = working
                working.add_done_callback(lambda _: self._working_out.pop(key, None))
            # Why it can't be worked out is said by whoever needs it.
            await asyncio.wait([working])
            if not working.cancelled():
                working.exception()
        return job

    def broken(self) -> bool:
        """Whether nothing is told any more, which a restart cures."""
        return any(task.done() and not task.cancelled() and task.exception() is not None for task in self._tasks)

    async def _follow(self) -> None:
        await self._cluster.synced()
        self.hub.following()

    def _changed(self, old: JobRecord | None, new: JobRecord | None) -> None:
        if new is not None:
            self.hub.changed(new)
        elif old is not None:
            self.hub.removed(old)

    def _pods_of(self, job: JobKey) -> list[PodSummary]:
        record = self._cluster.job(*job)
        return [] if record is None else self._cluster.pods_of(record)

    def _index_of(self, job: JobKey, pod: PodSummary) -> int | None:
        """Index of a pod's only item, as status has it."""
        record = self._cluster.job(*job)
        stages = record.status.get("stages") or () if record is not None else ()
        told = (each for stage in stages for each in stage.get("active") or () if each.get("pod") == pod.name)
        units = next((str(each.get("units", "")) for each in told), "")
        return int(units) if units.isdecimal() else None
