"""Files that are made while they are sent: each piece in a thread, because it comes from a bucket."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import StreamingResponse

from carryon_jobs.errors import JobError

log = logging.getLogger(__name__)


def attachment(
    pieces: Iterator[bytes], file_name: str, media_type: str, threads: anyio.CapacityLimiter
) -> StreamingResponse:
    """An answer that browsers save as a file.

    Args:
        pieces: The content; blocks.
        file_name: What to call it.
        media_type: Of the content.
        threads: How many threads may wait for buckets.
    """
    disposition = f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"
    headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(_sent(pieces, file_name, threads), media_type=media_type, headers=headers)


async def _sent(pieces: Iterator[bytes], file_name: str, threads: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    try:
        while (piece := await anyio.to_thread.run_sync(next, pieces, None, limiter=threads)) is not None:
            yield piece
    except JobError as error:
        # The status is sent: a connection that is cut is all that can still tell.
        log.warning("%s breaks off: %s", file_name, error)
        raise
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(close)
