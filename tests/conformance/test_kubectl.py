"""The real kubectl against the real API server."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kubectls import FAST, OLDEST, SLOW, VERSIONS, Kubectl, needs_kubectl, newest_first, parameters

CRD = Path(__file__).parents[2] / "crds" / "carryon.dev_generationjobs.yaml"
JOBS = "/apis/carryon.dev/v1alpha1/namespaces/default/generationjobs"


@needs_kubectl
def test_kubectl_is_installed() -> None:
    assert VERSIONS, f"install kubectl 1.{OLDEST} or newer"


def job(name: str, count: int = 15, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "items": {"count": count},
            "stages": [{"name": "clip", "generate": {"command": {"args": ["true"]}}}],
            **spec,
        },
    }


@pytest.fixture(scope="module", params=parameters(FAST, False) + parameters(SLOW, True))
def kubectl(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Any) -> Kubectl:
    made = Kubectl.of(request.param, tmp_path_factory, server)
    made("apply", "-f", str(CRD))
    made("wait", "--for=condition=Established", "crd/generationjobs.carryon.dev", "--timeout=5s")
    return made


@pytest.fixture(scope="module", params=newest_first(OLDEST))
def newest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: Any) -> Kubectl:
    made = Kubectl.of(request.param, tmp_path_factory, server)
    made("apply", "-f", str(CRD))
    return made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of the test's own."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-38:].strip("-")


@needs_kubectl
def test_a_job_is_applied_changed_and_deleted(kubectl: Kubectl, name: str) -> None:
    assert "created" in kubectl("apply", "-f", "-", given=job(name))
    assert "unchanged" in kubectl("apply", "-f", "-", given=job(name))
    assert "configured" in kubectl("apply", "-f", "-", given=job(name, parallelism=3))
    assert kubectl.server.get(f"{JOBS}/{name}")["spec"]["parallelism"] == 3
    assert "patched" in kubectl("patch", "gj", name, "--type", "merge", "-p", '{"spec":{"suspend":true}}')
    lines = kubectl("get", "gj", name).splitlines()
    assert lines[0].split() == ["NAME", "PHASE", "PROGRESS", "FAILED", "ACTIVE", "AGE", "MESSAGE"]
    assert lines[1].split()[0] == name
    assert "deleted" in kubectl("delete", "gj", name)
    assert kubectl.server.request("GET", f"{JOBS}/{name}").status == 404


@needs_kubectl
def test_a_typo_is_refused_before_it_is_stored(kubectl: Kubectl, name: str) -> None:
    ended = kubectl.run("apply", "-f", "-", given=job(name, paralelism=3))
    assert ended.returncode != 0
    assert 'unknown field "spec.paralelism"' in ended.stderr
    assert kubectl.server.request("GET", f"{JOBS}/{name}").status == 404


@needs_kubectl
def test_a_rule_of_the_crd_speaks_through_kubectl(newest: Kubectl, name: str) -> None:
    ended = newest.run("apply", "-f", "-", given=job(name, items={}))
    assert ended.returncode == 1
    assert "spec.items: Invalid value: items" in ended.stderr


@needs_kubectl
def test_server_side_apply_takes_over_and_conflicts(newest: Kubectl, name: str) -> None:
    newest("apply", "-f", "-", given=job(name))
    assert "serverside-applied" in newest(
        "apply", "--server-side", "--force-conflicts", "-f", "-", given=job(name, parallelism=2)
    )
    other = job(name, parallelism=4)
    ended = newest.run("apply", "--server-side", "--field-manager=other", "-f", "-", given=other)
    assert ended.returncode == 1
    assert 'conflict with "kubectl"' in ended.stderr
    newest("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", given=other)
    assert newest.server.get(f"{JOBS}/{name}")["spec"]["parallelism"] == 4


@needs_kubectl
def test_labels_and_annotations_are_set_and_selected(newest: Kubectl, name: str) -> None:
    newest("apply", "-f", "-", given=job(name))
    newest("label", "gj", name, "team=film", "draft=yes")
    newest("label", "gj", name, "draft-")
    newest("annotate", "gj", name, "note=a b")
    metadata = newest.server.get(f"{JOBS}/{name}")["metadata"]
    assert metadata["labels"] == {"team": "film"}
    assert metadata["annotations"]["note"] == "a b"
    assert name in newest("get", "gj", "-A", "-l", "team in (film,music),!draft")
    assert "No resources" in newest.run("get", "gj", "-l", "team!=film,team").stderr


@needs_kubectl
def test_replace_diff_and_dry_run_leave_no_trace_but_the_replacement(newest: Kubectl, name: str) -> None:
    newest("create", "-f", "-", given=job(name))
    version = newest.server.get(f"{JOBS}/{name}")["metadata"]["resourceVersion"]
    assert newest.run("diff", "-f", "-", given=job(name, parallelism=7)).returncode == 1
    newest("apply", "--dry-run=server", "-f", "-", given=job(name, parallelism=7))
    assert newest.server.get(f"{JOBS}/{name}")["metadata"]["resourceVersion"] == version
    newest("replace", "-f", "-", given=job(name, parallelism=5))
    assert newest.server.get(f"{JOBS}/{name}")["spec"]["parallelism"] == 5


@needs_kubectl
def test_wait_ends_with_the_condition(kubectl: Kubectl, name: str) -> None:
    kubectl("apply", "-f", "-", given=job(name))
    waiting = kubectl.start("wait", f"gj/{name}", "--for=condition=Succeeded", "--timeout=20s")
    by_path = kubectl.start("wait", f"gj/{name}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s")
    time.sleep(0.5)  # both are most likely watching by now; either way they must end
    condition = {
        "type": "Succeeded",
        "status": "True",
        "reason": "AllDone",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    kubectl.server.patch(f"{JOBS}/{name}/status", {"status": {"phase": "Succeeded", "conditions": [condition]}})
    try:
        for process in (waiting, by_path):
            out, errors = process.communicate(timeout=40)
            assert (process.returncode, "condition met" in out) == (0, True), errors
    finally:
        for process in (waiting, by_path):
            process.kill()


@needs_kubectl
def test_get_watch_prints_rows_as_the_job_moves(kubectl: Kubectl, name: str, wait_until: Any) -> None:
    kubectl("apply", "-f", "-", given=job(name))
    watching = kubectl.start("get", "gj", name, "-w")
    lines: list[str] = []
    assert watching.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(watching.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        wait_until(lambda: len(lines) >= 2, "the first row")
        for done in ("1/15", "2/15"):
            kubectl.server.patch(f"{JOBS}/{name}/status", {"status": {"phase": "Running", "progress": done}})
            wait_until(lambda done=done: any(done in line for line in lines), f"the row with {done}")
    finally:
        watching.kill()
        watching.wait(timeout=5)
        reader.join(timeout=5)
        watching.communicate(timeout=5)


@needs_kubectl
def test_describe_shows_the_object_and_its_events(newest: Kubectl, name: str) -> None:
    newest("apply", "-f", "-", given=job(name))
    stored = newest.server.get(f"{JOBS}/{name}")
    newest.server.create(
        "/api/v1/namespaces/default/events",
        {
            "metadata": {"generateName": "e."},
            "involvedObject": {
                "apiVersion": "carryon.dev/v1alpha1",
                "kind": "GenerationJob",
                "namespace": "default",
                "name": name,
                "uid": stored["metadata"]["uid"],
            },
            "reason": "Launched",
            "message": "three pods",
            "type": "Normal",
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "source": {"component": "carryon"},
        },
    )
    described = newest("describe", "gj", name)
    assert re.search(r"Normal\s+Launched\s+.*carryon\s+three pods", described)
    assert "three pods" in newest("events", "--for", f"generationjob/{name}")
    assert "three pods" in newest("get", "events")


@needs_kubectl
def test_explain_reads_the_schema(newest: Kubectl) -> None:
    explained = newest("explain", "gj.spec.stages")
    assert "FIELD: stages" in explained
    assert "generate" in explained
    assert "parallelism" in newest("explain", "gj", "--recursive")


@needs_kubectl
def test_the_built_in_kinds_are_applied(newest: Kubectl, name: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"key": "value"}}
    newest("apply", "-f", "-", given=secret)
    assert newest("get", "secret", name, "-o", "jsonpath={.data.key}") == "dmFsdWU="
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    newest("apply", "-f", "-", given=space)
    inside = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": name}, "data": {"a": "b"}}
    newest("apply", "-f", "-", given=inside)
    newest("delete", "ns", name, "--timeout=20s")
    assert newest.server.request("GET", f"/api/v1/namespaces/{name}/configmaps/c").status == 404
    assert "generationjobs" in newest("api-resources")
    assert newest("get", "--raw", "/healthz") == "ok"
    assert "Server Version" in newest("version")


@needs_kubectl
def test_what_kubectl_sends_as_protobuf_is_read(newest: Kubectl, name: str) -> None:
    """From 1.32 on; older ones send the same as JSON."""
    assert "created" in newest("create", "configmap", name, "--from-literal=a=b")
    assert newest("get", "configmap", name, "-o", "jsonpath={.data}") == '{"a":"b"}'
    assert "created" in newest("create", "secret", "generic", name, "--from-literal=key=value")
    assert newest("get", "secret", name, "-o", "jsonpath={.data.key} {.type}") == "dmFsdWU= Opaque"
    assert "created" in newest("create", "serviceaccount", name)
    assert "created" in newest("create", "namespace", name)
    assert newest("get", "ns", name, "-o", "jsonpath={.status.phase}") == "Active"
    assert newest("auth", "can-i", "create", "gj").strip() == "yes"
    assert "*.*" in newest("auth", "can-i", "--list")
    assert "Username" in newest("auth", "whoami")
    ended = newest.run("create", "configmap", name, "--from-literal=a=b")
    assert f'configmaps "{name}" already exists' in ended.stderr
