"""The last lines that failed attempts logged, kept in the bucket: their pods are about to go.

A log that can't be read is no reason to wait: kubelets of lost nodes never answer. It is just not there then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from carryon_core import layout, names
from carryon_kube.client import Client
from carryon_kube.errors import ApiError
from carryon_operator.plan.model import PodRecord
from carryon_store import Store
from carryon_store.records import put_log

LINES: Final = 200
BYTES: Final = 64 * 1024
AT_ONCE: Final = 16
"""Logs that are read at the same time, and held in memory."""
LONGEST: Final = 10.0
"""Seconds that a batch of logs may take."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of one attempt's log, and the unit it belongs to."""

    prefix: str
    pod_uid: str
    text: str


def batches(pods: Sequence[PodRecord]) -> Iterable[Sequence[PodRecord]]:
    """The pods that wrote a log, a few at a time."""
    began = [pod for pod in pods if pod.started is not None and pod.units and len(pod.units) == len(pod.fingerprints)]
    return (began[at : at + AT_ONCE] for at in range(0, len(began), AT_ONCE))


async def read(
    client: Client, job: str, pods: Sequence[PodRecord], done: Container[str], longest: float = LONGEST
) -> list[Tail]:
    """The tails that can be read in time.

    Args:
        client: Of the API server.
        job: Name of the pods' job.
        pods: That ended.
        done: Fingerprints of units that are done: a tail goes to the first unit of its pod that is not.
        longest: Seconds.
    """
    tasks = {asyncio.create_task(_tail(client, job, pod, done)): pod for pod in pods}
    try:
        _, late = await asyncio.wait(tasks, timeout=longest)
    finally:
        for task in tasks:
            task.cancel()
    for task in late:
        log.warning("%s/%s: log not kept: it took longer than %.0f s", tasks[task].namespace, tasks[task].name, longest)
    found = [task.result() for task in tasks if task not in late]
    return [tail for tail in found if tail is not None]


def keep(store: Store, tails: Iterable[Tail]) -> None:
    """Put tails into the bucket. Blocking.

    Raises:
        StoreError: It did not work; those before are kept.
    """
    for tail in tails:
        put_log(store, tail.prefix, tail.pod_uid, tail.text)


async def _tail(client: Client, job: str, pod: PodRecord, done: Container[str]) -> Tail | None:
    try:
        text = await client.pod_log(
            pod.name, namespace=pod.namespace, container=names.CONTAINER, tail_lines=LINES, limit_bytes=BYTES
        )
    except ApiError as error:
        log.warning("%s/%s: log not kept: %s", pod.namespace, pod.name, error)
        return None
    if not text:
        return None
    given = list(zip(pod.units, pod.fingerprints, strict=True))
    item, fingerprint = next((each for each in given if each[1] not in done), given[0])
    return Tail(layout.unit_prefix(pod.namespace, job, pod.stage, item, fingerprint), pod.uid, text)
