"""The texts of a job and its pods that must not be passed on: what is looked for in logs and messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from carryon_core import names
from carryon_jobs.allowing import dropped
from carryon_jobs.redaction import ANNOTATIONS, GENERATE, JOB, LABELS
from carryon_jobs.scrubbing import texts_in

Raw: TypeAlias = Mapping[str, Any]
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_ID_DIGITS: Final = 5


def texts(
    job: Raw, rows: Iterable[tuple[str, Mapping[str, Any]]], pods: Iterable[Raw], secrets: Collection[str]
) -> Iterator[str]:
    """The texts that must not stand anywhere in a report.

    Args:
        job: As the API server has it.
        rows: (id, params) of items from data.
        pods: Of the job.
        secrets: Values of its Secrets.
    """
    found = (
        *secrets,
        *_of_job(job),
        *(text for item, params in rows for text in (item, *texts_in(params))),
        *(text for pod in pods for text in _of_pod(pod)),
    )
    # Ids such as 1000 are numbers that stand everywhere.
    return (text for text in found if not (text.isdecimal() and len(text) <= _ID_DIGITS))


def _of_job(job: Raw) -> Iterator[str]:
    yield from dropped(job.get("spec") or {}, JOB.shapes["spec"])
    metadata = job.get("metadata") or {}
    # Labels repeat names, as in app: carryon; without these no log would make sense.
    known = {metadata.get("name"), metadata.get("namespace"), names.MANAGED_BY_CARRYON}
    yield from (each for each in dropped(metadata.get("labels") or {}, LABELS) if each not in known)
    for name, value in (metadata.get("annotations") or {}).items():
        if name != _LAST_APPLIED:
            yield from dropped({name: value}, ANNOTATIONS)
            continue
        try:
            applied = json.loads(value)
        except ValueError:
            yield value
        else:
            yield from _of_job(applied if isinstance(applied, Mapping) else {})


def _of_pod(pod: Raw) -> Iterator[str]:
    yield from dropped((pod.get("metadata") or {}).get("annotations") or {}, ANNOTATIONS)
    for container in (pod.get("spec") or {}).get("containers") or ():
        for variable in container.get("env") or ():
            value = variable.get("value") or ""
            if variable.get("name") == names.ENV_ASSIGNMENT:
                yield from _of_assignment(value)
            elif not variable.get("name", "").startswith("CARRYON_"):
                yield from texts_in(value)


def _of_assignment(text: str) -> Iterator[str]:
    """Texts of what a worker was told: parameters as they were rendered, ids, addresses."""
    try:
        told = json.loads(text)
    except ValueError:
        yield text
        return
    yield from texts_in(told.get("store"))
    for unit in told.get("units") or ():
        yield str(unit.get("item") or "")
        yield from dropped(unit.get("generate"), GENERATE)
