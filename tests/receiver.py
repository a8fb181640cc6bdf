"""A receiver of webhooks: a real HTTP server in a thread, that answers as it is told and can be away for a while."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from aiohttp import web

from processes import free_port


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    host: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """The CloudEvent."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """Listens on loopback; keeps its port while it is away.

    Attributes:
        answers: Statuses, or statuses with headers, of the next requests; then 204.
        hold: While it is set, requests wait.
        most: Requests that were under way at a time.
    """

    port: int = 0
    answers: list[int | tuple[int, dict[str, str]]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    hold: bool = False
    most: int = 0

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self._under_way = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        """Where it listens."""
        return f"http://{host}:{self.port}{path}"

    def start(self) -> Receiver:
        """Return when it listens."""
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()
        assert listening.wait(10), "the receiver does not listen"
        return self

    def stop(self) -> None:
        """Be away."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop = self._thread = None

    def __enter__(self) -> Receiver:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _run(self, listening: threading.Event) -> None:
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        loop.run_until_complete(runner.setup())
        loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start())
        listening.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        self.received.append(
            Received(request.method, request.raw_path, request.headers["Host"], dict(request.headers), body)
        )
        try:
            while self.hold:
                await asyncio.sleep(0.01)
        finally:
            self._under_way -= 1
        answer = self.answers.pop(0) if self.answers else 204
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        return web.Response(status=status, headers=headers)
