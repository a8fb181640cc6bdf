"""The books of a job: which units used which attempts, and which have failed for good.

Status keeps them as index sets, so they are brought along when items move: old index -> id -> new index. What is done
is not kept here, because the bucket knows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from carryon_core.fingerprint import canonical
from carryon_core.ranges import IndexSet
from carryon_core.resolve import ResolvedJob, parse_items
from carryon_core.spec import JobSpec
from carryon_operator.plan.model import Observation, UnitKey

_Move = Callable[[int], int | None]
"""From an index in status to today's, None for items that are gone or were edited."""


@dataclass
class Ledger:
    """Attempts used and units given up, while one decision is made.

    Attributes:
        attempts: Unit -> attempts that failed.
        given_up: Units that failed for good by themselves, not through one upstream.
    """

    attempts: dict[UnitKey, int] = field(default_factory=dict)
    given_up: set[UnitKey] = field(default_factory=set)

    def charge(self, unit: UnitKey, *, budget: int, permanent: bool) -> int:
        """Count a failed attempt, give up where the budget is used; return the attempts used so far."""
        used = self.attempts.get(unit, 0) + 1
        self.attempts[unit] = used
        if permanent or used >= budget:
            self.given_up.add(unit)
        return used

    def forgive(self) -> None:
        """Give the units that failed for good a new budget."""
        for unit in self.given_up:
            self.attempts.pop(unit, None)
        self.given_up.clear()

    def forget(self, units: Iterable[UnitKey]) -> None:
        """Strike out units that are done."""
        for unit in units:
            self.attempts.pop(unit, None)
            self.given_up.discard(unit)

    def failures_of(self, stage: int) -> dict[str, str]:
        """Attempts used -> index set, as status shows it."""
        by_count: dict[int, list[int]] = defaultdict(list)
        for (where, item), used in self.attempts.items():
            if where == stage:
                by_count[used].append(item)
        return {str(used): str(IndexSet(items)) for used, items in sorted(by_count.items())}


def open_ledger(seen: Observation, spec: JobSpec, resolved: ResolvedJob) -> Ledger:
    """The books as status left them, with every index moved to where its item is now.

    A unit whose inputs were edited starts with a clean sheet: its stage's generator changed, or its item's parameters.
    """
    ledger = Ledger()
    moved = _moves(seen, resolved)
    stages = {stage.name: stage for stage in resolved.stages}
    failed: set[UnitKey] = set()
    for kept in seen.status.stages:
        stage = stages.get(kept.name)
        if stage is None or (kept.digest and kept.digest != stage.digest):
            continue
        for used, units in kept.failures.items():
            for old in IndexSet.parse(units):
                if (new := moved(old)) is not None:
                    ledger.attempts[stage.index, new] = int(used)
        failed |= {(stage.index, new) for new in map(moved, IndexSet.parse(kept.failed)) if new is not None}

    def by_itself(unit: UnitKey) -> bool:
        """Whether it used attempts of its own, and not too few of them to be the reason, with one failed upstream."""
        upstream = any((before, unit[1]) in failed for before in resolved.stages[unit[0]].after)
        return ledger.attempts.get(unit, 0) >= (spec.retry.per_unit if upstream else 1)

    ledger.given_up = set(filter(by_itself, failed))
    return ledger


def _moves(seen: Observation, resolved: ResolvedJob) -> _Move:
    if seen.status.items.digest in ("", resolved.items_digest):
        return lambda old: old if old < len(resolved.ids) else None
    former = seen.former_items or ()
    today: Mapping[str, str] = {item: canonical(params) for item, params in parse_items(resolved.items)}

    def move(old: int) -> int | None:
        if old >= len(former):
            return None
        item, params = former[old]
        return resolved.index_of[item] if today.get(item) == canonical(params) else None

    return move
