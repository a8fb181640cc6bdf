"""How objects come to their end: graceful pods, owners and dependents, namespaces, and the logs they leave."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carryon_standalone.apiserver.catalog import BUILTINS
from carryon_standalone.apiserver.controllers import EventExpiry, NamespaceController
from carryon_standalone.apiserver.deletion import Deletion
from carryon_standalone.apiserver.resources import Registry
from carryon_standalone.apiserver.storage import Store
from carryon_standalone.apiserver.writes import WriteOptions, Writes

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "worker", "image": "i:1"}], **spec}}


def scheduled(server: Any, name: str, **spec: Any) -> str:
    """A pod with a node; its path."""
    server.create(PODS, pod(name, **spec))
    server.create(f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "here"}})
    return f"{PODS}/{name}"


def owned(name: str, *owners: dict[str, Any], blocking: bool = False) -> dict[str, Any]:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocking,
        }
        for owner in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references}}


def job(server: Any, name: str) -> dict[str, Any]:
    return server.create(JOBS, {"metadata": {"name": name}, "spec": {"prompt": "p"}})


def exists(server: Any, path: str) -> bool:
    return server.request("GET", path).status == 200


def test_a_new_pod_is_as_a_real_server_makes_it(server: Any) -> None:
    made = server.create(PODS, {**pod("fresh"), "status": {"phase": "Running"}})
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["metadata"]["generation"] == 1
    spec = made["spec"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"], spec["dnsPolicy"]) == (
        "Always",
        30,
        "ClusterFirst",
    )
    assert spec["serviceAccountName"] == "default"
    assert spec["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert spec["containers"][0]["terminationMessagePath"] == "/dev/termination-log"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"metadata": {"name": "p"}, "spec": {}}, "spec.containers: Required value"),
        (
            {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}},
            "spec.containers[0].image: Required value",
        ),
        (pod("p", restartPolicy="Sometimes"), 'Unsupported value: "Sometimes"'),
    ],
)
def test_a_pod_that_could_never_run_is_refused(server: Any, value: Any, words: str) -> None:
    answer = server.request("POST", PODS, value)
    assert (answer.status, words in answer.message) == (422, True), answer.message


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (PODS, {"spec": "text"}, "spec"),
        (PODS, {"spec": {"containers": {"name": "a"}}}, "spec.containers"),
        (PODS, {"spec": {"containers": ["a"]}}, "spec.containers[0]"),
        (PODS, pod("x", terminationGracePeriodSeconds="30"), "spec.terminationGracePeriodSeconds"),
        (PODS, pod("x", nodeSelector={"gpu": True}), "spec.nodeSelector.gpu"),
        (MAPS, {"data": {"count": 3}}, "data.count"),
        ("/api/v1/namespaces/default/secrets", {"stringData": ["a"]}, "stringData"),
        ("/api/v1/namespaces/default/events", {"involvedObject": "pod/x"}, "involvedObject"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"spec": {"versions": [1]}}, "spec.versions[0]"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_field(server: Any, path: str, value: Any, field: str) -> None:
    answer = server.request("POST", path, {**value, "metadata": {"name": "x"}})
    assert answer.status == 400
    assert f"{field} in body must be of type" in answer.message


def test_null_is_absent_in_a_built_in_kind(server: Any) -> None:
    made = server.create(PODS, pod("nulls", nodeName=None, volumes=None, restartPolicy=None))
    assert made["spec"]["restartPolicy"] == "Always"
    assert "volumes" not in made["spec"]


def test_a_pods_spec_is_fixed_but_for_its_images(server: Any) -> None:
    server.create(PODS, pod("fixed"))
    answer = server.request(
        "PATCH", f"{PODS}/fixed", {"spec": {"nodeName": "here"}}, Content_Type="application/merge-patch+json"
    )
    assert (answer.status, "pod updates may not change fields" in answer.message) == (422, True)
    image = {"spec": {"containers": [{"name": "worker", "image": "i:2"}]}}
    assert server.patch(f"{PODS}/fixed", image, "strategic-merge-patch+json")["metadata"]["generation"] == 2


def test_a_running_pod_is_given_its_grace_and_goes_when_the_kubelet_says_so(server: Any) -> None:
    path = scheduled(server, "graceful", terminationGracePeriodSeconds=20)
    deleting = server.delete(path)
    metadata = deleting["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 20
    ahead = datetime.fromisoformat(metadata["deletionTimestamp"]) - datetime.now(UTC)
    assert timedelta(seconds=17) < ahead < timedelta(seconds=21)
    assert server.delete(path)["metadata"]["resourceVersion"] == metadata["resourceVersion"]
    assert server.delete(path, {"gracePeriodSeconds": 5})["metadata"]["deletionGracePeriodSeconds"] == 5
    server.patch(f"{path}/status", {"status": {"phase": "Failed"}})
    assert exists(server, path)
    wrong = server.request("DELETE", path, {"gracePeriodSeconds": 0, "preconditions": {"uid": "another"}})
    assert wrong.status == 409
    server.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}})
    assert not exists(server, path)


def test_pods_that_nothing_runs_go_at_once(server: Any) -> None:
    server.create(PODS, pod("waiting"))
    server.delete(f"{PODS}/waiting")
    ended = scheduled(server, "ended")
    server.patch(f"{ended}/status", {"status": {"phase": "Succeeded"}})
    server.delete(ended)
    forced = scheduled(server, "forced")
    server.delete(forced, {"gracePeriodSeconds": 0})
    assert [exists(server, f"{PODS}/{name}") for name in ("waiting", "ended", "forced")] == [False] * 3


def test_a_pod_is_bound_once(server: Any) -> None:
    path = scheduled(server, "bound")
    found = server.get(path)
    assert found["spec"]["nodeName"] == "here"
    assert {each["type"]: each["status"] for each in found["status"]["conditions"]} == {"PodScheduled": "True"}
    assert server.request("POST", f"{path}/binding", {"target": {"name": "there"}}).status == 409


def test_an_eviction_leaves_its_reason(server: Any) -> None:
    path = scheduled(server, "evicted")
    server.create(f"{path}/eviction", {"deleteOptions": {"gracePeriodSeconds": 7}})
    found = server.get(path)
    assert found["metadata"]["deletionGracePeriodSeconds"] == 7
    assert "DisruptionTarget" in {each["type"] for each in found["status"]["conditions"]}


def test_dependents_follow_their_owner(server: Any, wait_until: Any) -> None:
    owner = job(server, "background")
    server.create(MAPS, owned("dependent", owner))
    server.create(PODS, {**pod("dependent"), **owned("dependent", owner)})
    server.delete(f"{JOBS}/background", {"propagationPolicy": "Background"})
    wait_until(
        lambda: not exists(server, f"{MAPS}/dependent") and not exists(server, f"{PODS}/dependent"), "dependents to go"
    )


def test_a_dependent_of_nobody_is_deleted(server: Any, wait_until: Any) -> None:
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "uid": "never-was"}}
    server.create(MAPS, owned("orphan", nobody))
    wait_until(lambda: not exists(server, f"{MAPS}/orphan"), "the orphan to go")


def test_one_owner_is_enough(server: Any, wait_until: Any) -> None:
    first, second = job(server, "owner-1"), job(server, "owner-2")
    server.create(MAPS, owned("shared", first, second))
    server.delete(f"{JOBS}/owner-1")

    def owners() -> list[str]:
        return [each["name"] for each in server.get(f"{MAPS}/shared")["metadata"].get("ownerReferences", [])]

    wait_until(lambda: owners() == ["owner-2"], "the reference to the owner that is gone to be dropped")
    server.delete(f"{JOBS}/owner-2")
    wait_until(lambda: not exists(server, f"{MAPS}/shared"), "the last owner to take it along")


def test_in_the_foreground_dependents_go_first(server: Any, wait_until: Any) -> None:
    owner = job(server, "foreground")
    blocking = owned("blocking", owner, blocking=True)
    blocking["metadata"]["finalizers"] = ["carryon.dev/hold"]
    server.create(MAPS, blocking)
    deleting = server.delete(f"{JOBS}/foreground", {"propagationPolicy": "Foreground"})
    assert deleting["metadata"]["finalizers"] == ["foregroundDeletion"]
    wait_until(lambda: "deletionTimestamp" in server.get(f"{MAPS}/blocking")["metadata"], "the dependent to be deleted")
    assert exists(server, f"{JOBS}/foreground")
    server.patch(f"{MAPS}/blocking", {"metadata": {"finalizers": []}})
    wait_until(lambda: not exists(server, f"{JOBS}/foreground"), "the owner to go after its dependent")
    assert not exists(server, f"{MAPS}/blocking")


def test_orphans_stay_when_they_are_wanted(server: Any, wait_until: Any) -> None:
    owner = job(server, "orphaning")
    server.create(MAPS, owned("kept", owner))
    server.delete(f"{JOBS}/orphaning", {"propagationPolicy": "Orphan"})
    wait_until(lambda: not exists(server, f"{JOBS}/orphaning"), "the owner to go")
    assert "ownerReferences" not in server.get(f"{MAPS}/kept")["metadata"]


def test_what_was_to_be_collected_before_a_restart_is_collected_after_it(
    own_server: Any, media_crd: Any, wait_until: Any
) -> None:
    own_server.start()
    own_server.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", media_crd)
    owner = job(own_server, "owner")
    for number in range(100):
        own_server.create(MAPS, owned(f"d{number}", owner))
    own_server.delete(f"{JOBS}/owner")
    own_server.kill()
    own_server.start()
    wait_until(lambda: own_server.get(MAPS)["items"] == [], "all dependents to go")


def test_a_namespace_goes_with_everything_in_it(server: Any, wait_until: Any) -> None:
    server.create("/api/v1/namespaces", {"metadata": {"name": "going"}})
    inside = "/api/v1/namespaces/going"
    wait_until(lambda: exists(server, f"{inside}/serviceaccounts/default"), "the default service account")
    server.create(f"{inside}/configmaps", {"metadata": {"name": "a"}})
    server.create(f"{inside}/configmaps", {"metadata": {"name": "held", "finalizers": ["carryon.dev/hold"]}})
    assert server.delete(inside)["status"]["phase"] == "Terminating"
    refused = server.request("POST", f"{inside}/configmaps", {"metadata": {"name": "late"}})
    assert refused.status == 403
    assert refused.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    wait_until(lambda: not exists(server, f"{inside}/configmaps/a"), "its contents to go")
    assert exists(server, inside)
    server.patch(f"{inside}/configmaps/held", {"metadata": {"finalizers": None}})
    wait_until(lambda: not exists(server, inside), "the namespace to go")


def test_the_namespaces_of_the_system_stay(server: Any) -> None:
    answer = server.request("DELETE", "/api/v1/namespaces/default")
    assert (answer.status, "may not be deleted" in answer.message) == (403, True)


async def test_events_are_forgotten_an_hour_after_they_were_last_seen(tmp_path: Path) -> None:
    store = Store.open(tmp_path, lambda kind, value: {})
    registry, writes = Registry(BUILTINS), Writes(store)
    deletion = Deletion(store)
    await NamespaceController(store, registry, writes, deletion).bootstrap()
    events = registry.find("", "v1", "events")
    assert events is not None
    now = datetime.now(UTC)
    for name, minutes in (("old", 0), ("seen-again", 50)):
        seen = (now + timedelta(minutes=minutes)).isoformat()
        value = {"metadata": {"name": name}, "involvedObject": {"namespace": "default"}, "lastTimestamp": seen}
        await writes.create(events, "default", value, WriteOptions())
    await EventExpiry(store, registry, writes, deletion).expire(now + timedelta(minutes=70))
    assert [each.key.name for each in store.objects(events.storage_kind)] == ["seen-again"]
    await store.close()


def test_a_collection_is_deleted_by_selector(server: Any) -> None:
    for name in ("c1", "c2"):
        server.create(MAPS, {"metadata": {"name": name, "labels": {"collect": "yes"}}})
    server.create(MAPS, {"metadata": {"name": "c3", "labels": {"collect": "no"}}})
    gone = server.delete(f"{MAPS}?labelSelector=collect%3Dyes")
    assert [each["metadata"]["name"] for each in gone["items"]] == ["c1", "c2"]
    assert [exists(server, f"{MAPS}/{name}") for name in ("c1", "c2", "c3")] == [False, False, True]


@pytest.fixture
def logged(server: Any, request: pytest.FixtureRequest) -> tuple[str, Path]:
    """A running pod: the path of its log, and the folder the kubelet writes into."""
    name = f"log-{abs(hash(request.node.name)) % 10**8}"
    path = scheduled(server, name)
    state = [{"name": "worker", "state": {"running": {}}}]
    uid = server.patch(f"{path}/status", {"status": {"phase": "Running", "containerStatuses": state}})["metadata"][
        "uid"
    ]
    folder = server.logs / f"default_{name}_{uid}"
    folder.mkdir(parents=True)
    return f"{path}/log", folder


LINES = [
    "2026-01-01T00:00:00.123456789Z one",
    "2026-01-01T00:00:10Z two words",
    "2026-01-01T00:00:20.5Z ",
    "2026-01-01T00:00:30Z four",
]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "one\ntwo words\n\nfour\n"),
        ("timestamps=true", "\n".join(LINES) + "\n"),
        ("tailLines=2", "\nfour\n"),
        ("tailLines=0", ""),
        ("tailLines=99", "one\ntwo words\n\nfour\n"),
        ("limitBytes=6", "one\ntw"),
        ("sinceTime=2026-01-01T00:00:10Z", "two words\n\nfour\n"),
        ("sinceTime=2026-01-01T00:00:10Z&tailLines=1", "four\n"),
        ("sinceSeconds=1", ""),
        ("container=worker", "one\ntwo words\n\nfour\n"),
        ("previous=true", "earlier\n"),
    ],
)
def test_a_log_is_shown_as_asked_for(server: Any, logged: tuple[str, Path], query: str, text: str) -> None:
    path, folder = logged
    (folder / "worker.log").write_text("\n".join(LINES) + "\n")
    (folder / "worker.previous.log").write_text("2025-12-31T00:00:00Z earlier\n")
    answer = server.request("GET", f"{path}?{query}")
    assert (answer.status, answer.headers["Content-Type"], answer.body.decode()) == (200, "text/plain", text)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("container=other", "container other is not valid"),
        ("previous=true", 'previous terminated container "worker"'),
        ("tailLines=-1", "must be a number"),
        ("sinceTime=yesterday", "is not a time"),
    ],
)
def test_a_log_that_can_not_be_shown_is_refused(server: Any, logged: tuple[str, Path], query: str, words: str) -> None:
    answer = server.request("GET", f"{logged[0]}?{query}")
    assert (answer.status, words in answer.message) == (400, True), answer.message


def test_following_a_log_ends_with_the_pod_and_misses_nothing(server: Any, logged: tuple[str, Path]) -> None:
    path, folder = logged
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(server.request("GET", f"{path}?follow=true").body))
    reader.start()
    with (folder / "worker.log").open("w", buffering=1) as log:
        for number in range(50):
            log.write(f"2026-01-01T00:00:00Z line {number}\n")
        log.write("2026-01-01T00:00:00Z without its end")
    server.patch(f"{path.removesuffix('/log')}/status", {"status": {"phase": "Failed"}})
    reader.join(timeout=10)
    lines = received[0].decode().split("\n")
    assert lines == [*(f"line {number}" for number in range(50)), "without its end"]


def test_following_a_log_ends_when_the_pod_is_gone(server: Any, logged: tuple[str, Path]) -> None:
    path, folder = logged
    (folder / "worker.log").write_text(LINES[0] + "\n")
    connection = server.connect()
    with contextlib.closing(connection):
        connection.request("GET", f"{path}?follow=true", headers=server.headers)
        response = connection.getresponse()
        assert response.readline() == b"one\n"
        server.delete(path.removesuffix("/log"), {"gracePeriodSeconds": 0})
        assert response.read() == b""


def test_a_container_that_waits_has_no_log_yet(server: Any) -> None:
    path = scheduled(server, "creating")
    state = [{"name": "worker", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    server.patch(f"{path}/status", {"status": {"containerStatuses": state}})
    answer = server.request("GET", f"{path}/log")
    assert (answer.status, "waiting to start: ContainerCreating" in answer.message) == (400, True)
    server.create(PODS, pod("unscheduled"))
    assert server.request("GET", f"{PODS}/unscheduled/log").status == 204
