"""`carryon status` and `carryon analytics`: how far a job is and when it will be through, and what came of all jobs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carryon_standalone.cli.errors import FAILED
from carryon_standalone.cli.options import Json, Selector, Where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carryon_jobs.job import Job
    from carryon_jobs.timing import Eta
    from carryon_standalone.cli.cluster import Cluster
    from carryon_standalone.home import Home


def status(
    where: Where,
    name: Annotated[
        str | None, typer.Argument(help="Name of a job; without it, all in short.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how far a job is and when it will be through; without a name, whether all is up, and where its page is."""
    if name is not None:
        _of_job(where.cluster(), name, as_json)
        return
    target = where.target()
    if target.home is not None and not _up(target.home):
        if as_json:
            typer.echo(json.dumps({"up": False, "data": str(target.home.root)}, indent=2))
        else:
            typer.echo(
                f"no control plane runs in {target.home.root}: start one with `{target.home.command('up --detach')}`"
            )
        raise typer.Exit(FAILED)
    _of_all(where.cluster(), target.home, as_json)


def analytics(
    where: Where,
    selector: Selector = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Jobs of all namespaces.")] = False,
    as_json: Json = False,
) -> None:
    """Show what came of the jobs that exist: success, retries by cause, time per stage, work saved by resuming."""
    from carryon_jobs.analytics import analytics as added_up
    from carryon_standalone.cli import render
    from carryon_standalone.cli.printing import print_rich

    found = added_up(where.cluster().jobs(selector, everywhere=everywhere))
    if as_json:
        typer.echo(found.model_dump_json(by_alias=True, indent=2))
    else:
        print_rich(render.analytics(found))


def expectation(job: Job, pods: Sequence[Mapping[str, Any]]) -> Eta:
    """When a job will be through, from its pods and the times of its units that are done.

    A bucket that can't be read is a reason why nobody knows, and none to say nothing at all.
    """
    from carryon_jobs import timing
    from carryon_jobs.errors import JobError

    phases = Counter((pod.get("status") or {}).get("phase") for pod in pods)
    spec = job.raw["spec"]
    at_work, waiting = phases["Running"], phases["Pending"]
    slots = at_work if waiting and at_work else spec.get("parallelism", 1)
    known = timing.expected(job.view, spec, {}, slots, time.time())
    if known.seconds is None and not any(stage.done for stage in job.view.stages):
        return known
    try:
        measured = {stage.name: timing.measured(job, stage.name) for stage in job.view.stages}
    except JobError as error:
        return timing.Eta(None, str(error))
    means = {stage: mean for stage, mean in measured.items() if mean is not None}
    return timing.expected(job.view, spec, means, slots, time.time())


def _of_job(cluster: Cluster, name: str, as_json: bool) -> None:
    from carryon_jobs.job import Job
    from carryon_standalone.cli import render
    from carryon_standalone.cli.printing import print_rich

    job = Job(cluster.job(name), cluster.secret)
    eta = expectation(job, cluster.pods(name))
    if not as_json:
        print_rich(render.status(job.view, eta))
        return
    told = job.raw.get("status") or {}
    typer.echo(
        json.dumps(
            {
                "namespace": job.view.namespace,
                "name": job.view.name,
                "phase": job.view.phase,
                "progress": job.view.progress,
                "message": job.view.message,
                "units": told.get("units") or {},
                "stages": [
                    {
                        "name": stage.name,
                        "total": stage.total,
                        "done": stage.done,
                        "failed": stage.failures,
                        "active": len(stage.active),
                    }
                    for stage in job.view.stages
                ],
                "counters": told.get("counters") or {},
                "eta": None if eta.seconds is None else round(eta.seconds, 1),
                "etaReason": eta.reason,
            },
            indent=2,
        )
    )


def _of_all(cluster: Cluster, home: Home | None, as_json: bool) -> None:
    from carryon_jobs.view import JobView
    from carryon_standalone.cli import paging

    phases = Counter(JobView.of(job).phase for job in cluster.jobs())
    facts = {"server": cluster.server, "namespace": cluster.namespace, "version": cluster.version()}
    if home is not None:
        facts |= {"page": paging.address(home) or "", "data": str(home.root), "logs": str(home.logs)}
    if as_json:
        typer.echo(json.dumps({"up": True, **facts, "jobs": dict(sorted(phases.items()))}, indent=2))
        return
    jobs = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"
    for fact, value in {**facts, "jobs": jobs}.items():
        if value:
            typer.echo(f"{fact:<11} {value}")


def _up(home: Home) -> bool:
    from carryon_standalone.home import Running

    running = Running.load(home)
    return running is not None and running.ready


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (status, analytics)
