"""What holds for every request before a route sees it, and what every answer tells the browser not to do."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carryon_api.access import sessions
from carryon_api.config import MEBIBYTE, Config
from carryon_api.metrics import Metrics
from carryon_api.problems import Problem, too_many
from carryon_api.reviews import digest
from carryon_kube.ratelimit import TokenBucket

_UPLOADS: Final = re.compile(r"/api/v1/(archives/inspect|namespaces/[^/]+/(archives|jobs/[^/]+/inputs/.+))")
"""Paths whose bodies are files; these routes read them piece by piece."""
_FREE: Final = ("/livez", "/readyz")
"""Asked by the kubelet, and answered without any work."""
_CALLERS: Final = 10_000
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Gate:
    """ASGI middleware: refuses what is too much or goes to another name, and adds security headers to all answers."""

    def __init__(
        self, app: ASGIApp, config: Config, metrics: Metrics, clock: Callable[[], float] | None = None
    ) -> None:
        """Prepare.

        Args:
            app: What is behind.
            config: Of this API.
            metrics: Counts the answers.
            clock: Seconds, monotonic; None: the event loop's.
        """
        self._app = app
        self._config = config
        self._metrics = metrics
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._headers = security_headers(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        limit = self._config.upload_bytes if _UPLOADS.fullmatch(scope["path"]) else self._config.request_bytes
        begun, since = False, self._clock()

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._count(scope, message["status"], since)
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # The page's modules fit only each other: after an update none may come from a browser's own guess.
                kept = "no-store" if scope["path"].startswith("/api/") else "no-cache"
                headers.setdefault("Cache-Control", kept)
            await send(message)

        try:
            if scope["path"] not in _FREE:
                sessions.check_host(request, self._config)
                self._slow_down(request)
            _check_length(request, limit)
            await self._app(scope, _counted(receive, limit), sending)
        except Problem as problem:
            if begun:
                raise
            await problem.response()(scope, receive, sending)

    def _count(self, scope: Scope, status: int, since: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.answered(method, getattr(scope.get("route"), "path", ""), status, self._clock() - since)

    def _slow_down(self, request: HTTPConnection) -> None:
        key = self._key(request)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(self._config.requests_per_second, self._config.burst, self._clock)
            self._buckets[key] = bucket
            while len(self._buckets) > _CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        wait = bucket.take()
        if wait > 0:
            raise too_many("you ask too often: wait a moment", wait)

    def _key(self, request: HTTPConnection) -> str:
        try:
            shown = sessions.presented(request, self._config)
        except Problem:
            return f"address {sessions.address_of(request, self._config)}"
        return f"user {shown.user}" if shown.user is not None else digest(shown.token or "")


def security_headers(config: Config) -> dict[str, str]:
    """What every answer says unless a route says otherwise."""
    elsewhere = "".join(f" {origin}" for origin in config.artifact_origins)
    policy = (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        f"img-src 'self'{elsewhere}",
        f"media-src 'self'{elsewhere}",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }
    if config.public_url is not None and config.public_url.startswith("https:"):
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


def _check_length(request: HTTPConnection, limit: int) -> None:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise _too_large(limit)


def _counted(receive: Receive, limit: int) -> Receive:
    """Bodies without a stated length are counted as they come."""
    left = limit

    async def counted() -> Message:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> Problem:
    return Problem("too-large", f"the body is larger than {limit // MEBIBYTE} MiB, the most that is taken here")
