"""Puts waiting pods on the node, in the order of their creation, when what they ask for is free."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from carryon_standalone.node import quantity
from carryon_standalone.node.client import ApiClient, Refused, Unreachable, backoff
from carryon_standalone.node.events import Recorder
from carryon_standalone.node.pods import Object, PodRef, deleting, finished, pod_requests, timestamp
from carryon_standalone.tolerations import tolerates

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeView:
    """What a decision needs of the node.

    Attributes:
        labels: For nodeSelector.
        allocatable: cpu in thousandths, everything else in whole units; "pods" among it.
        cordoned: Takes no new pods (`kubectl cordon`).
        taints: Key, value and effect of those that keep pods away which do not tolerate them.
    """

    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    cordoned: bool = False
    taints: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, node: Object) -> NodeView:
        """The view of a Node object."""
        return cls(
            labels=node["metadata"].get("labels") or {},
            allocatable={
                name: quantity.thousandths(amount) if name == "cpu" else quantity.whole(amount)
                for name, amount in (node.get("status", {}).get("allocatable") or {}).items()
            },
            cordoned=bool(node.get("spec", {}).get("unschedulable")),
            taints=tuple(
                (taint["key"], taint.get("value", ""), taint["effect"])
                for taint in node.get("spec", {}).get("taints") or ()
                if taint["effect"] in ("NoSchedule", "NoExecute")
            ),
        )


def used(pods: Iterable[Object]) -> Counter[str]:
    """What the pods on a node take; pods that ended take nothing."""
    total: Counter[str] = Counter()
    for pod in pods:
        if not finished(pod):
            total.update(pod_requests(pod))
            total["pods"] += 1
    return total


def misfits(pod: Object, node: NodeView, taken: Mapping[str, int]) -> tuple[str, ...]:
    """Why a pod can't go on the node now, in Kubernetes' words; empty when it can.

    Args:
        pod: The pod.
        node: The node.
        taken: What is in use, as `used` tells it.
    """
    reasons = []
    if node.cordoned:
        reasons.append("node(s) were unschedulable")
    tolerations = pod["spec"].get("tolerations") or ()
    for key, value, effect in node.taints:
        if not any(tolerates(each, key, value, effect) for each in tolerations):
            reasons.append(f"node(s) had untolerated taint {{{key}: {value}}}")
    selector = pod["spec"].get("nodeSelector") or {}
    if any(node.labels.get(name) != value for name, value in selector.items()):
        reasons.append("node(s) didn't match Pod's node affinity/selector")
    if taken.get("pods", 0) + 1 > node.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for name, amount in pod_requests(pod).items():
        if amount > 0 and taken.get(name, 0) + amount > node.allocatable.get(name, 0):
            reasons.append(f"Insufficient {name}")
    return tuple(sorted(reasons))


def unschedulable_message(reasons: Iterable[str]) -> str:
    """The message of PodScheduled=False."""
    return f"0/1 nodes are available: {', '.join(f'1 {reason}' for reason in reasons)}."


def waits_for_a_node(pod: Object) -> bool:
    """Whether the scheduler has something to decide about a pod."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", "default-scheduler") == "default-scheduler"
        and not deleting(pod)
        and not finished(pod)
    )


class Scheduler:
    """Binds pods to the one node there is."""

    def __init__(self, client: ApiClient, recorder: Recorder, node_name: str) -> None:
        self._client = client
        self._recorder = recorder
        self._node_name = node_name
        self._node: NodeView | None = None
        self._pods: dict[str, Object] = {}
        self._wake = asyncio.Event()

    def synchronize(self, pods: Iterable[Object]) -> None:
        """These are all pods."""
        self._pods = {pod["metadata"]["uid"]: pod for pod in pods}
        self._wake.set()

    def observe(self, pod: Object) -> None:
        """A pod appeared or changed."""
        uid = pod["metadata"]["uid"]
        known = self._pods.get(uid)
        if known is not None and known["spec"].get("nodeName") and not pod["spec"].get("nodeName"):
            return  # from before our binding, which the watch has yet to show
        self._pods[uid] = pod
        self._wake.set()

    def remove(self, uid: str) -> None:
        """A pod is gone."""
        self._pods.pop(uid, None)
        self._wake.set()

    def observe_node(self, node: Object) -> None:
        """The node appeared or changed."""
        view = NodeView.of(node)
        if view != self._node:
            self._node = view
            self._wake.set()

    async def run(self) -> None:
        """Decide whenever something changed, for ever."""
        delays = backoff()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._node is None:
                continue
            try:
                await self._pass(self._node)
                delays = backoff()
            except Unreachable as error:
                log.debug("scheduling waits for the API server: %s", error)
                await asyncio.sleep(next(delays))
                self._wake.set()

    async def _pass(self, node: NodeView) -> None:
        bound = [pod for pod in self._pods.values() if pod["spec"].get("nodeName") == self._node_name]
        taken = used(bound)
        waiting = [pod for pod in self._pods.values() if waits_for_a_node(pod)]
        # Creation times have whole seconds; a first resourceVersion would order better, but changes with every status.
        for pod in sorted(waiting, key=lambda pod: pod["metadata"]["creationTimestamp"]):
            reasons = misfits(pod, node, taken)
            try:
                if reasons:
                    await self._refuse(pod, unschedulable_message(reasons))
                else:
                    await self._bind(pod)
                    taken.update({**pod_requests(pod), "pods": 1})
            except Refused as error:  # deleted, or bound by another: the watch will tell
                log.debug("%s: %s", PodRef.of(pod), error)

    async def _bind(self, pod: Object) -> None:
        ref = PodRef.of(pod)
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node_name},
        }
        await self._client.request("POST", f"{ref.path}/binding", binding)
        # Counts as bound from here on, though the watch has not shown it yet.
        self._pods[ref.uid] = {**pod, "spec": {**pod["spec"], "nodeName": self._node_name}}
        message = f"Successfully assigned {ref} to {self._node_name}"
        self._recorder.record(ref, "Normal", "Scheduled", message, component="default-scheduler")

    async def _refuse(self, pod: Object, message: str) -> None:
        ref = PodRef.of(pod)
        conditions = pod.get("status", {}).get("conditions") or []
        known: Object = next((each for each in conditions if each["type"] == "PodScheduled"), {})
        if known.get("status") == "False" and known.get("message") == message:
            return
        since = known.get("lastTransitionTime") if known.get("status") == "False" else None
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": since or timestamp(datetime.now(UTC)),
        }
        others = [each for each in conditions if each["type"] != "PodScheduled"]
        patch = {
            "metadata": {"uid": ref.uid, "resourceVersion": pod["metadata"]["resourceVersion"]},
            "status": {"phase": "Pending", "conditions": [*others, condition]},
        }
        self._pods[ref.uid] = await self._client.request("PATCH", f"{ref.path}/status", patch)
        self._recorder.record(ref, "Warning", "FailedScheduling", message, component="default-scheduler")
