"""Objects on SQLite: one writer, one global resourceVersion, an event log that watchers read by cursor.

A write is *staged* at once (later writes see it), *committed* together with everything staged meanwhile (one fsync for
all), and only then *published* to readers and watchers and acknowledged. So nobody ever sees a state that a SIGKILL
could take back, and a failed commit fails every write that was built on it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import sys
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import orjson

from carryon_standalone.apiserver.layout import EMPTY, open_database

Object = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
FieldsOf = Callable[[str, Object], Mapping[str, str]]

EVENTS_KEPT: Final = 5_000
"""Events kept for each kind of resource."""
BYTES_KEPT: Final = 64 * 1024 * 1024
"""Bytes of objects kept in one kind's log: statuses of very large jobs would fill the memory otherwise."""
_TRIM_STEP: Final = 512
_PAUSE: Final = 0.0004
"""Seconds between two wake-ups of watchers, for each of them: a burst of writes reaches fifty in fifty bites a second,
not in five hundred, while one watcher alone hears of everything at once."""
_LONGEST_PAUSE: Final = 0.05


class StorageError(Exception):
    """The database did not take a write; nothing of it was stored."""


class AlreadyServed(Exception):
    """Another process serves this data folder."""


class Key(NamedTuple):
    """Where an object lies: `kind` is `group/plural`, `namespace` is empty for cluster-scoped ones."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one object: its JSON, and what selectors and garbage collection ask without parsing it."""

    key: Key
    revision: int
    uid: str
    api_version: str
    raw: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]
    owners: tuple[str, ...]
    deleting: bool

    def load(self) -> Object:
        """A fresh copy of the object, free to be changed."""
        loaded: Object = orjson.loads(self.raw)
        return loaded


@dataclass(frozen=True, slots=True)
class Event:
    """One change: what the object became (for DELETED: its last state) and what it was before."""

    type: EventType
    new: Stored
    previous: Stored | None

    @property
    def revision(self) -> int:
        """The resourceVersion of the change."""
        return self.new.revision


class EventLog:
    """The changes of one kind in order. Watchers hold a revision, never a queue, so a slow one loses nothing."""

    def __init__(self, trimmed_through: int = EMPTY + 1) -> None:
        self.trimmed_through = trimmed_through
        self._events: list[Event] = []
        self._bytes = 0
        self._changed: asyncio.Future[None] | None = None
        self._waiting = 0
        self._woken = 0.0
        self._waking: asyncio.TimerHandle | None = None
        self.shown: dict[Hashable, bytes] = {}
        """What watchers that stand at one place are shown, made by the first of them; void with the next event."""

    def after(self, revision: int, limit: int) -> list[Event] | None:
        """The first events after a revision, or None where some of them are gone."""
        if revision < self.trimmed_through:
            return None
        start = bisect_right(self._events, revision, key=lambda event: event.revision)
        return self._events[start : start + limit]

    def append(self, event: Event) -> None:
        """Publish one event; whoever waits is woken, all of them together."""
        self._events.append(event)
        self._bytes += len(event.new.raw)
        self.shown.clear()
        if self._changed is None or self._waking is not None:
            return
        loop = asyncio.get_running_loop()
        due = self._woken + min(self._waiting * _PAUSE, _LONGEST_PAUSE)
        if loop.time() >= due:
            self._wake()
        else:
            self._waking = loop.call_at(due, self._wake)

    def _wake(self) -> None:
        assert self._changed is not None
        self._changed.set_result(None)
        self._changed = self._waking = None
        self._waiting, self._woken = 0, asyncio.get_running_loop().time()

    def excess(self) -> int | None:
        """The revision to trim through where the log grew over its bounds by a step or more."""
        surplus = len(self._events) - EVENTS_KEPT
        cut = surplus if surplus >= _TRIM_STEP else 0
        if self._bytes > BYTES_KEPT:
            size = self._bytes - sum(len(event.new.raw) for event in self._events[:cut])
            while size > BYTES_KEPT // 2 and cut < len(self._events) - 1:
                size -= len(self._events[cut].new.raw)
                cut += 1
        return self._events[cut - 1].revision if cut else None

    def trim(self, through: int) -> None:
        """Forget events up to and with a revision."""
        cut = bisect_right(self._events, through, key=lambda event: event.revision)
        self._bytes -= sum(len(event.new.raw) for event in self._events[:cut])
        del self._events[:cut]
        self.trimmed_through = max(self.trimmed_through, through)

    def changed(self) -> asyncio.Future[None]:
        """Ends soon after the next event. It is shared by all who wait: never cancel it."""
        self._waiting += 1
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed


@dataclass(frozen=True, slots=True)
class _Staged:
    event: Event
    done: asyncio.Future[Stored]


class Store:
    """All objects of one data folder. Use `open`; all methods belong to the event loop's thread."""

    def __init__(self, database: sqlite3.Connection, lock: int, fields_of: FieldsOf) -> None:
        self._database = database
        self._lock = lock
        self._fields_of = fields_of
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")
        self._objects: dict[str, dict[str, dict[str, Stored]]] = {}
        self._logs: dict[str, EventLog] = {}
        self._batch: list[_Staged] = []
        self._overlay: dict[Key, _Staged] = {}
        self._flushing: asyncio.Task[None] | None = None
        self.listeners: list[Callable[[Event], None]] = []
        """Called in order for every published event, just before its write is acknowledged."""
        self.revision: int = database.execute("SELECT value FROM revision").fetchone()[0]
        self._next = self.revision + 1
        self._read_all()

    @classmethod
    def open(cls, folder: Path, fields_of: FieldsOf) -> Store:
        """Open a data folder, made where it is missing.

        Raises:
            AlreadyServed: Another process holds the folder.
            CannotOpen: What lies there is of a newer version, or no database.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise AlreadyServed(
                f"another API server already serves {folder}: stop it, or choose another --data"
            ) from None
        try:
            return cls(open_database(folder / "state.db"), lock, fields_of)
        except BaseException:
            os.close(lock)
            raise

    async def close(self) -> None:
        """Commit what is staged and let the folder go."""
        while self._flushing is not None:
            await self._flushing
        self._writer.shutdown(wait=True)
        self._database.close()
        os.close(self._lock)

    def get(self, key: Key) -> Stored | None:
        """The committed object."""
        return self._objects.get(key.kind, {}).get(key.namespace, {}).get(key.name)

    def current(self, key: Key) -> Stored | None:
        """The object as the next write finds it: with what is staged."""
        staged = self._overlay.get(key)
        if staged is None:
            return self.get(key)
        return None if staged.event.type == "DELETED" else staged.event.new

    async def settled(self, key: Key) -> None:
        """Wait until what `current` says is on disk: an answer may rest on it only then.

        Raises:
            StorageError: It was not stored.
        """
        if key in self._overlay:
            await asyncio.shield(self._overlay[key].done)

    def objects(self, kind: str, namespace: str | None = None) -> Iterator[Stored]:
        """Committed objects of a kind in order of namespace and name."""
        namespaces = self._objects.get(kind, {})
        for name in sorted(namespaces) if namespace is None else [namespace]:
            inside = namespaces.get(name, {})
            for object_name in sorted(inside):
                yield inside[object_name]

    def kinds(self) -> list[str]:
        """Kinds that have objects."""
        return [kind for kind, namespaces in self._objects.items() if any(namespaces.values())]

    def log(self, kind: str) -> EventLog:
        """The event log of a kind."""
        return self._logs.setdefault(kind, EventLog())

    def put(self, key: Key, value: Object) -> asyncio.Future[Stored]:
        """Stage an object, new or changed; the future ends when it is on disk."""
        previous = self.current(key)
        return self._stage("ADDED" if previous is None else "MODIFIED", key, value, previous)

    def remove(self, key: Key, value: Object) -> asyncio.Future[Stored]:
        """Stage a deletion; `value` is the last state that watchers are shown."""
        return self._stage("DELETED", key, value, self.current(key))

    def _stage(
        self, kind_of_event: EventType, key: Key, value: Object, previous: Stored | None
    ) -> asyncio.Future[Stored]:
        value["metadata"]["resourceVersion"] = str(self._next)
        event = Event(kind_of_event, self._stored(key, value, _exact(orjson.dumps(value)), previous), previous)
        self._next += 1
        done: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        staged = _Staged(event, done)
        self._batch.append(staged)
        self._overlay[key] = staged
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return done

    def _stored(self, key: Key, value: Object, raw: bytes, previous: Stored | None = None) -> Stored:
        metadata = value["metadata"]
        uid, labels = metadata.get("uid", ""), metadata.get("labels") or {}
        fields = self._fields_of(key.kind, value)
        # Versions of an object differ in little, and objects of a kind in less than one thinks: what is the same text
        # is the same string.
        return Stored(
            key=previous.key if previous is not None else key,
            revision=int(metadata["resourceVersion"]),
            uid=previous.uid if previous is not None and previous.uid == uid else uid,
            api_version=sys.intern(value.get("apiVersion", "")),
            raw=raw,
            labels=previous.labels if previous is not None and previous.labels == labels else _interned(labels),
            fields=previous.fields if previous is not None and previous.fields == fields else _interned(fields),
            owners=tuple(owner.get("uid", "") for owner in metadata.get("ownerReferences") or ()),
            deleting="deletionTimestamp" in metadata,
        )

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._batch:
                batch, self._batch = self._batch, []
                events = [staged.event for staged in batch]
                trims = {
                    kind: log.excess() for kind in {event.new.key.kind for event in events} if (log := self.log(kind))
                }
                due = {kind: through for kind, through in trims.items() if through is not None}
                try:
                    await loop.run_in_executor(self._writer, self._commit, events, due)
                except sqlite3.Error as error:
                    self._fail(batch, error)
                else:
                    self._publish(batch, due)
        finally:
            self._flushing = None

    def _commit(self, events: list[Event], trims: dict[str, int]) -> None:
        run = self._database.execute
        run("BEGIN IMMEDIATE")
        try:
            for event in events:
                new, previous = event.new, event.previous
                if event.type == "DELETED":
                    run("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", new.key)
                else:
                    run("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", (*new.key, new.raw))
                row = (event.revision, event.type, *new.key, new.raw, previous.raw if previous else None)
                run("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for kind, through in trims.items():
                run("DELETE FROM events WHERE kind = ? AND revision <= ?", (kind, through))
                run("INSERT OR REPLACE INTO trimmed VALUES (?, ?)", (kind, through))
            run("UPDATE revision SET value = ?", (events[-1].revision,))
            run("COMMIT")
        except BaseException:
            # A disk that is full has ended the transaction already.
            if self._database.in_transaction:
                run("ROLLBACK")
            raise

    def _publish(self, batch: list[_Staged], trims: dict[str, int]) -> None:
        loop = asyncio.get_running_loop()
        for kind, through in trims.items():
            self.log(kind).trim(through)
        for staged in batch:
            event = staged.event
            self._apply(event)
            self.revision = event.revision
            self.log(event.new.key.kind).append(event)
            if self._overlay.get(event.new.key) is staged:  # else a later write stands on it already
                del self._overlay[event.new.key]
            for listener in self.listeners:
                loop.call_soon(listener, event)
        for staged in batch:
            if not staged.done.done():
                staged.done.set_result(staged.event.new)

    def _fail(self, batch: list[_Staged], error: sqlite3.Error) -> None:
        """Fail a batch and all that was staged on top of it: memory goes back to what the disk holds."""
        failed, self._batch = [*batch, *self._batch], []
        self._overlay.clear()
        self._next = self.revision + 1
        for staged in failed:
            if not staged.done.done():
                staged.done.set_exception(StorageError(f"the state was not saved: {error}"))

    def _apply(self, event: Event) -> None:
        key = event.new.key
        inside = self._objects.setdefault(key.kind, {}).setdefault(key.namespace, {})
        if event.type == "DELETED":
            inside.pop(key.name, None)
        else:
            inside[key.name] = event.new

    def _read_all(self) -> None:
        newest: dict[Key, Stored] = {}

        def read(key: Key, raw: bytes) -> Stored:
            """Versions that stand in several rows are one object in memory, as before the restart."""
            known = newest.get(key)
            if known is None or known.raw != raw:
                known = newest[key] = self._stored(key, orjson.loads(raw), raw, known)
            return known

        run = self._database.execute
        self._logs = {kind: EventLog(through) for kind, through in run("SELECT kind, revision FROM trimmed")}
        rows = run("SELECT type, kind, namespace, name, value, previous FROM events ORDER BY revision")
        for kind_of_event, kind, namespace, name, raw, previous in rows:
            key = Key(kind, namespace, name)
            before = read(key, previous) if previous is not None else None
            self.log(kind).append(Event(kind_of_event, read(key, raw), before))
        for kind, namespace, name, raw in run("SELECT kind, namespace, name, value FROM objects"):
            stored = read(Key(kind, namespace, name), raw)
            self._objects.setdefault(kind, {}).setdefault(namespace, {})[name] = stored


def _exact(encoded: bytes) -> bytes:
    """The same bytes in memory of just their size: orjson's buffer was larger, and the rest of it would lie waste."""
    return bytes(memoryview(encoded))


def _interned(texts: Mapping[str, str]) -> Mapping[str, str]:
    return {sys.intern(name): sys.intern(text) for name, text in texts.items()}
