"""The operator's numbers as a page: printed, and written into docs/benchmarks.md."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench import indexed_job, measuring, operating, statuses
from bench.indexed_job import Compared
from bench.operating import Fleet, Run

PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_BEGIN: Final = "<!-- python -m bench operator writes what follows -->"
_END: Final = "<!-- and ends here -->"
_LIBRARIES: Final = ("kopf", "aiohttp", "orjson", "pydantic")


def report(quick: bool, show: Callable[[str], None]) -> None:
    """Measure everything, show it, and write it into the page unless it was only to be seen to run."""
    parts: list[str] = []

    def tell(text: str) -> None:
        parts.append(text)
        show(text)

    tell(asyncio.run(_where()))
    runs = _runs(quick)
    tell(_runs_table(runs))
    tell(_parts_table(runs))
    tell(_rates_table(quick))
    tell(_fleet_table(asyncio.run(_fleet(quick))))
    tell(_beside_table(quick))
    tell(_status_table(quick))
    compared = asyncio.run(indexed_job.compare(50 if quick else 1_000, 20 if quick else 200))
    tell(_compared(compared))
    if not quick:
        write(PAGE, "\n\n".join(parts))


def write(page: Path, text: str) -> None:
    """Put a text between the marks of a page.

    Raises:
        ValueError: It has none.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the numbers: put {_BEGIN} and {_END} into it")
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")


async def _where() -> str:
    """What measured, when, and how busy it was before that."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    server = await operating.server()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {measuring.processor()}, {len(os.sched_getaffinity(0))} cores, load"
        f" {os.getloadavg()[0]:.1f} at the start; {server}; Carryon {version('carryon')}, Python"
        f" {platform.python_version()}, {libraries}."
    )


def _runs(quick: bool) -> list[Run]:
    sizes = ((30, 10),) if quick else ((1_000, 200), (10_000, 500))
    return [asyncio.run(operating.run(units, parallelism, failing=0.01)) for units, parallelism in sizes]


def _runs_table(runs: Sequence[Run]) -> str:
    rows = [
        (
            f"{run.units:,}",
            f"{run.parallelism}",
            f"{run.seconds:.0f} s",
            f"{run.creating:.0f}",
            f"{sum(run.writes):.2f}",
            *_reconciles(run.reconciles),
            f"{run.rss >> 20} MiB",
        )
        for run in runs
    ]
    head = ("units", "parallelism", "from creation to end", "pods created/s", "API writes/unit", *_RECONCILES, "memory")
    return measuring.table(head, rows)


def _parts_table(runs: Sequence[Run]) -> str:
    parts = list(runs[0].cpu)
    rows = [(f"{run.units:,}", *(f"{run.cpu[part] / run.units * 1000:.1f} ms" for part in parts)) for run in runs]
    return measuring.table(("CPU of each unit", *parts), rows)


def _rates_table(quick: bool) -> str:
    rows = []
    for units, parallelism in ((6, 2),) if quick else ((30, 1), (100, 4), (300, 10), (600, 40)):
        run = asyncio.run(operating.run(units, parallelism, seconds=1.0, limited=True))
        creates, deletes, status = run.writes
        rows.append(
            (
                f"{run.units / run.seconds:.1f}",
                f"{creates:.2f}",
                f"{deletes:.2f}",
                f"{status:.2f}",
                f"{sum(run.writes):.2f}",
            )
        )
    return measuring.table(("units/s", "creates/unit", "deletes", "status writes", "together"), rows)


async def _fleet(quick: bool) -> Fleet:
    if quick:
        return await operating.fleet(5, 2, rate=2, seconds=2, lost=3)
    return await operating.fleet(1_000, 10, rate=33, seconds=30, lost=100)


def _fleet_table(fleet: Fleet) -> str:
    rows = [
        ("jobs, units, pods at work", f"{fleet.jobs:,}, {fleet.units:,}, {fleet.pods:,}"),
        ("until all pods are there", f"{fleet.filling:.0f} s"),
        ("operator's memory", f"{fleet.rss >> 20} MiB; {fleet.after >> 20} MiB after a restart"),
        ("operator's CPU, nothing happens", f"{fleet.idle:.1%} of a core"),
        (f"operator's CPU, {fleet.rate:.0f} pods a second end and are replaced", f"{fleet.churn:.0%} of a core"),
        ("reconcile p50, p99 meanwhile", ", ".join(_reconciles(fleet.reconciles))),
        ("start of a new operator to the first replacement of a lost pod", f"{fleet.first:.1f} s"),
        (f"to the last of {fleet.lost}", f"{fleet.last:.1f} s"),
    ]
    return measuring.table(("a fleet", ""), rows)


def _beside_table(quick: bool) -> str:
    units = 200 if quick else 10_000
    alone, small = asyncio.run(operating.beside(units))
    rows = [("alone", f"{alone:.1f} s"), (f"beside a job of {units:,} that is under way", f"{small:.1f} s")]
    return measuring.table(("a job of 3 units of a second", "from creation to end"), rows)


def _status_table(quick: bool) -> str:
    rows = [
        (f"{units:,}", how, f"{size / 1024:.1f} KiB")
        for units in ((1_000,) if quick else (10_000, 100_000))
        for how, size in statuses.sizes(units).items()
    ]
    return measuring.table(("units", "of which", "status"), rows)


def _compared(compared: Compared | None) -> str:
    if compared is None:
        return "The API server runs no Job controller, so nothing was compared with an Indexed Job."
    ours, theirs = compared.ours, compared.theirs
    rows = [
        _ratio("seconds from creation to end", ours.seconds, theirs.seconds),
        _ratio("pods created/s", ours.creating, theirs.creating),
        _ratio("writes of the job's object", ours.status, theirs.status),
    ]
    what = f"{compared.units:,} units, {compared.parallelism} at a time"
    return measuring.table((what, "Carryon", "Indexed Job", "ratio"), rows)


def _ratio(what: str, ours: float, theirs: float) -> tuple[str, str, str, str]:
    return what, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / max(theirs, 1e-9):.2f}"


_RECONCILES: Final = ("reconcile p50", "p99")


def _reconciles(seconds: Sequence[float]) -> tuple[str, str]:
    half, most = measuring.percentile(seconds, 0.5), measuring.percentile(seconds, 0.99)
    return f"{half * 1000:.0f} ms", f"{most * 1000:.0f} ms"
