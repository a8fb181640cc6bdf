"""The commands, as they are typed. What is slow to load is loaded by the command that needs it.

Those that act on a job are in `control`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carryon_standalone.cli import certifying, control
from carryon_standalone.cli.errors import FAILED, INTERRUPTED, USAGE, CommandError
from carryon_standalone.cli.options import (
    Context,
    Data,
    Files,
    Format,
    Gpus,
    Json,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    connect,
)

if TYPE_CHECKING:
    from rich.console import Console

    from carryon_standalone.supervisor import Ready

app = typer.Typer(
    name="carryon",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Generation jobs that carry on: kill anything, at any moment, and nothing that is finished is made again.",
)


@app.command()
def up(
    data: Data = None,
    output: Output = None,
    gpus: Gpus = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
) -> None:
    """Start the control plane of this machine; Ctrl-C stops it."""
    from carryon_standalone import launch
    from carryon_standalone.cli.running import spinner
    from carryon_standalone.home import Home
    from carryon_standalone.supervisor import Options

    home, options = Home.of(data), Options(output, gpus)
    if detach:
        with spinner(_console(), f"starting the control plane in {home.root}"):
            started = launch.ensure_running(home, options)
        typer.echo(f"the control plane in {home.root} {'is up' if started else 'was up already'}")
        typer.echo(f"export KUBECONFIG={home.kubeconfig}")
        return
    import asyncio

    from carryon_standalone import supervisor

    asyncio.run(supervisor.run(home, options, typer.echo, _welcome))


@app.command()
def down(data: Data = None) -> None:
    """Stop the control plane of this machine; unfinished work carries on when it is started again."""
    from carryon_standalone import launch
    from carryon_standalone.cli.running import spinner
    from carryon_standalone.home import Home

    home = Home.of(data)
    with spinner(_console(), f"stopping the control plane in {home.root}"):
        stopped = launch.stop(home)
    typer.echo(f"the control plane in {home.root} {'is stopped' if stopped else 'was not running'}")


@app.command()
def run(
    files: Files,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
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
    from carryon_standalone.cli.target import choose
    from carryon_standalone.supervisor import Options

    jobs = [(path, job) for path in files for job in manifests.read(path)]
    target = choose(kubeconfig=kubeconfig, context=context, namespace=namespace, data=data, may_start=True)
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


@app.command()
def get(
    name: Annotated[str | None, typer.Argument(help="Name of a job; all jobs without it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with every change.")] = False,
    form: Annotated[Format, typer.Option("--output", "-o", help="Form of the answer.")] = Format.TABLE,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show jobs."""
    from carryon_standalone.cli.printing import print_jobs, print_stream

    cluster = connect(data, kubeconfig, context, namespace)
    form = Format.JSON if as_json else form
    if not watch:
        jobs = cluster.jobs() if name is None else [cluster.job(name)]
        print_jobs(jobs, form.value, single=name is not None, namespace=cluster.namespace)
        return
    if name is not None:
        cluster.job(name)  # a wrong name is a mistake, not something to wait for
    _until_interrupted(lambda: print_stream(cluster.watch(name), form.value))


@app.command()
def describe(
    name: Name,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show everything about a job: conditions, stages, failures, pods, and what resuming would take."""
    from carryon_jobs.view import JobView, now_utc
    from carryon_standalone.cli import render
    from carryon_standalone.cli.printing import print_rich

    cluster = connect(data, kubeconfig, context, namespace)
    job = JobView.of(cluster.job(name))
    print_rich(render.describe(job, cluster.pods(name), now_utc()))


@app.command()
def logs(
    name: Name,
    unit: Annotated[str | None, typer.Argument(help="One unit, as item or stage/item; all at work without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="The last lines of attempts that failed, from the bucket.")
    ] = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Print the logs of a job's pods; where they are gone, the last lines of attempts that failed."""
    from carryon_jobs import logs as saved_logs
    from carryon_jobs.job import Job
    from carryon_standalone.cli import logs as pod_logs

    cluster = connect(data, kubeconfig, context, namespace)
    job = Job(cluster.job(name), cluster.secret)
    pods = [] if previous else pod_logs.chosen(cluster.pods(name), unit)
    if pods:
        _until_interrupted(lambda: _print_lines(pod_logs.lines(cluster, pods, follow=follow)))
        return
    kept = list(saved_logs.saved(job, unit))
    if not kept:
        whose = f"unit {unit} of {name}" if unit is not None else name
        where = "" if previous else f"there is no pod of {whose} now ({name} is {job.view.phase}), and "
        raise CommandError(f"{where}no log of {whose} is kept in its bucket; see `carryon describe {name}`")
    _print_lines(iter(kept))


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Delete a job and its pods; artifacts stay, unless the job says output.onDelete: Delete."""
    from carryon_jobs.view import JobView

    cluster = connect(data, kubeconfig, context, namespace)
    job = JobView.of(cluster.job(name))
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError(f"deleting {name} takes a yes: add --yes", USAGE)
        typer.confirm(f"delete {name} ({job.phase}, {job.progress or 'no units yet'})?", abort=True)
    cluster.delete(name)
    artifacts = "are deleted with it from" if job.deletes_artifacts else "stay in"
    typer.echo(f"{name} is deleted" + (f"; artifacts {artifacts} {job.artifacts}" if job.artifacts else ""))


@app.command()
def units(
    name: Name,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show each unit of a job, and its artifacts."""
    from carryon_jobs import units as job_units
    from carryon_jobs.job import Job
    from carryon_standalone.cli.printing import print_units

    cluster = connect(data, kubeconfig, context, namespace)
    print_units(job_units.of_job(Job(cluster.job(name), cluster.secret)), as_json=as_json)


@app.command()
def validate(
    files: Files,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings for errors.")] = False,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Check files before a GPU starts: every unit is rendered, and an API server is asked where one answers.

    Exit code: 0 when nothing is wrong, warnings aside; 1 otherwise.
    """
    from carryon_jobs.checking import Severity
    from carryon_standalone.cli import checking, manifests

    found = [
        (str(path), job["metadata"]["name"], finding)
        for path in files
        for job in manifests.read(path)
        for finding in checking.findings(job, namespace, lambda: connect(data, kubeconfig, context, namespace))
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
            typer.echo(f"{', '.join(map(str, files))}: valid")
    raise typer.Exit(0 if valid else FAILED)


@app.command(name="try")
def try_(
    file: Annotated[Path, typer.Argument(help="YAML file with one GenerationJob; - reads standard input.")],
    items: Annotated[int, typer.Option("--items", min=1, max=1000, help="How many items, from the top.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the job when it succeeded.")] = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
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
    from carryon_standalone.cli.target import choose
    from carryon_standalone.supervisor import Options

    jobs = manifests.read(file)
    if len(jobs) > 1:
        raise CommandError(f"{file} holds {len(jobs)} jobs: give one of them a file of its own to try it", USAGE)
    trial = trying.trial(jobs[0], items)
    name, place = trial["metadata"]["name"], trial["metadata"].get("namespace")
    target = choose(kubeconfig=kubeconfig, context=context, namespace=namespace, data=data, may_start=True)
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
        cluster = connect(data, kubeconfig, context, namespace)
        print_units(job_units.of_job(Job(reached[0], cluster.secret)), as_json=False)
        if code == 0 and not keep:
            cluster.delete(name, place)
    raise typer.Exit(code)


for command in (*control.COMMANDS, certifying.certify):
    app.command()(command)


def _print_lines(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)


def _until_interrupted(work: Any) -> None:
    try:
        work()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _welcome(ready: Ready) -> None:
    typer.echo(
        f"\nCarryon is up at {ready.server}\n"
        f"  artifacts   {ready.output}\n"
        f"  logs        {ready.home.logs}\n\n"
        f"  export KUBECONFIG={ready.home.kubeconfig}\n"
        f"  carryon run job.yaml\n\n"
        f"Ctrl-C stops it; the next start carries on.\n"
    )
