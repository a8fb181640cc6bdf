"""The commands about the control plane of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from carryon_standalone.cli.options import Data, Gpus, Output

if TYPE_CHECKING:
    from rich.console import Console

    from carryon_standalone.supervisor import Ready


def up(
    data: Data = None,
    output: Output = None,
    gpus: Gpus = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
) -> None:
    """Start the control plane of this machine; Ctrl-C stops it."""
    from carryon_standalone import launch
    from carryon_standalone.cli import paging
    from carryon_standalone.cli.running import spinner
    from carryon_standalone.home import Home
    from carryon_standalone.supervisor import Options

    home, options = Home.of(data), Options(output, gpus)
    if detach:
        with spinner(_console(), f"starting the control plane in {home.root}"):
            started = launch.ensure_running(home, options)
        typer.echo(f"the control plane in {home.root} {'is up' if started else 'was up already'}")
        typer.echo(f"export KUBECONFIG={home.kubeconfig}")
        address = paging.address(home)
        if address is not None:
            typer.echo(f"page: {address} (`{home.command('page')}` opens it, and signs in)")
        return
    import asyncio

    from carryon_standalone import supervisor

    asyncio.run(supervisor.run(home, options, typer.echo, _welcome))


def down(data: Data = None) -> None:
    """Stop the control plane of this machine; unfinished work carries on when it is started again."""
    from carryon_standalone import launch
    from carryon_standalone.cli.running import spinner
    from carryon_standalone.home import Home

    home = Home.of(data)
    with spinner(_console(), f"stopping the control plane in {home.root}"):
        stopped = launch.stop(home)
    typer.echo(f"the control plane in {home.root} {'is stopped' if stopped else 'was not running'}")


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def page(
    data: Data = None,
    show: Annotated[bool, typer.Option("--print", help="Print the address that signs in, and open nothing.")] = False,
) -> None:
    """Open the page of this machine's control plane in the browser, signed in."""
    from carryon_standalone.cli import paging
    from carryon_standalone.home import Home

    home = Home.of(data)
    if show:
        typer.echo(paging.signing_in(home))
        return
    address = paging.open_page(home)
    typer.echo(f"the page is open at {address}")


def _welcome(ready: Ready) -> None:
    from carryon_standalone.cli import paging

    page = f"  page        {paging.signing_in(ready.home)}\n" if ready.page is not None else ""
    typer.echo(
        f"\nCarryon is up at {ready.server}\n"
        f"{page}"
        f"  artifacts   {ready.output}\n"
        f"  logs        {ready.home.logs}\n\n"
        f"  export KUBECONFIG={ready.home.kubeconfig}\n"
        f"  carryon run job.yaml\n\n"
        f"Ctrl-C stops it; the next start carries on.\n"
    )


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (up, down, page)
