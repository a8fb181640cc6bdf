"""Why what earlier attempts left of a unit is of no use to a worker, or only in part: sentences with what is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from pydantic import StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter, ValidationError

from carryon_core import layout
from carryon_core.done import Misfit
from carryon_store import NotFound, ObjectInfo, Store, TooLarge
from carryon_worker.journal import chain, fingerprint
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.journal.segments import Segment, SegmentError

_FIELDS: Final[TypeAdapter[Mapping[str, str | int | float | bool | None]]] = TypeAdapter(
    Mapping[str, StrictBool | StrictInt | StrictFloat | StrictStr | None]
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is of no use.

    Attributes:
        why: A sentence.
        misfit: The same in one word, to be counted.
    """

    why: str
    misfit: Misfit


def refusal(
    store: Store, prefix: str, objects: Sequence[ObjectInfo], found: Chain, fields: Fields, scratch: Path
) -> Refusal | None:
    """Why not all of what earlier attempts left is of use; None where it is, or where they left nothing.

    Args:
        store: The job's bucket.
        prefix: The unit's prefix.
        objects: All of the unit's journals, whichever worker they are for.
        found: What is of use.
        fields: Of this worker.
        scratch: Folder for what has to be looked at.

    Raises:
        StoreError: The bucket does not give it.
    """
    at = layout.journal_prefix(prefix)
    # Without a segment nothing was kept, and nothing is lost.
    segments = (info for info in objects if chain.number_of(info.key) is not None)
    workers = {
        worker: list(infos)
        for worker, infos in groupby(segments, key=lambda info: info.key.removeprefix(at).partition("/")[0])
    }
    own = workers.pop(fingerprint.of(fields)[: layout.WORKER_DIGITS], [])
    if own and not found:
        return Refusal(f"no segment from call 0 on is whole, {len(own)} objects are of no use", Misfit.DAMAGED)
    if own:
        why = _what_is_cut_off(store, own, found, scratch)
        return Refusal(why, Misfit.DAMAGED) if why else None
    if not workers:
        return None
    worker, infos = max(workers.items(), key=lambda item: max(info.modified for info in item[1]))
    last = _last(infos)
    segment = _load(store, last, scratch)
    reaches = f"{_number(last) + 1} segments" if segment is None else lost(_step(segment), segment.end)
    try:
        told = _FIELDS.validate_json(store.get(layout.journal_fields_key(prefix, worker)))
    except (NotFound, TooLarge, ValidationError):
        return Refusal(f"fingerprint unreadable, {reaches} lost", Misfit.DAMAGED)
    # Another image with the same fields holds the same.
    theirs = {name: value for name, value in told.items() if name != layout.JOURNAL_IMAGE}
    return Refusal(fingerprint.refusal(theirs, fields, reaches), fingerprint.misfit(theirs, fields))


def lost(steps: int, calls: int) -> str:
    """Steps where the pipeline tells of them, else calls."""
    count, word = (steps, "step") if steps else (calls, "call")
    return f"{count} {word}{'' if count == 1 else 's'}"


def step(of: Chain) -> int:
    """Steps ended before the last call of a chain."""
    return _step(of[-1]) if of else 0


def _what_is_cut_off(store: Store, own: Sequence[ObjectInfo], found: Chain, scratch: Path) -> str:
    """What follows a gap, or a segment that is damaged."""
    last = _last(own)
    if last.key == found[-1].key:
        return ""
    segment = _load(store, last, scratch)
    if segment is None:
        return f"segment {_number(last)} is damaged"
    if segment.end <= found[-1].end:
        # Another worker's, or calls that finished sections have replaced.
        return ""
    behind = lost(max(0, _step(segment) - step(found)), segment.end - found[-1].end)
    return f"segment {len(found)} is missing or damaged, {behind} lost"


def _last(infos: Sequence[ObjectInfo]) -> ObjectInfo:
    return max(infos, key=lambda info: (_number(info), info.key))


def _number(info: ObjectInfo) -> int:
    return chain.number_of(info.key) or 0


def _load(store: Store, info: ObjectInfo, scratch: Path) -> Segment | None:
    """A segment that is only looked at; None if it is damaged or gone."""
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        return chain.load(store, info.key, scratch / "refused.safetensors")
    except (SegmentError, NotFound):
        return None


def _step(segment: Segment) -> int:
    return segment.header.calls[-1].step
