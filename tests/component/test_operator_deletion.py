"""Artifacts that go with their job, and a finalizer that never holds anything for long."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_kube.errors import Conflict, Unavailable
from carryon_operator.deletion import PATIENCE
from carryon_operator.plan.counting import DEAD_AFTER
from carryon_store import open_store
from carryon_store.deleting import DELETED_AT_ONCE
from fake_apiserver import Fault, eventually
from reconciling import KEY, World, world

JOB = f"generationjobs/{KEY}"


def output(folder: Path, on_delete: str = "Delete") -> dict[str, Any]:
    return {"output": {"uri": folder.as_uri(), "onDelete": on_delete}}


def finalizers(w: World) -> list[str]:
    return list(w.server.objects[JOB]["metadata"].get("finalizers", []))


def made(folder: Path, count: int = 1) -> Path:
    """The folder of the job's artifacts, with some in it; what lies beside it is not the job's."""
    for number in range(count):
        artifact = folder / "default" / "reel" / "clip" / str(number) / "0123456789abcdef" / "clip.mp4"
        artifact.parent.mkdir(parents=True, exist_ok=True)
        artifact.write_text("frames")
    (folder / "default" / "reel-2").mkdir(exist_ok=True)
    (folder / "default" / "reel-2" / "kept").write_text("of another job")
    return folder / "default" / "reel"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def delete(w: World) -> None:
    w.server.clock = lambda: w.now
    w.server.delete("generationjobs", "reel")
    w.ring()


async def test_the_finalizer_is_there_before_the_first_pod(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(**output(tmp_path / "out"))
        w.server.faults += [Fault(503, "PATCH")] * 5
        with pytest.raises(Unavailable):
            await w.reconcile()
        assert w.ours() == []
        w.server.faults.clear()
        await w.reconcile()
        assert finalizers(w) == [names.FINALIZER]
        assert len(w.ours()) == 3


async def test_finalizers_of_others_stay(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(**output(tmp_path / "out"))
        w.server.put("generationjobs", "reel", **{**w.server.objects[JOB], "metadata": {"finalizers": ["a/b"]}})
        with pytest.raises(Conflict):
            await w.reconcile()
        w.ring()
        await w.reconcile()
        assert finalizers(w) == ["a/b", names.FINALIZER]
        w.write(**output(tmp_path / "out", "Retain"))
        await w.reconcile()
        assert finalizers(w) == ["a/b"]


async def test_a_job_that_keeps_its_artifacts_has_no_finalizer_and_no_write_for_it(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(**output(tmp_path / "out", "Retain"))
        await w.reconcile()
        assert finalizers(w) == []
        assert not [each for each in w.server.requests("PATCH") if not each.path.endswith("/status")]


async def test_pods_go_first_then_what_they_made_then_the_job(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(**output(tmp_path / "out"))
        await w.reconcile()
        folder = made(tmp_path / "out", 3)
        for pod in w.ours():  # As long as a kubelet ends it.
            metadata = {**pod["metadata"], "finalizers": ["kubelet/ends-it"]}
            del metadata["resourceVersion"]
            w.server.put("pods", pod["metadata"]["name"], **{**pod, "metadata": metadata})
        await delete(w)
        await w.reconcile()
        await eventually(lambda: all(pod.gone_by for pod in w.pods))
        await w.reconcile()
        assert all("deletionTimestamp" in pod["metadata"] for pod in w.ours())
        assert len(files(folder)) == 4, "artifacts of three units, and the items"
        for pod in w.ours():
            w.server.remove("pods", pod["metadata"]["name"])
        await eventually(lambda: len(w.pods) == 0)
        await w.reconcile()
        assert files(folder) == []
        assert JOB not in w.server.objects
        assert len(files(tmp_path / "out")) == 1
        assert w.events() == []


async def test_a_pod_on_a_lost_node_holds_nothing(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(items={"count": 1}, **output(tmp_path / "out"))
        await w.reconcile()
        (pod,) = w.ours()
        metadata = {**pod["metadata"], "finalizers": ["kubelet/ends-it"]}
        del metadata["resourceVersion"]
        w.server.put("pods", pod["metadata"]["name"], **{**pod, "metadata": metadata})
        await delete(w)
        await w.reconcile()
        await eventually(lambda: all(pod.gone_by for pod in w.pods))
        wait = await w.reconcile()
        assert wait is not None
        assert wait <= DEAD_AFTER
        w.now += DEAD_AFTER
        await w.reconcile()
        assert JOB not in w.server.objects


async def test_many_artifacts_are_deleted_step_by_step(tmp_path: Path) -> None:
    async with world(tmp_path / "out", longest=30.0) as w:
        w.write(suspend=True, **output(tmp_path / "out"))
        await w.reconcile()
        folder = made(tmp_path / "out", DELETED_AT_ONCE + 1)
        await delete(w)
        assert await w.reconcile() == 0.0
        assert files(folder)
        await w.reconcile()
        assert not files(folder)
        assert JOB not in w.server.objects


async def test_a_job_whose_spec_says_retain_by_now_goes_at_once_and_leaves_its_artifacts(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        w.write(suspend=True, **output(tmp_path / "out"))
        await w.reconcile()
        folder = made(tmp_path / "out")
        await delete(w)
        w.write(**output(tmp_path / "out", "Retain"))
        await w.reconcile()
        assert JOB not in w.server.objects
        assert files(folder)


S3 = {
    "uri": "s3://carryon-test/reels",
    "endpoint": "http://127.0.0.1:1",
    "credentialsSecret": {"name": "keys"},
    "onDelete": "Delete",
}


async def bucket_job(w: World, **where: Any) -> None:
    secret = {key: base64.b64encode(b"key").decode() for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    w.server.put("secrets", "keys", data=secret)
    w.write(suspend=True, output={**S3, **where})
    await w.reconcile()
    assert finalizers(w) == [names.FINALIZER]


@pytest.mark.parametrize("trouble", ["no bucket", "no Secret", "no right to read it"])
async def test_artifacts_that_cannot_be_deleted_stay_after_a_while_and_an_event_says_so(
    tmp_path: Path, trouble: str
) -> None:
    async with world(tmp_path / "out") as w:
        await bucket_job(w)
        if trouble == "no Secret":
            w.server.remove("secrets", "keys")
        elif trouble == "no right to read it":
            w.server.faults += [Fault(403, path="/secrets/")] * 9
        w.ticks += 300  # By then the keys that were read before are used no more.
        await delete(w)
        wait = await w.reconcile()
        assert wait is not None
        assert 0 < wait <= 10
        assert JOB in w.server.objects
        w.now += PATIENCE
        await w.reconcile()
        assert JOB not in w.server.objects
        await eventually(lambda: "ArtifactsKept" in w.events())
        (told,) = [each["message"] for each in w.server.objects.values() if each.get("reason") == "ArtifactsKept"]
        assert told.startswith("spec.output.onDelete is Delete, but s3://carryon-test/reels/default/reel/ stays: ")


async def test_a_secret_that_comes_back_in_time_is_used(tmp_path: Path, moto_config: StoreConfig) -> None:
    store = open_store(moto_config)
    async with world(tmp_path / "out", longest=30.0) as w:
        await bucket_job(w, uri=moto_config.uri, endpoint=moto_config.endpoint)
        store.put("default/reel/clip/0/0123456789abcdef/clip.mp4", b"frames", content_type="video/mp4")
        store.put("default/reel-2/kept", b"of another job", content_type="text/plain")
        secret = w.server.objects["secrets/default/keys"]
        w.server.remove("secrets", "keys")
        w.ticks += 300  # By then the keys that were read before are used no more.
        await delete(w)
        await w.reconcile()
        assert JOB in w.server.objects
        w.server.put("secrets", "keys", data=secret["data"])
        await w.reconcile()
        assert JOB not in w.server.objects
        assert [each.key for each in store.list()] == ["default/reel-2/kept"]


async def test_a_namespace_that_is_being_deleted_is_not_held_up(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        await bucket_job(w)
        w.server.remove("secrets", "keys")
        w.server.ending.add("default")
        await delete(w)
        await w.reconcile()
        assert JOB not in w.server.objects
