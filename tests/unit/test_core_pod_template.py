"""podTemplates: what they may set, what is ignored with a warning, what is refused, and how two become one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryon_core import names
from carryon_core.errors import SpecError
from carryon_core.pod_template import cleaned, merged, of_stage
from carryon_core.spec import JobSpec
from pod_templates import FULL


def worker(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "worker", **fields}]}}


def volume(**source: Any) -> dict[str, Any]:
    return {"spec": {"volumes": [{"name": "models", **source}]}}


def test_a_template_that_sets_only_what_it_may_stays_as_it_is() -> None:
    assert cleaned(FULL) == (FULL, ())


BAD_CONTAINERS: list[list[dict[str, str]]] = [[], [{"name": "side"}], [{"name": "worker"}, {"name": "worker"}], [{}]]
OURS = "the operator's own"


@pytest.mark.parametrize(
    ("template", "left", "warning"),
    [
        *(
            ({"metadata": {"annotations": {key: "x", "a": "b"}}}, {"metadata": {"annotations": {"a": "b"}}}, warning)
            for key, warning in (
                (key, f"metadata.annotations sets {key}, which is ignored: it is {OURS}")
                for key in (
                    names.ANNOTATION_ATTEMPT,
                    "x.carryon.dev/y",
                    names.MANAGED_BY,
                    "container.apparmor.security.beta.kubernetes.io/worker",
                )
            )
        ),
        *(
            ({"spec": {key: value, "dnsPolicy": "Default"}}, {"spec": {"dnsPolicy": "Default"}}, f"spec.{key} {why}")
            for key, value, why in (
                ("securityContext", {"runAsUser": 0}, f"is ignored: for safety {OURS} value holds"),
                ("automountServiceAccountToken", True, f"is ignored: for safety {OURS} value holds"),
                ("enableServiceLinks", True, f"is ignored: for safety {OURS} value holds"),
                ("restartPolicy", "Always", "is ignored: the operator decides about every attempt"),
            )
        ),
        *(
            (worker(**{key: value}), worker(), f"spec.containers[0].{key} is ignored: {why}")
            for key, value, why in (
                ("image", "x", "name the image in spec.stages[].image"),
                ("command", ["sh"], "the worker's own holds"),
                ("args", ["x"], "the worker's own holds"),
                ("ports", [], "the worker's own holds"),
                ("livenessProbe", {}, "the worker's own holds"),
                ("securityContext", {"privileged": True}, f"for safety {OURS} value holds"),
            )
        ),
        *(
            (
                worker(env=[{"name": "A"}, {"name": name, "value": "x"}]),
                worker(env=[{"name": "A"}]),
                f"spec.containers[0].env[1] sets {name}, which is ignored: it is {OURS}",
            )
            for name in (names.ENV_ASSIGNMENT, "AWS_ENDPOINT_URL", "HOME", "TMPDIR")
        ),
        (
            {"spec": {"volumes": [{"name": "scratch", "emptyDir": {}}]}},
            {"spec": {"volumes": []}},
            "spec.volumes[0] is named scratch and is ignored: the worker's own volume has that name",
        ),
        (
            worker(volumeMounts=[{"name": "models", "mountPath": "/scratch/"}]),
            worker(volumeMounts=[]),
            "spec.containers[0].volumeMounts[0] is mounted at /scratch/ and is ignored: the worker has its own volume"
            " there",
        ),
    ],
)
def test_what_is_the_operators_own_is_ignored_with_a_warning(
    template: dict[str, Any], left: dict[str, Any], warning: str
) -> None:
    assert cleaned(template, "spec.stages[clip].podTemplate") == (left, (f"spec.stages[clip].podTemplate.{warning}",))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"spec": None}, "spec must be an object: write it as one, or take it out"),
        ({"spec": []}, "spec must be an object: write it as one, or take it out"),
        ({"metadata": "x"}, "metadata must be an object: write it as one, or take it out"),
        ({"kind": "Pod"}, "kind is not allowed: take it out; spec.podTemplate may have metadata, spec"),
        (
            {"metadata": {"finalizers": ["x/y"]}},
            "metadata.finalizers is not allowed: take it out; spec.podTemplate.metadata may have labels, annotations",
        ),
        ({"metadata": {"labels": {"team": 7}}}, "metadata.labels.team must be text: put it in quotes, or take it out"),
        *(
            ({"spec": {key: value}}, f"spec.{key} is not allowed: take it out; ")
            for key, value in {
                "hostPID": True,
                "hostNetwork": False,
                "hostIPC": True,
                "hostUsers": True,
                "shareProcessNamespace": True,
                "nodeName": "master",
                "initContainers": [{"securityContext": {"privileged": True}}],
                "ephemeralContainers": [],
                "resourceClaims": [],
            }.items()
        ),
        *(
            (
                {"spec": {"terminationGracePeriodSeconds": value}},
                "spec.terminationGracePeriodSeconds must be a whole number of seconds from 1 to 3600",
            )
            for value in (None, 0, 3601, "30", True, 1.5)
        ),
        (
            {"spec": {"serviceAccountName": "Admin User"}},
            "spec.serviceAccountName must be a name: lower-case letters, digits, dashes and dots",
        ),
        (
            {"spec": {"tolerations": {"operator": "Exists"}}},
            "spec.tolerations must be a list: write it as one, or take it out",
        ),
        ({"spec": {"tolerations": [None]}}, "spec.tolerations[0] must be an object: write it as one, or take it out"),
        (volume(hostPath={"path": "/"}), "spec.volumes[0].hostPath is not allowed: take it out; "),
        (
            volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
            "spec.volumes[0].projected.sources[0].serviceAccountToken is not allowed: take it out; ",
        ),
        ({"spec": {"volumes": [{"emptyDir": {}}]}}, "spec.volumes[0] has no name: add it"),
        (
            # What is ignored before it does not shift the place.
            {"spec": {"volumes": [{"name": "scratch"}, {"name": "x", "hostPath": {}}]}},
            "spec.volumes[1].hostPath is not allowed: take it out; ",
        ),
        *(
            (
                {"spec": {"containers": containers}},
                'spec.containers must hold only the container named "worker": pods have no other',
            )
            for containers in BAD_CONTAINERS
        ),
        ({"spec": {"containers": [7]}}, "spec.containers[0] must be an object: write it as one, or take it out"),
        (worker(lifecycle={}), "spec.containers[0].lifecycle is not allowed: take it out; "),
        (worker(env=[{"value": "x"}]), "spec.containers[0].env[0] has no name: add it"),
        (worker(env=[{"name": 7}]), "spec.containers[0].env[0].name must be text: put it in quotes, or take it out"),
        (
            worker(resources={"limits": None}),
            "spec.containers[0].resources.limits must be an object: write it as one, or take it out",
        ),
    ],
)
def test_what_a_template_may_not_set_is_refused_with_a_sentence(template: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        cleaned(template)
    assert refused.value.reason == "InvalidPodTemplate"
    # Lists of what is allowed are long: the beginning is enough.
    assert refused.value.message.startswith(f"spec.podTemplate.{message}")
    assert message.endswith("; ") or refused.value.message == f"spec.podTemplate.{message}"


def test_what_no_api_server_reads_is_refused() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    for template, end in (
        ({"spec": {"affinity": deep}}, "nests too deep: keep it to 50 levels"),
        (worker(resources={"limits": {"cpu": float("inf")}}), "cpu must be a finite number"),
    ):
        with pytest.raises(SpecError) as refused:
            cleaned(template)
        assert refused.value.reason == "InvalidPodTemplate"
        assert refused.value.message.endswith(end)


def test_a_stages_template_goes_over_the_jobs() -> None:
    job = {
        "metadata": {"labels": {"team": "film", "env": "test"}},
        "spec": {
            "nodeSelector": {"pool": "gpu", "zone": "a"},
            "tolerations": [{"key": "a"}],
            "volumes": [{"name": "models", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "volumeMounts": [{"name": "models", "mountPath": "/models"}],
                    "resources": {"limits": {"memory": "1Gi"}},
                }
            ],
        },
    }
    stage = {
        "metadata": {"labels": {"env": "production"}},
        "spec": {
            "nodeSelector": {"zone": "b"},
            "tolerations": [{"key": "b"}],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "m"}}],
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "B", "valueFrom": {}}, {"name": "C"}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/models"}],
                    "resources": {"limits": {"nvidia.com/gpu": 1}},
                }
            ],
        },
    }
    assert merged(job, stage) == {
        "metadata": {"labels": {"team": "film", "env": "production"}},
        "spec": {
            "nodeSelector": {"pool": "gpu", "zone": "b"},
            "tolerations": [{"key": "b"}],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": "m"}},
                {"name": "cache", "emptyDir": {}},
            ],
            "containers": [
                {
                    "name": "worker",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}, {"name": "C"}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/models"}],
                    "resources": {"limits": {"memory": "1Gi", "nvidia.com/gpu": 1}},
                }
            ],
        },
    }


def test_a_template_over_none_and_none_over_a_template_is_that_template() -> None:
    assert merged({}, FULL) == merged(FULL, {}) == merged(FULL, FULL) == FULL


def test_what_a_stages_pods_get_is_cleaned() -> None:
    spec = JobSpec.model_validate(
        {
            "items": {"count": 1},
            "stages": [
                {"name": "image", "generate": {"command": {"args": ["x"]}}},
                {
                    "name": "clip",
                    "generate": {"command": {"args": ["x"]}},
                    "podTemplate": {"spec": {"restartPolicy": "Always", "schedulerName": "volcano"}},
                },
            ],
            "podTemplate": {"spec": {"securityContext": {}, "dnsPolicy": "Default"}},
        }
    )
    assert of_stage(spec, 0) == {"spec": {"dnsPolicy": "Default"}}
    assert of_stage(spec, 1) == {"spec": {"dnsPolicy": "Default", "schedulerName": "volcano"}}


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.sampled_from(["worker", "scratch", "/scratch", "HOME", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "labels", "spec", "containers", "name", "env", "volumes", "mountPath", "securityContext"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), nonsense, max_size=2))
def test_whatever_a_template_is_it_is_cleaned_once_and_for_all_or_refused(template: dict[str, Any]) -> None:
    try:
        clean, _ = cleaned(template)
    except SpecError:
        return
    assert cleaned(clean) == (clean, ())
    assert merged(clean, {}) == merged({}, clean) == clean
