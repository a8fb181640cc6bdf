"""Which units are done, by one look at the bucket: done.json for this fingerprint, and every artifact in its size."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Final, TypeAlias

from carryon_core import layout
from carryon_core.done import Done
from carryon_core.standing import NO_JOURNAL, DoneUnit, JournalUse
from carryon_store.leftovers import Leftover, garbage, journal_bytes, leftover
from carryon_store.protocol import ObjectInfo, Store
from carryon_store.units import Unreadable, read_done

_READERS: Final = 8
"""Threads that read done.json files; what they read is small, so it is round trips that they save."""
GARBAGE_MOST: Final = 2_000
"""Keys of garbage that one look finds; the next finds the others."""
TOLD_LONGEST: Final = 300
"""Characters of a sentence of a worker that are kept."""
_VERSION: Final = re.compile("[0-9a-f]{16}")
_BATCH: Final = 256
"""Units judged together, so that a sweep holds so many at most besides its result."""


@dataclass(frozen=True, slots=True)
class DoneFacts:
    """What verification keeps of a done.json.

    Attributes:
        etag: Of the done.json.
        fingerprint: What the unit was made from, 64 hex digits.
        artifacts: (key relative to the unit's prefix, bytes) of each.
        unit: How the unit ended, whose work it was, and how long that took.
    """

    etag: str
    fingerprint: str
    artifacts: tuple[tuple[str, int], ...]
    unit: DoneUnit


@dataclass(frozen=True, slots=True)
class Invalid:
    """A unit whose done.json does not hold: to be discarded, then made again.

    Attributes:
        etag: Of the done.json that was judged, for `discard`.
        reason: Why, in a sentence.
    """

    etag: str
    reason: str


Verdict: TypeAlias = DoneFacts | Invalid | None
"""Of one unit: done, invalid, or absent."""


@dataclass(slots=True)
class Verification:
    """Verdicts by unit prefix; each wanted unit stands in exactly one of the first three.

    Attributes:
        left: What attempts have left of those that are absent.
        journals: Bytes of all journals of the stage, those included that nobody wants any more.
        garbage: Keys of what nobody goes on from any more: the first `GARBAGE_MOST`.
    """

    done: dict[str, DoneFacts] = field(default_factory=dict)
    invalid: dict[str, Invalid] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    left: dict[str, Leftover] = field(default_factory=dict)
    journals: int = 0
    garbage: list[str] = field(default_factory=list)


class DoneCache:
    """What done.json files said, so that each is read once; one per job.

    Some 300 bytes a unit. Not to be shared by sweeps that run at the same time over the same stage.
    """

    def __init__(self) -> None:
        self._facts: dict[str, DoneFacts] = {}

    def get(self, prefix: str, etag: str) -> DoneFacts | None:
        """What the unit's done.json said when it had this etag, if it was read then."""
        facts = self._facts.get(prefix)
        return facts if facts is not None and facts.etag == etag else None

    def put(self, prefix: str, facts: DoneFacts) -> None:
        """Remember."""
        self._facts[prefix] = facts

    def keep(self, stage_prefix: str, prefixes: set[str]) -> None:
        """Forget the units of a stage that are not among `prefixes`."""
        for prefix in [p for p in self._facts if p.startswith(stage_prefix) and p not in prefixes]:
            del self._facts[prefix]

    def __len__(self) -> int:
        return len(self._facts)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a listing shows of one unit that has a done.json."""

    prefix: str
    etag: str
    sizes: Mapping[str, int]


def verify(
    store: Store,
    stage_prefix: str,
    wanted: Mapping[str, str],
    cache: DoneCache,
    *,
    before: datetime | None = None,
    spared: Container[str] = (),
) -> Verification:
    """Judge the units of a stage by one listing; only a done.json whose etag the cache does not know is read.

    Args:
        store: The bucket.
        stage_prefix: See `layout.stage_prefix`.
        wanted: Unit prefix -> fingerprint.
        cache: What earlier sweeps read; brought up to date.
        before: What nobody goes on from counts as garbage if it was not written to since then; None: nothing does.
        spared: Encoded ids of items that have no garbage: what their units are made from is not known now.

    Raises:
        Unreachable: There is no verdict at all: an unreachable bucket says nothing about any unit.
    """
    verification = Verification(absent=set(wanted))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as readers:

        def judge(batch: list[_Found]) -> None:
            verdicts = readers.map(lambda found: _settled(store, found, wanted[found.prefix], cache), batch)
            for found, verdict in zip(batch, verdicts, strict=True):
                _enter(verification, found.prefix, verdict)

        batch: list[_Found] = []
        for found in _units(store, stage_prefix, wanted, partial(_look_over, verification, wanted, before, spared)):
            facts = cache.get(found.prefix, found.etag)
            if facts is not None and _complaint(facts, wanted[found.prefix], found.sizes) is None:
                _enter(verification, found.prefix, facts)
                continue
            batch.append(found)
            if len(batch) == _BATCH:
                judge(batch)
                batch = []
        judge(batch)
    cache.keep(stage_prefix, set(wanted) - verification.absent)
    for prefix in [prefix for prefix in verification.left if prefix not in verification.absent]:
        del verification.left[prefix]
    return verification


def verify_unit(store: Store, prefix: str, fingerprint: str, cache: DoneCache | None = None) -> Verdict:
    """Judge one unit by one listing of its prefix.

    Raises:
        Unreachable: There is no verdict.
    """
    return look_at_unit(store, prefix, fingerprint, cache)[0]


def look_at_unit(
    store: Store, prefix: str, fingerprint: str, cache: DoneCache | None = None
) -> tuple[Verdict, Leftover | None]:
    """As `verify_unit`, and what attempts have left of the unit.

    Raises:
        Unreachable: There is no verdict.
    """
    objects = list(store.list(prefix))
    found = _found(prefix, objects)
    if found is None:
        return None, leftover(prefix, objects)
    return _judged(store, found, fingerprint, DoneCache() if cache is None else cache), leftover(prefix, objects)


def _enter(verification: Verification, prefix: str, verdict: Verdict) -> None:
    match verdict:
        case DoneFacts():
            verification.done[prefix] = verdict
        case Invalid():
            verification.invalid[prefix] = verdict
        case None:
            return
    verification.absent.discard(prefix)


def _units(
    store: Store,
    stage_prefix: str,
    wanted: Mapping[str, str],
    look_over: Callable[[str, Sequence[ObjectInfo], bool], None],
) -> Iterator[_Found]:
    """The wanted units that have a done.json, each with what else the listing shows below its prefix.

    A unit's objects are neighbours in a listing in key order. Where a store lists in another order, a unit comes apart
    here, looks incomplete, and the second look puts it right.

    Args:
        store: The bucket.
        stage_prefix: Of the stage.
        wanted: Unit prefix -> fingerprint.
        look_over: Told of every folder below: its prefix, what lies there, and whether a done.json does.
    """

    def unit(info: ObjectInfo) -> str:
        item_and_fingerprint = info.key.removeprefix(stage_prefix).split("/", 2)[:2]
        return f"{stage_prefix}{'/'.join(item_and_fingerprint)}/"

    for prefix, group in groupby(store.list(stage_prefix), key=unit):
        objects = list(group)
        found = _found(prefix, objects)
        look_over(prefix, objects, found is not None)
        if found is not None and prefix in wanted:
            yield found


def _found(prefix: str, objects: Sequence[ObjectInfo]) -> _Found | None:
    """What lies below a unit's prefix, None without done.json."""
    etag = next((info.etag for info in objects if info.key == prefix + layout.DONE), None)
    if etag is None:
        return None
    return _Found(prefix, etag, {info.key.removeprefix(prefix): info.size for info in objects})


def _look_over(
    verification: Verification,
    wanted: Mapping[str, str],
    before: datetime | None,
    spared: Container[str],
    prefix: str,
    objects: Sequence[ObjectInfo],
    done: bool,
) -> None:
    """Take down what attempts have left in one folder."""
    item, version = prefix.rsplit("/", 3)[-3:-1]
    if not _VERSION.fullmatch(version):
        return
    left = leftover(prefix, objects)
    if left is None:
        return
    verification.journals += journal_bytes(prefix, objects)
    open_ = prefix in wanted and not done
    if open_:
        verification.left[prefix] = left
    if before is not None and item not in spared:
        room = GARBAGE_MOST - len(verification.garbage)
        verification.garbage += garbage(prefix, objects, before, wanted=open_)[:room]


def _settled(store: Store, found: _Found, fingerprint: str, cache: DoneCache) -> Verdict:
    """The verdict over a unit; a bad one only after a second look.

    A sweep takes a while: it may pass a unit's artifacts before they are published, and come to its done.json after.
    A listing that begins when done.json exists must show them.
    """
    verdict = _judged(store, found, fingerprint, cache)
    return verdict if isinstance(verdict, DoneFacts) else verify_unit(store, found.prefix, fingerprint, cache)


def _judged(store: Store, found: _Found, fingerprint: str, cache: DoneCache) -> Verdict:
    facts = cache.get(found.prefix, found.etag)
    if facts is None:
        done = read_done(store, found.prefix)
        if done is None:
            return None  # Discarded meanwhile.
        if isinstance(done, Unreadable):
            return Invalid(found.etag, done.reason)
        artifacts = tuple((artifact.key, artifact.size) for artifact in done.artifacts)
        facts = DoneFacts(found.etag, done.fingerprint, artifacts, _unit(done))
        cache.put(found.prefix, facts)
    complaint = _complaint(facts, fingerprint, found.sizes)
    return facts if complaint is None else Invalid(found.etag, complaint)


def _unit(done: Done) -> DoneUnit:
    """What is kept of a done.json."""
    use, resume = NO_JOURNAL, done.resume
    if resume is not None:
        use = JournalUse(
            resume.saved, resume.waited, resume.refused[:TOLD_LONGEST], resume.misfit, resume.ended[:TOLD_LONGEST]
        )
    # What a step waited for is no part of making the unit; what an earlier attempt had made of it is.
    seconds = max(done.timings.generate - use.waited, 0.0) + use.saved
    return DoneUnit(done.outcome, sys.intern(done.pod_uid), seconds, _moment(done.finished), use)


def _moment(text: str) -> float:
    """Seconds since the epoch; 0 for what is no time."""
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()


def _complaint(facts: DoneFacts, fingerprint: str, sizes: Mapping[str, int]) -> str | None:
    """Why a unit is not done, in a sentence; None if it is."""
    if facts.fingerprint != fingerprint:
        return f"{layout.DONE} is of fingerprint {facts.fingerprint}, not {fingerprint}"
    for key, size in facts.artifacts:
        if key not in sizes:
            return f"artifact {key} is missing"
        if sizes[key] != size:
            return f"artifact {key} has {sizes[key]} bytes instead of {size}"
    return None
