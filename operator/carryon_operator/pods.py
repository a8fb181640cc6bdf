"""Worker pods: the body that asks for one, and the few fields that decisions need of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
_SCRATCH: Final = "/scratch"
_GRACE_SECONDS: Final = 30
_PROBE_MARGIN: Final = 60


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
        resolved: The job's units.
        spec: The job's spec.
        job_uid: Its owner.
        pod: Name, items and attempt.
        assigned: Value of CARRYON_ASSIGNMENT.
        image: Worker image where the stage names none.
        default_resources: Of a stage that names none.
    """
    stage = spec.stages[pod.stage]
    units = [resolved.unit(pod.stage, item) for item in pod.items]
    ours: Body = {
        "metadata": {
            "name": pod.name,
            "namespace": resolved.namespace,
            "labels": {
                names.MANAGED_BY: names.MANAGED_BY_CARRYON,
                names.LABEL_JOB: resolved.name,
                names.LABEL_JOB_UID: job_uid,
                names.LABEL_STAGE: stage.name,
            },
            "annotations": {
                names.ANNOTATION_UNITS: json.dumps([resolved.ids[unit.item] for unit in units]),
                names.ANNOTATION_FINGERPRINTS: json.dumps([unit.fingerprint for unit in units]),
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
        "spec": {
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
            "containers": [_container(spec, stage, assigned, image, default_resources)],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    if stage.node_selector:
        ours["spec"]["nodeSelector"] = stage.node_selector
    if stage.tolerations:
        ours["spec"]["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in stage.tolerations]
    theirs = spec.pod_template or {}
    defaults: Body = {"spec": {"terminationGracePeriodSeconds": _GRACE_SECONDS}}
    merged: Body = merge(merge(defaults, {k: theirs[k] for k in ("metadata", "spec") if k in theirs}), ours)
    grace = {"name": names.ENV_GRACE_SECONDS, "value": str(merged["spec"]["terminationGracePeriodSeconds"])}
    next(c for c in merged["spec"]["containers"] if c["name"] == names.CONTAINER)["env"].append(grace)
    return {"apiVersion": "v1", "kind": "Pod", **merged}


def _container(spec: JobSpec, stage: Stage, assigned: str, image: str, default_resources: Mapping[str, Any]) -> Body:
    env: list[Body] = [
        {"name": names.ENV_ASSIGNMENT, "value": assigned},
        {"name": names.ENV_SCRATCH, "value": _SCRATCH},
        {"name": "HOME", "value": _SCRATCH},
        {"name": "TMPDIR", "value": _SCRATCH},
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
    container: Body = {
        "name": names.CONTAINER,
        "image": stage.image or image,
        "env": env,
        "ports": [{"name": "http", "containerPort": names.WORKER_PORT}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "scratch", "mountPath": _SCRATCH}],
    }
    if spec.timeouts.stall is not None:
        # The worker's own watchdog comes first; this is for a process that is frozen as a whole.
        patience = durations.seconds(spec.timeouts.stall) + _PROBE_MARGIN
        container["livenessProbe"] = {
            "httpGet": {"path": "/healthz", "port": names.WORKER_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": max(int(patience // 10), 6),
        }
    resources = stage.resources
    wanted = (
        resources.model_dump(by_alias=True, exclude_none=True) if resources is not None else dict(default_resources)
    )
    if wanted:
        container["resources"] = wanted
    return container


def merge(under: Any, over: Any) -> Any:
    """`over` merged onto `under`: mappings key by key, lists of named things by name, everything else replaced."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {**under, **{key: merge(under[key], value) if key in under else value for key, value in over.items()}}
    if _named(under) and _named(over):
        by_name = {each["name"]: each for each in under}
        merged = {each["name"]: merge(by_name.get(each["name"]), each) for each in over}
        return [*(merged.pop(each["name"], each) for each in under), *merged.values()]
    return over


def _named(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(v, Mapping) and "name" in v for v in value)


def owner_key(record: PodRecord) -> str:
    """UID of the job a pod belongs to."""
    return record.job_uid


def project(raw: Mapping[str, Any]) -> PodRecord:
    """What decisions need of a pod as the API server shows it; the rest is not kept."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    ended = _ended(status)
    phase = status.get("phase", "Pending")
    terminal = phase in ("Succeeded", "Failed")
    return PodRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=labels.get(names.LABEL_JOB_UID, ""),
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
    except ValueError:
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(annotation: str | None) -> int:
    return int(annotation) if annotation and annotation.isdecimal() else 1


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
