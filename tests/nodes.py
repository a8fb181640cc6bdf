"""A machine for tests: API server and node as processes of their own, which a test may kill and start again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import free_port, until

Object = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"


class Machine:
    def __init__(
        self, folder: Path, *arguments: str, environment: dict[str, str] | None = None, api: tuple[str, ...] = ()
    ) -> None:
        """Prepare; `arguments` are the node's, `api` those of the API server."""
        self.folder = folder
        self.data = folder / "node"
        self.server = f"http://127.0.0.1:{free_port()}"
        self.api: subprocess.Popen[bytes] | None = None
        self.node: subprocess.Popen[bytes] | None = None
        self._arguments, self._api_arguments = arguments, api
        self._environment = {**os.environ, **(environment or {})}
        self._token = folder / "token"
        self._token.write_text("secret")

    def start(self) -> None:
        self.start_api()
        self.start_node()
        until(lambda: self.request("GET", "/api/v1/nodes")["items"], what="the node")

    def start_api(self) -> None:
        self.api = self._spawn(
            "carryon_standalone.apiserver",
            *("--data", str(self.folder / "api"), "--listen", self.server.removeprefix("http://")),
            *("--token-file", str(self._token), "--logs-dir", str(self.data / "logs"), *self._api_arguments),
        )
        until(self._healthy, what="the API server")

    def start_node(self) -> None:
        self.node = self._spawn(
            "carryon_standalone.node",
            *("--server", self.server, "--token-file", str(self._token), "--data", str(self.data), "--name", "box"),
            *self._arguments,
        )

    def _spawn(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdout=log, stderr=log, env=self._environment
            )

    def _healthy(self) -> bool:
        try:
            self.request("GET", "/api/v1/namespaces/default")
        except OSError:
            return False
        return True

    def stop_api(self) -> None:
        assert self.api is not None
        self.api.kill()
        self.api.wait()

    def stop_node(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.node is not None
        self.node.send_signal(number)
        self.node.wait(timeout=30)

    def close(self) -> None:
        for process in (self.node, self.api):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(timeout=30)

    def request(self, method: str, path: str, body: Object | None = None) -> Object:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        asked = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer secret", "Content-Type": kind},
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            result: Object = json.load(answer)
        return result

    def watched(self, path: str) -> list[Object]:
        """What a watch tells within a second."""
        asked = urllib.request.Request(self.server + path, headers={"Authorization": "Bearer secret"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return [json.loads(line) for line in answer]

    def create(self, name: str, script: str = "", **spec: Any) -> Object:
        """A pod whose container runs a shell script; `container` adds to the container, the rest to the spec."""
        container = {"name": "main", "image": "none", "command": ["/bin/sh", "-c", script], **spec.pop("container", {})}
        metadata = {"name": name, **spec.pop("metadata", {})}
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": [container], **spec}
        return self.request("POST", PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod})

    def delete(self, name: str) -> None:
        self.request("DELETE", f"{PODS}/{name}")

    def pod(self, name: str) -> Object | None:
        try:
            return self.request("GET", f"{PODS}/{name}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def when(self, name: str, holds: Callable[[Object], Any], seconds: float = 20.0) -> Object:
        """The pod, as soon as it is so."""

        def look() -> Object | None:
            pod = self.pod(name)
            return pod if pod is not None and holds(pod) else None

        return until(look, seconds, f"pod {name}")

    def finished(self, name: str, seconds: float = 20.0) -> Object:
        return self.when(name, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), seconds)

    def gone(self, name: str, seconds: float = 20.0) -> None:
        until(lambda: self.pod(name) is None, seconds, f"end of pod {name}")

    def log(self, pod: Object, container: str = "main", previous: bool = False) -> list[str]:
        """Lines of a container's log file, without their times."""
        meta = pod["metadata"]
        folder = self.data / "logs" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
        file = folder / f"{container}{'.previous' if previous else ''}.log"
        return [line.split(" ", 1)[1] for line in file.read_text().splitlines()]


def terminated(pod: Object, index: int = 0) -> Object:
    state: Object = pod["status"]["containerStatuses"][index]["state"]["terminated"]
    return state


def waiting(pod: Object) -> Object:
    """Why the first container waits; empty when it does not."""
    statuses = pod["status"].get("containerStatuses") or [{"state": {}}]
    reason: Object = statuses[0]["state"].get("waiting", {})
    return reason


def running(pod: Object) -> bool:
    return any("running" in status["state"] for status in pod["status"].get("containerStatuses", ()))


def conditions(pod: Object) -> dict[str, Object]:
    return {condition["type"]: condition for condition in pod["status"].get("conditions") or ()}


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"
