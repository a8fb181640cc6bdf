"""Why attempts failed and the last lines they logged, kept in the bucket: their pods are about to go.

A log that can't be read is no reason to wait: kubelets of lost nodes never answer. It is just not there then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from carryon_core import layout, names
from carryon_core.attempts import AttemptRecord
from carryon_core.status import MESSAGE_LONGEST
from carryon_kube.client import Client
from carryon_kube.errors import ApiError
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.model import PodRecord
from carryon_operator.plan.verdicts import judge
from carryon_store import Store
from carryon_store.records import put_attempt, put_log

LINES: Final = 200
BYTES: Final = 64 * 1024
AT_ONCE: Final = 16
"""Logs that are read at the same time, and held in memory."""
UNITS_MOST: Final = 8
"""Units of one pod that get an account and its log."""
LONGEST: Final = 10.0
"""Seconds that a batch of logs may take."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tail:
    """What stays of one pod that failed.

    Attributes:
        text: The end of its log, "" where there is none.
        accounts: Prefix in the bucket -> how the attempt at that unit ended, for each unit that it failed.
    """

    text: str
    accounts: tuple[tuple[str, AttemptRecord], ...]


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
        done: Fingerprints of units that are done.
        longest: Seconds.
    """
    tasks = {asyncio.create_task(_tail(client, pod)): pod for pod in pods}
    try:
        _, late = await asyncio.wait(tasks, timeout=longest)
    finally:
        for task in tasks:
            task.cancel()
    for task in late:
        log.warning("%s/%s: log not kept: it took longer than %.0f s", tasks[task].namespace, tasks[task].name, longest)
    # Why they failed is known from the pods themselves, whether their logs can be read or not.
    return [
        Tail("" if task in late else task.result(), accounts)
        for task, pod in tasks.items()
        if (accounts := accounts_of(job, pod, done))
    ]


def keep(store: Store, tails: Iterable[Tail]) -> None:
    """Put tails into the bucket. Blocking.

    Raises:
        StoreError: It did not work; those before are kept.
    """
    for tail in tails:
        for prefix, account in tail.accounts:
            if tail.text:
                put_log(store, prefix, account.pod_uid, tail.text)
            put_attempt(store, prefix, account)


def accounts_of(job: str, pod: PodRecord, done: Container[str]) -> tuple[tuple[str, AttemptRecord], ...]:
    """How the attempts of a pod that failed ended: unit prefix -> record, of the first few units.

    Args:
        job: Name of the pod's job.
        pod: That ended.
        done: Fingerprints of units that are done.
    """
    fingerprints = dict(zip(pod.units, pod.fingerprints, strict=True))
    failures = judge(pod, {item for item, fingerprint in fingerprints.items() if fingerprint in done}).failures
    return tuple(
        (
            layout.unit_prefix(pod.namespace, job, pod.stage, failure.item, fingerprints[failure.item]),
            AttemptRecord(
                pod=pod.name,
                pod_uid=pod.uid,
                stage=pod.stage,
                item=failure.item,
                attempt=pod.attempt,
                reason=failure.reason,
                message=failure.message[:MESSAGE_LONGEST],
                exit_code=pod.exit_code,
                started=None if pod.started is None else rfc3339(pod.started),
                finished=None if pod.finished is None else rfc3339(pod.finished),
                image=pod.image,
            ),
        )
        for failure in failures[:UNITS_MOST]
    )


async def _tail(client: Client, pod: PodRecord) -> str:
    try:
        return await client.pod_log(
            pod.name, namespace=pod.namespace, container=names.CONTAINER, tail_lines=LINES, limit_bytes=BYTES
        )
    except ApiError as error:
        log.warning("%s/%s: log not kept: %s", pod.namespace, pod.name, error)
        return ""
