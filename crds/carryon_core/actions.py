"""What a person may do to a job now, and why or why not: the same sentences for command, API, page and status. Pure.

Each action has a chain of small functions; the first that answers decides. What an action sends is in `requests`, the
table of all of them in `action_table`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from carryon_core import names
from carryon_core.requests import ALL
from carryon_core.spec import JobSpec
from carryon_core.status import Condition, ConditionType, JobStatus
from carryon_core.subject import Subject, counted, sentence

__all__ = [
    "RESUMED_BY_A_PERSON",
    "TIMED_OUT",
    "UNREACHABLE",
    "VANISHED",
    "Action",
    "Verdict",
    "counted",
    "unapproved",
    "verdict",
    "verdicts",
]

OVERRIDES_MOST: Final = 1000
"""Units that spec.overrides has room for."""

VANISHED: Final = "ArtifactsVanished"
"""Reason of `Stalled` where the bucket has lost more than half of what was done."""
RESUMED_BY_A_PERSON: Final = frozenset({VANISHED})
"""Reasons of `Stalled` that end with a request to resume; the others end by themselves when their cause does."""

UNREACHABLE: Final = "BucketUnreachable"
"""Reason of `Progressing` while the bucket does not answer."""

TIMED_OUT: Final = "JobTimeout"
"""Reason of `Failed` where timeouts.job is over."""


class Action(StrEnum):
    """What a person may do to a job."""

    RESUME = "resume"
    PAUSE = "pause"
    RESTART = "restart"
    CANCEL = "cancel"
    RETRY = "retry"
    REDO = "redo"
    APPROVE = "approve"
    EDIT = "edit"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an action is possible.

    Attributes:
        reason: Why, or why not: a sentence without a full stop.
        action: What a person would do next to get there.
        label: Of a button.
        already: It is so already, or was asked for and not acted on yet: asking again is no mistake and sends nothing.
    """

    possible: bool
    reason: str
    action: str = ""
    label: str = ""
    already: bool = False


Rule: TypeAlias = Callable[[Subject], Verdict | None]

_PENDING: Final = "asked already, waiting for the operator"


def verdict(
    action: Action,
    spec: JobSpec,
    status: JobStatus,
    annotations: Mapping[str, str],
    *,
    name: str = "NAME",
    generation: int | None = None,
    now: float | None = None,
    deleting: bool = False,
) -> Verdict:
    """Whether an action is possible now, and why or why not.

    Args:
        action: What somebody wants to do.
        spec: Of the job.
        status: Of the job.
        annotations: Of the job, with the requests among them.
        name: Of the job, for what a person would type.
        generation: Of the spec; None: the one that status is about.
        now: Seconds since the epoch; None: suspendUntil counts as the operator last saw it.
        deleting: The job has a deletionTimestamp.
    """
    subject = Subject(spec, status, annotations, name, generation, now, deleting)
    chain = (_delete_twice if action is Action.DELETE else _being_deleted, *_CHAINS[action])
    found = next(made for rule in chain if (made := rule(subject)) is not None)
    return found if found.label else replace(found, label=_LABELS[action])


def verdicts(
    spec: JobSpec,
    status: JobStatus,
    annotations: Mapping[str, str],
    *,
    name: str = "NAME",
    generation: int | None = None,
    now: float | None = None,
    deleting: bool = False,
) -> dict[Action, Verdict]:
    """The verdict on every action, as in `verdict`."""
    return {
        action: verdict(action, spec, status, annotations, name=name, generation=generation, now=now, deleting=deleting)
        for action in Action
    }


def _no(reason: str, action: str = "") -> Verdict:
    return Verdict(possible=False, reason=reason, action=action)


def _already(reason: str, action: str = "nothing: it is on its way") -> Verdict:
    return Verdict(possible=False, reason=reason, action=action, already=True)


def _being_deleted(job: Subject) -> Verdict | None:
    # Make sure that nobody waits for a job that will be gone.
    return _no("it is being deleted") if job.deleting else None


def _correct_first(job: Subject) -> Verdict | None:
    # Make sure that nothing is asked of a job that can't be carried out as written.
    if job.refused is None:
        return None
    return _no(f"the spec can't be carried out: {job.refused}", f"correct the spec: carryon edit {job.name}")


def _resume_first(job: Subject) -> Verdict | None:
    # Make sure that nothing is asked of a job that was cancelled: it holds until somebody resumes it.
    if not job.spec.cancel:
        return None
    return _no("it is cancelled: resume it first", f"carryon resume {job.name}")


def _out_of_gpu_seconds(job: Subject) -> Verdict | None:
    # Make sure that nobody waits for work that the limit keeps from starting.
    most, used = job.spec.limits.gpu_seconds, job.status.gpu_seconds.spent
    if most is None or used < most:
        return None
    return _no(f"limits.gpuSeconds is reached ({used} of {most}): raise it", "raise spec.limits.gpuSeconds")


# Resume


def _resume_pending(job: Subject) -> Verdict | None:
    # Make sure that a request is not sent twice; but one that a later pause or cancel overtook must be.
    held = job.suspended or job.spec.cancel
    if held or not job.asked(names.ANNOTATION_RESUME, job.status.handled.resume):
        return None
    return _already(_PENDING)


def _resume_when_done(job: Subject) -> Verdict | None:
    # Make sure that a job that has all it wants is left alone, unless some of that failed, or is gone.
    if not job.holds(ConditionType.SUCCEEDED) or job.missing or job.spec.cancel:
        return None
    if job.holds(ConditionType.ARTIFACTS_MISSING):
        return None
    return _no("every unit is done: nothing is left to resume", "nothing: add items or edit the job for more")


def _resume_when_at_work(job: Subject) -> Verdict | None:
    # Make sure that a job that goes on by itself is left to it.
    if job.suspended or job.spec.cancel or job.ended:
        return None
    stalled = job.condition(ConditionType.STALLED)
    if stalled is not None:
        return None
    progressing = next((each for each in job.status.conditions if each.type == ConditionType.PROGRESSING), None)
    if progressing is not None and progressing.reason == UNREACHABLE:
        return _already("it goes on once the bucket answers", "nothing: it carries on by itself")
    waiting = job.condition(ConditionType.AWAITING_APPROVAL)
    if waiting is not None and not job.status.units.active:
        return _no(f"it waits for approval: {sentence(waiting)}", _approval(job))
    if job.spec.parallelism == 0:
        return _no("spec.parallelism is 0: raise it to let pods start", "raise spec.parallelism")
    failed = job.status.units.failed
    more = f"; retry gives the {counted(failed, 'failed unit')} new attempts" if failed else ""
    return _already(f"the job is at work{more}", "nothing: it carries on by itself")


def _resume_at_limit(job: Subject) -> Verdict | None:
    # Make sure that a person is asked before a job is resumed more often than was agreed.
    most, used = job.spec.limits.resumes, job.status.counters.resumes
    if most is None or used < most:
        return None
    return _no(f"limits.resumes is reached ({used} of {most}): raise it", "raise spec.limits.resumes")


def _resume_stalled(job: Subject) -> Verdict | None:
    # Make sure that a person hears what a stalled job waits for: a request changes nothing about most of it.
    stalled = job.condition(ConditionType.STALLED)
    if stalled is None or job.suspended or job.ended or job.spec.cancel:
        return None
    if stalled.reason in RESUMED_BY_A_PERSON:
        return _make_again(job, stalled)
    return _no(f"it goes on by itself once this is put right: {sentence(stalled)}", f"put right: {sentence(stalled)}")


def _resume_possible(job: Subject) -> Verdict:
    kept = f"{counted(job.status.units.succeeded, 'unit')} done, which are kept"
    stalled = job.condition(ConditionType.STALLED)
    if stalled is not None and stalled.reason in RESUMED_BY_A_PERSON:
        return _make_again(job, stalled)
    if job.spec.cancel or job.holds(ConditionType.CANCELLED):
        return _possible_resume(job, f"cancelled; {kept}")
    missing = job.condition(ConditionType.ARTIFACTS_MISSING)
    if missing is not None and job.ended:
        return _make_again(job, missing)
    failed = job.condition(ConditionType.FAILED)
    if failed is not None and failed.reason == TIMED_OUT:
        return _possible_resume(job, f"spec.timeouts.job ({job.spec.timeouts.job}) is over; {kept}")
    if job.ended:
        said = f"{counted(job.status.units.failed, 'unit')} failed for good; {kept}"
        found = _possible_resume(job, said)
        return replace(found, action=f"correct what made them fail, then: {found.action}")
    until = f" until {job.spec.suspend_until}" if job.spec.suspend_until and not job.spec.suspend else ""
    return _possible_resume(job, f"suspended{until}; {kept}")


def _make_again(job: Subject, why: Condition) -> Verdict:
    """What left the bucket is not counted in what remains."""
    action, label = f"carryon resume {job.name} makes them again", "Resume (make what is gone)"
    return Verdict(True, sentence(why), action, label)


def _possible_resume(job: Subject, reason: str) -> Verdict:
    remaining = f"({job.missing} remaining)"
    return Verdict(True, reason, f"carryon resume {job.name} {remaining}", f"Resume {remaining}")


# Pause


def _pause_ended(job: Subject) -> Verdict | None:
    # Make sure that nobody pauses what has ended: the next edit would find it asleep.
    if not job.ended:
        return None
    return _no(f"it has {_end(job)}: there is nothing to pause")


def _pause_cancelled(job: Subject) -> Verdict | None:
    # Make sure that a cancel that is on its way is not taken for a pause.
    return _no("it is being cancelled: there is nothing to pause") if job.spec.cancel else None


def _pause_twice(job: Subject) -> Verdict | None:
    # Make sure that pausing twice is no mistake.
    if not job.spec.suspend:
        return None
    if job.holds(ConditionType.SUSPENDED):
        return _already("suspended already", f"nothing, or: carryon resume {job.name}")
    return _already(_PENDING if not job.observed else "asked already, its pods are stopping")


def _pause_possible(job: Subject) -> Verdict:
    if job.suspended:
        return Verdict(True, f"suspended until {job.spec.suspend_until}: pausing takes the time away", _pause(job))
    if job.refused is not None:
        return Verdict(True, "it is suspended as soon as its spec is corrected", _pause(job))
    active = job.status.units.active
    if not active:
        return Verdict(True, "no pod is at work: none will start", _pause(job))
    return Verdict(True, f"{counted(active, 'unit')} at work: they are saved, then their pods stop", _pause(job))


def _pause(job: Subject) -> str:
    return f"carryon pause {job.name}"


# Restart


def _restart_pending(job: Subject) -> Verdict | None:
    # Make sure that a request is not sent twice: pods that just started would be replaced again.
    return _already(_PENDING) if job.asked(names.ANNOTATION_RESTART, job.status.handled.restart) else None


def _restart_nothing(job: Subject) -> Verdict | None:
    # Make sure that there is something to replace, and say what would help where there is not.
    if job.ended:
        return _no(f"it has {_end(job)}: no pod is left to restart")
    if job.suspended:
        return _no("it is suspended: there is no pod to restart; resume it", f"carryon resume {job.name}")
    if not job.status.units.active:
        return _no("no pod is at work: there is nothing to restart")
    return None


def _restart_possible(job: Subject) -> Verdict:
    active = job.status.units.active
    return Verdict(
        True,
        f"{counted(active, 'unit')} at work: their pods are replaced and go on from their checkpoints",
        f"carryon restart {job.name}",
        f"Restart ({active} active)",
    )


# Cancel


def _cancel_twice(job: Subject) -> Verdict | None:
    # Make sure that cancelling twice is no mistake.
    if not job.spec.cancel:
        return None
    if job.holds(ConditionType.CANCELLED):
        return _already("cancelled already", f"nothing, or: carryon resume {job.name}")
    return _already(_PENDING)


def _cancel_ended(job: Subject) -> Verdict | None:
    # Make sure that an end stays what it was.
    return _no(f"it has {_end(job)}: there is nothing to cancel") if job.ended else None


def _cancel_possible(job: Subject) -> Verdict:
    active = job.status.units.active
    said = f"{counted(active, 'unit')} at work: they stop at once" if active else "no pod is at work: none will start"
    return Verdict(True, f"{said}, what is done is kept", f"carryon cancel {job.name}")


# Retry


def _retry_pending(job: Subject) -> Verdict | None:
    # Make sure that a request is not sent twice: it would give a budget twice.
    if job.asked(names.ANNOTATION_RETRY, job.status.handled.retry):
        return _already(_PENDING)
    resuming = not job.suspended and job.asked(names.ANNOTATION_RESUME, job.status.handled.resume)
    return _already("resume was asked for, which gives failed units new attempts too") if resuming else None


def _retry_nothing(job: Subject) -> Verdict | None:
    # Make sure that something failed.
    return None if job.status.units.failed else _no("no unit has failed for good: there is nothing to retry")


def _retry_possible(job: Subject) -> Verdict:
    failed, attempts = job.status.units.failed, job.spec.retry.per_unit
    later = " once it is resumed" if job.suspended else ""
    whom = "it" if failed == 1 else "them"
    return Verdict(
        True,
        f"{counted(failed, 'unit')} failed for good: retry gives {whom} {counted(attempts, 'attempt')}{later}",
        f"carryon retry {job.name}",
        f"Retry failed ({failed})",
    )


# Redo


def _redo_too_early(job: Subject) -> Verdict | None:
    # Make sure that there is a unit to make anew.
    return None if job.status.units.total else _no("its units are not known yet: wait for the operator")


def _redo_full(job: Subject) -> Verdict | None:
    # Make sure that the API server would take one override more.
    if len(job.spec.overrides) < OVERRIDES_MOST:
        return None
    return _no(f"spec.overrides is full ({OVERRIDES_MOST}): take some out", f"carryon edit {job.name}")


def _redo_possible(job: Subject) -> Verdict:
    when = "once it is resumed" if job.suspended else "at once"
    return Verdict(
        True,
        f"a unit is made anew {when}, with a new seed or other params; what it made before is kept",
        f"carryon redo {job.name} STAGE/ITEM",
    )


# Approve


def _approve_nothing(job: Subject) -> Verdict | None:
    # Make sure that a stage asks for it, and is not open to all already.
    asking = [stage.name for stage in job.spec.stages if stage.approval is not None]
    if not asking:
        return _no("no stage asks for approval: there is nothing to approve")
    if not unapproved(job.spec):
        return _already("everything is approved already", "nothing: units go on by themselves")
    return None


def _approve_ended(job: Subject) -> Verdict | None:
    # Make sure that nobody waits for units of a job that is over.
    return _no(f"it has {_end(job)}: nothing waits for approval") if job.ended else None


def _approve_possible(job: Subject) -> Verdict:
    waiting = job.condition(ConditionType.AWAITING_APPROVAL)
    stages = unapproved(job.spec)
    ahead = f"units that reach {' and '.join(stages)} would wait: approve them ahead, or each when it waits"
    return Verdict(
        True,
        waiting.message if waiting is not None and waiting.message else ahead,
        _approval(job),
        f"Approve {stages[0]}" if len(stages) == 1 else "Approve",
    )


def _approval(job: Subject) -> str:
    """What opens the first stage that is not open to all; nothing where somebody has just approved the last."""
    stages = unapproved(job.spec)
    return f"carryon approve {job.name} {stages[0]} --all" if stages else "nothing: units go on by themselves"


def unapproved(spec: JobSpec) -> list[str]:
    """Names of the stages that ask for approval and are not open to all items."""
    return [
        stage.name
        for stage in spec.stages
        if stage.approval is not None and ALL not in spec.approved.get(stage.name, ())
    ]


# Edit and delete


def _edit_possible(job: Subject) -> Verdict:
    how = f"carryon edit {job.name}"
    if job.refused is not None:
        return Verdict(True, f"correct what is refused: {job.refused}", how)
    if job.suspended or job.spec.cancel:
        return Verdict(True, "what an edit changes is made anew once it is resumed, all else is kept", how)
    return Verdict(True, "what an edit changes is made anew, all else is kept", how)


def _delete_twice(job: Subject) -> Verdict | None:
    # Make sure that deleting twice is no mistake: artifacts take a while.
    return _already("it is being deleted already") if job.deleting else None


def _delete_possible(job: Subject) -> Verdict:
    how = f"carryon delete {job.name}"
    if job.spec.output is not None and job.spec.output.on_delete == "Delete":
        return Verdict(True, "its pods stop, and its artifacts are deleted with it (output.onDelete)", how)
    return Verdict(True, "its pods stop, its artifacts are kept", how)


def _end(job: Subject) -> str:
    """How it ended, as a participle."""
    if job.holds(ConditionType.CANCELLED):
        return "been cancelled"
    return "failed" if job.holds(ConditionType.FAILED) else "succeeded"


_CHAINS: Final[Mapping[Action, Sequence[Rule]]] = {
    Action.RESUME: (
        _correct_first,
        _resume_pending,
        _resume_when_done,
        _out_of_gpu_seconds,
        _resume_when_at_work,
        _resume_at_limit,
        _resume_stalled,
        _resume_possible,
    ),
    Action.PAUSE: (_pause_ended, _pause_cancelled, _pause_twice, _pause_possible),
    Action.RESTART: (_correct_first, _resume_first, _restart_nothing, _restart_pending, _restart_possible),
    Action.CANCEL: (_cancel_twice, _cancel_ended, _cancel_possible),
    Action.RETRY: (
        _correct_first,
        _resume_first,
        _retry_nothing,
        _retry_pending,
        _out_of_gpu_seconds,
        _retry_possible,
    ),
    Action.REDO: (
        _correct_first,
        _resume_first,
        _redo_too_early,
        _redo_full,
        _out_of_gpu_seconds,
        _redo_possible,
    ),
    Action.APPROVE: (_correct_first, _resume_first, _approve_nothing, _approve_ended, _approve_possible),
    Action.EDIT: (_edit_possible,),
    Action.DELETE: (_delete_possible,),
}

_LABELS: Final[Mapping[Action, str]] = {
    Action.RESUME: "Resume",
    Action.PAUSE: "Pause",
    Action.RESTART: "Restart",
    Action.CANCEL: "Cancel",
    Action.RETRY: "Retry failed",
    Action.REDO: "Redo a unit",
    Action.APPROVE: "Approve",
    Action.EDIT: "Edit",
    Action.DELETE: "Delete",
}
