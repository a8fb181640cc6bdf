"""Pod status as a kubelet writes it: pure builders, from what the node knows to the API's shape.

Phases and conditions follow Kubernetes' `pkg/kubelet/kubelet_pods.go` (getPhase) and `pkg/kubelet/status/generate.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from carryon_standalone.node.pods import TERMINAL, Object, is_sidecar, timestamp

SHUTDOWN_MESSAGE: Final = "Pod was terminated in response to imminent node shutdown."
RESTART_MESSAGE: Final = "The node restarted while the pod ran: its processes ended with the node."


@dataclass(frozen=True)
class Waiting:
    """A container that doesn't run yet, or not again."""

    reason: str
    message: str = ""


@dataclass(frozen=True)
class Running:
    """A container that runs."""

    started_at: datetime


@dataclass(frozen=True)
class Terminated:
    """A container that ended; an end by signal N has exit code 128 + N."""

    exit_code: int
    reason: str
    started_at: datetime
    finished_at: datetime
    container_id: str
    signal: int = 0
    message: str = ""


@dataclass(frozen=True)
class ContainerStatus:
    """What the node knows of one container.

    Attributes:
        state: Now.
        last: How the attempt before ended.
        started: Whether it runs and its startup probe, if any, succeeded.
        ready: Whether it is started and its readiness probe, if any, succeeds.
        sidecar: Whether it is an init container that stays, beside the containers.
    """

    name: str
    image: str
    state: Waiting | Running | Terminated
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""
    sidecar: bool = False


@dataclass(frozen=True)
class Ending:
    """Why the node ends a pod, where that is not for the pod's own outcome.

    Attributes:
        reason: The pod's status.reason; empty for a deletion.
        message: The pod's status.message.
        disruption: Whether it is the machine's doing (condition DisruptionTarget), not the pod's.
    """

    reason: str = ""
    message: str = ""
    disruption: bool = False


DELETED: Final = Ending()
SHUTDOWN: Final = Ending("Terminated", SHUTDOWN_MESSAGE, disruption=True)
RESTARTED: Final = Ending("NodeRestarted", RESTART_MESSAGE, disruption=True)
DEADLINE: Final = Ending("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


def evicted(message: str) -> Ending:
    """The end of a pod on a node that runs out of something."""
    return Ending("Evicted", message, disruption=True)


@dataclass(frozen=True)
class PodState:
    """What the node knows of one pod.

    Attributes:
        ending: Set when the node ends the pod.
        over: Nothing of the pod runs, and nothing will.
    """

    containers: tuple[ContainerStatus, ...]
    init_containers: tuple[ContainerStatus, ...] = ()
    ip: str = ""
    started_at: datetime | None = None
    ending: Ending | None = None
    over: bool = False


def phase(state: PodState) -> str:
    """Pending, Running, Succeeded or Failed."""
    if state.over:
        return _final_phase(state)
    if not all(map(_begun, state.containers)) or _uninitialized(state):
        return "Pending"
    return "Running"


def _begun(container: ContainerStatus) -> bool:
    return container.last is not None or not isinstance(container.state, Waiting)


def _uninitialized(state: PodState) -> list[str]:
    """Names of init containers that the containers wait for; a sidecar that falls later holds up nothing."""
    if any(map(_begun, state.containers)):
        return []
    return [each.name for each in state.init_containers if not (each.started if each.sidecar else _succeeded(each))]


def _final_phase(state: PodState) -> str:
    if state.ending is not None and state.ending.reason:
        return "Failed"
    everything = [each for each in (*state.init_containers, *state.containers) if not each.sidecar]
    return "Succeeded" if all(_succeeded(container) for container in everything) else "Failed"


def _succeeded(container: ContainerStatus) -> bool:
    return isinstance(container.state, Terminated) and container.state.exit_code == 0


def build(pod: Object, state: PodState, host_ip: str, now: datetime) -> Object:
    """The pod's status.

    Args:
        pod: The pod as the API server has it: conditions that did not change keep their transition times, and
            conditions of others stay.
        state: What the node knows.
        host_ip: Address of the node.
        now: Transition time of the conditions that change.
    """
    spec = pod["spec"]
    result: Object = {
        "phase": phase(state),
        "conditions": [],
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": state.ip,
        "podIPs": [{"ip": state.ip}],
        "startTime": timestamp(state.started_at),
        "containerStatuses": [_container(status) for status in state.containers],
        "qosClass": qos_class(spec["containers"]),
    }
    if state.init_containers:
        result["initContainerStatuses"] = [_container(status, init=True) for status in state.init_containers]
    if state.ending is not None and state.ending.reason:
        result |= {"reason": state.ending.reason, "message": state.ending.message}
    result["conditions"] = _merge_conditions(
        pod.get("status", {}).get("conditions") or [], _conditions(state, result["phase"]), now
    )
    return result


def _container(status: ContainerStatus, init: bool = False) -> Object:
    ready = status.ready or (init and not status.sidecar and _succeeded(status))
    return {
        "name": status.name,
        "image": status.image,
        "imageID": status.image if status.container_id else "",
        "containerID": status.container_id,
        "state": _state(status.state),
        "lastState": {} if status.last is None else _state(status.last),
        "restartCount": status.restarts,
        "ready": ready,
        "started": status.started,
    }


def _state(state: Waiting | Running | Terminated) -> Object:
    match state:
        case Waiting():
            return {"waiting": {"reason": state.reason} | ({"message": state.message} if state.message else {})}
        case Running():
            return {"running": {"startedAt": timestamp(state.started_at)}}
        case Terminated():
            ended: Object = {
                "exitCode": state.exit_code,
                "reason": state.reason,
                "startedAt": timestamp(state.started_at),
                "finishedAt": timestamp(state.finished_at),
                "containerID": state.container_id,
            }
            if state.signal:
                ended["signal"] = state.signal
            if state.message:
                ended["message"] = state.message
            return {"terminated": ended}


def _conditions(state: PodState, phase: str) -> list[Object]:
    lasting = [each for each in state.init_containers if each.sidecar]
    unready = [each.name for each in (*lasting, *state.containers) if not each.ready]
    uninitialized = _uninitialized(state)
    if phase == "Succeeded":
        not_ready = ("PodCompleted", "")
    elif phase == "Failed":
        not_ready = ("PodFailed", "")
    else:
        not_ready = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    ready = _condition("Ready", not unready and phase == "Running", *not_ready)
    initialized = _condition(
        "Initialized",
        not uninitialized,
        "ContainersNotInitialized",
        f"containers with incomplete status: [{' '.join(uninitialized)}]",
    )
    if phase == "Succeeded":
        initialized = _condition("Initialized", True) | {"reason": "PodCompleted"}
    conditions = [
        _condition("PodReadyToStartContainers", not state.over),
        initialized,
        ready,
        ready | {"type": "ContainersReady"},
        _condition("PodScheduled", True),
    ]
    if state.ending is not None and state.ending.disruption:
        conditions.append(disruption(state.ending))
    return conditions


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    """A condition; reason and message say why it does not hold."""
    condition: Object = {"type": kind, "status": "True" if holds else "False"}
    if not holds and reason:
        condition["reason"] = reason
    if not holds and message:
        condition["message"] = message
    return condition


def disruption(ending: Ending) -> Object:
    """The condition by which Kubernetes tells a machine's failure from a pod's."""
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "TerminationByKubelet",
        "message": ending.message,
    }


def _merge_conditions(before: Sequence[Object], wanted: Sequence[Object], now: datetime) -> list[Object]:
    known = {condition["type"]: condition for condition in before}
    merged = []
    for condition in wanted:
        old = known.get(condition["type"])
        changed = old is None or old.get("status") != condition["status"]
        since = timestamp(now) if old is None or changed else old.get("lastTransitionTime", timestamp(now))
        merged.append({**condition, "lastProbeTime": None, "lastTransitionTime": since})
    names = {condition["type"] for condition in wanted}
    return merged + [condition for condition in before if condition["type"] not in names]


def with_foreign_conditions(status: Object, current: Object) -> Object:
    """A status with the conditions that others have set on the pod meanwhile, such as an eviction's."""
    mine = {condition["type"] for condition in status["conditions"]}
    foreign = [
        condition for condition in current.get("status", {}).get("conditions") or [] if condition["type"] not in mine
    ]
    return {**status, "conditions": [*status["conditions"], *foreign]}


def contradicts(pod: Object, status: Object) -> bool:
    """Whether somebody else has said of a pod that runs that it is not ready, while nothing was heard of its node."""
    said = {each["type"]: each["status"] for each in (pod.get("status") or {}).get("conditions") or ()}
    mine = {each["type"]: each["status"] for each in status["conditions"]}
    return said.get("Ready") == "False" and mine.get("Ready") == "True"


def lost(pod: Object, status: Object, now: datetime) -> Object:
    """The verdict on a pod whose node ended while it ran; one that had come to its own end keeps that.

    Containers that had ended keep their exit codes and messages in any case.
    """
    if status.get("phase") in TERMINAL:
        return status
    outcome = _own_outcome(status, pod["spec"])
    if outcome is not None:
        result = {**status, "phase": outcome}
    else:
        result = {**status, "phase": "Failed", "reason": RESTARTED.reason, "message": RESTARTED.message}
        for key in ("initContainerStatuses", "containerStatuses"):
            if key in status:
                result[key] = [_lost_container(container, now) for container in status[key]]
    before = status.get("conditions") or []
    kept = [
        condition
        for condition in before
        if condition["type"] not in ("Ready", "ContainersReady", "PodReadyToStartContainers")
    ]
    why = "PodCompleted" if outcome == "Succeeded" else "PodFailed"
    wanted = [
        _condition("Ready", False, why),
        _condition("ContainersReady", False, why),
        _condition("PodReadyToStartContainers", False),
    ]
    if outcome is None:
        wanted.append(disruption(RESTARTED))
    result["conditions"] = kept + _merge_conditions(
        [condition for condition in before if condition not in kept], wanted, now
    )
    return result


def _own_outcome(status: Object, spec: Object) -> str | None:
    """How a pod came to its own end, whatever became of its node; None when something was still to run."""
    restart_policy = spec.get("restartPolicy", "Always")
    lasting = {each["name"] for each in spec.get("initContainers") or () if is_sidecar(each)}
    inits, mains = (
        [each["state"].get("terminated") for each in status.get(key, ()) if each["name"] not in lasting]
        for key in ("initContainerStatuses", "containerStatuses")
    )
    if restart_policy == "Never" and any(ended is not None and ended["exitCode"] != 0 for ended in inits):
        return "Failed"
    if restart_policy == "Always" or not all(mains):
        return None
    if all(ended["exitCode"] == 0 for ended in mains):
        return "Succeeded"
    return "Failed" if restart_policy == "Never" else None


def _lost_container(container: Object, now: datetime) -> Object:
    state = container.get("state") or {}
    if "terminated" in state:
        return container
    started = (state.get("running") or {}).get("startedAt", timestamp(now))
    ended = {
        "exitCode": 137,
        "signal": 9,
        "reason": RESTARTED.reason,
        "message": RESTARTED.message,
        "startedAt": started,
        "finishedAt": timestamp(now),
        "containerID": container.get("containerID", ""),
    }
    return {**container, "state": {"terminated": ended}, "ready": False, "started": False}


def waiting_status(container: Object, reason: str, sidecar: bool) -> ContainerStatus:
    """The status of a container that was not started yet."""
    return ContainerStatus(container["name"], container.get("image", ""), Waiting(reason), sidecar=sidecar)


def ended(status: ContainerStatus, state: Terminated) -> ContainerStatus:
    """The status of a container whose attempt ended."""
    return replace(status, state=state, started=False, ready=False)


def qos_class(containers: Sequence[Object]) -> str:
    """Guaranteed, Burstable or BestEffort."""
    resources = [container.get("resources") or {} for container in containers]
    if not any(part.get("requests") or part.get("limits") for part in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= set(part.get("limits") or {})
        and all(
            (part.get("requests") or {}).get(name, part["limits"][name]) == part["limits"][name]
            for name in ("cpu", "memory")
        )
        for part in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"
