"""Jobs and units on standard output: tables for people, JSON and YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

import typer
import yaml
from rich.console import Console, RenderableType

from carryon_jobs.view import JobView, UnitView, now_utc
from carryon_standalone.cli import render

_UNBOUNDED: Final = 10_000
_NAMESPACE_WIDTH: Final = 15
_WIDTHS: Final = (20, 12, 10, 7, 7, 6)


def print_jobs(
    jobs: Sequence[dict[str, Any]], form: str, *, single: bool, namespace: str | None, narrowed: bool = False
) -> None:
    """Print jobs: one by itself, or a list.

    Args:
        jobs: As the API server has them.
        form: table, json or yaml.
        single: One was asked for by its name.
        namespace: Where they were looked for; None: everywhere, which gives the table a column.
        narrowed: Not all that are there were asked for.
    """
    if form == "table":
        if not jobs:
            where = f"in namespace {namespace}" if namespace is not None else "in any namespace"
            typer.echo(f"there are no {'such ' if narrowed else ''}jobs {where}", err=True)
            return
        views = [JobView.of(job) for job in jobs]
        print_rich(render.jobs_table(views, now_utc(), with_namespace=namespace is None))
        return
    shown = [_shown(job) for job in jobs]
    content = shown[0] if single else {"apiVersion": "v1", "kind": "List", "items": shown}
    typer.echo(_dump(content, form))


def print_stream(events: Iterable[tuple[str, dict[str, Any]]], form: str, *, with_namespace: bool = False) -> None:
    """Print jobs as they change, one line or document each, for ever."""

    def place(namespace: str) -> str:
        return f"{namespace:<{_NAMESPACE_WIDTH}}  " if with_namespace else ""

    if form == "table":
        typer.echo(place("NAMESPACE") + _row(("NAME", "PHASE", "PROGRESS", "FAILED", "ACTIVE", "AGE", "MESSAGE")))
    for kind, job in events:
        if form == "table":
            view = JobView.of(job)
            row = render.columns(view, now_utc())
            typer.echo(place(view.namespace) + _row(row if kind != "DELETED" else (*row[:-1], "deleted")))
        elif form == "json":
            typer.echo(json.dumps({"type": kind, "object": _shown(job)}))
        else:
            typer.echo(f"---\n{_dump(_shown(job), form)}")


def print_units(units: Sequence[UnitView], *, as_json: bool) -> None:
    """Print units with their artifacts."""
    if as_json:
        typer.echo(json.dumps([asdict(unit) for unit in units], indent=2))
        return
    print_rich(render.units_table(units))


def print_rich(content: RenderableType) -> None:
    """Print what rich made: as wide as the terminal, or where there is none, as wide as it is."""
    Console(width=None if sys.stdout.isatty() else _UNBOUNDED).print(content, highlight=False)


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    """Without managedFields, as kubectl shows objects."""
    metadata = {name: value for name, value in job["metadata"].items() if name != "managedFields"}
    return {**job, "metadata": metadata}


def _dump(content: Any, form: str) -> str:
    if form == "json":
        return json.dumps(content, indent=2)
    return yaml_of(content).rstrip()


def yaml_of(content: Any) -> str:
    """Something as YAML for people: in its own order, texts of several lines as blocks."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes prompts as they would be written by hand."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _row(values: Sequence[str]) -> str:
    padded = [f"{value:<{width}}" for value, width in zip(values, _WIDTHS, strict=False)]
    return "  ".join([*padded, values[-1]]).rstrip()
