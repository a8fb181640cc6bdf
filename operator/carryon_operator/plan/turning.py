"""The way into suspension and back: each is counted and told once."""

from __future__ import annotations

from collections.abc import Sequence

from carryon_core.actions import counted
from carryon_core.status import ConditionType
from carryon_operator.plan import clock, conditions, requests, summary
from carryon_operator.plan.case import Case
from carryon_operator.plan.counting import Tally
from carryon_operator.plan.halt import Halt
from carryon_operator.plan.model import Event, Observation, PodRecord
from carryon_operator.plan.summary import RESUMING, Suspension


def turn(case: Case, halt: Halt, active: Sequence[PodRecord], tally: Tally) -> Suspension:
    """Where the job is between running and suspended, now that its bucket has answered."""
    seen = case.seen
    asked, released = requests.grants_resume(seen), requests.is_released(seen)
    if halt.held:
        if asked:
            _in_vain(tally, "the spec keeps the job suspended: set spec.suspend to false")
        return _suspending(seen, active, tally)
    # A job that was created suspended begins when it is let go: it does not resume.
    resumed = released and seen.status.counters.suspensions > 0
    if resumed or (asked and not halt.everything and _resumable(seen)):
        tally.counters["resumes"] += 1
        kept, left = len(case.standing.outcomes), case.remaining
        tally.events.append(Event("Normal", "Resumed", f"resumed: {kept} kept, {left} to make"))
    elif asked and not released:
        _in_vain(tally, halt.why or "the job is at work and nothing of it has failed")
    return Suspension.NONE


def turn_on_hold(seen: Observation, active: Sequence[PodRecord], tally: Tally, message: str) -> conditions.Claim:
    """Likewise, as the condition Suspended, while the bucket gives no verdict.

    The way back is counted once it is clear what it leads to.
    """
    assert seen.spec is not None
    if requests.is_released(seen):
        return False, RESUMING, message
    held = clock.on_hold(seen.spec, seen.now) and not seen.spec.cancel
    where = _suspending(seen, active, tally) if held else Suspension.NONE
    return summary.suspended(seen.spec, seen.now, where)


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


def _in_vain(tally: Tally, why: str) -> None:
    tally.events.append(Event("Normal", "NothingToResume", why))
