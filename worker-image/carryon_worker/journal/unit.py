"""One unit's journal: what earlier attempts left of it, and what this one adds."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from pydantic import StrictBool, StrictFloat, StrictInt, StrictStr, TypeAdapter, ValidationError

from carryon_core import layout
from carryon_core.done import Misfit, Resume
from carryon_core.messages import Cadence
from carryon_store import Conflict, NotFound, ObjectInfo, Store, StoreError, TooLarge, Unreachable
from carryon_store.deleting import DELETED_AT_ONCE, delete_prefix
from carryon_worker.journal import chain, fingerprint, segments
from carryon_worker.journal.chain import Chain
from carryon_worker.journal.fingerprint import Fields
from carryon_worker.journal.segments import Header, Kind, SegmentError
from carryon_worker.journal.writer import Entry, Refused, Writer

_log = logging.getLogger(__name__)

_TYPE: Final = "application/octet-stream"
_FIELDS: Final[TypeAdapter[Mapping[str, str | int | float | bool | None]]] = TypeAdapter(
    Mapping[str, StrictBool | StrictInt | StrictFloat | StrictStr | None]
)


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
        self._number = self._first = 0
        self._previous = ""
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
            found = chain.read(self._store, self._prefix, self._fingerprint, self._scratch)
            why, misfit = ("", None) if found else self._why_none()
        except Unreachable:
            raise
        except (StoreError, OSError) as error:
            self._refuse(f"what there is can't be read: {error}", Misfit.DAMAGED)
            self._ended = self._refused
            return ()
        if found:
            _log.info("going on after call %d of the journal (step %d)", found[-1].end, _step(found))
        self._refuse(why, misfit)
        self._begin(found)
        return found

    def add(self, entry: Entry) -> None:
        """Take the next call; returns at once."""
        if self._writer is not None:
            self._writer.add(entry)

    def end(self, reason: str) -> None:
        """Add no more calls: what would follow can't be replayed."""
        if self._writer is not None:
            self._writer.end(reason)

    @property
    def taking(self) -> bool:
        """Whether calls that are added are kept."""
        return self._writer is not None and not self._writer.ended

    def start_over(self, reason: str) -> None:
        """Forget what there is: it did not fit after all. As long as it can't be deleted, nothing more is kept."""
        self.close()
        self._refuse(f"{reason}, {_lost(self.account.step, self._first)} lost", Misfit.DIVERGED)
        self._wrote = False
        self.account = Account()
        try:
            self._delete(layout.journal_prefix(self._prefix, self._fingerprint))
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
        """The unit is done: nobody goes on from its journals, whichever worker they were for."""
        self.close()
        if not self._fingerprint:
            return
        try:
            self._delete(layout.journal_prefix(self._prefix))
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

    def _delete(self, prefix: str) -> None:
        while delete_prefix(self._store, prefix) == DELETED_AT_ONCE:
            pass

    def _begin(self, after: Chain) -> None:
        self._number, self._first = len(after), after[-1].end if after else 0
        self._previous = after[-1].digest if after else ""
        self.account.step = _step(after)
        self._writer = Writer(self._put, self._cadence, sum(segment.size for segment in after))

    def _put(self, batch: Sequence[Entry]) -> None:
        """Write one segment, and tell of it.

        Raises:
            StoreError: It could not be written this time.
            Refused: Its place is taken.
        """
        began = time.monotonic()
        described = [entry.describe() for entry in batch]
        header = Header(
            fingerprint=self._fingerprint,
            number=self._number,
            previous=self._previous,
            first=self._first,
            calls=[call for call, _ in described],
        )
        content, digest = segments.encode(header, [blobs for _, blobs in described])
        key = layout.segment_key(self._prefix, self._fingerprint, self._pod_uid, self._number)
        if not self._wrote:
            told = {**({layout.JOURNAL_IMAGE: self._image} if self._image else {}), **self._fields}
            readable = json.dumps(told, indent=2, ensure_ascii=False).encode("utf-8", "replace")
            self._create(layout.journal_fields_key(self._prefix, self._fingerprint), readable)
        if not self._create(key, content) and not self._is_ours(key, len(content), digest):
            raise Refused(f"another worker writes to {key}")
        self._wrote = True
        self._number, self._previous, self._first = self._number + 1, digest, self._first + len(batch)
        self._wrote_segment(len(content), time.monotonic() - began)
        if any(call.kind is Kind.KEPT for call, _ in described):
            self._saved()
        _log.info("journal up to call %d (step %d, %.1f MB)", self._first, header.calls[-1].step, len(content) / 1e6)

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

    def _why_none(self) -> tuple[str, Misfit | None]:
        """Why what earlier attempts left is of no use here, and in one word; "" where they left nothing."""
        at = layout.journal_prefix(self._prefix)
        workers = {
            worker: list(objects)
            for worker, objects in groupby(
                self._store.list(at), key=lambda info: info.key.removeprefix(at).partition("/")[0]
            )
        }
        if own := workers.pop(self._fingerprint[: layout.WORKER_DIGITS], []):
            return f"no segment from call 0 on is whole, {len(own)} objects are of no use", Misfit.DAMAGED
        if not workers:
            return "", None
        worker, objects = max(workers.items(), key=lambda item: max(info.modified for info in item[1]))
        try:
            found = _FIELDS.validate_json(self._store.get(layout.journal_fields_key(self._prefix, worker)))
        except (NotFound, TooLarge, ValidationError):
            return f"fingerprint unreadable, {self._lost_of(objects)} lost", Misfit.DAMAGED
        # Another image with the same fields holds the same.
        fields = {name: value for name, value in found.items() if name != layout.JOURNAL_IMAGE}
        why = fingerprint.refusal(fields, self._fields, self._lost_of(objects))
        return why, fingerprint.misfit(fields, self._fields)

    def _lost_of(self, objects: Sequence[ObjectInfo]) -> str:
        """How far another worker's journal reaches, by its last segment."""
        at = layout.journal_prefix(self._prefix)
        numbered = [(chain.number_of(info.key.removeprefix(at).partition("/")[2]), info.key) for info in objects]
        last = max(((number, key) for number, key in numbered if number is not None), default=None)
        if last is None:
            return "nothing"
        self._scratch.mkdir(parents=True, exist_ok=True)
        try:
            segment = chain.load(self._store, last[1], self._scratch / "refused.safetensors")
        except (SegmentError, NotFound):
            return f"{last[0] + 1} segments"
        return _lost(segment.header.calls[-1].step, segment.end)

    def _refuse(self, why: str, misfit: Misfit | None) -> None:
        self._refused, self._misfit = why and f"{fingerprint.REASON}: {why}", misfit
        if why:
            _log.warning("%s; the unit starts over", self._refused)


def _step(of: Chain) -> int:
    """Steps ended before the last call of a chain."""
    return of[-1].header.calls[-1].step if of else 0


def _lost(steps: int, calls: int) -> str:
    """Steps where the pipeline tells of them, else calls."""
    count, word = (steps, "step") if steps else (calls, "call")
    return f"{count} {word}{'' if count == 1 else 's'}"
