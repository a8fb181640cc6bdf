"""How far a job is: stages, counters, times, and when it will be through. Pure, but for what is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from carryon_api.records import JobRecord, PodSummary
from carryon_api.shapes import Shape
from carryon_api.summaries import JobSummary, StageSummary
from carryon_core.ranges import IndexSet
from carryon_jobs.timing import expected
from carryon_jobs.view import JobView, StageView


class Ranges(Shape):
    """Which units of a stage stand how, as ranges over the indexes of its items: "0-8,11"."""

    succeeded: str = Field(description="Done, those that made nothing on purpose among them.", examples=["0-8"])
    failed: str = Field(examples=[""])
    skipped: str = Field(description="Of those succeeded: made nothing on purpose.", examples=[""])
    active: str = Field(examples=["9-11"])
    waiting_for_approval: str = Field(examples=[""])


class ActivePod(Shape):
    """One pod at work."""

    pod: str = Field(examples=["reel-42-3fa9c0d1b2-1"])
    units: str = Field(description="Indexes of its items, as ranges.", examples=["9"])
    attempt: int = Field(examples=[1])
    since: str = Field(description="RFC 3339.", examples=["2026-11-21T18:00:00Z"])


class StageProgress(Shape):
    """One stage."""

    name: str = Field(examples=["clip"])
    each: str = Field(description="item: one unit for each item; job: one unit that gathers.", examples=["item"])
    after: list[str] = Field(examples=[["image"]])
    total: int = Field(examples=[15])
    done: int = Field(examples=[9])
    failed: int = Field(examples=[0])
    skipped: int = Field(examples=[0])
    ranges: Ranges
    started: str | None
    finished: str | None
    mean_seconds: float | None = Field(description="That one unit took, of those that were looked at.", examples=[41.5])
    approval: str | None = Field(description="Required, where units wait for a person's word.")
    active: list[ActivePod] = Field(description="At most 50.")


class Times(Shape):
    """When things happened; RFC 3339."""

    started: str | None
    last_activity: str | None
    finished: str | None


class ResumeState(Shape):
    """Whether the job can go on by a person's word, and what that person would do."""

    possible: bool
    reason: str = Field(examples=["suspended; 9 units done, which are kept"])
    action: str = Field(examples=["carryon resume reel-42 (6 remaining)"])


class ResumeStatus(ResumeState):
    """The same, with what is kept and what would be made."""

    remaining: int = Field(examples=[6])
    kept: int = Field(examples=[9])


class ProcessStatus(JobSummary):
    """How far a job is."""

    stages: list[StageProgress]  # type: ignore[assignment]
    outcomes: dict[str, int] = Field(description="Outcome -> units that ended so.", examples=[{"generated": 9}])
    counters: dict[str, int] = Field(description="Never one for two causes.", examples=[{"resumes": 1}])
    times: Times
    eta: float | None = Field(description="Seconds until it is through; null where nobody can know.", examples=[249.0])
    eta_reason: str = Field(description="Why not, or what is left out.", examples=[""])
    conditions: list[dict[str, Any]]
    recent_failures: list[dict[str, Any]]
    gpu_seconds: dict[str, int]
    resume: ResumeState
    output: str | None = Field(description="Where its artifacts lie.", examples=["s3://bucket/reels"])


def process_status(
    record: JobRecord,
    summary: JobSummary,
    pods: Sequence[PodSummary],
    means: Mapping[str, float],
    approvals: Mapping[str, IndexSet],
    now: float,
) -> ProcessStatus:
    """How far a job is.

    Args:
        record: Of the job.
        summary: Of the job.
        pods: Of the job.
        means: Stage -> seconds that one of its units takes, as far as that was measured.
        approvals: Stage -> indexes of units that wait for a person's word.
        now: Seconds since the epoch.
    """
    view, status, spec = JobView.of(record.raw), record.status, record.raw.get("spec") or {}
    times = status.get("time") or {}
    written = {each["name"]: each for each in spec.get("stages") or ()}
    known = {each["name"]: each for each in status.get("stages") or ()}
    eta = expected(view, spec, means, slots_of(spec.get("parallelism", 1), pods), now)
    resume = summary.actions["resume"]
    return ProcessStatus(
        **{name: getattr(summary, name) for name in JobSummary.model_fields if name != "stages"},
        stages=[
            _stage(each, line, written[each.name], known.get(each.name, {}), means, approvals)
            for each, line in zip(view.stages, summary.stages, strict=True)
        ],
        outcomes=dict(view.outcomes),
        counters={name: count for name, count in (status.get("counters") or {}).items() if isinstance(count, int)},
        times=Times(
            started=times.get("started"), last_activity=times.get("lastActivity"), finished=times.get("finished")
        ),
        eta=None if eta.seconds is None else round(eta.seconds, 1),
        eta_reason=eta.reason,
        conditions=[dict(each) for each in view.conditions],
        recent_failures=[dict(each) for each in view.failures],
        gpu_seconds=dict(status.get("gpuSeconds") or {}),
        resume=ResumeState(possible=resume.possible, reason=resume.reason, action=resume.action),
        output=view.output,
    )


def resume_status(summary: JobSummary) -> ResumeStatus:
    """Whether a job can go on by a person's word."""
    found = summary.actions["resume"]
    return ResumeStatus(
        possible=found.possible,
        reason=found.reason,
        action=found.action,
        remaining=summary.units.total - summary.units.succeeded,
        kept=summary.units.succeeded,
    )


def _stage(
    view: StageView,
    summary: StageSummary,
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    means: Mapping[str, float],
    approvals: Mapping[str, IndexSet],
) -> StageProgress:
    mean = means.get(view.name)
    return StageProgress(
        name=view.name,
        each=spec.get("each") or "item",
        after=list(spec.get("after") or ()),
        total=view.total,
        done=summary.done,
        failed=summary.failed,
        skipped=len(IndexSet.parse(view.skipped)),
        ranges=Ranges(
            succeeded=view.succeeded,
            failed=view.failed,
            skipped=view.skipped,
            active=str(view.active),
            waiting_for_approval=str(approvals.get(view.name, IndexSet())),
        ),
        started=status.get("started"),
        finished=status.get("finished"),
        mean_seconds=None if mean is None else round(mean, 2),
        approval=spec.get("approval"),
        active=[
            ActivePod(
                pod=str(pod.get("pod", "")),
                units=str(pod.get("units", "")),
                attempt=int(pod.get("attempt", 0)),
                since=str(pod.get("since", "")),
            )
            for pod in view.pods
        ],
    )


def slots_of(parallelism: int, pods: Sequence[PodSummary]) -> int:
    """Units that are made at the same time: as many as are asked for, or as the cluster has room for."""
    waiting = sum(pod.phase == "Pending" for pod in pods)
    at_work = sum(pod.at_work for pod in pods)
    return at_work if waiting and at_work else parallelism
