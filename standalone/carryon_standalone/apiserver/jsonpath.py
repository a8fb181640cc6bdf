"""The JSONPath of printer columns: fields, indices, wildcards and equality filters.

Source: "JSONPath Support" in the Kubernetes documentation, as far as printer columns use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

_STEP: Final = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\])+)
      | \[\?\(@\.(?P<key>[\w.-]+)\s*==\s*(?P<quote>["'])(?P<equals>.*?)(?P=quote)\s*\)\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[(?P<quoted>'[^']*'|"[^"]*")\]""",
    re.VERBOSE,
)
Step = Callable[[Any], Iterator[Any]]


def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """A function that finds all values at a path such as `.status.conditions[?(@.type=="Ready")].status`.

    Raises:
        ValueError: The path uses something else.
    """
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = f".{text}"
    steps, at = [], 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            raise ValueError(f"unrecognized JSONPath {path!r} at {text[at:]!r}")
        steps.append(_step(match))
        at = match.end()

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [inner for each in found for inner in step(each)]
        return found

    return find


def _step(match: re.Match[str]) -> Step:
    groups = match.groupdict()
    if groups["index"] is not None:
        return _index(int(groups["index"]))
    if groups["key"] is not None:
        return _equal(groups["key"], groups["equals"])
    if groups["all"] or groups["field"] == "*":
        return _all
    name = groups["quoted"][1:-1] if groups["quoted"] else re.sub(r"\\(.)", r"\1", groups["field"])
    return _field(name)


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(at: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= at < len(value):
            yield value[at]

    return step


def _equal(key: str, wanted: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from (each for each in value if isinstance(each, dict) and str(each.get(key)) == wanted)

    return step


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
