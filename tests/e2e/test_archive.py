"""A job that is killed in the middle of a unit goes on in another control plane, with another bucket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plane import JOBS, Plane, condition, succeeded, suspended, units_done, until
from reels import Version, begun_units, scenes, stage, versions

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
    told = other.carryon("import", str(archive))
    job = other.wait_for("film", suspended)
    assert (job["status"]["progress"], job["metadata"]["labels"]) == ("5/6", {"team": "film"})
    assert other.pods() == []
    again = subprocess.run(
        [sys.executable, "-m", "carryon_standalone", "import", str(archive)],
        env={**os.environ, "KUBECONFIG": str(other.kubeconfig)},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 1
    assert "give this one another name, such as film-2" in again.stderr

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
