"""The documentation as tests read it: its pages, the code blocks on them, and the commands in those."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_OPERATORS: Final = ("&&", "||", "<<", ">>", "2>", "|", ";", ">", "<", "&")
_CONTINUE: Final = ("&&", "||", "|", ";", "&")
"""Between two commands; other operators lead to or from a file."""


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: Where it is.
        line: Of its opening fence, from 1.
        language: What its fence says; empty where it says nothing.
        text: Without its fences.
    """

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        """`docs/tutorial.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command as a shell reads it, before it puts in variables.

    Attributes:
        words: Program and arguments, without quotes.
        variables: Those that are set for it, or for the shell where there are no words.
        stdin: The document after `<<`; None where there is none.
        files: That it reads from or writes to by `<` and `>`.
    """

    words: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    stdin: str | None = None
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(self.words)


class Unreadable(ValueError):
    """A page or a command is not written as tests can read it; the message says what to change."""


class Wrong(Exception):
    """A command that is shown would not do; the message says why."""


def pages() -> list[Path]:
    """Every page that people read: of the repository's front, the documentation, the examples and the chart."""
    found = [*ROOT.glob("*.md")]
    for folder in ("docs", "examples", "charts"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(found)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def blocks() -> tuple[Block, ...]:
    """All code blocks of all pages, in order.

    Raises:
        Unreadable: A block has no end, or is fenced in a way that is not looked for.
    """
    return tuple(block for page in pages() for block in read_blocks(page, page.read_text(encoding="utf-8")))


def read_blocks(page: Path, text: str) -> Iterator[Block]:
    """Code blocks of one page; see `blocks`."""
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        fence = re.match(r"( *)(`{3,}|~{3,})(.*)", line)
        if opened is None and fence:
            if fence[2] != "```":
                raise Unreadable(f"{page}:{number}: fence blocks with three backticks")
            opened, lines = (number, fence[1], fence[3].strip()), []
        elif opened is not None and fence and fence[2] == "```" and not fence[3].strip():
            begun, indent, language = opened
            yield Block(page, begun, language, "".join(f"{each.removeprefix(indent)}\n" for each in lines))
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise Unreadable(f"{page}:{opened[0]}: this block has no end")


def commands_of(block: Block) -> list[Command]:
    """Commands of a block of a shell's (`sh`), or of a session with its answers (`console`, after `$ `)."""
    text = block.text
    if block.language == "console":
        text = "".join(f"{line[2:]}\n" for line in text.split("\n") if line.startswith("$ "))
    return commands(text)


def commands(script: str) -> list[Command]:
    """What a shell would run, in order; commands in `$(...)` before the one that they are in.

    Raises:
        Unreadable: Quotes that do not end, loops and conditions.
    """
    found: list[Command] = []
    reader = _Reader(script)
    while (command := reader.command()) is not None:
        for word in (*command.words, *command.variables.values()):
            for nested in re.findall(r"\$\(([^()]*)\)", word):
                found += commands(nested)
        if command.words and command.words[0] in ("for", "while", "if", "case", "function"):
            raise Unreadable(f"{command}: show commands, not programs")
        found.append(command)
    return found


class _Reader:
    """Reads one command after the other."""

    def __init__(self, script: str) -> None:
        self._script = script.replace("\\\n", " ")
        self._at = 0

    def command(self) -> Command | None:
        words: list[str] = []
        variables: dict[str, str] = {}
        files: list[str] = []
        stdin, end = None, ""
        leads = ""
        while self._at < len(self._script):
            token = self._token()
            if token in ("\n", *_CONTINUE):
                if token == "\n" and end:
                    stdin, end = self._document(end), ""
                if words or variables:
                    return Command(tuple(words), variables, stdin, tuple(files))
            elif token in _OPERATORS:
                leads = token
            elif leads:
                if leads == "<<":
                    end = token
                else:
                    files.append(token)
                leads = ""
            elif not words and (assigned := re.match(r"([A-Za-z_]\w*)=(.*)", token, re.DOTALL)):
                variables[assigned[1]] = assigned[2]
            elif token:
                words.append(token)
        return Command(tuple(words), variables, stdin, tuple(files)) if words or variables else None

    def _token(self) -> str:
        """The next word, operator or end of a line; empty after the last."""
        while self._here() in (" ", "\t"):
            self._at += 1
        if self._here() == "#":
            self._at = self._script.find("\n", self._at) % (len(self._script) + 1)
        if self._here() == "\n":
            self._at += 1
            return "\n"
        for operator in _OPERATORS:
            if self._script.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        made = ""
        while (
            (here := self._here())
            and here not in " \t\n"
            and not any(self._script.startswith(each, self._at) for each in _OPERATORS if each != "2>")
        ):
            if here in "'\"":
                made += self._quoted(here)
            elif self._script.startswith("$(", self._at):
                made += self._until(")")
            else:
                made += here
                self._at += 1
        return made

    def _quoted(self, quote: str) -> str:
        """What stands between quotes; `$(...)` in double ones is kept whole."""
        begun, made = self._at, ""
        self._at += 1
        while (here := self._here()) != quote:
            if not here:
                raise Unreadable(f"no end of {self._script[begun : begun + 20]}")
            if quote == '"' and self._script.startswith("$(", self._at):
                made += self._until(")")
                continue
            if quote == '"' and here == "\\":
                self._at += 1
                here = self._here()
            made += here
            self._at += 1
        self._at += 1
        return made

    def _until(self, last: str) -> str:
        end = self._script.find(last, self._at)
        if end < 0:
            raise Unreadable(f"no end of {self._script[self._at : self._at + 20]}")
        made, self._at = self._script[self._at : end + 1], end + 1
        return made

    def _document(self, end: str) -> str:
        lines = []
        while self._at < len(self._script):
            line, _, _ = self._script[self._at :].partition("\n")
            self._at += len(line) + 1
            if line == end:
                return "".join(f"{each}\n" for each in lines)
            lines.append(line)
        raise Unreadable(f"the document after << has no end {end}")

    def _here(self) -> str:
        return self._script[self._at : self._at + 1]
