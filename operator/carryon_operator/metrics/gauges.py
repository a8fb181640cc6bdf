"""What is asked at each scrape, and whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from carryon_kube.client import Client
from carryon_kube.informer import Informer
from carryon_operator.jobs import JobCache
from carryon_operator.kube.events import EventRecorder
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.looks import Looks
from carryon_operator.metrics import catalogue
from carryon_operator.metrics.catalogue import Series
from carryon_operator.metrics.population import pods_by_phase, population
from carryon_operator.metrics.recording import Answer
from carryon_operator.notify.notifier import Notifier
from carryon_operator.plan.model import PodRecord
from carryon_operator.slots import Slots


@dataclass(frozen=True)
class Parts:
    """The parts of an operator that can be asked.

    Attributes:
        workers: How many there are.
        journal_bytes: That journals hold, as far as is known.
        leading: Whether this replica leads.
    """

    client: Client
    jobs: JobCache
    pods: Informer[PodRecord]
    queue: WorkQueue
    recorder: EventRecorder
    looks: Looks
    notifier: Notifier
    slots: Slots
    workers: int
    journal_bytes: Callable[[], float]
    leading: Callable[[], bool]


def readings(parts: Parts) -> Mapping[Series, Answer]:
    """What they say now. It takes time with the number of jobs and pods, not of units."""
    found = population(job for key in parts.jobs if (job := parts.jobs.get(key)) is not None)
    return {
        catalogue.LEADER: parts.leading(),
        catalogue.QUEUE_DEPTH: parts.queue.depth,
        catalogue.QUEUE_OLDEST: parts.queue.head_age,
        catalogue.QUEUE_RETRIES: parts.queue.retries,
        catalogue.WORKERS: parts.workers,
        catalogue.WORKERS_BUSY: parts.queue.busy,
        catalogue.THROTTLED: parts.client.throttled,
        catalogue.SILENCE: {"pods": parts.pods.silence},
        catalogue.EVENTS_DROPPED: parts.recorder.dropped,
        catalogue.THREADS_BUSY: parts.looks.running,
        catalogue.JOURNAL_BYTES: parts.journal_bytes(),
        catalogue.NOTIFICATIONS: parts.notifier.depth,
        catalogue.JOBS: found.phases,
        catalogue.JOBS_UNREACHABLE: found.unreachable,
        catalogue.JOBS_WAITING: parts.slots.waiting,
        catalogue.UNITS: found.units,
        catalogue.PODS: pods_by_phase(parts.pods),
    }
