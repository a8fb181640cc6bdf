"""What the bucket holds of single units, for whoever asks again and again: each thing is found out once. Blocking.

Which folder is a unit's follows from its fingerprint, and fingerprints from spec and items: they are computed once for
each generation of a job, in half a second for 10,000 units. A done.json is written once; it is read once and after a
while only asked for its ETag, because the operator may have removed it to have the unit made again.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.attempts import AttemptRecord
from carryon_core.done import Done
from carryon_core.errors import SpecError
from carryon_core.resolve import file_uris, resolve
from carryon_core.resolved import ResolvedJob
from carryon_jobs.errors import NotPossible, OutOfReach, Unknown
from carryon_jobs.job import Job, standing_of
from carryon_store import NotFound, Store, StoreError, TooLarge
from carryon_store.records import get_file_digests
from carryon_store.units import read_done

UNITS_KEPT: Final = 400_000
"""Units of jobs that stay resolved, some 500 bytes each."""
DONE_KEPT: Final = 20_000
ASK_AGAIN: Final = 60.0
"""Seconds after which a done.json that was read is asked for its ETag."""
ATTEMPTS_MOST: Final = 20
"""Attempts of one unit that are shown."""
ACCOUNT_LONGEST: Final = 64 * 1024
LISTED_MOST: Final = 1_000
V = TypeVar("V")


class Recent(Generic[V]):
    """What was found out, as long as there is room: the least recently asked for goes first.

    Whoever asks for what another thread is at waits for that one. Thread-safe.
    """

    def __init__(self, room: int) -> None:
        """Begin empty.

        Args:
            room: Weight of all that is kept.
        """
        self._room = room
        self._weight = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._busy: dict[Hashable, threading.Lock] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable, find_out: Callable[[], V], weight: Callable[[V], int] = lambda _: 1) -> V:
        """What is kept under a key, or else what `find_out` returns; its errors are not kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[0]
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            with self._lock:
                found = self._kept.get(key)
            if found is not None:
                return found[0]
            try:
                value = find_out()
                self.put(key, value, weight(value))
                return value
            finally:
                with self._lock:
                    self._busy.pop(key, None)

    def put(self, key: Hashable, value: V, weight: int = 1) -> None:
        """Keep something."""
        with self._lock:
            old = self._kept.pop(key, None)
            self._weight += weight - (old[1] if old else 0)
            self._kept[key] = (value, weight)
            while self._weight > self._room and len(self._kept) > 1:
                _, (_, lost) = self._kept.popitem(last=False)
                self._weight -= lost

    def drop(self, key: Hashable) -> None:
        """Forget something."""
        with self._lock:
            old = self._kept.pop(key, None)
            self._weight -= old[1] if old else 0


@dataclass(frozen=True, slots=True)
class Place:
    """One unit, and where it lies.

    Attributes:
        stage: Name of the stage.
        index: Of the item; 0 where the stage gathers.
        item: Id of the item; "job" where the stage gathers.
        prefix: In the bucket; "" as long as it is not known what the unit will be made from.
        seed: The unit's own.
        fingerprint: What it is made from, "" like `prefix`.
    """

    stage: str
    index: int
    item: str
    prefix: str
    seed: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Read:
    done: Done
    etag: str
    asked: float


class Made:
    """What was made of the units of all jobs; one for a process. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing.

        Args:
            clock: Monotonic, seconds.
        """
        self._clock = clock
        self._resolved: Recent[ResolvedJob] = Recent(UNITS_KEPT)
        self._standing: Recent[ResolvedJob] = Recent(UNITS_KEPT)
        self._done: Recent[_Read] = Recent(DONE_KEPT)
        self._reasons: Recent[tuple[float, str]] = Recent(DONE_KEPT)

    def key(self, job: Job) -> Hashable:
        """What a job's units depend on."""
        metadata = job.raw["metadata"]
        items = (job.raw.get("status") or {}).get("items") or {}
        return metadata["uid"], metadata.get("generation"), items.get("digest"), items.get("variant")

    def knows(self, key: Hashable) -> bool:
        """Whether a job's units were worked out, so that nobody waits for it."""
        return key in self._resolved

    def resolved(self, job: Job) -> ResolvedJob:
        """A job's units, with the files that they name as the operator saw them last: none is looked at here.

        Raises:
            JobError: They can't be told, or not now.
        """

        def find_out() -> ResolvedJob:
            namespace, name = job.view.namespace, job.view.name
            try:
                uris = file_uris(namespace, name, job.spec, job.rows)
                kept = get_file_digests(job.store, namespace, name) if uris and job.store is not None else {}
                return resolve(namespace, name, job.spec, job.rows, {uri: kept.get(uri) for uri in uris})
            except SpecError as error:
                raise NotPossible(f"{name} can't be carried out as written: {error.message}") from None
            except StoreError as error:
                raise OutOfReach(f"the units of {name} can't be looked up: {error}") from None

        return self._resolved.get(self.key(job), find_out, weight=lambda resolved: max(resolved.total, 1))

    def place(self, job: Job, stage: int, index: int) -> Place:
        """Where a unit lies.

        Args:
            job: The job.
            stage: Index of the stage.
            index: Of the item, less than there are; 0 where the stage gathers.

        Raises:
            JobError: It can't be told, or not now.
        """
        resolved = self.resolved(job)
        if resolved.stages[stage].open:
            # Made from units upstream that have to be done first, so that every change of status may tell more.
            metadata = job.raw["metadata"]
            key = (metadata["uid"], metadata["resourceVersion"])
            units = self._standing.get(key, lambda: standing_of(resolved, job.view).job, lambda made: made.total)
        else:
            units = resolved
        unit = units.unit(stage, index)
        prefix = units.prefix(unit) if unit.fingerprint else ""
        name, item = resolved.stages[stage].name, resolved.item_id(stage, index)
        return Place(name, index, item, prefix, unit.seed, unit.fingerprint)

    def named(self, job: Job, stage: str, item: str) -> Place:
        """Where the unit of a stage and item lies.

        Args:
            job: The job.
            stage: Name of the stage.
            item: Id of the item, or "~" and its index: not every id can stand in an address.

        Raises:
            Unknown: There is no such unit.
            JobError: It can't be told, or not now.
        """
        resolved = self.resolved(job)
        found = next((each for each in resolved.stages if each.name == stage), None)
        if found is None:
            raise Unknown(f'{job.view.name} has no stage "{stage}"')
        index = resolved.item_index(found.index, item)
        if index is None and item.startswith("~") and item[1:].isascii() and item[1:].isdigit():
            index = int(item[1:9])
        if index is None or index >= len(found.units):
            raise Unknown(f'stage "{stage}" of {job.view.name} has no item "{item}"')
        return self.place(job, found.index, index)

    def done(self, store: Store, prefix: str) -> Done | None:
        """What a unit's done.json says; None where there is none that says anything.

        Raises:
            OutOfReach: The bucket does not answer, or refuses.
        """
        key = (store.uri, prefix)
        now = self._clock()
        try:
            known = self._done.get(key, lambda: self._read(store, prefix, now))
            if now - known.asked > ASK_AGAIN:
                if store.head(prefix + layout.DONE).etag != known.etag:
                    self._done.drop(key)
                    known = self._done.get(key, lambda: self._read(store, prefix, now))
                else:
                    self._done.put(key, replace(known, asked=now))
        except NotFound:
            self._done.drop(key)
            return None
        except StoreError as error:
            raise OutOfReach(str(error)) from None
        return known.done

    def reason(self, store: Store, prefix: str) -> str:
        """Why the newest attempt at a unit failed, as far as that was kept; looked up once a minute at most."""
        key = (store.uri, prefix)
        now = self._clock()

        def find_out() -> tuple[float, str]:
            kept = [each for each in attempts(store, prefix) if each.account is not None]
            told = kept[0].account if kept else None
            return now, "" if told is None else f"{told.reason}: {told.message}"

        known = self._reasons.get(key, find_out)
        if now - known[0] > ASK_AGAIN:
            self._reasons.drop(key)
            known = self._reasons.get(key, find_out)
        return known[1]

    def forget(self, store: Store, prefix: str) -> None:
        """Read a unit's done.json again when it is asked for next: what it names is not there."""
        self._done.drop((store.uri, prefix))

    def _read(self, store: Store, prefix: str, now: float) -> _Read:
        # First the ETag: what is written between the two is read again later, and not taken for what was read.
        etag = store.head(prefix + layout.DONE).etag
        done = read_done(store, prefix)
        if not isinstance(done, Done):
            raise NotFound(f"{store.uri}/{prefix}{layout.DONE} does not say anything")
        return _Read(done, etag, now)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the bucket keeps of an attempt that failed.

    Attributes:
        written: When that was.
        account: How it ended; None where that can't be read.
        log: Whether its last lines are there.
    """

    pod_uid: str
    written: datetime
    account: AttemptRecord | None
    log: bool


def attempts(store: Store, prefix: str, most: int = ATTEMPTS_MOST) -> list[Kept]:
    """The attempts at a unit that failed, the newest first.

    Raises:
        OutOfReach: The bucket does not answer, or refuses.
    """
    try:
        found = {info.key: info for info in islice(store.list(layout.attempts_prefix(prefix)), LISTED_MOST)}
        newest: dict[str, datetime] = {}
        for key, info in found.items():
            uid = key.rpartition("/")[2].rpartition(".")[0]
            newest[uid] = max(info.modified, newest.get(uid, info.modified))
        uids = sorted(newest, key=lambda uid: newest[uid], reverse=True)[:most]
        return [
            Kept(
                uid,
                newest[uid],
                _account(store, prefix, uid) if layout.attempt_key(prefix, uid) in found else None,
                layout.attempt_log_key(prefix, uid) in found,
            )
            for uid in uids
        ]
    except StoreError as error:
        raise OutOfReach(str(error)) from None


def _account(store: Store, prefix: str, uid: str) -> AttemptRecord | None:
    try:
        return AttemptRecord.model_validate_json(store.get(layout.attempt_key(prefix, uid), max_bytes=ACCOUNT_LONGEST))
    except (NotFound, TooLarge, ValidationError):
        return None


def previews(store: Store, prefix: str) -> list[str]:
    """Names of a unit's previews, in order of the sections.

    Raises:
        OutOfReach: The bucket does not answer, or refuses.
    """
    try:
        keys = [info.key for info in islice(store.list(layout.previews_prefix(prefix)), LISTED_MOST)]
    except StoreError as error:
        raise OutOfReach(str(error)) from None
    return [key.rpartition("/")[2] for key in keys if layout.section_of(key) is not None]


def segment(item: str, index: int) -> str:
    """An item as a part of an address: its id, or "~" and its index where browsers and servers would misread the id."""
    plain = item.strip(".") and "/" not in item and "\\" not in item and not item.startswith("~")
    return quote(item, safe="") if plain else f"~{index}"
