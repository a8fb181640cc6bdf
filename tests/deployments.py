"""A machine with operators and workers of several releases, which are deployed one after the other while jobs run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import psutil
import yaml

import holding
from carryon_core import compatibility, names
from nodes import Machine
from processes import free_port, until
from reels import Version, versions

ROOT = Path(__file__).parents[1]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JOBS = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"
PODS = "/api/v1/namespaces/default/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
LEASE = "carryon-operator"
QUICK_TURNS = ("--retry-period", "300ms")
WORKER = f"{sys.executable} -m carryon_worker"


@dataclass(frozen=True)
class Release:
    """What another release of Carryon is for Python: folders in front of those of this one.

    Attributes:
        folder: Goes in front; None: this release.
        version: Of Carryon in it.
    """

    version: str
    folder: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its processes."""
        return {} if self.folder is None else {"PYTHONPATH": str(self.folder)}

    @property
    def worker(self) -> str:
        """Command line of its worker."""
        return " ".join([*(f"env {name}={value}" for name, value in self.environment.items()), WORKER])


THIS = Release(distribution("carryon").version)


def another(folder: Path, version: str, *requirements: str, assignment: int = compatibility.ASSIGNMENT) -> Release:
    """A release with our sources under another version, and other releases of libraries.

    Args:
        folder: To be made.
        version: What it calls itself.
        requirements: Pinned ones, such as `diffusers==0.41.0`, from the index that pip uses.
        assignment: Version of its assignments.
    """
    if requirements:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        installed = subprocess.run([*pip, "--target", str(folder), *requirements], capture_output=True, text=True)
        assert installed.returncode == 0, f"pip can't install {' '.join(requirements)}: {installed.stderr}"
    for package in [file.parent for file in ROOT.glob("[!.]*/carryon_*/__init__.py")]:
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    _write(folder / "carryon_worker" / "__init__.py", f'"{THIS.version}"', f'"{version}"')
    line = "\nASSIGNMENT: Final = "
    _write(folder / "carryon_core" / "compatibility.py", f"{line}{compatibility.ASSIGNMENT}", f"{line}{assignment}")
    metadata = folder / f"carryon-{version}.dist-info"
    metadata.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        text = distribution("carryon").read_text(name)
        assert text is not None
        (metadata / name).write_text(text.replace(f"\nVersion: {THIS.version}\n", f"\nVersion: {version}\n"))
    return Release(version, folder)


def _write(file: Path, what: str, instead: str) -> None:
    text = file.read_text()
    assert text.count(what) == 1
    file.write_text(text.replace(what, instead))


@dataclass
class Replica:
    """One process of the operator."""

    name: str
    health: str
    process: subprocess.Popen[bytes]

    def asked(self, path: str) -> str:
        """What it answers to a probe; empty where it does not."""
        try:
            with urllib.request.urlopen(f"http://{self.health}{path}", timeout=5) as answer:
                text: str = answer.read().decode()
        except OSError:
            return ""
        return text


@dataclass
class Cluster:
    """A machine, and an operator that is deployed with one default worker or another.

    Attributes:
        commands: Image -> command line of its worker, of all images that there are.
    """

    machine: Machine
    folder: Path
    commands: dict[str, str]
    operator: Replica | None = None
    _deployed: int = 0
    _replicas: list[Replica] = field(default_factory=list)

    def deploy(self, image: str, release: Release = THIS) -> Replica:
        """Another operator, whose default worker is this one: it stands by before the old one is asked to leave.

        Returns when it leads.
        """
        before, made = self.operator, self._replica(image, release)
        until(lambda: made.asked("/readyz"), 60, "an operator that is ready")
        if before is not None:
            self.stop(before)
        until(lambda: self._leader() == made.name, 60, "an operator that leads")
        self.operator = made
        return made

    def _replica(self, image: str, release: Release) -> Replica:
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.machine.server}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))
        self._deployed += 1
        name, health = f"operator-{self._deployed}", f"127.0.0.1:{free_port()}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CARRYON_")}
        with (self.folder / "operator.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "carryon_operator", "--kubeconfig", str(self.folder / "kubeconfig")),
                    *("--default-store", self.output.as_uri(), "--file-root", "/", "--worker-image", image),
                    *("--leader-elect", "true", "--lease-namespace", "default", *QUICK_TURNS, "--health", health),
                ],
                stdout=log,
                stderr=log,
                env={**kept, **release.environment, "HOSTNAME": name},
            )
        self._replicas.append(made := Replica(name, health, process))
        return made

    def _leader(self) -> str:
        """Which replica leads; a holder's identity begins with its name."""
        leases = self.machine.request("GET", LEASES)["items"]
        holders = [str((lease.get("spec") or {}).get("holderIdentity") or "") for lease in leases]
        return next((each.name for each in self._replicas if any(h.startswith(f"{each.name}_") for h in holders)), "")

    def stop(self, replica: Replica) -> None:
        """As a rollout stops it: SIGTERM, and it has to end well."""
        replica.process.send_signal(signal.SIGTERM)
        assert replica.process.wait(30) == 0

    def know(self, *images: str) -> None:
        """The node starts again, and knows these images."""
        if self.machine.node is not None:
            self.machine.stop_node(signal.SIGTERM)
        self.machine._arguments = tuple(
            part for each in images for part in ("--image", f"{each}={self.commands[each]}")
        )
        self.machine.start_node()

    def create(self, job: dict[str, Any]) -> None:
        """Create a job, as soon as its resource is served."""
        until(lambda: self.machine.request("POST", JOBS, job), what="the job's resource")

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def job(self, name: str) -> dict[str, Any]:
        return self.machine.request("GET", f"{JOBS}/{name}")

    def done(self, name: str) -> dict[str, Version]:
        """What is done of a job, unit by unit, each made once."""
        found = versions(self.output / "default" / name)
        assert all(len(each) == 1 for each in found.values())
        return {unit: each[0] for unit, each in found.items()}

    def half_made(self, name: str, item: str) -> bool:
        """A clip has a journal, and is not done."""
        return holding.half_made(self.output / "default" / name, item)

    def running(self, name: str) -> list[dict[str, Any]]:
        """A job's pods that run."""
        found = self.machine.request("GET", f"{PODS}?labelSelector=carryon.dev%2Fjob%3D{name}")["items"]
        return [dict(pod) for pod in found if (pod.get("status") or {}).get("phase") == "Running"]

    def at_work(self, name: str, item: str) -> dict[str, Any] | None:
        """The pod that runs with this item."""
        return next((pod for pod in self.running(name) if item in units_of(pod)), None)

    def held(self, name: str, items: Collection[str]) -> AbstractContextManager[None]:
        """Workers stand still while it lasts, each from when its clip of these is half made."""

        def processes() -> list[psutil.Process]:
            assert self.machine.node is not None
            return psutil.Process(self.machine.node.pid).children(recursive=True)

        return holding.held(processes, self.output / "default" / name, items)

    def revision(self) -> str:
        """Of all objects, now."""
        revision: str = self.machine.request("GET", PODS)["metadata"]["resourceVersion"]
        return revision

    def pods_since(self, revision: str) -> list[dict[str, Any]]:
        """Pods that were created since."""
        told = self.machine.watched(f"{PODS}?watch=true&timeoutSeconds=1&resourceVersion={revision}")
        return [event["object"] for event in told if event["type"] == "ADDED"]

    def succeeded(self, name: str, units: int) -> None:
        """Return when a job has ended well, with so many units."""
        until(lambda: (self.job(name).get("status") or {}).get("phase") in ("Succeeded", "Failed"), 600, "the end")
        status = self.job(name)["status"]
        assert (status["phase"], status["progress"]) == ("Succeeded", f"{units}/{units}"), json.dumps(status)

    def patch(self, name: str, patch: dict[str, Any]) -> None:
        """JSON merge patch of a job."""
        self.machine.request("PATCH", f"{JOBS}/{name}", patch)

    def image(self, name: str, item: str) -> str:
        """The image that an item is made with, as soon as its pod runs."""
        return image_of(until(lambda: self.at_work(name, item), 60, f"a pod for item {item}"))

    def told(self, reason: str) -> list[str]:
        """Messages of Events with this reason."""
        found = self.machine.request("GET", "/api/v1/namespaces/default/events")["items"]
        return [each["message"] for each in found if each["reason"] == reason]

    def evict(self, pod: dict[str, Any]) -> None:
        """End a pod as a drain does."""
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
        self.machine.request("POST", f"{PODS}/{name}/eviction", eviction)

    def close(self) -> None:
        """End everything."""
        for replica in self._replicas:
            if replica.process.poll() is None:
                replica.process.terminate()
                replica.process.wait(30)
        self.machine.close()


@contextmanager
def deployed(folder: Path, commands: dict[str, str]) -> Iterator[Cluster]:
    """A cluster whose node knows all these images: image -> command line."""
    machine = Machine(folder, environment={"OMP_NUM_THREADS": "1"})
    made = Cluster(machine, folder, commands)
    try:
        machine.start_api()
        made.know(*commands)
        definition = yaml.safe_load((ROOT / "crds" / "carryon.dev_generationjobs.yaml").read_text())
        machine.request("POST", CRDS, definition)
        # As one who ended well has left it: nobody has to wait for the first leader.
        machine.request("POST", LEASES, {"metadata": {"name": LEASE}, "spec": {"leaseTransitions": 1}})
        yield made
    finally:
        made.close()


def units_of(pod: dict[str, Any]) -> list[str]:
    """The items of a pod."""
    return list(json.loads(pod["metadata"]["annotations"][names.ANNOTATION_UNITS]))


def image_of(pod: dict[str, Any]) -> str:
    """The image of a pod's worker."""
    image: str = pod["spec"]["containers"][0]["image"]
    return image


def uid(pod: dict[str, Any]) -> str:
    """A pod's UID."""
    text: str = pod["metadata"]["uid"]
    return text
