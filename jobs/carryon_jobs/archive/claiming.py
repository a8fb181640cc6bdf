"""One import at a time into one place: an object in the bucket says who is at it.

Two imports of one archive share what they write. If one of them fails and takes its own away again while the other is
about to create the job, that job would have to make anew what it was brought. So each claims the place before it
writes: by an object that only one of them can create. Whoever is at work writes it again every few seconds; one that
stays as it is belongs to an import that was killed, and gives way to a claim of the next number, which again only one
can create. Nobody compares clocks: how long a claim stays as it is, each measures by its own. Idea: fencing tokens of
leases, as in Gray and Cheriton, "Leases" (1989), and the Chubby lock service (2006).

In a store without conditional puts two may both believe that the place is theirs; what one takes back, the other then
writes again (see `Placing.write`).
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from carryon_core import layout
from carryon_jobs.archive.moving import Place
from carryon_jobs.errors import NotPossible
from carryon_store import JSON_TYPE, Conflict, NotFound, ObjectInfo, Store, StoreError

RENEW: Final = 5.0
"""Seconds between two times that a claim is written again."""
LEASE: Final = 20.0
"""Seconds that a claim stays as it is until its import counts as killed."""
LOOK_EVERY: Final = 0.5
_LARGEST: Final = 4096

log = logging.getLogger(__name__)


class Claim:
    """The claim of one import on the place it goes to. Use as a context manager: it holds meanwhile. Blocking."""

    def __init__(
        self,
        store: Store,
        place: Place,
        *,
        renew: float = RENEW,
        lease: float = LEASE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is written yet.

        Args:
            store: The bucket.
            place: Where the job goes.
            renew: Seconds between two times that it is written again.
            lease: Seconds that one of somebody else stays as it is until it gives way.
            clock: Monotonic, seconds.
        """
        self._store = store
        self._place = place
        self._prefix = layout.import_claims_prefix(place.namespace, place.name)
        self._renew = renew
        self._lease = lease
        self._clock = clock
        self._mark = uuid.uuid4().hex
        self._number = -1
        self._beats = 0
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="import-claim", daemon=True)

    def __enter__(self) -> Self:
        """Claim the place, once an import that was killed there has been silent for long enough.

        Raises:
            NotPossible: Another import is at it.
            StoreError: The bucket does not answer, or does not take it.
        """
        first: tuple[str, str] | None = None
        silent_since = 0.0
        while True:
            latest = self._latest()
            now = self._clock()
            if latest is None:
                if self._create(0):
                    break
                continue
            if first is None:
                first, silent_since = (latest.key, latest.etag), now
            elif (latest.key, latest.etag) != first:
                raise NotPossible(
                    f"another import of {self._place.name} into namespace {self._place.namespace} is at work: wait for"
                    " it, or give this one another name"
                )
            if now - silent_since >= self._lease:
                if self._create(self._number_of(latest) + 1):
                    break
                first = None
                continue
            self._ended.wait(min(LOOK_EVERY, self._lease / 4))
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place back, and with it what those left behind that were killed."""
        self._ended.set()
        self._beating.join()
        try:
            for info in list(self._store.list(self._prefix)):
                if self._number_of(info) <= self._number:
                    self._store.delete(info.key)
        except StoreError as fault:
            # The next import into this place waits until this claim has been silent for long enough.
            log.warning("the claim on %s can't be given back: %s", self._prefix, fault)

    def holds(self) -> bool:
        """Whether nobody has taken the place over: who was silent for long must take nothing away any more.

        Raises:
            StoreError: The bucket does not answer.
        """
        latest = self._latest()
        return latest is not None and self._number_of(latest) == self._number

    def _latest(self) -> ObjectInfo | None:
        return max(self._store.list(self._prefix), key=self._number_of, default=None)

    def _number_of(self, info: ObjectInfo) -> int:
        name = info.key.removeprefix(self._prefix)
        return int(name) if name.isascii() and name.isdigit() else -1

    def _create(self, number: int) -> bool:
        key = layout.import_claim_key(self._place.namespace, self._place.name, number)
        try:
            self._store.put(key, self._content(), content_type=JSON_TYPE, only_if_absent=True)
        except Conflict:
            # It may be ours: a first try may have arrived although its answer was lost.
            if not self._is_ours(key):
                return False
        self._number = number
        return True

    def _is_ours(self, key: str) -> bool:
        try:
            return bool(json.loads(self._store.get(key, max_bytes=_LARGEST)).get("mark") == self._mark)
        except (NotFound, ValueError, AttributeError):
            return False

    def _content(self) -> bytes:
        return json.dumps({"mark": self._mark, "beat": self._beats}).encode()

    def _beat(self) -> None:
        key = layout.import_claim_key(self._place.namespace, self._place.name, self._number)
        while not self._ended.wait(self._renew):
            self._beats += 1
            try:
                self._store.put(key, self._content(), content_type=JSON_TYPE)
            except StoreError as error:
                log.info("the claim on %s can't be renewed now: %s", self._prefix, error)
