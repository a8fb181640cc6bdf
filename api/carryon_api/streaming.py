"""Files that are made while they are sent: each piece in a thread, because it comes from a bucket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from carryon_api.threads import Busy, Pieces, Threads
from carryon_jobs.errors import JobError

log = logging.getLogger(__name__)


def attachment(
    pieces: Iterator[bytes], file_name: str, media_type: str, threads: Threads, owner: str
) -> StreamingResponse:
    """An answer that browsers save as a file.

    Args:
        pieces: The content; blocks.
        file_name: What to call it.
        media_type: Of the content.
        threads: That wait for buckets.
        owner: Whose share of them it takes.
    """
    disposition = f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"
    headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
    return _Attachment(_sent(Pieces(pieces, threads, owner)), media_type=media_type, headers=headers)


class _Attachment(StreamingResponse):
    """An answer that is cut off where its file breaks off: without its last chunk no client takes it for whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        except (JobError, Busy) as error:
            log.warning("%s breaks off: %s", scope["path"], error)


async def _sent(pieces: Pieces) -> AsyncIterator[bytes]:
    try:
        while (piece := await pieces.next()) is not None:
            yield piece
    finally:
        await pieces.close()
