"""The status of a job: counts, index sets and times, as they come out of a decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from carryon_core.done import Outcome
from carryon_core.ranges import IndexSet
from carryon_core.resolved import ResolvedStage
from carryon_core.status import (
    ACTIVE_SHOWN,
    FAILURES_SHOWN,
    ActivePod,
    ItemsStatus,
    JobStatus,
    Resolved,
    StageStatus,
    Times,
    UnitCounts,
)
from carryon_operator.plan import requests
from carryon_operator.plan.case import Case
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.counting import Tally
from carryon_operator.plan.images import Images
from carryon_operator.plan.ledger import Ledger, failures_of, fruitless_of, marks_of
from carryon_operator.plan.made import blocks_of
from carryon_operator.plan.model import PodRecord


def report(case: Case, ledger: Ledger, tally: Tally, images: Images, active: Sequence[PodRecord]) -> JobStatus:
    """The status, but for conditions, sentences and the clock.

    Args:
        case: What the decision rests on.
        ledger: Attempts used.
        tally: What was counted now.
        images: That began units.
        active: Pods at work.
    """
    seen, job, before = case.seen, case.job, case.seen.status
    done = case.standing.outcomes
    status = before.model_copy(
        update={
            "observed_generation": seen.generation,
            "units": UnitCounts(
                total=job.total,
                succeeded=len(done),
                failed=len(case.failed),
                active=len(case.busy(active).difference(done, case.failed)),
                remaining=case.remaining,
                outcomes=dict(sorted(Counter(outcome.value for outcome in done.values()).items())),
            ),
            "items": ItemsStatus(count=len(job.ids), digest=job.items_digest, variant=job.variant, source=seen.source),
            "stages": _stages(case, ledger, images, active),
            "counters": tally.added_to(before.counters).model_copy(update={"round": ledger.round}),
            "recorded": list(tally.recorded),
            "recent_failures": [*reversed(tally.failures), *before.recent_failures][:FAILURES_SHOWN],
            "handled": requests.handled(seen),
            "gpu_seconds": tally.account.added_to(before.gpu_seconds),
            # What a spec says needs no echo; what was filled in stays fixed for this job.
            "resolved": Resolved(output=None if case.spec.output else before.resolved.output or seen.output),
        }
    )
    return status.model_copy(update={"time": _times(case, status)})


def _stages(case: Case, ledger: Ledger, images: Images, active: Sequence[PodRecord]) -> list[StageStatus]:
    done: dict[int, list[int]] = {}
    skipped: dict[int, list[int]] = {}
    failed: dict[int, list[int]] = {}
    permanent: dict[int, list[int]] = {}
    for (where, item), outcome in case.standing.outcomes.items():
        done.setdefault(where, []).append(item)
        if outcome is not Outcome.GENERATED:
            skipped.setdefault(where, []).append(item)
    for where, item in case.failed:
        failed.setdefault(where, []).append(item)
    for where, item in ledger.permanent.intersection(case.failed):
        permanent.setdefault(where, []).append(item)
    room, busy = ACTIVE_SHOWN, case.busy(active)
    made = []
    for stage in case.job.stages:
        pods = sorted((pod for pod in active if pod.stage == stage.name), key=lambda pod: (pod.created, pod.name))
        sets = tuple(IndexSet(each.get(stage.index, ())) for each in (done, skipped, failed, permanent))
        shown = _stage(case, ledger, stage, sets, pods, room)
        made.append(shown.model_copy(update={"images": images.shown(stage.index, busy)}))
        room = max(room - len(pods), 0)
    return made


def _stage(
    case: Case,
    ledger: Ledger,
    stage: ResolvedStage,
    sets: tuple[IndexSet, ...],
    pods: Sequence[PodRecord],
    room: int,
) -> StageStatus:
    now = rfc3339(case.seen.now)
    old = next((kept for kept in case.seen.status.stages if kept.name == stage.name), StageStatus(name=stage.name))
    done, skipped, failed, permanent = sets
    whole = len(done) + len(failed) == len(stage.units)
    return StageStatus(
        name=stage.name,
        total=len(stage.units),
        succeeded=str(done),
        skipped=str(skipped),
        failed=str(failed),
        permanent=str(permanent),
        made=blocks_of(case.job, stage, done - skipped),
        failures=failures_of(ledger, stage.index),
        fruitless=fruitless_of(ledger, stage.index),
        marks=marks_of(ledger, case.job, stage.index),
        digest=stage.digest,
        active=[_active_pod(pod, case, stage) for pod in pods[:room]],
        started=old.started or (now if pods or done or failed else None),
        finished=(old.finished or now) if whole else None,
    )


def _active_pod(pod: PodRecord, case: Case, stage: ResolvedStage) -> ActivePod:
    indexes = (case.job.item_index(stage.index, item) for item in pod.units)
    return ActivePod(
        pod=pod.name,
        uid=pod.uid,
        units=str(IndexSet(index for index in indexes if index is not None)),
        attempt=pod.attempt,
        since=rfc3339(pod.started or pod.created),
    )


def _times(case: Case, status: JobStatus) -> Times:
    now, before = rfc3339(case.seen.now), case.seen.status
    moved = (status.units, status.recorded, status.counters) != (before.units, before.recorded, before.counters)
    return before.time.model_copy(
        update={
            "started": before.time.started or now,
            "last_activity": now if moved else before.time.last_activity,
        }
    )
