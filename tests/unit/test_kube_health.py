"""Health tells the truth: deaf and stuck are not ready, and only what a restart may cure is not alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from carryon_operator.health import Health
from carryon_operator.kube.client import Client
from carryon_operator.kube.connection import Connection
from carryon_operator.kube.informer import Informer
from carryon_operator.kube.ratelimit import Backoff
from carryon_operator.kube.resources import PODS
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.metrics import Metrics
from skipping_clock import SkippingLoop


@asynccontextmanager
async def healthy() -> AsyncIterator[Health]:
    async with Client(Connection("http://127.0.0.1:1")) as client:
        pods = Informer(client, PODS, project=dict, owner=str)
        doorbell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ready = asyncio.Event()
        ready.set()
        yield Health(pods, WorkQueue(Backoff(1, 1)), doorbell, ready, Metrics(lambda: 1024))


async def deaf(health: Health) -> None:
    await asyncio.sleep(121)


async def stuck(health: Health) -> None:
    health.queue.add("studio/reel")
    await asyncio.sleep(121)


async def without_bell(health: Health) -> None:
    health.doorbell.set_result(None)


@pytest.mark.parametrize(
    ("misfortune", "part", "alive"),
    [(deaf, "pods", True), (stuck, "queue", True), (without_bell, "doorbell", False)],
    ids=["deaf", "stuck", "bell"],
)
def test_each_misfortune_is_named(
    misfortune: Callable[[Health], Coroutine[Any, Any, None]], part: str, alive: bool
) -> None:
    async def scenario() -> None:
        async with healthy() as health:
            assert health.live() == {}
            assert health.readiness() == {}
            await misfortune(health)
            assert (part not in health.live()) == alive
            assert part in health.readiness()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scenario())


def test_a_start_that_takes_long_is_alive_and_not_ready() -> None:
    async def scenario() -> None:
        async with healthy() as health:
            health.ready.clear()
            assert health.live() == {}
            assert "start" in health.readiness()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scenario())
