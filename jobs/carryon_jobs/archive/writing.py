"""Writes a zip as a stream, without ever going back: constant memory but for some hundred bytes a member.

Documents are held in memory and compressed. What is large passes through as it is: pictures, clips and tensors do not
become smaller. Its checksum is known only afterwards, so it stands behind the content (APPNOTE 4.3.9). Nothing lies
before, between or behind the members: `reading` insists on that.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

LOCAL: Final = struct.Struct("<4s5H3I2H")
CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
END: Final = struct.Struct("<4s4H2IH")
END64: Final = struct.Struct("<4sQ2H2I4Q")
LOCATOR: Final = struct.Struct("<4sIQI")
LOCAL_MARK: Final = b"PK\3\4"
CENTRAL_MARK: Final = b"PK\1\2"
DESCRIPTOR_MARK: Final = b"PK\7\x08"
END_MARK: Final = b"PK\5\6"
END64_MARK: Final = b"PK\6\6"
LOCATOR_MARK: Final = b"PK\6\7"

UTF8: Final = 0x800
BEHIND: Final = 0x8
"""Flag: checksum and sizes stand behind the content."""
STORED: Final = 0
DEFLATED: Final = 8
HUGE: Final = 0xFFFFFFFF
"""In a field of 32 bits: the number stands in the member's zip64 field."""
MANY: Final = 0xFFFF
ZIP64: Final = 1
"""Id of the zip64 field."""
_PLAIN: Final = 20
_LARGE: Final = 45
"""Versions of the format that a reader has to know."""
_UNIX: Final = 3 << 8
_FILE: Final = 0o100644 << 16
_DATE: Final = 0x21
"""1980-01-01: equal content makes equal archives."""
_PIECE: Final = 1 << 20
RATIO_MOST: Final = 100
"""Documents that would become smaller than that are left as they are: `reading` takes them for bombs."""


class ZipWriter:
    """One zip that is being written; each method yields the bytes that come next."""

    def __init__(self) -> None:
        self._at = 0
        self._members = 0
        self._directory = bytearray()
        self._contents = _Contents()

    @property
    def members(self) -> int:
        """Members so far."""
        return self._members

    def document(self, name: str, content: bytes) -> Iterator[bytes]:
        """A member whose content is at hand."""
        self._contents.add(name, len(content), hashlib.sha256(content).hexdigest())
        packed = _deflated(content)
        method = DEFLATED if packed is not content else STORED
        yield from self._whole(name, method, packed, zlib.crc32(content), len(content))

    def stream(self, name: str, size: int, pieces: Iterable[bytes], sha256: str | None = None) -> Iterator[bytes]:
        """A member that passes through.

        Args:
            name: Of the member.
            size: Bytes of its content.
            pieces: The content.
            sha256: Of the content, where that is known beforehand.

        Raises:
            ValueError: The content is not of that size or digest; the archive is then of no use.
        """
        large = size >= HUGE
        yield self._local(name, _LARGE if large else _PLAIN, UTF8 | BEHIND, STORED, (0, 0, 0), large=large)
        digest, checksum, seen = hashlib.sha256(), 0, 0
        for piece in pieces:
            seen += len(piece)
            digest.update(piece)
            checksum = zlib.crc32(piece, checksum)
            self._at += len(piece)
            yield piece
        if seen != size:
            raise ValueError(f"{name} has {seen} bytes instead of {size}")
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ValueError(f"{name} is damaged: its SHA-256 is not {sha256}")
        behind = struct.pack("<4sIQQ" if large else "<4sIII", DESCRIPTOR_MARK, checksum, size, size)
        self._at += len(behind)
        yield behind
        self._enter(UTF8 | BEHIND, STORED, (checksum, size, size))
        self._contents.add(name, size, digest.hexdigest())

    def contents(self, name: str) -> Iterator[bytes]:
        """The member that tells size and digest of all members before it, one JSON object a line."""
        content, checksum, size = self._contents.end()
        yield from self._whole(name, DEFLATED, content, checksum, size)

    def end(self) -> Iterator[bytes]:
        """The directory, which ends the archive."""
        start, size = self._at, len(self._directory)
        for begin in range(0, size, _PIECE):
            yield bytes(self._directory[begin : begin + _PIECE])
        if self._members >= MANY or start >= HUGE or size >= HUGE:
            yield END64.pack(
                END64_MARK, END64.size - 12, _UNIX | _LARGE, _LARGE, 0, 0, self._members, self._members, size, start
            )
            yield LOCATOR.pack(LOCATOR_MARK, 0, start + size, 1)
        count = min(self._members, MANY)
        yield END.pack(END_MARK, 0, 0, count, count, min(size, HUGE), min(start, HUGE), 0)

    def _whole(self, name: str, method: int, written: bytes, checksum: int, size: int) -> Iterator[bytes]:
        sizes = (checksum, len(written), size)
        yield self._local(name, _PLAIN, UTF8, method, sizes)
        self._at += len(written)
        yield written
        self._enter(UTF8, method, sizes)

    def _local(
        self, name: str, version: int, flags: int, method: int, sizes: tuple[int, int, int], *, large: bool = False
    ) -> bytes:
        self._name, self._start = name.encode(), self._at
        extra = struct.pack("<2H2Q", ZIP64, 16, 0, 0) if large else b""
        checksum, packed, size = sizes if not large else (0, HUGE, HUGE)
        head = LOCAL.pack(
            LOCAL_MARK, version, flags, method, 0, _DATE, checksum, packed, size, len(self._name), len(extra)
        )
        made = head + self._name + extra
        self._at += len(made)
        return made

    def _enter(self, flags: int, method: int, sizes: tuple[int, int, int]) -> None:
        checksum, packed, size = sizes
        large = [number for number in (size, packed, self._start) if number >= HUGE]
        extra = struct.pack(f"<2H{len(large)}Q", ZIP64, 8 * len(large), *large) if large else b""
        version = _LARGE if large else _PLAIN
        self._directory += CENTRAL.pack(
            CENTRAL_MARK,
            _UNIX | version,
            version,
            flags,
            method,
            0,
            _DATE,
            checksum,
            min(packed, HUGE),
            min(size, HUGE),
            len(self._name),
            len(extra),
            0,
            0,
            0,
            _FILE,
            min(self._start, HUGE),
        )
        self._directory += self._name + extra
        self._members += 1


class _Contents:
    """Lines about members, compressed as they come: names are long and alike."""

    def __init__(self) -> None:
        self._packing = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._packed = bytearray()
        self._checksum = 0
        self._size = 0

    def add(self, name: str, size: int, sha256: str) -> None:
        line = json.dumps({"name": name, "size": size, "sha256": sha256}, ensure_ascii=False).encode() + b"\n"
        self._packed += self._packing.compress(line)
        self._checksum = zlib.crc32(line, self._checksum)
        self._size += len(line)

    def end(self) -> tuple[bytes, int, int]:
        """Compressed content, checksum and size of what it is."""
        self._packed += self._packing.flush()
        return bytes(self._packed), self._checksum, self._size


def _deflated(content: bytes) -> bytes:
    """The content in fewer bytes, or itself where that gains nothing or too much."""
    packing = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packing.compress(content) + packing.flush()
    return packed if len(packed) < len(content) <= RATIO_MOST * len(packed) else content
