"""Commands that tests give, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """What a command wrote."""

    stdout: str
    stderr: str


Carryon = Callable[..., Said]
"""Gives a command, which must end with exit status `code`: 0 unless it is given."""
