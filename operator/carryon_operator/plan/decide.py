"""The decision about one job: missing = wanted - done, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import MESSAGE_LONGEST, ConditionType, JobStatus
from carryon_operator.plan import conditions, launch, summary
from carryon_operator.plan.counting import DEAD_AFTER, Case, Tally, count, is_dead, open_tally
from carryon_operator.plan.ledger import Ledger, open_ledger
from carryon_operator.plan.model import Event, Observation, Plan, PodCreate, PodDelete, PodRecord, UnitKey
from carryon_operator.plan.report import busy_units, report


def decide(seen: Observation) -> Plan:
    """What to do about a job now."""
    spec, resolved = seen.spec, seen.resolved
    # Make sure that a job that can't be understood changes nothing: its running pods finish.
    if seen.problem is not None or spec is None or resolved is None:
        return _refused(seen)
    # Make sure that an outage of the bucket is never read as a verdict.
    if seen.outage is not None:
        return _without_bucket(seen, spec, resolved)
    # Make sure that an ended job stays as it is until somebody asks for more.
    if is_over(seen):
        return _at_rest(seen)

    done = frozenset((u.stage, u.item) for u in resolved.units() if u.fingerprint in seen.done)
    case = Case(seen, spec, resolved, done)
    ledger, tally = open_ledger(seen, spec, resolved), open_tally(seen)
    ledger.forget(done)
    count(case, ledger, tally)
    if seen.resume_request is not None:
        ledger.forgive()
        tally.retry_at.clear()
    failed = _failed(resolved, ledger, done)

    active = _at_work(seen)
    for pod in active:
        # Make sure that only pods with something to make go on.
        if spec.suspend or done.issuperset(case.wanted(pod)):
            tally.record(pod)
    remaining = resolved.total - len(done) - len(failed)
    ended = remaining == 0 and not active
    # Make sure that nothing vanished behind our back before a job is called ended.
    if ended and not seen.swept:
        return Plan(status=seen.status, sweep=True, retry_at=seen.retry_at)

    suspension = summary.Suspension.NONE if ended else _turn(seen, spec, active, tally)
    create = _launches(case, ledger, tally, failed, active) if remaining and not spec.suspend else ()
    status = report(case, ledger, tally, failed, active, ended=ended)
    waiting = sum(tally.retry_at.get(unit.fingerprint, 0.0) > seen.now for unit in resolved.units())
    claims = summary.claims(spec, status, ended=ended, suspension=suspension, waiting=waiting, refused=seen.refused)
    status = summary.summarise(seen.name, spec, _with(status, seen, claims))
    if ended and not conditions.holds(seen.status, ConditionType.FINISHED):
        tally.events.append(summary.farewell(status))
    return Plan(
        status=status,
        create=create,
        delete=_deletes(seen, status),
        discard=tuple(seen.invalid.values()),
        events=tuple(tally.events),
        wake_at=_wake_at(seen, tally),
        retry_at={fingerprint: at for fingerprint, at in tally.retry_at.items() if at > seen.now},
    )


def is_over(seen: Observation) -> bool:
    """Whether the job ended, and nothing was edited or asked for since."""
    return (
        conditions.holds(seen.status, ConditionType.FINISHED)
        and conditions.holds(seen.status, ConditionType.ACCEPTED)
        and seen.status.observed_generation == seen.generation
        and seen.resume_request is None
        and seen.status.items.digest == (seen.resolved.items_digest if seen.resolved else "")
    )


def _refused(seen: Observation) -> Plan:
    """A job that can't be carried out as written: say so, launch and delete nothing."""
    reason, message = seen.problem or ("InvalidSpec", "the spec can't be read")
    claims = {
        ConditionType.ACCEPTED: (False, reason, message),
        ConditionType.PROGRESSING: (False, "NotAccepted", message),
    }
    told = {"observed_generation": seen.generation, "message": message[:MESSAGE_LONGEST]}
    status = _with(seen.status.model_copy(update=told), seen, claims)
    return Plan(status=summary.refused(seen.name, status), retry_at=seen.retry_at)


def _without_bucket(seen: Observation, spec: JobSpec, resolved: ResolvedJob) -> Plan:
    """The bucket can't be asked: nothing is counted or launched until it answers; suspending still frees the GPU."""
    message = f"nothing is launched until the bucket answers: {seen.outage}"
    claims: dict[ConditionType, tuple[bool, str, str]] = {
        ConditionType.ACCEPTED: (True, "Accepted", summary.accepted(resolved.total, len(resolved.stages))),
        ConditionType.PROGRESSING: (False, "BucketUnreachable", message),
    }
    # UIDs of pods that are gone stay, as long as the list of active pods that they belong to does.
    tally = Tally(list(seen.status.recorded), dict(seen.retry_at))
    if spec.suspend:
        active = _at_work(seen)
        for pod in active:
            tally.record(pod)
        claims[ConditionType.SUSPENDED] = summary.suspended(_turn(seen, spec, active, tally))
    counted = seen.status.counters.suspensions + tally.counters["suspensions"]
    told = {
        "message": message[:MESSAGE_LONGEST],
        "recorded": tally.recorded,
        "counters": seen.status.counters.model_copy(update={"suspensions": counted}),
    }
    status = summary.with_phase(_with(seen.status.model_copy(update=told), seen, claims))
    delete = _deletes(seen, status) if spec.suspend else ()
    return Plan(status=status, delete=delete, events=tuple(tally.events), retry_at=seen.retry_at)


def _at_rest(seen: Observation) -> Plan:
    """An ended job: pods that are left or came late are recorded and deleted, UIDs of those gone are struck out."""
    tally = open_tally(seen)
    for pod in seen.pods:
        tally.record(pod)
    status = seen.status.model_copy(update={"recorded": tally.recorded})
    return Plan(status=status, delete=_deletes(seen, status))


def _at_work(seen: Observation) -> list[PodRecord]:
    """Pods that have not ended, and whose nodes were not given up."""
    return [pod for pod in seen.pods if not pod.terminal and not is_dead(pod, seen.now)]


def _failed(resolved: ResolvedJob, ledger: Ledger, done: Collection[UnitKey]) -> set[UnitKey]:
    """Units that failed for good, by themselves or because one upstream did."""
    failed = set(ledger.given_up)
    for stage in sorted(resolved.stages, key=lambda stage: stage.depth):
        for before in stage.after:
            downstream = {(stage.index, item) for where, item in failed if where == before}
            failed |= downstream.difference(done)
    return failed


def _launches(
    case: Case, ledger: Ledger, tally: Tally, failed: Collection[UnitKey], active: Sequence[PodRecord]
) -> tuple[PodCreate, ...]:
    """Pods for what is missing and may start, as far as slots are free."""
    seen, resolved = case.seen, case.resolved
    ready = launch.ready(resolved, case.done, failed, busy_units(resolved, active), tally.retry_at, seen.now)
    slots = max(case.spec.parallelism - len(active), 0)
    return launch.pods_for(resolved, case.spec, seen.uid, ready, slots, ledger.attempts, seen.pods)


def _turn(seen: Observation, spec: JobSpec, active: Sequence[PodRecord], tally: Tally) -> summary.Suspension:
    """Where the job is between running and suspended; the way there and the way back are counted, once each."""
    before = conditions.find(seen.status, ConditionType.SUSPENDED)
    was = before is not None and before.reason in ("Suspended", "Suspending")
    if spec.suspend:
        if before is not None and not was:
            tally.counters["suspensions"] += 1
            told = f"suspended; {summary.counted(len(active), 'pod')} to stop"
            tally.events.append(Event("Normal", "Suspending", told))
        return summary.Suspension.STOPPING if active else summary.Suspension.SUSPENDED
    if was or seen.resume_request is not None:
        tally.counters["resumes"] += 1
        tally.events.append(Event("Normal", "Resumed", "resumed; what is missing is made"))
    return summary.Suspension.NONE


def _with(status: JobStatus, seen: Observation, claims: conditions.Claims) -> JobStatus:
    """A status in which these claims hold; conditions that they say nothing about stay."""
    kept = [condition for condition in seen.status.conditions if condition.type not in claims]
    made = conditions.update(seen.status, claims, seen.generation, seen.now)
    return status.model_copy(update={"conditions": made + kept})


def _deletes(seen: Observation, status: JobStatus) -> tuple[PodDelete, ...]:
    """Pods that are counted, or whose end is not to be counted."""
    recorded = set(status.recorded)
    return tuple(PodDelete(pod.name, pod.uid) for pod in seen.pods if pod.uid in recorded and pod.gone_by is None)


def _wake_at(seen: Observation, tally: Tally) -> float | None:
    """The next moment at which something changes without an event: a delay ends, or a pod is taken for dead."""
    moments = [*tally.retry_at.values()]
    moments += [pod.gone_by + DEAD_AFTER for pod in seen.pods if pod.gone_by is not None and not pod.terminal]
    return min((at for at in moments if at > seen.now), default=None)
