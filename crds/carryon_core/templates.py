"""Templates: Jinja2's syntax for expressions, and an interpreter of our own for the few kinds that are allowed.

Jinja2 parses; nothing is compiled or executed. What may stand in a template is what `_Evaluation` knows: names,
attributes, constants, conditionals and the filters listed in `FILTERS`; everything else is refused when the template
is parsed, whoever wrote it. A value that is exactly one expression keeps the type of what it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from jinja2 import Environment, TemplateSyntaxError, nodes

LONGEST: Final = 64 * 1024
"""Characters of a template, and of what it may become."""
DEEPEST: Final = 50
"""Levels an expression may have: filters, attributes and brackets one in another."""

_SYNTAX: Final = Environment(autoescape=False)
_MARKS: Final = ("{{", "{%", "{#")


class TemplateError(ValueError):
    """A template that can't be read, or that names something which is not there."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """`inputs.STAGE`: the upstream unit's only artifact; `inputs.STAGE['name.png']`: the one of that name.

    Which file that is, only the worker knows: the upstream unit may not be done yet.
    """

    stage: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file that somebody put there: {"file": uri} in params."""

    uri: str


def with_files(value: Any) -> Any:
    """A value in which every {"file": uri}, at any depth, has become a `File`."""
    match value:
        case str() | int():
            return value
        case {"file": str() as uri} if len(value) == 1:
            return File(uri)
        case {"file": File() as file} if len(value) == 1:
            return file
        case Mapping():
            return {key: with_files(inner) for key, inner in value.items()}
        case list() | tuple():
            return [with_files(inner) for inner in value]
    return value


def has_files(value: Any) -> bool:
    """A value holds {"file": uri} somewhere."""
    match value:
        case {"file": str() | File()} if len(value) == 1:
            return True
        case Mapping():
            return any(has_files(inner) for inner in value.values())
        case list() | tuple():
            return any(has_files(inner) for inner in value)
    return isinstance(value, File)


def as_text(value: object) -> str:
    """A value written into a text: JSON for lists and mappings, true and false, nothing for null.

    7.0 is written 7, because the API server may have stored it so.

    Raises:
        TemplateError: The value is a file, or holds one.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, FileRef | File):
        return _no_text(value)
    if isinstance(value, Mapping | list | tuple):
        return _json(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_no_text)


def _no_text(value: object) -> str:
    match value:
        case FileRef(stage=stage):
            name = f"inputs.{stage}"
        case File(uri=uri):
            name = uri
        case _:
            name = type(value).__name__
    raise TemplateError(f"{name} is a file: it must be the whole value, not a part of a text")


def check_length(size: int) -> None:
    """Make sure that what a text becomes is not too long.

    Raises:
        TemplateError: It is.
    """
    if size > LONGEST:
        raise TemplateError(f"the text grows beyond {LONGEST} characters")


def _replace(value: object, old: object, new: object) -> str:
    text, before, after = as_text(value), as_text(old), as_text(new)
    # Before it is made: a few of these in a row could fill any memory.
    check_length(len(text) + text.count(before) * (len(after) - len(before)))
    return text.replace(before, after)


def _join(value: Any, by: object = "") -> str:
    parts, between = [as_text(each) for each in value], as_text(by)
    check_length(sum(map(len, parts)) + len(parts) * len(between))
    return between.join(parts)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "capitalize": lambda value: as_text(value).capitalize(),
    "first": lambda value: value[0],
    "float": float,
    "int": int,
    "join": _join,
    "last": lambda value: value[-1],
    "length": len,
    "lower": lambda value: as_text(value).lower(),
    "replace": _replace,
    "round": lambda value, digits=0: round(float(value), digits),
    "string": as_text,
    "title": lambda value: as_text(value).title(),
    "tojson": _json,
    "trim": lambda value: as_text(value).strip(),
    "upper": lambda value: as_text(value).upper(),
}
"""Filters besides `default`, which also answers for what is not there."""

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "lt": lambda a, b: bool(a < b),
    "lteq": lambda a, b: bool(a <= b),
    "gt": lambda a, b: bool(a > b),
    "gteq": lambda a, b: bool(a >= b),
    "in": lambda a, b: a in b,
    "notin": lambda a, b: a not in b,
}
_ALLOWED: Final = (
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Const,
    nodes.CondExpr,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Compare,
    nodes.Operand,
    nodes.Filter,
    nodes.TemplateData,
)


class _Missing(TemplateError):
    """Something named is not there: what `default` answers for."""


def render(value: Any, scope: Mapping[str, Any]) -> Any:
    """A value with every template in it replaced, at any depth; keys of mappings stay as they are.

    Args:
        value: JSON-like data.
        scope: Names a template may begin with, such as {"item": {...}, "job": {...}}.

    Raises:
        TemplateError: A template is malformed, uses what is not allowed, or names what is not there.
    """
    if isinstance(value, str):
        return _render_text(value, scope)
    if isinstance(value, dict | Mapping):
        return {key: render(inner, scope) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [render(inner, scope) for inner in value]
    return value


def render_parts(text: str, scope: Mapping[str, Any]) -> list[Any]:
    """What a text is made of, in order: what stands between its templates, and what these become.

    Raises:
        TemplateError: As `render`.
    """
    parts = _parse(text)
    return [text] if parts is None else [_evaluate(part, scope) for part in parts]


def is_template(value: object) -> bool:
    """A text with an expression in it.

    Raises:
        TemplateError: It can't be parsed.
    """
    return isinstance(value, str) and _parse(value) is not None


def names(value: Any) -> frozenset[str]:
    """What the templates in a value name: each name with its first attribute, such as "item.prompt" or "inputs".

    Raises:
        TemplateError: A template can't be parsed.
    """
    if isinstance(value, str):
        return frozenset(name for part in _parse(value) or () for name in _names(part))
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return frozenset().union(*(names(each) for each in inner))


def _names(node: nodes.Node) -> Iterator[str]:
    match node:
        case nodes.Name():
            yield node.name
        case nodes.Getattr(node=nodes.Name(name=name), attr=attribute):
            yield f"{name}.{attribute}"
        case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value=key)):
            yield f"{name}.{key}"
        case _:
            for child in node.iter_child_nodes():
                yield from _names(child)


def _render_text(text: str, scope: Mapping[str, Any]) -> Any:
    parts = _parse(text)
    if parts is None:
        return text
    if len(parts) == 1:
        return _evaluate(parts[0], scope)
    whole = "".join(as_text(_evaluate(part, scope)) for part in parts)
    check_length(len(whole))
    return whole


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[nodes.Expr, ...] | None:
    if not any(mark in text for mark in _MARKS):
        return None
    if len(text) > LONGEST:
        raise TemplateError(f"a template must be at most {LONGEST} characters")
    try:
        body = _SYNTAX.parse(text).body
    except TemplateSyntaxError as error:
        raise TemplateError(f"{_excerpt(text)} can't be read: {error.message}") from None
    except RecursionError:
        raise _too_deep(text) from None
    parts: list[nodes.Expr] = []
    for node in body:
        if not isinstance(node, nodes.Output):
            raise TemplateError(f"{_excerpt(text)} uses a statement: only expressions in {{{{ }}}} are allowed")
        for part in node.nodes:
            _allow(part, text, DEEPEST)
            parts.append(part)
    return tuple(parts)


def _allow(node: nodes.Node, text: str, levels: int) -> None:
    if not levels:
        raise _too_deep(text)
    if not isinstance(node, _ALLOWED) and not _is_negative_number(node):
        kind = type(node).__name__.lower()
        raise TemplateError(
            f"{_excerpt(text)} uses {kind}, which is not allowed: use names, attributes, constants, conditionals and"
            f" the filters default, {', '.join(sorted(FILTERS))}"
        )
    if isinstance(node, nodes.Filter):
        if node.name != "default" and node.name not in FILTERS:
            raise TemplateError(
                f"{_excerpt(text)} uses the filter {node.name}, which is not allowed: use default,"
                f" {', '.join(sorted(FILTERS))}"
            )
        if node.kwargs or node.dyn_args or node.dyn_kwargs or node.node is None:
            raise TemplateError(f"{_excerpt(text)}: give the filter {node.name} plain positional arguments")
        if node.name == "default" and len(node.args) > 1:
            raise TemplateError(f"{_excerpt(text)}: give the filter default one value, for what is not there")
    if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
        raise TemplateError(f"{_excerpt(text)}: an index in brackets must be a constant")
    for child in node.iter_child_nodes():
        _allow(child, text, levels - 1)


def _is_negative_number(node: nodes.Node) -> bool:
    match node:
        case nodes.Neg(node=nodes.Const(value=int() | float())):
            return True
    return False


def _evaluate(node: nodes.Node, scope: Mapping[str, Any]) -> Any:
    match node:
        case nodes.TemplateData():
            return node.data
        case nodes.Const():
            return node.value
        case nodes.Name():
            return _member(scope, node.name, "")
        case nodes.Getattr():
            return _member(_evaluate(node.node, scope), node.attr, _name_of(node.node))
        case nodes.Getitem(arg=nodes.Const(value=key)):
            return _member(_evaluate(node.node, scope), key, _name_of(node.node))
        case nodes.CondExpr():
            if _evaluate(node.test, scope):
                return _evaluate(node.expr1, scope)
            return _evaluate(node.expr2, scope) if node.expr2 is not None else ""
        case nodes.And():
            return _evaluate(node.left, scope) and _evaluate(node.right, scope)
        case nodes.Or():
            return _evaluate(node.left, scope) or _evaluate(node.right, scope)
        case nodes.Neg(node=nodes.Const(value=number)):
            return -number
        case nodes.Not():
            return not _evaluate(node.node, scope)
        case nodes.Compare():
            return _compare(node, scope)
        case nodes.Filter():
            return _filter(node, scope)
    raise TemplateError(f"{type(node).__name__.lower()} is not allowed")


def _compare(node: nodes.Compare, scope: Mapping[str, Any]) -> bool:
    left = _evaluate(node.expr, scope)
    for operand in node.ops:
        right = _evaluate(operand.expr, scope)
        try:
            if not _COMPARISONS[operand.op](left, right):
                return False
        except TypeError as error:
            raise TemplateError(f"{_name_of(node.expr)} can't be compared so: {error}") from None
        left = right
    return True


def _filter(node: nodes.Filter, scope: Mapping[str, Any]) -> Any:
    assert node.node is not None
    arguments = [_evaluate(argument, scope) for argument in node.args]
    if node.name == "default":
        try:
            return _evaluate(node.node, scope)
        except _Missing:
            return arguments[0] if arguments else ""
    value = _evaluate(node.node, scope)
    if isinstance(value, FileRef | File):
        raise TemplateError(f"{_name_of(node.node)} is a file: the filter {node.name} can't look into it")
    try:
        made = FILTERS[node.name](value, *arguments)
    except TemplateError:
        raise
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise TemplateError(f"{_name_of(node.node)} does not go through the filter {node.name}: {error}") from None
    check_length(len(made) if isinstance(made, str) else 0)
    return made


def _member(container: Any, key: Any, name: str) -> Any:
    if isinstance(container, FileRef):
        if container.name is not None or not isinstance(key, str):
            raise _Missing(f"a template names {name}.{key}, but {name} is a file")
        return FileRef(container.stage, key)
    if isinstance(container, File):
        raise _Missing(f"a template names {name}.{key}, but {name} is a file")
    if isinstance(container, Mapping) and key in container:
        return container[key]
    if isinstance(container, list | tuple) and isinstance(key, int) and -len(container) <= key < len(container):
        return container[key]
    full = f"{name}.{key}" if name else str(key)
    if isinstance(container, Mapping):
        has = ", ".join(sorted(map(str, container))) or "nothing"
        raise _Missing(f"a template names {full}, but {f'{name} has' if name else 'it can begin with'}: {has}")
    raise _Missing(f"a template names {full}, but {name} is {as_text(container)[:40] or 'empty'}")


def _name_of(node: nodes.Node) -> str:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            return f"{_name_of(node.node)}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const(value=key)):
            return f"{_name_of(node.node)}[{key!r}]"
        case nodes.Filter() if node.node is not None:
            return _name_of(node.node)
    return "the expression"


def _too_deep(text: str) -> TemplateError:
    return TemplateError(f"{_excerpt(text)} is nested too deep: at most {DEEPEST} levels")


def _excerpt(text: str) -> str:
    return f'the template "{text[:60]}{"..." if len(text) > 60 else ""}"'
