"""How objects come to their end: graceful pods, owners and dependents, namespaces, collections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that no scheduler of a cluster takes up."""
    containers = [{"name": "worker", "image": "i:1"}]
    return {"metadata": {"name": name}, "spec": {"schedulerName": "nobody", "containers": containers, **spec}}


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
    made = server.create(PODS, {**pod("fresh", schedulerName=None), "status": {"phase": "Running"}})
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
    ("path", "kind", "value"),
    [
        (PODS, "Pod", {"spec": "text"}),
        (PODS, "Pod", {"spec": {"containers": {"name": "a"}}}),
        (PODS, "Pod", {"spec": {"containers": ["a"]}}),
        (PODS, "Pod", pod("x", terminationGracePeriodSeconds="30")),
        (PODS, "Pod", pod("x", nodeSelector={"gpu": True})),
        (MAPS, "ConfigMap", {"data": {"count": 3}}),
        ("/api/v1/namespaces/default/secrets", "Secret", {"stringData": ["a"]}),
        ("/api/v1/namespaces/default/events", "Event", {"involvedObject": "pod/x"}),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "CustomResourceDefinition",
            {"spec": {"versions": [1]}},
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(server: Any, path: str, kind: str, value: Any) -> None:
    answer = server.request("POST", path, {**value, "metadata": {"name": "x"}})
    assert answer.status == 400
    assert answer.message.startswith(f'{kind} in version "v1" cannot be handled as a {kind}: ')


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


def test_a_collection_is_deleted_by_selector(server: Any) -> None:
    for name in ("c1", "c2"):
        server.create(MAPS, {"metadata": {"name": name, "labels": {"collect": "yes"}}})
    server.create(MAPS, {"metadata": {"name": "c3", "labels": {"collect": "no"}}})
    gone = server.delete(f"{MAPS}?labelSelector=collect%3Dyes")
    assert [each["metadata"]["name"] for each in gone["items"]] == ["c1", "c2"]
    assert [exists(server, f"{MAPS}/{name}") for name in ("c1", "c2", "c3")] == [False, False, True]
