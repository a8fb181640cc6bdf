"""PodDisruptionBudgets: counted, kept by evictions, and no hindrance to anything else."""

from __future__ import annotations

import threading
from typing import Any

import pytest

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def guarded(server: Any, app: str, count: int, **budget: Any) -> list[str]:
    """Ready pods of one label under a budget; their paths."""
    paths = []
    for number in range(count):
        name = f"{app}-{number}"
        spec = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i:1"}]}
        server.create(PODS, {"metadata": {"name": name, "labels": {"app": app}}, "spec": spec})
        server.create(f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "here"}})
        server.patch(f"{PODS}/{name}/status", {"status": READY})
        paths.append(f"{PODS}/{name}")
    given = {"selector": {"matchLabels": {"app": app}}, **budget}
    server.create(BUDGETS, {"metadata": {"name": app}, "spec": given})
    return paths


def allowed(server: Any, wait_until: Any, app: str, count: int) -> Any:
    """The budget, once it allows so many evictions."""

    def look() -> Any:
        found = server.get(f"{BUDGETS}/{app}")
        status = found["status"]
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return found if seen and status["disruptionsAllowed"] == count else None

    return wait_until(look, f"{app} to allow {count}")


def evict(server: Any, path: str) -> Any:
    name = path.rpartition("/")[2]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    return server.request("POST", f"{path}/eviction", body)


def test_an_eviction_that_a_budget_forbids_is_refused_until_it_allows_it(server: Any, wait_until: Any) -> None:
    first, second = guarded(server, "two", 2, minAvailable=1)
    status = allowed(server, wait_until, "two", 1)["status"]
    assert (status["expectedPods"], status["currentHealthy"], status["desiredHealthy"]) == (2, 2, 1)
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "DisruptionAllowed",
        "True",
        "SufficientPods",
    )
    assert evict(server, first).status == 201
    assert "deletionTimestamp" in server.get(first)["metadata"]
    refused = evict(server, second)
    assert (refused.status, refused.json()["reason"]) == (429, "TooManyRequests")
    assert refused.message == "Cannot evict pod as it would violate the pod's disruption budget."
    (cause,) = refused.json()["details"]["causes"]
    assert cause["reason"] == "DisruptionBudget"
    assert cause["message"].startswith("The disruption budget two needs 1 healthy pods and has ")
    assert "deletionTimestamp" not in server.get(second)["metadata"]
    assert evict(server, first).status == 201  # it is on its way already
    server.patch(f"{BUDGETS}/two", {"spec": {"minAvailable": 0}})
    allowed(server, wait_until, "two", 1)
    assert evict(server, second).status == 201


def test_of_many_evictions_at_once_only_as_many_succeed_as_the_budget_allows(server: Any, wait_until: Any) -> None:
    paths = guarded(server, "many", 6, minAvailable=4)
    allowed(server, wait_until, "many", 2)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda path=path: answers.append(evict(server, path).status)) for path in paths]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert answers.count(201) <= 2
    assert set(answers) == {201, 429}
    gone = sum("deletionTimestamp" in server.get(path)["metadata"] for path in paths)
    assert gone == answers.count(201)


def test_a_budget_does_not_hinder_a_deletion_nor_the_eviction_of_what_does_not_run(
    server: Any, wait_until: Any
) -> None:
    paths = guarded(server, "all", 3, minAvailable=3)
    allowed(server, wait_until, "all", 0)
    assert evict(server, paths[0]).status == 429
    server.delete(paths[0], {"gracePeriodSeconds": 0})
    server.patch(f"{paths[1]}/status", {"status": {"phase": "Failed"}})
    assert evict(server, paths[1]).status == 201
    server.patch(f"{paths[2]}/status", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    wait_until(lambda: server.get(f"{BUDGETS}/all")["status"]["currentHealthy"] == 0, "the pod to count as ill")
    assert evict(server, paths[2]).status == 429
    server.patch(f"{BUDGETS}/all", {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})
    assert evict(server, paths[2]).status == 201


def test_a_dry_run_is_refused_as_well_and_takes_nothing(server: Any, wait_until: Any) -> None:
    (path,) = guarded(server, "dry", 1, minAvailable=0)
    allowed(server, wait_until, "dry", 1)
    answer = server.request("POST", f"{path}/eviction", {"deleteOptions": {"dryRun": ["All"]}})
    assert answer.status == 201
    assert server.get(f"{BUDGETS}/dry")["status"]["disruptionsAllowed"] == 1
    server.patch(f"{BUDGETS}/dry", {"spec": {"minAvailable": 1}})
    allowed(server, wait_until, "dry", 0)
    assert server.request("POST", f"{path}/eviction", {"deleteOptions": {"dryRun": ["All"]}}).status == 429


def test_a_pod_under_two_budgets_can_not_be_evicted(server: Any, wait_until: Any) -> None:
    (path,) = guarded(server, "both", 1, minAvailable=0)
    server.create(BUDGETS, {"metadata": {"name": "both-2"}, "spec": {"selector": {"matchLabels": {"app": "both"}}}})
    allowed(server, wait_until, "both", 1)
    refused = evict(server, path)
    assert (refused.status, "more than one PodDisruptionBudget" in refused.message) == (500, True)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "minAvailable and maxUnavailable cannot be both set"),
        ({"minAvailable": -1}, "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"),
        ({"maxUnavailable": "x"}, "a valid percent string must be a numeric string followed by an ending '%'"),
        ({"minAvailable": "101%"}, "must not be greater than 100%"),
        ({"unhealthyPodEvictionPolicy": "Never"}, 'Unsupported value: "Never"'),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}, "not a valid selector operator"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(server: Any, spec: Any, words: str) -> None:
    answer = server.request("POST", BUDGETS, {"metadata": {"name": "nonsense"}, "spec": spec})
    assert (answer.status, words in answer.message) == (422, True), answer.message
