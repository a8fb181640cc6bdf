"""What can be said about a job before it runs, beyond its schema: shared by command and API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from pydantic import ValidationError

from carryon_core import findings as blank
from carryon_core.errors import SpecError
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.rows import parse_rows
from carryon_core.spec import ItemsFrom, JobSpec

Rows: TypeAlias = Sequence[tuple[str, Mapping[str, Any]]]


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """It would be refused, or would fail its units."""
    WARNING = "warning"
    """It is done, and may not be meant."""
    NOTE = "not checked"
    """It could not be looked at from here."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say about a job; `field` is empty where it is about no single one."""

    severity: Severity
    message: str
    field: str = ""


def error(message: str, field: str = "") -> Finding:
    """Something that would be refused."""
    return Finding(Severity.ERROR, message, field)


def warning(message: str) -> Finding:
    """Something that may not be meant."""
    return Finding(Severity.WARNING, message)


def note(message: str) -> Finding:
    """Something that could not be looked at."""
    return Finding(Severity.NOTE, message)


def parsed(spec: Mapping[str, Any]) -> JobSpec | list[Finding]:
    """A spec as the operator reads it, or why it can't: Kubernetes takes a few texts for times that are none."""
    try:
        return JobSpec.model_validate(spec)
    except ValidationError as refused:
        return [error(each["msg"], ".".join(map(str, ("spec", *each["loc"])))) for each in refused.errors()]


def rows_of(source: ItemsFrom, name: str, content: Mapping[str, Any]) -> Rows:
    """Items from the data of a ConfigMap.

    Raises:
        SpecError: They are not what they should be.
    """
    wanted = source.config_map_key_ref
    assert wanted is not None
    if wanted.key not in content:
        raise SpecError("ItemsNotFound", f'items.from: ConfigMap "{name}" has no key {wanted.key}: add it')
    return parse_rows(str(content[wanted.key]).encode(), source)


def resolved(
    namespace: str, name: str, spec: JobSpec, rows: Rows | None, digests: Mapping[str, str | None]
) -> ResolvedJob | Finding:
    """A job's units, or why they can't be worked out."""
    try:
        return resolve(namespace, name, spec, rows, dict(digests))
    except SpecError as refused:
        return error(refused.message)


def of_units(job: ResolvedJob) -> Iterator[Finding]:
    """What may not be meant, about units that can be worked out."""
    yield from map(warning, job.warnings)
    yield from (warning(each.message) for each in blank.findings(job))
