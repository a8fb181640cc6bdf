"""An API server, operators that share it, each behind a proxy of its own, and pods that are played: all but GPUs.

with cluster(tmp_path) as c, c.operator("a") as a, Player(c, store).playing():
    c.create(job("reel"))
    c.wait_for("reel", finished)
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from carryon_core import layout, names
from carryon_core.done import Artifact, Done
from carryon_store import Store, StoreError
from carryon_store.units import File, publish
from fault_proxy import FaultProxy, Plan
from fault_proxy import serving as proxied
from processes import free_port, kubeconfig, until

Object = dict[str, Any]

CRD = Path(__file__).parents[1] / "crds" / "carryon.dev_generationjobs.yaml"
JOBS = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"
PODS = "/api/v1/namespaces/default/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/carryon-operator"
EAGER = {"CARRYON_RETRY_PERIOD": "300ms"}
"""A Lease that is asked for often, and lasts as long as a real one: a busy machine does not lose it."""


def job(name: str, units: int = 6, **spec: Any) -> Object:
    """A job whose pods are played."""
    stage = {"name": "clip", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
    retry = {"perUnit": 3, "rounds": 0, "backoff": {"initial": "1s", "max": "2s"}}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"items": {"count": units}, "stages": [stage], "parallelism": 3, "retry": retry, **spec},
    }


def finished(found: Object) -> bool:
    """Whether a job is over, one way or the other."""
    return (found.get("status") or {}).get("phase") in ("Succeeded", "Failed")


@dataclass
class Operator:
    """One operator, a process, that reaches the API server through its proxy.

    Attributes:
        health: Port of its probes.
    """

    name: str
    proxy: FaultProxy
    folder: Path
    environment: dict[str, str]
    health: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Operator:
        """Start it, once more if it has ended."""
        config = self.folder / f"kubeconfig-{self.name}"
        config.write_text(yaml.safe_dump(kubeconfig(self.proxy.url, token="secret")))
        known = {key: value for key, value in os.environ.items() if not key.startswith("CARRYON_")}
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "carryon_operator", "--kubeconfig", str(config)],
                stdout=log,
                stderr=log,
                env={**known, "CARRYON_HEALTH": f"127.0.0.1:{self.health}", **self.environment},
            )
        return self

    def signal(self, number: signal.Signals) -> float:
        """Send it a signal; when, on the monotonic clock."""
        assert self.process is not None
        self.process.send_signal(number)
        return time.monotonic()

    def ended(self) -> int | None:
        """Its exit code, None while it is at work."""
        assert self.process is not None
        return self.process.poll()

    @property
    def log(self) -> str:
        return (self.folder / f"{self.name}.log").read_text()

    def ready(self) -> bool:
        """Whether it says that it is."""
        with suppress(OSError, http.client.HTTPException):
            return self._asked("/readyz")[0] == 200
        return False

    def metrics(self) -> bytes:
        """What it tells Prometheus."""
        return self._asked("/metrics")[1]

    def _asked(self, path: str) -> tuple[int, bytes]:
        probe = http.client.HTTPConnection("127.0.0.1", self.health, timeout=5)
        try:
            probe.request("GET", path)
            answer = probe.getresponse()
            return answer.status, answer.read()
        finally:
            probe.close()


@dataclass
class Cluster:
    """An API server, whoever works on it, and the bucket."""

    folder: Path
    port: int = field(default_factory=free_port)
    server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> Path:
        """The default store."""
        return self.folder / "output"

    def start(self) -> None:
        """Start the API server, with what it held before."""
        token = self.folder / "server-token"
        token.write_text("secret")
        with (self.folder / "apiserver.log").open("ab") as log:
            where = ("--listen", f"127.0.0.1:{self.port}", "--token-file", str(token))
            data = ("--data", str(self.folder / "data"), "--logs-dir", str(self.folder))
            self.server = subprocess.Popen(
                [sys.executable, "-m", "carryon_standalone.apiserver", *where, *data],
                stdout=log,
                stderr=log,
            )

        def answers() -> bool:
            with suppress(OSError):
                self.ask("GET", "/api/v1/namespaces")
                return True
            return False

        until(answers)

    def stop(self) -> None:
        """End the API server."""
        assert self.server is not None
        self.server.terminate()
        self.server.wait(20)

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One request, past all proxies."""
        headers = {"Authorization": "Bearer secret", "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def create(self, made: Object) -> None:
        """Create a job."""
        self.ask("POST", JOBS, made)

    def get(self, name: str) -> Object:
        """A job."""
        found: Object = self.ask("GET", f"{JOBS}/{name}")
        return found

    def wait_for(self, name: str, promise: Callable[[Object], bool], seconds: float = 90.0) -> Object:
        """The job, as soon as it is so."""
        deadline = time.monotonic() + seconds
        while not promise(found := self.get(name)):
            assert time.monotonic() < deadline, f"{name}: not so in {seconds} s: {json.dumps(found.get('status'))}"
            time.sleep(0.05)
        return found

    def free_lease(self) -> None:
        """Make the Lease as one who ended well has left it: nobody has to wait for the first leader."""
        made = {"metadata": {"name": "carryon-operator"}, "spec": {"leaseTransitions": 1}}
        self.ask("POST", LEASE.rpartition("/")[0], made)

    def lease(self) -> Object:
        """What the Lease says; empty where there is none."""
        try:
            spec: Object = self.ask("GET", LEASE)["spec"]
        except urllib.error.HTTPError:
            return {}
        return spec

    def holder(self) -> str:
        """Who holds the Lease."""
        return str(self.lease().get("holderIdentity") or "")

    @contextmanager
    def operator(self, name: str, plan: Plan | None = None, **environment: str) -> Iterator[Operator]:
        """An operator behind a proxy, that is killed in the end if it is still there."""
        with proxied(self.url, plan) as proxy:
            own = {
                "CARRYON_DEFAULT_STORE": self.output.as_uri(),
                "CARRYON_FILE_ROOT": str(self.folder),
                "HOSTNAME": name,
                **environment,
            }
            made = Operator(name, proxy, self.folder, own).start()
            try:
                yield made
            finally:
                assert made.process is not None
                made.process.kill()
                made.process.wait(10)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """An API server that knows GenerationJobs."""
    made = Cluster(folder)
    made.start()
    try:
        made.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(CRD.read_text()))
        yield made
    finally:
        if made.server is not None:
            made.server.kill()
            made.server.wait(10)


@dataclass
class Player:
    """Plays the pods of a cluster: each runs for a while, publishes its units as a worker does, and ends.

    Attributes:
        store: Where pods publish to; what it fails at is tried again, as workers do.
        fails: Whether a pod fails, given its unit and how many pods had that unit before.
        seconds: That a pod runs.
        given: Job/unit -> how many pods had it.
        made: Job/unit -> how often it was made by one who did not find it done.
    """

    cluster: Cluster
    store: Store
    fails: Callable[[str, int], bool] = lambda unit, before: False
    seconds: float = 0.1
    given: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def playing(self) -> Iterator[Player]:
        """At work while the context lasts."""
        stop = threading.Event()
        thread = threading.Thread(target=self._play, args=(stop,), name="player")
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
        assert not self.errors, self.errors

    def _play(self, stop: threading.Event) -> None:
        taken: set[str] = set()
        with ThreadPoolExecutor(8, thread_name_prefix="pod") as pods:
            while not stop.wait(0.1):
                with suppress(OSError, http.client.HTTPException):
                    for pod in self.cluster.ask("GET", PODS)["items"]:
                        if pod["metadata"]["uid"] not in taken:
                            taken.add(pod["metadata"]["uid"])
                            pods.submit(self._run, pod, stop)

    def _run(self, pod: Object, stop: threading.Event) -> None:
        try:
            self._live(pod, stop)
        except BaseException as error:
            self.errors.append(error)
            raise

    def _live(self, pod: Object, stop: threading.Event) -> None:
        metadata = pod["metadata"]
        began = _moment()
        self._tell(pod, {"phase": "Running", "containerStatuses": _worker(running={"startedAt": began})})
        time.sleep(self.seconds)
        units = json.loads(metadata["annotations"][names.ANNOTATION_UNITS])
        fingerprints = json.loads(metadata["annotations"][names.ANNOTATION_FINGERPRINTS])
        code = 0
        for unit, fingerprint in zip(units, fingerprints, strict=True):
            key = f"{metadata['labels'][names.LABEL_JOB]}/{unit}"
            with self._lock:
                before, self.given[key] = self.given[key], self.given[key] + 1
            if self.fails(unit, before):
                code = 1
                break
            self._publish(pod, unit, fingerprint, key, stop)
        ended = {"exitCode": code, "startedAt": began, "finishedAt": _moment()}
        phase = "Failed" if code else "Succeeded"
        self._tell(pod, {"phase": phase, "containerStatuses": _worker(terminated=ended)})

    def _publish(self, pod: Object, unit: str, fingerprint: str, key: str, stop: threading.Event) -> None:
        metadata = pod["metadata"]
        stage = metadata["labels"][names.LABEL_STAGE]
        prefix = layout.unit_prefix("default", metadata["labels"][names.LABEL_JOB], stage, unit, fingerprint)

        def describe(artifacts: list[Artifact]) -> Done:
            told = {"fingerprint": fingerprint, "stage": stage, "item": unit, "seed": 0, "outcome": "generated"}
            more = {"podUid": metadata["uid"], "timings": {"generate": self.seconds}, "finished": _moment()}
            return Done.model_validate({**told, **more, "artifacts": artifacts})

        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "clip.txt"
            # The same from everyone: what differs between two runs is nobody's chance.
            clip.write_text(f"clip {unit}\n")
            while not stop.is_set():
                try:
                    published = publish(self.store, prefix, [File("clip.txt", clip, "text/plain")], describe)
                except StoreError:
                    time.sleep(0.2)
                else:
                    with self._lock:
                        self.made[key] += published.first
                    return

    def _tell(self, pod: Object, status: Object) -> None:
        try:
            path = f"{PODS}/{pod['metadata']['name']}/status"
            self.cluster.ask("PATCH", path, {"status": status}, "application/merge-patch+json")
        except urllib.error.HTTPError as error:
            if error.code != 404:  # Deleted meanwhile.
                raise


def _worker(**state: Object) -> list[Object]:
    return [{"name": names.CONTAINER, "state": state}]


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
