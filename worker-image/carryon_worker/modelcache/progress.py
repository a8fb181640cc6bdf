"""What of a download is on the disk: appended as it gets there, read by whoever goes on after a kill."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carryon_store import ObjectInfo


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that is there whole.

    Attributes:
        etag: Of the object that it was downloaded from.
    """

    size: int
    etag: str
    sha256: str

    def is_of(self, info: ObjectInfo) -> bool:
        """Whether it is what this object holds."""
        return (self.size, self.etag) == (info.size, info.etag)


@dataclass
class Progress:
    """Of one download; thread-safe.

    Attributes:
        files: Key -> file that is there whole.
        parts: Key -> (offset, length) of the parts that are there.
    """

    path: Path
    files: dict[str, Finished] = field(default_factory=dict)
    parts: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(cls, path: Path) -> Progress:
        """What an earlier download wrote down; nothing where there was none."""
        made = cls(path)
        for line in _lines(path):
            match line:
                case {"file": str(key), "size": int(size), "etag": str(etag), "sha256": str(sha256)}:
                    made.files[key] = Finished(size, etag, sha256)
                case {"part": [str(key), int(offset), int(length)]}:
                    made.parts.setdefault(key, set()).add((offset, length))
                case {"anew": str(key)}:
                    made.parts.pop(key, None)
        return made

    def part(self, key: str, offset: int, length: int) -> None:
        """A part is on the disk."""
        with self._lock:
            self.parts.setdefault(key, set()).add((offset, length))
            self._append({"part": [key, offset, length]})

    def anew(self, key: str) -> None:
        """A file is to be downloaded again, whatever there is of it."""
        with self._lock:
            self.parts.pop(key, None)
            self._append({"anew": key})

    def finish(self, key: str, file: Finished) -> None:
        """A file is on the disk, whole and checked."""
        with self._lock:
            self.files[key] = file
            self._append({"file": key, "size": file.size, "etag": file.etag, "sha256": file.sha256})

    def _append(self, line: Mapping[str, Any]) -> None:
        # One write: a line that was cut off by a kill is the last, and is read as none. A line of its own follows it.
        content = b"\n" + json.dumps(line).encode() + b"\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, content)
        finally:
            os.close(handle)


def _lines(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
