"""The operator's part of docs/reference/metrics.md, made from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from carryon_operator.metrics.catalogue import RESOURCES, SECTIONS, VERBS, Series

_BEGIN: Final = "<!-- Made from carryon_operator.metrics by `make generate`; change the catalogue, not this part. -->\n"
_END: Final = "<!-- Up to here. -->\n"
_MANY: Final = 12
"""Values of a label from which on only some are shown."""


def table() -> str:
    """The tables of all series, as Markdown."""
    return "\n".join("\n".join(_section(title, series)) for title, series in SECTIONS.items())


def page(text: str) -> str:
    """The page with its generated part made anew.

    Raises:
        ValueError: It has no such part.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no part between {_BEGIN.strip()} and {_END.strip()}")
    return f"{before}{begin}\n{table()}\n{end}{after}"


def _section(title: str, series: tuple[Series, ...]) -> Iterator[str]:
    yield from (f"### {title}", "", "| metric | kind | | answers |", "|---|---|---|---|")
    for each in series:
        cells = (_name(each), each.kind, each.about + _values(each), each.answers)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _name(series: Series) -> str:
    return f"`{series.name}{{{','.join(series.labels)}}}`" if series.labels else f"`{series.name}`"


def _values(series: Series) -> str:
    """The values of each label, where they are not too many to read or told already."""
    told = ""
    for label, values in series.labels.items():
        if len(values) <= _MANY or values in (VERBS, RESOURCES):
            told += f" `{label}`: " + ", ".join(f"`{value}`" for value in values) + "."
    return told


def main() -> None:
    """Write that part of the page."""
    path = Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md"
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
