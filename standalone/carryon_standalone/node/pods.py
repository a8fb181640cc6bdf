"""Reading pod objects: who a pod is, how far it is, what it asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from carryon_standalone.node import quantity

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON has it."""

GPU: Final = "nvidia.com/gpu"
TERMINAL: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class PodRef:
    """Identity of one pod."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, pod: Object) -> PodRef:
        """The identity that a pod object carries."""
        meta = pod["metadata"]
        return cls(meta["namespace"], meta["name"], meta["uid"])

    @property
    def path(self) -> str:
        """Path of the pod on the API server."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def finished(pod: Object) -> bool:
    """Whether the API server already shows a final phase."""
    return pod.get("status", {}).get("phase") in TERMINAL


def deleting(pod: Object) -> bool:
    """Whether someone asked for the pod's deletion."""
    return pod["metadata"].get("deletionTimestamp") is not None


def grace_seconds(pod: Object) -> float:
    """Seconds between SIGTERM and SIGKILL: what the deletion asked for, else what the pod asks for."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds")
    return 30.0 if asked is None else float(asked)


def was_started(status: Object) -> bool:
    """Whether a status shows that any container, init containers included, was ever started."""
    return any(
        part.get("running") or part.get("terminated")
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        for part in (container.get("state") or {}, container.get("lastState") or {})
    )


def container_requests(container: Object) -> dict[str, int]:
    """What a container asks for: cpu in thousandths, all else in whole units; a limit stands in for a request."""
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {
        name: quantity.thousandths(amount) if name == "cpu" else quantity.whole(amount)
        for name, amount in asked.items()
    }


def is_sidecar(container: Object) -> bool:
    """Whether an init container is one that stays: it starts in its turn, and ends after the containers."""
    return bool(container.get("restartPolicy") == "Always")


def pod_requests(pod: Object) -> dict[str, int]:
    """What a pod asks of a node: its containers and sidecars together, or what some init container needs where it runs.

    An init container runs beside the sidecars that come before it.
    """
    spec = pod["spec"]
    lasting: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for container in spec.get("initContainers") or ():
        asked = container_requests(container)
        if is_sidecar(container):
            lasting.update(asked)
        else:
            most |= lasting + Counter(asked)
    for container in spec["containers"]:
        lasting.update(container_requests(container))
    return dict(most | lasting)


def references(container: Object) -> Iterator[tuple[str, str]]:
    """Secrets and ConfigMaps that a container's environment needs, as ("Secret" or "ConfigMap", name)."""
    for source in container.get("envFrom") or ():
        for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if key in source:
                yield kind, source[key]["name"]
    for variable in container.get("env") or ():
        value_from: Mapping[str, Any] = variable.get("valueFrom") or {}
        for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if key in value_from:
                yield kind, value_from[key]["name"]


def timestamp(moment: datetime | None = None) -> str:
    """A time as metav1.Time writes it: UTC, whole seconds."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """Now, as metav1.MicroTime writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The moment that a metav1.Time names."""
    return datetime.fromisoformat(text)
