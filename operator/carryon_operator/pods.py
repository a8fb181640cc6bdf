"""Worker pods: the body that asks for one, and the few fields that decisions need of one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from carryon_core import durations, names
from carryon_core.messages import AssignedUnit, Assignment, InputRef, StoreConfig
from carryon_core.resolve import ResolvedJob
from carryon_core.spec import JobSpec, Stage
from carryon_operator.plan.model import PodCreate, PodRecord

Body = dict[str, Any]

_CREDENTIALS: Final = (
    ("AWS_ACCESS_KEY_ID", False),
    ("AWS_SECRET_ACCESS_KEY", False),
    ("AWS_SESSION_TOKEN", True),
)
_USER: Final = 10001
_GRACE_SECONDS: Final = 30
_PROBE_MARGIN: Final = 60
_TERMINAL: Final = ("Succeeded", "Failed")
_ATTEMPT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


def assignment(resolved: ResolvedJob, spec: JobSpec, store: StoreConfig, pod: PodCreate) -> Assignment:
    """What the worker of this pod is to do."""
    stage = resolved.stages[pod.stage]
    stall = spec.timeouts.stall
    limit = spec.timeouts.unit
    return Assignment(
        namespace=resolved.namespace,
        job=resolved.name,
        stage=stage.name,
        attempt=pod.attempt,
        store=store,
        unit_timeout_seconds=durations.seconds(limit) if limit else None,
        stall_seconds=durations.seconds(stall) if stall else None,
        units=[
            AssignedUnit(
                index=item,
                item=resolved.ids[item],
                fingerprint=stage.units[item].fingerprint,
                seed=stage.units[item].seed,
                generate=dict(stage.units[item].generate),
                inputs={
                    resolved.stages[before].name: InputRef(
                        item=resolved.ids[item], fingerprint=resolved.unit(before, item).fingerprint
                    )
                    for before in stage.after
                },
            )
            for item in pod.items
        ],
    )


def build(
    *,
    resolved: ResolvedJob,
    spec: JobSpec,
    job_uid: str,
    pod: PodCreate,
    assigned: str,
    image: str,
    default_resources: Mapping[str, Any],
) -> Body:
    """The pod, ready to be created.

    Args:
        resolved: The job's units: that they were resolved says that its podTemplate sets only what it may.
        spec: The job's spec.
        job_uid: Its owner.
        pod: Name, items and attempt.
        assigned: Value of CARRYON_ASSIGNMENT.
        image: Worker image where the stage names none.
        default_resources: Of a stage that names none.
    """
    stage = spec.stages[pod.stage]
    units = [resolved.unit(pod.stage, item) for item in pod.items]
    # Only what check_template lets through; whatever both set is ours.
    theirs = spec.pod_template or {}
    metadata, wishes = theirs.get("metadata", {}), theirs.get("spec", {})
    grace = wishes.get("terminationGracePeriodSeconds", _GRACE_SECONDS)
    body: Body = {
        **wishes,
        "terminationGracePeriodSeconds": grace,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, stage, wishes, assigned, image, default_resources, grace)],
        "volumes": [*wishes.get("volumes", ()), {"name": names.VOLUME_SCRATCH, "emptyDir": {}}],
    }
    if stage.node_selector:
        body["nodeSelector"] = {**wishes.get("nodeSelector", {}), **stage.node_selector}
    if stage.tolerations:
        body["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in stage.tolerations]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": resolved.namespace,
            "labels": {
                **metadata.get("labels", {}),
                names.MANAGED_BY: names.MANAGED_BY_CARRYON,
                names.LABEL_JOB: resolved.name,
                names.LABEL_JOB_UID: job_uid,
                names.LABEL_STAGE: stage.name,
            },
            "annotations": {
                **metadata.get("annotations", {}),
                names.ANNOTATION_UNITS: _as_json(resolved.ids[unit.item] for unit in units),
                names.ANNOTATION_FINGERPRINTS: _as_json(unit.fingerprint for unit in units),
                names.ANNOTATION_ATTEMPT: str(pod.attempt),
            },
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": resolved.name,
                    "uid": job_uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": body,
    }


def _as_json(texts: Iterable[str]) -> str:
    """A JSON list, not escaped: all annotations of a pod together may have 256 KiB."""
    return json.dumps(list(texts), ensure_ascii=False)


def _container(
    spec: JobSpec,
    stage: Stage,
    wishes: Mapping[str, Any],
    assigned: str,
    image: str,
    default_resources: Mapping[str, Any],
    grace: int,
) -> Body:
    theirs: Mapping[str, Any] = next(iter(wishes.get("containers", ())), {})
    env: list[Body] = [
        {"name": names.ENV_ASSIGNMENT, "value": assigned},
        {"name": names.ENV_GRACE_SECONDS, "value": str(grace)},
        {"name": names.ENV_SCRATCH, "value": names.SCRATCH},
        {"name": "HOME", "value": names.SCRATCH},
        {"name": "TMPDIR", "value": names.SCRATCH},
        {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": names.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": names.ENV_BIND, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    secret = spec.output.credentials_secret if spec.output else None
    if secret is not None:
        env += [
            {
                "name": key,
                "valueFrom": {
                    "secretKeyRef": {"name": secret.name, "key": key, **({"optional": True} if free else {})}
                },
            }
            for key, free in _CREDENTIALS
        ]
    ours = {each["name"] for each in env}
    container: Body = {
        "name": names.CONTAINER,
        "image": stage.image or image,
        "env": [*(each for each in theirs.get("env", ()) if each["name"] not in ours), *env],
        "ports": [{"name": "http", "containerPort": names.WORKER_PORT}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            *theirs.get("volumeMounts", ()),
            {"name": names.VOLUME_SCRATCH, "mountPath": names.SCRATCH},
        ],
    }
    if "envFrom" in theirs:
        container["envFrom"] = theirs["envFrom"]
    if spec.timeouts.stall is not None:
        # The worker's own watchdog comes first; this is for a process that is frozen as a whole.
        patience = durations.seconds(spec.timeouts.stall) + _PROBE_MARGIN
        container["livenessProbe"] = {
            "httpGet": {"path": "/healthz", "port": names.WORKER_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": max(int(patience // 10), 6),
        }
    wanted = stage.resources.model_dump(exclude_none=True) if stage.resources is not None else default_resources
    resources = {
        kind: amounts
        for kind in ("requests", "limits")
        if (amounts := {**theirs.get("resources", {}).get(kind, {}), **wanted.get(kind, {})})
    }
    if resources:
        container["resources"] = resources
    return container


def owner_key(record: PodRecord) -> str:
    """UID of the job a pod belongs to."""
    return record.job_uid


def project(raw: Mapping[str, Any]) -> PodRecord:
    """What decisions need of a pod as the API server shows it; the rest is not kept.

    The attempt ends with the worker: its exit code is the phase, even where another container that somebody injected
    keeps the pod running. Labels and annotations may be anybody's: one that is damaged counts as missing.
    """
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    ended = _ended(status)
    phase = status.get("phase") or "Pending"
    if ended and phase not in _TERMINAL:
        phase = "Failed" if ended.get("exitCode") else "Succeeded"
    terminal = phase in _TERMINAL
    return PodRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=_owner(metadata),
        stage=labels.get(names.LABEL_STAGE, ""),
        units=_texts(annotations.get(names.ANNOTATION_UNITS)),
        fingerprints=_texts(annotations.get(names.ANNOTATION_FINGERPRINTS)),
        attempt=_number(annotations.get(names.ANNOTATION_ATTEMPT)),
        phase=phase,
        created=_moment(metadata.get("creationTimestamp")) or 0.0,
        started=_moment(status.get("startTime")),
        finished=_moment(ended.get("finishedAt")),
        gone_by=_moment(metadata.get("deletionTimestamp")),
        disrupted=_disrupted(status),
        exit_code=ended.get("exitCode") if terminal else None,
        reason=(ended.get("reason") or status.get("reason") or "") if terminal else "",
        message=(ended.get("message") or status.get("message") or "") if terminal else "",
    )


def _owner(metadata: Mapping[str, Any]) -> str:
    """UID of the job that controls the pod, empty if none does: whoever may label pods can't give one to a job."""
    for owner in metadata.get("ownerReferences") or ():
        group = owner.get("apiVersion", "").partition("/")[0]
        if owner.get("controller") and (group, owner.get("kind")) == (names.GROUP, names.KIND):
            return str(owner.get("uid", ""))
    return ""


def _ended(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("containerStatuses") or ():
        if container.get("name") == names.CONTAINER:
            ended = (container.get("state") or {}).get("terminated")
            if ended:
                return dict(ended)
    return {}


def _disrupted(status: Mapping[str, Any]) -> bool:
    return status.get("reason") == "NodeLost" or any(
        condition.get("type") in ("DisruptionTarget", "TerminationTarget") and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )


def _texts(annotation: str | None) -> tuple[str, ...]:
    """A JSON list of texts; an annotation that somebody damaged names no units."""
    try:
        value = json.loads(annotation or "[]")
    except (ValueError, RecursionError):
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(annotation: str | None) -> int:
    return int(annotation) if annotation and _ATTEMPT.fullmatch(annotation) else 1


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
