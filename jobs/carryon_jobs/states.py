"""How the units of a stage stand, as index sets: from what status says, and never unit by unit. Pure.

10,000 units are a few hundred bytes so, and a page of them costs as much as it shows. What the bucket knows besides,
such as whether a unit that made nothing was skipped or filtered, is looked up for those that are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from carryon_core.names import GATHERED
from carryon_core.ranges import IndexSet
from carryon_core.requests import ALL
from carryon_core.spec import JobSpec, Stage
from carryon_core.status import JobStatus, StageStatus

NONE = IndexSet()


class UnitState(StrEnum):
    """How one unit stands."""

    DONE = "done"
    SKIPPED = "skipped"
    FILTERED = "filtered"
    FAILED = "failed"
    ACTIVE = "active"
    WAITING = "waiting"
    WAITING_FOR_APPROVAL = "waitingForApproval"


@dataclass(frozen=True, slots=True)
class StageSets:
    """The units of one stage; each index is in exactly one set but `done`, which holds those of `skipped` too.

    Attributes:
        name: Of the stage.
        index: Of the stage.
        total: Units it has.
        skipped: Made nothing on purpose: skipped, or filtered.
        upstream: Waiting for a unit upstream, of `waiting`.
        unapproved: Waiting for nothing but a person's word.
    """

    name: str
    index: int
    total: int
    done: IndexSet = NONE
    skipped: IndexSet = NONE
    failed: IndexSet = NONE
    active: IndexSet = NONE
    waiting: IndexSet = NONE
    upstream: IndexSet = NONE
    unapproved: IndexSet = NONE

    def of(self, state: UnitState | None) -> IndexSet:
        """The units in a state; None: all. Whether a unit was skipped or filtered, only its done.json says."""
        match state:
            case None:
                return IndexSet.span(self.total)
            case UnitState.DONE:
                return self.done - self.skipped
            case UnitState.SKIPPED | UnitState.FILTERED:
                return self.skipped
            case UnitState.FAILED:
                return self.failed
            case UnitState.ACTIVE:
                return self.active
            case UnitState.WAITING:
                return self.waiting
            case UnitState.WAITING_FOR_APPROVAL:
                return self.unapproved

    def state(self, index: int) -> UnitState:
        """How one unit stands."""
        if index in self.skipped:
            return UnitState.SKIPPED
        if index in self.done:
            return UnitState.DONE
        if index in self.failed:
            return UnitState.FAILED
        if index in self.active:
            return UnitState.ACTIVE
        return UnitState.WAITING_FOR_APPROVAL if index in self.unapproved else UnitState.WAITING


@dataclass(frozen=True)
class Known:
    """What is known of a job besides its spec and status.

    Attributes:
        ids: Of its items, in order.
        index_of: Item id -> index.
        active: Stage name -> ids of items that pods are at.
        chained: Indexes of the stages whose units wait for the one before in order of the items.
    """

    ids: Sequence[str]
    index_of: Mapping[str, int]
    active: Mapping[str, Sequence[str]] = field(default_factory=dict)
    chained: frozenset[int] = frozenset()


def stage_sets(spec: JobSpec, status: JobStatus, known: Known) -> list[StageSets]:
    """The units of all stages, in the order of the spec."""
    told = {stage.name: stage for stage in status.stages}
    items = len(known.ids)
    made: dict[str, StageSets] = {}
    for index, stage in enumerate(spec.stages):
        total = 1 if stage.each == GATHERED else items
        made[stage.name] = _ended(stage, index, total, told.get(stage.name, StageStatus(name=stage.name)), known)
    return [_waiting(stage, made, spec, known) for stage in spec.stages]


def page(
    stages: Sequence[StageSets], state: UnitState | None, offset: int, limit: int
) -> Iterator[tuple[StageSets, int]]:
    """Some of the units in a state, stage by stage: what lies before them is not looked at one by one."""
    for stage in stages:
        found = stage.of(state)
        size = len(found)
        if offset >= size:
            offset -= size
            continue
        for index in islice(_from(found, offset), limit):
            yield stage, index
            limit -= 1
        offset = 0
        if not limit:
            return


def _from(found: IndexSet, offset: int) -> Iterator[int]:
    for start, stop in found.intervals():
        size = stop - start + 1
        if offset >= size:
            offset -= size
            continue
        yield from range(start + offset, stop + 1)
        offset = 0


def _ended(stage: Stage, index: int, total: int, told: StageStatus, known: Known) -> StageSets:
    every = IndexSet.span(total)
    # A status that is older than the spec may speak of items that are gone.
    done, failed = IndexSet.parse(told.succeeded) & every, IndexSet.parse(told.failed) & every
    failed -= done
    active = NONE
    for pod in told.active:
        active |= IndexSet.parse(pod.units)
    given = known.active.get(stage.name, ())
    if stage.each == GATHERED:
        active |= IndexSet([0] if GATHERED in given else [])
    else:
        active |= IndexSet(known.index_of[item] for item in given if item in known.index_of)
    return StageSets(
        name=stage.name,
        index=index,
        total=total,
        done=done,
        skipped=IndexSet.parse(told.skipped) & done,
        failed=failed,
        active=(active & every) - done - failed,
    )


def _waiting(stage: Stage, made: Mapping[str, StageSets], spec: JobSpec, known: Known) -> StageSets:
    sets = made[stage.name]
    every = IndexSet.span(sets.total)
    waiting = every - sets.done - sets.failed - sets.active
    each = {before.name: before.each for before in spec.stages}
    ready = waiting
    for name in stage.after:
        before = made[name]
        if stage.each == GATHERED:
            complete = len(before.done | before.failed) == before.total
            ready = ready if complete else NONE
        elif each[name] == GATHERED:
            ready = ready if before.done else NONE
        else:
            ready &= before.done
    if sets.index in known.chained:
        ready &= IndexSet([0, *(index + 1 for index in sets.done)])
    unapproved = NONE
    if stage.approval is not None:
        approved = spec.approved.get(stage.name, [])
        if ALL not in approved:
            at = (0 if stage.each == GATHERED else known.index_of.get(item) for item in approved)
            unapproved = ready - IndexSet(index for index in at if index is not None)
    return StageSets(
        name=sets.name,
        index=sets.index,
        total=sets.total,
        done=sets.done,
        skipped=sets.skipped,
        failed=sets.failed,
        active=sets.active,
        waiting=waiting - unapproved,
        upstream=waiting - ready,
        unapproved=unapproved,
    )


def failure_reasons(status: JobStatus) -> dict[tuple[str, str], str]:
    """Why units failed last, of those that status still tells: (stage, item id) -> sentence."""
    found: dict[tuple[str, str], str] = {}
    for failure in status.recent_failures:  # The newest first.
        found.setdefault((failure.stage, failure.unit), f"{failure.reason}: {failure.message}")
    return found
