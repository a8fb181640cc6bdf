"""The status API for tests: a real API server with a small RBAC, and the application in front of it, in one thread.

with Site(tmp_path) as site:
    site.kube("POST", JOBS, job())
    site.http(EDITOR).get("/api/v1/jobs")
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import httpx
import uvicorn
import yaml
from fastapi import FastAPI

from carryon_api import app as application
from carryon_api.config import Config
from carryon_core import crd
from carryon_core.messages import StoreConfig
from carryon_standalone.apiserver.access import AUTHENTICATED, MASTERS, Attributes, Authority, User
from carryon_standalone.apiserver.server import Config as ServerConfig
from carryon_standalone.apiserver.server import running

T = TypeVar("T")
ADMIN, VIEWER, EDITOR, STRANGER, EXPIRED, API = "admin", "viewer", "editor", "stranger", "expired", "the-api"
"""Tokens; the name of each user is the same."""
JOBS = "/apis/carryon.dev/v1alpha1/namespaces/default/generationjobs"
READ = frozenset({"get", "list", "watch"})
WRITE = READ | {"create", "update", "patch", "delete"}


@dataclass(frozen=True)
class Rule:
    """A user may do this with some resources of some namespaces; "*" means all."""

    user: str
    verbs: frozenset[str]
    resources: tuple[str, ...]
    namespaces: tuple[str, ...]

    def covers(self, user: User, wanted: Attributes) -> bool:
        resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        return (
            self.user == user.name
            and wanted.verb in self.verbs
            and ("*" in self.resources or resource in self.resources)
            and ("*" in self.namespaces or wanted.namespace in self.namespaces)
        )


_LOGS = ("generationjobs", "pods", "pods/log")
RULES = (
    Rule(VIEWER, READ, _LOGS, ("default",)),
    Rule(EDITOR, WRITE, ("generationjobs", "configmaps"), ("default",)),
    Rule(EDITOR, READ, _LOGS, ("default",)),
    Rule(STRANGER, WRITE, ("*",), ("elsewhere",)),
    # What the chart gives to the API: it reads, it asks who somebody is, and it may not change a job.
    Rule(API, READ, (*_LOGS, "secrets", "configmaps"), ("*",)),
    Rule(API, frozenset({"create"}), ("tokenreviews", "subjectaccessreviews"), ("*",)),
    Rule(API, frozenset({"impersonate"}), ("users", "groups"), ("*",)),
)


@dataclass
class Rbac:
    """An authority with users, rules, and a count of what was asked."""

    rules: tuple[Rule, ...] = RULES
    tokens: dict[str, User] = field(
        default_factory=lambda: {
            ADMIN: User(ADMIN, (MASTERS, AUTHENTICATED)),
            **{name: User(name, (AUTHENTICATED,)) for name in (VIEWER, EDITOR, STRANGER, API)},
        }
    )
    asked: int = 0

    def user_of(self, token: str) -> User | None:
        return self.tokens.get(token)

    def allows(self, user: User, wanted: Attributes) -> bool:
        self.asked += 1
        return MASTERS in user.groups or any(rule.covers(user, wanted) for rule in self.rules)


def job(name: str = "reel", **spec: Any) -> dict[str, Any]:
    """A small manifest."""
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name},
        "spec": {
            "items": {"count": 3},
            "stages": [{"name": "clip", "generate": {"command": {"args": ["true"]}}}],
            **spec,
        },
    }


class Site:
    """An API server and one or several replicas of the API."""

    def __init__(self, folder: Path, replicas: int = 1, authority: Authority | None = None, **settings: Any) -> None:
        self.folder = folder
        self.rbac = Rbac()
        self._authority = authority or self.rbac
        self.settings = settings
        self.server = ""
        self.urls: list[str] = []
        self.apps: list[FastAPI] = []
        self._replicas = replicas
        self._kube = httpx.Client(timeout=20, verify=False, trust_env=False)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @classmethod
    def on_folder(cls, folder: Path, bucket: Path) -> Site:
        """A site whose artifacts lie in a folder, as on a machine of its own."""
        given = StoreConfig(uri=bucket.as_uri())
        return cls(folder, default_store=given, file_root=PurePosixPath(bucket), standalone=True)

    def __enter__(self) -> Site:
        self._thread.start()
        assert self._ready.wait(30), "the site did not come up within 30 s"
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._kube.close()
        assert not self._thread.is_alive(), "the site did not stop within 20 s"

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def config(self) -> Config:
        settings = {"kubeconfig": str(self.folder / "kubeconfig"), "requests_per_second": 1e6, "burst": 10**6}
        return Config(**{**settings, **self.settings})

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run something inside the API's event loop."""
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(20)

    def http(self, token: str | None = None, replica: int = 0, **headers: str) -> httpx.Client:
        """A client of the API."""
        given = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}
        # Plain http: authorities, which take long to load, have nothing to say.
        return httpx.Client(base_url=self.urls[replica], headers=given, timeout=20, verify=False, trust_env=False)

    def kube(self, method: str, path: str, body: Any = None, token: str = ADMIN) -> Any:
        """Ask the API server.

        Raises:
            AssertionError: It refused.
        """
        answer = self.ask(method, path, body, token)
        assert answer.is_success, answer.text
        return answer.json()

    def ask(self, method: str, path: str, body: Any = None, token: str = ADMIN, **headers: str) -> httpx.Response:
        """Ask the API server, whatever it answers."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        given = {"Authorization": f"Bearer {token}", "Content-Type": kind, **headers}
        return self._kube.request(method, self.server + path, json=body, headers=given)

    def status(self, name: str, status: dict[str, Any], namespace: str = "default") -> None:
        """Write what an operator would."""
        self.kube("PATCH", f"{JOBS.replace('default', namespace)}/{name}/status", {"status": status})

    def until(self, true: Callable[[], Any], what: str, seconds: float = 10) -> Any:
        """Wait for something to become true; what it was."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
            time.sleep(0.02)
        return found

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001 - raised where the test is
            self._failed = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        config = ServerConfig(self.folder / "data", ADMIN, self.folder / "logs", authority=self._authority)
        async with running(config) as self.server:
            await asyncio.to_thread(self._install)
            listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(self._replicas)]
            self.apps = [application.create(self.config) for _ in listeners]
            servers = [uvicorn.Server(_settings(app)) for app in self.apps]
            serving = [
                asyncio.create_task(server._serve([listener]))
                for server, listener in zip(servers, listeners, strict=True)
            ]
            self.urls = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
            while not all(server.started for server in servers):
                for task in serving:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)
            for app in self.apps:
                await app.state.cluster.synced()
            self._ready.set()
            await self._stop.wait()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*serving)

    def _install(self) -> None:
        self.kube("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd.build())
        for name in ("elsewhere",):
            self.kube("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        deadline = time.monotonic() + 10
        while self.ask("GET", JOBS).status_code != 200:
            assert time.monotonic() < deadline, "the API server does not serve GenerationJobs"
        cluster = {"name": "c", "cluster": {"server": self.server}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {"token": API}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
        text = yaml.safe_dump({**config, "clusters": [cluster], "contexts": [context], "users": [user]})
        (self.folder / "kubeconfig").write_text(text)


def _settings(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1, lifespan="on")
