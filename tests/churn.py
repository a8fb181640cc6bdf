"""A day of an operator in two minutes: the whole of it, kopf too, while jobs, pods, buckets and watches come and go.

Run as a program, for what it measures is its own process: `python churn.py REPORT HOURS JOBS SEED`. Time passes only
while everybody waits for it (`patient_clock`). Every quarter of the day all jobs go, and what is left then is written
down: objects, threads, descriptors, watches, tasks, and what any container of the operator still holds.
"""

from __future__ import annotations

import asyncio
import collections
import errno
import gc
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import psutil
import yaml
from aiohttp import web

import faulty_s3
from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_operator import __main__ as operator
from carryon_operator.config import Address, Config
from carryon_store import StoreError, open_store
from fake_apiserver import FakeApiServer, Fault
from making import make, resolved
from patient_clock import PatientLoop
from processes import free_port, kubeconfig

STARTED_AT: Final = 1_780_000_000.0
TICK: Final = 10.0
"""Seconds between two looks of the kubelet."""
QUARTERS: Final = 4
QUIET: Final = 1_800.0
"""Seconds after the last job went: what waits for a time has had it."""
OURS: Final = ("carryon_operator", "carryon_kube", "carryon_store", "carryon_jobs", "kopf")
POD_FAULTS: Final = (429, 500, 503, 0)


@dataclass
class Reading:
    """What there is while there are no jobs.

    Attributes:
        objects: That the garbage collector follows.
        resident: Bytes.
        containers: Class and attribute -> elements, of all containers of ours that hold any.
    """

    hour: float
    objects: int
    resident: int
    threads: dict[str, int]
    descriptors: int
    watches: int
    tasks: list[str]
    containers: dict[str, int]


@dataclass
class Report:
    """What happened, and what was left after each quarter."""

    jobs: int = 0
    finished: int = 0
    pods: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    unmade: int = 0
    relists: int = 0
    watches_cut: int = 0
    faults: int = 0
    bucket_outages: int = 0
    api_outages: int = 0
    livez_failed: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    scraped: dict[str, float] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)


class Server(FakeApiServer):
    """With discovery for kopf, and a switch."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.created = 0

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Discovery, or as always."""
        if self.down:
            return web.json_response({"kind": "Status", "code": 503, "reason": "Down", "message": "away"}, status=503)
        found = _DISCOVERY.get(request.path)
        if found is not None:
            return web.json_response(found)
        return await super()._gate(request, handler)

    def _record(self, kind: str, collection: str, changed: dict[str, Any]) -> None:
        self.created += collection == "pods" and kind == "ADDED"
        super()._record(kind, collection, changed)


_VERBS: Final = ["get", "list", "watch", "create", "update", "patch", "delete"]
_GENERATION_JOBS: Final = {"name": names.PLURAL, "kind": names.KIND, "singularName": "", "namespaced": True}
_DISCOVERY: Final[dict[str, Any]] = {
    "/version": {"major": "1", "minor": "36"},
    "/api": {"versions": ["v1"]},
    "/api/v1": {
        "resources": [
            {"name": "namespaces", "kind": "Namespace", "singularName": "", "namespaced": False, "verbs": _VERBS},
            {"name": "events", "kind": "Event", "singularName": "", "namespaced": True, "verbs": _VERBS},
        ]
    },
    "/apis": {
        "groups": [
            {
                "name": names.GROUP,
                "versions": [{"version": names.VERSION}],
                "preferredVersion": {"version": names.VERSION},
            }
        ]
    },
    f"/apis/{names.API_VERSION}": {
        "resources": [
            {**_GENERATION_JOBS, "verbs": _VERBS},
            {**_GENERATION_JOBS, "name": f"{names.PLURAL}/status", "verbs": ["get", "patch", "update"]},
        ]
    },
}


class Day:
    """Everything that happens besides the operator."""

    def __init__(self, server: Server, folder: Path, closed: str, hours: float, jobs: int, seed: int) -> None:
        self.server = server
        self.folder = folder
        self.closed = closed
        self.hours = hours
        self.wanted = jobs
        self.draw = random.Random(seed)
        self.report = Report()
        self.clock = asyncio.get_running_loop().time
        self._ends: dict[str, tuple[float, str]] = {}
        self._leaves: dict[str, float] = {}
        self._store = open_store(StoreConfig(uri=(folder / "bucket").as_uri()))
        self._flaky = folder / "flaky"

    async def run(self, health: int) -> None:
        """Live through the day."""
        await asyncio.sleep(60)
        self._read()
        quarter = self.hours * 3600 / QUARTERS
        for _ in range(QUARTERS):
            ends = self.clock() + quarter - QUIET
            while self.clock() < ends:
                await asyncio.sleep(TICK)
                self._come_and_go(quarter - QUIET)
                self._misfortune()
                await self._probe(health)
            self.server.down = False
            self.server.faults.clear()
            self._open(True)
            for key, job in [item for item in self.server.objects.items() if item[0].startswith("generationjobs/")]:
                if "deletionTimestamp" not in job["metadata"]:
                    self._leave(key, job)
            while self.clock() < ends + QUIET:
                await asyncio.sleep(TICK)
                self._kubelet()
            self._read()
        await self._scrape(health)

    # Jobs.

    def _come_and_go(self, seconds: float) -> None:
        chance = self.wanted / QUARTERS / (seconds / TICK)
        if self.draw.random() < chance:
            self._job()
        self._kubelet()
        for key, at in list(self._leaves.items()):
            job = self.server.objects.get(key)
            if job is None:
                del self._leaves[key]
            elif at <= self.clock() and "deletionTimestamp" not in job["metadata"]:
                self._leave(key, job)
            elif self.draw.random() < 0.002:
                self._edit(key, job)

    def _job(self) -> None:
        number = self.report.jobs
        self.report.jobs += 1
        # Some names come back, as those of nightly jobs do.
        name = f"job-{number}" if self.draw.random() < 0.8 else f"nightly-{number % 7}"
        key = f"generationjobs/team-{number % 5}/{name}"
        if key in self.server.objects:
            return
        stage: dict[str, Any] = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
        spec: dict[str, Any] = {"items": {"count": self.draw.choice((1, 1, 2, 3))}, "parallelism": 2, "stages": [stage]}
        kind = self.draw.random()
        if kind < 0.02:
            spec["output"] = {"uri": "s3://closed/out", "endpoint": self.closed}
        elif kind < 0.2:
            spec["output"] = {"uri": self._flaky.as_uri()}
        elif kind < 0.3:
            spec["output"] = {"uri": (self.folder / "bucket").as_uri(), "onDelete": "Delete"}
        elif kind < 0.4:
            spec["ttlSecondsAfterFinished"] = 600
        elif kind < 0.45:
            spec["notify"] = [{"url": f"https://127.0.0.1:{port}/"} for port in (1, 2)]
        elif kind < 0.5:
            spec["stages"] = [{**stage, "image": "refused"}]
        self._put(key, {"generation": 1}, spec, {})
        # A bucket that refuses is asked again and again, which costs this machine more than all else.
        stays = 30.0 if kind < 0.02 else self.draw.choice((30.0, 600.0, 1200.0, 2400.0))
        self._leaves[key] = self.clock() + stays

    def _put(self, key: str, metadata: dict[str, Any], spec: dict[str, Any], status: dict[str, Any]) -> None:
        _, namespace, name = key.split("/")
        self.server.put(
            "generationjobs",
            name,
            namespace,
            apiVersion=names.API_VERSION,
            kind=names.KIND,
            metadata=metadata,
            spec=spec,
            status=status,
        )

    def _edit(self, key: str, job: dict[str, Any]) -> None:
        spec = {**job["spec"], "suspend": not job["spec"].get("suspend", False)}
        self._put(key, {"generation": job["metadata"]["generation"] + 1}, spec, job["status"])

    def _leave(self, key: str, job: dict[str, Any]) -> None:
        if job["status"].get("phase") == "Succeeded":
            self.report.finished += 1
        _, namespace, name = key.split("/")
        self.server.delete("generationjobs", name, namespace)

    # Pods.

    def _kubelet(self) -> None:
        """Run pods, and collect those whose job is gone."""
        uids = {job["metadata"]["uid"]: job for key, job in self.server.objects.items() if key[0] == "g"}
        for key, pod in [item for item in self.server.objects.items() if item[0].startswith("pods/")]:
            owner = uids.get(pod["metadata"]["ownerReferences"][0]["uid"])
            _, namespace, name = key.split("/")
            if owner is None:
                self._ends.pop(pod["metadata"]["uid"], None)
                self.server.remove("pods", name, namespace)
            elif "status" not in pod:
                self._begin(pod, name, namespace)
            elif pod["status"]["phase"] == "Running" and self._ends[pod["metadata"]["uid"]][0] <= self.clock():
                self._end(pod, name, namespace, owner)
        # Nobody reads them, and servers forget them too.
        for key in [key for key in self.server.objects if key.startswith("events/")]:
            del self.server.objects[key]

    def _begin(self, pod: dict[str, Any], name: str, namespace: str) -> None:
        fates = ("done", "failed", "evicted", "vanished")
        fate = self.draw.choices(fates, (85, 6, 5, 4))[0]
        self._ends[pod["metadata"]["uid"]] = (self.clock() + self.draw.uniform(5, 300), fate)
        self._show(pod, name, namespace, "Running", {"running": {"startedAt": self._now()}})

    def _end(self, pod: dict[str, Any], name: str, namespace: str, job: dict[str, Any]) -> None:
        _, fate = self._ends.pop(pod["metadata"]["uid"])
        self.report.ends[fate] = self.report.ends.get(fate, 0) + 1
        if fate == "vanished":
            self.server.remove("pods", name, namespace)
            return
        if fate == "done":
            try:
                self._make(pod, namespace, job)
            except StoreError:
                self.report.unmade += 1
        code = 0 if fate == "done" else 1
        state = {"terminated": {"exitCode": code, "startedAt": self._now(), "finishedAt": self._now()}}
        told = [{"type": "DisruptionTarget", "status": "True", "reason": "Eviction"}] if fate == "evicted" else []
        self._show(pod, name, namespace, "Failed" if code else "Succeeded", state, told)

    def _make(self, pod: dict[str, Any], namespace: str, job: dict[str, Any]) -> None:
        uri = job["spec"].get("output", {}).get("uri", "")
        if uri.startswith("s3:"):
            return
        store = open_store(StoreConfig(uri=uri)) if uri else self._store
        units = resolved({"metadata": job["metadata"], "spec": job["spec"]}, namespace)
        for item in json.loads(pod["metadata"]["annotations"][names.ANNOTATION_UNITS]):
            index = units.item_index(0, item)
            assert index is not None
            make(store, units, self.folder, index, {"a.txt": (b"made", "text/plain")})

    def _show(
        self, pod: dict[str, Any], name: str, namespace: str, phase: str, state: Any, conditions: Any = ()
    ) -> None:
        containers = [{"name": names.CONTAINER, "state": state}]
        status = {"phase": phase, "containerStatuses": containers, "conditions": list(conditions)}
        self.server.put("pods", name, namespace, spec=pod["spec"], status=status)

    def _now(self) -> str:
        return datetime.fromtimestamp(STARTED_AT + self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # What goes wrong.

    def _misfortune(self) -> None:
        draw, server = self.draw, self.server
        server.seen.clear()
        if draw.random() < TICK / 120:
            method, path = draw.choice((("POST", "/pods"), ("PATCH", "/status"), ("DELETE", "/pods"), ("GET", "")))
            server.faults.append(Fault(draw.choice(POD_FAULTS), method=method, path=path))
            self.report.faults += 1
        if draw.random() < TICK / 1200:
            server.drop_watches()
            self.report.watches_cut += 1
        if draw.random() < TICK / 1800:
            # What goes while nobody watches is what caches keep for ever.
            server.drop_watches()
            for key, job in [item for item in self._leaves.items() if draw.random() < 0.3]:
                if key in server.objects:
                    self._leave(key, server.objects[key])
                del job
            self._kubelet()
            server.forget_history()
            self.report.relists += 1
        if draw.random() < TICK / 7200:
            server.down = True
            server.drop_watches()
            self.report.api_outages += 1
        elif server.down and draw.random() < TICK / 300:
            server.down = False
        if draw.random() < TICK / 2400:
            self._open(False)
            self.report.bucket_outages += 1
        elif draw.random() < TICK / 300:
            self._open(True)

    def _open(self, there: bool) -> None:
        """The flaky bucket is a folder, or a link that leads nowhere but to itself."""
        away = self.folder / "flaky-away"
        if there and self._flaky.is_symlink():
            self._flaky.unlink()
            self._in_its_place(lambda: away.rename(self._flaky))
        elif not there and not self._flaky.is_symlink():
            self._flaky.mkdir(exist_ok=True)
            self._flaky.rename(away)
            self._in_its_place(lambda: self._flaky.symlink_to(self._flaky))

    def _in_its_place(self, act: Callable[[], object]) -> None:
        """Put something into the place of the flaky bucket, where a thread that writes just now makes a folder anew."""
        while True:
            try:
                act()
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                shutil.rmtree(self._flaky, ignore_errors=True)
            else:
                return

    # What is seen of the operator.

    async def _probe(self, port: int) -> None:
        if self.draw.random() < TICK / 600:
            status, text = await asyncio.to_thread(_get, port, "livez")
            if status != 200:
                self.report.livez_failed.append(f"{self.clock():.0f}: {text}")

    async def _scrape(self, port: int) -> None:
        _, text = await asyncio.to_thread(_get, port, "metrics")
        self.report.scraped = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"
        }
        self.report.pods = self.server.created

    def _read(self) -> None:
        # What the server remembers is nothing of the operator's.
        self.server.seen.clear()
        self.server.forget_history()
        for _ in range(3):
            gc.collect()
        kinds = collections.Counter(thread.name.rstrip("0123456789_-") for thread in threading.enumerate())
        process = psutil.Process()
        self.report.readings.append(
            Reading(
                hour=round(self.clock() / 3600, 2),
                objects=len(gc.get_objects()),
                resident=process.memory_info().rss,
                threads=dict(kinds),
                descriptors=process.num_fds(),
                watches=self.server.watchers,
                tasks=sorted(_name(task) for task in asyncio.all_tasks()),
                containers=dict(_containers()),
            )
        )


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "?")


def _containers() -> Iterator[tuple[str, int]]:
    """Class and attribute -> elements, over all objects of our classes and kopf's."""
    held: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    for each in gc.get_objects():
        kind = type(each)
        if not str(kind.__module__).startswith(OURS):
            continue
        kinds[f"{kind.__module__}.{kind.__qualname__}"] += 1
        attributes = dict(getattr(each, "__dict__", {}))
        for slot in getattr(kind, "__slots__", ()):
            with suppress(AttributeError):
                attributes[slot] = getattr(each, slot)
        for name, value in attributes.items():
            if isinstance(value, (dict, set, list, collections.deque)) and value:
                held[f"{kind.__module__}.{kind.__qualname__}.{name}"] += len(value)
    yield from held.items()
    yield from ((f"{kind}()", count) for kind, count in kinds.items())


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class _Tracebacks(logging.Handler):
    """Keeps what the operator logs with a traceback: a mistake of ours."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None:
            self._found.append(self.format(record)[-3000:])


async def _live(report: Path, hours: float, jobs: int, seed: int) -> None:
    loop = asyncio.get_running_loop()
    # In memory where there is such a place: stores wait for disks, and nothing is learned from that here.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as made, faulty_s3.serving(rule=_closed) as closed:
        folder = Path(made)
        server = Server()
        server.clock = lambda: STARTED_AT + loop.time()
        async with server.serving():
            day = Day(server, folder, closed, hours, jobs, seed)
            logging.getLogger().addHandler(_Tracebacks(day.report.tracebacks))
            (folder / "flaky").mkdir()
            (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig(server.url)))
            config = Config(
                kubeconfig=str(folder / "kubeconfig"),
                default_store=StoreConfig(uri=(folder / "bucket").as_uri()),
                file_root=PurePosixPath(folder),
                health=Address("127.0.0.1", free_port()),
            )
            assert config.health is not None
            running = asyncio.create_task(
                operator.run(config, clock=lambda: STARTED_AT + loop.time(), monotonic=loop.time)
            )
            living = asyncio.create_task(day.run(config.health.port))
            await asyncio.wait([running, living], return_when=asyncio.FIRST_COMPLETED)
            ended = running if running.done() else living
            if ended is running or ended.exception() is not None:
                # Not by the way out of here: kopf ends processes that take long to end, and time is short here.
                logging.critical("the day ended early", exc_info=ended.exception())
                os._exit(1)
            report.write_text(json.dumps(asdict(day.report)))
            signal.raise_signal(signal.SIGTERM)
            await running


def _closed(_: Any) -> tuple[int, bytes]:
    return 403, faulty_s3.xml_error("AccessDenied")


def main() -> None:
    """Live through a day, and report."""
    report, hours, jobs, seed = sys.argv[1:]
    logging.basicConfig(level=os.environ.get("CHURN_LOG", "ERROR"))
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "carryon")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "carryoncarryon")
    with asyncio.Runner(loop_factory=PatientLoop) as runner:
        runner.run(_live(Path(report), float(hours), int(jobs), int(seed)))


if __name__ == "__main__":
    main()
