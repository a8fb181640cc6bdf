"""Server-sent events as bytes (HTML Living Standard, 9.2), and the answer that streams them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT: Final = b": heartbeat\n\n"
RETRY: Final = b"retry: 2000\n\n"
"""A page that lost its stream asks again after two seconds."""
SEND_SECONDS: Final = 30.0
"""A page that takes nothing for so long is gone, or asleep: it asks again when it wakes."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Proxies that collect answers before they pass them on, nginx among them, leave this one alone.
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


def event(name: str, data: bytes, identity: str = "") -> bytes:
    """One event; `data` is JSON, which has no line breaks unless somebody indents it."""
    known = f"id: {identity}\n" if identity else ""
    return b"event: %b\n%bdata: %b\n\n" % (name.encode(), known.encode(), data)


class EventStream(Response):
    """An answer that lasts until the page goes away, takes nothing any more, or the source ends."""

    media_type = "text/event-stream"

    def __init__(self, source: AsyncGenerator[bytes, None], status_code: int = 200) -> None:
        """Prepare; `source` is closed when the answer ends, whoever ends it."""
        super().__init__(None, status_code, headers=_HEADERS)
        del self.headers["content-length"]
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            ended = await asyncio.gather(sending, leaving, return_exceptions=True)
        for each in ended:
            if isinstance(each, Exception) and not isinstance(each, TimeoutError):
                raise each

    async def _send(self, send: Send) -> None:
        async def pass_on(message: dict[str, object]) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        await pass_on({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._source) as source:
            async for piece in source:
                await pass_on({"type": "http.response.body", "body": piece, "more_body": True})
        await pass_on({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
