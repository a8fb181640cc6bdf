"""What waits for a person: each reason is a small function, and the first that fits stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from carryon_core.actions import VANISHED
from carryon_core.status import JobStatus, StageStatus
from carryon_operator.plan.case import Case
from carryon_operator.plan.made import unedited
from carryon_operator.plan.model import PERSON_NEEDED, Observation, PodRecord

UNSCHEDULABLE: Final = "Unschedulable"
PATIENCE: Final = 60.0
"""Seconds that nothing can be scheduled before a person is told: an autoscaler may bring a node meanwhile."""
_FEW: Final = 3
"""Finished units that may vanish without anybody being asked: they are just made again."""
_MESSAGE: Final = 400
INDEX_SETS_MOST: Final = 1_200_000
"""Characters of all index sets in a status: etcd takes 1.5 MiB, spec and managedFields included."""

Stall = tuple[str, str]
"""Reason and sentence."""


def vanished(case: Case) -> Stall | None:
    """Make sure that a listing which lost more than half of what was done starts nothing: is it the right bucket?"""
    seen = case.seen
    stages = {stage.name: stage for stage in case.job.stages}
    known = lost = 0
    for kept in seen.status.stages:
        if kept.name in stages:
            # What was edited since is not lost.
            units = list(unedited(case, kept, stages[kept.name]))
            known += len(units)
            lost += sum(unit not in case.standing.outcomes for unit in units)
    if lost < _FEW or lost * 2 <= known:
        return None
    return VANISHED, (
        f"the bucket no longer shows {lost} of {known} units that were done, so nothing is launched: if it is the right"
        f" bucket and they are gone, have them made again with: carryon resume {seen.name}"
    )


def too_long(status: JobStatus) -> Stall | None:
    """Make sure that a status no API server would take is not what ends a job."""
    length = sum(len(part) for stage in status.stages for part in _index_sets(stage))
    if length <= INDEX_SETS_MOST:
        return None
    return "StatusTooLarge", (
        f"which units are done takes {length >> 10} KiB to write down, and status has room for"
        f" {INDEX_SETS_MOST >> 10}: split the items into several jobs; what is done stays done"
    )


def _index_sets(stage: StageStatus) -> Iterator[str]:
    yield from (stage.succeeded, stage.skipped, stage.failed, stage.permanent, stage.marks)
    yield from stage.failures.values()
    yield from stage.fruitless.values()
    yield from stage.images.values()


def stalled(seen: Observation, active: Sequence[PodRecord], spent: float) -> Stall | None:
    """Why a job that is not suspended gets no further without a person."""
    return _limit(seen, spent) or _refused(seen, active) or _broken_pods(active) or _no_room(seen, active)


def over_budget(seen: Observation, spent: float) -> bool:
    """Whether a job has used up its GPU seconds."""
    limit = seen.spec.limits.gpu_seconds if seen.spec else None
    return limit is not None and spent >= limit


def moments(active: Sequence[PodRecord]) -> list[float]:
    """When to look again at pods that wait for room."""
    return [pod.waiting.since + PATIENCE for pod in active if pod.waiting is not None and _unplaced(pod)]


def in_vain(pod: PodRecord) -> bool:
    """Whether a pod waits for what only somebody can bring about."""
    return pod.waiting is not None and pod.waiting.reason in PERSON_NEEDED


def _limit(seen: Observation, spent: float) -> Stall | None:
    if not over_budget(seen, spent):
        return None
    assert seen.spec is not None
    limit = seen.spec.limits.gpu_seconds
    return "GpuSecondsUsed", f"spec.limits.gpuSeconds is reached ({int(spent)} of {limit}): raise it to let pods start"


def _refused(seen: Observation, active: Sequence[PodRecord]) -> Stall | None:
    # A quota that other pods of this job fill is full, not in the way.
    if seen.refused is None or (seen.refusal == "QuotaExceeded" and any(pod.started is not None for pod in active)):
        return None
    return seen.refusal, f"the API server takes no pod: {seen.refused}"


def _broken_pods(active: Sequence[PodRecord]) -> Stall | None:
    broken = [pod for pod in active if in_vain(pod) and not _unplaced(pod)]
    if not broken:
        return None
    waiting = broken[0].waiting
    assert waiting is not None
    count = Counter(pod.waiting.reason for pod in broken if pod.waiting)[waiting.reason]
    pods = f'pod "{broken[0].name}" cannot' if count == 1 else f'{count} pods, such as "{broken[0].name}", cannot'
    return waiting.reason, f"{pods} start: {waiting.message[:_MESSAGE] or waiting.reason}"


def _no_room(seen: Observation, active: Sequence[PodRecord]) -> Stall | None:
    if not active or not all(map(_unplaced, active)):
        return None
    first = min((pod for pod in active if pod.waiting), key=lambda pod: pod.waiting.since if pod.waiting else 0.0)
    assert first.waiting is not None
    if seen.now < first.waiting.since + PATIENCE:
        return None
    return UNSCHEDULABLE, f"no node takes the pods: {first.waiting.message[:_MESSAGE] or 'the scheduler says no more'}"


def _unplaced(pod: PodRecord) -> bool:
    return pod.waiting is not None and pod.waiting.reason == UNSCHEDULABLE
