"""Judges an archive as a whole, before anything of it is used: structure, names, digests, and what units claim to be.

Two walks over the file: the first looks at its structure alone, the second reads every byte. What is held is one line
for each unit, the items, and one unit's members at a time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.done import Done, Outcome
from carryon_core.errors import SpecError
from carryon_core.fingerprint import CONTRACT
from carryon_core.messages import ModelPin
from carryon_core.resolve import ResolvedJob, resolve
from carryon_core.spec import JobSpec
from carryon_jobs.archive import documents, members
from carryon_jobs.archive.documents import Object
from carryon_jobs.archive.errors import BadArchive
from carryon_jobs.archive.members import InputLine, Kind, Line, Manifest, UnitMember
from carryon_jobs.archive.reading import Member, ZipReader, first_documents

_LINE_LONGEST: Final = 16 << 10
_SEGMENT_HEADER_MOST: Final = 64 << 20
_TAR_BLOCK: Final = 512
_TAR_MAGIC: Final = slice(257, 262)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_ID_LONGEST: Final = 128
_IMAGES_MOST: Final = 100

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
        images: Worker images that began journals: pods of those units run them. The first hundred.
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
        self._texts: dict[str, bytes] = {}
        self._files: dict[str, int] = {}
        self._unit: _Unit | None = None
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
            _check_pin(member.name, content or b"")
        elif member.name in (members.MANIFEST, members.JOB, members.INPUTS, members.ITEMS):
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
        manifest = members.parse_manifest(self._texts[members.MANIFEST])
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
            manifest=manifest,
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
            return hashlib.sha256(content).hexdigest(), content[:_TAR_BLOCK], content
        if self._reader.part(member) is None:
            raise BadArchive(f"{member.name} is compressed: give the archive as it was exported")
        digest, first = hashlib.sha256(), b""
        for piece in self._reader.read(member):
            first = first or piece[:_TAR_BLOCK]
            digest.update(piece)
        return digest.hexdigest(), first, None

    def _take_unit(self, unit: UnitMember, member: Member, digest: str, first: bytes, content: bytes | None) -> None:
        if self._unit is None or self._unit.folder != unit.unit:
            self._close_unit()
            self._unit = _Unit(unit.unit)
        match unit.kind:
            case Kind.DONE:
                self._unit.done = content
                return
            case Kind.SEGMENT:
                _check_segment(member, first)
            case Kind.SNAPSHOT:
                _check_snapshot(member, first)
            case Kind.FIELDS:
                image = _image(member, content or b"")
                if image and len(self._images) < _IMAGES_MOST:
                    self._images.add(image)
        self._unit.members[unit.name] = (member.size, digest)
        self._unit.kept |= unit.kind is not Kind.ARTIFACT

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


@dataclass
class _Unit:
    """What the archive holds of one unit.

    Attributes:
        members: Name in the unit's folder -> size and digest; done.json aside.
        kept: Something of it is no artifact.
    """

    folder: str
    members: dict[str, tuple[int, str]] = field(default_factory=dict)
    done: bytes | None = None
    kept: bool = False

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


def _check_pin(name: str, content: bytes) -> None:
    try:
        pin = ModelPin.model_validate_json(content)
    except ValidationError:
        raise BadArchive(f"{name} names no commit of a model") from None
    if layout.model_pin_key("", "", pin.model, pin.revision or "").rpartition("/")[2] != members.pin_name(name):
        raise BadArchive(f"{name} is of another model than its name says")


def _check_segment(member: Member, first: bytes) -> None:
    """Make sure that it begins as safetensors do: nothing else is ever opened as a piece of a journal."""
    length = int.from_bytes(first[:8], "little")
    if member.size < 10 or not 0 < length <= min(member.size - 8, _SEGMENT_HEADER_MOST) or first[8:9] != b"{":
        pickled = " (it may be a pickle, which runs programs when it is opened)" if first[:1] == b"\x80" else ""
        raise BadArchive(f"{member.name} is no safetensors file{pickled}")


def _check_snapshot(member: Member, first: bytes) -> None:
    """Make sure that it begins as a tar does; the worker that unpacks it takes plain files only, inside its folder."""
    if member.size % _TAR_BLOCK or (first[_TAR_MAGIC] != b"ustar" and any(first)):
        raise BadArchive(f"{member.name} is no folder that a worker has packed")


def _image(member: Member, content: bytes) -> str:
    """The worker image that a journal names; "" where it does not."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadArchive(f"{member.name} is no JSON object")
    named = found.get(layout.JOURNAL_IMAGE)
    return named if isinstance(named, str) else ""


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
        for line in text.decode().split("\n"):
            if not line:
                continue
            row = json.loads(line)
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
