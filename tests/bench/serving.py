"""What the standalone API server does on one core: writes while it is watched, memory, how soon it is ready."""

from __future__ import annotations

import asyncio
import os
import selectors
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil

from bench import api_load, measuring
from bench.api_load import PODS, Address, Watcher
from carryon_standalone import credentials
from carryon_standalone.apiserver import layout
from carryon_standalone.home import Home

_WRITERS: Final = 20
_IMPORTS: Final = "import asyncio, sqlite3, ssl, aiohttp.web, orjson"
"""What any server of this kind has to load, without a line of ours."""
_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Written:
    """Writes on one server for some seconds.

    Attributes:
        rate: Acknowledged writes a second.
        latencies: Seconds of each.
        cpu: Share of its core that the server used.
        behind: Seconds from the last acknowledgement until every watcher had every event.
        sent: Bytes a second to all watchers together.
    """

    watchers: int
    rate: float
    latencies: Sequence[float]
    cpu: float
    behind: float
    sent: float


@dataclass(frozen=True)
class Stored:
    """A server that holds pods which run.

    Attributes:
        size: Bytes of one as JSON.
        rss: Bytes of the server when they were all created, and `after` a restart.
        ready: Seconds of that restart.
    """

    pods: int
    size: int
    rss: int
    after: int
    ready: float


class Server:
    """The API server as `carryon up` starts it, with TLS, on a core that nothing else of ours uses."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        credentials.ensure(self._home)
        self._trusted = ssl.create_default_context(cafile=str(self._home.authority))

    @contextmanager
    def running(self) -> Iterator[tuple[Address, psutil.Process, float]]:
        """Its address, its process, and the seconds until it was ready."""
        home = self._home
        command = [sys.executable, "-m", "carryon_standalone.apiserver", "--data", str(home.root / "data")]
        command += ["--logs-dir", str(home.root / "logs"), "--token-file", str(home.token)]
        command += ["--tls-file", str(home.certificate)]
        with _first_word(command) as (process, said, took):
            port = urlsplit(said.removeprefix("serving on ").strip()).port
            assert port is not None, said
            yield Address(port, home.token.read_text().strip(), self._trusted), psutil.Process(process.pid), took


def cores() -> tuple[int, int]:
    """The server's core and its clients', which are the same where there is but one."""
    there = sorted(psutil.Process().cpu_affinity())
    return there[0], there[-1]


@contextmanager
def _on(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _first_word(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """A process on the server's core, the line that it said first, and after how many seconds."""
    with _on(cores()[0]):
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as output:
                output.register(process.stdout, selectors.EVENT_READ)
                assert output.select(_PATIENCE), f"{command} said nothing within {_PATIENCE:.0f} s"
            said, took = process.stdout.readline(), time.perf_counter() - began
            assert said, f"{command} ended without a word"
            yield process, said, took
        finally:
            process.terminate()


def starts(times: int) -> tuple[list[float], list[float]]:
    """Seconds until an empty server was ready, and until Python had loaded what any would need, in turn."""
    ours, bare = [], []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder, Server(Path(folder)).running() as (_, _, took):
            ours.append(took)
        with _first_word([sys.executable, "-c", f"{_IMPORTS}; print('loaded', flush=True)"]) as (_, _, took):
            bare.append(took)
    return ours, bare


def commits(size: int, seconds: float) -> float:
    """Objects a second that SQLite alone commits one by one, as durably as the server, on its core and on its disk."""
    value, count = os.urandom(size), 0
    with tempfile.TemporaryDirectory() as folder, _on(cores()[0]):
        database = layout.open_database(Path(folder) / "bare.db")
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            _commit(database, f"pod-{count % 100}", value)
            count += 1
        database.close()
    return count / seconds


def _commit(database: sqlite3.Connection, name: str, value: bytes) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT OR REPLACE INTO objects VALUES ('/pods', 'default', ?, ?)", (name, value))
    database.execute("COMMIT")


def writes(watchers: int, seconds: float) -> Written:
    """Lives of pods, one after the other by each of twenty writers, while so many watch every pod."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder)).running() as (address, process, _),
        _on(cores()[1]),
    ):
        return asyncio.run(_writes(address, process, watchers, seconds))


async def _writes(address: Address, process: psutil.Process, watchers: int, seconds: float) -> Written:
    template = api_load.pod_template()
    lines = [await address.connect() for _ in range(_WRITERS)]

    async def live(line: api_load.Line, prefix: str, until: float) -> None:
        count = 0
        while time.perf_counter() < until:
            await api_load.start(line, template, f"{prefix}-{count}")
            await api_load.end(line, f"{prefix}-{count}")
            count += 1

    async with api_load.watching(address, PODS, watchers) as open_:
        before, began = process.cpu_times(), time.perf_counter()
        await asyncio.gather(*(live(line, f"pod-{number}", began + seconds) for number, line in enumerate(lines)))
        spent, after = time.perf_counter() - began, process.cpu_times()
        latencies = [took for line in lines for took in line.latencies]
        behind = await _caught_up(open_, len(latencies))
        sent = sum(each.received for each in open_) / (spent + behind)
    for line in lines:
        line.close()
    cpu = (after.user + after.system - before.user - before.system) / spent
    return Written(watchers, len(latencies) / spent, latencies, cpu, behind, sent)


async def _caught_up(watchers: Sequence[Watcher], events: int) -> float:
    """Seconds until all have had every event, and none twice."""
    began = time.perf_counter()
    while any(each.events < events for each in watchers):
        assert not any(each.lost for each in watchers), "the server ended a watch"
        had = sorted({each.events for each in watchers})
        assert time.perf_counter() < began + _PATIENCE, f"of {events} events watchers had {had}"
        await asyncio.sleep(0.01)
    assert all(each.events == events for each in watchers), "a watcher had an event twice"
    return time.perf_counter() - began


def stored(pods: int) -> Stored:
    """Create pods that run, as the operator, the scheduler and a kubelet would, and start anew."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        with server.running() as (address, process, _):
            with _on(cores()[1]):
                size = asyncio.run(_fill(address, pods))
            rss = process.memory_info().rss
        with server.running() as (_, process, ready):
            return Stored(pods, size, rss, process.memory_info().rss, ready)


async def _fill(address: Address, pods: int) -> int:
    template = api_load.pod_template()

    async def fill(writer: int) -> None:
        line = await address.connect()
        for index in range(writer, pods, _WRITERS):
            await api_load.start(line, template, f"pod-{index}")
        line.close()

    await asyncio.gather(*(fill(writer) for writer in range(_WRITERS)))
    line = await address.connect()
    size = len(await line.ask("GET", f"{PODS}/pod-0"))
    line.close()
    return size


def report(quick: bool) -> Iterator[str]:
    """Tables: how soon it is ready, what it writes, what it holds."""
    began, bare = starts(1 if quick else 5)
    held = stored(40 if quick else 10_000)
    yield _ready_table(began, bare, held)
    alone = commits(held.size, 0.2 if quick else 3.0)
    yield _writes_table([writes(count, 0.2 if quick else 10.0) for count in ((0, 3) if quick else (0, 10, 50))], alone)
    row = (f"{held.pods:,}", f"{held.size / 1000:.1f} kB", f"{held.rss / 1e6:.0f} MB", f"{held.after / 1e6:.0f} MB")
    yield measuring.table(("pods stored", "of each", "memory", "after a restart"), [row])


def _ready_table(began: Sequence[float], bare: Sequence[float], held: Stored) -> str:
    half, most = measuring.percentile(began, 0.5), max(began)
    loaded = measuring.percentile(bare, 0.5)
    rows = [
        ("Python and the libraries that any such server loads", f"{loaded:.2f} s", f"{max(bare):.2f} s", "1.0"),
        ("the API server, nothing stored", f"{half:.2f} s", f"{most:.2f} s", f"{half / loaded:.1f}"),
        (f"the API server, {held.pods:,} pods stored", f"{held.ready:.2f} s", "", f"{held.ready / loaded:.1f}"),
    ]
    return measuring.table(("from start to ready", "p50", "max", "ratio"), rows)


def _writes_table(runs: Sequence[Written], alone: float) -> str:
    rows = [("SQLite alone, one by one", f"{alone:.0f}", "1.0", "", "", "", "", "", "")]
    for run in runs:
        half, most = (measuring.percentile(run.latencies, share) * 1000 for share in (0.5, 0.99))
        rows.append(
            (
                f"{run.watchers} watchers",
                f"{run.rate:.0f}",
                f"{run.rate / alone:.1f}",
                f"{run.cpu:.0%}",
                f"{run.rate / run.cpu:.0f}",
                f"{half:.0f} ms",
                f"{most:.0f} ms",
                f"{run.behind * 1000:.0f} ms",
                f"{run.sent / 1e6:.0f} MB/s",
            )
        )
    head = ("", "writes/s", "ratio", "CPU", "writes/CPU second", "p50", "p99", "watchers behind", "sent to them")
    return measuring.table(head, rows)
