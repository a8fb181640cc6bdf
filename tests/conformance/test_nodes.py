"""Nodes that no kubelet serves: what the control plane and kubectl do about their pods."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from apiservers import unscheduled
from kubectls import OLDEST, Kubectl, needs_kubectl, newest_first

NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture(scope="module", params=newest_first(OLDEST))
def kubectl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Any) -> Kubectl:
    return Kubectl.of(request.param, tmp_path_factory, server)


@pytest.fixture
def node(server: Any) -> str:
    """A node of the test's own."""
    name = f"n{uuid.uuid4().hex[:8]}"
    server.create(NODES, {"metadata": {"name": name}})
    return name


def running(server: Any, node: str, name: str, app: str = "", **spec: Any) -> str:
    """The path of a pod that is ready on a node."""
    name = f"{node}-{name}"
    server.create(PODS, {**unscheduled(name, **spec), "metadata": {"name": name, "labels": {"app": app or node}}})
    server.create(f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": node}})
    server.patch(f"{PODS}/{name}/status", {"status": READY})
    return f"{PODS}/{name}"


def is_told_to_end(server: Any, path: str) -> bool:
    return "deletionTimestamp" in server.get(path)["metadata"]


def test_a_taint_ends_the_pods_that_do_not_tolerate_it(server: Any, node: str, wait_until: Any) -> None:
    gpu = {"key": "gpu", "operator": "Exists", "effect": "NoExecute"}
    plain = running(server, node, "plain")
    patient = running(server, node, "patient", tolerations=[gpu])
    hasty = running(server, node, "hasty", tolerations=[{**gpu, "tolerationSeconds": 1}])
    server.patch(f"{NODES}/{node}", {"spec": {"taints": [{"key": "gpu", "value": "hot", "effect": "NoExecute"}]}})
    for path in (plain, hasty):
        wait_until(lambda path=path: is_told_to_end(server, path), f"the end of {path}")
        conditions = {each["type"]: each for each in server.get(path)["status"]["conditions"]}
        assert conditions["DisruptionTarget"]["reason"] == "DeletionByTaintManager"
    assert not is_told_to_end(server, patient)
    late = running(server, node, "late")
    wait_until(lambda: is_told_to_end(server, late), "the end of one that came later")


def test_a_taint_that_only_keeps_pods_away_ends_none(server: Any, node: str, wait_until: Any) -> None:
    there = running(server, node, "there", tolerations=[{"key": "hot", "operator": "Exists"}])
    seen = running(server, node, "seen")
    taints = [{"key": "gpu", "effect": "NoSchedule"}, {"key": "hot", "effect": "NoExecute"}]
    server.patch(f"{NODES}/{node}", {"spec": {"taints": taints}})
    wait_until(lambda: is_told_to_end(server, seen), "the taints to be looked at")
    assert not is_told_to_end(server, there)


@needs_kubectl
@pytest.mark.parametrize(
    ("given", "spec"),
    [
        (("app=a", "--min-available=0"), {"minAvailable": 0, "selector": {"matchLabels": {"app": "a"}}}),
        (("app=a,b=c", "--max-unavailable=30%"), {"maxUnavailable": "30%"}),
        (
            ("app in (a,b),!c", "--min-available=2"),
            {
                "selector": {
                    "matchExpressions": [
                        {"key": "app", "operator": "In", "values": ["a", "b"]},
                        {"key": "c", "operator": "DoesNotExist"},
                    ]
                }
            },
        ),
    ],
)
def test_kubectl_creates_budgets(kubectl: Kubectl, server: Any, given: tuple[str, str], spec: dict[str, Any]) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    selector, amount = given
    assert "created" in kubectl("create", "pdb", name, f"--selector={selector}", amount)
    made = server.get(f"{BUDGETS}/{name}")
    kubectl("delete", "pdb", name)
    assert {key: made["spec"][key] for key in spec} == spec


@needs_kubectl
def test_a_drain_waits_until_the_budget_lets_it_go_on(
    kubectl: Kubectl, server: Any, node: str, wait_until: Any
) -> None:
    assert "created" in kubectl("create", "pdb", node, f"--selector=app={node}", "--min-available=1")
    assert kubectl("get", "pdb", node).splitlines()[1].split()[:2] == [node, "1"]
    paths = [running(server, node, name) for name in ("one", "two")]
    wait_until(lambda: server.get(f"{BUDGETS}/{node}")["status"].get("disruptionsAllowed") == 1, "the budget's count")
    draining = kubectl.start("drain", node, "--force", "--grace-period=1", "--timeout=60s")
    try:
        (first,) = wait_until(lambda: [each for each in paths if is_told_to_end(server, each)], "one to be told")
        (second,) = set(paths) - {first}
        assert draining.stderr is not None
        retried = next(line for line in draining.stderr if "will retry after" in line)
        assert "Cannot evict pod as it would violate the pod's disruption budget." in retried
        assert not is_told_to_end(server, second)
        server.delete(first, {"gracePeriodSeconds": 0})
        # Somebody else takes over, elsewhere.
        server.create(NODES, {"metadata": {"name": f"{node}-b"}})
        third = running(server, f"{node}-b", "three", app=node)
        wait_until(lambda: is_told_to_end(server, second), "the other one to be told")
        server.delete(second, {"gracePeriodSeconds": 0})
        out, errors = draining.communicate(timeout=60)
    finally:
        draining.kill()
    assert (draining.returncode, f"node/{node} drained" in out) == (0, True), errors
    assert not is_told_to_end(server, third)
