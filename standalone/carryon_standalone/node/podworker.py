"""One pod on this node, from binding to removal: containers in order, one verdict, reported until it arrives."""

from __future__ import annotations

import asyncio
import logging
import math
from datetime import UTC, datetime

from carryon_standalone.node import status
from carryon_standalone.node.client import Refused, Unreachable, backoff
from carryon_standalone.node.container import Container
from carryon_standalone.node.pods import (
    GPU,
    Object,
    PodRef,
    container_requests,
    deleting,
    finished,
    grace_seconds,
    is_sidecar,
    parse_time,
    pod_requests,
)
from carryon_standalone.node.processes import end_all
from carryon_standalone.node.records import PodFolder
from carryon_standalone.node.sandbox import HOST_IP, Sandbox, Services
from carryon_standalone.node.status import Ending, PodState
from carryon_standalone.node.stopping import unless

log = logging.getLogger(__name__)

_FORCED_GRACE = 1.0
"""Seconds for the processes of a pod whose object is gone already: Kubernetes' kubelet gives as many."""


class PodWorker:
    """Runs a pod and reports on it.

    Built with a verdict it only reports: the pod ran under an earlier node, or has ended.

    Attributes:
        pod: The pod's object, as new as it is known.
        ip: Its address.
        folder: Its records.
        ended: Set when nothing of the pod lives, and nothing will.
    """

    def __init__(
        self, pod: Object, folder: PodFolder, ip: str, services: Services, verdict: Object | None = None
    ) -> None:
        self.ip = ip
        self.pod = pod
        self._ref = PodRef.of(pod)
        self.folder = folder
        self._services = services
        self._verdict = verdict
        self.ended = asyncio.Event()
        if verdict is not None:
            self.ended.set()
        self._gone = False
        self._started_at = _start_time(pod)
        self._ending: Ending | None = None
        self._kill_at = math.inf
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()
        policy = pod["spec"].get("restartPolicy", "Always")
        sandbox = Sandbox(services, pod, self._ref, folder, ip)
        inits = pod["spec"].get("initContainers") or []
        waiting = "PodInitializing" if inits else "ContainerCreating"
        once = "Never" if policy == "Never" else "OnFailure"
        self._inits = [
            Container(spec, sandbox, "Always" if is_sidecar(spec) else once, waiting, self._on_change, is_sidecar(spec))
            for spec in inits
        ]
        self._mains = [Container(spec, sandbox, policy, waiting, self._on_change) for spec in pod["spec"]["containers"]]

    async def run(self) -> None:
        """Run the pod; returns when the API server has the verdict, or the pod is gone."""
        reporting = asyncio.create_task(self._report())
        try:
            if not self.ended.is_set():
                await self._live()
            self._changed.set()
            await reporting
        finally:
            reporting.cancel()

    @property
    def verdict(self) -> Object | None:
        """The newest status."""
        return self._verdict

    def update(self, pod: Object) -> None:
        """The pod's object changed."""
        if self._verdict is not None and _newer(pod, self.pod) and status.contradicts(pod, self._verdict):
            self._changed.set()
        self.pod = pod
        if deleting(pod):
            self.stop(status.DELETED, grace_seconds(pod))
            self._changed.set()

    def forget(self) -> None:
        """The pod's object is gone: end what runs, report nothing."""
        self._gone = True
        self.stop(status.DELETED, _FORCED_GRACE)
        self._changed.set()

    def stop(self, ending: Ending, grace: float) -> None:
        """End the pod; the first reason stays, a later call may only shorten the grace period."""
        kill_at = asyncio.get_running_loop().time() + grace
        if self.ended.is_set() or kill_at >= self._kill_at:
            return
        self._kill_at = kill_at
        if self._ending is None:
            self._ending = ending
        self._stopped.set()
        for container in (*self._inits, *self._mains):
            if not container.status.sidecar:
                container.stop(grace)
        # Sidecars are asked when the others have ended, but have no more time than the pod.
        asyncio.get_running_loop().call_later(grace, self._end_sidecars_now)

    async def _live(self) -> None:
        spec = self.pod["spec"]
        deadline = spec.get("activeDeadlineSeconds")
        timer = None
        if deadline is not None:
            left = deadline - (datetime.now(UTC) - self._started_at).total_seconds()
            timer = asyncio.get_running_loop().call_later(
                max(left, 0), self.stop, status.DEADLINE, grace_seconds(self.pod)
            )
        self._on_change()
        devices = await self._take_devices()
        try:
            await self._run_containers()
        except BaseException:  # cancelled, or a failure of the node itself: nothing may outlive this, GPUs least of all
            await end_all(None, str(self.folder.path))
            raise
        finally:
            await self._services.devices.give_back(devices)
            if timer is not None:
                timer.cancel()
        self.ended.set()
        self._on_change()
        self.folder.remove_scratch()

    async def _run_containers(self) -> None:
        async with asyncio.TaskGroup() as beside:
            sidecars: list[tuple[Container, asyncio.Task[None]]] = []
            if await self._initialize(beside, sidecars):
                async with asyncio.TaskGroup() as running:
                    for container in self._mains:
                        running.create_task(container.run())
            loop = asyncio.get_running_loop()
            kill_at = min(self._kill_at, loop.time() + grace_seconds(self.pod))
            # The last to start ends first: it may need those before it.
            for container, task in reversed(sidecars):
                container.stop(max(kill_at - loop.time(), 0.0))
                await task

    async def _initialize(
        self, beside: asyncio.TaskGroup, sidecars: list[tuple[Container, asyncio.Task[None]]]
    ) -> bool:
        """Init containers one after the other, a sidecar until it is started; whether the containers may follow."""
        for container in self._inits:
            if container.status.sidecar:
                sidecars.append((container, beside.create_task(container.run())))
                await unless(self._stopped, container.started.wait())
            else:
                await container.run()
                if not container.succeeded:
                    return False
            if self._stopped.is_set():
                return False
        return True

    def _end_sidecars_now(self) -> None:
        for container in self._inits:
            if container.status.sidecar:
                container.stop(0)

    async def _take_devices(self) -> tuple[str, ...]:
        """GPUs for the containers: those that run side by side have their own, init containers use others' before them.

        An init container has those that no sidecar before it has.
        """
        devices = await unless(self._stopped, self._services.devices.take(pod_requests(self.pod).get(GPU, 0)))
        if devices is None:
            return ()
        spec, first = self.pod["spec"], 0
        for container, part in zip(
            (*self._inits, *self._mains), (*(spec.get("initContainers") or ()), *spec["containers"]), strict=True
        ):
            count = container_requests(part).get(GPU, 0)
            container.devices = devices[first : first + count]
            if container in self._mains or container.status.sidecar:
                first += count
        return devices

    def _on_change(self) -> None:
        over = self.ended.is_set()
        state = PodState(
            containers=tuple(container.status for container in self._mains),
            init_containers=tuple(container.status for container in self._inits),
            ip=self.ip,
            started_at=self._started_at,
            ending=self._ending if over else None,
            over=over,
        )
        self._verdict = status.build(self.pod, state, HOST_IP, datetime.now(UTC))
        self.folder.save_status(self._verdict)  # before anyone hears of it
        self._changed.set()

    async def _report(self) -> None:
        """Send the newest status whenever it changed, and finish a deletion; endless tries, never backwards."""
        delays = backoff()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                if not self._gone and self._verdict is not None:
                    await self._send(self._verdict)
                if self.ended.is_set() and not self._gone and deleting(self.pod):
                    await self._delete()
            except Unreachable as error:
                log.debug("%s: status waits for the API server: %s", self._ref, error)
                await asyncio.sleep(next(delays))
                self._changed.set()
                continue
            except Refused as error:
                if error.status == 409:
                    await self._refresh()
                elif error.status == 404:
                    self._gone = True
                else:
                    log.warning("%s: the API server refused the status: %s", self._ref, error)
                    await asyncio.sleep(next(delays))
                self._changed.set()
                continue
            delays = backoff()
            if self.ended.is_set() and not self._changed.is_set():
                return

    async def _send(self, verdict: Object) -> None:
        if finished(self.pod):  # a final status never changes
            return
        meta = self.pod["metadata"]
        patch = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "status": status.with_foreign_conditions(verdict, self.pod),
        }
        self._take(await self._services.client.request("PATCH", f"{self._ref.path}/status", patch))

    async def _delete(self) -> None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": self._ref.uid},
        }
        await self._services.client.request("DELETE", self._ref.path, options)
        self._gone = True

    async def _refresh(self) -> None:
        """Look at the pod again: another writer was first, or it is another pod by now."""
        try:
            pod = await self._services.client.request("GET", self._ref.path)
        except Unreachable:
            return
        except Refused:
            self._gone = True
            return
        if pod["metadata"]["uid"] != self._ref.uid:
            self._gone = True
        else:
            self._take(pod)

    def _take(self, pod: Object) -> None:
        """Keep an answer, unless the watch has brought something newer meanwhile."""
        if _newer(pod, self.pod):
            self.update(pod)


def _newer(pod: Object, known: Object) -> bool:
    return int(pod["metadata"]["resourceVersion"]) > int(known["metadata"]["resourceVersion"])


def _start_time(pod: Object) -> datetime:
    known = pod.get("status", {}).get("startTime")
    return parse_time(known) if known else datetime.now(UTC)
