"""One of several replicas acts; what that means for the others, and for the moment in which they change places."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Iterable
from typing import Any

from carryon_kube.client import Client
from carryon_kube.errors import ApiError
from carryon_kube.errors import Fenced as NoRequest
from carryon_kube.informer import Informer
from carryon_kube.ratelimit import Backoff
from carryon_operator.jobs import JobCache
from carryon_operator.kube.elector import Elector
from carryon_store import Fenced
from carryon_store.protocol import Guard

log = logging.getLogger(__name__)


def identity() -> str:
    """A name for this process, by its pod, that no other has, not even the next one in this pod."""
    return f"{os.environ.get('HOSTNAME') or socket.gethostname()}_{uuid.uuid4().hex[:12]}"


def guard_of(elector: Elector) -> Guard:
    """What keeps writes from buckets while others may lead."""

    def guard() -> None:
        try:
            elector.time_left()
        except NoRequest as error:
            raise Fenced(error.message) from None

    return guard


async def look_anew(client: Client, jobs: JobCache, pods: Informer[Any], namespaces: Iterable[str]) -> None:
    """Bring both caches to what there is now, through whatever the server answers.

    Who led before has written until a moment ago, and our watches may lag behind: what is decided first must not be
    decided by what was.
    """
    backoff = Backoff(0.5, 10.0)
    await pods.refresh()
    while True:
        try:
            await jobs.resync(client, namespaces)
        except ApiError as error:
            log.warning("jobs cannot be listed: %s; trying again", error)
            await asyncio.sleep(backoff.next())
        else:
            return
