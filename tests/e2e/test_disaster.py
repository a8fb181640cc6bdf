"""A cluster is lost with everything in it but the bucket: whoever applies the same manifests again carries on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from carryon_core.messages import StoreConfig
from carryon_store import open_store
from deployments import units_of
from holding import held
from plane import Plane, succeeded
from reels import BEGUN, NOT_BEGUN, begun_units, clips, finished, reel, stage, versions

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CREATORS = {"metadata": {"name": "creators"}, "data": {"rows.csv": "handle\n" + "".join(f"c{n}\n" for n in range(6))}}


def posts(begun: Path) -> dict[str, Any]:
    """Six posts that never come out the same, from a table in the cluster."""
    made = reel("posts", unitsPerPod=6)
    source = {"configMapKeyRef": {"name": "creators", "key": "rows.csv"}, "format": "csv", "idColumn": "handle"}
    script = 'head -c 64 /dev/urandom > "$CARRYON_OUTPUT/post.bin"'
    made["spec"] |= {"items": {"from": source}, "stages": [stage("post", begun, script)]}
    return made


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_lost_cluster_had_made_is_not_made_again(tmp_path: Path, begun: Path) -> None:
    """One job is done and has its items from the cluster, another has nine clips of fifteen and three half made.

    The latter would be removed with all it made if it were deleted. It never is: it is lost.
    """
    model, bucket = tmp_path / "tiny-video", tmp_path / "bucket"
    subprocess.run([sys.executable, str(EXAMPLES / "tiny_pipeline.py"), str(model)], check=True)
    store = open_store(StoreConfig(uri=bucket.as_uri()))
    film = clips("film", model, output={"uri": bucket.as_uri(), "onDelete": "Delete"})
    lost, new = (Plane(tmp_path / name, bucket=bucket) for name in ("lost", "new"))

    lost.start()
    try:
        lost.request("POST", CONFIG_MAPS, CREATORS)
        lost.apply(posts(begun))
        lost.apply(film)
        with held(lost.processes, lost.job_folder("film"), BEGUN):
            lost.wait_for("posts", succeeded, 120)
            assert lost.get("film")["metadata"]["finalizers"] == [names.FINALIZER]
            lost.kill()
    finally:
        lost.kill()
    made, posted = finished(store, film), versions(bucket / "default" / "posts")
    assert len(made) == 9
    assert len(posted) == 6

    new.start()
    try:
        before = new.request("GET", CONFIG_MAPS)["metadata"]["resourceVersion"]
        assert new.pods() == []
        new.request("POST", CONFIG_MAPS, CREATORS)
        new.apply(posts(begun))
        new.apply(film)
        posts_status = new.wait_for("posts", succeeded, 120)["status"]
        film_status = new.wait_for("film", succeeded, 600)["status"]
        pods = new.pods_since(before)
    finally:
        new.stop()

    assert {pod["metadata"]["labels"][names.LABEL_JOB] for pod in pods} == {"film"}, "what is done needs no pod"
    assert posts_status["progress"] == "6/6"
    assert versions(bucket / "default" / "posts") == posted
    assert begun_units(begun) == sorted(posted)

    given = Counter(item for pod in pods for item in units_of(pod))
    assert given == Counter({*BEGUN, *NOT_BEGUN}), "each of the six that were missing, once"
    after = finished(store, film)
    assert {at: after[at] for at in made} == made, "etags and times of what was done"
    resumes = {each.done.item: each.done.resume for each in after.values()}
    for item in BEGUN:
        resume = resumes[item]
        assert resume is not None
        assert resume.refused == ""
        assert 0 < resume.replayed < resume.calls, "it goes on after the steps that the lost cluster kept"
        assert resume.saved > 0
    assert film_status["progress"] == "15/15"
    assert not any(film_status["counters"].values()), "what was lost is nobody's failure"
