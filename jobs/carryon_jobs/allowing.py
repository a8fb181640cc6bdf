"""Keeps of a value what is listed, in the form that is listed; and says which texts that leaves out. Pure.

How a list of what may be passed on is written; `redaction` has the lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from carryon_jobs.scrubbing import texts_in

Shape: TypeAlias = "Callable[[Any], Any] | Fields | Each | Free"
"""What may be kept of a value: what a function makes of it, None for nothing; fields; or elements of one shape."""


@dataclass(frozen=True, slots=True)
class Fields:
    """An object, of which these fields are kept."""

    shapes: Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class Each:
    """A list, or with `keys` an object with keys of that form, whose values all have one shape."""

    shape: Shape
    keys: re.Pattern[str] | None = None
    most: int = 1000


@dataclass(frozen=True, slots=True)
class Free:
    """A text for people: it is scrubbed before it is passed on."""


class Said(str):
    """A text that was kept because it is for people, and may hold anything."""

    __slots__ = ()


def kept(value: Any, shape: Shape) -> Any:
    """What may be passed on of a value; None where nothing may."""
    match shape:
        case Fields(shapes):
            if not isinstance(value, Mapping):
                return None
            found = {name: kept(value[name], inner) for name, inner in shapes.items() if name in value}
            return {name: each for name, each in found.items() if each is not None}
        case Each(inner, keys, most):
            if keys is not None:
                if not isinstance(value, Mapping):
                    return None
                chosen = [(key, each) for key, each in value.items() if keys.fullmatch(key)][:most]
                return {key: made for key, each in chosen if (made := kept(each, inner)) is not None}
            return [kept(each, inner) for each in value[:most]] if isinstance(value, list) else None
        case Free():
            return Said(value) if isinstance(value, str) else None
        case _:
            return shape(value)


def dropped(value: Any, shape: Shape) -> Iterator[str]:
    """The texts in a value that may not be passed on, but for the names of fields."""
    match shape:
        case Fields(shapes) if isinstance(value, Mapping):
            for name, each in value.items():
                yield from dropped(each, shapes[name]) if name in shapes else texts_in(each)
        case Each(inner, keys) if isinstance(value, Mapping if keys is not None else list):
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, each in pairs:
                if keys is not None and not keys.fullmatch(str(key)):
                    yield from texts_in(each)
                else:
                    yield from dropped(each, inner)
        case Fields() | Each():
            yield from texts_in(value)
        case Free():
            return
        case _:
            if shape(value) != value:
                yield from texts_in(value)


def form(pattern: str) -> Callable[[Any], Any]:
    """A text that is of a form as a whole."""
    compiled = re.compile(pattern)
    return lambda value: value if isinstance(value, str) and compiled.fullmatch(value) else None


def number(value: Any) -> Any:
    """A number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def flag(value: Any) -> Any:
    """True or false."""
    return value if isinstance(value, bool) else None


def count(value: Any) -> Any:
    """How many there are, instead of what they are."""
    return len(value) if isinstance(value, list | Mapping) else None


def given(value: Any) -> Any:
    """That there is something, instead of what it is."""
    return value is not None


def scheme(value: Any) -> Any:
    """Of an address: s3, file, http or https."""
    found = urlsplit(value).scheme if isinstance(value, str) else ""
    return found if found in ("s3", "file", "http", "https") else None


WORD: Final = form(r"[A-Za-z][A-Za-z0-9]{0,62}")
"""A reason, a phase, a type."""
NAME: Final = form(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""A name as Kubernetes takes it."""
UID: Final = form(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME: Final = form(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,18}(Z|[+-][0-9]{2}:[0-9]{2})")
DURATION: Final = form(r"([0-9]+(h|m|s|ms))+")
SIZE: Final = form(r"[0-9.]+[A-Za-z]{0,2}")
RANGES: Final = form(r"[0-9,-]*")
"""Indexes of units."""
DIGEST: Final = form(r"(sha256:)?[0-9a-f]{4,64}")
UNITS: Final = form(r"[a-z0-9-]+/[0-9a-z,-]+(,[a-z0-9-]+/[0-9a-z,-]+)*(@[0-9TZ:.+-]+)?")
"""Units as a request names them."""
CLASS: Final = form(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
IMAGE: Final = form(r"[a-z0-9][a-z0-9._/:-]{0,255}(@sha256:[0-9a-f]{64})?")
HUB_ID: Final = form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
"""Of a model on a hub; folders and addresses have another form."""
VERSION: Final = form(r"[A-Za-z0-9][A-Za-z0-9.+_ ()/:-]{0,127}")
TEXT: Final = Free()


def quantity(value: Any) -> Any:
    """An amount of CPU, memory or GPUs."""
    return number(value) if not isinstance(value, str) else SIZE(value)
