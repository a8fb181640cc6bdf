"""How long units take, and how long a job still will: from what its units that are done have measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from carryon_core.done import Done, Outcome
from carryon_core.durations import moment
from carryon_core.ranges import IndexSet
from carryon_core.status import ConditionType
from carryon_jobs.errors import OutOfReach
from carryon_jobs.job import READERS, Job
from carryon_jobs.view import JobView
from carryon_store import StoreError
from carryon_store.units import read_done

SAMPLES: Final = 16
"""Units of a stage whose times are read: evenly spread over those that are done."""


@dataclass(frozen=True, slots=True)
class StageLoad:
    """What is left of a stage.

    Attributes:
        after: Names of the stages before it.
        gathers: It has one unit, which waits for all before it.
        missing: Units that are neither done nor failed.
        mean: Seconds that one takes; None while none was measured.
        working: Seconds since each unit at work was begun.
    """

    name: str
    after: tuple[str, ...]
    gathers: bool
    missing: int
    mean: float | None
    working: tuple[float, ...] = ()

    @property
    def left(self) -> float:
        """Seconds of work, were it done one unit after the other."""
        mean = self.mean or 0.0
        return self.missing * mean - sum(min(each, mean) for each in self.working[: self.missing])


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until a job is through, None where nobody can know; `reason` says why not, or what is left out."""

    seconds: float | None
    reason: str = ""


def estimate(stages: Sequence[StageLoad], slots: int) -> Eta:
    """When a job will be through that goes on as it does. Pure.

    Two bounds hold, and the later one is the estimate: all work over the slots that there are; and for each stage the
    first unit's way through the stages before it, its own work, and the last unit's way through those behind it.

    Args:
        stages: All stages, those before others first.
        slots: Units that are made at the same time.
    """
    if not any(stage.missing for stage in stages):
        return Eta(0.0)
    if slots < 1:
        return Eta(None, "no unit can start now")
    unknown = [stage for stage in stages if stage.missing and stage.mean is None]
    for stage in unknown:
        if not stage.gathers:
            return Eta(None, f'no unit of stage "{stage.name}" is done yet, so nobody knows how long one takes')
    known = [stage for stage in stages if stage.missing and stage.mean is not None]
    before = _ways(known, stages)
    behind = _ways(known, _turned(stages))
    bounds = [before[stage.name] + stage.left / min(slots, stage.missing) + behind[stage.name] for stage in known]
    seconds = max([sum(stage.left for stage in known) / slots, *bounds], default=0.0)
    if unknown:
        names = " and ".join(f'"{stage.name}"' for stage in unknown)
        return Eta(seconds or None, f"without stage {names}, which nobody has timed yet")
    return Eta(seconds)


_HELD: Final = (
    (ConditionType.FINISHED, "it has ended"),
    (ConditionType.SUSPENDED, "it is suspended"),
    (ConditionType.STALLED, "it waits for a person"),
)


def expected(view: JobView, spec: Mapping[str, Any], means: Mapping[str, float], slots: int, now: float) -> Eta:
    """When a job will be through, if it is at work at all. Pure.

    Args:
        view: The job.
        spec: The same job's, as the API server has it.
        means: Stage -> seconds that one of its units takes, as far as that was measured.
        slots: Units that are made at the same time.
        now: Seconds since the epoch.
    """
    for condition, said in _HELD:
        if view.holds(condition):
            return Eta(None, said)
    if view.suspend:
        return Eta(None, "it is being suspended")
    if view.refused is not None:
        return Eta(None, "its spec can't be carried out")
    if not any(stage.total for stage in view.stages):
        return Eta(None, "its units are not known yet")
    if view.holds(ConditionType.AWAITING_APPROVAL) and not view.active:
        return Eta(None, "it waits for approval")
    return estimate(_loads(view, spec, means, now), slots)


def _loads(view: JobView, spec: Mapping[str, Any], means: Mapping[str, float], now: float) -> list[StageLoad]:
    made = []
    for stage, written in zip(view.stages, spec["stages"], strict=True):
        since = [moment(pod.get("since")) for pod in stage.pods if IndexSet.parse(pod.get("units", "")) & stage.active]
        made.append(
            StageLoad(
                name=stage.name,
                after=tuple(written.get("after") or ()),
                gathers=written.get("each") == "job",
                missing=max(stage.total - stage.done - stage.failures, 0),
                mean=means.get(stage.name),
                working=tuple(max(now - each, 0.0) for each in since if each is not None),
            )
        )
    return made


def _ways(known: Sequence[StageLoad], stages: Sequence[StageLoad]) -> dict[str, float]:
    """Seconds that one unit takes at least through the stages before each."""
    after = {stage.name: stage.after for stage in stages}
    takes = {stage.name: stage.mean or 0.0 for stage in known}
    made: dict[str, float] = {}

    def way(name: str) -> float:
        if name not in made:
            made[name] = max((way(each) + takes.get(each, 0.0) for each in after[name]), default=0.0)
        return made[name]

    return {stage.name: way(stage.name) for stage in known}


def _turned(stages: Sequence[StageLoad]) -> list[StageLoad]:
    """The same stages with what is behind each in place of what is before it."""
    behind: Mapping[str, list[str]] = {stage.name: [] for stage in stages}
    for stage in stages:
        for name in stage.after:
            behind[name].append(stage.name)
    return [
        StageLoad(stage.name, tuple(behind[stage.name]), stage.gathers, stage.missing, stage.mean) for stage in stages
    ]


def measured(job: Job, stage: str) -> float | None:
    """Mean seconds that a unit of a stage took, from samples of those that are done; None where none is.

    What earlier attempts had done and a later one did not repeat counts: a unit that was interrupted took both.

    Raises:
        JobError: The spec can't be resolved, or the bucket not read.
    """
    view = next(each for each in job.view.stages if each.name == stage)
    made = spread(IndexSet.parse(view.succeeded) - IndexSet.parse(view.skipped), SAMPLES)
    store = job.store
    if not made or store is None:
        return None
    standing = job.standing
    index = next(each.index for each in standing.job.stages if each.name == stage)
    units = [standing.job.unit(index, each) for each in made if each < len(standing.job.stages[index].units)]

    def seconds(prefix: str) -> float | None:
        done = read_done(store, prefix)
        if not isinstance(done, Done) or done.outcome is not Outcome.GENERATED:
            return None
        times = done.timings
        saved = done.resume.saved if done.resume is not None else 0.0
        return times.load + times.generate + times.publish + saved

    try:
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(seconds, [standing.job.prefix(unit) for unit in units if unit.fingerprint]))
    except StoreError as error:
        raise OutOfReach(f"the times of {job.view.name} can't be read: {error}") from None
    known = [each for each in found if each is not None]
    return sum(known) / len(known) if known else None


def spread(indexes: IndexSet, most: int) -> list[int]:
    """At most so many of the indexes, evenly spread, the first and the last among them."""
    listed = list(indexes)
    if len(listed) <= most:
        return listed
    return [listed[round(at * (len(listed) - 1) / (most - 1))] for at in range(most)]
