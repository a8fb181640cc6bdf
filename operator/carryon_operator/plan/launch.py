"""Which missing units may start now, and in which pods."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

from carryon_core import durations
from carryon_core.resolve import ResolvedJob, Unit
from carryon_core.spec import Backoff, JobSpec
from carryon_operator.plan.model import PodCreate, PodRecord, UnitKey

CREATES_AT_ONCE: Final = 500
"""Pods created in one reconcile, as the Kubernetes Job controller does."""


def ready(
    resolved: ResolvedJob,
    done: Container[UnitKey],
    failed: Container[UnitKey],
    busy: Container[UnitKey],
    retry_at: Mapping[str, float],
    now: float,
) -> Iterator[Unit]:
    """Missing units whose inputs are there, whose delay is over, and which no pod is at work on.

    Item by item, the later stages first: a reel's first clip is finished before its last image is begun, and what was
    begun is brought to its end before something new is.
    """
    order = sorted(resolved.stages, key=lambda stage: -stage.depth)
    for stage in order:
        for unit in stage.units:
            key = (unit.stage, unit.item)
            if key in done or key in failed or key in busy:
                continue
            if retry_at.get(unit.fingerprint, 0.0) > now:
                continue
            if all((before, unit.item) in done for before in stage.after):
                yield unit


def pods_for(
    resolved: ResolvedJob,
    spec: JobSpec,
    job_uid: str,
    units: Iterable[Unit],
    slots: int,
    attempts: Mapping[UnitKey, int],
    pods: Sequence[PodRecord],
) -> tuple[PodCreate, ...]:
    """At most `slots` pods with up to `unitsPerPod` units of one stage each.

    Names are deterministic: two operators that decide the same create the same pod, and the second is told that it
    exists.
    """
    made: list[PodCreate] = []
    taken = {pod.name for pod in pods}
    batch: list[Unit] = []
    slots = min(slots, CREATES_AT_ONCE)
    for unit in units:
        if len(made) >= slots:
            return tuple(made)
        if batch and batch[0].stage != unit.stage:
            made.append(_pod(resolved, job_uid, batch, attempts, taken))
            batch = []
        batch.append(unit)
        if len(batch) == spec.units_per_pod:
            made.append(_pod(resolved, job_uid, batch, attempts, taken))
            batch = []
    if batch and len(made) < slots:
        made.append(_pod(resolved, job_uid, batch, attempts, taken))
    return tuple(made)


def delay(backoff: Backoff, used: int, key: str) -> float:
    """Seconds before the next attempt, after `used` have failed: exponential, capped, and up to a tenth shorter.

    The tenth is drawn from the unit itself, so that units that failed together do not all come back together, and a
    decision that is made twice comes out the same.
    """
    longest = durations.seconds(backoff.max_)
    exact = min(durations.seconds(backoff.initial) * float(backoff.factor) ** (used - 1), longest)
    return exact * (1 - 0.1 * random.Random(f"{key}:{used}").random())


def _pod(
    resolved: ResolvedJob, job_uid: str, units: Sequence[Unit], attempts: Mapping[UnitKey, int], taken: Container[str]
) -> PodCreate:
    stage = resolved.stages[units[0].stage]
    ids = "\0".join(resolved.ids[unit.item] for unit in units)
    digest = hashlib.sha256(f"{job_uid}\0{stage.name}\0{ids}".encode()).hexdigest()[:10]
    attempt = 1 + max(attempts.get((unit.stage, unit.item), 0) for unit in units)
    # A name is free again once its pod is gone; one that hangs on a dead node keeps its own.
    while (name := f"{resolved.name}-{digest}-{attempt}") in taken:
        attempt += 1
    return PodCreate(name=name, stage=stage.index, items=tuple(unit.item for unit in units), attempt=attempt)
