"""The decision about one job: missing = wanted - done, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from carryon_core.status import JobStatus
from carryon_operator.plan import clock, conditions, halt, hold, launch, requests, stalls, stopping, summary, telling
from carryon_operator.plan.case import Case, open_case
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.counting import Tally, count, open_tally
from carryon_operator.plan.failing import broken, judge
from carryon_operator.plan.images import moments as pulled_by
from carryon_operator.plan.images import open_images
from carryon_operator.plan.ledger import open_ledger
from carryon_operator.plan.model import Observation, Plan, PodRecord
from carryon_operator.plan.notifying import notify
from carryon_operator.plan.report import report
from carryon_operator.plan.rest import at_rest, is_over
from carryon_operator.plan.summary import Ending, Situation, Suspension
from carryon_operator.plan.turning import turn


def decide(seen: Observation) -> Plan:
    """What to do about a job now, and who is to be told of it."""
    return notify(seen, _decide(seen))


def _decide(seen: Observation) -> Plan:
    spec, resolved = seen.spec, seen.resolved
    # Make sure that a job that can't be understood changes nothing: its running pods finish.
    if seen.problem is not None or spec is None or resolved is None:
        return hold.refused(seen)
    # Make sure that an outage of the bucket is never read as a verdict.
    if seen.outage is not None:
        return hold.unreachable(seen, seen.outage)
    # Make sure that an ended job stays as it is until somebody asks for more.
    if is_over(seen):
        return at_rest(seen)
    case = open_case(seen, spec, resolved)
    # Make sure that a listing that is suddenly half empty is somebody's wish before it costs a GPU.
    if not requests.confirms_loss(seen) and (stall := stalls.vanished(case)) is not None:
        return hold.stalled(seen, stall)

    ledger, tally = open_ledger(case), open_tally(seen)
    ledger.forget(case.standing.outcomes)
    count(case, ledger, tally)
    tally.events += requests.resume(seen, ledger, tally.retry_at)
    tally.events += requests.retry(seen, case.job, case.standing.outcomes, ledger, tally.retry_at)
    case = judge(case, ledger)
    telling.note_missing_files(case, ledger, tally)

    asked = requests.grants_resume(seen) or requests.grants_retry(seen, case.job)
    anew = halt.starts_anew(seen, spec, asked=asked)
    halted = halt.halt(seen, spec, tally, anew=anew)
    active = stopping.at_work(seen)
    for pod in active:
        # Make sure that only pods with something to make go on.
        if halted.everything or stopping.is_outdated(case, pod):
            tally.stop(seen, pod)
    stopping.restart(seen, active, tally)
    images = open_images(case)
    for pod, told in images.give_up(pod for pod in active if pod.uid not in tally.recorded):
        tally.stop(seen, pod)
        tally.events.append(told)

    queued = launch.queue(case, ledger, case.busy(active), tally.retry_at)
    idle = not active and not queued.ready and not queued.delayed
    ending = _ending(case, halted, active)
    begin_round = ending is None and not halted.everything and idle and queued.exhausted > 0
    wanted = () if ending or halted.everything else launch.pods_for(case, ledger, images, queued.ready, active)
    create = wanted[: seen.room.pods]
    gathering = any(case.job.stages[pod.stage].gathers for pod in create)
    # Make sure that nothing vanished behind our back before a job ends, a round begins, or something is gathered.
    if not seen.swept and (ending in _BY_BUCKET or begin_round or gathering):
        return Plan(status=seen.status, sweep=True, waiting=len(wanted), retry_at=seen.retry_at, stopped=seen.stopped)
    if begin_round:
        exhausted = queued.exhausted
        # A budget that was lowered may take more than one round to come to what was used.
        while queued.exhausted == exhausted and ledger.round < spec.retry.rounds:
            ledger.round += 1
            queued = launch.queue(case, ledger, case.busy(active), tally.retry_at)
        tally.events.append(telling.round_started(ledger, exhausted))
        wanted = launch.pods_for(case, ledger, images, queued.ready, active)
        create = wanted[: seen.room.pods]

    suspension = Suspension.NONE if ending else turn(case, halted, active, tally)
    situation = Situation(
        ending=ending,
        suspension=suspension,
        stopping=halted.why if active else "",
        stall=None if ending or suspension is not Suspension.NONE else stalls.stalled(seen, active, halted.spent),
        moving=any(not stalls.in_vain(pod) for pod in active),
        delayed=queued.delayed,
        awaiting={stage: len(items) for stage, items in queued.unapproved.items()},
        round=ledger.round if any(ledger.extra(unit) for unit in case.busy(active)) else 0,
        stale=seen.stale,
        full=seen.room.full if len(create) < len(wanted) else "",
    )
    status = report(case, ledger, tally, images, active)
    if ending is not None:
        ended = seen.status.time.finished if not telling.is_new(seen, ending) else None
        finished = ended or rfc3339(seen.now)
        status = clock.with_clock(status, seen.now, running=False, anew=False, finished=finished)
    else:
        status = clock.with_clock(status, seen.now, running=suspension is Suspension.NONE, anew=anew)
    claims = summary.claims(spec, status, seen.now, situation)
    status = conditions.with_claims(status, claims, seen.generation, seen.now)
    status = summary.summarise(seen.name, spec, status, telling.last_failure(case, status))
    if (long := stalls.too_long(status)) is not None:
        return hold.stalled(seen, long)
    return Plan(
        status=status,
        standing=case.standing,
        create=create,
        delete=stopping.deletes(seen, status),
        discard=tuple(seen.invalid.values()),
        tails=tuple(tally.tails),
        events=(*telling.transitions(seen, status, ending), *tally.told()),
        prune=ending is not None and telling.is_new(seen, ending),
        garbage=seen.garbage,
        stopped=tuple(tally.account.stopped.values()),
        spending=tally.account.made(),
        waiting=len(wanted) - len(create),
        wake_at=clock.next_of(_moments(case, status, tally, active, halted), seen.now),
        retry_at={fingerprint: at for fingerprint, at in tally.retry_at.items() if at > seen.now},
    )


_BY_BUCKET: Final = (Ending.SUCCEEDED, Ending.WITHIN_POLICY, Ending.FAILED)
"""Endings that say what the bucket holds."""


def _moments(
    case: Case, status: JobStatus, tally: Tally, active: Sequence[PodRecord], halted: halt.Halt
) -> Iterator[float | None]:
    """When something changes without an event."""
    seen, ttl = case.seen, case.spec.ttl_seconds_after_finished
    yield from (*tally.retry_at.values(), *stalls.moments(active), *pulled_by(active), *stopping.dying(seen))
    if status.time.finished is None:
        yield from halt.moments(seen, case.spec, status, active, halted.spent)
    elif ttl is not None:
        yield seen.now + ttl


def _ending(case: Case, halted: halt.Halt, active: Sequence[PodRecord]) -> Ending | None:
    """How the job has ended, None while it has not."""
    if active:
        return None
    if case.remaining == 0:
        if any(broken(case.spec, stage, case.failed) for stage in case.job.stages):
            return Ending.FAILED
        return Ending.WITHIN_POLICY if case.failed else Ending.SUCCEEDED
    if halted.cancelled:
        return Ending.CANCELLED
    return Ending.TIMED_OUT if halted.timed_out else None
