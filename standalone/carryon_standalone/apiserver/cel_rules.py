"""`x-kubernetes-validations`: CEL rules, compiled once, evaluated with what a schema lets them see.

Rules see declared properties only. A null property counts as absent, numbers of type `number` are doubles, and names
that CEL reserves are escaped, as Kubernetes documents it ("Validation rules", the apiextensions reference).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from carryon_standalone.apiserver import cel_engine, cel_library

_RESERVED: Final = frozenset(
    [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_LIBRARY: Final = {
    **{
        name: function
        for name, function in cel_engine.STDLIB_FUNCTIONS.items()
        if name not in ("contains", "bool")  # the built-in ones know strings
    },
    **cel_library.FUNCTIONS,
}
_MACROS: Final = ("all", "exists", "exists_one", "filter", "map")
_BUILT_IN: Final = frozenset(
    [
        *("bool", "bytes", "double", "dyn", "duration", "int", "string", "timestamp", "type", "uint"),
        *("contains", "endsWith", "has", "matches", "max", "min", "size", "startsWith"),
        *("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds"),
        *("getMinutes", "getMonth", "getSeconds"),
        *_MACROS,
    ]
)
_TYPES: Final = frozenset(["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"])
_FUNCTIONS: Final = _BUILT_IN | {each.rpartition(".")[2] for each in _LIBRARY}
_SPACES: Final = {each.partition(".")[0] for each in _LIBRARY if "." in each}
_BOUND: Final = re.compile(rf"\.(?:{'|'.join(_MACROS)})\(\s*([A-Za-z_]\w*)\s*,")
_SELF: Final = re.compile(r"\bself\b(?:\.([A-Za-z_]\w*)(?!\w*\())?")
_ABSENT: Final = object()


class RuleError(Exception):
    """A rule that can't be compiled or evaluated."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule of a schema node.

    Args:
        fields: The properties of `self` that it reads, or None for all: large objects are converted only as far as
            rules look.
    """

    source: str
    program: Any
    message: str
    message_program: Any
    reason: str
    field_path: str
    transition: bool
    fields: frozenset[str] | None


def compile_rule(definition: Mapping[str, Any]) -> Rule:
    """Compile one item of `x-kubernetes-validations`.

    Raises:
        RuleError: The rule or its messageExpression is no CEL.
    """
    source = definition.get("rule")
    expression = definition.get("messageExpression")
    texts = (source, *(definition.get(name, "") for name in ("message", "messageExpression", "reason", "fieldPath")))
    if not source or not all(isinstance(text, str) for text in texts):
        raise RuleError("a rule needs a text, and its message, messageExpression, reason and fieldPath are texts")
    named = [match.group(1) for match in _SELF.finditer(source + " " + (expression or ""))]
    return Rule(
        source=source,
        program=_compile(source),
        message=definition.get("message") or f"failed rule: {' '.join(source.split())}",
        message_program=_compile(expression) if expression else None,
        reason=definition.get("reason") or "FieldValueInvalid",
        field_path=definition.get("fieldPath", ""),
        transition="oldSelf" in _variables(source),
        fields=None if None in named else frozenset(name for name in named if name is not None),
    )


def _compile(source: str) -> Any:
    try:
        program = cel_engine.compile_source(source)
    except ValueError as error:
        raise RuleError(str(error).replace("\n", " ")) from error
    known = {"self", "oldSelf"} | _TYPES | _SPACES | set(_BOUND.findall(source))
    unknown = [each for each in program.variables() if each not in known]
    unknown += [each for each in program.functions() if each[:1].isalpha() and each not in _FUNCTIONS]
    if unknown:
        raise RuleError(f"undeclared reference to '{unknown[0]}' (in container '')")
    return program


def _variables(source: str) -> list[str]:
    return list(_compile(source).variables())


def evaluate(rule: Rule, schema: Mapping[str, Any], value: Any, old: Any = None) -> str | None:
    """The sentence of a rule that does not hold, or None.

    Transition rules need an old value: without one they hold.
    """
    if rule.transition and old is None:
        return None
    variables = {"self": _visible(schema, value, rule.fields)}
    if rule.transition:
        variables["oldSelf"] = _visible(schema, old, None)
    context = cel_engine.Context(variables, _LIBRARY)
    try:
        verdict = rule.program.execute(context)
        if verdict is True:
            return None
        if rule.message_program is not None:
            said = rule.message_program.execute(context)
            if isinstance(said, str) and said.strip():
                return said
    except (KeyError, RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        return f"rule evaluation error: {_words(error)}: {rule.source}"
    return rule.message


def _words(error: Exception) -> str:
    return f"no such key: {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _visible(schema: Mapping[str, Any], value: Any, fields: frozenset[str] | None = None) -> Any:
    """A value as rules see it."""
    if isinstance(value, dict):
        properties = schema.get("properties")
        if properties is not None:
            seen = {}
            for name, inner in properties.items():
                shown = escaped(name)
                found = value.get(name, _ABSENT)
                if found is _ABSENT or found is None or (fields is not None and shown not in fields):
                    continue
                seen[shown] = _visible(inner, found)
            return seen
        further = schema.get("additionalProperties")
        if isinstance(further, Mapping):
            return {name: _visible(further, inner) for name, inner in value.items()}
        return value
    if isinstance(value, list):
        inner = schema.get("items", {})
        return [_visible(inner, each) for each in value]
    if schema.get("type") == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def escaped(name: str) -> str:
    """A property's name in CEL: `namespace` is `__namespace__`, `a-b` is `a__dash__b`."""
    if name in _RESERVED:
        return f"__{name}__"
    for character, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(character, word)
    return name
