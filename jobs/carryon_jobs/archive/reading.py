"""Reads a zip strictly: the file is its members, one after the other from its first byte, then their directory.

With that one rule nothing lies before, between or behind the members, no two of them overlap, and directory and members
say the same: two programs can't see two different archives in one file. Nothing is held in memory but one member's
header, and nothing is unpacked further than its header says.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from carryon_jobs.archive import writing as zipped
from carryon_jobs.archive.errors import BadArchive, Incomplete
from carryon_store import Slice

MEMBERS_MOST: Final = 2_000_000
NAME_LONGEST: Final = 1024
DEEPEST: Final = 16
"""Folders, one in the other, of a member's name."""
_FLAGS: Final = zipped.UTF8 | zipped.BEHIND
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_SMALL: Final = 1 << 20
"""Bytes that a document may unpack to whatever its ratio."""
_GROWN_MOST: Final = 64 << 20
"""Bytes that all documents together may unpack to whatever their ratio."""
_PIECE: Final = 1 << 20
_RENAMED: Final = "is not as Carryon writes it: give the archive as it was exported"


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as the directory has it.

    Attributes:
        method: `STORED` or `DEFLATED`.
        start: Where its content begins in the file.
        packed: Bytes that it has there.
        size: Bytes of the content.
        end: Where the next member begins.
    """

    name: str
    method: int
    checksum: int
    start: int
    packed: int
    size: int
    end: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the directory."""

    name: bytes
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    at: int
    links: int


class ZipReader:
    """A zip in an open file.

    Args:
        descriptor: Of the file; read by position, so that several may read at the same time.
    """

    def __init__(self, descriptor: int) -> None:
        """Look at its end.

        Raises:
            BadArchive: It is no zip, is cut off, or something follows it.
        """
        self._file = descriptor
        self.size = os.fstat(descriptor).st_size
        self._directory, self._ends, self.count = self._end()

    def members(self) -> Iterator[Member]:
        """The members in their order, each after it was compared with its own header.

        Raises:
            BadArchive: They are not one after the other, or something about one is not allowed.
        """
        at, expected, seen, grown = self._directory, 0, 0, 0
        while at < self._ends:
            entry, at = self._entry(at)
            if entry.at != expected:
                raise BadArchive(f"{_shown(entry.name)} overlaps with another member, or there is a gap before it")
            member = self._member(entry)
            expected, seen = member.end, seen + 1
            grown += member.size if member.method == zipped.DEFLATED else 0
            if grown > _GROWN_MOST + zipped.RATIO_MOST * self.size:
                raise BadArchive(f"its {self.size} bytes would grow beyond {grown} bytes: it may be a bomb")
            yield member
        if seen != self.count or at != self._ends:
            raise BadArchive(f"its directory has {seen} members instead of {self.count}: it is damaged")
        if expected != self._directory:
            raise BadArchive("there is something between its last member and its directory, which belongs to neither")

    def read(self, member: Member) -> Iterator[bytes]:
        """A member's content in pieces of at most 1 MiB.

        Raises:
            BadArchive: It is not what its header says.
        """
        pieces = self._stored(member) if member.method == zipped.STORED else self._inflated(member)
        checksum = seen = 0
        for piece in pieces:
            seen += len(piece)
            checksum = zlib.crc32(piece, checksum)
            yield piece
        if seen != member.size or checksum != member.checksum:
            raise BadArchive(f"{member.name} is damaged: its checksum is not the one it was written with")

    def document(self, member: Member, most: int) -> bytes:
        """A member's content as a whole.

        Raises:
            BadArchive: It has more bytes than it may have, or is not what its header says.
        """
        if member.size > most:
            raise BadArchive(f"{member.name} has {member.size} bytes: at most {most} are taken")
        return b"".join(self.read(member))

    def part(self, member: Member) -> Slice | None:
        """The content as a part of the file; None where it is compressed."""
        return Slice(self._file, member.start, member.size) if member.method == zipped.STORED else None

    def _at(self, offset: int, size: int) -> bytes:
        found = os.pread(self._file, size, offset)
        if len(found) != size:
            raise BadArchive("it is cut off: copy or download it again")
        return found

    def _end(self) -> tuple[int, int, int]:
        """Where the directory begins and ends, and its members."""
        if self.size < zipped.END.size or self._at(0, 4) not in (zipped.LOCAL_MARK, zipped.END_MARK):
            raise BadArchive("it is no .carryon archive: it does not begin as one")
        at = self.size - zipped.END.size
        mark, disk, first, here, count, size, start, comment = zipped.END.unpack(self._at(at, zipped.END.size))
        if mark != zipped.END_MARK or comment:
            raise BadArchive("it does not end as an archive: it is cut off, or something was added to it")
        if zipped.MANY in (count, here) or zipped.HUGE in (size, start):
            at, count, here, size, start = self._end64(at)
        if disk or first or here != count:
            raise BadArchive("it is a part of an archive in several files: these are not taken")
        if count > MEMBERS_MOST:
            raise BadArchive(f"it has {count} members: at most {MEMBERS_MOST} are taken")
        if start + size != at:
            raise BadArchive("its directory is not where its end says: something was put before it or into it")
        return start, at, count

    def _end64(self, at: int) -> tuple[int, int, int, int, int]:
        at -= zipped.LOCATOR.size
        mark, disk, where, disks = zipped.LOCATOR.unpack(self._at(max(0, at), zipped.LOCATOR.size))
        at -= zipped.END64.size
        if mark != zipped.LOCATOR_MARK or disk or disks != 1 or where != at or at < 0:
            raise BadArchive("its end is damaged: copy or download it again")
        found = zipped.END64.unpack(self._at(at, zipped.END64.size))
        mark, length, _, _, disk, first, here, count, size, start = found
        if mark != zipped.END64_MARK or length != zipped.END64.size - 12 or disk or first:
            raise BadArchive("its end is damaged: copy or download it again")
        return at, count, here, size, start

    def _entry(self, at: int) -> tuple[_Entry, int]:
        """The line of the directory that begins somewhere, and where the next one does."""
        fields = zipped.CENTRAL.unpack(self._at(at, zipped.CENTRAL.size))
        mark, _, _, flags, method, _, _, checksum, packed, size, name, extra, comment, disk, _, mode, start = fields
        if mark != zipped.CENTRAL_MARK:
            raise BadArchive("its directory is damaged: copy or download it again")
        at += zipped.CENTRAL.size
        if at + name + extra + comment > self._ends:
            raise BadArchive("its directory is damaged: copy or download it again")
        called = self._at(at, name)
        if comment or disk:
            raise BadArchive(f"{_shown(called)} {_RENAMED}")
        missing = [number for number in (size, packed, start) if number == zipped.HUGE]
        large = iter(_large(called, self._at(at + name, extra), len(missing)))
        size, packed, start = (next(large) if number == zipped.HUGE else number for number in (size, packed, start))
        return _Entry(called, flags, method, checksum, packed, size, start, mode >> 16), at + name + extra

    def _member(self, entry: _Entry) -> Member:
        """A member whose own header says what the directory does."""
        name = check_name(entry.name)
        _check_kind(name, entry)
        head = zipped.LOCAL.unpack(self._at(entry.at, zipped.LOCAL.size))
        mark, _, flags, method, _, _, checksum, packed, size, length, extra = head
        after = entry.at + zipped.LOCAL.size
        if mark != zipped.LOCAL_MARK or flags != entry.flags or method != entry.method or length != len(entry.name):
            raise BadArchive(f"{name}: the member and the directory of the archive contradict each other")
        behind = bool(flags & zipped.BEHIND)
        large = entry.size >= zipped.HUGE
        told = (0, zipped.HUGE, zipped.HUGE) if large else (0, 0, 0)
        expected = told if behind else (entry.checksum, entry.packed, entry.size)
        if self._at(after, length) != entry.name or (checksum, packed, size) != expected:
            raise BadArchive(f"{name}: the member and the directory of the archive contradict each other")
        if extra != (20 if behind and large else 0):
            raise BadArchive(f"{name} {_RENAMED}")
        start = after + length + extra
        end = start + entry.packed
        if end > self._directory:
            raise BadArchive(f"{name} reaches beyond the members: the archive is damaged")
        if behind:
            form = "<4sIQQ" if large else "<4sIII"
            said = struct.unpack(form, self._at(end, struct.calcsize(form)))
            if said != (zipped.DESCRIPTOR_MARK, entry.checksum, entry.packed, entry.size):
                raise BadArchive(f"{name}: the member and the directory of the archive contradict each other")
            end += struct.calcsize(form)
        return Member(name, entry.method, entry.checksum, start, entry.packed, entry.size, end)

    def _stored(self, member: Member) -> Iterator[bytes]:
        for offset in range(0, member.size, _PIECE):
            yield self._at(member.start + offset, min(_PIECE, member.size - offset))

    def _inflated(self, member: Member) -> Iterator[bytes]:
        packed = (
            self._at(member.start + offset, min(_PIECE, member.packed - offset))
            for offset in range(0, member.packed, _PIECE)
        )
        yield from inflated(member.name, packed, member.size)


def first_documents(head: bytes, count: int, most: int) -> dict[str, bytes]:
    """The first members of an archive of which only the beginning is at hand: name -> content.

    Args:
        head: The first bytes.
        count: Members to read, which are documents.
        most: Bytes that one may have.

    Raises:
        Incomplete: They are not all in there.
        BadArchive: It is no archive of ours.
    """
    at, made = 0, dict[str, bytes]()
    while len(made) < count:
        if len(head) < at + zipped.LOCAL.size:
            raise Incomplete(f"the first {len(head)} bytes hold only {len(made)} of {count} documents: send more of it")
        fields = zipped.LOCAL.unpack_from(head, at)
        mark, _, flags, method, _, _, checksum, packed, size, length, extra = fields
        if mark != zipped.LOCAL_MARK or flags != zipped.UTF8 or method not in (zipped.STORED, zipped.DEFLATED) or extra:
            raise BadArchive("it is no .carryon archive: it does not begin as one")
        at += zipped.LOCAL.size
        name = check_name(head[at : at + length])
        if size > most:
            raise BadArchive(f"{name} has {size} bytes: at most {most} are taken")
        content = head[at + length : at + length + packed]
        if len(content) < packed:
            raise Incomplete(f"the first {len(head)} bytes end in {name}: send more of it")
        made[name] = content if method == zipped.STORED else b"".join(inflated(name, [content], size))
        if len(made[name]) != size or zlib.crc32(made[name]) != checksum:
            raise BadArchive(f"{name} is damaged: its checksum is not the one it was written with")
        at += length + packed
    return made


def inflated(name: str, packed: Iterator[bytes] | list[bytes], size: int) -> Iterator[bytes]:
    """What was compressed, and never more than was announced.

    Raises:
        BadArchive: It is something else.
    """
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    seen = 0
    try:
        for piece in packed:
            rest = piece
            while rest:
                made = unpacking.decompress(rest, min(_PIECE, size - seen + 1))
                rest = unpacking.unconsumed_tail
                seen += len(made)
                if seen > size or unpacking.unused_data:
                    raise BadArchive(f"{name} holds more than the {size} bytes it says: it may be a bomb")
                yield made
    except zlib.error as error:
        raise BadArchive(f"{name} is damaged: {error}") from None
    if not unpacking.eof:
        raise BadArchive(f"{name} is damaged: it breaks off")


def check_name(raw: bytes) -> str:
    """A member's name.

    Raises:
        BadArchive: It leads out of the archive, or no file should be called so.
    """
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise BadArchive(f"{_shown(raw)} is a name that is no UTF-8") from None
    if not name or len(raw) > NAME_LONGEST:
        raise BadArchive(f"{_shown(raw)} is no name: names have 1 to {NAME_LONGEST} bytes")
    if name.startswith("/") or "\\" in name or name[1:2] == ":":
        raise BadArchive(
            f"{_shown(raw)} is an absolute path, or one of another system: members must lie in the archive"
        )
    parts = name.split("/")
    if any(part in (".", "..") for part in parts):
        raise BadArchive(f"{_shown(raw)} leads out of the archive: names must not hold . or ..")
    if "" in parts:
        raise BadArchive(f"{_shown(raw)} is a folder, or no plain path: an archive holds files only")
    if len(parts) > DEEPEST:
        raise BadArchive(f"{_shown(raw)} lies {len(parts)} folders deep: at most {DEEPEST} are taken")
    if any(character < " " or character == "\x7f" for character in name):
        raise BadArchive(f"{_shown(raw)} holds control characters")
    return name


def _check_kind(name: str, entry: _Entry) -> None:
    """Make sure that it is a plain file, in plain sight, and that it does not unpack to something huge."""
    kind = stat.S_IFMT(entry.links)
    if kind == stat.S_IFLNK:
        raise BadArchive(f"{name} is a link: an archive holds files only")
    if kind not in (0, stat.S_IFREG):
        raise BadArchive(f"{name} is no regular file: an archive holds nothing else")
    if entry.flags & _ENCRYPTED:
        raise BadArchive(f"{name} is encrypted: export the archive without a password")
    if entry.flags & ~_FLAGS or not entry.flags & zipped.UTF8:
        raise BadArchive(f"{name} {_RENAMED}")
    if entry.method not in (zipped.STORED, zipped.DEFLATED):
        raise BadArchive(f"{name} is compressed in a way (method {entry.method}) that is not taken")
    if entry.method == zipped.STORED and entry.packed != entry.size:
        raise BadArchive(f"{name}: the member and the directory of the archive contradict each other")
    if entry.method == zipped.DEFLATED and entry.flags & zipped.BEHIND:
        raise BadArchive(f"{name} {_RENAMED}")
    if entry.size > max(_SMALL, zipped.RATIO_MOST * entry.packed):
        raise BadArchive(f"{name} would grow from {entry.packed} to {entry.size} bytes: it may be a bomb")


def _large(name: bytes, extra: bytes, wanted: int) -> tuple[int, ...]:
    """Numbers that have no room in 32 bits."""
    if not wanted and not extra:
        return ()
    if len(extra) != 4 + 8 * wanted or struct.unpack_from("<2H", extra) != (zipped.ZIP64, 8 * wanted):
        raise BadArchive(f"{_shown(name)} {_RENAMED}")
    return struct.unpack_from(f"<{wanted}Q", extra, 4)


def _shown(name: bytes) -> str:
    """A name that somebody else has chosen, in a sentence."""
    return ascii(name[:80].decode("utf-8", "replace"))
