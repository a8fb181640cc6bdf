"""How a worker ends, what it says about it, and what then lies in the bucket."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from carryon_core.fingerprint import CONTRACT
from carryon_core.messages import TERMINATION_LONGEST, ExitCode, StoreConfig, UnitOutcome
from carryon_store import open_store, records

WRITES = "printf made > $CARRYON_OUTPUT/made.txt"


def test_what_a_program_writes_becomes_artifacts_and_done(bench: Any) -> None:
    unit = bench.shell(7, "mkdir $CARRYON_OUTPUT/frames; echo a > $CARRYON_OUTPUT/frames/1.png; " + WRITES)
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE
    assert [(each.index, each.outcome) for each in ended.termination.units] == [(0, UnitOutcome.DONE)]
    assert bench.artifacts(unit) == {"frames/1.png": b"a\n", "made.txt": b"made"}
    done = bench.done(unit)
    assert (done.item, done.seed, done.pod, done.pod_uid, done.attempt) == ("item 7", 1007, "pod-0", "uid-0", 1)
    assert [each.content_type for each in done.artifacts] == ["image/png", "text/plain"]
    assert done.artifacts[0].key.startswith("frames_1.")
    assert {"carryon", "python"} <= done.versions.keys()
    assert done.timings.generate > 0
    assert list(bench.root.glob("scratch-0/*")) == []


@pytest.mark.parametrize(
    ("script", "code", "reason", "message", "permanent"),
    [
        (
            "echo first >&2; echo the disk sulks >&2; exit 3",
            10,
            "ExitCode",
            "exit code 3: first\nthe disk sulks",
            False,
        ),
        ("exit 1", 10, "ExitCode", "sh ended with exit code 1", False),
        ("kill -USR1 $$", 10, "ExitCode", "sh was killed by signal 10", False),
        ("kill -KILL $$", 10, "ExitCode", "sh was killed by signal 9", False),
        ("echo no such voice >&2; exit 12", 12, "BadRequest", "no such voice", True),
        ("exit 13", 13, "OutOfMemory", "exit code 13", False),
        ("true", 10, "NoArtifacts", "CARRYON_OUTPUT", False),
        ("ln -s /etc/passwd $CARRYON_OUTPUT/link", 10, "NoArtifacts", "CARRYON_OUTPUT", False),
        ("printf '%100000s' x >&2; exit 1", 10, "ExitCode", "exit code 1", False),
        ("printf '\\377\\0\\033[31m' >&2; exit 1", 10, "ExitCode", "exit code 1", False),
    ],
)
def test_how_a_program_ends_is_what_the_unit_reports(
    bench: Any, script: str, code: int, reason: str, message: str, permanent: bool
) -> None:
    unit = bench.shell(0, script)
    ended = bench.run(bench.assignment(unit))
    assert ended.code == code
    (report,) = ended.termination.units
    assert (report.outcome, report.reason, report.permanent) == (UnitOutcome.FAILED, reason, permanent)
    assert message in report.message
    assert len(ended.message.encode()) <= TERMINATION_LONGEST
    assert "Traceback" not in ended.stderr
    assert bench.done(unit) is None


@pytest.mark.parametrize(
    ("generate", "message"),
    [
        ({"command": {"args": ["no-such-program", "x"]}}, 'no program "no-such-program"'),
        ({"command": {"args": ["/etc/passwd"]}}, 'no program "/etc/passwd"'),
        ({"command": {"args": []}}, "command.args"),
        ({"command": {"args": ["true", "a\0b"]}}, "null byte"),
        ({"command": {"args": ["true"], "env": [{"name": "A", "value": {"$input": {"stage": "x", "name": None}}}]}},
         "inputs.x is used, but x is not among the stages in `after`"),
        ({"telepathy": {}}, "no generator telepathy: it has command, diffusers"),
        ({}, "exactly one generator"),
    ],
)  # fmt: skip
def test_what_can_not_work_is_a_bad_request_that_names_it(bench: Any, generate: Any, message: str) -> None:
    ended = bench.run(bench.assignment(bench.unit(0, generate)))
    assert ended.code == ExitCode.BAD_REQUEST
    assert message in ended.termination.message
    assert ended.termination.units[0].permanent
    assert "Traceback" not in ended.stderr


def test_one_bad_unit_never_stops_the_others(bench: Any) -> None:
    assigned = [
        bench.shell(0, WRITES),
        bench.command(1, "no-such-program"),
        bench.shell(2, "exit 1"),
        bench.shell(3, WRITES),
    ]
    ended = bench.run(bench.assignment(*assigned))
    assert ended.code == ExitCode.SOME_FAILED
    assert [report.outcome for report in ended.termination.units] == ["done", "failed", "failed", "done"]
    assert [report.permanent for report in ended.termination.units] == [False, True, False, False]
    assert [bench.done(unit) is not None for unit in assigned] == [True, False, False, True]


def test_units_after_an_out_of_memory_are_left_to_another_worker(bench: Any) -> None:
    ended = bench.run(bench.assignment(bench.shell(0, WRITES), bench.shell(1, "exit 13"), bench.shell(2, WRITES)))
    assert ended.code == ExitCode.OUT_OF_MEMORY
    assert [report.outcome for report in ended.termination.units] == ["done", "failed", "notStarted"]


def test_hundreds_of_wordy_failures_fit_the_termination_message(bench: Any) -> None:
    wordy = {"command": {"args": ["no-such-program-" + "ü" * 3000]}}
    pointer = records.put_assignment(bench.store, bench.assignment(*(bench.unit(index, wordy) for index in range(300))))
    ended = bench.run(pointer.model_dump_json(by_alias=True))
    assert ended.code == ExitCode.BAD_REQUEST
    assert len(ended.message.encode()) <= TERMINATION_LONGEST
    assert ended.termination.reason == "BadRequest"


def test_a_unit_that_is_done_is_not_made_again(bench: Any) -> None:
    unit = bench.shell(0, "touch $MARK; " + WRITES, env={"MARK": str(bench.root / "ran")})
    bench.publish(unit, "clip", {"made.txt": b"earlier"})
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE
    assert ended.termination.units[0].outcome == UnitOutcome.DONE
    assert not (bench.root / "ran").exists()
    assert bench.artifacts(unit) == {"made.txt": b"earlier"}


def test_a_worker_that_comes_late_changes_nothing(bench: Any) -> None:
    gate = bench.root / "gate"
    unit = bench.shell(0, "while ! test -e $GATE; do sleep 0.05; done; " + WRITES, env={"GATE": str(gate)})
    late = bench.start(bench.assignment(unit))
    late.says("running sh")
    bench.publish(unit, "clip", {"made.txt": b"by another"})
    before = bench.done(unit)
    gate.touch()
    ended = late.end()
    assert ended.code == ExitCode.DONE
    assert "another worker was first" in ended.stderr
    assert bench.done(unit) == before
    assert bench.artifacts(unit) == {"made.txt": b"by another"}


def test_a_done_json_of_something_else_fails_the_unit_before_the_work(bench: Any) -> None:
    unit = bench.shell(0, "touch $MARK", env={"MARK": str(bench.root / "ran")})
    bench.store.put(bench.prefix(unit) + "done.json", b"{}", content_type="application/json")
    ended = bench.run(bench.assignment(unit))
    assert (ended.code, ended.termination.units[0].reason) == (ExitCode.SOME_FAILED, "DoneDamaged")
    assert not (bench.root / "ran").exists()


def test_inputs_come_verified_into_a_folder_a_stage(bench: Any) -> None:
    upstream = bench.unit(3, {})
    bench.publish(upstream, "image", {"image.png": b"pixels", "mask.png": b"bits"})
    reference = {"$input": {"stage": "image", "name": "mask.png"}}
    source = {"image": {"stage": "image", "item": upstream.item, "fingerprint": upstream.fingerprint}}
    script = 'cat "$0" $CARRYON_INPUTS/image/image.png > $CARRYON_OUTPUT/both.txt'
    unit = bench.unit(4, {"command": {"args": ["sh", "-c", script, reference]}}, inputs=source)
    ended = bench.run(bench.assignment(unit))
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == {"both.txt": b"bitspixels"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "inputs.image has 2 artifacts (image.png, mask.png): name one"),
        ("depth.png", "inputs.image has no artifact depth.png: it has image.png, mask.png"),
    ],
)
def test_a_reference_that_fits_no_single_artifact_is_a_bad_request(bench: Any, name: str | None, message: str) -> None:
    upstream = bench.unit(3, {})
    bench.publish(upstream, "image", {"image.png": b"pixels", "mask.png": b"bits"})
    source = {"image": {"stage": "image", "item": upstream.item, "fingerprint": upstream.fingerprint}}
    reference = {"$input": {"stage": "image", "name": name}}
    ended = bench.run(bench.assignment(bench.unit(4, {"command": {"args": ["cat", reference]}}, inputs=source)))
    assert ended.code == ExitCode.BAD_REQUEST
    assert message in ended.termination.message


@pytest.mark.parametrize("what", ["done.json", "artifact", "content"])
def test_an_input_that_is_not_there_as_described_fails_the_unit(bench: Any, what: str) -> None:
    upstream = bench.unit(3, {})
    reason = "InputMissing"
    if what != "done.json":
        bench.publish(upstream, "image", {"image.png": b"pixels"})
        key = bench.prefix(upstream, "image") + bench.done(upstream, "image").artifacts[0].key
        if what == "artifact":
            bench.store.delete(key)
        else:
            bench.store.put(key, b"PIXELS", content_type="image/png")
            reason = "InputDamaged"
    source = {"image": {"stage": "image", "item": upstream.item, "fingerprint": upstream.fingerprint}}
    ended = bench.run(bench.assignment(bench.unit(4, {"command": {"args": ["true"]}}, inputs=source)))
    assert ended.code == ExitCode.SOME_FAILED
    (report,) = ended.termination.units
    assert (report.reason, report.permanent) == (reason, False)
    assert 'stage "image", item "item 3"' in report.message


def test_an_assignment_in_the_bucket_is_read_through_its_pointer(bench: Any) -> None:
    unit = bench.shell(0, WRITES)
    pointer = records.put_assignment(bench.store, bench.assignment(unit))
    ended = bench.run(pointer.model_dump_json(by_alias=True))
    assert ended.code == ExitCode.DONE
    assert bench.artifacts(unit) == {"made.txt": b"made"}


def test_an_assignment_that_is_not_the_one_meant_is_not_carried_out(bench: Any) -> None:
    unit = bench.shell(0, WRITES)
    pointer = records.put_assignment(bench.store, bench.assignment(unit))
    bench.store.put(pointer.key, b"{}", content_type="application/json")
    ended = bench.run(pointer.model_dump_json(by_alias=True))
    assert ended.code == 1
    assert "was changed: its SHA-256 is not" in ended.termination.message
    assert "Traceback" not in ended.stderr
    assert bench.done(unit) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "CARRYON_ASSIGNMENT is not set"),
        ("{", "can't be read"),
        ('{"units": []}', "can't be read: namespace"),
        ("[]", "can't be read"),
    ],
)
def test_a_worker_without_an_assignment_says_so(bench: Any, text: str, message: str) -> None:
    ended = bench.run(text)
    assert (ended.code, ended.termination.reason) == (1, "AssignmentUnreadable")
    assert message in ended.termination.message
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("where", ["environment", "bucket"])
def test_a_worker_that_is_too_old_for_its_operator_says_so_and_makes_nothing(bench: Any, where: str) -> None:
    unit = bench.shell(0, WRITES)
    assignment = bench.assignment(unit, version=2)
    if where == "environment":
        # Of the next release, in which more may have changed than fields that can be ignored.
        text = json.dumps({**json.loads(assignment.model_dump_json(by_alias=True)), "job": {"name": "reel"}})
    else:
        text = records.put_assignment(bench.store, assignment).model_dump_json(by_alias=True)
    ended = bench.run(text)
    assert (ended.code, ended.termination.reason) == (ExitCode.BAD_REQUEST, "WorkerTooOld")
    assert "carries out assignments up to version 1, and the operator's is of version 2" in ended.termination.message
    assert "name a worker image of the operator's release" in ended.termination.message
    assert bench.done(unit) is None


def test_done_json_says_which_contract_its_fingerprint_is_of_whatever_the_workers_own_is(bench: Any) -> None:
    unit = bench.shell(0, WRITES)
    assert bench.run(bench.assignment(unit, contract=CONTRACT + 1)).code == ExitCode.DONE
    assert bench.done(unit).contract == CONTRACT + 1


def test_an_assignment_of_an_operator_from_before_versions_is_carried_out(bench: Any) -> None:
    unit = bench.shell(0, WRITES)
    old = json.loads(bench.assignment(unit).model_dump_json(by_alias=True))
    assert old.pop("version") == old.pop("contract") == 1
    assert bench.run(json.dumps(old)).code == ExitCode.DONE
    assert bench.done(unit).contract == 1


def test_a_bucket_that_can_not_be_written_is_the_units_failure(bench: Any) -> None:
    (bench.root / "bucket").write_text("a file where the folder should be")
    ended = bench.run(bench.assignment(bench.shell(0, WRITES), bench.shell(1, WRITES)))
    assert ended.code == ExitCode.SOME_FAILED
    assert {report.reason[:6] for report in ended.termination.units} == {"Bucket"}
    assert "Traceback" not in ended.stderr


def test_units_are_made_from_and_into_s3_just_the_same(bench: Any, moto_config: StoreConfig) -> None:
    bench.store = open_store(moto_config)
    upstream = bench.unit(3, {})
    bench.publish(upstream, "image", {"image.png": b"pixels"})
    source = {"image": {"stage": "image", "item": upstream.item, "fingerprint": upstream.fingerprint}}
    script = "cat $CARRYON_INPUTS/image/image.png > $CARRYON_OUTPUT/copy.png"
    unit = bench.unit(4, {"command": {"args": ["sh", "-c", script]}}, inputs=source)
    ended = bench.run(bench.assignment(unit, store=moto_config))
    assert ended.code == ExitCode.DONE, ended.stderr
    assert bench.artifacts(unit) == {"copy.png": b"pixels"}


def test_a_bucket_that_does_not_answer_is_unreachable_never_missing(bench: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    text = bench.assignment(bench.shell(0, WRITES)).model_dump(by_alias=True, mode="json")
    text["store"] = {"uri": "s3://bucket/prefix", "endpoint": f"http://127.0.0.1:{port}", "region": "eu-central-1"}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    ended = bench.run(json.dumps(text), seconds=60, **keys)
    assert ended.code == ExitCode.SOME_FAILED
    assert ended.termination.units[0].reason == "BucketUnreachable"


def test_a_program_gets_its_seed_and_neither_credentials_nor_the_assignment(bench: Any) -> None:
    unit = bench.shell(5, "env > $CARRYON_OUTPUT/env.txt; pwd >> $CARRYON_OUTPUT/env.txt", env={"VOICE": "alto"})
    bench.run(bench.assignment(unit), AWS_SECRET_ACCESS_KEY="hush", CARRYON_SECRET="hush")
    lines = bench.artifacts(unit)["env.txt"].decode().splitlines()
    variables = dict(line.split("=", 1) for line in lines if "=" in line)
    ours = {name: value for name, value in variables.items() if name.startswith("CARRYON_")}
    assert ours.keys() == {
        f"CARRYON_{name}"
        for name in ("JOB", "STAGE", "ITEM", "INDEX", "SEED", "INPUTS", "OUTPUT", "OUTCOME", "PROGRESS", "CHECKPOINT")
    }
    assert [ours[f"CARRYON_{name}"] for name in ("JOB", "STAGE", "ITEM", "INDEX", "SEED")] == [
        "reel", "clip", "item 5", "5", "1005",
    ]  # fmt: skip
    assert variables["VOICE"] == "alto"
    assert "hush" not in variables.values()
    assert not [name for name in variables if name.startswith("AWS_")]


def test_python_is_the_workers_own(bench: Any) -> None:
    unit = bench.command(0, "python", "-c", "import sys; print(sys.executable); sys.exit(12)")
    assert f"{Path(sys.executable).parent}/python" in bench.run(bench.assignment(unit)).stderr


def test_the_digest_in_done_json_is_that_of_the_content(bench: Any) -> None:
    unit = bench.shell(0, "head -c 3000000 /dev/zero > $CARRYON_OUTPUT/zeros.bin")
    bench.run(bench.assignment(unit))
    (artifact,) = bench.done(unit).artifacts
    assert artifact.sha256 == hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert artifact.size == 3_000_000


def test_a_full_command_worker_imports_neither_torch_nor_boto3_and_starts_fast(bench: Any) -> None:
    # Below its own interpreter, the sum of all imports: the start-up of a worker of programs.
    unit = bench.shell(0, WRITES)
    running = bench.start(bench.assignment(unit), python=("-X", "importtime"))
    _, status, usage = os.wait4(running.process.pid, 0)
    running.process.returncode = os.waitstatus_to_exitcode(status)
    imported = {line.rpartition("|")[2].strip() for line in running.stderr.splitlines() if "import time:" in line}
    assert running.process.returncode == ExitCode.DONE
    assert "carryon_worker.runner" in imported
    assert not imported & {"torch", "numpy", "PIL", "boto3", "botocore", "diffusers", "transformers", "jinja2"}
    # Twice what was measured on a machine with nothing else to do.
    assert usage.ru_utime + usage.ru_stime < 1.0
