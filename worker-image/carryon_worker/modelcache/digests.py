"""SHA-256 of files, and the lists of them that lie beside models."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from carryon_core.fingerprint import digest
from carryon_store import ObjectInfo

SUMS: Final = ".sha256"
"""Suffix of files as sha256sum(1) writes them."""
_LINE: Final = re.compile(r"\\?([0-9a-fA-F]{64})(?: [ *](.+))?")
_MD5: Final = re.compile("[0-9a-f]{32}")
_PIECE: Final = 1 << 20


class NotSums(ValueError):
    """A file that should list digests does not."""


@dataclass(frozen=True, slots=True)
class Digests:
    """Of one file's content.

    Attributes:
        sha256: 64 hex digits.
        md5: 32 hex digits.
    """

    sha256: str
    md5: str


def of_file(path: Path, moved: Callable[[], None]) -> Digests:
    """Digests of a file of any size, telling of movement while it is read."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            md5.update(piece)
            moved()
    return Digests(sha256.hexdigest(), md5.hexdigest())


def of_model(files: dict[str, str]) -> str:
    """A model's digest.

    Args:
        files: Path below the model's folder -> SHA-256.
    """
    return digest(sorted(files.items()))


def etag_md5(info: ObjectInfo) -> str | None:
    """The MD5 that an object's ETag may be: it is where the object came in one part and is not encrypted by a key."""
    return info.etag if _MD5.fullmatch(info.etag) else None


def read_sums(key: str, text: str) -> dict[str, str]:
    """What a list in sha256sum's form says: key -> SHA-256.

    Args:
        key: Of the list; names in it are relative to its folder. A digest alone is that of the file which is named as
            the list without its suffix.
        text: Of the list.

    Raises:
        NotSums: A line is none, or names a file outside the folder.
    """
    folder = PurePosixPath(key).parent
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        name = PurePosixPath(match[2] or PurePosixPath(key).name.removesuffix(SUMS)) if match else None
        if match is None or name is None or name.is_absolute() or ".." in name.parts:
            raise NotSums(f"line {number} of {key} is not `SHA-256  name`, as sha256sum writes it")
        # A list that was written where it was made names itself, unfinished.
        if not str(name).endswith(SUMS):
            found[str(folder / name)] = match[1].lower()
    return found
