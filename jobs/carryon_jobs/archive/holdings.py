"""What a job's bucket holds now: units that are done, and what is kept of those that are not.

The bucket is the truth: status may be late, or lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from carryon_core import layout
from carryon_core.resolved import ResolvedJob, Unit
from carryon_core.standing import DoneUnit, Standing, stand
from carryon_jobs.archive.members import HalfDone
from carryon_store import NotFound, ObjectInfo, Store
from carryon_store.leftovers import Leftover, leftover
from carryon_store.verification import DoneCache, DoneFacts, verify

_HEADER_LARGEST: Final = 64 << 20
_FIRST: Final = 64 << 10
"""Bytes of a segment that are read first: most headers are shorter."""
_LENGTH: Final = 8
_STEPS: Final = "params.num_inference_steps"


@dataclass(frozen=True)
class Holdings:
    """A job against its bucket.

    Attributes:
        standing: Its units, with their fingerprints.
        done: Prefix of a unit that is done -> what its done.json says.
        left: Prefix of a unit that is not -> what is kept of it.
    """

    standing: Standing
    done: Mapping[str, DoneFacts]
    left: Mapping[str, Leftover]

    def units(self) -> Iterator[tuple[str, Unit]]:
        """Units whose fingerprints are known, with their prefixes."""
        job = self.standing.job
        return ((job.prefix(unit), unit) for unit in job.units() if unit.fingerprint)


def look(store: Store, resolved: ResolvedJob) -> Holdings:
    """Look into the bucket.

    Raises:
        StoreError: It does not answer.
    """
    done: dict[str, DoneFacts] = {}
    left: dict[str, Leftover] = {}
    known: dict[str, DoneUnit] = {}
    made = stand(resolved, known)
    # What a stage gathers is known once those before it were looked at.
    for at in resolved.order:
        stage = made.job.stages[at.index]
        wanted = {made.job.prefix(unit): unit.fingerprint for unit in stage.units if unit.fingerprint}
        seen = verify(store, layout.stage_prefix(resolved.namespace, resolved.name, stage.name), wanted, DoneCache())
        done.update(seen.done)
        left.update(seen.left)
        known.update((facts.fingerprint, facts.unit) for facts in seen.done.values())
        made = stand(resolved, known)
    return Holdings(made, done, left)


def half_done(store: Store, prefix: str, job_prefix: str, stage: str, item: str) -> HalfDone:
    """How far a unit is that is not done, as what is kept of it says.

    Raises:
        StoreError: The bucket does not answer.
    """
    folder = prefix.removeprefix(job_prefix).rstrip("/")
    objects = list(store.list(layout.journal_prefix(prefix)))
    kept = leftover(prefix, objects)
    if kept is None or not kept.worker:
        return HalfDone(stage=stage, item=item, unit=folder)
    fields = _fields(store, layout.journal_fields_key(prefix, kept.worker))
    own = [each for each in objects if each.key.startswith(layout.journal_prefix(prefix, kept.worker))]
    steps = fields.get(_STEPS)
    return HalfDone(
        stage=stage,
        item=item,
        unit=folder,
        step=_steps_kept(store, own),
        steps=steps if isinstance(steps, int) and not isinstance(steps, bool) else None,
        device=_text(fields, layout.JOURNAL_DEVICE),
        image=_text(fields, layout.JOURNAL_IMAGE),
    )


@dataclass(frozen=True, slots=True)
class _Head:
    """What a segment says about itself, as far as it is needed here."""

    digest: str
    previous: str
    first: int
    end: int
    step: int


def _steps_kept(store: Store, objects: Sequence[ObjectInfo]) -> int | None:
    """Steps by the longest chain of segments from call 0, by their headers alone; None where there is none."""

    def number(info: ObjectInfo) -> int:
        name = info.key.rpartition("/")[2].removesuffix(".safetensors")
        return int(name) if name.isascii() and name.isdigit() else -1

    found = sorted((info for info in objects if number(info) >= 0), key=lambda info: (number(info), info.key))
    tips: dict[str, _Head] = {"": _Head("", "", 0, 0, 0)}
    best: _Head | None = None
    for expected, (position, level) in enumerate(groupby(found, key=number)):
        if position != expected:
            break
        tips = {head.digest: head for head in _heads(store, level) if _follows(head, tips)}
        if not tips:
            break
        best = max((best, *tips.values()), key=lambda head: (head.end, head.digest) if head else (-1, ""))
    return best.step if best else None


def _follows(head: _Head, tips: Mapping[str, _Head]) -> bool:
    return head.previous in tips and head.first == tips[head.previous].end


def _heads(store: Store, level: Iterable[ObjectInfo]) -> Iterator[_Head]:
    for info in level:
        head = _head(store, info)
        if head is not None:
            yield head


def _head(store: Store, info: ObjectInfo) -> _Head | None:
    """The header of a segment; None of what is damaged, or went meanwhile."""
    try:
        begin = _read(store, info, 0, min(info.size, _FIRST))
        length = int.from_bytes(begin[:_LENGTH], "little")
        if not 0 < length <= min(info.size - _LENGTH, _HEADER_LARGEST):
            return None
        missing = _LENGTH + length - len(begin)
        text = (begin + (_read(store, info, len(begin), missing) if missing > 0 else b""))[_LENGTH : _LENGTH + length]
        metadata = json.loads(text)["__metadata__"]
        ours = json.loads(metadata["carryon"])
        calls = ours["calls"]
        count = sum((call.get("section") or {}).get("calls", 1) for call in calls)
        first = int(ours["first"])
        return _Head(str(metadata["sha256"]), str(ours["previous"]), first, first + count, int(calls[-1]["step"]))
    except NotFound:
        return None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        # Damaged: the worker that goes on will say so.
        return None


def _read(store: Store, info: ObjectInfo, offset: int, length: int) -> bytes:
    return b"".join(store.read(info, offset, length))


def _fields(store: Store, key: str) -> Mapping[str, Any]:
    try:
        found = json.loads(store.get(key, max_bytes=1 << 20))
    except (NotFound, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
