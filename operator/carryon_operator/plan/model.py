"""What decisions are made from, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from carryon_core import names
from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import JobStatus

REQUEST_LONGEST: Final = 253
"""Characters of a request that count: status has room for so many."""

UnitKey = tuple[int, int]
"""Index of the stage, index of the item."""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What decisions need to know of a pod; times are seconds since the epoch.

    Attributes:
        units: Item ids it was given, in order, and `fingerprints` what they were to be made from.
        gone_by: When its deletion should be over (deletionTimestamp), None unless it is being deleted.
        disrupted: The cluster says that the pod's end is not its own doing (condition DisruptionTarget or
            TerminationTarget, or a lost node).
        exit_code: Of the worker's container, None while it runs or if it never ran.
        reason: Of the container's end, or of the pod's.
        message: The termination message, or the pod's own.
    """

    namespace: str
    name: str
    uid: str
    job_uid: str
    stage: str
    units: tuple[str, ...]
    fingerprints: tuple[str, ...]
    attempt: int
    phase: str
    created: float
    started: float | None = None
    finished: float | None = None
    gone_by: float | None = None
    disrupted: bool = False
    exit_code: int | None = None
    reason: str = ""
    message: str = ""

    @property
    def terminal(self) -> bool:
        """Its containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class InvalidDone:
    """A done.json that does not verify: it must go before its unit is made again, or it would refuse the remake."""

    fingerprint: str
    prefix: str
    etag: str
    reason: str


@dataclass(frozen=True)
class Observation:
    """One job as it was seen at one moment.

    Attributes:
        resolved: The units, or None where `problem` says what is wrong with the spec.
        problem: Reason and message of `Accepted=False`.
        output: The uri artifacts go to, with defaults filled in.
        former_items: (id, params) of the items that the index sets in status refer to, where they are not those of
            `resolved`.
        done: Fingerprints of units that are done, verified in the bucket.
        invalid: Fingerprint -> a done.json that does not verify.
        swept: The whole bucket was looked at since the last pod ended or the spec changed.
        outage: Why the bucket gives no verdict now, None where it does.
        refused: Why the API server would not take the last pod it was given, None where it did.
        retry_at: Fingerprint -> time before which the unit is not tried again.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    annotations: Mapping[str, str]
    spec: JobSpec | None
    status: JobStatus
    resolved: ResolvedJob | None
    now: float
    problem: tuple[str, str] | None = None
    output: str | None = None
    former_items: tuple[tuple[str, Mapping[str, Any]], ...] | None = None
    pods: tuple[PodRecord, ...] = ()
    done: frozenset[str] = frozenset()
    invalid: Mapping[str, InvalidDone] = field(default_factory=dict)
    swept: bool = True
    outage: str | None = None
    refused: str | None = None
    retry_at: Mapping[str, float] = field(default_factory=dict)

    @property
    def resume_request(self) -> str | None:
        """A request to resume that was not acted on yet, as its echo will stand in status."""
        asked = self.annotations.get(names.ANNOTATION_RESUME, "")[:REQUEST_LONGEST]
        return asked if asked and asked != self.status.handled.resume else None


@dataclass(frozen=True, slots=True)
class PodCreate:
    """A pod to create: some items of one stage."""

    name: str
    stage: int
    items: tuple[int, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class PodDelete:
    """A pod to delete, once status has recorded it."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person should read in `kubectl describe`."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do now.

    Attributes:
        status: The status as it should be.
        sweep: Decide again after a look at the whole bucket: the job is about to end.
        wake_at: When to look again although nothing happens, None if that is not needed.
        retry_at: As in the observation, for the next one.
    """

    status: JobStatus
    create: tuple[PodCreate, ...] = ()
    delete: tuple[PodDelete, ...] = ()
    discard: tuple[InvalidDone, ...] = ()
    events: tuple[Event, ...] = ()
    sweep: bool = False
    wake_at: float | None = None
    retry_at: Mapping[str, float] = field(default_factory=dict)
