"""What a person reads: conditions, phase, message, and what resuming would take."""

from __future__ import annotations

from enum import Enum, auto

from carryon_core.spec import JobSpec
from carryon_core.status import MESSAGE_LONGEST, ConditionType, JobStatus, Phase, Resume
from carryon_operator.plan import conditions
from carryon_operator.plan.model import Event


class Suspension(Enum):
    """Where a job is on the way to being suspended."""

    NONE = auto()
    STOPPING = auto()
    SUSPENDED = auto()


def counted(count: int, noun: str) -> str:
    """A number of things in words: "1 unit", "15 units"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def accepted(units: int, stages: int) -> str:
    """What an accepted job amounts to."""
    return f"{counted(units, 'unit')} in {counted(stages, 'stage')}"


def claims(
    spec: JobSpec, status: JobStatus, *, ended: bool, suspension: Suspension, waiting: int, refused: str | None
) -> conditions.Claims:
    """What holds for an accepted job whose bucket could be read.

    Args:
        spec: Of the job.
        status: With its counts up to date.
        ended: Every unit is done or failed for good, and no pod is left.
        suspension: Where the job is on the way to being suspended.
        waiting: Units whose next attempt is delayed.
        refused: Why the API server took no pod, None where it did.
    """
    units = status.units
    failed = ended and units.failed > 0
    succeeded = ended and not failed
    standing = f"{units.succeeded} of {counted(units.total, 'unit')} done"
    if units.failed:
        standing += f", {units.failed} failed"
    return {
        ConditionType.ACCEPTED: (True, "Accepted", accepted(units.total, len(status.stages))),
        ConditionType.PROGRESSING: _progressing(spec, status, ended, suspension, waiting, refused),
        ConditionType.SUSPENDED: (False, "Finished", "the job has ended") if ended else suspended(suspension),
        ConditionType.SUCCEEDED: (succeeded, *(("AllUnitsDone", standing) if succeeded else _not_yet(ended, standing))),
        ConditionType.FAILED: (failed, *(("UnitsFailed", standing) if failed else _not_yet(ended, standing))),
        ConditionType.FINISHED: (ended, *(("Finished", standing) if ended else ("NotFinished", standing))),
    }


def suspended(suspension: Suspension) -> tuple[bool, str, str]:
    """What holds of the condition Suspended, while the job has not ended."""
    match suspension:
        case Suspension.NONE:
            return False, "NotSuspended", "spec.suspend is false"
        case Suspension.STOPPING:
            return False, "Suspending", "pods are stopping"
        case Suspension.SUSPENDED:
            return True, "Suspended", "spec.suspend is true, and no pod is at work"


def _not_yet(ended: bool, standing: str) -> tuple[str, str]:
    return ("OtherwiseEnded" if ended else "NotFinished", standing)


def _progressing(
    spec: JobSpec, status: JobStatus, ended: bool, suspension: Suspension, waiting: int, refused: str | None
) -> tuple[bool, str, str]:
    if ended:
        return False, "Finished", "nothing is left to do"
    if suspension is not Suspension.NONE:
        return False, "Suspended", "spec.suspend is true"
    if refused is not None:
        return False, "PodsRefused", f"the API server takes no pod: {refused}"
    if spec.parallelism == 0 and not status.units.active:
        return False, "ParallelismZero", "spec.parallelism is 0: raise it to let pods start"
    if waiting and not status.units.active:
        return True, "BackingOff", f"waiting before the next attempt: {counted(waiting, 'unit')}"
    return True, "Working", f"at work: {counted(status.units.active, 'unit')}"


def summarise(name: str, spec: JobSpec, status: JobStatus) -> JobStatus:
    """The same status with progress, message, phase and what resuming would take."""
    units = status.units
    message = f"{units.succeeded} of {counted(units.total, 'unit')} done"
    if units.failed:
        message += f", {units.failed} failed"
    if units.remaining:
        message += f", {units.remaining} remaining"
    failed = conditions.holds(status, ConditionType.FAILED)
    if failed and status.recent_failures:
        last = status.recent_failures[0]
        message += f'; {last.stage} "{last.unit}": {last.reason}: {last.message}'
    status = status.model_copy(
        update={
            "progress": f"{units.succeeded}/{units.total}",
            "message": message[:MESSAGE_LONGEST],
            "resume": _resume(name, spec, status),
        }
    )
    return with_phase(status)


def refused(name: str, status: JobStatus) -> JobStatus:
    """A job whose spec can't be carried out: what resuming would take is to correct it."""
    resume = Resume(possible=False, reason=status.message, action=f"correct the spec: kubectl edit gj {name}")
    return with_phase(status.model_copy(update={"resume": resume}))


def with_phase(status: JobStatus) -> JobStatus:
    """The same status with the phase that its conditions come to."""
    return status.model_copy(update={"phase": _phase(status)})


def _phase(status: JobStatus) -> Phase:
    suspended = conditions.find(status, ConditionType.SUSPENDED)
    progressing = conditions.find(status, ConditionType.PROGRESSING)
    if conditions.holds(status, ConditionType.SUCCEEDED):
        return Phase.SUCCEEDED
    if conditions.holds(status, ConditionType.FAILED):
        return Phase.FAILED
    if suspended is not None and suspended.status == "True":
        return Phase.SUSPENDED
    if suspended is not None and suspended.reason == "Suspending":
        return Phase.SUSPENDING
    if progressing is not None and progressing.reason == "BackingOff":
        return Phase.RETRYING
    started = status.units.active or status.units.succeeded or status.units.failed
    return Phase.RUNNING if started else Phase.PENDING


def _resume(name: str, spec: JobSpec, status: JobStatus) -> Resume:
    """A chain: the first sentence that fits stands."""
    units = status.units
    if conditions.holds(status, ConditionType.SUCCEEDED):
        return Resume(possible=False, reason="every unit is done", action="nothing: add items or edit the job for more")
    if conditions.holds(status, ConditionType.FAILED):
        return Resume(
            possible=True,
            reason=f"{counted(units.failed, 'unit')} failed for good; {units.succeeded} done, which are kept",
            action=f"correct what made them fail, then: carryon resume {name} ({units.failed} remaining)",
        )
    if spec.suspend:
        return Resume(
            possible=True,
            reason=f"suspended; {counted(units.succeeded, 'unit')} done, which are kept",
            action=f"carryon resume {name} ({units.remaining} remaining)",
        )
    if spec.parallelism == 0:
        return Resume(possible=True, reason="spec.parallelism is 0", action="raise spec.parallelism")
    return Resume(possible=False, reason="the job is at work", action="nothing: it carries on by itself")


def farewell(status: JobStatus) -> Event:
    """The event at the end of a job."""
    if conditions.holds(status, ConditionType.SUCCEEDED):
        return Event("Normal", "Succeeded", f"done: {counted(status.units.total, 'unit')}")
    return Event("Warning", "Failed", f"{status.units.failed} of {counted(status.units.total, 'unit')} failed for good")
