"""What decisions need of a pod as the API server shows it; the rest is not kept.

What a kubelet and its neighbours write: kubernetes/pkg/kubelet/{kubelet.go, eviction, lifecycle}, the disruption
conditions of KEP-3329, and Kueue's TerminationTarget. Labels and annotations may be anybody's: one that is damaged
counts as missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from carryon_core import names
from carryon_core.messages import ExitCode
from carryon_core.ownership import owning_job
from carryon_operator.plan.model import PodRecord, Waiting
from carryon_operator.plan.verdicts import OOM_KILLED, STATED_BY_CLUSTER, UNRESPONSIVE

_TERMINAL: Final = ("Succeeded", "Failed")
_DISRUPTION_CONDITIONS: Final = ("DisruptionTarget", "TerminationTarget")
_DISRUPTION_REASONS: Final = ("NodeLost", "NodeShutdown", "Terminated", "Shutdown", "Preempting")
"""Reasons of a pod's status that stand for a node that was lost, shut down, or needed for something critical; where
the kubelet is older than the condition."""
_YOUNG: Final = ("", "ContainerCreating", "PodInitializing")
_TOLD_BY_WORKER: Final = tuple(code for code in ExitCode if code not in (ExitCode.DONE, ExitCode.INTERRUPTED))
"""The worker knew why it ended, and said so."""
_KILLED: Final = (137, 143)
_COUNT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_DIGEST_REFERENCE: Final = re.compile(r"[^@\s]{1,255}@sha256:[0-9a-f]{64}")
_GPU: Final = re.compile(r"[^/]+/(gpu(\.[a-z0-9.-]+)?|mig-.+)|gpu\.intel\.com/.+")


def owner_key(record: PodRecord) -> str:
    """UID of the job a pod belongs to."""
    return record.job_uid


def project(raw: Mapping[str, Any]) -> PodRecord:
    """The record of a pod.

    The attempt ends with the worker: its exit code is the phase, even where another container that somebody injected
    keeps the pod running.
    """
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    worker = _worker_of(status)
    state = worker.get("state") or {}
    ended, running = state.get("terminated") or {}, state.get("running")
    created = _moment(metadata.get("creationTimestamp")) or 0.0
    started = _moment((ended or running or {}).get("startedAt"))
    phase = status.get("phase") or "Pending"
    if ended and phase not in _TERMINAL:
        phase = "Failed" if ended.get("exitCode") else "Succeeded"
    terminal = phase in _TERMINAL
    reason, message = _end(spec, status, ended) if terminal else ("", "")
    return PodRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        job_uid=owning_job(metadata),
        stage=labels.get(names.LABEL_STAGE, ""),
        units=_texts(annotations.get(names.ANNOTATION_UNITS)),
        fingerprints=_texts(annotations.get(names.ANNOTATION_FINGERPRINTS)),
        attempt=_number(annotations.get(names.ANNOTATION_ATTEMPT)),
        phase=phase,
        created=created,
        started=started,
        finished=_moment(ended.get("finishedAt")),
        gone_by=_moment(metadata.get("deletionTimestamp")),
        disruption=_disruption(status),
        waiting=None if terminal or running is not None or ended else _waiting(status, created),
        template=annotations.get(names.ANNOTATION_TEMPLATE, ""),
        gpus=_gpus(spec),
        image=next((c.get("image", "") for c in spec.get("containers") or () if c["name"] == names.CONTAINER), ""),
        image_id=_pullable(worker.get("imageID") or ""),
        pinned=annotations.get(names.ANNOTATION_PINNED) == "true",
        exit_code=ended.get("exitCode") if terminal else None,
        reason=reason,
        message=message,
    )


def _worker_of(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Status of the worker's container; empty where there is none yet."""
    statuses: list[Mapping[str, Any]] = status.get("containerStatuses") or []
    return next((each for each in statuses if each.get("name") == names.CONTAINER), {})


def _pullable(image_id: str) -> str:
    """An image by digest, from what a kubelet says runs; "" for the digest of a configuration, which can't be pulled.

    containerd and CRI-O say `registry/repository@sha256:...`, cri-dockerd puts `docker-pullable://` before it.
    """
    reference = image_id.removeprefix("docker-pullable://")
    return reference if _DIGEST_REFERENCE.fullmatch(reference) else ""


def _end(spec: Mapping[str, Any], status: Mapping[str, Any], ended: Mapping[str, Any]) -> tuple[str, str]:
    """Reason and message of a pod's end: the pod's own where it says more than its worker's exit code does."""
    stated, told = status.get("reason") or "", status.get("message") or ""
    reason, message = ended.get("reason") or stated, ended.get("message") or told
    if stated in STATED_BY_CLUSTER and reason != OOM_KILLED and ended.get("exitCode") not in _TOLD_BY_WORKER:
        return stated, told
    if _unresponsive(spec, ended) and not stated:
        return UNRESPONSIVE, message
    return reason, message


def _unresponsive(spec: Mapping[str, Any], ended: Mapping[str, Any]) -> bool:
    """Whether the kubelet may have killed the worker because its liveness probe failed.

    A kubelet says so only in an Event. In the pod such an end is a plain kill (137 or 143, reason Error), but one that
    can't come before the probe has failed as often as it may.
    """
    probe = next((c.get("livenessProbe") for c in spec.get("containers") or () if c["name"] == names.CONTAINER), None)
    started, finished = _moment(ended.get("startedAt")), _moment(ended.get("finishedAt"))
    if not probe or started is None or finished is None:
        return False
    earliest = (probe.get("failureThreshold", 3) - 1) * probe.get("periodSeconds", 10)
    return ended.get("exitCode") in _KILLED and ended.get("reason") == "Error" and finished - started >= earliest


def _disruption(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") in _DISRUPTION_CONDITIONS and condition.get("status") == "True":
            return str(condition.get("reason") or condition["type"])
    reason = status.get("reason")
    return str(reason) if reason in _DISRUPTION_REASONS else ""


def _waiting(status: Mapping[str, Any], created: float) -> Waiting:
    """Why the worker has not started: no node takes it, it or what comes before it can't be started, or it is young."""
    since = _moment(status.get("startTime")) or created
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            moment = _moment(condition.get("lastTransitionTime")) or created
            return Waiting(condition.get("reason") or "", condition.get("message") or "", moment)
    before = [("init container", each) for each in status.get("initContainerStatuses") or ()]
    workers = [("", each) for each in status.get("containerStatuses") or () if each.get("name") == names.CONTAINER]
    for kind, container in (*workers, *before):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason not in _YOUNG:
            return Waiting(reason, f'{kind} "{container.get("name")}": {message}' if kind else message, since)
    return Waiting("", "", since)


def _gpus(spec: Mapping[str, Any]) -> int:
    """GPUs and slices of GPUs that a pod's containers may use."""
    limits = ((container.get("resources") or {}).get("limits") or {} for container in spec.get("containers") or ())
    amounts = (str(amount) for each in limits for name, amount in each.items() if _GPU.fullmatch(name))
    return sum(int(amount) for amount in amounts if _COUNT.fullmatch(amount))


def _texts(annotation: str | None) -> tuple[str, ...]:
    """A JSON list of texts; an annotation that somebody damaged names no units."""
    try:
        value = json.loads(annotation or "[]")
    except (ValueError, RecursionError):
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _number(annotation: str | None) -> int:
    return int(annotation) if annotation and _COUNT.fullmatch(annotation) else 1


def _moment(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
