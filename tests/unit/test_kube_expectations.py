"""A stale cache must never lead to a second create."""

from __future__ import annotations

import logging

import pytest

from carryon_operator.kube.expectations import Expectations


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def expectations(clock: Clock) -> Expectations:
    return Expectations(clock)


def test_an_owner_is_left_alone_until_everything_was_seen(expectations: Expectations) -> None:
    expectations.expect_create("job", "pod-1")
    expectations.expect_delete("job", "uid-9")
    assert not expectations.satisfied("job")
    expectations.observed_create("job", "pod-1")
    assert not expectations.satisfied("job")
    expectations.observed_delete("job", "uid-9")
    assert expectations.satisfied("job")


def test_owners_do_not_wait_for_each_other(expectations: Expectations) -> None:
    expectations.expect_create("job", "pod-1")
    assert expectations.satisfied("other")
    expectations.observed_create("other", "pod-1")
    assert not expectations.satisfied("job")


def test_what_was_refused_is_not_waited_for(expectations: Expectations) -> None:
    expectations.expect_create("job", "pod-1")
    expectations.expect_delete("job", "uid-9")
    expectations.cancel_create("job", "pod-1")
    expectations.cancel_delete("job", "uid-9")
    assert expectations.satisfied("job")


def test_an_event_that_overtakes_the_answer_counts(expectations: Expectations) -> None:
    expectations.expect_create("job", "pod-1")
    expectations.observed_create("job", "pod-1")
    expectations.cancel_create("job", "pod-1")
    assert expectations.satisfied("job")


def test_what_is_never_seen_is_given_up_after_five_minutes_and_said(
    expectations: Expectations, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    expectations.expect_create("job", "pod-1")
    clock.now = 100.0
    expectations.expect_create("job", "pod-2")
    assert expectations.expires_in("job") == 300
    clock.now = 399.0
    with caplog.at_level(logging.WARNING):
        assert not expectations.satisfied("job")
    assert "pod-1" in caplog.text
    assert "pod-2" not in caplog.text
    clock.now += expectations.expires_in("job")
    assert expectations.satisfied("job")
    assert expectations.expires_in("job") == 0


def test_nothing_is_expected_of_an_owner_that_is_gone(expectations: Expectations) -> None:
    """Or what was never seen would be kept, and counted against the caps, for ever."""
    expectations.expect_create("job", "pod-1")
    expectations.expect_create("other", "pod-2")
    expectations.forget("job")
    assert list(expectations.owners()) == ["other"]
    expectations.forget("job")
