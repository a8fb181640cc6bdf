"""A job on an API server that misbehaves, and the real reconciler on it, with its artifacts in a folder."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_kube.informer import Informer
from carryon_kube.ratelimit import Backoff
from carryon_kube.resources import PODS
from carryon_operator.config import Config
from carryon_operator.jobs import JobCache
from carryon_operator.kube.events import EventRecorder
from carryon_operator.kube.expectations import Expectations
from carryon_operator.kube.workqueue import WorkQueue
from carryon_operator.looks import Looks
from carryon_operator.metrics import Metrics
from carryon_operator.metrics.gauges import Parts, readings
from carryon_operator.notify.notifier import Notifier
from carryon_operator.notify.sending import Sender
from carryon_operator.plan.model import PodRecord
from carryon_operator.podstatus import owner_key, project
from carryon_operator.reconcile import Reconciler
from carryon_operator.replica import pod_changed
from carryon_operator.slots import Slots
from fake_apiserver import FakeApiServer, eventually

KEY = "default/reel"
SPEC: dict[str, Any] = {
    "items": {"count": 3},
    "parallelism": 3,
    "stages": [{"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}],
}

ENDED: dict[str, Any] = {
    "phase": "Failed",
    "containerStatuses": [{"name": names.CONTAINER, "state": {"terminated": {"exitCode": 1}}}],
}


@dataclass
class World:
    """A job on a server, and everything that reconciles it, with clocks that stand still until told otherwise."""

    server: FakeApiServer
    client: Client
    config: Config
    jobs: JobCache
    pods: Informer[PodRecord]
    expectations: Expectations
    recorder: EventRecorder
    metrics: Metrics
    longest: float = 20.0
    now: float = field(default_factory=time.time)
    ticks: float = 0.0
    rung: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new operator, which knows nothing of what an earlier one had in mind."""
        self.sender = Sender(
            self.client,
            allowed=self.config.notify_allow,
            proxy=None,
            page_url=None,
            clock=lambda: self.now,
            threads=4,
        )
        self.notifier = Notifier(self.sender, self.jobs, ring=lambda key: None, clock=lambda: self.now)
        self.looks = Looks(longest=self.longest)
        self.slots = Slots(
            self.config.caps, self.pods, self.expectations, ring=self.rung.append, clock=lambda: self.now
        )
        self.reconciler = Reconciler(
            config=self.config,
            client=self.client,
            jobs=self.jobs,
            pods=self.pods,
            expectations=self.expectations,
            recorder=self.recorder,
            looks=self.looks,
            notifier=self.notifier,
            slots=self.slots,
            clock=lambda: self.now,
            monotonic=lambda: self.ticks,
            metrics=self.metrics,
        )
        self.metrics.ask(partial(readings, self.parts()))

    def parts(self) -> Parts:
        """What is asked at a scrape."""
        return Parts(
            client=self.client,
            jobs=self.jobs,
            pods=self.pods,
            queue=WorkQueue(Backoff(1, 1)),
            recorder=self.recorder,
            looks=self.looks,
            notifier=self.notifier,
            slots=self.slots,
            workers=1,
            journal_bytes=self.reconciler.journal_bytes,
            leading=lambda: True,
        )

    def write(self, **fields: Any) -> None:
        """Create the job, or edit its spec."""
        known = self.server.objects.get(f"generationjobs/{KEY}", {})
        generation = known.get("metadata", {}).get("generation", 0) + 1
        self.server.put(
            "generationjobs",
            "reel",
            apiVersion=names.API_VERSION,
            kind=names.KIND,
            metadata={"generation": generation},
            spec={**known.get("spec", SPEC), **fields},
            status=known.get("status", {}),
        )
        self.ring()

    def ring(self) -> None:
        """Have the operator see the job as it is."""
        self.jobs.observe(json.loads(json.dumps(self.server.objects[f"generationjobs/{KEY}"])))

    def end(self, *units: str, code: int = 1, log: str = "", **status: Any) -> list[str]:
        """Have the pods at work on these units (or all) end, and return their names."""
        ended = []
        for pod in self.going():
            given = json.loads(pod["metadata"]["annotations"][names.ANNOTATION_UNITS])
            if units and not set(units) & set(given):
                continue
            metadata = {key: pod["metadata"][key] for key in ("labels", "annotations", "ownerReferences")}
            state = {"exitCode": code, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z"}
            container = {"name": names.CONTAINER, "state": {"terminated": state}}
            phase = "Failed" if code else "Succeeded"
            made = {"phase": phase, "containerStatuses": [container], **status}
            self.server.put("pods", pod["metadata"]["name"], metadata=metadata, spec=pod["spec"], status=made)
            self.server.logs[pod["metadata"]["name"]] = log
            ended.append(pod["metadata"]["name"])
        return ended

    async def seen(self, *ended: str) -> None:
        """Wait until the informer shows that these pods have ended."""
        await eventually(lambda: all(pod.terminal for pod in self.pods if pod.name in ended))

    async def reconcile(self) -> float | None:
        """Two seconds later: reconcile, and let the informer see what came of it."""
        self.now += 2
        self.ticks += 2
        wait = await self.reconciler.reconcile(KEY)
        await eventually(lambda: {pod.name for pod in self.pods} == {p["metadata"]["name"] for p in self.ours()})
        return wait

    def ours(self) -> list[dict[str, Any]]:
        """Pods that the informer's selector matches."""
        pods = [each for key, each in self.server.objects.items() if key.startswith("pods/")]
        return [pod for pod in pods if names.MANAGED_BY in pod["metadata"].get("labels", {})]

    def going(self) -> list[dict[str, Any]]:
        """Of those, the ones that have not ended."""
        return [pod for pod in self.ours() if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]

    def units(self) -> list[str]:
        """Units of all pods that have not ended, each as often as it is given to one."""
        given = [json.loads(pod["metadata"]["annotations"][names.ANNOTATION_UNITS]) for pod in self.going()]
        return sorted(unit for units in given for unit in units)

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.server.objects[f"generationjobs/{KEY}"]["status"])

    def claim(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        (found,) = [each for each in self.status["conditions"] if each["type"] == kind]
        return found["status"], found["reason"], found["message"]

    def events(self) -> list[str]:
        """Reasons of the Events that people see."""
        return [each["reason"] for key, each in self.server.objects.items() if key.startswith("events/")]


@asynccontextmanager
async def world(folder: Path, longest: float = 20.0, **settings: Any) -> AsyncIterator[World]:
    """A world whose artifacts go into a folder.

    Args:
        folder: Of the default store.
        longest: Seconds that a look at a bucket may take.
        settings: Further ones of the operator.
    """
    config = Config(default_store=StoreConfig(uri=folder.as_uri()), file_root=PurePosixPath(folder.parent), **settings)
    metrics = Metrics()
    async with (
        FakeApiServer().serving() as server,
        Client(Connection(server.url), observe=metrics.exchanged) as client,
    ):
        expectations = Expectations(time.monotonic)
        pods = Informer(
            client,
            PODS,
            project=project,
            owner=owner_key,
            label_selector=f"{names.MANAGED_BY}={names.MANAGED_BY_CARRYON}",
        )

        recorder = EventRecorder(client, clock=time.time)
        tasks = [asyncio.create_task(pods.run()), asyncio.create_task(recorder.run())]
        await pods.synced.wait()
        made = World(server, client, config, JobCache(), pods, expectations, recorder, metrics, longest)

        def changed(old: PodRecord | None, new: PodRecord | None) -> None:
            gone = made.reconciler.pod_gone
            pod_changed(made.jobs, expectations, lambda key, wait: None, made.slots, gone, old, new)

        pods.subscribe(changed)
        try:
            yield made
        finally:
            await made.notifier.close()
            made.sender.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
