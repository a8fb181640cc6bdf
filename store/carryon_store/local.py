"""Files on this machine that go into a bucket or come out of one: their errors are not the bucket's."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from carryon_store.errors import StoreError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of an open file, to be written as an object; several may be read at the same time.

    Attributes:
        descriptor: Of the file, which must stay open and as it is.
        offset: Where the part begins.
        size: Bytes.
    """

    descriptor: int
    offset: int
    size: int


Body: TypeAlias = bytes | Path | Slice


def open_body(body: Body) -> BinaryIO:
    """Open what is to be written.

    Raises:
        StoreError: The file can't be read.
    """
    if isinstance(body, bytes):
        return BytesIO(body)
    if isinstance(body, Slice):
        return BufferedReader(_SliceReader(body), _BUFFER)
    try:
        return open(body, "rb")
    except OSError as error:
        raise StoreError(f"{body} can't be read: {error.strerror}") from error


@contextmanager
def arriving(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when the block ends without an exception, and else not at all.

    Raises:
        StoreError: It can't be written.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with open(partial, "xb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


class _SliceReader(RawIOBase):
    """Reads a slice by pread(2), so that the file's own position does not matter."""

    def __init__(self, part: Slice) -> None:
        self._part = part
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a position of the slice."""
        start = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self._part.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer as far as one read does."""
        view = memoryview(buffer)
        wanted = max(0, min(len(view), self._part.size - self._at))
        piece = os.pread(self._part.descriptor, wanted, self._part.offset + self._at)
        if wanted and not piece:
            raise StoreError("the file ends before the part that is to be written: somebody has shortened it")
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
