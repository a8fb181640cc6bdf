"""What Tab offers after `kubectl carryon`, in the form that kubectl reads."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from carryon_standalone.cli.completing import Directive, suggestions


def offered(*words: str) -> tuple[list[str], Directive]:
    """The words alone, without their descriptions; the last one given is unfinished."""
    found, directive = suggestions(words[:-1], words[-1])
    return [each.partition("\t")[0] for each in found], directive


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["res"], ["restart", "resume"]),
        (["-n", "default", "paus"], ["pause"]),
        (["--namespace=default", "paus"], ["pause"]),
        (["pause", "--unt"], ["--until"]),
        (["--cont"], ["--context"]),
        (["get", "reel", "--all"], ["--all-namespaces"]),
        (["get", "--phase", "Susp"], ["Suspended", "Suspending"]),
        (["get", "--phase=run"], ["--phase=Running"]),
        (["get", "-o", ""], ["table", "json", "yaml"]),
        (["get", "re"], []),
        (["nothing", "re"], []),
    ],
)
def test_commands_options_and_their_values_are_offered(words: list[str], found: list[str]) -> None:
    assert sorted(offered(*words)[0]) == sorted(found)


def test_every_command_is_offered_with_what_it_does() -> None:
    found, directive = suggestions([], "")
    assert "pause" in {each.partition("\t")[0] for each in found}
    assert all(each.partition("\t")[2] for each in found)
    assert directive is Directive.NO_FILES


@pytest.mark.parametrize(
    ("words", "directive"),
    [
        (["apply", ""], Directive.FILES),
        (["apply", "-f", ""], Directive.FILES),
        (["export", "reel", "-"], Directive.NO_FILES),
        (["get", ""], Directive.NO_FILES),
        (["--kubeconfig", ""], Directive.FILES),
        (["get", "-l", ""], Directive.NO_FILES),
    ],
)
def test_files_are_offered_where_a_file_belongs(words: list[str], directive: Directive) -> None:
    assert offered(*words)[1] is directive


def test_it_is_installed_under_the_name_that_kubectl_looks_for() -> None:
    (script,) = entry_points(group="console_scripts", name="kubectl_complete-carryon")
    assert script.value == "carryon_standalone.cli.completing:main"
    program = Path(sys.executable).parent / "kubectl_complete-carryon"
    ran = subprocess.run([program, "pause", "--unt"], capture_output=True, text=True, check=True)
    *found, last = ran.stdout.splitlines()
    assert [each.partition("\t")[0] for each in found] == ["--until"]
    assert last == ":4"
