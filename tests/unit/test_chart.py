"""The chart: whatever values it is installed with, Kubernetes knows every object of it, and pods may run anywhere."""

from __future__ import annotations

import copy
import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import helm_python
import pytest
import yaml

from carryon_api.config import SETTINGS as API_SETTINGS
from carryon_api.config import parse as parse_api
from carryon_core import chart_files, crd, names
from carryon_core.spec import JobSpec
from carryon_operator.config import SETTINGS as OPERATOR_SETTINGS
from carryon_operator.config import parse as parse_operator
from chart_release import (
    CHART,
    NAMESPACE,
    NOTES,
    environment,
    loaded,
    manifests,
    named,
    of_kind,
    pod_specs,
    rendered,
    wrong,
)
from pod_security import violations

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
FIRST, LATEST = "1.29", "1.37"
"""Of Kubernetes: the oldest that Chart.yaml takes, and the newest whose schemas there are."""
CLUSTER_SCOPED = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}
DIGEST = f"sha256:{'0a' * 32}"

EVERYTHING: dict[str, Any] = {
    "image": {"registry": "registry.example.com/team", "digest": DIGEST},
    "imagePullSecrets": [{"name": "registry"}],
    "defaultStore": {"uri": "s3://renders/all", "endpoint": "https://minio.example.com:9000", "region": "eu-central-1"},
    "modelCache": {"enabled": True, "storageClassName": "fast", "namespaces": ["film", "press"]},
    "operator": {
        "maxPods": 100,
        "maxPodsPerJob": 8,
        "notify": {"allow": ["10.0.0.0/8", "relay.studio.svc"], "proxy": "http://proxy:3128"},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/carryon"}},
        "podAnnotations": {"example.com/cost": "7"},
        "podLabels": {"team": "film"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "carryon-control",
        "extraEnv": [{"name": "AWS_CA_BUNDLE", "value": "/etc/ca/ca.pem"}],
        "extraEnvFrom": [{"secretRef": {"name": "s3"}}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    },
    "api": {
        "trustedProxies": ["10.0.0.0/8"],
        "signInByProxy": {"userHeader": "X-Forwarded-User", "groupsHeader": "X-Forwarded-Groups", "users": ["ada"]},
        "presign": True,
        "artifactOrigins": ["https://minio.example.com:9000"],
        "corsOrigins": ["https://studio.example.com"],
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "carryon.example.com",
            "tlsSecret": "carryon-tls",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
        },
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"a": "b"}},
    },
    "networkPolicy": {
        "apiFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "workers": {"namespaces": ["film", "press"]},
    },
    "metrics": {
        "labels": {"release": "prometheus"},
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
        "rules": {"enabled": True, "runbook": "https://carryon.example.com/alerts"},
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Media"}},
        "reader": {"name": "prometheus", "namespace": "monitoring"},
    },
    "priorityClasses": [
        {"name": "carryon-control", "value": 1000000},
        {"name": "urgent", "value": 10, "preemptionPolicy": "Never"},
    ],
    "commonLabels": {"team": "platform"},
}
MATRIX: dict[str, dict[str, Any]] = {
    "nothing": {},
    "everything": EVERYTHING,
    "by-namespace": {"namespaces": ["film", "press"], "metrics": {"podMonitor": {"enabled": True}}},
    "everything-by-namespace": {**EVERYTHING, "namespaces": ["film"]},
    "one-of-each": {"operator": {"replicas": 1, "leaderElection": False}, "api": {"replicas": 1}},
    "operator-alone": {"api": {"enabled": False}, "metrics": EVERYTHING["metrics"]},
    "ours-is-in-place": {
        "crds": {"install": False},
        "rbac": {"create": False, "userRoles": False},
        "operator": {"serviceAccount": {"create": False, "name": "mine"}},
        "api": {"serviceAccount": {"create": False, "name": "mine"}},
        "networkPolicy": {"enabled": False},
        "worker": {"resources": {"limits": None}},
    },
    "an-identity-for-all": {"ambientCredentials": True, "defaultStore": {"uri": "s3://renders"}},
    "a-secret-for-all": {"defaultStore": {"uri": "s3://renders", "credentialsSecret": "s3"}},
    "a-shared-volume": {
        "fileRoot": "/renders",
        "operator": {
            "extraVolumes": [{"name": "renders", "persistentVolumeClaim": {"claimName": "renders"}}],
            "extraVolumeMounts": [{"name": "renders", "mountPath": "/renders"}],
        },
    },
    "ipv6": {"listen": "::"},
    "no-page-for-workers": {"api": {"enabled": False}, "networkPolicy": {"metricsFrom": []}},
    "other-names": {"fullnameOverride": "gen", "image": {"registry": "a.example", "tag": "7"}, "crds": {"keep": False}},
}


@pytest.fixture(scope="module", params=[*MATRIX])
def release(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """All objects of a release with one line of the matrix."""
    return manifests(MATRIX[request.param])


@pytest.mark.parametrize("values", ["nothing", "everything-by-namespace", "ours-is-in-place"])
def test_helm_has_nothing_to_say_against_it_strictly(values: str) -> None:
    told = helm_python.lint(CHART, MATRIX[values], strict=True, namespace=NAMESPACE)
    assert told["errors"] == []
    # There is no picture of it yet.
    assert [each["error"] for each in told["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", [FIRST, LATEST])
def test_every_object_is_what_kubernetes_knows(release: list[dict[str, Any]], version: str) -> None:
    assert {each["metadata"]["name"]: found for each in release if (found := wrong(each, version))} == {}


def test_what_kubernetes_does_not_know_is_seen() -> None:
    (service, *_) = of_kind(manifests(), "Service")
    for change in ({"spec": {"prots": []}}, {"spec": {"ports": [{"port": "x"}]}}, {"speck": {}}):
        assert wrong({**service, **change}, LATEST) != []
    with pytest.raises(KeyError):
        wrong({**service, "apiVersion": "apps/v1"}, LATEST)
    monitor = copy.deepcopy(of_kind(manifests(EVERYTHING), "ServiceMonitor")[0])
    monitor["spec"]["endpoints"][0]["prot"] = "metrics"
    assert wrong(monitor, LATEST) != []


def test_no_two_objects_are_the_same(release: list[dict[str, Any]]) -> None:
    keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in release]
    assert len(set(keys)) == len(keys)
    for kind, namespace, name in keys:
        assert (namespace is None) == (kind in CLUSTER_SCOPED), (kind, name)


def test_every_object_says_whose_it_is(release: list[dict[str, Any]]) -> None:
    for each in release:
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "carryon", each
        assert labels["app.kubernetes.io/managed-by"] == "Helm", each
        assert labels["app.kubernetes.io/instance"] == "carryon", each


def test_every_pod_is_restricted_and_its_root_file_system_is_read_only(release: list[dict[str, Any]]) -> None:
    found = dict(pod_specs(release))
    assert len(found) >= 2
    for name, spec in found.items():
        assert violations(spec) == [], name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            # Nobody needs a shell.
            assert container["command"][0] in ("carryon-operator", "carryon-api", "python"), name


def test_a_restricted_pod_is_told_from_others() -> None:
    (_, spec), *_ = pod_specs(manifests())
    container = spec["containers"][0]
    worse: list[dict[str, Any]] = [
        {"hostNetwork": True},
        {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]},
        {"securityContext": {**spec["securityContext"], "runAsNonRoot": False}},
        {"securityContext": {**spec["securityContext"], "runAsUser": 0}},
        {"securityContext": {**spec["securityContext"], "seccompProfile": {"type": "Unconfined"}}},
        {"containers": [{**container, "securityContext": {}}]},
        {"containers": [{**container, "ports": [{"containerPort": 1, "hostPort": 1}]}]},
        {"initContainers": [{"name": "first", "image": "a"}]},
    ]
    assert [change for change in worse if not violations({**spec, **change})] == []


def test_selectors_find_the_pods_that_they_mean(release: list[dict[str, Any]]) -> None:
    templates = {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(release, "Deployment")}
    for kind in ("Deployment", "PodDisruptionBudget"):
        for each in of_kind(release, kind):
            wanted = each["spec"]["selector"]["matchLabels"].items()
            found = [name for name, pod in templates.items() if wanted <= pod["metadata"]["labels"].items()]
            assert found == [each["metadata"]["name"]], each
    services = {each["metadata"]["name"]: each for each in of_kind(release, "Service")}
    for name, service in services.items():
        wanted = service["spec"]["selector"].items()
        (pod,) = [pod for pod in templates.values() if wanted <= pod["metadata"]["labels"].items()]
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name
    for monitor in of_kind(release, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [each for each in services.values() if wanted <= each["metadata"]["labels"].items()]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_roles_are_bound_to_the_accounts_that_pods_have(release: list[dict[str, Any]]) -> None:
    accounts = {spec["serviceAccountName"] for _, spec in pod_specs(release) if "serviceAccountName" in spec}
    roles = {(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in release}
    for binding in [*of_kind(release, "RoleBinding"), *of_kind(release, "ClusterRoleBinding")]:
        ref = binding["roleRef"]
        assert (ref["kind"], binding["metadata"].get("namespace"), ref["name"]) in roles
        for subject in binding["subjects"]:
            assert subject["name"] in accounts | {"prometheus"}


@pytest.mark.parametrize("values", MATRIX)
def test_operator_and_api_understand_their_settings(values: str) -> None:
    given = MATRIX[values]
    found = manifests({**given, "fullnameOverride": ""})
    operator = parse_operator([], environment(found, "operator"))
    assert operator.namespaces == tuple(given.get("namespaces", ()))
    assert operator.health is not None
    assert operator.health.port == 8081
    if given.get("api", {}).get("enabled", True):
        # Of the machine that it runs on, not of this one.
        variables = {k: v for k, v in environment(found, "api").items() if k != "CARRYON_API_SPOOL"}
        api = parse_api([], variables)
        for shared in ("namespaces", "default_store", "default_store_secret", "file_root", "ambient_credentials"):
            assert getattr(api, shared) == getattr(operator, shared), shared


NOT_OF_THE_CHART = {"KUBECONFIG", "CARRYON_STANDALONE"}


@pytest.mark.parametrize(("component", "settings"), [("operator", OPERATOR_SETTINGS), ("api", API_SETTINGS)])
def test_every_setting_can_be_set_by_a_value(component: str, settings: Any) -> None:
    known = {variable for _, variable, _ in settings} - NOT_OF_THE_CHART
    assert known - environment(manifests(EVERYTHING), component).keys() == set()


def test_the_default_worker_asks_for_a_gpu() -> None:
    operator = parse_operator([], environment(manifests(), "operator"))
    assert operator.default_resources == {"limits": {"nvidia.com/gpu": 1}}
    assert operator.worker_image == f"carryon-worker:{version('carryon')}"
    none = parse_operator([], environment(manifests({"worker": {"resources": {"limits": None}}}), "operator"))
    assert none.default_resources == {}
    everything = parse_operator([], environment(manifests(EVERYTHING), "operator"))
    assert everything.worker_image == f"registry.example.com/team/carryon-worker:{version('carryon')}"
    (spec, *_) = [spec for _, spec in pod_specs(manifests(EVERYTHING))]
    assert spec["containers"][0]["image"] == f"registry.example.com/team/carryon@{DIGEST}"


def test_the_crd_is_ours_is_upgraded_and_stays() -> None:
    (found,) = of_kind(manifests(), "CustomResourceDefinition")
    ours = crd.build()
    assert found["spec"] == ours["spec"]
    assert found["metadata"]["name"] == names.CRD_NAME
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    # In templates, not in crds/, which Helm never upgrades.
    assert not (CHART / "crds").exists()
    (bare,) = of_kind(manifests({"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "helm.sh/resource-policy" not in bare["metadata"].get("annotations", {})


def test_a_release_fits_into_the_secret_that_helm_keeps_it_in() -> None:
    whole = "".join(rendered(EVERYTHING).values())
    parts = "".join(path.read_text() for path in CHART.rglob("*") if path.is_file())
    # As Helm keeps it: compressed, then as base64 twice. etcd takes 1.5 MiB.
    assert len(gzip.compress((whole + parts).encode())) * 16 / 9 < 500_000


def test_namespaces_that_are_named_get_a_role_each_and_nothing_is_granted_elsewhere() -> None:
    found = manifests(MATRIX["by-namespace"])
    roles = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in of_kind(found, "Role")}
    assert roles == {
        *((namespace, f"carryon-{each}") for namespace in ("film", "press") for each in ("operator", "api")),
        (NAMESPACE, "carryon-operator-lease"),
    }
    for binding in of_kind(found, "ClusterRoleBinding"):
        role = named(found, "ClusterRole", binding["roleRef"]["name"])
        resources = {each for rule in role["rules"] for each in rule["resources"]}
        assert resources == {"tokenreviews", "subjectaccessreviews"}


def test_the_api_may_speak_for_others_only_where_a_proxy_signs_them_in() -> None:
    def impersonates(values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            rule
            for role in of_kind(manifests(values), "ClusterRole")
            for rule in role["rules"]
            if "impersonate" in rule["verbs"]
        ]

    assert impersonates({}) == []
    users, groups = impersonates(EVERYTHING)
    assert users["resourceNames"] == ["ada"]
    assert groups["resources"] == ["groups"]


def test_the_releases_test_waits_until_all_is_ready() -> None:
    (pod,) = of_kind(manifests(), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    _, *command = pod["spec"]["containers"][0]["command"]
    urls = [each for each in command if each.startswith("http")]
    services = {f"{each['metadata']['name']}.{NAMESPACE}.svc": each for each in of_kind(manifests(), "Service")}
    assert [(parts.hostname, parts.port) for parts in map(urlsplit, urls)] == [
        (host, services[host]["spec"]["ports"][0]["port"]) for host in services if host.startswith("carryon-operator")
    ] + [(host, services[host]["spec"]["ports"][0]["port"]) for host in services if host.startswith("carryon-api")]

    answers = [200, 503]

    class Replica(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.pop() if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Replica) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/readyz"
        local = [sys.executable, *(each for each in command if each not in urls), here]
        done = subprocess.run(local, capture_output=True, text=True, timeout=60)
        server.shutdown()
    assert done.stdout == f"{here} is ready\n", done.stderr
    # One that was not ready was asked again.
    assert answers == []


def test_the_chart_is_of_the_version_that_it_is_in() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version("carryon")
    for image in yaml.safe_load(chart["annotations"]["artifacthub.io/images"]):
        assert image["image"].endswith(f":{version('carryon')}")
    (example,) = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
    JobSpec.model_validate(example["spec"])


def test_two_operators_need_a_lease() -> None:
    with pytest.raises(helm_python.HelmError, match="two operators would launch the same pods"):
        manifests({"operator": {"leaderElection": False}})
    assert environment(manifests(), "operator")["CARRYON_LEADER_ELECT"] == "true"
    assert environment(manifests(MATRIX["one-of-each"]), "operator")["CARRYON_LEADER_ELECT"] == "false"


def test_an_ingress_tells_operator_and_api_where_the_page_is() -> None:
    found = manifests(EVERYTHING)
    assert environment(found, "operator")["CARRYON_PAGE_URL"] == "https://carryon.example.com"
    assert environment(found, "api")["CARRYON_API_PUBLIC_URL"] == "https://carryon.example.com"
    (ingress,) = of_kind(found, "Ingress")
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["port"]["name"] in {
        port["name"] for port in named(found, "Service", backend["name"])["spec"]["ports"]
    }
    with pytest.raises(helm_python.HelmError, match=r"api.ingress.host must be set"):
        manifests({"api": {"ingress": {"enabled": True}}})


def test_what_people_are_told_after_the_installation_is_a_job_that_would_be_accepted() -> None:
    for values in MATRIX.values():
        told = rendered(values)[NOTES]
        assert "helm test carryon -n carryon-system" in told
        (job,) = re.findall(r"<<'END'\n(.*?)  END\n", told, re.DOTALL)
        JobSpec.model_validate(yaml.safe_load(job)["spec"])


def paths(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in values.items():
        yield (*path, key)
        if isinstance(inner, dict) and inner and key not in ("resources", "labels"):
            yield from paths(inner, (*path, key))


@pytest.mark.parametrize("path", [*paths(VALUES)], ids=".".join)
def test_a_value_that_is_misspelt_or_of_another_kind_is_refused(path: tuple[str, ...]) -> None:
    for key, value in ((f"{path[-1]}s", {}), (path[-1], [{"not": ["this"]}, 7.5])):
        given: dict[str, Any] = {}
        inner = given
        for each in path[:-1]:
            inner = inner.setdefault(each, {})
        inner[key] = value
        with pytest.raises(helm_python.HelmError):
            loaded().validate_schema(given)


def test_every_value_is_described_and_has_a_default() -> None:
    described = {path: schema for path, schema, _ in chart_files.leaves(SCHEMA, VALUES, SCHEMA["$defs"])}
    assert [path for path, schema in described.items() if not schema.get("description", "").endswith((".", "`"))] == []
    defaults = {path for path, _, default in chart_files.leaves(SCHEMA, VALUES, SCHEMA["$defs"]) if default is not None}
    assert described.keys() - defaults == {"global"}
    loaded().validate_schema({})


OTHERS: dict[str, Any] = {
    "image": {"repository": "ours", "tag": "8", "pullPolicy": "Always"},
    "worker": {
        "image": {"registry": "b.example", "repository": "ours", "tag": "8", "digest": DIGEST},
        "resources": {"limits": {"nvidia.com/gpu": 2}},
    },
    "namespaces": ["film"],
    "ambientCredentials": True,
    "fileRoot": "/renders",
    "defaultStore": {"credentialsSecret": "s3"},
    "modelCache": {"name": "ours", "size": "1Ti", "accessModes": ["ReadWriteOnce"], "keep": False},
    "operator": {
        **{
            "replicas": 3,
            "leaderElection": False,
            "workers": 7,
            "qps": 7,
            "burst": 7,
            "resources": {"limits": {"cpu": 2}},
        },
        "lease": {"duration": "30s", "renewDeadline": "20s", "retryPeriod": "5s"},
        **dict.fromkeys(("verifyInterval", "endedVerifyInterval", "itemsInterval", "journalGrace"), "7h"),
        "serviceAccount": {"create": False, "name": "mine"},
        "podDisruptionBudget": {"enabled": False, "maxUnavailable": 2},
    },
    "api": {
        **{name: value for name, value in EVERYTHING["operator"].items() if name.startswith(("pod", "extra"))},
        **{
            name: EVERYTHING["operator"][name]
            for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName")
        },
        **dict.fromkeys(("requestMebibytes", "uploadMebibytes", "requestsPerSecond", "burst", "replicas"), 7),
        "enabled": False,
        "publicUrl": "https://b.example",
        "signInByProxy": {"groups": ["film"]},
        "spool": {"sizeLimit": "1Gi"},
        "resources": {"limits": {"cpu": 2}},
        "ingress": {"host": "b.example"},
        "serviceAccount": {"create": False, "name": "mine", "annotations": {"a": "b"}},
        "podDisruptionBudget": {"enabled": False},
    },
    "rbac": {"create": False, "userRoles": False, "aggregate": False},
    "networkPolicy": {"enabled": False, "workers": {"enabled": False}},
    "metrics": {
        "interval": "7s",
        "podMonitor": {"namespaces": ["film"]},
        "dashboard": {"labels": {"a": "b"}},
        "reader": {"namespace": "b"},
    },
    "crds": {"install": False, "keep": False},
    "listen": "::",
    "nameOverride": "ours",
    "fullnameOverride": "ours",
}
"""A value besides the default and that of EVERYTHING, for what that does not set or what is yes or no."""


def at(values: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def with_value(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Values with another at a path; `None` takes it out."""
    made = copy.deepcopy(values)
    *above, last = path.split(".")
    inner = made
    for key in above:
        inner = inner.setdefault(key, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return made


LEAVES = [path for path, _, _ in chart_files.leaves(SCHEMA, VALUES, SCHEMA["$defs"]) if path != "global"]


# What another value needs beside it, before and after.
BESIDE: dict[str, dict[str, Any]] = {
    "operator.serviceAccount.create": {"operator.serviceAccount.name": "mine"},
    "api.serviceAccount.create": {"api.serviceAccount.name": "mine"},
    "operator.leaderElection": {"operator.replicas": 1},
    # A digest goes before it.
    "image.tag": {"image.digest": ""},
}


@pytest.mark.slow
@pytest.mark.parametrize("path", LEAVES)
def test_every_value_changes_something(path: str) -> None:
    other = at(OTHERS, path)
    assert other is not None or at(EVERYTHING, path) is not None
    base = EVERYTHING
    for beside, value in BESIDE.get(path, {}).items():
        base = with_value(base, beside, value)
    assert rendered(with_value(base, path, other)) != rendered(base)
