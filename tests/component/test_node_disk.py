"""A disk that runs low: pods end in time and of their own accord, none comes, and all goes on when there is room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nodes import Machine, Object, conditions, running, terminated
from processes import until

GIB = 1024**3


def node_condition(machine: Machine) -> Object:
    node = machine.request("GET", "/api/v1/nodes/box")
    found: Object = next(each for each in node["status"]["conditions"] if each["type"] == "DiskPressure")
    return found


def test_pods_are_paused_before_the_disk_is_full_and_come_back_when_there_is_room(tmp_path: Path) -> None:
    reserve = shutil.disk_usage(tmp_path).free - GIB
    machine = Machine(tmp_path, "--gpus", "0", "--disk-reserve", str(reserve))
    try:
        machine.start()
        pod = machine.create(
            "writer",
            "trap 'echo saved > \"$CARRYON_TERMINATION_LOG\"; exit 11' TERM; echo up; while :; do sleep 0.05; done",
        )
        machine.when("writer", running)
        until(lambda: machine.log(pod) == ["up"], what="the trap")
        assert node_condition(machine)["status"] == "False"

        with (tmp_path / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, 2 * GIB)
        ended = machine.finished("writer")
        assert (ended["status"]["phase"], ended["status"]["reason"]) == ("Failed", "Evicted")
        assert ended["status"]["message"].startswith("The node was low on resource: ephemeral-storage.")
        assert (terminated(ended)["exitCode"], terminated(ended)["message"]) == (11, "saved\n")
        assert conditions(ended)["DisruptionTarget"]["reason"] == "TerminationByKubelet"
        assert node_condition(machine)["status"] == "True"

        machine.create("next")
        refused = machine.when("next", lambda pod: pod["status"].get("conditions"))
        assert conditions(refused)["PodScheduled"]["message"] == (
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }."
        )

        (tmp_path / "other").unlink()
        assert machine.finished("next")["status"]["phase"] == "Succeeded"
        assert node_condition(machine)["reason"] == "KubeletHasNoDiskPressure"
    finally:
        machine.close()
