"""What the containers of one pod share: the node's services, the pod's address, folders and GPUs."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from carryon_standalone.node.client import ApiClient, Refused
from carryon_standalone.node.config import NodeConfig
from carryon_standalone.node.environment import Placement, Sources
from carryon_standalone.node.events import Recorder
from carryon_standalone.node.limits import Limits
from carryon_standalone.node.pods import Object, PodRef
from carryon_standalone.node.records import PodFolder

HOST_IP: Final = "127.0.0.1"
_POD_NETWORK: Final = ipaddress.ip_network("127.64.0.0/10")
"""Loopback addresses of pods: every one can listen on port 8080 without asking the others."""


def pod_ip(uid: str, taken: Collection[str]) -> str:
    """A loopback address for a pod: the same for the same uid, unless another pod has it."""
    digest = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8])
    for attempt in range(_POD_NETWORK.num_addresses):
        address = _POD_NETWORK[(digest + attempt) % _POD_NETWORK.num_addresses]
        if int(address) & 0xFF not in (0, 255) and str(address) not in taken:
            return str(address)
    raise RuntimeError("every pod address is taken")


class Devices:
    """The GPUs of this machine; each belongs to one pod at most."""

    def __init__(self, names: Iterable[str]) -> None:
        self._free = sorted(names)
        self._freed = asyncio.Condition()

    async def take(self, count: int) -> tuple[str, ...]:
        """Wait until so many are free, and take them: a pod that was deleted by force may still hold its own."""
        async with self._freed:
            await self._freed.wait_for(lambda: len(self._free) >= count)
            taken, self._free = tuple(self._free[:count]), self._free[count:]
            return taken

    async def give_back(self, devices: Iterable[str]) -> None:
        """Free them: no process of the pod lives."""
        async with self._freed:
            self._free = sorted((*self._free, *devices))
            self._freed.notify_all()


@dataclass(frozen=True)
class Services:
    """What every pod of the node uses; `allocatable` is what it has for them, as quantities."""

    config: NodeConfig
    allocatable: Mapping[str, str]
    client: ApiClient
    recorder: Recorder
    devices: Devices
    limits: Limits | None
    inherited: Mapping[str, str]


@dataclass(frozen=True)
class Sandbox:
    """One pod's place on the node."""

    services: Services
    pod: Object
    ref: PodRef
    folder: PodFolder
    ip: str

    @property
    def placement(self) -> Placement:
        """Where the pod runs, as its containers may ask."""
        return Placement(self.services.config.name, HOST_IP, self.ip, self.services.allocatable)

    async def sources(self, references: Iterable[tuple[str, str]]) -> Sources:
        """The Secrets and ConfigMaps of the pod's namespace that are asked for; waits for the API server."""
        found: dict[tuple[str, str], Object | None] = {}
        for kind, name in set(references):
            plural = "secrets" if kind == "Secret" else "configmaps"
            path = f"/api/v1/namespaces/{self.ref.namespace}/{plural}/{name}"
            try:
                found[kind, name] = await self.services.client.request_until_answered("GET", path)
            except Refused as error:
                if error.status != 404:
                    raise
                found[kind, name] = None
        return Sources(found)
