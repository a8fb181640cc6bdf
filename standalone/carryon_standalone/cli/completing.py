"""What kubectl asks for when somebody presses Tab after `kubectl carryon`: the program `kubectl_complete-carryon`.

kubectl calls it with the words typed after the plug-in's name, the last of them unfinished, and reads a suggestion a
line, with its description behind a tab, then a line with a colon and a number: what the shell does with them. See
https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/ and cobra's ShellCompDirective.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, get_args

import typer

from carryon_standalone.cli import app


class Directive(IntEnum):
    """What a shell does with suggestions."""

    FILES = 0
    """Offers files where there are none."""
    NO_FILES = 4


def main() -> None:
    """Answer kubectl."""
    suggested, directive = suggestions(sys.argv[1:-1], sys.argv[-1] if len(sys.argv) > 1 else "")
    for each in suggested:
        print(each)
    print(f":{directive.value}")


def suggestions(words: Sequence[str], unfinished: str) -> tuple[list[str], Directive]:
    """What may stand in the place of the unfinished word. Pure.

    Args:
        words: Before it, without "kubectl carryon".
        unfinished: "" where nothing of it is typed yet.

    Returns:
        Words, each with its description behind a tab; and what the shell does with them.
    """
    group: Any = typer.main.get_command(app.kubectl_carryon())
    name, rest = _command(group, words)
    command = group if name is None else group.commands.get(name)
    if command is None or "--" in words:
        return [], Directive.FILES
    wanted = _takes(command, rest[-1]) if rest else None
    if wanted is not None:
        return _values(wanted, unfinished)
    if unfinished.startswith("-"):
        option, sign, value = unfinished.partition("=")
        if sign and (wanted := _takes(command, option)) is not None:
            found, directive = _values(wanted, value)
            return [f"{option}={each}" for each in found], directive
        return sorted(_options(command, unfinished)), Directive.NO_FILES
    if name is None:
        found = [
            f"{each}\t{_first_line(made.help)}"
            for each, made in sorted(group.commands.items())
            if each.startswith(unfinished)
        ]
        return found, Directive.NO_FILES
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    return [], Directive.FILES if any(map(_is_path, arguments)) else Directive.NO_FILES


def _command(group: Any, words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """The command that was typed, and the words after it; without one, all words."""
    takes_next = False
    for at, word in enumerate(words):
        if takes_next:
            takes_next = False
        elif word.startswith("-"):
            takes_next = _takes(group, word) is not None
        else:
            return word, words[at + 1 :]
    return None, words


def _takes(command: Any, word: str) -> Any:
    """The option whose value comes after a word; None where none does."""
    for parameter in command.params:
        if parameter.param_type_name == "option" and word in parameter.opts and not parameter.is_flag:
            return parameter
    return None


def _values(option: Any, unfinished: str) -> tuple[list[str], Directive]:
    kind = _kind(option)
    if issubclass(kind, Enum):
        found = [str(each.value) for each in kind if str(each.value).lower().startswith(unfinished.lower())]
        return found, Directive.NO_FILES
    return [], Directive.FILES if _is_path(option) else Directive.NO_FILES


def _options(command: Any, unfinished: str) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "option":
            for name in (*parameter.opts, *parameter.secondary_opts):
                if name.startswith(unfinished) and (name.startswith("--") or unfinished == "-"):
                    yield f"{name}\t{_first_line(parameter.help)}"


def _is_path(parameter: Any) -> bool:
    return issubclass(_kind(parameter), Path)


def _kind(parameter: Any) -> type[Any]:
    """What a parameter takes; of several, each of them."""
    annotation = parameter.type_descriptor.annotation
    kind = next(iter(get_args(annotation)), annotation)
    return kind if isinstance(kind, type) else str


def _first_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
