"""API servers to test against: our own in its own process, or any cluster that a kubeconfig names.

Both are the same small client, which shows exactly what came over the wire.
"""

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

import yaml

from carryon_standalone import credentials
from carryon_standalone.home import Home

TOKEN = "a-token"
AGENT = {"User-Agent": "curl/8"}
KUBECONFIG = "CARRYON_TEST_KUBECONFIG"
"""The variable that names the kubeconfig of the cluster to test instead of our own."""
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MEDIA_CRD: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "conformance" / "golden" / "crd.yaml").read_text())
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
class Client:
    """Speaks HTTP to the API server of a kubeconfig."""

    kubeconfig: Path
    url: str = ""
    trusted: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=lambda: dict(AGENT))
    made: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, kubeconfig: Path) -> Client:
        """A client for whatever a kubeconfig can say: tokens, certificates, programs that fetch either."""
        # Takes a second to load, and our own server does without.
        from kubernetes import config

        found = config.new_client_from_config(config_file=str(kubeconfig)).configuration
        trusted = None
        if found.host.startswith("https:"):
            trusted = ssl.create_default_context(cafile=found.ssl_ca_cert)
            if not found.verify_ssl:
                trusted.check_hostname, trusted.verify_mode = False, ssl.CERT_NONE
            if found.cert_file:
                trusted.load_cert_chain(found.cert_file, found.key_file)
        tokens = {each["key"]: each["value"] for each in found.auth_settings().values() if each["in"] == "header"}
        return cls(
            kubeconfig, found.host, trusted, {**AGENT, **{name.title(): value for name, value in tokens.items()}}
        )

    def connect(self, timeout: float = 20) -> http.client.HTTPConnection:
        address = urlsplit(self.url).netloc
        if self.trusted is None:
            return http.client.HTTPConnection(address, timeout=timeout)
        return http.client.HTTPSConnection(address, timeout=timeout, context=self.trusted)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Header names are given with underscores. A body that is no text is sent as JSON."""
        given = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        data = body if isinstance(body, str | bytes | None) else json.dumps(body)
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, urlsplit(self.url).path + path, data, given)
            response = connection.getresponse()
            answer = Answer(response.status, dict(response.getheaders()), response.read())
        if method == "POST" and answer.status == 201 and "dryRun" not in path:
            self._note(path.partition("?")[0], answer)
        return answer

    def _note(self, collection: str, answer: Answer) -> None:
        value = answer.json() if answer.headers.get("Content-Type", "").startswith("application/json") else {}
        # Reviews and what is done to pods are answered, not stored.
        if (value.get("metadata") or {}).get("uid"):
            self.made.append(f"{collection}/{value['metadata']['name']}")

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
            connection.request("GET", urlsplit(self.url).path + path, headers={**self.headers, **headers})
            response = connection.getresponse()
            assert response.status == 200, response.read()
            yield (json.loads(line) for line in iter(response.readline, b""))

    def define(self) -> None:
        """Serve the MediaJob kind."""
        answer = self.request("POST", DEFINITIONS, MEDIA_CRD)
        assert answer.status in (201, 409), answer.body
        until(lambda: self.request("GET", JOBS).status == 200, "the kind to be served")

    def gone(self, path: str, seconds: float = 60) -> None:
        """Wait until an object is not there any more."""
        until(lambda: self.request("GET", path).status == 404, f"{path} to go", seconds)

    def clear(self) -> None:
        """Delete what was created, the newest first."""
        for path in reversed(self.made):
            if self.request("DELETE", path, {"gracePeriodSeconds": 0}).status == 200:
                self.request(
                    "PATCH", path, {"metadata": {"finalizers": None}}, Content_Type="application/merge-patch+json"
                )
        for path in self.made:
            self.gone(path)
        self.made.clear()


class Server(Client):
    """Our own API server; not started yet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Home(folder).kubeconfig, headers={**AGENT, "Authorization": f"Bearer {TOKEN}"})
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

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
        self.trusted = ssl.create_default_context(cafile=self.home.authority)
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


def until(true: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Wait for something to become true; what it was."""
    deadline = time.monotonic() + seconds
    while True:
        if found := true():
            return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
