"""What people ask for by annotation: resume, restart, retry. Each is acted on once; its echo in status says so."""

from __future__ import annotations

from collections.abc import Mapping

from carryon_core.actions import VANISHED
from carryon_core.ranges import IndexSet
from carryon_core.resolved import ResolvedJob
from carryon_core.standing import UnitKey
from carryon_core.status import ConditionType, Handled, JobStatus
from carryon_core.subject import echo
from carryon_operator.plan import clock, conditions
from carryon_operator.plan.ledger import Ledger
from carryon_operator.plan.model import Event, Observation
from carryon_operator.plan.summary import RESUMING


class RequestError(ValueError):
    """A request that can't be understood: a sentence for people."""


def handled(seen: Observation) -> Handled:
    """The echo, once everything that was asked for is acted on."""
    requests = {"resume": seen.resume_request, "restart": seen.restart_request, "retry": seen.retry_request}
    return seen.status.handled.model_copy(update={name: echo(asked) for name, asked in requests.items() if asked})


def handled_resume(seen: Observation) -> Handled:
    """The echo, once only a request to resume is answered."""
    asked = seen.resume_request
    return seen.status.handled.model_copy(update={"resume": echo(asked)}) if asked else seen.status.handled


def resume_refused(seen: Observation) -> str:
    """Why a request to resume is not granted, "" where it is: a chain, the first sentence that fits stands."""
    limit = seen.spec.limits.resumes if seen.spec else None
    # Make sure that whoever resumes by machine comes to an end.
    if limit is not None and seen.status.counters.resumes >= limit:
        return f"spec.limits.resumes is reached ({seen.status.counters.resumes} of {limit}): raise it"
    # Make sure that what was cancelled stays so until its spec says otherwise.
    if seen.spec is not None and seen.spec.cancel:
        return "spec.cancel is true: set it to false"
    return ""


def grants_resume(seen: Observation) -> bool:
    """Whether a request to resume was made that is acted on now."""
    return seen.resume_request is not None and not resume_refused(seen)


def confirms_loss(seen: Observation) -> bool:
    """Whether somebody who could know that artifacts are gone asks to have them made again."""
    told = conditions.holds_because(seen.status, ConditionType.STALLED, VANISHED)
    return grants_resume(seen) and (told or conditions.holds(seen.status, ConditionType.ARTIFACTS_MISSING))


def was_suspended(seen: Observation) -> bool:
    """Whether the job, as status left it, was suspended, or on the way to that or back."""
    before = conditions.find(seen.status, ConditionType.SUSPENDED)
    return before is not None and before.reason in ("Suspended", "Suspending", RESUMING)


def is_released(seen: Observation) -> bool:
    """Whether the job was suspended, and its spec does not want that any more."""
    assert seen.spec is not None
    return was_suspended(seen) and not clock.on_hold(seen.spec, seen.now) and not seen.spec.cancel


def resume(seen: Observation, ledger: Ledger, retry_at: dict[str, float]) -> list[Event]:
    """Give units that failed a new budget; delays and rounds begin anew."""
    if seen.resume_request is None:
        return []
    if refusal := resume_refused(seen):
        # Whoever lets a suspended job go needs nothing more.
        return [] if is_released(seen) else [Event("Warning", "ResumeRefused", f"not resumed: {refusal}")]
    ledger.forgive()
    retry_at.clear()
    return []


def retry(
    seen: Observation,
    job: ResolvedJob,
    done: Mapping[UnitKey, object],
    ledger: Ledger,
    retry_at: dict[str, float],
) -> list[Event]:
    """Give the units that a request names a new budget, whatever became of the others."""
    if seen.retry_request is None:
        return []
    try:
        units = parse_units(seen.retry_request, job)
    except RequestError as error:
        return [Event("Warning", "RetryRefused", f"nothing is retried: {error}")]
    if units <= done.keys():
        return [Event("Normal", "NothingToRetry", "all that it names is done")]
    ledger.forgive(units)
    for unit in units:
        retry_at.pop(job.unit(*unit).fingerprint, None)
    return [Event("Normal", "Retried", f"asked for: {seen.retry_request.partition('@')[0][:200]}")]


def grants_retry(seen: Observation, job: ResolvedJob) -> bool:
    """Whether a request to retry was made that names units of the job."""
    try:
        return seen.retry_request is not None and bool(parse_units(seen.retry_request, job))
    except RequestError:
        return False


def parse_units(text: str, job: ResolvedJob) -> set[UnitKey]:
    """The units that "clip/7,clip/9-11" names, by indexes as in status; what follows an "@" is a time, for nobody.

    Raises:
        RequestError: It is malformed, or names what the job has not.
    """
    stages = {stage.name: stage for stage in job.stages}
    named: set[UnitKey] = set()
    for part in text.partition("@")[0].split(","):
        name, slash, indexes = part.strip().partition("/")
        if not slash or name not in stages:
            has = ", ".join(stages)
            raise RequestError(f'"{part}" is no unit: write STAGE/INDEX, such as {next(iter(stages))}/0; stages: {has}')
        stage = stages[name]
        if stage.gathers and job.item_index(stage.index, indexes) is not None:
            named.add((stage.index, 0))
            continue
        try:
            items = IndexSet.parse(indexes)
        except ValueError as error:
            raise RequestError(str(error)) from None
        if not items or items - IndexSet.span(len(stage.units)):
            raise RequestError(f'"{part}": stage {name} has the indexes 0 to {len(stage.units) - 1}')
        named.update((stage.index, item) for item in items)
    return named


def nothing_to_do(seen: Observation) -> list[Event]:
    """What there is to say about requests to a job that has ended and stays so."""
    events = []
    if seen.restart_request is not None:
        events.append(Event("Normal", "NothingToRestart", f"the job has ended: {_ending(seen.status)}"))
    return events


def _ending(status: JobStatus) -> str:
    for kind in (ConditionType.SUCCEEDED, ConditionType.FAILED, ConditionType.CANCELLED):
        if conditions.holds(status, kind):
            return kind.value
    return ConditionType.FINISHED.value
