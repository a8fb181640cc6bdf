"""The commands that look at jobs, and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import typer

from carryon_core.phases import Phase
from carryon_standalone.cli.choices import Format, State
from carryon_standalone.cli.errors import INTERRUPTED, USAGE, CommandError
from carryon_standalone.cli.naming import as_typed
from carryon_standalone.cli.options import Json, Name, Selector, Where


def get(
    where: Where,
    name: Annotated[str | None, typer.Argument(help="Name of a job; all jobs without it.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on with every change.")] = False,
    form: Annotated[Format, typer.Option("--output", "-o", help="Form of the answer.")] = Format.TABLE,
    selector: Selector = None,
    phase: Annotated[
        list[Phase] | None,
        typer.Option(
            "--phase",
            help="Only jobs in this phase, such as Running; may repeat.",
            metavar="PHASE",
            case_sensitive=False,
        ),
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Jobs of all namespaces.")] = False,
    as_json: Json = False,
) -> None:
    """Show jobs."""
    from carryon_jobs.view import JobView
    from carryon_standalone.cli.printing import print_jobs, print_stream

    if name is not None and (selector is not None or phase or everywhere):
        raise CommandError("a name is one job: leave out -l, --phase and -A, or the name", USAGE)
    cluster = where.cluster()
    form = Format.JSON if as_json else form
    wanted = {each.value for each in phase or ()}

    def chosen(job: dict[str, Any]) -> bool:
        return not wanted or JobView.of(job).phase in wanted

    if not watch:
        found = [cluster.job(name)] if name is not None else cluster.jobs(selector, everywhere=everywhere)
        print_jobs(
            [job for job in found if chosen(job)],
            form.value,
            single=name is not None,
            namespace=None if everywhere else cluster.namespace,
            narrowed=bool(selector or wanted),
        )
        return
    if name is not None:
        cluster.job(name)  # a wrong name is a mistake, not something to wait for
    events = cluster.watch(name, selector, everywhere=everywhere)
    shown = ((kind, job) for kind, job in events if chosen(job))
    _until_interrupted(lambda: print_stream(shown, form.value, with_namespace=everywhere))


def describe(where: Where, name: Name) -> None:
    """Show everything about a job: conditions, stages, failures, pods, when it will be through, what resuming takes."""
    from carryon_jobs.job import Job
    from carryon_jobs.view import now_utc
    from carryon_standalone.cli import render
    from carryon_standalone.cli.printing import print_rich
    from carryon_standalone.cli.telling import expectation

    cluster = where.cluster()
    job, pods = Job(cluster.job(name), cluster.secret), cluster.pods(name)
    print_rich(render.describe(job.view, pods, now_utc(), expectation(job, pods)))


def logs(
    where: Where,
    name: Name,
    unit: Annotated[str | None, typer.Argument(help="One unit, as item or stage/item; all at work without it.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    previous: Annotated[
        bool, typer.Option("--previous", "-p", help="The last lines of attempts that failed, from the bucket.")
    ] = False,
) -> None:
    """Print the logs of a job's pods; where they are gone, the last lines of attempts that failed."""
    from carryon_jobs import logs as saved_logs
    from carryon_jobs.job import Job
    from carryon_standalone.cli import logs as pod_logs

    cluster = where.cluster()
    job = Job(cluster.job(name), cluster.secret)
    pods = [] if previous else pod_logs.chosen(cluster.pods(name), unit)
    if pods:
        _until_interrupted(lambda: _print_lines(pod_logs.lines(cluster, pods, follow=follow)))
        return
    kept = list(saved_logs.saved(job, unit))
    if not kept:
        whose = f"unit {unit} of {name}" if unit is not None else name
        there = "" if previous else f"there is no pod of {whose} now ({name} is {job.view.phase}), and "
        raise CommandError(as_typed(f"{there}no log of {whose} is kept in its bucket; see `carryon describe {name}`"))
    _print_lines(iter(kept))


def units(
    where: Where,
    name: Name,
    stage: Annotated[str | None, typer.Option("--stage", help="Only units of this stage.", show_default=False)] = None,
    state: Annotated[
        list[State] | None,
        typer.Option(
            "--state",
            help="Only units that stand so: done, skipped, filtered, failed, active, waiting or waiting for approval;"
            " may repeat.",
            metavar="STATE",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show each unit of a job, and its artifacts."""
    from carryon_jobs import selecting
    from carryon_jobs import units as job_units
    from carryon_jobs.job import Job
    from carryon_standalone.cli.printing import print_units

    cluster = where.cluster()
    job = Job(cluster.job(name), cluster.secret)
    if stage is not None:
        selecting.stage_of(job.spec, stage)
    wanted = {each.value for each in state or State}
    found = [unit for unit in job_units.of_job(job) if unit.state in wanted and stage in (None, unit.stage)]
    print_units(found, as_json=as_json)


def _print_lines(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(line)


def _until_interrupted(work: Any) -> None:
    try:
        work()
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (get, describe, units, logs)
