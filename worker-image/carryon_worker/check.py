"""What can be said against units before anything computes: no weights are loaded, nothing is downloaded.

    python -m carryon_worker check < units.json

reads {"units": [{"stage": "clip", "item": "dunes", "generate": {...}}]}, `generate` as workers get it, and writes

    {"findings": [{"stage": "clip", "parameter": "prompt", "problem": "truncated", "message": "...", "items": ["dunes"],
                   "count": 1}],
     "unchecked": [{"stage": "image", "message": "..."}]}

One finding stands for all items of a stage with the same problem: `count` of them, the first five in `items`, and the
message of the worst. Problems are unknown, reserved, wrongKind, missing, truncated and invalid. `unchecked` says what
could not be looked at here, and why.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import IO, Any, Final, Protocol

from pydantic import BaseModel, ValidationError

from carryon_worker.generators.arguments import Kind, Problem

_ITEMS: Final = 5
_UNREADABLE: Final = 2


class CheckedUnit(BaseModel):
    """One unit, as it would be made."""

    stage: str
    item: str
    generate: dict[str, Any]


class Question(BaseModel):
    """What is read."""

    units: list[CheckedUnit]


class Finding(BaseModel):
    """One problem of one parameter in one stage."""

    stage: str
    parameter: str
    problem: str
    message: str
    items: list[str]
    count: int


class Unchecked(BaseModel):
    """Something in a stage that could not be looked at."""

    stage: str
    message: str


class Answer(BaseModel):
    """What is written."""

    findings: list[Finding]
    unchecked: list[Unchecked]


def main(source: IO[str], target: IO[str]) -> int:
    """Read units, write what is found, and return an exit code: 0 whatever is found, 2 where nothing could be read."""
    try:
        question = Question.model_validate_json(source.read())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        print(f"the units can't be read: {'.'.join(map(str, first['loc']))}: {first['msg']}", file=sys.stderr)
        return _UNREADABLE
    # What libraries print is no answer.
    with redirect_stdout(sys.stderr):
        answer = look(question.units)
    json.dump(answer.model_dump(), target)
    target.write("\n")
    return 0


def look(units: list[CheckedUnit]) -> Answer:
    """All that can be said against the units."""
    findings: dict[tuple[str, str, str], Finding] = {}
    worst: dict[tuple[str, str, str], int] = {}
    unchecked: dict[tuple[str, str], Unchecked] = {}
    for unit, problem in _problems(units):
        if problem.kind is Kind.UNCHECKED:
            unchecked[unit.stage, problem.message] = Unchecked(stage=unit.stage, message=problem.message)
            continue
        key = (unit.stage, problem.parameter, problem.kind)
        found = findings.setdefault(
            key,
            Finding(
                stage=unit.stage,
                parameter=problem.parameter,
                problem=problem.kind,
                message=problem.message,
                items=[],
                count=0,
            ),
        )
        found.count += 1
        if len(found.items) < _ITEMS:
            found.items.append(unit.item)
        if problem.extent > worst.setdefault(key, problem.extent):
            worst[key] = problem.extent
            found.message = problem.message
    return Answer(findings=list(findings.values()), unchecked=list(unchecked.values()))


def _problems(units: list[CheckedUnit]) -> Iterator[tuple[CheckedUnit, Problem]]:
    for generator, load in _FORESIGHT.items():
        concerned = [unit for unit in units if unit.generate.get(generator) is not None]
        # Else nothing to import for seconds.
        foresight = load() if concerned else None
        for unit in concerned:
            if isinstance(foresight, Problem):
                yield unit, foresight
            elif foresight is not None:
                for problem in foresight.problems(unit.generate[generator]):
                    yield unit, problem


class _Foresight(Protocol):
    """What a generator would say to a configuration."""

    def problems(self, config: Mapping[str, Any]) -> Iterator[Problem]:
        """All that speaks against it."""
        ...


def _of_diffusers() -> _Foresight | Problem:
    try:
        from carryon_worker.generators.foresight import Foresight
    except ImportError as error:
        return Problem("", Kind.UNCHECKED, f"parameters are not looked at: diffusers can't be loaded here: {error}")
    return Foresight()


def _of_texts() -> _Foresight | Problem:
    try:
        from carryon_worker.generators.language.foresight import TextForesight
    except ImportError as error:
        return Problem("", Kind.UNCHECKED, f"prompts are not looked at: transformers can't be loaded here: {error}")
    return TextForesight()


_FORESIGHT: Final[Mapping[str, Callable[[], _Foresight | Problem]]] = {"diffusers": _of_diffusers, "text": _of_texts}
