"""Journals in the bucket as the operator sees them: what a unit may go on from, which image began it, what may go."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carryon_core import layout, names
from carryon_core.done import Artifact, Done
from carryon_core.messages import StoreConfig, Termination, UnitOutcome, UnitReport
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_operator.bucket import BucketMemory
from carryon_operator.plan.model import Kept, PodRecord
from carryon_store import Store, open_store
from carryon_store.records import Origin, get_origin
from carryon_store.units import encode_done
from fake_apiserver import eventually
from reconciling import World, world

LATER, EARLIER = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
WORKER, OTHER = "a" * 64, "b" * 64
OLD, NEW = (f"registry/worker@sha256:{digit * 64}" for digit in "ab")


def film(*items: str, args: str = "x") -> ResolvedJob:
    stage = {"name": "clip", "generate": {"command": {"args": [args]}}}
    spec = {"items": {"list": [{"id": item} for item in items]}, "stages": [stage]}
    return resolve("default", "reel", JobSpec.model_validate(spec))


def put(store: Store, key: str, content: bytes = b"12345678") -> None:
    store.put(key, content, content_type="application/octet-stream")


def journal(store: Store, prefix: str, worker: str = WORKER, uid: str = "uid", **fields: Any) -> None:
    """What a worker leaves that is killed inside a unit."""
    told = {"worker image": "worker:1", "device": "NVIDIA L4, 8.9, 58 SM", "diffusers": "0.42.1", **fields}
    put(store, layout.journal_fields_key(prefix, worker), json.dumps(told).encode())
    put(store, layout.segment_key(prefix, worker, uid, 0))


def finish(store: Store, job: ResolvedJob, item: int) -> None:
    unit = job.unit(0, item)
    done = Done(fingerprint=unit.fingerprint, stage="clip", item="x", artifacts=list[Artifact](), seed=0, finished="")
    put(store, job.prefix(unit) + layout.DONE, encode_done(done))


def names_of(store: Store) -> list[str]:
    return [info.key for info in store.list("") if "/journal/" in info.key]


def test_a_look_shows_what_units_may_go_on_from_and_how_much_that_is(store: Store) -> None:
    job, memory = film("a", "b", "c", "d"), BucketMemory()
    for item in (0, 1):
        journal(store, job.prefix(job.unit(0, item)))
    put(store, f"{job.prefix(job.unit(0, 2))}{layout.CHECKPOINT}000001.x.tar")
    finish(store, job, 1)
    memory.sweep(store, job, 1.0)
    kept = [memory.kept.get(job.unit(0, item).fingerprint) for item in range(4)]
    assert kept[0] is not None
    assert kept[0] == Kept(kept[0].newest, journal=True, image="worker:1", device="NVIDIA L4, 8.9, 58 SM")
    assert abs(kept[0].newest - datetime.now(UTC).timestamp()) < 60
    assert kept[2] is not None
    assert not kept[2].journal
    assert (kept[1], kept[3]) == (None, None), "a unit that is done goes on from nothing"
    assert memory.journals == sum(info.size for info in store.list("") if "/journal/" in info.key)
    assert memory.garbage == (), "nobody said from when on"


def test_the_look_at_a_unit_whose_pod_ended_shows_it_too(file_config: StoreConfig) -> None:
    store, job, memory = open_store(file_config), film("a"), BucketMemory()
    memory.sweep(store, job, 1.0)
    unit = job.unit(0, 0)
    pod = PodRecord("default", "p", "uid", "job", "clip", ("a",), (unit.fingerprint,), 1, "Running", 0.0)
    memory.note_pods([pod])
    journal(store, job.prefix(unit))
    memory.note_pods([replace(pod, phase="Failed")])
    memory.settle(store, job)
    assert memory.kept[unit.fingerprint].image == "worker:1"
    memory.note_pods([replace(pod, phase="Failed"), replace(pod, uid="other")])
    finish(store, job, 0)
    memory.note_pods([])
    memory.settle(store, job)
    assert memory.kept == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"device": 7}', b"[" * 100_000, b"x" * 2**21])
def test_a_journal_that_says_nothing_of_its_worker_is_one_of_an_unknown(
    file_config: StoreConfig, content: bytes
) -> None:
    store = open_store(file_config)
    put(store, "a/fingerprint.json", content)
    assert get_origin(store, "a/fingerprint.json") == Origin()
    assert get_origin(store, "b/fingerprint.json") == Origin()


def test_what_nobody_goes_on_from_is_found_and_collected_and_nothing_else(store: Store) -> None:
    job, before, memory = film("a", "b", "c"), film("a", "b", "c", args="y"), BucketMemory()
    gone = film("z")
    journal(store, job.prefix(job.unit(0, 0)))
    journal(store, before.prefix(before.unit(0, 0)))
    journal(store, gone.prefix(gone.unit(0, 0)))
    finish(store, before, 0)
    finish(store, job, 1)
    journal(store, job.prefix(job.unit(0, 1)))
    memory.sweep(store, job, 1.0, EARLIER)
    assert memory.garbage == (), "somebody may be at it, or take an edit back"
    memory.sweep(store, job, 1.0, LATER)
    assert len(memory.garbage) == 6
    assert memory.collect(store) == 6
    assert memory.collect(store) == 0
    assert names_of(store) == [
        layout.journal_fields_key(job.prefix(job.unit(0, 0)), WORKER),
        layout.segment_key(job.prefix(job.unit(0, 0)), WORKER, "uid", 0),
    ]
    assert sum(info.key.endswith(layout.DONE) for info in store.list("")) == 2
    memory.sweep(store, job, 1.0, LATER)
    assert memory.garbage == ()


def test_a_unit_whose_inputs_are_not_known_yet_has_no_garbage(file_config: StoreConfig) -> None:
    stages = [
        {"name": "clip", "generate": {"command": {"args": ["x"]}}},
        {"name": "reel", "each": "job", "after": ["clip"], "generate": {"command": {"args": ["{{ inputs.clip }}"]}}},
    ]
    job = resolve("default", "reel", JobSpec.model_validate({"items": {"count": 1}, "stages": stages}))
    store, memory = open_store(file_config), BucketMemory()
    journal(store, layout.unit_prefix("default", "reel", "reel", names.GATHERED, "c" * 64))
    memory.sweep(store, job, 1.0, LATER)
    # What gathers nothing yet would be made from nothing: that is no reason to take its journal for outdated.
    assert not any(unit.fingerprint for unit in job.stages[1].units)
    assert memory.garbage == ()


def deploy(w: World, image: str) -> None:
    """A new operator, with a new default worker."""
    w.config = replace(w.config, worker_image=image)
    w.__post_init__()


def images(w: World) -> dict[str, str]:
    """Units -> image of the pod that is at them."""
    return {
        json.loads(pod["metadata"]["annotations"][names.ANNOTATION_UNITS])[0]: pod["spec"]["containers"][0]["image"]
        for pod in w.going()
    }


def run(w: World, digests: dict[str, str]) -> None:
    """The kubelet starts all pods, and says which image runs."""
    for pod in w.going():
        (container,) = pod["spec"]["containers"]
        state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        told = {"name": names.CONTAINER, "state": state, "imageID": digests.get(container["image"], container["image"])}
        metadata = {key: pod["metadata"][key] for key in ("labels", "annotations", "ownerReferences")}
        status = {"phase": "Running", "containerStatuses": [told]}
        w.server.put("pods", pod["metadata"]["name"], metadata=metadata, spec=pod["spec"], status=status)


def prefix_of(w: World, item: str) -> str:
    (pod,) = [p for p in w.ours() if json.loads(p["metadata"]["annotations"][names.ANNOTATION_UNITS]) == [item]][-1:]
    (fingerprint,) = json.loads(pod["metadata"]["annotations"][names.ANNOTATION_FINGERPRINTS])
    return layout.unit_prefix("default", "reel", "clip", item, fingerprint)


async def test_a_deploy_in_the_middle_of_a_clip_replaces_its_pod_with_the_old_worker(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        store = open_store(StoreConfig(uri=(tmp_path / "out").as_uri()))
        deploy(w, "worker:1")
        w.write()
        await w.reconcile()
        assert images(w) == {"0": "worker:1", "1": "worker:1", "2": "worker:1"}
        run(w, {"worker:1": f"docker-pullable://{OLD}"})
        await eventually(lambda: all(pod.image_id for pod in w.pods))
        journal(store, prefix_of(w, "1"))
        await w.reconcile()
        assert w.status["stages"][0]["images"] == {OLD: "0-2"}

        deploy(w, "worker:2")
        refused = "CheckpointNotResumable: diffusers 0.42.1 -> 0.43.0, 22 steps lost"
        words = Termination(
            reason="Interrupted",
            units=[
                UnitReport(
                    index=0, outcome=UnitOutcome.INTERRUPTED, saved=30, refused=refused, misfit="library", lost=2
                )
            ],
        )
        condition = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
        ended = w.end(code=11, conditions=condition)
        for name in ended:
            pod = w.server.objects[f"pods/default/{name}"]
            pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = words.encode()
            metadata = {key: pod["metadata"][key] for key in ("labels", "annotations", "ownerReferences")}
            w.server.put("pods", name, metadata=metadata, spec=pod["spec"], status=pod["status"])
        await w.seen(*ended)
        await w.reconcile()
        assert images(w) == {"0": "worker:2", "1": OLD, "2": "worker:2"}
        (pinned,) = [pod for pod in w.going() if pod["spec"]["containers"][0]["image"] == OLD]
        env = {each["name"]: each.get("value") for each in pinned["spec"]["containers"][0]["env"]}
        assert env["CARRYON_IMAGE"] == OLD
        assert pinned["metadata"]["annotations"][names.ANNOTATION_PINNED] == "true"
        wish = pinned["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
        assert wish["preference"]["matchExpressions"][0]["values"][0] == "NVIDIA-L4"
        assert w.status["counters"]["notResumable"] == 3
        assert (w.status["gpuSeconds"]["saved"], w.status["gpuSeconds"]["lost"]) == (90, 6)

        scraped = w.reconciler.metrics.text().decode()
        for line in (
            'carryon_journals_refused_total{misfit="library"} 3.0',
            'carryon_gpu_seconds_by_use_total{use="saved"} 90.0',
            "carryon_attempts_resumed_total 3.0",
            f"carryon_journal_bytes {float(sum(info.size for info in store.list('') if '/journal/' in info.key))}",
        ):
            assert line in scraped.splitlines(), scraped


async def test_an_operator_collects_what_is_left_of_an_edit_while_the_job_runs(tmp_path: Path) -> None:
    async with world(tmp_path / "out") as w:
        store = open_store(StoreConfig(uri=(tmp_path / "out").as_uri()))
        w.config = replace(w.config, journal_grace=3600.0, verify_interval=5.0)
        w.__post_init__()
        w.write()
        await w.reconcile()
        before = prefix_of(w, "1")
        journal(store, before)
        stage = {"name": "clip", "revision": "2", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
        w.write(stages=[stage])
        for _ in range(4):
            await w.reconcile()
        assert names_of(store), "it may be taken back"
        w.now += 7200
        for _ in range(4):
            await w.reconcile()
        assert names_of(store) == []
