"""What a node is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class NodeConfig:
    """Settings of one node.

    Attributes:
        server: URL of the API server.
        token_file: File that holds the bearer token; read anew for every request, so a renewed token is used at once.
        authority: Certificate to trust, where the URL is https; None trusts what the system does.
        data: The node's own folder: records of pods, their volumes, their logs. One node per folder.
        name: Name of the Node object.
        images: What an image name means on a machine without images: the command that its containers run.
        gpus: Number of GPUs to offer; None asks nvidia-smi.
        max_pods: Pods that may be on the node at once.
        shutdown_grace: Longest grace period, in seconds, of a pod while the node itself shuts down.
        crash_backoff: First delay, in seconds, before a container that crashed again is started anew; doubles up to
            5 minutes.
        heartbeat: Seconds between two signs of life.
        disks: Further folders that pods write to, beside `data`: where one of their disks runs low, pods end.
        disk_reserve: Bytes that must stay free there; None leaves it to `disk.shortage`.
    """

    server: str
    token_file: Path
    data: Path
    name: str
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gpus: int | None = None
    authority: Path | None = None
    max_pods: int = 110
    shutdown_grace: float = 10.0
    crash_backoff: float = 10.0
    heartbeat: float = 10.0
    disks: tuple[Path, ...] = ()
    disk_reserve: int | None = None
