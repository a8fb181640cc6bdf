"""Workers are deployed while a clip is half made: it goes on with the one that began it, as long as that can be had."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from carryon_core import names
from nodes import Machine
from processes import free_port, kubeconfig, until
from reels import versions

ROOT = Path(__file__).parents[2]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JOBS = f"/apis/{names.API_VERSION}/namespaces/default/{names.PLURAL}"
OLD, NEW = (f"registry/worker@sha256:{digit * 64}" for digit in "ab")
WORKER = f"{sys.executable} -m carryon_worker"
# Another switch that kernels are chosen by: it changes nothing on a CPU, but who can know.
COMMANDS = {OLD: WORKER, NEW: f"env NVIDIA_TF32_OVERRIDE=1 {WORKER}"}
STEPS = 400


@dataclass
class Cluster:
    """A machine, and an operator that is deployed with one default worker or another."""

    machine: Machine
    folder: Path
    operator: subprocess.Popen[bytes] | None = None

    def deploy(self, image: str) -> None:
        """A new operator, whose default worker is this one."""
        self.stop_operator()
        config = kubeconfig(self.machine.server, token="secret")
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(config))
        with (self.folder / "operator.log").open("ab") as log:
            self.operator = subprocess.Popen(
                [
                    *(sys.executable, "-m", "carryon_operator", "--kubeconfig", str(self.folder / "kubeconfig")),
                    *("--default-store", self.output.as_uri(), "--file-root", "/", "--worker-image", image),
                    *("--health", f"127.0.0.1:{free_port()}"),
                ],
                stdout=log,
                stderr=log,
                env={key: value for key, value in os.environ.items() if not key.startswith("CARRYON_")},
            )

    def stop_operator(self) -> None:
        if self.operator is not None:
            self.operator.send_signal(signal.SIGTERM)
            self.operator.wait(30)

    def know(self, *images: str) -> None:
        """The node starts again, and knows these images."""
        if self.machine.node is not None:
            self.machine.stop_node(signal.SIGTERM)
        self.machine._arguments = tuple(part for each in images for part in ("--image", f"{each}={COMMANDS[each]}"))
        self.machine.start_node()

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def job(self) -> dict[str, Any]:
        return self.machine.request("GET", f"{JOBS}/film")

    def half_made(self, item: int) -> bool:
        at = self.output / "default" / "film" / "clip" / str(item)
        return any(at.rglob("journal/*/*/*.safetensors")) and not any(at.rglob("done.json"))

    def at_work(self, item: int) -> dict[str, Any] | None:
        """The pod that runs with this item."""
        for pod in self.machine.request("GET", "/api/v1/namespaces/default/pods")["items"]:
            running = (pod.get("status") or {}).get("phase") == "Running"
            if running and json.loads(pod["metadata"]["annotations"][names.ANNOTATION_UNITS]) == [str(item)]:
                return dict(pod)
        return None

    def image(self, item: int) -> str:
        pod = until(lambda: self.at_work(item), 60, f"a pod for item {item}")
        image: str = pod["spec"]["containers"][0]["image"]
        return image

    def made(self, item: int) -> dict[str, Any]:
        (version,) = versions(self.output / "default" / "film")[f"clip/{item}"]
        return version.done

    def events(self) -> list[str]:
        found = self.machine.request("GET", "/api/v1/namespaces/default/events")["items"]
        return [each["message"] for each in found if each["reason"] == "CheckpointNotResumable"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    machine = Machine(tmp_path, environment={"OMP_NUM_THREADS": "1"})
    made = Cluster(machine, tmp_path)
    machine.start_api()
    made.know(OLD, NEW)
    definition = yaml.safe_load((ROOT / "crds" / "carryon.dev_generationjobs.yaml").read_text())
    machine.request("POST", CRDS, definition)
    yield made
    made.stop_operator()
    machine.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_deploy_costs_no_step_and_an_image_that_is_gone_says_what_it_cost(cluster: Cluster, tmp_path: Path) -> None:
    model = tmp_path / "tiny-video"
    subprocess.run([sys.executable, str(ROOT / "examples" / "tiny_pipeline.py"), str(model)], check=True)
    params = {"prompt": "a red kite", "num_frames": 9, "height": 64, "width": 64, "num_inference_steps": STEPS}
    clip = {"name": "clip", "generate": {"diffusers": {"model": str(model), "dtype": "float32", "params": params}}}
    spec = {
        "items": {"count": 2},
        "parallelism": 1,
        "checkpoint": {"everySeconds": 1},
        "retry": {"backoff": {"initial": "1s"}},
        "stages": [clip],
    }
    cluster.deploy(OLD)
    job = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "film"}, "spec": spec}
    until(lambda: cluster.machine.request("POST", JOBS, job), what="the job's resource")

    until(lambda: cluster.half_made(0), 120, "half a clip")
    killed = cluster.at_work(0)
    assert killed is not None
    cluster.deploy(NEW)
    cluster.machine.delete(killed["metadata"]["name"])
    cluster.machine.gone(killed["metadata"]["name"], 60)
    assert cluster.image(0) == OLD
    until(lambda: not cluster.half_made(0), 180, "the clip")
    assert cluster.image(1) == NEW, "what nothing is left of gets the new worker"
    resume = cluster.made(0)["resume"]
    assert resume["replayed"] > 0
    assert resume["refused"] == ""

    until(lambda: cluster.half_made(1), 120, "half of the other clip")
    cluster.machine.request("PATCH", f"{JOBS}/film", {"spec": {"suspend": True}})
    until(lambda: cluster.job()["status"]["phase"] == "Suspended", 60, "the pause")
    assert cluster.job()["status"]["stages"][0]["images"] == {NEW: "1"}
    cluster.know(OLD)
    cluster.deploy(OLD)
    cluster.machine.request("PATCH", f"{JOBS}/film", {"spec": {"suspend": False}})
    assert cluster.image(1) == OLD
    until(lambda: cluster.job()["status"]["phase"] == "Succeeded", 180, "the end")
    status, resume = cluster.job()["status"], cluster.made(1)["resume"]
    assert "NVIDIA_TF32_OVERRIDE 1 -> None" in resume["refused"]
    assert (resume["misfit"], resume["replayed"]) == ("switches", 0)
    assert status["counters"]["notResumable"] == 1
    assert status["gpuSeconds"]["saved"] > 0
    (told,) = until(cluster.events, what="the Event")
    assert told.startswith('stage "clip", item "1": NVIDIA_TF32_OVERRIDE 1 -> None')
