"""What waits is written in time, in order, and never at the cost of whoever adds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from carryon_core import policies, sizes
from carryon_core.messages import Cadence
from carryon_core.spec import Checkpoint
from carryon_store import Full, Unreachable
from carryon_worker.journal import cadence
from carryon_worker.journal.writer import MOST_WAITING, Entry, Refused, Writer

SOON = 20.0


@dataclass
class Waiting:
    """A call that waits."""

    name: int
    size: int = 10
    arrived: bool = True
    section: bool = False
    began: float = field(default_factory=time.monotonic)

    def ready(self) -> bool:
        return self.arrived

    def describe(self) -> Any:
        raise AssertionError("not the writer's business")


class Bucket:
    """Where batches go; closed, it lets nobody through."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.errors: list[Exception] = []
        self.tried = 0
        self.besides = 0
        """Bytes that a segment has besides its calls."""
        self.open = threading.Event()
        self.open.set()

    def put(self, batch: Sequence[Entry]) -> int:
        self.tried += 1
        self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append([each.name for each in batch])  # type: ignore[attr-defined]
        return sum(each.size for each in batch) + self.besides

    @property
    def names(self) -> list[int]:
        return [name for batch in self.batches for name in batch]


def eventually(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("calls", "size", "age", "due", "wait"),
    [
        (0, 0, 0.0, False, None),
        (1, 10, 0.0, False, 15.0),
        (1, 10, 14.0, False, 1.0),
        (1, 10, 15.0, True, 0.0),
        (1, 10, 99.0, True, 0.0),
        (3, 1000, 1.0, True, 14.0),
        (3, 999, 1.0, False, 14.0),
    ],
)
def test_what_waits_is_due_by_its_age_or_its_size(
    calls: int, size: int, age: float, due: bool, wait: float | None
) -> None:
    wanted = Cadence(every_seconds=15, every_bytes=1000)
    assert cadence.due(wanted, calls, size, age) is due
    assert cadence.wait(wanted, calls, age) == wait


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, Cadence(every_seconds=15)),
        ({"policy": "Low"}, Cadence(every_seconds=60)),
        ({"policy": "High"}, Cadence(every_seconds=5)),
        ({"policy": "High", "everySeconds": 7}, Cadence(every_seconds=7)),
        ({"everyBytes": "100M"}, Cadence(every_seconds=15, every_bytes=100_000_000)),
        ({"policy": "Low", "everyBytes": "1"}, Cadence(every_seconds=60, every_bytes=1)),
        ({"everySeconds": 86400, "everyBytes": "1Gi"}, Cadence(every_seconds=86400, every_bytes=2**30)),
        ({"policy": "Off", "everyBytes": "1Gi"}, Cadence(enabled=False)),
        ({"policy": "Off"}, Cadence(enabled=False)),
        ({"policy": "Off", "everySeconds": 7}, Cadence(enabled=False)),
        ({"maxBytes": "2Gi"}, Cadence(max_bytes=2 * 2**30)),
    ],
)
def test_what_the_spec_says_is_what_workers_are_told(spec: dict[str, Any], told: Cadence) -> None:
    assert policies.cadence(Checkpoint.model_validate(spec)) == told


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("500M", 500_000_000), ("2Gi", 2**31), ("3k", 3000)])
def test_sizes_are_those_of_kubernetes(text: str, value: int) -> None:
    assert sizes.size(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "2 Gi", "2GiB", "Gi", "5ki"])
def test_what_is_no_size_is_told_so(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        sizes.size(text)


def test_calls_are_written_in_order_when_there_are_bytes_enough() -> None:
    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=3600, every_bytes=30))
    for name in range(7):
        writer.add(Waiting(name))
    eventually(lambda: len(bucket.names) >= 6)
    assert bucket.names == list(range(len(bucket.names)))
    assert writer.flush(SOON)
    assert bucket.names == list(range(7))
    writer.close()


def test_calls_are_written_when_the_oldest_is_old_enough() -> None:
    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=0.02))
    writer.add(Waiting(0))
    eventually(lambda: bucket.names == [0])
    writer.close()


def test_whoever_adds_a_call_is_not_kept_waiting_by_a_bucket_that_hangs() -> None:
    bucket = Bucket()
    bucket.open.clear()
    writer = Writer(bucket.put, Cadence(every_seconds=0.001))
    writer.add(Waiting(0))
    eventually(lambda: bucket.tried)
    began = time.monotonic()
    for name in range(1, 1000):
        writer.add(Waiting(name))
    assert time.monotonic() - began < 1
    assert not writer.flush(0.05)
    bucket.open.set()
    assert writer.flush(SOON)
    assert bucket.names == list(range(1000))
    writer.close()


def test_what_piled_up_is_written_in_segments_of_the_usual_size() -> None:
    bucket = Bucket()
    bucket.open.clear()
    writer = Writer(bucket.put, Cadence(every_seconds=0.001, every_bytes=30))
    for name in range(7):
        writer.add(Waiting(name))
    writer.add(Waiting(7, size=100))
    bucket.open.set()
    assert writer.flush(SOON)
    assert bucket.names == list(range(8))
    assert max(map(len, bucket.batches)) <= 3
    assert bucket.batches[-1] == [7]
    writer.close()


def test_a_flush_takes_what_has_arrived_and_waits_for_nothing_else() -> None:
    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=3600))
    late = Waiting(1, arrived=False)
    for each in (Waiting(0), late, Waiting(2)):
        writer.add(each)
    assert writer.flush(SOON)
    assert bucket.names == [0]
    late.arrived = True
    assert writer.flush(SOON)
    assert bucket.names == [0, 1, 2]
    writer.close()


def test_a_bucket_that_failed_is_tried_again_with_the_same_calls() -> None:
    bucket = Bucket()
    bucket.errors = [Unreachable("no answer")]
    writer = Writer(bucket.put, Cadence(every_seconds=0.001))
    writer.add(Waiting(0))
    eventually(lambda: bucket.tried)
    # Its first try may have arrived: what is written under that name must not change.
    writer.add(Waiting(1))
    assert writer.flush(SOON)
    assert bucket.batches == [[0], [1]]
    assert writer.ended == ""
    writer.close()


@pytest.mark.parametrize("error", [Refused("another worker writes there"), RuntimeError("a mistake of ours")])
def test_what_can_never_be_written_ends_the_journal_and_nothing_else(error: Exception) -> None:
    bucket = Bucket()
    bucket.errors = [error]
    writer = Writer(bucket.put, Cadence(every_seconds=0.001))
    writer.add(Waiting(0))
    eventually(lambda: writer.ended)
    assert writer.ended == str(error)
    writer.add(Waiting(1))
    assert not writer.flush(SOON)
    writer.close()
    assert (bucket.names, bucket.tried) == ([], 1)


def test_a_journal_keeps_to_its_size() -> None:
    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=3600, max_bytes=35), held=10)
    for name in range(4):
        writer.add(Waiting(name))
    assert "checkpoint.maxBytes, 35 bytes" in writer.ended
    assert writer.flush(SOON)
    # What was taken before is written; what would follow a gap is not taken.
    assert bucket.names == [0, 1]
    writer.close()


def test_a_finished_section_makes_room_for_the_next() -> None:
    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=3600, max_bytes=50), held=10, fixed=10)
    writer.add(Waiting(0))
    assert not writer.replace([Waiting(7, section=True)], more=30)
    writer.add(Waiting(1))
    # What it replaces is not written any more.
    assert writer.replace([Waiting(8, section=True), Waiting(9, section=True)], more=21)
    writer.add(Waiting(2))
    writer.add(Waiting(3, size=11))
    assert writer.full
    writer.add(Waiting(4))
    assert writer.flush(SOON)
    assert bucket.batches == [[8, 9], [2]]
    # 30 bytes stay: no room for three times ten more.
    assert not writer.replace([Waiting(5, section=True, size=21)], more=10)
    assert writer.replace([Waiting(6, section=True)], more=10)
    assert not writer.full
    writer.add(Waiting(10))
    assert writer.flush(SOON)
    assert bucket.batches[2:] == [[6], [10]]
    writer.close()


def test_sections_replace_nothing_that_is_being_written() -> None:
    bucket = Bucket()
    bucket.open.clear()
    writer = Writer(bucket.put, Cadence(every_seconds=0.001, max_bytes=25))
    writer.add(Waiting(0))
    eventually(lambda: bucket.tried)
    writer.add(Waiting(1))
    assert writer.replace([Waiting(8, section=True)], more=10)
    assert writer.replace([Waiting(9, section=True)], more=20)
    bucket.open.set()
    assert writer.flush(SOON)
    assert bucket.batches == [[0], [8, 9]]
    writer.close()


def test_a_journal_that_ended_is_not_taken_up_again() -> None:
    writer = Writer(Bucket().put, Cadence(every_seconds=3600, max_bytes=15))
    writer.add(Waiting(0))
    writer.add(Waiting(1))
    assert writer.full
    writer.end("the denoiser remembers")
    assert not writer.replace([Waiting(2, section=True)], more=10)
    assert "checkpoint.maxBytes" in writer.ended
    writer.close()


def test_as_much_may_wait_as_a_job_wants_written_at_once() -> None:
    bucket = Bucket()
    wanted = Cadence(every_seconds=3600, every_bytes=2 * MOST_WAITING)
    writer = Writer(bucket.put, wanted)
    for number in range(4):
        writer.add(Waiting(number, size=MOST_WAITING // 2))
    assert writer.ended == ""
    eventually(lambda: bucket.batches == [[0, 1, 2, 3]])
    writer.close()


def test_memory_is_not_filled_for_a_bucket_that_is_too_slow() -> None:
    bucket = Bucket()
    bucket.open.clear()
    writer = Writer(bucket.put, Cadence(every_seconds=0.001))
    writer.add(Waiting(0, size=MOST_WAITING // 2))
    writer.add(Waiting(1, size=MOST_WAITING // 2))
    assert writer.ended == ""
    writer.add(Waiting(2))
    assert "the bucket is too slow: 256 MiB wait" in writer.ended
    bucket.open.set()
    assert writer.flush(SOON)
    assert bucket.names == [0, 1]
    writer.close()


def test_copies_that_nobody_can_ask_about_end_the_journal_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Waiting) -> bool:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=3600))
    monkeypatch.setattr(Waiting, "ready", broken)
    writer.add(Waiting(0))
    writer.flush(SOON)
    assert "illegal memory access" in writer.ended
    writer.close()
    assert bucket.names == []


def test_after_its_end_a_journal_takes_no_calls_but_writes_those_it_has() -> None:
    bucket = Bucket()
    writer = Writer(bucket.put, Cadence(every_seconds=3600))
    writer.add(Waiting(0))
    writer.end("the denoiser remembers")
    writer.end("and something else")
    writer.add(Waiting(1))
    assert writer.flush(SOON)
    assert (bucket.names, writer.ended) == ([0], "the denoiser remembers")
    writer.close()


def test_closing_waits_for_what_is_being_written_and_writes_no_more() -> None:
    bucket = Bucket()
    bucket.open.clear()
    writer = Writer(bucket.put, Cadence(every_seconds=0.001))
    writer.add(Waiting(0))
    eventually(lambda: bucket.tried)
    closing = threading.Thread(target=writer.close)
    closing.start()
    writer.add(Waiting(1))
    assert closing.is_alive()
    bucket.open.set()
    closing.join(SOON)
    assert not closing.is_alive()
    assert bucket.names == [0]


def test_a_bucket_that_is_full_is_asked_once_and_ends_the_journal() -> None:
    bucket = Bucket()
    bucket.errors = [Full("s3://b/x has no room")]
    writer = Writer(bucket.put, Cadence(every_seconds=0.001))
    writer.add(Waiting(0))
    eventually(lambda: writer.ended)
    assert writer.ended == "the bucket is full: s3://b/x has no room"
    writer.add(Waiting(1))
    assert not writer.flush(0.05), "what was not written is not durable"
    assert (bucket.tried, bucket.batches) == (1, [])
    writer.close()
