"""Health tells the truth: deaf and stuck are not ready, and only what a restart may cure is not alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from carryon_core.done import Misfit
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_kube.informer import Informer
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import PODS
from carryon_operator.config import Address
from carryon_operator.health import Health, serve
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.metrics import Metrics
from carryon_operator.plan.model import Spending
from skipping_clock import SkippingLoop


@asynccontextmanager
async def healthy() -> AsyncIterator[Health]:
    async with Client(Connection("http://127.0.0.1:1")) as client:
        pods = Informer(client, PODS, project=dict, owner=str)
        doorbell: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ready = asyncio.Event()
        ready.set()
        yield Health(pods, WorkQueue(Backoff(1, 1)), doorbell, ready, Metrics(lambda: 1024, lambda: 3))


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


async def test_probes_and_metrics_are_answered_at_one_address() -> None:
    async with healthy() as health, serve(Address("127.0.0.1", 0), health) as at, aiohttp.ClientSession() as session:
        health.metrics.book(Spending(total=90, useful=60, refused={Misfit.LIBRARY: 1}))
        for path, holds in (("livez", "ok"), ("readyz", "ok"), ("metrics", "carryon_journal_bytes 1024.0")):
            async with session.get(f"http://{at.host}:{at.port}/{path}") as answer:
                assert answer.status == 200
                assert holds in (await answer.text()).splitlines()
        text = health.metrics.text().decode()
        for line in (
            "carryon_gpu_seconds_total 90.0",
            'carryon_gpu_seconds_by_use_total{use="useful"} 60.0',
            'carryon_journals_refused_total{misfit="library"} 1.0',
            # A label that nothing was counted under yet is there too, or a rate over it would miss the first.
            'carryon_journals_refused_total{misfit="diverged"} 0.0',
        ):
            assert line in text.splitlines()


def test_a_start_that_takes_long_is_alive_and_not_ready() -> None:
    async def scenario() -> None:
        async with healthy() as health:
            health.ready.clear()
            assert health.live() == {}
            assert "start" in health.readiness()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scenario())
