"""A node that is killed, restarted, shut down or left alone by its API server: no second copy, no lost verdict."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes import PODS, Machine, Object, alive, conditions, running, terminated
from processes import until


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, "--gpus", "0", "--shutdown-grace", "1")
    try:
        machine.start()
        yield machine
    finally:
        machine.close()


def is_disrupted(pod: Object) -> bool:
    condition = conditions(pod).get("DisruptionTarget", {})
    return (condition.get("status"), condition.get("reason")) == ("True", "TerminationByKubelet")


def test_a_pod_whose_node_was_killed_is_a_disruption_and_leaves_no_process(machine: Machine) -> None:
    pod = machine.create("victim", "sleep 600 & echo $!; echo $$$$; wait")
    machine.when("victim", running)
    child, main = until(lambda: machine.log(pod) if len(machine.log(pod)) == 2 else None)
    machine.stop_node()
    until(lambda: not alive(int(main)), what="the end of the container with its node")
    machine.start_node()
    ended = machine.finished("victim")
    assert not alive(int(child))
    assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Failed", "NodeRestarted")
    assert (terminated(ended)["exitCode"], terminated(ended)["reason"]) == (137, "NodeRestarted")
    assert is_disrupted(ended)
    machine.create("next")
    assert machine.finished("next")["status"]["phase"] == "Succeeded"


def test_a_node_killed_at_random_moments_never_runs_two_copies(machine: Machine, tmp_path: Path) -> None:
    """A job's container holds a lock, and so does its child: whoever finds it taken is a second copy."""
    chance = random.Random(7)
    script = (
        f"exec 9>>{tmp_path}/job.lock; flock -n 9 || echo double >> {tmp_path}/doubles; "
        f"echo start >> {tmp_path}/starts; sleep 30 & sleep 0.3 9>&-"
    )
    starts, kills, made = tmp_path / "starts", 0, 0

    def started() -> int:
        return len(starts.read_text().splitlines()) if starts.exists() else 0

    deadline = time.monotonic() + 180
    # On a busy machine a node may be killed before anything starts.
    while (kills < 12 or started() < 3) and time.monotonic() < deadline:
        alive_until = time.monotonic() + chance.uniform(0.2, 1.2)
        while time.monotonic() < alive_until:
            pod = machine.pod("job")
            if pod is None:
                machine.create("job", script, terminationGracePeriodSeconds=0)
                made += 1
            elif pod["status"]["phase"] in ("Succeeded", "Failed"):
                machine.request("DELETE", f"{PODS}/job")
            time.sleep(0.02)
        machine.stop_node()
        machine.start_node()
        kills += 1
    assert kills >= 12
    assert not (tmp_path / "doubles").exists()
    assert started() >= 3
    if machine.pod("job") is None:
        machine.create("job", script)
    machine.finished("job")


def test_a_verdict_that_was_not_reported_survives_the_node(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    pod = machine.create(
        "witness", f'while ! test -e {gate}; do sleep 0.05; done; echo 9/15 > "$CARRYON_TERMINATION_LOG"; exit 10'
    )
    machine.when("witness", running)
    machine.stop_api()
    gate.touch()
    kept = machine.data / "pods" / pod["metadata"]["uid"] / "status.json"
    until(lambda: '"exitCode":10' in kept.read_text(), what="the verdict on disk")
    machine.stop_node()
    machine.start_node()
    machine.start_api()
    ended = machine.finished("witness")
    assert (terminated(ended)["exitCode"], terminated(ended)["message"]) == (10, "9/15\n")
    assert not is_disrupted(ended)
    assert "reason" not in ended["status"]


def test_a_running_pod_does_not_notice_that_the_api_server_was_restarted(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    machine.create("steady", f"while ! test -e {gate}; do sleep 0.05; done")
    machine.when("steady", running)
    machine.stop_api()
    machine.start_api()
    machine.create("newcomer")
    assert machine.finished("newcomer")["status"]["phase"] == "Succeeded"
    assert running(machine.pod("steady") or {})
    gate.touch()
    steady = machine.finished("steady")
    assert steady["status"]["phase"] == "Succeeded"
    assert steady["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_pod_deleted_while_the_node_was_away_is_cleared_away(machine: Machine) -> None:
    pod = machine.create("orphan", "sleep 600 & echo $!; wait")
    machine.when("orphan", running)
    (child,) = until(lambda: machine.log(pod))
    machine.stop_node()
    machine.request("DELETE", f"{PODS}/orphan?gracePeriodSeconds=0")
    machine.gone("orphan")
    machine.start_node()
    until(lambda: not alive(int(child)), what="the end of its process")
    until(lambda: not (machine.data / "pods" / pod["metadata"]["uid"]).exists(), what="the removal of its records")


def test_a_node_that_is_shut_down_tells_that_it_was_not_the_pods_fault(machine: Machine) -> None:
    machine.create(
        "polite", "trap 'echo saved > \"$CARRYON_TERMINATION_LOG\"; exit 11' TERM; echo up; sleep 600 & wait"
    )
    machine.create("deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done", terminationGracePeriodSeconds=600)
    for name in ("polite", "deaf"):
        pod = machine.when(name, running)
        until(lambda pod=pod: machine.log(pod), what="the trap")
    before = time.monotonic()
    machine.stop_node(signal.SIGTERM)
    assert time.monotonic() - before < 5
    for name, code in (("polite", 11), ("deaf", 137)):
        ended = machine.pod(name) or {}
        assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Failed", "Terminated")
        assert ended["status"]["message"] == "Pod was terminated in response to imminent node shutdown."
        assert is_disrupted(ended)
        assert terminated(ended)["exitCode"] == code
    node = machine.request("GET", "/api/v1/nodes/box")
    assert {each["type"]: each["status"] for each in node["status"]["conditions"]}["Ready"] == "False"


def test_a_shutdown_without_api_server_ends_in_time_and_is_reported_by_the_next_node(machine: Machine) -> None:
    machine.create("left-alone", "exec sleep 600")
    machine.when("left-alone", running)
    machine.stop_api()
    before = time.monotonic()
    machine.stop_node(signal.SIGTERM)
    assert time.monotonic() - before < 10
    machine.start_api()
    machine.start_node()
    ended = machine.finished("left-alone")
    assert ended["status"]["reason"] == "Terminated"
    assert is_disrupted(ended)
    assert terminated(ended)["exitCode"] == 143


def test_a_data_folder_has_one_node(machine: Machine) -> None:
    second = subprocess.run(
        [
            *(sys.executable, "-m", "carryon_standalone.node", "--server", machine.server),
            *("--token-file", str(machine.folder / "token"), "--data", str(machine.data)),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode == 1
    assert second.stderr == f"another node runs in {machine.data}: stop it, or give this one another --data\n"


def test_a_verdict_arrives_although_others_write_the_pod(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    machine.create("popular", f"while ! test -e {gate}; do sleep 0.02; done; exit 7")
    machine.when("popular", running)
    for count in range(30):
        if count == 15:
            gate.touch()
        machine.request("PATCH", f"{PODS}/popular", {"metadata": {"labels": {"count": str(count)}}})
    assert terminated(machine.finished("popular"))["exitCode"] == 7
