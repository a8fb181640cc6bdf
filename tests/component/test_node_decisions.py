"""What a node decides without a machine: what fits, what a variable becomes, what a status says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from carryon_standalone.node import disk, logs, quantity, status
from carryon_standalone.node.environment import expand
from carryon_standalone.node.machine import taints
from carryon_standalone.node.pods import pod_requests
from carryon_standalone.node.sandbox import pod_ip
from carryon_standalone.node.scheduler import NodeView, misfits, unschedulable_message, used, waits_for_a_node
from carryon_standalone.node.volumes import Mount, rewrite

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GIB = 1 << 30
NODE = NodeView(labels={"disk": "fast"}, allocatable={"cpu": 2000, "memory": 4 * GIB, "nvidia.com/gpu": 1, "pods": 3})


def pod(*requests: dict[str, str], **spec: Any) -> dict[str, Any]:
    containers = [{"name": str(index), "resources": {"requests": each}} for index, each in enumerate(requests)]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}, "status": {"phase": "Pending"}}


@pytest.mark.parametrize(
    ("text", "whole", "thousandths"),
    [("2", 2, 2000), ("500m", 1, 500), ("1.5", 2, 1500), ("2Ki", 2048, 2048000), ("1e3", 1000, 10**6), (3, 3, 3000)],
)
def test_quantities(text: str | int, whole: int, thousandths: int) -> None:
    assert (quantity.whole(text), quantity.thousandths(text)) == (whole, thousandths)


@pytest.mark.parametrize("text", ["", "two", "1 Gi", "1GiB", "--1"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("asked", "taken", "reasons"),
    [
        (pod({"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}), {}, []),
        (pod({}), {}, []),
        (pod({"cpu": "1500m"}, {"cpu": "501m"}), {}, ["Insufficient cpu"]),
        (pod({"cpu": "1"}), {"cpu": 1001}, ["Insufficient cpu"]),
        (pod({"memory": "1Gi"}), {"memory": 3 * GIB + 1}, ["Insufficient memory"]),
        (pod({"nvidia.com/gpu": "1"}), {"nvidia.com/gpu": 1}, ["Insufficient nvidia.com/gpu"]),
        (pod({"amd.com/gpu": "1"}), {}, ["Insufficient amd.com/gpu"]),
        (pod({}), {"pods": 3}, ["Too many pods"]),
        (pod({}, nodeSelector={"disk": "fast"}), {}, []),
        (pod({}, nodeSelector={"disk": "slow"}), {}, ["node(s) didn't match Pod's node affinity/selector"]),
        (pod({"cpu": "3", "memory": "5Gi"}), {}, ["Insufficient cpu", "Insufficient memory"]),
    ],
)
def test_a_pod_fits_when_what_it_asks_for_is_free(
    asked: dict[str, Any], taken: dict[str, int], reasons: list[str]
) -> None:
    assert list(misfits(asked, NODE, taken)) == reasons


def test_a_cordoned_node_takes_nothing() -> None:
    cordoned = NodeView(NODE.labels, NODE.allocatable, cordoned=True)
    assert misfits(pod({}), cordoned, {}) == ("node(s) were unschedulable",)


@pytest.mark.parametrize(
    ("tolerations", "fits"),
    [
        ([], False),
        ([{"key": "gpu", "operator": "Equal", "value": "broken", "effect": "NoSchedule"}], True),
        ([{"key": "gpu", "value": "broken"}], True),
        ([{"key": "gpu", "operator": "Exists"}], True),
        ([{"operator": "Exists"}], True),
        ([{"key": "gpu", "value": "other"}], False),
        ([{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}], False),
        ([{"key": "disk", "operator": "Exists"}], False),
    ],
)
def test_a_taint_keeps_those_away_that_do_not_tolerate_it(tolerations: list[dict[str, Any]], fits: bool) -> None:
    tainted = NodeView(NODE.labels, NODE.allocatable, taints=(("gpu", "broken", "NoSchedule"),))
    pod = {"spec": {"containers": [], "tolerations": tolerations}}
    assert misfits(pod, tainted, {}) == (() if fits else ("node(s) had untolerated taint {gpu: broken}",))


def test_a_taint_that_only_prefers_keeps_nobody_away() -> None:
    given = [{"key": "a", "effect": "PreferNoSchedule"}, {"key": "b", "value": "c", "effect": "NoExecute"}]
    assert NodeView.of({"metadata": {}, "spec": {"taints": given}}).taints == (("b", "c", "NoExecute"),)


BIG, SMALL = 100 * GIB, 10 * GIB


@pytest.mark.parametrize(
    ("size", "free", "reserve", "was_short", "short"),
    [
        (BIG, GIB, None, False, False),
        (BIG, GIB - 1, None, False, True),
        (SMALL, SMALL // 20, None, False, False),
        (SMALL, SMALL // 20 - 1, None, False, True),
        (BIG, 5 * GIB, 6 * GIB, False, True),
        # Once short, it takes a little more: else pods would come and go.
        (BIG, GIB, None, True, True),
        (BIG, GIB + 64 * 1024**2, None, True, False),
        (BIG, 0, 0, True, False),
    ],
)
def test_when_a_disk_is_short(size: int, free: int, reserve: int | None, was_short: bool, short: bool) -> None:
    here = Path("/data")
    before = disk.Shortage(here, 0, 1) if was_short else None
    found = disk.shortage([disk.Disk(Path("/wide"), BIG, BIG), disk.Disk(here, size, free)], reserve, before)
    assert (found is not None and found.folder == here) is short


def test_a_folder_that_is_not_there_yet_counts_as_the_one_it_will_lie_in(tmp_path: Path) -> None:
    (here, later) = disk.look([tmp_path, tmp_path / "later" / "still"])
    assert later.size == here.size


def test_pressure_adds_its_taint_and_takes_no_other_away() -> None:
    other = {"key": "gpu", "value": "broken", "effect": "NoSchedule"}
    pressed = taints({"spec": {"taints": [other]}}, pressed=True)
    assert pressed == [other, {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]
    assert taints({"spec": {"taints": pressed}}, pressed=True) == pressed
    assert taints({"spec": {"taints": pressed}}, pressed=False) == [other]
    assert taints({"spec": {}}, pressed=False) == []


def test_an_unschedulable_pod_is_told_in_the_words_of_kubernetes() -> None:
    message = unschedulable_message(misfits(pod({"cpu": "3", "nvidia.com/gpu": "2"}), NODE, {}))
    assert message == "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient nvidia.com/gpu."


def test_limits_stand_in_for_requests_and_init_containers_count_by_the_largest() -> None:
    asked = {
        "spec": {
            "containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "250m"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "500m"}}}, {"resources": {}}],
        }
    }
    assert pod_requests(asked) == {"cpu": 500, "memory": GIB}


def test_sidecars_count_beside_the_containers_and_beside_init_containers_that_come_later() -> None:
    def asks(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    def together(*inits: dict[str, Any]) -> int:
        return pod_requests({"spec": {"containers": [asks("1")], "initContainers": list(inits)}})["cpu"]

    lasting = asks("500m", restartPolicy="Always")
    assert together(lasting) == 1500
    assert together(asks("1200m"), lasting) == 1500
    assert together(lasting, asks("1200m")) == 1700
    assert together(lasting, lasting, asks("100m")) == 2000


def test_pods_that_ended_take_nothing() -> None:
    done = {**pod({"cpu": "1"}), "status": {"phase": "Succeeded"}}
    assert used([done, pod({"cpu": "1"})]) == {"cpu": 1000, "pods": 1}


@pytest.mark.parametrize(
    ("change", "waits"),
    [
        ({}, True),
        ({"nodeName": "box"}, False),
        ({"schedulingGates": [{"name": "kueue"}]}, False),
        ({"schedulerName": "other"}, False),
    ],
)
def test_which_pods_the_scheduler_places(change: dict[str, Any], waits: bool) -> None:
    assert waits_for_a_node(pod({}, **change)) is waits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(C)", "$(C)"),
        ("$(A", "$(A"),
        ("$A", "$A"),
        ("$$", "$"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/scratch", "/host/s"),
        ("/scratch/a/b", "/host/s/a/b"),
        ("/scratch/deep/a", "/host/d/a"),
        ("/scratchy", "/scratchy"),
        ("see /scratch", "see /scratch"),
    ],
)
def test_paths_below_a_mount_lead_to_its_folder(text: str, expected: str) -> None:
    assert rewrite(text, [Mount("/scratch/deep", Path("/host/d")), Mount("/scratch", Path("/host/s"))]) == expected


def test_a_pod_keeps_its_address_and_shares_it_with_no_other() -> None:
    first = pod_ip("uid", ())
    assert first == pod_ip("uid", ())
    assert first.startswith("127.")
    assert pod_ip("uid", {first}) != first


def test_a_log_that_is_full_keeps_its_newest_lines(tmp_path: Path) -> None:
    path = tmp_path / "main.log"
    log = logs.LogFile(path, limit=4000)
    for number in range(500):
        log.feed(f"line {number}\n".encode())
    log.close()
    kept = [line.split(" ", 1)[1] for line in path.read_text().splitlines()]
    assert path.stat().st_size <= 4000
    assert kept == [f"line {number}" for number in range(500 - len(kept), 500)]
    assert len(kept) > 20


RUNNING = status.ContainerStatus("main", "image", status.Running(NOW), started=True, ready=True, container_id="c")


def ended(code: int) -> status.ContainerStatus:
    done = status.Terminated(code, "Completed" if code == 0 else "Error", NOW, NOW, "c", message="said")
    return status.ended(RUNNING, done)


def waits(reason: str, last: status.Terminated | None = None) -> status.ContainerStatus:
    return status.ContainerStatus("main", "image", status.Waiting(reason), last=last)


SIDECAR = replace(RUNNING, sidecar=True)
SIDECAR_WAITS = replace(waits("CrashLoopBackOff"), sidecar=True)
LAST = status.Terminated(1, "Error", NOW, NOW, "c")


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        (status.PodState((waits("ContainerCreating"),)), "Pending"),
        (status.PodState((RUNNING,)), "Running"),
        (status.PodState((RUNNING, waits("ErrImagePull"))), "Pending"),
        (status.PodState((waits("CrashLoopBackOff", LAST),)), "Running"),
        (status.PodState((waits("PodInitializing"),), (RUNNING,)), "Pending"),
        (status.PodState((ended(0), RUNNING)), "Running"),
        (status.PodState((waits("PodInitializing"),), (SIDECAR_WAITS,)), "Pending"),
        (status.PodState((RUNNING,), (SIDECAR,)), "Running"),
        # Once the containers have begun, a sidecar that falls sets nothing back.
        (status.PodState((RUNNING,), (SIDECAR_WAITS,)), "Running"),
        (status.PodState((ended(0),), (replace(ended(9), sidecar=True),), over=True), "Succeeded"),
        (status.PodState((ended(0), ended(0)), over=True), "Succeeded"),
        (status.PodState((ended(0), ended(3)), over=True), "Failed"),
        (status.PodState((waits("PodInitializing"),), (ended(1),), over=True), "Failed"),
        (status.PodState((ended(0),), ending=status.SHUTDOWN, over=True), "Failed"),
        (status.PodState((ended(0),), ending=status.DELETED, over=True), "Succeeded"),
        (status.PodState((waits("ContainerCreating"),), ending=status.DELETED, over=True), "Failed"),
    ],
)
def test_phases(state: status.PodState, phase: str) -> None:
    assert status.phase(state) == phase


def built(*containers: status.ContainerStatus) -> dict[str, Any]:
    return status.build(pod({}), status.PodState(containers, ip="127.64.0.1", started_at=NOW), "127.0.0.1", NOW)


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    later = datetime(2026, 1, 2, 4, 0, 0, tzinfo=UTC)
    known = {**pod({}), "status": built(RUNNING)}
    again = status.build(known, status.PodState((RUNNING,), started_at=NOW), "127.0.0.1", later)
    assert again["conditions"] == known["status"]["conditions"]
    done = status.build(known, status.PodState((ended(0),), started_at=NOW, over=True), "127.0.0.1", later)
    times = {each["type"]: each["lastTransitionTime"] for each in done["conditions"]}
    assert times["Ready"] == "2026-01-02T04:00:00Z"
    assert times["Initialized"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("policy", "containers", "phase", "disrupted"),
    [
        ("Never", [RUNNING], "Failed", True),
        ("Never", [ended(0)], "Succeeded", False),
        ("Never", [ended(3)], "Failed", False),
        ("Never", [ended(0), RUNNING], "Failed", True),
        ("OnFailure", [ended(3)], "Failed", True),
        ("OnFailure", [ended(0)], "Succeeded", False),
        ("Always", [ended(0)], "Failed", True),
    ],
)
def test_what_a_lost_node_means_for_a_pod(
    policy: str, containers: list[status.ContainerStatus], phase: str, disrupted: bool
) -> None:
    verdict = status.lost(pod({}, restartPolicy=policy), built(*containers), NOW)
    assert verdict["phase"] == phase
    assert ("DisruptionTarget" in {each["type"] for each in verdict["conditions"]}) is disrupted
    ends = [each["state"]["terminated"] for each in verdict["containerStatuses"]]
    kept = [("said", each.state.exit_code) for each in containers if isinstance(each.state, status.Terminated)]
    assert [(end["message"], end["exitCode"]) for end in ends][: len(kept)] == kept


def test_a_pod_that_had_done_its_work_keeps_that_whatever_its_sidecar_did_when_the_node_was_lost() -> None:
    helped = pod({}, restartPolicy="Never", initContainers=[{"name": "main", "restartPolicy": "Always"}])
    state = status.PodState((replace(ended(0), name="0"),), (SIDECAR,), ip="127.64.0.1", started_at=NOW)
    assert status.lost(helped, status.build(helped, state, "127.0.0.1", NOW), NOW)["phase"] == "Succeeded"
