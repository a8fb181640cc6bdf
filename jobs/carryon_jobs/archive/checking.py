"""Judges an archive as a whole, before anything of it is used: structure, names, digests, and what units claim to be.

Two walks over the file: the first looks at its structure alone, the second reads every byte. What is held is one line
for each unit, the items, and one unit's members at a time.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.done import Outcome
from carryon_core.errors import SpecError
from carryon_core.resolve import ITEMS_MOST, ResolvedJob, resolve
from carryon_core.spec import JobSpec
from carryon_jobs.archive import claims, documents, members
from carryon_jobs.archive.claims import UnitClaims
from carryon_jobs.archive.documents import Object
from carryon_jobs.archive.errors import BadArchive
from carryon_jobs.archive.members import InputLine, Kind, Line, Manifest, UnitMember
from carryon_jobs.archive.reading import Member, ZipReader, first_documents

_LINE_LONGEST: Final = 16 << 10
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ID_LONGEST: Final = 128
_IMAGES_MOST: Final = 50
"""Worker images that journals may name: each of them is shown to whoever imports them."""

Rows = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Archive:
    """An archive in which everything is what it says.

    Attributes:
        job: As job.yaml has it.
        rows: (id, params) of its items.
        inputs: Uri -> file, of those that its parameters name.
        resolved: Its units, where it comes from.
        done: Folders of units that are done -> their fingerprints, 64 hex digits, and how they ended.
        kept: Folders of units of which something is kept.
        images: Worker images that began journals: pods of those units run them.
    """

    reader: ZipReader = field(repr=False)
    manifest: Manifest
    job: Object = field(repr=False)
    spec: JobSpec = field(repr=False)
    rows: Rows = field(repr=False)
    inputs: Mapping[str, InputLine] = field(repr=False)
    resolved: ResolvedJob = field(repr=False)
    done: Mapping[str, tuple[str, Outcome]] = field(repr=False)
    kept: frozenset[str] = field(repr=False)
    images: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """The first two members of an archive: enough for a look at what it is."""

    manifest: Manifest
    job: Object
    spec: JobSpec


def look(head: bytes) -> Head:
    """What the first bytes of an archive tell; nothing else of it is checked.

    Raises:
        Incomplete: They are too few.
        BadArchive: They do not begin an archive.
    """
    found = first_documents(head, 2, members.JOB_LARGEST)
    if list(found) != [members.MANIFEST, members.JOB]:
        raise BadArchive(f"it is no .carryon archive: its first members are not {members.MANIFEST} and {members.JOB}")
    job = documents.parse_job(found[members.JOB])
    return Head(members.parse_manifest(found[members.MANIFEST]), job, documents.parse_spec(job))


def check(descriptor: int) -> Archive:
    """Judge an archive.

    Args:
        descriptor: Of the file, which must stay as it is.

    Raises:
        BadArchive: Anything in it is not as it should be: the sentence says what.
    """
    reader = ZipReader(descriptor)
    last = _check_order(reader)
    walk = _Walk(reader)
    lines = _lines(reader, last)
    for member in reader.members():
        if member.name == members.CONTENTS:
            break
        walk.take(member, next(lines, None))
    if next(lines, None) is not None:
        raise BadArchive(f"{members.CONTENTS} names members that the archive does not have")
    return walk.end()


def _check_order(reader: ZipReader) -> Member:
    """Make sure that members stand in their order, each once, and return the last of them."""
    before: Member | None = None
    for number, member in enumerate(reader.members()):
        first = (members.MANIFEST, members.JOB)
        if number < len(first):
            if member.name != first[number]:
                raise BadArchive(f"{first[number]} is not where it belongs: give the archive as it was exported")
        elif before is not None and member.name != members.CONTENTS and number > len(first):
            if before.name == member.name:
                raise BadArchive(f"{member.name} is in it twice")
            if before.name.encode() >= member.name.encode():
                raise BadArchive(f"{member.name} is not where it belongs: give the archive as it was exported")
        if before is not None and before.name == members.CONTENTS:
            raise BadArchive(f"{member.name} stands behind {members.CONTENTS}, which ends an archive")
        before = member
    if before is None or before.name != members.CONTENTS:
        raise BadArchive(f"it has no {members.CONTENTS} at its end: it is no archive, or a part of one")
    return before


def _lines(reader: ZipReader, member: Member) -> Iterator[Line]:
    """What contents.jsonl says, line by line."""
    rest = b""
    for piece in reader.read(member):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield _line(line)
        if len(rest) > _LINE_LONGEST:
            break
    if rest:
        raise BadArchive(f"{members.CONTENTS} does not end in a whole line")


def _line(text: bytes) -> Line:
    try:
        return Line.model_validate_json(text)
    except ValidationError:
        raise BadArchive(f"{members.CONTENTS} holds a line that describes no member: {text[:80]!a}") from None


class _Walk:
    """One walk over all members."""

    def __init__(self, reader: ZipReader) -> None:
        self._reader = reader
        self._manifest: Manifest | None = None
        self._texts: dict[str, bytes] = {}
        self._files: dict[str, int] = {}
        self._unit: UnitClaims | None = None
        self._done: dict[str, tuple[str, Outcome]] = {}
        self._kept: set[str] = set()
        self._images: set[str] = set()

    def take(self, member: Member, line: Line | None) -> None:
        """Read one member and compare it with what contents.jsonl says.

        Raises:
            BadArchive: It is something else.
        """
        if line is None or line.name != member.name:
            raise BadArchive(f"{members.CONTENTS} does not name {member.name} where it stands")
        unit = members.unit_member(member.name)
        digest, first, content = self._read(member, _largest(member.name, unit))
        if line.size != member.size or line.sha256 != digest:
            raise BadArchive(f"{member.name} is not what it was when the archive was made: its SHA-256 differs")
        if unit is not None:
            self._take_unit(unit, member, digest, first, content)
        elif (named := members.file_digest(member.name)) is not None:
            if named != digest:
                raise BadArchive(f"{member.name} is not the file that its name says")
            self._files[digest] = member.size
        elif members.pin_name(member.name) is not None:
            claims.check_pin(member.name, content or b"")
        elif member.name == members.MANIFEST:
            # At once: another version may be another format.
            self._manifest = members.parse_manifest(content or b"")
        elif member.name in (members.JOB, members.INPUTS, members.ITEMS):
            self._texts[member.name] = content or b""
        else:
            raise members.unknown(member.name)

    def end(self) -> Archive:
        """What all of it comes to.

        Raises:
            BadArchive: Parts of it do not fit each other.
        """
        self._close_unit()
        for name in (members.INPUTS, members.ITEMS):
            if name not in self._texts:
                raise BadArchive(f"it has no {name}: give it as it was exported")
        assert self._manifest is not None, "the order of members was checked"
        job = documents.parse_job(self._texts[members.JOB])
        spec = documents.parse_spec(job)
        inputs = _inputs(self._texts[members.INPUTS], self._files)
        rows = _rows(self._texts[members.ITEMS])
        resolved = _resolved(job, spec, rows, inputs)
        if resolved.items.encode() != self._texts[members.ITEMS]:
            raise BadArchive(f"{members.ITEMS} does not hold the items that {members.JOB} names")
        _check_units(resolved, [*self._done, *self._kept])
        return Archive(
            reader=self._reader,
            manifest=self._manifest,
            job=job,
            spec=spec,
            rows=rows,
            inputs=inputs,
            resolved=resolved,
            done=self._done,
            kept=frozenset(self._kept),
            images=tuple(sorted(self._images)),
        )

    def _read(self, member: Member, most: int | None) -> tuple[str, bytes, bytes | None]:
        """Digest, first bytes, and the content of what may have so many bytes at most."""
        if most is not None:
            content = self._reader.document(member, most)
            return hashlib.sha256(content).hexdigest(), content[: claims.FIRST], content
        if self._reader.part(member) is None:
            raise BadArchive(f"{member.name} is compressed: give the archive as it was exported")
        digest, first = hashlib.sha256(), b""
        for piece in self._reader.read(member):
            first = first or piece[: claims.FIRST]
            digest.update(piece)
        return digest.hexdigest(), first, None

    def _take_unit(self, unit: UnitMember, member: Member, digest: str, first: bytes, content: bytes | None) -> None:
        if self._unit is None or self._unit.folder != unit.unit:
            self._close_unit()
            self._unit = UnitClaims(unit.unit)
        match unit.kind:
            case Kind.DONE:
                self._unit.done = content
                return
            case Kind.SEGMENT:
                claims.check_segment(member.name, member.size, first)
            case Kind.SNAPSHOT:
                claims.check_snapshot(member.name, member.size, first)
            case Kind.FIELDS:
                image = claims.image(member.name, content or b"")
                if image:
                    self._images.add(image)
                if len(self._images) > _IMAGES_MOST:
                    raise BadArchive(
                        f"half-made units name more than {_IMAGES_MOST} worker images, more than anybody looks at:"
                        " export the job without checkpoints"
                    )
        self._unit.members[unit.name] = (member.size, digest)

    def _close_unit(self) -> None:
        if self._unit is None:
            return
        if self._unit.done is not None:
            done = self._unit.check_done(self._unit.done)
            self._done[self._unit.folder] = (done.fingerprint, done.outcome)
        else:
            self._unit.check_kept()
            self._kept.add(self._unit.folder)
        self._unit = None


def _largest(name: str, unit: UnitMember | None) -> int | None:
    """Bytes of what is read as a whole; None of what passes through."""
    if unit is not None:
        return {Kind.DONE: members.DONE_LARGEST, Kind.FIELDS: members.FIELDS_LARGEST}.get(unit.kind)
    if members.file_digest(name) is not None:
        return None
    known = {
        members.MANIFEST: members.MANIFEST_LARGEST,
        members.JOB: members.JOB_LARGEST,
        members.INPUTS: members.LINES_LARGEST,
        members.ITEMS: members.LINES_LARGEST,
    }
    return known.get(name, members.PIN_LARGEST)


def _inputs(text: bytes, files: Mapping[str, int]) -> dict[str, InputLine]:
    made: dict[str, InputLine] = {}
    for line in text.splitlines():
        try:
            found = InputLine.model_validate_json(line)
        except ValidationError:
            raise BadArchive(f"{members.INPUTS} holds a line that describes no file: {line[:80]!a}") from None
        if found.uri in made:
            raise BadArchive(f"{members.INPUTS} has {found.uri[:80]!a} twice")
        if files.get(found.sha256) != found.size:
            raise BadArchive(f"{found.uri[:80]!a} is not in the archive, or in another size than it says")
        made[found.uri] = found
    if stray := set(files) - {each.sha256 for each in made.values()}:
        raise BadArchive(f"{members.FILES}{min(stray)} belongs to no parameter of the job")
    return made


def _rows(text: bytes) -> Rows:
    rows: list[tuple[str, Mapping[str, Any]]] = []
    try:
        # Line by line: a small archive may hold any number of blank or short ones.
        for line in io.BytesIO(text):
            if line == b"\n":
                continue
            if len(rows) == ITEMS_MOST:
                raise ValueError(f"there are more than {ITEMS_MOST} items")
            row = json.loads(line.decode())
            item, params = row["id"], row.get("params", {})
            if not isinstance(item, str) or not isinstance(params, dict):
                raise TypeError("id must be text, params an object")
            if not 0 < len(item) <= _ID_LONGEST or _CONTROL.search(item):
                raise ValueError(f"{item[:40]!a} is no id")
            rows.append((item, params))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadArchive(f"{members.ITEMS}, line {len(rows) + 1}: {error}") from None
    return rows


def _resolved(job: Object, spec: JobSpec, rows: Rows, inputs: Mapping[str, InputLine]) -> ResolvedJob:
    namespace, name = str(job["metadata"].get("namespace") or "default"), job["metadata"]["name"]
    try:
        return resolve(namespace, name, spec, rows, {uri: line.sha256 for uri, line in inputs.items()})
    except SpecError as error:
        raise BadArchive(f"{members.JOB} can't be carried out: {error.message}") from None


def _check_units(resolved: ResolvedJob, folders: Sequence[str]) -> None:
    """Make sure that every unit is one of this job."""
    known = {
        stage.name: {layout.encode_id(resolved.item_id(stage.index, unit.item)) for unit in stage.units}
        for stage in resolved.stages
    }
    for folder in folders:
        stage, item, _ = folder.split("/")
        if item not in known.get(stage, ()):
            raise BadArchive(f"{members.UNITS}{folder} is of no unit that the job has")
