"""docs/reference/operator.md, made from the settings themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from carryon_operator.config import SETTINGS

_INTRO: Final = """\
# The operator

<!-- Made from carryon_operator.config by `make generate`; change the settings, not this file. -->

`carryon-operator` watches jobs and launches their pods. Each setting is a flag and an environment variable; the flag
goes before the variable, and one that is empty counts as not given. A value that can't work ends it at once with a
sentence that says what it should be.
How to choose limits and caps: [size the operator](../how-to/size-the-operator.md).

| flag | variable | meaning; default |
|---|---|---|
"""


def render(settings: Iterable[tuple[str, str, str]] = SETTINGS) -> str:
    """The page as Markdown."""
    rows = (
        f"| `{flag}` | `{variable}` | {meaning.replace('|', chr(92) + '|')} |\n" for flag, variable, meaning in settings
    )
    return _INTRO + "".join(rows)


if __name__ == "__main__":
    page = Path(__file__).parents[2] / "docs" / "reference" / "operator.md"
    page.write_text(render(), encoding="utf-8")
