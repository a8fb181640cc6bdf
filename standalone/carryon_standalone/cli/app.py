"""All commands: `carryon`, and what of it makes sense beside kubectl. Nothing slow is loaded here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import typer

from carryon_standalone.cli import (
    carrying,
    certifying,
    control,
    editing,
    looking,
    machine,
    reporting,
    submitting,
    telling,
)
from carryon_standalone.cli.options import at_cluster, before_the_command, beside_kubectl, takes_where

_HELP: Final = (
    "Generation jobs that carry on: kill anything, at any moment, and nothing that is finished is made again."
)
_ON_JOBS: Final[tuple[Callable[..., Any], ...]] = (
    *submitting.COMMANDS,
    editing.edit,
    *looking.COMMANDS,
    *telling.COMMANDS,
    *control.COMMANDS,
    *carrying.COMMANDS,
    reporting.support,
)


def carryon() -> typer.Typer:
    """The `carryon` command."""
    return _app("carryon", (*machine.COMMANDS, *_ON_JOBS, certifying.certify), at_cluster)


def kubectl_carryon() -> typer.Typer:
    """`kubectl carryon`: the commands about jobs, with the options and the defaults of kubectl."""
    made = _app("kubectl carryon", _ON_JOBS, beside_kubectl)
    made.callback()(before_the_command)
    return made


def _app(
    name: str, commands: tuple[Callable[..., Any], ...], placed: Callable[[Callable[..., None]], Callable[..., None]]
) -> typer.Typer:
    made = typer.Typer(
        name=name,
        no_args_is_help=True,
        # Shells complete words after the name of a program: under kubectl that is kubectl.
        add_completion=name == "carryon",
        pretty_exceptions_enable=False,
        help=_HELP,
    )
    for command in commands:
        function = placed(command) if takes_where(command) else command
        made.command(name=command.__name__.rstrip("_"))(function)
    return made
