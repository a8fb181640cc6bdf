"""A unit in the bucket: artifacts named by their content, then done.json, which only the first writer gets to write.

Whoever is killed between the two leaves objects that nothing refers to. Whoever comes late, from before a partition,
finds done.json taken and can't change what it describes, because other content has another name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from carryon_core import layout
from carryon_core.done import Artifact, Done
from carryon_store.errors import Conflict, NotFound, TooLarge
from carryon_store.protocol import JSON_TYPE, Store

_DONE_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a done.json: some ten thousand artifacts."""


@dataclass(frozen=True, slots=True)
class File:
    """A finished file of a unit, still on this machine.

    Attributes:
        name: Name the generator gave it, such as clip.mp4.
        path: Where it lies.
        content_type: MIME type.
    """

    name: str
    path: Path
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Published:
    """What a unit's done.json says after publishing.

    Attributes:
        done: Its content: ours, or that of whoever was first.
        first: It is ours.
    """

    done: Done
    first: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A done.json that says nothing: verification removes it, and the unit is made again.

    Attributes:
        reason: Why, in a sentence.
    """

    reason: str


def publish(store: Store, prefix: str, files: Sequence[File], describe: Callable[[list[Artifact]], Done]) -> Published:
    """Put a unit's files into the bucket and make it done, unless somebody else was first.

    Artifacts that are there already, from an attempt that was killed while publishing, are not sent again.

    Args:
        store: The bucket.
        prefix: The unit's prefix, see `layout.unit_prefix`.
        files: What was made; names must differ.
        describe: Makes the record once all artifacts lie in the bucket; called once.

    Raises:
        Conflict: There is a done.json that is unreadable or of another fingerprint.
    """
    present = {found.key: found.size for found in store.list(prefix)}
    artifacts = []
    for file in files:
        artifact = _artifact(file)
        key = prefix + artifact.key
        if present.get(key) != artifact.size:
            store.put(key, file.path, content_type=artifact.content_type)
        artifacts.append(artifact)
    done = describe(artifacts)
    try:
        store.put(prefix + layout.DONE, encode_done(done), content_type=JSON_TYPE, only_if_absent=True)
    except Conflict as conflict:
        existing = read_done(store, prefix)
        if not isinstance(existing, Done) or existing.fingerprint != done.fingerprint:
            raise Conflict(f"{conflict}, but does not describe this unit; the operator removes it") from conflict
        # Equal: ours arrived although the answer to the first try was lost.
        return Published(existing, first=existing == done)
    return Published(done, first=True)


def read_done(store: Store, prefix: str) -> Done | Unreadable | None:
    """What a unit's done.json says; None where there is none. Whether its artifacts exist is not looked at."""
    try:
        return Done.model_validate_json(store.get(prefix + layout.DONE, max_bytes=_DONE_LIMIT))
    except NotFound:
        return None
    except TooLarge:
        return Unreadable(f"{layout.DONE} has more than {_DONE_LIMIT} bytes")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Unreadable(f"{layout.DONE} is unreadable: {where + ': ' if where else ''}{first['msg']}")


def encode_done(done: Done) -> bytes:
    """Write a done.json: indented, because people look at it."""
    return done.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def discard(store: Store, prefix: str, etag: str) -> bool:
    """Remove a done.json that did not verify, for else it would refuse the remake for ever.

    Only if it is still the object that was judged. Between that look and the deletion another writer would have to
    remove it and publish the unit anew; then the unit is made once more, and nothing wrong is ever taken for done.

    Args:
        store: The bucket.
        prefix: The unit's prefix.
        etag: Of the object that was judged, see `Invalid`.

    Returns:
        Whether it was removed.
    """
    key = prefix + layout.DONE
    try:
        if store.head(key).etag != etag:
            return False
    except NotFound:
        return False
    store.delete(key)
    return True


def _artifact(file: File) -> Artifact:
    with open(file.path, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        size = content.tell()
    return Artifact(
        name=file.name,
        key=layout.artifact_name(file.name, digest),
        size=size,
        sha256=digest,
        content_type=file.content_type,
    )
