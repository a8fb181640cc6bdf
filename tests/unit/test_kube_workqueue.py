"""The work queue against a model, and what only concurrency shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from carryon_kube.ratelimit import Backoff
from carryon_operator.kube.workqueue import ShutDown, WorkQueue
from skipping_clock import SkippingLoop

T = TypeVar("T")
KEYS = st.sampled_from(["a", "b", "c"])


async def make() -> WorkQueue:
    return WorkQueue(Backoff(1.0, 8.0, draw=lambda: 1.0))


def run(scenario: Callable[[WorkQueue], Coroutine[Any, Any, T]]) -> T:
    async def body() -> T:
        return await scenario(await make())

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(body())


class QueueMachine(RuleBasedStateMachine):
    """Whatever is done to the queue, it holds what a list, a set and a dictionary of alarms would."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SkippingLoop()
        self.queue = self.loop.run_until_complete(make())
        self.waiting: list[str] = []
        self.working: list[str] = []
        self.dirty: set[str] = set()
        self.alarms: dict[str, float] = {}
        self.steps = 0

    def model_add(self, key: str) -> None:
        if key in self.working:
            self.dirty.add(key)
        elif key not in self.waiting:
            self.waiting.append(key)

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.model_add(key)

    @rule(key=KEYS, delay=st.integers(0, 5))
    def add_after(self, key: str, delay: int) -> None:
        self.steps += 1
        # No two alarms at one moment: their order would be anybody's guess.
        exact = delay + self.steps * 1e-6 if delay else 0.0
        self.queue.add_after(key, exact)
        if not delay:
            self.model_add(key)
        else:
            self.alarms[key] = min(self.alarms.get(key, float("inf")), self.loop.time() + exact)

    @rule(seconds=st.integers(1, 4))
    def time_passes(self, seconds: int) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds + 0.5))
        for key, at in sorted(self.alarms.items(), key=lambda alarm: alarm[1]):
            if at <= self.loop.time():
                del self.alarms[key]
                self.model_add(key)

    @precondition(lambda self: self.waiting)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(self.queue.get())
        assert key == self.waiting.pop(0)
        assert key not in self.working, "two workers on one key"
        self.working.append(key)
        self.alarms.pop(key, None)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.working))
        self.queue.done(key)
        self.working.remove(key)
        if key in self.dirty:
            self.dirty.remove(key)
            self.waiting.append(key)

    @invariant()
    def depth_is_what_waits(self) -> None:
        assert self.queue.depth == len(self.waiting)
        assert (self.queue.head_age == 0) or self.waiting

    def teardown(self) -> None:
        self.queue.shut_down()
        self.loop.close()


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_key_added_many_times_is_worked_on_once() -> None:
    async def scenario(queue: WorkQueue) -> int:
        for _ in range(5):
            queue.add("a")
        await queue.get()
        return queue.depth

    assert run(scenario) == 0


def test_every_key_reaches_a_worker_and_no_key_has_two() -> None:
    async def scenario(queue: WorkQueue) -> None:
        busy: set[str] = set()
        seen: list[str] = []

        async def worker() -> None:
            while True:
                key = await queue.get()
                assert key not in busy
                busy.add(key)
                await asyncio.sleep(1)
                busy.remove(key)
                seen.append(key)
                queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(4)]
        for step in range(100):
            queue.add(f"job-{step % 7}")
            await asyncio.sleep(0.3)
        await asyncio.sleep(20)
        assert {f"job-{n}" for n in range(7)} == set(seen)
        assert queue.depth == 0
        for each in workers:
            assert not each.done()
            each.cancel()

    run(scenario)


def test_a_worker_that_is_cancelled_as_it_is_woken_passes_the_key_on() -> None:
    async def scenario(queue: WorkQueue) -> str:
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        return await asyncio.wait_for(second, 1)

    assert run(scenario) == "a"


def test_a_failing_key_backs_off_and_a_success_starts_over() -> None:
    async def scenario(queue: WorkQueue) -> list[float]:
        loop = asyncio.get_running_loop()
        waits = []
        for attempt in range(6):
            if attempt == 5:
                queue.worked("a", None)
            asked = loop.time()
            queue.add_rate_limited("a")
            queue.done(await queue.get())
            waits.append(round(loop.time() - asked, 3))
        return waits

    assert run(scenario) == [1, 2, 4, 8, 8, 1]


def test_head_age_tells_how_long_the_next_key_has_waited() -> None:
    async def scenario(queue: WorkQueue) -> tuple[float, float, float]:
        before = queue.head_age
        queue.add("a")
        await asyncio.sleep(3)
        queue.add("b")
        await asyncio.sleep(1)
        first = queue.head_age
        await queue.get()
        return before, first, queue.head_age

    assert run(scenario) == (0, 4, 1)


def test_shut_down_wakes_idle_workers_and_waits_for_busy_ones() -> None:
    async def scenario(queue: WorkQueue) -> float:
        idle = asyncio.create_task(queue.get())
        queue.add("a")
        busy = await idle
        idle = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add_after("b", 1)
        queue.add(busy)
        queue.shut_down()
        with pytest.raises(ShutDown):
            await idle
        started = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(5, queue.done, busy)
        await queue.drained()
        waited = asyncio.get_running_loop().time() - started
        queue.add("c")
        with pytest.raises(ShutDown):
            await queue.get()
        return waited

    assert run(scenario) == 5


def test_what_a_key_was_to_be_woken_for_is_done_with_once_it_is_worked_on() -> None:
    """Or the timers of jobs that are gone would stay for a day."""

    async def scenario(queue: WorkQueue) -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        for key, before, then in (("gone", 86_400, None), ("late", 100, 200)):
            queue.add_after(key, before)
            queue.add(key)
            assert await queue.get() == key
            queue.worked(key, then)
            queue.done(key)
        began = loop.time()
        await queue.get()
        return len(queue._timers), loop.time() - began

    assert run(scenario) == (0, 200)


def test_what_a_key_is_to_be_woken_for_while_it_is_worked_on_stays() -> None:
    """It came too late to be seen."""

    async def scenario(queue: WorkQueue) -> float:
        loop = asyncio.get_running_loop()
        queue.add("a")
        await queue.get()
        queue.add_after("a", 5)
        queue.worked("a", 200)
        queue.done("a")
        began = loop.time()
        await queue.get()
        return loop.time() - began

    assert run(scenario) == 5
