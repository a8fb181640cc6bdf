"""A unit's journal as the bucket holds it: the longest chain of whole segments from call 0.

Several pods may have written, each into a folder of its own: one after the other, or, after a partition, at the same
time. Each segment names the digest of the one before it, so what belongs together is found without trusting any order.
What comes after a gap or a damaged segment is as good as never written: work is lost, nothing is ever wrong.
"""

from __future__ import annotations

import json
import logging
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Final

from carryon_core import layout
from carryon_store import NotFound, ObjectInfo, Store
from carryon_worker.journal import fingerprint as fingerprints
from carryon_worker.journal import segments
from carryon_worker.journal.segments import Segment, SegmentError

_log = logging.getLogger(__name__)

_KEY: Final = re.compile(r".*/(\d{6,12})\.safetensors")

Chain = tuple[Segment, ...]


def read(store: Store, objects: Iterable[ObjectInfo], fingerprint: str, scratch: Path) -> Chain:
    """The journal of a unit that holds for a worker; () where there is none.

    Args:
        store: The job's bucket.
        objects: What lies below `layout.journal_prefix` of the unit and the worker.
        fingerprint: Of the worker, 64 hex digits.
        scratch: Folder for the segments' files, which stay there as long as the chain is used: it refers to them.

    Raises:
        StoreError: The bucket does not give it.
    """
    return longest(_levels(store, objects, scratch), fingerprint)


def furthest(store: Store, prefix: str, scratch: Path) -> Chain:
    """The journal that reaches furthest, whichever worker it holds for: for somebody who looks at it.

    Args:
        store: The job's bucket.
        prefix: Of the unit.
        scratch: As of `read`.

    Raises:
        StoreError: The bucket does not give it.
    """
    below = layout.journal_prefix(prefix)
    found: Chain = ()
    for info in store.list(below):
        digits = info.key.removeprefix(below).partition("/")[0]
        if info.key == layout.journal_fields_key(prefix, digits):
            told = json.loads(store.get(info.key))
            told.pop(layout.JOURNAL_IMAGE, None)
            worker = fingerprints.of(told)
            objects = store.list(layout.journal_prefix(prefix, worker))
            found = max(found, read(store, objects, worker, scratch), key=_reach)
    return found


def longest(levels: Iterable[Sequence[Segment]], fingerprint: str) -> Chain:
    """The longest chain from call 0.

    Args:
        levels: Candidates by their number, from 0; taken only as far as chains reach.
        fingerprint: That all of them must be of.
    """
    best: Chain = ()
    tips: dict[str, Chain] = {"": ()}
    for level in levels:
        tips = {
            segment.digest: (*tips[segment.header.previous], segment)
            for segment in level
            if segment.header.fingerprint == fingerprint
            and segment.header.previous in tips
            and _follows(segment, tips[segment.header.previous])
        }
        if not tips:
            break
        best = max(best, *tips.values(), key=_reach)
    return best


def load(store: Store, key: str, path: Path) -> Segment:
    """One segment, whole; its tensors stay in the file.

    Raises:
        NotFound: There is no such object.
        SegmentError: It is damaged.
        StoreError: The bucket does not give it.
    """
    store.download(key, path)
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise SegmentError("it is empty") from error
    return replace(segments.decode(memoryview(content)), key=key)


def number_of(key: str) -> int | None:
    """Position that a segment's key gives it; None of anything else below `layout.journal_prefix`."""
    match = _KEY.fullmatch(key)
    return int(match[1]) if match else None


def _reach(chain: Chain) -> tuple[int, str]:
    """Calls in a chain; the digest, so that every reader takes the same of two that reach as far."""
    return (chain[-1].end, chain[-1].digest) if chain else (0, "")


def _follows(segment: Segment, chain: Chain) -> bool:
    end = chain[-1].end if chain else 0
    return segment.header.number == len(chain) and segment.header.first == end


def _levels(store: Store, objects: Iterable[ObjectInfo], scratch: Path) -> Iterator[Sequence[Segment]]:
    def number(info: ObjectInfo) -> int:
        found = number_of(info.key)
        return -1 if found is None else found

    found = sorted((info for info in objects if number(info) >= 0), key=lambda info: (number(info), info.key))
    for expected, (position, level) in enumerate(groupby(found, key=number)):
        if position != expected:
            return
        yield [segment for info in level if (segment := _whole(store, info, scratch)) is not None]


def _whole(store: Store, info: ObjectInfo, scratch: Path) -> Segment | None:
    path = scratch / "/".join(info.key.split("/")[-2:])
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return load(store, info.key, path)
    except (SegmentError, NotFound) as error:
        _log.warning("a segment of the journal is of no use, nor is what follows it: %s: %s", info.key, error)
        return None
