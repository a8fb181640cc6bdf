"""A job as verdicts see it: what holds of it now, whoever may have asked for what. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from carryon_core.durations import moment
from carryon_core.spec import JobSpec
from carryon_core.status import Condition, ConditionType, JobStatus

REQUEST_LONGEST: Final = 253
"""Characters of a request that status has room to echo as they are."""


@dataclass(frozen=True)
class Subject:
    """A job as far as verdicts go.

    Attributes:
        generation: Of the spec; None: the one that status is about.
        now: Seconds since the epoch, for suspendUntil; None: as the operator last saw it.
        deleting: It has a deletionTimestamp.
    """

    spec: JobSpec
    status: JobStatus
    annotations: Mapping[str, str]
    name: str = "NAME"
    generation: int | None = None
    now: float | None = None
    deleting: bool = False

    def condition(self, kind: ConditionType) -> Condition | None:
        """A condition that is true of the present generation, None where it is not."""
        found = next((each for each in self.status.conditions if each.type == kind and each.status == "True"), None)
        return found if self.observed else None

    def holds(self, kind: ConditionType) -> bool:
        """Whether a condition is true of the present generation."""
        return self.condition(kind) is not None

    @property
    def observed(self) -> bool:
        """Whether the operator has seen the spec as it is."""
        return self.generation is None or (self.status.observed_generation or 0) >= self.generation

    @property
    def refused(self) -> str | None:
        """Why the job can't be carried out as written, None where it can."""
        accepted = next((each for each in self.status.conditions if each.type == ConditionType.ACCEPTED), None)
        return sentence(accepted) if self.observed and accepted is not None and accepted.status == "False" else None

    @property
    def ended(self) -> bool:
        """Succeeded, failed or cancelled."""
        return self.holds(ConditionType.FINISHED)

    @property
    def suspended(self) -> bool:
        """Whether the spec keeps the job from working, by `suspend` or by a time that lies ahead."""
        if self.spec.suspend or self.spec.suspend_until is None:
            return self.spec.suspend
        if self.now is not None and (until := moment(self.spec.suspend_until)) is not None:
            return until > self.now
        turn = next((each for each in self.status.conditions if each.type == ConditionType.SUSPENDED), None)
        return turn is not None and (turn.status == "True" or turn.reason == "Suspending")

    @property
    def missing(self) -> int:
        """Units that are not done, those that failed for good among them."""
        return self.status.units.total - self.status.units.succeeded

    def asked(self, annotation: str, handled: str | None) -> bool:
        """Whether a request was made that the operator has not acted on."""
        request = self.annotations.get(annotation, "")
        return bool(request) and echo(request) != handled


def echo(request: str) -> str:
    """A request as status echoes it: itself, or its digest where it is too long for that."""
    if len(request) <= REQUEST_LONGEST:
        return request
    return f"sha256:{hashlib.sha256(request.encode()).hexdigest()}"


def sentence(condition: Condition) -> str:
    """What a condition says, were it only its reason."""
    return condition.message or condition.reason


def counted(count: int, noun: str) -> str:
    """A number of things in words: "1 unit", "15 units"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
