"""What lies in the cache, who uses it, and what goes when it runs full.

    {cache}/{name}.use           locked shared by every worker that uses the entry, exclusively by who deletes it;
                                 its time is that of the last use
    {cache}/{name}.download      locked by the worker that downloads
    {cache}/{name}/ ...          what it holds: `Entry.folders`

Locks are flock(2)'s: the kernel lets go of them when their holder dies, however it dies, and NFS does when its lease
runs out. An entry's files are deleted, never overwritten, so whoever has them open goes on reading what he opened.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carryon_worker.failures import UnitFailure

HUB: Final = Path("huggingface")
"""Folder in the cache that a hub's library has for itself; its variable is HF_HOME."""
FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_HUB_NAME: Final = "models--"
_USE: Final = ".use"
_LOOK_SECONDS: Final = 0.2
_NO_LOCKS: Final = (
    "is on a file system that gives a lock to everyone who asks: mount it with locks (Lustre: flock), or use a cache of"
    " the pod's own by leaving out spec.models.cache.claimName"
)
_BLOCK: Final = 512
"""Bytes that st_blocks counts in."""

_log = logging.getLogger(__name__)


class Hold:
    """An entry in use, until it is let go or the process ends."""

    def __init__(self, handle: int) -> None:
        self._handle: int | None = handle

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A model's place in the cache.

    Attributes:
        cache: The cache's folder.
        name: File name without a dot, or `models--org--name` of a hub's model, whose library chose that.
        elsewhere: Where the hub's library has it, if not in the cache: somebody else's, and never deleted.
    """

    cache: Path
    name: str
    elsewhere: Path | None = None

    @property
    def folder(self) -> Path:
        """The model's files."""
        if self.elsewhere is not None:
            return self.elsewhere
        return self.cache / HUB / "hub" / self.name if self.name.startswith(_HUB_NAME) else self.cache / self.name

    @property
    def partial(self) -> Path:
        """What has been downloaded so far."""
        return self.cache / f"{self.name}.part"

    @property
    def record(self) -> Path:
        """What is known of the files; there once they are all there."""
        return self.cache / f"{self.name}.json"

    def use(self) -> Hold:
        """Keep it from being deleted."""
        path = self.cache / f"{self.name}{_USE}"
        hold = Hold(_locked(path, fcntl.LOCK_SH))
        os.utime(path)
        return hold

    @contextmanager
    def downloading(self, moved: Callable[[], None]) -> Iterator[None]:
        """Be the only one that downloads it; wait while another does, and tell of movement as its files grow."""
        path = self.cache / f"{self.name}.download"
        seen = None
        while (handle := _try_lock(path, fcntl.LOCK_EX)) is None:
            if seen is None:
                _log.info("another worker is downloading the model: waiting")
            if (now := self._written()) != seen:
                seen = now
                moved()
            time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            os.close(handle)

    def files(self) -> Iterator[os.stat_result]:
        """All that it has on the disk."""
        for top in (self.folder, self.partial):
            for folder, _, names in os.walk(top):
                for name in names:
                    with suppress(FileNotFoundError):
                        yield os.stat(os.path.join(folder, name), follow_symlinks=False)

    def delete(self) -> bool:
        """Delete it, unless somebody uses it."""
        path = self.cache / f"{self.name}{_USE}"
        handle = _try_lock(path, fcntl.LOCK_EX)
        if handle is None:
            return False
        try:
            # First what says that the files are all there.
            self.record.unlink(missing_ok=True)
            for folder in (self.folder, self.partial):
                shutil.rmtree(folder, ignore_errors=True)
            (self.cache / f"{self.name}.download").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)
        return True

    def _written(self) -> tuple[int, int]:
        """Another value whenever something was written."""
        files = list(self.files())
        return sum(seen.st_blocks for seen in files), max((seen.st_mtime_ns for seen in files), default=0)


class Cache:
    """The cache's entries.

    Args:
        folder: Where they lie; made where it is not there.
        limit: Bytes they may have together; None: as many as the volume takes.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self._limit = limit
        try:
            folder.mkdir(parents=True, exist_ok=True)
            locks = _locks(folder)
        except OSError as error:
            raise _unusable(folder, error) from error
        if not locks:
            raise UnitFailure("ModelCacheUnusable", f"the model cache {folder} {_NO_LOCKS}")

    def entry(self, name: str, elsewhere: Path | None = None) -> Entry:
        """The entry of a name, there or not."""
        return Entry(self.folder, name, elsewhere)

    def make_room(self, wanted: int, sparing: Entry) -> bool:
        """Delete the models that were used longest ago and that nobody uses until so much fits.

        Args:
            wanted: Bytes that are to come.
            sparing: Entry that they are for.

        Returns:
            Whether they fit; where the volume does not tell what it holds, only writing them will.
        """
        for entry in self._by_age():
            if self._fits(wanted):
                return True
            self._evict(entry, sparing)
        return self._fits(wanted)

    def evict_oldest(self, sparing: Entry) -> bool:
        """Delete the one that was used longest ago of those that nobody uses; False if there is none."""
        return any(self._evict(entry, sparing) for entry in self._by_age())

    def _evict(self, entry: Entry, sparing: Entry) -> bool:
        if entry.name == sparing.name or not entry.delete():
            return False
        _log.info("the model cache needs room: %s, which was used longest ago, is deleted", entry.name)
        return True

    def free(self) -> str:
        """What is left, in words."""
        free = f"{_amount(shutil.disk_usage(self.folder).free)} are free"
        return free if self._limit is None else f"{free}, models may have {_amount(self._limit)} together,"

    def siblings(self, entry: Entry, prefix: str) -> list[Entry]:
        """The other entries whose names begin so."""
        return [each for each in self._by_age() if each.name != entry.name and each.name.startswith(prefix)]

    def _by_age(self) -> list[Entry]:
        found = []
        for path in self.folder.glob(f"*{_USE}"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path.name.removesuffix(_USE)))
        return [self.entry(name) for _, name in sorted(found)]

    def _fits(self, wanted: int) -> bool:
        if wanted > shutil.disk_usage(self.folder).free:
            return False
        if self._limit is None:
            return True
        # States of a model share files that did not change.
        files = {(seen.st_dev, seen.st_ino): seen.st_blocks for entry in self._by_age() for seen in entry.files()}
        return sum(files.values()) * _BLOCK + wanted <= self._limit


def full(cache: Cache, model: str, wanted: int | None) -> UnitFailure:
    """What is said of a model that does not fit.

    Args:
        cache: It is to go to.
        model: As the configuration names it.
        wanted: Bytes that are missing, as far as that is known.
    """
    needs = "more room" if wanted is None else f"{_amount(wanted)} more"
    return UnitFailure(
        "ModelCacheFull",
        f"model {model} needs {needs} in the model cache {cache.folder}, where {cache.free()} and no model is left that"
        " nobody uses: make the volume larger, or raise spec.models.cache.maxBytes",
    )


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _locked(path: Path, kind: int) -> int:
    """Open and lock a file; waits for who deletes what it stands for."""
    while (handle := _try_lock(path, kind)) is None:
        time.sleep(_LOOK_SECONDS)
    return handle


def _try_lock(path: Path, kind: int) -> int | None:
    """A descriptor with the lock, or None if another has it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            # Whoever deleted the entry deleted its lock: this one would be nobody else's.
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    except OSError as error:
        raise _unusable(path.parent, error) from error
    return None


def _locks(folder: Path) -> bool:
    """Whether a lock keeps anybody out here: some network file systems give it to everyone who asks."""
    path = folder / f".{uuid.uuid4().hex}.probe"
    try:
        with path.open("xb") as one, path.open("rb+") as other:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False
    finally:
        path.unlink(missing_ok=True)


def _unusable(folder: Path, error: OSError) -> UnitFailure:
    return UnitFailure(
        "ModelCacheUnusable",
        f"the model cache {folder} can't be used: {error.strerror or error}; it must be writable for user"
        f" {os.geteuid()} and know file locks",
    )
