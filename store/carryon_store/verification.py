"""Which units are done, by one look at the bucket: done.json for this fingerprint, and every artifact in its size."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, TypeAlias

from carryon_core import layout
from carryon_core.standing import DoneUnit
from carryon_store.protocol import ObjectInfo, Store
from carryon_store.units import Unreadable, read_done

_READERS: Final = 8
"""Threads that read done.json files; what they read is small, so it is round trips that they save."""
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


@dataclass(frozen=True, slots=True)
class Verification:
    """Verdicts by unit prefix; each wanted unit stands in exactly one of the three."""

    done: dict[str, DoneFacts] = field(default_factory=dict)
    invalid: dict[str, Invalid] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


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


def verify(store: Store, stage_prefix: str, wanted: Mapping[str, str], cache: DoneCache) -> Verification:
    """Judge the units of a stage by one listing; only a done.json whose etag the cache does not know is read.

    Args:
        store: The bucket.
        stage_prefix: See `layout.stage_prefix`.
        wanted: Unit prefix -> fingerprint.
        cache: What earlier sweeps read; brought up to date.

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
        for found in _units(store, stage_prefix, wanted):
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
    return verification


def verify_unit(store: Store, prefix: str, fingerprint: str, cache: DoneCache | None = None) -> Verdict:
    """Judge one unit by one listing of its prefix.

    Raises:
        Unreachable: There is no verdict.
    """
    sizes: dict[str, int] = {}
    etag = None
    for info in store.list(prefix):
        sizes[info.key.removeprefix(prefix)] = info.size
        if info.key == prefix + layout.DONE:
            etag = info.etag
    if etag is None:
        return None
    return _judged(store, _Found(prefix, etag, sizes), fingerprint, DoneCache() if cache is None else cache)


def _enter(verification: Verification, prefix: str, verdict: Verdict) -> None:
    match verdict:
        case DoneFacts():
            verification.done[prefix] = verdict
        case Invalid():
            verification.invalid[prefix] = verdict
        case None:
            return
    verification.absent.discard(prefix)


def _units(store: Store, stage_prefix: str, wanted: Mapping[str, str]) -> Iterator[_Found]:
    """The wanted units that have a done.json, each with what else the listing shows below its prefix.

    A unit's objects are neighbours in a listing in key order. Where a store lists in another order, a unit comes apart
    here, looks incomplete, and the second look puts it right.
    """

    def unit(info: ObjectInfo) -> str:
        item_and_fingerprint = info.key.removeprefix(stage_prefix).split("/", 2)[:2]
        return f"{stage_prefix}{'/'.join(item_and_fingerprint)}/"

    for prefix, objects in groupby(store.list(stage_prefix), key=unit):
        if prefix not in wanted:
            continue
        sizes: dict[str, int] = {}
        etag = None
        for info in objects:
            sizes[info.key.removeprefix(prefix)] = info.size
            if info.key == prefix + layout.DONE:
                etag = info.etag
        if etag is not None:
            yield _Found(prefix, etag, sizes)


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
        spent = done.timings.load + done.timings.generate + done.timings.publish
        unit = DoneUnit(done.outcome, sys.intern(done.pod_uid), spent)
        facts = DoneFacts(found.etag, done.fingerprint, artifacts, unit)
        cache.put(found.prefix, facts)
    complaint = _complaint(facts, fingerprint, found.sizes)
    return facts if complaint is None else Invalid(found.etag, complaint)


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
