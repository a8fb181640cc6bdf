"""What is asked of buckets and how they answer, for whoever measures; nothing in here knows how."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from carryon_store.errors import Changed, Conflict, Denied, Full, NotFound, StoreError, TooLarge, Unreachable
from carryon_store.local import Body
from carryon_store.protocol import DOCUMENT_LIMIT, ObjectInfo, Store

OPERATIONS: Final = ("put", "get", "download", "read", "presign", "sha256", "head", "list", "delete", "probe")
"""One for each method of `Store`; "probe" asks for conditional puts. A listing is one, however many pages it has."""
OK: Final = "ok"
OTHER: Final = "other"
_OUTCOMES: Final[tuple[tuple[type[StoreError], str], ...]] = (
    (NotFound, "not_found"),
    (Conflict, "conflict"),
    (Changed, "changed"),
    (Denied, "denied"),
    (Full, "full"),
    (TooLarge, "too_large"),
    (Unreachable, "unreachable"),
)
OUTCOMES: Final = (OK, *(name for _, name in _OUTCOMES), OTHER)
"""How an operation may end: `not_found`, `conflict` and `changed` are answers, the others are errors."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on a bucket.

    Attributes:
        name: One of `OPERATIONS`.
        outcome: One of `OUTCOMES`.
        seconds: That it took, without what its caller did between two pieces.
    """

    name: str
    outcome: str
    seconds: float


Observe: TypeAlias = Callable[[Operation], None]
"""Called from whichever thread the operation ran in."""


class ObservedStore:
    """A store that tells of everything that is asked of it."""

    def __init__(self, store: Store, observe: Observe, clock: Callable[[], float] = time.perf_counter) -> None:
        """Wrap a store.

        Args:
            store: To ask.
            observe: Called as each operation has ended.
            clock: Seconds.
        """
        self._store = store
        self._observe = observe
        self._clock = clock

    @property
    def uri(self) -> str:
        """See `Store`, as for all methods."""
        return self._store.uri

    def put(self, key: str, body: Body, *, content_type: str, only_if_absent: bool = False) -> ObjectInfo:
        """See `Store`."""
        with self._telling("put"):
            return self._store.put(key, body, content_type=content_type, only_if_absent=only_if_absent)

    def get(self, key: str, *, max_bytes: int = DOCUMENT_LIMIT) -> bytes:
        """See `Store`."""
        with self._telling("get"):
            return self._store.get(key, max_bytes=max_bytes)

    def download(self, key: str, path: Path) -> None:
        """See `Store`."""
        with self._telling("download"):
            self._store.download(key, path)

    def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `Store`."""
        return self._piece_by_piece("read", lambda: self._store.read(info, offset, length))

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """See `Store`."""
        with self._telling("presign"):
            return self._store.presign(key, seconds=seconds, content_type=content_type, disposition=disposition)

    def sha256(self, key: str) -> str:
        """See `Store`."""
        with self._telling("sha256"):
            return self._store.sha256(key)

    def head(self, key: str) -> ObjectInfo:
        """See `Store`."""
        with self._telling("head"):
            return self._store.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store`."""
        return self._piece_by_piece("list", lambda: self._store.list(prefix))

    def delete(self, key: str) -> None:
        """See `Store`."""
        with self._telling("delete"):
            self._store.delete(key)

    def supports_conditional_puts(self) -> bool:
        """See `Store`."""
        with self._telling("probe"):
            return self._store.supports_conditional_puts()

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        began, outcome = self._clock(), OTHER
        try:
            yield
            outcome = OK
        except StoreError as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._observe(Operation(name, outcome, self._clock() - began))

    def _piece_by_piece(self, name: str, begin: Callable[[], Iterator[T]]) -> Iterator[T]:
        """Pass on what comes, and tell once it has ended; whoever wants no more of it has had an answer."""
        seconds, outcome = 0.0, OTHER
        try:
            began = self._clock()
            pieces = begin()
            while True:
                try:
                    piece = next(pieces)
                except StopIteration:
                    outcome = OK
                    return
                finally:
                    seconds += self._clock() - began
                try:
                    yield piece
                except GeneratorExit:
                    outcome = OK
                    raise
                began = self._clock()
        except StoreError as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._observe(Operation(name, outcome, seconds))


def outcome_of(error: StoreError) -> str:
    """What an error is called, one of `OUTCOMES`."""
    return next((name for kind, name in _OUTCOMES if isinstance(error, kind)), OTHER)
