"""Archives as nobody should use them: each is a good one in which one thing was changed, with digests made to fit."""

from __future__ import annotations

import hashlib
import json
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from carryon_jobs.archive import members
from carryon_jobs.archive.reading import ZipReader

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")


@dataclass(frozen=True)
class Member:
    """A member as it is written; what is None is as a good one has it.

    Attributes:
        raw: Name as it stands in the file.
        size: That headers tell.
        at: Where the directory says that it begins.
    """

    name: str
    content: bytes
    method: int = 0
    flags: int = 0x800
    mode: int = stat.S_IFREG | 0o644
    raw: bytes | None = None
    size: int | None = None
    checksum: int | None = None
    at: int | None = None
    central_name: bytes | None = None


@dataclass
class Forged:
    """A zip by hand.

    Attributes:
        before: Bytes before its first member; `between` those before its directory, `after` those behind its end.
        told: The member contents.jsonl; None: one that fits.
    """

    members: list[Member]
    before: bytes = b""
    between: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    told: bytes | None = None
    lines: Callable[[list[dict[str, object]]], list[dict[str, object]]] = field(default=lambda lines: lines)

    def with_(self, *changed: Member) -> Forged:
        """With members in the place of those of the same name, or where they belong in the order."""
        for member in changed:
            names = [each.name for each in self.members]
            if member.name in names:
                self.members[names.index(member.name)] = member
            else:
                head, rest = self.members[:2], [*self.members[2:], member]
                self.members = [*head, *sorted(rest, key=lambda each: each.name.encode())]
        return self

    def edited(self, name: str, change: Callable[[bytes], bytes]) -> Forged:
        """With another content of a member."""
        found = self.find(name)
        return self.with_(replace(found, content=change(found.content)))

    def find(self, end: str) -> Member:
        """The first member whose name ends so."""
        return next(each for each in self.members if each.name.endswith(end))

    def without(self, end: str) -> Forged:
        """Without members whose names end so."""
        self.members = [each for each in self.members if not each.name.endswith(end)]
        return self

    def without_below(self, start: str) -> Forged:
        """Without members whose names begin so."""
        self.members = [each for each in self.members if not each.name.startswith(start)]
        return self

    def encode(self) -> bytes:
        """The file."""
        lines = self.lines(
            [
                {"name": each.name, "size": len(each.content), "sha256": hashlib.sha256(each.content).hexdigest()}
                for each in self.members
            ]
        )
        contents = "".join(json.dumps(line) + "\n" for line in lines).encode() if self.told is None else self.told
        every = [*self.members, Member(members.CONTENTS, contents)]
        made, directory = bytearray(self.before), bytearray()
        for each in every:
            packed = _deflated(each.content) if each.method == 8 else each.content
            start = each.at if each.at is not None else len(made)
            name = each.raw if each.raw is not None else each.name.encode()
            size = each.size if each.size is not None else len(each.content)
            checksum = each.checksum if each.checksum is not None else zlib.crc32(each.content)
            sizes = (checksum, len(packed), size)
            made += LOCAL.pack(b"PK\3\4", 20, each.flags, each.method, 0, 0x21, *sizes, len(name), 0) + name + packed
            listed = each.central_name or name
            directory += CENTRAL.pack(
                b"PK\1\2",
                0x314,
                20,
                each.flags,
                each.method,
                0,
                0x21,
                *sizes,
                len(listed),
                0,
                0,
                0,
                0,
                each.mode << 16,
                start,
            )
            directory += listed
        made += self.between
        start = len(made)
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(every), len(every), len(directory), start, len(self.comment))
        return bytes(made + directory + end + self.comment + self.after)


def taken_apart(descriptor: int) -> Forged:
    """A good archive, as what it is made of."""
    reader = ZipReader(descriptor)
    found = [Member(each.name, b"".join(reader.read(each))) for each in reader.members()]
    return Forged([each for each in found if each.name != members.CONTENTS])


def _deflated(content: bytes) -> bytes:
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packing.compress(content) + packing.flush()
