"""Items from data: where rows are read from, and which of their changes a job follows."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from carryon_core import names
from carryon_core.rows import BYTES_MOST, described
from carryon_core.spec import ConfigMapKey, ItemsFrom
from carryon_operator.plan.model import Observation
from carryon_store import NotFound, Store, StoreError, TooLarge

MISSING: Final = "SourceMissing"
INVALID: Final = "SourceInvalid"
UNREACHABLE: Final = "SourceUnreachable"
CONFIRM: Final = "ConfirmItems"

REFUSALS: Final[Mapping[str, str]] = {
    MISSING: "ItemsNotFound",
    INVALID: "InvalidItems",
    UNREACHABLE: "ItemsUnreachable",
}
"""Reason of a source that is not followed -> reason why a job is not accepted that has no copy of its items yet."""

_CONFIRMED: Final = re.compile("[0-9a-f]{12,64}")
_DIGITS: Final = 12
"""Of a digest that a person is asked to write."""


class SourceError(Exception):
    """A source gives no rows: `reason` in CamelCase, and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Source(Protocol):
    """Where rows are read from. Blocking."""

    def version(self) -> str:
        """Changes with the content, and is cheap to ask for.

        Raises:
            SourceError: There is none.
        """
        ...

    def read(self) -> bytes:
        """The content.

        Raises:
            SourceError: It can't be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class ObjectSource:
    """Rows in an object of a bucket, or in a file."""

    store: Store
    key: str
    source: ItemsFrom

    def version(self) -> str:
        """See `Source.version`: the object's ETag."""
        try:
            return self.store.head(self.key).etag
        except StoreError as error:
            raise self._error(error) from error

    def read(self) -> bytes:
        """See `Source.read`."""
        try:
            return self.store.get(self.key, max_bytes=BYTES_MOST)
        except StoreError as error:
            raise self._error(error) from error

    def _error(self, error: StoreError) -> SourceError:
        where = f"items.from ({described(self.source)})"
        if isinstance(error, NotFound):
            return SourceError(MISSING, f"{where} does not exist: put it back, or name another")
        if isinstance(error, TooLarge):
            return SourceError(INVALID, f"{where} has more than {BYTES_MOST} bytes: split it into several jobs")
        return SourceError(UNREACHABLE, f"{where} can't be read: {error}")


@dataclass(frozen=True, slots=True)
class ConfigMapSource:
    """Rows in a ConfigMap, as it was read before.

    Attributes:
        found: The ConfigMap, None if there is none.
        error: Why it could not be read, "" if it could.
    """

    ref: ConfigMapKey
    found: Mapping[str, Any] | None
    error: str = ""

    def version(self) -> str:
        """See `Source.version`: the ConfigMap's resourceVersion."""
        version: str = self._found()["metadata"]["resourceVersion"]
        return version

    def read(self) -> bytes:
        """See `Source.read`."""
        found, key = self._found(), self.ref.key
        text = (found.get("data") or {}).get(key)
        if text is not None:
            return str(text).encode("utf-8", "surrogatepass")
        encoded = (found.get("binaryData") or {}).get(key)
        if encoded is None:
            told = f'items.from: ConfigMap "{self.ref.name}" has no key "{key}": add it, or name another'
            raise SourceError(MISSING, told)
        try:
            return base64.b64decode(encoded)
        except binascii.Error as error:
            raise SourceError(INVALID, f'items.from: ConfigMap "{self.ref.name}", key "{key}": {error}') from None

    def _found(self) -> Mapping[str, Any]:
        if self.error:
            raise SourceError(UNREACHABLE, f'items.from: ConfigMap "{self.ref.name}" can\'t be read: {self.error}')
        if self.found is None:
            told = f'items.from: there is no ConfigMap "{self.ref.name}" in the job\'s namespace: create it'
            raise SourceError(MISSING, told)
        return self.found


@dataclass
class Following:
    """How far a job's items follow their source; all of it can be lost and found again.

    Attributes:
        checked_at: When the source was last looked at, on a monotonic clock; None before the first time.
        asked: What a person had asked for then: a look is due at once when that changes.
        version: Of the source, that the job's items come from; "" if that is not known.
        refused: Version that was looked into and is not followed.
        stale: Why the source is not followed, reason and message; None while it is.
    """

    checked_at: float | None = None
    asked: tuple[str | None, ...] = ()
    version: str = ""
    refused: str | None = None
    stale: tuple[str, str] | None = None

    def due(self, now: float, interval: float, asked: tuple[str | None, ...]) -> bool:
        """Whether the source is to be looked at."""
        return self.checked_at is None or now - self.checked_at >= interval or asked != self.asked

    def note(self, now: float, asked: tuple[str | None, ...]) -> None:
        """It is looked at now; what a person asks for anew is a reason to look into what was refused before."""
        if asked != self.asked:
            self.refused = None
        self.checked_at, self.asked = now, asked


def unconfirmed(
    job: Observation, present: Collection[str], new: Collection[str], digest: str
) -> tuple[str, str] | None:
    """Make sure that a change which removes more than half of the items is somebody's wish.

    Args:
        job: Whose items they are.
        present: Ids that it has.
        new: Ids that it would have.
        digest: Of the new items.

    Returns:
        Why the new items are not taken, None if they are.
    """
    going = len(set(present).difference(new))
    # Make sure that a table that somebody is in the middle of writing costs nothing.
    if going * 2 <= len(present):
        return None
    # Make sure that who agreed meant these items and no others.
    confirmed = job.annotations.get(names.ANNOTATION_CONFIRM_ITEMS, "")
    if _CONFIRMED.fullmatch(confirmed) and digest.startswith(confirmed):
        return None
    return CONFIRM, (
        f"the new items leave out {going} of the {len(present)} that the job has, so they are not taken yet; to agree:"
        f" kubectl annotate {names.PLURAL} {job.name} -n {job.namespace} --overwrite"
        f" {names.ANNOTATION_CONFIRM_ITEMS}={digest[:_DIGITS]}"
    )
