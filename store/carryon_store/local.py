"""Files on this machine that go into a bucket or come out of one: their errors are not the bucket's."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from carryon_store.errors import StoreError


def open_body(body: bytes | Path) -> BinaryIO:
    """Open what is to be written.

    Raises:
        StoreError: The file can't be read.
    """
    if isinstance(body, bytes):
        return BytesIO(body)
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
