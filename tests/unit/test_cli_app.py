"""What can be typed: names, options and help of all commands, for `carryon` and under kubectl."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from carryon_jobs.view import UnitView
from carryon_standalone.cli import app, choices, command_page, editing, manifests, naming, options, paging, reporting
from carryon_standalone.cli.errors import CommandError
from carryon_standalone.home import Home, Running, Settings

APPS: dict[str, Callable[[], typer.Typer]] = {"carryon": app.carryon, "kubectl carryon": app.kubectl_carryon}


def commands(of: str) -> dict[str, Any]:
    group = typer.main.get_command(APPS[of]())
    return group.commands  # type: ignore[attr-defined, no-any-return]


def option_names(command: Any) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def test_every_command_about_jobs_is_there_under_kubectl_too() -> None:
    own = {"up", "down", "page", "certify"}
    assert set(commands("carryon")) - set(commands("kubectl carryon")) == own
    assert set(commands("kubectl carryon")) < set(commands("carryon"))


def test_every_command_about_jobs_says_which_cluster_it_means() -> None:
    for name, command in commands("carryon").items():
        if name not in {"up", "down", "page", "certify"}:
            assert {"--data", "--kubeconfig", "--context", "--namespace", "-n"} <= option_names(command), name
    for name, command in commands("kubectl carryon").items():
        assert {"--kubeconfig", "--context", "--namespace", "-n"} <= option_names(command), name
        assert "--data" not in option_names(command), name


@pytest.mark.parametrize("of", APPS)
def test_help_begins_with_what_is_typed(of: str) -> None:
    runner = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"})
    for name in ("pause", "validate", "try"):
        ran = runner.invoke(APPS[of](), [name, "--help"], prog_name=of)
        assert ran.exit_code == 0
        assert f"Usage: {of} {name}" in " ".join(ran.output.split())


@pytest.mark.parametrize("of", APPS)
@pytest.mark.parametrize("name", ["apply", "create", "run", "validate"])
def test_files_are_named_as_arguments_or_as_kubectl_has_it(of: str, name: str, tmp_path: Path) -> None:
    assert {"--filename", "-f"} <= option_names(commands(of)[name])
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for path in (one, two):
        path.write_text(f"apiVersion: carryon.dev/v1alpha1\nkind: GenerationJob\nmetadata: {{name: {path.stem}}}\n")
    assert [(path, job["metadata"]["name"]) for path, job in manifests.read_all([one], [two])] == [
        (one, "one"),
        (two, "two"),
    ]
    ran = CliRunner().invoke(APPS[of](), [name, "-f", str(tmp_path / "none.yaml")], prog_name=of)
    assert isinstance(ran.exception, CommandError)
    assert "none.yaml can't be read" in str(ran.exception)
    ran = CliRunner().invoke(APPS[of](), [name], prog_name=of)
    assert isinstance(ran.exception, CommandError)
    assert (ran.exception.code, str(ran.exception)) == (2, "name a file with GenerationJobs, or - for standard input")


def test_sentences_name_what_is_typed() -> None:
    told = "resume it: `carryon resume reel (6 remaining)`; carryon retry makes it; this version of carryon does not"
    assert naming.typed_as(told, "carryon") == told
    assert naming.typed_as(told, "kubectl carryon") == (
        "resume it: `kubectl carryon resume reel (6 remaining)`; kubectl carryon retry makes it;"
        " this version of carryon does not"
    )
    once = naming.typed_as(told, "kubectl carryon")
    assert naming.typed_as(once, "kubectl carryon") == once
    assert naming.typed_as("/data/carryon get/x and start it with `carryon up`", "kubectl carryon") == (
        "/data/carryon get/x and start it with `carryon up`"
    )


def test_verbs_of_sentences_are_the_commands() -> None:
    assert set(naming.VERBS) == set(commands("kubectl carryon"))


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ("/usr/bin/carryon", "carryon"),
        ("/x/kubectl-carryon", "kubectl carryon"),
        ("/x/kubectl_carryon", "kubectl carryon"),
        ("/x/__main__.py", "carryon"),
    ],
)
def test_the_program_knows_how_it_was_called(monkeypatch: pytest.MonkeyPatch, argv: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [argv])
    assert options.program() == name


def test_words_of_options_are_those_of_the_api() -> None:
    assert {"done", "failed", "waiting for approval"} <= {each.value for each in choices.State}
    assert UnitView("clip", "7", choices.State.DONE.value, ()).state == "done"


def test_the_page_of_commands_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs/reference/cli.md"
    assert page.read_text(encoding="utf-8") == command_page.render(), "run `make generate`"


JOB = {
    "apiVersion": "carryon.dev/v1alpha1",
    "kind": "GenerationJob",
    "metadata": {
        "name": "reel",
        "namespace": "film",
        "uid": "1",
        "resourceVersion": "7",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x"},
    },
    "spec": {"seed": 1},
    "status": {"phase": "Running"},
}


def test_an_edit_shows_what_a_person_may_change_and_keeps_the_rest() -> None:
    shown = editing.editable(JOB)
    assert shown["metadata"] == {"name": "reel", "namespace": "film", "annotations": {"mine": "x"}}
    assert "status" not in shown
    sent = editing.merged(JOB, {**shown, "spec": {"seed": 2}})
    assert sent["spec"] == {"seed": 2}
    assert sent["metadata"]["resourceVersion"] == "7"
    assert "kubectl.kubernetes.io/last-applied-configuration" in sent["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"metadata": {"name": "other", "namespace": "film"}}, "metadata.name is reel: an edit can't change it"),
        ({"metadata": {"name": "reel", "namespace": "x"}}, "metadata.namespace is film"),
        ({"kind": "Pod"}, "it should stay carryon.dev/v1alpha1, GenerationJob"),
        ({"spec": None}, "spec is missing"),
    ],
)
def test_an_edit_can_not_make_another_object_of_a_job(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        editing.merged(JOB, {**editing.editable(JOB), **change})


def test_the_editor_is_the_one_that_is_set() -> None:
    assert editing.editor_of({"EDITOR": "nano -w", "KUBE_EDITOR": ""}, interactive=False) == ["nano", "-w"]
    assert editing.editor_of({"EDITOR": "nano", "VISUAL": "code --wait"}, interactive=True) == ["code", "--wait"]
    assert editing.editor_of({}, interactive=True) == ["vi"]
    with pytest.raises(CommandError, match="set EDITOR"):
        editing.editor_of({}, interactive=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_the_token_is_behind_the_number_sign_and_in_a_file_for_its_owner_only(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.token.write_text("secret-token\n")
    Settings(port=7001, page=7002).save(home)
    Running.this_process(ready=True, page=True).save(home)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) is None)
    assert paging.open_page(home) == "http://127.0.0.1:7002/"
    assert opened == [home.page.as_uri()]
    assert "secret-token" not in opened[0]
    assert home.page.stat().st_mode & 0o777 == 0o600
    assert 'location.replace("http://127.0.0.1:7002/#token=secret-token")' in home.page.read_text()


def test_without_a_page_there_is_a_sentence(home: Home) -> None:
    with pytest.raises(CommandError, match="no control plane runs in"):
        paging.signing_in(home)
    home.token.write_text("secret-token\n")
    Settings(port=7001, page=7002).save(home)
    Running.this_process(ready=True, page=False).save(home)
    assert paging.address(home) is None
    with pytest.raises(CommandError, match="its server is not installed: install Carryon with its extra `api`"):
        paging.signing_in(home)


def test_only_lines_about_the_job_are_taken_from_logs_of_programs(home: Home) -> None:
    lines = [
        "film/reel: 3 pods",
        "pod reel-0123456789-1 ended",
        "film/reel-2: no",
        "other/reel: no",
        "a reel is not it?",
    ]
    (home.logs / "operator.log").write_text("\n".join(lines) + "\n")
    found = dict(reporting._programs(home, "film", "reel"))
    assert found == {"operator": "film/reel: 3 pods\npod reel-0123456789-1 ended\na reel is not it?\n"}


def test_nothing_slow_is_loaded_for_help() -> None:
    code = (
        "import sys; from carryon_standalone.cli import app; app.carryon(); app.kubectl_carryon();"
        " print([name for name in ('kubernetes', 'pydantic', 'aiohttp', 'fastapi', 'boto3') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout == "[]\n", ran.stderr
