"""What a structural schema demands of texts and numbers; messages are those of a real server, word for word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Final

from carryon_standalone.apiserver.errors import FieldError, invalid_value, quoted

_TIME: Final = re.compile("([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})")
"""Of kube-openapi, the bare dot included."""


def check_enum(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[FieldError]:
    """Make sure that a value is one of those that are allowed."""
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        listed = ", ".join(quoted(each if isinstance(each, str) else quoted(each)) for each in allowed)
        message = f"Unsupported value: {quoted(value)}: supported values: {listed}"
        yield FieldError("FieldValueNotSupported", path, message)


def check_string(
    schema: Mapping[str, Any], pattern: re.Pattern[str] | None, value: str, path: str
) -> Iterator[FieldError]:
    """Make sure of a text's length, pattern and format."""
    shortest, longest = schema.get("minLength"), schema.get("maxLength")
    if longest is not None and len(value) > longest:
        yield FieldError("FieldValueTooLong", path, f"Too long: may not be more than {longest} bytes")
    if shortest is not None and len(value) < shortest:
        yield invalid_value(path, value, f"{path} in body should be at least {shortest} chars long")
    if pattern is not None and not pattern.search(value):
        yield invalid_value(path, value, f"{path} in body should match '{schema['pattern']}'")
    format_ = str(schema.get("format", ""))
    if format_ in _FORMATS and not _FORMATS[format_](value):
        message = f"Invalid value: {quoted(value)}: {path} in body must be of type {format_}: {quoted(value)}"
        yield FieldError("FieldValueTypeInvalid", path, message)


def _is_date_time(value: str) -> bool:
    """RFC 3339 as kube-openapi reads it: no leap seconds, either case."""
    day, _, rest = value.lower().partition("t")
    found = _TIME.fullmatch(rest.partition("t")[0])
    if found is None or found[1] > "23" or found[2] > "59" or found[3] > "59":
        return False
    try:
        return len(day) == len("2026-12-01") and bool(date.fromisoformat(day))
    except ValueError:
        return False


_FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {"date-time": _is_date_time}
"""Formats that are checked; a server ignores those that it does not know."""


def check_number(schema: Mapping[str, Any], value: float, path: str) -> Iterator[FieldError]:
    """Make sure that a number lies within its bounds, on its steps."""
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if least is not None:
        if schema.get("exclusiveMinimum"):
            if value <= least:
                yield invalid_value(path, value, f"{path} in body should be greater than {least}")
        elif value < least:
            yield invalid_value(path, value, f"{path} in body should be greater than or equal to {least}")
    if most is not None:
        if schema.get("exclusiveMaximum"):
            if value >= most:
                yield invalid_value(path, value, f"{path} in body should be less than {most}")
        elif value > most:
            yield invalid_value(path, value, f"{path} in body should be less than or equal to {most}")
    if step is not None and value % step:
        yield invalid_value(path, value, f"{path} in body should be a multiple of {step}")
