"""How long a job will still take: measured in its bucket, whatever has become of the bucket since."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import making
from carryon_core.done import Timings
from carryon_core.messages import StoreConfig
from carryon_store import open_store
from status_site import JOBS, VIEWER, Site, job

IMAGE = {"name": "image", "generate": {"command": {"args": ["make", "{{ item.id }}"]}}}
CLIP = {
    "name": "clip",
    "after": ["image"],
    "approval": "Required",
    "generate": {"command": {"args": ["move", "{{ inputs.image }}"]}},
}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, bucket: Path) -> Iterator[Site]:
    with Site.on_folder(tmp_path_factory.mktemp("site"), bucket) as made:
        yield made


def film(site: Site, bucket: Path, folder: Path, name: str, **spec: Any) -> None:
    """A job of six images, of which two are made, in 10 s and 20 s, with 2 s to load and 1 s to publish."""
    made = site.kube("POST", JOBS, job(name, **{"items": {"count": 6}, "stages": [IMAGE], "parallelism": 2, **spec}))
    units, store = making.resolved(made), open_store(StoreConfig(uri=bucket.as_uri()))
    for index in range(2):
        timings = Timings(load=2.0, generate=10.0 + 10.0 * index, publish=1.0)
        making.make(store, units, folder, index, {"image.png": (b"picture", "image/png")}, timings=timings)
    stages = [{"name": each["name"], "total": 6} for each in made["spec"]["stages"]]
    stages[0]["succeeded"] = "0-1"
    total = 6 * len(stages)
    status = {
        "observedGeneration": 1,
        "phase": "Running",
        "units": {"total": total, "succeeded": 2, "remaining": total - 2},
        "stages": stages,
        "resolved": {"output": bucket.as_uri()},
    }
    site.status(name, status)

    def known() -> bool:
        seen = site.apps[0].state.cluster.job("default", name)
        return seen is not None and seen.status.get("phase") == "Running"

    site.until(known, "the API has heard of it")


def process(site: Site, name: str) -> Any:
    with site.http(VIEWER) as http:
        return http.get(f"/api/v1/namespaces/default/jobs/{name}/process-status").json()


def measured(site: Site, name: str) -> Any:
    """What is told once the bucket has been read, for which an answer waits a moment only."""
    site.until(lambda: process(site, name)["stages"][0]["meanSeconds"], "the API has measured it")
    return process(site, name)


def test_the_estimate_comes_from_what_units_that_are_done_took(site: Site, bucket: Path, tmp_path: Path) -> None:
    film(site, bucket, tmp_path, "timed")
    found = measured(site, "timed")
    assert found["stages"][0]["meanSeconds"] == 18.0
    assert (found["eta"], found["etaReason"]) == (36.0, "")  # four more, two at a time


def test_where_the_cluster_has_less_room_than_was_asked_for_it_takes_longer(
    site: Site, bucket: Path, tmp_path: Path
) -> None:
    film(site, bucket, tmp_path, "crowded", parallelism=4)
    made = site.kube("GET", f"{JOBS}/crowded")
    pods = "/api/v1/namespaces/default/pods"
    for index, item in enumerate(("2", "3")):
        site.kube("POST", pods, making.pod(made, "image", [item], f"crowded-{index}"))
    site.kube("PATCH", f"{pods}/crowded-0/status", {"status": making.running("127.9.9.9")})
    # Whoever may make pods elsewhere can name our job as their owner: what they do there is no news of it.
    elsewhere = making.pod(made, "image", ["4"], "stranger")
    elsewhere["metadata"]["namespace"] = "elsewhere"
    site.kube("POST", "/api/v1/namespaces/elsewhere/pods", elsewhere)
    site.kube("PATCH", "/api/v1/namespaces/elsewhere/pods/stranger/status", {"status": making.running("127.9.9.8")})
    cluster = site.apps[0].state.cluster
    uid = made["metadata"]["uid"]
    site.until(
        lambda: sorted(pod.at_work for pod in cluster._pods.get_by_owner(uid)) == [False, True, True],
        "all pods are known",
    )
    assert measured(site, "crowded")["eta"] == 72.0  # four more, one at a time


def test_a_stage_that_nobody_has_timed_leaves_no_guess(site: Site, bucket: Path, tmp_path: Path) -> None:
    film(site, bucket, tmp_path, "half-timed", stages=[IMAGE, {**CLIP, "approval": None}])
    found = measured(site, "half-timed")
    assert found["eta"] is None
    assert 'stage "clip"' in found["etaReason"]


def test_units_that_wait_for_a_persons_word_are_shown(site: Site, bucket: Path, tmp_path: Path) -> None:
    film(site, bucket, tmp_path, "asking", stages=[IMAGE, CLIP])
    assert process(site, "asking")["stages"][1]["ranges"]["waitingForApproval"] == "0-1"
    site.kube("PATCH", f"{JOBS}/asking", {"spec": {"approved": {"clip": ["1"]}}})
    site.until(
        lambda: process(site, "asking")["stages"][1]["ranges"]["waitingForApproval"] == "0", "the word was heard"
    )


def test_a_bucket_that_can_not_be_read_costs_the_estimate_and_nothing_else(
    site: Site, bucket: Path, tmp_path: Path
) -> None:
    film(site, bucket, tmp_path, "lost", stages=[IMAGE, CLIP])
    shutil.rmtree(bucket / "default" / "lost")
    (bucket / "default" / "lost").write_text("no folder")
    found = process(site, "lost")
    assert found["progress"] == ""
    assert found["eta"] is None
    assert found["stages"][0]["done"] == 2
    assert found["stages"][1]["ranges"]["waitingForApproval"] == "0-1", "status and spec say it"
