"""One unit's journal: what earlier attempts left of it, and what this one adds."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from carryon_core import layout
from carryon_core.done import Misfit, Resume
from carryon_core.messages import Cadence
from carryon_store import Conflict, NotFound, ObjectInfo, Store, StoreError, TooLarge, Unreachable
from carryon_store.deleting import delete_all, delete_each
from carryon_worker.journal import chain, fingerprint, refusals, segments
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.journal.refusals import Refusal
from carryon_worker.journal.segments import Header, Kind, SegmentError
from carryon_worker.journal.writer import Entry, Refused, Writer

if TYPE_CHECKING:
    # torch takes seconds to import, and not every unit needs it.
    from carryon_worker.journal.compaction import Finished

_log = logging.getLogger(__name__)

_TYPE: Final = "application/octet-stream"
_FOLDERS: Final = 8
"""Folders of a pod that are tried for one segment."""


@dataclass(slots=True)
class Account:
    """What the journal was good for so far; written by the main thread.

    Attributes:
        calls: Calls of the denoiser, those answered from the journal included.
        replayed: Calls answered from the journal.
        step: Steps that an earlier attempt had ended.
        saved: Seconds that the replayed calls had taken.
        waited: Seconds that calls took longer for the journal's sake.
    """

    calls: int = 0
    replayed: int = 0
    step: int = 0
    saved: float = 0.0
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a chain goes on.

    Attributes:
        number: Of the next segment.
        previous: Digest of the last one.
        first: Number of the next call.
    """

    number: int = 0
    previous: str = ""
    first: int = 0


class Journal:
    """What one unit's denoiser has answered.

    Args:
        store: The job's bucket.
        prefix: The unit's prefix.
        scratch: Folder for what is downloaded; need not exist yet, and is to outlive the unit's call.
        pod_uid: Names the folder that only this worker writes to.
        cadence: When to write.
        saved: Told whenever something was made durable that a later attempt need not compute.
        wrote: Told of every segment: bytes, and seconds it took.
        image: Of this worker, as its pod names it.
    """

    def __init__(
        self,
        store: Store,
        prefix: str,
        scratch: Path,
        pod_uid: str,
        cadence: Cadence,
        saved: Callable[[], None],
        wrote: Callable[[int, float], None] = lambda size, seconds: None,
        image: str = "",
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._scratch = scratch
        self._pod_uid = pod_uid
        self._cadence = cadence
        self._saved = saved
        self._wrote_segment = wrote
        self._image = image
        self._fields: Fields = {}
        self._fingerprint = ""
        self._next = self._fixed = _Place()
        """Where the next segment of calls goes, and that of finished sections: behind the sections there are."""
        self._standing = 0
        """Calls that finished sections stand for, or will once they are written."""
        self._found = 0
        """Calls that earlier attempts have left."""
        self._replaceable: list[str] = []
        """Keys of segments that finished sections replace."""
        self._folder = 0
        self._wrote = False
        self._refused = ""
        self._misfit: Misfit | None = None
        self._ended = ""
        self._writer: Writer | None = None
        self.account = Account()

    @property
    def enabled(self) -> bool:
        """Whether anything is to be kept of this unit."""
        return self._cadence.enabled

    def open(self, fields: Fields) -> Chain:
        """What earlier attempts left that holds for this worker; from now on calls may be added after it.

        Where what there is may not be read, or has no room here, the unit starts over and nothing is kept of it.

        Args:
            fields: Of the worker fingerprint.

        Raises:
            Unreachable: The bucket does not answer: that is no reason to lose what there may be.
        """
        self._fields, self._fingerprint = fields, fingerprint.of(fields)
        try:
            objects = list(self._store.list(layout.journal_prefix(self._prefix)))
            at = layout.journal_prefix(self._prefix, self._fingerprint)
            ours = [info for info in objects if info.key.startswith(at)]
            found = chain.read(self._store, ours, self._fingerprint, self._scratch)
            refusal = refusals.refusal(self._store, self._prefix, objects, found, fields, self._scratch)
        except Unreachable:
            raise
        except (StoreError, OSError) as error:
            self._refuse(Refusal(f"what there is can't be read: {error}", Misfit.DAMAGED))
            self._ended = self._refused
            return ()
        if found:
            _log.info("going on after call %d of the journal (step %d)", found[-1].end, refusals.step(found))
        self._refuse(refusal, in_part=bool(found))
        self._begin(found, ours)
        return found

    def add(self, entry: Entry) -> None:
        """Take the next call; returns at once."""
        if self._writer is not None:
            self._writer.add(entry)

    def compact(self, sections: Sequence[Finished], more: int) -> bool:
        """Let finished sections stand for their calls, where there would be no room for another `more` bytes.

        Args:
            sections: Those that were finished since the last that stand in the journal, in order.
            more: Bytes that the next one will take.

        Returns:
            Whether they do; if not, they may be offered again together with later ones.
        """
        calls = sum(section.calls for section in sections)
        # What was called outside of sections would be left out, and so would what is still to be answered.
        if self._writer is None or self._standing + calls != self.account.calls or self.account.calls < self._found:
            return False
        if not self._writer.replace(sections, more):
            return False
        self._standing += calls
        _log.info("%d finished sections are kept by their results: there is no room for more calls", len(sections))
        return True

    def end(self, reason: str) -> None:
        """Add no more calls: what would follow can't be replayed."""
        if self._writer is not None:
            self._writer.end(reason)

    @property
    def taking(self) -> bool:
        """Whether calls that are added are kept."""
        return self._writer is not None and not self._writer.ended

    @property
    def full(self) -> bool:
        """Whether calls are not kept for lack of room alone, which finished sections may make."""
        return self._writer is not None and self._writer.full

    @property
    def bounded(self) -> bool:
        """Whether there is a bound to its size."""
        return self._cadence.max_bytes is not None

    def start_over(self, reason: str) -> None:
        """Forget what there is: it did not fit after all. As long as it can't be deleted, nothing more is kept."""
        self.close()
        lost = refusals.lost(self.account.step, self._next.first)
        self._refuse(Refusal(f"{reason}, {lost} lost", Misfit.DIVERGED))
        self._wrote = False
        self.account = Account()
        try:
            delete_all(self._store, layout.journal_prefix(self._prefix, self._fingerprint))
        except StoreError as error:
            self._ended = f"a journal that does not fit can't be deleted: {error}"
            _log.warning("nothing is kept of the unit: %s", self._ended)
            return
        self._begin(())

    def flush(self, seconds: float) -> None:
        """Make durable what has been computed, unless that takes longer; from any thread, before the process ends."""
        writer = self._writer
        if writer is not None and not writer.flush(seconds):
            _log.warning("the journal's last calls could not be written within %.1f s", seconds)

    def close(self) -> None:
        """Write nothing any more; returns when what is being written has ended."""
        if self._writer is not None:
            self._writer.close()
            self._ended = self._writer.ended
            self._writer = None

    def discard(self) -> None:
        """The unit is done: nobody goes on from its journals, whichever worker they were for, and whatever kept them.

        Also where nothing is kept now: what earlier attempts left may be from when it was.
        """
        self.close()
        try:
            delete_all(self._store, layout.journal_prefix(self._prefix))
        except StoreError as error:
            _log.warning("the journal of a unit that is done stays in the bucket: %s", error)

    def resume(self) -> Resume | None:
        """What the journal was good for; None where there was none."""
        if not self._fingerprint:
            return None
        account, writer = self.account, self._writer
        return Resume(
            calls=account.calls,
            replayed=account.replayed,
            step=account.step,
            saved=round(account.saved, 3),
            waited=round(account.waited, 6),
            refused=self._refused,
            misfit=self._misfit,
            ended=writer.ended if writer is not None else self._ended,
        )

    def _begin(self, after: Chain, there: Sequence[ObjectInfo] = ()) -> None:
        """Go on after a chain.

        Args:
            after: The chain.
            there: All that lies beside it.
        """
        fixed = tuple(takewhile(lambda segment: segment.compacted, after))
        self._next, self._fixed = _behind(after), _behind(fixed)
        self._standing, self._found = self._fixed.first, self._next.first
        staying = {segment.key for segment in fixed}
        self._replaceable = [
            info.key for info in there if chain.number_of(info.key) is not None and info.key not in staying
        ]
        self.account.step = refusals.step(after)
        held, stays = (sum(segment.size for segment in each) for each in (after, fixed))
        self._writer = Writer(self._put, self._cadence, held, stays)

    def _put(self, batch: Sequence[Entry]) -> int:
        """Write one segment, and tell of it; its bytes.

        Finished sections begin a folder of their own, in which the calls after them follow.

        Raises:
            StoreError: It could not be written this time.
            Refused: Its place is taken.
        """
        began = time.monotonic()
        sections = batch[0].section
        place = self._fixed if sections else self._next
        described = [entry.describe() for entry in batch]
        calls = [call for call, _ in described]
        header = Header(
            fingerprint=self._fingerprint,
            number=place.number,
            previous=place.previous,
            first=place.first,
            calls=calls,
        )
        content, digest = segments.encode(header, [blobs for _, blobs in described])
        if not self._wrote:
            told = {**({layout.JOURNAL_IMAGE: self._image} if self._image else {}), **self._fields}
            readable = json.dumps(told, indent=2, ensure_ascii=False).encode("utf-8", "replace")
            self._create(layout.journal_fields_key(self._prefix, self._fingerprint), readable)
        if sections:
            self._folder = max(self._folder, place.number + 1)
        key = self._create_segment(place.number, content, digest)
        self._wrote = True
        self._next = _Place(place.number + 1, digest, place.first + sum(call.count for call in calls))
        self._wrote_segment(len(content), time.monotonic() - began)
        if sections:
            self._fixed = self._next
            self._delete_replaced()
        else:
            self._replaceable.append(key)
        if any(call.kind is not Kind.AGAIN for call in calls):
            self._saved()
        _log.info("journal up to call %d (step %d, %.1f MB)", self._next.first, calls[-1].step, len(content) / 1e6)
        return len(content)

    def _create_segment(self, number: int, content: bytes, digest: str) -> str:
        """Write a segment where nobody has: what lies in our place may be damaged, or another worker's.

        Returns:
            Its key.

        Raises:
            Refused: There is no such place.
        """
        for tried in range(self._folder, self._folder + _FOLDERS):
            folder = f"{self._pod_uid}.{tried}" if tried else self._pod_uid
            key = layout.segment_key(self._prefix, self._fingerprint, folder, number)
            if self._create(key, content) or self._is_ours(key, len(content), digest):
                self._folder = tried
                return key
        raise Refused(f"segment {number} lies in {_FOLDERS} folders of pod {self._pod_uid} already, with other content")

    def _delete_replaced(self) -> None:
        """Delete the calls that finished sections stand for, once all of these are durable; who is late is harmless."""
        if self._fixed.first < self._standing:
            return

        def delete(key: str) -> int:
            self._store.delete(key)
            return 1

        try:
            delete_each(delete, self._replaceable)
        except StoreError as error:
            _log.warning("calls of finished sections stay in the bucket for now: %s", error)
            return
        self._replaceable = []

    def _create(self, key: str, content: bytes) -> bool:
        """Whether it was not there before."""
        try:
            self._store.put(key, content, content_type=_TYPE, only_if_absent=True)
        except Conflict:
            return False
        return True

    def _is_ours(self, key: str, size: int, digest: str) -> bool:
        """Whether what is there is what we were about to write: an earlier try whose answer was lost."""
        try:
            return segments.decode(self._store.get(key, max_bytes=size)).digest == digest
        except (SegmentError, TooLarge, NotFound):
            return False

    def _refuse(self, refusal: Refusal | None, *, in_part: bool = False) -> None:
        if refusal is None:
            self._refused, self._misfit = "", None
            return
        self._refused, self._misfit = f"{fingerprint.REASON}: {refusal.why}", refusal.misfit
        _log.warning("%s; the unit %s", self._refused, "goes on from there" if in_part else "starts over")


def _behind(of: Chain) -> _Place:
    return _Place(len(of), of[-1].digest, of[-1].end) if of else _Place()
