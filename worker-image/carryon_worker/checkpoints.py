"""A folder that outlives its attempt: brought back from the bucket, and kept there from time to time and at the end.

Each state is one object that appears whole or not at all and is never written again, so whoever is killed while
saving has the state before. The newest that is whole counts; the two newest are kept.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carryon_core import layout
from carryon_store import Conflict, NotFound, Store, StoreError
from carryon_worker import snapshots
from carryon_worker.snapshots import Restless, SnapshotError

_log = logging.getLogger(__name__)

_NAME: Final = re.compile(rf"(\d{{6,12}})\.([0-9a-f]{{{snapshots.DIGEST_LENGTH}}})\.tar")
_KEPT: Final = 2
_TRIES: Final = 3
"""Looks at a folder that is being written to, before it is left for later."""
_TYPE: Final = "application/x-tar"


@dataclass(frozen=True, slots=True, order=True)
class _Saved:
    """One state in the bucket."""

    number: int
    digest: str
    key: str
    size: int


class Checkpoints:
    """What one unit keeps.

    Args:
        store: The job's bucket.
        prefix: The unit's prefix.
        scratch: Empty folder of ours, in the file system that the unit's own folders are in.
        every: Seconds between looks whether there is something new to save.
        saved: Told whenever a state was saved that no earlier attempt had left.
    """

    def __init__(self, store: Store, prefix: str, scratch: Path, every: float, saved: Callable[[], None]) -> None:
        self._store = store
        self._prefix = prefix + layout.CHECKPOINT
        self._scratch = scratch
        self._every = every
        self._tell = saved
        self._lock = threading.Lock()
        """Held while something is saved, and to end it."""
        self._ended = threading.Event()
        self._folder: Path | None = None
        self._there: list[_Saved] = []
        self._seen: snapshots.State | None = None
        self._digest = ""
        self._complaint = ""

    def open(self) -> Path:
        """The folder, with the newest whole state in it; from now on it is saved whenever it has changed.

        Raises:
            StoreError: The bucket does not say what there is, or does not give it.
        """
        if self._folder is not None:
            return self._folder
        folder = self._scratch / "kept"
        self._there = self._listed()
        for saved in reversed(self._there):
            if self._restore(saved, folder):
                break
        else:
            folder.mkdir()
        self._seen, self._digest = snapshots.state(folder), snapshots.digest(folder)
        self._folder = folder
        threading.Thread(target=self._save_from_time_to_time, name="checkpoints", daemon=True).start()
        return folder

    def flush(self, seconds: float) -> None:
        """Save what is new, unless that takes longer; for whoever ends the process."""
        if self._folder is None:
            return
        saving = threading.Thread(target=self.save, name="last checkpoint", daemon=True)
        saving.start()
        saving.join(seconds)
        if saving.is_alive():
            _log.warning("the last checkpoint could not be saved within %.0f s: the one before it counts", seconds)

    def keep(self) -> None:
        """Save what is new.

        Raises:
            StoreError: The bucket does not take it.
            SnapshotError: It is too large, or was never at rest.
        """
        with self._lock:
            if self._folder is not None:
                self._save(self._folder)

    def save(self) -> None:
        """Save what is new; what keeps it from being saved is logged, because the unit goes on without."""
        try:
            self.keep()
        except SnapshotError as error:
            self._complain(f"the folder CARRYON_CHECKPOINT can't be saved: {error}")
        except (StoreError, OSError) as error:
            self._complain(f"the checkpoint could not be saved: {error}")

    def close(self) -> None:
        """Save nothing any more; returns when what is being saved has ended."""
        self._ended.set()
        with self._lock:
            self._folder = None

    def discard(self) -> None:
        """The unit is done: nobody goes on from what was kept."""
        self.close()
        try:
            # Listed anew: another worker may have been at the same unit.
            for saved in self._listed() if self._there else ():
                self._store.delete(saved.key)
        except StoreError as error:
            _log.warning("checkpoints of a unit that is done stay in the bucket: %s", error)

    def _listed(self) -> list[_Saved]:
        found = []
        for each in self._store.list(self._prefix):
            if match := _NAME.fullmatch(each.key.removeprefix(self._prefix)):
                found.append(_Saved(int(match[1]), match[2], each.key, each.size))
        return sorted(found)

    def _restore(self, saved: _Saved, folder: Path) -> bool:
        archive, unpacked = self._scratch / "restored.tar", self._scratch / "restored"
        try:
            if saved.size > snapshots.ARCHIVE_LARGEST:
                raise SnapshotError(f"it has {saved.size} bytes")
            self._store.download(saved.key, archive)
            snapshots.unpack(archive, unpacked)
            if snapshots.digest(unpacked) != saved.digest:
                raise SnapshotError("its content is not what its name says")
            unpacked.rename(folder)
        except (SnapshotError, NotFound) as error:
            _log.warning("checkpoint %d is of no use: %s", saved.number, error)
            return False
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(unpacked, ignore_errors=True)
        _log.info("going on from checkpoint %d (%.1f MB)", saved.number, saved.size / 1e6)
        return True

    def _save_from_time_to_time(self) -> None:
        while not self._ended.wait(self._every):
            self.save()

    def _save(self, folder: Path) -> None:
        state = snapshots.state(folder)
        if state == self._seen:
            return
        frozen, archive = self._scratch / "frozen", self._scratch / "frozen.tar"
        try:
            digest = _settled(folder, frozen, archive, self._digest)
            if digest != self._digest:
                self._put(digest, archive)
            self._seen, self._digest = state, digest
        finally:
            archive.unlink(missing_ok=True)
            shutil.rmtree(frozen, ignore_errors=True)
        self._prune()

    def _put(self, digest: str, archive: Path) -> None:
        number = self._there[-1].number + 1 if self._there else 1
        saved = _Saved(number, digest, f"{self._prefix}{number:06}.{digest}.tar", archive.stat().st_size)
        try:
            self._store.put(saved.key, archive, content_type=_TYPE, only_if_absent=True)
        except Conflict:
            # The name is of the content: another worker, or a try of ours whose answer was lost, saved the same.
            _log.info("checkpoint %d is there already", number)
        self._there.append(saved)
        self._tell()
        _log.info("checkpoint %d saved (%.1f MB)", number, saved.size / 1e6)

    def _prune(self) -> None:
        while len(self._there) > _KEPT:
            self._store.delete(self._there[0].key)
            del self._there[0]

    def _complain(self, about: str) -> None:
        """Once, although the same is tried again and again."""
        if about != self._complaint:
            _log.warning("%s", about)
        self._complaint = about


def _settled(folder: Path, frozen: Path, archive: Path, known: str) -> str:
    """The digest of a folder at one moment; unless that is known, the archive then holds it.

    Raises:
        SnapshotError: It is too large, or was never at rest.
    """
    for left in reversed(range(_TRIES)):
        shutil.rmtree(frozen, ignore_errors=True)
        try:
            snapshots.freeze(folder, frozen)
            before, digest = snapshots.state(frozen), snapshots.digest(frozen)
            if digest != known:
                snapshots.pack(frozen, archive)
            if snapshots.state(frozen) == before:
                return digest
        except Restless:
            if not left:
                raise
    raise Restless("files in it were written to all the time: write them under another name, then rename them")
