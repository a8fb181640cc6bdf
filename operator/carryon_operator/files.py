"""Files that a job's parameters name: what they hold, as SHA-256, and how that is found out without reading twice.

A file is read again only when its ETag is another. What was found out is kept in the job's part of the bucket, so that
a restart of the operator reads no film again, and a file that vanished after its unit was made un-makes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from pydantic import TypeAdapter, ValidationError

from carryon_core.done import Sha256
from carryon_store import JSON_TYPE, Denied, NotFound, Store, StoreError

_READERS: Final = 8
_BATCH: Final = 2_000
"""Files that are read before what they hold is written down: reading all of them may take longer than we live."""
_MANY: Final = 100
"""Files of one place from which a listing is cheaper than asking for each."""


class Content(NamedTuple):
    """What a file held when it was read."""

    etag: str
    sha256: Sha256


Place: TypeAlias = Callable[[str], tuple[Store, str]]
"""From a uri to the store and the key in it; raises what the job may not read as SpecError."""

_RECORD: Final = TypeAdapter(dict[str, Content])


@dataclass
class FileMemory:
    """What is known of the files of one job.

    Attributes:
        known: Uri -> content; a file that vanished keeps what it had.
        loaded: What lies in the bucket was read.
    """

    known: dict[str, Content] = field(default_factory=dict)
    loaded: bool = False

    def digests(
        self, uris: Collection[str], place: Place, home: Store, key: str, *, again: bool = True
    ) -> dict[str, str | None]:
        """Uri -> SHA-256 of each file; None: it is not there, and never was. Blocking.

        Args:
            uris: Of the files.
            place: Where they lie.
            home: The job's own store, where what is found out is kept under `key`.
            key: See `layout.files_key`.
            again: Look at those that are known too.

        Raises:
            SpecError: The job may not read one of them.
            StoreError: It can't be told what one holds that is not known.
        """
        if not uris:
            self.known.clear()
            return {}
        if not self.loaded:
            self.known = {**_kept(home, key), **self.known}
            self.loaded = True
        for gone in self.known.keys() - set(uris):
            del self.known[gone]
        places = {uri: place(uri) for uri in sorted(uris) if again or uri not in self.known}
        with ThreadPoolExecutor(_READERS, thread_name_prefix="files") as readers:
            etags = self._etags(places, readers)
            changed = [uri for uri, etag in etags.items() if uri not in self.known or self.known[uri].etag != etag]
            for start in range(0, len(changed), _BATCH):
                batch = changed[start : start + _BATCH]
                contents = readers.map(lambda uri: self._read(uri, *places[uri], etags[uri]), batch)
                self.known.update(zip(batch, contents, strict=True))
                home.put(key, _RECORD.dump_json(self.known), content_type=JSON_TYPE)
        return {uri: self.known[uri].sha256 if uri in self.known else None for uri in uris}

    def _etags(self, places: Mapping[str, tuple[Store, str]], readers: ThreadPoolExecutor) -> dict[str, str]:
        """Uri -> ETag of those files that are there."""
        by_store: dict[str, tuple[Store, list[str]]] = {}
        for uri, (store, _) in places.items():
            by_store.setdefault(store.uri, (store, []))[1].append(uri)
        found: dict[str, str] = {}
        for store, uris in by_store.values():
            keys = [places[uri][1] for uri in uris]
            listed = _listed(store, keys) if len(keys) > _MANY else None
            if listed is None:
                etags = readers.map(self._etag, uris, [store] * len(keys), keys)
            else:
                etags = map(listed.get, keys)
            found.update((uri, etag) for uri, etag in zip(uris, etags, strict=True) if etag is not None)
        return found

    def _etag(self, uri: str, store: Store, key: str) -> str | None:
        try:
            return store.head(key).etag
        except NotFound:
            return None
        except StoreError:
            if uri not in self.known:
                raise
            return self.known[uri].etag

    def _read(self, uri: str, store: Store, key: str, etag: str) -> Content:
        try:
            return Content(etag, store.sha256(key))
        except StoreError:
            if uri not in self.known:
                raise
            return self.known[uri]


def _listed(store: Store, keys: Iterable[str]) -> dict[str, str] | None:
    """Key -> ETag of those of these objects that are there, by one listing; None where that is not allowed."""
    wanted = set(keys)
    last = max(key.encode("utf-8", "replace") for key in wanted)
    found: dict[str, str] = {}
    try:
        for info in store.list(_shared(min(wanted), max(wanted))):
            if info.key in wanted:
                found[info.key] = info.etag
            if info.key.encode() >= last:
                break
    except Denied:
        return None
    return found


def _shared(first: str, last: str) -> str:
    """What two texts begin with, and with them all that lie between."""
    differs = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differs, min(len(first), len(last)))]


def _kept(home: Store, key: str) -> dict[str, Content]:
    """What was kept; what somebody damaged is found out again."""
    try:
        return _RECORD.validate_json(home.get(key))
    except (NotFound, ValidationError):
        return {}
