"""One node: it registers this machine, keeps its heartbeat, and feeds what happens to pods to scheduler and kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from carryon_standalone.node import disk, machine
from carryon_standalone.node.client import ApiClient, Changed, Listed, Refused, Unreachable
from carryon_standalone.node.config import NodeConfig
from carryon_standalone.node.events import Recorder
from carryon_standalone.node.kubelet import Kubelet
from carryon_standalone.node.limits import Limits
from carryon_standalone.node.machine import DiskState
from carryon_standalone.node.pods import Object, micro_timestamp, timestamp
from carryon_standalone.node.sandbox import Devices, Services
from carryon_standalone.node.scheduler import Scheduler

log = logging.getLogger(__name__)

_RETRY: Final = 0.2
_DISK_LOOK: Final = 2.0
_GOODBYE: Final = 2.0


class FolderTaken(RuntimeError):
    """Another node runs in the data folder."""


@contextlib.contextmanager
def _hold(data: Path) -> Iterator[None]:
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"another node runs in {data}: stop it, or give this one another --data") from None
        yield


async def run(config: NodeConfig, stop: asyncio.Event) -> None:
    """Run a node until `stop` is set; then end its pods as a machine does that shuts down.

    Must run in the main thread: containers die with the thread that started them.

    Raises:
        FolderTaken: Another node runs in the data folder.
    """
    with _hold(config.data):
        async with ApiClient(config.server, config.token_file, config.authority) as client:
            await _Node(config, client).run(stop)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Node:
    def __init__(self, config: NodeConfig, client: ApiClient) -> None:
        self._config = config
        self._client = client
        self._machine = machine.inspect(config.data, config.gpus, os.environ)
        self._recorder = Recorder(client, config.name)
        self._scheduler = Scheduler(client, self._recorder, config.name)
        self._since = timestamp()
        self._short: disk.Shortage | None = None
        self._disks = DiskState(self._since)
        self._news = asyncio.Event()
        # Named by the data folder: a restarted node finds the groups of the one before.
        self._limits = Limits.find(hashlib.sha256(str(config.data).encode()).hexdigest()[:12])
        self._kubelet = Kubelet(
            Services(
                config=config,
                allocatable=self._machine.capacity(config.max_pods),
                client=client,
                recorder=self._recorder,
                devices=Devices(self._machine.gpus),
                limits=self._limits,
                inherited=dict(os.environ),
            )
        )

    async def run(self, stop: asyncio.Event) -> None:
        await self._kubelet.recover()
        taking = [
            asyncio.create_task(loop)
            for loop in (self._scheduler.run(), self._beat(), self._follow_node(), self._watch_disks())
        ]
        serving = [asyncio.create_task(loop) for loop in (self._follow_pods(), self._recorder.run())]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*taking, *serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them ends by itself but by an error that must be seen
        finally:
            await _cancel(taking)  # no pod comes any more
            await self._say_goodbye()
            await self._kubelet.shutdown()
            await _cancel([*serving, stopping])
            if self._limits is not None:
                self._limits.close()

    async def _follow_pods(self) -> None:
        async for event in self._client.follow("/api/v1/pods"):
            if isinstance(event, Listed):
                self._scheduler.synchronize(event.items)
                self._kubelet.synchronize([pod for pod in event.items if self._is_ours(pod)])
            elif isinstance(event, Changed):
                self._scheduler.observe(event.object)
                if self._is_ours(event.object):
                    self._kubelet.observe(event.object)
            else:
                uid = event.object["metadata"]["uid"]
                self._scheduler.remove(uid)
                self._kubelet.remove(uid)

    async def _follow_node(self) -> None:
        """Hear at once of cordons and taints, and of being taken for lost."""
        async for event in self._client.follow(f"{machine.NODES}?fieldSelector=metadata.name={self._config.name}"):
            for node in event.items if isinstance(event, Listed) else (event.object,):
                self._scheduler.observe_node(node)
                if machine.is_unknown(node):
                    self._since = timestamp()
                    self._disks = replace(self._disks, since=self._since)
                    self._news.set()

    def _is_ours(self, pod: Object) -> bool:
        return bool(pod["spec"].get("nodeName") == self._config.name)

    async def _beat(self) -> None:
        while True:
            try:
                self._scheduler.observe_node(await self._write_node(ready=True))
                await self._renew_lease()
            except (Unreachable, Refused) as error:
                log.debug("heartbeat not sent: %s", error)
                await asyncio.sleep(_RETRY)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._config.heartbeat):
                        await self._news.wait()
                self._news.clear()

    async def _watch_disks(self) -> None:
        """End the pods before a disk is full, and keep others away until there is room again."""
        folders = (self._config.data, *self._config.disks)
        while True:
            disks = await asyncio.to_thread(disk.look, folders)
            short = disk.shortage(disks, self._config.disk_reserve, self._short)
            if (short is None) != (self._short is None):
                log.warning("%s", short or "there is room on the disks again")
                self._disks = DiskState(timestamp(), "" if short is None else str(short))
                self._news.set()
            self._short = short
            if short is not None:
                self._kubelet.evict(str(short))
            await asyncio.sleep(_DISK_LOOK)

    async def _write_node(self, ready: bool) -> Object:
        config = self._config
        status = machine.node_status(config.name, self._machine, config.max_pods, self._since, self._disks, ready)
        path = f"{machine.NODES}/{config.name}"
        try:
            node = await self._client.request("PATCH", f"{path}/status", {"status": status})
        except Refused as error:
            if error.status != 404:
                raise
            await self._client.request("POST", machine.NODES, machine.node_object(config.name, self._machine))
            node = await self._client.request("PATCH", f"{path}/status", {"status": status})
        taints = machine.taints(node, bool(self._disks.message))
        if taints == (node["spec"].get("taints") or []):
            return node
        version = {"resourceVersion": node["metadata"]["resourceVersion"]}
        return await self._client.request("PATCH", path, {"metadata": version, "spec": {"taints": taints or None}})

    async def _renew_lease(self) -> None:
        lease = machine.lease_object(self._config.name, micro_timestamp())
        try:
            await self._client.request("PATCH", f"{machine.LEASES}/{self._config.name}", {"spec": lease["spec"]})
        except Refused as error:
            if error.status != 404:
                raise
            await self._client.request("POST", machine.LEASES, lease)

    async def _say_goodbye(self) -> None:
        self._since = timestamp()
        try:
            async with asyncio.timeout(_GOODBYE):
                await self._write_node(ready=False)
        except (Unreachable, Refused, TimeoutError) as error:
            log.debug("the API server was not told that this node goes down: %s", error)
