"""What part of a file a request wants: Range, If-Range and If-None-Match of RFC 9110. Pure.

A server may answer with the whole of a file whatever part was asked for; that is done wherever a header is not
understood, or names several parts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE | re.ASCII)
_TAG: Final = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Part:
    """What an answer holds.

    Attributes:
        status: 200, 206, 304 or 416; the last two have no content.
        offset: Bytes of the file before it.
        length: Bytes.
        content_range: The header's value; "" for none.
    """

    status: HTTPStatus
    offset: int = 0
    length: int = 0
    content_range: str = ""


def part_of(
    size: int, etag: str, *, wanted: str | None = None, if_range: str | None = None, if_none_match: str | None = None
) -> Part:
    """The answer to a GET or HEAD.

    Args:
        size: Bytes of the file.
        etag: Strong, with its quotes.
        wanted: The header Range.
        if_range: The header; a part is given only of the file that it names.
        if_none_match: The header; nothing is given if the client has it already.
    """
    if if_none_match is not None and _has(if_none_match, etag):
        return Part(HTTPStatus.NOT_MODIFIED)
    whole = Part(HTTPStatus.OK, 0, size)
    # A date in If-Range names no file: nothing here has a date that changes whenever the content does.
    if wanted is None or (if_range is not None and if_range.strip() != etag):
        return whole
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or not any(match.groups()):
        return whole
    first, last = match.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return whole
    if start >= stop:
        return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, content_range=f"bytes */{size}")
    return Part(HTTPStatus.PARTIAL_CONTENT, start, stop - start, f"bytes {start}-{stop - 1}/{size}")


def _has(header: str, etag: str) -> bool:
    """Whether a list of entity tags holds one, by weak comparison."""
    return header.strip() == "*" or etag in (tag.removeprefix("W/") for tag in _TAG.findall(header))
