"""`carryon run` watching its jobs: bars on a terminal, lines elsewhere, until every job rests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live

from carryon_jobs.view import JobView, now_utc
from carryon_standalone.cli import render
from carryon_standalone.cli.cluster import Cluster, Unreachable

_POLL: Final = 0.5
_SILENCE: Final = 60.0
"""Seconds that an API server may be away: a control plane that starts its crashed server again needs a few."""

Show = Callable[[Sequence[JobView]], None]


def rests(job: JobView) -> bool:
    """Whether a job moves no further unless a person does something."""
    asks = job.holds("Stalled") or (job.holds("AwaitingApproval") and job.phase == "AwaitingApproval")
    waits = asks and job.active == 0
    return job.refused is not None or job.holds("Finished") or job.holds("Suspended") or waits


def until_rest(cluster: Cluster, jobs: Sequence[tuple[str, str]], console: Console) -> list[dict[str, Any]]:
    """Show the progress of jobs until all of them rest.

    Args:
        cluster: Where they are.
        jobs: Namespace and name of each.
        console: Where to show it.

    Returns:
        The jobs as they are then.

    Raises:
        CommandError: A job is gone, or the API server is away for a minute.
    """
    with _bars(console) if console.is_terminal else _lines(console) as show:
        heard = time.monotonic()
        while True:
            try:
                found = [cluster.job(name, namespace) for namespace, name in jobs]
            except Unreachable:
                if time.monotonic() - heard > _SILENCE:
                    raise
            else:
                heard = time.monotonic()
                views = [JobView.of(job) for job in found]
                show(views)
                if all(map(rests, views)):
                    return found
            time.sleep(_POLL)


@contextmanager
def _bars(console: Console) -> Iterator[Show]:
    shown: list[JobView] = []

    def picture() -> Group:
        return Group(*(render.progress(job, now_utc()) for job in shown))

    def show(jobs: Sequence[JobView]) -> None:
        shown[:] = jobs

    with Live(get_renderable=picture, console=console, refresh_per_second=4):
        yield show


@contextmanager
def _lines(console: Console) -> Iterator[Show]:
    before: dict[tuple[str, str], JobView] = {}

    def show(jobs: Sequence[JobView]) -> None:
        for job in jobs:
            key = job.namespace, job.name
            for line in render.news(before.get(key), job):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            before[key] = job

    yield show
