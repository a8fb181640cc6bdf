"""The one small protocol behind which every bucket lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from carryon_store.errors import StoreError
from carryon_store.local import Body

DOCUMENT_LIMIT: Final = 64 * 1024 * 1024
"""Bytes that `Store.get` takes into memory unless told otherwise: documents, not artifacts."""
JSON_TYPE: Final = "application/json"
Guard: TypeAlias = Callable[[], None]
"""Raises `Fenced` where no write may begin."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says about an object without reading it.

    Attributes:
        key: Key relative to the store's root.
        size: Bytes.
        etag: Opaque, without quotes; objects of one key with different content have different ones.
        modified: When it was written, UTC.
    """

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """Keys for an S3 endpoint, as a Secret holds them."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class Store(Protocol):
    """A bucket, or a prefix of one. Blocking and thread-safe.

    Keys are relative to the store's root: segments joined by "/", none of them empty, "." or "..". An object appears
    whole or not at all. Every method raises `Unreachable` when there was no answer, `Denied` when it was a refusal, and
    another `StoreError` for whatever else a person must set right.
    """

    @property
    def uri(self) -> str:
        """Where the root is, such as s3://bucket/prefix or file:///folder; without a trailing slash."""
        ...

    def put(self, key: str, body: Body, *, content_type: str, only_if_absent: bool = False) -> ObjectInfo:
        """Write an object from bytes, or from a file, or a part of one, of any size.

        Args:
            key: Where to.
            body: Content, or the file, or the part of an open file, that holds it.
            content_type: MIME type; a file store has no place for it.
            only_if_absent: Create the object, or leave the one that is there as it is.

        Raises:
            Conflict: The object exists and `only_if_absent` was asked. It can be this caller's own: a first try may
                have arrived although its answer was lost.
        """
        ...

    def get(self, key: str, *, max_bytes: int = DOCUMENT_LIMIT) -> bytes:
        """Read a whole object into memory.

        Raises:
            NotFound: There is no such object.
            TooLarge: It is larger than `max_bytes`.
        """
        ...

    def download(self, key: str, path: Path) -> None:
        """Copy an object of any size to a local file, which appears whole or not at all.

        Raises:
            NotFound: There is no such object.
        """
        ...

    def read(self, info: ObjectInfo, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A part of an object in pieces of at most 1 MiB, as they come; a part that breaks off raises.

        Args:
            info: The object as it was listed.
            offset: Bytes to leave out, at most its size.
            length: Bytes to read; None reads to its end.

        Raises:
            NotFound: There is no such object.
            Changed: What is there is not what was listed.
        """
        ...

    def presign(self, key: str, *, seconds: int, content_type: str, disposition: str) -> str | None:
        """An address under which anybody may read an object for a while; None where a store has no such thing.

        Nothing is asked of the store: whether the object is there shows when the address is used.

        Args:
            key: Of the object.
            seconds: How long the address is good, at most a week; less where the credentials end earlier.
            content_type: MIME type that the answer is to have.
            disposition: The answer's Content-Disposition.

        Raises:
            Denied: There are no credentials to sign with.
        """
        ...

    def sha256(self, key: str) -> str:
        """SHA-256 of an object of any size, 64 hex digits; it is read, in pieces, and kept nowhere.

        Raises:
            NotFound: There is no such object.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """Look at an object.

        Raises:
            NotFound: There is no such object.
        """
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key begins with `prefix`, in order of the keys' UTF-8 bytes.

        Not a snapshot: what is written or deleted meanwhile may or may not be in it. "" are all; a prefix need not end
        at a slash.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""
        ...

    def supports_conditional_puts(self) -> bool:
        """Whether `only_if_absent` is atomic here; where it isn't, `put` looks first and then writes."""
        ...


def check_key(key: str) -> str:
    """Return the key if every store can hold it.

    Raises:
        StoreError: It is empty or absolute, has an empty, "." or ".." segment, a NUL, or no UTF-8 form.
    """
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"{key!r} is not a key: it has no UTF-8 form") from error
    if "\0" in key or any(segment in ("", ".", "..") for segment in key.split("/")):
        raise StoreError(f'{key!r} is not a key: segments must not be empty, "." or "..", and hold no NUL')
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix if there can be keys that begin with it.

    Raises:
        StoreError: There can't: see `check_key`.
    """
    folder, slash, _ = prefix.rpartition("/")
    if slash:
        check_key(folder)
    return prefix
