"""The commands that act on a job: each asks the same verdict as status and page, and sends one patch."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carryon_standalone.cli.errors import USAGE, CommandError
from carryon_standalone.cli.options import Context, Data, Json, Kubeconfig, Name, Namespace, connect

if TYPE_CHECKING:
    from carryon_standalone.cli.sending import Answer

_SEEDS: Final = 2**32


def pause(
    name: Name,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", help="Carry on by itself at this time: 2026-12-01T06:00 (local), ...Z, or 8h from now."
        ),
    ] = None,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Stop the pods of a job and free the machine; finished work is kept."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    moment = acting.until(until) if until is not None else None
    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.pause(moment), Action.PAUSE)
    when = f" until {moment}; carry on sooner" if moment is not None else "; carry on"
    _answer(answer, as_json, f"{name} is asked to pause{when} with `carryon resume {name}`")


def resume(
    name: Name,
    check_artifacts: Annotated[
        bool,
        typer.Option("--check-artifacts", help="Of an ended job: make again what is gone from its bucket."),
    ] = False,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Carry on with a paused, cancelled or failed job: what is missing is made, failed units get a new budget."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.resume(check_artifacts=check_artifacts), Action.RESUME)
    _answer(answer, as_json, f"{name} carries on; follow it with `carryon get {name} -w`")


def restart(
    name: Name,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Replace the pods of a job that looks stuck; they go on from their checkpoints."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.restart, Action.RESTART)
    _answer(answer, as_json, f"the pods of {name} are replaced; follow it with `carryon get {name} -w`")


def cancel(
    name: Name,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Stop a job at once, without waiting for checkpoints; finished work is kept."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.cancel, Action.CANCEL)
    _answer(answer, as_json, f"{name} is cancelled; carry on all the same with `carryon resume {name}`")


def retry(
    name: Name,
    units: Annotated[
        list[str] | None,
        typer.Argument(help="Failed units, as stage/item, stage/9-11 or stage; all without it.", show_default=False),
    ] = None,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Give units that failed for good new attempts, while the rest of the job goes on."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.retry(units or ()), Action.RETRY)
    whom = ", ".join(units) if units else "what failed"
    _answer(answer, as_json, f"{name} tries {whom} again; follow it with `carryon get {name} -w`")


def redo(
    name: Name,
    unit: Annotated[str, typer.Argument(help="One unit, as stage/item.", show_default=False)],
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Its new seed. [default: a random one, unless --param is given]")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", help="NAME=VALUE: another value of the item's param at this stage; repeatable."),
    ] = None,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Make one unit anew, with another seed or other params; what it made before is kept."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    params = acting.params_of(param or ())
    if seed is not None or not params:
        params["seed"] = secrets.randbelow(_SEEDS) if seed is None else seed
    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.redo(unit, params), Action.REDO)
    how = ", ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in params.items())
    _answer(answer, as_json, f"{unit} of {name} is made anew with {how}; what it made before is kept")


def approve(
    name: Name,
    stage: Annotated[str, typer.Argument(help="Stage that asks for approval.", show_default=False)],
    items: Annotated[
        list[str] | None, typer.Argument(help="Items that may enter it, by id or index.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All items, those to come among them.")] = False,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Let items enter a stage that waits for a person's word."""
    from carryon_core.actions import Action
    from carryon_jobs import acting
    from carryon_standalone.cli import sending

    if everything == bool(items):
        raise CommandError("name the items that may go on, or say --all", USAGE)
    cluster = connect(data, kubeconfig, context, namespace)
    answer = sending.act(cluster, name, acting.approve(stage, items or (), everything=everything), Action.APPROVE)
    whom = "every item" if everything else ", ".join(items or ())
    _answer(answer, as_json, f"{whom} may enter {stage} of {name}")


def actions(
    name: Name,
    as_json: Json = False,
    data: Data = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Show what can be done to a job now, and why or why not."""
    from carryon_jobs import acting
    from carryon_jobs.job import Job
    from carryon_standalone.cli import render
    from carryon_standalone.cli.printing import print_rich

    cluster = connect(data, kubeconfig, context, namespace)
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


def _answer(answer: Answer, as_json: bool, sentence: str) -> None:
    if as_json:
        typer.echo(json.dumps(answer.job, indent=2))
    elif answer.already is not None:
        typer.echo(f"nothing to do: {answer.already}")
    else:
        typer.echo(sentence)


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (pause, resume, restart, cancel, retry, redo, approve, actions)
