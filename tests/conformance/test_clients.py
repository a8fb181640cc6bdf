"""Clients that people write programs with, in their basic loops: the Python client in all its forms, and kopf."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes import aio, client, config, dynamic, informer, watch
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from apiservers import Client

GROUP, VERSION, PLURAL, SPACE = "media.example.com", "v1alpha1", "mediajobs", "default"
JOBS = f"/apis/{GROUP}/{VERSION}/namespaces/{SPACE}/{PLURAL}"
OWN = (GROUP, VERSION, SPACE, PLURAL)


def job(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "MediaJob",
        "metadata": {"name": name},
        "spec": {"prompt": "hello", **spec},
    }


def pod(name: str) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1"}]
    return {"metadata": {"name": name}, "spec": {"schedulerName": "nobody", "containers": containers}}


@pytest.fixture(scope="module")
def api(server: Client) -> client.ApiClient:
    return config.new_client_from_config(config_file=str(server.kubeconfig))


def test_the_python_client_creates_patches_watches_and_deletes_pods(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_pod(SPACE, pod("python"))
    assert made.status.phase == "Pending"
    change = {"spec": {"containers": [{"name": "d", "image": "i:2"}]}}
    changed = core.patch_namespaced_pod("python", SPACE, change)
    assert [each.image for each in changed.spec.containers] == ["i:1", "i:2"]
    core.patch_namespaced_pod_status("python", SPACE, {"status": {"phase": "Running"}})
    changed = core.read_namespaced_pod("python", SPACE)
    assert changed.status.phase == "Running"
    changed.metadata.labels = {"seen": "yes"}
    core.replace_namespaced_pod("python", SPACE, changed)
    core.delete_namespaced_pod("python", SPACE, grace_period_seconds=0)
    events = watch.Watch().stream(
        core.list_namespaced_pod,
        SPACE,
        field_selector="metadata.name=python",
        resource_version=made.metadata.resource_version,
        timeout_seconds=10,
    )
    seen = []
    for event in events:
        seen.append((event["type"], event["object"].status.phase))
        if event["type"] == "DELETED":
            break
    assert seen[0] == ("MODIFIED", "Pending")
    assert ("MODIFIED", "Running") in seen
    with pytest.raises(client.ApiException) as gone:
        core.read_namespaced_pod("python", SPACE)
    assert (gone.value.status, gone.value.reason) == (404, "Not Found")


def test_the_python_client_reads_secrets_versions_and_rights(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_secret(SPACE, {"metadata": {"name": "python"}, "stringData": {"key": "value"}})
    assert core.read_namespaced_secret("python", SPACE).data == {"key": "dmFsdWU="}
    assert client.VersionApi(api).get_code().major == "1"
    attributes = client.V1ResourceAttributes(namespace=SPACE, verb="create", resource=PLURAL, group=GROUP)
    review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed is True


def test_the_python_client_drives_custom_objects(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*OWN, job("custom"))
    custom.patch_namespaced_custom_object(*OWN, "custom", {"spec": {"frames": 3}})
    custom.patch_namespaced_custom_object_status(*OWN, "custom", {"status": {"phase": "Running"}})
    found = custom.get_namespaced_custom_object(*OWN, "custom")
    assert (found["spec"]["frames"], found["status"]["phase"]) == (3, "Running")
    with pytest.raises(client.ApiException) as refused:
        custom.patch_namespaced_custom_object(*OWN, "custom", {"spec": {"frames": 0}})
    assert refused.value.status == 422
    listed = custom.list_namespaced_custom_object(*OWN, label_selector="", field_selector="metadata.name=custom")
    assert [each["metadata"]["name"] for each in listed["items"]] == ["custom"]
    assert custom.delete_namespaced_custom_object(*OWN, "custom")["status"] == "Success"


def test_the_dynamic_client_discovers_applies_and_watches(api: client.ApiClient, tmp_path: Path) -> None:
    found = dynamic.DynamicClient(api, cache_file=str(tmp_path / "discovery.json"))
    jobs = found.resources.get(api_version=f"{GROUP}/{VERSION}", kind="MediaJob")
    made = jobs.create(job("dynamic"), namespace=SPACE)
    merge = "application/merge-patch+json"
    jobs.patch({"metadata": {"name": "dynamic"}, "spec": {"frames": 2}}, namespace=SPACE, content_type=merge)
    applied = jobs.server_side_apply(
        job("dynamic", frames=5), namespace=SPACE, field_manager="me", force_conflicts=True
    )
    assert applied.spec.frames == 5
    done = {"metadata": {"name": "dynamic"}, "status": {"phase": "Done"}}
    assert jobs.status.patch(done, namespace=SPACE, content_type=merge).status.phase == "Done"
    jobs.delete(name="dynamic", namespace=SPACE)
    events = jobs.watch(namespace=SPACE, name="dynamic", resource_version=made.metadata.resourceVersion, timeout=10)
    types = []
    for event in events:
        types.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert types == ["MODIFIED"] * 3 + ["DELETED"]
    maps = found.resources.get(api_version="v1", kind="ConfigMap")
    assert maps.get(namespace=SPACE).kind == "ConfigMapList"


def test_an_informer_sees_what_was_there_and_what_comes(api: client.ApiClient, wait_until: Any) -> None:
    core = client.CoreV1Api(api)
    labels = {"informer": "yes"}
    core.create_namespaced_config_map(SPACE, {"metadata": {"name": "before", "labels": labels}})
    cache = informer.SharedInformer(core.list_namespaced_config_map, SPACE, label_selector="informer=yes")
    deleted: list[str] = []
    cache.add_event_handler("DELETED", lambda value: deleted.append(value.metadata.name))
    cache.start()
    try:
        wait_until(lambda: len(cache.cache.list()) == 1, "the first list")
        core.create_namespaced_config_map(SPACE, {"metadata": {"name": "after", "labels": labels}})
        wait_until(lambda: len(cache.cache.list()) == 2, "the new object")
        core.delete_namespaced_config_map("before", SPACE)
        wait_until(lambda: deleted == ["before"], "the deletion")
    finally:
        cache.stop()


async def test_the_asynchronous_client_does_the_same(server: Client) -> None:
    settings = aio.client.Configuration()
    await aio.config.load_kube_config(config_file=str(server.kubeconfig), client_configuration=settings)
    async with aio.client.ApiClient(settings) as api:
        core = aio.client.CoreV1Api(api)
        made = await core.create_namespaced_config_map(SPACE, {"metadata": {"name": "aio"}, "data": {"a": "b"}})
        await core.patch_namespaced_config_map("aio", SPACE, {"data": {"c": "d"}})
        assert (await core.read_namespaced_config_map("aio", SPACE)).data == {"a": "b", "c": "d"}
        await core.delete_namespaced_config_map("aio", SPACE)
        types = []
        async with aio.watch.Watch() as events:
            async for event in events.stream(
                core.list_namespaced_config_map,
                SPACE,
                field_selector="metadata.name=aio",
                resource_version=made.metadata.resource_version,
                timeout_seconds=10,
            ):
                types.append(event["type"])
                if event["type"] == "DELETED":
                    break
        assert types == ["MODIFIED", "DELETED"]
        custom = aio.client.CustomObjectsApi(api)
        await custom.create_namespaced_custom_object(*OWN, job("aio"))
        listed = await custom.list_namespaced_custom_object(*OWN, limit=1)
        assert len(listed["items"]) == 1
        await custom.delete_namespaced_custom_object(*OWN, "aio")


def test_one_of_two_candidates_leads_by_a_lease(api: client.ApiClient) -> None:
    client.Configuration.set_default(api.configuration)
    elections = []
    for name in ("first", "second"):
        lock = LeaseLock("leader", SPACE, name)
        elections.append(LeaderElection(Config(lock, 17, 15, 5, onstarted_leading=print, onstopped_leading=print)))
    assert [each.try_acquire_or_renew() for each in (*elections, elections[0])] == [True, False, True]
    lease = client.CoordinationV1Api(api).read_namespaced_lease("leader", SPACE)
    assert lease.spec.holder_identity == "first"


OPERATOR = """
import kopf

@kopf.on.startup()
def configured(settings, **_):
    settings.posting.enabled = True

@kopf.on.login()
def login(**arguments):
    return kopf.{login}(**arguments)

@kopf.on.create("media.example.com", "v1alpha1", "mediajobs")
def made(spec, **_):
    return {{"seen": spec["prompt"]}}

@kopf.on.field("media.example.com", "v1alpha1", "mediajobs", field="spec.frames")
def changed(new, patch, **_):
    patch.status["frames"] = new

@kopf.on.delete("media.example.com", "v1alpha1", "mediajobs")
def gone(**_):
    pass
"""


@pytest.mark.parametrize(
    "login",
    [
        "login_via_client",
        pytest.param("login_with_kubeconfig", marks=pytest.mark.slow),
    ],
)
def test_a_kopf_operator_handles_jobs_from_birth_to_death(
    server: Client, tmp_path: Path, wait_until: Any, login: str
) -> None:
    name = f"kopf-{login.replace('_', '-')}"
    server.create(JOBS, job(name))
    (tmp_path / "operator.py").write_text(OPERATOR.format(login=login))
    command = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", SPACE, str(tmp_path / "operator.py")]
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig)}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        status = lambda: server.get(f"{JOBS}/{name}").get("status") or {}  # noqa: E731
        wait_until(lambda: status().get("made") == {"seen": "hello"}, "the handler of the creation", 60)
        server.patch(f"{JOBS}/{name}", {"spec": {"frames": 7}})
        wait_until(lambda: status().get("frames") == 7, "the handler of the change", 60)
        assert server.get(f"{JOBS}/{name}")["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        server.delete(f"{JOBS}/{name}")
        wait_until(lambda: server.request("GET", f"{JOBS}/{name}").status == 404, "the handler of the deletion", 60)
    finally:
        process.terminate()
        process.wait(20)
    assert "Traceback" not in (tmp_path / "log").read_text()
