"""What was made of units is found out once, and again only where it may have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import making
from carryon_core import layout
from carryon_jobs import made as module
from carryon_jobs.errors import OutOfReach, Unknown
from carryon_jobs.job import Job
from carryon_jobs.made import Made, Recent, attempts, segment
from carryon_store import ObjectInfo, Unreachable
from carryon_store.files import FileStore

CLIP = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.prompt }}"]}}}
REEL = {"name": "reel", "each": "job", "after": ["clip"], "generate": {"command": {"args": ["{{ inputs.clip }}"]}}}


class Counting(FileStore):
    """A folder that counts what it is asked for, and may be away."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gets = self.heads = 0
        self.away = False

    def get(self, key: str, *, max_bytes: int = 1 << 20) -> bytes:
        self.gets += 1
        return super().get(key, max_bytes=max_bytes)

    def head(self, key: str) -> ObjectInfo:
        self.heads += 1
        if self.away:
            raise Unreachable("the bucket does not answer")
        return super().head(key)


def manifest(**spec: Any) -> dict[str, Any]:
    items = {"list": [{"id": "a", "params": {"prompt": "x"}}, {"id": "b", "params": {"prompt": "y"}}]}
    return {
        "metadata": {"name": "film", "namespace": "default", "uid": "u", "generation": 1, "resourceVersion": "1"},
        "spec": {"items": items, "stages": [CLIP, REEL], **spec},
    }


def job(raw: dict[str, Any], store: FileStore) -> Job:
    made = Job(raw, {}.__getitem__)
    made.__dict__["store"] = store
    return made


@pytest.fixture
def ticks() -> list[float]:
    return [0.0]


@pytest.fixture
def made(ticks: list[float]) -> Made:
    return Made(lambda: ticks[0])


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "bucket")


def test_a_record_is_read_once_and_later_only_asked_for_its_etag(
    made: Made, store: Counting, ticks: list[float], tmp_path: Path
) -> None:
    units = making.resolved(manifest())
    making.make(store, units, tmp_path, 0, {"a.txt": (b"1", "text/plain")})
    prefix = units.prefix(units.unit(0, 0))
    store.gets = store.heads = 0
    for _ in range(5):
        found = made.done(store, prefix)
        assert found is not None
        assert found.artifacts[0].size == 1
    assert (store.gets, store.heads) == (1, 1)
    ticks[0] += module.ASK_AGAIN + 1
    for _ in range(5):
        made.done(store, prefix)
    assert (store.gets, store.heads) == (1, 2)
    for info in list(store.list(prefix)):
        store.delete(info.key)
    making.make(store, units, tmp_path, 0, {"a.txt": (b"12", "text/plain")})
    ticks[0] += module.ASK_AGAIN + 1
    again = made.done(store, prefix)
    assert again is not None
    assert again.artifacts[0].size == 2


def test_a_unit_without_record_is_looked_for_again_each_time(made: Made, store: Counting, tmp_path: Path) -> None:
    units = making.resolved(manifest())
    prefix = units.prefix(units.unit(0, 0))
    assert made.done(store, prefix) is None
    store.put(prefix + layout.DONE, b"nonsense", content_type="")
    assert made.done(store, prefix) is None
    store.delete(prefix + layout.DONE)
    making.make(store, units, tmp_path, 0, {})
    assert made.done(store, prefix) is not None


def test_a_bucket_that_does_not_answer_is_not_taken_for_empty(made: Made, store: Counting) -> None:
    store.away = True
    with pytest.raises(OutOfReach, match="does not answer"):
        made.done(store, "default/film/clip/a/0123456789abcdef/")


def test_a_unit_that_gathers_has_a_place_once_what_it_gathers_is_done(made: Made, store: Counting) -> None:
    raw = manifest()
    assert made.place(job(raw, store), 1, 0).prefix == ""
    raw["metadata"]["resourceVersion"] = "2"
    raw["status"] = {"stages": [{"name": "clip", "succeeded": "0-1"}]}
    assert made.place(job(raw, store), 1, 0).prefix.startswith("default/film/reel/job/")


def test_units_are_worked_out_once_for_a_generation(
    made: Made, store: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    resolve = module.resolve

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return resolve(*arguments)

    monkeypatch.setattr(module, "resolve", counted)
    raw = manifest()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: made.place(job(raw, store), 0, 1), range(50)))
    raw["metadata"]["resourceVersion"] = "2"
    made.place(job(raw, store), 0, 1)
    assert len(calls) == 1
    raw["metadata"]["generation"] = 2
    raw["spec"]["items"]["list"][1]["params"]["prompt"] = "z"
    assert made.place(job(raw, store), 0, 1).prefix
    assert len(calls) == 2


def test_input_files_count_as_the_operator_saw_them_and_are_never_fetched(made: Made, store: Counting) -> None:
    uri = "s3://elsewhere/photo.png"
    raw = manifest(items={"list": [{"id": "a", "params": {"prompt": {"file": uri}}}]})
    unknown = made.place(job(raw, store), 0, 0).prefix
    store.put(
        layout.files_key("default", "film"), b'{"%b": ["etag", "%b"]}' % (uri.encode(), b"a" * 64), content_type=""
    )
    raw["status"] = {"items": {"variant": "changed"}}
    assert made.place(job(raw, store), 0, 0).prefix != unknown


@pytest.mark.parametrize(
    ("stage", "item", "message"),
    [
        ("nope", "a", 'no stage "nope"'),
        ("clip", "c", 'no item "c"'),
        ("clip", "~2", 'no item "~2"'),
        ("reel", "a", "no item"),
    ],
)
def test_what_is_no_unit_is_said_so(made: Made, store: Counting, stage: str, item: str, message: str) -> None:
    with pytest.raises(Unknown, match=message):
        made.named(job(manifest(), store), stage, item)


@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1))
def test_an_items_part_of_an_address_is_one_segment_that_no_browser_changes(item: str) -> None:
    part = segment(item, 7)
    assert "/" not in unquote(part)
    assert unquote(part).strip(".")
    assert unquote(part) in (item, "~7")
    assert (unquote(part) == item) or item.startswith("~") or not item.strip(".") or "/" in item or "\\" in item


def test_attempts_come_newest_first_and_damaged_ones_without_account(store: Counting) -> None:
    units = making.resolved(manifest())
    prefix = units.prefix(units.unit(0, 0))
    making.fail(store, units, 0, "uid-1", "OutOfMemory", "m", "log\n")
    store.put(layout.attempt_key(prefix, "uid-2"), b"nonsense", content_type="")
    found = attempts(store, prefix)
    assert [(each.pod_uid, each.account is not None, each.log) for each in found] == [
        ("uid-2", False, False),
        ("uid-1", True, True),
    ]


def test_what_was_found_out_goes_when_room_is_short() -> None:
    recent: Recent[str] = Recent(10)
    for key in "abc":
        recent.get(key, lambda: "x", lambda _: 4)
    assert len(recent) == 2
    recent.get("large", lambda: "x", lambda _: 100)
    assert len(recent) == 1


def test_an_error_is_not_kept_and_holds_up_nobody() -> None:
    recent: Recent[str] = Recent(10)
    ready = threading.Barrier(4)

    def fail() -> str:
        raise OutOfReach("away")

    def ask(find_out: Callable[[], str]) -> None:
        ready.wait()
        with pytest.raises(OutOfReach):
            recent.get("a", find_out)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, [fail] * 4))
    assert recent.get("a", lambda: "there") == "there"
    assert not recent._busy
