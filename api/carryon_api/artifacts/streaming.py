"""Objects of buckets as answers: read piece by piece in threads, and only as long as somebody takes them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from carryon_api.threads import Busy, Pieces, Threads
from carryon_store import ObjectInfo, Store, StoreError

READING_MOST: Final = 32
"""Pieces that are read at the same time, of all answers: each is up to 1 MiB of memory."""
READING_OF_ONE: Final = 16
"""Of them for jobs of one namespace."""

log = logging.getLogger(__name__)


class Broken(Exception):
    """An answer that can't be finished: what was promised of it is not there any more."""


class Reading:
    """A part of an object that is being read. Close it, whatever becomes of it."""

    def __init__(self, pieces: Pieces, name: str) -> None:
        """Begin; nothing is read yet.

        Args:
            pieces: Of `Store.read`.
            name: Of the object, for the log.
        """
        self._pieces = pieces
        self._name = name
        self._first: bytes | None = None

    async def start(self) -> None:
        """Read the first piece, as long as an error can still be answered.

        Raises:
            StoreError: It can't be read.
            Busy: Its turn did not come.
        """
        self._first = await self._pieces.next()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """All pieces."""
        piece = self._first
        try:
            while piece is not None:
                yield piece
                piece = await self._pieces.next()
        except (StoreError, Busy) as error:
            # The client sees that it got less than was promised, and asks for the rest.
            log.warning("%s breaks off: %s", self._name, error)
            raise Broken(str(error)) from error

    async def close(self) -> None:
        """Let go of the connection or file."""
        await self._pieces.close()


def read(store: Store, info: ObjectInfo, offset: int, length: int, threads: Threads, owner: str) -> Reading:
    """A part of an object, to be read by an owner's threads."""
    return Reading(Pieces(store.read(info, offset, length), threads, owner), f"{store.uri}/{info.key}")


class PartResponse(StreamingResponse):
    """An answer that is cut off without a traceback where its object breaks off: the client notices by the length."""

    def __init__(self, reading: Reading, status_code: int, headers: Mapping[str, str]) -> None:
        """Prepare; `reading` is closed when the answer ends, whoever ends it."""
        super().__init__(reading.pieces(), status_code, headers, headers["Content-Type"])
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        except Broken:
            # What was sent is less than Content-Length says: the server closes the connection.
            return
        finally:
            await self._reading.close()
