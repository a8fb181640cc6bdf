"""The commands that take files with jobs. What is slow to load is loaded by the command that needs it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carryon_standalone.cli.errors import FAILED, USAGE, CommandError
from carryon_standalone.cli.options import Filenames, Files, Gpus, Json, Output, Where

if TYPE_CHECKING:
    from rich.console import Console

    from carryon_standalone.cli.cluster import Cluster


def run(
    where: Where,
    files: Files = None,
    filenames: Filenames = None,
    output: Output = None,
    gpus: Gpus = None,
    wait: Annotated[bool, typer.Option(help="Show progress, and end with the jobs.")] = True,
    down_on_exit: Annotated[bool, typer.Option("--down-on-exit", help="Stop the control plane in the end.")] = False,
    as_json: Json = False,
) -> None:
    """Apply jobs, starting this machine's control plane if need be, and follow them to their end.

    Exit code: 0 when all succeeded, 1 when one failed or is suspended, 130 after Ctrl-C, which leaves the jobs at work.
    """
    from carryon_standalone.cli import manifests
    from carryon_standalone.cli.running import run_jobs
    from carryon_standalone.supervisor import Options

    jobs = manifests.read_all(files, filenames)
    target = where.target(may_start=True)
    if down_on_exit and (target.home is None or not wait):
        raise CommandError(
            "--down-on-exit is for the control plane of this machine, and for waiting: leave it out", USAGE
        )
    # Whoever ends us with SIGTERM means what Ctrl-C means.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code, reached = run_jobs(
        target,
        jobs,
        Options(output, gpus),
        wait=wait,
        stop_in_the_end=target.home if down_on_exit else None,
        console=_console(stderr=as_json),
    )
    if as_json and reached:
        typer.echo(json.dumps(reached if len(reached) > 1 else reached[0], indent=2))
    raise typer.Exit(code)


def apply(
    where: Where,
    files: Files = None,
    filenames: Filenames = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only let the API server check them.")] = False,
) -> None:
    """Create jobs, or change those that are there to what the files say; does not wait for them."""
    _send(where, files, filenames, "applied", lambda cluster, job: cluster.apply(job, dry_run=dry_run), dry_run)


def create(
    where: Where,
    files: Files = None,
    filenames: Filenames = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only let the API server check them.")] = False,
) -> None:
    """Create jobs; those that are there already are left alone, and refused."""
    _send(where, files, filenames, "created", lambda cluster, job: cluster.create(job, dry_run=dry_run), dry_run)


def _send(
    where: Where,
    files: list[Path] | None,
    filenames: list[Path] | None,
    done: str,
    send: Callable[[Cluster, dict[str, Any]], object],
    dry_run: bool,
) -> None:
    """Send the jobs of all files, one after the other, and say so of each."""
    from carryon_standalone.cli import manifests
    from carryon_standalone.cli.running import refused_in

    jobs = manifests.read_all(files, filenames)
    cluster = where.cluster()
    for path, job in jobs:
        with refused_in(path):
            send(cluster, job)
        typer.echo(f"{job['metadata']['name']} {'could be' if dry_run else 'is'} {done}")


def validate(
    where: Where,
    files: Files = None,
    filenames: Filenames = None,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: Json = False,
) -> None:
    """Check files before a GPU starts: every unit is rendered, and an API server is asked where one answers.

    Exit code: 0 when nothing is wrong, warnings aside; 1 otherwise.
    """
    from carryon_jobs.checking import Severity
    from carryon_standalone.cli import checking, manifests

    jobs = manifests.read_all(files, filenames)
    found = [
        (str(path), job["metadata"]["name"], finding)
        for path, job in jobs
        for finding in checking.findings(job, where.namespace, where.cluster)
    ]
    refused = (Severity.ERROR, Severity.WARNING) if strict else (Severity.ERROR,)
    valid = not any(each.severity in refused for _, _, each in found)
    if as_json:
        said = [
            {"file": file, "job": job, "severity": each.severity.value, "problem": each.message}
            for file, job, each in found
        ]
        problems = [each for each in said if each["severity"] != Severity.NOTE]
        notes = [each for each in said if each["severity"] == Severity.NOTE]
        typer.echo(json.dumps({"valid": valid, "problems": problems, "notChecked": notes}, indent=2))
    else:
        for file, _, each in found:
            kind = "" if each.severity is Severity.ERROR else f"{each.severity.value}: "
            typer.echo(f"{file}: {kind}{each.message}", err=True)
        if valid:
            typer.echo(f"{', '.join(dict.fromkeys(str(path) for path, _ in jobs))}: valid")
    raise typer.Exit(0 if valid else FAILED)


def try_(
    where: Where,
    file: Annotated[Path, typer.Argument(help="YAML file with one GenerationJob; - reads standard input.")],
    items: Annotated[int, typer.Option("--items", min=1, max=1000, help="How many items, from the top.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the job when it succeeded.")] = False,
    output: Output = None,
    gpus: Gpus = None,
) -> None:
    """Make the first items of a job, as job NAME-try, for a look before all of them are made.

    Nobody has to approve anything. Artifacts stay; the job goes when it succeeded, and stays where it failed.
    """
    from carryon_jobs import units as job_units
    from carryon_jobs.job import Job
    from carryon_standalone.cli import manifests, trying
    from carryon_standalone.cli.printing import print_units
    from carryon_standalone.cli.running import run_jobs
    from carryon_standalone.supervisor import Options

    jobs = manifests.read(file)
    if len(jobs) > 1:
        raise CommandError(f"{file} holds {len(jobs)} jobs: give one of them a file of its own to try it", USAGE)
    trial = trying.trial(jobs[0], items)
    name, place = trial["metadata"]["name"], trial["metadata"].get("namespace")
    target = where.target(may_start=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code, reached = run_jobs(
        target,
        [(file, trial)],
        Options(output, gpus),
        wait=True,
        stop_in_the_end=None,
        console=_console(),
        before=lambda cluster: trying.remove(cluster, name, place),
    )
    if reached:
        cluster = where.cluster()
        print_units(job_units.of_job(Job(reached[0], cluster.secret)), as_json=False)
        if code == 0 and not keep:
            cluster.delete(name, place)
    raise typer.Exit(code)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (run, apply, create, validate, try_)
