"""Settings of a program: each a flag and an environment variable, and one sentence where its value can't work."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn, TypeVar

from carryon_core.messages import StoreConfig

T = TypeVar("T")
D = TypeVar("D")


class Settings:
    """What was given: a flag goes before its variable, and one that is empty counts as not given."""

    def __init__(
        self,
        program: str,
        does: str,
        known: Sequence[tuple[str, str, str]],
        arguments: Sequence[str],
        environ: Mapping[str, str],
    ) -> None:
        """Read flags and variables, not yet what they say.

        Args:
            program: Its name, which every complaint begins with.
            does: What it does, a sentence.
            known: Flag, variable and meaning of each setting. Where that begins with "true: ", the flag alone is true.
            arguments: Of the command line.
            environ: The environment.

        Raises:
            SystemExit: Status 2 for a flag that is not known, 0 after `--help`.
        """
        self._variables = {flag: variable for flag, variable, _ in known}
        self._parser = _Parser(
            prog=program,
            description=f"{does} Each flag can also be set by the environment variable in brackets.",
        )
        for flag, variable, meaning in known:
            switch: dict[str, Any] = {"nargs": "?", "const": "true"} if meaning.startswith("true: ") else {}
            self._parser.add_argument(
                flag,
                dest=flag,
                default=environ.get(variable, ""),
                metavar="VALUE",
                help=f"{meaning} [{variable}]",
                **switch,
            )
        self._given: Mapping[str, str] = vars(self._parser.parse_args(arguments))

    def get(self, flag: str, read: Callable[[str], T], default: D) -> T | D:
        """What a setting says.

        Args:
            flag: Of the setting.
            read: Makes its value of the text; a ValueError says what it must be.
            default: Where it is not given.

        Raises:
            SystemExit: Status 2, after a sentence that says which setting is wrong and what it should be.
        """
        text = self._given[flag]
        if not text:
            return default
        try:
            return read(text)
        except ValueError as error:
            self.refuse(f'{flag} ({self._variables[flag]}) is "{text}": {error}')

    def refuse(self, why: str) -> NoReturn:
        """End the program with status 2, after a sentence."""
        self._parser.error(why)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the list of all flags around it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def default_store(settings: Settings) -> StoreConfig | None:
    """The store of jobs that name no output, as operator and API are both told of it; None where there is none."""
    uri = settings.get("--default-store", _uri, None)
    if uri is None:
        return None
    return StoreConfig(
        uri=uri,
        endpoint=settings.get("--default-store-endpoint", str, None),
        region=settings.get("--default-store-region", str, None),
    )


def _uri(text: str) -> str:
    if not text.startswith(("s3://", "file:///")):
        raise ValueError("it must begin with s3:// or file:///")
    return text.rstrip("/")


def listed(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def count(text: str) -> int:
    """A whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("it must be a whole number of 1 or more")
    return int(text)


def rate(text: str) -> float:
    """A number above 0."""
    try:
        read = float(text)
    except ValueError:
        read = 0.0
    if not 0 < read < float("inf"):
        raise ValueError("it must be a number above 0")
    return read


def true_or_false(text: str) -> bool:
    """True or false."""
    if text not in ("true", "false"):
        raise ValueError("it must be true or false")
    return text == "true"


def folder(text: str) -> PurePosixPath:
    """An absolute path."""
    if not text.startswith("/"):
        raise ValueError("it must be an absolute path")
    return PurePosixPath(text)
