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
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import IO, TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from carryon_worker.generators.foresight import Doubt

_log = logging.getLogger(__name__)

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
    for unit, doubt in _doubts(units):
        if doubt.problem is None:
            unchecked[unit.stage, doubt.message] = Unchecked(stage=unit.stage, message=doubt.message)
            continue
        key = (unit.stage, doubt.parameter, doubt.problem)
        found = findings.setdefault(
            key,
            Finding(
                stage=unit.stage,
                parameter=doubt.parameter,
                problem=doubt.problem,
                message=doubt.message,
                items=[],
                count=0,
            ),
        )
        found.count += 1
        if len(found.items) < _ITEMS:
            found.items.append(unit.item)
        if doubt.extent > worst.setdefault(key, doubt.extent):
            worst[key] = doubt.extent
            found.message = doubt.message
    return Answer(findings=list(findings.values()), unchecked=list(unchecked.values()))


def _doubts(units: list[CheckedUnit]) -> Iterator[tuple[CheckedUnit, Doubt]]:
    doubts: Callable[[Mapping[str, Any]], Iterator[Doubt]] | None = None
    for unit in units:
        config = unit.generate.get("diffusers")
        if config is None:
            continue
        if doubts is None:
            # Seconds, which programs need not wait for.
            from carryon_worker.generators.foresight import Foresight

            doubts = Foresight().doubts
        for doubt in doubts(config):
            yield unit, doubt
