"""Worker pods: the body that asks for one, and what its worker is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from carryon_core import durations, memory, names, pod_template, policies, sizes
from carryon_core.compatibility import ASSIGNMENT
from carryon_core.fingerprint import CONTRACT, digest
from carryon_core.gpus import PRODUCT_LABEL, gpu_product
from carryon_core.messages import AssignedUnit, Assignment, StoreConfig
from carryon_core.resolve import Unit
from carryon_core.spec import JobSpec, RoundOverride, Stage
from carryon_core.standing import Standing
from carryon_jobs.destinations import secret_of
from carryon_operator.config import Config
from carryon_operator.plan.model import PodCreate

Body = dict[str, Any]

_CREDENTIALS: Final = (
    ("AWS_ACCESS_KEY_ID", False),
    ("AWS_SECRET_ACCESS_KEY", False),
    ("AWS_SESSION_TOKEN", True),
)
_USER: Final = 10001
_GRACE_SECONDS: Final = 30
_PROBE_MARGIN: Final = 60
_DIGEST_LENGTH: Final = 12
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_NO_OVERRIDE: Final = RoundOverride()


def assignment(standing: Standing, spec: JobSpec, store: StoreConfig, pod: PodCreate) -> Assignment:
    """What the worker of this pod is to do. Takes a while for many units, or for one that gathers many."""
    job = standing.job
    stage = job.stages[pod.stage]
    stall = spec.timeouts.stall
    limit = spec.timeouts.unit
    override = _override(spec, pod.round)
    diffusers = spec.stages[pod.stage].generate.diffusers
    return Assignment(
        version=ASSIGNMENT,
        contract=CONTRACT,
        namespace=job.namespace,
        job=job.name,
        stage=stage.name,
        attempt=pod.attempt,
        store=store,
        unit_timeout_seconds=durations.seconds(limit) if limit else None,
        stall_seconds=durations.seconds(stall) if stall else None,
        knobs=memory.knobs(diffusers.memory if diffusers else None, override),
        checkpoint=policies.cadence(spec.checkpoint),
        units=[_assigned(standing, stage.units[item]) for item in pod.items],
    )


def _assigned(standing: Standing, unit: Unit) -> AssignedUnit:
    job = standing.job
    return AssignedUnit(
        index=unit.item,
        item=job.item_id(unit.stage, unit.item),
        fingerprint=unit.fingerprint,
        seed=unit.seed,
        generate=job.generate(unit),
        inputs=standing.inputs(unit),
    )


def build(*, standing: Standing, spec: JobSpec, job_uid: str, pod: PodCreate, assigned: str, config: Config) -> Body:
    """The pod, ready to be created.

    Args:
        standing: The job's units: that they were resolved says that its podTemplates set only what they may.
        spec: The job's spec.
        job_uid: Its owner.
        pod: Name, items, attempt and round.
        assigned: Value of CARRYON_ASSIGNMENT.
        config: Of this operator.
    """
    job = standing.job
    units = [job.unit(pod.stage, item) for item in pod.items]
    made = _blueprint(spec, pod.stage, config, pod.round)
    metadata = made["metadata"]
    (container,) = made["spec"]["containers"]
    image = pod.image or container["image"]
    env = [
        *container["env"],
        {"name": names.ENV_IMAGE, "value": image},
        {"name": names.ENV_ASSIGNMENT, "value": assigned},
    ]
    pinned = {names.ANNOTATION_PINNED: "true"} if pod.image else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": job.namespace,
            "labels": {**metadata["labels"], names.LABEL_JOB: job.name, names.LABEL_JOB_UID: job_uid},
            "annotations": {
                **metadata["annotations"],
                names.ANNOTATION_UNITS: _as_json(job.item_id(unit.stage, unit.item) for unit in units),
                names.ANNOTATION_FINGERPRINTS: _as_json(unit.fingerprint for unit in units),
                names.ANNOTATION_ATTEMPT: str(pod.attempt),
                names.ANNOTATION_TEMPLATE: digest(made)[:_DIGEST_LENGTH],
                **pinned,
            },
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": job.name,
                    "uid": job_uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {**_near(made["spec"], pod.device), "containers": [{**container, "image": image, "env": env}]},
    }


def image_of(spec: JobSpec, stage: int, config: Config) -> str:
    """The image that a stage's pods have today."""
    return spec.stages[stage].image or config.worker_image


def _near(spec: Body, device: str) -> Body:
    """The pod's spec, with a wish for a node that has the GPU which a journal was computed on: others refuse it."""
    product = gpu_product(device)
    if not product:
        return spec
    # Time-sliced GPUs are the same ones under another label.
    same = {"key": PRODUCT_LABEL, "operator": "In", "values": [product, f"{product}-SHARED"]}
    wish = {"weight": 100, "preference": {"matchExpressions": [same]}}
    affinity = spec.get("affinity") or {}
    node = affinity.get("nodeAffinity") or {}
    wishes = [*(node.get(_PREFERRED) or ()), wish]
    return {**spec, "affinity": {**affinity, "nodeAffinity": {**node, _PREFERRED: wishes}}}


def template_digest(spec: JobSpec, stage: int, config: Config, in_round: int) -> str:
    """Digest of what pods of a stage are made with besides their units: 12 hex digits.

    A pod that waits in vain (for an image, for a node) is worth replacing only where this has changed. An image that
    began its units is no part of it.

    Raises:
        SpecError: A podTemplate sets what it may not.
    """
    return digest(_blueprint(spec, stage, config, in_round))[:_DIGEST_LENGTH]


def _override(spec: JobSpec, in_round: int) -> RoundOverride:
    """What pods of a round get instead of what their stage says; the last one holds for all rounds that follow."""
    overrides = spec.retry.round_overrides
    return overrides[min(in_round, len(overrides)) - 1] if in_round and overrides else _NO_OVERRIDE


def _blueprint(spec: JobSpec, index: int, config: Config, in_round: int) -> Body:
    """Labels, annotations and spec of a stage's pods in a round: all but what is of the single pod."""
    stage, override = spec.stages[index], _override(spec, in_round)
    # Only what may be set; whatever both set is ours.
    theirs = pod_template.of_stage(spec, index)
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
        "containers": [_container(spec, index, config, override, wishes, grace)],
        "volumes": [
            *wishes.get("volumes", ()),
            {"name": names.VOLUME_SCRATCH, "emptyDir": {}},
            *_model_volumes(spec, index),
        ],
    }
    selector = stage.node_selector if override.node_selector is None else override.node_selector
    if selector:
        body["nodeSelector"] = {**wishes.get("nodeSelector", {}), **selector}
    tolerations = stage.tolerations if override.tolerations is None else override.tolerations
    if tolerations or override.tolerations is not None:
        body["tolerations"] = [each.model_dump(by_alias=True, exclude_none=True) for each in tolerations or ()]
    labels = {
        **metadata.get("labels", {}),
        names.MANAGED_BY: names.MANAGED_BY_CARRYON,
        names.LABEL_STAGE: stage.name,
    }
    if spec.queue_name is not None:
        labels[names.LABEL_QUEUE] = spec.queue_name
    return {"metadata": {"labels": labels, "annotations": dict(metadata.get("annotations", {}))}, "spec": body}


def _container(
    spec: JobSpec, index: int, config: Config, override: RoundOverride, wishes: Mapping[str, Any], grace: int
) -> Body:
    theirs: Mapping[str, Any] = next(iter(wishes.get("containers", ())), {})
    env = [*_environment(spec, index, config, grace), *_model_environment(spec, index)]
    ours = {each["name"] for each in env}
    container: Body = {
        "name": names.CONTAINER,
        "image": image_of(spec, index, config),
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
            *({"name": each["name"], "mountPath": names.MODELS} for each in _model_volumes(spec, index)),
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
    if resources := _resources(spec, index, config, override, theirs.get("resources", {})):
        container["resources"] = resources
    return container


def _environment(spec: JobSpec, index: int, config: Config, grace: int) -> list[Body]:
    """Variables of every worker, but for its assignment."""
    env: list[Body] = [
        {"name": names.ENV_GRACE_SECONDS, "value": str(grace)},
        {"name": names.ENV_SCRATCH, "value": names.SCRATCH},
        {"name": "HOME", "value": names.SCRATCH},
        {"name": "TMPDIR", "value": names.SCRATCH},
        {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": names.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": names.ENV_BIND, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    secret = secret_of(spec, config)
    if secret is not None:
        env += [
            {
                "name": key,
                "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **({"optional": True} if free else {})}},
            }
            for key, free in _CREDENTIALS
        ]
    http = spec.stages[index].generate.http
    if http is not None and http.secret is not None:
        chosen = {"name": http.secret.name, "key": http.secret.key}
        env.append({"name": names.ENV_HTTP_SECRET, "valueFrom": {"secretKeyRef": chosen}})
    return env


def _loads_models(stage: Stage) -> bool:
    """Whether pods of a stage load models: no others get the hub's token, or a GPU by default."""
    return stage.generate.diffusers is not None or stage.generate.text is not None


def _model_volumes(spec: JobSpec, index: int) -> list[Body]:
    claim = spec.models.cache.claim_name
    if claim is None or not _loads_models(spec.stages[index]):
        return []
    return [{"name": names.VOLUME_MODELS, "persistentVolumeClaim": {"claimName": claim}}]


def _model_environment(spec: JobSpec, index: int) -> list[Body]:
    """Variables by which a worker has models."""
    if not _loads_models(spec.stages[index]):
        return []
    env: list[Body] = []
    cache, secret = spec.models.cache, spec.models.token_secret
    if cache.claim_name is not None:
        env.append({"name": names.ENV_MODEL_CACHE, "value": names.MODELS})
    if cache.max_bytes is not None:
        env.append({"name": names.ENV_MODEL_CACHE_BYTES, "value": str(sizes.size(cache.max_bytes))})
    if secret is not None:
        reference = {"name": secret.name, "key": secret.key}
        env.append({"name": names.ENV_HUB_TOKEN, "valueFrom": {"secretKeyRef": reference}})
    return env


def _resources(
    spec: JobSpec, index: int, config: Config, override: RoundOverride, theirs: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The podTemplate's, under the stage's or else the operator's for models, under the round's; name by name."""
    stage = spec.stages[index]
    layers: list[Mapping[str, Any]] = [theirs]
    if stage.resources is not None:
        layers.append(stage.resources.model_dump(exclude_none=True))
    elif _loads_models(stage):
        layers.append(config.default_resources)
    if override.resources is not None:
        layers.append(override.resources.model_dump(exclude_none=True))
    amounts = {
        kind: {name: amount for layer in layers for name, amount in layer.get(kind, {}).items()}
        for kind in ("requests", "limits")
    }
    return {kind: each for kind, each in amounts.items() if each}


def _as_json(texts: Iterable[str]) -> str:
    """A JSON list, not escaped: all annotations of a pod together may have 256 KiB."""
    return json.dumps(list(texts), ensure_ascii=False)
