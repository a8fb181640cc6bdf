"""job.yaml, written for people and read with suspicion. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import yaml
from pydantic import ValidationError

from carryon_core import names
from carryon_core.spec import JobSpec
from carryon_jobs.archive.errors import BadArchive
from carryon_jobs.archive.members import JOB

Object: TypeAlias = dict[str, Any]

DEEPEST: Final = 120
"""Levels of lists and mappings: params may have a hundred."""
LEFT_OUT: Final = ("notify",)
"""Fields of a spec that stay behind: addresses to notify often hold a key."""
_KEPT_METADATA: Final = ("name", "namespace", "labels", "annotations")
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Plain(_DUMPER):  # type: ignore[misc, valid-type]
    """Writes everything out: readers refuse what refers to something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def job_document(raw: Mapping[str, Any]) -> bytes:
    """job.yaml of a job as the API server gives it.

    What belongs to one cluster stays behind: uids, versions, owners, requests that were made there; and `LEFT_OUT`.
    """
    metadata = {name: raw["metadata"][name] for name in _KEPT_METADATA if raw["metadata"].get(name)}
    annotations = {name: value for name, value in metadata.pop("annotations", {}).items() if not is_ours(name)}
    if annotations:
        metadata["annotations"] = annotations
    spec = {name: value for name, value in raw["spec"].items() if name not in LEFT_OUT}
    document = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": spec}
    text: str = yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()


def parse_job(content: bytes) -> Object:
    """The job of a job.yaml.

    Raises:
        BadArchive: It is none, or refers to itself, which small texts use to become huge.
    """
    try:
        text = content.decode()
        _check_events(text)
        document = yaml.load(text, Loader=_LOADER)
        document = json.loads(json.dumps(document, allow_nan=False))
    except UnicodeDecodeError:
        raise BadArchive(f"{JOB} is no UTF-8 text") from None
    except yaml.YAMLError as error:
        raise BadArchive(f"{JOB} is no YAML: {' '.join(str(error).split())[:300]}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise BadArchive(f"{JOB} holds what no job can hold: {str(error)[:300]}") from None
    if not isinstance(document, dict) or document.get("kind") != names.KIND:
        raise BadArchive(f"{JOB} holds no {names.KIND}")
    if document.get("apiVersion") != names.API_VERSION:
        raise BadArchive(f"{JOB} is of {str(document.get('apiVersion'))[:80]}: this version reads {names.API_VERSION}")
    metadata, spec = document.get("metadata"), document.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not isinstance(spec, dict):
        raise BadArchive(f"{JOB} has no metadata.name or no spec")
    for name in ("labels", "annotations"):
        marks = metadata.get(name) or {}
        if not isinstance(marks, dict) or not all(isinstance(each, str) for each in marks.values()):
            raise BadArchive(f"{JOB}: metadata.{name} must map text to text")
    return document


def parse_spec(job: Mapping[str, Any]) -> JobSpec:
    """The spec of a job, as far as types go.

    Raises:
        BadArchive: It is not what a job may have.
    """
    try:
        return JobSpec.model_validate(job["spec"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadArchive(f"{JOB}: spec.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _check_events(text: str) -> None:
    """Make sure that nothing refers to something else and nothing nests without end, before anything is built of it."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise BadArchive(
                f"{JOB} uses YAML aliases (*{event.anchor}), which can make a small text huge: write it out"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise BadArchive(f"{JOB} nests lists and mappings more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def is_ours(annotation: str) -> bool:
    """Whether an annotation is a request, or belongs to the cluster where it was made: none of them travels."""
    domain = annotation.partition("/")[0]
    return annotation == _LAST_APPLIED or domain == names.GROUP
