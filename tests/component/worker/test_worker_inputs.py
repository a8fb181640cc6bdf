"""What a unit is made from: gathered units, the unit before, and files that users put somewhere."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from carryon_core.messages import AssignedUnit, ExitCode, StoreConfig
from carryon_store import open_store

CLIP: dict[str, Any] = {"$input": {"stage": "clip", "name": None}}


def ref(unit: AssignedUnit, stage: str) -> dict[str, str]:
    return {"stage": stage, "item": unit.item, "fingerprint": unit.fingerprint}


def clips(bench: Any, count: int, **more: bytes) -> list[dict[str, str]]:
    """References to so many units of the stage clip that are done."""
    made = [bench.unit(index, {}) for index in range(count)]
    for unit in made:
        bench.publish(unit, "clip", {"clip.txt": f"<{unit.item}>".encode(), **more})
    return [ref(unit, "clip") for unit in made]


def gathering(bench: Any, refs: Any, *args: Any) -> AssignedUnit:
    unit: AssignedUnit = bench.unit(0, {"command": {"args": list(args)}}, inputs={"clip": refs})
    return unit.model_copy(update={"item": "job"})


def file(uri: str, content: bytes | None) -> dict[str, Any]:
    return {"$file": {"uri": uri, "sha256": None if content is None else hashlib.sha256(content).hexdigest()}}


def test_a_unit_that_gathers_gets_one_argument_an_item_in_order(bench: Any) -> None:
    refs = clips(bench, 12)
    refs = [refs[7], *refs[:7], *refs[8:]]
    script = 'echo "$1 ${14}" > $CARRYON_OUTPUT/ends.txt; shift; cat "$@" > $CARRYON_OUTPUT/reel.txt 2> /dev/null || :'
    unit = gathering(bench, refs, "sh", "-c", script, "sh", "first", CLIP, "last")
    ended = bench.run(bench.assignment(unit, stage="reel"))
    assert ended.code == ExitCode.DONE, ended.stderr
    made = bench.artifacts(unit, "reel")
    assert made["reel.txt"].decode() == "".join(f"<{each['item']}>" for each in refs)
    assert made["ends.txt"] == b"first last\n"


def test_inputs_json_lists_units_in_order_with_paths_that_are_there(bench: Any) -> None:
    refs = clips(bench, 3, **{"cover.png": b"cover"})
    listing = "cd $CARRYON_INPUTS && cp inputs.json $CARRYON_OUTPUT/ && cat clip/*/clip.txt > $CARRYON_OUTPUT/all.txt"
    unit = gathering(bench, refs[::-1], "sh", "-c", listing)
    ended = bench.run(bench.assignment(unit, stage="reel"))
    assert ended.code == ExitCode.DONE, ended.stderr
    made = bench.artifacts(unit, "reel")
    assert json.loads(made["inputs.json"]) == {
        "clip": [
            {"item": f"item {n}", "files": [f"clip/{place:06}-item%20{n}/{name}" for name in ("clip.txt", "cover.png")]}
            for place, n in enumerate((2, 1, 0))
        ]
    }
    # A shell's pattern sorts as the items do.
    assert made["all.txt"] == b"<item 2><item 1><item 0>"


def test_a_named_file_of_gathered_units_is_that_of_every_unit_that_has_it(bench: Any) -> None:
    refs = clips(bench, 2)
    extra = bench.unit(2, {})
    bench.publish(extra, "clip", {"clip.txt": b"<x>", "poster.txt": b"<poster>"})
    refs.append(ref(extra, "clip"))
    named: dict[str, Any] = {"$input": {"stage": "clip", "name": "poster.txt"}}
    every = gathering(bench, refs, "sh", "-c", 'cat "$@" > $CARRYON_OUTPUT/all.txt', "sh", named, named)
    ended = bench.run(bench.assignment(every, stage="reel"))
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(every, "reel")["all.txt"] == b"<poster><poster>"


def test_a_name_that_no_gathered_unit_has_is_a_bad_request(bench: Any) -> None:
    named: dict[str, Any] = {"$input": {"stage": "clip", "name": "clip.mp4"}}
    ended = bench.run(bench.assignment(gathering(bench, clips(bench, 2), "cat", named), stage="reel"))
    assert ended.code == ExitCode.BAD_REQUEST
    assert "inputs.clip has no artifact clip.mp4 in any unit: they have clip.txt" in ended.termination.message


def test_gathered_files_in_a_variable_are_a_bad_request_that_says_where_they_go(bench: Any) -> None:
    generate = {"command": {"args": ["true"], "env": [{"name": "CLIPS", "value": CLIP}]}}
    unit = bench.unit(0, generate, inputs={"clip": clips(bench, 2)})
    ended = bench.run(bench.assignment(unit, stage="reel"))
    assert ended.code == ExitCode.BAD_REQUEST
    assert "command.env.CLIPS can't hold 2 files: give them as arguments" in ended.termination.message


def test_a_gathering_unit_of_nothing_is_still_made(bench: Any) -> None:
    unit = gathering(bench, [], "sh", "-c", "echo $# > $CARRYON_OUTPUT/count.txt", "sh", CLIP)
    assert bench.run(bench.assignment(unit, stage="reel")).code == ExitCode.DONE
    assert bench.artifacts(unit, "reel") == {"count.txt": b"0\n"}


def test_one_gathered_unit_that_is_not_done_fails_the_unit_by_name(bench: Any) -> None:
    refs = [*clips(bench, 20), ref(bench.unit(77, {}), "clip")]
    ended = bench.run(bench.assignment(gathering(bench, refs, "true"), stage="reel"))
    (report,) = ended.termination.units
    assert (ended.code, report.reason, report.permanent) == (ExitCode.SOME_FAILED, "InputMissing", False)
    assert 'stage "clip", item "item 77"' in report.message


def test_more_files_than_a_command_line_holds_are_a_bad_request_that_names_the_listing(bench: Any) -> None:
    unit = gathering(bench, clips(bench, 30), "true", *[CLIP] * 1000)
    ended = bench.run(bench.assignment(unit, stage="reel"))
    assert ended.code == ExitCode.BAD_REQUEST
    assert "arguments, which are too long together: let it read $CARRYON_INPUTS/inputs.json" in (
        ended.termination.message
    )


def test_the_unit_before_comes_from_the_same_stage_into_the_folder_previous(bench: Any) -> None:
    before = bench.unit(0, {})
    bench.publish(before, "clip", {"clip.txt": b"scene 0"})
    previous: dict[str, Any] = {"$input": {"stage": "previous", "name": None}}
    script = 'cmp "$0" $CARRYON_INPUTS/previous/clip.txt && cp "$0" $CARRYON_INPUTS/inputs.json $CARRYON_OUTPUT/'
    unit = bench.unit(
        1, {"command": {"args": ["sh", "-c", script, previous]}}, inputs={"previous": ref(before, "clip")}
    )
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE, ended.stderr
    made = bench.artifacts(unit)
    assert made["clip.txt"] == b"scene 0"
    assert json.loads(made["inputs.json"]) == {"previous": [{"item": "item 0", "files": ["previous/clip.txt"]}]}


@pytest.mark.parametrize("name", ["photo.png", "a photo%.png", "ünïcode.png"])
def test_a_users_file_arrives_verified_under_its_name(bench: Any, name: str) -> None:
    path = Path(bench.root, "in", name)
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    reference = file(path.as_uri(), b"pixels")
    script = 'cmp "$0" "$1" && basename "$0" > $CARRYON_OUTPUT/name.txt && cat "$PHOTO" > $CARRYON_OUTPUT/copy.png'
    generate = {
        "command": {
            "args": ["sh", "-c", script, reference, reference],
            "env": [{"name": "PHOTO", "value": reference}],
        }
    }
    unit = bench.unit(0, generate)
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == {"name.txt": f"{name}\n".encode(), "copy.png": b"pixels"}


def test_a_users_file_in_s3_is_read_with_the_jobs_credentials_wherever_it_lies(
    bench: Any, moto_config: StoreConfig
) -> None:
    bench.store = open_store(moto_config)
    bucket = moto_config.uri.removeprefix("s3://").partition("/")[0]
    elsewhere = open_store(moto_config.model_copy(update={"uri": f"s3://{bucket}"}))
    elsewhere.put("uploads/in spring/a%20b.png", b"pixels", content_type="image/png")
    reference = file(f"s3://{bucket}/uploads/in spring/a%20b.png", b"pixels")
    unit = bench.unit(0, {"command": {"args": ["sh", "-c", 'cp "$0" $CARRYON_OUTPUT/', reference]}})
    ended = bench.run(bench.assignment(unit, store=moto_config))
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == {"a%20b.png": b"pixels"}


@pytest.mark.parametrize(
    ("there", "seen", "reason", "permanent", "message"),
    [
        (b"other", b"pixels", "InputChanged", False, "has changed since it was looked at"),
        (b"pixels", None, "InputChanged", False, "has changed since it was looked at"),
        (None, b"pixels", "InputMissing", True, "there is no file"),
        (None, None, "InputMissing", True, "there is no file"),
    ],
)
def test_a_users_file_that_is_not_what_was_looked_at_is_never_used(
    bench: Any, there: bytes | None, seen: bytes | None, reason: str, permanent: bool, message: str
) -> None:
    path = bench.root / "photo.png"
    if there is not None:
        path.write_bytes(there)
    marked = f"touch {shlex.quote(str(bench.root / 'ran'))}"
    unit = bench.unit(0, {"command": {"args": ["sh", "-c", marked, file(path.as_uri(), seen)]}})
    ended = bench.run(bench.assignment(unit))
    (report,) = ended.termination.units
    assert (report.reason, report.permanent) == (reason, permanent)
    assert message in report.message
    assert "photo.png" in report.message
    assert not (bench.root / "ran").exists()


def test_a_file_at_an_address_that_names_no_store_is_a_bad_request(bench: Any) -> None:
    unit = bench.unit(0, {"command": {"args": ["cat", file("https://example.org/photo.png", b"pixels")]}})
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.BAD_REQUEST
    assert "file https://example.org/photo.png: " in ended.termination.message
