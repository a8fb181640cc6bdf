"""Previews of finished sections: shown once, never waited for, gone when the unit is done."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import Store, StoreError, open_store
from carryon_worker.previews import Previews

PREFIX = "studio/reel/clip/dunes/0123456789abcdef/"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(StoreConfig(uri=(tmp_path / "bucket").as_uri()))


@pytest.fixture
def previews(store: Store, tmp_path: Path) -> Previews:
    return Previews(store, PREFIX, tmp_path / "scratch")


def saying(text: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(text) and None


def ready() -> bool:
    return True


def never() -> bool:
    return False


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)


def test_a_section_is_shown_under_its_number_and_its_content(previews: Previews, store: Store) -> None:
    assert previews.names == ()
    previews.show(0, ready, saying("dawn"))
    previews.show(11, ready, saying("noon"))
    until(lambda: len(previews.names) == 2)
    assert list(previews.names) == [
        f"previews/{section}.{hashlib.sha256(text).hexdigest()[:12]}.mp4"
        for section, text in (("000", b"dawn"), ("011", b"noon"))
    ]
    assert [store.get(PREFIX + name) for name in previews.names] == [b"dawn", b"noon"]
    assert next(store.list(PREFIX)).key.endswith(".mp4")
    previews.close()


def test_what_an_earlier_attempt_has_shown_is_not_written_again(
    previews: Previews, store: Store, tmp_path: Path
) -> None:
    previews.show(0, ready, saying("dawn"))
    until(lambda: previews.names)
    previews.close()
    written: list[Path] = []
    again = Previews(store, PREFIX, tmp_path / "again")
    again.show(0, ready, written.append)
    again.show(1, ready, saying("noon"))
    until(lambda: len(again.names) == 2)
    assert written == []
    assert len(list(store.list(PREFIX))) == 2
    again.close()


def test_they_go_when_the_unit_is_done_and_nothing_else_does(previews: Previews, store: Store) -> None:
    store.put(PREFIX + "done.json", b"{}", content_type="application/json")
    previews.show(0, ready, saying("dawn"))
    until(lambda: previews.names)
    previews.discard()
    assert [info.key for info in store.list(PREFIX)] == [PREFIX + "done.json"]
    assert previews.names == ()


def test_a_unit_without_sections_asks_the_bucket_for_nothing(tmp_path: Path) -> None:
    Previews(None, PREFIX, tmp_path).discard()  # type: ignore[arg-type]


def test_what_never_becomes_ready_keeps_nobody_waiting(previews: Previews, store: Store) -> None:
    for section in range(20):
        previews.show(section, never, saying("dusk"))
    began = time.monotonic()
    previews.close()
    assert time.monotonic() - began < 1
    previews.show(21, ready, saying("night"))
    assert list(store.list(PREFIX)) == []


def test_only_a_few_wait_in_memory(previews: Previews) -> None:
    gate = threading.Event()
    for section in range(20):
        previews.show(section, gate.is_set, saying(str(section)))
    gate.set()
    until(lambda: len(previews.names) >= 4)
    previews.close()
    # One was at work at the most, four waited.
    assert len(previews.names) <= 5


@pytest.mark.parametrize("error", [StoreError("full"), OSError("no space"), RuntimeError("a codec")])
def test_what_goes_wrong_is_said_once_and_costs_the_unit_nothing(
    previews: Previews, store: Store, error: Exception, caplog: Any
) -> None:
    def fails(path: Path) -> None:
        raise error

    previews.show(0, ready, fails)
    until(lambda: "goes on without previews" in caplog.text)
    previews.show(1, ready, saying("noon"))
    previews.discard()
    assert caplog.text.count("goes on without previews") == 1
    assert list(store.list(PREFIX)) == []


def test_two_workers_at_one_unit_show_the_same_once(store: Store, tmp_path: Path) -> None:
    gate = threading.Event()
    pair = [Previews(store, PREFIX, tmp_path / name) for name in ("a", "b")]
    for each in pair:
        each.show(0, gate.is_set, saying("dawn"))
    gate.set()
    until(lambda: all(each.names for each in pair))
    assert len(list(store.list(PREFIX))) == 1
    for each in pair:
        each.close()
