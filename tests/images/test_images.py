"""The images as a cluster runs them: without root, without capabilities, on a root file system that is read-only.

The API server is the embedded one, and the test is the kubelet: what a pod says becomes arguments of podman.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml

from carryon_core import names
from chart_release import environment, manifests
from status_site import ADMIN, JOBS, Site

pytestmark = [pytest.mark.images, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
PODS = "/api/v1/namespaces/default/pods"
USER = 10001
RESTRICTED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{USER}:{USER}")
SHELLS = ("/bin/sh", "/bin/bash", "/bin/dash")


@pytest.fixture(scope="module")
def images() -> tuple[str, str, str]:
    """Control plane, worker, and a worker in an image of somebody's own."""
    given = os.environ.get("CARRYON_TEST_IMAGES", "").split()
    assert len(given) == 3, "run them with `make test-images`"
    control, worker, own = given
    return control, worker, own


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def run(image: str, *command: str, network: str = "none", volumes: Mapping[Path, str] | None = None) -> str:
    """What a program in an image writes, run as on a cluster."""
    mounts = [each for host, inside in (volumes or {}).items() for each in ("--volume", f"{host}:{inside}")]
    entry = ("--entrypoint", command[0])
    return podman("run", "--rm", "--network", network, *RESTRICTED, *mounts, *entry, image, *command[1:])


def until(true: Callable[[], Any], what: Callable[[], str], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)
    return found


def installed(image: str) -> set[str]:
    """Names of the Python packages in an image's environment."""
    code = "from importlib.metadata import distributions as d; print(*{each.name.lower() for each in d()})"
    return set(run(image, "python", "-c", code).split())


def importable(image: str, *modules: str) -> set[str]:
    code = "import importlib.util, sys; print(*(m for m in sys.argv[1:] if importlib.util.find_spec(m)))"
    return set(run(image, "python", "-c", code, *modules).split())


PARTS = ("carryon_core", "carryon_store", "carryon_jobs", "carryon_kube", "carryon_operator", "carryon_api",
         "carryon_worker", "carryon_standalone")  # fmt: skip


def test_the_control_plane_has_no_worker_and_no_torch(images: tuple[str, str, str]) -> None:
    control = images[0]
    assert importable(control, *PARTS) == set(PARTS) - {"carryon_worker", "carryon_standalone"}
    assert installed(control) & {"torch", "diffusers", "transformers", "pip"} == set()


def test_the_worker_has_no_operator_and_no_kubernetes(images: tuple[str, str, str]) -> None:
    worker = images[1]
    assert importable(worker, *PARTS) == {"carryon_core", "carryon_store", "carryon_worker"}
    assert installed(worker) & {"kopf", "kubernetes", "aiohttp", "fastapi", "pip"} == set()
    assert importable(worker, "torch", "diffusers", "transformers") == {"torch", "diffusers", "transformers"}


def test_versions_are_those_of_the_lock(images: tuple[str, str, str]) -> None:
    code = "from importlib.metadata import distributions as d; print(*{f'{e.name}=={e.version}' for e in d()})"
    locked = dict(
        line.split(" ;")[0].split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    )
    twice = {"networkx", "numpy", "scipy"}  # Of one version for each Python.
    for image in images[:2]:
        found = dict(each.split("==") for each in run(image, "python", "-c", code).split())
        assert {name for name, version in found.items() if locked.get(name, version) != version} - twice == set()


def test_a_torch_that_is_installed_already_stays(images: tuple[str, str, str]) -> None:
    assert run(images[2], "python3", "-c", "import torch; print(torch.__version__)").strip() == torch.__version__


@pytest.mark.parametrize("which", [0, 1])
def test_an_image_says_what_it_is_and_does_not_want_to_be_root(images: tuple[str, str, str], which: int) -> None:
    (found,) = json.loads(podman("image", "inspect", images[which]))
    config, labels = found["Config"], found["Labels"]
    assert config["User"] == f"{USER}:{USER}"
    assert labels["org.opencontainers.image.title"] == ("carryon", "carryon-worker")[which]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert images[which].endswith(f":{labels['org.opencontainers.image.version']}")
    assert not any("index-url" in json.dumps(each) for each in found["History"])


@pytest.mark.parametrize(("which", "program"), [(0, "carryon-operator"), (0, "carryon-api"), (1, "carryon-worker")])
def test_no_program_needs_a_shell(images: tuple[str, str, str], which: int, program: str) -> None:
    mounts = [each for shell in SHELLS for each in ("--volume", f"/dev/null:{shell}:ro")]
    # It says what is missing by itself, and that is not a shell.
    done = subprocess.run(
        ["podman", "run", "--rm", "--network", "none", *RESTRICTED, *mounts, "--entrypoint", program, images[which]],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    missing = {"carryon-worker": names.ENV_ASSIGNMENT}.get(program, "cannot connect to Kubernetes")
    assert missing in done.stderr, done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, replicas=0) as made:
        made.kube("POST", "/api/v1/namespaces", {"metadata": {"name": "carryon-system"}})
        yield made


@contextmanager
def component(name: str, image: str, site: Site, shared: Path) -> Iterator[str]:
    """The operator or the API in a container, with the settings of the chart; where it serves."""
    kubeconfig = site.folder / "kubeconfig.admin"
    text = yaml.safe_load((site.folder / "kubeconfig").read_text())
    text["users"][0]["user"]["token"] = ADMIN
    kubeconfig.write_text(yaml.safe_dump(text))
    kubeconfig.chmod(0o644)
    variables = environment(manifests({"fileRoot": "/bucket", "worker": {"resources": {"limits": None}}}), name) | {
        "KUBECONFIG": "/kubeconfig",
        "CARRYON_HEALTH": "127.0.0.1:0",
        "CARRYON_API_LISTEN": "127.0.0.1",
        "CARRYON_API_PORT": "0",
    }
    container = f"carryon-test-{name}-{os.getpid()}"
    arguments = [each for key, value in variables.items() for each in ("--env", f"{key}={value}")]
    mounts = ["--volume", f"{kubeconfig}:/kubeconfig:ro", "--volume", f"{shared}:/bucket"]
    # What a pod has as emptyDir; the rest can't be written to.
    mounts += ["--tmpfs", "/var/tmp" if name == "api" else "/tmp"]
    podman("run", "--detach", "--name", container, "--network", "host", *RESTRICTED, *arguments, *mounts, image,
           f"carryon-{name}")  # fmt: skip

    def serves() -> str | None:
        said = subprocess.run(["podman", "logs", container], capture_output=True, text=True)
        found = [word for word in (said.stdout + said.stderr).split() if word.startswith("http://127.0.0.1:")]
        return found[0].split(",")[0].removesuffix("/livez") if found else None

    def logs() -> str:
        said = subprocess.run(["podman", "logs", container], capture_output=True, text=True)
        return f"{name}:\n{said.stdout}{said.stderr}"

    try:
        yield until(serves, logs)
    except AssertionError:
        print(logs())
        raise
    finally:
        podman("rm", "--force", "--time", "30", container)


def kubelet(pod: Mapping[str, Any], claims: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Run a pod to its end as its spec says; its status.

    Args:
        pod: As the API server has it.
        claims: Name of a PersistentVolumeClaim -> what is behind it.
        folder: For what the pod has for itself.
    """
    own = folder / pod["metadata"]["uid"]
    own.mkdir(parents=True)
    message = own / "termination-log"
    message.touch()
    message.chmod(0o666)
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    fields = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.uid": pod["metadata"]["uid"],
        "status.podIP": "127.0.0.1",
    }
    arguments = ["--volume", f"{message}:/dev/termination-log"]
    for each in container["env"]:
        value = each["value"] if "value" in each else fields[each["valueFrom"]["fieldRef"]["fieldPath"]]
        arguments += ["--env", f"{each['name']}={value}"]
    volumes = {each["name"]: each for each in spec["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "emptyDir" in volume:
            behind = own / volume["name"]
            behind.mkdir(exist_ok=True)
            behind.chmod(0o777)
        else:
            behind = claims[volume["persistentVolumeClaim"]["claimName"]]
        arguments += ["--volume", f"{behind}:{mount['mountPath']}"]
    security, holder = container["securityContext"], spec["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (holder["runAsUser"], holder["runAsGroup"]) == (USER, USER)
    done = subprocess.run(
        ["podman", "run", "--rm", "--network", "none", *RESTRICTED, *arguments, container["image"]],
        capture_output=True,
        text=True,
    )
    print(f"{pod['metadata']['name']}: {done.returncode}\n{done.stdout}{done.stderr}")
    at = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z"}
    terminated = {"exitCode": done.returncode, "message": message.read_text(), **at}
    ended = {"name": names.CONTAINER, "state": {"terminated": terminated}}
    return {"phase": "Failed" if done.returncode else "Succeeded", "containerStatuses": [ended]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([sys.executable, ROOT / "examples/tiny_pipeline.py", "--image", folder], check=True)
    return folder


def reel(own: str) -> dict[str, Any]:
    """Two pictures by our worker, and a text about each by somebody's own."""
    claim = {"name": "files", "persistentVolumeClaim": {"claimName": "files"}}
    models = {"name": "tiny", "persistentVolumeClaim": {"claimName": "tiny"}}
    mounts = [{"name": "files", "mountPath": "/bucket"}, {"name": "tiny", "mountPath": "/models", "readOnly": True}]
    picture = {
        "model": "/models/tiny",
        "dtype": "float32",
        "params": {"prompt": "dunes", "num_inference_steps": 2, "height": 64, "width": 64},
    }
    program = "import os, pathlib; pathlib.Path(os.environ['CARRYON_OUTPUT'], 'note.txt').write_text('dunes')"
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "reel"},
        "spec": {
            "items": {"count": 2},
            "parallelism": 1,
            "output": {"uri": "file:///bucket/renders"},
            "podTemplate": {
                "spec": {
                    "volumes": [claim, models],
                    "containers": [{"name": names.CONTAINER, "volumeMounts": mounts}],
                }
            },
            "stages": [
                {"name": "picture", "generate": {"diffusers": picture}},
                {
                    "name": "note",
                    "after": ["picture"],
                    "image": own,
                    "generate": {"command": {"args": ["python3", "-c", program]}},
                },
            ],
        },
    }


def test_a_job_is_made_by_the_images_alone(
    images: tuple[str, str, str], site: Site, tmp_path: Path, model: Path
) -> None:
    control, worker, own = images
    shared = tmp_path / "shared"
    shared.mkdir()
    for each in (shared, *model.rglob("*"), model, model.parent):
        shutil.chown(each, USER, USER)
    job = reel(own)
    job["spec"]["stages"][0]["image"] = worker
    with component("operator", control, site, shared) as operator:
        until(lambda: httpx.get(f"{operator}/readyz", trust_env=False).status_code == 200, lambda: "not ready")
        site.kube("POST", JOBS, job)
        ran: set[str] = set()

        def ended() -> Any:
            for pod in site.kube("GET", PODS)["items"]:
                if pod["metadata"]["uid"] not in ran and "deletionTimestamp" not in pod["metadata"]:
                    ran.add(pod["metadata"]["uid"])
                    status = kubelet(pod, {"tiny": model.parent, "files": shared}, tmp_path / "pods")
                    path = f"{PODS}/{pod['metadata']['name']}/status"
                    site.ask("PATCH", path, {"status": status})
            status = site.kube("GET", f"{JOBS}/reel").get("status") or {}
            return status if status.get("phase") in ("Succeeded", "Failed", "Stalled") else None

        status = until(ended, lambda: str(site.kube("GET", f"{JOBS}/reel").get("status")), 300)
        assert status["phase"] == "Succeeded", status
        assert len(ran) == 4
    made = sorted(path.name for path in (shared / "renders").rglob("*") if path.suffix in (".png", ".txt"))
    assert [name.partition(".")[0] for name in made] == ["image", "image", "note", "note"]

    with component("api", control, site, shared) as api:
        page = httpx.Client(base_url=api, headers={"Authorization": f"Bearer {ADMIN}"}, trust_env=False, timeout=30)
        until(lambda: page.get("/readyz").status_code == 200, lambda: page.get("/readyz").text)
        assert "<title>" in page.get("/").text
        found = page.get("/api/v1/namespaces/default/jobs/reel/units/note/1").json()
        assert found["artifacts"][0]["size"] == len("dunes"), found
