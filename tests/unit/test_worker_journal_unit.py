"""One unit's journal and the bucket: what is left, what is refused, and what a bucket may do meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from carryon_core import layout
from carryon_core.messages import Cadence, StoreConfig
from carryon_store import Denied, Store, Unreachable, open_store
from carryon_worker.journal import fingerprint
from carryon_worker.journal.segments import Blob, Call, Kind
from carryon_worker.journal.unit import Journal

FIELDS = {"diffusers": "0.42.1", "seed": 1, "tiling": False}
PREFIX = "studio/reel/clip/0/0123456789abcdef/"


class Entry:
    """A call that is ready."""

    size = 4
    section = False

    def __init__(self, step: int, kind: Kind = Kind.KEPT) -> None:
        self.began = time.monotonic()
        self.call = Call(component="unet", kind=kind, inputs={}, step=step, seconds=0.5)

    def ready(self) -> bool:
        return True

    def describe(self) -> tuple[Call, Sequence[Blob]]:
        return self.call, [Blob("U8", (4,), b"bits")]


class Desk:
    """Opens journals of one unit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store: Store = open_store(StoreConfig(uri=(root / "bucket").as_uri()))
        self.opened: list[Journal] = []
        self.saved = 0

    def journal(self, pod: str, store: Any = None, **cadence: Any) -> Journal:
        def saved() -> None:
            self.saved += 1

        scratch = self.root / f"scratch-{len(self.opened)}"
        wanted = Cadence(**{"every_seconds": 3600, **cadence})
        made = Journal(store or self.store, PREFIX, scratch, pod, wanted, saved)
        self.opened.append(made)
        return made

    def write(self, pod: str, *steps: int, fields: Any = FIELDS, kind: Kind = Kind.KEPT) -> Journal:
        """Open a journal and add calls to it, a segment each."""
        journal = self.journal(pod)
        journal.open(fields)
        for step in steps:
            journal.add(Entry(step, kind))
            journal.flush(20.0)
        return journal

    def reach(self, fields: Any = FIELDS) -> int:
        found = self.journal("reader").open(fields)
        return found[-1].end if found else 0

    def names(self) -> list[str]:
        return [info.key.removeprefix(PREFIX) for info in self.store.list(PREFIX)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    for journal in made.opened:
        journal.close()


def test_what_lies_in_the_bucket_can_be_read_by_people(desk: Desk) -> None:
    desk.write("uid", 0, 1)
    worker = fingerprint.of(FIELDS)[:12]
    assert desk.names() == [
        f"journal/{worker}/fingerprint.json",
        f"journal/{worker}/uid/000000.safetensors",
        f"journal/{worker}/uid/000001.safetensors",
    ]
    assert json.loads(desk.store.get(PREFIX + desk.names()[0])) == FIELDS
    assert desk.saved == 2


def test_each_pod_goes_on_in_a_folder_of_its_own(desk: Desk) -> None:
    desk.write("one", 0, 1)
    desk.write("two", 2)
    desk.write("one", 3)
    assert [key.split("/", 2)[2] for key in desk.names()[1:]] == [
        "one/000000.safetensors",
        "one/000001.safetensors",
        "one/000003.safetensors",
        "two/000002.safetensors",
    ]
    assert desk.reach() == 4


def test_a_pod_from_before_a_partition_harms_nobody(desk: Desk) -> None:
    zombie = desk.write("zombie", 0)
    desk.write("successor", 1, 2)
    zombie.add(Entry(1))
    zombie.flush(20.0)
    assert desk.reach() == 3


class Forgetful:
    """A bucket whose answers get lost after it has done what it was asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.lost = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put(self, key: str, *args: Any, **options: Any) -> Any:
        answer = self.store.put(key, *args, **options)
        if key.endswith(".safetensors") and self.lost:
            self.lost -= 1
            raise Unreachable("no answer")
        return answer


def test_a_segment_whose_answer_was_lost_is_known_for_our_own(desk: Desk) -> None:
    journal = desk.journal("uid", Forgetful(desk.store))
    journal.open(FIELDS)
    journal.add(Entry(0))
    journal.flush(20.0)
    assert desk.saved == 0
    journal.add(Entry(1))
    journal.flush(20.0)
    assert (desk.saved, desk.reach(), journal.taking) == (2, 2, True)


def test_a_place_that_is_taken_is_left_alone_and_the_journal_goes_on_beside_it(desk: Desk) -> None:
    one, other = desk.journal("same"), desk.journal("same")
    for journal, step in ((one, 0), (other, 7)):
        journal.open(FIELDS)
        journal.add(Entry(step))
    one.flush(20.0)
    other.flush(20.0)
    other.add(Entry(8))
    other.flush(20.0)
    assert [key.split("/", 2)[2] for key in desk.names()[1:]] == [
        "same.1/000000.safetensors",
        "same.1/000001.safetensors",
        "same/000000.safetensors",
    ]
    assert desk.reach() == 2


def test_a_damaged_segment_in_our_place_does_not_end_the_journal(desk: Desk) -> None:
    desk.write("same", 0, 1)
    spoil(desk, "000001.safetensors", b"nothing")
    journal = desk.write("same", 2, 3)
    assert journal.taking
    assert desk.reach() == 3


def test_a_journal_gives_up_where_every_place_is_taken(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    journals = [desk.journal("other") for _ in range(9)]
    for number, journal in enumerate(journals):
        journal.open({**FIELDS, "seed": 5})
        journal.add(Entry(number))
    for journal in journals:
        journal.flush(20.0)
    assert [journal.taking for journal in journals] == [True] * 8 + [False]
    assert "segment 0 lies in 8 folders of pod other already" in caplog.text


class Failing:
    """A bucket that takes nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def put(self, *args: Any, **options: Any) -> Any:
        raise Denied("no right to write")


def test_a_bucket_that_takes_nothing_is_told_about_and_the_unit_goes_on(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    journal = desk.journal("uid", Failing(desk.store))
    journal.open(FIELDS)
    journal.add(Entry(0))
    journal.flush(20.0)
    assert "the journal could not be written, which is tried again: no right to write" in caplog.text
    assert desk.saved == 0


class Silent:
    """A bucket that does not answer."""

    def list(self, prefix: str) -> Any:
        raise Unreachable("no answer")


class Closed:
    """A bucket whose listing is not for us."""

    def list(self, prefix: str) -> Any:
        raise Denied("not allowed to list")


def test_what_may_not_be_read_is_no_reason_to_fail(desk: Desk) -> None:
    journal = desk.journal("uid", Closed())
    assert journal.open(FIELDS) == ()
    assert not journal.taking
    resume = journal.resume()
    assert resume is not None
    assert "not allowed to list" in resume.refused


def test_a_bucket_that_does_not_say_what_was_left_is_no_reason_to_start_over(desk: Desk) -> None:
    with pytest.raises(Unreachable):
        desk.journal("uid", Silent()).open(FIELDS)


def test_calls_that_are_made_again_anyway_are_nothing_durable(desk: Desk) -> None:
    desk.write("uid", 0, 1, kind=Kind.AGAIN)
    assert desk.saved == 0
    assert desk.reach() == 2


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"diffusers": "0.43.0"}, "diffusers 0.42.1 -> 0.43.0, 22 steps lost"),
        ({"tiling": True}, "tiling False -> True, 22 steps lost"),
        ({"tiling": 0}, "tiling False -> 0, 22 steps lost"),
        ({"diffusers": "1", "seed": 2, "tiling": None}, "diffusers 0.42.1 -> 1, seed 1 -> 2, tiling False -> None, 22"),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, "a absent -> 1, b absent -> 2, c absent -> 3 and 1 more, 22 steps lost"),
    ],
)
def test_a_journal_of_another_worker_is_refused_by_name(desk: Desk, other: Any, reason: str) -> None:
    desk.write("uid", 20, 22)
    journal = desk.journal("next")
    assert journal.open({**FIELDS, **other}) == ()
    resume = journal.resume()
    assert resume is not None
    assert resume.refused.startswith(f"CheckpointNotResumable: {reason}")


def test_what_is_gone_from_the_fields_is_named_too(desk: Desk) -> None:
    desk.write("uid", 1)
    journal = desk.journal("next")
    journal.open({name: value for name, value in FIELDS.items() if name != "seed"})
    resume = journal.resume()
    assert resume is not None
    assert resume.refused == "CheckpointNotResumable: seed 1 -> absent, 1 step lost"


def spoil(desk: Desk, ending: str, content: bytes | None) -> None:
    (key,) = [each for each in desk.names() if each.endswith(ending)]
    if content is None:
        desk.store.delete(PREFIX + key)
    else:
        desk.store.put(PREFIX + key, content, content_type="application/octet-stream")


@pytest.mark.parametrize(
    ("ending", "content", "reason"),
    [
        ("fingerprint.json", None, "fingerprint unreadable, 2 calls lost"),
        ("fingerprint.json", b"{", "fingerprint unreadable, 2 calls lost"),
        ("fingerprint.json", b'{"a": [1]}', "fingerprint unreadable, 2 calls lost"),
        ("000001.safetensors", b"nothing", "seed 1 -> 2, 2 segments lost"),
    ],
)
def test_a_damaged_journal_of_another_worker_is_refused_all_the_same(
    desk: Desk, ending: str, content: bytes | None, reason: str
) -> None:
    desk.write("uid", 0, 0)
    spoil(desk, ending, content)
    journal = desk.journal("next")
    assert journal.open({**FIELDS, "seed": 2}) == ()
    resume = journal.resume()
    assert resume is not None
    assert resume.refused == f"CheckpointNotResumable: {reason}"


def test_a_journal_without_its_beginning_is_of_no_use_and_says_so(desk: Desk) -> None:
    desk.write("uid", 0, 1)
    spoil(desk, "000000.safetensors", None)
    journal = desk.journal("next")
    assert journal.open(FIELDS) == ()
    resume = journal.resume()
    assert resume is not None
    assert "no segment from call 0 on is whole" in resume.refused


def test_starting_over_forgets_what_did_not_fit_and_keeps_what_comes(desk: Desk) -> None:
    desk.write("one", 0, 1)
    journal = desk.journal("one")
    assert len(journal.open(FIELDS)) == 2
    journal.start_over("call 1 of unet has another 0")
    journal.add(Entry(9))
    journal.flush(20.0)
    resume = journal.resume()
    assert resume is not None
    assert resume.refused == "CheckpointNotResumable: call 1 of unet has another 0, 1 step lost"
    assert desk.reach() == 1


def test_nothing_is_left_once_the_unit_is_done(desk: Desk) -> None:
    desk.write("uid", 0)
    desk.write("uid", 0, fields={**FIELDS, "seed": 2})
    desk.store.put(PREFIX + layout.DONE, b"{}", content_type="application/json")
    desk.write("last").discard()
    assert desk.names() == [layout.DONE]


def test_a_journal_that_was_never_opened_touches_nothing(desk: Desk) -> None:
    desk.write("uid", 0)
    before = desk.names()
    journal = desk.journal("next", enabled=False)
    assert not journal.enabled
    journal.add(Entry(0))
    journal.end("whatever")
    journal.flush(1.0)
    assert journal.resume() is None
    assert desk.names() == before


def test_what_was_kept_before_a_job_wanted_nothing_kept_goes_too_once_the_unit_is_done(desk: Desk) -> None:
    desk.write("uid", 0)
    desk.journal("next", enabled=False).discard()
    assert desk.names() == []


def test_a_journal_that_was_only_begun_is_no_loss(desk: Desk) -> None:
    desk.write("uid", 0)
    spoil(desk, "000000.safetensors", None)
    for fields in (FIELDS, {**FIELDS, "seed": 2}):
        journal = desk.journal("next")
        assert journal.open(fields) == ()
        resume = journal.resume()
        assert resume is not None
        assert resume.refused == ""


def test_what_lies_behind_a_gap_is_told_about(desk: Desk) -> None:
    desk.write("uid", 1, 2, 5, 7)
    whole = {name: desk.store.get(PREFIX + name) for name in desk.names()}
    for content in (None, b"nothing"):
        for name, each in whole.items():
            desk.store.put(PREFIX + name, each, content_type="application/octet-stream")
        spoil(desk, "000002.safetensors", content)
        journal = desk.journal("next")
        assert len(journal.open(FIELDS)) == 2
        resume = journal.resume()
        assert resume is not None
        assert resume.refused == "CheckpointNotResumable: segment 2 is missing or damaged, 5 steps lost"
