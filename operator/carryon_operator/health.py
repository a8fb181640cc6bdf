"""/livez and /readyz: whether this process still hears the API server and gets through its work; and /metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from carryon_kube.informer import Informer
from carryon_operator.config import Address
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.metrics import CONTENT_TYPE, Metrics

LONGEST_SILENCE: Final = 120.0
"""Seconds without a word from the API server: it sends a bookmark every minute."""
LONGEST_WAIT: Final = 120.0
"""Seconds that the next key may wait for a worker."""


log = logging.getLogger(__name__)


class ListenError(Exception):
    """The address cannot be served at."""


@dataclass(frozen=True)
class Health:
    """What health is judged by.

    Attributes:
        doorbell: The task that kopf runs in.
        ready: Set once pods and jobs are known.
    """

    pods: Informer[Any]
    queue: WorkQueue
    doorbell: asyncio.Future[None]
    ready: asyncio.Event
    metrics: Metrics

    def live(self) -> Mapping[str, str]:
        """What is wrong in a way that a restart may cure, by part; that this is answered shows that the loop turns.

        Nothing in here depends on the API server: a restart would not bring it back.
        """
        return {"doorbell": "kopf has ended"} if self.doorbell.done() else {}

    def readiness(self) -> Mapping[str, str]:
        """Why no job is reconciled yet, or no more."""
        wrong = dict(self.live())
        if not self.ready.is_set():
            wrong["start"] = "pods and jobs are not listed yet"
        if self.pods.silence > LONGEST_SILENCE:
            wrong["pods"] = f"nothing heard from the API server for {self.pods.silence:.0f} s"
        if self.queue.head_age > LONGEST_WAIT:
            wrong["queue"] = f"{self.queue.depth} jobs wait for a worker, the first for {self.queue.head_age:.0f} s"
        return wrong


@asynccontextmanager
async def serve(address: Address, health: Health) -> AsyncIterator[Address]:
    """Answer the probes while the context lasts, 200 or 503 with what is wrong; where they are served.

    Raises:
        ListenError: The address is taken, or not ours.
    """

    async def livez(_: web.Request) -> web.Response:
        return _answer(health.live())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.readiness())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=health.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise ListenError(
                f"health cannot be served at {address.host}:{address.port}: {error.strerror}; choose another --health"
            ) from error
        host, port = runner.addresses[0][:2]
        log.info("health is served at http://%s:%d/livez, /readyz and /metrics", host, port)
        yield Address(host, port)
    finally:
        await runner.cleanup()


def _answer(wrong: Mapping[str, str]) -> web.Response:
    text = "".join(f"{part}: {what}\n" for part, what in wrong.items())
    return web.Response(text=text or "ok\n", status=503 if wrong else 200)
