"""The decision about one job: missing = wanted - done, and what follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from carryon_core import names
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import (
    ACTIVE_SHOWN,
    FAILURES_SHOWN,
    MESSAGE_LONGEST,
    ActivePod,
    ConditionType,
    Handled,
    ItemsStatus,
    JobStatus,
    RecentFailure,
    Resolved,
    StageStatus,
    Times,
    UnitCounts,
)
from carryon_operator.plan import conditions, launch, summary
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.ledger import Ledger, open_ledger
from carryon_operator.plan.model import Event, Observation, Plan, PodCreate, PodDelete, PodRecord, UnitKey
from carryon_operator.plan.verdicts import Verdict, judge

DEAD_AFTER: Final = 60.0
"""Seconds past the end of its deletion grace after which a pod blocks no slot: its node is taken for dead."""


@dataclass
class _Tally:
    """What the ends of pods add to status, while one decision is made."""

    recorded: list[str] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    failures: list[RecentFailure] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    retry_at: dict[str, float] = field(default_factory=dict)


def decide(seen: Observation) -> Plan:
    """What to do about a job now."""
    spec, resolved = seen.spec, seen.resolved
    # Make sure that a job that can't be understood changes nothing: its running pods finish.
    if seen.problem is not None or spec is None or resolved is None:
        return _refused(seen)
    # Make sure that an outage of the bucket is never read as a verdict.
    if seen.outage is not None:
        return _waiting(seen, resolved)
    # Make sure that an ended job stays as it is until somebody asks for more.
    if is_over(seen):
        return Plan(status=_settled(seen), delete=_leftovers(seen))

    tally = _Tally(retry_at=dict(seen.retry_at))
    ledger = open_ledger(seen, resolved)
    requested = _resume_requested(seen, ledger, tally)

    done = {(u.stage, u.item) for u in resolved.units() if u.fingerprint in seen.done}
    ledger.forget(done)
    _count_ended(seen, spec, resolved, ledger, done, tally)
    _count_vanished(seen, tally)
    failed = _failed(resolved, ledger, done)

    active = [pod for pod in seen.pods if not pod.terminal and not _dead(pod, seen.now)]
    unwanted = [pod for pod in active if spec.suspend or not _useful(pod, resolved, done)]
    tally.recorded += [pod.uid for pod in unwanted if pod.uid not in tally.recorded]

    remaining = resolved.total - len(done) - len(failed)
    ended = remaining == 0 and not active
    if ended and not seen.swept:
        return Plan(status=seen.status, sweep=True, retry_at=tally.retry_at)

    suspension = summary.Suspension.NONE if ended else _suspension(seen, spec, active, tally, requested)
    create: tuple[PodCreate, ...] = ()
    if not spec.suspend and remaining:
        busy = _busy(resolved, active)
        ready = launch.ready(resolved, done, failed, busy, tally.retry_at, seen.now)
        slots = max(spec.parallelism - len(active), 0)
        create = launch.pods_for(resolved, spec, seen.uid, ready, slots, ledger.attempts, seen.pods)

    status = _status(seen, spec, resolved, ledger, done, failed, active, tally)
    claims = summary.claims(
        spec, status, ended=ended, suspension=suspension, waiting=_waiting_units(resolved, tally.retry_at, seen.now)
    )
    status = status.model_copy(
        update={
            "conditions": conditions.update(seen.status, claims, seen.generation, seen.now),
            "time": _times(seen, status, ended),
        }
    )
    status = summary.summarise(seen.name, spec, status)
    if ended and not conditions.holds(seen.status, ConditionType.FINISHED):
        tally.events.append(summary.farewell(status))
    return Plan(
        status=status,
        create=create,
        delete=tuple(
            PodDelete(pod.name, pod.uid) for pod in seen.pods if pod.uid in status.recorded and pod.gone_by is None
        ),
        discard=tuple(seen.invalid.values()),
        events=tuple(tally.events),
        wake_at=_wake_at(seen, tally),
        retry_at={fingerprint: at for fingerprint, at in tally.retry_at.items() if at > seen.now},
    )


def _refused(seen: Observation) -> Plan:
    """A job that can't be carried out as written: say so, launch and delete nothing."""
    reason, message = seen.problem or ("InvalidSpec", "the spec can't be read")
    claims = {
        ConditionType.ACCEPTED: (False, reason, message),
        ConditionType.PROGRESSING: (False, "NotAccepted", message),
    }
    kept = [c for c in seen.status.conditions if c.type not in claims]
    made = conditions.update(seen.status, claims, seen.generation, seen.now)
    status = seen.status.model_copy(
        update={"conditions": made + kept, "observed_generation": seen.generation, "message": message[:MESSAGE_LONGEST]}
    )
    return Plan(status=summary.refused(seen.name, status), retry_at=seen.retry_at)


def _waiting(seen: Observation, resolved: ResolvedJob) -> Plan:
    """The bucket can't be asked: nothing is counted, launched or deleted until it answers."""
    message = f"the bucket can't be reached, so nothing is launched: {seen.outage}"
    claims = {
        ConditionType.ACCEPTED: (True, "Accepted", summary.accepted(resolved.total, len(resolved.stages))),
        ConditionType.PROGRESSING: (False, "BucketUnreachable", message),
    }
    kept = [c for c in seen.status.conditions if c.type not in claims]
    made = conditions.update(seen.status, claims, seen.generation, seen.now)
    status = seen.status.model_copy(update={"conditions": made + kept, "message": message[:MESSAGE_LONGEST]})
    return Plan(status=summary.with_phase(status), retry_at=seen.retry_at)


def is_over(seen: Observation) -> bool:
    """The job ended, and nothing was edited or asked for since."""
    return (
        conditions.holds(seen.status, ConditionType.FINISHED)
        and seen.status.observed_generation == seen.generation
        and not seen.resume_requested
        and seen.status.items.digest == (seen.resolved.items_digest if seen.resolved else "")
    )


def _settled(seen: Observation) -> JobStatus:
    """Status of an ended job: only the UIDs of pods that are gone are struck out."""
    present = {pod.uid for pod in seen.pods}
    late = [pod.uid for pod in seen.pods if pod.uid not in seen.status.recorded]
    return seen.status.model_copy(update={"recorded": [u for u in seen.status.recorded if u in present] + late})


def _leftovers(seen: Observation) -> tuple[PodDelete, ...]:
    return tuple(PodDelete(pod.name, pod.uid) for pod in seen.pods if pod.gone_by is None)


def _resume_requested(seen: Observation, ledger: Ledger, tally: _Tally) -> bool:
    """Act on a new request to resume: units that failed for good get a new budget, and nothing is delayed."""
    if not seen.resume_requested:
        return False
    ledger.forgive()
    tally.retry_at.clear()
    return True


def _count_ended(
    seen: Observation,
    spec: JobSpec,
    resolved: ResolvedJob,
    ledger: Ledger,
    done: set[UnitKey],
    tally: _Tally,
) -> None:
    """Count the verdict of every pod that ended and was not counted yet."""
    stages = {stage.name: stage for stage in resolved.stages}
    present = {pod.uid for pod in seen.pods}
    tally.recorded = [uid for uid in seen.status.recorded if uid in present]
    ended = [pod for pod in seen.pods if pod.terminal and pod.uid not in tally.recorded]
    for pod in sorted(ended, key=lambda pod: (pod.finished or seen.now, pod.attempt)):
        tally.recorded.append(pod.uid)
        stage = stages.get(pod.stage)
        wanted = _wanted(pod, resolved)
        if stage is None or not wanted:
            continue
        made = {item for item, index in wanted.items() if (stage.index, index) in done}
        verdict = judge(pod, made | (set(pod.units) - set(wanted)))
        _count(seen, spec, resolved, ledger, tally, pod, stage.index, wanted, verdict)


def _count(
    seen: Observation,
    spec: JobSpec,
    resolved: ResolvedJob,
    ledger: Ledger,
    tally: _Tally,
    pod: PodRecord,
    stage: int,
    wanted: Mapping[str, int],
    verdict: Verdict,
) -> None:
    if verdict.disrupted:
        tally.counters["disruptions"] += 1
        tally.events.append(Event("Normal", "Disrupted", f"pod {pod.name} was disrupted; its units carry on"))
    for failure in verdict.failures:
        unit = resolved.unit(stage, wanted[failure.item])
        used = ledger.charge((stage, unit.item), budget=spec.retry.per_unit, permanent=failure.permanent)
        ended = pod.finished or seen.now
        tally.retry_at[unit.fingerprint] = ended + launch.delay(spec.retry.backoff, used, unit.fingerprint)
        tally.counters["failures"] += 1
        tally.failures.append(
            RecentFailure(
                stage=pod.stage,
                unit=failure.item,
                reason=failure.reason,
                message=failure.message[:MESSAGE_LONGEST],
                attempt=pod.attempt,
                time=rfc3339(ended),
            )
        )
        given_up = (stage, unit.item) in ledger.given_up
        what = "failed for good" if given_up else f"failed, attempt {used} of {spec.retry.per_unit}"
        # Messages of generators may quote prompts, and Events are read by more people than the job is.
        tally.events.append(
            Event("Warning", "UnitFailed", f'stage "{pod.stage}", item "{failure.item}": {what} ({failure.reason})')
        )


def _count_vanished(seen: Observation, tally: _Tally) -> None:
    """A pod that was at work and is gone without having been counted was disrupted."""
    present = {pod.uid for pod in seen.pods}
    for stage in seen.status.stages:
        for pod in stage.active:
            if pod.uid not in present and pod.uid not in seen.status.recorded:
                tally.counters["disruptions"] += 1
                tally.events.append(Event("Normal", "Disrupted", f"pod {pod.pod} vanished; its units carry on"))


def _failed(resolved: ResolvedJob, ledger: Ledger, done: set[UnitKey]) -> set[UnitKey]:
    """Units that failed for good, by themselves or because one upstream did."""
    failed = set(ledger.given_up)
    pending = list(resolved.stages)
    while pending:
        stage = pending.pop(0)
        if any(resolved.stages[before] in pending for before in stage.after):
            pending.append(stage)
            continue
        for before in stage.after:
            failed |= {
                (stage.index, item)
                for where, item in list(failed)
                if where == before and (stage.index, item) not in done
            }
    return failed


def _dead(pod: PodRecord, now: float) -> bool:
    return pod.gone_by is not None and now > pod.gone_by + DEAD_AFTER


def _wanted(pod: PodRecord, resolved: ResolvedJob) -> dict[str, int]:
    """Item id -> index, of the units a pod was given that are still to be made just so."""
    stage = next((stage for stage in resolved.stages if stage.name == pod.stage), None)
    if stage is None:
        return {}
    pairs = (
        (item, resolved.index_of.get(item), print_) for item, print_ in zip(pod.units, pod.fingerprints, strict=False)
    )
    return {item: at for item, at, print_ in pairs if at is not None and stage.units[at].fingerprint == print_}


def _useful(pod: PodRecord, resolved: ResolvedJob, done: set[UnitKey]) -> bool:
    """Whether a pod at work has a unit to make that is still wanted and not done."""
    index = next((stage.index for stage in resolved.stages if stage.name == pod.stage), -1)
    return any((index, at) not in done for at in _wanted(pod, resolved).values())


def _busy(resolved: ResolvedJob, active: list[PodRecord]) -> set[UnitKey]:
    index_of = {stage.name: stage.index for stage in resolved.stages}
    return {
        (index_of[pod.stage], resolved.index_of[item])
        for pod in active
        if pod.stage in index_of
        for item in pod.units
        if item in resolved.index_of
    }


def _suspension(
    seen: Observation, spec: JobSpec, active: list[PodRecord], tally: _Tally, requested: bool
) -> summary.Suspension:
    """Where the job is between running and suspended; the way there and back is counted once each."""
    before = conditions.find(seen.status, ConditionType.SUSPENDED)
    was = before is not None and before.reason in ("Suspended", "Suspending")
    if spec.suspend:
        if not was and before is not None:
            tally.counters["suspensions"] += 1
            tally.events.append(
                Event("Normal", "Suspending", f"suspended; {summary.counted(len(active), 'pod')} to stop")
            )
        return summary.Suspension.STOPPING if active else summary.Suspension.SUSPENDED
    if was or requested:
        tally.counters["resumes"] += 1
        tally.events.append(Event("Normal", "Resumed", "resumed; what is missing is made"))
    return summary.Suspension.NONE


def _waiting_units(resolved: ResolvedJob, retry_at: Mapping[str, float], now: float) -> int:
    return sum(retry_at.get(unit.fingerprint, 0.0) > now for unit in resolved.units()) if retry_at else 0


def _status(
    seen: Observation,
    spec: JobSpec,
    resolved: ResolvedJob,
    ledger: Ledger,
    done: set[UnitKey],
    failed: set[UnitKey],
    active: list[PodRecord],
    tally: _Tally,
) -> JobStatus:
    before = seen.status
    shown = ACTIVE_SHOWN
    stages = []
    for stage in resolved.stages:
        old = next((kept for kept in before.stages if kept.name == stage.name), StageStatus(name=stage.name))
        made = IndexSet(item for where, item in done if where == stage.index)
        lost = IndexSet(item for where, item in failed if where == stage.index)
        pods = sorted((pod for pod in active if pod.stage == stage.name), key=lambda pod: (pod.created, pod.name))
        listed = [_active_pod(pod, resolved) for pod in pods[: max(shown, 0)]]
        shown -= len(listed)
        whole = len(made) + len(lost) == len(stage.units)
        started = old.started or (rfc3339(seen.now) if pods or made or lost else None)
        stages.append(
            StageStatus(
                name=stage.name,
                total=len(stage.units),
                succeeded=str(made),
                failed=str(lost),
                failures=ledger.failures_of(stage.index),
                digest=stage.digest,
                active=listed,
                started=started,
                finished=(old.finished or rfc3339(seen.now)) if whole else None,
            )
        )
    counters = before.counters.model_dump()
    counted = before.counters.model_copy(update={key: counters[key] + n for key, n in tally.counters.items()})
    working = len(_busy(resolved, active) - done - failed)
    return before.model_copy(
        update={
            "observed_generation": seen.generation,
            "units": UnitCounts(
                total=resolved.total,
                succeeded=len(done),
                failed=len(failed),
                active=working,
                remaining=resolved.total - len(done) - len(failed),
            ),
            "items": ItemsStatus(count=len(resolved.ids), digest=resolved.items_digest),
            "stages": stages,
            "counters": counted,
            "recorded": tally.recorded,
            "recent_failures": [*reversed(tally.failures), *before.recent_failures][:FAILURES_SHOWN],
            "handled": Handled(resume=seen.annotations.get(names.ANNOTATION_RESUME) or before.handled.resume),
            "resolved": Resolved(output=before.resolved.output or seen.output),
        }
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


def _times(seen: Observation, status: JobStatus, ended: bool) -> Times:
    before = seen.status
    moved = (status.units, status.recorded, status.counters) != (before.units, before.recorded, before.counters)
    return before.time.model_copy(
        update={
            "started": before.time.started or rfc3339(seen.now),
            "last_activity": rfc3339(seen.now) if moved else before.time.last_activity,
            "finished": (before.time.finished or rfc3339(seen.now)) if ended else None,
        }
    )


def _wake_at(seen: Observation, tally: _Tally) -> float | None:
    """The next moment at which something changes without an event: a delay ends, or a pod is taken for dead."""
    moments = [at for at in tally.retry_at.values() if at > seen.now]
    moments += [pod.gone_by + DEAD_AFTER for pod in seen.pods if pod.gone_by is not None and not pod.terminal]
    return min((at for at in moments if at > seen.now), default=None)
