"""Arguments of a pipeline's call, checked before anything is computed."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from carryon_worker.failures import BadRequest

OURS: Final = frozenset(
    {
        "callback",
        "callback_on_step_end",
        "callback_on_step_end_tensor_inputs",
        "callback_steps",
        "generator",
        "output_type",
        "return_dict",
    }
)
"""Arguments that the worker sets itself."""
UNSEEN: Final = object()
"""Stands for a value that fits anything, because it is not known before the unit is made: a file, for example."""
_SCALARS: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


class Kind(StrEnum):
    """What is wrong with a parameter."""

    UNKNOWN = "unknown"
    RESERVED = "reserved"
    WRONG_KIND = "wrongKind"
    MISSING = "missing"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    UNCHECKED = "unchecked"
    """Nothing is known to be wrong: it could not be looked at."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that speaks against calling a pipeline.

    Attributes:
        parameter: Its name; "" where it is about the whole.
        message: A sentence that says what to change.
        extent: How bad it is, among problems of one kind.
    """

    parameter: str
    kind: Kind
    message: str
    extent: int = 0


def accepted(call: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Name -> parameter of everything a pipeline's call takes by name.

    `**kwargs` count for nothing: of 45 pipelines that have them, 43 read deprecated callbacks from them at most, and
    would take a misspelt argument without a word.
    """
    try:
        signature = inspect.signature(call, eval_str=True)
    except NameError:
        # Written for type checkers only: then its types are not compared.
        signature = inspect.signature(call)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name: each for each in signature.parameters.values() if each.kind in by_name and each.name != "self"}


def value_of(call: Callable[..., Any], params: Mapping[str, Any], name: str) -> Any:
    """What an argument of a pipeline's call is: given, or by default."""
    return params[name] if name in params else accepted(call)[name].default


def check(pipeline: str, params: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]) -> None:
    """Make sure that a pipeline can be called with these parameters.

    Raises:
        BadRequest: It can't; names the parameter and what there is instead.
    """
    for problem in problems(pipeline, params, takes):
        raise BadRequest(problem.message)


def problems(pipeline: str, params: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]) -> Iterator[Problem]:
    """Why a pipeline can't be called with these parameters.

    Types are compared only where the pipeline says plainly that it wants a number, a text or a truth value.

    Args:
        pipeline: Its name.
        params: Arguments by name; `UNSEEN` where a value is not known yet.
        takes: What the pipeline accepts.
    """
    names = sorted(takes.keys() - OURS)
    for name, value in params.items():
        if name in OURS:
            yield Problem(name, Kind.RESERVED, f"params.{name} is set by the worker: leave it out")
            continue
        if name not in takes:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            message = f"{pipeline} has no argument {name}: {hint}it takes {', '.join(names)}"
            yield Problem(name, Kind.UNKNOWN, message)
            continue
        wanted = _scalars(takes[name].annotation)
        if wanted and value is not None and value is not UNSEEN and not any(_fits(value, each) for each in wanted):
            what = " or ".join(_SCALARS[each] for each in wanted)
            message = f"params.{name} of {pipeline} must be {what}, not {type(value).__name__}"
            yield Problem(name, Kind.WRONG_KIND, message)
    for name, parameter in takes.items():
        if parameter.default is parameter.empty and name not in params and name not in OURS:
            yield Problem(name, Kind.MISSING, f"{pipeline} needs params.{name}")


def _scalars(annotation: Any) -> tuple[type, ...]:
    """The plain types an annotation allows; empty where it allows anything else."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [_scalars(part) for part in get_args(annotation) if part is not NoneType]
        return tuple(each for part in parts for each in part) if all(parts) else ()
    return (annotation,) if annotation in _SCALARS else ()


def _fits(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, wanted)
