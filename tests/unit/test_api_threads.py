"""Threads that wait for buckets: whoever's bucket hangs takes its share of them, and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_api import threads as threads_module
from carryon_api.threads import Busy, Threads


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def hanging(threads: Threads, owner: str, calls: int) -> AsyncIterator[list[asyncio.Task[bool]]]:
    """Calls of an owner that get no answer before the end."""
    answered = threading.Event()
    tasks = [asyncio.create_task(threads.run(owner, lambda: answered.wait(30))) for _ in range(calls)]
    try:
        # All that may begin have done so.
        await asyncio.sleep(0.02)
        yield tasks
    finally:
        answered.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_bucket_that_hangs_takes_its_share_and_others_go_on() -> None:
    threads = Threads(8, 4)
    async with hanging(threads, "hung", 20):
        assert threads.used("hung") == 3
        assert [await threads.run("fine", lambda: 7) for _ in range(50)] == [7] * 50
    assert threads.used("hung") == threads.used("fine") == 0


async def test_the_more_buckets_hang_the_less_each_next_one_takes() -> None:
    threads = Threads(8, 4)
    async with hanging(threads, "a", 9), hanging(threads, "b", 9), hanging(threads, "c", 9):
        assert [threads.used(each) for each in "abc"] == [3, 2, 1]
        assert await threads.run("fine", lambda: 7) == 7


async def test_who_waits_too_long_is_told_so_and_nothing_was_begun() -> None:
    threads, begun = Threads(2, 1, patience=0.05), []
    async with hanging(threads, "hung", 1):
        with pytest.raises(Busy, match='namespace "hung"') as told:
            await threads.run("hung", lambda: begun.append(1))
    assert (told.value.status, told.value.headers["Retry-After"], begun) == (503, "5", [])


async def test_only_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "WAITING_MOST", 3)
    threads = Threads(2, 1)
    async with hanging(threads, "hung", 4) as tasks:
        with pytest.raises(Busy):
            await threads.run("hung", lambda: None)
        assert not any(task.done() for task in tasks)
    assert [task.result() for task in tasks] == [True] * 4, "those that waited had their turn in the end"


async def test_a_thread_that_nobody_waits_for_any_more_counts_until_it_ends() -> None:
    threads = Threads(8, 2)
    async with hanging(threads, "hung", 2) as tasks:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert threads.used("hung") == 2
    await until(lambda: threads.used("hung") == 0)


async def test_who_leaves_while_waiting_takes_no_turn() -> None:
    threads = Threads(2, 1)
    async with hanging(threads, "hung", 2) as tasks:
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
    await until(lambda: threads.used("hung") == 0)
    assert await threads.run("hung", lambda: 7) == 7


async def test_an_error_of_the_call_is_the_callers() -> None:
    threads = Threads(2, 1)

    def fails() -> None:
        raise ValueError("the bucket says no")

    with pytest.raises(ValueError, match="says no"):
        await threads.run("a", fails)
    assert threads.used("a") == 0


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.integers(1, 12), st.integers(1, 6))
def test_no_more_run_than_there_are_and_nobody_has_more_than_one_while_it_takes_the_last(
    owners: list[str], most: int, of_one: int
) -> None:
    threads = Threads(most, of_one)
    for owner in owners:
        if threads._has_room(owner):
            had = threads.used(owner)
            assert had == 0 or threads._free > 1
            threads._take(owner)
        assert threads.used(owner) <= of_one
    assert sum(map(threads.used, "abcd")) + threads._free == most
    assert threads._free >= 0
