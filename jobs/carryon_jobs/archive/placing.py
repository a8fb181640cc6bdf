"""Puts what an archive holds into a bucket, unit by unit, and takes it out again where the import does not end well."""

from __future__ import annotations

import json
import mimetypes
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Final

from carryon_core import layout
from carryon_core.done import Done
from carryon_jobs.archive import members
from carryon_jobs.archive.members import Kind
from carryon_jobs.archive.moving import Place
from carryon_jobs.archive.reading import Member, ZipReader
from carryon_store import JSON_TYPE, Slice, Store, StoreError

_WRITERS: Final = 8
_BATCH: Final = 64
"""Units that are written before others are looked at."""
_LARGE: Final = 32 << 20
"""Bytes from which objects are written one after the other: each is sent in parts, of which several are in memory."""
_OCTETS: Final = "application/octet-stream"
_TYPES: Final[Mapping[Kind, str]] = {
    Kind.FIELDS: JSON_TYPE,
    Kind.SEGMENT: _OCTETS,
    Kind.SNAPSHOT: "application/x-tar",
}


@dataclass(frozen=True)
class Contents:
    """What is to be put there.

    Attributes:
        units: Folders of units in the archive -> prefix of the unit in the bucket, of those that count there and are
            not done there already.
        inputs: SHA-256 of a file in the archive -> the keys that it gets.
        table: Key and content of the job's own items, where they come from data.
        kept: Uri -> digest of files that stay where they are, because a template makes their names.
    """

    units: Mapping[str, str]
    inputs: Mapping[str, tuple[str, ...]]
    table: tuple[str, bytes] | None
    kept: Mapping[str, str]


class Placing:
    """What is put into the bucket, and what of it is new."""

    def __init__(self, reader: ZipReader, contents: Contents, place: Place, store: Store) -> None:
        self._reader = reader
        self._contents = contents
        self._place = place
        self._store = store
        self._lock = threading.Lock()
        self._alone = threading.Lock()
        self._new: list[str] = []
        self._present: dict[str, int] = {}

    def write(self) -> None:
        """Put everything there that is not.

        Raises:
            StoreError: The bucket does not take it.
        """
        self._present = {info.key: info.size for info in self._store.list(self._place.prefix)}
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="import") as writers:
            tasks = self._tasks()
            while batch := list(islice(tasks, _BATCH)):
                for done in writers.map(lambda task: task(), batch):
                    del done
        if self._contents.table is not None:
            key, content = self._contents.table
            self._put(key, content, "application/jsonl")
        if self._contents.kept:
            self._keep_digests()

    def undo(self) -> str:
        """Remove what is new; what is to be said where that fails."""
        try:
            for key in self._new:
                self._store.delete(key)
        except StoreError as error:
            where = f"{self._store.uri}/{self._place.prefix}"
            return f"; what was written below {where} could not be removed: {error}"
        return ""

    def _tasks(self) -> Iterator[Callable[[], None]]:
        """What is to be written: single files, and units as a whole."""

        def unit(member: Member) -> str:
            found = members.unit_member(member.name)
            return found.unit if found is not None else ""

        for folder, group in groupby(self._reader.members(), key=unit):
            if folder in self._contents.units:
                yield partial(self._unit, self._contents.units[folder], list(group))
            elif not folder:
                for member in group:
                    digest, pin = members.file_digest(member.name), members.pin_name(member.name)
                    for key in self._contents.inputs[digest] if digest is not None else ():
                        yield partial(self._put_member, key, member, mimetypes.guess_type(key)[0] or _OCTETS)
                    if pin is not None:
                        prefix = layout.models_prefix(self._place.namespace, self._place.name)
                        yield partial(self._put_member, prefix + pin, member, JSON_TYPE)

    def _unit(self, prefix: str, group: list[Member]) -> None:
        """A unit: all it has, and at last done.json."""
        parts = {found.name: (found, member) for member in group if (found := members.unit_member(member.name))}
        types: dict[str, str] = {}
        if layout.DONE in parts:
            content = self._reader.document(parts[layout.DONE][1], members.DONE_LARGEST)
            types = {each.key: each.content_type for each in Done.model_validate_json(content).artifacts}
        for name, (found, member) in parts.items():
            if found.kind is not Kind.DONE:
                self._put_member(prefix + name, member, types.get(name) or _TYPES.get(found.kind, _OCTETS))
        if layout.DONE in parts:
            self._put(prefix + layout.DONE, content, JSON_TYPE)

    def _put_member(self, key: str, member: Member, content_type: str) -> None:
        part = self._reader.part(member)
        body = part if part is not None else self._reader.document(member, members.DONE_LARGEST)
        self._put(key, body, content_type)

    def _put(self, key: str, body: bytes | Slice, content_type: str) -> None:
        size = body.size if isinstance(body, Slice) else len(body)
        if self._present.get(key) == size:
            return
        if key not in self._present:
            with self._lock:
                self._new.append(key)
        with self._alone if size >= _LARGE else nullcontext():
            self._store.put(key, body, content_type=content_type)

    def _keep_digests(self) -> None:
        """Write down what files hold that stay where they are, in case they can't be had where the job goes."""
        key = layout.files_key(self._place.namespace, self._place.name)
        known = {uri: ["", sha256] for uri, sha256 in self._contents.kept.items()}
        if key not in self._present:
            self._new.append(key)
        self._store.put(key, json.dumps(known).encode(), content_type=JSON_TYPE)
