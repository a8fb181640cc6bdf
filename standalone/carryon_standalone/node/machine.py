"""This machine as a Kubernetes Node: what it has, and how the API server is told."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from carryon_standalone.node.pods import GPU, Object, timestamp
from carryon_standalone.node.sandbox import HOST_IP

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
NODES: Final = "/api/v1/nodes"
LEASE_SECONDS: Final = 40
DISK_PRESSURE: Final = "node.kubernetes.io/disk-pressure"


@dataclass(frozen=True)
class Machine:
    """What this machine offers to pods.

    Attributes:
        cpus: Processors.
        memory: Bytes.
        disk: Bytes.
        gpus: Device indexes or ids, as CUDA_VISIBLE_DEVICES takes them.
        gpu_product: Their name; empty when it is not known.
    """

    cpus: int
    memory: int
    disk: int
    gpus: tuple[str, ...]
    gpu_product: str = ""

    def capacity(self, max_pods: int) -> dict[str, str]:
        """As quantities of a Node's status."""
        return {
            "cpu": str(self.cpus),
            "memory": f"{self.memory // 1024}Ki",
            "ephemeral-storage": f"{self.disk // 1024}Ki",
            "pods": str(max_pods),
            GPU: str(len(self.gpus)),
        }


def inspect(data: Path, gpus: int | None, environment: Mapping[str, str]) -> Machine:
    """Look at this machine.

    Args:
        data: Folder whose disk counts.
        gpus: Number of GPUs to offer; None asks nvidia-smi.
        environment: The node's own: its CUDA_VISIBLE_DEVICES limits what is offered.
    """
    found, product = _nvidia_devices() if gpus is None else (tuple(str(index) for index in range(gpus)), "")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if gpus is None and found and visible is not None:
        found = tuple(device for device in visible.split(",") if device not in ("", "-1"))
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=psutil.virtual_memory().total,
        disk=shutil.disk_usage(data).total,
        gpus=found,
        gpu_product=product,
    )


def _nvidia_devices() -> tuple[tuple[str, ...], str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return (), ""
    query = [program, "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):  # a driver without a card: there is no GPU to offer
        return (), ""
    rows = [line.partition(", ") for line in answer.stdout.splitlines()]
    return tuple(index for index, _, _ in rows), rows[0][2].strip().replace(" ", "-") if rows else ""


def node_object(name: str, machine: Machine) -> Object:
    """The Node to create."""
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": architecture}
    if machine.gpu_product:
        labels[f"{GPU}.product"] = machine.gpu_product
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}


@dataclass(frozen=True)
class DiskState:
    """Whether disks are short, since when, and of what; nothing is the matter where `message` is empty."""

    since: str
    message: str = ""


def node_status(name: str, machine: Machine, max_pods: int, since: str, disks: DiskState, ready: bool = True) -> Object:
    """The Node's status.

    Args:
        name: Of the node.
        machine: What it has.
        max_pods: Pods it takes.
        since: When it became ready, or stopped to be.
        disks: How its disks are.
        ready: Whether it takes pods.
    """
    capacity = machine.capacity(max_pods)
    now = timestamp()
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "KubeletReady" if ready else "KubeletNotReady",
        "message": "this machine takes pods" if ready else "node is shutting down",
        "lastHeartbeatTime": now,
        "lastTransitionTime": since,
    }
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [
            condition,
            {
                "type": "DiskPressure",
                "status": "True" if disks.message else "False",
                "reason": "KubeletHasDiskPressure" if disks.message else "KubeletHasNoDiskPressure",
                "message": disks.message or "kubelet has no disk pressure",
                "lastHeartbeatTime": now,
                "lastTransitionTime": disks.since,
            },
        ],
        "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "architecture": architecture,
            "bootID": "",
            "containerRuntimeVersion": "process://1",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.0-carryon",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": platform.platform(terse=True),
            "systemUUID": "",
        },
    }


def is_unknown(node: Object) -> bool:
    """Whether others say of a node that nothing is heard of it."""
    return any(each["status"] == "Unknown" for each in (node.get("status") or {}).get("conditions") or ())


def taints(node: Object, pressed: bool) -> list[Object]:
    """The taints that a Node should have: those it was given, and the one of disk pressure while there is such."""
    given = (node.get("spec") or {}).get("taints") or []
    others = [taint for taint in given if taint.get("key") != DISK_PRESSURE]
    return [*others, {"key": DISK_PRESSURE, "effect": "NoSchedule"}] if pressed else others


def lease_object(name: str, renewed: str) -> Object:
    """The Lease whose renewal says that the node lives."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": renewed},
    }
