"""What pods cost and what came of it: each pod is booked once, whatever became of it and whoever looked when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carryon_core.done import Misfit
from carryon_core.messages import Termination, UnitOutcome, UnitReport
from carryon_core.standing import DoneUnit, JournalUse
from carryon_core.status import GpuSeconds, JobStatus
from carryon_operator.plan.decide import decide
from carryon_operator.plan.model import Kept, Observation, PodRecord, Spending
from carryon_operator.plan.spending import Account, open_account
from worlds import World, job_spec

START = 1_000_000.0
REFUSED = "CheckpointNotResumable: diffusers 0.42.1 -> 0.43.0, 22 steps lost"


def seen(now: float = START + 100, **fields: Any) -> Observation:
    return Observation(
        namespace="default",
        name="reel",
        uid="job",
        generation=1,
        annotations={},
        spec=None,
        status=JobStatus(),
        resolved=None,
        now=now,
        **fields,
    )


def pod(*reports: UnitReport, units: int = 1, **fields: Any) -> PodRecord:
    given: dict[str, Any] = {
        "phase": "Failed",
        "started": START,
        "finished": START + 100,
        "message": Termination(reason="Interrupted", units=list(reports)).encode() if reports else "",
    }
    return PodRecord(
        namespace="default",
        name="reel-1",
        uid="pod",
        job_uid="job",
        stage="clip",
        units=tuple(f"item {number}" for number in range(units)),
        fingerprints=tuple(f"{number}" * 64 for number in range(units)),
        attempt=1,
        created=START,
        **(given | fields),
    )


def made(seconds: float, finished: float = 0.0, by: str = "pod", **use: Any) -> DoneUnit:
    return DoneUnit(outcome=None, pod_uid=by, seconds=seconds, finished=finished, journal=JournalUse(**use))  # type: ignore[arg-type]


def report(outcome: UnitOutcome = UnitOutcome.INTERRUPTED, index: int = 0, **fields: Any) -> UnitReport:
    return UnitReport(index=index, outcome=outcome, **fields)


def booked(pod: PodRecord, **fields: Any) -> Spending:
    account = Account({})
    account.spend(seen(**fields), pod)
    account.settle(seen(**fields), pod)
    return account.made()


FIRST, SECOND = "0" * 64, "1" * 64


@pytest.mark.parametrize(
    ("ended", "known", "useful", "lost"),
    [
        pytest.param(pod(), {}, 0, 100, id="nothing is left: all of it"),
        pytest.param(pod(), {"kept": {FIRST: Kept(START + 70, True)}}, 0, 30, id="since the last segment"),
        pytest.param(pod(), {"kept": {FIRST: Kept(START - 5, True)}}, 0, 100, id="another attempt's journal"),
        pytest.param(pod(), {"kept": {FIRST: Kept(START + 130, True)}}, 0, 0, id="a bucket whose clock is ahead"),
        pytest.param(pod(), {"kept": {FIRST: Kept(START + 900, True)}}, 0, 100, id="what came long after it"),
        pytest.param(pod(report(lost=7.2)), {"kept": {FIRST: Kept(START + 70)}}, 0, 7, id="the worker knows better"),
        pytest.param(pod(report(lost=5000)), {}, 0, 100, id="never more than there were"),
        pytest.param(pod(), {"done": {FIRST: made(60)}}, 60, 0, id="done"),
        pytest.param(pod(), {"done": {FIRST: made(60, by="other")}}, 0, 100, id="done by another"),
        pytest.param(pod(gpus=4), {"done": {FIRST: made(60)}}, 240, 0, id="four GPUs"),
        pytest.param(pod(gpus=4), {}, 0, 400, id="four GPUs for nothing"),
        pytest.param(pod(units=2), {"done": {FIRST: made(60, START + 65)}}, 60, 35, id="since the unit before"),
        pytest.param(
            pod(report(UnitOutcome.FAILED, 0, lost=20), report(index=1, lost=3), units=2), {}, 0, 23, id="two units"
        ),
        pytest.param(pod(report(UnitOutcome.NOT_STARTED)), {}, 0, 100, id="nothing is said of the one at work"),
        pytest.param(pod(message="Segmentation fault"), {}, 0, 100, id="no last words of ours"),
        pytest.param(pod(started=None), {}, 0, 0, id="it never ran"),
    ],
)
def test_what_is_useful_and_what_is_lost(ended: PodRecord, known: dict[str, Any], useful: int, lost: int) -> None:
    spending = booked(ended, **known)
    assert (spending.useful, spending.lost) == (useful, lost)
    assert spending.total == (0 if ended.started is None else 100 * max(ended.gpus, 1))


def test_what_a_journal_was_good_for_is_told_by_the_done_unit_or_else_by_the_worker() -> None:
    done = {FIRST: made(60, saved=40, waited=1)}
    spending = booked(pod(report(index=1, saved=12.4, waited=0.6), units=2, gpus=2), done=done)
    assert (spending.saved, spending.checkpointing, spending.resumed) == (105, 3, 1)


@pytest.mark.parametrize("told", [float("inf"), float("nan"), -50.0, 1e300])
def test_numbers_that_can_not_be_come_to_nothing_that_hurts(told: float) -> None:
    message = '{"reason": "X", "units": [{"index": 0, "outcome": "failed", "saved": %s, "lost": %s}]}'
    text = {float("inf"): "1e999"}.get(told, "NaN" if told != told else str(told))
    spending = booked(pod(message=message % (text, text)))
    assert 0 <= spending.lost <= 100
    assert 0 <= spending.saved <= 1e9


def test_a_refusal_is_counted_and_told_once_an_attempt() -> None:
    reports = [report(index=each, refused=REFUSED, misfit=Misfit.LIBRARY) for each in range(3)]
    account = Account({})
    account.settle(seen(), pod(*reports, units=3))
    assert account.made().refused == {Misfit.LIBRARY: 3}
    (event,) = account.events
    assert (event.type, event.reason) == ("Warning", "CheckpointNotResumable")
    assert event.message == (
        'stage "clip", item "item 0": diffusers 0.42.1 -> 0.43.0, 22 steps lost; it started over'
        " (and 2 more of its pod)"
    )


def test_a_journal_that_ended_early_is_told() -> None:
    account = Account({})
    account.settle(seen(done={FIRST: made(60, ended="the bucket is full: s3://b/x has no room")}), pod())
    assert account.made().ended == 1
    assert [event.reason for event in account.events] == ["CheckpointingEnded"]


def test_an_old_status_without_a_total_keeps_what_was_spent() -> None:
    account = Account({}, total=5)
    assert account.added_to(GpuSeconds(useful=60, lost=40)).total == 105
    assert account.added_to(GpuSeconds(total=200, useful=60, lost=40)).total == 205
    # What a journal brings along that was computed elsewhere is useful, and was not spent here.
    assert account.added_to(GpuSeconds(total=20, useful=60)).total == 25


def test_a_pod_that_is_stopped_is_booked_when_it_has_ended_and_once() -> None:
    """Only then the bucket shows what it left, and its worker has said so."""
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    world.now += 100
    world.edit(suspend=True)
    world.settle()
    assert (world.status.gpu_seconds.total, world.status.gpu_seconds.lost) == (100, 0)
    world.now += 3
    world.kept[world.fingerprint(0, 0)] = Kept(world.now - 1, journal=True)
    (pod,) = world.working()
    world.vanish(pod)
    world.settle()
    assert (world.status.gpu_seconds.total, world.status.gpu_seconds.lost) == (103, 1)
    world.now += 500
    world.settle()
    assert (world.status.gpu_seconds.total, world.status.gpu_seconds.lost) == (103, 1)


def test_a_stopped_pod_that_goes_while_the_bucket_is_away_is_not_booked_for_that_time() -> None:
    world = World(spec=job_spec(items={"count": 1}))
    world.settle()
    world.now += 100
    world.edit(suspend=True)
    world.settle()
    world.outage = "no answer"
    world.vanish(world.working()[0])
    world.settle()
    world.now += 7200
    world.outage = None
    world.settle()
    assert (world.status.gpu_seconds.total, world.status.gpu_seconds.lost) == (100, 100)


def test_a_write_that_failed_books_nothing_twice() -> None:
    world = World(spec=job_spec(items={"count": 1}, retry={"perUnit": 2}))
    world.settle()
    world.now += 10
    words = Termination(reason="X", units=[report(UnitOutcome.FAILED, saved=4, refused=REFUSED, misfit=Misfit.MODEL)])
    world.end(world.working()[0], 10, message=words.encode())
    lost_write = decide(world.observe())
    assert lost_write.spending.saved == 4
    world.settle()
    world.settle()
    assert (world.status.gpu_seconds.saved, world.status.counters.not_resumable) == (4, 1)
    assert world.events.count("CheckpointNotResumable") == 1


def test_a_pod_that_still_ends_keeps_its_place_in_the_books() -> None:
    stopped = replace(pod(), phase="Running", finished=None)
    account = Account({})
    account.stop(seen(), stopped)
    again = open_account(seen(pods=(stopped,), stopped=tuple(account.stopped.values())))
    again.settle_stopped(seen())
    assert list(again.stopped) == ["pod"]
    assert again.made() == Spending()
