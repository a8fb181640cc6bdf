"""Commands that do what the page does: several jobs at once, edits, reports, and all of it under kubectl."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from carryon_standalone.home import Home, Settings
from commands import Carryon, Said
from plane import Plane, failed, finished, suspended

PROMPT = "a golden sunset over endless dunes"
KEY = "AKIAIOSFODNN7EXAMPLE"
MAKE = 'echo made > "$CARRYON_OUTPUT/made"'
PLUGIN = Path(sys.executable).with_name("kubectl-carryon")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    made = Plane(tmp_path_factory.mktemp("many") / "plane").start()
    yield made
    made.stop()


def job(name: str, script: str = "true", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "carryon.dev/v1alpha1",
        "kind": "GenerationJob",
        "metadata": {"name": name},
        "spec": {
            "items": {"count": 2},
            "retry": {"perUnit": 1, "rounds": 0},
            "stages": [{"name": "clip", "generate": {"command": {"args": ["sh", "-ec", f"{script}\n{MAKE}"]}}}],
            **spec,
        },
    }


def of_team(team: str, made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "labels": {"team": team}}}


def outcomes(said: Said) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in json.loads(said.stdout)["results"]}


def test_actions_on_jobs_by_their_labels_have_a_result_for_each(carryon: Carryon, plane: Plane) -> None:
    for name, suspend in (("red-1", False), ("red-2", True), ("blue-1", False)):
        plane.apply(of_team(name.split("-")[0], job(name, suspend=suspend, parallelism=0)))
        plane.wait_for(name, lambda each: bool((each.get("status") or {}).get("units")))
    paused = carryon("pause", "-l", "team=red").stdout
    assert "red-1: accepted: Paused: 0 kept" in paused
    assert "red-2: already: suspended already" in paused
    plane.wait_for("red-1", suspended)
    assert not plane.get("blue-1")["spec"].get("suspend")
    mixed = carryon("retry", "-l", "team in (red,blue)", "--json", code=1)
    assert outcomes(mixed) == {"red-1": "refused", "red-2": "refused", "blue-1": "refused"}
    assert outcomes(carryon("resume", "-l", "team=red", "--json")) == {"red-1": "accepted", "red-2": "accepted"}
    nobody = carryon("pause", "-l", "team=green")
    assert (nobody.stdout, nobody.stderr) == ("", "no job in namespace default has the labels team=green\n")
    assert carryon("pause", code=2).stderr == carryon("pause", "red-1", "-l", "a=b", code=2).stderr
    assert "unable to parse" in carryon("pause", "-l", "team=red,,", code=1).stderr
    assert "takes a yes: add --yes" in carryon("delete", "-l", "team=red", code=2).stderr
    gone = carryon("delete", "-l", "team=red", "--yes").stdout
    assert "red-1: accepted: Deleting red-1: its artifacts are kept in" in gone
    assert "red" not in carryon("get", "-l", "team").stdout
    carryon("delete", "blue-1", "--yes")


def test_jobs_are_listed_by_labels_phase_and_over_all_namespaces(carryon: Carryon, plane: Plane) -> None:
    plane.apply(of_team("list", job("asleep", suspend=True)))
    plane.wait_for("asleep", suspended)
    assert "asleep" in carryon("get", "--phase", "suspended", "-l", "team=list").stdout
    assert (
        carryon("get", "--phase", "Running", "-l", "team=list").stderr
        == "there are no such jobs in namespace default\n"
    )
    assert carryon("get", "-A").stdout.split()[:2] == ["NAMESPACE", "NAME"]
    assert "leave out" in carryon("get", "asleep", "-A", code=2).stderr
    waiting = json.loads(carryon("units", "asleep", "--state", "waiting", "--json").stdout)
    assert [each["state"] for each in waiting] == ["waiting", "waiting"]
    assert json.loads(carryon("units", "asleep", "--state", "done", "--json").stdout) == []
    assert 'there is no stage "frame"' in carryon("units", "asleep", "--stage", "frame", code=1).stderr


def test_create_refuses_what_is_there_and_apply_changes_it(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job("made", suspend=True)))
    assert carryon("create", str(file), "--dry-run").stdout == "made could be created\n"
    carryon("get", "made", code=1)
    assert carryon("create", str(file)).stdout == "made is created\n"
    assert f"{file}: " in (refused := carryon("create", str(file), code=1).stderr)
    assert "already exists" in refused
    file.write_text(yaml.safe_dump(job("made", suspend=True, seed=9)))
    assert carryon("apply", str(file)).stdout == "made is applied\n"
    assert plane.get("made")["spec"]["seed"] == 9


def editor(folder: Path, script: str) -> str:
    """A program that edits the file it is given by a Python script; `text` is what is in it."""
    path = folder / "editor.py"
    begin = "import pathlib, sys\npath = pathlib.Path(sys.argv[1])\ntext = path.read_text()"
    path.write_text(f"{begin}\n{script}\npath.write_text(text)\n")
    return f"{sys.executable} {path}"


def test_edit_sends_what_was_edited_and_checks_it_before(
    carryon: Carryon, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.apply(job("draft", suspend=True))
    plane.wait_for("draft", suspended)
    monkeypatch.setenv("EDITOR", editor(tmp_path, "text = text.replace('perUnit: 1', 'perUnit: 5')"))
    assert carryon("edit", "draft").stdout.startswith("draft is edited: ")
    assert plane.get("draft")["spec"]["retry"]["perUnit"] == 5
    assert carryon("edit", "draft").stdout == "draft is as it was: nothing was changed\n"
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("carryon-draft-*"))


def test_an_edit_that_is_refused_comes_back_with_the_reason_and_is_kept(
    carryon: Carryon, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.apply(job("clumsy", suspend=True))
    plane.wait_for("clumsy", suspended)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    # The second time it is left as it is.
    monkeypatch.setenv("EDITOR", editor(tmp_path, "text = text.replace('perUnit: 1', 'perUnit: -1')"))
    refused = carryon("edit", "clumsy", code=1).stderr.splitlines()
    assert "spec.retry.perUnit" in refused[0]
    kept = Path(refused[-1].removeprefix("your text is kept in "))
    assert "perUnit: -1" in kept.read_text()
    assert "# It was not sent:" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert plane.get("clumsy")["spec"]["retry"]["perUnit"] == 1
    # Corrected the second time, it is sent.
    script = "text = text.replace(*('-1', '4') if 'not sent' in text else ('perUnit: 1', 'perUnit: -1'))"
    monkeypatch.setenv("EDITOR", editor(tmp_path, script))
    carryon("edit", "clumsy")
    assert plane.get("clumsy")["spec"]["retry"]["perUnit"] == 4
    monkeypatch.setenv("EDITOR", "/nowhere/editor")
    assert "can't be started" in carryon("edit", "clumsy", code=2).stderr


def test_an_edit_that_somebody_overtakes_is_kept_and_one_that_the_operator_does_is_sent(
    carryon: Carryon, plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.apply(job("shared", suspend=True))
    plane.wait_for("shared", suspended)
    kubectl = f"import subprocess; subprocess.run(['kubectl', '--kubeconfig', '{plane.kubeconfig}', "
    script = "text = text.replace('perUnit: 1', 'perUnit: 3')\n"
    status = (
        "'patch', 'gj', 'shared', '--subresource=status', '--type=merge', '-p', '{\"status\": {\"message\": \"x\"}}'"
    )
    monkeypatch.setenv("EDITOR", editor(tmp_path, f"{script}{kubectl}{status}], check=True, stdout=-3)"))
    carryon("edit", "shared")
    assert plane.get("shared")["spec"]["retry"]["perUnit"] == 3
    script = "text = text.replace('perUnit: 3', 'perUnit: 4')\n"
    seed = "'patch', 'gj', 'shared', '--type=merge', '-p', '{\"spec\": {\"seed\": 5}}'"
    monkeypatch.setenv("EDITOR", editor(tmp_path, f"{script}{kubectl}{seed}], check=True, stdout=-3)"))
    refused = carryon("edit", "shared", code=1).stderr
    assert "was changed by somebody else while you edited it" in refused
    kept = Path(refused.splitlines()[-1].removeprefix("your text is kept in "))
    assert "perUnit: 4" in kept.read_text()
    kept.unlink()
    assert (plane.get("shared")["spec"]["retry"]["perUnit"], plane.get("shared")["spec"]["seed"]) == (3, 5)


@pytest.fixture(scope="module")
def broken(plane: Plane) -> str:
    """A job one of whose units failed, and told its log what it should not have."""
    items = {"list": [{"id": "dunes", "params": {"prompt": PROMPT}}, {"id": "harbour", "params": {"prompt": "x"}}]}
    script = f"echo making {{{{ item.prompt }}}} with {KEY}; test $CARRYON_ITEM = harbour"
    plane.apply(job("broken", script, items=items))
    plane.wait_for("broken", failed)
    return "broken"


def test_status_tells_progress_and_analytics_what_came_of_all(carryon: Carryon, plane: Plane, broken: str) -> None:
    told = json.loads(carryon("status", broken, "--json").stdout)
    assert (told["progress"], told["eta"], told["etaReason"]) == ("1/2", None, "it has ended")
    assert "1/2" in carryon("status", broken).stdout
    everything = json.loads(carryon("status", "--json").stdout)
    assert everything["up"]
    assert everything["page"].startswith("http://127.0.0.1:")
    assert everything["jobs"]["Failed"] >= 1
    found = json.loads(carryon("analytics", "--json").stdout)
    assert found["jobs"]["failed"] >= 1
    assert found["retries"]["reasons"]["ExitCode"] >= 1
    assert "ExitCode" in carryon("analytics").stdout


def test_an_estimate_comes_from_the_units_that_are_done(carryon: Carryon, plane: Plane, tmp_path: Path) -> None:
    script = f"test $CARRYON_ITEM = 0 || until test -e {tmp_path}/go; do sleep 0.1; done"
    plane.apply(job("half", script, parallelism=1))
    plane.wait_for("half", lambda each: ((each.get("status") or {}).get("units") or {}).get("succeeded") == 1)
    eta = json.loads(carryon("status", "half", "--json").stdout)["eta"]
    assert eta is not None
    assert 0 <= eta < 60
    assert "about " in carryon("describe", "half").stdout
    (tmp_path / "go").touch()
    plane.wait_for("half", finished)


def members(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_report_has_events_and_logs_and_neither_prompt_nor_key(
    carryon: Carryon, plane: Plane, broken: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.zip"
    carryon("support", broken, "-o", str(path))
    made = members(path.read_bytes())
    everything = "\n".join(made.values()).lower()
    for secret in (PROMPT, "golden sunset", KEY.lower(), "dunes", plane.data.name + "/output"):
        assert secret not in everything
    assert json.loads(made["job.json"])["status"]["recentFailures"][0]["reason"] == "ExitCode"
    assert json.loads(made["events.json"])
    assert json.loads(made["problems.json"]) == []
    assert json.loads(made["bucket.json"])["stages"]["clip"]["done"] == {
        "objects": 1,
        "bytes": pytest.approx(700, abs=500),
    }
    assert any(name.startswith("logs/unit-") and "ExitCode" in text for name, text in made.items())
    assert "is there already" in carryon("support", broken, "-o", str(path), code=2).stderr


def test_the_page_s_report_is_the_command_s(carryon: Carryon, plane: Plane, broken: str, tmp_path: Path) -> None:
    address = carryon("page", "--print").stdout.strip()
    page, token = address.split("#token=")
    request = urllib.request.Request(
        f"{page}api/v1/namespaces/default/jobs/{broken}/support", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Content-Type"] == "application/zip"
        made = members(answer.read())
    path = tmp_path / "report.zip"
    carryon("support", broken, "-o", str(path))
    ours = members(path.read_bytes())
    for name in ("job.json", "pods.json", "bucket.json", "logs/unit-0.log"):
        assert made[name] == ours[name]
    assert PROMPT not in "".join(made.values())


def test_the_page_and_its_api_answer_whoever_has_the_token(carryon: Carryon, plane: Plane) -> None:
    page = carryon("page", "--print").stdout.strip().partition("#")[0]
    home = Home(plane.data)
    assert page == f"http://127.0.0.1:{Settings.load(home).page}/"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{page}api/v1/jobs", timeout=30)
    token = home.token.read_text().strip()
    request = urllib.request.Request(f"{page}api/v1/session", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.loads(answer.read())["mode"] == "standalone"


@pytest.mark.skipif(shutil.which("kubectl") is None and "CI" not in os.environ, reason="install kubectl for it")
def test_kubectl_runs_it_as_a_plug_in(plane: Plane, broken: str, tmp_path: Path) -> None:
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{PLUGIN.parent}:{os.environ['PATH']}",
        "KUBECONFIG": str(plane.kubeconfig),
    }

    def kubectl(*arguments: str, code: int = 0) -> Said:
        ran = subprocess.run(["kubectl", *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return Said(ran.stdout, ran.stderr)

    assert "Usage: kubectl carryon pause" in " ".join(kubectl("carryon", "pause", "--help").stdout.split())
    # Options of kubectl, before the command and after it; the latter count more.
    assert broken not in kubectl("carryon", "--namespace", "kube-system", "--context", "carryon", "get").stdout
    environment["KUBECONFIG"] = "/nowhere"
    after = ("-n", "default", "--kubeconfig", str(plane.kubeconfig))
    assert broken in kubectl("carryon", "-n", "kube-system", "get", *after).stdout
    # Without one it is kubectl's own, never this machine's control plane.
    del environment["KUBECONFIG"]
    (tmp_path / ".kube").mkdir(exist_ok=True)
    (tmp_path / ".kube/config").write_text(plane.kubeconfig.read_text())
    told = kubectl("carryon", "describe", broken).stdout
    assert f"kubectl carryon resume {broken}" in told
