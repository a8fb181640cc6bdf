"""A clip that a pause, or a kill, meets in the middle goes on after its last step, bit by bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plane import Plane, condition, succeeded, until
from reels import Version, versions

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 1200


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text to video pipeline."""
    made = tmp_path_factory.mktemp("models") / "tiny-video"
    subprocess.run([sys.executable, str(EXAMPLES / "tiny_pipeline.py"), str(made)], check=True)
    return made


def clip(name: str, model: Path) -> dict[str, Any]:
    params = {"prompt": "a red kite", "num_frames": 9, "height": 64, "width": 64, "num_inference_steps": STEPS}
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name},
        "spec": {
            "seed": 7,
            "items": {"count": 1},
            "checkpoint": {"everySeconds": 1},
            "stages": [
                {"name": "clip", "generate": {"diffusers": {"model": str(model), "dtype": "float32", "params": params}}}
            ],
        },
    }


def made(plane: Plane, name: str) -> Version:
    (version,) = versions(plane.job_folder(name))["clip/0"]
    return version


def half_made(plane: Plane, name: str) -> bool:
    """Whether some steps of its clip are in the bucket, and the clip is not."""
    folder = plane.job_folder(name)
    return any(folder.rglob("journal/*/*/*.safetensors")) and not any(folder.rglob("done.json"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_clip_goes_on_inside_after_a_pause_and_after_a_kill(plane: Plane, model: Path) -> None:
    plane.apply(clip("straight", model))
    plane.wait_for("straight", succeeded, 240)

    plane.apply(clip("paused", model))
    until(lambda: half_made(plane, "paused"), 120)
    plane.patch("paused", {"spec": {"suspend": True}})
    plane.wait_for("paused", lambda found: condition(found, "Suspended"))
    assert half_made(plane, "paused")
    plane.patch("paused", {"spec": {"suspend": False}})
    plane.wait_for("paused", succeeded, 240)

    plane.apply(clip("killed", model))
    until(lambda: half_made(plane, "killed"), 120)
    (worker,) = plane.workers()
    worker.kill()
    status = plane.wait_for("killed", succeeded, 240)["status"]

    straight = made(plane, "straight").done
    assert (straight["resume"]["calls"], straight["resume"]["replayed"]) == (2 * STEPS, 0)
    for name in ("paused", "killed"):
        done = made(plane, name).done
        assert done["artifacts"][0]["sha256"] == straight["artifacts"][0]["sha256"]
        assert 0 < done["resume"]["replayed"] < done["resume"]["calls"] == straight["resume"]["calls"]
        assert done["resume"]["refused"] == ""
        assert not any(plane.job_folder(name).rglob("*.safetensors"))
    assert status["counters"]["failures"] == 1
