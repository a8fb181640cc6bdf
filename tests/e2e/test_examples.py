"""The examples run as they are, and a person's part in them is one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from carryon_standalone.cli.errors import FAILED
from kubectls import needs_kubectl
from plane import Plane, condition, succeeded, units_done
from reels import versions

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(plane: Plane, manifest: Path) -> subprocess.Popen[bytes]:
    """`carryon run` of an example, at work."""
    return subprocess.Popen(
        [sys.executable, "-m", "carryon_standalone", "run", str(manifest)],
        env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
        stdout=subprocess.DEVNULL,
    )


def on_the_toy(name: str, folder: Path) -> Path:
    """An example, put down with the toy model where it lies in the repository."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    shown = "/tmp/carryon/writer" if name == "blog" else "/tmp/carryon/shapes"
    model = EXAMPLES / "toy-model" / Path(shown).name
    assert f"cp -r examples/toy-model/{model.name} /tmp/carryon/" in text
    manifest = folder / f"{name}.yaml"
    manifest.write_text(text.replace(f"model: {shown}", f"model: {model}"))
    return manifest


def patch_shown_in(name: str) -> dict[str, Any]:
    """The patch of the kubectl command in an example's first comment."""
    header = (EXAMPLES / f"{name}.yaml").read_text().split("apiVersion")[0]
    comment = "".join(line.lstrip("# ") for line in header.splitlines())
    patch: dict[str, Any] = yaml.safe_load(comment.split("-p '", 1)[1].split("'", 1)[0])
    return patch


@pytest.mark.slow
def test_a_blog_whose_topics_a_person_chooses(plane: Plane, tmp_path: Path) -> None:
    manifest = on_the_toy("blog", tmp_path)
    running = run(plane, manifest)
    try:
        waiting = plane.wait_for("blog", lambda job: condition(job, "AwaitingApproval") and units_done(job) == 2, 120)
        assert waiting["status"]["phase"] == "AwaitingApproval"
        topics = {unit: made[0].text for unit, made in versions(plane.job_folder("blog")).items()}
        assert set(topics) == {"topic/tea", "topic/bread"}
        for post, subject in (("tea", "green tea"), ("bread", "sourdough bread")):
            lines = topics[f"topic/{post}"].splitlines()
            assert [line.partition(" ")[0] for line in lines] == ["1.", "2.", "3."]
            assert all(subject in line.lower() for line in lines)

        assert running.wait(timeout=60) == FAILED, "it follows a job until a person has to do something"
    finally:
        running.kill()
    plane.patch("blog", patch_shown_in("blog"))
    assert run(plane, manifest).wait(timeout=240) == 0
    made = versions(plane.job_folder("blog"))
    assert len(made) == 10
    for post in ("tea", "bread"):
        (draft,) = made[f"write/{post}"]
        (artifact,) = draft.done["artifacts"]
        assert (artifact["name"], artifact["contentType"]) == ("draft.md", "text/markdown")
        assert draft.done["resume"]["calls"] >= 100
        (finished,) = made[f"optimise/{post}"]
        about = json.loads(finished.contents["about.json"])
        assert set(about) == {"title", "description", "slug", "keywords"}
        assert ("green tea" if post == "tea" else "sourdough bread") in about["title"].lower()
        assert len(about["description"]) <= 155
        written = finished.contents["post.md"].decode()
        assert about["title"] in written
        assert "  " not in written
        assert " ," not in written

    # Another choice makes that post again from its plan on, and nothing else.
    other = {"overrides": [{"stage": "plan", "item": "tea", "params": {"choice": 3}}]}
    plane.patch("blog", {"spec": other})
    plane.wait_for("blog", succeeded, 120)
    again = versions(plane.job_folder("blog"))
    assert {unit for unit in again if len(again[unit]) > 1} == {
        f"{s}/tea" for s in ("plan", "write", "edit", "optimise")
    }
    assert len({each.text for each in again["plan/tea"]}) == 2


@pytest.mark.slow
@needs_kubectl
def test_a_film_whose_clips_a_person_approves(plane: Plane, tmp_path: Path) -> None:
    manifest = on_the_toy("film", tmp_path)
    running = run(plane, manifest)
    try:
        plane.wait_for("film", lambda job: condition(job, "AwaitingApproval") and units_done(job) == 3, 120)
        assert running.wait(timeout=60) == FAILED, "it follows a job until a person has to do something"
    finally:
        running.kill()
    plane.kubectl("patch", "gj", "film", "--type", "merge", "-p", json.dumps(patch_shown_in("film")))
    assert run(plane, manifest).wait(timeout=120) == 0
    made = versions(plane.job_folder("film"))
    assert set(made) == {f"{where}/{item}" for where in ("clip", "scene") for item in ("dawn", "noon", "dusk")} | {
        "reel/job"
    }
    assert frames(clip_of(made["reel/job"])) == 3 * 16

    # A new clip for the second scene: its scene, the one that begins where it ends, and the reel.
    plane.carryon("redo", "film", "clip/noon", "--seed", "5")
    plane.wait_for("film", succeeded, 120)
    again = versions(plane.job_folder("film"))
    assert {unit for unit in again if len(again[unit]) > 1} == {"clip/noon", "scene/noon", "scene/dusk", "reel/job"}


@pytest.mark.slow
def test_a_reel_shows_what_its_prompts_say_and_a_film_of_all_clips_with_titles(plane: Plane, tmp_path: Path) -> None:
    manifest = on_the_toy("reel", tmp_path)
    asked = {
        each["id"]: each["params"]["prompt"] for each in yaml.safe_load(manifest.read_text())["spec"]["items"]["list"]
    }
    assert len(asked) == 15
    assert run(plane, manifest).wait(timeout=280) == 0
    made = versions(plane.job_folder("reel"))
    assert set(made) == {f"clip/{item}" for item in asked} | {"film/job"}
    clips = {item: clip_of(made[f"clip/{item}"]) for item in asked}
    with av.open(str(clips["red-circle"])) as container:
        assert container.metadata["title"] == asked["red-circle"]
    judged = subprocess.run(
        [sys.executable, str(EXAMPLES / "toy-model" / "judge.py"), *map(str, clips.values())],
        check=True,
        capture_output=True,
        text=True,
    )
    recognised = [seen.split(": ")[1].split(",")[0] for seen in judged.stdout.splitlines()]
    right = [item for item, seen in zip(asked, recognised, strict=True) if seen == item.replace("-", " ")]
    assert len(right) >= 13, judged.stdout
    assert frames(clip_of(made["film/job"])) == 15 * 16


def frames(clip: Path) -> int:
    with av.open(str(clip)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.slow
def test_clips_that_are_made_longer_and_longer_still(plane: Plane, tmp_path: Path) -> None:
    text = (EXAMPLES / "extend.yaml").read_text()
    for name, kind in (("tiny-video", []), ("tiny-longer", ["--longer"])):
        subprocess.run([sys.executable, str(EXAMPLES / "tiny_pipeline.py"), *kind, str(tmp_path / name)], check=True)
    plane.apply(yaml.safe_load(text.replace("/tmp/carryon", str(tmp_path))))
    plane.wait_for("extend", succeeded, 180)
    made = versions(plane.job_folder("extend"))
    # A second and a half are twelve frames of eight a second; Wan makes four at a time.
    assert {unit: frames(clip_of(made[unit])) for unit in made} == {
        "clip/dunes": 17,
        "longer/dunes": 17 + 8,
        "clip/harbour": 17,
        "longer/harbour": 17 + 12,
    }
    assert pixels(clip_of(made["longer/dunes"]))[:17] == pixels(clip_of(made["clip/dunes"]))

    plane.patch("extend", patch_shown_in("extend"))
    plane.wait_for("extend", succeeded, 120)
    again = versions(plane.job_folder("extend"))
    assert {unit for unit in again if len(again[unit]) > 1} == {"longer/dunes"}
    assert sorted(frames(clip_of([each])) for each in again["longer/dunes"]) == [17 + 8, 17 + 24]


def clip_of(made: Any) -> Path:
    """File of the clip of a unit's first version."""
    return Path(made[0].folder / made[0].done["artifacts"][0]["key"])


def pixels(clip: Path) -> list[bytes]:
    """Of each frame."""
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
