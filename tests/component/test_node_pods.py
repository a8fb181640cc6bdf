"""Pods on a node: started as they ask, told apart by how they end, ended when they should."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carryon_standalone.node.limits import Limits
from nodes import Machine, alive, conditions, running, terminated, waiting
from processes import until

PYTHON = "import http.server,os; http.server.HTTPServer((os.environ['IP'],8080),http.server.SimpleHTTPRequestHandler)"
POD_IP = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(
        tmp_path_factory.mktemp("machine"),
        *("--gpus", "2", "--crash-backoff", "0.2", "--image", "greeter=/bin/echo hello"),
        environment={"AWS_SECRET_ACCESS_KEY": "of-the-user", "OMP_NUM_THREADS": "3"},
    )
    try:
        machine.start()
        yield machine
    finally:
        machine.close()


@pytest.mark.parametrize(
    ("name", "script", "phase", "expected"),
    [
        ("good", "exit 0", "Succeeded", {"exitCode": 0, "reason": "Completed"}),
        ("bad", "exit 12", "Failed", {"exitCode": 12, "reason": "Error"}),
        ("killed", "kill -KILL $$$$", "Failed", {"exitCode": 137, "reason": "Error", "signal": 9}),
    ],
)
def test_the_end_of_a_container_is_told_as_it_was(
    machine: Machine, name: str, script: str, phase: str, expected: dict[str, Any]
) -> None:
    machine.create(name, f'printf \'{{"reason": "x"}}\' > "$CARRYON_TERMINATION_LOG"; {script}')
    pod = machine.finished(name)
    assert pod["status"]["phase"] == phase
    state = terminated(pod)
    assert {key: state[key] for key in expected} == expected
    assert state["message"] == '{"reason": "x"}'
    assert conditions(pod)["Ready"]["status"] == "False"
    assert "DisruptionTarget" not in conditions(pod)


def test_a_termination_message_is_cut_at_4096_bytes_and_falls_back_to_the_log(machine: Machine) -> None:
    machine.create("long", 'head -c 5000 /dev/zero | tr "\\0" x > "$CARRYON_TERMINATION_LOG"')
    machine.create(
        "silent",
        "echo first; echo second >&2; exit 1",
        container={"terminationMessagePolicy": "FallbackToLogsOnError"},
    )
    assert terminated(machine.finished("long"))["message"] == "x" * 4096
    assert terminated(machine.finished("silent"))["message"] == "first\nsecond"


def test_a_command_that_does_not_exist_is_named(machine: Machine) -> None:
    machine.create("absent", container={"command": ["/no/such/program"]})
    state = terminated(machine.finished("absent"))
    assert (state["exitCode"], state["reason"]) == (128, "StartError")
    assert state["message"] == 'exec: "/no/such/program": No such file or directory'


def test_the_environment_has_every_source_and_nothing_of_the_user(machine: Machine) -> None:
    secret = {"metadata": {"name": "s3"}, "data": {"key": base64.b64encode(b"abc").decode()}}
    machine.request("POST", "/api/v1/namespaces/default/secrets", {"apiVersion": "v1", "kind": "Secret", **secret})
    settings = {"metadata": {"name": "settings"}, "data": {"COLOR": "blue"}}
    machine.request(
        "POST", "/api/v1/namespaces/default/configmaps", {"apiVersion": "v1", "kind": "ConfigMap", **settings}
    )

    def field(name: str, path: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    def amount(name: str, resource: str, divisor: str = "0") -> dict[str, Any]:
        return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}

    pod = machine.create(
        "environment",
        "env",
        metadata={"labels": {"carryon.dev/stage": "clip"}, "annotations": {"note": "hi"}},
        container={
            "args": [],
            "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "MY_"}, {"secretRef": {"name": "s3"}}],
            "env": [
                {"name": "PLAIN", "value": "$(MY_COLOR) $$(MY_COLOR) $(UNKNOWN)"},
                {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "key"}}},
                {"name": "FREE", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "no", "optional": True}}},
                field("NAME", "metadata.name"),
                field("UID_", "metadata.uid"),
                field("STAGE", "metadata.labels['carryon.dev/stage']"),
                field("NOTE", "metadata.annotations['note']"),
                field("NODE", "spec.nodeName"),
                POD_IP,
                amount("MEMORY", "limits.memory", "1Mi"),
                amount("CPU", "requests.cpu", "1m"),
                amount("PROCESSORS", "limits.cpu"),
            ],
            "resources": {"limits": {"memory": "65Mi"}, "requests": {"cpu": "150m"}},
        },
    )
    done = machine.finished("environment")
    seen = dict(line.split("=", 1) for line in machine.log(done))
    expected = {
        "PLAIN": "blue $(MY_COLOR) $(UNKNOWN)",
        "MY_COLOR": "blue",
        "key": "abc",
        "FROM_SECRET": "abc",
        "NAME": "environment",
        "UID_": pod["metadata"]["uid"],
        "STAGE": "clip",
        "NOTE": "hi",
        "NODE": "box",
        "IP": done["status"]["podIP"],
        "MEMORY": "65",
        "CPU": "150",
        "PROCESSORS": str(len(os.sched_getaffinity(0))),
        "OMP_NUM_THREADS": "3",
        "CUDA_VISIBLE_DEVICES": "",
        # One folder for the pods of a machine: a model is downloaded once.
        "CARRYON_MODEL_CACHE": str(machine.data / "models"),
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert not {"FREE", "AWS_SECRET_ACCESS_KEY", "USER"} & set(seen)


def test_a_pod_waits_for_a_secret_that_is_missing_and_starts_when_it_is_there(machine: Machine) -> None:
    variable = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}
    machine.create("needy", 'test "$KEY" = here', container={"env": [variable]})
    pod = machine.when("needy", waiting_as("CreateContainerConfigError"))
    assert waiting(pod)["message"] == 'secret "late" not found'
    assert pod["status"]["phase"] == "Pending"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}}
    machine.request("POST", "/api/v1/namespaces/default/secrets", {**secret, "stringData": {"key": "here"}})
    assert machine.finished("needy")["status"]["phase"] == "Succeeded"


def test_an_image_means_the_command_the_node_was_told_and_any_other_is_refused(machine: Machine) -> None:
    pod = machine.create("greeting", container={"image": "greeter", "command": None, "args": ["you"]})
    machine.create("imageless", container={"image": "docker.io/any", "command": None})
    machine.finished("greeting")
    assert machine.log(pod) == ["hello you"]
    refused = machine.when("imageless", waiting_as("ErrImagePull"))
    assert "this machine runs processes, not images" in waiting(refused)["message"]
    machine.when("imageless", waiting_as("ImagePullBackOff"))
    machine.delete("imageless")
    machine.gone("imageless")


def test_a_name_that_no_image_can_have_is_told_apart_from_one_that_is_missing(machine: Machine) -> None:
    machine.create("misnamed", container={"image": "Not An Image", "command": None})
    refused = machine.when("misnamed", waiting_as("InvalidImageName"))
    assert waiting(refused)["message"] == (
        'Failed to apply default image tag "Not An Image": it is no name of an image'
    )
    machine.delete("misnamed")
    machine.gone("misnamed")


def test_volumes_are_folders_and_mount_paths_lead_to_them(machine: Machine) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "data": {"a.txt": "from file"}}
    machine.request("POST", "/api/v1/namespaces/default/configmaps", settings)
    mounts = [{"name": "scratch", "mountPath": "/scratch"}, {"name": "files", "mountPath": "/etc/files"}]
    pod = machine.create(
        "volumes",
        initContainers=[
            {
                "name": "first",
                "image": "none",
                "command": ["/bin/sh", "-c", 'echo written > "$0"', "/scratch/file"],
                "volumeMounts": mounts,
            }
        ],
        volumes=[{"name": "scratch", "emptyDir": {}}, {"name": "files", "configMap": {"name": "files"}}],
        container={
            "command": ["/bin/cat", "/scratch/file", "/etc/files/a.txt"],
            "workingDir": "/scratch",
            "volumeMounts": mounts,
        },
    )
    assert machine.finished("volumes")["status"]["phase"] == "Succeeded"
    assert machine.log(pod) == ["written", "from file"]
    machine.create("claim", volumes=[{"name": "big", "persistentVolumeClaim": {"claimName": "x"}}])
    refused = machine.when("claim", waiting_as("CreateContainerConfigError"))
    assert 'volume "big" is of kind persistentVolumeClaim' in waiting(refused)["message"]
    machine.delete("claim")


def test_init_containers_run_in_order_and_a_failed_one_ends_the_pod(machine: Machine) -> None:
    def init(name: str, script: str) -> dict[str, Any]:
        return {"name": name, "image": "none", "command": ["/bin/sh", "-c", script]}

    machine.create(
        "inits", "exit 0", initContainers=[init("one", "exit 0"), init("two", "exit 4"), init("three", "exit 0")]
    )
    pod = machine.finished("inits")
    states = [status["state"] for status in pod["status"]["initContainerStatuses"]]
    assert [state["terminated"]["exitCode"] for state in states[:2]] == [0, 4]
    assert states[2] == {"waiting": {"reason": "PodInitializing"}}
    assert waiting(pod) == {"reason": "PodInitializing"}
    assert pod["status"]["phase"] == "Failed"


def test_a_deleted_pod_gets_its_grace_and_its_verdict_is_told_before_it_is_gone(machine: Machine) -> None:
    pod = machine.create(
        "gentle",
        "trap 'echo saved > \"$CARRYON_TERMINATION_LOG\"; exit 11' TERM; echo up; while :; do sleep 0.05; done",
        metadata={"finalizers": ["test.carryon.dev/look"]},
    )
    machine.when("gentle", running)
    until(lambda: machine.log(pod) == ["up"])
    machine.delete("gentle")
    ended = machine.when("gentle", lambda pod: "terminated" in pod["status"]["containerStatuses"][0]["state"])
    assert (terminated(ended)["exitCode"], terminated(ended)["message"]) == (11, "saved\n")
    assert ended["metadata"]["deletionTimestamp"]
    machine.request("PATCH", "/api/v1/namespaces/default/pods/gentle", {"metadata": {"finalizers": None}})
    machine.gone("gentle")
    uid = pod["metadata"]["uid"]
    until(lambda: not (machine.data / "pods" / uid).exists(), what="the removal of its records")
    until(lambda: not [log for log in (machine.data / "logs").iterdir() if uid in log.name])


def test_a_pod_that_ignores_sigterm_is_killed_with_everything_it_started(machine: Machine) -> None:
    pod = machine.create(
        "deaf",
        "trap '' TERM; setsid sleep 600 & echo $!; env -i sleep 600 & echo $!; sleep 600 & echo $!; wait",
        terminationGracePeriodSeconds=1,
        metadata={"finalizers": ["test.carryon.dev/look"]},
    )
    machine.when("deaf", running)
    pids = until(lambda: [int(line) for line in lines] if len(lines := machine.log(pod)) == 3 else None)
    machine.delete("deaf")
    ended = machine.when("deaf", lambda pod: "terminated" in pod["status"]["containerStatuses"][0]["state"])
    assert (terminated(ended)["exitCode"], terminated(ended)["signal"]) == (137, 9)
    assert not [pid for pid in pids if alive(pid)]
    machine.request("PATCH", "/api/v1/namespaces/default/pods/deaf", {"metadata": {"finalizers": None}})
    machine.gone("deaf")


def shell(script: str) -> dict[str, Any]:
    return {"exec": {"command": ["/bin/sh", "-c", script]}}


TELLS = "trap 'cat {0} > \"$CARRYON_TERMINATION_LOG\"; exit 11' TERM; echo up; while :; do sleep 0.05; done"
"""A container that answers SIGTERM with what stands in a file."""


def ended_by_deletion(machine: Machine, name: str) -> Any:
    """Delete a pod that has come up; its container's verdict."""
    pod = machine.when(name, running)
    until(lambda: machine.log(pod) == ["up"], what="the trap")
    machine.delete(name)
    ended = machine.when(name, lambda pod: "terminated" in pod["status"]["containerStatuses"][0]["state"])
    machine.request("PATCH", f"/api/v1/namespaces/default/pods/{name}", {"metadata": {"finalizers": None}})
    return terminated(ended)


def test_hooks_run_after_the_start_and_before_the_signal(machine: Machine, tmp_path: Path) -> None:
    order = tmp_path / "order"
    lifecycle = {"postStart": shell(f"echo begun >> {order}"), "preStop": shell(f"sleep 0.3; echo told >> {order}")}
    machine.create(
        "hooked",
        TELLS.format(order),
        container={"lifecycle": lifecycle},
        metadata={"finalizers": ["test.carryon.dev/look"]},
    )
    until(order.exists, what="the hook after the start")
    state = ended_by_deletion(machine, "hooked")
    assert (state["exitCode"], state["message"]) == (11, "begun\ntold\n")


def test_a_hook_that_does_not_end_takes_the_grace_period_and_no_more(machine: Machine, tmp_path: Path) -> None:
    order = tmp_path / "order"
    machine.create(
        "endless",
        TELLS.format(order),
        container={"lifecycle": {"preStop": shell(f"echo $$$$ > {order}; exec sleep 600")}},
        terminationGracePeriodSeconds=1,
        metadata={"finalizers": ["test.carryon.dev/look"]},
    )
    state = ended_by_deletion(machine, "endless")
    assert state["exitCode"] == 11  # it was asked to end before it was made to
    assert not alive(int(state["message"]))


def test_a_container_whose_hook_fails_is_ended_and_its_event_says_why(machine: Machine) -> None:
    machine.create("unhooked", "exec sleep 600", container={"lifecycle": {"postStart": shell("exit 3")}})
    assert machine.finished("unhooked")["status"]["phase"] == "Failed"

    def told() -> list[str]:
        events = machine.request("GET", "/api/v1/namespaces/default/events")["items"]
        return [event["message"] for event in events if event["reason"] == "FailedPostStartHook"]

    assert until(told, what="the event") == ["PostStartHook failed: command ended with exit code 3"]


def test_a_container_is_started_again_as_its_restart_policy_says(machine: Machine, tmp_path: Path) -> None:
    script = f"echo attempt >> {tmp_path}/tries; wc -l < {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 3"
    pod = machine.create("stubborn", script, restartPolicy="OnFailure")
    machine.when("stubborn", waiting_as("CrashLoopBackOff"))
    done = machine.finished("stubborn")
    status = done["status"]["containerStatuses"][0]
    assert (done["status"]["phase"], status["restartCount"]) == ("Succeeded", 2)
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert (machine.log(pod), machine.log(pod, previous=True)) == (["3"], ["2"])


def test_a_container_that_fails_its_liveness_probe_is_replaced(machine: Machine, tmp_path: Path) -> None:
    healthy = tmp_path / "healthy"
    healthy.touch()
    probe = {"exec": {"command": ["/usr/bin/test", "-e", str(healthy)]}, "periodSeconds": 1, "failureThreshold": 1}
    machine.create(
        "frozen",
        f"touch {healthy}; exec sleep 600",
        restartPolicy="Always",
        terminationGracePeriodSeconds=1,
        container={"livenessProbe": probe},
    )
    machine.when("frozen", running)
    healthy.unlink()
    again = machine.when("frozen", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 143
    machine.delete("frozen")
    machine.gone("frozen")


def test_every_pod_has_port_8080_for_itself_and_is_ready_when_it_answers(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    probe = {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1, "failureThreshold": 30}
    for name in ("left", "right"):
        machine.create(
            name,
            f'while ! test -e {gate}; do sleep 0.05; done; exec python3 -c "{PYTHON}.serve_forever()"',
            container={"env": [POD_IP], "startupProbe": probe, "readinessProbe": probe},
            terminationGracePeriodSeconds=1,
        )
    for name in ("left", "right"):
        pod = machine.when(name, running)
        assert not pod["status"]["containerStatuses"][0]["started"]
        assert conditions(pod)["ContainersReady"]["reason"] == "ContainersNotReady"
    gate.touch()
    ready = [machine.when(name, lambda pod: conditions(pod)["Ready"]["status"] == "True") for name in ("left", "right")]
    assert ready[0]["status"]["podIP"] != ready[1]["status"]["podIP"]
    for name in ("left", "right"):
        machine.delete(name)
        machine.gone(name)


def test_a_pod_is_ready_while_its_port_takes_connections(machine: Machine, tmp_path: Path) -> None:
    listens = f"""
import os, socket, time
while not os.path.exists("{tmp_path}/open"): time.sleep(0.05)
server = socket.create_server((os.environ["IP"], 9000))
while os.path.exists("{tmp_path}/open"): time.sleep(0.05)
server.close()
time.sleep(600)
"""
    container = {
        "command": ["python3", "-c", listens],
        "env": [POD_IP],
        "ports": [{"name": "media", "containerPort": 9000}],
        "readinessProbe": {"tcpSocket": {"port": "media"}, "periodSeconds": 1, "failureThreshold": 1},
    }
    machine.create("listens", container=container, terminationGracePeriodSeconds=0)
    machine.when("listens", lambda pod: running(pod) and conditions(pod)["Ready"]["status"] == "False")
    (tmp_path / "open").touch()
    machine.when("listens", lambda pod: conditions(pod)["Ready"]["status"] == "True")
    (tmp_path / "open").unlink()
    machine.when("listens", lambda pod: conditions(pod)["Ready"]["status"] == "False")
    machine.delete("listens")
    machine.gone("listens")


def test_a_pod_that_is_active_too_long_is_ended(machine: Machine) -> None:
    machine.create("late-one", "exec sleep 600", activeDeadlineSeconds=1)
    pod = machine.finished("late-one")
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert terminated(pod)["exitCode"] == 143


def test_gpus_are_never_shared_and_pods_wait_for_them(machine: Machine) -> None:
    container = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    script = 'echo "$CUDA_VISIBLE_DEVICES"; exec sleep 600'
    pods = [machine.create(f"gpu-{index}", script, container=container) for index in range(2)]
    for pod in pods:
        machine.when(pod["metadata"]["name"], running)
    machine.create("gpu-2", script, container=container)
    scheduled = machine.when("gpu-2", lambda pod: pod["status"].get("conditions"))
    condition = conditions(scheduled)["PodScheduled"]
    assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
    assert condition["message"] == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    seen = [until(lambda pod=pod: machine.log(pod))[0] for pod in pods]
    assert sorted(seen) == ["0", "1"]
    machine.delete("gpu-0")
    third = machine.when("gpu-2", running)
    until(lambda: machine.log(third) == [seen[0]])
    for name in ("gpu-1", "gpu-2"):
        machine.delete(name)
        machine.gone(name)


def test_a_container_that_wants_too_much_memory_is_told_from_one_that_crashed(machine: Machine) -> None:
    limits = Limits.find(f"test-{os.getpid()}")
    if limits is None:
        pytest.skip("this machine lets us set no memory limits")
    limits.close()
    machine.create(
        "hungry",
        container={
            "command": ["python3", "-c", "x = bytearray(300 << 20); print('fed')"],
            "resources": {"limits": {"memory": "64Mi"}},
        },
    )
    state = terminated(machine.finished("hungry"))
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")


def test_groups_that_a_killed_node_left_are_swept_and_those_of_a_living_one_are_not() -> None:
    living = Limits.find(f"living-{os.getpid()}")
    if living is None:
        pytest.skip("this machine lets us set no limits")
    living.limit("pod-main", 64 << 20, 500)
    left = f"killed-{os.getpid()}"
    script = (
        "import os, signal; from carryon_standalone.node.limits import Limits;"
        f"Limits.find('{left}').limit('pod-main', 64 << 20, 500); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    tree = Path("/sys/fs/cgroup")

    def folders(name: str) -> list[Path]:
        return [*tree.glob(f"carryon-{name}/pod-main"), *tree.glob(f"*/carryon-{name}/pod-main")]

    assert folders(left)
    # Any node that starts sweeps.
    other = Limits.find(f"other-{os.getpid()}")
    assert other is not None
    assert not [*tree.glob(f"carryon-{left}"), *tree.glob(f"*/carryon-{left}")]
    assert folders(f"living-{os.getpid()}")
    for each in (other, living):
        each.close()
    assert not [*tree.glob(f"carryon-*-{os.getpid()}"), *tree.glob(f"*/carryon-*-{os.getpid()}")]


def test_a_container_gets_no_more_of_the_processors_than_its_limit(machine: Machine) -> None:
    limits = Limits.find(f"test-{os.getpid()}")
    if limits is None or not limits.cpu:
        pytest.skip("this machine lets us set no CPU limits")
    limits.close()
    limited = {"resources": {"limits": {"cpu": "100m"}}}
    pod = machine.create("busy", "while :; do :; done", container=limited, terminationGracePeriodSeconds=0)
    machine.when("busy", running)
    group = f"carryon-*/{pod['metadata']['uid']}-main/cpu.stat"

    def is_held_back() -> bool:
        tree = Path("/sys/fs/cgroup")
        (found,) = [*tree.glob(group), *tree.glob(f"cpu/{group}")]
        return int(dict(line.split() for line in found.read_text().splitlines())["nr_throttled"]) > 2

    until(is_held_back, what="the kernel to hold it back")
    machine.delete("busy")
    machine.gone("busy")


def test_a_message_may_go_where_kubernetes_would_look_for_it(machine: Machine) -> None:
    machine.create("classic", container={"command": ["/bin/sh", "-c", 'echo hi > "$0"', "/dev/termination-log"]})
    assert terminated(machine.finished("classic"))["message"] == "hi\n"


def test_log_lines_carry_their_time_and_keep_the_order_of_both_streams(machine: Machine) -> None:
    pod = machine.create("speaker", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no newline'")
    machine.finished("speaker")
    assert machine.log(pod) == ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3", "no newline"]
    file = next((machine.data / "logs").glob("default_speaker_*/main.log"))
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z "
    assert all(re.match(stamp, line) for line in file.read_text().splitlines())


def test_a_condition_of_someone_else_stays(machine: Machine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    machine.create("evicted", f"while ! test -e {gate}; do sleep 0.05; done")
    pod = machine.when("evicted", running)
    theirs = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drain"}
    patch = {"status": {"conditions": [*pod["status"]["conditions"], theirs]}}
    machine.request("PATCH", "/api/v1/namespaces/default/pods/evicted/status", patch)
    gate.touch()
    assert conditions(machine.finished("evicted"))["DisruptionTarget"]["reason"] == "EvictionByEvictionAPI"


def waiting_as(reason: str) -> Any:
    return lambda pod: waiting(pod).get("reason") == reason
