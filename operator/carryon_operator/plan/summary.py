"""What a person reads: conditions, phase, message, and what resuming would take."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final

from carryon_core.actions import TIMED_OUT, Action, counted, verdict
from carryon_core.phases import Phase
from carryon_core.spec import JobSpec
from carryon_core.status import MESSAGE_LONGEST, ConditionType, JobStatus, RecentFailure, Resume
from carryon_operator.plan import conditions
from carryon_operator.plan.model import Event
from carryon_operator.plan.stalls import Stall

RESUMING: Final = "Resuming"
"""Reason of `Suspended` where nothing keeps the job from going on but a bucket that gives no verdict."""

WAITING: Final = "WaitingForTurn"
"""Reason of `Progressing` where the job has no pod because the operator's own caps have no room."""


class Suspension(Enum):
    """Where a job is on the way to being suspended."""

    NONE = auto()
    STOPPING = auto()
    SUSPENDED = auto()


class Ending(StrEnum):
    """How a job ended; the value is the reason in its conditions."""

    SUCCEEDED = "AllUnitsDone"
    WITHIN_POLICY = "SuccessPolicyHolds"
    """Units failed, but no more of them than `success.minPercent` lets pass."""
    FAILED = "UnitsFailed"
    TIMED_OUT = TIMED_OUT
    CANCELLED = "Cancelled"

    @property
    def kind(self) -> ConditionType:
        """The condition that holds by it."""
        if self is Ending.CANCELLED:
            return ConditionType.CANCELLED
        good = (Ending.SUCCEEDED, Ending.WITHIN_POLICY)
        return ConditionType.SUCCEEDED if self in good else ConditionType.FAILED


@dataclass(frozen=True)
class Situation:
    """What a decision found, for people.

    Attributes:
        ending: How the job ended, None while it has not.
        stopping: Why its pods are being ended although it is not suspended, "" where they are not.
        stall: What waits for a person.
        moving: Some pod waits for nothing that only a person can bring about.
        delayed: Units whose next attempt is delayed.
        awaiting: Stage name -> units that a person has to approve.
        round: Over what is still missing.
        stale: Reason and message where the items' source is not followed.
        full: Why pods that could start do not, by the operator's own caps, "" where they do.
    """

    ending: Ending | None = None
    suspension: Suspension = Suspension.NONE
    stopping: str = ""
    stall: Stall | None = None
    moving: bool = False
    delayed: int = 0
    awaiting: dict[str, int] = field(default_factory=dict)
    round: int = 0
    stale: tuple[str, str] | None = None
    full: str = ""


def accepted(units: int, stages: int) -> str:
    """What an accepted job amounts to."""
    return f"{counted(units, 'unit')} in {counted(stages, 'stage')}"


def standing(status: JobStatus) -> str:
    """How far a job is, in a few words."""
    units = status.units
    made = f"{units.succeeded} of {counted(units.total, 'unit')} done"
    nothing = {outcome: count for outcome, count in units.outcomes.items() if outcome != "generated"}
    if nothing:
        made += f" ({', '.join(f'{count} {outcome}' for outcome, count in nothing.items())})"
    if units.failed:
        made += f", {units.failed} failed"
    return made


def claims(spec: JobSpec, status: JobStatus, now: float, situation: Situation) -> conditions.Claims:
    """What holds for an accepted job whose bucket could be read.

    Args:
        spec: Of the job.
        status: With its counts up to date.
        now: Seconds since the epoch.
        situation: What was found.
    """
    told, ending = standing(status), situation.ending
    made: dict[ConditionType, tuple[bool, str, str]] = {
        ConditionType.ACCEPTED: (True, "Accepted", accepted(status.units.total, len(status.stages))),
        ConditionType.PROGRESSING: _progressing(spec, status, situation),
        ConditionType.SUSPENDED: (
            (False, "Finished", "the job has ended") if ending else suspended(spec, now, situation.suspension)
        ),
        ConditionType.STALLED: _stalled(situation, told),
        ConditionType.AWAITING_APPROVAL: _awaiting(situation),
        ConditionType.ITEMS_STALE: items_stale(situation.stale),
        ConditionType.ARTIFACTS_MISSING: (False, "AllThere", "as far as the bucket was looked at"),
    }
    for kind in (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED):
        if ending is not None and ending.kind is kind:
            made[kind] = (True, ending.value, told)
        else:
            made[kind] = (False, "OtherwiseEnded" if ending else "NotFinished", told)
    made[ConditionType.FINISHED] = (ending is not None, "Finished" if ending else "NotFinished", told)
    return made


def _stalled(situation: Situation, told: str) -> tuple[bool, str, str]:
    """What failed waits for a person too: tools that know kstatus look at nothing else."""
    if situation.ending is not None and situation.ending.kind is ConditionType.FAILED:
        more = "the limit is raised" if situation.ending is Ending.TIMED_OUT else "edited"
        return True, situation.ending.value, f"{told}; it carries on when it is resumed or {more}"
    if situation.stall is not None:
        return True, *situation.stall
    return False, "NotStalled", "nothing waits for a person"


def suspended(spec: JobSpec, now: float, suspension: Suspension) -> tuple[bool, str, str]:
    """What holds of the condition Suspended, while the job has not ended."""
    why = "spec.suspend is true" if spec.suspend else f"spec.suspendUntil is {spec.suspend_until}"
    match suspension:
        case Suspension.NONE:
            return False, "NotSuspended", "the job is not suspended"
        case Suspension.STOPPING:
            return False, "Suspending", f"{why}; pods are stopping"
        case Suspension.SUSPENDED:
            return True, "Suspended", f"{why}, and no pod is at work"


def items_stale(stale: tuple[str, str] | None) -> tuple[bool, str, str]:
    """What holds of the condition ItemsStale."""
    return (True, *stale) if stale else (False, "UpToDate", "the items are those that the spec asks for")


def artifacts_missing(name: str, lost: int) -> tuple[bool, str, str]:
    """What holds of the condition ArtifactsMissing of a job that is over, after a look at its bucket."""
    if not lost:
        return False, "AllThere", "every artifact was there at the last look"
    return (
        True,
        "Removed",
        f"the bucket no longer shows {counted(lost, 'unit')} that were done; the job stays as it is: to make them"
        f" again, carryon resume {name}",
    )


def _awaiting(situation: Situation) -> tuple[bool, str, str]:
    waiting = {} if situation.ending else situation.awaiting
    if not waiting:
        return False, "NothingToApprove", "no unit waits for approval"
    listed = ", ".join(f"{counted(units, 'unit')} of stage {stage}" for stage, units in waiting.items())
    stage, one = next(iter(waiting)), sum(waiting.values()) == 1
    until = f"{'waits' if one else 'wait'} until spec.approved.{stage} names {'its item' if one else 'their items'}"
    return True, "ApprovalRequired", f"{listed} {until}"


def _progressing(spec: JobSpec, status: JobStatus, situation: Situation) -> tuple[bool, str, str]:
    active = status.units.active
    if situation.ending:
        return False, "Finished", "nothing is left to do"
    if situation.stopping:
        return False, "Stopping", situation.stopping
    if situation.suspension is not Suspension.NONE:
        return False, "Suspended", "the job is suspended"
    if situation.stall is not None and not situation.moving:
        return False, "Stalled", situation.stall[1]
    if spec.parallelism == 0 and not active:
        return False, "ParallelismZero", "spec.parallelism is 0: raise it to let pods start"
    if not active and situation.delayed:
        told = f"waiting before the next attempt: {counted(situation.delayed, 'unit')}"
        return True, "BackingOff", told
    if not active and situation.awaiting:
        return False, "AwaitingApproval", _awaiting(situation)[2]
    if not active and situation.full:
        return True, WAITING, f"waits for its turn: {situation.full}"
    more = f"; more could start: {situation.full}" if situation.full else ""
    if situation.round:
        told = f"round {situation.round} over what is still missing: {counted(active, 'unit')} at work"
        return True, "InRound", told + more
    return True, "Working", f"at work: {counted(active, 'unit')}{more}"


def summarise(name: str, spec: JobSpec, status: JobStatus, last: RecentFailure | None = None) -> JobStatus:
    """The same status with progress, message, phase and what resuming would take.

    Args:
        name: Of the job.
        spec: Of the job.
        status: With its conditions.
        last: Why a unit failed for good, of all those the newest.
    """
    units = status.units
    message = standing(status)
    if units.remaining:
        message += f", {units.remaining} remaining"
    for kind in (ConditionType.STALLED, ConditionType.AWAITING_APPROVAL):
        condition = conditions.find(status, kind)
        ended = conditions.holds(status, ConditionType.FINISHED)
        if condition is not None and condition.status == "True" and not ended:
            message += f"; {condition.message}"
    progressing = conditions.find(status, ConditionType.PROGRESSING)
    if progressing is not None and progressing.reason == WAITING:
        message += f"; {progressing.message}"
    failed = conditions.find(status, ConditionType.FAILED)
    if failed is not None and failed.status == "True":
        if failed.reason == Ending.TIMED_OUT:
            message += f"; spec.timeouts.job ({spec.timeouts.job}) is over"
        elif last is not None:
            message += f'; {last.stage} "{last.unit}": {last.reason}: {last.message}'
    status = status.model_copy(
        update={"progress": f"{units.succeeded}/{units.total}", "message": message[:MESSAGE_LONGEST]}
    )
    return with_phase(with_resume(name, spec, status))


def refused(name: str, status: JobStatus) -> JobStatus:
    """A job whose spec can't be carried out: what resuming would take is to correct it."""
    resume = Resume(possible=False, reason=status.message, action=f"correct the spec: kubectl edit gj {name}")
    return with_phase(status.model_copy(update={"resume": resume}))


def with_resume(name: str, spec: JobSpec, status: JobStatus) -> JobStatus:
    """The same status with what resuming would take."""
    return status.model_copy(update={"resume": _resume(name, spec, status)})


def with_phase(status: JobStatus) -> JobStatus:
    """The same status with the phase that its conditions come to."""
    return status.model_copy(update={"phase": _phase(status)})


_PHASES = (
    (ConditionType.SUCCEEDED, Phase.SUCCEEDED),
    (ConditionType.FAILED, Phase.FAILED),
    (ConditionType.CANCELLED, Phase.CANCELLED),
    (ConditionType.SUSPENDED, Phase.SUSPENDED),
)


def _phase(status: JobStatus) -> Phase:
    """A chain: the first condition that fits names the phase."""
    progressing = conditions.find(status, ConditionType.PROGRESSING)
    reason = progressing.reason if progressing is not None else ""
    if reason == "NotAccepted":
        return Phase.STALLED
    for kind, phase in _PHASES:
        if conditions.holds(status, kind):
            return phase
    suspended = conditions.find(status, ConditionType.SUSPENDED)
    if suspended is not None and suspended.reason == "Suspending":
        return Phase.SUSPENDING
    if reason == "Stalled":
        return Phase.STALLED
    if reason == "AwaitingApproval":
        return Phase.AWAITING_APPROVAL
    if reason in ("BackingOff", "InRound"):
        return Phase.RETRYING
    started = status.units.active or status.units.succeeded or status.units.failed
    return Phase.RUNNING if started else Phase.PENDING


def _resume(name: str, spec: JobSpec, status: JobStatus) -> Resume:
    found = verdict(Action.RESUME, spec, status, {}, name=name)
    return Resume(possible=found.possible, reason=found.reason[:MESSAGE_LONGEST], action=found.action[:MESSAGE_LONGEST])


def farewell(status: JobStatus, ending: Ending) -> Event:
    """The event at the end of a job."""
    units = status.units
    match ending.kind:
        case ConditionType.SUCCEEDED:
            return Event("Normal", "Succeeded", f"done: {standing(status)}")
        case ConditionType.CANCELLED:
            return Event("Normal", "Cancelled", f"cancelled: {standing(status)}, which are kept")
    if ending is Ending.TIMED_OUT:
        return Event("Warning", "Failed", f"spec.timeouts.job is over: {standing(status)}")
    return Event("Warning", "Failed", f"{units.failed} of {counted(units.total, 'unit')} failed for good")
