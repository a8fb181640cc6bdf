"""Files from a bucket into a folder: several at once, large ones in parts, each checked, going on where it was left."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from carryon_store import ObjectInfo, Store, Unreachable
from carryon_worker.failures import UnitFailure
from carryon_worker.modelcache import digests
from carryon_worker.modelcache.digests import Digests
from carryon_worker.modelcache.progress import Finished, Progress

PART: Final = 16 << 20
"""Bytes that are fetched by one request: what a kill may cost of each of `AT_ONCE` files."""
AT_ONCE: Final = 8
_TRIES: Final = 5
"""Requests in a row that may bring nothing."""
_PAUSE: Final = 0.5
"""Seconds before the second of them; each pause is twice as long as the one before."""

_log = logging.getLogger(__name__)


class _Stopped(Exception):
    """Another file failed: this one need not come."""


@dataclass
class _Coming:
    """A file that is not whole yet.

    Attributes:
        left: Parts that are not on the disk.
        before: SHA-256 of what a first download came to that was not what it should be.
    """

    info: ObjectInfo
    path: Path
    left: set[tuple[int, int]]
    before: str = ""


@dataclass
class Transfer:
    """One download of some objects.

    Attributes:
        bucket: Where they are.
        folder: Where they go, at the paths that are their keys.
        progress: Of this download and those it goes on from.
        sums: Key -> SHA-256, of those that a list beside the model names.
        moved: Told of bytes.
    """

    bucket: Store
    folder: Path
    progress: Progress
    sums: Mapping[str, str]
    moved: Callable[[], None]
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _etags_are_digests: bool = True

    def run(self, objects: Sequence[ObjectInfo]) -> None:
        """Fetch what is not there.

        Raises:
            Changed: An object is no longer the one that was listed.
            UnitFailure: One is not what it should be.
            OSError: The disk does not take it.
            StoreError: The bucket does not give it.
        """
        # Small ones first: configurations and lists tell early whether this is the right model.
        coming = [self._open(info) for info in sorted(objects, key=lambda each: each.size)]
        missing = [each for each in coming if each is not None]
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="model") as threads:
            try:
                futures = [
                    threads.submit(self._fetch, each, part)
                    for each in missing
                    # What was killed between its last part and its check has none left.
                    for part in (sorted(each.left) if each.left else [None])
                ]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                self._stop.set()
                threads.shutdown(wait=True, cancel_futures=True)
                raise

    def left(self, objects: Sequence[ObjectInfo]) -> int:
        """Bytes that are still to come."""
        total = 0
        for info in objects:
            if info.key not in self.progress.files:
                total += info.size - sum(length for _, length in self.progress.parts.get(info.key, ()))
        return total

    def _open(self, info: ObjectInfo) -> _Coming | None:
        """What is to be done about an object; None if its file is there."""
        path = self.folder / info.key
        here = path.stat().st_size if path.is_file() else None
        known = self.progress.files.get(info.key)
        if known is not None and known.is_of(info) and here == info.size:
            return None
        parts = set(_parts(info))
        there = parts & self.progress.parts.get(info.key, set())
        if not there or here is None:
            self._begin(info, path)
            there = set()
        return _Coming(info, path, parts - there)

    def _begin(self, info: ObjectInfo, path: Path) -> None:
        """An empty file; never one that something else may be linked to."""
        self.progress.anew(info.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch()

    def _fetch(self, file: _Coming, part: tuple[int, int] | None) -> None:
        try:
            if part is not None:
                self._fetch_part(file, *part)
                with self._lock:
                    file.left.discard(part)
                    if file.left:
                        return
            self._check(file)
        except _Stopped:
            return
        except BaseException:
            self._stop.set()
            raise

    def _fetch_part(self, file: _Coming, offset: int, length: int) -> None:
        """Write a part where it belongs; its request is repeated from where it broke off."""
        handle = os.open(file.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            at, end, tries = offset, offset + length, 0
            while at < end:
                began = at
                try:
                    for piece in self.bucket.read(file.info, at, end - at):
                        if self._stop.is_set():
                            raise _Stopped
                        _write(handle, piece, at)
                        at += len(piece)
                        self.moved()
                except Unreachable as error:
                    tries = 1 if at > began else tries + 1
                    if tries == _TRIES:
                        raise
                    _log.info("%s breaks off at %.1f MB: %s", file.info.key, at / 1e6, error)
                    if self._stop.wait(_PAUSE * 2**tries):
                        raise _Stopped from None
            # First on the disk, then noted: a node that fails in between must not leave a hole that looks like zeros.
            os.fdatasync(handle)
        finally:
            os.close(handle)
        self.progress.part(file.info.key, offset, length)

    def _check(self, file: _Coming) -> None:
        """Take a file for whole, or fetch it a second time."""
        info = file.info
        found = digests.of_file(file.path, self.moved)
        wrong = self._wrong(info, found)
        if wrong and file.before == found.sha256 and info.key not in self.sums:
            _log.info("%s: this bucket's ETags are no MD5 digests; they are not compared any more", self.bucket.uri)
            self._etags_are_digests, wrong = False, ""
        if not wrong:
            self.progress.finish(info.key, Finished(info.size, info.etag, found.sha256))
            return
        if file.before:
            raise UnitFailure("ModelDamaged", f"{self.bucket.uri}/{info.key} {wrong}")
        _log.warning("%s %s: fetched again", info.key, wrong)
        self._begin(info, file.path)
        again = _Coming(info, file.path, set(), before=found.sha256)
        for part in _parts(info):
            self._fetch_part(again, *part)
        self._check(again)

    def _wrong(self, info: ObjectInfo, found: Digests) -> str:
        """What is wrong with a file's content, if anything is."""
        wanted = self.sums.get(info.key)
        if wanted is not None and wanted != found.sha256:
            return (
                f"has SHA-256 {found.sha256} and not {wanted}, as the list beside the model says: upload it again, or"
                " make the list anew"
            )
        md5 = digests.etag_md5(info) if self._etags_are_digests else None
        if md5 is not None and md5 != found.md5:
            return f"has MD5 {found.md5} and not {md5}, as its ETag says: upload it again"
        return ""


def _parts(info: ObjectInfo) -> Iterator[tuple[int, int]]:
    """Offset and length of an object's parts; none of an empty one."""
    for offset in range(0, info.size, PART):
        yield offset, min(PART, info.size - offset)


def _write(handle: int, piece: bytes, at: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(handle, view, at)
        view, at = view[written:], at + written
