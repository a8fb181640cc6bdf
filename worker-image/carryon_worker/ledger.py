"""What has become of the assigned units and what is being done now: written by the main thread, read by all.

Readers get whole, frozen snapshots that are swapped in one assignment, so a step costs no lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from carryon_core.done import Resume
from carryon_core.messages import (
    AssignedUnit,
    Assignment,
    ExitCode,
    Progress,
    Termination,
    UnitOutcome,
    UnitProgress,
    UnitReport,
)
from carryon_worker import failures
from carryon_worker.failures import UnitFailure

CRASHED: Final = 1
"""Exit code of a worker that could not go on: the unit at work is charged, the others are free."""
_USE: Final = ("saved", "waited", "refused", "misfit", "ended")
"""What a report has in common with the account of a journal."""
HEALTH_MARGIN: Final = 30.0
"""Seconds beyond the stall limit before /healthz says no: by then the watch should have ended the process itself."""


class Phase(StrEnum):
    """What is done with the unit at work."""

    LOADING = "loading"
    GENERATING = "generating"
    PUBLISHING = "publishing"


@dataclass(frozen=True, slots=True)
class Current:
    """The unit at work.

    Attributes:
        position: Of the unit in the assignment.
        began: Monotonic time at which the unit began.
        since: Monotonic time at which its phase began.
        watched: Whether lack of movement is looked for: a program that reports none is not watched.
    """

    position: int
    unit: AssignedUnit
    phase: Phase
    began: float
    since: float
    watched: bool = True
    step: int | None = None
    steps: int | None = None
    section: int | None = None
    sections: int | None = None
    previews: Callable[[], Sequence[str]] = tuple


@dataclass(frozen=True, slots=True)
class Overdue:
    """A limit that was passed."""

    code: ExitCode
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Totals:
    """What all units of a worker came to so far.

    Attributes:
        steps: That ended, those answered from a journal included.
        replayed: Calls answered from a journal.
        waited: Seconds that steps waited for a journal.
        written: Bytes of segments, and `segments` how many; `writing`: seconds that took, in the background.
    """

    steps: int = 0
    replayed: int = 0
    waited: float = 0.0
    written: int = 0
    segments: int = 0
    writing: float = 0.0


class Ledger:
    """The course of one worker.

    Args:
        assignment: What is to be made.
        clock: Monotonic seconds.
    """

    def __init__(self, assignment: Assignment, clock: Callable[[], float] = time.monotonic) -> None:
        self.assignment = assignment
        self._clock = clock
        self._moved = clock()
        self._current: Current | None = None
        self._reports: tuple[UnitReport, ...] = ()
        self._durable: int | None = None
        self._durable_at = 0.0
        self._resume: Callable[[], Resume | None] = _nothing
        self._totals = self._shown = Totals()
        self._written = (0, 0, 0.0)
        self._changed = threading.Condition()

    @property
    def current(self) -> Current | None:
        """The unit at work."""
        return self._current

    @property
    def reports(self) -> tuple[UnitReport, ...]:
        """Reports of the units that ended, in order."""
        return self._reports

    def begin(self, unit: AssignedUnit) -> None:
        """The next unit begins; its first phase is loading."""
        now = self._moved = self._clock()
        self._current = Current(len(self._reports), unit, Phase.LOADING, began=now, since=now)

    def enter(self, phase: Phase) -> None:
        """The unit at work enters a phase, which counts as movement."""
        now = self._moved = self._clock()
        self._current = replace(self._at_work(), phase=phase, since=now, watched=True)

    def watch(self, watched: bool) -> None:
        """Switch the look-out for lack of movement on or off, until the next phase."""
        self._current = replace(self._at_work(), watched=watched)

    def moved(self) -> None:
        """Something moved."""
        self._moved = self._clock()

    def step(self, step: int, steps: int | None) -> None:
        """The unit at work reached a step, which counts as movement."""
        self.moved()
        current = self._at_work()
        more = max(step - (current.step or 0), 0)
        self._totals = replace(self._totals, steps=self._totals.steps + more)
        self._current = replace(current, step=step, steps=steps)

    def section(self, finished: int, sections: int | None) -> None:
        """Of the unit at work so many sections are finished, which counts as movement."""
        self.moved()
        self._current = replace(self._at_work(), section=finished, sections=sections)

    def shows(self, previews: Callable[[], Sequence[str]]) -> None:
        """Where to ask for keys of the previews of the unit at work, from any thread."""
        self._current = replace(self._at_work(), previews=previews)

    def durable(self) -> None:
        """The unit at work has left something that a later attempt goes on from; from any thread, before it ends."""
        self._durable_at = self._clock()
        self._durable = len(self._reports)

    def account_for(self, resume: Callable[[], Resume | None]) -> None:
        """Where to ask what a journal was good for, for the unit at work; from any thread."""
        self._resume = resume

    def wrote(self, size: int, seconds: float) -> None:
        """A segment of a journal was written, in so many seconds; by the one thread that does."""
        written, segments, writing = self._written
        self._written = (written + size, segments + 1, writing + seconds)

    def totals(self) -> Totals:
        """What all units came to so far; never less than before, also where a unit starts over."""
        resume, shown = self._resume(), self._shown
        totals, (written, segments, writing) = self._totals, self._written
        self._shown = replace(
            totals,
            replayed=max(totals.replayed + (resume.replayed if resume else 0), shown.replayed),
            waited=max(totals.waited + (resume.waited if resume else 0.0), shown.waited),
            written=written,
            segments=segments,
            writing=writing,
        )
        return self._shown

    def finish(self, failure: UnitFailure | None) -> None:
        """The unit at work ended: it is done, or failed."""
        report = UnitReport(index=len(self._reports), outcome=UnitOutcome.DONE)
        if failure is not None:
            report = self._report(
                self._at_work(), UnitOutcome.FAILED, failure.reason, failure.message, permanent=failure.permanent
            )
        totals, self._resume = self.totals(), _nothing
        self._totals = totals
        with self._changed:
            self._reports = (*self._reports, report)
            self._current = None
            self._changed.notify_all()

    def wait_while_publishing(self, seconds: float) -> None:
        """Give a unit that is being published the time to get there."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._current is None or self._current.phase is not Phase.PUBLISHING, timeout=seconds
            )

    def idle(self) -> float:
        """Seconds since the last movement."""
        return self._clock() - self._moved

    def healthy(self) -> bool:
        """Whether the process is alive as far as can be seen: unwatched, or not long beyond the stall limit."""
        limit = self.assignment.stall_seconds
        current = self._current
        return limit is None or current is None or not current.watched or self.idle() <= limit + HEALTH_MARGIN

    def overdue(self) -> Overdue | None:
        """The limit that the unit at work has passed, if any."""
        current = self._current
        if current is None:
            return None
        timeout = self.assignment.unit_timeout_seconds
        if timeout is not None and current.phase is Phase.GENERATING and self._clock() - current.since > timeout:
            message = f"the unit was not made within {timeout:g} s (timeouts.unit)"
            return Overdue(ExitCode.UNIT_TIMEOUT, "UnitTimeout", message)
        stall = self.assignment.stall_seconds
        if stall is not None and current.watched and self.idle() > stall:
            at = "" if current.step is None else f" at step {current.step}"
            message = f"no movement for {stall:g} s while {current.phase}{at} (timeouts.stall)"
            return Overdue(ExitCode.STALLED, "Stalled", message)
        return None

    def patience(self) -> float:
        """Seconds after which to look again: soon enough for the shortest limit, never busy."""
        limits = (self.assignment.stall_seconds, self.assignment.unit_timeout_seconds)
        return min([1.0, *(max(0.05, limit / 10) for limit in limits if limit is not None)])

    def progress(self) -> Progress:
        """The answer of /progress."""
        current = self._current
        return Progress(
            stage=self.assignment.stage,
            attempt=self.assignment.attempt,
            units=len(self.assignment.units),
            finished=len(self._reports),
            current=current
            and UnitProgress(
                index=current.unit.index,
                item=current.unit.item,
                step=current.step,
                steps=current.steps,
                section=current.section,
                sections=current.sections,
                previews=list(current.previews()),
                phase=current.phase,
                seconds=round(self._clock() - current.began, 3),
            ),
            idle_seconds=round(self.idle(), 3),
        )

    def termination(self, reason: str, message: str, outcome: UnitOutcome = UnitOutcome.INTERRUPTED) -> Termination:
        """The termination message.

        Args:
            reason: Reason of the whole pod; also that of a unit which was at work.
            message: A sentence; likewise.
            outcome: What becomes of a unit that was at work.
        """
        # In this order: a unit that ends meanwhile is then reported twice over, never left out.
        current, reports = self._current, list(self._reports)
        if current is not None and current.position == len(reports):
            reports.append(self._report(current, outcome, reason, message))
        left = range(len(reports), len(self.assignment.units))
        reports.extend(UnitReport(index=position, outcome=UnitOutcome.NOT_STARTED) for position in left)
        return Termination(reason=reason, message=message, units=reports)

    def verdict(self) -> tuple[int, Termination]:
        """Exit code and message of a worker that got through its units, or stopped early on its own."""
        code, reason, message = verdict(len(self.assignment.units), self._reports)
        return code, self.termination(reason, message)

    def _report(
        self, current: Current, outcome: UnitOutcome, reason: str, message: str, *, permanent: bool = False
    ) -> UnitReport:
        """Of a unit that ends without being done."""
        durable = self._durable == current.position
        report = UnitReport(
            index=current.position,
            outcome=outcome,
            reason=reason,
            message=message,
            permanent=permanent,
            durable=durable,
            lost=round(self._clock() - (self._durable_at if durable else current.began), 3),
        )
        resume = self._resume()
        return report if resume is None else report.model_copy(update={each: getattr(resume, each) for each in _USE})

    def _at_work(self) -> Current:
        if self._current is None:
            raise RuntimeError("no unit is at work")
        return self._current


def _nothing() -> Resume | None:
    """Of a unit that has no journal."""
    return None


def verdict(units: int, reports: Sequence[UnitReport]) -> tuple[int, str, str]:
    """What the reports of a worker come to, when nothing from outside ended it: exit code, reason and sentence.

    Args:
        units: Units assigned.
        reports: Reports of those that ended.
    """
    done = sum(report.outcome is UnitOutcome.DONE for report in reports)
    failed = [report for report in reports if report.outcome is UnitOutcome.FAILED]
    if not failed:
        return ExitCode.DONE, "Done", f"{done} of {units} units done"
    last = failed[-1]
    if last.reason == failures.OUT_OF_MEMORY:
        return ExitCode.OUT_OF_MEMORY, last.reason, last.message
    if len(reports) < units:
        return CRASHED, last.reason, last.message
    if len(failed) == units and all(report.permanent for report in failed):
        return ExitCode.BAD_REQUEST, failures.BAD_REQUEST, failed[0].message
    return ExitCode.SOME_FAILED, "UnitsFailed", f"{done} of {units} units done, {len(failed)} failed"
