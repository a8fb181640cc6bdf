"""How often is often enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carryon_kube.ratelimit import Backoff, TokenBucket


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_goes_through_at_once_and_the_rest_at_the_rate() -> None:
    bucket = TokenBucket(10.0, 3, Clock())
    waits = [round(bucket.reserve(), 6) for _ in range(6)]
    assert waits == [0, 0, 0, 0.1, 0.2, 0.3]


def test_tokens_are_saved_up_to_the_burst_and_no_further() -> None:
    clock = Clock()
    bucket = TokenBucket(10.0, 3, clock)
    for _ in range(3):
        bucket.reserve()
    clock.now += 3600
    assert [round(bucket.reserve(), 6) for _ in range(4)] == [0, 0, 0, 0.1]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_no_second_sees_more_than_burst_and_rate(pauses: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(5.0, 4, clock)
    granted = []
    for pause in pauses:
        clock.now += pause
        granted.append(clock.now + bucket.reserve())
    for start in granted:
        assert sum(start <= at < start + 1 for at in granted) <= 4 + 5


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
