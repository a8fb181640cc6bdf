"""What kopf does for us: watch the jobs, and ring. Its handler updates our cache, which puts the key into our queue.

`on.event` keeps no state in the cluster and writes nothing; it also never retries, which is why no work is done in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import kopf

# Not among what kopf exports, although `spawn_tasks` takes one: the only way to what it keeps.
from kopf._core.reactor.inventory import ResourceMemories

from carryon_core import names
from carryon_kube.client import PAGE, Client
from carryon_kube.ratelimit import Backoff
from carryon_operator.jobs import JobCache

_LOGIN_AGAIN: Final = 5.0
"""Seconds before kopf may try again with a server that refuses our credentials: it would do so without a break."""


class Backoffs:
    """Delays without end, each time anew: kopf gives up, and ends the process, when those it was given are used up."""

    def __iter__(self) -> Iterator[float]:
        backoff = Backoff(1.0, 30.0)
        while True:
            yield backoff.next()


def settings() -> kopf.OperatorSettings:
    """Settings that make kopf a doorbell: no peering, no scanning, no posting, no end."""
    made = kopf.OperatorSettings()
    made.peering.standalone = True
    made.scanning.disabled = True
    made.posting.enabled = False
    made.persistence.finalizer = f"{names.GROUP}/kopf"  # Never added: no handler needs one.
    made.networking.request_timeout = 30
    made.networking.connect_timeout = 5
    made.networking.error_backoffs = Backoffs()
    made.watching.server_timeout = 300  # An int: a float is sent as "300.0", which the server refuses.
    made.watching.connect_timeout = 10
    made.watching.chunk_size = PAGE
    made.watching.reconnect_backoff = 1.0
    made.queueing.worker_limit = None
    made.queueing.exit_timeout = 0.2  # For handlers at work; ours do none.
    made.process.ultimate_exiting_timeout = 25
    return made


class KopfMemory:
    """What kopf keeps of each job until it hears that the job is gone: which it never does of those that go in a gap.

    Attributes:
        memories: Kopf's own.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.memories: Final = ResourceMemories()
        self._heard: set[str] = set()

    def heard(self, uid: str) -> None:
        """Kopf has told of this job."""
        self._heard.add(uid)

    def gone(self, uid: str) -> None:
        """Kopf has told that this job is gone."""
        self._heard.discard(uid)

    async def prune(self, jobs: JobCache) -> None:
        """Have kopf forget the jobs that are not known any more; one that is there after all is taken in anew."""
        for uid in [uid for uid in self._heard if jobs.key_of_uid(uid) is None]:
            await self.memories.forget({"metadata": {"uid": uid}})
            self._heard.discard(uid)


def registry(client: Client, jobs: JobCache, memory: KopfMemory) -> kopf.OperatorRegistry:
    """The handlers of one operator.

    Args:
        client: Its connections and credentials are kopf's as well.
        jobs: What the doorbell updates.
        memory: What kopf keeps of jobs.
    """
    made = kopf.OperatorRegistry()
    logins = 0

    @kopf.on.login(registry=made)
    async def login(**_: Any) -> kopf.AiohttpSession:
        nonlocal logins
        logins += 1
        if logins > 1:
            await asyncio.sleep(_LOGIN_AGAIN)
        # A session of its own: kopf closes the one that it was refused with.
        return kopf.AiohttpSession(server=client.server, aiohttp_session=client.session())

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=made)
    async def job_changed(event: kopf.RawEvent, **_: Any) -> None:
        uid = event["object"]["metadata"]["uid"]
        if event["type"] == "DELETED":
            memory.gone(uid)
            jobs.remove(event["object"])
        else:
            memory.heard(uid)
            jobs.observe(event["object"])

    return made
