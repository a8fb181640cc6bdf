"""Conditions, and the phase and sentences derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from carryon_core.status import MESSAGE_LONGEST, Condition, ConditionType, JobStatus

Claim: TypeAlias = tuple[bool, str, str]
"""Whether a condition holds, reason and message."""
Claims: TypeAlias = Mapping[ConditionType, Claim]


def rfc3339(moment: float) -> str:
    """A time as Kubernetes writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_claims(status: JobStatus, claims: Claims, generation: int, now: float) -> JobStatus:
    """The status in which these claims hold; conditions that they say nothing about stay."""
    kept = [condition for condition in status.conditions if condition.type not in claims]
    return status.model_copy(update={"conditions": _updated(status, claims, generation, now) + kept})


def _updated(status: JobStatus, claims: Claims, generation: int, now: float) -> list[Condition]:
    """The conditions after these claims; a transition time changes only with the status of its condition."""
    before = {condition.type: condition for condition in status.conditions}
    made = []
    for kind, (holds, reason, message) in claims.items():
        truth = "True" if holds else "False"
        old = before.get(kind)
        since = old.last_transition_time if old is not None and old.status == truth else rfc3339(now)
        made.append(
            Condition(
                type=kind,
                status=truth,
                reason=reason,
                message=message[:MESSAGE_LONGEST],
                last_transition_time=since,
                observed_generation=generation,
            )
        )
    return made


def find(status: JobStatus, kind: ConditionType) -> Condition | None:
    """The condition of this type, None where it was never set."""
    return next((condition for condition in status.conditions if condition.type == kind), None)


def holds(status: JobStatus, kind: ConditionType) -> bool:
    """Whether the condition is set and true."""
    condition = find(status, kind)
    return condition is not None and condition.status == "True"


def holds_because(status: JobStatus, kind: ConditionType, reason: str) -> bool:
    """Whether the condition is set and true, for this reason."""
    condition = find(status, kind)
    return condition is not None and (condition.status, condition.reason) == ("True", reason)
