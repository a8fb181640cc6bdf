"""The jobs as last seen: filled by kopf's doorbell, our own writes and a list now and then; never back in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from carryon_core import names
from carryon_kube.client import Client
from carryon_kube.errors import ApiError, NotFound
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import GENERATION_JOBS

log = logging.getLogger(__name__)

Job = Mapping[str, Any]
"""The resource, as the API server shows it."""


def key_of(job: Job) -> str:
    """Key of a job: "namespace/name"."""
    metadata = job["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


class JobCache:
    """Key -> resource, without its managedFields."""

    def __init__(self, on_change: Callable[[str], None] = lambda key: None) -> None:
        """Start empty.

        Args:
            on_change: Called with the key of each job that somebody else changed, or that is gone.
        """
        self._on_change = on_change
        self._jobs: dict[str, Job] = {}
        self._keys: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._jobs))

    def get(self, key: str) -> Job | None:
        """The job, None if there is none."""
        return self._jobs.get(key)

    def key_of_uid(self, uid: str) -> str | None:
        """Key of the job with this uid: that is all a pod knows of its owner."""
        return self._keys.get(uid)

    def observe(self, job: Job) -> None:
        """Take in a job as an event or a list shows it; one that is not newer than what is known changes nothing."""
        key = key_of(job)
        known = self._jobs.get(key)
        if known is not None and not _newer(job, known):
            return
        self._enter(key, job)
        self._on_change(key)

    def put(self, job: Job) -> None:
        """Take in the answer to a write of our own: newer than every event so far, unless the job is gone by now."""
        known = self._jobs.get(key_of(job))
        if known is not None and known["metadata"]["uid"] == job["metadata"]["uid"] and _newer(job, known):
            self._enter(key_of(job), job)

    def remove(self, job: Job) -> None:
        """Forget a job that is gone; a new one of the same name stays."""
        key = self._keys.pop(job["metadata"]["uid"], None)
        if key is not None:
            del self._jobs[key]
            self._on_change(key)

    async def resync(self, client: Client, namespaces: Iterable[str] = ()) -> None:
        """List the jobs and correct what was missed: kopf keeps what was deleted while it did not watch.

        Args:
            client: Of the API server.
            namespaces: Where to look; none means everywhere.

        Raises:
            ApiError: The list did not work; what was missed stays so.
        """
        before = dict(self._keys)
        listed: set[str] = set()
        for namespace in tuple(namespaces) or (None,):
            async for page in client.list_pages(GENERATION_JOBS, namespace=namespace):
                for job in page.items:
                    listed.add(job["metadata"]["uid"])
                    self.observe(job)
        # A job that appeared while we were listing is no ghost.
        for uid, key in before.items():
            if uid not in listed and self._keys.get(uid) == key:
                self.remove(self._jobs[key])

    async def refresh(self, client: Client, namespaces: Iterable[str] = ()) -> None:
        """Do the same through whatever the server answers: on return all that it had when this was called is known."""
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                await self.resync(client, namespaces)
                return
            except NotFound:
                log.warning("the cluster does not know %s: install the CRD of crds/; waiting for it", names.CRD_NAME)
            except ApiError as error:
                log.warning("jobs cannot be listed: %s; trying again", error)
            await asyncio.sleep(backoff.next())

    def _enter(self, key: str, job: Job) -> None:
        known = self._jobs.get(key)
        if known is not None:
            del self._keys[known["metadata"]["uid"]]
        # They can be larger than the rest, and say nothing to us.
        metadata = {name: value for name, value in job["metadata"].items() if name != "managedFields"}
        self._jobs[key] = {**job, "metadata": metadata}
        self._keys[metadata["uid"]] = key


def _newer(job: Job, known: Job) -> bool:
    """Whether a resource was written later than the other.

    resourceVersions of one kind are ordered integers on every API server we know, and by contract since Kubernetes
    1.35 (KEP-5504). Where they are something else, what comes last counts.
    """
    new, old = job["metadata"]["resourceVersion"], known["metadata"]["resourceVersion"]
    if new.isdecimal() and old.isdecimal():
        return int(new) > int(old)
    return bool(new != old)
