"""Puts what an archive holds into a bucket, unit by unit, and takes it out again where the import does not end well."""

from __future__ import annotations

import json
import mimetypes
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
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
from carryon_jobs.errors import JobError
from carryon_store import JSON_TYPE, NotFound, Slice, Store, StoreError

_WRITERS: Final = 8
_BATCH: Final = 64
"""Units that are written before others are looked at."""
_LOOKS: Final = 5
"""Times that the bucket is looked at until nothing is missing in it."""
_LARGE: Final = 32 << 20
"""Bytes from which objects are written one after the other: each is sent in parts, of which several are in memory."""
_OCTETS: Final = "application/octet-stream"
_TYPE: Final = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}(; ?[\w-]{1,32}=[\w.-]{1,64})?", re.ASCII)
"""What goes into a header, and may have been chosen by anybody."""
_TYPES: Final[Mapping[Kind, str]] = {
    Kind.FIELDS: JSON_TYPE,
    Kind.SEGMENT: _OCTETS,
    Kind.SNAPSHOT: "application/x-tar",
}


@dataclass(frozen=True)
class Contents:
    """What is to be put there.

    Attributes:
        units: Folders of units in the archive -> prefix of the unit in the bucket, of those that count there.
        done: Prefixes of those that were done there already, perhaps by another import that may yet be taken back.
        inputs: SHA-256 of a file in the archive -> the keys that it gets.
        table: Key and content of the job's own items, where they come from data.
        kept: Uri -> digest of files that stay where they are, because a template makes their names.
    """

    units: Mapping[str, str]
    done: Collection[str]
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
        self._new: dict[str, None] = {}
        self._present: dict[str, int] = {}
        self._written: set[str] = set()
        self._count = 0

    def write(self) -> None:
        """Put everything there that is not, and see that it stays: another import may take its own away again.

        Raises:
            StoreError: The bucket does not take it.
        """
        for _ in range(_LOOKS):
            if not self._fill():
                break
        else:
            raise StoreError(
                f"what is written below {self._store.uri}/{self._place.prefix} goes away again; is there another import"
                f" of {self._place.name}? Try again when it has ended"
            )
        if self._contents.kept:
            self._keep_digests()

    def undo(self, is_free: Callable[[], bool]) -> str:
        """Remove what is new; what is to be said where that fails.

        Args:
            is_free: Whether no job has the name, and no other import the place: whoever has it by now may count on what
                lies there, so that stays.
        """
        keys = list(self._new)
        try:
            for begin in range(0, len(keys), _BATCH):
                if not is_free():
                    return ""
                for key in keys[begin : begin + _BATCH]:
                    self._store.delete(key)
        except (StoreError, JobError) as error:
            where = f"{self._store.uri}/{self._place.prefix}"
            return f"; what was written below {where} could not be removed: {error}"
        return ""

    def _fill(self) -> int:
        """Write what is missing; how many objects that were."""
        self._count = 0
        self._present = {info.key: info.size for info in self._store.list(self._place.prefix)}
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="import") as writers:
            tasks = self._tasks()
            while batch := list(islice(tasks, _BATCH)):
                for done in writers.map(lambda task: task(), batch):
                    del done
        if self._contents.table is not None:
            key, content = self._contents.table
            self._put(key, content, "application/jsonl")
        return self._count

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
            if prefix in self._contents.done and not self._may_be(prefix + layout.DONE, content):
                return  # It is done there with other artifacts, which are as good.
            types = {each.key: each.content_type for each in Done.model_validate_json(content).artifacts}
        for name, (found, member) in parts.items():
            if found.kind is not Kind.DONE:
                told = types.get(name, "")
                kind = told if _TYPE.fullmatch(told) else _TYPES.get(found.kind, _OCTETS)
                self._put_member(prefix + name, member, kind)
        if layout.DONE in parts:
            self._put(prefix + layout.DONE, content, JSON_TYPE)

    def _put_member(self, key: str, member: Member, content_type: str) -> None:
        part = self._reader.part(member)
        body = part if part is not None else self._reader.document(member, members.DONE_LARGEST)
        self._put(key, body, content_type)

    def _put(self, key: str, body: bytes | Slice, content_type: str) -> None:
        size = body.size if isinstance(body, Slice) else len(body)
        # What is large has digits of its digest in its name.
        if (isinstance(body, Slice) or self._may_be(key, body)) and self._present.get(key) == size:
            return
        with self._lock:
            self._count += 1
            self._written.add(key)
            if key not in self._present:
                self._new[key] = None
        with self._alone if size >= _LARGE else nullcontext():
            self._store.put(key, body, content_type=content_type)

    def _may_be(self, key: str, content: bytes) -> bool:
        """Whether an object is not there, or has this content: a done.json, say, may be of artifacts that are gone."""
        if key in self._written or key not in self._present:
            return True
        try:
            return self._present[key] == len(content) and self._store.get(key, max_bytes=len(content)) == content
        except NotFound:
            del self._present[key]
            return True

    def _keep_digests(self) -> None:
        """Write down what files hold that stay where they are, in case they can't be had where the job goes."""
        key = layout.files_key(self._place.namespace, self._place.name)
        known = {uri: ["", sha256] for uri, sha256 in self._contents.kept.items()}
        if key not in self._present:
            self._new[key] = None
        self._store.put(key, json.dumps(known).encode(), content_type=JSON_TYPE)
