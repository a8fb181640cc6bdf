"""Which missing units may start now, and in which pods."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

from carryon_core import durations
from carryon_core.requests import ALL
from carryon_core.resolved import ResolvedStage, Unit
from carryon_core.spec import Backoff
from carryon_core.standing import UnitKey
from carryon_operator.plan.case import Case
from carryon_operator.plan.images import Images
from carryon_operator.plan.ledger import Ledger
from carryon_operator.plan.model import PodCreate, PodRecord

CREATES_AT_ONCE: Final = 500
"""Pods created in one reconcile, as the Kubernetes Job controller does."""


@dataclass
class Queue:
    """Missing units that no pod is at work on and whose inputs are there.

    Attributes:
        ready: May start now, in the order in which they should.
        delayed: Wait for the end of a delay.
        exhausted: Wait for the next round.
        unapproved: Stage name -> indexes of items that a person has to approve.
    """

    ready: list[Unit] = field(default_factory=list)
    delayed: int = 0
    exhausted: int = 0
    unapproved: dict[str, list[int]] = field(default_factory=dict)


def queue(case: Case, ledger: Ledger, busy: Container[UnitKey], retry_at: Mapping[str, float]) -> Queue:
    """What could start, and what it waits for where it can't.

    Item by item, the later stages first: a reel's first clip is finished before its last image is begun, and what was
    begun is brought to its end before something new is.
    """
    made = Queue()
    for stage in sorted(case.job.stages, key=lambda stage: -stage.depth):
        approved = _approved(case, stage)
        for unit in stage.units:
            key = (unit.stage, unit.item)
            if (
                key in case.standing.outcomes
                or key in case.failed
                or key in busy
                or not inputs_there(case, stage, unit)
            ):
                continue
            if approved is not None and case.job.item_id(stage.index, unit.item) not in approved:
                made.unapproved.setdefault(stage.name, []).append(unit.item)
            elif ledger.exhausted(key):
                made.exhausted += 1
            elif retry_at.get(unit.fingerprint, 0.0) > case.seen.now:
                made.delayed += 1
            else:
                made.ready.append(unit)
    return made


def inputs_there(case: Case, stage: ResolvedStage, unit: Unit) -> bool:
    """Whether everything that a unit is made from is done; what gathers has a fingerprint by then."""
    if not unit.fingerprint:
        return False
    if stage.gathers:
        return True
    done = case.standing.outcomes
    if unit.previous and (stage.index, unit.item - 1) not in done:
        return False
    return all((before, 0 if case.job.stages[before].gathers else unit.item) in done for before in stage.after)


def _approved(case: Case, stage: ResolvedStage) -> Set[str] | None:
    """Ids of the items that may enter a stage, as far as that is a person's to say; None: all."""
    named = case.spec.approved.get(stage.name, ())
    return None if case.spec.stages[stage.index].approval is None or ALL in named else frozenset(named)


@dataclass
class _Batch:
    """Units that go into one pod."""

    units: list[Unit]
    image: str
    extra: int


def pods_for(
    case: Case, ledger: Ledger, images: Images, units: Sequence[Unit], active: Sequence[PodRecord]
) -> tuple[PodCreate, ...]:
    """Pods for units that may start, as far as `parallelism` has room: up to `unitsPerPod` units of one stage each.

    Units of one pod have one image: those of different ones come in pods of their own.

    Units that have used their own budget and are tried again in a round come one at a time if asked, each in a pod of
    its own. Names are deterministic: two operators that decide the same create the same pod, and the second is told
    that it exists.
    """
    spec, retry = case.spec, case.spec.retry
    slots = min(max(spec.parallelism - len(active), 0), CREATES_AT_ONCE)
    alone = retry.one_at_a_time and any(ledger.extra(unit) for unit in case.busy(active))
    made: list[PodCreate] = []
    taken = {pod.name for pod in case.seen.pods}
    batch: _Batch | None = None

    def close() -> None:
        nonlocal batch
        if batch is not None:
            made.append(_pod(case, ledger, images, batch, taken))
            batch = None

    for unit in units:
        if len(made) >= slots:
            break
        extra, image = ledger.extra((unit.stage, unit.item)), images.of(unit)
        if extra and retry.one_at_a_time:
            if alone:
                continue
            close()
            if len(made) < slots:
                batch = _Batch([unit], image, extra)
                close()
                alone = True
            continue
        shared = images.shared(unit.stage, batch.image, image) if batch is not None else None
        if batch is not None and (shared is None or batch.units[0].stage != unit.stage or batch.extra != extra):
            close()
            if len(made) >= slots:
                break
        if batch is None:
            batch = _Batch([unit], image, extra)
        else:
            batch.units.append(unit)
            batch.image = shared or ""
        if len(batch.units) == spec.units_per_pod:
            close()
    if len(made) < slots:
        close()
    return tuple(made)


def delay(backoff: Backoff, used: int, key: str) -> float:
    """Seconds before the next attempt, after `used` have failed: exponential, capped, and up to a tenth shorter.

    The tenth is drawn from the unit itself, so that units that failed together do not all come back together, and a
    decision that is made twice comes out the same.
    """
    longest = durations.seconds(backoff.max_)
    exact = min(durations.seconds(backoff.initial) * float(backoff.factor) ** (used - 1), longest)
    return exact * (1 - 0.1 * random.Random(f"{key}:{used}").random())


def _pod(case: Case, ledger: Ledger, images: Images, batch: _Batch, taken: Container[str]) -> PodCreate:
    job, units = case.job, batch.units
    stage = job.stages[units[0].stage]
    ids = "\0".join(job.item_id(stage.index, unit.item) for unit in units)
    digest = hashlib.sha256(f"{case.seen.uid}\0{stage.name}\0{ids}".encode()).hexdigest()[:10]
    keys = [(unit.stage, unit.item) for unit in units]
    attempt = 1 + max(ledger.attempts.get(key, 0) for key in keys)
    # A name is free again once its pod is gone; one that hangs on a dead node keeps its own.
    while (name := f"{job.name}-{digest}-{attempt}") in taken:
        attempt += 1
    return PodCreate(
        name=name,
        stage=stage.index,
        items=tuple(unit.item for unit in units),
        attempt=attempt,
        round=max(ledger.extra(key) for key in keys),
        image=batch.image,
        device=next((device for unit in units if (device := images.device(unit))), ""),
    )
