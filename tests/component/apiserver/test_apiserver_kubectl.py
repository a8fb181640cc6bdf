"""kubectl with what only our server lets a test do: write a pod's log, and be a node that is drained."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apiservers import Server, until
from kubectls import OLDEST, Kubectl, needs_kubectl, newest_first


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "worker", "image": "worker:1"}]},
    }


@pytest.fixture(scope="module", params=newest_first(OLDEST))
def newest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Server) -> Kubectl:
    return Kubectl.of(request.param, tmp_path_factory, server)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of the test's own."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-38:].strip("-")


@pytest.fixture
def running_pod(newest: Kubectl, name: str) -> Iterator[Path]:
    """A pod with a node, and the log file that a kubelet would write."""
    newest("apply", "-f", "-", given=pod(name))
    path = f"/api/v1/namespaces/default/pods/{name}"
    newest.server.create(f"{path}/binding", {"target": {"kind": "Node", "name": "here"}})
    state = [{"name": "worker", "ready": True, "restartCount": 0, "state": {"running": {}}}]
    newest.server.patch(f"{path}/status", {"status": {"phase": "Running", "containerStatuses": state}})
    uid = newest.server.get(path)["metadata"]["uid"]
    folder = newest.server.logs / f"default_{name}_{uid}"
    folder.mkdir(parents=True)
    yield folder / "worker.log"
    newest("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")


@needs_kubectl
def test_logs_are_read_and_followed_to_the_end(newest: Kubectl, running_pod: Path, name: str, wait_until: Any) -> None:
    with running_pod.open("w", buffering=1) as log:
        log.write("2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:01.5Z two\n")
        assert newest("logs", name) == "one\ntwo\n"
        assert newest("logs", name, "--tail=1", "--timestamps") == "2026-01-01T00:00:01.5Z two\n"
        following = newest.start("logs", "-f", name)
        time.sleep(0.3)
        log.write("2026-01-01T00:00:02Z three\n")
    newest.server.patch(f"/api/v1/namespaces/default/pods/{name}/status", {"status": {"phase": "Succeeded"}})
    out, errors = following.communicate(timeout=20)
    assert (out, following.returncode) == ("one\ntwo\nthree\n", 0), errors
    assert newest("logs", name) == "one\ntwo\nthree\n"


@needs_kubectl
def test_pods_look_as_on_a_cluster(newest: Kubectl, running_pod: Path, name: str) -> None:
    del running_pod
    header, row = newest("get", "pod", name).splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert row.split()[:4] == [name, "1/1", "Running", "0"]
    assert re.search(r"Node:\s+here", newest("describe", "pod", name))
    newest("delete", "pod", name, "--wait=false")
    assert newest("get", "pod", name).splitlines()[1].split()[2] == "Terminating"


@needs_kubectl
def test_a_node_is_cordoned_drained_and_taken_back(newest: Kubectl, server: Server, name: str) -> None:
    server.create("/api/v1/nodes", {"metadata": {"name": name}})
    newest("apply", "-f", "-", given=pod(name))
    server.create(f"/api/v1/namespaces/default/pods/{name}/binding", {"target": {"kind": "Node", "name": name}})
    assert "cordoned" in newest("cordon", name)
    assert "SchedulingDisabled" in newest("get", "node", name)
    draining = newest.start("drain", name, "--force", "--ignore-daemonsets", "--grace-period=1", "--timeout=30s")
    path = f"/api/v1/namespaces/default/pods/{name}"
    until(lambda: "deletionTimestamp" in server.get(path)["metadata"], "the pod to be told to end")
    server.delete(path, {"gracePeriodSeconds": 0})
    out, errors = draining.communicate(timeout=60)
    assert (draining.returncode, f"node/{name} drained" in out) == (0, True), errors
    newest("uncordon", name)
    newest("taint", "node", name, "gpu=broken:NoSchedule")
    assert server.get(f"/api/v1/nodes/{name}")["spec"]["taints"] == [
        {"key": "gpu", "value": "broken", "effect": "NoSchedule"}
    ]
