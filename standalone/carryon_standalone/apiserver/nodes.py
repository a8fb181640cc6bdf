"""Nodes that fall silent, and taints that end pods: what a cluster's node lifecycle and taint eviction controllers do.

Source: kubernetes/pkg/controller/nodelifecycle and kubernetes/pkg/controller/tainteviction.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from carryon_standalone.apiserver import metadata as meta
from carryon_standalone.apiserver.catalog import LEASES, NODES, PODS
from carryon_standalone.apiserver.conditions import readiness
from carryon_standalone.apiserver.controllers import Controller, Queue
from carryon_standalone.apiserver.deletion import DeleteOptions, Deletion
from carryon_standalone.apiserver.pods import PodActions
from carryon_standalone.apiserver.resources import Registry
from carryon_standalone.apiserver.storage import Event, Key, Object, Store, Stored
from carryon_standalone.apiserver.strategies import TERMINAL
from carryon_standalone.apiserver.writes import WriteOptions, Writes
from carryon_standalone.tolerations import tolerates

GRACE: Final = 40.0
"""Seconds without a sign of life after which a node counts as lost: kube-controller-manager's default for long."""
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
NOT_READY: Final = "node.kubernetes.io/not-ready"
_TOLERATED: Final = 300.0
"""Seconds that a pod stays on a lost node unless it says otherwise: those of the DefaultTolerationSeconds admission."""
_LEASES_OF_NODES: Final = "kube-node-lease"
_LOOKS: Final = 8
_MANAGER: Final = "kube-controller-manager"
Taint = Mapping[str, Any]


def tolerated_for(tolerations: Iterable[Mapping[str, Any]], taint: Taint) -> float:
    """Seconds that a pod may stay on a node that has a NoExecute taint: 0 for not at all, infinite for any time."""
    for each in tolerations:
        if tolerates(each, taint["key"], taint.get("value", ""), taint["effect"]):
            seconds = each.get("tolerationSeconds")
            return math.inf if seconds is None else max(float(seconds), 0.0)
    return _TOLERATED if taint["key"] in (UNREACHABLE, NOT_READY) else 0.0


def _ending(node: Object) -> list[Taint]:
    """The taints of a node that end pods."""
    return [each for each in (node.get("spec") or {}).get("taints") or () if each.get("effect") == "NoExecute"]


def _heard(node: Stored) -> list[str]:
    """When a node last said how it is; others who write its status leave that."""
    conditions = (node.load().get("status") or {}).get("conditions") or ()
    return [each.get("lastHeartbeatTime", "") for each in conditions]


def _pods_on(store: Store, node: str) -> Iterator[Stored]:
    """Pods of a node that have not ended."""
    for stored in store.objects(PODS):
        fields = stored.fields
        if fields["spec.nodeName"] == node and fields["status.phase"] not in TERMINAL:
            yield stored


class Silence:
    """For how long nothing was heard of each node, in seconds of looking.

    No clock is compared with another one, and a look counts for two at most: neither a clock that is set, nor a machine
    that was asleep, nor a server that was held up itself, makes nodes look lost.
    """

    def __init__(self, grace: float) -> None:
        """Begin; a node of which nothing was heard for more than `grace` seconds is lost."""
        self.every = grace / _LOOKS
        self._grace = grace
        self._seconds: dict[str, float] = {}

    def hear(self, node: str) -> None:
        """A node gave a sign of life."""
        self._seconds[node] = 0.0

    def forget(self, node: str) -> None:
        """There is no such node any more."""
        self._seconds.pop(node, None)

    def look(self, nodes: Iterable[str], passed: float) -> list[str]:
        """The nodes that are lost, seconds after the look before."""
        counted = min(passed, 2 * self.every)
        for node in nodes:
            self._seconds[node] = self._seconds.get(node, 0.0) + counted
        return [node for node in self._seconds if self.is_lost(node)]

    def is_lost(self, node: str) -> bool:
        """Whether nothing was heard of a node for too long."""
        return self._seconds.get(node, 0.0) > self._grace


class NodeLifecycle(Controller):
    """Says that a node is lost when nothing was heard of it for a while, and takes that back."""

    def __init__(
        self, store: Store, registry: Registry, writes: Writes, deletion: Deletion, grace: float = GRACE
    ) -> None:
        super().__init__(store, registry, writes, deletion)
        self.queue = Queue(self._look)
        self._silence = Silence(grace)
        for stored in store.objects(NODES):
            self.queue.add(stored.key)
        store.listeners.append(self._observe)

    def _observe(self, event: Event) -> None:
        key = event.new.key
        if key.kind == LEASES and key.namespace == _LEASES_OF_NODES:
            self._silence.hear(key.name)
        elif key.kind == NODES and event.type == "DELETED":
            self._silence.forget(key.name)
        elif key.kind == NODES:
            if event.previous is None or _heard(event.new) != _heard(event.previous):
                self._silence.hear(key.name)
            self.queue.add(key)

    async def run(self) -> None:
        """Look at the clock for ever."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(self._silence.every)
            now = time.monotonic()
            for name in self._silence.look([stored.key.name for stored in self.store.objects(NODES)], now - before):
                self.queue.add(Key(NODES, "", name))
            before = now

    async def _look(self, key: Key) -> None:
        stored = self.store.current(key)
        if stored is None:
            return
        if self._silence.is_lost(key.name):
            if readiness(stored.load()) != "Unknown":
                await self._status(key, _unknown)
            await self.change(key, _unreachable, _MANAGER)
            for pod in _pods_on(self.store, key.name):
                if readiness(pod.load()) == "True":
                    await self._status(pod.key, _unready)
        elif readiness(stored.load()) == "True":
            await self.change(key, _reachable, _MANAGER)

    async def _status(self, key: Key, change: Callable[[Object], Object]) -> None:
        if self.store.current(key) is not None:
            options = WriteOptions(manager=_MANAGER, subresource="status")
            await self.writes.update(self.resource(key), key.namespace, key.name, change, options, "patch")


def _unknown(node: Object) -> Object:
    status = node.setdefault("status", {})
    why = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    known = status.get("conditions") or [{"type": "Ready", "reason": "NodeStatusNeverUpdated"}]
    status["conditions"] = [{**each, **why, "lastTransitionTime": meta.now()} for each in known]
    return node


def _unready(pod: Object) -> Object:
    for each in pod["status"]["conditions"]:
        if each["type"] == "Ready":
            each |= {"status": "False", "lastTransitionTime": meta.now()}
    return pod


def _unreachable(node: Object) -> Object:
    spec = node.setdefault("spec", {})
    taints = spec.get("taints") or []
    there = {each.get("effect") for each in taints if each.get("key") == UNREACHABLE}
    missing = [each for each in ("NoSchedule", "NoExecute") if each not in there]
    spec["taints"] = [
        *taints,
        *({"key": UNREACHABLE, "effect": each, "timeAdded": meta.now()} for each in missing),
    ]
    return node


def _reachable(node: Object) -> Object:
    spec = node.setdefault("spec", {})
    kept = [each for each in spec.get("taints") or () if each.get("key") != UNREACHABLE]
    if kept:
        spec["taints"] = kept
    else:
        spec.pop("taints", None)
    return node


class TaintEviction(Controller):
    """Ends pods on nodes with NoExecute taints, at once or when they no longer tolerate them."""

    def __init__(
        self, store: Store, registry: Registry, writes: Writes, deletion: Deletion, actions: PodActions
    ) -> None:
        super().__init__(store, registry, writes, deletion)
        self.queue = Queue(self._look)
        self._actions = actions
        self._tainted: set[str] = set()
        self._since: dict[tuple[str, str, str], float] = {}
        """When a pod (uid) was first seen under a taint (key, value), on the loop's clock."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        for stored in store.objects(NODES):
            self._note(stored)
        store.listeners.append(self._observe)

    def _note(self, node: Stored) -> None:
        name = node.key.name
        if _ending(node.load()):
            self._tainted.add(name)
        elif name not in self._tainted:
            return
        self.queue.add(node.key)

    def _observe(self, event: Event) -> None:
        key = event.new.key
        if key.kind == NODES:
            if event.type == "DELETED":
                self._tainted.discard(key.name)
            else:
                self._note(event.new)
        elif key.kind == PODS and event.new.fields["spec.nodeName"] in self._tainted:
            self.queue.add(Key(NODES, "", event.new.fields["spec.nodeName"]))

    async def _look(self, key: Key) -> None:
        stored = self.store.get(key)
        taints = _ending(stored.load()) if stored is not None else []
        if not taints:
            self._tainted.discard(key.name)
        pods = [each for each in _pods_on(self.store, key.name) if not each.deleting]
        self._forget(pods, taints)
        now = asyncio.get_running_loop().time()
        left = {pod.key: min((self._left(pod, taint, now) for taint in taints), default=math.inf) for pod in pods}
        self._again(key, min((seconds for seconds in left.values() if seconds > 0), default=math.inf))
        await asyncio.gather(*(self._end(pod) for pod, seconds in left.items() if seconds <= 0))

    def _again(self, node: Key, seconds: float) -> None:
        """Look at a node when its next pod is due."""
        if (timer := self._timers.pop(node.name, None)) is not None:
            timer.cancel()
        if seconds < math.inf:
            self._timers[node.name] = asyncio.get_running_loop().call_later(seconds, self.queue.add, node)

    def _left(self, pod: Stored, taint: Taint, now: float) -> float:
        """Seconds that a pod has under a taint."""
        seconds = tolerated_for((pod.load().get("spec") or {}).get("tolerations") or (), taint)
        since = self._since.setdefault((pod.uid, taint["key"], taint.get("value", "")), now)
        return since + seconds - now

    def _forget(self, pods: Iterable[Stored], taints: Iterable[Taint]) -> None:
        """A taint that was taken back begins anew when it comes back."""
        uids, kinds = {each.uid for each in pods}, {(each["key"], each.get("value", "")) for each in taints}
        gone = [each for each in self._since if each[0] in uids and (each[1], each[2]) not in kinds]
        there = {stored.uid for stored in self.store.objects(PODS)}
        for each in (*gone, *(each for each in self._since if each[0] not in there)):
            self._since.pop(each, None)

    async def _end(self, key: Key) -> None:
        resource = self.resource(key)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        await self._actions.tell(resource, key, condition, WriteOptions(manager=_MANAGER))
        await self.delete(key, DeleteOptions())
