"""Jobs for tests of archives: half made in a bucket, without any worker, and their archives."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from carryon_core import layout
from carryon_core.done import Artifact, Done, Outcome
from carryon_core.messages import ModelPin, StoreConfig
from carryon_core.resolve import resolve
from carryon_core.resolved import ResolvedJob
from carryon_core.spec import JobSpec
from carryon_jobs.archive import exporting
from carryon_jobs.job import Job
from carryon_store import Store
from carryon_store.units import File, publish
from carryon_worker.journal.segments import Blob, Call, Header, encode
from carryon_worker.journal.segments import Kind as CallKind

NAMESPACE = "studio"
A100 = "NVIDIA A100-SXM4-80GB, 8.0, 108 SM"
WORKER = "ab" * 6


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


def make(
    store: Store, job: ResolvedJob, stage: str, scratch: Path, *items: str, outcome: Outcome = Outcome.GENERATED
) -> None:
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

        made = scratch / f"{stage}.txt"
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


def half_made(store: Store, config: StoreConfig, scratch: Path, photo: str | None = None) -> dict[str, Any]:
    """A job in whose bucket lie all four images, two clips, the journal of a third and a checkpoint of the fourth."""
    job = raw(film(photo), config)
    files = {photo: hashlib.sha256(b"a photo").hexdigest()} if photo else {}
    units = resolved(job, files)
    make(store, units, "image", scratch, *units.ids)
    make(store, units, "clip", scratch, "dunes", "..")
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
