"""The operator as a process, against the API server of the standalone plane: start, doorbell, outages, end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from carryon_core import names
from carryon_kube.client import Client
from carryon_kube.connection import Connection
from carryon_kube.resources import GENERATION_JOBS
from carryon_operator.jobs import JobCache
from fake_apiserver import FakeApiServer
from processes import free_port, kubeconfig, until

CRD = Path(__file__).parents[2] / "crds" / "carryon.dev_generationjobs.yaml"
JOBS = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"


def job(name: str) -> dict[str, Any]:
    stage = {"name": "clip", "generate": {"command": {"args": ["true"]}}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"items": {"count": 2}, "stages": [stage]},
    }


@dataclass
class World:
    """An API server and an operator, each a process; the server keeps its address over restarts."""

    folder: Path
    port: int = field(default_factory=free_port)
    health: int = field(default_factory=free_port)
    token: str = "secret"
    server: subprocess.Popen[bytes] | None = None
    operator: subprocess.Popen[bytes] | None = None

    def start_server(self) -> None:
        token = self.folder / "server-token"
        token.write_text(self.token)
        self.server = self.run(
            "carryon_standalone.apiserver",
            *("--data", str(self.folder / "data"), "--logs-dir", str(self.folder), "--token-file", str(token)),
            *("--listen", f"127.0.0.1:{self.port}"),
        )
        until(lambda: self.answers(self.port, "/healthz"))

    def give_operator_the_token(self) -> None:
        # With the line break that files written by people have.
        (self.folder / "token").write_text(f"{self.token}\n")

    def start_operator(self) -> None:
        self.give_operator_the_token()
        config = kubeconfig(f"http://127.0.0.1:{self.port}", tokenFile=str(self.folder / "token"))
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))
        self.operator = self.run(
            "carryon_operator",
            *("--kubeconfig", str(self.folder / "kubeconfig"), "--health", f"127.0.0.1:{self.health}"),
            *("--default-store", (self.folder / "output").as_uri(), "--file-root", str(self.folder)),
        )

    def run(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stderr=log,
                stdout=log,
                env={key: value for key, value in os.environ.items() if not key.startswith("CARRYON_")},
            )

    def stop_server(self) -> None:
        assert self.server is not None
        self.server.terminate()
        self.server.wait(10)

    def stop_operator(self) -> tuple[int, float]:
        """Exit code, and seconds it took."""
        assert self.operator is not None
        started = time.monotonic()
        self.operator.send_signal(signal.SIGTERM)
        return self.operator.wait(20), time.monotonic() - started

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def log(self) -> str:
        return (self.folder / "carryon_operator.log").read_text()

    def answers(self, port: int, path: str) -> bool:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.HTTPError, OSError):
            return False

    def ready(self) -> bool:
        return self.answers(self.health, "/readyz")

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={**self.headers, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def install_crd(self) -> None:
        self.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(CRD.read_text()))

    def pods(self) -> int:
        return len(self.ask("GET", "/api/v1/pods")["items"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.start_server()
    try:
        yield made
    finally:
        for process in (made.operator, made.server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(10)


def test_it_waits_for_its_crd_then_rings_for_jobs_survives_an_outage_and_ends_in_time(world: World) -> None:
    world.start_operator()
    until(lambda: world.answers(world.health, "/livez"))
    until(lambda: "install the CRD" in world.log)
    assert not world.ready()

    world.install_crd()
    until(world.ready)
    world.ask("POST", JOBS, job("first"))
    until(lambda: world.pods() > 0)

    world.stop_server()
    until(lambda: "trying again" in world.log)
    world.start_server()
    before = world.pods()
    world.ask("POST", JOBS, job("second"))
    until(lambda: world.pods() > before, 60)
    world.ask("DELETE", f"{JOBS}/first")
    assert "Traceback" not in world.log

    probe = http.client.HTTPConnection("127.0.0.1", world.health)
    probe.request("GET", "/livez")  # And kept open, as monitoring does.
    assert probe.getresponse().read() == b"ok\n"
    code, seconds = world.stop_operator()
    probe.close()
    assert code == 0, world.log
    assert seconds < 3
    assert "Traceback" not in world.log


def test_a_restart_finds_what_there_is_within_seconds(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.install_crd()
    for number in range(20):
        world.ask("POST", JOBS, job(f"job-{number}"))
    started = time.monotonic()
    world.start_operator()
    until(lambda: world.pods() > 0)
    first = time.monotonic() - started
    until(lambda: world.pods() >= 20)
    assert world.operator is not None
    memory = psutil.Process(world.operator.pid).memory_info().rss // 2**20
    with capsys.disabled():
        print(f"\nstart to first pod: {first:.1f} s; {memory} MiB with 20 jobs")
    assert first < 10
    code, seconds = world.stop_operator()
    assert (code, seconds < 3) == (0, True), world.log


def test_a_server_that_is_away_at_the_start_is_waited_for(world: World) -> None:
    world.install_crd()
    world.stop_server()
    world.start_operator()
    until(lambda: "trying again" in world.log)
    world.start_server()
    until(world.ready)


def test_who_is_told_to_end_while_nothing_is_known_yet_leaves_nothing_unfinished(world: World) -> None:
    world.start_operator()
    until(lambda: "install the CRD" in world.log)
    code, _ = world.stop_operator()
    assert code == 0, world.log
    assert "in the middle of something" not in world.log


FAILS_BESIDE_A_BUCKET_THAT_HANGS = """
import threading
from carryon_core.messages import StoreConfig
from carryon_kube.informer import Informer
from carryon_operator import replica
from carryon_operator.__main__ import main

class Hanging(replica.Looks):
    def __init__(self, **given):
        super().__init__(**given)
        self.start(StoreConfig(uri="s3://hangs"), threading.Event().wait)

async def fail(self):
    raise RuntimeError("nobody foresaw this")

replica.Looks, Informer.run = Hanging, fail
main()
"""


def test_a_failure_ends_the_process_although_a_bucket_hangs(world: World) -> None:
    world.start_operator()
    world.stop_operator()
    ended = subprocess.run(
        [sys.executable, "-c", FAILS_BESIDE_A_BUCKET_THAT_HANGS, "--kubeconfig", str(world.folder / "kubeconfig")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "RuntimeError: nobody foresaw this" in ended.stderr


def test_credentials_that_are_refused_for_a_while_cost_nothing_but_time(world: World) -> None:
    world.install_crd()
    world.start_operator()
    until(world.ready)
    world.ask("POST", JOBS, job("first"))
    until(lambda: world.pods() > 0)
    world.stop_server()
    world.token = "changed"
    world.start_server()
    until(lambda: "401" in world.log)
    world.give_operator_the_token()
    before = world.pods()
    world.ask("POST", JOBS, job("second"))
    until(lambda: world.pods() > before, 60)
    assert world.log.count("401") < 20, "a storm of requests"
    code, seconds = world.stop_operator()
    assert (code, seconds < 3) == (0, True), world.log


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--kubeconfig", "/nowhere"], "Set KUBECONFIG"),
        (["--workers", "none"], "whole number"),
    ],
)
def test_a_setting_that_cannot_work_is_one_sentence(arguments: list[str], sentence: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "carryon_operator", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode in (1, 2)
    assert sentence in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_a_job_that_went_unseen_is_dropped_by_the_next_list() -> None:
    rung: list[str] = []
    async with FakeApiServer().serving() as server, Client(Connection(server.url)) as client:
        jobs = JobCache(on_change=rung.append)
        server.put("generationjobs", "ghost")
        server.put("generationjobs", "stays")
        await jobs.resync(client)
        server.remove("generationjobs", "ghost")
        born_while_listing = {"metadata": {"name": "new", "namespace": "default", "uid": "n", "resourceVersion": "99"}}
        server.during_list = lambda page: jobs.observe(born_while_listing)
        rung.clear()
        await jobs.resync(client)
        assert set(jobs) == {"default/stays", "default/new"}
        assert set(rung) == {"default/ghost", "default/new"}
        known = jobs.get("default/stays")
        assert known is not None
        assert known["apiVersion"] == "v1"
        assert GENERATION_JOBS.path() in {each.path for each in server.seen}
