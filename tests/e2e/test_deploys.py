"""Workers are deployed while clips are half made: they go on with the one that began them, if that can be had."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_store import open_store
from deployments import ROOT, THIS, WORKER, Cluster, another, deployed, image_of, uid, units_of
from processes import until
from reels import BEGUN, NOT_BEGUN, clips, finished, reel

OLD, NEW = (f"registry/worker@sha256:{digit * 64}" for digit in "ab")
FIRST = {str(number) for number in range(15)} - {*BEGUN, *NOT_BEGUN}
STEPS = 400
OTHER_DIFFUSERS = "0.41.0"
"""Another release of it than requirements.lock has."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text to video pipeline."""
    made = tmp_path_factory.mktemp("models") / "tiny-video"
    subprocess.run([sys.executable, str(ROOT / "examples" / "tiny_pipeline.py"), str(made)], check=True)
    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_deploy_costs_no_step_and_an_image_that_is_gone_says_what_it_cost(tmp_path: Path, model: Path) -> None:
    params = {"prompt": "a red kite", "num_frames": 9, "height": 64, "width": 64, "num_inference_steps": STEPS}
    clip = {"name": "clip", "generate": {"diffusers": {"model": str(model), "dtype": "float32", "params": params}}}
    spec = {
        "items": {"count": 2},
        "parallelism": 1,
        "checkpoint": {"everySeconds": 1},
        "retry": {"backoff": {"initial": "1s"}},
        "stages": [clip],
    }
    job = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "film"}, "spec": spec}
    # Another switch that kernels are chosen by: it changes nothing on a CPU, but who can know.
    with deployed(tmp_path, {OLD: WORKER, NEW: f"env NVIDIA_TF32_OVERRIDE=1 {WORKER}"}) as cluster:
        cluster.deploy(OLD)
        cluster.create(job)
        _deploy_and_roll_back(cluster)


def _deploy_and_roll_back(cluster: Cluster) -> None:
    until(lambda: cluster.half_made("film", "0"), 120, "half a clip")
    killed = cluster.at_work("film", "0")
    assert killed is not None
    cluster.deploy(NEW)
    cluster.machine.delete(killed["metadata"]["name"])
    cluster.machine.gone(killed["metadata"]["name"], 60)
    assert cluster.image("film", "0") == OLD
    until(lambda: not cluster.half_made("film", "0"), 180, "the clip")
    assert cluster.image("film", "1") == NEW, "what nothing is left of gets the new worker"
    resume = cluster.done("film")["clip/0"].done["resume"]
    assert resume["replayed"] > 0
    assert resume["refused"] == ""

    until(lambda: cluster.half_made("film", "1"), 120, "half of the other clip")
    cluster.patch("film", {"spec": {"suspend": True}})
    until(lambda: cluster.job("film")["status"]["phase"] == "Suspended", 60, "the pause")
    assert cluster.job("film")["status"]["stages"][0]["images"] == {NEW: "1"}
    cluster.know(OLD)
    cluster.deploy(OLD)
    cluster.patch("film", {"spec": {"suspend": False}})
    assert cluster.image("film", "1") == OLD
    until(lambda: cluster.job("film")["status"]["phase"] == "Succeeded", 180, "the end")
    status, resume = cluster.job("film")["status"], cluster.done("film")["clip/1"].done["resume"]
    assert "NVIDIA_TF32_OVERRIDE 1 -> None" in resume["refused"]
    assert (resume["misfit"], resume["replayed"]) == ("switches", 0)
    assert status["counters"]["notResumable"] == 1
    assert status["gpuSeconds"]["saved"] > 0
    (told,) = until(lambda: cluster.told("CheckpointNotResumable"), what="the Event")
    assert told.startswith('stage "clip", item "1": NVIDIA_TF32_OVERRIDE 1 -> None')


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_upgrade_at_nine_of_fifteen_makes_no_clip_and_no_step_again(tmp_path: Path, model: Path) -> None:
    """To the next release of operator and worker, the latter with another diffusers; then all nodes are drained."""
    following = another(tmp_path / "next", "0.2.0", f"diffusers=={OTHER_DIFFUSERS}")
    film = clips("film", model)
    with deployed(tmp_path, {OLD: THIS.worker, NEW: following.worker}) as cluster:
        store = open_store(StoreConfig(uri=cluster.output.as_uri()))
        cluster.deploy(OLD)
        cluster.create(film)
        with cluster.held("film", BEGUN):
            before, pods, revision = finished(store, film), cluster.running("film"), cluster.revision()
            assert {each.done.item for each in before.values()} == FIRST
            operator = cluster.deploy(NEW, following)
            assert f'version="{following.version}"' in operator.asked("/metrics")
            assert {uid(pod) for pod in cluster.running("film")} == {uid(pod) for pod in pods}, "they are left alone"
            for pod in pods:
                cluster.evict(pod)
        cluster.succeeded("film", 15)
        images = {item: image_of(pod) for pod in cluster.pods_since(revision) for item in units_of(pod)}
        counters = cluster.job("film")["status"]["counters"]

        straight = clips("straight", model, parallelism=1)
        straight["spec"]["items"]["list"] = [each for each in film["spec"]["items"]["list"] if each["id"] in BEGUN]
        straight["spec"]["stages"][0]["image"] = OLD
        cluster.create(straight)
        cluster.succeeded("straight", 3)
        uninterrupted = {each.done.item: each.done for each in finished(store, straight).values()}

    after = finished(store, film)
    assert {at: after[at] for at in before} == before, "etags and times of what was done"
    made = {each.done.item: each.done for each in after.values()}
    for item in BEGUN:
        resume, whole = made[item].resume, uninterrupted[item].resume
        assert resume is not None
        assert whole is not None
        assert (images[item], made[item].versions) == (OLD, uninterrupted[item].versions)
        assert 0 < resume.replayed < resume.calls == whole.calls
        assert (resume.refused, whole.replayed) == ("", 0)
        assert made[item].artifacts == uninterrupted[item].artifacts
    for item in NOT_BEGUN:
        assert images[item] == NEW
        versions = made[item].versions
        assert (versions["carryon"], versions["diffusers"]) == (following.version, OTHER_DIFFUSERS)
    assert made["0"].versions["diffusers"] == version("diffusers") != OTHER_DIFFUSERS
    assert {cause: count for cause, count in counters.items() if count} == {"disruptions": 3}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_old_worker_is_told_from_what_a_new_operator_needs_and_a_new_one_serves_an_old_operator(
    tmp_path: Path,
) -> None:
    later = another(tmp_path / "later", "0.3.0", assignment=2)
    with deployed(tmp_path, {OLD: THIS.worker, NEW: later.worker}) as cluster:
        cluster.deploy(OLD, later)
        film = reel("film", clips=2, seconds=0.0, parallelism=2, retry={"perUnit": 3, "rounds": 2})
        cluster.create(film)
        until(lambda: (cluster.job("film").get("status") or {}).get("phase") == "Failed", 60, "a refusal")
        failure = cluster.job("film")["status"]["recentFailures"][0]
        assert (failure["reason"], failure["attempt"]) == ("WorkerTooOld", 1), "no other attempt would end otherwise"
        assert "up to version 1, and the operator's is of version 2: name a worker image" in failure["message"]

        (stage,) = film["spec"]["stages"]
        spec = {"stages": [{**stage, "image": NEW}]}
        cluster.patch("film", {"metadata": {"annotations": {names.ANNOTATION_RETRY: "clip/0-1"}}, "spec": spec})
        until(lambda: cluster.job("film")["status"]["handled"].get("retry"), 60, "the retry")
        cluster.succeeded("film", 2)

        cluster.deploy(NEW)
        cluster.create(reel("short", clips=2, seconds=0.0))
        cluster.succeeded("short", 2)
        assert cluster.done("short")["clip/0"].done["versions"]["carryon"] == later.version
