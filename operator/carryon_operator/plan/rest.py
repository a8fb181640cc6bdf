"""A job that has ended and stays as it is."""

from __future__ import annotations

from carryon_core.durations import moment
from carryon_core.status import ConditionType
from carryon_operator.plan import clock, conditions, requests, stopping, summary
from carryon_operator.plan.counting import open_tally
from carryon_operator.plan.model import Event, Observation, Plan


def is_over(seen: Observation) -> bool:
    """Whether the job ended, and nothing was edited or asked for since."""
    return (
        conditions.holds(seen.status, ConditionType.FINISHED)
        and conditions.holds(seen.status, ConditionType.ACCEPTED)
        and not seen.edited
        and seen.resume_request is None
        and seen.retry_request is None
        and seen.status.items.digest == (seen.resolved.items_digest if seen.resolved else "")
    )


def at_rest(seen: Observation) -> Plan:
    """Pods that are left or came late are recorded and deleted, UIDs of those gone are struck out."""
    assert seen.spec is not None
    tally = open_tally(seen)
    for pod in seen.pods:
        tally.record(pod)
    claims = {ConditionType.ITEMS_STALE: summary.items_stale(seen.stale)}
    if seen.lost is not None:
        claims[ConditionType.ARTIFACTS_MISSING] = summary.artifacts_missing(seen.name, seen.lost)
    told = {"recorded": list(tally.recorded), "handled": requests.handled(seen)}
    status = conditions.with_claims(seen.status.model_copy(update=told), claims, seen.generation, seen.now)
    status = summary.with_phase(status)
    missing = conditions.find(status, ConditionType.ARTIFACTS_MISSING)
    events = requests.nothing_to_do(seen)
    if missing is not None and missing.status == "True":
        if not conditions.holds(seen.status, ConditionType.ARTIFACTS_MISSING):
            events.append(Event("Warning", "ArtifactsMissing", missing.message))
        status = summary.with_resume(seen.name, seen.spec, status)
    ttl, finished = seen.spec.ttl_seconds_after_finished, moment(status.time.finished)
    gone_at = finished + ttl if ttl is not None and finished is not None else None
    return Plan(
        status=status,
        delete=stopping.deletes(seen, status),
        events=tuple(events),
        remove=gone_at is not None and gone_at <= seen.now,
        wake_at=clock.next_of([gone_at], seen.now),
    )
