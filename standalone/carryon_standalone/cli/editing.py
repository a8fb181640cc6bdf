"""`carryon edit`: a job as text in one's editor, checked before it is sent; a text that can't be sent is never lost."""

from __future__ import annotations

import copy
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from carryon_standalone.cli.errors import FAILED, USAGE, CommandError
from carryon_standalone.cli.options import Name, Where

if TYPE_CHECKING:
    from carryon_standalone.cli.cluster import Cluster

_EDITORS: Final = ("KUBE_EDITOR", "VISUAL", "EDITOR")
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_TRIES: Final = 20
Manifest = dict[str, Any]


def edit(where: Where, name: Name) -> None:
    """Edit a job in $EDITOR; what an edit changes is made anew, all else is kept.

    The text is checked before it is sent, and comes back with what is wrong with it. Where it can't be sent it is kept
    in a file. Exit code: 0 when it was sent or nothing was changed, 1 otherwise.
    """
    from carryon_core.actions import Action
    from carryon_jobs.acting import verdict_on
    from carryon_jobs.job import Job

    cluster = where.cluster()
    raw = cluster.job(name)
    found = verdict_on(Job(raw, cluster.secret), Action.EDIT)
    if not found.possible:
        raise CommandError(f"{name}: {found.reason}")
    editor = editor_of(os.environ, interactive=sys.stdin.isatty())
    with _kept_on_failure(name) as path:
        edited = _edited(cluster, raw, editor, path)
        if edited is None:
            typer.echo(f"{name} is as it was: nothing was changed")
            return
        send(cluster, raw, edited)
    typer.echo(f"{name} is edited: {found.reason}")


def editor_of(environ: Mapping[str, str], *, interactive: bool) -> list[str]:
    """Program and arguments of one's editor: $KUBE_EDITOR, $VISUAL, $EDITOR, else vi.

    Raises:
        CommandError: There is none, and nobody who could type into vi.
    """
    chosen = next((environ[name] for name in _EDITORS if environ.get(name, "").strip()), None)
    if chosen is None and not interactive:
        raise CommandError(
            "there is no terminal for vi: set EDITOR to a program that edits the file it is given", USAGE
        )
    return shlex.split(chosen or "vi")


def editable(job: Mapping[str, Any]) -> Manifest:
    """What a person may change about a job: labels, annotations and spec."""
    metadata = job["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != _LAST_APPLIED}
    shown = {"name": metadata["name"], "namespace": metadata["namespace"]}
    if metadata.get("labels"):
        shown["labels"] = metadata["labels"]
    if annotations:
        shown["annotations"] = annotations
    return {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": shown, "spec": job["spec"]}


def merged(job: Mapping[str, Any], edited: Manifest) -> Manifest:
    """A job with what was edited, to be put in its place.

    Raises:
        CommandError: The text names another object.
    """
    metadata, named = job["metadata"], edited["metadata"]
    for field in ("name", "namespace"):
        if named.get(field, metadata[field]) != metadata[field]:
            raise CommandError(f"metadata.{field} is {metadata[field]}: an edit can't change it")
    if (edited.get("apiVersion"), edited.get("kind")) != (job["apiVersion"], job["kind"]):
        raise CommandError(f"it should stay {job['apiVersion']}, {job['kind']}")
    if not isinstance(edited.get("spec"), dict):
        raise CommandError("spec is missing")
    hidden = {key: value for key, value in (metadata.get("annotations") or {}).items() if key == _LAST_APPLIED}
    made = {
        **metadata,
        "labels": named.get("labels") or {},
        "annotations": {**(named.get("annotations") or {}), **hidden},
    }
    made.pop("managedFields", None)
    return {**job, "metadata": made, "spec": edited["spec"]}


def send(cluster: Cluster, raw: Mapping[str, Any], edited: Manifest) -> None:
    """Put an edited job in the place of the one that was opened.

    What the operator writes meanwhile (status) is no conflict; what another person writes is.

    Raises:
        CommandError: It was changed meanwhile, or the API server refused.
    """
    from carryon_standalone.cli.cluster import Conflict

    name, namespace = raw["metadata"]["name"], raw["metadata"]["namespace"]
    current = raw
    for _ in range(_TRIES):
        try:
            cluster.replace(merged(current, edited))
            return
        except Conflict:
            current = cluster.job(name, namespace)
            if current["metadata"]["uid"] != raw["metadata"]["uid"] or editable(current) != editable(raw):
                raise CommandError(
                    f"{name} was changed by somebody else while you edited it: look at it again, and edit it anew"
                ) from None
    raise CommandError(f"{name} changes all the time: try again")


def _edited(cluster: Cluster, raw: Mapping[str, Any], editor: Sequence[str], path: Path) -> Manifest | None:
    """The job as it was left in the editor, once nothing is wrong with it; None where nothing was changed."""
    from carryon_standalone.cli.printing import yaml_of

    text = before = yaml_of(editable(raw))
    problems: Sequence[str] = ()
    while True:
        path.write_text(_commented(problems) + text, encoding="utf-8")
        _open(editor, path)
        left = _uncommented(path.read_text(encoding="utf-8"))
        if left.strip() in ("", before.strip()):
            return None
        if problems and left == text:
            raise CommandError("\n".join(problems))
        text = left
        edited, problems = _checked(cluster, raw, text)
        if edited is not None:
            return edited


def _checked(cluster: Cluster, raw: Mapping[str, Any], text: str) -> tuple[Manifest | None, Sequence[str]]:
    """The manifest that a text holds, or what is wrong with it."""
    from carryon_jobs.checking import Severity
    from carryon_standalone.cli import checking, manifests

    try:
        documents = manifests.parse(text, "the text")
        if len(documents) != 1:
            raise CommandError(f"the text holds {len(documents)} jobs: leave one")
        (edited,) = documents
        merged(raw, edited)
    except CommandError as error:
        return None, str(error).splitlines()
    found = list(checking.findings(copy.deepcopy(edited), cluster.namespace, lambda: cluster))
    problems = [each.message for each in found if each.severity is Severity.ERROR]
    if not problems:
        for each in found:
            if each.severity is Severity.WARNING:
                typer.echo(f"warning: {each.message}", err=True)
    return (None, problems) if problems else (edited, ())


@contextmanager
def _kept_on_failure(name: str) -> Iterator[Path]:
    """A file for the text, readable by its owner only: prompts are in it. It goes when all went well."""
    descriptor, chosen = tempfile.mkstemp(prefix=f"carryon-{name}-", suffix=".yaml")
    os.close(descriptor)
    path = Path(chosen)
    try:
        yield path
    except (CommandError, KeyboardInterrupt) as error:
        if not path.read_text(encoding="utf-8").strip():  # nothing was ever written into it
            path.unlink()
            raise
        code = error.code if isinstance(error, CommandError) else FAILED
        said = str(error) or "interrupted: nothing was sent"
        raise CommandError(f"{said}\nyour text is kept in {path}", code) from None
    path.unlink()


def _open(editor: Sequence[str], path: Path) -> None:
    try:
        code = subprocess.run([*editor, str(path)], check=False).returncode
    except OSError as error:
        raise CommandError(f"the editor {editor[0]} can't be started: {error.strerror}; set EDITOR", USAGE) from None
    if code:
        raise CommandError(f"the editor {shlex.join(editor)} ended with exit code {code}: nothing was sent")


def _commented(problems: Sequence[str]) -> str:
    heads = ["Save and close to send it; lines that begin with # are left out. Nothing changed: nothing sent."]
    if problems:
        heads += ["", "It was not sent:", *(line for problem in problems for line in problem.splitlines())]
    return "".join(f"# {head}".rstrip() + "\n" for head in heads) + "#\n"


def _uncommented(text: str) -> str:
    """The text without the comment that it begins with; comments further down may be part of a prompt."""
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "".join(lines)
