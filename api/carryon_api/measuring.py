"""What has to be looked up in a job's bucket to say how far it is; read seldom, and never waited for long."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from carryon_api.cluster import Cluster
from carryon_api.records import JobRecord
from carryon_api.threads import Busy
from carryon_core.ranges import IndexSet
from carryon_jobs import timing
from carryon_jobs.errors import JobError
from carryon_jobs.job import Job
from carryon_jobs.made import Made
from carryon_jobs.states import Known, stage_sets

PATIENCE: Final = 2.0
"""Seconds that an answer waits for what is looked up: it goes on and is there for the next one."""
_KEPT: Final = 1024
_AGAIN_AFTER: Final = 30.0
"""Seconds until a bucket that could not be read is asked again."""
_GROWTH: Final = 1.25
"""A stage is measured again once so many times as many of its units are done."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was looked up.

    Attributes:
        means: Stage -> seconds that one of its units takes.
        counts: Stage -> units that were done at that time.
        approvals: Stage -> units that wait for a person's word.
        not_before: When the bucket is asked again that could not be read.
    """

    generation: int = 0
    version: str = ""
    means: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    approvals: Mapping[str, IndexSet] = field(default_factory=dict)
    not_before: float = 0.0


class Measurements:
    """Measurements of jobs, one at a time for each."""

    def __init__(self, cluster: Cluster, made: Made) -> None:
        """Start with none, inside a running event loop.

        Args:
            cluster: Whose jobs they are of.
            made: What is known of their units.
        """
        self._cluster = cluster
        self._of_units = made
        self._kept: OrderedDict[str, Measured] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._clock = asyncio.get_running_loop().time

    async def of(self, record: JobRecord) -> Measured:
        """What is known of a job, at most `PATIENCE` seconds after it was asked for."""
        known = self._kept.get(record.uid, Measured())
        if not _due(record, known) or known.not_before > self._clock():
            return known
        task = self._running.get(record.uid)
        if task is None:
            task = self._running[record.uid] = asyncio.create_task(self._measure(record, known))
            task.add_done_callback(lambda _: self._running.pop(record.uid, None))
        await asyncio.wait([task], timeout=PATIENCE)
        return self._kept.get(record.uid, known)

    async def _measure(self, record: JobRecord, known: Measured) -> None:
        try:
            job = await self._cluster.outside(record)
            # Most need no bucket for it, so that a bucket which can't be read, or hangs, takes nothing from them.
            waiting = await self._cluster.in_thread(record.namespace, partial(awaiting_approval, job, self._of_units))
            known = replace(known, approvals=waiting)
            self._keep(record, known)
            self._keep(record, await self._cluster.in_thread(record.namespace, partial(measure, job, known)))
        except (JobError, Busy) as error:
            # The status is told all the same: without an estimate.
            log.info("%s can't be measured: %s", record.key, error)
            self._keep(record, replace(known, not_before=self._clock() + _AGAIN_AFTER))

    def _keep(self, record: JobRecord, made: Measured) -> None:
        self._kept[record.uid] = made
        self._kept.move_to_end(record.uid)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def _done(record: JobRecord) -> dict[str, int]:
    return {
        stage["name"]: len(IndexSet.parse(stage.get("succeeded") or "")) for stage in record.status.get("stages") or ()
    }


def _asks(record: JobRecord) -> bool:
    return any(stage.get("approval") for stage in (record.raw.get("spec") or {}).get("stages") or ())


def _due(record: JobRecord, known: Measured) -> bool:
    if known.generation != record.raw["metadata"].get("generation", 0):
        return True
    if _asks(record) and known.version != record.version:
        return True
    return any(count and count >= _GROWTH * known.counts.get(stage, 0) for stage, count in _done(record).items())


def measure(job: Job, known: Measured) -> Measured:
    """Look up what is due. Blocking.

    Raises:
        JobError: The spec can't be resolved, or the bucket not read.
    """
    generation = job.raw["metadata"].get("generation", 0)
    means, counts = dict(known.means), dict(known.counts)
    for stage in job.view.stages:
        if stage.done and (generation != known.generation or stage.done >= _GROWTH * counts.get(stage.name, 0)):
            mean = timing.measured(job, stage.name)
            counts[stage.name] = stage.done
            if mean is not None:
                means[stage.name] = mean
    version = job.raw["metadata"]["resourceVersion"]
    return Measured(generation, version, means, counts, known.approvals)


def awaiting_approval(job: Job, made: Made) -> dict[str, IndexSet]:
    """Stage -> units that have all they need but a person's word, as status has them: no object is looked at.

    Raises:
        JobError: The items can't be told, or not now.
    """
    if all(stage.approval is None for stage in job.spec.stages):
        return {}
    resolved = made.resolved(job)
    chained = frozenset(stage.index for stage in resolved.stages if stage.chained)
    sets = stage_sets(job.spec, job.status, Known(resolved.ids, resolved.index_of, chained=chained))
    return {stage.name: stage.unapproved for stage in sets if job.spec.stages[stage.index].approval is not None}
