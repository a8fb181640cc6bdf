"""Pods: what a podTemplate may change in one, and what is read out of one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import pod_templates
from carryon_core import names
from carryon_core.compatibility import ASSIGNMENT
from carryon_core.done import Outcome
from carryon_core.fingerprint import CONTRACT
from carryon_core.gpus import gpu_product
from carryon_core.messages import Assignment, Cadence, InputRef, StoreConfig
from carryon_core.resolve import resolve
from carryon_core.spec import JobSpec
from carryon_core.standing import DoneUnit, Standing, stand
from carryon_operator import pods
from carryon_operator.config import Config
from carryon_operator.plan.model import PodCreate
from carryon_operator.podstatus import project
from pod_security import violations
from worlds import job_spec

STORE = StoreConfig(uri="s3://bucket/prefix")


def standing(spec: JobSpec, *, done: bool = False) -> Standing:
    """A job against an empty bucket, or one in which every unit is made."""
    resolved = resolve("default", "reel", spec)
    found: dict[str, DoneUnit] = {}
    while done and len(found) < resolved.total:
        now = stand(resolved, found).job
        found = {unit.fingerprint: DoneUnit(Outcome.GENERATED) for unit in now.units() if unit.fingerprint}
    return stand(resolved, found, set())


def build(chosen: tuple[int, ...] = (0,), config: Config | None = None, in_round: int = 0, **fields: Any) -> Any:
    spec = job_spec(**fields)
    return pods.build(
        standing=standing(spec),
        spec=spec,
        job_uid="job-uid",
        pod=PodCreate("reel-x-1", 0, chosen, 1, in_round),
        assigned="{}",
        config=config or Config(worker_image="worker"),
    )


FULL = copy.deepcopy(pod_templates.FULL)
# And one that is ours to set.
FULL["spec"]["containers"][0]["env"].insert(1, {"name": "HOME", "value": "/root"})


def env(pod: Any) -> dict[str, Any]:
    found = pod["spec"]["containers"][0]["env"]
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each.get("value") for each in found}


GPU = {"limits": {"nvidia.com/gpu": "1"}}
DIFFUSERS = {"name": "clip", "generate": {"diffusers": {"model": "m", "params": {"prompt": "dunes"}}}}
TEXT = {"name": "clip", "generate": {"text": {"model": "m", "prompt": "dunes"}}}


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


CACHED = {"models": {"cache": {"claimName": "models"}, "tokenSecret": {"name": "hub"}}, "stages": [DIFFUSERS]}
SERVICE = {"name": "clip", "generate": {"http": {"url": "https://a.b", "secret": {"name": "s", "key": "k"}}}}
ROUND = {"resources": {"limits": {"memory": "64Gi"}}, "nodeSelector": {"pool": "big"}, "tolerations": [{"key": "a"}]}


@pytest.mark.parametrize(
    ("fields", "in_round"),
    [
        ({}, 0),
        ({"podTemplate": FULL}, 0),
        ({"podTemplate": FULL, **CACHED}, 0),
        ({"stages": [TEXT], "queueName": "gpus"}, 0),
        ({"stages": [SERVICE]}, 0),
        ({"retry": {"rounds": 1, "roundOverrides": [ROUND]}, "timeouts": {"stall": None}}, 1),
        ({"output": {"uri": "s3://bucket/a", "credentialsSecret": {"name": "s3"}}}, 0),
    ],
)
def test_every_worker_is_restricted_as_pod_security_has_it(fields: dict[str, Any], in_round: int) -> None:
    pod = build(config=Config(worker_image="worker", default_resources=GPU), in_round=in_round, **fields)
    assert violations(pod["spec"], pod["metadata"]["annotations"]) == []
    assert all(each["securityContext"]["readOnlyRootFilesystem"] for each in pod["spec"]["containers"])
    assert pod["spec"]["automountServiceAccountToken"] is False


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


def test_a_services_secret_goes_from_its_secret_into_the_environment() -> None:
    http = {"url": "https://a.b", "secret": {"name": "service", "key": "token"}}
    pod = build(stages=[{"name": "clip", "generate": {"http": http}}])
    (container,) = pod["spec"]["containers"]
    (found,) = [each for each in container["env"] if each["name"] == names.ENV_HTTP_SECRET]
    assert found["valueFrom"] == {"secretKeyRef": {"name": "service", "key": "token"}}
    assert names.ENV_HTTP_SECRET not in env(build())


def test_pods_of_a_job_without_an_output_have_the_default_stores_keys() -> None:
    house = Config(default_store=STORE, default_store_secret="house")

    def secrets(pod: Any) -> dict[str, str]:
        found = pod["spec"]["containers"][0]["env"]
        return {
            each["name"]: each["valueFrom"]["secretKeyRef"]["name"]
            for each in found
            if "secretKeyRef" in each.get("valueFrom", {})
        }

    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    assert secrets(build(config=house, output=None)) == dict.fromkeys(keys, "house")
    own = {"uri": "s3://bucket/a", "credentialsSecret": {"name": "own"}}
    assert secrets(build(config=house, output=own)) == dict.fromkeys(keys, "own")
    assert secrets(build(config=Config(default_store=STORE), output=None)) == {}


def test_default_resources_are_those_of_a_stage_that_loads_a_model_and_names_none() -> None:
    gpu = Config(default_resources=GPU)
    for loading in (DIFFUSERS, TEXT):
        assert build(config=gpu, stages=[loading])["spec"]["containers"][0]["resources"] == GPU
    assert "resources" not in build(config=gpu)["spec"]["containers"][0]
    named = {**DIFFUSERS, "resources": {"limits": {"memory": "1Gi"}}}
    assert build(config=gpu, stages=[named])["spec"]["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}


def test_the_worker_is_always_told_how_long_it_has_to_end() -> None:
    pod = build()
    assert env(pod)[names.ENV_GRACE_SECONDS] == str(pod["spec"]["terminationGracePeriodSeconds"]) == "30"


def test_a_round_goes_before_the_stage() -> None:
    stage = {
        "name": "clip",
        "generate": {"command": {"args": ["make"]}},
        "nodeSelector": {"zone": "b"},
        "tolerations": [{"key": "gpu"}],
        "resources": {"requests": {"cpu": "4"}, "limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}},
    }
    first = {"resources": {"limits": {"memory": "16Gi"}}}
    second = {"nodeSelector": {"size": "large"}, "tolerations": []}
    fields = {"stages": [stage], "podTemplate": FULL, "retry": {"roundOverrides": [first, second]}}
    before, one, two, three = (build(in_round=each, **fields)["spec"] for each in range(4))
    assert before == build(**{**fields, "retry": {}})["spec"]
    assert one["containers"][0]["resources"] == {
        "requests": {"memory": "8Gi", "cpu": "4"},
        "limits": {"nvidia.com/gpu": 1, "memory": "16Gi"},
    }
    assert (one["nodeSelector"], one["tolerations"]) == ({"pool": "gpu", "zone": "b"}, [{"key": "gpu"}])
    assert (two["nodeSelector"], two["tolerations"]) == ({"pool": "gpu", "zone": "a", "size": "large"}, [])
    assert two["containers"][0]["resources"] == before["containers"][0]["resources"]
    assert three == two, "the last override holds for all rounds that follow"


def test_a_stages_template_goes_over_the_jobs() -> None:
    stage = {
        "name": "clip",
        "generate": {"command": {"args": ["make"]}},
        "podTemplate": {"spec": {"priorityClassName": "high", "nodeSelector": {"zone": "c"}}},
    }
    spec = build(podTemplate=FULL, stages=[stage])["spec"]
    assert (spec["priorityClassName"], spec["schedulerName"]) == ("high", "volcano")
    assert spec["nodeSelector"] == {"pool": "gpu", "zone": "c"}


def test_every_pod_of_a_queue_says_so() -> None:
    labels = {"labels": {names.LABEL_QUEUE: "theirs"}}
    assert build(queueName="gpus", podTemplate={"metadata": labels})["metadata"]["labels"][names.LABEL_QUEUE] == "gpus"
    assert names.LABEL_QUEUE not in build()["metadata"]["labels"]


def digest(config: Config | None = None, in_round: int = 0, **fields: Any) -> str:
    return pods.template_digest(job_spec(**fields), 0, config or Config(worker_image="worker"), in_round)


def stage(**fields: Any) -> dict[str, Any]:
    return {"stages": [{"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}, **fields}]}


def test_a_pod_carries_the_digest_of_what_it_was_made_with() -> None:
    made = build(podTemplate=FULL, in_round=1)["metadata"]["annotations"][names.ANNOTATION_TEMPLATE]
    assert made == digest(podTemplate=FULL, in_round=1)
    assert len(made) == 12


MODELS = {
    "tokenSecret": {"name": "hub", "key": "hf"},
    "cache": {"claimName": "weights", "maxBytes": "500Gi"},
}


def test_pods_that_load_models_get_the_hubs_token_and_the_cache() -> None:
    pod = build(stages=[DIFFUSERS], models=MODELS)
    (container,) = pod["spec"]["containers"]
    found = {each["name"]: each for each in container["env"]}
    assert found["HF_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hub", "key": "hf"}}
    assert found["CARRYON_MODEL_CACHE"]["value"] == "/carryon-models"
    assert found["CARRYON_MODEL_CACHE_BYTES"]["value"] == str(500 * 2**30)
    assert {"name": "carryon-models", "mountPath": "/carryon-models"} in container["volumeMounts"]
    claim = {"name": "carryon-models", "persistentVolumeClaim": {"claimName": "weights"}}
    assert claim in pod["spec"]["volumes"]
    # What a template has of these names is not theirs.
    volume = {"name": "carryon-models", "emptyDir": {}}
    mount = {"name": "carryon-models", "mountPath": "/carryon-models/"}
    theirs = {"spec": {"volumes": [volume], "containers": [{"name": "worker", "volumeMounts": [mount]}]}}
    assert build(stages=[DIFFUSERS], models=MODELS, podTemplate=theirs)["spec"] == pod["spec"]


def test_other_pods_get_neither() -> None:
    assert build(models=MODELS)["spec"] == build()["spec"]
    plain = build(stages=[DIFFUSERS])
    assert "HF_TOKEN" not in str(plain)
    assert "carryon-models" not in str(plain)


@pytest.mark.parametrize(
    "fields",
    [
        {"config": Config(worker_image="worker:2")},
        {"in_round": 1, "retry": {"roundOverrides": [{"nodeSelector": {"size": "large"}}]}},
        {"podTemplate": {"spec": {"priorityClassName": "low"}}},
        {"podTemplate": {"metadata": {"labels": {"team": "film"}}}},
        {"queueName": "gpus"},
        {"output": {"uri": "s3://bucket/x", "credentialsSecret": {"name": "keys"}}},
        stage(generate={"http": {"url": "https://a.b", "secret": {"name": "service", "key": "token"}}}),
        {"stages": [DIFFUSERS], "models": {"tokenSecret": {"name": "hub"}}},
        {"stages": [DIFFUSERS], "models": {"cache": {"claimName": "models"}}},
        stage(image="other"),
        stage(resources={"limits": {"memory": "1Gi"}}),
        stage(tolerations=[{"operator": "Exists"}]),
        stage(nodeSelector={"zone": "a"}),
        stage(podTemplate={"spec": {"schedulerName": "volcano"}}),
    ],
)
def test_whatever_may_let_a_waiting_pod_start_changes_its_digest(fields: dict[str, Any]) -> None:
    assert digest(**fields) != digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"items": {"count": 3}},
        {"seed": 7},
        {"parallelism": 9},
        {"retry": {"perUnit": 9, "roundOverrides": [{"nodeSelector": {"size": "large"}}]}},
        stage(generate={"command": {"args": ["other"]}}),
        stage(revision="2"),
    ],
)
def test_what_no_waiting_pod_cares_for_leaves_its_digest(fields: dict[str, Any]) -> None:
    assert digest(**fields) == digest()


def test_the_default_resources_are_part_of_the_digest_of_stages_that_load_a_model_only() -> None:
    gpu = Config(worker_image="worker", default_resources=GPU)
    assert digest(gpu) == digest()
    for loading in (DIFFUSERS, TEXT):
        assert digest(gpu, stages=[loading]) != digest(stages=[loading])


FILM: list[dict[str, Any]] = [
    {"name": "image", "generate": {"command": {"args": ["draw", "{{ item.id }}"]}}},
    {
        "name": "clip",
        "after": ["image"],
        "generate": {"command": {"args": ["film", "{{ inputs.previous | default('') }}"]}},
    },
    {"name": "reel", "each": "job", "after": ["clip"], "generate": {"command": {"args": ["join"]}}},
]


def assigned(stage: int, *items: int, in_round: int = 0, **fields: Any) -> Any:
    spec = job_spec(**{"items": {"count": 3}, "stages": FILM, **fields})
    now = standing(spec, done=True)
    return pods.assignment(now, spec, STORE, PodCreate("reel-x-1", stage, items, 2, in_round)), now.job


def test_a_unit_is_told_where_its_inputs_lie() -> None:
    made, job = assigned(1, 2)
    (unit,) = made.units
    assert (made.stage, made.attempt, unit.item, unit.index) == ("clip", 2, "2", 2)
    assert unit.inputs == {
        "image": InputRef(stage="image", item="2", fingerprint=job.unit(0, 2).fingerprint),
        "previous": InputRef(stage="clip", item="1", fingerprint=job.unit(1, 1).fingerprint),
    }
    assert unit.generate == job.generate(job.unit(1, 2))


def test_an_assignment_says_what_a_worker_has_to_know_and_of_which_contract_its_fingerprints_are() -> None:
    made, _ = assigned(0, 0)
    assert (made.version, made.contract) == (ASSIGNMENT, CONTRACT)


def test_a_unit_that_gathers_is_told_all_of_its_inputs_in_order() -> None:
    made, job = assigned(2, 0)
    (unit,) = made.units
    assert (unit.item, unit.index, unit.fingerprint) == ("job", 0, job.unit(2, 0).fingerprint)
    assert unit.inputs == {
        "clip": [InputRef(stage="clip", item=str(item), fingerprint=job.unit(1, item).fingerprint) for item in range(3)]
    }
    body = pods.build(
        standing=standing(job_spec(items={"count": 3}, stages=FILM), done=True),
        spec=job_spec(items={"count": 3}, stages=FILM),
        job_uid="job-uid",
        pod=PodCreate("reel-x-1", 2, (0,), 1),
        assigned="{}",
        config=Config(),
    )
    assert body["metadata"]["annotations"][names.ANNOTATION_UNITS] == '["job"]'


@pytest.mark.parametrize(
    ("in_round", "knobs"), [(0, {}), (1, {"offload": "model"}), (2, {"tiling": False}), (9, {"tiling": False})]
)
def test_memory_knobs_are_those_of_the_round(in_round: int, knobs: dict[str, Any]) -> None:
    overrides = [{"offload": "model"}, {"tiling": False}]
    made, _ = assigned(0, 0, in_round=in_round, retry={"roundOverrides": overrides})
    assert made.knobs == knobs


def test_memory_knobs_of_a_stage_hold_but_for_those_of_the_round() -> None:
    clip = {"name": "clip", "generate": {"diffusers": {"model": "m", "memory": {"offload": "model", "slicing": True}}}}
    fields: Any = {"stages": [clip], "retry": {"roundOverrides": [{"offload": "sequential", "tiling": True}]}}
    first, _ = assigned(0, 0, **fields)
    assert first.knobs == {"offload": "model", "slicing": True}
    assert "memory" not in first.units[0].generate["diffusers"]
    later, _ = assigned(0, 0, in_round=1, **fields)
    assert later.knobs == {"offload": "sequential", "slicing": True, "tiling": True}


def test_a_worker_is_told_how_often_to_keep_what_it_has_also_if_never() -> None:
    made, _ = assigned(0, 0, checkpoint={"policy": "Low", "everyBytes": "8Mi", "maxBytes": "1Gi"})
    assert made.checkpoint == Cadence(enabled=True, every_seconds=60, every_bytes=2**23, max_bytes=2**30)
    off, _ = assigned(0, 0, checkpoint={"policy": "Off"})
    text = off.model_dump_json(by_alias=True, exclude_none=True)
    assert not Assignment.model_validate_json(text).checkpoint.enabled


def test_annotations_of_the_largest_pod_fit() -> None:
    """The API server takes 256 KiB of keys and values together."""
    most = JobSpec.model_json_schema()["properties"]["unitsPerPod"]["maximum"]
    ids = ["\U0001f3ac" * 125 + f"{number:03}" for number in range(most)]
    items = {"list": [{"id": each} for each in ids]}
    pod = build(tuple(range(most)), items=items, unitsPerPod=most)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in pod["metadata"]["annotations"].items())
    assert size < 256 * 1024
    pod["metadata"] |= {"uid": "pod-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    assert project(pod).units == tuple(ids)


OLD = "registry/worker@sha256:" + "a" * 64


def begun(**wanted: Any) -> Any:
    spec = job_spec(podTemplate=wanted.pop("template", {}))
    return pods.build(
        standing=standing(spec),
        spec=spec,
        job_uid="job-uid",
        pod=PodCreate("reel-x-1", 0, (0,), 1, **wanted),
        assigned="{}",
        config=Config(worker_image="worker:2"),
    )


def test_a_pod_that_goes_on_has_the_image_that_began_it_and_says_so() -> None:
    fresh, pinned = begun(), begun(image=OLD)
    assert [each["spec"]["containers"][0]["image"] for each in (fresh, pinned)] == ["worker:2", OLD]
    assert [env(each)["CARRYON_IMAGE"] for each in (fresh, pinned)] == ["worker:2", OLD]
    assert names.ANNOTATION_PINNED not in fresh["metadata"]["annotations"]
    assert (project_of(pinned).pinned, project_of(pinned).image) == (True, OLD)
    template = names.ANNOTATION_TEMPLATE
    assert pinned["metadata"]["annotations"][template] == fresh["metadata"]["annotations"][template], (
        "one that waits in vain is replaced by what it is, not by what began it"
    )


def project_of(pod: Any) -> Any:
    return project({**pod, "metadata": {**pod["metadata"], "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}})


@pytest.mark.parametrize(
    ("device", "product"),
    [
        ("NVIDIA A100-SXM4-80GB, 8.0, 108 SM", "NVIDIA-A100-SXM4-80GB"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb, 9.0, 16 SM", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"),
        ("Tesla T4, 7.5, 40 SM", "Tesla-T4"),
        ("cpu Intel(R) Xeon(R) 0123, AVX512", ""),
        ("AMD Instinct MI300X, 9.4, 304 SM", ""),
        ("NVIDIA " + "x" * 80, ""),
        ("NVIDIA {{nasty}}", ""),
        ("", ""),
    ],
)
def test_the_gpu_of_a_journal_is_a_wish_that_nodes_are_labelled_for(device: str, product: str) -> None:
    assert gpu_product(device) == product
    affinity = begun(device=device)["spec"].get("affinity")
    if not product:
        assert affinity is None
        return
    (wish,) = affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"]["matchExpressions"] == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": [product, f"{product}-SHARED"]}
    ]
    assert all(len(value) <= 63 for value in wish["preference"]["matchExpressions"][0]["values"])


def test_that_wish_stands_beside_those_of_the_template() -> None:
    theirs = {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}
    required = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]}
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    node = {preferred: [theirs], "requiredDuringSchedulingIgnoredDuringExecution": required}
    pod = begun(device="NVIDIA L4, 8.9, 58 SM", template={"spec": {"affinity": {"nodeAffinity": node}}})
    made = pod["spec"]["affinity"]["nodeAffinity"]
    assert made[preferred][0] == theirs
    assert len(made[preferred]) == 2
    assert made["requiredDuringSchedulingIgnoredDuringExecution"] == required
