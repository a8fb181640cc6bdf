"""What decisions are made from, and what they come to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from carryon_core import names
from carryon_core.done import Misfit
from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, Standing
from carryon_core.status import JobStatus
from carryon_core.subject import echo
from carryon_operator.plan.shares import Room

PERSON_NEEDED: Final = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "Unschedulable",
    }
)
"""Reasons of `Waiting` that end only when somebody changes something; Unschedulable also when there is room again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a pod has not started.

    Attributes:
        reason: Of the container's waiting state or the condition PodScheduled, such as ImagePullBackOff,
            Unschedulable, SchedulingGated; "" where the pod is just young.
        since: Seconds since the epoch.
    """

    reason: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class Kept:
    """What attempts have left of a unit that is not done.

    Attributes:
        newest: When the last of it was written, seconds since the epoch.
        journal: There is a journal; else it is what a program keeps.
        image: That began the journal, as the worker's pod named it; "" if that is not known.
        device: It was computed on, as the worker calls it; "" if that is not known.
    """

    newest: float
    journal: bool = False
    image: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What decisions need to know of a pod; times are seconds since the epoch.

    Attributes:
        units: Item ids it was given, in order, and `fingerprints` what they were to be made from.
        gone_by: When its deletion should be over (deletionTimestamp), None unless it is being deleted.
        disruption: Why the cluster says that the pod's end is not its own doing: reason of the condition
            DisruptionTarget or TerminationTarget, or NodeLost; "" where it does not.
        started: When the worker's container began to run, None if it did not yet.
        waiting: Why it has not started, None if it has.
        template: Digest of what it was made with besides its units.
        gpus: It holds.
        image: Of its worker, as its spec names it; `image_id` the same by digest, "" as long as none is known that
            could be pulled; `pinned`: it is the one that began its units, whatever is today's.
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
    disruption: str = ""
    waiting: Waiting | None = None
    template: str = ""
    gpus: int = 0
    image: str = ""
    image_id: str = ""
    pinned: bool = False
    exit_code: int | None = None
    reason: str = ""
    message: str = ""

    @property
    def disrupted(self) -> bool:
        """Its end is not held against its units."""
        return bool(self.disruption)

    @property
    def terminal(self) -> bool:
        """Its containers have ended for good."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Stopped:
    """A pod that was stopped, and whose end is still to be accounted for.

    Attributes:
        pod: As it was last seen; `finished` says when it was first missed, if nobody saw it end.
        booked: Seconds times GPUs that status has of it.
    """

    pod: PodRecord
    booked: int


@dataclass(frozen=True, slots=True)
class InvalidDone:
    """A done.json that does not verify: it must go before its unit is made again, or it would refuse the remake."""

    fingerprint: str
    prefix: str
    etag: str
    reason: str


class DeliveryEnd(StrEnum):
    """How an attempt at a notification ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Another may do better."""
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt at a notification.

    Attributes:
        url: Digest of the webhook's url, and `id` of the event.
        number: Which attempt it was, from 1.
        at: When it ended, seconds since the epoch.
        result: What it came to, in a few words of ours.
        wait: Seconds that the receiver asks to be left alone, None if it does not.
    """

    url: str
    id: str
    number: int
    at: float
    end: DeliveryEnd
    result: str
    wait: float | None = None


@dataclass(frozen=True)
class Observation:
    """One job as it was seen at one moment.

    Attributes:
        resolved: The units, or None where `problem` says what is wrong with the spec.
        problem: Reason and message of `Accepted=False`.
        output: The uri artifacts go to, with defaults filled in.
        former_items: (id, params) of the items that the index sets in status refer to, where they are not those of
            `resolved`.
        stale: Reason and message of `ItemsStale`: the items' source is not followed now; None where it is.
        source: Version of the items' source that `resolved` comes from, "" without items.from.
        templates: Stage name -> digests of what its pods would be made with now, round by round.
        warnings: What the job asks for that is not done, such as parts of its podTemplate: sentences.
        images: Stage name -> image that its pods have today.
        done: Fingerprint -> unit that is done, verified in the bucket.
        kept: Fingerprint -> what attempts have left of a unit that is not.
        garbage: Keys of what nobody goes on from any more.
        stopped: Pods that were stopped, and whose end is still to be accounted for; they may be gone.
        invalid: Fingerprint -> a done.json that does not verify.
        swept: The whole bucket was looked at since the last pod ended or the spec changed.
        outage: Why the bucket gives no verdict now, None where it does.
        refused: Why the API server would not take the last pod it was given, None where it did; `refusal` is the
            CamelCase reason of it, such as QuotaExceeded.
        retry_at: Fingerprint -> time before which the unit is not tried again.
        posted: Attempts at notifications that status may not have heard of yet.
        room: What the operator's caps leave the job.
        lost: Of a job that is over, units that were done and are not any more, by a late look at its bucket; None
            where there was no look.
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
    stale: tuple[str, str] | None = None
    source: str = ""
    templates: Mapping[str, Collection[str]] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    kept: Mapping[str, Kept] = field(default_factory=dict)
    garbage: tuple[str, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    done: Mapping[str, DoneUnit] = field(default_factory=dict)
    invalid: Mapping[str, InvalidDone] = field(default_factory=dict)
    swept: bool = True
    outage: str | None = None
    refused: str | None = None
    refusal: str = "PodRefused"
    retry_at: Mapping[str, float] = field(default_factory=dict)
    posted: tuple[DeliveryAttempt, ...] = ()
    room: Room = field(default_factory=Room)
    lost: int | None = None

    @property
    def edited(self) -> bool:
        """Whether status is about another generation."""
        return self.status.observed_generation != self.generation

    @property
    def resume_request(self) -> str | None:
        """A request to resume that was not acted on yet."""
        return self._asked(names.ANNOTATION_RESUME, self.status.handled.resume)

    @property
    def restart_request(self) -> str | None:
        """Likewise, to replace the active pods."""
        return self._asked(names.ANNOTATION_RESTART, self.status.handled.restart)

    @property
    def retry_request(self) -> str | None:
        """Likewise, to give the units it names a new budget."""
        return self._asked(names.ANNOTATION_RETRY, self.status.handled.retry)

    def _asked(self, annotation: str, handled: str | None) -> str | None:
        asked = self.annotations.get(annotation, "")
        return asked if asked and echo(asked) != handled else None


@dataclass(frozen=True, slots=True)
class PodCreate:
    """A pod to create: some items of one stage.

    Attributes:
        round: Whose `roundOverrides` it gets; 0 before the first.
        image: That began its units, where it is to go on with that one; "" is today's.
        device: That its node should have if there are such, as a worker calls it; "" is any.
    """

    name: str
    stage: int
    items: tuple[int, ...]
    attempt: int
    round: int = 0
    image: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class PodDelete:
    """A pod to delete, once status has recorded it.

    Attributes:
        grace: Seconds it has to end, None: as its spec says.
    """

    name: str
    uid: str
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person should read in `kubectl describe`."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What the ends of pods came to, as one status write adds it.

    Attributes:
        total: Seconds of pods times their GPUs; the others are parts of it, but for `saved`: see `status.GpuSeconds`.
        resumed: Attempts that went on from a journal.
        refused: What did not fit -> attempts that started over for it.
        ended: Attempts whose journal was not kept any more from some point on.
    """

    total: int = 0
    useful: int = 0
    checkpointing: int = 0
    lost: int = 0
    saved: int = 0
    resumed: int = 0
    refused: Mapping[Misfit, int] = field(default_factory=dict)
    ended: int = 0


@dataclass(frozen=True)
class Plan:
    """What to do now.

    Attributes:
        status: The status as it should be.
        sweep: Decide again after a look at the whole bucket: the job is about to end, to begin a round or to gather.
        standing: What the creates are made from.
        tails: Failed pods whose log tail goes into the bucket, before status records them.
        prune: The job has just ended: artifacts of outdated fingerprints beyond `keepOutdated` may go.
        remove: The job's time after its end is over: delete it.
        garbage: Keys to delete: nobody goes on from them.
        stopped: As in the observation, for the next one.
        spending: What status has more than before; for whoever measures.
        notified: Likewise, attempts at notifications by what they came to.
        waiting: Pods that would be created too, if the operator's caps had room, or the bucket had been looked at.
        wake_at: When to look again although nothing happens, None if that is not needed.
        retry_at: As in the observation, for the next one.
    """

    status: JobStatus
    standing: Standing | None = None
    create: tuple[PodCreate, ...] = ()
    delete: tuple[PodDelete, ...] = ()
    discard: tuple[InvalidDone, ...] = ()
    events: tuple[Event, ...] = ()
    tails: tuple[PodRecord, ...] = ()
    sweep: bool = False
    prune: bool = False
    remove: bool = False
    garbage: tuple[str, ...] = ()
    stopped: tuple[Stopped, ...] = ()
    spending: Spending = Spending()
    notified: Mapping[DeliveryEnd, int] = field(default_factory=dict)
    waiting: int = 0
    wake_at: float | None = None
    retry_at: Mapping[str, float] = field(default_factory=dict)
