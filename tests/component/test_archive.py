"""Archives against real stores: what goes out of one bucket comes into another and goes on there."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from carryon_core import layout
from carryon_core.done import Artifact, Done, Outcome
from carryon_core.messages import ModelPin, StoreConfig
from carryon_core.resolve import ResolvedJob, resolve
from carryon_core.spec import JobSpec
from carryon_jobs.archive import checking, exporting, importing
from carryon_jobs.archive.errors import NameTaken
from carryon_jobs.archive.moving import Place
from carryon_jobs.job import Job
from carryon_store import Store, Stores
from carryon_store.units import File, publish
from carryon_worker.journal.segments import Blob, Call, Header, encode
from carryon_worker.journal.segments import Kind as CallKind

NAMESPACE = "studio"
A100 = "NVIDIA A100-SXM4-80GB, 8.0, 108 SM"
WORKER = "ab" * 6


class FakeCluster:
    """The jobs of an API server, as far as an import asks."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.refusal: Exception | None = None

    def find(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.jobs.get((namespace, name))

    def create(self, job: dict[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        at = (job["metadata"]["namespace"], job["metadata"]["name"])
        if self.refusal is not None:
            raise self.refusal
        if at in self.jobs:
            raise NameTaken("there is one", "")
        if not dry_run:
            self.jobs[at] = job
        return job


def raw(spec: dict[str, Any], config: StoreConfig, name: str = "reel") -> dict[str, Any]:
    output = {"uri": config.uri, **({"endpoint": config.endpoint} if config.endpoint else {})}
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": "1234",
            "labels": {"team": "film"},
            "annotations": {"carryon.dev/resume-requested-at": "now", "note": "kept"},
        },
        "spec": {"output": output, **spec},
        "status": {},
    }


def film(photo: str | None = None) -> dict[str, Any]:
    """Four scenes: an image of each, a clip of each, one reel of all clips."""
    params = {"photo": {"file": photo}} if photo else {}
    items = [
        {"id": item, "params": {"prompt": f"prompt of {item}", **params}} for item in ("dunes", "a/b", "..", "sea")
    ]

    def stage(name: str, *args: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "generate": {"command": {"args": ["true", *args]}}, **more}

    return {
        "seed": 7,
        "items": {"list": items},
        "stages": [
            stage("image", "{{ item.prompt }}", *(["{{ item.photo }}"] if photo else [])),
            stage("clip", "{{ inputs.image }}", after=["image"]),
            stage("reel", "{{ inputs.clip }}", after=["clip"], each="job"),
        ],
    }


def resolved(job: Mapping[str, Any], files: Mapping[str, str] | None = None) -> ResolvedJob:
    return resolve(
        job["metadata"]["namespace"], job["metadata"]["name"], JobSpec.model_validate(job["spec"]), None, files
    )


def make(store: Store, job: ResolvedJob, stage: str, *items: str, outcome: Outcome = Outcome.GENERATED) -> None:
    """Finish units, as a worker does."""
    found = next(each for each in job.stages if each.name == stage)
    for unit in found.units:
        item = job.item_id(found.index, unit.item)
        if item not in items:
            continue

        def describe(artifacts: list[Artifact], item: str = item, fingerprint: str = unit.fingerprint) -> Done:
            return Done(
                fingerprint=fingerprint,
                stage=stage,
                item=item,
                outcome=outcome,
                artifacts=artifacts,
                seed=1,
                finished="2026-11-21T08:24:43Z",
            )

        made = Path(os.environ["PYTEST_SCRATCH"]) / f"{stage}.txt"
        made.write_text(f"{stage} of {item}\n" * 100)
        files = [File("a film.txt", made, "text/plain")] if outcome is Outcome.GENERATED else []
        publish(store, job.prefix(unit), files, describe)


def journal(store: Store, prefix: str, *, calls: int = 4, device: str = A100) -> None:
    """A journal of two segments, whose last call begins after `2 * calls - 1` steps."""
    fields = {"params.num_inference_steps": 30, "device": device, "worker image": "carryon/worker:1"}
    store.put(layout.journal_fields_key(prefix, WORKER), json.dumps(fields).encode(), content_type="application/json")
    previous = ""
    for number in range(2):
        made = [
            Call(component="unet", kind=CallKind.KEPT, inputs={}, step=number * calls + each) for each in range(calls)
        ]
        header = Header(fingerprint="ab" * 32, number=number, previous=previous, first=number * calls, calls=made)
        content, previous = encode(header, [[Blob("F32", (2,), b"12345678")] for _ in made])
        store.put(layout.segment_key(prefix, WORKER, "pod-1", number), content, content_type="application/octet-stream")


def checkpoint(store: Store, prefix: str) -> None:
    """A folder that a program keeps."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("state.json"), BytesIO(b""))
    key = f"{prefix}{layout.CHECKPOINT}000001.{'0' * 16}.tar"
    store.put(key, packed.getvalue(), content_type="application/x-tar")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("PYTEST_SCRATCH", str(folder))
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> StoreConfig:
    """Another, empty store."""
    return StoreConfig(uri=(tmp_path / "elsewhere").as_uri())


def half_made(store: Store, config: StoreConfig, photo: str | None = None) -> dict[str, Any]:
    """A job in whose bucket lie all four images, two clips, the journal of a third and a checkpoint of the fourth."""
    job = raw(film(photo), config)
    files = {photo: hashlib.sha256(b"a photo").hexdigest()} if photo else {}
    units = resolved(job, files)
    make(store, units, "image", *units.ids)
    make(store, units, "clip", "dunes", "..")
    journal(store, units.prefix(units.stages[1].units[1]))
    checkpoint(store, units.prefix(units.stages[1].units[3]))
    pin = ModelPin(model="black/flux", revision="main", commit="c" * 40)
    key = layout.model_pin_key(NAMESPACE, "reel", "black/flux", "main")
    store.put(key, pin.model_dump_json().encode(), content_type="application/json")
    # What is no part of the job as it is now.
    store.put(f"{NAMESPACE}/reel/clip/dunes/{'0' * 16}/old.txt", b"old", content_type="text/plain")
    store.put(layout.attempt_log_key(units.prefix(units.stages[1].units[1]), "pod"), b"log", content_type="text/plain")
    return job


def exported(job: Mapping[str, Any], path: Path, **options: bool) -> Path:
    export = exporting.prepare(Job(job, lambda name: {}), **options)
    with path.open("wb") as file:
        for piece in export.stream():
            assert len(piece) <= 2 << 20
            file.write(piece)
    return path


@contextmanager
def opened(path: Path) -> Iterator[checking.Archive]:
    with path.open("rb") as file:
        yield checking.check(file.fileno())


def keys(store: Store, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def brought(
    path: Path, config: StoreConfig, cluster: FakeCluster, name: str = "reel", **options: Any
) -> importing.Plan:
    """Import an archive."""
    with opened(path) as archive:
        place = Place("other", name, config)
        planned = importing.plan(archive, place, Stores().open(config), cluster, **options)
        importing.carry_out(planned, cluster)
        return planned


def test_a_half_made_job_goes_on_in_another_bucket_with_all_it_has(
    store: Store, store_config: StoreConfig, elsewhere: StoreConfig, tmp_path: Path
) -> None:
    store.put("photos/mine (1).png", b"a photo", content_type="image/png")
    photo = f"{store_config.uri}/photos/mine (1).png"
    job = half_made(store, store_config, photo)
    path = exported(job, tmp_path / "reel.carryon")

    cluster, there = FakeCluster(), Stores().open(elsewhere)
    planned = brought(path, elsewhere, cluster, products={"NVIDIA-H100-80GB-HBM3"})
    made = dict(cluster.jobs["other", "reel"])
    said = planned.preview
    assert (said.done, said.total, said.half_done_total) == (6, 9, 2)
    assert said.message == (
        "6 of 9 done, clip a/b at step 7/30, clip sea goes on from its checkpoint; journal of clip a/b not usable on"
        " this GPU: computed on NVIDIA A100-SXM4-80GB, so what it holds is computed again"
    )
    assert made["spec"]["suspend"] is True
    assert made["spec"]["output"] == {"uri": elsewhere.uri}
    assert made["metadata"]["labels"] == {"team": "film"}
    assert "carryon.dev/resume-requested-at" not in made["metadata"]["annotations"]

    uri = made["spec"]["items"]["list"][0]["params"]["photo"]["file"]
    assert uri.startswith(f"{elsewhere.uri}/other/reel/_inputs/")
    assert uri.endswith("/mine_1_.png")
    key = uri.removeprefix(f"{elsewhere.uri}/")
    assert there.get(key) == b"a photo"
    before = resolved(job, {photo: hashlib.sha256(b"a photo").hexdigest()})
    after = resolved(made, {uri: hashlib.sha256(b"a photo").hexdigest()})
    assert [stage.fingerprints for stage in after.stages] == [stage.fingerprints for stage in before.stages]
    for old, new in zip(before.units(), after.units(), strict=True):
        if not old.fingerprint:
            continue
        assert _content(store, before.prefix(old)) == _content(there, after.prefix(new)), old
    pin = layout.model_pin_key("other", "reel", "black/flux", "main")
    assert there.get(pin) == store.get(layout.model_pin_key(NAMESPACE, "reel", "black/flux", "main"))
    assert not [key for key in keys(there) if "old.txt" in key or key.endswith(".log")]


def _content(store: Store, prefix: str) -> dict[str, bytes]:
    return {
        info.key.removeprefix(prefix): store.get(info.key)
        for info in store.list(prefix)
        if not info.key.endswith(".log")
    }
