"""The pods of this node: taken over from the API server, run, and cleared away when they are gone.

A node that starts ends what an earlier one left running before anything else, and gives the pods of those processes
the verdict of a node that went down. So no container ever runs twice, and no verdict is lost.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

from carryon_standalone.node import status
from carryon_standalone.node.pods import Object, PodRef, deleting, finished, grace_seconds, was_started
from carryon_standalone.node.podworker import PodWorker
from carryon_standalone.node.processes import end_all
from carryon_standalone.node.records import PodFolder
from carryon_standalone.node.sandbox import Services, pod_ip

log = logging.getLogger(__name__)

_LAST_REPORT: Final = 3.0
"""Seconds that a node which goes down tries to report; what is not reported is on disk for the next start."""


class Kubelet:
    """Keeps one worker for every pod of the node that has not ended."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._data = services.config.data
        self._pods: dict[str, Object] = {}
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._verdicts: dict[str, Object] = {}
        self._settled: set[str] = set()
        self._leaving = False

    async def recover(self) -> None:
        """End what an earlier node left running, and give its pods their verdicts. Comes before everything else."""
        (self._data / "pods").mkdir(parents=True, exist_ok=True)
        (self._data / "logs").mkdir(exist_ok=True)
        folders = PodFolder.all(self._data)
        for folder in folders:
            for container, identity in folder.processes().items():
                await end_all(identity, folder.marker(container))
        await end_all(None, str(self._data / "pods"))
        if self._services.limits is not None:
            self._services.limits.clear()
        for folder in folders:
            kept = folder.load_status()
            if kept is None or not folder.processes():
                continue  # nothing of it was ever started: it starts as if it were new
            verdict = status.lost(folder.load_pod(), kept, datetime.now(UTC))
            folder.save_status(verdict)
            folder.remove_scratch()
            self._verdicts[folder.ref.uid] = verdict

    def synchronize(self, pods: Collection[Object]) -> None:
        """These are all pods of this node: what is kept of any other is cleared away."""
        uids = {pod["metadata"]["uid"] for pod in pods}
        for uid in set(self._pods) - uids:
            self.remove(uid)
        for pod in pods:
            self.observe(pod)
        known = uids | set(self._workers)
        for path in (self._data / "pods").iterdir():
            if path.name not in known:
                shutil.rmtree(path)
        for path in (self._data / "logs").iterdir():
            if path.name.rpartition("_")[2] not in known:
                shutil.rmtree(path)

    def observe(self, pod: Object) -> None:
        """A pod of this node appeared or changed."""
        uid = pod["metadata"]["uid"]
        self._pods[uid] = pod
        if uid in self._workers:
            self._workers[uid].update(pod)
        elif not self._leaving:
            self._admit(uid, pod)

    def _admit(self, uid: str, pod: Object) -> None:
        reported = uid in self._settled or finished(pod)
        if reported and not deleting(pod):
            return
        verdict = self._verdicts.get(uid)
        if verdict is None and (finished(pod) or was_started(pod.get("status", {}))):
            # An earlier node started it, and the data folder with its records was removed.
            verdict = status.lost(pod, pod["status"], datetime.now(UTC))
        folder = PodFolder(self._data, PodRef.of(pod))
        if verdict is None:
            folder.create(pod)
        address = pod_ip(uid, {worker.ip for worker in self._workers.values()})
        worker = PodWorker(pod, folder, address, self._services, verdict)
        self._workers[uid] = worker
        self._tasks[uid] = asyncio.create_task(self._work(uid, worker))
        worker.update(pod)

    async def _work(self, uid: str, worker: PodWorker) -> None:
        """One worker until its verdict has arrived; its own failure is the end of one pod, not of the node."""
        try:
            await worker.run()
        except Exception as error:
            log.error("pod %s ended by a failure of the node itself", uid, exc_info=error)
            verdict = status.lost(worker.pod, worker.verdict or worker.pod["status"], datetime.now(UTC))
            worker = PodWorker(worker.pod, worker.folder, worker.ip, self._services, verdict)
            self._workers[uid] = worker
            await worker.run()
        del self._workers[uid], self._tasks[uid]
        if uid not in self._pods:
            worker.folder.remove()
            return
        self._settled.add(uid)
        if worker.verdict is not None:
            self._verdicts[uid] = worker.verdict
        self.observe(self._pods[uid])  # a deletion may have come in the last moment

    def remove(self, uid: str) -> None:
        """A pod's object is gone: end its processes, then forget it."""
        pod = self._pods.pop(uid, None)
        self._verdicts.pop(uid, None)
        self._settled.discard(uid)
        if uid in self._workers:
            self._workers[uid].forget()
        elif pod is not None:
            PodFolder(self._data, PodRef.of(pod)).remove()

    def evict(self, message: str) -> None:
        """End every pod, each in its own grace period: the node runs out of something."""
        for worker in self._workers.values():
            worker.stop(status.evicted(message), grace_seconds(worker.pod))

    async def shutdown(self) -> None:
        """The node goes down: end every pod within a bounded time, and report as far as the API server is there."""
        self._leaving = True
        longest = self._services.config.shutdown_grace
        workers, tasks = list(self._workers.values()), list(self._tasks.values())
        for worker in workers:
            worker.stop(status.SHUTDOWN, min(grace_seconds(worker.pod), longest))
        endings = [asyncio.create_task(worker.ended.wait()) for worker in workers]
        if endings:
            await asyncio.wait(endings, timeout=longest + _LAST_REPORT)
            await asyncio.wait(tasks, timeout=_LAST_REPORT)
        for task in (*endings, *tasks):
            task.cancel()
        await asyncio.gather(*endings, *tasks, return_exceptions=True)
