"""What the ledger makes of time and outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from carryon_core.done import Misfit, Resume
from carryon_core.messages import AssignedUnit, Assignment, ExitCode, StoreConfig, UnitOutcome
from carryon_worker import failures, metrics
from carryon_worker.failures import BadRequest, OutOfMemory, UnitFailure
from carryon_worker.ledger import CRASHED, HEALTH_MARGIN, Ledger, Phase, Totals, verdict


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ledger(clock: Clock, units: int = 1, **limits: Any) -> Ledger:
    assigned = [
        AssignedUnit(index=70 + i, item=f"i{i}", fingerprint="0" * 64, seed=0, generate={}) for i in range(units)
    ]
    store = StoreConfig(uri="file:///nowhere")
    return Ledger(
        Assignment(namespace="n", job="j", stage="s", attempt=1, store=store, units=assigned, **limits), clock
    )


CRASH = UnitFailure("GeneratorFailed", "it broke")
POISON = UnitFailure("DeviceError", "gone", ends_worker=True)


@pytest.mark.parametrize(
    ("units", "ended", "code", "reason"),
    [
        (2, [None, None], ExitCode.DONE, "Done"),
        (2, [None, CRASH], ExitCode.SOME_FAILED, "UnitsFailed"),
        (2, [CRASH, CRASH], ExitCode.SOME_FAILED, "UnitsFailed"),
        (2, [BadRequest("no"), BadRequest("no")], ExitCode.BAD_REQUEST, "BadRequest"),
        (2, [None, BadRequest("no")], ExitCode.SOME_FAILED, "UnitsFailed"),
        (2, [CRASH, BadRequest("no")], ExitCode.SOME_FAILED, "UnitsFailed"),
        (3, [None, OutOfMemory("no")], ExitCode.OUT_OF_MEMORY, "OutOfMemory"),
        (2, [None, OutOfMemory("no")], ExitCode.OUT_OF_MEMORY, "OutOfMemory"),
        (3, [CRASH, POISON], CRASHED, "DeviceError"),
    ],
)
def test_the_exit_code_follows_from_what_became_of_the_units(
    clock: Clock, units: int, ended: list[UnitFailure | None], code: int, reason: str
) -> None:
    book = ledger(clock, units)
    for unit, failure in zip(book.assignment.units, ended, strict=False):
        book.begin(unit)
        book.finish(failure)
    assert verdict(units, book.reports)[:2] == (code, reason)


def test_reports_name_positions_and_leave_no_unit_out(clock: Clock) -> None:
    book = ledger(clock, 3)
    book.begin(book.assignment.units[0])
    book.finish(None)
    book.begin(book.assignment.units[1])
    reports = book.termination("Interrupted", "stopped").units
    assert [(report.index, report.outcome) for report in reports] == [
        (0, UnitOutcome.DONE),
        (1, UnitOutcome.INTERRUPTED),
        (2, UnitOutcome.NOT_STARTED),
    ]


def test_only_the_unit_that_left_something_durable_says_so(clock: Clock) -> None:
    book = ledger(clock, 4)
    for unit, leaves in zip(book.assignment.units[:3], (False, True, False), strict=True):
        book.begin(unit)
        if leaves:
            book.durable()
        book.finish(CRASH)
    book.begin(book.assignment.units[3])
    assert [report.durable for report in book.termination("Interrupted", "").units] == [False, True, False, False]
    book.durable()
    assert [report.durable for report in book.termination("Interrupted", "").units] == [False, True, False, True]


def test_sections_and_what_can_be_looked_at_of_the_unit_at_work_are_told(clock: Clock) -> None:
    book = ledger(clock, 2)
    book.begin(book.assignment.units[0])
    shown: list[str] = []
    book.shows(lambda: shown)
    book.section(0, 4)
    shown.append("previews/000.3fa9c0d1b2e4.mp4")
    book.section(1, 4)
    current = book.progress().current
    assert current is not None
    assert (current.section, current.sections, current.previews) == (1, 4, shown)
    book.finish(None)
    book.begin(book.assignment.units[1])
    current = book.progress().current
    assert current is not None
    assert (current.section, current.sections, current.previews) == (None, None, [])


def test_movement_of_any_kind_holds_a_stall_off(clock: Clock) -> None:
    book = ledger(clock, stall_seconds=10.0)
    book.begin(book.assignment.units[0])
    for move in (book.moved, lambda: book.step(1, 2), lambda: book.enter(Phase.GENERATING), book.moved):
        clock.now += 9
        assert book.overdue() is None
        move()
    clock.now += 10.5
    overdue = book.overdue()
    assert overdue is not None
    assert (overdue.code, overdue.reason) == (ExitCode.STALLED, "Stalled")


def test_without_a_watch_nothing_stalls_until_the_next_phase(clock: Clock) -> None:
    book = ledger(clock, stall_seconds=10.0)
    book.begin(book.assignment.units[0])
    book.watch(False)
    clock.now += 1000
    assert book.overdue() is None
    assert book.healthy()
    book.enter(Phase.PUBLISHING)
    clock.now += 11
    assert book.overdue() is not None


def test_only_generating_counts_for_the_unit_timeout(clock: Clock) -> None:
    book = ledger(clock, stall_seconds=None, unit_timeout_seconds=5.0)
    book.begin(book.assignment.units[0])
    clock.now += 100
    assert book.overdue() is None
    book.enter(Phase.GENERATING)
    clock.now += 5
    assert book.overdue() is None
    clock.now += 0.5
    overdue = book.overdue()
    assert overdue is not None
    assert overdue.code == ExitCode.UNIT_TIMEOUT
    book.enter(Phase.PUBLISHING)
    assert book.overdue() is None


def test_health_ends_only_after_the_worker_should_have_ended_itself(clock: Clock) -> None:
    book = ledger(clock, stall_seconds=10.0)
    book.begin(book.assignment.units[0])
    clock.now = 10 + HEALTH_MARGIN
    assert book.healthy()
    clock.now += 1
    assert not book.healthy()


@pytest.mark.parametrize(
    ("error", "reason", "permanent", "ends_worker"),
    [
        (BadRequest("no"), "BadRequest", True, False),
        (MemoryError(), "OutOfMemory", False, True),
        (RuntimeError("a\nb"), "GeneratorFailed", False, False),
    ],
)
def test_any_exception_amounts_to_a_failure(error: Exception, reason: str, permanent: bool, ends_worker: bool) -> None:
    failure = failures.of(error)
    assert (failure.reason, failure.permanent, failure.ends_worker) == (reason, permanent, ends_worker)


def resume(**fields: Any) -> Resume:
    return Resume(calls=30, **fields)


def test_a_report_says_what_was_lost_since_something_was_last_durable(clock: Clock) -> None:
    made = ledger(clock, units=2)
    made.begin(made.assignment.units[0])
    clock.now = 40
    (report, _) = made.termination("Interrupted", "told to").units
    assert (report.durable, report.lost) == (False, 40)
    made.durable()
    clock.now = 43.5
    (report, _) = made.termination("Interrupted", "told to").units
    assert (report.durable, report.lost) == (True, 3.5)
    made.finish(CRASH)
    made.begin(made.assignment.units[1])
    clock.now = 50
    made.finish(None)
    assert [(each.durable, each.lost) for each in made.reports] == [(True, 3.5), (False, 0.0)]


def test_a_report_says_what_its_units_journal_was_good_for_and_no_others(clock: Clock) -> None:
    made = ledger(clock, units=2)
    made.begin(made.assignment.units[0])
    made.account_for(lambda: resume(saved=12.0, waited=0.5, refused="why", misfit=Misfit.MODEL, ended="full"))
    made.finish(CRASH)
    (report,) = made.reports
    assert (report.saved, report.waited, report.refused, report.ended) == (12.0, 0.5, "why", "full")
    assert report.misfit is Misfit.MODEL
    made.begin(made.assignment.units[1])
    assert made.termination("Interrupted", "").units[1].refused == ""


def test_totals_are_of_all_units_and_never_shrink(clock: Clock) -> None:
    made = ledger(clock, units=2)
    made.begin(made.assignment.units[0])
    now = [resume(replayed=20, waited=1.0)]
    made.account_for(lambda: now[0])
    made.step(1, 8)
    made.step(2, 8)
    made.wrote(1000, 0.25)
    assert (made.totals().steps, made.totals().replayed) == (2, 20)
    now[0] = resume(replayed=0)  # It starts over.
    assert made.totals().replayed == 20
    now[0] = resume(replayed=25, waited=1.5)
    made.finish(None)
    made.begin(made.assignment.units[1])
    made.step(1, 8)
    made.wrote(500, 0.5)
    assert made.totals() == Totals(steps=3, replayed=25, waited=1.5, written=1500, segments=2, writing=0.75)


def test_metrics_are_what_prometheus_reads(clock: Clock) -> None:
    made = ledger(clock)
    made.begin(made.assignment.units[0])
    made.step(3, 8)
    made.wrote(1000, 0.25)
    clock.now = 2
    shown = {
        sample.name: sample.value
        for family in text_string_to_metric_families(metrics.text(made))
        for sample in family.samples
    }
    assert shown["carryon_worker_steps_total"] == 3
    assert shown["carryon_worker_journal_bytes_total"] == 1000
    assert shown["carryon_worker_journal_flush_seconds_total"] == 0.25
    assert shown["carryon_worker_idle_seconds"] == 2
