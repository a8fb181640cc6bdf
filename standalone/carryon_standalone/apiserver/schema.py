"""Structural schemas: pruning, defaulting and validating custom resources as apiextensions does it.

Messages are those of a real server, word for word: people search for them, and clients show them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from carryon_standalone.apiserver.cel_rules import Rule, RuleError, compile_rule, evaluate
from carryon_standalone.apiserver.errors import (
    FieldError,
    duplicate_value,
    forbidden_value,
    invalid_value,
    quoted,
    required_value,
)
from carryon_standalone.apiserver.scalars import check_enum, check_number, check_string

_TYPES: Final = ("object", "array", "string", "integer", "number", "boolean")
_ROOT_ALLOWED: Final = ("apiVersion", "kind", "metadata")
_BLOCKING: Final = ("FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
_UNCHECKED: Final = FieldError(
    "FieldValueInvalid",
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid;"
    " correct the existing errors to complete validation",
)
_IMPLIED: Final = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
_MISSING: Final = object()
_NUMBER: Final = (int, float)
_SORTED: Final = orjson.OPT_SORT_KEYS
QUANTITY: Final = "quantity"
"""The format of Kubernetes quantities, which may be written as numbers too, such as half a CPU."""
_KEYWORDS: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(
        ("type", "pattern", "format", "description", "x-kubernetes-list-type", "x-kubernetes-map-type"), str
    ),
    **dict.fromkeys(("properties", "items"), Mapping),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), int),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), _NUMBER),
    **dict.fromkeys(("enum", "required", "x-kubernetes-list-map-keys", "x-kubernetes-validations"), list),
    **dict.fromkeys(("nullable", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"), bool),
    "additionalProperties": (Mapping, bool),
}
_ITEMS: Final[Mapping[str, type]] = {
    "required": str,
    "x-kubernetes-list-map-keys": str,
    "x-kubernetes-validations": Mapping,
}


@dataclass(frozen=True, slots=True)
class Node:
    """One compiled node of a structural schema; `quantities` says whether it is one, or some lie below."""

    schema: Mapping[str, Any]
    type: str
    nullable: bool
    preserve: bool
    embedded: bool
    properties: Mapping[str, Node]
    items: Node | None
    additional: Node | None
    pattern: re.Pattern[str] | None
    rules: tuple[Rule, ...]
    rules_below: bool
    quantities: bool


@dataclass(frozen=True, slots=True)
class Structural:
    """A compiled `openAPIV3Schema`."""

    root: Node

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Structural:
        """The compiled form of a schema that is known to be structural.

        Raises:
            ValueError: It is not.
        """
        structural, errors = cls.compile(schema, "schema")
        if structural is None:
            raise ValueError("; ".join(map(str, errors)))
        return structural

    @classmethod
    def compile(cls, schema: Mapping[str, Any], path: str) -> tuple[Structural | None, list[FieldError]]:
        """The compiled schema, or what makes it not structural."""
        errors: list[FieldError] = []
        errors += _misfits(schema, path)
        if errors:
            return None, errors
        properties = {**_IMPLIED, **(schema.get("properties") or {})}
        root = _compile({**schema, "properties": properties}, path, errors)
        if root.type != "object":
            errors.append(invalid_value(f"{path}.type", root.type, "must be object at the root"))
        return (None, errors) if errors else (cls(root), [])

    def prune(self, value: dict[str, Any]) -> list[str]:
        """Remove fields that the schema does not know; their paths, in order."""
        unknown: list[str] = []
        _prune(self.root, value, "", unknown, _ROOT_ALLOWED)
        return unknown

    def default(self, value: dict[str, Any]) -> None:
        """Fill in defaults; a null where none is allowed counts as absent."""
        _default(self.root, value)

    def validate(self, value: dict[str, Any], old: dict[str, Any] | None = None) -> list[FieldError]:
        """What is wrong; parts that an update leaves as they were are not looked at again (ratcheting)."""
        errors = list(_validate(self.root, value, old if old is not None else _MISSING, ""))
        if not self.root.rules_below:
            return errors
        if any(error.reason in _BLOCKING for error in errors):
            return [*errors, _UNCHECKED]
        return [*errors, *_check_rules(self.root, value, old if old is not None else _MISSING, "")]


def _misfits(schema: Any, path: str) -> Iterator[FieldError]:
    """Keywords whose values are of the wrong type: nothing below them can be read."""
    if not isinstance(schema, Mapping):
        yield invalid_value(path, schema, "must be a schema object")
        return
    for keyword, expected in _KEYWORDS.items():
        value = schema.get(keyword)
        fits = value is None or isinstance(value, expected)
        if fits and value is not None and keyword in _ITEMS:
            fits = all(isinstance(each, _ITEMS[keyword]) for each in value)
        if not fits:
            yield invalid_value(f"{path}.{keyword}", value, "has the wrong type for this keyword")


def _compile(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> Node:
    if misfits := list(_misfits(schema, path)):
        errors += misfits
        schema = {"type": "object"}
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    kind = schema.get("type", "")
    if int_or_string and kind:
        errors.append(forbidden_value(f"{path}.type", "must be empty when x-kubernetes-int-or-string is true"))
    elif not kind and not int_or_string and not preserve:
        errors.append(required_value(f"{path}.type", "must not be empty for specified object fields"))
    elif kind and kind not in _TYPES:
        supported = ", ".join(f'"{each}"' for each in sorted(_TYPES))
        errors.append(
            FieldError(
                "FieldValueNotSupported",
                f"{path}.type",
                f"Unsupported value: {quoted(kind)}: supported values: {supported}",
            )
        )
    if "$ref" in schema:
        errors.append(forbidden_value(f"{path}.$ref", "$ref is not supported"))
    if schema.get("uniqueItems"):
        errors.append(forbidden_value(f"{path}.uniqueItems", "uniqueItems cannot be set to true"))
    properties = {
        name: _compile(inner, f"{path}.properties[{name}]", errors)
        for name, inner in (schema.get("properties") or {}).items()
    }
    items = schema.get("items")
    if kind == "array" and not isinstance(items, Mapping):
        errors.append(required_value(f"{path}.items", "must be specified"))
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping) and properties:
        errors.append(
            forbidden_value(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
        )
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys"):
        errors.append(required_value(f"{path}.x-kubernetes-list-map-keys", "must be given when the list type is map"))
    rules = _compile_rules(schema, path, errors)
    made_items = _optional(items, f"{path}.items", errors)
    made_further = _optional(additional, f"{path}.additionalProperties", errors)
    below = [each for each in (*properties.values(), made_items, made_further) if each is not None]
    return Node(
        schema=schema,
        type=kind,
        nullable=bool(schema.get("nullable")),
        preserve=preserve,
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        properties=properties,
        items=made_items,
        additional=made_further,
        pattern=_pattern(schema, path, errors),
        rules=rules,
        rules_below=bool(rules) or any(each.rules_below for each in below),
        quantities=schema.get("format") == QUANTITY or any(each.quantities for each in below),
    )


def _optional(schema: Any, path: str, errors: list[FieldError]) -> Node | None:
    return _compile(schema, path, errors) if isinstance(schema, Mapping) else None


def _compile_rules(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> tuple[Rule, ...]:
    rules = []
    for index, definition in enumerate(schema.get("x-kubernetes-validations") or ()):
        try:
            rules.append(compile_rule(definition))
        except RuleError as error:
            where = f"{path}.x-kubernetes-validations[{index}].rule"
            errors.append(invalid_value(where, definition.get("rule"), f"compilation failed: {error}"))
    return tuple(rules)


def _pattern(schema: Mapping[str, Any], path: str, errors: list[FieldError]) -> re.Pattern[str] | None:
    if not schema.get("pattern"):
        return None
    try:
        # In Go's syntax a dollar is the very end, in Python's also the place before a last line break.
        return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", schema["pattern"]))
    except re.error as error:
        errors.append(
            invalid_value(f"{path}.pattern", schema["pattern"], f"must be a valid regular expression: {error}")
        )
        return None


def same(value: Any, old: Any) -> bool:
    """Whether two values are the same JSON: to Python, true is 1."""
    if value is old:
        return True
    return bool(value == old) and orjson.dumps(value, option=_SORTED) == orjson.dumps(old, option=_SORTED)


def _child(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _prune(node: Node, value: Any, path: str, unknown: list[str], allowed: tuple[str, ...] = ()) -> None:
    if isinstance(value, dict):
        if node.embedded:
            allowed = _ROOT_ALLOWED
        for name in sorted(value):
            inner = node.properties.get(name, node.additional)
            if name in allowed:
                continue
            if inner is not None:
                _prune(inner, value[name], _child(path, name), unknown)
            elif not node.preserve and not node.schema.get("additionalProperties"):
                unknown.append(_child(path, name))
                del value[name]
    elif isinstance(value, list) and node.items is not None:
        for index, each in enumerate(value):
            _prune(node.items, each, f"{path}[{index}]", unknown)


def _default(node: Node, value: Any) -> None:
    if isinstance(value, dict):
        for name in [name for name, inner in value.items() if inner is None]:
            found = node.properties.get(name, node.additional)
            if found is not None and not found.nullable and "default" not in found.schema:
                del value[name]
        for name, inner in node.properties.items():
            if "default" in inner.schema and (name not in value or (value[name] is None and not inner.nullable)):
                value[name] = copy.deepcopy(inner.schema["default"])
            if name in value:
                _default(inner, value[name])
        if node.additional is not None:
            for each in value.values():
                _default(node.additional, each)
    elif isinstance(value, list) and node.items is not None:
        for each in value:
            _default(node.items, each)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(expected: str, actual: str) -> bool:
    return not expected or expected == actual or (expected == "number" and actual == "integer")


def _validate(node: Node, value: Any, old: Any, path: str) -> Iterator[FieldError]:
    if old is not _MISSING and path and same(value, old):
        return
    actual = _type_of(value)
    if value is None and node.nullable:
        return
    expected = node.type
    if node.schema.get("x-kubernetes-int-or-string"):
        allowed = ("integer", "string", "number") if node.schema.get("format") == QUANTITY else ("integer", "string")
        expected = actual if actual in allowed else "integer,string"
    if not _fits(expected, actual) or (value is None and not node.preserve):
        yield FieldError(
            "FieldValueTypeInvalid",
            path or "<nil>",
            f'Invalid value: "{actual}": {path} in body must be of type {expected}: "{actual}"',
        )
        return
    yield from check_enum(node.schema, value, path)
    if isinstance(value, str):
        yield from check_string(node.schema, node.pattern, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from check_number(node.schema, value, path)
    elif isinstance(value, list):
        yield from _validate_list(node, value, old, path)
    elif isinstance(value, dict):
        yield from _validate_object(node, value, old, path)


def _validate_list(node: Node, value: list[Any], old: Any, path: str) -> Iterator[FieldError]:
    fewest, most = node.schema.get("minItems"), node.schema.get("maxItems")
    if most is not None and len(value) > most:
        yield FieldError("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {most} items")
        return
    if fewest is not None and len(value) < fewest:
        yield invalid_value(path, len(value), f"{path} in body should have at least {fewest} items")
    if node.items is not None:
        before = _by_key(node, old)
        for index, each in enumerate(value):
            yield from _validate(node.items, each, before.get(_key(node, each), _MISSING), f"{path}[{index}]")
    yield from _validate_unique(node.schema, value, path)


def _key(node: Node, item: Any) -> bytes | None:
    """What finds a list item's old version: its map keys. Items of other lists have none."""
    keys = node.schema.get("x-kubernetes-list-map-keys")
    if not keys or not isinstance(item, dict):
        return None
    return orjson.dumps([item.get(key) for key in keys])


def _by_key(node: Node, old: Any) -> dict[bytes | None, Any]:
    if not isinstance(old, list):
        return {}
    return {key: each for each in old if (key := _key(node, each)) is not None}


def _validate_unique(schema: Mapping[str, Any], value: list[Any], path: str) -> Iterator[FieldError]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("map", "set"):
        return
    seen = set()
    for index, each in enumerate(value):
        shown = each
        if kind == "map":
            if not isinstance(each, dict):
                continue
            shown = {key: each[key] for key in schema["x-kubernetes-list-map-keys"] if key in each}
        mark = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
        if mark in seen:
            yield duplicate_value(f"{path}[{index}]", shown)
        seen.add(mark)


def _validate_object(node: Node, value: dict[str, Any], old: Any, path: str) -> Iterator[FieldError]:
    schema = node.schema
    fewest, most = schema.get("minProperties"), schema.get("maxProperties")
    if most is not None and len(value) > most:
        yield FieldError("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {most} items")
    if fewest is not None and len(value) < fewest:
        yield invalid_value(path, value, f"{path} in body should have at least {fewest} properties")
    for name in schema.get("required") or ():
        if name not in value:
            yield required_value(_child(path, name))
    before = old if isinstance(old, dict) else {}
    for name in sorted(value):
        inner = node.properties.get(name, node.additional)
        if inner is not None and not (not path and name in _ROOT_ALLOWED):
            yield from _validate(inner, value[name], before.get(name, _MISSING), _child(path, name))


def _check_rules(node: Node, value: Any, old: Any, path: str) -> Iterator[FieldError]:
    if not node.rules_below or value is None or (old is not _MISSING and path and value == old):
        return
    for rule in node.rules:
        sentence = evaluate(rule, node.schema, value, None if old is _MISSING else old)
        if sentence is not None:
            yield _rule_error(rule, value, path, sentence)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name in sorted(value):
            inner = node.properties.get(name, node.additional)
            if inner is not None:
                yield from _check_rules(inner, value[name], before.get(name, _MISSING), _child(path, name))
    elif isinstance(value, list) and node.items is not None:
        old_items = _by_key(node, old)
        for index, each in enumerate(value):
            before_item = old_items.get(_key(node, each), _MISSING)
            yield from _check_rules(node.items, each, before_item, f"{path}[{index}]")


def _rule_error(rule: Rule, value: Any, path: str, sentence: str) -> FieldError:
    where = path + rule.field_path if path else rule.field_path.removeprefix(".")
    if rule.reason == "FieldValueRequired":
        return required_value(where or "<nil>", sentence)
    if rule.reason == "FieldValueForbidden":
        return forbidden_value(where or "<nil>", sentence)
    if rule.reason == "FieldValueDuplicate":
        return duplicate_value(where or "<nil>", value)
    if isinstance(value, dict | list):
        return FieldError("FieldValueInvalid", where or "<nil>", f"Invalid value: {sentence}")
    return invalid_value(where or "<nil>", value, sentence)


ANYTHING: Final = Structural.of({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
