"""Items that come from data: rows appended, removed, broken and lost, while the job goes on with its own copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carryon_core import names
from plane import Job, Plane, claim, condition, succeeded, suspended, units_done, until
from reels import begun_units, reel, stage, versions

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
HEADER = "handle,greeting\n"
ROWS = [f"creator-{number},hello {number}\n" for number in range(12)]


def posts(name: str, begun: Path, source: dict[str, Any], wait_for: Path | None = None) -> dict[str, Any]:
    """One text for each row; with `wait_for`, none is made before that file is there."""
    waits = f"while [ ! -e {wait_for} ]; do sleep 0.1; done; " if wait_for else ""
    made = reel(name, parallelism=4, unitsPerPod=4)
    made["spec"]["items"] = {"from": {"format": "csv", "idColumn": "handle", **source}}
    script = waits + 'echo "$1" > "$CARRYON_OUTPUT/post.txt"'
    made["spec"]["stages"] = [stage("post", begun, script, "{{ item.greeting }}")]
    return made


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve rows."""
    file = tmp_path / "creators.csv"
    file.write_text(HEADER + "".join(ROWS))
    return file


def replace(file: Path, text: str) -> None:
    """Other content, whole at once."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def test_rows_appended_extend_a_finished_job(plane: Plane, begun: Path, table: Path) -> None:
    plane.apply(posts("appended", begun, {"uri": table.as_uri()}))
    plane.wait_for("appended", succeeded)
    before = versions(plane.job_folder("appended"))
    assert before["post/creator-3"][0].text == "hello 3\n"

    replace(table, table.read_text() + "late-1,hi\nlate-2,hi there\n")
    plane.wait_for("appended", lambda job: job["status"]["progress"] == "14/14" and succeeded(job))
    assert begun_units(begun) == sorted([*before, "post/late-1", "post/late-2"])
    after = versions(plane.job_folder("appended"))
    assert {unit: after[unit] for unit in before} == before
    assert not condition(plane.get("appended"), "ItemsStale")


def test_a_row_that_was_edited_makes_its_own_unit_again(plane: Plane, begun: Path, table: Path) -> None:
    plane.apply(posts("corrected", begun, {"uri": table.as_uri()}))
    plane.wait_for("corrected", succeeded)
    done = begun_units(begun)
    replace(table, table.read_text().replace("hello 5", "good morning"))
    until(lambda: begun_units(begun) != done)
    plane.wait_for("corrected", succeeded)
    assert begun_units(begun) == sorted([*done, "post/creator-5"])
    kept = versions(plane.job_folder("corrected"))["post/creator-5"]
    assert [version.text for version in kept] == ["hello 5\n", "good morning\n"]


def test_rows_removed_cancel_their_units_and_keep_what_is_done(
    plane: Plane, begun: Path, table: Path, tmp_path: Path
) -> None:
    job = posts("removed", begun, {"uri": table.as_uri()}, wait_for=tmp_path / "go")
    job["spec"].update(unitsPerPod=1, parallelism=3)
    plane.apply(job)
    until(lambda: len(begun_units(begun)) == 3)
    at_work = {unit.removeprefix("post/") for unit in begun_units(begun)}
    removed = sorted(at_work)[0]
    replace(table, HEADER + "".join(row for row in ROWS if not row.startswith(f"{removed},")))
    plane.wait_for("removed", lambda found: found["status"]["units"]["total"] == 11)
    until(lambda: not any(removed in pod["metadata"]["annotations"][names.ANNOTATION_UNITS] for pod in pods(plane)))
    (tmp_path / "go").touch()
    status = plane.wait_for("removed", succeeded)["status"]
    assert status["progress"] == "11/11"
    assert status["counters"]["disruptions"] == status["counters"]["failures"] == 0
    assert f"post/{removed}" not in versions(plane.job_folder("removed"))


def pods(plane: Plane) -> list[Job]:
    return [pod for pod in plane.pods() if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def test_a_source_that_breaks_or_vanishes_changes_nothing(plane: Plane, begun: Path, table: Path) -> None:
    whole = table.read_text()
    plane.apply(posts("stale", begun, {"uri": table.as_uri()}))
    plane.wait_for("stale", succeeded)
    done = begun_units(begun)

    replace(table, whole + "creator-3,twice\n")
    job = plane.wait_for("stale", lambda found: condition(found, "ItemsStale"))
    told = claim(job, "ItemsStale")
    assert told["reason"] == "SourceInvalid"
    assert "rows 5 and 14" in told["message"]
    assert "creator-3" in told["message"]
    assert succeeded(job)
    assert job["status"]["progress"] == "12/12"

    table.unlink()
    job = plane.wait_for("stale", lambda found: claim(found, "ItemsStale").get("reason") == "SourceMissing")
    assert succeeded(job)
    assert job["status"]["progress"] == "12/12"

    replace(table, whole)
    job = plane.wait_for("stale", lambda found: not condition(found, "ItemsStale"))
    assert succeeded(job)
    assert begun_units(begun) == done


def test_a_change_that_removes_more_than_half_waits_for_a_person(plane: Plane, begun: Path, table: Path) -> None:
    plane.apply(posts("shrunk", begun, {"uri": table.as_uri()}))
    plane.wait_for("shrunk", succeeded)
    replace(table, HEADER + "".join(ROWS[:4]) + "new-1,hi\n")
    job = plane.wait_for("shrunk", lambda found: condition(found, "ItemsStale"))
    told = claim(job, "ItemsStale")
    assert told["reason"] == "ConfirmItems"
    assert "8 of the 12" in told["message"]
    assert job["status"]["progress"] == "12/12"

    digest = told["message"].split(f"{names.ANNOTATION_CONFIRM_ITEMS}=", 1)[1].split()[0].strip("\"'`.,;")
    plane.annotate("shrunk", names.ANNOTATION_CONFIRM_ITEMS, digest)
    plane.wait_for("shrunk", lambda found: found["status"]["progress"] == "5/5" and succeeded(found))
    assert begun_units(begun).count("post/new-1") == 1
    assert len(begun_units(begun)) == 13


def test_items_come_from_a_config_map_and_follow_it(plane: Plane, begun: Path) -> None:
    lines = ['{"handle": "a", "greeting": "one"}', '{"handle": "b", "greeting": "two"}']
    body = {"metadata": {"name": "creators"}, "data": {"rows.jsonl": "\n".join(lines)}}
    plane.request("POST", CONFIG_MAPS, body)
    source = {"configMapKeyRef": {"name": "creators", "key": "rows.jsonl"}, "format": "jsonl"}
    plane.apply(posts("mapped", begun, source))
    plane.wait_for("mapped", succeeded)
    lines.append('{"handle": "c", "greeting": "three"}')
    patch = {"data": {"rows.jsonl": "\n".join(lines)}}
    plane.request("PATCH", f"{CONFIG_MAPS}/creators", patch, "application/merge-patch+json")
    plane.wait_for("mapped", lambda found: units_done(found) == 3 and succeeded(found))
    assert begun_units(begun) == ["post/a", "post/b", "post/c"]
    assert versions(plane.job_folder("mapped"))["post/c"][0].text == "three\n"


def test_a_job_whose_rows_were_never_good_says_which_are_wrong(plane: Plane, begun: Path, table: Path) -> None:
    replace(table, HEADER + "a,one\n,two\na,three\n")
    plane.apply(posts("refused", begun, {"uri": table.as_uri()}))
    job = plane.wait_for("refused", lambda found: claim(found, "Accepted").get("status") == "False")
    told = claim(job, "Accepted")
    assert told["reason"] == "InvalidItems"
    assert "row 3" in told["message"] or "rows 2 and 4" in told["message"]
    assert plane.pods("refused") == []
    # Corrected data need no edit of the job; a request has them looked at now, and not in half a minute.
    replace(table, HEADER + "a,one\n")
    plane.annotate("refused", names.ANNOTATION_RESUME, "now")
    plane.wait_for("refused", succeeded)


def test_a_config_map_that_loses_rows_breaks_or_vanishes_is_followed_as_far_as_is_safe(
    plane: Plane, begun: Path
) -> None:
    def write(text: str) -> None:
        plane.request("PATCH", f"{CONFIG_MAPS}/guests", {"data": {"rows.csv": text}}, "application/merge-patch+json")

    plane.request("POST", CONFIG_MAPS, {"metadata": {"name": "guests"}, "data": {"rows.csv": HEADER + "".join(ROWS)}})
    source = {"configMapKeyRef": {"name": "guests", "key": "rows.csv"}}
    plane.apply(posts("guests", begun, source))
    plane.wait_for("guests", succeeded)
    done = begun_units(begun)

    write(HEADER + "".join(ROWS[:10]))
    seen = plane.wait_for("guests", lambda found: found["status"]["progress"] == "10/10" and succeeded(found))
    assert not condition(seen, "ItemsStale"), "a few rows may go without a question"
    write(HEADER + "".join(ROWS[:3]))
    seen = plane.wait_for("guests", lambda found: condition(found, "ItemsStale"))
    assert (claim(seen, "ItemsStale")["reason"], seen["status"]["progress"]) == ("ConfirmItems", "10/10")
    write("nothing of the kind")
    seen = plane.wait_for("guests", lambda found: claim(found, "ItemsStale").get("reason") == "SourceInvalid")
    assert (succeeded(seen), seen["status"]["progress"]) == (True, "10/10")
    plane.request("DELETE", f"{CONFIG_MAPS}/guests")
    seen = plane.wait_for("guests", lambda found: claim(found, "ItemsStale").get("reason") == "SourceMissing")
    assert (succeeded(seen), seen["status"]["progress"]) == (True, "10/10")
    body = {"metadata": {"name": "guests"}, "data": {"rows.csv": HEADER + "".join(ROWS[:10]) + "late,hi\n"}}
    plane.request("POST", CONFIG_MAPS, body)
    seen = plane.wait_for("guests", lambda found: found["status"]["progress"] == "11/11" and succeeded(found))
    assert not condition(seen, "ItemsStale")
    assert begun_units(begun) == sorted([*done, "post/late"])


def test_rows_of_jsonl_in_a_bucket_keep_their_types_and_name_files(plane: Plane, begun: Path, tmp_path: Path) -> None:
    (tmp_path / "ada.txt").write_text("a portrait of ada")
    rows = [{"id": "ada", "photo": {"file": (tmp_path / "ada.txt").as_uri()}, "steps": 7}, {"id": "7", "steps": 8.5}]
    table = tmp_path / "creators.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = reel("typed")
    job["spec"]["items"] = {"from": {"format": "jsonl", "uri": table.as_uri()}}
    script = '{ [ -z "$1" ] || cat "$1"; echo " in $2 steps"; } > "$CARRYON_OUTPUT/post.txt"'
    job["spec"]["stages"] = [stage("post", begun, script, "{{ item.photo | default('') }}", "{{ item.steps }}")]
    plane.apply(job)
    plane.wait_for("typed", succeeded)
    made = versions(plane.job_folder("typed"))
    assert {unit: each.text for unit, (each,) in made.items()} == {
        "post/ada": "a portrait of ada in 7 steps\n",
        "post/7": " in 8.5 steps\n",
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_rows_are_accepted_extended_and_paused(plane: Plane, begun: Path, tmp_path: Path) -> None:
    table = tmp_path / "many.csv"
    rows = "".join(f"creator-{number},hello {number}\n" for number in range(99_990))
    table.write_text(HEADER + rows)
    job = posts("many", begun, {"uri": table.as_uri()})
    job["spec"].update(unitsPerPod=20, parallelism=2)
    plane.apply(job)
    plane.wait_for("many", lambda found: units_done(found) >= 40, 240)
    assert plane.get("many")["status"]["units"]["total"] == 99_990
    plane.patch("many", {"spec": {"suspend": True}})
    plane.wait_for("many", suspended, 120)
    done = units_done(plane.get("many"))
    replace(table, HEADER + "first,hi\n" + rows + "last,hi\n")
    seen = plane.wait_for("many", lambda found: found["status"]["items"]["count"] == 99_992, 240)
    assert units_done(seen) == done, "a row before them re-attributes nothing"
    assert len(versions(plane.job_folder("many"))) == done
    assert len(json.dumps(seen["status"])) < 600_000
