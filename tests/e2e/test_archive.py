"""A job that is killed in the middle of a unit goes on in another control plane, with another bucket."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carryon_core.messages import StoreConfig
from carryon_store import Stores
from plane import JOBS, Plane, condition, succeeded, suspended, units_done, until
from reels import Version, begun_units, scenes, stage, versions

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 8
HELD_AT = 4


@pytest.fixture
def other(tmp_path: Path, intervals: dict[str, str]) -> Iterator[Plane]:
    """Another control plane, with a bucket of its own."""
    made = Plane(tmp_path / "other", environment=intervals).start()
    yield made
    made.kill()


def film(name: str, begun: Path, folder: Path) -> dict[str, Any]:
    """Three images, and a clip of each, made in steps; the program of the last one is killed in the middle, once."""
    steps = f"""
        step=$(cat "$CARRYON_CHECKPOINT/step" 2>/dev/null || echo 0)
        while [ "$step" -lt {STEPS} ]; do
            if [ "$CARRYON_ITEM/$step" = scene-2/{HELD_AT} ]; then
                mkdir {folder}/killed 2>/dev/null && kill -9 $$
            fi
            step=$((step + 1)); echo "$CARRYON_ITEM/$step" >> {folder}/steps
            echo "$step" > "$CARRYON_CHECKPOINT/step.new"; mv "$CARRYON_CHECKPOINT/step.new" "$CARRYON_CHECKPOINT/step"
        done
        head -c 4096 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"
    """
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name, "labels": {"team": "film"}},
        "spec": {
            "items": {"list": scenes(3)},
            "parallelism": 3,
            "retry": {"perUnit": 3, "backoff": {"initial": "60s"}},
            "stages": [
                stage("image", begun, 'echo "image of $1" > "$CARRYON_OUTPUT/image.txt"', "{{ item.prompt }}"),
                stage("clip", begun, steps, "{{ inputs.image }}", after="image"),
            ],
        },
    }


def made(plane: Plane, name: str) -> dict[str, Version]:
    return {unit: one for unit, (one,) in versions(plane.job_folder(name)).items()}


def test_a_job_killed_in_the_middle_of_a_clip_goes_on_elsewhere_and_takes_more_items(
    plane: Plane, other: Plane, begun: Path, tmp_path: Path
) -> None:
    plane.apply(film("film", begun, tmp_path))
    plane.wait_for("film", lambda job: units_done(job) == 5 and job["status"]["counters"]["failures"] == 1)
    plane.patch("film", {"spec": {"suspend": True}})
    plane.wait_for("film", suspended)
    before = made(plane, "film")
    assert len(before) == 5

    archive = tmp_path / "film.carryon"
    told = plane.carryon("export", "film", str(archive))
    assert "5 of 6 done, 1 begun" in told
    plane.delete("film")
    until(lambda: plane.request("GET", JOBS)["items"] == [])

    told = other.carryon("import", str(archive), "--dry-run")
    assert "5 of 6 done, clip scene-2 goes on from its checkpoint" in told
    assert other.request("GET", JOBS)["items"] == []
    other.carryon("import", str(archive))
    job = other.wait_for("film", suspended)
    assert (job["status"]["progress"], job["metadata"]["labels"]) == ("5/6", {"team": "film"})
    assert other.pods() == []
    other.patch("film", {"spec": {"suspend": False}})
    other.wait_for("film", succeeded)
    after = made(other, "film")
    assert {unit: version.done for unit, version in after.items() if unit != "clip/scene-2"} == {
        unit: version.done for unit, version in before.items()
    }
    assert {unit: version.contents for unit, version in after.items() if unit in before} == {
        unit: version.contents for unit, version in before.items()
    }
    units = [f"{each}/scene-{number}" for each in ("clip", "image") for number in range(3)]
    assert begun_units(begun) == sorted([*units, "clip/scene-2"])
    steps = (tmp_path / "steps").read_text().split()
    assert sorted(steps) == sorted(f"scene-{number}/{step}" for number in range(3) for step in range(1, STEPS + 1))

    other.patch("film", {"spec": {"items": {"list": scenes(4)}}})
    other.wait_for("film", lambda job: job["status"]["progress"] == "8/8" and condition(job, "Succeeded"))
    assert begun_units(begun) == sorted([*units, "clip/scene-2", "clip/scene-3", "image/scene-3"])


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_clip_killed_in_the_middle_goes_on_after_its_last_step_in_another_bucket(
    plane: Plane, other: Plane, tmp_path: Path, moto_config: StoreConfig, stores: Stores
) -> None:
    model = tmp_path / "tiny-video"
    subprocess.run([sys.executable, str(EXAMPLES / "tiny_pipeline.py"), str(model)], check=True)

    def clip(name: str) -> dict[str, Any]:
        params = {"prompt": "a red kite", "num_frames": 9, "height": 64, "width": 64, "num_inference_steps": 300}
        generate = {"diffusers": {"model": str(model), "dtype": "float32", "params": params}}
        spec = {"seed": 7, "items": {"count": 1}, "checkpoint": {"everySeconds": 1, "everyBytes": "64Ki"}}
        spec["stages"] = [{"name": "clip", "generate": generate}]
        spec["retry"] = {"perUnit": 3, "backoff": {"initial": "60s"}}
        return {"apiVersion": "carryon.dev/v1alpha1", "kind": "GenerationJob", "metadata": {"name": name}, "spec": spec}

    plane.apply(clip("straight"))
    plane.wait_for("straight", succeeded, 400)
    (straight,) = versions(plane.job_folder("straight"))["clip/0"]

    plane.apply(clip("killed"))
    folder = plane.job_folder("killed")
    until(lambda: any(folder.rglob("journal/*/*/*.safetensors")), 200)
    (worker,) = plane.workers()
    worker.kill()
    plane.wait_for("killed", lambda job: job["status"]["counters"]["failures"] == 1, 200)
    plane.patch("killed", {"spec": {"suspend": True}})
    plane.wait_for("killed", suspended)
    assert not any(folder.rglob("done.json"))
    archive = tmp_path / "killed.carryon"
    assert "0 of 1 done, 1 begun" in plane.carryon("export", "killed", str(archive))

    keys = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    data = {name: base64.b64encode(value.encode()).decode() for name, value in keys.items()}
    other.request("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "keys"}, "data": data})
    output = ["--output", moto_config.uri, "--endpoint", moto_config.endpoint or "", "--credentials", "keys"]
    told = other.carryon("import", str(archive), "--start", *output)
    step = re.search(r"clip 0 at step (\d+)/300", told)
    assert step is not None, told
    other.wait_for("killed", succeeded, 400)
    store = stores.open(moto_config)
    (key,) = [info.key for info in store.list("default/killed/") if info.key.endswith("done.json")]
    done = json.loads(store.get(key))
    assert done["artifacts"][0]["sha256"] == straight.done["artifacts"][0]["sha256"]
    assert (done["resume"]["refused"], done["resume"]["step"]) == ("", int(step[1]))
    assert 0 < done["resume"]["replayed"] < done["resume"]["calls"]
