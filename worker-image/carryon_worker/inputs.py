"""Files that a unit is made from: artifacts of upstream units and files that users put somewhere, all verified."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from carryon_core import layout
from carryon_core.done import Done, Outcome
from carryon_core.messages import AssignedUnit, Assignment, InputRef
from carryon_store import NotFound, Store, StoreError, units
from carryon_store.opening import folder_of
from carryon_worker import content_types, file_digest
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import InputFile

LISTING: Final = "inputs.json"
"""File in the inputs' folder that names all of them, for programs."""
_OWN_FILES: Final = "_files"
"""Folder for users' files; no stage is named so."""
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Source:
    """One upstream unit.

    Attributes:
        item: Its item id.
        files: Its artifacts, on this machine.
    """

    item: str
    files: tuple[InputFile, ...]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a unit is made from.

    Attributes:
        sources: Name in `inputs` -> the upstream unit; for a unit that gathers, a list in order of the items.
        files: Uri -> file that a user put there.
    """

    sources: Mapping[str, Source | Sequence[Source]]
    files: Mapping[str, InputFile]


def fetch(
    store: Store,
    assignment: Assignment,
    unit: AssignedUnit,
    digests: Mapping[str, str | None],
    folder: Path,
    open_bucket: Callable[[str], Store],
) -> Inputs:
    """Download what a unit takes inputs from, several at once, and list it in inputs.json.

    Args:
        store: The job's bucket.
        assignment: Names namespace and job.
        unit: The unit that needs them.
        digests: Uri of a user's file -> its SHA-256 as the operator saw it; None where there was no file.
        folder: Gets one folder a name in `inputs`; where the unit gathers, with one folder a unit in it.
        open_bucket: Opens any bucket with the job's credentials.

    Raises:
        UnitFailure: An upstream unit is not done, or something is not what it was when it was looked at.
        StoreError: A bucket does not give it.
    """

    def source(place: str, ref: InputRef) -> Source:
        return _fetch_unit(store, assignment, ref, folder / place)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="inputs") as threads:
        try:
            coming: dict[str, Future[Source] | list[Future[Source]]] = {}
            for name, refs in unit.inputs.items():
                if isinstance(refs, InputRef):
                    coming[name] = threads.submit(source, name, refs)
                else:
                    places = [f"{name}/{n:06}-{layout.encode_id(ref.item)}" for n, ref in enumerate(refs)]
                    coming[name] = [threads.submit(source, *each) for each in zip(places, refs, strict=True)]
            owned = {
                uri: threads.submit(_fetch_file, uri, digest, folder / _OWN_FILES / str(number), open_bucket)
                for number, (uri, digest) in enumerate(digests.items())
            }
            inputs = Inputs(
                sources={
                    name: [each.result() for each in futures] if isinstance(futures, list) else futures.result()
                    for name, futures in coming.items()
                },
                files={uri: future.result() for uri, future in owned.items()},
            )
        except BaseException:
            # One is missing: the others need not come.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    _list(inputs, folder)
    return inputs


def _fetch_unit(store: Store, assignment: Assignment, ref: InputRef, folder: Path) -> Source:
    prefix = layout.unit_prefix(assignment.namespace, assignment.job, ref.stage, ref.item, ref.fingerprint)
    unit_name = f'stage "{ref.stage}", item "{ref.item}"'
    done = units.read_done(store, prefix)
    if not isinstance(done, Done):
        raise UnitFailure(
            "InputMissing", f"{unit_name} is not done: {done.reason if done else 'its done.json is gone'}"
        )
    if done.outcome is not Outcome.GENERATED:
        raise UnitFailure("InputMissing", f"{unit_name} was {done.outcome}: it has no files to go on from")
    files = []
    for artifact in done.artifacts:
        path = _inside(folder, artifact.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.download(prefix + artifact.key, path)
        except NotFound:
            raise UnitFailure("InputMissing", f"{unit_name}: its artifact {artifact.name} is gone") from None
        if file_digest.sha256(path) != artifact.sha256:
            raise UnitFailure(
                "InputDamaged", f"{unit_name}: its artifact {artifact.name} is not what its done.json says"
            )
        files.append(InputFile(name=artifact.name, path=path, content_type=artifact.content_type))
    return Source(ref.item, tuple(files))


def _fetch_file(uri: str, digest: str | None, folder: Path, open_bucket: Callable[[str], Store]) -> InputFile:
    try:
        bucket_uri, key = _bucket_and_key(uri)
        bucket = open_bucket(bucket_uri)
    except StoreError as error:
        raise BadRequest(f"file {uri}: {error}") from None
    folder.mkdir(parents=True)
    path = folder / key.rpartition("/")[2]
    try:
        bucket.download(key, path)
    except NotFound:
        message = f"there is no file {uri}: put it there, or name another"
        raise UnitFailure("InputMissing", message, permanent=True) from None
    if file_digest.sha256(path) != digest:
        # The fingerprint would be that of another file: it is for the operator to look again.
        raise UnitFailure("InputChanged", f"file {uri} has changed since it was looked at: units are planned anew")
    return InputFile(name=path.name, path=path, content_type=content_types.of(path.name))


def _bucket_and_key(uri: str) -> tuple[str, str]:
    """A file's uri as that of a store and a key in it."""
    scheme, _, rest = uri.partition("://")
    if scheme == "file":
        path = folder_of(uri)
        return path.parent.as_uri(), path.name
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def _inside(folder: Path, name: str) -> Path:
    """Where an artifact goes; whoever can write to the bucket must not choose files outside the folder."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UnitFailure("InputDamaged", f"an artifact is named {name!r}, which lies outside its folder")
    return folder / relative


def _list(inputs: Inputs, folder: Path) -> None:
    """Write inputs.json: for each name in `inputs` the units in order, each with the paths of its files."""
    listing = {
        name: [
            {"item": each.item, "files": [str(file.path.relative_to(folder)) for file in each.files]}
            for each in ([sources] if isinstance(sources, Source) else sources)
        ]
        for name, sources in inputs.sources.items()
    }
    (folder / LISTING).write_text(json.dumps(listing, ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
