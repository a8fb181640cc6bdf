"""Sentences name what to type next; under kubectl that begins with `kubectl`."""

from __future__ import annotations

import re
from typing import Final

from carryon_standalone.cli.options import program

VERBS: Final = (  # of those that kubectl has too
    *("run", "apply", "create", "edit", "get", "describe", "status", "logs", "delete", "units"),
    *("validate", "try", "pause", "resume", "restart", "cancel", "retry", "redo", "approve", "actions", "analytics"),
    *("support", "export", "import", "download", "upload"),
)
_COMMAND: Final = re.compile(rf"(?<![\w./-])(?<!kubectl )carryon (?=(?:{'|'.join(VERBS)})\b)")


def as_typed(sentence: str) -> str:
    """A sentence with its commands as they are typed here: `carryon resume NAME`, or `kubectl carryon resume NAME`."""
    return typed_as(sentence, program())


def typed_as(sentence: str, name: str) -> str:
    """A sentence with its commands as a program of this name."""
    return _COMMAND.sub(f"{name} ", sentence)
