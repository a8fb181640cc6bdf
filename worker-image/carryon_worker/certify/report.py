"""Verdicts as rows of Markdown, for a page that people read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from carryon_worker.certify.verdicts import Verdict

_COLUMNS: Final = (
    "pipeline", "scheduler", "verdict", "repeatable", "resume exact", "negative control", "calls", "answered again",
    "computed again", "bytes a call",
)  # fmt: skip


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A table with a row for each verdict; ends in a line break."""
    lines = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS)), *(_row(_cells(verdict)) for verdict in verdicts)]
    return "\n".join(lines) + "\n"


def _cells(verdict: Verdict) -> Sequence[str]:
    a_call = f"{verdict.bytes / verdict.calls:,.0f}" if verdict.bytes else ""
    return (
        verdict.pipeline,
        verdict.scheduler,
        "certified" if verdict.certified else f"not certified: {verdict.problem}",
        _word(verdict.repeatable),
        _word(verdict.exact),
        str(verdict.control),
        str(verdict.calls or ""),
        str(verdict.replayed or ""),
        str(verdict.recomputed) if verdict.replayed else "",
        a_call,
    )


def _word(holds: bool | None) -> str:
    return "" if holds is None else "yes" if holds else "no"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
