"""Pods: what a podTemplate may change in one, and what is read out of one."""

from __future__ import annotations

from typing import Any

import pytest

from carryon_core import names
from carryon_core.errors import SpecError
from carryon_core.pod_template import check_template
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec
from carryon_operator import pods
from carryon_operator.plan.model import PodCreate
from worlds import job_spec


def build(chosen: tuple[int, ...] = (0,), default_resources: dict[str, Any] | None = None, **fields: Any) -> Any:
    spec = job_spec(**fields)
    return pods.build(
        resolved=resolve("default", "reel", spec),
        spec=spec,
        job_uid="job-uid",
        pod=PodCreate("reel-x-1", 0, chosen, 1),
        assigned="{}",
        image="worker",
        default_resources=default_resources or {},
    )


def env(pod: Any) -> dict[str, Any]:
    found = pod["spec"]["containers"][0]["env"]
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each.get("value") for each in found}


def worker(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "worker", **fields}]}}


def volume(**source: Any) -> dict[str, Any]:
    return {"spec": {"volumes": [{"name": "models", **source}]}}


FULL: dict[str, Any] = {
    "metadata": {"labels": {"team": "film"}, "annotations": {"example.com/cost": "7"}},
    "spec": {
        "nodeSelector": {"pool": "gpu", "zone": "a"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [],
        "priorityClassName": "low",
        "schedulerName": "volcano",
        "runtimeClassName": "nvidia",
        "serviceAccountName": "bucket-writer",
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        "terminationGracePeriodSeconds": 90,
        "dnsPolicy": "Default",
        "dnsConfig": {"nameservers": ["10.0.0.10"]},
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["minio"]}],
        "containers": [
            {
                "name": "worker",
                "env": [
                    {"name": "HF_HOME", "value": "/models/hub"},
                    {"name": "HOME", "value": "/root"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "volumeMounts": [
                    {"name": "models", "mountPath": "/models", "subPath": "a"},
                    {"name": "models", "mountPath": "/more", "subPath": "b", "readOnly": True},
                ],
                "resources": {"requests": {"memory": "8Gi", "cpu": "1"}},
            }
        ],
    },
}


def test_a_pod_takes_what_the_template_may_set() -> None:
    pod = build(podTemplate=FULL)
    spec, theirs = pod["spec"], FULL["spec"]
    assert {key: spec[key] for key in theirs if key not in ("volumes", "containers")} == {
        key: value for key, value in theirs.items() if key not in ("volumes", "containers")
    }
    assert pod["metadata"]["labels"]["team"] == "film"
    assert pod["metadata"]["annotations"]["example.com/cost"] == "7"
    assert [each["name"] for each in spec["volumes"]] == ["models", "scratch"]
    container = spec["containers"][0]
    assert [each["mountPath"] for each in container["volumeMounts"]] == ["/models", "/more", "/scratch"]
    assert container["envFrom"] == [{"configMapRef": {"name": "settings"}}]
    assert env(pod)["HF_HOME"] == "/models/hub"
    assert env(pod)["HOME"] == "/scratch"
    assert env(pod)[names.ENV_GRACE_SECONDS] == "90"


def test_a_template_changes_nothing_of_what_is_ours() -> None:
    plain, pod = build(), build(podTemplate=FULL)
    for key in ("restartPolicy", "automountServiceAccountToken", "enableServiceLinks", "securityContext"):
        assert pod["spec"][key] == plain["spec"][key]
    for key in ("image", "ports", "securityContext", "livenessProbe"):
        assert pod["spec"]["containers"][0][key] == plain["spec"]["containers"][0][key]
    assert plain["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert plain["spec"]["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["metadata"]["ownerReferences"] == plain["metadata"]["ownerReferences"]


def test_a_stage_goes_before_the_template() -> None:
    stage = {
        "name": "clip",
        "generate": {"command": {"args": ["make"]}},
        "nodeSelector": {"zone": "b"},
        "tolerations": [{"key": "gpu"}],
        "resources": {"requests": {"cpu": "4"}, "limits": {"nvidia.com/gpu": 1}},
    }
    spec = build(podTemplate=FULL, stages=[stage])["spec"]
    assert spec["nodeSelector"] == {"pool": "gpu", "zone": "b"}
    assert spec["tolerations"] == [{"key": "gpu"}]
    assert spec["containers"][0]["resources"] == {
        "requests": {"memory": "8Gi", "cpu": "4"},
        "limits": {"nvidia.com/gpu": 1},
    }


def test_default_resources_are_those_of_a_stage_that_names_none() -> None:
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    assert build(default_resources=gpu)["spec"]["containers"][0]["resources"] == gpu
    assert "resources" not in build()["spec"]["containers"][0]


def test_the_worker_is_always_told_how_long_it_has_to_end() -> None:
    pod = build()
    assert env(pod)[names.ENV_GRACE_SECONDS] == str(pod["spec"]["terminationGracePeriodSeconds"]) == "30"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"spec": None}, "spec.podTemplate.spec must be an object: write it as one, or take it out"),
        ({"spec": []}, "spec.podTemplate.spec must be an object: write it as one, or take it out"),
        ({"metadata": "x"}, "spec.podTemplate.metadata must be an object: write it as one, or take it out"),
        (
            {"kind": "Pod"},
            "spec.podTemplate.kind is not allowed: take it out; spec.podTemplate may have metadata, spec",
        ),
        (
            {"metadata": {"finalizers": ["x/y"]}},
            "spec.podTemplate.metadata.finalizers is not allowed: take it out; spec.podTemplate.metadata may have"
            " labels, annotations",
        ),
        (
            {"metadata": {"labels": {"team": 7}}},
            "spec.podTemplate.metadata.labels.team must be text: put it in quotes, or take it out",
        ),
        *(
            (
                {"metadata": {"annotations": {key: "x"}}},
                f"spec.podTemplate.metadata.annotations must not set {key}, which is the operator's own: take it out",
            )
            for key in (
                names.ANNOTATION_ATTEMPT,
                "x.carryon.dev/y",
                names.MANAGED_BY,
                "container.apparmor.security.beta.kubernetes.io/worker",
            )
        ),
        *(
            ({"spec": {key: value}}, f"spec.podTemplate.spec.{key} is not allowed: take it out; ")
            for key, value in {
                "hostPID": True,
                "hostNetwork": False,
                "hostIPC": True,
                "initContainers": [],
                "securityContext": {},
                "automountServiceAccountToken": True,
                "restartPolicy": "Always",
                "ephemeralContainers": [],
            }.items()
        ),
        *(
            (
                {"spec": {"terminationGracePeriodSeconds": value}},
                "spec.podTemplate.spec.terminationGracePeriodSeconds must be a whole number of seconds from 1 to 3600",
            )
            for value in (None, 0, 3601, "30", True, 1.5)
        ),
        (
            {"spec": {"serviceAccountName": "Admin User"}},
            "spec.podTemplate.spec.serviceAccountName must be a name: lower-case letters, digits, dashes and dots",
        ),
        (
            {"spec": {"tolerations": {"operator": "Exists"}}},
            "spec.podTemplate.spec.tolerations must be a list: write it as one, or take it out",
        ),
        (
            {"spec": {"tolerations": [None]}},
            "spec.podTemplate.spec.tolerations[0] must be an object: write it as one, or take it out",
        ),
        (
            volume(hostPath={"path": "/"}),
            "spec.podTemplate.spec.volumes[0].hostPath is not allowed: take it out; spec.podTemplate.spec.volumes[0]"
            " may have name, configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected,"
            " secret",
        ),
        (
            volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
            "spec.podTemplate.spec.volumes[0].projected.sources[0].serviceAccountToken is not allowed: take it out;"
            " spec.podTemplate.spec.volumes[0].projected.sources[0] may have configMap, downwardAPI, secret",
        ),
        ({"spec": {"volumes": [{"emptyDir": {}}]}}, "spec.podTemplate.spec.volumes[0] has no name: add it"),
        (
            {"spec": {"volumes": [{"name": "scratch", "emptyDir": {}}]}},
            "spec.podTemplate.spec.volumes[0].name is scratch, which is the worker's own volume: choose another name",
        ),
        *(
            (
                {"spec": {"containers": containers}},
                'spec.podTemplate.spec.containers must hold only the container named "worker": pods have no other',
            )
            for containers in ([], [{"name": "side"}], [{"name": "worker"}, {"name": "worker"}], [{}])
        ),
        (
            {"spec": {"containers": [7]}},
            "spec.podTemplate.spec.containers[0] must be an object: write it as one, or take it out",
        ),
        *(
            (
                worker(**{key: {}}),
                f"spec.podTemplate.spec.containers[0].{key} is not allowed: take it out;"
                " spec.podTemplate.spec.containers[0] may have name, env, envFrom, volumeMounts, resources",
            )
            for key in ("securityContext", "image", "command", "livenessProbe", "lifecycle")
        ),
        *(
            (
                worker(env=[{"name": name, "value": "x"}]),
                f"spec.podTemplate.spec.containers[0].env[0].name is {name}, but names that begin with CARRYON_ or"
                " AWS_ are the operator's own: take it out",
            )
            for name in (names.ENV_ASSIGNMENT, "AWS_ENDPOINT_URL")
        ),
        (
            worker(env=[{"value": "x"}]),
            "spec.podTemplate.spec.containers[0].env[0] has no name: add it",
        ),
        (
            worker(volumeMounts=[{"name": "models", "mountPath": "/scratch/"}]),
            "spec.podTemplate.spec.containers[0].volumeMounts[0].mountPath is /scratch/, where the worker has its own"
            " volume: choose another folder",
        ),
        (
            worker(resources={"limits": None}),
            "spec.podTemplate.spec.containers[0].resources.limits must be an object: write it as one, or take it out",
        ),
    ],
)
def test_what_a_template_may_not_set_is_refused_with_a_sentence(template: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        check_template(template)
    assert refused.value.reason == "InvalidPodTemplate"
    # Of the pod's own fields the list is long: the beginning is enough.
    assert refused.value.message.startswith(message)
    assert message.endswith("; ") or refused.value.message == message


def test_a_job_whose_template_is_refused_is_not_resolved() -> None:
    with pytest.raises(SpecError, match=r"spec\.podTemplate\.spec\.hostPID is not allowed"):
        resolve("default", "reel", job_spec(podTemplate={"spec": {"hostPID": True}}))


def seen(phase: str = "Running", exit_code: int | None = None, **metadata: Any) -> Any:
    """A pod as the API server shows it, after some time."""
    pod = build()
    pod["metadata"] |= {"uid": "pod-1", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code, "reason": "Error"}}
    sidecar = {"name": "istio-proxy", "state": {"running": {}}}
    pod["status"] = {"phase": phase, "containerStatuses": [sidecar, {"name": "worker", "state": state}]}
    return pod


@pytest.mark.parametrize(
    ("phase", "exit_code", "recorded", "terminal"),
    [
        ("Running", None, "Running", False),
        ("Running", 0, "Succeeded", True),
        ("Running", 14, "Failed", True),
        ("Failed", 0, "Failed", True),
        ("Failed", None, "Failed", True),
        ("Succeeded", 0, "Succeeded", True),
    ],
)
def test_an_attempt_ends_with_its_worker_whatever_else_runs_in_the_pod(
    phase: str, exit_code: int | None, recorded: str, terminal: bool
) -> None:
    record = pods.project(seen(phase, exit_code))
    assert (record.phase, record.terminal, record.exit_code) == (recorded, terminal, exit_code)


def test_a_pod_that_was_built_is_read_back() -> None:
    record = pods.project(seen())
    resolved = resolve("default", "reel", job_spec())
    assert (record.job_uid, pods.owner_key(record)) == ("job-uid", "job-uid")
    assert (record.stage, record.units, record.attempt) == ("clip", ("0",), 1)
    assert record.fingerprints == (resolved.unit(0, 0).fingerprint,)


@pytest.mark.parametrize(
    "owners",
    [
        None,
        [],
        [{"apiVersion": "carryon.dev/v1alpha1", "kind": "GenerationJob", "uid": "x"}],
        [{"apiVersion": "batch/v1", "kind": "Job", "uid": "x", "controller": True}],
        [{"apiVersion": "example.com/v1", "kind": "GenerationJob", "uid": "x", "controller": True}],
    ],
)
def test_a_label_gives_no_pod_to_a_job(owners: Any) -> None:
    assert pods.project(seen(ownerReferences=owners)).job_uid == ""


def test_another_version_of_our_kind_owns_pods_too() -> None:
    owner = {"apiVersion": "carryon.dev/v1", "kind": "GenerationJob", "uid": "x", "controller": True}
    assert pods.project(seen(ownerReferences=[owner])).job_uid == "x"


@pytest.mark.parametrize("attempt", ["", "x", "-1", "1.5", "9" * 5000, "\u0663", "\u00b2"])
def test_an_attempt_that_is_no_number_counts_as_the_first(attempt: str) -> None:
    assert pods.project(seen(annotations={names.ANNOTATION_ATTEMPT: attempt})).attempt == 1


@pytest.mark.parametrize("units", ["", "{", "7", "null", "{}", "[" * 100_000])
def test_units_that_are_no_list_are_none(units: str) -> None:
    assert pods.project(seen(annotations={names.ANNOTATION_UNITS: units})).units == ()


def test_annotations_of_the_largest_pod_fit() -> None:
    """The API server takes 256 KiB of keys and values together."""
    most = JobSpec.model_json_schema()["properties"]["unitsPerPod"]["maximum"]
    ids = ["\U0001f3ac" * 125 + f"{number:03}" for number in range(most)]
    items = {"list": [{"id": each} for each in ids]}
    pod = build(tuple(range(most)), items=items, unitsPerPod=most)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in pod["metadata"]["annotations"].items())
    assert size < 256 * 1024
    assert pods.project({**seen(), "metadata": {**seen()["metadata"], **pod["metadata"]}}).units == tuple(ids)
