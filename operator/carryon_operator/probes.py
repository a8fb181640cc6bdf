"""/livez, /readyz and /metrics over HTTP, from a thread with an event loop of its own.

So a probe is answered while the operator's loop is at something long, and where it stands still for good the answer
says so, and where. All that is known is asked for in the operator's loop: nothing is read while it changes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from aiohttp import web

from carryon_operator.config import Address
from carryon_operator.health import LOOP_STANDS, Health
from carryon_operator.metrics import CONTENT_TYPE

PROBE_SECONDS: Final = 0.7
"""How long a probe waits for the event loop: kubelets wait for a second."""
SCRAPE_SECONDS: Final = 8.0
"""Likewise a scrape, for which Prometheus has ten."""
_END_SECONDS: Final = 0.5

T = TypeVar("T")

log = logging.getLogger(__name__)


class ListenError(Exception):
    """The address cannot be served at."""


class Probes:
    """Answers in one thread what is asked of the event loop of another."""

    def __init__(self, health: Health, *, patience: float = PROBE_SECONDS, scrape: float = SCRAPE_SECONDS) -> None:
        """Prepare, inside the event loop that is asked.

        Args:
            health: To ask.
            patience: Seconds that a probe waits for the loop.
            scrape: Seconds that a scrape does.
        """
        self._health = health
        self._patience = patience
        self._scrape = scrape
        self._loop = asyncio.get_running_loop()
        self._told = False

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _livez(self, _: web.Request) -> web.Response:
        try:
            return _answer(await self._ask(self._health.live, self._patience))
        except TimeoutError:
            stands = self._health.stands_still
            if stands <= LOOP_STANDS:
                return _answer({}, f"ok: the event loop is busy, for {stands:.0f} s so far")
            where = self._health.where()
            if not self._told:
                self._told = True
                log.error("the event loop has stood still for %.0f s, in %s", stands, where)
            return _answer({"loop": f"has stood still for {stands:.0f} s, in {where}"})

    async def _readyz(self, _: web.Request) -> web.Response:
        try:
            wrong, standing = await self._ask(
                lambda: (self._health.readiness(), self._health.standing()), self._patience
            )
        except TimeoutError:
            return _answer({"loop": f"is busy, for {self._health.stands_still:.0f} s so far"})
        return _answer(wrong, standing)

    async def _metrics(self, _: web.Request) -> web.Response:
        try:
            text = await self._ask(self._health.metrics.text, self._scrape)
        except TimeoutError:
            return web.Response(status=503, text="the event loop is busy: scrape again\n")
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _ask(self, call: Callable[[], T], seconds: float) -> T:
        """What a call in the operator's loop returns.

        Raises:
            TimeoutError: The loop had no time for it.
        """

        async def called() -> T:
            return call()

        asked = asyncio.run_coroutine_threadsafe(called(), self._loop)
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(asked)


@asynccontextmanager
async def serve(address: Address, probes: Probes) -> AsyncIterator[Address]:
    """Answer while the context lasts, 200 or 503 with what is wrong; where it is served.

    Raises:
        ListenError: The address is taken, or not ours.
    """
    began: concurrent.futures.Future[Address] = concurrent.futures.Future()
    stop: concurrent.futures.Future[None] = concurrent.futures.Future()

    def serving() -> None:
        try:
            asyncio.run(_serving(address, probes.app(), began, stop))
        except BaseException as error:
            if began.done():
                raise
            began.set_exception(error)

    # A daemon: nothing may keep the process from ending, least of all a scrape.
    thread = threading.Thread(target=serving, name="probes", daemon=True)
    thread.start()
    try:
        at = await asyncio.wrap_future(began)
        log.info("health is served at http://%s:%d/livez, /readyz and /metrics", at.host, at.port)
        yield at
    finally:
        stop.set_result(None)
        # Its last answers may still ask this loop for something: it must turn meanwhile.
        await asyncio.to_thread(thread.join, _END_SECONDS)


async def _serving(
    address: Address,
    app: web.Application,
    began: concurrent.futures.Future[Address],
    stop: concurrent.futures.Future[None],
) -> None:
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
        began.set_result(Address(host, port))
        await asyncio.wrap_future(stop)
    finally:
        await runner.cleanup()


def _answer(wrong: Mapping[str, str], well: str = "ok") -> web.Response:
    text = "".join(f"{part}: {what}\n" for part, what in wrong.items())
    return web.Response(text=text or f"{well}\n", status=503 if wrong else 200)
