"""A GenerationJob as people look at it: what the status says, taken from a dict that may be old, new or half there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from carryon_core import layout
from carryon_core.ranges import IndexSet

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True)
class StageView:
    """One stage; index sets in the text form of status, each of which is read once.

    Attributes:
        skipped: Those of `succeeded` that made nothing, on purpose.
        approved: Ids of items that may enter it; "*" means all, None: nobody is asked.
    """

    name: str
    total: int
    succeeded: str
    failed: str
    pods: tuple[Mapping[str, Any], ...]
    skipped: str = ""
    approved: tuple[str, ...] | None = None

    @property
    def done(self) -> int:
        """Units that are done."""
        return len(self._succeeded)

    @property
    def failures(self) -> int:
        """Units that failed for good."""
        return len(self._failed)

    @property
    def complete(self) -> bool:
        """Whether every unit is done or failed for good."""
        return 0 < self.total == self.done + self.failures

    @property
    def active(self) -> IndexSet:
        """Indexes at work, as far as status shows them."""
        made = IndexSet()
        for pod in self.pods:
            made |= IndexSet.parse(pod.get("units", ""))
        return made - self._succeeded - self._failed if made else made

    def state(self, index: int) -> str:
        """How a unit stands: skipped, done, failed, active or waiting."""
        return self.states().get(index, "waiting")

    def states(self) -> dict[int, str]:
        """How the units stand that do not just wait."""
        sets = {"active": self.active, "failed": self._failed}
        sets |= {"done": self._succeeded, "skipped": IndexSet.parse(self.skipped)}
        return {index: state for state, indexes in sets.items() for index in indexes}

    @cached_property
    def _succeeded(self) -> IndexSet:
        return IndexSet.parse(self.succeeded)

    @cached_property
    def _failed(self) -> IndexSet:
        return IndexSet.parse(self.failed)


@dataclass(frozen=True, slots=True)
class UnitView:
    """One unit.

    Attributes:
        state: done, skipped, failed, active, waiting, or waiting for approval, as status says; filtered, as done.json
            says.
        artifacts: Paths or uris of its artifacts, as done.json says; empty until there is one.
    """

    stage: str
    item: str
    state: str
    artifacts: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """What a job's status says about its present generation.

    Attributes:
        suspend: Asked to be suspended, until a time that may have passed.
        counts: Counters that are not zero, by name.
        outcomes: Outcome -> units that ended so.
        gpu_seconds: total, useful, checkpointing, lost and saved, but for those that are zero.
        deletes_artifacts: They go when the job does.
    """

    name: str
    namespace: str
    phase: str
    progress: str
    message: str
    failed: int
    active: int
    remaining: int
    created: datetime | None
    started: datetime | None
    finished: datetime | None
    stages: tuple[StageView, ...]
    failures: tuple[Mapping[str, Any], ...]
    conditions: tuple[Mapping[str, Any], ...]
    notifications: tuple[Mapping[str, Any], ...]
    resume: Mapping[str, Any]
    suspend: bool
    observed: bool
    output: str | None
    suspend_until: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    gpu_seconds: Mapping[str, int] = field(default_factory=dict)
    deletes_artifacts: bool = False

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobView:
        """The view of a job as the API server gives it."""
        metadata, spec, status = job["metadata"], job.get("spec") or {}, job.get("status") or {}
        units, time = status.get("units") or {}, status.get("time") or {}
        stages = {stage["name"]: stage for stage in status.get("stages") or ()}
        return cls(
            name=metadata["name"],
            namespace=metadata.get("namespace", "default"),
            phase=status.get("phase") or "Pending",
            progress=status.get("progress") or "",
            message=status.get("message") or "",
            failed=units.get("failed", 0),
            active=units.get("active", 0),
            remaining=units.get("remaining", 0),
            created=moment(metadata.get("creationTimestamp")),
            started=moment(time.get("started")),
            finished=moment(time.get("finished")),
            stages=tuple(
                _stage(stage, stages.get(stage["name"], {}), spec.get("approved") or {})
                for stage in spec.get("stages") or ()
            ),
            failures=tuple(status.get("recentFailures") or ()),
            conditions=tuple(status.get("conditions") or ()),
            notifications=tuple(status.get("notifications") or ()),
            resume=status.get("resume") or {},
            suspend=bool(spec.get("suspend")),
            observed=(status.get("observedGeneration") or 0) >= metadata.get("generation", 0),
            output=(spec.get("output") or {}).get("uri") or (status.get("resolved") or {}).get("output"),
            suspend_until=spec.get("suspendUntil"),
            counts={name: count for name, count in (status.get("counters") or {}).items() if count},
            # Patches leave them in the order in which they first came.
            outcomes={name: count for name, count in sorted((units.get("outcomes") or {}).items()) if count},
            deletes_artifacts=(spec.get("output") or {}).get("onDelete") == "Delete",
            gpu_seconds={name: count for name, count in (status.get("gpuSeconds") or {}).items() if count},
        )

    def condition(self, kind: str) -> Mapping[str, Any]:
        """A condition by its type; empty where there is none."""
        return next((each for each in self.conditions if each.get("type") == kind), {})

    def holds(self, kind: str) -> bool:
        """Whether a condition is true, and said so about the present generation."""
        return self.observed and self.condition(kind).get("status") == "True"

    @property
    def refused(self) -> str | None:
        """Why the job can't be carried out as written, if so."""
        accepted = self.condition("Accepted")
        return str(accepted.get("message")) if self.observed and accepted.get("status") == "False" else None

    @property
    def artifacts(self) -> str | None:
        """Where they lie: a path for file:// outputs, else a uri."""
        if self.output is None:
            return None
        prefix = layout.job_prefix(self.namespace, self.name)
        if self.output.startswith("file://"):
            return f"{unquote(urlsplit(self.output).path).rstrip('/')}/{prefix}"
        return f"{self.output.rstrip('/')}/{prefix}"


def _stage(stage: Mapping[str, Any], status: Mapping[str, Any], approved: Mapping[str, Any]) -> StageView:
    return StageView(
        name=stage["name"],
        total=status.get("total", 0),
        succeeded=status.get("succeeded") or "",
        failed=status.get("failed") or "",
        pods=tuple(status.get("active") or ()),
        skipped=status.get("skipped") or "",
        approved=tuple(approved.get(stage["name"]) or ()) if stage.get("approval") else None,
    )


def moment(text: str | None) -> datetime | None:
    """A time of the API; None for none."""
    return datetime.fromisoformat(text) if text else None


def span(seconds: float) -> str:
    """A duration in its two largest units: "0s", "59s", "3m20s", "2h", "4d7h"."""
    left = max(int(seconds), 0)
    parts: list[str] = []
    for size, letter in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{letter}")
    shown = [part for part in parts[:2] if not part.startswith("0")]
    return "".join(shown) or "0s"


def elapsed(job: JobView, now: datetime) -> str:
    """Since work began, until it ended."""
    return span(((job.finished or now) - job.started).total_seconds()) if job.started else "-"


def age(job: JobView, now: datetime) -> str:
    """Since the job was created."""
    return span((now - job.created).total_seconds()) if job.created else "-"


def now_utc() -> datetime:
    """The time."""
    return datetime.now(UTC)
