"""Nodes that are lost and come back, and taints that end pods, as a cluster has them."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carryon_standalone.apiserver.nodes import Silence, tolerated_for
from nodes import Machine, Object, alive, conditions, running
from processes import until

NODE = "/api/v1/nodes/box"
UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    machine = Machine(folder, "--gpus", "0", "--heartbeat", "0.5", api=("--node-grace", "4"))
    try:
        machine.start()
        yield machine
    finally:
        if machine.node is not None:
            machine.node.send_signal(signal.SIGCONT)
        machine.close()


def toleration(key: str, seconds: int | None = None) -> list[dict[str, Any]]:
    some = {} if seconds is None else {"tolerationSeconds": seconds}
    return [{"key": key, "operator": "Exists", "effect": "NoExecute", **some}]


def readiness(pod: Object) -> str:
    return str(conditions(pod)["Ready"]["status"])


def node(machine: Machine) -> tuple[str, list[tuple[str, str]]]:
    """Whether the node is ready, and its taints."""
    found = machine.request("GET", NODE)
    return readiness(found), [(each["key"], each["effect"]) for each in found["spec"].get("taints") or ()]


def pid(machine: Machine, pod: Object) -> int:
    return int(until(lambda: machine.log(pod))[0])


def test_a_node_that_hangs_is_lost_with_its_pods_and_comes_back_with_them(machine: Machine) -> None:
    script = "echo $$$$; exec sleep 600"
    made = {
        name: machine.create(name, script, tolerations=tolerations, terminationGracePeriodSeconds=1)
        for name, tolerations in (
            ("patient", toleration(UNREACHABLE)),
            ("hasty", toleration(UNREACHABLE, 1)),
            ("usual", []),
        )
    }
    for name in made:
        machine.when(name, running)
    pids = {name: pid(machine, pod) for name, pod in made.items()}
    assert machine.node is not None
    machine.node.send_signal(signal.SIGSTOP)
    lost = ("Unknown", [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")])
    until(lambda: node(machine) == lost, what="the node to be lost")
    for name in made:
        machine.when(name, lambda pod: readiness(pod) == "False")
    hasty = machine.when("hasty", lambda pod: pod["metadata"].get("deletionTimestamp"))
    assert conditions(hasty)["DisruptionTarget"]["reason"] == "DeletionByTaintManager"
    # Nobody can end it there, and nobody says that it has ended. Others stay for five minutes, or for ever.
    assert all(map(alive, pids.values()))
    assert not [name for name in ("patient", "usual") if "deletionTimestamp" in (machine.pod(name) or {})["metadata"]]

    machine.node.send_signal(signal.SIGCONT)
    machine.gone("hasty")
    until(lambda: not alive(pids["hasty"]), what="the end of what was to end")
    until(lambda: node(machine) == ("True", []), what="the node to be back")
    for name in ("patient", "usual"):
        pod = machine.when(name, lambda pod: readiness(pod) == "True")
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
        assert alive(pids[name])
        machine.delete(name)
        machine.gone(name)


def test_a_taint_ends_running_pods_that_do_not_tolerate_it(machine: Machine, tmp_path: Path) -> None:
    told = tmp_path / "told"
    leaving = f"trap 'echo saved >> {told}; exit 0' TERM; echo up >> {told}; while :; do sleep 0.05; done"
    machine.create("leaving", leaving, metadata={"finalizers": ["test.carryon.dev/look"]})
    machine.create("staying", "exec sleep 600", tolerations=toleration("gpu"), terminationGracePeriodSeconds=0)
    machine.create("later", "exec sleep 600", tolerations=toleration("gpu", 1), terminationGracePeriodSeconds=0)
    for name in ("leaving", "staying", "later"):
        machine.when(name, running)
    until(lambda: told.exists(), what="the pod to be up")
    machine.request("PATCH", NODE, {"spec": {"taints": [{"key": "gpu", "value": "hot", "effect": "NoExecute"}]}})
    ended = machine.finished("leaving")
    assert told.read_text().splitlines() == ["up", "saved"], "it has its grace period"
    assert conditions(ended)["DisruptionTarget"]["reason"] == "DeletionByTaintManager"
    machine.request("PATCH", "/api/v1/namespaces/default/pods/leaving", {"metadata": {"finalizers": None}})
    for name in ("leaving", "later"):
        machine.gone(name)
    machine.create("new", "exit 0")
    waits = machine.when("new", lambda pod: "PodScheduled" in conditions(pod))
    assert "untolerated taint {gpu: hot}" in conditions(waits)["PodScheduled"]["message"]
    assert "deletionTimestamp" not in (machine.pod("staying") or {})["metadata"]
    machine.request("PATCH", NODE, {"spec": {"taints": None}})
    machine.finished("new")
    for name in ("new", "staying"):
        machine.delete(name)
        machine.gone(name)


@pytest.mark.parametrize(
    ("tolerations", "key", "seconds"),
    [
        ([], "gpu", 0),
        ([], UNREACHABLE, 300),
        (toleration("gpu"), "gpu", math.inf),
        (toleration("gpu", 7), "gpu", 7),
        (toleration("gpu", -1), "gpu", 0),
        (toleration("other"), "gpu", 0),
        ([{"operator": "Exists"}], "gpu", math.inf),
        ([{"key": "gpu", "value": "hot"}], "gpu", math.inf),
        ([{"key": "gpu", "value": "cold"}], "gpu", 0),
        # One that is only about placing leaves the pod the usual time.
        ([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}], UNREACHABLE, 300),
        ([*toleration("gpu", 7), *toleration("gpu")], "gpu", 7),
    ],
)
def test_how_long_a_pod_stays_under_a_taint(tolerations: list[dict[str, Any]], key: str, seconds: float) -> None:
    assert tolerated_for(tolerations, {"key": key, "value": "hot", "effect": "NoExecute"}) == seconds


def test_a_node_is_lost_after_as_many_seconds_of_looking_as_it_was_silent() -> None:
    silence = Silence(40)
    for _ in range(8):
        assert silence.look(["a"], 5) == []
    assert silence.look(["a"], 5) == ["a"]
    silence.hear("a")
    assert silence.look(["a"], 5) == []


def test_time_in_which_nobody_looked_makes_no_node_look_lost() -> None:
    silence = Silence(40)
    silence.look(["a"], 5)
    # The machine was asleep, or the server was: the node could not be heard.
    assert silence.look(["a"], 3600) == []
    silence.forget("a")
    assert not silence.is_lost("a")
