"""What one decision rests on: an accepted job whose bucket answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from functools import cached_property

from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.standing import Standing, UnitKey, stand
from carryon_operator.plan.model import Observation, PodRecord


@dataclass(frozen=True)
class Case:
    """A job that can be decided on.

    Attributes:
        standing: What is done, and which fingerprints units have by that.
        failed: Units that failed for good, by themselves or through what they need.
    """

    seen: Observation
    spec: JobSpec
    standing: Standing
    failed: Set[UnitKey] = frozenset()

    @property
    def job(self) -> ResolvedJob:
        """The job, with the fingerprints of today."""
        return self.standing.job

    @property
    def remaining(self) -> int:
        """Units that are still to be made."""
        return self.job.total - len(self.standing.outcomes) - len(self.failed)

    @cached_property
    def moved(self) -> Callable[[UnitKey], UnitKey | None]:
        """From a unit that status speaks of to the same item's today; None for one whose item is gone."""
        job, before = self.job, self.seen.status.items.digest
        units = tuple(len(stage.units) for stage in job.stages)
        if before in ("", job.items_digest):
            return lambda unit: unit if unit[1] < units[unit[0]] else None
        former = [item for item, _ in self.seen.former_items or ()]

        def move(unit: UnitKey) -> UnitKey | None:
            stage, old = unit
            if job.stages[stage].gathers:
                return unit if old == 0 else None
            item = job.item_index(stage, former[old]) if old < len(former) else None
            return None if item is None else (stage, item)

        return move

    def after(self, failed: Set[UnitKey]) -> Case:
        """The same case when these units have failed for good: what gathers may be complete by that."""
        assert self.seen.resolved is not None
        standing = stand(self.seen.resolved, self.seen.done, failed)
        # What would have failed may be skipped, because what it is made from was.
        return Case(self.seen, self.spec, standing, failed - standing.outcomes.keys())

    def given(self, pod: PodRecord) -> dict[UnitKey, str]:
        """The units a pod was given, in whatever version, that the job still has, with their item ids."""
        stage = next((stage for stage in self.job.stages if stage.name == pod.stage), None)
        if stage is None:
            return {}
        placed = ((self.job.item_index(stage.index, item), item) for item in pod.units)
        return {(stage.index, at): item for at, item in placed if at is not None}

    def wanted(self, pod: PodRecord) -> dict[UnitKey, str]:
        """Those of them that are still to be made just so."""
        fingerprints = dict(zip(pod.units, pod.fingerprints, strict=False))
        return {
            unit: item
            for unit, item in self.given(pod).items()
            if self.job.unit(*unit).fingerprint == fingerprints.get(item)
        }

    def busy(self, pods: Iterable[PodRecord]) -> set[UnitKey]:
        """Units that some of these pods were given, in whatever version."""
        return {unit for pod in pods for unit in self.given(pod)}


def open_case(seen: Observation, spec: JobSpec, resolved: ResolvedJob) -> Case:
    """The case as the bucket shows it, before anything is counted."""
    return Case(seen, spec, stand(resolved, seen.done))
