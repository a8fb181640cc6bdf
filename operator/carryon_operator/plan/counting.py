"""Counting what ended: each pod's end once, by the status write that also records its UID."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_core.status import MESSAGE_LONGEST, RecentFailure
from carryon_operator.plan import launch
from carryon_operator.plan.conditions import rfc3339
from carryon_operator.plan.ledger import Ledger
from carryon_operator.plan.model import Event, Observation, PodRecord, UnitKey
from carryon_operator.plan.verdicts import UnitFailure, judge

DEAD_AFTER: Final = 60.0
"""Seconds past the end of its deletion grace after which a pod blocks no slot: its node is taken for dead."""


@dataclass(frozen=True)
class Case:
    """What a decision rests on: an accepted job whose bucket answers."""

    seen: Observation
    spec: JobSpec
    resolved: ResolvedJob
    done: frozenset[UnitKey]

    def wanted(self, pod: PodRecord) -> dict[UnitKey, str]:
        """The units a pod was given that are still to be made just so, with their item ids."""
        stage = next((stage for stage in self.resolved.stages if stage.name == pod.stage), None)
        if stage is None:
            return {}
        given = zip(pod.units, pod.fingerprints, strict=False)
        placed = ((self.resolved.index_of.get(item), item, fingerprint) for item, fingerprint in given)
        return {
            (stage.index, at): item
            for at, item, fingerprint in placed
            if at is not None and stage.units[at].fingerprint == fingerprint
        }


@dataclass
class Tally:
    """What the ends of pods add to status, while one decision is made.

    Attributes:
        recorded: UIDs of pods that are counted and not yet gone.
        failures: Attempts that failed, in the order they ended.
    """

    recorded: list[str]
    retry_at: dict[str, float]
    counters: Counter[str] = field(default_factory=Counter)
    failures: list[RecentFailure] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def record(self, pod: PodRecord) -> None:
        """Count a pod no more, whatever becomes of it."""
        if pod.uid not in self.recorded:
            self.recorded.append(pod.uid)

    def disrupted(self, pod: str, how: str) -> None:
        """Work was lost through no fault of the job's."""
        self.counters["disruptions"] += 1
        self.events.append(Event("Normal", "Disrupted", f"pod {pod} {how}; its units carry on"))


def open_tally(seen: Observation) -> Tally:
    """What status has recorded; the UIDs of pods that are gone are struck out."""
    present = {pod.uid for pod in seen.pods}
    return Tally([uid for uid in seen.status.recorded if uid in present], dict(seen.retry_at))


def is_dead(pod: PodRecord, now: float) -> bool:
    """Whether a pod that should be gone is still there: nobody is left on its node to end it."""
    return not pod.terminal and pod.gone_by is not None and now > pod.gone_by + DEAD_AFTER


def count(case: Case, ledger: Ledger, tally: Tally) -> None:
    """Count every pod that ended, died with its node or vanished, and was not counted yet."""
    seen = case.seen
    uncounted = [pod for pod in seen.pods if pod.uid not in tally.recorded]
    ended = [pod for pod in uncounted if pod.terminal]
    for pod in sorted(ended, key=lambda pod: (pod.finished or seen.now, pod.attempt)):
        tally.record(pod)
        _count_ended(case, ledger, tally, pod)
    for pod in uncounted:
        if is_dead(pod, seen.now):
            tally.record(pod)
            tally.disrupted(pod.name, "was lost with its node")
    present = {pod.uid for pod in seen.pods}
    for stage in seen.status.stages:
        for active in stage.active:
            if active.uid not in present and active.uid not in seen.status.recorded:
                tally.disrupted(active.pod, "vanished")


def _count_ended(case: Case, ledger: Ledger, tally: Tally, pod: PodRecord) -> None:
    wanted = case.wanted(pod)
    if not wanted:
        return
    # What is no longer wanted counts as done: its end says nothing about today's job.
    missing = {item for unit, item in wanted.items() if unit not in case.done}
    verdict = judge(pod, set(pod.units) - missing)
    if verdict.disrupted:
        tally.disrupted(pod.name, "was disrupted")
    units = {item: unit for unit, item in wanted.items()}
    for failure in verdict.failures:
        _charge(case, ledger, tally, pod, units[failure.item], failure)


def _charge(case: Case, ledger: Ledger, tally: Tally, pod: PodRecord, unit: UnitKey, failure: UnitFailure) -> None:
    retry = case.spec.retry
    ended = pod.finished or case.seen.now
    used = ledger.charge(unit, budget=retry.per_unit, permanent=failure.permanent)
    fingerprint = case.resolved.unit(*unit).fingerprint
    tally.retry_at[fingerprint] = ended + launch.delay(retry.backoff, used, fingerprint)
    tally.counters["failures"] += 1
    tally.failures.append(
        RecentFailure(
            stage=pod.stage,
            unit=failure.item,
            reason=failure.reason,
            message=failure.message[:MESSAGE_LONGEST],
            attempt=pod.attempt,
            time=rfc3339(ended),
        )
    )
    what = "failed for good" if unit in ledger.given_up else f"failed, attempt {used} of {retry.per_unit}"
    # Messages of generators may quote prompts, and Events are read by more people than the job is.
    told = f'stage "{pod.stage}", item "{failure.item}": {what} ({failure.reason})'
    tally.events.append(Event("Warning", "UnitFailed", told))
