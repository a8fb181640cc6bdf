"""Which jobs a list shows, in which order, page by page. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from carryon_api.problems import Problem
from carryon_api.records import JobRecord

Requirement: TypeAlias = tuple[str, str, tuple[str, ...]]
"""Key, operator (in, notin, exists, !) and values."""
_KEY: Final = r"(?:[a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_EQUAL: Final = re.compile(rf"({_KEY})\s*(=|==|!=)\s*({_VALUE})")
_SET: Final = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_ONE: Final = re.compile(_VALUE)
_EXISTS: Final = re.compile(rf"(!?)\s*({_KEY})")
_NO_DIGITS: Final = re.compile(r"[^0-9]+")
_COMMAS: Final = re.compile(r",(?![^(]*\))")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted of a list; empty members want everything."""

    phases: tuple[str, ...] = ()
    labels: tuple[Requirement, ...] = ()
    search: str = ""
    active: bool | None = None

    @classmethod
    def of(cls, *, phase: Sequence[str] | None, label_selector: str, search: str, active: bool | None) -> Filter:
        """A filter from what a query says.

        Raises:
            Problem: The selector can't be read.
        """
        phases = tuple(each.strip() for given in phase or () for each in given.split(",") if each.strip())
        return cls(phases, parse_selector(label_selector), search.strip().lower(), active)

    def takes(self, job: JobRecord) -> bool:
        """Whether a job is wanted."""
        if self.active is not None and self.active == job.ended:
            return False
        status = job.status
        if self.phases and (status.get("phase") or "Pending") not in self.phases:
            return False
        if self.search:
            text = f"{job.namespace}/{job.name} {status.get('message') or ''}".lower()
            if self.search not in text:
                return False
        return selects(self.labels, job.raw["metadata"].get("labels") or {})


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: tuple[JobRecord, ...]
    continue_: str | None
    total: int


def page(jobs: Iterable[JobRecord], wanted: Filter, limit: int, continue_: str | None) -> Page:
    """A page of the jobs that are wanted: those at work first, then the most recent.

    Where the page before ended is said by the last job's place in that order, so that jobs which come or go in between
    shift nothing.

    Raises:
        Problem: `continue_` is none of ours.
    """
    found = sorted((job for job in jobs if wanted.takes(job)), key=place)
    after = _place_of(continue_) if continue_ else None
    left = found if after is None else [job for job in found if place(job) > after]
    shown = left[:limit]
    more = len(left) > limit
    return Page(tuple(shown), _continue(place(shown[-1])) if more else None, len(found))


Place: TypeAlias = tuple[int, int, str, str]


def place(job: JobRecord) -> Place:
    """Where a job stands in lists: at work before ended, young before old, then by name."""
    # RFC 3339 with seconds, UTC: as a number of its digits it grows with the time.
    created = _NO_DIGITS.sub("", str(job.raw["metadata"].get("creationTimestamp") or ""))
    return int(job.ended), -int(created or 0), job.namespace, job.name


def _continue(at: Place) -> str:
    return base64.urlsafe_b64encode("\n".join(map(str, at)).encode()).decode()


def _place_of(text: str) -> Place:
    try:
        ended, created, namespace, name = base64.urlsafe_b64decode(text.encode()).decode().split("\n")
        return int(ended), int(created), namespace, name
    except (binascii.Error, UnicodeError, ValueError):
        raise Problem("bad-request", "continue is none that a list gave: begin without it") from None


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """A label selector as kubectl takes it: "team=art,tier!=low,env in (a,b),!done".

    Raises:
        Problem: It can't be read.
    """
    return tuple(_requirement(part.strip()) for part in _COMMAS.split(text)) if text.strip() else ()


def _requirement(part: str) -> Requirement:
    if match := _EQUAL.fullmatch(part):
        return match[1], "notin" if match[2] == "!=" else "in", (match[3],)
    if match := _SET.fullmatch(part):
        values = tuple(each.strip() for each in match[3].split(","))
        if all(map(_ONE.fullmatch, values)):
            return match[1], match[2], values
    if match := _EXISTS.fullmatch(part):
        return match[2], match[1] or "exists", ()
    raise Problem(
        "bad-request", f'labelSelector: "{part}" can\'t be read: write key=value, key!=value, key in (a,b), key or !key'
    )


def selects(requirements: Sequence[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether labels fit all requirements."""
    for key, operator, values in requirements:
        if operator == "in":
            fits = labels.get(key) in values and key in labels
        elif operator == "notin":
            fits = key not in labels or labels[key] not in values
        else:
            fits = (key in labels) == (operator == "exists")
        if not fits:
            return False
    return True
