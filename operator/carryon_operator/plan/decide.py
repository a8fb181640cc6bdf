"""The decision about one job: missing = wanted - done, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from carryon_core.actions import counted
from carryon_core.status import FAILURES_SHOWN, MESSAGE_LONGEST, ConditionType, JobStatus, RecentFailure
from carryon_operator.plan import clock, conditions, launch, requests, stalls, summary
from carryon_operator.plan.case import Case, open_case
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.counting import DEAD_AFTER, Tally, cost, count, is_dead, open_tally
from carryon_operator.plan.failing import broken, failed_units
from carryon_operator.plan.ledger import Ledger, open_ledger
from carryon_operator.plan.model import Event, Observation, Plan, PodDelete, PodRecord
from carryon_operator.plan.report import report
from carryon_operator.plan.summary import RESUMING, Ending, Situation, Suspension

KEPT_FAILED: Final = 3
"""Pods of failed attempts that stay for `kubectl logs`; what they logged last lies in the bucket too."""
CANCEL_GRACE: Final = 1
"""Seconds that pods of a cancelled job have; 0 would take them off the API server before they ended."""
_GRACE_SLACK: Final = 2.0
"""Seconds by which a pod's end may be later than asked for before it is asked again."""


def decide(seen: Observation) -> Plan:
    """What to do about a job now."""
    spec, resolved = seen.spec, seen.resolved
    # Make sure that a job that can't be understood changes nothing: its running pods finish.
    if seen.problem is not None or spec is None or resolved is None:
        return _refused(seen)
    # Make sure that an outage of the bucket is never read as a verdict.
    if seen.outage is not None:
        told = f"nothing is launched until the bucket answers: {seen.outage}"
        return _on_hold(seen, (False, "BucketUnreachable", told))
    # Make sure that an ended job stays as it is until somebody asks for more.
    if is_over(seen):
        return _at_rest(seen)
    case = open_case(seen, spec, resolved)
    # Make sure that a listing that is suddenly half empty is somebody's wish before it costs a GPU.
    if not requests.confirms_loss(seen) and (stall := stalls.vanished(case)) is not None:
        return _on_hold(seen, (False, "Stalled", stall[1]), stall)

    ledger, tally = open_ledger(case), open_tally(seen)
    ledger.forget(case.standing.outcomes)
    count(case, ledger, tally)
    tally.events += requests.resume(seen, ledger, tally.retry_at)
    tally.events += requests.retry(seen, case.job, ledger, tally.retry_at)
    case = case.after(failed_units(case, ledger.given_up))
    _note_missing_files(case, ledger, tally)

    halt = _halt(case, tally)
    active = _at_work(seen)
    for pod in active:
        # Make sure that only pods with something to make go on.
        if halt.everything or _outdated(case, pod):
            tally.stop(seen, pod)
    _restart(seen, active, tally)

    queued = launch.queue(case, ledger, case.busy(active), tally.retry_at)
    idle = not active and not queued.ready and not queued.delayed
    ending = _ending(case, halt, active)
    begin_round = ending is None and not halt.everything and idle and queued.exhausted > 0
    create = () if ending or halt.everything else launch.pods_for(case, ledger, queued.ready, active, seen.pods)
    gathering = any(case.job.stages[wanted.stage].gathers for wanted in create)
    # Make sure that nothing vanished behind our back before a job ends, a round begins, or something is gathered.
    if not seen.swept and (ending in _BY_BUCKET or begin_round or gathering):
        return Plan(status=seen.status, sweep=True, retry_at=seen.retry_at)
    if begin_round:
        exhausted = queued.exhausted
        # A budget that was lowered may take more than one round to come to what was used.
        while queued.exhausted == exhausted and ledger.round < spec.retry.rounds:
            ledger.round += 1
            queued = launch.queue(case, ledger, case.busy(active), tally.retry_at)
        tally.events.append(_round(ledger, exhausted))
        create = launch.pods_for(case, ledger, queued.ready, active, seen.pods)

    suspension = Suspension.NONE if ending else _turn(case, halt, active, tally)
    situation = Situation(
        ending=ending,
        suspension=suspension,
        stopping=halt.why if active else "",
        stall=None if ending or suspension is not Suspension.NONE else stalls.stalled(seen, active, halt.spent),
        moving=any(not stalls.in_vain(pod) for pod in active),
        delayed=queued.delayed,
        awaiting={stage: len(items) for stage, items in queued.unapproved.items()},
        round=ledger.round if any(ledger.extra(unit) for unit in case.busy(active)) else 0,
        stale=seen.stale,
    )
    status = report(case, ledger, tally, active)
    running = ending is None and suspension is Suspension.NONE
    status = _with_clock(status, seen, running=running, anew=running and _anew(case), ended=ending is not None)
    status = _with(status, seen, summary.claims(spec, status, seen.now, situation))
    status = summary.summarise(seen.name, spec, status, _last_failure(case, status))
    if (long := stalls.too_long(status)) is not None:
        return _on_hold(seen, (False, "Stalled", long[1]), long)
    return Plan(
        status=status,
        standing=case.standing,
        create=create,
        delete=_deletes(seen, status, grace=CANCEL_GRACE if spec.cancel else None),
        discard=tuple(seen.invalid.values()),
        tails=tuple(tally.tails),
        events=(*_transitions(seen, status, ending), *tally.told()),
        prune=ending is not None and not conditions.holds(seen.status, ConditionType.FINISHED),
        wake_at=_wake_at(case, status, tally, active, halt),
        retry_at={fingerprint: at for fingerprint, at in tally.retry_at.items() if at > seen.now},
    )


def is_over(seen: Observation) -> bool:
    """Whether the job ended, and nothing was edited or asked for since."""
    return (
        conditions.holds(seen.status, ConditionType.FINISHED)
        and conditions.holds(seen.status, ConditionType.ACCEPTED)
        and seen.status.observed_generation == seen.generation
        and seen.resume_request is None
        and seen.retry_request is None
        and seen.status.items.digest == (seen.resolved.items_digest if seen.resolved else "")
    )


_BY_BUCKET: Final = (Ending.SUCCEEDED, Ending.WITHIN_POLICY, Ending.FAILED)
"""Endings that say what the bucket holds."""


@dataclass(frozen=True)
class _Halt:
    """Whether all pods are to stop, and why.

    Attributes:
        everything: No pod goes on and none is launched.
        held: It is a suspension.
        cancelled: It is for good.
        timed_out: Likewise, because `timeouts.job` is over.
        why: A sentence, where it is no suspension.
        spent: GPU seconds so far.
    """

    everything: bool = False
    held: bool = False
    cancelled: bool = False
    timed_out: bool = False
    why: str = ""
    spent: float = 0.0


def _halt(case: Case, tally: Tally) -> _Halt:
    """A chain: the first reason that fits stands."""
    seen, spec = case.seen, case.spec
    running = sum(cost(seen, pod) for pod in seen.pods if pod.uid not in tally.recorded)
    spent = seen.status.gpu_seconds.useful + seen.status.gpu_seconds.lost + tally.useful + tally.lost + running
    if spec.cancel:
        return _Halt(everything=True, cancelled=True, why="spec.cancel is true; pods are stopping", spent=spent)
    if clock.on_hold(spec, seen.now):
        return _Halt(everything=True, held=True, spent=spent)
    if clock.exhausted(spec, seen.status.time, seen.now) and not _anew(case):
        return _Halt(everything=True, timed_out=True, why="spec.timeouts.job is over; pods are stopping", spent=spent)
    if stalls.over_budget(seen, spent):
        return _Halt(everything=True, why="spec.limits.gpuSeconds is reached; pods are stopping", spent=spent)
    return _Halt(spent=spent)


def _anew(case: Case) -> bool:
    """Whether the clock of the job starts from zero: it had ended in time, or somebody asks for more of it."""
    seen = case.seen
    if _ended_in_time(seen):
        return True
    over = conditions.holds(seen.status, ConditionType.FINISHED)  # Then it was time that ended it.
    over = over or clock.exhausted(case.spec, seen.status.time, seen.now)
    return over and (requests.grants_resume(seen) or requests.grants_retry(seen, case.job))


def _ended_in_time(seen: Observation) -> bool:
    failed = conditions.find(seen.status, ConditionType.FAILED)
    timed_out = failed is not None and failed.status == "True" and failed.reason == Ending.TIMED_OUT
    return conditions.holds(seen.status, ConditionType.FINISHED) and not timed_out


def _ending(case: Case, halt: _Halt, active: Sequence[PodRecord]) -> Ending | None:
    """How the job has ended, None while it has not."""
    if active:
        return None
    if case.remaining == 0:
        if any(broken(case.spec, stage, case.failed) for stage in case.job.stages):
            return Ending.FAILED
        return Ending.WITHIN_POLICY if case.failed else Ending.SUCCEEDED
    if halt.cancelled:
        return Ending.CANCELLED
    return Ending.TIMED_OUT if halt.timed_out else None


def _refused(seen: Observation) -> Plan:
    """A job that can't be carried out as written: say so, launch and delete nothing."""
    reason, message = seen.problem or ("InvalidSpec", "the spec can't be read")
    claims: dict[ConditionType, tuple[bool, str, str]] = {
        ConditionType.ACCEPTED: (False, reason, message),
        ConditionType.PROGRESSING: (False, "NotAccepted", message),
        ConditionType.STALLED: (True, reason, message),
    }
    if _edited(seen):
        claims |= dict.fromkeys(_ENDS, (False, "NotAccepted", message))
    told = {"observed_generation": seen.generation, "message": message[:MESSAGE_LONGEST]}
    status = _with(seen.status.model_copy(update=told), seen, claims)
    return Plan(status=summary.refused(seen.name, status), retry_at=seen.retry_at)


_ENDS: Final = (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED, ConditionType.FINISHED)


def _edited(seen: Observation) -> bool:
    """Whether status is about another generation: how that one ended says nothing about this one."""
    return seen.status.observed_generation != seen.generation


def _on_hold(seen: Observation, progressing: tuple[bool, str, str], stall: stalls.Stall | None = None) -> Plan:
    """Nothing is counted or launched, because the bucket gives no verdict, or one that a person has to look at.

    Suspending and cancelling free the GPUs all the same.
    """
    spec, resolved = seen.spec, seen.resolved
    assert spec is not None
    assert resolved is not None
    tally = open_tally(seen)
    held, active = clock.on_hold(spec, seen.now), _at_work(seen)
    for pod in active if held or spec.cancel else ():
        tally.stop(seen, pod)
    claims: dict[ConditionType, tuple[bool, str, str]] = {ConditionType.PROGRESSING: progressing}
    if resolved.stages:
        claims[ConditionType.ACCEPTED] = (True, "Accepted", summary.accepted(resolved.total, len(resolved.stages)))
    if _edited(seen) or stall is not None:
        claims |= dict.fromkeys(_ENDS, (False, "NotFinished", progressing[2]))
        claims[ConditionType.STALLED] = (False, "NotStalled", "nothing waits for a person")
    if stall is not None:
        claims[ConditionType.STALLED] = (True, *stall)
    ending = Ending.CANCELLED if spec.cancel and not active and _undone(seen, stall) else None
    if ending is not None:
        claims = dict(summary.claims(spec, seen.status, seen.now, Situation(ending=ending, stale=seen.stale)))
    elif not _over(seen, claims):
        claims[ConditionType.SUSPENDED] = _turn_on_hold(seen, active, tally, progressing[2])
    status = _with(_held_status(seen, tally, progressing[2]), seen, claims)
    over = conditions.holds(status, ConditionType.FINISHED)
    running = not (held or spec.cancel or over)
    status = _with_clock(status, seen, running=running, anew=running and _ended_in_time(seen), ended=over)
    if stall is not None:
        if seen.resume_request is not None:
            status = status.model_copy(update={"handled": requests.handled_resume(seen)})
        if seen.resume_request is not None or not conditions.holds(seen.status, ConditionType.STALLED):
            tally.events.append(Event("Warning", *stall))
    if ending is not None:
        status = summary.summarise(seen.name, spec, status)
    else:
        status = summary.with_phase(summary.with_resume(seen.name, spec, status))
    moments = [*_dying(seen), clock.suspended_until(spec, seen.now)]
    return Plan(
        status=status,
        delete=_deletes(seen, status, grace=CANCEL_GRACE if spec.cancel else None),
        events=(*_farewell(seen, status, ending), *tally.told()),
        wake_at=_next(moments, seen.now),
        retry_at=seen.retry_at,
    )


def _over(seen: Observation, claims: conditions.Claims) -> bool:
    """Whether the job has ended, and these claims leave it at that."""
    return conditions.holds(seen.status, ConditionType.FINISHED) and ConditionType.FINISHED not in claims


def _undone(seen: Observation, stall: stalls.Stall | None) -> bool:
    """Whether something is left to do as far as that can be told: only then a cancelled job is known to end so."""
    units = seen.status.units
    return stall is not None or not units.total or units.remaining > 0


def _held_status(seen: Observation, tally: Tally, message: str) -> JobStatus:
    """What can be said without the bucket: pods that are recorded now are not at work any more."""
    before, counters = seen.status, seen.status.counters.model_dump()
    stages = [
        stage.model_copy(update={"active": [pod for pod in stage.active if pod.uid not in tally.recorded]})
        for stage in before.stages
    ]
    left = {active.uid for stage in stages for active in stage.active}
    update = {
        "observed_generation": seen.generation,
        "message": message[:MESSAGE_LONGEST],
        "stages": stages,
        "counters": before.counters.model_copy(
            update={name: counters[name] + more for name, more in tally.counters.items()}
        ),
        # UIDs of pods that are gone stay, as long as the list of active pods that they belong to does.
        "recorded": [*tally.recorded, *(uid for uid in before.recorded if uid in left - set(tally.recorded))],
        "gpu_seconds": tally.gpu_seconds(before.gpu_seconds),
    }
    if not left:
        update["units"] = before.units.model_copy(update={"active": 0})
    return before.model_copy(update=update)


def _at_rest(seen: Observation) -> Plan:
    """An ended job: pods that are left or came late are recorded and deleted, UIDs of those gone are struck out."""
    assert seen.spec is not None
    tally = open_tally(seen)
    for pod in seen.pods:
        tally.record(pod)
    claims = {ConditionType.ITEMS_STALE: summary.items_stale(seen.stale)}
    if seen.lost is not None:
        claims[ConditionType.ARTIFACTS_MISSING] = summary.artifacts_missing(seen.name, seen.lost)
    told = {"recorded": tally.recorded, "handled": requests.handled(seen)}
    status = _with(seen.status.model_copy(update=told), seen, claims)
    missing = conditions.find(status, ConditionType.ARTIFACTS_MISSING)
    events = requests.nothing_to_do(seen)
    if missing is not None and missing.status == "True":
        if not conditions.holds(seen.status, ConditionType.ARTIFACTS_MISSING):
            events.append(Event("Warning", "ArtifactsMissing", missing.message))
        status = summary.with_resume(seen.name, seen.spec, status)
    ttl, finished = seen.spec.ttl_seconds_after_finished, clock.moment(status.time.finished)
    gone_at = finished + ttl if ttl is not None and finished is not None else None
    return Plan(
        status=status,
        delete=_deletes(seen, status),
        events=tuple(events),
        remove=gone_at is not None and gone_at <= seen.now,
        wake_at=gone_at if gone_at is not None and gone_at > seen.now else None,
    )


def _at_work(seen: Observation) -> list[PodRecord]:
    """Pods that have not ended, and whose nodes were not given up."""
    return [pod for pod in seen.pods if not pod.terminal and not is_dead(pod, seen.now)]


def _outdated(case: Case, pod: PodRecord) -> bool:
    """Whether a pod has nothing left to make, something that is wanted otherwise now, or waits in vain for the past."""
    wanted = case.wanted(pod)
    if len(wanted) < len(pod.units) or all(unit in case.standing.outcomes for unit in wanted):
        return True
    today = case.seen.templates.get(pod.stage)
    return stalls.in_vain(pod) and today is not None and pod.template not in today


def _restart(seen: Observation, active: Collection[PodRecord], tally: Tally) -> None:
    """Replace the active pods if somebody asked for it."""
    if seen.restart_request is None:
        return
    running = [pod for pod in active if pod.uid not in tally.recorded]
    if not running:
        tally.events.append(Event("Normal", "NothingToRestart", "no pod is at work"))
        return
    for pod in running:
        tally.stop(seen, pod)
    told = f"{counted(len(running), 'pod')} replaced on request; their units carry on"
    tally.counters["restarts"] += 1
    tally.events.append(Event("Normal", "Restarted", told))


def _turn(case: Case, halt: _Halt, active: Sequence[PodRecord], tally: Tally) -> Suspension:
    """Where the job is between running and suspended; the way there and the way back are counted, once each."""
    seen = case.seen
    if halt.held:
        return _suspending(seen, active, tally)
    if halt.everything:
        return Suspension.NONE
    # A job that was created suspended begins when it is let go: it does not resume.
    released = requests.is_released(seen) and seen.status.counters.suspensions > 0
    if released or (requests.grants_resume(seen) and _resumable(seen)):
        tally.counters["resumes"] += 1
        kept, left = len(case.standing.outcomes), case.remaining
        tally.events.append(Event("Normal", "Resumed", f"resumed: {kept} kept, {left} to make"))
    elif requests.grants_resume(seen) and not requests.is_released(seen):
        tally.events.append(Event("Normal", "NothingToResume", "the job is at work and nothing of it has failed"))
    return Suspension.NONE


def _turn_on_hold(seen: Observation, active: Sequence[PodRecord], tally: Tally, message: str) -> tuple[bool, str, str]:
    """Likewise, as the condition Suspended; the way back is counted once it is clear what it leads to."""
    assert seen.spec is not None
    if requests.is_released(seen):
        return False, RESUMING, message
    held = clock.on_hold(seen.spec, seen.now) and not seen.spec.cancel
    turn = _suspending(seen, active, tally) if held else Suspension.NONE
    return summary.suspended(seen.spec, seen.now, turn)


def _suspending(seen: Observation, active: Sequence[PodRecord], tally: Tally) -> Suspension:
    before = conditions.find(seen.status, ConditionType.SUSPENDED)
    if before is not None and not requests.was_suspended(seen):
        tally.counters["suspensions"] += 1
        told = f"suspended; {counted(len(active), 'pod')} to stop"
        tally.events.append(Event("Normal", "Suspending", told))
    return Suspension.STOPPING if active else Suspension.SUSPENDED


def _resumable(seen: Observation) -> bool:
    """Whether the job, as status left it, waited for somebody to have it carry on."""
    status = seen.status
    return (
        conditions.holds(status, ConditionType.FINISHED)
        or conditions.holds(status, ConditionType.STALLED)
        or any(stage.failed or stage.failures for stage in status.stages)
    )


def _note_missing_files(case: Case, ledger: Ledger, tally: Tally) -> None:
    """Tell once of each unit that fails because a file it needs is not there; of very many, how many they are."""
    missing = [unit for unit in case.job.units() if unit.missing and (unit.stage, unit.item) in case.failed]
    new = [unit for unit in missing if (unit.stage, unit.item) not in ledger.failed]
    for unit in new[:FAILURES_SHOWN]:
        tally.failed(
            RecentFailure(
                stage=case.job.stages[unit.stage].name,
                unit=case.job.item_id(unit.stage, unit.item),
                reason="InputMissing",
                message=f"there is no file {unit.missing}: put it there, or name another"[:MESSAGE_LONGEST],
                attempt=0,
                time=rfc3339(case.seen.now),
            ),
            "failed",
        )
    tally.untold += len(new[FAILURES_SHOWN:])


def _last_failure(case: Case, status: JobStatus) -> RecentFailure | None:
    """The newest failure of a unit that has failed for good."""
    stages = {stage.name: stage.index for stage in case.job.stages}
    for failure in status.recent_failures:
        stage = stages.get(failure.stage)
        item = case.job.item_index(stage, failure.unit) if stage is not None else None
        if stage is not None and item is not None and (stage, item) in case.failed:
            return failure
    return None


def _round(ledger: Ledger, units: int) -> Event:
    told = f"round {ledger.round} of {ledger.retry.rounds} over {counted(units, 'unit')} still missing"
    return Event("Normal", "RoundStarted", told)


def _transitions(seen: Observation, status: JobStatus, ending: Ending | None) -> list[Event]:
    """What is told once, when it becomes so."""
    events = _farewell(seen, status, ending)
    if ending is not None and not events and requests.grants_resume(seen):
        events.append(Event("Normal", "NothingToResume", summary.standing(status)))
    for kind, type_ in _TOLD if ending is None else ():
        now, before = conditions.find(status, kind), conditions.find(seen.status, kind)
        if now is None or now.status != "True":
            continue
        if before is None or before.status != "True" or before.reason != now.reason:
            reason, message = (now.reason, now.message) if kind is ConditionType.STALLED else (kind.value, now.message)
            events.append(Event(type_, reason, message))
    if _edited(seen):
        events += [Event("Warning", "PodTemplateOverridden", warning) for warning in seen.warnings]
    return events


def _farewell(seen: Observation, status: JobStatus, ending: Ending | None) -> list[Event]:
    """The event about the end, unless the job had ended just so."""
    before = conditions.find(seen.status, ending.kind) if ending is not None else None
    if ending is None or (before is not None and (before.status, before.reason) == ("True", ending.value)):
        return []
    return [summary.farewell(status, ending)]


_TOLD: Final = (
    (ConditionType.STALLED, "Warning"),
    (ConditionType.AWAITING_APPROVAL, "Normal"),
    (ConditionType.ITEMS_STALE, "Warning"),
)


def _with_clock(status: JobStatus, seen: Observation, *, running: bool, anew: bool, ended: bool) -> JobStatus:
    """The status with its times: when it ended, and how long it has been running."""
    finished = (status.time.finished or rfc3339(seen.now)) if ended else None
    times = clock.tick(status.time, seen.now, running=running, anew=anew).model_copy(update={"finished": finished})
    return status.model_copy(update={"time": times})


def _with(status: JobStatus, seen: Observation, claims: conditions.Claims) -> JobStatus:
    """A status in which these claims hold; conditions that they say nothing about stay."""
    kept = [condition for condition in seen.status.conditions if condition.type not in claims]
    made = conditions.update(seen.status, claims, seen.generation, seen.now)
    return status.model_copy(update={"conditions": made + kept})


def _deletes(seen: Observation, status: JobStatus, *, grace: int | None = None) -> tuple[PodDelete, ...]:
    """Pods that are counted, or whose end is not to be counted; the last few that failed stay to be looked at."""
    recorded = set(status.recorded)

    def is_late(pod: PodRecord) -> bool:
        """Whether a pod is not being deleted, or will take much longer than it has to now."""
        return pod.gone_by is None or (grace is not None and pod.gone_by > seen.now + grace + _GRACE_SLACK)

    going = [pod for pod in seen.pods if pod.uid in recorded and is_late(pod)]
    failed = sorted((pod for pod in going if _to_look_at(pod)), key=lambda pod: (pod.finished or 0.0, pod.uid))
    kept = {pod.uid for pod in failed[-KEPT_FAILED:]}
    return tuple(PodDelete(pod.name, pod.uid, grace) for pod in going if pod.uid not in kept)


def _to_look_at(pod: PodRecord) -> bool:
    return pod.phase == "Failed" and not pod.disrupted and pod.exit_code is not None


def _wake_at(case: Case, status: JobStatus, tally: Tally, active: Sequence[PodRecord], halt: _Halt) -> float | None:
    """The next moment at which something changes without an event."""
    seen, spec = case.seen, case.spec
    moments: list[float | None] = [*tally.retry_at.values(), *stalls.moments(active), *_dying(seen)]
    if not conditions.holds(status, ConditionType.FINISHED):
        moments += [clock.deadline(spec, status.time, seen.now), clock.suspended_until(spec, seen.now)]
        rate = sum(max(pod.gpus, 1) for pod in active if pod.started is not None)
        if spec.limits.gpu_seconds is not None and rate:
            moments.append(seen.now + (spec.limits.gpu_seconds - halt.spent) / rate)
    elif spec.ttl_seconds_after_finished is not None:
        moments.append(seen.now + spec.ttl_seconds_after_finished)
    return _next(moments, seen.now)


def _dying(seen: Observation) -> list[float]:
    """When pods that are being deleted would be taken for dead."""
    return [pod.gone_by + DEAD_AFTER for pod in seen.pods if pod.gone_by is not None and not pod.terminal]


def _next(moments: Iterable[float | None], now: float) -> float | None:
    return min((at for at in moments if at is not None and at > now), default=None)
