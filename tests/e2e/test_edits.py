"""Edits of running, suspended and finished jobs: just the units whose fingerprints changed, and theirs downstream."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from carryon_core import names
from plane import Job, Plane, claim, condition, failed, succeeded, suspended, units_done, until
from reels import begun_units, film, reel, scenes, stage, versions

LINE = 'echo "clip of $1" > "$CARRYON_OUTPUT/clip.txt"'


def clips(name: str, begun: Path, count: int, script: str = LINE, **spec: Any) -> dict[str, Any]:
    """A job of one stage that knows its prompts."""
    made = reel(name, **spec)
    made["spec"].update(items={"list": scenes(count)}, stages=[stage("clip", begun, script, "{{ item.prompt }}")])
    return made


def set_prompt(job: Job, scene: int, prompt: str) -> None:
    job["spec"]["items"]["list"][scene]["params"]["prompt"] = prompt


def uids(plane: Plane, job: str) -> dict[str, str]:
    """Units of a job's pods, as annotated -> the pod's uid; without those that are on their way out."""
    return {
        pod["metadata"]["annotations"][names.ANNOTATION_UNITS]: pod["metadata"]["uid"]
        for pod in plane.pods(job)
        if "deletionTimestamp" not in pod["metadata"]
    }


def test_an_edit_replaces_the_pod_of_the_outdated_unit_and_no_other(plane: Plane, begun: Path, tmp_path: Path) -> None:
    waits = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; " + LINE
    job = clips("swapped", begun, 3, waits)
    plane.apply(job)
    until(lambda: len(begun_units(begun)) == 3)
    before = uids(plane, "swapped")
    assert len(before) == 3

    set_prompt(job, 1, "a heron")
    plane.apply(job)
    until(lambda: begun_units(begun).count("clip/scene-1") == 2)
    after = uids(plane, "swapped")
    assert {units for units in before if after[units] != before[units]} == {'["scene-1"]'}
    (tmp_path / "go").touch()
    status = plane.wait_for("swapped", succeeded)["status"]
    assert Counter(begun_units(begun)) == {"clip/scene-0": 1, "clip/scene-1": 2, "clip/scene-2": 1}
    assert not any(status["counters"].values()), "an edit is nobody's failure, and no disruption"
    made = versions(plane.job_folder("swapped"))
    assert [version.text for version in made["clip/scene-1"]] == ["clip of a heron\n"], "the outdated one never was"


def test_an_edit_of_a_suspended_job_is_made_when_it_is_resumed(plane: Plane, begun: Path, tmp_path: Path) -> None:
    waits = f'if [ "$CARRYON_INDEX" -gt 1 ] && [ ! -e {tmp_path}/go ]; then sleep 600; fi; ' + LINE
    job = clips("resting", begun, 4, waits, parallelism=4)
    plane.apply(job)
    plane.wait_for("resting", lambda found: units_done(found) == 2)
    until(lambda: len(begun_units(begun)) == 4)
    plane.patch("resting", {"spec": {"suspend": True}})
    plane.wait_for("resting", suspended)
    (tmp_path / "go").touch()

    set_prompt(job, 1, "a heron")
    job["spec"]["suspend"] = True
    plane.apply(job)
    seen = plane.wait_for("resting", lambda found: suspended(found) and units_done(found) == 1)
    assert seen["status"]["units"]["remaining"] == 3, "status knows at once what the edit takes"
    assert "3 remaining" in seen["status"]["resume"]["action"]
    assert len(begun_units(begun)) == 4, "nothing begins while it is suspended"

    plane.patch("resting", {"spec": {"suspend": False}})
    plane.wait_for("resting", succeeded)
    assert Counter(begun_units(begun)) == {"clip/scene-0": 1} | {f"clip/scene-{number}": 2 for number in (1, 2, 3)}
    made = versions(plane.job_folder("resting"))
    assert [version.text for version in made["clip/scene-1"]] == ["clip of prompt 1\n", "clip of a heron\n"]


def test_a_new_revision_makes_its_stage_and_what_follows_again_and_nothing_before_it(plane: Plane, begun: Path) -> None:
    job = film("revised", begun, items={"list": scenes(3)})
    plane.apply(job)
    plane.wait_for("revised", succeeded)
    first = Counter(begun_units(begun))
    job["spec"]["stages"][1]["revision"] = "softer"
    plane.apply(job)
    plane.wait_for("revised", succeeded)
    again = Counter(begun_units(begun)) - first
    assert again == Counter(["clip/scene-0", "clip/scene-1", "clip/scene-2", "reel/job"])


def test_edits_of_how_a_job_runs_make_nothing_again(plane: Plane, begun: Path) -> None:
    job = film("moved", begun, items={"list": scenes(2)})
    plane.apply(job)
    plane.wait_for("moved", succeeded)
    before, made = begun_units(begun), versions(plane.job_folder("moved"))
    job["spec"].update(
        parallelism=1,
        unitsPerPod=2,
        retry={"perUnit": 7, "rounds": 1},
        timeouts={"unit": "1h", "stall": "1m", "job": "2h"},
        podTemplate={"metadata": {"labels": {"team": "film"}}},
    )
    job["spec"]["stages"][0]["resources"] = {"requests": {"memory": "20Mi"}}
    plane.apply(job)
    seen = plane.wait_for("moved", succeeded)
    assert seen["status"]["progress"] == "5/5"
    assert begun_units(begun) == before
    assert versions(plane.job_folder("moved")) == made


def test_only_so_many_outdated_versions_of_a_unit_stay(plane: Plane, begun: Path, tmp_path: Path) -> None:
    waits = f'while [ ! -e "{tmp_path}/go $1" ]; do sleep 0.1; done; ' + LINE
    job = clips("pruned", begun, 2, waits, output={"uri": plane.output.as_uri(), "keepOutdated": 1})
    (tmp_path / "go prompt 0").touch()
    for prompt in ("prompt 1", "a heron", "a stork", "a crane"):
        set_prompt(job, 1, prompt)
        plane.apply(job)
        plane.wait_for("pruned", lambda found: condition(found, "Progressing") and units_done(found) == 1)
        (tmp_path / f"go {prompt}").touch()
        plane.wait_for("pruned", succeeded)
    assert begun_units(begun).count("clip/scene-0") == 1
    wanted = {"clip/scene-0": ["clip of prompt 0\n"], "clip/scene-1": ["clip of a stork\n", "clip of a crane\n"]}
    until(lambda: _texts(plane, "pruned") == wanted)


def _texts(plane: Plane, job: str) -> dict[str, list[str]]:
    return {unit: [each.text for each in made] for unit, made in versions(plane.job_folder(job)).items()}


def test_a_scene_inserted_before_one_that_failed_re_attributes_nothing(plane: Plane, begun: Path) -> None:
    broken = '[ "$CARRYON_ITEM" != scene-1 ]; ' + LINE
    job = clips("inserted", begun, 3, broken, retry={"perUnit": 2, "rounds": 0, "backoff": {"initial": "1s"}})
    plane.apply(job)
    status = plane.wait_for("inserted", failed)["status"]
    assert (status["stages"][0]["failed"], status["stages"][0]["failures"]) == ("1", {"2": "1"})
    before = Counter(begun_units(begun))

    job["spec"]["items"]["list"].insert(0, {"id": "prologue", "params": {"prompt": "a title"}})
    plane.apply(job)
    seen = plane.wait_for("inserted", failed)
    assert Counter(begun_units(begun)) - before == Counter(["clip/prologue"])
    first = seen["status"]["stages"][0]
    assert (first["succeeded"], first["failed"], first["failures"]) == ("0-1,3", "2", {"2": "2"})
    assert claim(seen, "Failed")["reason"] == "UnitsFailed"


def test_an_edit_of_the_scene_that_failed_gives_it_a_new_budget(plane: Plane, begun: Path) -> None:
    broken = '[ "$1" != "prompt 1" ]; ' + LINE
    job = clips("repaired", begun, 3, broken, retry={"perUnit": 1, "rounds": 0})
    plane.apply(job)
    plane.wait_for("repaired", failed)
    set_prompt(job, 1, "a heron")
    plane.apply(job)
    status = plane.wait_for("repaired", succeeded)["status"]
    assert Counter(begun_units(begun)) == {"clip/scene-0": 1, "clip/scene-1": 2, "clip/scene-2": 1}
    assert status["stages"][0]["failed"] == ""
    assert status["counters"]["failures"] == 1


def test_a_stage_that_is_added_to_a_finished_job_is_all_that_is_made_and_one_that_is_taken_away_unmakes_nothing(
    plane: Plane, begun: Path
) -> None:
    job = film("longer", begun, items={"list": scenes(2)})
    whole = job["spec"]["stages"]
    job["spec"]["stages"] = whole[:1]
    plane.apply(job)
    plane.wait_for("longer", succeeded)
    assert begun_units(begun) == ["image/scene-0", "image/scene-1"]
    job["spec"]["stages"] = whole
    plane.apply(job)
    assert plane.wait_for("longer", succeeded)["status"]["progress"] == "5/5"
    made = ["clip/scene-0", "clip/scene-1", "image/scene-0", "image/scene-1", "reel/job"]
    assert begun_units(begun) == made
    job["spec"]["stages"] = whole[:2]
    plane.apply(job)
    seen = plane.wait_for("longer", succeeded)
    assert seen["status"]["progress"] == "4/4"
    assert [each["name"] for each in seen["status"]["stages"]] == ["image", "clip"]
    assert begun_units(begun) == made
    assert sorted(versions(plane.job_folder("longer"))) == made, "what it made stays"


def test_items_that_move_from_the_job_into_a_table_are_done_already(plane: Plane, begun: Path, tmp_path: Path) -> None:
    job = clips("tabled", begun, 3)
    plane.apply(job)
    plane.wait_for("tabled", succeeded)
    table = tmp_path / "scenes.csv"
    table.write_text("id,prompt\n" + "".join(f"scene-{number},prompt {number}\n" for number in (2, 0, 1, 3)))
    job["spec"]["items"] = {"from": {"uri": table.as_uri(), "format": "csv"}}
    plane.apply(job)
    seen = plane.wait_for("tabled", succeeded)
    assert seen["status"]["progress"] == "4/4"
    assert begun_units(begun) == [f"clip/scene-{number}" for number in range(4)]


def test_an_edit_that_is_made_in_a_moment_is_an_end_like_any_other(plane: Plane, begun: Path) -> None:
    job = clips("sudden", begun, 2, output={"uri": plane.output.as_uri(), "keepOutdated": 1})
    plane.apply(job)
    first = plane.wait_for("sudden", succeeded)["status"]["time"]["finished"]
    for prompt in ("a heron", "a stork", "a crane"):
        set_prompt(job, 1, prompt)
        plane.apply(job)
        plane.wait_for("sudden", succeeded)
    wanted = {"clip/scene-0": ["clip of prompt 0\n"], "clip/scene-1": ["clip of a stork\n", "clip of a crane\n"]}
    until(lambda: _texts(plane, "sudden") == wanted)
    assert plane.get("sudden")["status"]["time"]["finished"] > first, "what goes some time after the end stays so long"
