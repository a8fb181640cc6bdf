"""Every command, as it is typed, against a control plane that runs for all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from carryon_core.actions import Verdict
from carryon_jobs import orders
from carryon_jobs.job import Job
from carryon_standalone.cli import sending
from carryon_standalone.cli.options import Where
from commands import Carryon
from plane import Plane, condition, failed, finished, succeeded, suspended

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("cli") / "plane").start()
    yield made
    made.stop()


def environment(plane: Plane) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "COLUMNS")}
    return {**inherited, "CARRYON_HOME": str(plane.data)}


def start(plane: Plane, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "carryon_standalone", *arguments],
        env=environment(plane),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


MAKE = 'echo made > "$CARRYON_OUTPUT/made"'


def job(name: str, script: str = "true", *, count: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name},
        "spec": {
            "items": {"count": count},
            "parallelism": 3,
            "retry": {"perUnit": 1, "backoff": {"initial": "1s"}},
            "stages": [{"name": "clip", "generate": {"command": {"args": ["sh", "-ec", f"{script}\n{MAKE}"]}}}],
            **spec,
        },
    }


def write(folder: Path, *jobs: dict[str, Any]) -> str:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump_all(jobs))
    return str(path)


def at_work(plane: Plane, name: str) -> None:
    """Return when a pod of the job runs, and its status says so."""
    plane.wait_for(name, lambda _: any((pod.get("status") or {}).get("phase") == "Running" for pod in plane.pods(name)))
    plane.wait_for(name, lambda job: job["status"]["units"]["active"] > 0)


@pytest.fixture(scope="module")
def hello(plane: Plane) -> str:
    """The example without a model, finished."""
    plane.apply((EXAMPLES / "hello.yaml").read_text())
    plane.wait_for("hello", finished)
    return "hello"


@pytest.fixture
def held(plane: Plane, tmp_path: Path) -> Iterator[str]:
    """A job whose units write a line and then wait for a file."""
    name = f"held-{tmp_path.name.replace('_', '-')}"[:40].rstrip("-").lower()
    plane.apply(job(name, f"echo unit $CARRYON_ITEM; until test -e {tmp_path}/go; do sleep 0.1; done"))
    at_work(plane, name)
    yield name
    plane.delete(name)


def test_run_ends_with_the_job_and_says_where_the_artifacts_are(carryon: Carryon, hello: str, plane: Plane) -> None:
    ran = carryon("run", str(EXAMPLES / "hello.yaml"))
    assert "hello succeeded: 6 of 6 units done" in ran.stdout
    assert f"artifacts: {plane.job_folder('hello')}/" in ran.stdout


def test_run_of_a_job_that_fails_exits_with_one_and_says_what_to_do(carryon: Carryon, tmp_path: Path) -> None:
    script = 'test "$CARRYON_ITEM" != 1 || { echo no luck >&2; exit 3; }'
    ran = carryon("run", write(tmp_path, job("unlucky", script)), code=1)
    assert "unlucky: failed: clip/1 (attempt 1): " in ran.stdout
    assert "no luck" in ran.stdout
    assert "to carry on: correct what made them fail, then: carryon resume unlucky (1 remaining)" in ran.stdout


def test_run_prints_json_alone_on_standard_output(carryon: Carryon, hello: str) -> None:
    ran = carryon("run", str(EXAMPLES / "hello.yaml"), "--json")
    assert json.loads(ran.stdout)["status"]["phase"] == "Succeeded"
    assert "hello succeeded" in ran.stderr


def test_run_takes_several_jobs(carryon: Carryon, tmp_path: Path) -> None:
    ran = carryon("run", write(tmp_path, job("one"), job("two")), "--json")
    assert [each["metadata"]["name"] for each in json.loads(ran.stdout)] == ["one", "two"]


def test_run_without_waiting_only_applies(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    assert carryon("run", write(tmp_path, job("later")), "--no-wait").stdout == "later is applied\n"
    plane.wait_for("later", succeeded)


def test_run_of_an_edited_file_takes_fields_away_again(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    carryon("run", write(tmp_path, job("edited", seed=7, unitsPerPod=2)), "--no-wait")
    carryon("run", write(tmp_path, job("edited", seed=8)), "--no-wait")
    spec = plane.get("edited")["spec"]
    assert (spec["seed"], spec["unitsPerPod"]) == (8, 1)


def test_run_of_a_suspended_job_says_how_to_resume(carryon: Carryon, tmp_path: Path) -> None:
    ran = carryon("run", write(tmp_path, job("asleep", suspend=True)), code=1)
    assert "asleep is suspended: 0 of 3 units done" in ran.stdout
    assert "to carry on: carryon resume asleep (3 remaining)" in ran.stdout


def test_run_of_a_job_that_only_the_operator_can_refuse_ends_with_its_sentence(
    carryon: Carryon, tmp_path: Path
) -> None:
    ran = carryon("run", write(tmp_path, job("typo", "echo {{ item.promt }}")), code=1)
    assert "typo can't be carried out as written" in ran.stdout
    assert "item.promt" in ran.stdout


def test_what_the_server_refuses_is_one_line_for_each_cause(carryon: Carryon, tmp_path: Path) -> None:
    wrong = job("wrong", parallelism=-1, timeouts={"unit": "soon"})
    file = write(tmp_path, wrong)
    refused = carryon("run", file, code=1).stderr.splitlines()
    assert len(refused) == 2
    assert all(line.startswith(f"{file}: spec.") for line in refused)
    assert carryon("validate", file, code=1).stderr.splitlines() == refused


def test_ctrl_c_leaves_the_job_at_work(plane: Plane, tmp_path: Path) -> None:
    process = start(plane, "run", write(tmp_path, job("left", f"until test -e {tmp_path}/go; do sleep 0.1; done")))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("left: ")  # it follows the job by now
    at_work(plane, "left")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert "the jobs stay at work: follow them with `carryon get -w`" in out
    (tmp_path / "go").touch()
    plane.wait_for("left", succeeded)


def test_get_lists_jobs_as_table_json_and_yaml(carryon: Carryon, hello: str) -> None:
    table = carryon("get").stdout.splitlines()
    assert table[0].split() == ["NAME", "PHASE", "PROGRESS", "FAILED", "ACTIVE", "AGE", "MESSAGE"]
    assert ["hello", "Succeeded", "6/6", "0", "0"] in [line.split()[:5] for line in table]
    listed = json.loads(carryon("get", "--json").stdout)
    assert "hello" in [each["metadata"]["name"] for each in listed["items"]]
    alone = yaml.safe_load(carryon("get", "hello", "-o", "yaml").stdout)
    assert alone["status"]["phase"] == "Succeeded"
    assert "managedFields" not in alone["metadata"]


def test_get_in_another_namespace_finds_nothing(carryon: Carryon, hello: str) -> None:
    listed = carryon("get", "-n", "kube-system")
    assert (listed.stdout, listed.stderr) == ("", "there are no jobs in namespace kube-system\n")


def test_get_w_prints_a_line_for_every_change(plane: Plane, held: str) -> None:
    process = start(plane, "get", held, "-w")
    assert process.stdout is not None
    assert process.stdout.readline().split()[:2] == ["NAME", "PHASE"]
    while (line := process.stdout.readline()).split()[:2] != [held, "Running"]:
        assert line.split()[:2] == [held, "Pending"]
    plane.patch(held, {"spec": {"suspend": True}})
    while "Suspended" not in (line := process.stdout.readline()):
        assert line, "the watch ended"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_get_w_follows_jobs_of_all_namespaces_and_names_each(plane: Plane, held: str) -> None:
    process = start(plane, "get", "-w", "-A")
    assert process.stdout is not None
    assert process.stdout.readline().split()[:3] == ["NAMESPACE", "NAME", "PHASE"]
    while (line := process.stdout.readline()).split()[:2] != ["default", held]:
        assert line, "the watch ended"
    plane.patch(held, {"metadata": {"labels": {"seen": "twice"}}})
    while (line := process.stdout.readline()).split()[:2] != ["default", held]:
        assert line, "the watch ended"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_a_name_that_is_not_there_is_one_sentence(carryon: Carryon) -> None:
    for command in (["get"], ["get", "-w"], ["describe"], ["pause"], ["resume"], ["logs"], ["delete", "-y"], ["units"]):
        refused = carryon(*command, "nobody", code=1)
        assert refused.stderr == 'generationjobs.carryon.dev "nobody" not found (namespace default)\n'


def test_describe_tells_conditions_stages_pods_and_what_resuming_takes(carryon: Carryon, held: str) -> None:
    text = carryon("describe", held).stdout
    assert "not Finished since" in text
    assert "the job is at work" in text
    assert "0/3" in text
    assert text.count(f"  {held}-") == 3


def test_pause_frees_the_machine_and_resume_carries_on(
    carryon: Carryon, plane: Plane, held: str, tmp_path: Path
) -> None:
    carryon("pause", held)
    plane.wait_for(held, suspended)
    plane.wait_for(held, lambda job: plane.pods(held) == [])
    (tmp_path / "go").touch()
    carryon("resume", held)
    done = plane.wait_for(held, succeeded)
    assert done["status"]["handled"]["resume"] == done["metadata"]["annotations"]["carryon.dev/resume-requested-at"]
    assert "there is nothing to pause" in carryon("pause", held, code=1).stderr


def test_logs_name_the_unit_where_there_are_several(carryon: Carryon, held: str) -> None:
    def lines(*arguments: str) -> list[str]:
        return [line for line in carryon("logs", held, *arguments).stdout.splitlines() if "unit" in line]

    deadline = time.monotonic() + 20
    while len(lines()) < 3:
        assert time.monotonic() < deadline
    assert {line.partition(" | ")[0] for line in lines()} == {"clip/0", "clip/1", "clip/2"}
    assert any("unit 1" in line and " | " not in line for line in lines("clip/1"))


def test_logs_f_ends_with_the_pods(plane: Plane, held: str, tmp_path: Path) -> None:
    process = start(plane, "logs", held, "-f")
    assert process.stdout is not None
    assert "clip/" in process.stdout.readline()
    (tmp_path / "go").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_logs_of_a_finished_job_say_that_there_are_none(carryon: Carryon, hello: str) -> None:
    refused = carryon("logs", hello, code=1)
    assert refused.stderr == (
        "there is no pod of hello now (hello is Succeeded), and no log of hello is kept in its bucket;"
        " see `carryon describe hello`\n"
    )


def test_units_have_their_artifacts_beside_them(carryon: Carryon, hello: str) -> None:
    units = json.loads(carryon("units", hello, "--json").stdout)
    assert [(unit["stage"], unit["item"], unit["state"]) for unit in units[:3]] == [
        ("picture", "dunes", "done"), ("picture", "harbour", "done"), ("picture", "meadow", "done"),
    ]  # fmt: skip
    assert [Path(unit["artifacts"][0]).exists() for unit in units] == [True] * 6
    assert "picture/dunes     done" in carryon("units", hello).stdout


def test_delete_asks_and_keeps_artifacts(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    plane.apply(job("gone"))
    plane.wait_for("gone", succeeded)
    assert carryon("delete", "gone", code=2).stderr == "deleting gone takes a yes: add --yes\n"
    deleted = carryon("delete", "gone", "--yes")
    assert deleted.stdout == f"Deleting gone: its artifacts are kept in {plane.job_folder('gone')}/\n"
    assert plane.job_folder("gone").exists()
    carryon("get", "gone", code=1)


def acted(carryon: Carryon, name: str) -> dict[str, Any]:
    """Verdicts on a job, as `carryon actions` tells them."""
    found: dict[str, Any] = json.loads(carryon("actions", name, "--json").stdout)
    return found


def test_actions_are_those_that_the_commands_allow(carryon: Carryon, hello: str, held: str) -> None:
    done = acted(carryon, hello)
    assert [action for action, made in done.items() if made["possible"]] == ["redo", "edit", "delete"]
    for command in ("resume", "pause", "restart", "cancel", "retry"):
        assert carryon(command, hello, code=1).stderr == f"{hello}: {done[command]['reason']}\n"
    table = carryon("actions", held).stdout.splitlines()
    assert table[0].split() == ["ACTION", "POSSIBLE", "REASON", "TO", "DO", "IT"]
    assert any(line.startswith("restart   yes") and "units at work" in line for line in table)


def test_resuming_what_runs_sends_nothing(carryon: Carryon, plane: Plane, held: str) -> None:
    assert carryon("resume", held).stdout == "nothing to do: the job is at work\n"
    assert "annotations" not in plane.get(held)["metadata"]


def test_pausing_twice_and_until_a_time(carryon: Carryon, plane: Plane, held: str) -> None:
    carryon("pause", held, "--until", "8h")
    plane.wait_for(held, suspended)
    spec = plane.get(held)["spec"]
    assert not spec["suspend"]
    assert spec["suspendUntil"] in carryon("describe", held).stdout + acted(carryon, held)["resume"]["reason"]
    carryon("pause", held)
    assert carryon("pause", held).stdout.startswith("nothing to do: ")
    carryon("resume", held)
    spec = plane.get(held)["spec"]
    assert (spec["suspend"], spec.get("suspendUntil")) == (False, None)
    at_work(plane, held)


def test_restart_replaces_the_pods_once(carryon: Carryon, plane: Plane, held: str) -> None:
    before = {pod["metadata"]["uid"] for pod in plane.pods(held)}
    carryon("restart", held)
    plane.wait_for(held, lambda job: job["status"]["counters"]["restarts"] == 1)
    plane.wait_for(held, lambda _: not before & {pod["metadata"]["uid"] for pod in plane.pods(held)})
    at_work(plane, held)
    assert plane.get(held)["status"]["counters"]["restarts"] == 1


def test_cancel_ends_a_job_and_resume_takes_it_up_again(
    carryon: Carryon, plane: Plane, held: str, tmp_path: Path
) -> None:
    carryon("cancel", held)
    plane.wait_for(held, lambda job: condition(job, "Cancelled") and finished(job))
    assert carryon("cancel", held).stdout == "nothing to do: cancelled already\n"
    assert "resume it first" in carryon("restart", held, code=1).stderr
    (tmp_path / "go").touch()
    carryon("resume", held)
    plane.wait_for(held, succeeded)


def test_retry_makes_what_failed_and_its_log_outlives_the_pod(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    script = f'test "$CARRYON_ITEM" = 0 || test -e {tmp_path}/fixed || {{ echo no luck with $CARRYON_ITEM; exit 3; }}'
    plane.apply(job("again", script, retry={"perUnit": 1, "rounds": 0}))
    plane.wait_for("again", failed)
    assert "has not failed for good (done)" in carryon("retry", "again", "clip/0", code=1).stderr
    plane.wait_for("again", lambda _: len(carryon("logs", "again", "--previous").stdout.splitlines()) >= 2)
    assert "no luck with 1" in carryon("logs", "again", "clip/1", "--previous").stdout
    assert "clip/2 | no luck with 2" in carryon("logs", "again", "--previous").stdout
    (tmp_path / "fixed").touch()
    carryon("retry", "again", "clip/1")
    plane.wait_for("again", lambda job: job["status"]["stages"][0]["succeeded"] == "0-1")
    carryon("retry", "again")
    plane.wait_for("again", succeeded)


def test_redo_makes_one_unit_with_another_seed_and_keeps_what_it_made(carryon: Carryon, plane: Plane) -> None:
    plane.apply(job("anew", 'echo $CARRYON_SEED > "$CARRYON_OUTPUT/seed"'))
    plane.wait_for("anew", succeeded)
    before = json.loads(carryon("units", "anew", "--json").stdout)
    carryon("redo", "anew", "clip/1", "--seed", "77")
    plane.wait_for("anew", succeeded)
    after = json.loads(carryon("units", "anew", "--json").stdout)
    assert [was == now for was, now in zip(before, after, strict=True)] == [True, False, True]
    (seed,) = [path for path in map(Path, after[1]["artifacts"]) if path.name.startswith("seed")]
    assert seed.read_text() == "77\n"
    assert all(Path(path).exists() for path in before[1]["artifacts"])
    assert "would change nothing" in carryon("redo", "anew", "clip/1", "--seed", "77", code=1).stderr
    assert "would change nothing" in carryon("redo", "anew", "clip/1", "--param", "prompt=x", code=1).stderr


GENERATE = {"command": {"args": ["sh", "-c", MAKE]}}
GATHERED = [
    {"name": "draft", "generate": GENERATE},
    {"name": "final", "after": ["draft"], "approval": "Required", "generate": GENERATE},
    {"name": "book", "after": ["final"], "each": "job", "generate": GENERATE},
]


def test_approve_lets_items_enter_a_stage(carryon: Carryon, tmp_path: Path) -> None:
    file = write(tmp_path, job("gated", stages=GATHERED))
    ran = carryon("run", file, code=1)
    assert "gated waits for approval: " in ran.stdout
    assert "carryon approve gated" in ran.stdout
    states = {each["stage"]: each["state"] for each in json.loads(carryon("units", "gated", "--json").stdout)}
    assert states == {"draft": "done", "final": "waiting for approval", "book": "waiting"}
    assert carryon("approve", "gated", "final", code=2).stderr == "name the items that may go on, or say --all\n"
    carryon("approve", "gated", "final", "0")
    assert carryon("approve", "gated", "final", "0").stdout == "nothing to do: approved already\n"
    carryon("approve", "gated", "final", "--all")
    # The file says nothing of approvals, so applying it again leaves them alone.
    carryon("run", file)
    units = json.loads(carryon("units", "gated", "--json").stdout)
    assert [(each["stage"], each["item"]) for each in units][-2:] == [("final", "2"), ("book", "job")]
    assert all(Path(each["artifacts"][0]).exists() for each in units)


def test_what_two_people_ask_at_once_is_both_kept(carryon: Carryon, plane: Plane) -> None:
    stages = [{"name": "clip", "approval": "Required", "generate": GENERATE}]
    plane.apply(job("crowd", stages=stages))
    plane.wait_for("crowd", lambda job: condition(job, "AwaitingApproval"))
    cluster = Where(data=plane.data).cluster()
    seen: list[str] = []
    order = orders.approve("clip", ["1"])

    def interrupted(job: Job, found: Verdict) -> Any:
        """An approval of item 1, which somebody who approves item 0 overtakes."""
        if not seen:
            plane.patch("crowd", {"spec": {"approved": {"clip": ["0"]}}})
        seen.append(job.raw["metadata"]["resourceVersion"])
        return order.make(job, found)

    sending.act(cluster, "crowd", replace(order, make=interrupted))
    assert plane.get("crowd")["spec"]["approved"] == {"clip": ["0", "1"]}
    assert len(set(seen)) == len(seen) > 1
    plane.delete("crowd")


def test_units_that_made_nothing_on_purpose_say_why(carryon: Carryon, plane: Plane) -> None:
    skip = """echo '{"outcome": "skipped", "reason": "no sea here"}' > $CARRYON_OUTCOME"""
    plane.apply(job("dry", f"test $CARRYON_ITEM != 1 || {skip}"))
    plane.wait_for("dry", succeeded)
    units = json.loads(carryon("units", "dry", "--json").stdout)
    assert [(each["state"], each["reason"]) for each in units] == [
        ("done", ""), ("skipped", "no sea here"), ("done", ""),
    ]  # fmt: skip
    assert "clip/1   skipped: no sea here" in carryon("units", "dry").stdout
    told = carryon("describe", "dry").stdout
    assert "2 generated, 1 skipped" in told, told


def test_items_from_data_are_named_like_others(carryon: Carryon, plane: Plane) -> None:
    rows = "id,prompt\ndunes,sand\nsea,waves\n"
    content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": {"rows.csv": rows}}
    plane.request("POST", "/api/v1/namespaces/default/configmaps", content)
    items = {"from": {"configMapKeyRef": {"name": "rows", "key": "rows.csv"}, "format": "csv"}}
    plane.apply(job("data", 'echo {{ item.prompt }} > "$CARRYON_OUTPUT/text"', items=items))
    plane.wait_for("data", succeeded)
    before = json.loads(carryon("units", "data", "--json").stdout)
    assert [each["item"] for each in before] == ["dunes", "sea"]
    carryon("redo", "data", "clip/sea", "--param", "prompt=storm")
    plane.wait_for("data", succeeded)
    after = json.loads(carryon("units", "data", "--json").stdout)
    assert after[0] == before[0]
    (text,) = [path for path in map(Path, after[1]["artifacts"]) if path.name.startswith("text")]
    assert text.read_text() == "storm\n"


def test_try_makes_the_first_items_and_asks_nobody(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    file = write(tmp_path, job("long", stages=GATHERED, count=9, suspend=True))
    tried = carryon("try", file)
    assert "long-try succeeded: 5 of 5 units done" in tried.stdout
    assert f"{plane.job_folder('long-try')}/book/job/" in tried.stdout
    carryon("get", "long-try", code=1)
    assert carryon("try", file, "--items", "1", "--keep").stdout.count("final/") >= 1
    assert plane.get("long-try")["spec"]["items"] == {"count": 1}
    carryon("try", file, "--items", "1")
    carryon("get", "long-try", code=1)


def test_a_try_that_fails_stays_to_be_looked_at(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    carryon("try", write(tmp_path, job("bad", "exit 3", retry={"perUnit": 1, "rounds": 0})), code=1)
    assert condition(plane.get("bad-try"), "Failed")


def test_validate_asks_the_api_server_that_the_job_would_go_to(carryon: Carryon, tmp_path: Path) -> None:
    checked = carryon("validate", write(tmp_path, job("fine")))
    assert (checked.stdout, checked.stderr) == (f"{tmp_path}/job.yaml: valid\n", "")
    there = job("fine")
    there["metadata"]["namespace"] = "studio"
    assert 'namespaces "studio" not found' in carryon("validate", write(tmp_path, there), code=1).stderr
    nowhere = ["--kubeconfig", str(tmp_path / "none")]
    alone = carryon("validate", write(tmp_path, job("fine")), *nowhere)
    assert "not checked: by an API server" in alone.stderr


def test_validate_reads_the_rows_that_items_come_from(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    rows = tmp_path / "items.csv"
    rows.write_text("id,prompt\ndunes,sand\ndunes,more sand\n")
    from_file = {"from": {"uri": rows.as_uri(), "format": "csv"}}
    refused = carryon("validate", write(tmp_path, job("rows", items=from_file)), code=1)
    assert "rows 2 and 3" in refused.stderr
    assert '"dunes"' in refused.stderr
    rows.write_text("id,prompt\ndunes,sand\n")
    carryon("validate", write(tmp_path, job("rows", "echo {{ item.prompt }}", items=from_file)))
    typo = carryon("validate", write(tmp_path, job("rows", "echo {{ item.promt }}", items=from_file)), code=1)
    assert "item.promt" in typo.stderr
    plane.request(
        "POST",
        "/api/v1/namespaces/default/configmaps",
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scenes"}, "data": {"a.jsonl": '{"id": 3}\n'}},
    )
    for key, code in (("a.jsonl", 0), ("b.jsonl", 1)):
        from_map = {"from": {"configMapKeyRef": {"name": "scenes", "key": key}, "format": "jsonl"}}
        said = carryon("validate", write(tmp_path, job("rows", items=from_map)), code=code)
        assert ("has no key b.jsonl: add it" in said.stderr) == bool(code)


def test_warnings_are_no_errors_unless_somebody_says_so(carryon: Carryon, tmp_path: Path) -> None:
    file = write(tmp_path, job("photos", "echo", podTemplate={"spec": {"restartPolicy": "Always"}}))
    warned = carryon("validate", file)
    assert "warning: " in warned.stderr
    assert "restartPolicy" in warned.stderr
    assert carryon("validate", file, "--strict", code=1).stdout == ""
    told = json.loads(carryon("validate", file, "--json").stdout)
    assert (told["valid"], told["problems"][0]["severity"]) == (True, "warning")


def test_blank_and_unknown_parameters_are_told_before_a_gpu_starts(carryon: Carryon, tmp_path: Path) -> None:
    items = {"list": [{"id": "dunes", "params": {"prompt": " "}}, {"id": "harbour", "params": {"prompt": "boats"}}]}
    asks = {"model": "/nowhere", "pipeline": "WanPipeline", "params": {"prompt": "{{ item.prompt }}", "promt": "x"}}
    stages = [{"name": "clip", "generate": {"diffusers": asks}}]
    found = carryon("validate", write(tmp_path, job("clips", items=items, stages=stages)), code=1)
    assert 'warning: stage "clip": prompt is blank for 1 of 2 items: dunes' in found.stderr
    assert 'stage "clip": promt: ' in found.stderr
    assert "(2 items: dunes, harbour)" in found.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty: it should hold a GenerationJob"),
        ("a: [", "is no YAML: "),
        ("kind: Pod", "holds Pod: this command takes a GenerationJob"),
        ("- 1", "holds list: this command takes a GenerationJob"),
        ("{kind: GenerationJob, apiVersion: v1}", "apiVersion is v1: write carryon.dev/v1alpha1"),
        ("{kind: GenerationJob, apiVersion: carryon.dev/v1alpha1}", "metadata.name is missing"),
    ],
)
def test_a_file_that_holds_no_job_is_one_sentence(
    carryon: Carryon, tmp_path: Path, content: str, sentence: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(content)
    refused = carryon("validate", str(file), code=2)
    assert sentence in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_validate_knows_what_only_the_operator_can_see(carryon: Carryon, tmp_path: Path) -> None:
    file = write(tmp_path, job("typo", "echo {{ item.promt }}"))
    found = json.loads(carryon("validate", file, "--json", code=1).stdout)
    assert not found["valid"]
    assert "item.promt" in found["problems"][0]["problem"]
    assert carryon("validate", str(EXAMPLES / "hello.yaml"), str(EXAMPLES / "reel.yaml")).stdout.endswith(": valid\n")


def test_kubectl_context_and_kubeconfig_are_honoured(carryon: Carryon, plane: Plane, hello: str) -> None:
    config = ["--kubeconfig", str(plane.kubeconfig)]
    assert "hello" in carryon("get", *config, "--context", "carryon").stdout
    assert "the kubeconfig can't be used" in carryon("get", *config, "--context", "other", code=1).stderr
    assert "can't be used" in carryon("get", "--kubeconfig", "/nowhere/config", code=1).stderr


def test_help_is_shown_without_what_takes_long_to_import() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "carryon_standalone", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "validate" in shown.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"aiohttp", "boto3", "fastapi", "kopf", "kubernetes", "torch"}


def test_finished_files_are_fetched_once_with_names_that_say_what_they_are(
    carryon: Carryon, hello: str, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    first = carryon("download", hello, "--to", str(folder))
    made = sorted(path for path in folder.rglob("*") if path.is_file())
    assert f"{len(made)} files fetched into {folder}" in first.stdout
    assert all(path.name.count("~") == 0 for path in made)
    assert len({path.parent.name for path in made}) >= 1
    made[0].write_text("edited")
    again = carryon("download", hello, "--to", str(folder))
    assert again.stdout.splitlines() == [str(made[0]), f"1 files fetched into {folder}, {len(made) - 1} were there"]
    zipped = tmp_path / "files.zip"
    carryon("download", hello, "--zip", str(zipped))
    with zipfile.ZipFile(zipped) as found:
        assert {name: found.read(name) for name in found.namelist()} == {
            path.relative_to(folder).as_posix(): path.read_bytes() for path in made
        }
    assert "there is no stage" in carryon("download", hello, "--stage", "nowhere", code=1).stderr
    assert "give one of them" in carryon("download", hello, "--zip", "x", "--to", "y", code=2).stderr


def test_files_are_put_beside_a_job_and_named_by_their_uris(
    carryon: Carryon, hello: str, plane: Plane, tmp_path: Path
) -> None:
    photo = tmp_path / "my photo#1.png"
    photo.write_bytes(b"photo")
    said = carryon("upload", hello, str(photo), "--below", "photos")
    assert said.stdout.strip() == f"{plane.output.as_uri()}/default/hello/_inputs/photos/my%20photo%231.png"
    assert (plane.job_folder("hello") / "_inputs/photos/my photo#1.png").read_bytes() == b"photo"
    assert "there is no file" in carryon("upload", hello, "/nowhere.png", code=2).stderr
    assert "without .." in carryon("upload", hello, str(photo), "--below", "../../other", code=2).stderr


def test_an_archive_is_not_written_over_and_what_is_none_is_not_taken(
    carryon: Carryon, hello: str, plane: Plane, tmp_path: Path
) -> None:
    archive = tmp_path / "hello.carryon"
    assert "6 of 6 done" in carryon("export", hello, str(archive)).stdout
    assert "--force" in carryon("export", hello, str(archive), code=2).stderr
    assert "is taken" not in carryon("export", hello, str(archive), "--force").stderr
    assert "another name, such as hello-2" in carryon("import", str(archive), code=1).stderr
    assert json.loads(carryon("import", str(archive), "--name", "hello-2", "--json").stdout)["spec"]["suspend"] is True
    plane.wait_for("hello-2", lambda job: (job.get("status") or {}).get("progress") == "6/6")
    plane.delete("hello-2")
    archive.write_bytes(archive.read_bytes()[:-40])
    assert "cut off" in carryon("import", str(archive), "--name", "hello-3", code=1).stderr
    assert not plane.job_folder("hello-3").exists()
    archive.write_text("no archive")
    assert "no .carryon archive" in carryon("import", str(archive), code=1).stderr
