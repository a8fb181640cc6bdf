"""Label and field selectors, in all the forms that Kubernetes reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from carryon_standalone.apiserver.errors import bad_request
from carryon_standalone.apiserver.storage import Stored

_TOKEN: Final = re.compile(r"\s*(==|=|!=|>|<|!|\(|\)|,|[^\s=!<>(),]+)")
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
Test = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """A label and a field selector together; `text` is the same for those that were written the same."""

    labels: tuple[Test, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = ()
    text: tuple[str, str] = ("", "")

    def matches(self, stored: Stored) -> bool:
        """Whether an object is selected."""
        if not all(test(stored.labels) for test in self.labels):
            return False
        return all((_field(stored, name) == value) is equal for name, equal, value in self.fields)


EVERYTHING: Final = Selector()


def _field(stored: Stored, name: str) -> str:
    if name == "metadata.name":
        return stored.key.name
    if name == "metadata.namespace":
        return stored.key.namespace
    return stored.fields.get(name, "")


def parse(labels: str, fields: str, selectable: Callable[[str], bool]) -> Selector:
    """The selector of a request; `selectable` says which fields a kind knows.

    Raises:
        ApiError: 400 where a selector can't be read.
    """
    if not labels and not fields:
        return EVERYTHING
    return Selector(parse_labels(labels), _parse_fields(fields, selectable), (labels, fields))


def _parse_fields(text: str, selectable: Callable[[str], bool]) -> tuple[tuple[str, bool, str], ...]:
    parsed = []
    for term in filter(None, re.split(r"(?<!\\),", text)):
        match = re.fullmatch(r"(.*?)(!=|==|=)(.*)", term)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        name, operator, value = match.groups()
        if name not in ("metadata.name", "metadata.namespace") and not selectable(name):
            raise bad_request(f"field label not supported: {name}")
        parsed.append((name, operator != "!=", re.sub(r"\\([\\,=])", r"\1", value)))
    return tuple(parsed)


def parse_labels(text: str) -> tuple[Test, ...]:
    """The tests of a label selector."""
    return tuple(_Parser(text).requirements()) if text.strip() else ()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def requirements(self) -> list[Test]:
        found = [self._requirement()]
        while self._peek() == ",":
            self._take()
            found.append(self._requirement())
        if self._peek():
            raise self._unexpected(self._peek(), "',' or 'end of string'")
        return found

    def _requirement(self) -> Test:
        if self._peek() == "!":
            self._take()
            absent = self._name()
            return lambda labels: absent not in labels
        key = self._name()
        operator = self._peek()
        if operator in ("", ","):
            return lambda labels: key in labels
        self._take()
        if operator in ("in", "notin"):
            values = self._values()
            if operator == "in":
                return lambda labels: labels.get(key) in values
            return lambda labels: labels.get(key) not in values
        if operator not in ("=", "==", "!=", ">", "<"):
            raise self._unexpected(operator, "in, notin, =, ==, !=, gt, lt")
        value = self._value()
        if operator in ("=", "=="):
            return lambda labels: labels.get(key) == value
        if operator == "!=":
            return lambda labels: labels.get(key) != value
        return self._compared(key, operator, value)

    def _compared(self, key: str, operator: str, value: str) -> Test:
        if not re.fullmatch(r"-?\d+", value):
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise bad_request(f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": {why}')
        limit = int(value)

        def test(labels: Mapping[str, str]) -> bool:
            found = labels.get(key, "")
            if not re.fullmatch(r"-?\d+", found):
                return False
            return int(found) > limit if operator == ">" else int(found) < limit

        return test

    def _name(self) -> str:
        name = self._take()
        if not name or name in "!=<>(),":
            raise self._unexpected(name, "identifier")
        return name

    def _value(self) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._take()
        if not _VALUE.fullmatch(value):
            raise bad_request(
                f'unable to parse requirement: values[0]: Invalid value: "{value}": a valid label must be an empty'
                " string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
                " alphanumeric character"
            )
        return value

    def _values(self) -> frozenset[str]:
        opening = self._take()
        if opening != "(":
            raise self._unexpected(opening, "'('")
        values = set()
        while self._peek() not in (")", ""):
            values.add("" if self._peek() == "," else self._value())
            if self._peek() == ",":
                self._take()
        closing = self._take()
        if closing != ")":
            raise self._unexpected(closing, "',' or ')'")
        return frozenset(values)

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    @staticmethod
    def _unexpected(found: str, expected: str) -> Exception:
        return bad_request(f"unable to parse requirement: found '{found}' expected: {expected}")
