"""The books of a job: which units used which attempts, and which have failed for good.

Status keeps them as index sets, so they are brought along when items move: old index -> id -> new index. Each unit in
them has a mark, the beginning of its fingerprint, by which an edit shows. What is done is not kept here, because the
bucket knows it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from carryon_core.ranges import IndexSet
from carryon_core.resolved import ResolvedJob, ResolvedStage
from carryon_core.spec import Retry
from carryon_core.standing import UnitKey
from carryon_core.status import MARK, MARKED_MOST, StageStatus
from carryon_operator.plan.case import Case

FRUITLESS_MOST: Final = 5
"""Attempts in a row without anything durable after which a unit fails, unless its own budget is larger."""
_UNMARKED: Final = "-" * MARK
"""Mark of a unit of which it is not known what its books are about."""


@dataclass
class Ledger:
    """Attempts used and units given up, while one decision is made.

    Attributes:
        retry: The budget.
        round: Over what is still missing; 0 before the first.
        attempts: Unit -> attempts that used its budget.
        fruitless: Unit -> attempts in a row, whatever ended them, that left nothing durable.
        permanent: Units that another attempt would not help.
        given_up: Units that failed for good by themselves, not through one upstream: those, and those whose budget is
            used up.
        failed_before: All that had failed for good by the last status, whatever became of them.
        marks: Unit -> beginning of the fingerprint that its books are about.
    """

    retry: Retry
    round: int = 0
    attempts: dict[UnitKey, int] = field(default_factory=dict)
    fruitless: dict[UnitKey, int] = field(default_factory=dict)
    permanent: set[UnitKey] = field(default_factory=set)
    given_up: set[UnitKey] = field(default_factory=set)
    failed_before: set[UnitKey] = field(default_factory=set)
    marks: dict[UnitKey, str] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Attempts a unit has in all, rounds included."""
        return self.retry.per_unit + self.retry.rounds

    @property
    def patience(self) -> int:
        """Fruitless attempts in a row after which a unit fails."""
        return max(FRUITLESS_MOST, self.budget)

    def charge(self, unit: UnitKey, fingerprint: str, *, permanent: bool) -> int:
        """Count an attempt, give up where that was the last; return the attempts used so far."""
        self._open_books(unit, fingerprint)
        used = self.attempts.get(unit, 0) + 1
        self.attempts[unit] = used
        if permanent:
            self.permanent.add(unit)
        self.judge(unit)
        return used

    def note(self, unit: UnitKey, fingerprint: str, *, durable: bool) -> int:
        """Count an attempt that ended without its unit done; return how many in a row left nothing."""
        self._open_books(unit, fingerprint)
        self.fruitless[unit] = 0 if durable else self.fruitless.get(unit, 0) + 1
        return self.fruitless[unit]

    def judge(self, unit: UnitKey) -> None:
        """Give a unit up if it has nothing left to be tried with."""
        used, fruitless = self.attempts.get(unit, 0), self.fruitless.get(unit, 0)
        if unit in self.permanent or used >= self.budget or fruitless >= self.patience:
            self.given_up.add(unit)

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
        if self.attempts or self.fruitless:
            for unit in done:
                self._strike(unit)

    def edited(self, job: ResolvedJob) -> list[UnitKey]:
        """Units that are made from something else today than what their books are about."""
        today = {unit: job.unit(*unit).fingerprint[:MARK] for unit in self.marks}
        return [unit for unit, mark in self.marks.items() if today[unit] and today[unit] != mark]

    def _open_books(self, unit: UnitKey, fingerprint: str) -> None:
        """What is counted from now on is about this fingerprint; "" is not known."""
        mark = fingerprint[:MARK]
        if mark and self.marks.get(unit, mark) != mark:
            self._strike(unit)
        if mark:
            self.marks[unit] = mark

    def _strike(self, unit: UnitKey) -> None:
        self.attempts.pop(unit, None)
        self.fruitless.pop(unit, None)
        self.permanent.discard(unit)
        self.given_up.discard(unit)
        self.marks.pop(unit, None)


def failures_of(ledger: Ledger, stage: int) -> dict[str, str]:
    """Attempts used -> index set of a stage's units, as status shows it."""
    return _by_count((item, used) for (where, item), used in ledger.attempts.items() if where == stage)


def fruitless_of(ledger: Ledger, stage: int) -> dict[str, str]:
    """Fruitless attempts in a row -> index set, of units where that is not the number of attempts they used."""
    units = {unit for unit in (*ledger.fruitless, *ledger.attempts) if unit[0] == stage}
    told = ((unit[1], ledger.fruitless.get(unit, 0)) for unit in units)
    return _by_count((item, count) for item, count in told if count != ledger.attempts.get((stage, item), 0))


def marks_of(ledger: Ledger, job: ResolvedJob, stage: int) -> str:
    """Marks of the units of a stage that status keeps books of, in order, as far as there is room."""
    books = sorted(
        unit for unit in {*ledger.attempts, *ledger.fruitless} if unit[0] == stage and _has_books(ledger, unit)
    )
    marks = (ledger.marks.get(unit) or job.unit(*unit).fingerprint[:MARK] for unit in books[:MARKED_MOST])
    return "".join(mark or _UNMARKED for mark in marks)


def _has_books(ledger: Ledger, unit: UnitKey) -> bool:
    return bool(ledger.attempts.get(unit, 0) or ledger.fruitless.get(unit, 0))


def _by_count(counts: Iterable[tuple[int, int]]) -> dict[str, str]:
    items: dict[int, list[int]] = defaultdict(list)
    for item, count in counts:
        items[count].append(item)
    return {str(count): str(IndexSet(indexes)) for count, indexes in sorted(items.items())}


def open_ledger(case: Case) -> Ledger:
    """The books as status left them, with every index moved to where its item is now."""
    seen = case.seen
    ledger = Ledger(case.spec.retry, seen.status.counters.round)
    stages = {stage.name: stage for stage in case.job.stages}
    for kept in seen.status.stages:
        if (stage := stages.get(kept.name)) is not None:
            _read(case, ledger, stage, kept)
    for unit in {*ledger.attempts, *ledger.fruitless}:
        ledger.judge(unit)
    return ledger


def _read(case: Case, ledger: Ledger, stage: ResolvedStage, kept: StageStatus) -> None:
    """Take over what status says of one stage."""

    def today(indexes: Iterable[int]) -> Iterator[UnitKey]:
        return (unit for old in indexes if (unit := case.moved((stage.index, old))) is not None)

    ledger.failed_before.update(today(IndexSet.parse(kept.failed)))
    marked, unmarked = _marked(kept)
    # What there was no room for a mark of is told by its stage alone.
    gone = set(today(unmarked)) if kept.digest != stage.digest else set()
    for count, indexes in kept.failures.items():
        for unit in today(IndexSet.parse(indexes)):
            if unit not in gone:
                ledger.attempts[unit] = ledger.fruitless[unit] = int(count)
    for count, indexes in kept.fruitless.items():
        ledger.fruitless.update((unit, int(count)) for unit in today(IndexSet.parse(indexes)) if unit not in gone)
    ledger.permanent.update(unit for unit in today(IndexSet.parse(kept.permanent)) if unit not in gone)
    for old, mark in marked:
        if mark != _UNMARKED:
            ledger.marks.update((unit, mark) for unit in today([old]))


def _marked(kept: StageStatus) -> tuple[list[tuple[int, str]], list[int]]:
    """The units that status keeps books of: index and mark of those that have one, and the others."""
    books = sorted(
        {item for text in (*kept.failures.values(), *kept.fruitless.values()) for item in IndexSet.parse(text)}
    )
    marks = [kept.marks[at : at + MARK] for at in range(0, len(kept.marks), MARK)]
    return list(zip(books, marks, strict=False)), books[len(marks) :]
