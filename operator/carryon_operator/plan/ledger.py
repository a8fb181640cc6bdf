"""The books of a job: which units used which attempts, and which have failed for good.

Status keeps them as index sets, so they are brought along when items move: old index -> id -> new index. What is done
is not kept here, because the bucket knows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from carryon_core.fingerprint import canonical
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob, ResolvedStage, parse_items
from carryon_core.spec import Retry
from carryon_core.standing import UnitKey
from carryon_operator.plan.model import Observation

FRUITLESS_MOST: Final = 5
"""Attempts in a row without anything durable after which a unit fails, unless its own budget is larger."""

_Move = Callable[[UnitKey], UnitKey | None]
"""From a unit in status to today's, None for one that is gone or was edited."""


@dataclass
class Ledger:
    """Attempts used and units given up, while one decision is made.

    Attributes:
        retry: The budget.
        round: Over what is still missing; 0 before the first.
        attempts: Unit -> attempts that used its budget.
        fruitless: Unit -> attempts in a row, whatever ended them, that left nothing durable.
        given_up: Units that failed for good by themselves, not through one upstream.
    """

    retry: Retry
    round: int = 0
    attempts: dict[UnitKey, int] = field(default_factory=dict)
    fruitless: dict[UnitKey, int] = field(default_factory=dict)
    given_up: set[UnitKey] = field(default_factory=set)

    @property
    def budget(self) -> int:
        """Attempts a unit has in all, rounds included."""
        return self.retry.per_unit + self.retry.rounds

    @property
    def patience(self) -> int:
        """Fruitless attempts in a row after which a unit fails."""
        return max(FRUITLESS_MOST, self.budget)

    def charge(self, unit: UnitKey, *, permanent: bool) -> int:
        """Count an attempt, give up where that was the last; return the attempts used so far."""
        used = self.attempts.get(unit, 0) + 1
        self.attempts[unit] = used
        if permanent or used >= self.budget:
            self.given_up.add(unit)
        return used

    def note(self, unit: UnitKey, *, durable: bool) -> int:
        """Count an attempt that ended without its unit done; return how many in a row left nothing."""
        self.fruitless[unit] = 0 if durable else self.fruitless.get(unit, 0) + 1
        return self.fruitless[unit]

    def exhausted(self, unit: UnitKey) -> bool:
        """Whether a unit has no attempt left before the next round."""
        return self.attempts.get(unit, 0) >= self.retry.per_unit + self.round

    def extra(self, unit: UnitKey) -> int:
        """The round that a unit's next attempt belongs to; 0 while its own budget lasts."""
        return max(self.attempts.get(unit, 0) - self.retry.per_unit + 1, 0)

    def forgive(self, units: Iterable[UnitKey] | None = None) -> None:
        """Give units that failed a new budget; None: all that are given up or have to wait for a round."""
        if units is None:
            spent = {unit for unit, used in self.attempts.items() if used >= self.retry.per_unit}
            units = spent | self.given_up
            self.round = 0
        for unit in tuple(units):
            self._strike(unit)

    def forget(self, done: Iterable[UnitKey]) -> None:
        """Strike out units that are done."""
        if self.attempts or self.fruitless or self.given_up:
            for unit in done:
                self._strike(unit)

    def _strike(self, unit: UnitKey) -> None:
        self.attempts.pop(unit, None)
        self.fruitless.pop(unit, None)
        self.given_up.discard(unit)


def failures_of(ledger: Ledger, stage: int) -> dict[str, str]:
    """Attempts used -> index set of a stage's units, as status shows it."""
    return _by_count((item, used) for (where, item), used in ledger.attempts.items() if where == stage)


def fruitless_of(ledger: Ledger, stage: int) -> dict[str, str]:
    """Fruitless attempts in a row -> index set, of units where that is not the number of attempts they used."""
    units = {unit for unit in (*ledger.fruitless, *ledger.attempts) if unit[0] == stage}
    told = ((unit[1], ledger.fruitless.get(unit, 0)) for unit in units)
    return _by_count((item, count) for item, count in told if count != ledger.attempts.get((stage, item), 0))


def _by_count(counts: Iterable[tuple[int, int]]) -> dict[str, str]:
    items: dict[int, list[int]] = defaultdict(list)
    for item, count in counts:
        items[count].append(item)
    return {str(count): str(IndexSet(indexes)) for count, indexes in sorted(items.items())}


def open_ledger(seen: Observation, retry: Retry, job: ResolvedJob) -> Ledger:
    """The books as status left them, with every index moved to where its item is now.

    A unit whose inputs were edited starts with a clean sheet: its stage's generator changed, its item's parameters, or
    what else stands in its place (overrides, files).
    """
    ledger = Ledger(retry, seen.status.counters.round)
    stages = {stage.name: stage for stage in job.stages}
    moves = moving(seen, job)
    failed: set[UnitKey] = set()
    for kept in seen.status.stages:
        stage = stages.get(kept.name)
        if stage is None or (kept.digest and kept.digest != stage.digest):
            continue

        def units(indexes: str, stage: ResolvedStage = stage) -> Iterable[UnitKey]:
            moved = (moves((stage.index, old)) for old in IndexSet.parse(indexes))
            return (unit for unit in moved if unit is not None)

        for count, indexes in kept.failures.items():
            ledger.attempts.update((unit, int(count)) for unit in units(indexes))
            ledger.fruitless.update((unit, int(count)) for unit in units(indexes))
        for count, indexes in kept.fruitless.items():
            ledger.fruitless.update((unit, int(count)) for unit in units(indexes))
        failed.update(units(kept.failed))

    def by_itself(unit: UnitKey) -> bool:
        """Whether it used attempts of its own, and not too few of them to be the reason, with one failed upstream."""
        upstream = any(before in failed for before in _needs(job, unit))
        used = ledger.attempts.get(unit, 0)
        return used >= (retry.per_unit if upstream else 1) or ledger.fruitless.get(unit, 0) >= ledger.patience

    ledger.given_up = set(filter(by_itself, failed))
    ledger.given_up.update(unit for unit, used in ledger.attempts.items() if used >= ledger.budget)
    return ledger


def moving(seen: Observation, job: ResolvedJob) -> _Move:
    """How the units that status speaks of are found among today's."""
    status = seen.status.items
    same_items = status.digest in ("", job.items_digest)
    same_variant = status.variant in ("", job.variant)
    former = None if same_items else seen.former_items or ()
    today: Mapping[str, str] = {}
    if not same_items:
        today = {item: canonical(params) for item, params in parse_items(job.items)}
    gathering = {stage.index for stage in job.stages if stage.gathers or _below_gathering(job, stage)}
    overridden = set() if same_variant else _overridden(seen)

    def move(unit: UnitKey) -> UnitKey | None:
        stage, old = unit
        # What gathers is made from all items, and from whatever else they are made of.
        if stage in gathering and not (same_items and same_variant):
            return None
        item: int | None = old
        if former is not None:
            item = None
            if old < len(former) and today.get(former[old][0]) == canonical(former[old][1]):
                item = job.item_index(stage, former[old][0])
        if item is None or item >= len(job.stages[stage].units) or job.item_id(stage, item) in overridden:
            return None
        if not same_variant and job.files(job.unit(stage, item)):
            return None
        return stage, item

    return move


def _needs(job: ResolvedJob, unit: UnitKey) -> Iterable[UnitKey]:
    stage, item = unit
    for before in job.stages[stage].after:
        if job.stages[stage].gathers:
            yield from ((before, index) for index in range(len(job.stages[before].units)))
        else:
            yield before, 0 if job.stages[before].gathers else item
    if not job.stages[stage].gathers and job.unit(stage, item).previous:
        yield stage, item - 1


def _below_gathering(job: ResolvedJob, stage: ResolvedStage) -> bool:
    return any(job.stages[before].gathers or _below_gathering(job, job.stages[before]) for before in stage.after)


def _overridden(seen: Observation) -> set[str]:
    return {override.item for override in seen.spec.overrides} if seen.spec else set()
