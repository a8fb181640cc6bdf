"""docs/reference/cli.md, made from the commands themselves: what is typed is what people read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from carryon_standalone.cli import app

_MACHINE: Final = ("up", "down", "page", "certify")
_CLUSTER: Final = ("data", "kubeconfig", "context", "namespace")
_INTRO: Final = """\
# Commands

<!-- Made from carryon_standalone.cli by `make generate`; change the commands, not this file. -->

`carryon COMMAND --help` shows the same. What the commands do, and which control plane they mean, is told in
[standalone](standalone.md); what can be done to a job when, in [actions](actions.md).

**kubectl.** `kubectl carryon COMMAND` is the same beside kubectl, for all commands but {machine}:
installed with the package as the plug-in `kubectl-carryon`. It talks to the cluster that kubectl talks to
($KUBECONFIG, else ~/.kube/config) and takes `--kubeconfig`, `--context` and `--namespace` before or after the command.

**Several jobs.** Commands with `-l` act on every job with these labels, print a line for each
(`NAME: accepted|already|refused|forbidden|notFound|failed: why`; with `--json` the `results` that the API's `/batch`
answers), and end with exit code 1 where one of them did not work.

**Completion.** `carryon --install-completion` teaches your shell commands and options. Under kubectl they come with
kubectl's own (`source <(kubectl completion bash)`), which asks `kubectl_complete-carryon`: it is installed beside the
plug-in.

**Exit codes.** 0 done, or it is so already; 1 failed or not possible; 2 wrong usage; 130 after Ctrl-C.

## Options that say which cluster

For every command but {machine}:

{cluster}
"""


def render() -> str:
    """The page as Markdown: a section for each command."""
    # Typer's own classes: its stubs show none of it.
    group: Any = typer.main.get_command(app.carryon())
    one = group.commands["get"]
    shared = "\n".join(_row(each) for each in one.params if each.name in _CLUSTER)
    machine = ", ".join(f"`{name}`" for name in _MACHINE[:-1]) + f" and `{_MACHINE[-1]}`"
    intro = _INTRO.format(machine=machine, cluster=f"{_HEAD}\n{shared}")
    return "\n".join([intro, *(part for name, command in group.commands.items() for part in _section(name, command))])


_HEAD: Final = "| | | |\n|---|---|---|"


def _section(name: str, command: Any) -> Iterator[str]:
    shown = [each for each in command.params if name in _MACHINE or each.name not in _CLUSTER]
    arguments = " ".join(_argument(each) for each in shown if each.param_type_name == "argument")
    yield f"## {name}\n"
    yield f"`carryon {name}{' ' if arguments else ''}{arguments}`\n"
    yield "\n\n".join(" ".join(part.split()) for part in command.help.split("\n\n")) + "\n"
    if shown:
        yield "\n".join([_HEAD, *map(_row, shown)]) + "\n"


def _argument(parameter: Any) -> str:
    word = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return word if parameter.required else f"[{word}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        named = f"`{_argument(parameter)}`"
    else:
        named = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
    return f"| {named} | {_default(parameter)} | {(parameter.help or '').replace('|', chr(92) + '|')} |"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default in (None, False, ()) or callable(parameter.default):
        return ""
    return f"`{getattr(parameter.default, 'value', parameter.default)}`"


def main() -> None:
    """Write the page."""
    Path("docs/reference/cli.md").write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
