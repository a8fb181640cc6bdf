"""Changes as pieces of a stream: large enough to cost little, small enough that a page that sleeps holds little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from carryon_api.live.feed import Entry

PIECE: Final = 64 * 1024
"""Bytes handed to the connection at a time: what a page that reads nothing keeps in memory."""


def pieces(entries: Sequence[Entry], identity: str) -> list[bytes]:
    """Frames joined to pieces; the last one has the id, from which on a page that got it whole has missed nothing."""
    frames = [entry.frame for entry in entries]
    if frames and identity:
        frames[-1] = b"id: %b\n%b" % (identity.encode(), frames[-1])
    return list(joined(frames))


def snapshot(entries: Sequence[Entry], identity: str) -> Iterator[bytes]:
    """All jobs as one event, in pieces made as they are taken: pages that come at other times share only the jobs."""
    known = f"id: {identity}\n" if identity else ""
    frames = [b'event: snapshot\n%bdata: {"jobs":[' % known.encode()]
    for number, entry in enumerate(entries):
        frames += [b",", entry.data] if number else [entry.data]
    frames.append(b"]}\n\n")
    return joined(frames)


def joined(frames: Sequence[bytes]) -> Iterator[bytes]:
    """Neighbours joined, as long as they are not too large together."""
    start, size = 0, 0
    for number, frame in enumerate(frames):
        if size and size + len(frame) > PIECE:
            yield b"".join(frames[start:number])
            start, size = number, 0
        size += len(frame)
    if start < len(frames):
        yield b"".join(frames[start:])
