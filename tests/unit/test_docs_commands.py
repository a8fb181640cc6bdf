"""What the documentation tells people to type: every command is held to the program that it is for."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import kubectl_rules
from carryon_core.done import Outcome
from carryon_worker.generators import outcome_file
from command_rules import PLAIN, check, named_in_passing
from documents import ROOT, Block, Command, Unreadable, Wrong, blocks, commands, commands_of, pages, prose
from plane import needs_kubectl

SHELL = [pytest.param(block, id=block.name) for block in blocks() if block.language in ("sh", "console")]


@pytest.mark.parametrize("block", SHELL)
def test_every_command_that_is_shown_would_be_taken(block: Block) -> None:
    found = commands_of(block)
    assert found, "a block of a shell's without a command"
    for command in found:
        check(command)


@needs_kubectl
@pytest.mark.parametrize("block", SHELL)
def test_kubectl_itself_takes_the_options_that_are_shown(block: Block) -> None:
    found = [each for each in commands_of(block) if each.words[:1] == ("kubectl",) and each.words[1:2] != ("carryon",)]
    assert {str(each): why for each in found if (why := kubectl_rules.refused(each)) is not None} == {}


@pytest.mark.parametrize("block", SHELL)
def test_a_shell_reads_what_is_shown(block: Block) -> None:
    script = "\n".join(line.removeprefix("$ ") for line in block.text.split("\n")) if block.language == "sh" else ""
    subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=60)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()])
def test_a_command_that_a_sentence_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:carryon|kubectl carryon|make) [^`|]+)`", prose(page))
    assert {text: why for text in named if (why := named_in_passing(text)) is not None} == {}


def test_a_command_in_a_sentence_that_is_not_there_is_seen() -> None:
    for wrong in ("carryon paus NAME", "carryon export --no-artefacts", "kubectl carryon up", "make demos"):
        assert named_in_passing(wrong) is not None
    for right in (
        "carryon resume NAME",
        "carryon resume (6 remaining)",
        "kubectl carryon get",
        "make images REGISTRY=",
    ):
        assert named_in_passing(right) is None


RUNS = [
    param
    for param in SHELL
    for block in param.values
    if all(not each.words or each.words[0] in PLAIN for each in commands_of(block))
    and any(each.files for each in commands_of(block))
]


@pytest.mark.parametrize("block", RUNS)
def test_what_needs_nothing_but_a_system_runs(block: Block, tmp_path: Path) -> None:
    weights = tmp_path / "wan" / "transformer" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    outcome = tmp_path / "outcome.json"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CARRYON_OUTCOME": str(outcome)}
    subprocess.run(["bash", "-eu"], input=block.text, text=True, cwd=tmp_path, env=environment, check=True, timeout=60)
    written = [each for each in tmp_path.rglob("*") if each.is_file() and each != weights]
    assert written, "it leaves nothing behind"
    if outcome.exists():
        assert outcome_file.read(outcome) == (Outcome.SKIPPED, "no new post since yesterday")
    for sums in tmp_path.rglob("*.sha256"):
        subprocess.run(["sha256sum", "--check", "--strict", sums.name], cwd=sums.parent, check=True, timeout=60)


@pytest.mark.parametrize(
    "wrong",
    [
        "carryon paus reel",
        "carryon pause reel --untill 2026-12-01T06:00:00Z",
        "carryon redo",
        "kubectl carryon up",
        "carryon-operator --max-pod 7",
        "carryon-api --listen",
        "make demos",
        "make images REGISTRIES=x",
        "helm install carryon charts/carryon --set image.registri=x",
        "helm upgrade carryon charts/carrion",
        "helm installs carryon charts/carryon",
        "kubectl got gj",
        "kubectl get gjobs",
        """kubectl patch gj reel --type merge -p '{"spec":{"suspended":true}}'""",
        "kubectl wait gj reel --for=condition=Done",
        "kubectl annotate gj reel carryon.dev/resume=now",
        "kubectl get gj reel -o jsonpath='{.status.phases}'",
        "kubectl apply -f examples/none.yaml",
        "curl https://carryon.example.com/api/v1/job",
        "curl -T file $API/api/v1/jobs",
        "aws s3api put-bucket-lifecycle --bucket b --lifecycle '{}'",
        "aws s3api put-bucket-versioning --bucket b --versioning-configuration '{\"State\":1}'",
        "docker push registry.example.com/carryon:0.0.9",
        "python relay.py --chats slack",
        "rm -rf /",
        "echo $(carryon paus)",
        "cat x && carryon paus",
    ],
)
def test_a_command_that_would_not_be_taken_is_seen(wrong: str) -> None:
    with pytest.raises((Wrong, ValueError)):  # noqa: PT012 - whichever command of them it is
        for command in commands(wrong):
            check(command)


@needs_kubectl
@pytest.mark.parametrize(
    "wrong", ["kubectl get gj --outputs json", "kubectl create secret generic s --from-litera=a=b"]
)
def test_an_option_that_kubectl_does_not_have_is_seen(wrong: str) -> None:
    (command,) = commands(wrong)
    assert kubectl_rules.refused(command) is not None


def test_commands_are_read_as_a_shell_reads_them() -> None:
    script = """
# a comment
A=1 B="two words" kubectl get gj x#y -o 'json path' > out  # another
kubectl create configmap c --dry-run=client -o yaml | kubectl apply -f - <<EOF
kind: x
EOF
echo "at $(date -Is)" && echo \\
  'a | b'; cd there
export HOME_OF=~/x
"""
    assert commands(script) == [
        Command(("kubectl", "get", "gj", "x#y", "-o", "json path"), {"A": "1", "B": "two words"}, None, ("out",)),
        Command(("kubectl", "create", "configmap", "c", "--dry-run=client", "-o", "yaml")),
        Command(("kubectl", "apply", "-f", "-"), {}, "kind: x\n"),
        Command(("date", "-Is")),
        Command(("echo", "at $(date -Is)")),
        Command(("echo", "a | b")),
        Command(("cd", "there")),
        Command(("export", "HOME_OF=~/x")),
    ]
    for unreadable in ("echo 'no end", "for each in a b; do echo $each; done", "cat <<EOF\nno end"):
        with pytest.raises(Unreadable):
            commands(unreadable)
