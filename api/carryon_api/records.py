"""What is kept of jobs and pods: jobs as they are, of pods the little that is asked of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carryon_core import names
from carryon_core.durations import moment
from carryon_core.ownership import owning_job


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the API server last showed it; two of them are equal where it did not change in between.

    Attributes:
        version: resourceVersion.
        raw: The object, without its managedFields.
    """

    namespace: str
    name: str
    uid: str
    version: str
    raw: Mapping[str, Any] = field(compare=False, repr=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> JobRecord:
        """The record of an object."""
        metadata = {name: value for name, value in raw["metadata"].items() if name != "managedFields"}
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            # A dry run has neither.
            uid=metadata.get("uid", ""),
            version=metadata.get("resourceVersion", ""),
            raw={**raw, "metadata": metadata},
        )

    @property
    def key(self) -> str:
        """Key of the job: "namespace/name"."""
        return f"{self.namespace}/{self.name}"

    @property
    def status(self) -> Mapping[str, Any]:
        """Its status, empty before the operator has looked."""
        found: Mapping[str, Any] = self.raw.get("status") or {}
        return found

    @property
    def ended(self) -> bool:
        """Whether it has succeeded, failed or was cancelled."""
        return any(
            each.get("type") == "Finished" and each.get("status") == "True"
            for each in self.status.get("conditions") or ()
        )


@dataclass(frozen=True, slots=True)
class PodSummary:
    """A worker pod.

    Attributes:
        ip: Where it answers; empty before it has an address.
        units: Ids of the items it was given.
        phase: Pending, Running, Succeeded or Failed.
        created: Seconds since the epoch; `started` likewise, of its worker, None before it runs.
    """

    namespace: str
    name: str
    uid: str
    ip: str
    job_uid: str
    stage: str
    units: tuple[str, ...]
    attempt: int
    phase: str
    created: float
    started: float | None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> PodSummary:
        """The summary of an object; labels and annotations may be anybody's: a damaged one counts as missing."""
        metadata, status = raw["metadata"], raw.get("status") or {}
        labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
        attempt = annotations.get(names.ANNOTATION_ATTEMPT, "")
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            # On the node's own network, something else may answer at our port.
            ip="" if (raw.get("spec") or {}).get("hostNetwork") else status.get("podIP") or "",
            job_uid=owning_job(metadata),
            stage=labels.get(names.LABEL_STAGE, ""),
            units=_texts(annotations.get(names.ANNOTATION_UNITS)),
            attempt=int(attempt) if attempt.isdecimal() and len(attempt) < 10 else 0,
            phase=status.get("phase") or "Pending",
            created=moment(metadata.get("creationTimestamp")) or 0.0,
            started=_started(status),
        )

    @property
    def at_work(self) -> bool:
        """Whether its worker runs."""
        return self.phase == "Running" and self.started is not None


def _started(status: Mapping[str, Any]) -> float | None:
    for each in status.get("containerStatuses") or ():
        if each.get("name") == names.CONTAINER:
            state = each.get("state") or {}
            return moment((state.get("running") or state.get("terminated") or {}).get("startedAt"))
    return None


def _texts(text: str | None) -> tuple[str, ...]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()
