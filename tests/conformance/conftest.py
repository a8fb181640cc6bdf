"""A real API server in its own process, and a small client that shows exactly what came over the wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import selectors
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from carryon_standalone import credentials
from carryon_standalone.home import Home

TOKEN = "a-token"
JOBS = "/apis/media.example.com/v1alpha1/namespaces/default/mediajobs"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return self.json()["message"]


@dataclass
class Server:
    folder: Path
    process: subprocess.Popen[str] | None = None
    url: str = ""
    headers: dict[str, str] = field(
        default_factory=lambda: {"Authorization": f"Bearer {TOKEN}", "User-Agent": "curl/8"}
    )

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def home(self) -> Home:
        """Token, certificate and kubeconfig, as `carryon up` makes them."""
        return Home(self.folder)

    def command(self) -> list[str]:
        home = self.home
        home.token.write_text(TOKEN)
        credentials.ensure(home)
        module = [sys.executable, "-m", "carryon_standalone.apiserver", "--listen", "127.0.0.1:0"]
        paths = ["--data", f"{self.folder}/data", "--logs-dir", str(self.logs)]
        return [*module, *paths, "--token-file", str(home.token), "--tls-file", str(home.certificate)]

    def start(self) -> Server:
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            assert ready.select(timeout=20), "the server did not say within 20 s that it serves"
        line = self.process.stdout.readline()
        assert line.startswith("serving on "), self.process.communicate(timeout=5)
        self.url = line.removeprefix("serving on ").strip()
        port = urlsplit(self.url).port
        assert port is not None
        credentials.write_kubeconfig(self.home, port)
        return self

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> str:
        """SIGTERM; what was written to stderr."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> str:
        if self.process is None:
            return ""
        os.kill(self.process.pid, number)
        _, errors = self.process.communicate(timeout=10)
        self.process = None
        return errors

    def connect(self, timeout: float = 20) -> http.client.HTTPConnection:
        trusted = ssl.create_default_context(cafile=self.home.authority)
        return http.client.HTTPSConnection(urlsplit(self.url).netloc, timeout=timeout, context=trusted)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Header names are given with underscores. A body that is no text is sent as JSON."""
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = body if isinstance(body, str | bytes | None) else json.dumps(body)
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request(method, path, data, given)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def get(self, path: str, **headers: str) -> Any:
        return self.done(self.request("GET", path, **headers))

    def create(self, path: str, value: Any) -> Any:
        return self.done(self.request("POST", path, value))

    def patch(self, path: str, change: Any, kind: str = "merge-patch+json") -> Any:
        return self.done(self.request("PATCH", path, change, Content_Type=f"application/{kind}"))

    def put(self, path: str, value: Any) -> Any:
        return self.done(self.request("PUT", path, value))

    def delete(self, path: str, options: Any = None) -> Any:
        return self.done(self.request("DELETE", path, options))

    @staticmethod
    def done(answer: Answer) -> Any:
        assert answer.status < 300, answer.body.decode()
        return answer.json()

    @contextlib.contextmanager
    def watch(self, path: str, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Events of a watch, one by one; the stream's end ends them."""
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request("GET", path, headers={**self.headers, **headers})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            yield (json.loads(line) for line in iter(response.readline, b""))


def until(true: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """Wait for something to become true; what it was."""
    deadline = time.monotonic() + seconds
    while True:
        if found := true():
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def media_crd() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "golden" / "crd.yaml").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, media_crd: dict[str, Any]) -> Iterator[Server]:
    """One server for a module, with the MediaJob kind."""
    made = Server(tmp_path_factory.mktemp("apiserver")).start()
    try:
        made.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", media_crd)
        yield made
    finally:
        made.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, not started."""
    made = Server(tmp_path)
    try:
        yield made
    finally:
        made.kill()
