"""What came of the jobs that exist: how many succeed, what goes wrong, where time goes, what resuming saved. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from carryon_core.durations import moment
from carryon_core.ranges import IndexSet

CAUSES: Final = {
    "failures": "failures",
    "stuck": "stuck",
    "disruptions": "disruptions",
    "notResumable": "not_resumable",
}
"""Counters of status that stand for an attempt that had to be made again, and what they are called here."""
_STAGES_MOST: Final = 200


class Shape(BaseModel):
    """Part of an answer; camelCase where it is told."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True)


class JobCounts(Shape):
    """Jobs by how they stand."""

    total: int = Field(examples=[42])
    active: int = Field(examples=[2])
    succeeded: int = Field(examples=[38])
    failed: int = Field(examples=[1])
    cancelled: int = Field(examples=[1])
    success_rate: float | None = Field(description="Of those that ended and were not cancelled.", examples=[0.974])


class UnitCounts(Shape):
    """Units of all jobs by how they stand."""

    total: int
    succeeded: int
    failed: int
    success_rate: float | None = Field(description="Of those that are done or failed for good.", examples=[0.998])


class Retries(Shape):
    """Attempts that had to be made again, by cause."""

    failures: int = Field(description="Attempts that failed, but for those that stuck.")
    stuck: int = Field(description="Attempts that ended for lack of movement.")
    disruptions: int = Field(description="Pods lost through no fault of their own.")
    not_resumable: int = Field(description="Attempts that could not use what an earlier one had computed.")
    reasons: dict[str, int] = Field(description="Of the failures that jobs still show.", examples=[{"OutOfMemory": 2}])


class StageTimes(Shape):
    """Time that stages of one name took."""

    stage: str = Field(examples=["clip"])
    jobs: int = Field(description="Whose stage has ended.", examples=[38])
    units: int = Field(description="Done in those.", examples=[570])
    mean_seconds: float = Field(description="From the first pod of the stage to its end.", examples=[632.0])
    seconds_per_unit: float | None = Field(description="The same by the units that were made.", examples=[42.1])


class GpuSeconds(Shape):
    """Seconds of pods times their GPUs."""

    total: int
    useful: int = Field(description="Spent making what is done.")
    checkpointing: int = Field(description="In which steps waited for the journal.")
    lost: int = Field(description="Between what an attempt last left and its end.")
    saved: int = Field(description="Of earlier attempts that a restart did not have to repeat.")


class Analytics(Shape):
    """What came of the jobs that exist."""

    jobs: JobCounts
    units: UnitCounts
    retries: Retries
    stages: list[StageTimes]
    gpu_seconds: GpuSeconds


@dataclass
class _Stage:
    jobs: int = 0
    units: int = 0
    seconds: float = 0.0


@dataclass
class _Sums:
    jobs: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    counters: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    gpu: Counter[str] = field(default_factory=Counter)
    stages: dict[str, _Stage] = field(default_factory=dict)


def analytics(jobs: Iterable[Mapping[str, Any]]) -> Analytics:
    """What came of these jobs, as the API server has them."""
    sums = _Sums()
    for job in jobs:
        _add(sums, job.get("status") or {})
    ended = sums.jobs["Succeeded"] + sums.jobs["Failed"]
    finished = sums.units["succeeded"] + sums.units["failed"]
    return Analytics(
        jobs=JobCounts(
            total=sums.jobs.total(),
            active=sums.jobs["active"],
            succeeded=sums.jobs["Succeeded"],
            failed=sums.jobs["Failed"],
            cancelled=sums.jobs["Cancelled"],
            success_rate=_rate(sums.jobs["Succeeded"], ended),
        ),
        units=UnitCounts(
            total=sums.units["total"],
            succeeded=sums.units["succeeded"],
            failed=sums.units["failed"],
            success_rate=_rate(sums.units["succeeded"], finished),
        ),
        retries=Retries(
            **{name: sums.counters[counter] for counter, name in CAUSES.items()}, reasons=dict(sums.reasons)
        ),
        stages=[_times(name, stage) for name, stage in sorted(sums.stages.items())[:_STAGES_MOST]],
        gpu_seconds=GpuSeconds(**{name: sums.gpu[name] for name in GpuSeconds.model_fields}),
    )


def _add(sums: _Sums, status: Mapping[str, Any]) -> None:
    sums.jobs[_end(status)] += 1
    units, gpu, counters = status.get("units") or {}, status.get("gpuSeconds") or {}, status.get("counters") or {}
    for name in ("total", "succeeded", "failed"):
        sums.units[name] += units.get(name, 0)
    for name in GpuSeconds.model_fields:
        sums.gpu[name] += gpu.get(name, 0)
    for name in CAUSES:
        sums.counters[name] += counters.get(name, 0)
    sums.reasons.update(str(each.get("reason")) for each in status.get("recentFailures") or ())
    for stage in status.get("stages") or ():
        started, finished = moment(stage.get("started")), moment(stage.get("finished"))
        if started is not None and finished is not None:
            made = sums.stages.setdefault(stage["name"], _Stage())
            made.jobs += 1
            made.units += len(IndexSet.parse(stage.get("succeeded") or "") - IndexSet.parse(stage.get("skipped") or ""))
            made.seconds += max(finished - started, 0.0)


def _end(status: Mapping[str, Any]) -> str:
    true = {each.get("type") for each in status.get("conditions") or () if each.get("status") == "True"}
    return next((kind for kind in ("Cancelled", "Failed", "Succeeded") if kind in true), "active")


def _times(name: str, stage: _Stage) -> StageTimes:
    return StageTimes(
        stage=name,
        jobs=stage.jobs,
        units=stage.units,
        mean_seconds=round(stage.seconds / stage.jobs, 1),
        seconds_per_unit=round(stage.seconds / stage.units, 2) if stage.units else None,
    )


def _rate(good: int, all_: int) -> float | None:
    return round(good / all_, 4) if all_ else None
