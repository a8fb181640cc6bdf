"""Lists in pages: what a list has found is kept, as it was at that moment, for whoever asks for the rest of it."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from carryon_standalone.apiserver.errors import ApiError, bad_request
from carryon_standalone.apiserver.storage import Stored

KEPT_SECONDS: Final = 300.0
"""As long as etcd keeps revisions for whoever lists."""
LISTS_MOST: Final = 32
_VERSION: Final = "meta.k8s.io/v1"
_EXPIRED: Final = (
    "The provided continue parameter is too old to display a consistent list result."
    " You must start a new list without the continue parameter."
)


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list.

    Attributes:
        objects: In order.
        revision: Of the store when the list was made; the same on all pages.
        token: Asks for the next page; "" on the last one.
        remaining: Objects on the pages to come.
    """

    objects: Sequence[Stored]
    revision: int
    token: str = ""
    remaining: int = 0


@dataclass(frozen=True, slots=True)
class _List:
    """What was found, the question it answers, and until when it is kept."""

    question: tuple[str, ...]
    found: Sequence[Stored]
    revision: int
    until: float


class Pages:
    """The lists that somebody may ask the rest of."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock = clock
        self._lists: OrderedDict[str, _List] = OrderedDict()

    def first(self, question: tuple[str, ...], found: Sequence[Stored], revision: int, limit: int) -> Page:
        """The first page of what a question has found.

        Args:
            question: What was asked for: kind, namespace and selectors.
            found: The answer.
            revision: Of the store now.
            limit: Objects on a page; 0 for any number.
        """
        if not limit or len(found) <= limit:
            return Page(found, revision)
        self._drop(LISTS_MOST - 1)
        name = secrets.token_urlsafe(9)
        made = self._lists[name] = _List(question, found, revision, self._clock() + KEPT_SECONDS)
        return self._page(name, made, 0, limit)

    def next(self, question: tuple[str, ...], token: str, limit: int) -> Page:
        """The page that a token asks for.

        Raises:
            ApiError: 400 where it is none, or belongs to another question; 410 where its list is not kept any more.
        """
        name, start = _read(token)
        self._drop(LISTS_MOST)
        kept = self._lists.get(name)
        if kept is None:
            raise ApiError(410, "Expired", _EXPIRED)
        if kept.question != question or start >= len(kept.found):
            raise _wrong("it belongs to another list")
        return self._page(name, kept, start, limit or len(kept.found))

    def _page(self, name: str, kept: _List, start: int, limit: int) -> Page:
        end = start + limit
        remaining = max(0, len(kept.found) - end)
        if not remaining:
            # What it holds may have been replaced long ago, and takes room.
            self._lists.pop(name, None)
        token = _written(name, kept.revision, end) if remaining else ""
        return Page(kept.found[start:end], kept.revision, token, remaining)

    def _drop(self, most: int) -> None:
        now = self._clock()
        while self._lists and (len(self._lists) > most or next(iter(self._lists.values())).until <= now):
            self._lists.popitem(last=False)


def _written(name: str, revision: int, start: int) -> str:
    content = orjson.dumps({"v": _VERSION, "rv": revision, "list": name, "start": start})
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _read(token: str) -> tuple[str, int]:
    try:
        content = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError) as error:
        raise _wrong(str(error)) from None
    if not isinstance(content, dict) or content.get("v") != _VERSION:
        raise _wrong("it is of another version")
    name, start = content.get("list"), content.get("start")
    if not isinstance(name, str) or not isinstance(start, int) or start < 0:
        raise _wrong("it says nowhere to begin")
    return name, start


def _wrong(why: str) -> ApiError:
    return bad_request(f"continue key is not valid: {why}")
