"""Plays pods: says that they run, leaves in the bucket what a worker would, and says that they have ended.

One for the whole cluster, without nodes: the pods name a scheduler that there is not, so nobody else takes them, and a
pod that is deleted is gone at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.following import changes
from carryon_core import layout, names
from carryon_core.done import Artifact, Done, Timings
from carryon_core.messages import AssignedUnit, Assignment, ExitCode, Termination, UnitOutcome, UnitReport
from carryon_kube.client import Client, WatchEvent
from carryon_kube.errors import NotFound
from carryon_kube.resources import PODS
from carryon_store.opening import open_store
from carryon_store.units import File, publish

SCHEDULER: Final = "carryon-bench"
_ARTIFACT: Final = b"0123456789abcdef" * 64
_THREADS: Final = 4
"""That publish: fsync lets others work meanwhile."""


@dataclass
class Counted:
    """What was seen of pods.

    Attributes:
        created: When each pod was first seen, on the monotonic clock, by uid.
        deleted: Pods that are gone.
        ended: That the kubelet ended.
    """

    created: dict[str, float]
    deleted: int = 0
    ended: int = 0


class FakeKubelet:
    """Follows the pods of a selector and plays them."""

    def __init__(self, client: Client, folder: Path, selector: str, *, seconds: float, failing: float = 0.0) -> None:
        """Prepare.

        Args:
            client: Of the API server; its rate is the kubelet's own.
            folder: For the artifacts, until they are published.
            selector: Of labels of its pods.
            seconds: That a pod works; infinite: until `finish` or `lose`.
            failing: Share of units whose first attempt fails.
        """
        self.counted = Counted({})
        self._client = client
        self._selector = selector
        self._seconds = seconds
        self._failing = failing
        self._artifact = folder / "artifact"
        self._artifact.write_bytes(_ARTIFACT)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kubelet")
        self._working: dict[str, dict[str, Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[FakeKubelet]:
        """Play while the context lasts."""
        follow = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            follow.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait([follow, *self._tasks])
            self._threads.shutdown()

    @property
    def working(self) -> int:
        """Pods that were said to run and have not ended."""
        return len(self._working)

    async def finish(self, count: int) -> None:
        """Let so many pods end well, now."""
        await self._each(count, self._succeed)

    async def lose(self, count: int) -> None:
        """Have so many pods end as if their nodes were drained."""
        drained = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}

        async def lose(pod: dict[str, Any]) -> None:
            await self._end(pod, ExitCode.INTERRUPTED, conditions=[drained])

        await self._each(count, lose)

    async def _each(self, count: int, do: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        chosen = random.Random(0).sample(sorted(self._working), min(count, len(self._working)))
        await asyncio.gather(*(do(self._working.pop(uid)) for uid in chosen))

    async def _follow(self) -> None:
        async for event in changes(self._client, PODS, label_selector=self._selector):
            self._take(event)

    def _take(self, event: WatchEvent) -> None:
        if event.type == "ADDED":
            self.counted.created[event.object["metadata"]["uid"]] = time.monotonic()
            task = asyncio.create_task(self._play(event.object))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif event.type == "DELETED":
            self._working.pop(event.object["metadata"]["uid"], None)
            self.counted.deleted += 1

    async def _play(self, pod: dict[str, Any]) -> None:
        pod["started"] = _now()
        await self._say(pod, "Running", {"running": {"startedAt": pod["started"]}})
        self._working[pod["metadata"]["uid"]] = pod
        if self._seconds == float("inf"):
            return
        await asyncio.sleep(self._seconds)
        if self._working.pop(pod["metadata"]["uid"], None) is None:
            return
        if self._fails(pod):
            await self._end(pod, ExitCode.SOME_FAILED, reason="GeneratorFailed")
        else:
            await self._succeed(pod)

    def _fails(self, pod: dict[str, Any]) -> bool:
        annotations = pod["metadata"].get("annotations") or {}
        if annotations.get(names.ANNOTATION_ATTEMPT) != "1":
            return False
        return random.Random(pod["metadata"]["name"]).random() < self._failing

    async def _succeed(self, pod: dict[str, Any]) -> None:
        if names.LABEL_JOB in (pod["metadata"].get("labels") or {}):
            await asyncio.get_running_loop().run_in_executor(self._threads, self._publish, pod)
        await self._end(pod, ExitCode.DONE)

    def _publish(self, pod: dict[str, Any]) -> None:
        """Leave in the bucket what a worker would, by its own library."""
        assigned = _assignment(pod)
        store = open_store(assigned.store)
        for unit in assigned.units:
            prefix = layout.unit_prefix(assigned.namespace, assigned.job, assigned.stage, unit.item, unit.fingerprint)
            made = [File("made.bin", self._artifact)]

            def describe(artifacts: list[Artifact], unit: AssignedUnit = unit) -> Done:
                return Done(
                    fingerprint=unit.fingerprint,
                    stage=assigned.stage,
                    item=unit.item,
                    artifacts=artifacts,
                    seed=unit.seed,
                    timings=Timings(generate=1.0),
                    attempt=assigned.attempt,
                    pod=pod["metadata"]["name"],
                    pod_uid=pod["metadata"]["uid"],
                    finished=_now(),
                )

            publish(store, prefix, made, describe)

    async def _end(self, pod: dict[str, Any], code: ExitCode, *, reason: str = "", **status: Any) -> None:
        told = Termination(reason=reason or "Completed")
        if code is ExitCode.SOME_FAILED:
            reports = [UnitReport(index=0, outcome=UnitOutcome.FAILED, reason=reason, message="told to fail")]
            told = Termination(reason=reason, units=reports)
        ended = {
            "exitCode": int(code),
            "reason": "Error" if code else "Completed",
            "startedAt": pod["started"],
            "finishedAt": _now(),
            "message": told.encode(),
        }
        await self._say(pod, "Failed" if code else "Succeeded", {"terminated": ended}, **status)
        self.counted.ended += 1

    async def _say(self, pod: dict[str, Any], phase: str, state: dict[str, Any], **status: Any) -> None:
        metadata = pod["metadata"]
        container = {
            "name": pod["spec"]["containers"][0]["name"],
            "image": "worker",
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        told = {"phase": phase, "containerStatuses": [container], **status}
        with suppress(NotFound):
            await self._client.patch(
                PODS, metadata["name"], {"status": told}, namespace=metadata["namespace"], subresource="status"
            )


def _assignment(pod: dict[str, Any]) -> Assignment:
    env = {each["name"]: each.get("value", "") for each in pod["spec"]["containers"][0]["env"]}
    return Assignment.model_validate(json.loads(env[names.ENV_ASSIGNMENT]))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
