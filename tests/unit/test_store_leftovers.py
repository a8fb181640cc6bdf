"""What attempts have left of a unit, and what of it nobody goes on from any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from carryon_store.leftovers import Leftover, garbage, journal_bytes, leftover
from carryon_store.protocol import ObjectInfo

UNIT = "ns/film/clip/dunes/0123456789abcdef/"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, NEW = "a" * 12, "b" * 12


def each(name: str, hours: float, size: int = 100) -> ObjectInfo:
    """An object that was written so many hours ago."""
    return ObjectInfo(UNIT + name, size, "etag", NOW - timedelta(hours=hours))


def journal(worker: str, hours: float, number: int = 0) -> ObjectInfo:
    return each(f"journal/{worker}/uid/{number:06}.safetensors", hours)


def fields(worker: str, hours: float) -> ObjectInfo:
    return each(f"journal/{worker}/fingerprint.json", hours, 5)


DONE, CLIP, LOG = each("done.json", 30), each("clip.0123456789ab.mp4", 30), each("attempts/uid.log", 30)
STATE = each("checkpoint/000001.0123.tar", 30)


@pytest.mark.parametrize(
    ("objects", "left"),
    [
        ([], None),
        ([CLIP, LOG, DONE], None),
        ([STATE], Leftover(NOW - timedelta(hours=30))),
        ([fields(OLD, 2)], Leftover(NOW - timedelta(hours=2))),
        ([fields(OLD, 2), journal(OLD, 1), STATE], Leftover(NOW - timedelta(hours=1), OLD)),
        ([fields(OLD, 2), journal(OLD, 2), fields(NEW, 1), journal(NEW, 1)], Leftover(NOW - timedelta(hours=1), NEW)),
        # The last to write counts, whatever it is called.
        ([journal(OLD, 1), journal(NEW, 3)], Leftover(NOW - timedelta(hours=1), OLD)),
        ([each("journal/strange/file", 1)], Leftover(NOW - timedelta(hours=1))),
    ],
)
def test_what_is_left(objects: list[ObjectInfo], left: Leftover | None) -> None:
    assert leftover(UNIT, objects) == left


def test_bytes_are_those_of_all_journals() -> None:
    assert journal_bytes(UNIT, [CLIP, STATE, fields(OLD, 1), journal(OLD, 1), journal(NEW, 1)]) == 205


@pytest.mark.parametrize(
    ("wanted", "objects", "gone"),
    [
        pytest.param(True, [fields(OLD, 90), journal(OLD, 90)], "", id="of a unit that waits, for however long"),
        pytest.param(True, [STATE], "", id="what a program keeps"),
        pytest.param(True, [journal(OLD, 30), journal(NEW, 30, 1)], f"journal/{OLD}", id="refused by a later worker"),
        pytest.param(True, [journal(OLD, 2), journal(NEW, 1)], "", id="refused only now"),
        pytest.param(
            True, [fields(OLD, 99), journal(OLD, 30), fields(NEW, 99)], f"journal/{NEW}", id="fields without segments"
        ),
        pytest.param(False, [fields(OLD, 90), journal(OLD, 25), STATE], "journal/ checkpoint/", id="not wanted so"),
        pytest.param(False, [journal(OLD, 90), journal(OLD, 1, 1)], "", id="not wanted so, and at work until now"),
        pytest.param(False, [journal(OLD, 30), DONE, CLIP, LOG], "journal/", id="of a unit that is done"),
        pytest.param(False, [DONE, CLIP, LOG], "", id="what was made stays"),
    ],
)
def test_what_may_go(wanted: bool, objects: list[ObjectInfo], gone: str) -> None:
    expected = [UNIT + name for name in gone.split()]
    found = garbage(UNIT, objects, NOW - DAY, wanted=wanted)
    assert sorted(found) == sorted(o.key for o in objects if any(o.key.startswith(at) for at in expected))
