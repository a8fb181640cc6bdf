"""References to files in a unit's configuration, replaced by the files that were fetched. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from carryon_worker.failures import BadRequest
from carryon_worker.generators import HISTORY, InputFile
from carryon_worker.inputs import Inputs, Source


def owned(value: Any) -> dict[str, str | None]:
    """Users' files that a configuration names: uri -> SHA-256 as the operator saw it, None where there was no file."""
    match value:
        case {"$file": {"uri": str(uri), "sha256": None | str() as digest}} if len(value) == 1:
            return {uri: digest}
        case Mapping():
            return {uri: digest for inner in value.values() for uri, digest in owned(inner).items()}
        case list():
            return {uri: digest for inner in value for uri, digest in owned(inner).items()}
    return {}


def resolve(value: Any, inputs: Inputs, present: Callable[[InputFile], Any]) -> Any:
    """A configuration with every reference to a file replaced.

    Args:
        value: JSON-like data; references are {"$input": {"stage": name in `inputs`, "name": file name or None}} and
            {"$file": {"uri": ..., "sha256": ...}}.
        inputs: What there is.
        present: What stands for a file. A reference to units that are gathered becomes a list of these.

    Raises:
        BadRequest: A reference fits no artifact, or more than one.
    """
    match value:
        case {"$input": {"stage": str(stage), "name": None | str() as name}} if len(value) == 1:
            found = _find(stage, name, inputs.sources)
            return present(found) if isinstance(found, InputFile) else [present(file) for file in found]
        case {"$file": {"uri": str(uri)}} if len(value) == 1:
            return present(inputs.files[uri])
        case Mapping():
            return {key: resolve(inner, inputs, present) for key, inner in value.items()}
        case list():
            return [resolve(inner, inputs, present) for inner in value]
    return value


def _find(
    stage: str, name: str | None, sources: Mapping[str, Source | Sequence[Source]]
) -> InputFile | Sequence[InputFile]:
    if stage not in sources:
        raise BadRequest(f"inputs.{stage} is used, but {stage} is not among the stages in `after`")
    source = sources[stage]
    if isinstance(source, Source):
        return _of_one(stage, name, source.files)
    found = [file for each in source for file in each.files if name == file.name or (name is None and _meant(file))]
    if source and not found:
        there = ", ".join(sorted({file.name for each in source for file in each.files}))
        raise BadRequest(f"inputs.{stage} has no artifact {name} in any unit: they have {there}")
    return found


def _of_one(stage: str, name: str | None, files: Sequence[InputFile]) -> InputFile:
    there = ", ".join(file.name for file in files)
    if name is not None:
        for file in files:
            if file.name == name:
                return file
        raise BadRequest(f"inputs.{stage} has no artifact {name}: it has {there}")
    meant = [file for file in files if _meant(file)]
    if len(meant) != 1:
        raise BadRequest(f"inputs.{stage} has {len(meant)} artifacts ({there}): name one, as in inputs.{stage}['NAME']")
    return meant[0]


def _meant(file: InputFile) -> bool:
    """Whether a file is meant where none is named: what lies beside it for us is not."""
    return file.name != HISTORY
