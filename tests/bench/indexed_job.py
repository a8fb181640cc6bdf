"""The same work as an Indexed Job, on the same API server and with the same kubelet, by the Job controller."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import operating
from bench.fake_kubelet import SCHEDULER
from bench.operator_cluster import Bench, eventually, serving
from carryon_kube.errors import ApiError, NotFound
from carryon_kube.resources import Resource

JOBS: Final = Resource("batch", "v1", "jobs")
_NAME: Final = "indexed"
_PATIENCE: Final = 20.0
"""Seconds in which a Job controller would have made a pod."""


@dataclass(frozen=True)
class Made:
    """What one of the two came to; `status` are writes of the job's own object."""

    seconds: float
    creating: float
    status: int


@dataclass(frozen=True)
class Compared:
    """Both, in one run."""

    units: int
    parallelism: int
    ours: Made
    theirs: Made


async def compare(units: int, parallelism: int) -> Compared | None:
    """Make the same number of pods in both ways; None where the API server runs no Job controller."""
    theirs = await indexed(units, parallelism)
    if theirs is None:
        return None
    run = await operating.run(units, parallelism)
    ours = Made(run.seconds, run.creating, round(run.writes[2] * units))
    return Compared(units, parallelism, ours, theirs)


async def indexed(units: int, parallelism: int) -> Made | None:
    """An Indexed Job; None where the API server runs no Job controller."""
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder)) as bench:
            kubelet = await bench.kubelet(0.0, selector=f"batch.kubernetes.io/job-name={_NAME}")
            writes = _Writes(bench)
            began = time.monotonic()
            try:
                await bench.client.create(JOBS, _manifest(units, parallelism), namespace=bench.namespace)
            except NotFound:
                return None
            following = asyncio.create_task(writes.follow())
            bench.stack.callback(following.cancel)
            with suppress(AssertionError):
                await eventually(lambda: kubelet.counted.created, "no controller", _PATIENCE)
            if not kubelet.counted.created:
                return None
            await eventually(lambda: writes.ended is not None, "the Indexed Job does not end", 120 + units * 0.2)
            assert writes.ended is not None
            moments = sorted(kubelet.counted.created.values())
            return Made(writes.ended - began, (len(moments) - 1) / (moments[-1] - moments[0]), writes.count)


class _Writes:
    """How often the Job changed, and when it was complete."""

    def __init__(self, bench: Bench) -> None:
        self.count = 0
        self.ended: float | None = None
        self._bench = bench

    async def follow(self) -> None:
        client, namespace, version = self._bench.client, self._bench.namespace, "0"
        while True:
            with suppress(ApiError):
                async with client.watch(JOBS, version=version, namespace=namespace) as events:
                    async for event in events:
                        version = event.object["metadata"]["resourceVersion"]
                        self.count += event.type == "MODIFIED"
                        conditions = (event.object.get("status") or {}).get("conditions") or ()
                        if any((each["type"], each["status"]) == ("Complete", "True") for each in conditions):
                            self.ended = self.ended or time.monotonic()


def _manifest(units: int, parallelism: int) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": _NAME},
        "spec": {
            "completionMode": "Indexed",
            "completions": units,
            "parallelism": parallelism,
            "backoffLimit": units,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "schedulerName": SCHEDULER,
                    "containers": [{"name": "worker", "image": "worker", "args": ["make"]}],
                }
            },
        },
    }
