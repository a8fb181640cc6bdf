"""The commands that act on a job: each asks the same verdict as status and page, and sends one patch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carryon_standalone.cli.errors import FAILED, USAGE, CommandError
from carryon_standalone.cli.naming import as_typed
from carryon_standalone.cli.options import Json, Name, NameOrMany, Selector, Where, Yes

if TYPE_CHECKING:
    from carryon_jobs.orders import Order
    from carryon_standalone.cli.cluster import Cluster
    from carryon_standalone.cli.sending import Outcome

_FOLLOW: Final = "follow it with `carryon get {name} -w`"


def pause(
    where: Where,
    name: NameOrMany = None,
    selector: Selector = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", help="Carry on by itself at this time: 2026-12-01T06:00 (local), ...Z, or 8h from now."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Stop the pods of a job and free the machine; finished work is kept."""
    from carryon_jobs import orders

    _act(where, name, selector, orders.pause(until), "carry on with `carryon resume {name}`", as_json)


def resume(
    where: Where,
    name: NameOrMany = None,
    selector: Selector = None,
    check_artifacts: Annotated[
        bool,
        typer.Option("--check-artifacts", help="Of an ended job: make again what is gone from its bucket."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Carry on with a paused, cancelled or failed job: what is missing is made, failed units get a new budget."""
    from carryon_jobs import orders

    _act(where, name, selector, orders.resume(check_artifacts=check_artifacts), _FOLLOW, as_json)


def restart(where: Where, name: NameOrMany = None, selector: Selector = None, as_json: Json = False) -> None:
    """Replace the pods of a job that looks stuck; they go on from their checkpoints."""
    from carryon_jobs import orders

    _act(where, name, selector, orders.restart(), _FOLLOW, as_json)


def cancel(where: Where, name: NameOrMany = None, selector: Selector = None, as_json: Json = False) -> None:
    """Stop a job at once, without waiting for checkpoints; finished work is kept."""
    from carryon_jobs import orders

    _act(where, name, selector, orders.cancel(), "carry on all the same with `carryon resume {name}`", as_json)


def retry(
    where: Where,
    name: NameOrMany = None,
    units: Annotated[
        list[str] | None,
        typer.Argument(help="Failed units, as stage/item, stage/9-11 or stage; all without it.", show_default=False),
    ] = None,
    selector: Selector = None,
    as_json: Json = False,
) -> None:
    """Give units that failed for good new attempts, while the rest of the job goes on."""
    from carryon_jobs import orders

    _act(where, name, selector, orders.retry(units or ()), _FOLLOW, as_json)


def redo(
    where: Where,
    name: Name,
    unit: Annotated[str, typer.Argument(help="One unit, as stage/item.", show_default=False)],
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Its new seed.", show_default="a random one, unless --param is given"),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="NAME=VALUE: another value of the item's param at this stage; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make one unit anew, with another seed or other params; what it made before is kept."""
    from carryon_jobs import acting, orders

    order = orders.redo(unit, acting.params_of(param or ()), seed)
    _act(where, name, None, order, _FOLLOW, as_json)


def approve(
    where: Where,
    name: Name,
    stage: Annotated[str, typer.Argument(help="Stage that asks for approval.", show_default=False)],
    items: Annotated[
        list[str] | None, typer.Argument(help="Items that may enter it, by id or index.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All items, those to come among them.")] = False,
    as_json: Json = False,
) -> None:
    """Let items enter a stage that waits for a person's word."""
    from carryon_jobs import orders

    if everything == bool(items):
        raise CommandError("name the items that may go on, or say --all", USAGE)
    _act(where, name, None, orders.approve(stage, items or (), everything=everything), _FOLLOW, as_json)


def delete(
    where: Where, name: NameOrMany = None, selector: Selector = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Delete a job and its pods; artifacts stay, unless the job says output.onDelete: Delete."""
    from carryon_jobs import orders
    from carryon_jobs.view import JobView
    from carryon_standalone.cli.sending import Outcome

    one, cluster = _one(name, selector), where.cluster()
    jobs = [cluster.job(one)] if one is not None else cluster.jobs(selector)
    views = {view.name: view for view in map(JobView.of, jobs)}
    if not yes and views:
        named = ", ".join(f"{view.name} ({view.phase}, {view.progress or 'no units yet'})" for view in views.values())
        if not sys.stdin.isatty():
            raise CommandError(f"deleting {', '.join(views)} takes a yes: add --yes", USAGE)
        typer.confirm(f"delete {named}?", abort=True)

    def gone(name: str) -> tuple[Outcome, str]:
        if name not in views:  # it came after the question
            return Outcome.REFUSED, "it is new: ask again"
        cluster.delete(name)
        view = views[name]
        return Outcome.ACCEPTED, orders.deleted(view) + (f" in {view.artifacts}" if view.artifacts else "")

    if one is None:
        _each(cluster, selector or "", gone, as_json)
        return
    _, sentence = gone(one)
    typer.echo(json.dumps({"name": one, "deleted": True}) if as_json else sentence)


def actions(where: Where, name: Name, as_json: Json = False) -> None:
    """Show what can be done to a job now, and why or why not."""
    from carryon_jobs import acting
    from carryon_jobs.job import Job
    from carryon_standalone.cli import render
    from carryon_standalone.cli.printing import print_rich

    cluster = where.cluster()
    found = acting.verdicts_on(Job(cluster.job(name), cluster.secret))
    if as_json:
        said = {
            action.value: {
                "possible": made.possible,
                "already": made.already,
                "reason": made.reason,
                "action": made.action,
                "label": made.label,
            }
            for action, made in found.items()
        }
        typer.echo(json.dumps(said, indent=2))
        return
    print_rich(render.actions_table(found))


def _act(where: Where, name: str | None, selector: str | None, order: Order, hint: str, as_json: bool) -> None:
    """Carry out an order on one job, or on each that has the labels, and say what came of it."""
    from carryon_standalone.cli import sending

    one, cluster = _one(name, selector), where.cluster()

    def acted(name: str) -> tuple[Outcome, str]:
        answer = sending.act(cluster, name, order)
        return sending.Outcome.ALREADY if answer.already else sending.Outcome.ACCEPTED, answer.said

    if one is None:
        _each(cluster, selector or "", acted, as_json)
        return
    answer = sending.act(cluster, one, order)
    if as_json:
        typer.echo(json.dumps(answer.job, indent=2))
    elif answer.already:
        typer.echo(as_typed(f"nothing to do: {answer.said}"))
    else:
        typer.echo(as_typed(f"{answer.said}; {hint.format(name=one)}"))


def _one(name: str | None, selector: str | None) -> str | None:
    """The job that was named; None where labels were."""
    if (name is None) == (selector is None):
        raise CommandError("name one job, or say with -l which labels the jobs have", USAGE)
    return name


def _each(cluster: Cluster, selector: str, do: Callable[[str], tuple[Outcome, str]], as_json: bool) -> None:
    """Act on each job that has the labels; exit code 1 where it did not work for one of them."""
    from dataclasses import asdict

    from carryon_standalone.cli import sending

    results = []
    for result in sending.each_of(cluster, selector, do):
        results.append(result)
        if not as_json:
            typer.echo(as_typed(f"{result.name}: {result.outcome.value}: {result.detail}"))
    if as_json:
        typer.echo(json.dumps({"results": [asdict(each) for each in results]}, indent=2))
    elif not results:
        typer.echo(f"no job in namespace {cluster.namespace} has the labels {selector}", err=True)
    raise typer.Exit(0 if all(each.outcome in sending.GOOD for each in results) else FAILED)


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (
    pause,
    resume,
    restart,
    cancel,
    retry,
    redo,
    approve,
    delete,
    actions,
)
