"""The status of a job: counts, index sets and times, as they come out of a decision."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob, ResolvedStage
from carryon_core.status import (
    ACTIVE_SHOWN,
    FAILURES_SHOWN,
    ActivePod,
    Handled,
    ItemsStatus,
    JobStatus,
    Resolved,
    StageStatus,
    Times,
    UnitCounts,
)
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.counting import Case, Tally
from carryon_operator.plan.ledger import Ledger
from carryon_operator.plan.model import PodRecord, UnitKey


def busy_units(resolved: ResolvedJob, pods: Sequence[PodRecord]) -> set[UnitKey]:
    """Units that some pod was given, in whatever version."""
    index_of = {stage.name: stage.index for stage in resolved.stages}
    return {
        (index_of[pod.stage], resolved.index_of[item])
        for pod in pods
        if pod.stage in index_of
        for item in pod.units
        if item in resolved.index_of
    }


def report(
    case: Case, ledger: Ledger, tally: Tally, failed: Collection[UnitKey], active: Sequence[PodRecord], *, ended: bool
) -> JobStatus:
    """The status, but for conditions and sentences.

    Args:
        case: What the decision rests on.
        ledger: Attempts used.
        tally: What was counted now.
        failed: Units that failed for good.
        active: Pods at work.
        ended: Nothing is left to do.
    """
    seen, resolved, before = case.seen, case.resolved, case.seen.status
    remaining = resolved.total - len(case.done) - len(failed)
    counters = before.counters.model_dump()
    status = before.model_copy(
        update={
            "observed_generation": seen.generation,
            "units": UnitCounts(
                total=resolved.total,
                succeeded=len(case.done),
                failed=len(failed),
                active=len(busy_units(resolved, active) - case.done - set(failed)),
                remaining=remaining,
            ),
            "items": ItemsStatus(count=len(resolved.ids), digest=resolved.items_digest),
            "stages": _stages(case, ledger, failed, active),
            "counters": before.counters.model_copy(
                update={name: counters[name] + added for name, added in tally.counters.items()}
            ),
            "recorded": tally.recorded,
            "recent_failures": [*reversed(tally.failures), *before.recent_failures][:FAILURES_SHOWN],
            "handled": Handled(resume=seen.resume_request or before.handled.resume),
            # What a spec says needs no echo; what was filled in stays fixed for this job.
            "resolved": Resolved(output=None if case.spec.output else before.resolved.output or seen.output),
        }
    )
    return status.model_copy(update={"time": _times(case, status, ended)})


def _stages(case: Case, ledger: Ledger, failed: Collection[UnitKey], active: Sequence[PodRecord]) -> list[StageStatus]:
    room = ACTIVE_SHOWN
    made = []
    for stage in case.resolved.stages:
        pods = sorted((pod for pod in active if pod.stage == stage.name), key=lambda pod: (pod.created, pod.name))
        made.append(_stage(case, ledger, failed, stage, pods, room))
        room = max(room - len(pods), 0)
    return made


def _stage(
    case: Case,
    ledger: Ledger,
    failed: Collection[UnitKey],
    stage: ResolvedStage,
    pods: Sequence[PodRecord],
    room: int,
) -> StageStatus:
    now = rfc3339(case.seen.now)
    old = next((kept for kept in case.seen.status.stages if kept.name == stage.name), StageStatus(name=stage.name))
    done = IndexSet(item for where, item in case.done if where == stage.index)
    lost = IndexSet(item for where, item in failed if where == stage.index)
    whole = len(done) + len(lost) == len(stage.units)
    return StageStatus(
        name=stage.name,
        total=len(stage.units),
        succeeded=str(done),
        failed=str(lost),
        failures=ledger.failures_of(stage.index),
        digest=stage.digest,
        active=[_active_pod(pod, case.resolved) for pod in pods[:room]],
        started=old.started or (now if pods or done or lost else None),
        finished=(old.finished or now) if whole else None,
    )


def _active_pod(pod: PodRecord, resolved: ResolvedJob) -> ActivePod:
    indexes = (resolved.index_of[item] for item in pod.units if item in resolved.index_of)
    return ActivePod(
        pod=pod.name,
        uid=pod.uid,
        units=str(IndexSet(indexes)),
        attempt=pod.attempt,
        since=rfc3339(pod.started or pod.created),
    )


def _times(case: Case, status: JobStatus, ended: bool) -> Times:
    now, before = rfc3339(case.seen.now), case.seen.status
    moved = (status.units, status.recorded, status.counters) != (before.units, before.recorded, before.counters)
    return Times(
        started=before.time.started or now,
        last_activity=now if moved else before.time.last_activity,
        finished=(before.time.finished or now) if ended else None,
    )
