"""What goes wrong with one job changes nothing for the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from carryon_kube.errors import Conflict, TooManyRequests, Unavailable
from carryon_kube.ratelimit import Backoff
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.workers import work
from carryon_store import Unreachable
from skipping_clock import SkippingLoop

Reconcile = Callable[[str], Awaitable[float | None]]


def worked(reconcile: Reconcile, *keys: str, seconds: float) -> list[tuple[float, str]]:
    """When each key was reconciled."""

    async def scenario() -> list[tuple[float, str]]:
        queue = WorkQueue(Backoff(1.0, 60.0, draw=lambda: 1.0))
        calls: list[tuple[float, str]] = []

        async def noted(key: str) -> float | None:
            calls.append((round(asyncio.get_running_loop().time(), 3), key))
            return await reconcile(key)

        worker = asyncio.create_task(work(queue, noted))
        for key in keys:
            queue.add(key)
        await asyncio.sleep(seconds)
        queue.shut_down()
        await worker
        return calls

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(scenario())


def failing_with(error: Exception) -> Reconcile:
    async def reconcile(key: str) -> None:
        if key == "bad":
            raise error

    return reconcile


def test_a_job_is_woken_when_it_asked_to_be() -> None:
    async def reconcile(key: str) -> float | None:
        return 5.0

    assert worked(reconcile, "a", seconds=12) == [(0, "a"), (5, "a"), (10, "a")]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable(503, "ServiceUnavailable", "try later"),
        Unreachable("the bucket is away"),
        Conflict(409, "Conflict", ""),
    ],
    ids=["api", "store", "conflict"],
)
def test_an_outage_backs_off_without_a_traceback_and_others_go_on(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert worked(failing_with(error), "bad", "good", seconds=8) == [
            (0, "bad"),
            (0, "good"),
            (1, "bad"),
            (3, "bad"),
            (7, "bad"),
        ]
    assert "Traceback" not in caplog.text
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_a_mistake_of_ours_is_logged_whole_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    calls = worked(failing_with(KeyError("oops")), "bad", "good", seconds=2)
    assert (0, "good") in calls
    assert (1, "bad") in calls
    assert "Traceback" in caplog.text
    assert "bad: reconciling failed" in caplog.text


def test_a_success_ends_the_backoff() -> None:
    outcomes: list[Any] = [Unreachable("away"), Unreachable("away"), 10.0, Unreachable("away"), None]

    async def reconcile(key: str) -> float | None:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is None or isinstance(outcome, float)
        return outcome

    assert [at for at, _ in worked(reconcile, "a", seconds=60)] == [0, 1, 3, 13, 14]


def test_a_server_that_asks_for_patience_has_it_but_not_for_ever() -> None:
    busy = TooManyRequests(429, "TooManyRequests", "busy", retry_after=40.0)
    assert worked(failing_with(busy), "bad", "good", seconds=85) == [(0, "bad"), (0, "good"), (40, "bad"), (80, "bad")]
    away = TooManyRequests(429, "TooManyRequests", "busy", retry_after=1e9)
    assert worked(failing_with(away), "bad", seconds=65) == [(0, "bad"), (60, "bad")]
