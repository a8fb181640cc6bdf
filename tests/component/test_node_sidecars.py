"""Sidecars: init containers that stay, begin before the containers, and end after them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes import Machine, conditions, running
from processes import until


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"), "--gpus", "3", "--crash-backoff", "0.2")
    try:
        machine.start()
        yield machine
    finally:
        machine.close()


def init(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "none", "command": ["/bin/sh", "-c", script], **more}


def sidecar(name: str, told: Path, code: int = 0, before: str = "", **more: Any) -> dict[str, Any]:
    """Says when it begins and when it is asked to end."""
    script = (
        f"echo {name} begins >> {told}; trap 'echo {name} ends >> {told}; exit {code}' TERM; {before} "
        "while :; do sleep 0.05; done"
    )
    return init(name, script, restartPolicy="Always", **more)


def when_there(file: Path, seconds: int = 1) -> dict[str, Any]:
    return {"exec": {"command": ["test", "-e", str(file)]}, "periodSeconds": seconds, "failureThreshold": 60}


def test_a_sidecar_begins_in_its_turn_and_ends_after_the_containers_without_holding_them_up(
    machine: Machine, tmp_path: Path
) -> None:
    told, up = tmp_path / "told", tmp_path / "up"
    machine.create(
        "helped",
        f"echo main >> {told}",
        initContainers=[
            init("one", f"echo one >> {told}"),
            # Others wait for its startup probe.
            sidecar("proxy", told, before=f"sleep 0.3; echo up >> {told}; touch {up};", startupProbe=when_there(up)),
            init("two", f"echo two >> {told}"),
        ],
    )
    pod = machine.finished("helped")
    assert told.read_text().splitlines() == ["one", "proxy begins", "up", "two", "main", "proxy ends"]
    assert pod["status"]["phase"] == "Succeeded"
    ends = [each["state"]["terminated"]["exitCode"] for each in pod["status"]["initContainerStatuses"]]
    assert ends == [0, 0, 0]


def test_a_pod_waits_for_its_sidecar_and_is_ready_with_it(machine: Machine, tmp_path: Path) -> None:
    up, ready, told = tmp_path / "up", tmp_path / "ready", tmp_path / "told"
    probes = {"startupProbe": when_there(up), "readinessProbe": when_there(ready)}
    machine.create("waiting", "exec sleep 600", initContainers=[sidecar("proxy", told, **probes)])
    pod = machine.when("waiting", lambda pod: told.exists() and conditions(pod).get("Initialized"))
    assert (pod["status"]["phase"], conditions(pod)["Initialized"]["status"]) == ("Pending", "False")
    up.touch()
    pod = machine.when("waiting", running)
    assert conditions(pod)["Initialized"]["status"] == "True"
    assert conditions(pod)["Ready"]["message"] == "containers with unready status: [proxy]"
    ready.touch()
    machine.when("waiting", lambda pod: conditions(pod)["Ready"]["status"] == "True")
    machine.delete("waiting")
    machine.gone("waiting")


def test_a_sidecar_that_falls_is_started_again_and_its_end_is_not_the_pods(machine: Machine, tmp_path: Path) -> None:
    told, fell = tmp_path / "told", tmp_path / "fell"
    machine.create(
        "falling",
        f"until [ $(grep -c begins {told}) -ge 2 ]; do sleep 0.05; done",
        initContainers=[sidecar("proxy", told, code=9, before=f"[ -e {fell} ] || {{ touch {fell}; exit 3; }};")],
    )
    pod = machine.finished("falling")
    assert pod["status"]["phase"] == "Succeeded"
    (proxy,) = pod["status"]["initContainerStatuses"]
    assert proxy["state"]["terminated"]["exitCode"] == 9
    assert (proxy["restartCount"], proxy["lastState"]["terminated"]["exitCode"]) == (1, 3)


def test_a_pod_that_is_deleted_ends_its_containers_first_and_its_sidecars_in_reverse(
    machine: Machine, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    machine.create(
        "leaving",
        f"trap 'sleep 0.3; echo main ends >> {told}; exit 0' TERM; echo main >> {told}; while :; do sleep 0.05; done",
        initContainers=[sidecar("first", told), sidecar("second", told)],
        terminationGracePeriodSeconds=20,
    )
    until(lambda: told.exists() and "main" in told.read_text())
    machine.delete("leaving")
    machine.gone("leaving")
    assert told.read_text().splitlines()[-3:] == ["main ends", "second ends", "first ends"]


def test_a_sidecar_has_no_more_time_than_its_pod(machine: Machine, tmp_path: Path) -> None:
    told = tmp_path / "told"
    deaf = init("deaf", f"trap '' TERM; echo deaf >> {told}; while :; do sleep 0.05; done", restartPolicy="Always")
    machine.create("short", "exec sleep 600", initContainers=[deaf], terminationGracePeriodSeconds=1)
    machine.when("short", running)
    machine.delete("short")
    machine.gone("short")


def test_a_failed_init_container_ends_the_sidecars_before_it(machine: Machine, tmp_path: Path) -> None:
    told = tmp_path / "told"
    machine.create("broken", "exit 0", initContainers=[sidecar("proxy", told), init("bad", "exit 4")])
    assert machine.finished("broken")["status"]["phase"] == "Failed"
    assert told.read_text().splitlines() == ["proxy begins", "proxy ends"]


def test_what_runs_side_by_side_shares_no_gpu(machine: Machine, tmp_path: Path) -> None:
    told = tmp_path / "told"
    one = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    two = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    say = f'echo "$CUDA_VISIBLE_DEVICES" >> {told}'
    machine.create(
        "devices",
        say,
        container=one,
        initContainers=[
            init("proxy", f"{say}; while :; do sleep 0.05; done", restartPolicy="Always", **one),
            init("prepare", say, **two),
        ],
        terminationGracePeriodSeconds=0,
    )
    machine.finished("devices")
    assert told.read_text().splitlines() == ["0", "1,2", "1"]
