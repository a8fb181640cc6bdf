"""Work on buckets, by a few threads: a bucket that hangs holds up only its own jobs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from carryon_core.messages import StoreConfig
from carryon_operator.looks import Busy, Looks
from carryon_store import Denied, Unreachable
from fake_apiserver import eventually

HERE = StoreConfig(uri="s3://here/p")
THERE = StoreConfig(uri="s3://there/p")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What work waits for that hangs; opened at the end."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_work_is_done_and_its_answer_or_error_handed_on() -> None:
    looks = Looks()

    def refuse() -> None:
        raise Denied("no")

    assert await looks.run(HERE, lambda: 7) == 7
    with pytest.raises(Denied, match="no"):
        await looks.run(HERE, refuse)
    assert looks.running == 0


async def test_work_waits_for_a_free_thread_and_goes_on_as_soon_as_there_is_one(gate: threading.Event) -> None:
    looks = Looks(at_one_place=1)
    first = looks.start(HERE, gate.wait)
    second = asyncio.create_task(looks.run(HERE, lambda: "second"))
    third = asyncio.create_task(looks.run(HERE, lambda: "third"))
    assert await looks.run(THERE, lambda: "elsewhere") == "elsewhere"
    assert not second.done()
    gate.set()
    assert [await first, await second, await third] == [True, "second", "third"]


async def test_work_that_gets_no_thread_is_not_begun(gate: threading.Event) -> None:
    looks = Looks(at_one_place=1, patience=0.05)
    looks.start(HERE, gate.wait)
    begun: list[int] = []
    with pytest.raises(Busy):
        await looks.run(HERE, lambda: begun.append(1))
    gate.set()
    while looks.running:
        await asyncio.sleep(0.01)
    assert begun == []


async def test_work_that_takes_too_long_is_no_longer_waited_for(gate: threading.Event) -> None:
    looks = Looks(longest=0.05)
    with pytest.raises(Unreachable, match=r"s3://here/p took longer than 0 s"):
        await looks.run(HERE, gate.wait)
    assert looks.running == 1


async def test_places_that_nobody_looks_at_are_not_kept() -> None:
    """People write endpoints: there may be any number in a year."""
    looks = Looks()
    for number in range(20):
        await looks.run(StoreConfig(uri=f"s3://bucket-{number}", endpoint=f"http://s3-{number}"), lambda: None)
    await eventually(lambda: looks.places == 0)


async def test_places_that_hang_hold_up_only_themselves_however_many_they_are(gate: threading.Event) -> None:
    looks = Looks(threads=2, hangs_after=0.05)
    hanging = [StoreConfig(uri="s3://b", endpoint=f"http://hangs-{number}") for number in range(2)]
    first = [looks.start(place, gate.wait) for place in hanging]
    with pytest.raises(Busy):
        looks.start(THERE, lambda: "at once")
    await asyncio.sleep(0.1)
    assert await looks.start(THERE, lambda: "as soon as they are known to hang") is not None
    again = [looks.start(place, gate.wait) for place in hanging]
    with pytest.raises(Busy):
        looks.start(hanging[0], gate.wait)
    gate.set()
    await asyncio.wait([*first, *again])
    assert looks.running == 0


async def test_whoever_finds_no_free_thread_is_rung_for_in_the_order_they_asked(gate: threading.Event) -> None:
    rung: list[str] = []
    looks = Looks(at_one_place=1, ring=rung.append)
    looks.start(HERE, gate.wait)
    for who in ("first", "second", "first"):
        with pytest.raises(Busy) as busy:
            looks.start(HERE, gate.wait, who)
        assert busy.value.queued
    gate.set()
    await eventually(lambda: rung == ["first"])
    with pytest.raises(Busy):
        looks.start(HERE, lambda: 0, "late")
    assert await looks.start(HERE, lambda: 1, "first") == 1
    await eventually(lambda: rung == ["first", "second"])
    assert await looks.start(HERE, lambda: 2, "second") == 2
    await eventually(lambda: rung == ["first", "second", "late"])


async def test_a_thread_that_is_kept_for_somebody_who_does_not_come_is_given_to_the_next(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carryon_operator.looks.CALLED_SECONDS", 0.05)
    rung: list[str] = []
    looks = Looks(at_one_place=1, ring=rung.append)
    looks.start(HERE, gate.wait)
    for who in ("gone", "next"):
        with pytest.raises(Busy):
            looks.start(HERE, gate.wait, who)
    gate.set()
    await eventually(lambda: rung == ["gone", "next"])
    await eventually(lambda: looks.running == 0)


async def test_a_thousand_jobs_of_one_bucket_each_have_their_look_and_nobody_asks_in_vain(
    gate: threading.Event,
) -> None:
    done, asked = list[str](), 0
    tasks = set[asyncio.Task[None]]()

    async def look(who: str) -> None:
        nonlocal asked
        asked += 1
        try:
            done.append(await looks.start(HERE, lambda: who, who))
        except Busy:
            assert who not in done

    def ring(who: str) -> None:
        task = asyncio.create_task(look(who))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    looks = Looks(ring=ring)
    for number in range(1000):
        ring(f"job-{number}")
    await eventually(lambda: len(done) == 1000, 60)
    assert sorted(done) == sorted(set(done))
    assert asked <= 2000, "each asks once, and comes once when it is called"
