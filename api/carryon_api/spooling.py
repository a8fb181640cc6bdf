"""Uploads wait in a file without a name until they are whole: whoever is killed meanwhile leaves nothing behind."""

from __future__ import annotations

import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from carryon_api.problems import Problem

_DEFAULT: Final = Path("/var/tmp")
"""Not /tmp: that is memory on many machines."""
_AT_ONCE: Final = 4
_GATHERED: Final = 1 << 20
PATIENCE: Final = 120.0
"""Seconds in which the next MiB, or the rest, has to come: whoever sends nothing keeps the few places from others."""


class Spool:
    """Where uploads wait."""

    def __init__(self, folder: Path | None) -> None:
        """Prepare; nothing is opened yet.

        Args:
            folder: With room for the largest uploads; None: /var/tmp, or what the system has for temporary files.
        """
        self._folder = folder or (_DEFAULT if _DEFAULT.is_dir() else Path(tempfile.gettempdir()))
        self._room = anyio.CapacityLimiter(_AT_ONCE)

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[IO[bytes]]:
        """The body of a request as an open file, whole.

        Raises:
            Problem: Others are uploading already, there is no room, or the body breaks off.
        """
        try:
            self._room.acquire_on_behalf_of_nowait(request)
        except anyio.WouldBlock:
            raise Problem(
                "unavailable", "too many uploads at the same time: try again in a minute", headers={"Retry-After": "60"}
            ) from None
        try:
            try:
                file = await anyio.to_thread.run_sync(_unnamed, self._folder)
            except OSError as error:
                raise _no_room(error) from None
            try:
                await _copy(request, file)
                yield file
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(file.close)
        finally:
            self._room.release_on_behalf_of(request)


def _unnamed(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile("w+b", dir=folder)


async def beginning(request: Request, most: int) -> bytes:
    """The first bytes of a body; the rest is not read."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) >= most:
            break
    return bytes(content[:most])


async def _copy(request: Request, file: IO[bytes]) -> None:
    gathered = bytearray()

    async def write() -> None:
        await anyio.to_thread.run_sync(file.write, bytes(gathered))
        gathered.clear()

    try:
        with anyio.fail_after(PATIENCE) as waiting:
            async for piece in request.stream():
                gathered += piece
                if len(gathered) >= _GATHERED:
                    waiting.deadline = math.inf
                    await write()
                    waiting.deadline = anyio.current_time() + PATIENCE
        await write()
        await anyio.to_thread.run_sync(file.flush)
    except TimeoutError:
        raise Problem(
            "bad-request", f"the upload stands still: less than 1 MiB came in {PATIENCE:.0f} s, so others go first"
        ) from None
    except ClientDisconnect:
        raise Problem("bad-request", "the upload broke off") from None
    except OSError as error:
        raise _no_room(error) from None


def _no_room(error: OSError) -> Problem:
    return Problem("unavailable", f"there is no room for an upload: {error.strerror}", headers={"Retry-After": "60"})
