"""`GenerationJob.status`: a compact view of what is wanted and what is done.

What is done can be found again in the bucket at any time; budgets, counters and handled requests live only here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from carryon_core.notifications import NOTIFICATIONS_MOST, Notification
from carryon_core.phases import Phase
from carryon_core.schema import Loose, Short, Time, text

ACTIVE_SHOWN = 50
FAILURES_SHOWN = 20
MESSAGE_LONGEST = 1024
MARK = 4
"""Hex digits of a fingerprint by which status tells that a unit is made from something else now."""
MARKED_MOST = 1000
"""Units of one stage that have marks."""
IMAGES_SHOWN = 8
"""Images of one stage that status remembers units to have been begun with."""
MADE_BLOCKS = 60
"""Blocks of one stage's units that `made` has digests of."""


class ConditionType(StrEnum):
    """The truth about a job, one aspect each."""

    ACCEPTED = "Accepted"
    PROGRESSING = "Progressing"
    SUSPENDED = "Suspended"
    STALLED = "Stalled"
    """Waits for a person."""
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    FINISHED = "Finished"
    """Succeeded, failed or cancelled, so that `kubectl wait` ends."""
    AWAITING_APPROVAL = "AwaitingApproval"
    ITEMS_STALE = "ItemsStale"
    ARTIFACTS_MISSING = "ArtifactsMissing"


Indexes = Annotated[str, text(600_000, shortest=0)]
Message = Annotated[str, text(MESSAGE_LONGEST, shortest=0)]


class Condition(Loose):
    """metav1.Condition."""

    type: Short
    status: Literal["True", "False", "Unknown"]
    reason: Short
    message: Annotated[str, text(32_768, shortest=0)] = ""
    last_transition_time: Time
    observed_generation: int | None = None


class UnitCounts(Loose):
    """Units of all stages; `active` overlaps with `remaining`."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    active: int = 0
    remaining: int = 0
    outcomes: Annotated[dict[str, int], Field(max_length=8)] = Field(
        default_factory=dict, description="Outcome -> units that ended so: generated, skipped, filtered."
    )


class ItemsStatus(Loose):
    """Which items the index sets refer to; the list itself lies in the bucket under this digest."""

    count: int = 0
    digest: Short = ""
    variant: Short = Field(default="", description="Digest of overrides and input files: units may change with it.")
    source: Short = Field(default="", description="Version of the data the items come from, with items.from.")


class ActivePod(Loose):
    """One pod at work, and the indexes of its items."""

    pod: Short
    uid: Short
    units: Indexes
    attempt: int
    since: Time


class StageStatus(Loose):
    """One stage. Each unit is in at most one of `succeeded` and `failed`."""

    name: Short
    total: int = 0
    succeeded: Indexes = ""
    failed: Indexes = ""
    failures: dict[str, Indexes] = Field(default_factory=dict, description="Attempts used -> units that used so many.")
    digest: Short = Field(default="", description="Of the stage's generator.")
    skipped: Indexes = Field(default="", description="Units of `succeeded` that made nothing, on purpose.")
    permanent: Indexes = Field(
        default="", description="Units of `failed` that another attempt would not help, whatever budget is left."
    )
    made: Short = Field(
        default="",
        description="Of 60 blocks of units: 4 digits of what those of `succeeded` that made something are made from.",
    )
    marks: Annotated[str, text(MARK * MARKED_MOST, shortest=0)] = Field(
        default="",
        description="Of the first 1,000 units in `failures` and `fruitless`, in order: 4 digits of the fingerprint.",
    )
    fruitless: dict[str, Indexes] = Field(
        default_factory=dict,
        description="Attempts in a row that left nothing durable -> units where that is not the number in `failures`.",
    )
    images: dict[str, Indexes] = Field(
        default_factory=dict,
        description="Image by digest -> units that it began and that are not done; empty: can't be had any more.",
    )
    active: Annotated[
        list[ActivePod], Field(max_length=ACTIVE_SHOWN, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list, description="At most 50 of the pods at work.")
    started: Time | None = None
    finished: Time | None = None


class Counters(Loose):
    """Never one counter for two causes."""

    resumes: int = Field(default=0, description="Times work went on after suspension or on request.")
    restarts: int = Field(default=0, description="Times the active pods were replaced on request.")
    suspensions: int = 0
    disruptions: int = Field(default=0, description="Pods lost through no fault of their own.")
    failures: int = Field(default=0, description="Attempts that failed, but for those that stuck.")
    stuck: int = Field(default=0, description="Attempts that ended for lack of movement.")
    not_resumable: int = Field(
        default=0, description="Attempts that could not use what an earlier one had computed, and started over."
    )
    round: int = Field(
        default=0, description="Round over what is still missing that the job is in; 0 before the first."
    )


class RecentFailure(Loose):
    """Why an attempt failed."""

    stage: Short
    unit: Short
    reason: Short
    message: Message
    attempt: int
    time: Time


class Resume(Loose):
    """Whether work can go on, why or why not, and what a person would have to do."""

    possible: bool
    reason: Message
    action: Message


class Times(Loose):
    """When things happened."""

    started: Time | None = None
    last_activity: Time | None = None
    finished: Time | None = None
    active_since: Time | None = Field(default=None, description="Since when the clock of timeouts.job runs.")
    active_seconds: int = Field(default=0, description="What that clock showed before it last stopped.")


class GpuSeconds(Loose):
    """Seconds of pods times their GPUs (at least one each); booked when a pod has ended."""

    total: int = Field(default=0, description="All of them, from the start of the worker to its end.")
    useful: int = Field(default=0, description="Spent making what is done, by whichever attempt.")
    checkpointing: int = Field(default=0, description="In which steps waited for the journal.")
    lost: int = Field(default=0, description="Between what an attempt last left for a later one, and its end.")
    saved: int = Field(default=0, description="Of earlier attempts that a restart did not have to repeat.")

    @property
    def spent(self) -> int:
        """What `limits.gpuSeconds` is compared with; a status of before `total` has only the parts."""
        return self.total or self.useful + self.lost


class Handled(Loose):
    """Echo of requests that were acted on."""

    resume: Short | None = None
    restart: Short | None = None
    retry: Short | None = None


class Resolved(Loose):
    """What was filled in for fields left out; fixed for this job."""

    output: Annotated[str, text(1024)] | None = None


class JobStatus(Loose):
    """Status of a GenerationJob."""

    observed_generation: int | None = None
    phase: Phase | None = None
    progress: Short = ""
    message: Message = ""
    units: UnitCounts = Field(default_factory=UnitCounts)
    items: ItemsStatus = Field(default_factory=ItemsStatus)
    stages: Annotated[
        list[StageStatus],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = Field(default_factory=list)
    counters: Counters = Field(default_factory=Counters)
    # Not a set, because the API server would write every element down once more, in managedFields.
    recorded: Annotated[
        list[Short], Field(max_length=12_000, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list, description="UIDs of pods that were counted and are not yet gone.")
    recent_failures: Annotated[
        list[RecentFailure], Field(max_length=FAILURES_SHOWN, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)
    resume: Resume | None = None
    gpu_seconds: GpuSeconds = Field(default_factory=GpuSeconds)
    time: Times = Field(default_factory=Times)
    handled: Handled = Field(default_factory=Handled)
    resolved: Resolved = Field(default_factory=Resolved)
    notifications: Annotated[
        list[Notification],
        Field(max_length=NOTIFICATIONS_MOST, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
    ] = Field(
        default_factory=list,
        description="Of each webhook what is still to be delivered, and what came of the last one.",
    )
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
        ),
    ] = Field(default_factory=list)
