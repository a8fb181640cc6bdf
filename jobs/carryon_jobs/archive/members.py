"""What lies in an archive, by name, and the two documents that it begins with. Pure.

manifest.json, job.yaml, then everything else in order of the names' bytes, then contents.jsonl: so a look at the first
bytes tells what it is, no name can stand there twice, and digests need not be known before something is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from carryon_core import layout
from carryon_core.done import Sha256
from carryon_core.schema import Loose
from carryon_jobs.archive.errors import BadArchive

SUFFIX: Final = ".carryon"
CONTENT_TYPE: Final = "application/zip"
FORMAT: Final = "carryon-archive"
VERSION: Final = 1

MANIFEST: Final = "manifest.json"
JOB: Final = "job.yaml"
INPUTS: Final = "inputs.jsonl"
ITEMS: Final = "items.jsonl"
CONTENTS: Final = "contents.jsonl"
FILES: Final = "files/"
PINS: Final = "models/"
UNITS: Final = "units/"

MANIFEST_LARGEST: Final = 1 << 20
JOB_LARGEST: Final = 4 << 20
HEAD_LARGEST: Final = 6 << 20
"""Bytes in which the first two documents are, at most."""
LINES_LARGEST: Final = 256 << 20
PIN_LARGEST: Final = 64 << 10
FIELDS_LARGEST: Final = 1 << 20
DONE_LARGEST: Final = 4 << 20
HALF_DONE_SHOWN: Final = 200
"""Half-done units that the manifest tells about one by one."""

_FILE: Final = re.compile(rf"{FILES}([0-9a-f]{{64}})")
_PIN: Final = re.compile(rf"{PINS}([0-9a-f]{{32}}\.json)")
_UNIT: Final = re.compile(rf"{UNITS}([a-z](?:[-a-z0-9]*[a-z0-9])?)/([^/]+)/([0-9a-f]{{16}})/(.+)")
_WORKER: Final = rf"{layout.JOURNAL}[0-9a-f]{{{layout.WORKER_DIGITS}}}/"
_FIELDS: Final = re.compile(rf"{_WORKER}fingerprint\.json")
_SEGMENT: Final = re.compile(rf"{_WORKER}[^/]+/\d{{6,12}}\.safetensors")
_SNAPSHOT: Final = re.compile(rf"{layout.CHECKPOINT}\d{{6,12}}\.[0-9a-f]{{16}}\.tar")
_PICKLES: Final = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz")


class Kind(StrEnum):
    """What a member of a unit is."""

    DONE = "done"
    ARTIFACT = "artifact"
    FIELDS = "fields"
    """What a journal was computed with."""
    SEGMENT = "segment"
    """A piece of a journal."""
    SNAPSHOT = "snapshot"
    """A folder that a program keeps."""


@dataclass(frozen=True, slots=True)
class UnitMember:
    """A member that belongs to a unit.

    Attributes:
        unit: Of the unit, as in the bucket: stage/item id, encoded/16 digits of its fingerprint.
        name: Relative to that.
    """

    unit: str
    name: str
    kind: Kind

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self.unit.partition("/")[0]


class Origin(Loose):
    """Where an archive comes from."""

    namespace: str
    name: str
    uid: str = ""
    carryon: str = Field(default="", description="Version that wrote it.")


class StageSummary(Loose):
    """One stage, in numbers."""

    name: str
    total: int = Field(ge=0)
    done: int = Field(ge=0, description="Units of it whose artifacts the archive holds.")


class HalfDone(Loose):
    """A unit that is not done, of which something was kept."""

    stage: str
    item: str
    unit: str = Field(description="Its folder: stage/item id, encoded/16 digits of its fingerprint.")
    step: int | None = Field(default=None, description="Steps that are kept; null where nobody knows.")
    steps: int | None = Field(default=None, description="Steps in all, where the parameters say so.")
    device: str = Field(default="", description="On which its journal was computed.")
    image: str = Field(default="", description="Of the worker that began its journal.")


class Manifest(Loose):
    """The first member."""

    format: Literal["carryon-archive"]
    version: int
    created: str = Field(description="RFC 3339, UTC.")
    origin: Origin
    phase: str = Field(default="", description="Of the job when it was exported.")
    artifacts: bool = Field(description="Finished units are in it.")
    checkpoints: bool = Field(description="What is kept of half-done units is in it.")
    items: int = Field(ge=0)
    stages: list[StageSummary]
    half_done: Annotated[list[HalfDone], Field(max_length=HALF_DONE_SHOWN)] = Field(
        default_factory=list, description="The first 200."
    )
    half_done_total: int = Field(default=0, ge=0)
    left_out: list[str] = Field(default_factory=list, description="Fields of the job that stayed behind.")

    @property
    def total(self) -> int:
        """Units of all stages."""
        return sum(stage.total for stage in self.stages)

    @property
    def done(self) -> int:
        """Finished units that are in it."""
        return sum(stage.done for stage in self.stages)


class Line(Loose):
    """One line of contents.jsonl: a member."""

    name: str
    size: int = Field(ge=0)
    sha256: Sha256


class InputLine(Loose):
    """One line of inputs.jsonl: a file that the job's parameters name."""

    uri: str
    sha256: Sha256
    size: int = Field(ge=0)


def parse_manifest(content: bytes) -> Manifest:
    """The manifest.

    Raises:
        BadArchive: It is none, or of another version.
    """
    try:
        made = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadArchive(f"{MANIFEST} is none of Carryon's: {where + ': ' if where else ''}{first['msg']}") from None
    if made.version != VERSION:
        raise BadArchive(
            f"it has format version {made.version}, and this version of Carryon reads {VERSION}: use the one that made"
            " it, or a newer one"
        )
    return made


def unit_member(name: str) -> UnitMember | None:
    """The unit that a member belongs to; None where it belongs to none.

    Raises:
        BadArchive: It lies among the units, and is nothing that a unit has.
    """
    if not name.startswith(UNITS):
        return None
    found = _UNIT.fullmatch(name)
    kind = _kind(found[4]) if found is not None else None
    if found is None or kind is None:
        raise unknown(name)
    return UnitMember(f"{found[1]}/{found[2]}/{found[3]}", found[4], kind)


def file_digest(name: str) -> str | None:
    """SHA-256 of the input file that a member is, None where it is none."""
    found = _FILE.fullmatch(name)
    return found[1] if found else None


def pin_name(name: str) -> str | None:
    """Name of the pinned model that a member is, None where it is none."""
    found = _PIN.fullmatch(name)
    return found[1] if found else None


def unknown(name: str) -> BadArchive:
    """What is said of a member that nobody knows."""
    if name.lower().endswith(_PICKLES):
        return BadArchive(
            f"{name} may be a pickle, which runs programs when it is opened: nothing of the kind is taken; checkpoints"
            " are safetensors, or folders packed by a worker"
        )
    return BadArchive(f"{name} is nothing that an archive holds: give it as it was exported")


def _kind(name: str) -> Kind | None:
    if name == layout.DONE:
        return Kind.DONE
    if "/" not in name:
        return Kind.ARTIFACT
    for kind, form in ((Kind.FIELDS, _FIELDS), (Kind.SEGMENT, _SEGMENT), (Kind.SNAPSHOT, _SNAPSHOT)):
        if form.fullmatch(name):
            return kind
    return None
