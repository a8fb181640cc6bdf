"""What members of an archive claim to be, and whether they can be that. Pure.

Raises:
    BadArchive: In every function: it can't.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.done import Done
from carryon_core.fingerprint import CONTRACT
from carryon_core.messages import ModelPin
from carryon_jobs.archive import members
from carryon_jobs.archive.errors import BadArchive

FIRST: Final = 512
"""Bytes of a member by which its kind is judged: a block of a tar."""
_IMAGE: Final = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._/:@\[\]-]{0,511}")
"""What registries, names, tags and digests are made of: nothing that could hide on a screen."""
_TAR_MAGIC: Final = slice(257, 262)
_SEGMENT_HEADER_MOST: Final = 64 << 20


@dataclass
class UnitClaims:
    """What the archive holds of one unit.

    Attributes:
        members: Name in the unit's folder -> size and digest; done.json aside.
        done: Content of that, if it is there.
    """

    folder: str
    members: dict[str, tuple[int, str]] = field(default_factory=dict)
    done: bytes | None = None

    def check_done(self, content: bytes) -> Done:
        """The done.json of a unit that has just the artifacts which it describes."""
        name = f"{members.UNITS}{self.folder}/{layout.DONE}"
        try:
            done = Done.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise BadArchive(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        stage, item, version = self.folder.split("/")
        if done.contract != CONTRACT:
            raise BadArchive(f"{name} is of contract {done.contract}, and this version of Carryon has {CONTRACT}")
        if (done.stage, layout.encode_id(done.item), done.fingerprint[:16]) != (stage, item, version):
            raise BadArchive(f"{name} describes another unit than the one whose folder it lies in")
        described = {each.key: (each.size, each.sha256) for each in done.artifacts}
        if len(described) != len(done.artifacts) or described != self.members:
            wrong = sorted(key for key in {*described, *self.members} if described.get(key) != self.members.get(key))
            raise BadArchive(f"{name} and the artifacts beside it do not fit each other: {', '.join(wrong[:3])}")
        return done

    def check_kept(self) -> None:
        """Make sure that what has no done.json is no artifact either."""
        if stray := [name for name in self.members if "/" not in name]:
            raise BadArchive(
                f"{members.UNITS}{self.folder}/{stray[0]} belongs to no finished unit: there is no done.json"
            )


def check_pin(name: str, content: bytes) -> None:
    """Make sure that it names a commit of the model that its own name stands for."""
    try:
        pin = ModelPin.model_validate_json(content)
    except ValidationError:
        raise BadArchive(f"{name} names no commit of a model") from None
    if layout.model_pin_key("", "", pin.model, pin.revision or "").rpartition("/")[2] != members.pin_name(name):
        raise BadArchive(f"{name} is of another model than its name says")


def check_segment(name: str, size: int, first: bytes) -> None:
    """Make sure that it begins as safetensors do: nothing else is ever opened as a piece of a journal."""
    length = int.from_bytes(first[:8], "little")
    if size < 10 or not 0 < length <= min(size - 8, _SEGMENT_HEADER_MOST) or first[8:9] != b"{":
        pickled = " (it may be a pickle, which runs programs when it is opened)" if first[:1] == b"\x80" else ""
        raise BadArchive(f"{name} is no safetensors file{pickled}")


def check_snapshot(name: str, size: int, first: bytes) -> None:
    """Make sure that it begins as a tar does; the worker that unpacks it takes plain files only, inside its folder."""
    if size % FIRST or (first[_TAR_MAGIC] != b"ustar" and any(first)):
        raise BadArchive(f"{name} is no folder that a worker has packed")


def image(name: str, content: bytes) -> str:
    """The worker image that a journal names; "" where it does not."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadArchive(f"{name} is no JSON object")
    named = found.get(layout.JOURNAL_IMAGE)
    if not isinstance(named, str) or not named:
        return ""
    if not _IMAGE.fullmatch(named):
        raise BadArchive(f"{name} names {named[:100]!a} as a worker image, which is no name of one")
    return named
