"""A whole control plane for tests: `carryon up` for real, a client on plain dicts, and SIGKILL for all of it at once.

plane = Plane(tmp_path / "plane").start()
plane.apply(job)
plane.wait_for("reel", lambda job: done(job) >= 9)
plane.kill()                       # supervisor, API server, node, operator and workers, together
plane.start()
plane.wait_for("reel", finished)
plane.stop()
"""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import yaml

from forked_workers import ONE_THREAD

Job = dict[str, Any]

JOBS = "/apis/carryon.dev/v1alpha1/namespaces/default/generationjobs"
PODS = "/api/v1/namespaces/default/pods"
POLL = 0.05


class ApiError(Exception):
    """An answer other than success.

    Attributes:
        code: HTTP status.
        status: The `Status` object.
    """

    def __init__(self, code: int, status: Job) -> None:
        super().__init__(f"{code}: {status.get('message')}")
        self.code = code
        self.status = status


@dataclass
class Plane:
    """One control plane in a data folder of its own; start it as often as you like.

    Attributes:
        data: The data folder.
        gpus: GPUs to offer.
        environment: Added to that of all processes.
        bucket: Where artifacts of jobs go that name no output; None: a folder of its own.
    """

    data: Path
    gpus: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    bucket: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def output(self) -> Path:
        """Where artifacts of jobs go that name no output."""
        return self.bucket or self.data / "output"

    def job_folder(self, name: str) -> Path:
        """Where a job's artifacts lie."""
        return self.output / "default" / name

    # -- life

    def start(self, timeout: float = 60.0) -> Plane:
        """Return when everything answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        chosen = ("--gpus", str(self.gpus), *(("--output", str(self.bucket)) if self.bucket else ()))
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "carryon_standalone", "up", "--data", str(self.data), *chosen],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**ONE_THREAD, **os.environ, **self.environment},
                start_new_session=True,
            )
        running = self.data / "running.json"
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if running.exists():
                found = json.loads(running.read_text())
                if found["ready"] and found["pid"] == self.process.pid:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(POLL)
        raise AssertionError(f"the control plane did not come up:\n{self.logs()}")

    def processes(self) -> list[psutil.Process]:
        """Every live process of the plane: supervisor, components, workers and what those started."""
        if self.process is None or self.process.poll() is not None:
            return []
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """The workers that are alive."""
        return [each for each in self.processes() if _arguments(each)[1:] == ["-m", "carryon_worker"]]

    def component(self, name: str) -> psutil.Process:
        """One component: "apiserver", "node", "operator" or "page"."""
        module = {"operator": "carryon_operator", "page": "carryon_api"}.get(name, f"carryon_standalone.{name}")
        (found,) = [each for each in self.processes()[:1][0].children() if module in each.cmdline()]
        return found

    def clear(self) -> None:
        """Remove all jobs with all that runs of them, and return when they are gone."""
        for job in self.request("GET", JOBS)["items"]:
            try:
                self.delete(job["metadata"]["name"])
            except ApiError as error:
                if error.code != 404:  # It may have gone by itself.
                    raise
        until(lambda: self.request("GET", JOBS)["items"] == [] and self.pods() == [], 60)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """A component that is killed, and that nobody starts again before this ends."""
        component, supervisor = self.component(name), self.processes()[0]
        supervisor.suspend()
        try:
            component.kill()
            yield
        finally:
            supervisor.resume()

    def kill(self) -> None:
        """SIGKILL of everything at once, and return when all of it is gone."""
        assert self.process is not None
        everything = self.processes()
        for each in everything:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(timeout=10)
        _, alive = psutil.wait_procs(everything, timeout=10)
        assert not alive, f"these survived SIGKILL: {alive}"

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM; the supervisor's exit code."""
        assert self.process is not None
        everything = self.processes()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=timeout)
        _, alive = psutil.wait_procs(everything, timeout=5)
        assert not alive, f"these outlived their supervisor: {alive}"
        return code

    def logs(self) -> str:
        """What supervisor and components wrote, each one's end."""
        files = [self.data.parent / f"{self.data.name}.log", *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files if file.exists())

    # -- API

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request; the parsed answer.

        Raises:
            ApiError: The server said no.
            OSError: It does not answer.
        """
        content = self._answer(method, path, body, content_type)
        return json.loads(content) if content else None

    def _answer(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        request = urllib.request.Request(
            cluster["server"] + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {user['token']}", "Content-Type": content_type},
        )
        context = ssl.create_default_context(cadata=authority)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                content: bytes = answer.read()
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, json.loads(error.read())) from None
        return content

    def apply(self, job: Job | str) -> Job:
        """Server-side apply of a job, given as a dict or as YAML."""
        manifest = yaml.safe_load(job) if isinstance(job, str) else job
        query = urlencode({"fieldManager": "test", "force": "true", "fieldValidation": "Strict"})
        applied: Job = self.request(
            "PATCH", f"{JOBS}/{manifest['metadata']['name']}?{query}", manifest, "application/apply-patch+yaml"
        )
        return applied

    def get(self, name: str) -> Job:
        """A job."""
        job: Job = self.request("GET", f"{JOBS}/{name}")
        return job

    def patch(self, name: str, patch: Job) -> Job:
        """JSON merge patch of a job."""
        job: Job = self.request("PATCH", f"{JOBS}/{name}", patch, "application/merge-patch+json")
        return job

    def delete(self, name: str) -> None:
        """Delete a job."""
        self.request("DELETE", f"{JOBS}/{name}")

    def annotate(self, name: str, annotation: str, value: str) -> Job:
        """Set an annotation of a job, such as a request."""
        return self.patch(name, {"metadata": {"annotations": {annotation: value}}})

    def evict(self, pod: str) -> None:
        """End a pod as a drain does: a disruption."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}}
        self.request("POST", f"{PODS}/{pod}/eviction", eviction)

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints; it must end well."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.data)}
        ran = subprocess.run(["kubectl", *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def carryon(self, *arguments: str) -> str:
        """What the carryon command prints; it must end well."""
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        command = [sys.executable, "-m", "carryon_standalone", *arguments]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def pods(self, job: str | None = None) -> list[Job]:
        """Pods, of one job or all."""
        query = f"?labelSelector=carryon.dev/job%3D{job}" if job else ""
        pods: list[Job] = self.request("GET", PODS + query)["items"]
        return pods

    def pods_since(self, revision: str) -> list[Job]:
        """Pods that were created since, gone or not."""
        told = self._answer("GET", f"{PODS}?watch=true&timeoutSeconds=1&resourceVersion={revision}")
        events = [json.loads(line) for line in told.splitlines()]
        return [event["object"] for event in events if event["type"] == "ADDED"]

    def wait_for(self, name: str, promise: Callable[[Job], bool], timeout: float = 60.0) -> Job:
        """The job as soon as the promise holds; a job, or an API server, that is not there yet is waited for."""
        deadline = time.monotonic() + timeout
        job: Job = {}
        while time.monotonic() < deadline:
            try:
                job = self.get(name)
            except OSError:
                pass
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                if promise(job):
                    return job
            time.sleep(POLL)
        status = json.dumps(job.get("status"), indent=1)
        raise AssertionError(f"{name}: not so within {timeout} s; status: {status}\n{self.logs()}")


def until(look: Callable[[], object], seconds: float = 30) -> None:
    """Return as soon as a look finds something true."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(POLL)


def claim(job: Job, kind: str) -> dict[str, str]:
    """The whole condition, of the job's present generation; empty where it is not there."""
    status = job.get("status") or {}
    if (status.get("observedGeneration") or 0) < job["metadata"]["generation"]:
        return {}
    return next((each for each in status.get("conditions") or () if each["type"] == kind), {})


def condition(job: Job, kind: str) -> bool:
    """Whether a condition is true of the job's present generation."""
    return claim(job, kind).get("status") == "True"


def finished(job: Job) -> bool:
    """The job has ended, well or not."""
    return condition(job, "Finished")


def succeeded(job: Job) -> bool:
    """The job has ended well."""
    return condition(job, "Succeeded")


def failed(job: Job) -> bool:
    """The job has ended, and units failed for good."""
    return condition(job, "Failed")


def suspended(job: Job) -> bool:
    """The job's pods are gone."""
    return condition(job, "Suspended")


def units_done(job: Job) -> int:
    """Units done, as status says."""
    count: int = ((job.get("status") or {}).get("units") or {}).get("succeeded", 0)
    return count


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
