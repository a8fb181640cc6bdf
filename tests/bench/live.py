"""What open pages cost the API: one process on one core, and how far behind the cluster its pages are."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

import psutil

from bench import measuring
from bench.live_cluster import LiveCluster

_CHANGED: Final = re.compile(rb'"message":"t=([0-9.]+)"')
_STEP: Final = re.compile(rb'"step":([0-9]+)')
_READ: Final = 1 << 20
LOOKING: Final = 10
"""Of so many pages one looks at what it is sent: looking costs more than sending does."""
_SERVING: Final = re.compile(r"http://127\.0\.0\.1:([0-9]+)")


@dataclass
class Heard:
    """What all pages heard while it was measured.

    Attributes:
        lags: Seconds from a change in the cluster to each page that showed it.
        stale: Seconds that a page's step was behind its worker's, at worst: just before it moved on.
    """

    lags: list[float] = field(default_factory=list)
    stale: list[float] = field(default_factory=list)
    received: int = 0
    lost: int = 0
    listening: bool = False
    over: bool = False


@dataclass(frozen=True)
class Cost:
    """One row: what was asked, what it took, how far behind the pages were."""

    pages: int
    changes: int
    cpu: float
    memory: int
    heard: Heard
    seconds: float


async def measure(pages: int, jobs: int, rate: int, seconds: float, *, closely: bool = False) -> Cost:
    """Measure one row.

    Args:
        pages: That are open.
        jobs: In the cluster.
        rate: Changes a second, of jobs in turn.
        seconds: How long.
        closely: Each page looks at a job of its own, with a worker that makes two steps a second.
    """
    cluster, heard = LiveCluster(jobs, pages if closely else 0), Heard()
    with tempfile.TemporaryDirectory() as folder:
        async with cluster.serving(Path(folder)) as kubeconfig, _api(kubeconfig) as (port, process):
            open_ = [
                await _open(port, f"?job=team-{n % 10}/reel-{n}" if closely else "", cluster, heard, n % LOOKING == 0)
                for n in range(pages)
            ]
            # Steps go on and on: there it is never quiet.
            await (asyncio.sleep(3.0) if closely else _settled(heard))
            heard.received = 0
            heard.listening = True
            before, began = process.cpu_times(), time.monotonic()
            changed = await _change(cluster, jobs, rate, began + seconds)
            spent, after = time.monotonic() - began, process.cpu_times()
            await asyncio.sleep(0.5)
            memory, heard.over = process.memory_info().rss, True
            for page in open_:
                page.close()
    assert not heard.lost, f"the API ended {heard.lost} pages"
    cpu = (after.user + after.system - before.user - before.system) / spent
    return Cost(pages, round(changed / spent), cpu, memory, heard, spent)


def report(quick: bool, show: Callable[[str], None]) -> None:
    """Measure, and show two tables."""
    seconds, pages, jobs = (1.0, 5, 50) if quick else (8.0, 100, 1000)
    rates = (20,) if quick else (100, 300, 1000)
    rows = []
    for count, rate in [(0, rates[-1]), *((pages, rate) for rate in rates)]:
        cost = asyncio.run(measure(count, jobs, rate, seconds))
        rows.append((f"{count}", f"{cost.changes}", *_spent(cost), *_behind(cost.heard.lags), _megabytes(cost)))
    head = ("pages", "changes/s", "CPU", "memory", "behind p50", "p99", "max", "sent")
    show(measuring.table(head, rows))
    rows = []
    for rate in rates[:1] if quick else (0, 100):
        cost = asyncio.run(measure(pages, jobs, rate, max(seconds, 3.0), closely=True))
        rows.append((f"{pages}", f"{cost.changes}", *_spent(cost), *_behind(cost.heard.stale)))
    show(measuring.table(("pages, each on a job", "changes/s", "CPU", "memory", "step behind p50", "p99", "max"), rows))


def _spent(cost: Cost) -> tuple[str, str]:
    return f"{cost.cpu:.0%}", f"{cost.memory / 2**20:.0f} MiB"


def _behind(lags: Sequence[float]) -> tuple[str, str, str]:
    if not lags:
        return "-", "-", "-"
    half, most = measuring.percentile(lags, 0.5), measuring.percentile(lags, 0.99)
    return f"{half:.2f} s", f"{most:.2f} s", f"{max(lags):.2f} s"


def _megabytes(cost: Cost) -> str:
    return f"{cost.heard.received / cost.seconds / 1e6:.0f} MB/s"


async def _settled(heard: Heard) -> None:
    """Wait until all pages have all there is."""
    before, deadline = -1, time.monotonic() + 60
    while before != heard.received:
        assert time.monotonic() < deadline, "the pages do not get what there is within a minute"
        before = heard.received
        await asyncio.sleep(1.0)


async def _open(port: int, path: str, cluster: LiveCluster, heard: Heard, looks: bool) -> _Page:
    loop = asyncio.get_running_loop()
    _, page = await loop.create_connection(lambda: _Page(path, cluster, heard, looks=looks), "127.0.0.1", port)
    return page


async def _change(cluster: LiveCluster, jobs: int, rate: int, until: float) -> int:
    """Change jobs in turn, as often as it should be by now; how often."""
    began, changed = time.monotonic(), 0
    while (now := time.monotonic()) < until:
        while changed < (now - began) * rate:
            await cluster.change(changed % jobs)
            changed += 1
        await asyncio.sleep(0.01)
    return changed


class _Page(asyncio.BufferedProtocol):
    """One open page: takes all it is sent, into one buffer for all pages, and may note how old it is."""

    buffer: ClassVar[bytearray] = bytearray(_READ)

    def __init__(self, path: str, cluster: LiveCluster, heard: Heard, *, looks: bool) -> None:
        self._request = f"GET /api/v1/events{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n"
        self._cluster = cluster
        self._heard = heard
        self._looks = looks
        self._step = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request.encode())

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard.received += nbytes
        if not self._looks:
            return
        now, piece = time.monotonic(), memoryview(self.buffer)[:nbytes]
        for found in _STEP.findall(piece):
            if self._heard.listening and self._step and int(found) > self._step:
                self._heard.stale.append(max(now - self._cluster.moment_of(self._step + 1), 0.0))
            self._step = int(found)
        if self._heard.listening:
            self._heard.lags += [now - float(found) for found in _CHANGED.findall(piece)]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._heard.over:
            self._heard.lost += 1

    def close(self) -> None:
        self._transport.abort()


async def _asked(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


@asynccontextmanager
async def _api(kubeconfig: Path) -> AsyncIterator[tuple[int, psutil.Process]]:
    """The API on a core of its own, and we on another where there is one; its port."""
    arguments = ["--kubeconfig", str(kubeconfig), "--port", "0", "--standalone", "true"]
    limits = ["--requests-per-second", "10000", "--burst", "10000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "carryon_api", *arguments, *limits], stdout=subprocess.PIPE, text=True
    )
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process.pid, {cores[0]})
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[1:]))
    try:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        match = _SERVING.search(line)
        assert match is not None, f"the API did not come up: {line}"
        port = int(match[1])
        while not (await _asked(port, "/readyz")).startswith(b"HTTP/1.1 200"):
            await asyncio.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        os.sched_setaffinity(0, set(cores))
        process.terminate()
        await asyncio.to_thread(process.wait, 15)
        assert process.stdout is not None
        process.stdout.close()
