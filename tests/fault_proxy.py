"""A proxy on loopback that passes HTTP on, writes down who asked for what and when, and does by a seeded plan what
networks and servers do: delays, drops, truncates, and answers in the server's stead.

It runs in a thread of its own, for tests whose clients are other processes.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import aiohttp
from aiohttp import web
from yarl import URL

_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"}


@dataclass(frozen=True)
class Fault:
    """What becomes of one request.

    Attributes:
        kind: As it is counted.
        status: Answered in the server's stead, with `body`; 0: nothing is.
        delay: Seconds until the request is passed on.
        lost: What is lost: the request, or the answer; or the answer breaks off in the middle.
    """

    kind: str
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    lost: str = ""


@dataclass(frozen=True)
class Passed:
    """A request as it came.

    Attributes:
        at: When, on the monotonic clock of this process.
        body: Of requests that write JSON.
        status: That was answered; 0 while nothing was.
    """

    at: float
    method: str
    path: str
    body: Any
    status: int
    fault: str

    @property
    def writes(self) -> bool:
        """Whether something was to be changed; Leases aside."""
        return self.method not in ("GET", "HEAD") and "/leases" not in self.path


Plan = Callable[[str, str], Fault | None]
"""Method and path -> what goes wrong, if anything."""


@dataclass
class FaultProxy:
    """Passes requests on to one server.

    Attributes:
        plan: What goes wrong.
        cut: Nothing passes, and nobody is told: requests vanish.
        log: What came, in the order in which it was answered.
        injected: Faults so far, by kind.
    """

    upstream: str
    plan: Plan = lambda method, path: None
    cut: bool = False
    url: str = ""
    log: list[Passed] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    streams: set[asyncio.Transport] = field(default_factory=set)

    def writes(self) -> list[Passed]:
        """What was to be changed so far, Leases aside."""
        return [each for each in list(self.log) if each.writes]

    def drop_streams(self) -> None:
        """Break off all answers that are under way, such as watches."""
        for transport in list(self.streams):
            self.loop.call_soon_threadsafe(transport.abort)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        at, path = time.monotonic(), request.raw_path
        body = await request.read()
        fault = None if self.cut else self.plan(request.method, path)
        if fault is not None:
            self.injected[fault.kind] += 1
        status = 0
        assert isinstance(request.transport, asyncio.Transport)
        self.streams.add(request.transport)
        try:
            if self.cut:
                await self._vanish(request)
            answer, status = await self._answer(request, body, fault)
            return answer
        finally:
            if request.transport is not None:
                self.streams.discard(request.transport)
            kind = "cut" if self.cut else fault.kind if fault else ""
            self.log.append(Passed(at, request.method, path, _json(body), status, kind))

    async def _answer(
        self, request: web.BaseRequest, body: bytes, fault: Fault | None
    ) -> tuple[web.StreamResponse, int]:
        if fault is not None and fault.status:
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers), fault.status
        if fault is not None and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.lost == "request":
            _abort(request)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in (*_HOP, "expect")]
        try:
            async with self.session.request(
                request.method,
                URL(self.upstream + request.raw_path, encoded=True),
                data=body or None,
                headers=headers,
                skip_auto_headers=("Content-Type", "Accept", "User-Agent"),
                allow_redirects=False,
            ) as upstream:
                if fault is not None and fault.lost == "answer":
                    await upstream.read()
                    _abort(request)
                return await self._relay(request, upstream, torn=fault is not None and fault.lost == "end")
        except aiohttp.ClientError:
            _abort(request)
            raise AssertionError("aborted") from None

    async def _relay(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, *, torn: bool
    ) -> tuple[web.StreamResponse, int]:
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        response.headers.extend((name, value) for name, value in upstream.headers.items() if name.lower() not in _HOP)
        length = upstream.headers.get("Content-Length")
        if length is not None:
            response.content_length = int(length)
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            if self.cut:
                await self._vanish(request)
            await response.write(chunk[: len(chunk) // 2] if torn else chunk)
            if torn:
                _abort(request)
        if torn:
            _abort(request)
        await response.write_eof()
        return response, upstream.status

    async def _vanish(self, request: web.BaseRequest) -> None:
        """Say nothing for as long as it is so, and nothing afterwards."""
        while self.cut:
            await asyncio.sleep(0.05)
        _abort(request)

    async def _serve(self, started: threading.Event, ended: asyncio.Event) -> None:
        self.loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self.session:
            runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            started.set()
            await ended.wait()
            await runner.cleanup()


@contextmanager
def serving(upstream: str, plan: Plan | None = None) -> Iterator[FaultProxy]:
    """A proxy at work while the context lasts."""
    proxy = FaultProxy(upstream)
    if plan is not None:
        proxy.plan = plan
    started, ended = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy._serve(started, ended)), name="proxy")
    thread.start()
    assert started.wait(10)
    try:
        yield proxy
    finally:
        proxy.cut = False
        proxy.loop.call_soon_threadsafe(ended.set)
        thread.join()


def by_seed(seed: int, rate: float, faults: list[Callable[[Random], Fault]], most: int = 10**9) -> Plan:
    """A plan that hits requests at random, the same ones in the same order each time; Leases are left alone.

    Args:
        seed: Another one tells another story.
        rate: Share of requests that are hit.
        faults: What may happen, all alike likely.
        most: Faults after which all goes well.
    """
    drawn, left = Random(seed), [most]

    def plan(method: str, path: str) -> Fault | None:
        if left[0] == 0 or "/leases" in path or drawn.random() >= rate:
            return None
        left[0] -= 1
        return drawn.choice(faults)(drawn)

    return plan


def _status(code: int, reason: str, message: str, **headers: str) -> Callable[[Random], Fault]:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    told = json.dumps({**body, "reason": reason} if reason else body).encode()
    return lambda drawn: Fault(str(code), code, told, {"Content-Type": "application/json", **headers})


def _s3(code: int, name: str) -> Callable[[Random], Fault]:
    told = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>said so</Message></Error>".encode()
    return lambda drawn: Fault(f"{code} {name}", code, told, {"Content-Type": "application/xml"})


ANYWHERE: Final[list[Callable[[Random], Fault]]] = [
    lambda drawn: Fault("delay", delay=drawn.uniform(0.05, 0.5)),
    lambda drawn: Fault("request lost", lost="request"),
    lambda drawn: Fault("answer lost", lost="answer"),
    lambda drawn: Fault("answer torn", lost="end"),
]
API_FAULTS: Final = [
    *ANYWHERE,
    _status(429, "TooManyRequests", "the server has received too many requests", **{"Retry-After": "1"}),
    _status(500, "InternalError", "an error on the server"),
    # Without a reason, as a real one says it (apimachinery, ErrorToAPIStatus).
    _status(500, "", "etcdserver: mvcc: database space exceeded"),
    _status(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    _status(409, "Conflict", "the object has been modified; please apply your changes to the latest version"),
    _status(410, "Expired", "the resourceVersion is too old"),
]
S3_FAULTS: Final = [*ANYWHERE, _s3(503, "SlowDown"), _s3(500, "InternalError"), _s3(503, "ServiceUnavailable")]


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise asyncio.CancelledError


def _json(body: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(body)
    return None
