"""A job in one line, with what can be done to it now: what lists, live events and the page's first screen show."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, ValidationError

from carryon_api.records import JobRecord
from carryon_api.shapes import Shape
from carryon_core.actions import Action, Verdict, verdicts
from carryon_core.durations import moment
from carryon_core.ranges import IndexSet
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus
from carryon_jobs.view import JobView


class ActionState(Shape):
    """Whether an action is possible now, and why or why not."""

    possible: bool
    reason: str = Field(examples=["9 units done, which are kept"])
    action: str = Field(description="What a person would do next to get there.", examples=["carryon resume reel-42"])
    label: str = Field(description="Of a button.", examples=["Resume (6 remaining)"])
    already: bool = Field(description="It is so already, or was asked for: asking again sends nothing.")

    @classmethod
    def of(cls, verdict: Verdict) -> ActionState:
        """The state that a verdict stands for."""
        return cls(
            possible=verdict.possible,
            reason=verdict.reason,
            action=verdict.action,
            label=verdict.label,
            already=verdict.already,
        )


class UnitTotals(Shape):
    """Units of all stages; `active` overlaps with `remaining`."""

    total: int = Field(examples=[15])
    succeeded: int = Field(examples=[9])
    failed: int = Field(examples=[0])
    active: int = Field(examples=[3])
    remaining: int = Field(examples=[6])


class StageSummary(Shape):
    """One stage in numbers."""

    name: str = Field(examples=["clip"])
    total: int = Field(examples=[15])
    done: int = Field(examples=[9])
    failed: int = Field(examples=[0])
    active: int = Field(examples=[3])


class JobSummary(Shape):
    """A job in one line."""

    namespace: str = Field(examples=["default"])
    name: str = Field(examples=["reel-42"])
    uid: str
    labels: dict[str, str]
    phase: str = Field(examples=["Running"])
    message: str = Field(examples=["9 of 15 clips done, 6 remaining"])
    progress: str = Field(examples=["9/15"])
    units: UnitTotals
    created: str | None = Field(description="RFC 3339.", examples=["2026-11-21T18:00:00Z"])
    started: str | None
    finished: str | None
    suspend: bool = Field(description="Asked to be suspended, whether it is yet or not.")
    suspend_until: str | None
    deleting: bool
    stages: list[StageSummary]
    actions: dict[str, ActionState] = Field(description="By action: resume, pause, restart, cancel, retry and others.")
    resource_version: str = Field(examples=["4711"])


@dataclass(frozen=True, slots=True)
class _Kept:
    """A summary, and until when it holds: `suspendUntil` passes without any change to the job."""

    version: str
    until: float
    summary: JobSummary
    json: bytes


class Summaries:
    """Summaries of jobs, each made once for a version of its job: 1,000 jobs are shown to 100 pages at a time."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start with none.

        Args:
            clock: Seconds since the epoch.
        """
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._specs: dict[str, tuple[Any, JobSpec]] = {}

    def of(self, record: JobRecord) -> JobSummary:
        """The summary of a job."""
        return self._get(record).summary

    def json_of(self, record: JobRecord) -> bytes:
        """The summary of a job as JSON, as it goes over the wire."""
        return self._get(record).json

    def forget(self, uid: str) -> None:
        """Drop what is kept of a job."""
        self._kept.pop(uid, None)
        self._specs.pop(uid, None)

    def _get(self, record: JobRecord) -> _Kept:
        now = self._clock()
        found = self._kept.get(record.uid)
        if found is None or found.version != record.version or found.until <= now:
            made = summary(record, now, self._spec_of)
            until = moment((record.raw.get("spec") or {}).get("suspendUntil")) or 0.0
            content = made.model_dump_json(by_alias=True).encode()
            found = _Kept(record.version, until if until > now else float("inf"), made, content)
            self._kept[record.uid] = found
        return found

    def _spec_of(self, record: JobRecord) -> JobSpec:
        """The spec, read once for a generation: a thousand items take longer than all the rest."""
        generation = record.raw["metadata"].get("generation")
        known = self._specs.get(record.uid)
        if known is None or known[0] is None or known[0] != generation:
            known = self._specs[record.uid] = (generation, spec_of(record))
        return known[1]


def spec_of(record: JobRecord) -> JobSpec:
    """The spec of a job.

    Raises:
        ValidationError: It is of another version of Carryon.
    """
    return JobSpec.model_validate(record.raw.get("spec") or {})


def summary(record: JobRecord, now: float, spec: Callable[[JobRecord], JobSpec] = spec_of) -> JobSummary:
    """The summary of a job.

    Args:
        record: Of the job.
        now: Seconds since the epoch.
        spec: Reads its spec, or remembers it.
    """
    raw, status, view = record.raw, record.status, JobView.of(record.raw)
    times, units = status.get("time") or {}, status.get("units") or {}
    return JobSummary(
        namespace=record.namespace,
        name=record.name,
        uid=record.uid,
        labels=raw["metadata"].get("labels") or {},
        phase=view.phase,
        message=view.message,
        progress=view.progress,
        units=UnitTotals(
            total=units.get("total", 0),
            succeeded=units.get("succeeded", 0),
            failed=view.failed,
            active=view.active,
            remaining=view.remaining,
        ),
        created=raw["metadata"].get("creationTimestamp"),
        started=times.get("started"),
        finished=times.get("finished"),
        suspend=view.suspend,
        suspend_until=view.suspend_until,
        deleting="deletionTimestamp" in raw["metadata"],
        stages=[
            StageSummary(
                name=stage.name,
                total=stage.total,
                done=stage.done,
                failed=stage.failures,
                active=len(stage.active & IndexSet.span(stage.total)),
            )
            for stage in view.stages
        ],
        actions={action.value: ActionState.of(found) for action, found in verdicts_of(record, now, spec).items()},
        resource_version=record.version,
    )


def verdicts_of(
    record: JobRecord, now: float, read: Callable[[JobRecord], JobSpec] = spec_of
) -> Mapping[Action, Verdict]:
    """The verdict on every action; where a newer Carryon wrote the job, on none but to delete it."""
    metadata = record.raw["metadata"]
    deleting = "deletionTimestamp" in metadata
    try:
        spec = read(record)
        status = JobStatus.model_validate(record.status)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        return {action: _unknown(action, where, deleting) for action in Action}
    return verdicts(
        spec,
        status,
        metadata.get("annotations") or {},
        name=record.name,
        generation=metadata.get("generation"),
        now=now,
        deleting=deleting,
    )


_NEWER: Final = "the job holds what this version of Carryon does not know"


def _unknown(action: Action, where: str, deleting: bool) -> Verdict:
    label = action.value.capitalize()
    if action is Action.DELETE and not deleting:
        return Verdict(True, "its pods stop", "", label)
    return Verdict(False, f"{_NEWER} ({where})", "use the version of the API that the cluster has", label)
