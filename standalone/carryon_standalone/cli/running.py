"""`carryon run`: bring the control plane up if need be, apply, follow, and say how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from carryon_jobs.view import JobView, now_utc
from carryon_standalone import launch
from carryon_standalone.cli import follow, paging, render
from carryon_standalone.cli.cluster import Cluster, Refused
from carryon_standalone.cli.errors import FAILED, INTERRUPTED, CommandError
from carryon_standalone.cli.target import Target
from carryon_standalone.home import Home
from carryon_standalone.supervisor import Options

Job = dict[str, Any]


def run_jobs(
    target: Target,
    jobs: Sequence[tuple[Path, Job]],
    options: Options,
    *,
    wait: bool,
    stop_in_the_end: Home | None,
    console: Console,
    before: Callable[[Cluster], None] = lambda cluster: None,
) -> tuple[int, list[Job]]:
    """Apply jobs and follow them until they rest.

    Args:
        target: Where to; a standalone control plane is started where none runs.
        jobs: Each with the file it comes from.
        options: For a control plane that is started here.
        wait: False only applies.
        stop_in_the_end: Control plane to stop afterwards, however it ends.
        console: For progress and last words.
        before: What to do before they are applied.

    Returns:
        The exit code, and the jobs as they were last seen.

    Raises:
        CommandError: A job was refused, or can't be followed any further.
        StartFailed: The control plane did not come up, or down.
    """
    reached: list[Job] = []
    try:
        with _stopped_in_the_end(stop_in_the_end, console) if stop_in_the_end is not None else nullcontext():
            if target.home is not None:
                _bring_up(target.home, options, console, with_page=wait)
            cluster = Cluster(target)
            before(cluster)
            reached = [_apply(cluster, path, job) for path, job in jobs]
            if wait:
                named = [(job["metadata"]["namespace"], job["metadata"]["name"]) for job in reached]
                reached = follow.until_rest(cluster, named, console)
    except KeyboardInterrupt:
        _say(console, "", _after_interrupt(target, applied=bool(reached), stopped=stop_in_the_end is not None))
        return INTERRUPTED, []
    if not wait:
        _say(console, *(f"{job['metadata']['name']} is applied" for job in reached))
        return 0, reached
    views = [JobView.of(job) for job in reached]
    for view in views:
        _say(console, *render.ending(view, now_utc()))
    return (0 if all(view.holds("Succeeded") for view in views) else FAILED), reached


@contextmanager
def spinner(console: Console, text: str) -> Iterator[None]:
    """Show that something takes a while; nothing where there is no terminal."""
    with console.status(text) if console.is_terminal else nullcontext():
        yield


@contextmanager
def _stopped_in_the_end(home: Home, console: Console) -> Iterator[None]:
    try:
        yield
    finally:
        with spinner(console, "stopping the control plane"):
            launch.stop(home)


def _bring_up(home: Home, options: Options, console: Console, *, with_page: bool) -> None:
    with spinner(console, f"starting the control plane in {home.root}"):
        started = launch.ensure_running(home, options)
    if started:
        _say(console, f"the control plane in {home.root} is up ({home.command('down')} stops it)")
    page = paging.address(home) if with_page and (started or console.is_terminal) else None
    if page is not None:
        _say(console, f"watch it at {page} (`{home.command('page')}` opens it, and signs in)")


@contextmanager
def refused_in(path: Path) -> Iterator[None]:
    """Put the name of a file before each of the sentences why what is in it was refused."""
    try:
        yield
    except Refused as error:
        raise CommandError("\n".join(f"{path}: {cause}" for cause in error.causes)) from None


def _apply(cluster: Cluster, path: Path, job: Job) -> Job:
    with refused_in(path):
        return cluster.apply(job)


def _after_interrupt(target: Target, *, applied: bool, stopped: bool) -> str:
    if not applied:
        return "interrupted: the same command carries on"
    if stopped:
        return "stopped: what is finished is kept, and the same command carries on"
    stop = f"; stop everything with `{target.home.command('down')}`" if target.home is not None else ""
    return f"the jobs stay at work: follow them with `carryon get -w`{stop}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
