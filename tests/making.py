"""Units made without a worker: what one would leave in the bucket, and pods as a kubelet shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carryon_core import layout, names
from carryon_core.attempts import AttemptRecord
from carryon_core.done import Artifact, Done, Outcome, Timings
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_store import Store
from carryon_store.records import put_attempt, put_log
from carryon_store.units import File, publish


def resolved(manifest: Mapping[str, Any], namespace: str = "default") -> ResolvedJob:
    """The units of a job."""
    return resolve(namespace, manifest["metadata"]["name"], JobSpec.model_validate(manifest["spec"]))


def make(
    store: Store,
    job: ResolvedJob,
    folder: Path,
    index: int,
    files: Mapping[str, tuple[bytes, str]],
    *,
    stage: int = 0,
    outcome: Outcome = Outcome.GENERATED,
    reason: str = "",
    timings: Timings | None = None,
) -> Done:
    """Make one unit: its files by name, each with content and type."""
    unit = job.unit(stage, index)
    made = []
    for number, (name, (content, kind)) in enumerate(files.items()):
        path = folder / f"{index}-{number}"
        path.write_bytes(content)
        made.append(File(name, path, kind))

    def describe(artifacts: list[Artifact]) -> Done:
        return Done(
            fingerprint=unit.fingerprint,
            stage=job.stages[stage].name,
            item=job.item_id(stage, index),
            outcome=outcome,
            reason=reason,
            artifacts=artifacts,
            timings=timings or Timings(),
            seed=unit.seed,
            pod="maker",
            pod_uid="maker-uid",
            finished="2026-11-21T18:00:00Z",
        )

    return publish(store, job.prefix(unit), made, describe).done


def fail(store: Store, job: ResolvedJob, index: int, uid: str, reason: str, message: str, log: str) -> None:
    """Leave what the operator keeps of a failed attempt."""
    prefix = job.prefix(job.unit(0, index))
    account = AttemptRecord(
        pod=f"pod-{uid}",
        pod_uid=uid,
        stage=job.stages[0].name,
        item=job.item_id(0, index),
        attempt=1,
        reason=reason,
        message=message,
        exit_code=1,
        finished="2026-11-21T17:00:00Z",
    )
    put_attempt(store, prefix, account)
    put_log(store, prefix, uid, log)


def preview(store: Store, job: ResolvedJob, index: int, content: bytes) -> str:
    """Leave a preview of a unit at work; its name."""
    key = layout.preview_key(job.prefix(job.unit(0, index)), 0, "f" * 64, ".mp4")
    store.put(key, content, content_type="video/mp4")
    return key.rpartition("/")[2]


def pod(job: Mapping[str, Any], stage: str, items: list[str], name: str = "worker-1") -> dict[str, Any]:
    """A worker pod of a job, as the operator makes it."""
    metadata = job["metadata"]
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    labels = {
        names.MANAGED_BY: names.MANAGED_BY_CARRYON,
        names.LABEL_JOB_UID: metadata["uid"],
        names.LABEL_STAGE: stage,
    }
    annotations = {names.ANNOTATION_UNITS: json.dumps(items), names.ANNOTATION_ATTEMPT: "1"}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": names.CONTAINER, "image": "worker"}], "nodeName": "nowhere"},
    }


def running(ip: str) -> dict[str, Any]:
    """Status of a pod whose worker runs."""
    state = {"running": {"startedAt": "2026-11-21T17:30:00Z"}}
    return {
        "phase": "Running",
        "podIP": ip,
        "containerStatuses": [
            {"name": names.CONTAINER, "state": state, "ready": True, "restartCount": 0, "image": "x"}
        ],
    }
