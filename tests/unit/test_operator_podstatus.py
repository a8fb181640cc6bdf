"""What is read out of a pod, and what each end of one means: pods as kubelets and others write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carryon_core import names
from carryon_operator.plan.verdicts import Verdict, judge
from carryon_operator.podstatus import owner_key, project

OWNER = {"apiVersion": names.API_VERSION, "kind": names.KIND, "uid": "job-uid", "controller": True}
PROBE = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 36}
MINUTES: dict[int, str] = {each: f"2026-01-01T00:{each:02}:00Z" for each in range(60)}
BEGAN = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


def pod(status: dict[str, Any], *, limits: dict[str, Any] | None = None, **metadata: Any) -> Any:
    return {
        "metadata": {
            "namespace": "default",
            "name": "reel-x-1",
            "uid": "pod-1",
            "creationTimestamp": MINUTES[0],
            "labels": {names.LABEL_STAGE: "clip"},
            "annotations": {
                names.ANNOTATION_UNITS: '["a", "b"]',
                names.ANNOTATION_FINGERPRINTS: json.dumps(["1" * 64, "2" * 64]),
                names.ANNOTATION_ATTEMPT: "2",
                names.ANNOTATION_TEMPLATE: "0123456789ab",
            },
            "ownerReferences": [OWNER],
            **metadata,
        },
        "spec": {
            "containers": [
                {"name": "istio-proxy"},
                {"name": "worker", "livenessProbe": PROBE, "resources": {"limits": limits or {}}},
            ]
        },
        "status": status,
    }


def ended(code: int, reason: str = "", message: str = "", *, after: int = 1, **status: Any) -> Any:
    """A pod whose worker has ended."""
    reason = reason or ("Error" if code else "Completed")
    state = {"exitCode": code, "reason": reason, "startedAt": MINUTES[0], "finishedAt": MINUTES[after]}
    if message:
        state["message"] = message
    containers = [
        {"name": "istio-proxy", "state": {"running": {"startedAt": MINUTES[0]}}},
        {"name": "worker", "state": {"terminated": state}},
    ]
    return pod({"phase": "Failed" if code else "Succeeded", "containerStatuses": containers, **status})


def rejected(reason: str, message: str = "no room", **status: Any) -> Any:
    """A pod that a kubelet would not take in."""
    return pod({"phase": "Failed", "reason": reason, "message": message, **status})


def condition(kind: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": "said so"}]}


def deleted(raw: Any) -> Any:
    return {**raw, "metadata": {**raw["metadata"], "deletionTimestamp": MINUTES[2]}}


def said(reason: str, *reports: tuple[int, str, str], durable: bool = False) -> str:
    units = [{"index": at, "outcome": outcome, "reason": why, "durable": durable} for at, outcome, why in reports]
    return json.dumps({"reason": reason, "message": "of the pod", "units": units})


def of(raw: Any, done: set[str] | None = None) -> Verdict:
    return judge(project(raw), done or set())


DISRUPTIONS: dict[str, tuple[Any, str]] = {
    "drained": (ended(11, **condition("DisruptionTarget", "EvictionByEvictionAPI")), "EvictionByEvictionAPI"),
    "preempted": (ended(137, **condition("DisruptionTarget", "PreemptionByScheduler")), "PreemptionByScheduler"),
    "evicted by a node under pressure": (
        ended(137, reason="Error", **condition("DisruptionTarget", "TerminationByKubelet")),
        "TerminationByKubelet",
    ),
    "node shut down": (
        ended(11, **condition("DisruptionTarget", "TerminationByKubelet")),
        "TerminationByKubelet",
    ),
    "node shut down, told by an old kubelet": (
        pod({**ended(11)["status"], "reason": "Terminated", "message": "node shutdown"}),
        "Terminated",
    ),
    "node lost": (pod({**ended(137)["status"], "reason": "NodeLost"}), "NodeLost"),
    "taken from a lost node": (
        ended(137, reason="ContainerStatusUnknown", **condition("DisruptionTarget", "DeletionByPodGC")),
        "DeletionByPodGC",
    ),
    "tainted node": (ended(143, **condition("DisruptionTarget", "DeletionByTaintManager")), "DeletionByTaintManager"),
    "Kueue took it back": (ended(11, **condition("TerminationTarget", "WorkloadEvicted")), "WorkloadEvicted"),
    "somebody deleted it": (deleted(ended(11)), "Deleted"),
    "killed while being deleted": (deleted(ended(137)), "Deleted"),
    "node restarted, by containerd": (ended(255, reason="Unknown"), "NodeRestarted"),
    "node restarted, by the kubelet": (ended(137, reason="ContainerStatusUnknown"), "NodeRestarted"),
    "no room for it after all": (rejected("OutOfcpu"), "OutOfcpu"),
    "no such GPU after all": (rejected("OutOfnvidia.com/gpu"), "OutOfnvidia.com/gpu"),
    "device plugin failed": (rejected("UnexpectedAdmissionError"), "UnexpectedAdmissionError"),
    "label of the node gone": (rejected("NodeAffinity"), "NodeAffinity"),
    "not taken in by a node under pressure": (rejected("Evicted"), "Evicted"),
    "not taken in by a node that shuts down": (rejected("NodeShutdown"), "NodeShutdown"),
}


@pytest.mark.parametrize("case", DISRUPTIONS)
def test_what_the_cluster_did_costs_no_budget_and_says_why(case: str) -> None:
    raw, reason = DISRUPTIONS[case]
    assert of(raw) == Verdict(disruption=reason)


FAILURES: dict[str, tuple[Any, tuple[str, str, bool, bool]]] = {
    # item, reason, permanent, stuck
    "crashed": (ended(1, message="Traceback"), ("a", "Crash", False, False)),
    "segmentation fault": (ended(139), ("a", "Crash", False, False)),
    "killed by somebody": (ended(137), ("a", "Crash", False, False)),
    "out of memory, by the kernel": (ended(137, reason="OOMKilled"), ("a", "OutOfMemory", False, False)),
    "out of memory, by the worker": (ended(13), ("a", "OutOfMemory", False, False)),
    "out of memory while being drained": (
        ended(137, reason="OOMKilled", **condition("DisruptionTarget", "EvictionByEvictionAPI")),
        ("a", "OutOfMemory", False, False),
    ),
    "stalled": (ended(14), ("a", "Stalled", False, True)),
    "told to stop by nobody": (ended(11), ("a", "Interrupted", False, True)),
    "frozen, killed by its liveness probe": (ended(137, after=6), ("a", "Unresponsive", False, True)),
    "ended by its liveness probe": (ended(143, after=7), ("a", "Unresponsive", False, True)),
    "killed before the probe can have failed": (ended(137, after=5), ("a", "Crash", False, False)),
    "unit took too long": (ended(15), ("a", "UnitTimeout", False, False)),
    "evicted for its own storage limit": (
        pod(
            {
                **ended(137, message=said("Interrupted", (1, "interrupted", "Interrupted")))["status"],
                "reason": "Evicted",
                "message": "Usage of EmptyDir volume scratch exceeds the limit 1Gi.",
            }
        ),
        ("a", "Evicted", False, False),
    ),
    "active for too long": (
        pod({**ended(137)["status"], "reason": "DeadlineExceeded", "message": "Pod was active on the node longer"}),
        ("a", "DeadlineExceeded", False, False),
    ),
    "no program in the image": (
        ended(128, reason="StartError", message="exec: python: not found"),
        ("a", "StartError", False, False),
    ),
    "failed before its worker began, nobody knows why": (pod({"phase": "Failed"}), ("a", "PodFailed", False, False)),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_is_the_jobs_own_uses_an_attempt_of_the_unit_at_work(case: str) -> None:
    raw, expected = FAILURES[case]
    verdict = of(raw)
    assert [(each.item, each.reason, each.permanent, each.stuck) for each in verdict.failures] == [expected]
    assert not verdict.disruption


def test_an_eviction_for_its_own_limit_says_which() -> None:
    (failure,) = of(FAILURES["evicted for its own storage limit"][0]).failures
    assert failure.message == "Usage of EmptyDir volume scratch exceeds the limit 1Gi."


def test_an_eviction_for_its_own_limit_stays_one_when_the_pod_is_deleted_afterwards() -> None:
    (failure,) = of(deleted(FAILURES["evicted for its own storage limit"][0])).failures
    assert failure.reason == "Evicted"


def test_a_worker_that_ended_itself_is_believed_although_the_pod_was_evicted_meanwhile() -> None:
    status = {**ended(10, message=said("UnitsFailed", (0, "failed", "ExitCode")))["status"], "reason": "Evicted"}
    assert [(each.item, each.reason) for each in of(pod(status), {"b"}).failures] == [("a", "ExitCode")]


def test_what_had_failed_before_a_disruption_is_charged_besides() -> None:
    message = said("Interrupted", (0, "failed", "ExitCode"), (1, "interrupted", "Interrupted"))
    verdict = of(ended(11, message=message, **condition("DisruptionTarget", "EvictionByEvictionAPI")))
    assert [(each.item, each.reason, each.stuck) for each in verdict.failures] == [("a", "ExitCode", False)]
    assert verdict.disruption == "EvictionByEvictionAPI"


def test_the_unit_at_work_is_the_one_that_was_interrupted() -> None:
    message = said("Interrupted", (0, "failed", "ExitCode"), (1, "interrupted", "Interrupted"))
    failures = of(ended(11, message=message)).failures
    assert [(each.item, each.reason, each.stuck) for each in failures] == [
        ("a", "ExitCode", False),
        ("b", "Interrupted", True),
    ]


def test_units_that_left_something_durable_are_named() -> None:
    message = said("Interrupted", (0, "interrupted", "Interrupted"), durable=True)
    assert of(deleted(ended(11, message=message))).durable == {"a"}
    assert of(ended(14, message=message)).durable == {"a"}
    assert of(ended(14, message=message), {"a"}).durable == frozenset()


@pytest.mark.parametrize(
    ("phase", "code", "recorded", "terminal"),
    [
        ("Running", None, "Running", False),
        ("Running", 0, "Succeeded", True),
        ("Running", 14, "Failed", True),
        ("Failed", 0, "Failed", True),
        ("Failed", None, "Failed", True),
        ("Succeeded", 0, "Succeeded", True),
    ],
)
def test_an_attempt_ends_with_its_worker_whatever_else_runs_in_the_pod(
    phase: str, code: int | None, recorded: str, terminal: bool
) -> None:
    raw = pod(running()["status"]) if code is None else ended(code)
    raw["status"]["phase"] = phase
    record = project(raw)
    assert (record.phase, record.terminal, record.exit_code) == (recorded, terminal, code)


def running() -> Any:
    state = {"running": {"startedAt": MINUTES[3]}}
    return pod({"phase": "Running", "startTime": MINUTES[1], "containerStatuses": [{"name": "worker", "state": state}]})


def test_a_pod_is_read_back() -> None:
    record = project(running())
    assert (record.job_uid, owner_key(record)) == ("job-uid", "job-uid")
    assert (record.stage, record.units, record.attempt, record.template) == ("clip", ("a", "b"), 2, "0123456789ab")
    assert record.fingerprints == ("1" * 64, "2" * 64)


def test_an_attempt_begins_with_its_container_not_with_its_pod() -> None:
    assert project(running()).started == BEGAN + 180
    assert project(ended(1)).started == BEGAN
    assert project(ended(1)).finished == BEGAN + 60
    assert project(waiting("ContainerCreating")).started is None


def waiting(reason: str, message: str = "", **status: Any) -> Any:
    state = {"waiting": {"reason": reason, "message": message}}
    containers = [{"name": "istio-proxy", "state": state}, {"name": "worker", "state": state}]
    made = {"phase": "Pending", "startTime": MINUTES[1], "containerStatuses": containers, **status}
    return pod(made)


def unscheduled(reason: str, message: str) -> Any:
    scheduled = {"type": "PodScheduled", "status": "False", "lastTransitionTime": MINUTES[4]}
    return pod({"phase": "Pending", "conditions": [{**scheduled, "reason": reason, "message": message}]})


def init(reason: str) -> Any:
    raw = waiting("PodInitializing")
    state = {"waiting": {"reason": reason, "message": "no such image"}}
    raw["status"]["initContainerStatuses"] = [
        {"name": "done", "state": {"terminated": {"exitCode": 0}}},
        {"name": "istio-init", "state": state},
    ]
    return raw


@pytest.mark.parametrize(
    ("raw", "reason", "message", "since"),
    [
        (unscheduled("Unschedulable", "0/3 nodes are available"), "Unschedulable", "0/3 nodes are available", 240),
        (unscheduled("SchedulingGated", "Scheduling is blocked"), "SchedulingGated", "Scheduling is blocked", 240),
        (waiting("ImagePullBackOff", "Back-off"), "ImagePullBackOff", "Back-off", 60),
        (waiting("ErrImagePull", "not found"), "ErrImagePull", "not found", 60),
        (waiting("CreateContainerConfigError", 'secret "x" not found'), "CreateContainerConfigError", None, 60),
        (waiting("ContainerCreating"), "", "", 60),
        (pod({"phase": "Pending"}), "", "", 0),
        (pod({}), "", "", 0),
        (init("ImagePullBackOff"), "ImagePullBackOff", 'init container "istio-init": no such image', 60),
        (init("PodInitializing"), "", "", 60),
    ],
)
def test_a_pod_that_has_not_started_says_why(raw: Any, reason: str, message: str | None, since: float) -> None:
    record = project(raw)
    assert record.waiting is not None
    assert (record.waiting.reason, record.waiting.since) == (reason, BEGAN + since)
    assert message is None or record.waiting.message == message
    assert not record.terminal


@pytest.mark.parametrize("raw", [running(), ended(0), ended(1), rejected("OutOfcpu")])
def test_a_pod_that_runs_or_has_ended_waits_for_nothing(raw: Any) -> None:
    assert project(raw).waiting is None


@pytest.mark.parametrize(
    ("limits", "gpus"),
    [
        ({}, 0),
        ({"cpu": "4", "memory": "8Gi"}, 0),
        ({"nvidia.com/gpu": "2"}, 2),
        ({"nvidia.com/gpu": 1}, 1),
        ({"nvidia.com/gpu.shared": "1"}, 1),
        ({"nvidia.com/mig-1g.10gb": "3"}, 3),
        ({"amd.com/gpu": "1", "nvidia.com/gpu": "1"}, 2),
        ({"gpu.intel.com/i915": "1"}, 1),
        ({"example.com/gpu-license": "1", "example.com/fpga": "1"}, 0),
        ({"nvidia.com/gpu": "some"}, 0),
    ],
)
def test_a_pods_gpus_are_those_of_its_limits(limits: dict[str, Any], gpus: int) -> None:
    assert project(pod({}, limits=limits)).gpus == gpus


@pytest.mark.parametrize(
    "owners",
    [
        None,
        [],
        [{**OWNER, "controller": False}],
        [{"apiVersion": "batch/v1", "kind": "Job", "uid": "x", "controller": True}],
        [{"apiVersion": "example.com/v1", "kind": "GenerationJob", "uid": "x", "controller": True}],
    ],
)
def test_a_label_gives_no_pod_to_a_job(owners: Any) -> None:
    assert project(pod({}, ownerReferences=owners)).job_uid == ""


def test_another_version_of_our_kind_owns_pods_too() -> None:
    assert project(pod({}, ownerReferences=[{**OWNER, "apiVersion": "carryon.dev/v1"}])).job_uid == "job-uid"


@pytest.mark.parametrize("attempt", ["", "x", "-1", "1.5", "9" * 5000, "\u0663", "\u00b2"])
def test_an_attempt_that_is_no_number_counts_as_the_first(attempt: str) -> None:
    assert project(pod({}, annotations={names.ANNOTATION_ATTEMPT: attempt})).attempt == 1


@pytest.mark.parametrize("units", ["", "{", "7", "null", "{}", "[" * 100_000])
def test_units_that_are_no_list_are_none(units: str) -> None:
    assert project(pod({}, annotations={names.ANNOTATION_UNITS: units})).units == ()


@pytest.mark.parametrize("nothing", [None, [], {}])
@pytest.mark.parametrize("field", ["conditions", "containerStatuses", "initContainerStatuses", "reason", "message"])
def test_what_a_pod_leaves_out_is_not_missed(field: str, nothing: Any) -> None:
    for raw in (running(), ended(1), rejected("OutOfcpu"), waiting("ContainerCreating")):
        assert project(pod({**raw["status"], field: nothing})).uid == "pod-1"


def test_a_container_that_nobody_found_again_has_no_beginning() -> None:
    raw = ended(137, reason="ContainerStatusUnknown")
    raw["status"]["containerStatuses"][1]["state"]["terminated"] |= {"startedAt": None, "finishedAt": None}
    record = project(raw)
    assert (record.started, record.finished, record.exit_code) == (None, None, 137)


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image_id", "known"),
    [
        (f"docker.io/library/worker@{DIGEST}", f"docker.io/library/worker@{DIGEST}"),
        (f"registry:5000/team/worker@{DIGEST}", f"registry:5000/team/worker@{DIGEST}"),
        (f"docker-pullable://worker@{DIGEST}", f"worker@{DIGEST}"),
        # Digests of configurations, of images that nobody pulled.
        (DIGEST, ""),
        (f"docker://{DIGEST}", ""),
        ("a" * 64, ""),
        # What the standalone node says.
        ("carryon-worker", ""),
        ("", ""),
    ],
)
def test_an_image_is_known_by_a_digest_that_can_be_pulled(image_id: str, known: str) -> None:
    status = {"name": "worker", "state": {"running": {"startedAt": MINUTES[0]}}, "imageID": image_id}
    raw = pod({"phase": "Running", "containerStatuses": [{"name": "istio-proxy", "imageID": "x@y"}, status]})
    raw["spec"]["containers"][1]["image"] = "worker:1"
    raw["metadata"]["annotations"][names.ANNOTATION_PINNED] = "true"
    seen = project(raw)
    assert (seen.image_id, seen.image, seen.pinned) == (known, "worker:1", True)
    assert not project(running()).pinned
