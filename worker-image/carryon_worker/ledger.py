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
        self._current = replace(self._at_work(), step=step, steps=steps)

    def section(self, finished: int, sections: int | None) -> None:
        """Of the unit at work so many sections are finished, which counts as movement."""
        self.moved()
        self._current = replace(self._at_work(), section=finished, sections=sections)

    def shows(self, previews: Callable[[], Sequence[str]]) -> None:
        """Where to ask for keys of the previews of the unit at work, from any thread."""
        self._current = replace(self._at_work(), previews=previews)

    def durable(self) -> None:
        """The unit at work has left something that a later attempt goes on from; from any thread, before it ends."""
        self._durable = len(self._reports)

    def finish(self, failure: UnitFailure | None) -> None:
        """The unit at work ended: it is done, or failed."""
        report = UnitReport(index=len(self._reports), outcome=UnitOutcome.DONE)
        if failure is not None:
            report = UnitReport(
                index=len(self._reports),
                outcome=UnitOutcome.FAILED,
                reason=failure.reason,
                message=failure.message,
                permanent=failure.permanent,
                durable=self._durable == len(self._reports),
            )
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
            position = len(reports)
            durable = self._durable == position
            report = UnitReport(index=position, outcome=outcome, reason=reason, message=message, durable=durable)
            reports.append(report)
        left = range(len(reports), len(self.assignment.units))
        reports.extend(UnitReport(index=position, outcome=UnitOutcome.NOT_STARTED) for position in left)
        return Termination(reason=reason, message=message, units=reports)

    def verdict(self) -> tuple[int, Termination]:
        """Exit code and message of a worker that got through its units, or stopped early on its own."""
        code, reason, message = verdict(len(self.assignment.units), self._reports)
        return code, self.termination(reason, message)

    def _at_work(self) -> Current:
        if self._current is None:
            raise RuntimeError("no unit is at work")
        return self._current


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
