"""What is told once, when it becomes so."""

from __future__ import annotations

from typing import Final

from carryon_core.actions import counted
from carryon_core.status import FAILURES_SHOWN, MESSAGE_LONGEST, ConditionType, JobStatus, RecentFailure
from carryon_operator.plan import conditions, requests, summary
from carryon_operator.plan.case import Case
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.counting import Tally
from carryon_operator.plan.ledger import Ledger
from carryon_operator.plan.model import Event, Observation
from carryon_operator.plan.summary import Ending

_TOLD: Final = (
    (ConditionType.STALLED, "Warning"),
    (ConditionType.AWAITING_APPROVAL, "Normal"),
    (ConditionType.ITEMS_STALE, "Warning"),
)


def transitions(seen: Observation, status: JobStatus, ending: Ending | None) -> list[Event]:
    """What has become of the job since its last status."""
    events = farewell(seen, status, ending)
    if ending is not None and not events and requests.grants_resume(seen):
        events.append(Event("Normal", "NothingToResume", summary.standing(status)))
    for kind, type_ in _TOLD if ending is None else ():
        now = conditions.find(status, kind)
        if now is None or now.status != "True" or conditions.holds_because(seen.status, kind, now.reason):
            continue
        reason, message = (now.reason, now.message) if kind is ConditionType.STALLED else (kind.value, now.message)
        events.append(Event(type_, reason, message))
    if seen.edited:
        events += [Event("Warning", "PodTemplateOverridden", warning) for warning in seen.warnings]
    return events


def farewell(seen: Observation, status: JobStatus, ending: Ending | None) -> list[Event]:
    """The event about the end, unless the job had ended just so."""
    return [summary.farewell(status, ending)] if ending is not None and is_new(seen, ending) else []


def is_new(seen: Observation, ending: Ending) -> bool:
    """Whether the job had not ended yet, or otherwise."""
    return not conditions.holds_because(seen.status, ending.kind, ending.value)


def note_missing_files(case: Case, ledger: Ledger, tally: Tally) -> None:
    """Tell once of each unit that fails because a file it needs is not there; of very many, how many they are."""
    missing = ((unit, (stage.index, unit.item)) for stage in case.job.stages for unit in stage.lacking)
    new = [unit for unit, key in missing if key in case.failed and key not in ledger.failed_before]
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


def last_failure(case: Case, status: JobStatus) -> RecentFailure | None:
    """The newest failure of a unit that has failed for good."""
    stages = {stage.name: stage.index for stage in case.job.stages}
    for failure in status.recent_failures:
        stage = stages.get(failure.stage)
        item = case.job.item_index(stage, failure.unit) if stage is not None else None
        if stage is not None and item is not None and (stage, item) in case.failed:
            return failure
    return None


def round_started(ledger: Ledger, units: int) -> Event:
    """The event about a round that begins over so many units."""
    told = f"round {ledger.round} of {ledger.retry.rounds} over {counted(units, 'unit')} still missing"
    return Event("Normal", "RoundStarted", told)
