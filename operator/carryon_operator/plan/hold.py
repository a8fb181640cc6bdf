"""A job that nothing is decided about for now: it can't be carried out as written, or its bucket gives no verdict."""

from __future__ import annotations

from typing import Final

from carryon_core.actions import UNREACHABLE
from carryon_core.status import MESSAGE_LONGEST, ConditionType, JobStatus
from carryon_operator.plan import clock, conditions, halt, requests, stopping, summary, telling, turning
from carryon_operator.plan.counting import Tally, open_tally
from carryon_operator.plan.model import Event, Observation, Plan
from carryon_operator.plan.stalls import Stall
from carryon_operator.plan.summary import Ending, Situation

_ENDS: Final = (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED, ConditionType.FINISHED)


def refused(seen: Observation) -> Plan:
    """A job that can't be carried out as written: say so, launch and delete nothing."""
    reason, message = seen.problem or ("InvalidSpec", "the spec can't be read")
    claims: dict[ConditionType, conditions.Claim] = {
        ConditionType.ACCEPTED: (False, reason, message),
        ConditionType.PROGRESSING: (False, "NotAccepted", message),
        ConditionType.STALLED: (True, reason, message),
    }
    status = seen.status
    if seen.edited:
        # How an earlier generation ended says nothing about this one.
        claims |= dict.fromkeys(_ENDS, (False, "NotAccepted", message))
        status = clock.with_clock(status, seen.now, running=False, anew=halt.ended_in_time(seen))
    told = {"observed_generation": seen.generation, "message": message[:MESSAGE_LONGEST]}
    status = conditions.with_claims(status.model_copy(update=told), claims, seen.generation, seen.now)
    return Plan(status=summary.refused(seen.name, status), retry_at=seen.retry_at, stopped=seen.stopped)


def stalled(seen: Observation, stall: Stall) -> Plan:
    """A job whose bucket shows what a person has to look at first."""
    return _on_hold(seen, (False, "Stalled", stall[1]), stall)


def unreachable(seen: Observation, outage: str) -> Plan:
    """A job whose bucket does not answer."""
    return _on_hold(seen, (False, UNREACHABLE, f"nothing is launched until the bucket answers: {outage}"), None)


def _on_hold(seen: Observation, progressing: conditions.Claim, stall: Stall | None) -> Plan:
    """No end of a pod is counted and no pod launched; what was to stop stops all the same, which frees its GPU."""
    spec, resolved = seen.spec, seen.resolved
    assert spec is not None
    assert resolved is not None
    tally, active = open_tally(seen), stopping.at_work(seen)
    asked = requests.grants_resume(seen) or seen.retry_request is not None
    anew = halt.starts_anew(seen, spec, asked=asked)
    halted = halt.halt(seen, spec, tally, anew=anew)
    for pod in active if halted.everything else ():
        tally.stop(seen, pod)

    claims: dict[ConditionType, conditions.Claim] = {ConditionType.PROGRESSING: progressing}
    if resolved.stages:
        claims[ConditionType.ACCEPTED] = (True, "Accepted", summary.accepted(resolved.total, len(resolved.stages)))
    reopened = seen.edited or stall is not None
    over = conditions.holds(seen.status, ConditionType.FINISHED) and not reopened
    if reopened:
        claims |= dict.fromkeys(_ENDS, (False, "NotFinished", progressing[2]))
        claims[ConditionType.STALLED] = (True, *stall) if stall else (False, "NotStalled", "nothing waits for a person")
    ended = halted.cancelled and not active and not over and _is_undone(seen, stall)
    ending = Ending.CANCELLED if ended else None
    if ending is not None:
        claims = dict(summary.claims(spec, seen.status, seen.now, Situation(ending=ending, stale=seen.stale)))
        del claims[ConditionType.ARTIFACTS_MISSING]  # Nobody knows.
    elif not over:
        claims[ConditionType.SUSPENDED] = turning.turn_on_hold(seen, active, tally, progressing[2])

    status = conditions.with_claims(_status(seen, tally, progressing[2]), claims, seen.generation, seen.now)
    if stall is not None:
        status = status.model_copy(update={"handled": requests.handled_resume(seen)})
        told = conditions.holds_because(seen.status, ConditionType.STALLED, stall[0])
        if seen.resume_request is not None or not told:
            tally.events.append(Event("Warning", *stall))
    if ending is not None:
        finished = conditions.rfc3339(seen.now)
        status = clock.with_clock(status, seen.now, running=False, anew=False, finished=finished)
        status = summary.summarise(seen.name, spec, status)
    else:
        if not over:
            running = not (halted.held or halted.cancelled)
            status = clock.with_clock(status, seen.now, running=running, anew=anew and reopened)
        status = summary.with_phase(summary.with_resume(seen.name, spec, status))
    limits = halt.moments(seen, spec, status, active, halted.spent) if ending is None and not over else []
    return Plan(
        status=status,
        delete=stopping.deletes(seen, status),
        events=(*telling.farewell(seen, status, ending), *tally.told()),
        wake_at=clock.next_of([*stopping.dying(seen), *limits], seen.now),
        retry_at=seen.retry_at,
        stopped=tuple(tally.account.stopped.values()),
        spending=tally.account.made(),
    )


def _is_undone(seen: Observation, stall: Stall | None) -> bool:
    """Whether something is left to do as far as that can be told: only then a cancelled job is known to end so."""
    units = seen.status.units
    return stall is not None or not units.total or units.remaining > 0


def _status(seen: Observation, tally: Tally, message: str) -> JobStatus:
    """What can be said without the bucket: pods that are recorded now are not at work any more."""
    before = seen.status
    ended = {*tally.recorded, *before.recorded}
    stages = [
        stage.model_copy(update={"active": [pod for pod in stage.active if pod.uid not in ended]})
        for stage in before.stages
    ]
    update = {
        "observed_generation": seen.generation,
        "message": message[:MESSAGE_LONGEST],
        "stages": stages,
        "counters": tally.added_to(before.counters),
        "recorded": list(tally.recorded),
        "gpu_seconds": tally.account.added_to(before.gpu_seconds),
    }
    if not any(stage.active for stage in stages):
        update["units"] = before.units.model_copy(update={"active": 0})
    return before.model_copy(update=update)
