"""An API server, an operator and a kubelet that plays pods: the parts of a cluster that the operator is measured in."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil
import yaml

from bench import timed_operator
from bench.fake_kubelet import SCHEDULER, FakeKubelet
from bench.following import changes
from carryon_core import names
from carryon_kube import connection
from carryon_kube.client import Client
from carryon_kube.errors import AlreadyExists, ApiError, NotFound
from carryon_kube.resources import GENERATION_JOBS, NAMESPACES, Resource
from processes import free_port, kubeconfig

_CRD: Final = Path(__file__).parents[2] / "crds" / "carryon.dev_generationjobs.yaml"
_CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
OURS: Final = f"{names.MANAGED_BY}={names.MANAGED_BY_CARRYON}"
UNBOUND: Final = 1e6
"""Requests a second: as many as there can be."""


def job(name: str, units: int, parallelism: int, **spec: Any) -> dict[str, Any]:
    """A job of one stage whose pods nobody but the fake kubelet takes."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {
            "items": {"count": units},
            "parallelism": parallelism,
            "stages": [{"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}],
            "podTemplate": {"spec": {"schedulerName": SCHEDULER}},
            "retry": {"backoff": {"initial": "1s"}},
            **spec,
        },
    }


@dataclass
class Followed:
    """What a watch of the jobs has shown.

    Attributes:
        writes: Changes of jobs: nobody but the operator makes any once they are created.
        finished: Name of a job -> when it was finished, on the monotonic clock.
        jobs: As last seen.
    """

    writes: int = 0
    finished: dict[str, float] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Operator:
    """A running operator."""

    process: subprocess.Popen[bytes]
    port: int
    times: Path
    log: Path

    @property
    def rss(self) -> int:
        """Bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def reconciles(self) -> list[float]:
        """Seconds of each so far."""
        return timed_operator.read(self.times)

    def kill(self) -> None:
        """End it as a lost node would."""
        self.process.kill()
        self.process.wait(10)


@dataclass
class Bench:
    """An API server for one measurement, with a namespace of its own.

    Attributes:
        server: Its process, None where it is somebody else's.
    """

    folder: Path
    kubeconfig: Path
    client: Client
    namespace: str
    server: psutil.Process | None
    stack: AsyncExitStack
    followed: Followed = field(default_factory=Followed)

    async def start_operator(self, *arguments: str) -> Operator:
        """Start an operator; it is ready when this returns."""
        port, times, log = free_port(), self.folder / f"times-{uuid.uuid4().hex[:8]}", self.folder / "operator.log"
        process = spawn(
            log,
            *("bench.timed_operator", str(times), "--kubeconfig", str(self.kubeconfig)),
            *("--health", f"127.0.0.1:{port}", "--namespaces", self.namespace),
            *("--default-store", (self.folder / "out").as_uri(), "--file-root", str(self.folder), *arguments),
        )
        started = Operator(process, port, times, log)
        self.stack.callback(_end, process)
        return started

    async def ready(self, operator: Operator, seconds: float = 120.0) -> None:
        """Wait until an operator reconciles."""
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                assert operator.process.poll() is None, operator.log.read_text()
                with suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{operator.port}/readyz") as answer:
                        return answer.status == 200
                return False

            deadline = time.monotonic() + seconds
            while not await answers():
                assert time.monotonic() < deadline, f"the operator does not get ready: {operator.log.read_text()}"
                await asyncio.sleep(0.05)

    async def kubelet(self, seconds: float, failing: float = 0.0, selector: str = OURS) -> FakeKubelet:
        """Start to play pods."""
        kubelet = FakeKubelet(self.client, self.folder, selector, seconds=seconds, failing=failing)
        return await self.stack.enter_async_context(kubelet.playing())

    async def create(self, manifest: Mapping[str, Any]) -> None:
        """Create a job."""
        await self.client.create(GENERATION_JOBS, manifest, namespace=self.namespace)

    def cpu(self, operator: Operator) -> dict[str, float]:
        """Seconds of CPU that each part has used so far."""
        parts = {"operator": psutil.Process(operator.process.pid), "kubelet": psutil.Process()}
        if self.server is not None:
            parts["API server"] = self.server
        used = {name: process.cpu_times() for name, process in parts.items()}
        return {name: times.user + times.system for name, times in used.items()}

    async def server_version(self) -> str:
        """What the API server says that it is."""
        async with self.client.session() as session, session.get(f"{self.client.server}/version") as answer:
            return str((await answer.json()).get("gitVersion", "unknown"))

    async def follow(self) -> None:
        """Begin to watch the jobs."""
        task = asyncio.create_task(self._follow())
        self.stack.callback(task.cancel)

    async def _follow(self) -> None:
        async for event in changes(self.client, GENERATION_JOBS, namespace=self.namespace):
            if event.type in ("ADDED", "MODIFIED"):
                self._see(event.object, event.type)

    def _see(self, seen: dict[str, Any], how: str) -> None:
        name = seen["metadata"]["name"]
        self.followed.writes += how == "MODIFIED"
        self.followed.jobs[name] = seen
        for condition in (seen.get("status") or {}).get("conditions") or ():
            if (condition["type"], condition["status"]) == ("Finished", "True"):
                self.followed.finished.setdefault(name, time.monotonic())


def spawn(log: Path, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a module as a process that hears nothing of our settings."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("CARRYON_")}
    with log.open("ab") as sink:
        return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=sink, stderr=sink, env=env)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Bench]:
    """The API server that KUBECONFIG names, or a standalone one, with our CRD and a namespace of our own."""
    async with AsyncExitStack() as stack:
        given = os.environ.get("KUBECONFIG")
        process = None
        if given:
            config = Path(given)
        else:
            config, process = _standalone(folder)
            stack.callback(_end, process)
        load = partial(connection.load, str(config))
        client = await stack.enter_async_context(
            Client(load(), reload=load, qps=UNBOUND, burst=int(UNBOUND), agent="carryon-bench")
        )
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        server = psutil.Process(process.pid) if process is not None else None
        made = Bench(folder, config, client, namespace, server, stack)
        await eventually(partial(_install, client, namespace), "the API server does not take the CRD")
        stack.push_async_callback(_remove, client, namespace)
        await made.follow()
        yield made


async def eventually(holds: Callable[[], Any], what: str, seconds: float = 60.0, every: float = 0.1) -> None:
    """Wait until something holds, or has not failed.

    Raises:
        AssertionError: It does not within the time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            held = holds()
            if await held if asyncio.iscoroutine(held) else held:
                return
        except ApiError:
            if time.monotonic() >= deadline:
                raise
        assert time.monotonic() < deadline, what
        await asyncio.sleep(every)


async def _install(client: Client, namespace: str) -> bool:
    with suppress(AlreadyExists):
        await client.create(_CRDS, yaml.safe_load(_CRD.read_text(encoding="utf-8")))
    with suppress(AlreadyExists):
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    async for _ in client.list_pages(GENERATION_JOBS, namespace=namespace):
        break
    return True


async def _remove(client: Client, namespace: str) -> None:
    with suppress(ApiError, NotFound):
        await client.delete(NAMESPACES, namespace)


def _standalone(folder: Path) -> tuple[Path, subprocess.Popen[bytes]]:
    token, port = uuid.uuid4().hex, free_port()
    (folder / "server-token").write_text(token)
    process = spawn(
        folder / "server.log",
        "carryon_standalone.apiserver",
        *("--data", str(folder / "data"), "--logs-dir", str(folder), "--token-file", str(folder / "server-token")),
        *("--listen", f"127.0.0.1:{port}"),
    )
    config = folder / "kubeconfig"
    config.write_text(yaml.safe_dump(kubeconfig(f"http://127.0.0.1:{port}", token=token)))
    return config, process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
