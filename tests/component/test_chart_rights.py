"""Operator and API do all their work with exactly the rights that the chart gives them, and need each of these.

The API server is the embedded one, with the chart's roles enforced and every use of them noted; or the cluster of the
kubeconfig that CARRYON_TEST_KUBECONFIG names, where what is enforced is real. Nobody but the test acts as kubelet and
worker, so that either needs no node.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes import config as kubernetes_config

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_standalone.apiserver.access import AUTHENTICATED, User
from carryon_store import Stores
from chart_release import NAMESPACE, environment, manifests
from cluster_rights import Enforcer, admin, granted
from making import make, resolved
from status_site import ADMIN, Site

JOBS, PODS = "generationjobs", "pods"
CORE, OURS = "/api/v1", f"/apis/{names.API_VERSION}"
PERSON = "ada"
ACCOUNTS = {"operator": "carryon-operator", "api": "carryon-api"}
INTERVALS = {"CARRYON_ITEMS_INTERVAL": "1s", "CARRYON_VERIFY_INTERVAL": "1s"}
REAL = os.environ.get("CARRYON_TEST_KUBECONFIG", "")


class Cluster:
    """An API server on which somebody has installed the chart, and its admin."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self.folder, self.namespace = folder, namespace
        self.enforcer: Enforcer | None = None

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        raise NotImplementedError

    def server(self) -> tuple[str, bytes]:
        """Its address, and the authority behind its certificate."""
        raise NotImplementedError

    def token(self, account: str, namespace: str) -> str:
        """A token of a service account."""
        raise NotImplementedError

    def kubeconfig(self, component: str) -> Path:
        """A kubeconfig with the rights of the operator or the API."""
        address, authority = self.server()
        cluster = {"server": address}
        if authority:
            cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
        user = {"token": self.token(ACCOUNTS[component], NAMESPACE)}
        parts = {"clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}]}
        context = {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c"}
        path = self.folder / f"{component}.kubeconfig"
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **parts, **context}))
        return path

    def request(self, method: str, path: str, body: Any = None, *fine: int) -> Any:
        code, answer = self.ask(method, path, body)
        assert code < 300 or code in fine, answer
        return answer

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        root = OURS if plural == JOBS else CORE
        parts = [f"{root}/namespaces/{self.namespace}/{plural}", name, subresource]
        return "/".join(part for part in parts if part)

    def create(self, plural: str, body: Mapping[str, Any]) -> Any:
        return self.request("POST", self.path(plural), body)

    def patch(self, plural: str, name: str, changes: Mapping[str, Any], subresource: str = "") -> Any:
        return self.request("PATCH", self.path(plural, name, subresource), changes)

    def get(self, plural: str, name: str) -> Any | None:
        code, answer = self.ask("GET", self.path(plural, name))
        assert code in (200, 404), answer
        return answer if code == 200 else None

    def pods(self, job: str) -> list[Any]:
        found: list[Any] = self.request("GET", self.path(PODS))["items"]
        return [pod for pod in found if (pod["metadata"].get("labels") or {}).get(names.LABEL_JOB) == job]


class Embedded(Cluster):
    """The embedded API server, which the chart's roles are enforced on."""

    def __init__(self, folder: Path, site: Site, enforcer: Enforcer) -> None:
        super().__init__(folder, "default")
        self._site, self.enforcer = site, enforcer

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self._site.ask(method, path, body)
        return answer.status_code, answer.json()

    def server(self) -> tuple[str, bytes]:
        return self._site.server, b""

    def token(self, account: str, namespace: str) -> str:
        return account


class Real(Cluster):
    """A real one, to which the chart's accounts and roles are applied."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        super().__init__(folder, f"carryon-test-{os.getpid()}")
        self._client: Any = kubernetes_config.new_client_from_config(str(kubeconfig))

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": kind}
        asked = self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        answer = self._client.call_api(*asked)
        return answer.status, json.loads(answer.read())

    def server(self) -> tuple[str, bytes]:
        settings = self._client.configuration
        return settings.host, Path(settings.ssl_ca_cert).read_bytes() if settings.ssl_ca_cert else b""

    def token(self, account: str, namespace: str) -> str:
        where = f"{CORE}/namespaces/{namespace}/serviceaccounts/{account}/token"
        wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(self.request("POST", where, wanted)["status"]["token"])

    @contextmanager
    def installed(self, objects: list[Any]) -> Iterator[None]:
        """With what the chart says about accounts and rights, and a namespace for jobs."""
        made: list[str] = []
        for each in [_namespace(NAMESPACE), _namespace(self.namespace), *objects]:
            metadata = each["metadata"]
            scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
            root = CORE if each["apiVersion"] == "v1" else f"/apis/{each['apiVersion']}"
            collection = f"{root}{scope}/{each['kind'].lower()}s"
            if self.ask("POST", collection, each)[0] == 201:
                made.append(f"{collection}/{metadata['name']}")
            else:
                self.request("GET", f"{collection}/{metadata['name']}")
        try:
            yield
        finally:
            for path in reversed(made):
                self.ask("DELETE", path)


def _namespace(name: str) -> Any:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@dataclass
class Process:
    """The operator or the API, as the chart has it started."""

    component: str
    log: Path
    process: subprocess.Popen[bytes]

    def address(self, pattern: str) -> str:
        """Where it says that it serves."""
        found: list[str] = until(lambda: re.findall(pattern, self.text()), f"{self.component} serves", self)
        return found[0]

    def text(self) -> str:
        return self.log.read_text()


@dataclass
class Installation:
    """Both of them at work on a cluster, with what a worker would do in the hands of the test."""

    cluster: Cluster
    folder: Path
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def store(self) -> StoreConfig:
        return StoreConfig(uri=f"file://{self.folder}")

    def url(self, component: str) -> str:
        return self.processes[component].address(r"(http://127\.0\.0\.1:\d+)")

    def wait(self, true: Callable[[], Any], what: str) -> Any:
        return until(true, what, *self.processes.values())

    def pod(self, job: str) -> Any:
        """The pod that the operator makes next for a job."""
        return self.wait(lambda: next(iter(self.cluster.pods(job)), None), f"a pod of {job}")

    def end(self, pod: Any, code: int) -> None:
        """Have a pod end, as a kubelet says it."""
        at = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z"}
        state = {"terminated": {"exitCode": code, **at}}
        container = {
            **{"name": names.CONTAINER, "image": "x", "imageID": "x", "ready": False, "restartCount": 0},
            "state": state,
        }
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [container]}
        self.cluster.patch(PODS, pod["metadata"]["name"], {"status": status}, "status")


def until(true: Callable[[], Any], what: str, *processes: Process) -> Any:
    """Wait for something to become true; what it was."""
    deadline = time.monotonic() + 60
    while not (found := true()):
        for each in processes:
            assert each.process.poll() is None, f"{each.component} has ended:\n{each.text()[-5000:]}"
        logs = "\n".join(each.text()[-5000:] for each in processes) if time.monotonic() > deadline else ""
        assert time.monotonic() < deadline, f"{what}: not within a minute\n{logs}"
        time.sleep(0.05)
    return found


def start(component: str, cluster: Cluster, variables: Mapping[str, str], folder: Path) -> Process:
    log = folder / f"{component}.log"
    local = {
        "KUBECONFIG": str(cluster.kubeconfig(component)),
        "CARRYON_HEALTH": "127.0.0.1:0",
        "CARRYON_API_LISTEN": "127.0.0.1",
        "CARRYON_API_PORT": "0",
        "CARRYON_API_SPOOL": str(folder),
    }
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("CARRYON_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", f"carryon_{component}"],
            env={**theirs, **variables, **INTERVALS, **local},
            stdout=output,
            stderr=output,
        )
    return Process(component, log, process)


VALUES: dict[str, dict[str, Any]] = {
    "cluster-wide": {},
    "by-namespace": {"namespaces": ["default"]},
}


@pytest.fixture(params=["cluster-wide", pytest.param("by-namespace", marks=pytest.mark.slow)])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """Operator and API with the chart's settings, as the chart's service accounts."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    values: dict[str, Any] = {**VALUES[request.param], "fileRoot": str(tmp_path)}
    with _cluster(tmp_path, values) as cluster:
        objects = manifests(values if not values.get("namespaces") else {**values, "namespaces": [cluster.namespace]})
        made = Installation(cluster, bucket)
        try:
            for component in ACCOUNTS:
                variables = environment(objects, component)
                made.processes[component] = start(component, cluster, variables, tmp_path)
            for component in ACCOUNTS:
                ready = f"{made.url(component)}/readyz"
                made.wait(lambda url=ready: _answers(url), f"{component} is ready")
            yield made
        finally:
            for each in made.processes.values():
                each.process.terminate()
            for each in made.processes.values():
                each.process.wait(30)


@contextmanager
def _cluster(folder: Path, values: dict[str, Any]) -> Iterator[Cluster]:
    if REAL:
        cluster = Real(folder, Path(REAL))
        scoped = {**values, "namespaces": [cluster.namespace]} if "namespaces" in values else values
        with cluster.installed(
            [*(each for each in manifests(scoped) if each["kind"] in KINDS), *person(cluster.namespace)]
        ):
            yield cluster
        return
    rights = frozenset(granted([*manifests(values), *person("default")]))
    users = {name: User(name, (AUTHENTICATED,)) for name in (*ACCOUNTS.values(), PERSON)}
    enforcer = Enforcer(rights, {ADMIN: admin(ADMIN), **users})
    with Site(folder, replicas=0, authority=enforcer) as site:
        site.kube("POST", f"{CORE}/namespaces", _namespace(NAMESPACE))
        yield Embedded(folder, site, enforcer)


KINDS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")


def person(namespace: str) -> list[Any]:
    """Somebody who is bound to the chart's role for people."""
    metadata = {"name": PERSON, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "carryon-editor"},
            "subjects": [{"kind": "ServiceAccount", "name": PERSON, "namespace": namespace}],
        },
    ]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


NOWHERE = {"spec": {"nodeSelector": {"carryon.dev/test": "nowhere"}}}
"""On a cluster with nodes, nobody but the test may act as one."""
STAGES = [{"name": "clip", "generate": {"command": {"args": ["true"]}}}]


def job(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"items": {"count": 1}, "stages": STAGES, "podTemplate": NOWHERE, **spec},
    }


def make_and_go(place: Installation) -> None:
    """Made in the end, after an attempt that failed, and gone by itself with its artifacts."""
    cluster = place.cluster
    film = job("film", output={"uri": place.store.uri, "onDelete": "Delete"}, ttlSecondsAfterFinished=1)
    film["spec"]["retry"] = {"backoff": {"initial": "1s"}}
    cluster.create(JOBS, film)
    first = place.pod("film")
    place.end(first, 1)
    gone = first["metadata"]["uid"]
    second = place.wait(
        lambda: next((pod for pod in cluster.pods("film") if pod["metadata"]["uid"] != gone), None), "a second attempt"
    )
    make(
        Stores().open(place.store), resolved(film, cluster.namespace), place.folder, 0, {"a.txt": (b"a", "text/plain")}
    )
    place.end(second, 0)
    place.wait(lambda: cluster.get(JOBS, "film") is None, "film is deleted")
    assert not list((place.folder / cluster.namespace).rglob("done.json"))


def suspend_and_trip(place: Installation) -> Any:
    """Told the same twice, and held up by somebody else's pod of the same name; the pod that it had."""
    cluster = place.cluster
    cluster.create(JOBS, job("reel", output={"uri": place.store.uri}))
    pod = place.pod("reel")
    cluster.patch(JOBS, "reel", {"spec": {"suspend": True}})
    place.wait(lambda: not cluster.pods("reel"), "reel is suspended")
    for asked in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"):
        cluster.patch(JOBS, "reel", {"metadata": {"annotations": {names.ANNOTATION_RESTART: asked}}})
        place.wait(lambda at=asked: _handled(cluster, "reel") == at, "the request is handled")
    theirs = {"containers": [{"name": "x", "image": "x"}], **NOWHERE["spec"]}
    cluster.create(PODS, {"metadata": {"name": pod["metadata"]["name"]}, "spec": theirs})
    cluster.patch(JOBS, "reel", {"spec": {"suspend": False}})
    place.wait(lambda: _condition(cluster, "reel", "Stalled") == "PodNameTaken", "reel finds its pod's name taken")
    return pod


def read_rows(place: Installation) -> None:
    """Made from the rows of a ConfigMap."""
    cluster = place.cluster
    cluster.create("configmaps", {"metadata": {"name": "rows"}, "data": {"items.csv": "id\na\nb\n"}})
    items = {"from": {"configMapKeyRef": {"name": "rows", "key": "items.csv"}, "format": "csv"}}
    cluster.create(JOBS, job("rows", items=items, output={"uri": place.store.uri}, suspend=True))
    place.wait(lambda: (_status(cluster, "rows").get("items") or {}).get("count") == 2, "rows are counted")


def reach_for_a_bucket(place: Installation) -> None:
    """Its bucket is out of reach, and it goes together with what is in there."""
    cluster = place.cluster
    key = base64.b64encode(b"key").decode()
    keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": key}
    cluster.create("secrets", {"metadata": {"name": "s3"}, "data": keys})
    away = {"uri": "s3://renders/far", "endpoint": "http://127.0.0.1:9", "credentialsSecret": {"name": "s3"}}
    cluster.create(JOBS, job("far", output={**away, "onDelete": "Delete"}))
    place.wait(lambda: (cluster.get(JOBS, "far") or {})["metadata"].get("finalizers"), "far has a finalizer")


def _status(cluster: Cluster, name: str) -> Any:
    return (cluster.get(JOBS, name) or {}).get("status") or {}


def _handled(cluster: Cluster, name: str) -> Any:
    return (_status(cluster, name).get("handled") or {}).get("restart")


def _condition(cluster: Cluster, name: str, kind: str) -> Any:
    found = _status(cluster, name).get("conditions") or ()
    return next((each["reason"] for each in found if each["type"] == kind and each["status"] == "True"), None)


def look(place: Installation) -> None:
    """What people do with the page that takes a right of the API's own."""
    token = place.cluster.token(PERSON, place.cluster.namespace)
    with httpx.Client(base_url=place.url("api"), trust_env=False, timeout=60) as page:
        page.headers["Authorization"] = f"Bearer {token}"
        path = f"/api/v1/namespaces/{place.cluster.namespace}/jobs"
        assert page.get("/api/v1/jobs").status_code == 200
        assert page.get(f"{path}/reel/process-status").status_code == 200
        # Its bucket can't be reached, but its keys can be read.
        place.wait(lambda: page.get(f"{path}/far/units/clip/0").status_code == 502, "the API asks for far's bucket")


def leave(place: Installation) -> None:
    """The end of a job whose artifacts can't be deleted: does its namespace end too?"""
    cluster = place.cluster
    cluster.request("DELETE", cluster.path(JOBS, "far"))
    place.wait(lambda: "artifacts are not deleted yet" in place.processes["operator"].text(), "far is put off")
    # Or it would stay for ten minutes.
    cluster.patch(JOBS, "far", {"metadata": {"finalizers": None}})


def test_operator_and_api_work_with_the_charts_rights_and_need_each_of_them(installation: Installation) -> None:
    make_and_go(installation)
    pod = suspend_and_trip(installation)
    read_rows(installation)
    reach_for_a_bucket(installation)
    look(installation)
    leave(installation)
    for each in installation.processes.values():
        assert "orbidden" not in each.text(), each.text()
    # To block an owner's deletion takes the right to finalize it, where admission asks for that; no request does.
    (owner,) = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["blockOwnerDeletion"]) == (names.KIND, True)
    enforcer = installation.cluster.enforcer
    if enforcer is not None:
        assert [asked for asked in enforcer.refused if asked[0] != PERSON] == []

        def unused() -> set[tuple[str, str]]:
            return {(right.verb, right.resource) for right in enforcer.unused if right.account != PERSON}

        # Events are sent in the background, and a Lease is renewed now and then.
        installation.wait(lambda: len(unused()) <= 1, "every right is used")
        assert unused() == {("update", "generationjobs/finalizers")}
