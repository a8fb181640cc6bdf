"""What attempts have left of units, journals and checkpoints, as a listing shows it, and what of it may go. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from carryon_core import layout
from carryon_store.protocol import ObjectInfo

_KEPT: Final = (layout.CHECKPOINT, layout.JOURNAL)
_SEGMENT: Final = re.compile(rf"{layout.JOURNAL}([0-9a-f]{{{layout.WORKER_DIGITS}}})/[^/]+/.+")
_WORKER: Final = re.compile(rf"{layout.JOURNAL}([0-9a-f]{{{layout.WORKER_DIGITS}}})/.+")


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a later attempt at a unit may go on from.

    Attributes:
        newest: When the last of it was written, UTC.
        worker: First digits of the worker fingerprint whose journal was written to last, "" where there is none.
    """

    newest: datetime
    worker: str = ""


def leftover(prefix: str, objects: Sequence[ObjectInfo]) -> Leftover | None:
    """What a unit has; None if that is nothing.

    Args:
        prefix: Of the unit.
        objects: What lies there.
    """
    parts = [(info.key.removeprefix(prefix), info) for info in objects]
    kept = [info.modified for name, info in parts if name.startswith(_KEPT)]
    segments = [(info.modified, match[1]) for name, info in parts if (match := _SEGMENT.fullmatch(name))]
    return Leftover(max(kept), max(segments, default=(None, ""))[1]) if kept else None


def journal_bytes(prefix: str, objects: Sequence[ObjectInfo]) -> int:
    """Bytes of a unit's journals, whichever worker they are for."""
    return sum(info.size for info in objects if info.key.startswith(prefix + layout.JOURNAL))


def garbage(prefix: str, objects: Sequence[ObjectInfo], before: datetime, *, wanted: bool) -> list[str]:
    """Keys of what nobody goes on from any more.

    Of a unit that is done, or not wanted so, that is all it has, unless something was written lately: somebody may be
    at it, or may take an edit back. Of one that is still to be made it is the journals of other workers than the last,
    which has refused them.

    Args:
        prefix: Of the unit, at one fingerprint.
        objects: What lies there.
        before: What was written to since then stays.
        wanted: The unit is still to be made.
    """
    if not wanted:
        kept = [info for info in objects if info.key.removeprefix(prefix).startswith(_KEPT)]
        return [info.key for info in kept] if kept and max(info.modified for info in kept) < before else []

    def worker(info: ObjectInfo) -> str:
        match = _WORKER.fullmatch(info.key.removeprefix(prefix))
        return match[1] if match else ""

    last = leftover(prefix, objects)
    journals = groupby(sorted(filter(worker, objects), key=worker), key=worker)
    found = [list(each) for name, each in journals if last is not None and name != last.worker]
    return [info.key for each in found if max(info.modified for info in each) < before for info in each]
