"""What the API knows of the cluster: all jobs and their pods, followed by watches; and ways to ask for the rest."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Self, TypeVar

import aiohttp
import anyio
import anyio.to_thread

from carryon_api.config import Config
from carryon_api.records import JobRecord, PodSummary
from carryon_api.reviews import AUTHENTICATED, Caller, Remembered, Reviews, by_own_right
from carryon_api.summaries import Summaries
from carryon_api.threads import Threads
from carryon_core import names
from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import Job
from carryon_kube import connection
from carryon_kube.client import Client, connector_of
from carryon_kube.errors import ApiError, NotFound
from carryon_kube.informer import Informer
from carryon_kube.resources import GENERATION_JOBS, PODS, SECRETS
from carryon_store import Stores

__all__ = ["Cluster", "JobRecord", "OnJob", "PodSummary"]

OnJob = Callable[[JobRecord | None, JobRecord | None], None]
"""Called with a job before and after: (None, new), (old, new) or (old, None)."""

LONGEST_SILENCE: Final = 120.0
"""Seconds without a word from the API server: it sends a bookmark every minute."""
NOBODY_ASKS: Final = 300.0
"""Seconds without a word from it, and without a question: a watch that is silent is given up after 70 s."""
THREADS: Final = 32
"""Requests that may wait for buckets at the same time; `THREADS_OF_ONE` of them for jobs of one namespace."""
THREADS_OF_ONE: Final = 8
COMPUTING: Final = 4
"""Calls at the same time that only compute."""
_SELECTOR: Final = f"{names.MANAGED_BY}={names.MANAGED_BY_CARRYON}"
_CALLERS: Final = 256
_CLOSE_AFTER: Final = 300.0
"""Seconds that a client which nobody has used for long stays open: longer than any request of it."""
_JOBS_OUTSIDE: Final = 64
_SECRET_SECONDS: Final = 30.0
T = TypeVar("T")


class Cluster:
    """One cluster as the API sees it. Use as an async context manager: it follows the API server meanwhile."""

    def __init__(self, config: Config, own: Client, public: connection.Connection) -> None:
        """Prepare, inside a running event loop.

        Args:
            config: Of this API.
            own: With the API's own rights.
            public: The way to the same server without any credentials, for what callers do themselves.
        """
        loop = asyncio.get_running_loop()
        self.config = config
        self.own: Final = own
        self.reviews: Final = Reviews(own, loop.time)
        self.summaries: Final = Summaries()
        self.threads: Final = Threads(THREADS, THREADS_OF_ONE)
        self._computing: Final = anyio.CapacityLimiter(COMPUTING)
        self._stores = Stores()
        self._public = public
        self._connector: aiohttp.TCPConnector = connector_of(public)
        self._callers: OrderedDict[Any, Client] = OrderedDict()
        self._outside: OrderedDict[str, tuple[Job, Mapping[str, str] | OutOfReach]] = OrderedDict()
        self._secrets: Remembered[Mapping[str, str]] = Remembered(loop.time)
        self._jobs: Informer[JobRecord] = Informer(
            own, GENERATION_JOBS, project=JobRecord.of, owner=lambda job: job.key, namespaces=config.namespaces
        )
        self._pods: Informer[PodSummary] = Informer(
            own,
            PODS,
            project=PodSummary.of,
            owner=lambda pod: pod.job_uid,
            namespaces=config.namespaces,
            label_selector=_SELECTOR,
        )
        self._jobs.subscribe(self._forget)
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._following is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        for client in self._callers.values():
            await client.close()
        await self._connector.close()

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._jobs.run())
            group.create_task(self._pods.run())

    # -- what is known

    def job(self, namespace: str, name: str) -> JobRecord | None:
        """A job as last seen."""
        found = self._jobs.get_by_owner(f"{namespace}/{name}")
        # Of a job that was deleted and one of its name made anew, a list may show both for a moment.
        return max(found, key=lambda job: _number(job.version), default=None)

    def jobs(self) -> Iterator[JobRecord]:
        """All jobs as last seen, in no order."""
        return iter(self._jobs)

    def pods_of(self, job: JobRecord) -> list[PodSummary]:
        """Pods of a job in its own namespace: elsewhere, whoever made them had no business naming it as their owner."""
        return [pod for pod in self._pods.get_by_owner(job.uid) if pod.namespace == job.namespace]

    def subscribe(self, on_job: OnJob) -> None:
        """Have every change of a job reported, for ever."""
        self._jobs.subscribe(on_job)

    def shown(self, namespace: str) -> bool:
        """Whether jobs of a namespace are shown at all."""
        return not self.config.namespaces or namespace in self.config.namespaces

    def wrong(self) -> Mapping[str, str]:
        """Why what is known is not all there is, by part; empty where it is."""
        found: dict[str, str] = {}
        for part, informer in (("jobs", self._jobs), ("pods", self._pods)):
            if not informer.synced.is_set():
                found[part] = f"{part} are not listed yet"
            elif informer.silence > LONGEST_SILENCE:
                found[part] = f"nothing heard from the API server for {informer.silence:.0f} s"
        return found

    def broken(self) -> Mapping[str, str]:
        """What is not followed any more, by part, which a restart cures; an API server that is away is no such thing.

        Whoever follows it asks again and again while it is away.
        """
        if self._following is not None and self._following.done():
            return {"watches": "nothing is followed any more"}
        return {
            part: f"has neither heard the API server nor asked it for {informer.stuck:.0f} s"
            for part, informer in (("jobs", self._jobs), ("pods", self._pods))
            if informer.stuck > NOBODY_ASKS
        }

    async def synced(self) -> None:
        """Return once all jobs and pods are known."""
        await self._jobs.synced.wait()
        await self._pods.synced.wait()

    # -- what is asked for

    async def seek(self, namespace: str, name: str) -> JobRecord | None:
        """A job as last seen, else as the API server shows it: another replica may have made it a moment ago."""
        return self.job(namespace, name) or await self.fresh(namespace, name)

    async def fresh(self, namespace: str, name: str) -> JobRecord | None:
        """A job as the API server shows it now, read with the API's own rights."""
        if not self.shown(namespace):
            return None
        try:
            with by_own_right("get generationjobs.carryon.dev"):
                return JobRecord.of(await self.own.get(GENERATION_JOBS, name, namespace=namespace))
        except NotFound:
            return None

    async def secret(self, namespace: str, name: str) -> Mapping[str, str]:
        """Data of a Secret, base64, read with the API's own rights; remembered for half a minute.

        Raises:
            OutOfReach: It is not there, or the API may not read it.
        """

        async def read() -> Mapping[str, str]:
            found = await self.own.get(SECRETS, name, namespace=namespace)
            data: Mapping[str, str] = found.get("data") or {}
            return data

        try:
            return await self._secrets.get((namespace, name), read, lambda _: _SECRET_SECONDS)
        except ApiError as error:
            raise OutOfReach(f'Secret "{name}" in namespace "{namespace}" can\'t be read: {error.message}') from None

    def as_caller(self, caller: Caller) -> Client:
        """A client with the rights of a caller, for one request or a few; don't close it."""
        found = self._callers.get(caller.key)
        if found is None:
            found = self._client_of(caller)
            self._callers[caller.key] = found
            while len(self._callers) > _CALLERS:
                _, idle = self._callers.popitem(last=False)
                loop = asyncio.get_running_loop()
                loop.call_later(_CLOSE_AFTER, partial(_close, idle))
        self._callers.move_to_end(caller.key)
        return found

    def _client_of(self, caller: Caller) -> Client:
        if caller.token is not None:
            public = connection.Connection(
                self._public.server, self._public.tls, f"Bearer {caller.token}", self._public.proxy
            )
            return Client(public, agent="carryon-api", connector=self._connector)
        groups = [group for group in caller.groups if group != AUTHENTICATED]
        whom = [("Impersonate-User", caller.name), *(("Impersonate-Group", group) for group in groups)]
        return self.own.acting_as(whom)

    async def outside(self, record: JobRecord) -> Job:
        """A job as `carryon_jobs` sees it, its Secret read; the same one as long as nothing changes.

        Its methods block: call them by `in_thread`. Where its Secret can't be read, all that needs its bucket raises
        `OutOfReach`; what does not, such as most orders, is possible all the same.
        """
        output = (record.raw.get("spec") or {}).get("output")
        wanted = (output.get("credentialsSecret") or {}).get("name") if output else self.config.default_store_secret
        keys: Mapping[str, str] | OutOfReach = {}
        if wanted:
            try:
                keys = await self.secret(record.namespace, wanted)
            except OutOfReach as error:
                keys = error
        known, known_keys = self._outside.get(record.uid, (None, None))
        if known is not None and known.raw["metadata"]["resourceVersion"] == record.version and known_keys == keys:
            self._outside.move_to_end(record.uid)
            return known
        made = Job(record.raw, partial(_keys, keys), self.config, self._stores)
        if known is not None:
            made.inherit(known)
        self._outside[record.uid] = (made, keys)
        self._outside.move_to_end(record.uid)
        while len(self._outside) > _JOBS_OUTSIDE:
            self._outside.popitem(last=False)
        return made

    async def in_thread(self, namespace: str, call: Callable[[], T]) -> T:
        """What a call returns that may wait for a bucket of a namespace: at most a few of them at the same time.

        Raises:
            Busy: So many wait for buckets of this namespace that this one's turn did not come.
        """
        return await self.threads.run(namespace, call)

    async def compute(self, call: Callable[[], T]) -> T:
        """What a call returns that takes long, and waits for nobody."""
        return await anyio.to_thread.run_sync(call, limiter=self._computing)

    def _forget(self, old: JobRecord | None, new: JobRecord | None) -> None:
        if new is None and old is not None:
            self._outside.pop(old.uid, None)
            self.summaries.forget(old.uid)


def _keys(found: Mapping[str, str] | OutOfReach, name: str) -> Mapping[str, str]:
    """The data of the one Secret that a job names.

    Raises:
        OutOfReach: It can't be read.
    """
    del name
    if isinstance(found, OutOfReach):
        raise found
    return found


def _close(client: Client) -> None:
    asyncio.get_running_loop().create_task(client.close())


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
