"""Previews of a unit that is made section by section: small clips in its bucket before the unit is done.

They are there to be looked at. Nothing reads them again, none is waited for, and one that can't be written costs its
unit nothing. They go when the unit is done.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carryon_core import layout
from carryon_store import Conflict, Store, StoreError
from carryon_store.deleting import delete_all
from carryon_worker import content_types

_log = logging.getLogger(__name__)

_SUFFIX: Final = ".mp4"
_WAITING: Final = 4
"""Previews in memory that wait to be written; more are left out."""
_POLL: Final = 0.02
_NICENESS: Final = 10
"""Of the thread that writes them: whatever makes the unit comes first."""
_PATIENCE: Final = 1.0
"""Seconds that the end of a unit waits for one that is being written."""


@dataclass(frozen=True, slots=True)
class _Preview:
    section: int
    ready: Callable[[], bool]
    write: Callable[[Path], None]


class Previews:
    """One unit's previews.

    Args:
        store: The job's bucket.
        prefix: The unit's prefix.
        scratch: Folder for a file before it is uploaded; made when needed.
    """

    def __init__(self, store: Store, prefix: str, scratch: Path) -> None:
        self._store = store
        self._prefix = prefix
        self._scratch = scratch
        self._waiting: deque[_Preview] = deque()
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._keys: tuple[str, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """Those that lie in the bucket, by section; below the unit's prefix."""
        return self._keys

    def show(self, section: int, ready: Callable[[], bool], write: Callable[[Path], None]) -> None:
        """Show a section, unless an earlier attempt has; returns at once.

        Args:
            section: Its number, from 0, in the order in which sections are made.
            ready: Whether `write` can be called; never waits.
            write: Writes the clip; called from another thread.
        """
        with self._changed:
            if self._ended.is_set() or len(self._waiting) >= _WAITING:
                return
            self._waiting.append(_Preview(section, ready, write))
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="previews", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Show nothing any more."""
        self._end()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def discard(self) -> None:
        """The unit is done: it can be looked at itself."""
        self.close()
        if self._thread is None:
            return
        try:
            delete_all(self._store, layout.previews_prefix(self._prefix))
        except StoreError as error:
            _log.warning("previews of a unit that is done stay in the bucket: %s", error)
        self._keys = ()

    def _end(self) -> None:
        with self._changed:
            self._ended.set()
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
            self._keys = tuple(self._listed())
            while preview := self._next():
                if not any(layout.section_of(key) == preview.section for key in self._keys):
                    self._put(preview)
        except Exception as error:  # noqa: BLE001 - whatever it is, the unit goes on without
            if not self._ended.is_set():
                _log.warning("the unit goes on without previews: %s", error)
            self._end()

    def _next(self) -> _Preview | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended.is_set())
            return self._waiting.popleft() if self._waiting else None

    def _listed(self) -> list[str]:
        listed = self._store.list(layout.previews_prefix(self._prefix))
        return [info.key.removeprefix(self._prefix) for info in listed]

    def _put(self, preview: _Preview) -> None:
        while not preview.ready():
            if self._ended.wait(_POLL):
                return
        self._scratch.mkdir(parents=True, exist_ok=True)
        path = self._scratch / f"{preview.section}{_SUFFIX}"
        preview.write(path)
        key = layout.preview_key(self._prefix, preview.section, hashlib.sha256(path.read_bytes()).hexdigest(), _SUFFIX)
        if self._ended.is_set():
            return
        try:
            self._store.put(key, path, content_type=content_types.of(path.name), only_if_absent=True)
        except Conflict:
            # The name is of the content: another worker at this unit has shown the same.
            _log.info("the preview of section %d is there already", preview.section)
        path.unlink()
        self._keys = tuple(sorted((*self._keys, key.removeprefix(self._prefix))))
        _log.info("section %d can be looked at: %s", preview.section, key)
