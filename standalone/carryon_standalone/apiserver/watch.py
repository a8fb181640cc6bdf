"""Watches: an event log, a cursor in it, and what one client's selector lets through.

The rules are those measured on a real server: a change that takes an object out of the selection is DELETED with the
old content and the new revision, one that brings it in is ADDED.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from carryon_standalone.apiserver import tables
from carryon_standalone.apiserver.errors import expired
from carryon_standalone.apiserver.negotiation import Form
from carryon_standalone.apiserver.resources import Resource
from carryon_standalone.apiserver.selectors import Selector
from carryon_standalone.apiserver.storage import Event, EventLog, Object, Store, Stored

_BOOKMARK_SECONDS: Final = 60.0
_LAST_BOOKMARK_SECONDS: Final = 0.2
_BATCH: Final = 500
_SHARED_MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a watch asked for.

    Args:
        revision: Events strictly after it; None or 0 means: first all objects as they are.
        initial: Whether all objects come first; closed by a bookmark where `mark_initial`.
        timeout: Seconds until the stream ends by itself.
        shown: What table rows carry.
    """

    namespace: str | None
    selector: Selector
    form: Form
    revision: int | None
    initial: bool
    mark_initial: bool
    bookmarks: bool
    timeout: float
    shown: str = "Metadata"


Render = Callable[[str, Stored, int], bytes]


async def stream(store: Store, resource: Resource, options: WatchOptions) -> AsyncIterator[bytes]:
    """Lines of a watch; ends with its timeout, or with an ERROR once its cursor fell off the log."""
    render = _renderer(resource, options)
    log = store.log(resource.storage_kind)
    deadline = time.monotonic() + options.timeout
    cursor = store.revision if options.initial or options.revision is None else options.revision
    if options.initial:
        snapshot = [
            each for each in store.objects(resource.storage_kind, options.namespace) if options.selector.matches(each)
        ]
        for start in range(0, len(snapshot), _BATCH):
            yield b"".join(render("ADDED", each, each.revision) for each in snapshot[start : start + _BATCH])
        if options.mark_initial:
            yield _bookmark(resource, options, cursor, initial_end=True)
    marked = cursor
    last_bookmark = deadline - _LAST_BOOKMARK_SECONDS
    next_bookmark = min(time.monotonic() + _BOOKMARK_SECONDS, last_bookmark) if options.bookmarks else math.inf
    while True:
        events = log.after(cursor, _BATCH)
        if events is None:
            error = expired(f"too old resource version: {cursor} ({log.trimmed_through + 1})")
            yield _line("ERROR", orjson.dumps(error.status()))
            return
        if events:
            lines = _lines(log, cursor, events, resource, options, render)
            cursor = events[-1].revision
            if lines:
                yield lines
            continue
        now = time.monotonic()
        if now >= next_bookmark:
            # Nothing of this kind is newer than what the store has committed: the client may resume from there.
            cursor = max(cursor, store.revision)
            if cursor != marked:
                yield _bookmark(resource, options, cursor, initial_end=False)
                marked = cursor
            next_bookmark = min(now + _BOOKMARK_SECONDS, last_bookmark) if now < last_bookmark else math.inf
        if now >= deadline:
            return
        # Asked for without awaiting in between, so that no event slips through.
        await asyncio.wait((log.changed(),), timeout=min(deadline, next_bookmark) - now)


def _lines(
    log: EventLog, cursor: int, events: list[Event], resource: Resource, options: WatchOptions, render: Render
) -> bytes:
    """What a client is shown of events: put into words once for all who stand at one place and asked for the same.

    Of fifty watchers forty-nine only send.
    """
    asked = (cursor, resource.api_version, options.namespace, options.selector.text, options.form)
    if options.form.kind == "Table":  # the first one names the columns
        return b"".join(_show(event, options, render) for event in events)
    if (lines := log.shown.get(asked)) is None:
        lines = b"".join(_show(event, options, render) for event in events)
        if len(lines) <= _SHARED_MOST:  # it stays until the next event, which may be long
            log.shown[asked] = lines
    return lines


def _show(event: Event, options: WatchOptions, render: Render) -> bytes:
    if options.namespace is not None and event.new.key.namespace != options.namespace:
        return b""
    matches, previous = options.selector.matches, event.previous
    is_in = matches(event.new)
    was_in = previous is not None and matches(previous)
    if event.type == "DELETED":
        return render("DELETED", event.new, event.revision) if was_in or is_in else b""
    if is_in:
        return render("MODIFIED" if was_in else "ADDED", event.new, event.revision)
    if was_in and previous is not None:
        return render("DELETED", previous, event.revision)
    return b""


def _line(kind: str, raw: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + raw + b"}\n"


def _renderer(resource: Resource, options: WatchOptions) -> Render:
    """How one event looks to this client. A table names its columns only once."""
    first = True

    def load(stored: Stored, revision: int) -> Object:
        value = stored.load()
        value["metadata"]["resourceVersion"] = str(revision)
        value["apiVersion"] = resource.api_version
        return value

    def plain(kind: str, stored: Stored, revision: int) -> bytes:
        if revision == stored.revision and stored.api_version == resource.api_version:
            return _line(kind, stored.raw)
        return _line(kind, orjson.dumps(load(stored, revision)))

    def table(kind: str, stored: Stored, revision: int) -> bytes:
        nonlocal first
        metadata = {"resourceVersion": str(revision)}
        made = tables.table(resource, options.form.version, [load(stored, revision)], metadata, options.shown)
        if not first:
            made["columnDefinitions"] = []
        first = False
        return _line(kind, orjson.dumps(made))

    def partial(kind: str, stored: Stored, revision: int) -> bytes:
        return _line(kind, orjson.dumps(tables.partial(load(stored, revision), options.form.version)))

    if options.form.kind == "Table":
        return table
    return partial if options.form.kind else plain


def _bookmark(resource: Resource, options: WatchOptions, revision: int, initial_end: bool) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    value: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    if options.form.kind == "Table":
        value = tables.table(resource, options.form.version, [], metadata, "None")
    elif options.form.kind:
        value = {**value, "kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{options.form.version}"}
    return _line("BOOKMARK", orjson.dumps(value))
