"""The reference page of what is certified."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import diffusers

from carryon_worker.certify import Control, Verdict
from certification import untried
from zoo.entry import Entry, Sampler
from zoo.samplers import OFFSET

_LIBRARIES: Final = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
_COLUMNS: Final = ("pipeline", "sampler", "calls", "repeatable", "exact", "negative control", "bytes a call")
_INTRODUCTION: Final = """# What is certified

<!-- Made by `make certify`: do not edit. -->

A pipeline is **certified** with a sampler if, with {versions} on {device}: two uninterrupted units, one with a journal
and one without, came out the same to the bit; a unit that was killed three times, twice by SIGKILL and right before its
last call by SIGTERM, went on in new processes and came out the same to the bit, with every call that had been kept
answered from the journal and none of them computed twice; and a journal with other numbers in it was
refused, or changed what came out.

The models are tiny, with random weights, built in code: what is certified is the pipeline's and the sampler's code with
these versions, not a GPU. For your own model on your own machine there is `carryon certify`.

**{pipelines} pipeline classes with {pairs} pairs of pipeline and sampler are certified; wrong answers: {wrong}.**

"""
_NOT_CERTIFIED: Final = """
## What is not certified

A pipeline that is not certified still runs, and is resumed as any other: nobody has looked whether that is exact.
FreeInit of AnimateDiff and the caches of transformers are switched on by methods, for which a job has no field.

"""


@dataclass(frozen=True)
class Row:
    """One pipeline with one sampler.

    Attributes:
        entry: Of the zoo.
        sampler: One of its samplers.
        verdict: What was found out.
    """

    entry: Entry
    sampler: Sampler
    verdict: Verdict

    @property
    def wrong(self) -> bool:
        """Whether a resumed unit came out as it should not have, or was computed twice."""
        return self.verdict.exact is False or self.verdict.repeatable is False or self.verdict.recomputed > 0

    @property
    def line(self) -> str:
        """For people who wait."""
        found = "certified" if self.verdict.certified else self.verdict.problem
        return f"{self.pipeline}, {self.title}: {found}"

    @property
    def pipeline(self) -> str:
        """Its class, and what tells it from others of that class."""
        return ", ".join(filter(None, [self.entry.pipeline, self.entry.note]))

    @property
    def title(self) -> str:
        """The sampler's class, and what is set besides the training's noise."""
        config = {name: value for name, value in self.sampler.config.items() if name not in OFFSET}
        return " ".join([self.sampler.kind, *(f"{name}={value}" for name, value in config.items())])

    @property
    def cells(self) -> Sequence[str]:
        verdict = self.verdict
        yes: Mapping[bool | None, str] = {True: "yes", False: "**no**", None: ""}
        return (
            self.pipeline,
            self.title,
            str(verdict.calls),
            yes[verdict.repeatable],
            yes[verdict.exact],
            {Control.CHANGED: "another result", Control.REFUSED: "refused"}[verdict.control],
            f"{verdict.bytes / verdict.calls:,.0f}",
        )


def certified_classes(rows: Iterable[Row]) -> list[str]:
    """Pipeline classes that are certified with each of their samplers that was tried."""
    found: dict[str, bool] = {}
    for row in rows:
        found[row.entry.pipeline] = found.get(row.entry.pipeline, True) and row.verdict.certified
    return sorted(name for name, each in found.items() if each)


def of(rows: Sequence[Row]) -> str:
    """The page.

    Args:
        rows: Everything that was tried.
    """
    good = [row for row in rows if row.verdict.certified]
    versions = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    text = _INTRODUCTION.format(
        versions=f"Python {platform.python_version()}, {versions}",
        device="CPUs",
        pipelines=len(certified_classes(rows)),
        pairs=len(good),
        wrong=sum(row.wrong for row in rows),
    )
    text += _table(_COLUMNS, (row.cells for row in good)) + _NOT_CERTIFIED
    bad = [row for row in rows if not row.verdict.certified]
    if bad:
        text += "Tried, and not certified:\n\n"
        text += _table(("pipeline", "sampler", "why"), ((row.pipeline, row.title, row.verdict.problem) for row in bad))
        text += "\n"
    text += "Not tried:\n\n" + _table(("pipelines", "why"), _untried({row.entry.pipeline for row in rows}))
    return text


def _untried(tried: set[str]) -> Iterable[tuple[str, str]]:
    left = {name for name in dir(diffusers) if name.endswith("Pipeline")} - tried - untried.BASES
    reasons: dict[str, list[str]] = {}
    for name in sorted(left):
        reasons.setdefault(untried.why(name), []).append(name)
    for why, names in sorted(reasons.items(), key=lambda each: len(each[1])):
        yield ", ".join(names), why


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
