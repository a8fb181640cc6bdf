"""Models in a bucket: each state of one is an entry of the cache, named by what the bucket lists.

While it comes, `{entry}.part/` holds its files and what is known of them; once all are there and checked, they become
the entry's folder by one rename. A state that follows another takes over the files that did not change.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from carryon_core.done import Sha256
from carryon_core.schema import Loose
from carryon_store import Changed, ObjectInfo, Store
from carryon_store.protocol import check_key
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.modelcache import digests, entries
from carryon_worker.modelcache.digests import NotSums
from carryon_worker.modelcache.entries import Cache, Entry, Hold
from carryon_worker.modelcache.progress import Finished, Progress
from carryon_worker.modelcache.transfer import Transfer

_FILES: Final = "files"
_PROGRESS: Final = "progress.jsonl"
_RECORD: Final = "record.json"
_SUMS_LONGEST: Final = 4 << 20
_STATES: Final = 3
"""States of a model that are tried for while somebody writes to it."""

_log = logging.getLogger(__name__)


class RecordedFile(Loose):
    """One file of a model in the cache."""

    size: int
    etag: str
    sha256: Sha256

    def is_at(self, path: Path, moved: Callable[[], None]) -> bool:
        """Whether it lies there as it was downloaded."""
        try:
            return digests.of_file(path, moved).sha256 == self.sha256
        except FileNotFoundError:
            return False


class Record(Loose):
    """What is known of a model in the cache: `{entry}.json`."""

    model: str = Field(description="Uri, for people.")
    files: dict[str, RecordedFile]

    def digest(self) -> str:
        """Of the whole model: names and contents of its files."""
        return digests.of_model({key: file.sha256 for key, file in self.files.items()})


@dataclass(frozen=True, slots=True)
class Found:
    """A model in the cache, in use.

    Attributes:
        hold: Keeps it there.
    """

    entry: Entry
    record: Record
    hold: Hold

    @property
    def folder(self) -> Path:
        """Its files, at the paths that their keys are."""
        return self.entry.folder

    def damaged(self, moved: Callable[[], None]) -> list[str]:
        """The files that are no longer what was downloaded; the record forgets them, so that they are fetched again."""
        bad = [key for key, file in self.record.files.items() if not file.is_at(self.folder / key, moved)]
        if bad:
            left = {key: file for key, file in self.record.files.items() if key not in bad}
            _write(self.entry.record, self.record.model_copy(update={"files": left}))
        return bad


def fetch(
    uri: str, bucket: Store, cache: Cache, moved: Callable[[], None], choose: Callable[[Sequence[str]], str] | None
) -> Found:
    """A model of a bucket, in the cache.

    Args:
        uri: Of the model.
        bucket: That is opened there.
        cache: Where it goes.
        moved: Told of movement.
        choose: Picks the one key that is wanted among all; None wants all.

    Raises:
        UnitFailure: There is no such model, it is damaged, or there is no room for it.
        StoreError: The bucket does not give it.
    """
    for _ in range(_STATES):
        listed = _listed(uri, bucket)
        if choose is None:
            what, objects = uri, listed
        else:
            key = choose([info.key for info in listed])
            what, objects = f"{uri.rstrip('/')}/{key}", [info for info in listed if info.key == key]
        entry = cache.entry(_name(what, objects))
        hold = entry.use()
        try:
            record = _ready(entry, objects)
            if record is None:
                with entry.downloading(moved):
                    record = _ready(entry, objects)
                    if record is None:
                        record = _Download(what, bucket, cache, entry, moved).run(objects, _sums(uri, bucket, listed))
            return Found(entry, record, hold)
        except Changed:
            hold.release()
            _log.info("%s has changed while it was downloaded: going on with what it is now", uri)
        except BaseException:
            hold.release()
            raise
    raise UnitFailure("ModelChanged", f"model {uri} changed again and again while it was downloaded; try again")


def _listed(uri: str, bucket: Store) -> list[ObjectInfo]:
    # Consoles leave an empty object for each folder. Whoever writes to the bucket must not choose files outside ours.
    listed = [info for info in bucket.list() if info.key and not info.key.endswith("/") and check_key(info.key)]
    if not listed:
        raise BadRequest(f"model {uri}: there is nothing in the bucket under this uri")
    return listed


def _sums(uri: str, bucket: Store, listed: Sequence[ObjectInfo]) -> dict[str, str]:
    """Key -> SHA-256, from the lists beside the model."""
    found: dict[str, str] = {}
    for info in listed:
        if info.key.endswith(digests.SUMS):
            try:
                if info.size > _SUMS_LONGEST:
                    raise NotSums(f"{info.key} is too large for a list of digests")
                content = b"".join(bucket.read(info)).decode("utf-8", "replace")
                for key, sha256 in digests.read_sums(info.key, content).items():
                    if found.setdefault(key, sha256) != sha256:
                        raise NotSums(f"{info.key} says of {key} what another list beside it does not")
            except NotSums as error:
                raise BadRequest(f"model {uri}: {error}") from None
    missing = sorted(found.keys() - {info.key for info in listed})
    if missing:
        raise BadRequest(
            f"model {uri}: a list beside it names {missing[0]}, which is not in the bucket: upload it, or make the"
            " list anew"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Download:
    """The download of one state; its caller is the only one at it."""

    uri: str
    bucket: Store
    cache: Cache
    entry: Entry
    moved: Callable[[], None]

    def run(self, objects: Sequence[ObjectInfo], sums: Mapping[str, str]) -> Record:
        if (record := self._placed()) and all(info.key in record.files for info in objects):
            return record
        try:
            return self._fetch(objects, sums)
        except OSError as error:
            raise self._no_disk(error, None) from error

    def _fetch(self, objects: Sequence[ObjectInfo], sums: Mapping[str, str]) -> Record:
        partial = self.entry.partial
        (partial / _FILES).mkdir(parents=True, exist_ok=True)
        progress = Progress.read(partial / _PROGRESS)
        transfer = Transfer(self.bucket, partial / _FILES, progress, sums, self.moved)
        self._take_over(objects, progress, sums)
        self._transfer(transfer, objects)
        files = {info.key: progress.files[info.key] for info in objects}
        record = Record(
            model=self.uri,
            files={
                key: RecordedFile(size=each.size, etag=each.etag, sha256=each.sha256) for key, each in files.items()
            },
        )
        _write(partial / _RECORD, record)
        self._place()
        for former in self.cache.siblings(self.entry, _prefix(self.uri)):
            former.delete()
        return record

    def _transfer(self, transfer: Transfer, objects: Sequence[ObjectInfo]) -> None:
        left = transfer.left(objects)
        if left and not self.cache.make_room(left, self.entry):
            raise entries.full(self.cache, self.uri, left)
        _log.info("downloading the model: %d files, %.1f MB, of which %.1f MB are here",
                  len(objects), sum(each.size for each in objects) / 1e6,
                  (sum(each.size for each in objects) - left) / 1e6)  # fmt: skip
        while True:
            try:
                return transfer.run(objects)
            except OSError as error:
                left = transfer.left(objects)
                if error.errno not in entries.FULL:
                    raise self._no_disk(error, left) from error
                if not self.cache.evict_oldest(self.entry):
                    raise entries.full(self.cache, self.uri, left) from error
                transfer = Transfer(self.bucket, transfer.folder, transfer.progress, transfer.sums, self.moved)

    def _no_disk(self, error: OSError, left: int | None) -> UnitFailure:
        if error.errno in entries.FULL:
            return entries.full(self.cache, self.uri, left)
        message = f"the model cache {self.cache.folder} can't be written: {error.strerror or error}"
        return UnitFailure("ModelCacheUnusable", message)

    def _take_over(self, objects: Sequence[ObjectInfo], progress: Progress, sums: Mapping[str, str]) -> None:
        """Link what other states of this model have already; a file system without links downloads it again."""
        sources = [self.entry, *self.cache.siblings(self.entry, _prefix(self.uri))]
        known = [(folder, files) for source in sources for folder, files in _known(source)]
        for info in objects:
            target = self.entry.partial / _FILES / info.key
            if info.key in progress.files and target.is_file():
                continue
            for folder, files in known:
                file, path = files.get(info.key), folder / info.key
                if file is None or not file.is_of(info) or sums.get(info.key, file.sha256) != file.sha256:
                    continue
                with suppress(OSError):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.unlink(missing_ok=True)
                    if path.stat().st_size == info.size:
                        os.link(path, target)
                        progress.finish(info.key, file)
                        break

    def _placed(self) -> Record | None:
        """The record of a download that was killed when everything was there, after its last rename."""
        if (self.entry.partial / _FILES).is_dir() or not self.entry.folder.is_dir():
            return None
        record = _read(self.entry.partial / _RECORD)
        if record is None:
            return None
        self._note()
        return record

    def _place(self) -> None:
        if self.entry.folder.is_dir():
            # Damaged: the files that were not are linked from it.
            shutil.rmtree(self.entry.folder)
        os.rename(self.entry.partial / _FILES, self.entry.folder)
        self._note()

    def _note(self) -> None:
        os.replace(self.entry.partial / _RECORD, self.entry.record)
        shutil.rmtree(self.entry.partial, ignore_errors=True)


def _ready(entry: Entry, objects: Sequence[ObjectInfo]) -> Record | None:
    """The record of an entry whose files are all there, with the sizes they should have."""
    record = _read(entry.record)
    if record is None:
        return None
    for info in objects:
        file = record.files.get(info.key)
        try:
            if file is None or (entry.folder / info.key).stat().st_size != file.size:
                _log.warning("%s in the model cache is gone or damaged: it is fetched again", info.key)
                return None
        except OSError:
            return None
    return record


def _known(entry: Entry) -> list[tuple[Path, Mapping[str, Finished]]]:
    """Files that an entry has, finished or not: folder, and what is known of each file in it."""
    found: list[tuple[Path, Mapping[str, Finished]]] = []
    if record := _read(entry.record):
        files = {key: Finished(each.size, each.etag, each.sha256) for key, each in record.files.items()}
        found.append((entry.folder, files))
    if entry.partial.is_dir():
        found.append((entry.partial / _FILES, Progress.read(entry.partial / _PROGRESS).files))
    return found


def _read(path: Path) -> Record | None:
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _write(path: Path, record: Record) -> None:
    written = path.with_suffix(".new")
    with written.open("wb") as file:
        file.write(record.model_dump_json(indent=1).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(written, path)


def _prefix(uri: str) -> str:
    return f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}-"


def _name(uri: str, objects: Sequence[ObjectInfo]) -> str:
    """Another name for every state of the model in the bucket."""
    state = json.dumps([[each.key, each.size, each.etag] for each in objects])
    return _prefix(uri) + hashlib.sha256(state.encode()).hexdigest()[:32]
