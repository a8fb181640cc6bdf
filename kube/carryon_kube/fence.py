"""What keeps writes from leaving too late, and what left in time from arriving too late.

A deadline that is only looked at when a write begins is passed by while new credentials, a free connection or a
handshake are waited for, and by a process that was stopped; so it is looked at as late as there is a place to do it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeAlias

import aiohttp

from carryon_kube.errors import Fenced

Fence: TypeAlias = Callable[[], float]
"""Seconds in which a write that begins now must have ended; raises `Fenced` where none may begin."""

_UNACKNOWLEDGED_SECONDS: Final = 5.0
"""How long the kernel repeats what the server does not acknowledge, also of connections that were closed."""


class _FencedRequest(aiohttp.ClientRequest):
    """A request that asks the fence when it has its connection, and once more when its bytes are about to leave.

    After the last question there is nothing but the system call.
    """

    fence: ClassVar[Fence]

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """See `aiohttp.ClientRequest`; raises `Fenced`."""
        if self.method != "GET":
            type(self).fence()
        return await super().send(conn)

    async def write_bytes(self, writer: Any, conn: Any, content_length: int | None = None) -> None:
        """See `aiohttp.ClientRequest`, whose headers leave together with the first bytes of the body."""
        try:
            type(self).fence()
        except Fenced as fenced:
            conn.protocol.set_exception(fenced)
            conn.close()
        else:
            await super().write_bytes(writer, conn, content_length)


def request_class(fence: Fence | None) -> type[aiohttp.ClientRequest]:
    """The class of a session's requests, which stands behind the fence if there is one."""
    if fence is None:
        return aiohttp.ClientRequest
    return type("FencedRequest", (_FencedRequest,), {"fence": staticmethod(fence)})


def impatient_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket that gives up what a broken network holds back: otherwise it arrives when the network is mended."""
    family, kind, proto, *_ = info
    made = socket.socket(family, kind, proto)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNACKNOWLEDGED_SECONDS * 1000))
    return made
