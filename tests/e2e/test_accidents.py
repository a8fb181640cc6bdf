"""What users of generation pipelines keep meeting: each accident is a test with its name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from plane import Plane, claim, condition, failed, finished, succeeded, units_done, until
from reels import begun_units, film, reel, scenes, stage, versions

SOON = {"backoff": {"initial": "1s", "factor": 1, "max": "1s"}}

CLIP = 'head -c 64 /dev/urandom > "$CARRYON_OUTPUT/clip.bin"'


def clips(name: str, begun: Path, script: str, **spec: Any) -> dict[str, Any]:
    """A job of one stage, whose script knows what was begun."""
    made = reel(name, **spec)
    made["spec"]["stages"] = [stage("clip", begun, script)]
    return made


def test_one_failed_scene_does_not_kill_its_batch(plane: Plane, begun: Path) -> None:
    broken = (
        'if [ "$CARRYON_ITEM" = 2 ]; then echo "no such colour" >&2; exit 3; fi; echo x > "$CARRYON_OUTPUT/clip.txt"'
    )
    job = clips("batch", begun, broken, clips=5, unitsPerPod=5, retry={"perUnit": 2, "rounds": 0, **SOON})
    plane.apply(job)
    status = plane.wait_for("batch", failed)["status"]
    assert begun_units(begun) == ["clip/0", "clip/1", "clip/2", "clip/2", "clip/3", "clip/4"]
    assert (status["units"]["succeeded"], status["units"]["failed"]) == (4, 1)
    assert status["stages"][0]["failed"] == "2"
    assert "no such colour" in status["message"]


def test_a_stuck_job_can_be_restarted(plane: Plane, begun: Path, tmp_path: Path) -> None:
    hangs = f"if [ ! -e {tmp_path}/free ]; then sleep 600; fi; " + CLIP
    plane.apply(clips("stuck", begun, hangs, clips=3, parallelism=3))
    until(lambda: begun_units(begun) == ["clip/0", "clip/1", "clip/2"])
    hung = {pod["metadata"]["uid"] for pod in plane.pods("stuck")}
    (tmp_path / "free").touch()

    plane.annotate("stuck", names.ANNOTATION_RESTART, "once")
    status = plane.wait_for("stuck", succeeded)["status"]
    assert begun_units(begun) == sorted(["clip/0", "clip/1", "clip/2"] * 2)
    assert status["handled"]["restart"] == "once"
    assert status["counters"]["restarts"] == 1
    assert status["counters"]["failures"] == status["counters"]["stuck"] == 0, "a restart is nobody's failure"
    assert not hung & {pod["metadata"]["uid"] for pod in plane.pods("stuck")}


def test_a_failed_job_does_not_start_from_zero(plane: Plane, begun: Path, tmp_path: Path) -> None:
    script = f"""
        case "$CARRYON_ITEM" in 3|7|8) [ -e {tmp_path}/repaired ];; esac
        {CLIP}
    """
    job = clips("failing", begun, script, clips=10, unitsPerPod=5, retry={"perUnit": 1, "rounds": 0, **SOON})
    plane.apply(job)
    status = plane.wait_for("failing", failed)["status"]
    assert status["stages"][0]["failed"] == "3,7-8"
    assert status["resume"]["possible"]
    before, begun_before = versions(plane.job_folder("failing")), Counter(begun_units(begun))
    assert len(before) == 7

    (tmp_path / "repaired").touch()
    plane.annotate("failing", names.ANNOTATION_RESUME, "repaired")
    status = plane.wait_for("failing", succeeded)["status"]
    assert dict(Counter(begun_units(begun)) - begun_before) == {"clip/3": 1, "clip/7": 1, "clip/8": 1}
    after = versions(plane.job_folder("failing"))
    assert {unit: after[unit] for unit in before} == before
    assert len(after) == 10
    assert (status["counters"]["resumes"], status["handled"]["resume"]) == (1, "repaired")


COUNTING = """
import os, pathlib, time

steps = pathlib.Path(os.environ["CARRYON_CHECKPOINT"], "steps")
done = int(steps.read_text()) if steps.exists() else 0
with open("{steps}", "a") as log:
    while done < 40:
        time.sleep(0.1)
        done += 1
        print(done, file=log, flush=True)
        steps.with_suffix(".new").write_text(str(done))
        steps.with_suffix(".new").replace(steps)
pathlib.Path(os.environ["CARRYON_OUTPUT"], "clip.txt").write_text("forty steps")
"""
"""A clip of forty steps that keeps its own checkpoint."""


def test_a_pause_does_not_lose_the_running_clip(plane: Plane, tmp_path: Path) -> None:
    log = tmp_path / "steps"
    log.touch()
    job = reel("paused", clips=1)
    program = COUNTING.replace("{steps}", str(log))
    job["spec"]["stages"][0]["generate"]["command"]["args"] = ["python3", "-c", program]
    plane.apply(job)

    def steps() -> list[int]:
        return [int(line) for line in log.read_text().split()]

    until(lambda: len(steps()) >= 10)
    plane.patch("paused", {"spec": {"suspend": True}})
    plane.wait_for("paused", lambda found: condition(found, "Suspended"))
    until(lambda: plane.pods("paused") == [])
    at_pause = len(steps())
    assert at_pause < 40
    plane.patch("paused", {"spec": {"suspend": False}})
    status = plane.wait_for("paused", succeeded)["status"]
    assert sorted(set(steps())) == list(range(1, 41))
    repeated = len(steps()) - 40
    assert repeated <= 1, f"{repeated} of {at_pause} steps were made twice"
    assert (status["counters"]["suspensions"], status["counters"]["failures"]) == (1, 0)


def test_an_edited_prompt_makes_only_its_own_units_again(plane: Plane, begun: Path, tmp_path: Path) -> None:
    job = film("edited", begun, items={"list": scenes(6)}, unitsPerPod=1)
    # The last scene's image waits, so that the edit meets a film at work.
    job["spec"]["stages"][0] = stage(
        "image",
        begun,
        f'while [ "$2" = scene-5 ] && [ ! -e {tmp_path}/go ]; do sleep 0.1; done; '
        'echo "image of $1" > "$CARRYON_OUTPUT/image.txt"',
        "{{ item.prompt }}",
        "{{ item.id }}",
    )
    plane.apply(job)
    plane.wait_for("edited", lambda found: units_done(found) == 10)
    before, begun_before = versions(plane.job_folder("edited")), Counter(begun_units(begun))

    job["spec"]["items"]["list"][1]["params"]["prompt"] = "something else"
    plane.apply(job)
    until(lambda: len(versions(plane.job_folder("edited")).get("clip/scene-1", [])) == 2)
    (tmp_path / "go").touch()
    plane.wait_for("edited", succeeded)
    begun_since = Counter(begun_units(begun)) - begun_before
    assert begun_since["image/scene-1"] == begun_since["clip/scene-1"] == 1
    others = {f"{where}/scene-{number}" for where in ("image", "clip") for number in (0, 2, 3, 4)}
    assert not others & set(begun_since)
    after = versions(plane.job_folder("edited"))
    assert {unit: after[unit] for unit in others} == {unit: before[unit] for unit in others}
    assert [version.text for version in after["image/scene-1"]] == ["image of prompt 1\n", "image of something else\n"]
    assert after["reel/job"][-1].text.splitlines()[1] == "clip of something else"


@pytest.mark.timeout(400)
def test_an_edit_of_scene_7_of_15_makes_its_image_its_clip_and_the_reel_again_and_nothing_else(
    plane: Plane, begun: Path
) -> None:
    job = film("film", begun)
    plane.apply(job)
    status = plane.wait_for("film", succeeded, 120)["status"]
    assert status["progress"] == "31/31"
    everything = [f"{where}/scene-{number}" for where in ("image", "clip") for number in range(15)]
    assert begun_units(begun) == sorted([*everything, "reel/job"])
    before = versions(plane.job_folder("film"))
    lines = before["reel/job"][0].text.splitlines()
    assert lines == [f"clip of prompt {number}" for number in range(15)], "in order of the items"

    job["spec"]["items"]["list"][7]["params"]["prompt"] = "a heron"
    plane.apply(job)
    # Its generation is new, so `succeeded` is not that of before.
    status = plane.wait_for("film", succeeded, 120)["status"]
    assert status["progress"] == "31/31"
    assert begun_units(begun) == sorted([*everything, "reel/job", "image/scene-7", "clip/scene-7", "reel/job"])
    after = versions(plane.job_folder("film"))
    made_anew = {unit for unit in after if len(after[unit]) > 1}
    assert made_anew == {"image/scene-7", "clip/scene-7", "reel/job"}
    assert {unit: after[unit][0] for unit in before} == {unit: before[unit][0] for unit in before}, "the old ones stay"
    lines[7] = "clip of a heron"
    assert after["reel/job"][1].text.splitlines() == lines


UNLUCKY = """
tries=$(grep -c "^$CARRYON_STAGE/$CARRYON_ITEM\\$" {begun})
case "$CARRYON_ITEM" in
  2|5|11) [ "$tries" -gt 2 ] || { echo "not yet" >&2; exit 3; };;
  7) echo "never" >&2; exit 3;;
  9) [ "$tries" -gt 4 ] || sleep 600;;
esac
"""


@pytest.mark.timeout(400)
def test_fifteen_units_of_which_three_fail_twice_one_always_and_one_is_evicted_four_times(
    plane: Plane, begun: Path
) -> None:
    retry = {"perUnit": 3, "rounds": 1, **SOON}
    job = clips("unlucky", begun, UNLUCKY.replace("{begun}", str(begun)) + CLIP, clips=15, retry=retry)
    plane.apply(job)
    for eviction in range(4):
        until(lambda: begun_units(begun).count("clip/9") == eviction + 1, 60)  # noqa: B023
        plane.evict(next(pod["metadata"]["name"] for pod in plane.pods("unlucky") if _is_making(pod, "9")))
    status = plane.wait_for("unlucky", finished, 120)["status"]

    units = {"total": 15, "succeeded": 14, "failed": 1, "active": 0, "remaining": 0, "outcomes": {"generated": 14}}
    assert status["units"] == units
    assert status["stages"][0]["failed"] == "7"
    tries = {"2": 3, "5": 3, "11": 3, "7": 4, "9": 5}
    wanted = Counter({f"clip/{item}": tries.get(str(item), 1) for item in range(15)})
    assert Counter(begun_units(begun)) == wanted, "nothing else was disturbed"
    counters = status["counters"]
    assert (counters["failures"], counters["disruptions"], counters["round"]) == (3 * 2 + 4, 4, 1)
    assert counters["stuck"] == counters["suspensions"] == counters["resumes"] == counters["restarts"] == 0
    assert claim(plane.get("unlucky"), "Failed")["reason"] == "UnitsFailed"


def _is_making(pod: dict[str, Any], item: str) -> bool:
    described = pod["metadata"]
    return described["annotations"][names.ANNOTATION_UNITS] == f'["{item}"]' and "deletionTimestamp" not in described
