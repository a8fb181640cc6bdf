"""Verdicts of a certification for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

_MEANING: Final[Mapping[bool | None, str]] = {None: "-", True: "yes", False: "no"}
Verdict: TypeAlias = Mapping[str, Any]


def table(verdicts: Sequence[Verdict]) -> RenderableType:
    """What was found, what a checkpoint costs, and what was in the way."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("PIPELINE", "SCHEDULER", "VERDICT", "REPEATABLE", "RESUME EXACT", "CONTROL"):
        made.add_column(column)
    for column in ("CALLS", "ANSWERED", "COMPUTED AGAIN", "PER CALL", "JOURNAL", "WAITED", "REPLAY/100", "TO DURABLE"):
        made.add_column(column, justify="right")
    for verdict in verdicts:
        # Brackets are no markup here.
        made.add_row(*map(Text, _cells(verdict)))
    return Group(made, *_sentences(verdicts))


def _cells(verdict: Verdict) -> Iterator[str]:
    yield verdict["pipeline"]
    yield verdict["scheduler"]
    yield "certified" if verdict["certified"] else "NOT CERTIFIED"
    yield _MEANING[verdict["repeatable"]]
    yield _MEANING[verdict["exact"]]
    yield verdict["control"] or "-"
    if not verdict["bytes"]:
        yield from (str(verdict["calls"] or "-"), *["-"] * 7)
        return
    yield str(verdict["calls"])
    yield str(verdict["replayed"])
    yield str(verdict["recomputed"])
    yield _size(verdict["bytes"] / verdict["calls"])
    yield _size(verdict["bytes"])
    yield f"{verdict['waited']:.3f} s"
    yield f"{verdict['replay']:.2f} s"
    yield f"{verdict['durable']:.2f} s"


def _sentences(verdicts: Sequence[Verdict]) -> Iterator[Text]:
    for verdict in verdicts:
        if verdict["problem"]:
            title = ", ".join(part for part in (verdict["pipeline"], verdict["scheduler"]) if part)
            yield Text(f"\n{title or 'model'}: {verdict['problem']}")
    for verdict in verdicts[:1]:
        if verdict["device"]:
            versions = ", ".join(f"{name} {number}" for name, number in verdict["versions"].items())
            yield Text(f"\non {verdict['device']}; {versions}")


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
