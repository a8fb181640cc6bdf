"""Writes a unit's calls in the background: whoever adds one is never kept waiting for the bucket."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from typing import Final, Protocol

from carryon_core.messages import Cadence
from carryon_store import Full, StoreError
from carryon_worker.journal import cadence
from carryon_worker.journal.segments import Blob, Call

_log = logging.getLogger(__name__)

MOST_WAITING: Final = 2**28
"""Bytes that may wait in memory for a bucket that is slower than the work; more where a segment has as many."""
_SOON: Final = 0.05
"""Seconds after which copies that are under way are looked at again."""
_PATIENCE: Final = 15.0
"""Seconds for a segment that is being written when a unit ends: one that comes later harms nobody."""
_AGAIN: Final = 5.0
"""Seconds after which a bucket that failed is tried again."""


class Entry(Protocol):
    """A call, or a finished section, that waits to be written."""

    @property
    def section(self) -> bool:
        """Whether it is a section: it stands for calls that were added before it."""
        ...

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        ...

    @property
    def began(self) -> float:
        """When it began, monotonic seconds."""
        ...

    def ready(self) -> bool:
        """Whether its tensors have arrived in memory; never waits."""
        ...

    def describe(self) -> tuple[Call, Sequence[Blob]]:
        """What is written of it; only once it is ready, and the same every time."""
        ...


class Refused(Exception):
    """What was to be written can never be; the sentence says why."""


class Writer:
    """The calls that wait, and the thread that writes them.

    Args:
        put: Makes calls in a row durable, and returns how many bytes that took; tried again with the same ones when it
            raises `StoreError`, never again once it has raised `Refused`.
        wanted: When to write.
        held: Bytes that the journal holds already.
        fixed: Those of them that stay when finished sections replace their calls.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        put: Callable[[Sequence[Entry]], int],
        wanted: Cadence,
        held: int = 0,
        fixed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._put = put
        self._cadence = wanted
        self._held = held
        self._fixed = fixed
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[Entry] = []
        self._size = 0
        self._batch: Sequence[Entry] = ()
        """What is being written, or was when the bucket failed: the first of those that wait."""
        self._writing = False
        self._urgent = False
        self._not_before = 0.0
        self._ended = ""
        self._full = False
        self._closed = False
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    @property
    def ended(self) -> str:
        """Why no more calls are taken; "" as long as they are."""
        return self._ended

    @property
    def full(self) -> bool:
        """Whether nothing but a lack of room keeps calls from being taken."""
        return self._full

    def add(self, entry: Entry) -> None:
        """Take a call; the one after the last that was taken."""
        with self._changed:
            if self._ended:
                return
            if not cadence.fits(self._cadence, self._held, entry.size):
                reason = f"the unit's journal has grown to checkpoint.maxBytes, {self._cadence.max_bytes} bytes"
                self._end(reason, full=True)
            elif self._size + entry.size > max(MOST_WAITING, 2 * self._cadence.every_bytes):
                self._end(f"the bucket is too slow: {self._size >> 20} MiB wait to be written")
            else:
                self._waiting.append(entry)
                self._size += entry.size
                self._held += entry.size
                self._changed.notify_all()

    def replace(self, sections: Sequence[Entry], more: int) -> bool:
        """Take finished sections for all calls since the last ones, if there would be no room for `more` bytes.

        Returns:
            Whether they have been taken; written they are as soon as may be.
        """
        with self._changed:
            if not self._full and (self._ended or cadence.fits(self._cadence, self._held, more)):
                return False
            size = sum(entry.size for entry in sections)
            if not cadence.fits(self._cadence, self._fixed, size):
                return False
            # What is being written already is still written, and nobody goes on from it.
            begun = len(self._batch)
            self._waiting[begun:] = [*(entry for entry in self._waiting[begun:] if entry.section), *sections]
            self._size = sum(entry.size for entry in self._waiting)
            self._fixed += size
            self._held = self._fixed
            self._ended, self._full = "", False
            self._changed.notify_all()
            return True

    def end(self, reason: str) -> None:
        """Take no more calls; those that wait are still written."""
        with self._changed:
            self._end(reason)

    def flush(self, seconds: float) -> bool:
        """Write what has arrived in memory, unless that takes longer; whether all of it is durable."""
        with self._changed:
            self._urgent = True
            self._not_before = 0.0
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._urgent or self._closed, timeout=seconds)
            return not self._arrived()

    def close(self) -> None:
        """Write nothing any more; returns when what is being written has ended, or takes too long to be waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._writing, timeout=_PATIENCE)

    def _run(self) -> None:
        while batch := self._next():
            written = self._try(batch)
            with self._changed:
                self._writing = False
                if written is not None:
                    size = sum(entry.size for entry in batch)
                    del self._waiting[: len(batch)]
                    self._size -= size
                    self._batch = ()
                    # Besides tensors there is what describes them.
                    self._held += written - size
                    self._fixed += written - size if batch[0].section else 0
                else:
                    self._urgent = False
                    self._not_before = self._clock() + _AGAIN
                self._changed.notify_all()
            # What waits for the next ones must not keep these in memory.
            batch = ()

    def _try(self, batch: Sequence[Entry]) -> int | None:
        """Bytes written; None if they could not be."""
        try:
            return self._put(batch)
        except Full as error:
            # Room that is made is for what the unit becomes; what lies there already stays good.
            self._give_up(f"the bucket is full: {error}")
            return None
        except StoreError as error:
            _log.warning("the journal could not be written, which is tried again: %s", error)
            return None
        except Exception as error:  # noqa: BLE001 - whatever becomes of its journal, the unit goes on
            if not isinstance(error, Refused):
                _log.exception("the journal failed")
            self._give_up(str(error) or type(error).__name__)
            return None

    def _give_up(self, reason: str) -> None:
        """Take no more calls, and write none of those that wait."""
        with self._changed:
            self._end(reason)
            self._closed = True

    def _next(self) -> Sequence[Entry]:
        """Wait for calls to write; () when there will be none."""
        with self._changed:
            while not self._closed:
                pause = self._pause()
                if pause == 0.0:
                    self._batch = self._batch or self._first_of(self._arrived())
                    if self._batch:
                        self._writing = True
                        return self._batch
                    pause = _SOON
                    if self._urgent:
                        self._urgent = False
                        self._changed.notify_all()
                self._changed.wait(pause)
        return ()

    def _pause(self) -> float | None:
        """Seconds until there may be something to write; 0 is now."""
        now = self._clock()
        if self._urgent:
            return 0.0
        if now < self._not_before:
            return self._not_before - now
        if self._waiting and self._waiting[0].section:
            return 0.0
        calls = len(self._waiting)
        age = now - self._waiting[0].began if calls else 0.0
        if self._batch or cadence.due(self._cadence, calls, self._size, age):
            return 0.0
        return cadence.wait(self._cadence, calls, age)

    def _arrived(self) -> Sequence[Entry]:
        try:
            return tuple(takewhile(lambda entry: entry.ready(), self._waiting))
        except RuntimeError as error:
            # The GPU is in no state to say whether copies have arrived.
            self._end(str(error))
            self._closed = True
            self._changed.notify_all()
            return ()

    def _first_of(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """As many as one segment takes; one at least."""
        kind = tuple(takewhile(lambda entry: entry.section == entries[0].section, entries))
        sizes = accumulate(entry.size for entry in kind)
        return kind[: max(1, sum(size <= self._cadence.every_bytes for size in sizes))]

    def _end(self, reason: str, full: bool = False) -> None:
        """Once; the lock is held. What ends a full journal, ends it for good."""
        self._full = full
        if not self._ended:
            self._ended = reason
            _log.warning("from here on the unit can't be resumed: %s", reason)
