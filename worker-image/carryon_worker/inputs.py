"""Artifacts of upstream units: fetched, verified, and put in the place of the references to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from carryon_core import layout
from carryon_core.done import Artifact, Done
from carryon_core.messages import AssignedUnit, Assignment
from carryon_store import NotFound, Store, units
from carryon_worker.failures import BadRequest, UnitFailure
from carryon_worker.generators import InputFile

Files = Mapping[str, Sequence[InputFile]]
"""Stage name -> artifacts of the unit that an input is taken from."""


def fetch(store: Store, assignment: Assignment, unit: AssignedUnit, folder: Path) -> Files:
    """Download the artifacts of all units that a unit takes inputs from.

    Args:
        store: The job's bucket.
        assignment: Names namespace and job.
        unit: The unit that needs them.
        folder: Gets one folder a stage.

    Raises:
        UnitFailure: An upstream unit is not done, or an artifact is not what its done.json says.
    """
    return {stage: _fetch(store, assignment, stage, unit, folder / stage) for stage in unit.inputs}


def _fetch(store: Store, assignment: Assignment, stage: str, unit: AssignedUnit, folder: Path) -> Sequence[InputFile]:
    source = unit.inputs[stage]
    prefix = layout.unit_prefix(assignment.namespace, assignment.job, stage, source.item, source.fingerprint)
    unit_name = f'stage "{stage}", item "{source.item}"'
    done = units.read_done(store, prefix)
    if not isinstance(done, Done):
        raise UnitFailure(
            "InputMissing", f"{unit_name} is not done: {done.reason if done else 'its done.json is gone'}"
        )
    files = []
    for artifact in done.artifacts:
        path = _inside(folder, artifact.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.download(prefix + artifact.key, path)
        except NotFound:
            raise UnitFailure("InputMissing", f"{unit_name}: its artifact {artifact.name} is gone") from None
        _verify(path, artifact, unit_name)
        files.append(InputFile(stage=stage, name=artifact.name, path=path, content_type=artifact.content_type))
    return files


def _verify(path: Path, artifact: Artifact, unit_name: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise UnitFailure("InputDamaged", f"{unit_name}: its artifact {artifact.name} is not what its done.json says")


def _inside(folder: Path, name: str) -> Path:
    """Where an artifact goes; whoever can write to the bucket must not choose files outside the folder."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise UnitFailure("InputDamaged", f"an artifact is named {name!r}, which lies outside its folder")
    return folder / relative


def resolve(value: Any, files: Files, present: Callable[[InputFile], Any]) -> Any:
    """A configuration with every reference to an upstream artifact replaced.

    Args:
        value: JSON-like data; a reference is {"$input": {"stage": name, "name": file name or None}}.
        files: What there is.
        present: What stands for a file.

    Raises:
        BadRequest: A reference fits no artifact, or more than one.
    """
    match value:
        case {"$input": {"stage": str(stage), "name": None | str() as name}} if len(value) == 1:
            return present(_find(stage, name, files))
        case Mapping():
            return {key: resolve(inner, files, present) for key, inner in value.items()}
        case list():
            return [resolve(inner, files, present) for inner in value]
    return value


def _find(stage: str, name: str | None, files: Files) -> InputFile:
    if stage not in files:
        raise BadRequest(f"inputs.{stage} is used, but {stage} is not among the stages in `after`")
    there = ", ".join(file.name for file in files[stage])
    if name is not None:
        for file in files[stage]:
            if file.name == name:
                return file
        raise BadRequest(f"inputs.{stage} has no artifact {name}: it has {there}")
    if len(files[stage]) != 1:
        raise BadRequest(
            f"inputs.{stage} has {len(files[stage])} artifacts ({there}): name one, as in inputs.{stage}['NAME']"
        )
    return files[stage][0]
