"""How often is often enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from carryon_kube.ratelimit import Backoff, FairTurns, TokenBucket
from skipping_clock import SkippingLoop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: TokenBucket, clock: Clock) -> float:
    """Take a token as soon as there is one; when that was."""
    while wait := bucket.take():
        clock.now += wait
    return clock.now


def test_a_burst_goes_through_at_once_and_the_rest_at_the_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(10.0, 3, clock)
    assert [round(taken(bucket, clock) - 100, 6) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]


def test_tokens_are_saved_up_to_the_burst_and_no_further() -> None:
    clock = Clock()
    bucket = TokenBucket(10.0, 3, clock)
    for _ in range(3):
        taken(bucket, clock)
    clock.now = 4000
    assert [round(taken(bucket, clock) - 4000, 6) for _ in range(4)] == [0, 0, 0, 0.1]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_second_sees_more_than_burst_and_rate(pauses: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(5.0, 4, clock)
    granted = []
    for pause in pauses:
        clock.now += pause
        granted.append(taken(bucket, clock))
    for start in granted:
        assert sum(start <= at < start + 1 for at in granted) <= 4 + 5


def turns(scenario: Callable[[FairTurns], Awaitable[None]], rate: float = 10.0, burst: int = 2) -> None:
    async def run() -> None:
        await scenario(FairTurns(TokenBucket(rate, burst, asyncio.get_running_loop().time)))

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(run())


def test_one_that_wants_ten_thousand_holds_up_nobody_who_wants_three() -> None:
    async def scenario(fair: FairTurns) -> None:
        clock, done = asyncio.get_running_loop().time, list[float]()

        async def small() -> None:
            for _ in range(3):
                await fair.take("small")
                done.append(clock())

        huge = [asyncio.create_task(fair.take("huge")) for _ in range(10_000)]
        await asyncio.sleep(1)
        await small()
        assert max(done) - 1 <= 2 * 3 / 10.0 + 0.11, "every other token was its own"
        assert sum(each.done() for each in huge) >= 12
        for each in huge:
            each.cancel()

    turns(scenario)


def test_all_who_wait_have_a_turn_before_anybody_has_a_second() -> None:
    async def scenario(fair: FairTurns) -> None:
        order: list[str] = []

        async def write(flow: str) -> None:
            await fair.take(flow)
            order.append(flow)

        await asyncio.gather(*(write(flow) for flow in "aaaaabbc"))
        assert "".join(order) == "aa" + "abc" + "ab" + "a"

    turns(scenario)


def test_who_stops_waiting_costs_nobody_a_turn() -> None:
    async def scenario(fair: FairTurns) -> None:
        clock = asyncio.get_running_loop().time
        waiting = [asyncio.create_task(fair.take("a")) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting[2:]:
            task.cancel()
        await fair.take("b")
        assert clock() < 0.11
        await fair.take("b")
        assert clock() < 0.21

    turns(scenario)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1)), min_size=1, max_size=40))
def test_fair_turns_keep_to_the_rate_and_leave_none_unused(requests: list[tuple[str, float]]) -> None:
    async def scenario(fair: FairTurns) -> None:
        clock, granted = asyncio.get_running_loop().time, list[float]()

        async def write(flow: str, begins: float) -> None:
            await asyncio.sleep(begins)
            await fair.take(flow)
            granted.append(clock())

        await asyncio.gather(*(write(*each) for each in requests))
        begun = sorted(begins for _, begins in requests)
        bucket_clock = Clock()
        bucket_clock.now = 0.0
        bucket = TokenBucket(10.0, 2, bucket_clock)
        for got, begins in zip(sorted(granted), begun, strict=True):
            bucket_clock.now = max(bucket_clock.now, begins)
            due = taken(bucket, bucket_clock)
            assert got - due < 0.05
            assert due - got < 1e-3

    turns(scenario)


def test_delays_double_up_to_the_longest_for_each_key_by_itself() -> None:
    backoff = Backoff(1.0, 10.0, draw=lambda: 1.0)
    assert [backoff.next("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert backoff.next("b") == 1
    assert backoff.failures("a") == 6
    backoff.forget("a")
    assert backoff.next("a") == 1


def test_jitter_takes_at_most_half() -> None:
    assert Backoff(8.0, 60.0, draw=lambda: 0.0).next() == 4
    assert Backoff(8.0, 60.0, draw=lambda: 0.5).next() == 6


def test_ten_thousand_failures_are_still_a_number() -> None:
    backoff = Backoff(0.2, 60.0, draw=lambda: 1.0)
    assert [backoff.next() for _ in range(10_000)][-1] == 60
